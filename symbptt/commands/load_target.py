"""Loading for the command line: the modules that a command needs, and the cell that a target names."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import sys
import threading
import tokenize
import traceback
from pathlib import Path
from types import FunctionType
from typing import Any

from symbptt.errors import SymbpttError, TargetError
from symbptt.syntax import as_read

PATIENCE = 3.0
"""Seconds after which a file that is still being imported is told of: a loop in it may not end."""


def load(module: str) -> Any:
    """Return a module of symbptt: the one place where the command line imports what is heavy."""
    return importlib.import_module(f"symbptt.{module}")


def load_target(target: str, models: bool = False) -> Any:
    """Return the cell that a target names, or where `models` are allowed the model.

    Raises: TargetError where there is none; CellError where its file defines a cell wrongly.
    """
    file, colon, name = target.rpartition(":")
    name = as_read(name)
    # A Windows path has a colon behind its drive: the last colon separates, and only in front of what looks like a file.
    if colon and (file.endswith(".py") or Path(file).exists() or os.sep in file):
        return _member(_from_file(Path(file)), name, f"{file} has no cell {name!r}", models)
    if target.endswith(".py") or Path(target).is_file():
        cells = ", ".join(_cells(_from_file(Path(target)))) or "none"
        raise TargetError(f"which cell of {target}? write {target}:NAME\n  it has {cells}")
    return _member(load("zoo").CELLS, as_read(target), f"the zoo has no cell {target!r}")


def load_function(target: str) -> Any:
    """Return the function that a target names, path/to/file.py:name.

    Raises: TargetError where there is none.
    """
    file, colon, name = target.rpartition(":")
    if not colon or not file:
        raise TargetError(f"a function is named as path/to/backward.py:name, got {target!r}")
    members = _from_file(Path(file))
    # Functions written in a file, not the roles and classes that it imports.
    functions = [key for key, value in members.items() if isinstance(value, FunctionType) and not key.startswith("_")]
    if name in members and not callable(members[name]):
        raise TargetError(f"{name} of {file} is no function but a value of type {type(members[name]).__name__}")
    if name not in members:
        near = difflib.get_close_matches(name, functions, 1)
        raise TargetError(
            f"{file} has no function {name!r}"
            + (f"\n  did you mean {near[0]}?" if near else f"\n  it has {', '.join(functions) or 'none'}")
        )
    return members[name]


def load_members(path: Path) -> dict[str, Any]:
    """Return the names that a Python file defines.

    Raises: TargetError where it cannot be read or imported; CellError where it defines a cell wrongly.
    """
    return _from_file(path)


def _cells(members: dict[str, Any], models: bool = False) -> list[str]:
    kinds = (load("language.cell").Cell, *([load("language.model").Model] if models else []))
    return [name for name, value in members.items() if isinstance(value, kinds)]


def _member(members: dict[str, Any], name: str, missing: str, models: bool = False) -> Any:
    cells = _cells(members, models)
    if name in cells:
        return members[name]
    if name in members:
        kind = type(members[name]).__name__
        if kind == "Model":
            raise TargetError(f"{name} is a model, a cell is expected here\n  give the name of the cell in it")
        raise TargetError(f"{name} is no cell but a {kind}\n  decorate the function with @sb.cell")
    alike = {cell.lower(): cell for cell in cells}
    near = [alike[found] for found in difflib.get_close_matches(name.lower(), alike, 1)]
    raise TargetError(
        missing + (f"\n  did you mean {near[0]}?" if near else f"\n  it has {', '.join(cells) or 'none'}")
    )


def _from_file(path: Path) -> dict[str, Any]:
    """Return the names that a Python file defines; its folder can be imported from meanwhile, as for a script."""
    _check_source(path)
    # Before the user's import, so that the time of importing symbptt does not count as theirs.
    load("language.functions")
    spec = importlib.util.spec_from_file_location(f"symbptt_target_{path.stem}", path.resolve())
    if spec is None or spec.loader is None:
        raise TargetError(f"{path} is no Python file\n  its name must end with .py")
    module = importlib.util.module_from_spec(spec)
    # Before execution: pickle and dataclasses look a module up by its name.
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.resolve().parent))
    note = threading.Timer(PATIENCE, print, [f"still importing {path} (Ctrl-C stops it)"], {"file": sys.stderr})
    # A daemon thread does not keep the process alive if the import fails.
    note.daemon = True
    note.start()
    try:
        spec.loader.exec_module(module)
    except SymbpttError:
        raise
    # A script that calls sys.exit at its end is no reason to leave without a message.
    except (Exception, SystemExit) as error:
        what = error.msg if isinstance(error, SyntaxError) else error
        raise TargetError(f"{path} raised {type(error).__name__}{_line(error, path)}: {what}") from error
    finally:
        note.cancel()
        sys.path.remove(str(path.resolve().parent))
    return vars(module)


def _check_source(path: Path) -> None:
    if path.is_dir():
        raise TargetError(f"{path} is a folder, a Python file is expected")
    try:
        # tokenize.open honours a coding comment and a byte order mark, as the interpreter does.
        with tokenize.open(path) as file:
            file.read()
    except FileNotFoundError:
        raise TargetError(f"there is no file {path}") from None
    except (SyntaxError, UnicodeDecodeError):
        raise TargetError(f"{path} is not UTF-8") from None
    except OSError as error:
        raise TargetError(f"cannot read {path}: {error.strerror or error}") from None


def _line(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError) and error.lineno:
        return f" at line {error.lineno}"
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path.resolve())
    ]
    return f" at line {lines[-1]}" if lines else ""
