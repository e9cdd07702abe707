"""The place from which the library is called: the user's file and line, for errors and for nodes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

from symbptt.errors import CellError, SymbpttError

_HERE = Path(__file__).parent.parent
# Cells of the zoo lie inside the package but count as the user's code.
_CELLS = _HERE / "zoo"
# Found, not imported: only drawings need networkx.
_LIBRARIES = tuple(
    Path(spec.origin).parent
    for spec in map(find_spec, ("numpy", "sympy", "networkx"))
    if spec is not None and spec.origin
)
_PACKAGES = ("symbptt", "numpy", "sympy", "networkx", "importlib", "zipimport")
_OURS = (
    _HERE,
    (_HERE / "codegen").resolve(),
    *_LIBRARIES,
)  # a checkout has codegen beside the package, and a link in it


@cache
def is_user_file(name: str) -> bool:
    """Answer whether a file holds cells rather than the library: by the folders that it lies in, whole names of them.

    Asked for each call of a function while a cell is traced, and answered once for each file.
    """
    path = Path(name)
    if is_scipy_file(name):
        return False
    return path.is_relative_to(_CELLS) or not any(path.is_relative_to(place) for place in _OURS)


def is_of_code(error: BaseException) -> bool:
    """Answer whether an error may be that of a function of the user's, or of a module that symbptt wrote: it came up through one,
    or tells in words what a call of it was given; a module that is no Python has no frame."""
    if isinstance(error, SymbpttError | SyntaxError):
        return True
    trace, files = error.__traceback__, set[str]()
    while trace is not None:
        files.add(trace.tb_frame.f_code.co_filename)
        trace = trace.tb_next
    return any(name.startswith("<symbptt") or is_user_file(name) for name in files)


@cache
def is_scipy_file(name: str) -> bool:
    """Answer whether a file is one of SciPy, which need not be installed."""
    scipy = sys.modules.get("scipy")
    return scipy is not None and bool(scipy.__file__) and Path(name).is_relative_to(Path(str(scipy.__file__)).parent)


SCIPY = {
    "softmax": "write sb.softmax(x, axis=axis)", "log_softmax": "write sb.log_softmax(x, axis=axis)",
    "logsumexp": "write sb.logsumexp(x, axis=axis)",
    **dict.fromkeys(
        ("eig", "eigh", "eigvals", "eigvalsh", "svd", "svdvals", "qr", "lu", "schur", "sqrtm", "logm", "pinv", "lstsq"),
        "of functions of whole matrices solve, inv, det, slogdet, cholesky and sb.expm are known",
    ),
    "block_diag": "write np.block([[A, np.zeros((2, 3))], [np.zeros((3, 2)), B]])",
    **dict.fromkeys(
        ("toeplitz", "circulant", "hankel"), "choose by a constant table of places: v[PLACES] with PLACES of shape (n, n)"
    ),
    **dict.fromkeys(
        ("solve_sylvester", "solve_continuous_lyapunov", "solve_discrete_lyapunov"),
        "write np.linalg.solve of the equation of all entries, whose matrix is made by np.kron",
    ),
    **dict.fromkeys(
        ("solve_discrete_are", "solve_continuous_are"), "write sb.fixed_point of the equation, with the step of the filter as its body"
    ),
}  # fmt: skip
"""Functions of SciPy that make plain arrays of their arguments, and what to write in their place."""


def _called_in_scipy() -> str:
    """Return the function of SciPy that the user called, of those that run, or nothing."""
    frame: FrameType | None = sys._getframe(1)
    names: list[str] = []
    while frame is not None and not is_user_frame(frame):
        if is_scipy_file(frame.f_code.co_filename):
            names.append(_decorated(frame) or frame.f_code.co_name)
        frame = frame.f_back
    return next((name for name in names if name in SCIPY), names[-1] if names else "")


def _decorated(frame: FrameType) -> str:
    """Return the name of the function that runs inside a decorator's, or nothing."""
    inside = (
        [frame.f_locals.get(name) for name in frame.f_code.co_freevars] if frame.f_code.co_name == "wrapper" else []
    )
    return next((f.__name__ for f in inside if isinstance(f, FunctionType)), "")


def is_user_frame(frame: FrameType) -> bool:
    """Answer whether a frame runs the user's code; code without a file (of `exec`, of a dataclass) is its module's."""
    name = frame.f_code.co_filename
    if name.startswith("<"):
        package = str(frame.f_globals.get("__name__", "")).split(".")
        return package[0] not in _PACKAGES or package[:2] == ["symbptt", "zoo"]
    return is_user_file(name)


def user_frame() -> FrameType | None:
    """Return the innermost frame of the user's code."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not is_user_frame(frame):
        frame = frame.f_back
    return frame


def user_place() -> str:
    """Return `file:line` of the innermost frame of the user's code."""
    frame = user_frame()
    return "" if frame is None else f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"


def cell_error(what: str, cure: str = "", kind: type[CellError] = CellError) -> CellError:
    """Return an error that says what, where in the user's file, and what to write instead."""
    frame = user_frame()
    of_scipy = _called_in_scipy()
    if of_scipy:
        what, cure = f"SciPy's function {of_scipy} takes plain arrays alone", SCIPY.get(of_scipy, cure)
    where = "" if frame is None else f"\n  at {frame.f_code.co_filename}:{frame.f_lineno}, in {frame.f_code.co_name}"
    return kind(what + where + (f"\n  {cure}" if cure else ""))


SHOWN: set[CodeType] = set()
"""Functions of the library whose local variables are names of equations, as those of the user's functions are."""


def shows_names(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose local variables name the values of a cell that calls it."""
    SHOWN.add(function.__code__)
    return function
