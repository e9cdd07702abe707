"""A module in a file, as it stands there, edited or not, as a kernel of the cell that its head names."""

from __future__ import annotations

import os
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symbptt.checks import check_path
from symbptt.codegen.kernel import Kernel
from symbptt.codegen.kernel import compile as compile_cell
from symbptt.codegen.load import load
from symbptt.codegen.origin import Origin, origin_of, read_origin
from symbptt.errors import TargetError, one_line, three_lines
from symbptt.files import is_module
from symbptt.language.cell import Cell
from symbptt.language.model import Model

AGAIN = "write the module again: kernel.save(...), or symbptt generate TARGET -o FILE"


@dataclass(frozen=True)
class Saved:
    """The text of a module's file, and what its head says that it was made of."""

    path: Path
    text: str
    origin: Origin


def read_module(path: str | os.PathLike[str]) -> Saved:
    """Return what a file holds that symbptt wrote as a module.

    Raises: TargetError where there is none, it is no such module, or its head does not say what it was made of.
    """
    check_path(path, "module.py")
    file = Path(path)
    try:
        with tokenize.open(file) as stream:
            text = stream.read()
    except OSError as error:
        raise TargetError(f"cannot read {file}: {error.strerror or error}") from None
    except (SyntaxError, UnicodeDecodeError):
        raise TargetError(f"{file} is not UTF-8") from None
    if not is_module(file):
        raise TargetError(
            three_lines(
                f"{file} is no module that symbptt wrote", "its first line names another origin, or was changed", AGAIN
            )
        )
    origin = read_origin(text)
    if origin is None:
        raise TargetError(
            three_lines(
                f"{file} does not say what it was made of",
                "the line '# made of {...}' of its head lacks, or was changed",
                AGAIN,
            )
        )
    return Saved(file, text, origin)


def kernel_of(saved: Saved, target: Cell | Model) -> Kernel:
    """Return the kernel of a cell or a model whose module is the text of a file.

    Raises: TargetError where the file was made of another cell, loss or options, where the cell has changed since, or where the text
    is no Python or defines no such module.
    """
    origin, target = saved.origin, target.with_consts(saved.origin.consts) if saved.origin.consts else target
    _check_same(saved, target)
    options: dict[str, Any] = {
        "truncation": origin.truncation,
        "clip_adjoint": origin.clip_adjoint,
        "memory": origin.memory,
        "wrt": origin.wrt,
    }
    kernel = compile_cell(target, **options)
    _check_loads(saved, "value_and_grad" if isinstance(target, Model) else "backward")
    return Kernel(
        target, kernel.program, saved.text, kernel.truncation, kernel.clip_adjoint, kernel.memory, kernel.wanted
    )


def _check_same(saved: Saved, target: Cell | Model) -> None:
    was, now = saved.origin, origin_of(target, saved.origin.truncation, saved.origin.clip_adjoint, saved.origin.memory)
    wanted = f"a model with the loss {was.loss}" if was.loss else "a cell alone"
    if bool(was.loss) != bool(now.loss):
        came = f"a model with the loss {now.loss}" if now.loss else "a cell alone"
        raise TargetError(
            three_lines(
                f"{saved.path} was made of {wanted}, got {came}", cure="name the same, or write the module again"
            )
        )
    pairs = [("cell", was.cell, was.digest, now.digest), ("loss", was.loss, was.loss_digest, now.loss_digest)]
    for kind, name, before, after in pairs:
        if before != after:
            raise TargetError(
                three_lines(
                    f"the {kind} of {target.name} has the digest {after}; {saved.path} was made of {name}, {before}",
                    f"the {kind} has changed since, or another one is named; other versions of SymPy may read it otherwise too",
                    AGAIN,
                )
            )
    if (was.at, was.reduction) != (now.at, now.reduction):
        raise TargetError(
            three_lines(
                f"{saved.path} has the loss at {was.at} step, {was.reduction}, got at {now.at} step, {now.reduction}",
                cure=AGAIN,
            )
        )


def _check_loads(saved: Saved, function: str) -> None:
    """Raises: TargetError where the text of a module cannot be run, or lacks what a module has."""
    try:
        module = load(saved.text, str(saved.path))
    except SyntaxError as error:
        raise TargetError(f"{saved.path} is no Python at line {error.lineno}: {error.msg}") from None
    except Exception as error:  # whatever an edit has broken
        raise TargetError(f"{saved.path} raised {type(error).__name__} when it was loaded: {one_line(error)}") from None
    lacking = [name for name in ("forward", "backward", function, "SHAPES") if not hasattr(module, name)]
    if lacking:
        raise TargetError(three_lines(f"{saved.path} defines no {lacking[0]}", "a line of it was dropped", AGAIN))
