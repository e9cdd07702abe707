"""Cells sent to other processes as bytes that hold all of the user's code: a worker needs none of the user's files."""

from __future__ import annotations

import contextlib
import copyreg
import io
import site
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from sympy.core.function import FunctionClass

from symbptt.errors import ArgumentError, one_line, three_lines
from symbptt.extras import need
from symbptt.language.cell import Cell
from symbptt.language.custom_function import declared_function


def sent(cell: Cell) -> bytes:
    """Return a cell as bytes.

    Raises: ArgumentError where it holds something that cannot be sent, as an open file or a lock.
    """
    cloudpickle, file = need("cloudpickle", "sweep"), io.BytesIO()
    with contextlib.ExitStack() as stack:
        for module in _own_modules():
            # By reference, the default for importable modules, a worker would need the user's file on its path.
            cloudpickle.register_pickle_by_value(module)
            stack.callback(cloudpickle.unregister_pickle_by_value, module)
        try:
            _pickler(cloudpickle)(file).dump(cell)
        except Exception as error:  # whatever the user's objects raise
            raise ArgumentError(three_lines(f"{cell.name} cannot be sent to another process: {one_line(error)}",
                                            cure="measure in this one, with jobs=1")) from error  # fmt: skip
    return file.getvalue()


def received(cell: Cell | bytes) -> Cell:
    """Return a cell that may have come as bytes."""
    return need("cloudpickle", "sweep").loads(cell) if isinstance(cell, bytes) else cell


def _pickler(cloudpickle: Any) -> Any:
    class Pickler(cloudpickle.Pickler):
        """Functions of `sb.function` are sent as what they are made of: SymPy cannot restore a class of its own kind."""

        def reducer_override(self, value: Any) -> Any:
            if isinstance(value, FunctionClass) and hasattr(value, "partials"):
                return declared_function, (value.__name__, value.expansion, value.partials)
            if isinstance(value, Cell):  # by its parts: the worker may not have the module that knows its name
                return copyreg.__newobj__, (Cell,), vars(value)  # type: ignore[attr-defined]
            return super().reducer_override(value)

    return Pickler


def _own_modules() -> list[ModuleType]:
    """Return the modules loaded from files that are not installed: a worker may not find them."""
    installed = [sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    roots = [Path(place).resolve() for place in (*installed, *site.getsitepackages(), site.getusersitepackages())]
    others = [
        module for name, module in list(sys.modules.items()) if name.partition(".")[0] not in ("__main__", "symbptt")
    ]
    return [module for module in others if _is_own(module, roots)]


def _is_own(module: Any, roots: Sequence[Path]) -> bool:
    file = getattr(module, "__file__", None) if isinstance(module, ModuleType) else None
    return isinstance(file, str) and not any(Path(file).resolve().is_relative_to(root) for root in roots)
