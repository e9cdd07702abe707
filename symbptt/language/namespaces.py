"""What the names of a user's functions mean while they are traced: NumPy with functions of named sizes, and nothing that draws.

np.eye(n) asks n for a number and looks at nothing else, so that no protocol of NumPy's brings a named size to us. NumPy itself stays as
it is: its compiled code looks up np.empty and would take a symbolic array for memory. What changes is what the user's functions
find under their own names, `np` above all, in their globals and closures and in those of the functions that they call by name.

SciPy's functions of Python and its sparse constants stand in the same way for what `symbptt.language.scipy_names` says, also where a check
calls a function with numbers that carry a tangent, of which SciPy knows nothing.

Example: a cell reads `np` and `rng` and calls `mask_of`, a function of the same file that reads `np`. For the time of the trace
`np` is `Numpy()` and `rng` is `Noise(rng)` there. A thread that traces nothing finds what it always finds behind both.
"""

from __future__ import annotations

import functools
import math
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock, local
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from symbptt.language import scipy_names
from symbptt.language.allocated import allocated, plain_call, plainly
from symbptt.language.array import TRACED, graph_of, is_of_sizes
from symbptt.language.brackets import Brackets
from symbptt.language.creation import CREATORS, JOINERS, MADE, held
from symbptt.language.functions import ELEMENTWISE, as_numbers
from symbptt.language.number_kinds import of_data
from symbptt.language.numpy_signatures import as_numpy_calls
from symbptt.language.user_frames import cell_error, is_user_file

ALLOCATORS = ("zeros", "ones", "full", "empty", "eye", "identity")
"""NumPy's functions of sizes whose results a function of the user's may write into."""
BRACKETS = ("r_", "c_")
"""What NumPy joins arrays with in brackets."""


class _Here(local):
    """What a thread does: how many traces are open in it, and how many calls of a check."""

    traces = 0
    checks = 0


_HERE = _Here()


class Numpy(ModuleType):
    """NumPy, whose functions of sizes alone take named sizes while this thread traces."""

    def __init__(self) -> None:
        super().__init__("numpy")

    def __getattr__(self, name: str) -> Any:
        found = getattr(np, name)
        if name in JOINERS:
            return of_values(name, found)
        if name in BRACKETS:
            return Brackets(name, _is_ours)
        if not _HERE.traces:
            return _held(found) if name in ALLOCATORS else found
        if name in CREATORS:
            return of_sizes(name, CREATORS[name], found)
        return Noise(found, "np.random") if found is np.random else found

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(np, name, value)

    def __dir__(self) -> list[str]:
        return dir(np)


def _held(plain: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of NumPy that allocates an array as a check wants it."""

    @functools.wraps(plain)
    def function(*args: Any, **kwargs: Any) -> Any:
        if plain is np.full and len(args) == 2 and not kwargs and isinstance(args[1], np.ndarray):
            # np.full takes the numbers of a value alone, not what a check has them carry.
            return held(np.zeros(args[0])) + args[1]
        return held(plain(*args, **kwargs))

    return function


def _is_number(value: Any) -> bool:
    """Answer whether a value is an array of NumPy's own without axes, or an integer or a truth value of NumPy's, which a trace takes for
    a number."""
    is_plain = type(value) is np.ndarray and not value.ndim and value.dtype.kind in "fiub"
    return is_plain or isinstance(value, np.integer | np.bool_)


def of_sizes(name: str, own: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    """Return NumPy's function of a name, which is ours where an argument is a value of a cell or a named size."""

    @functools.wraps(plain)
    def function(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = tuple(map(of_data, args)), {key: of_data(value) for key, value in kwargs.items()}
        if graph_of(*args, *kwargs.values()) is None:
            # What nobody has written into a new array is zero in the trace, so that it is the same in each.
            made = np.zeros if name == "empty" else plain
            return held(made(*args, **kwargs)) if name in ALLOCATORS else plain(*args, **kwargs)
        return as_numpy_calls(name, own, as_numbers)(*args, **kwargs)

    return function


def of_values(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    """Return NumPy's function that makes an array of lists, which is ours where values of a cell or of a check stand in them."""

    @functools.wraps(plain)
    def function(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = tuple(map(of_data, args)), {key: of_data(value) for key, value in kwargs.items()}
        if _is_ours(plainly(args[:1])):
            return as_numpy_calls(name, JOINERS[name], as_numbers)(*plainly(args), **kwargs)
        found = plain_call(plain, args, kwargs)
        if _HERE.traces:
            return held(found) if type(found) is np.ndarray and found.dtype.kind in "fc" else found
        # A check is given the number that `np.array(1.0)` spells, as the trace is.
        return found.item() if MADE.get() is not None and _is_number(found) else found

    return function


def _is_ours(value: Any) -> bool:
    """Answer whether values stand in something while this thread traces, or a check runs the function."""
    return bool((_HERE.traces or MADE.get() is not None) and _has_values(value))


def _has_values(value: Any) -> bool:
    """Answer whether something, or what lists have in it, is an array that says itself what NumPy's functions mean, or a named size."""
    if isinstance(value, list | tuple):
        return any(map(_has_values, value))
    return graph_of(value) is not None or (type(value) is not np.ndarray and hasattr(value, "__array_function__"))


class Math(ModuleType):
    """Python's math, whose functions take named sizes while this thread traces."""

    def __init__(self) -> None:
        super().__init__("math")

    def __getattr__(self, name: str) -> Any:
        found = getattr(math, name)
        return of_a_size(found) if callable(found) else found


def of_a_size(plain: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of Python's math, which is NumPy's of the same name where an argument is made of named sizes."""

    name = plain.__name__
    own = MATH.get(name) or getattr(np, name, None)

    @functools.wraps(plain)
    def function(*args: Any, **kwargs: Any) -> Any:
        if not (_HERE.traces and any(map(is_of_sizes, args))):
            return plain(*args, **kwargs)
        if own is None:
            cure = "write it with functions of NumPy, or make the number outside of the cell, a Const"
            raise cell_error(f"math.{name} of a named size is not known to symbptt", cure)
        return own(*args, **kwargs)

    return function


def _logarithm(x: Any, base: Any = None) -> Any:
    return np.log(x) if base is None else np.log(x) / np.log(base)


MATH: dict[str, Callable[..., Any]] = {"log": _logarithm, "erf": ELEMENTWISE["erf"]}
"""Functions of Python's math which NumPy calls otherwise, or whose arguments mean something else there."""


class Noise:
    """A module, a function or a generator that draws at random: refused while this thread traces."""

    def __init__(self, of: Any, name: str) -> None:
        self.__dict__.update(_of=of, _name=name)

    def __getattr__(self, name: str) -> Any:
        if not _HERE.traces:
            return getattr(self._of, name)
        raise _noise(f"{self._name}.{name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not _HERE.traces:
            return self._of(*args, **kwargs)
        raise _noise(self._name)


class Scipy(ModuleType):
    """SciPy, or a module of it, whose functions mean ours while this thread traces or checks."""

    def __init__(self, of: ModuleType) -> None:
        super().__init__(of.__name__)
        self.__dict__["_of"] = of

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._of, name)
        own = _of_scipy(found) if _HERE.traces or _HERE.checks else None
        return found if own is None else own

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._of, name, value)

    def __dir__(self) -> list[str]:
        return dir(self._of)


def _of_scipy(value: Any) -> Any:
    """Return what a module, a function or a sparse constant of SciPy means, None of any other value."""
    if scipy_names.is_module(value):
        return Scipy(value)
    if scipy_names.is_sparse(value):
        return scipy_names.KeptDense(value)
    own = scipy_names.own_function(value) if callable(value) else None
    return None if own is None else _unless_plain(own, value)


def _unless_plain(own: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    """Return SciPy's function, which is ours where this thread traces or checks and an argument is no plain array."""

    @functools.wraps(plain)
    def function(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = plainly(args), plainly(kwargs)
        is_ours = (_HERE.traces or _HERE.checks) and not scipy_names.is_plain(*args, *kwargs.values())
        return (own if is_ours else plain)(*args, **kwargs)

    return function


def _noise(what: str) -> Exception:
    return cell_error(
        f"{what} draws at random in a cell, which is traced once and then computes the same at every step",
        'draw nothing at random: make the mask or the noise an Input, keep: Input["n"], and give it to the kernel with the data; '
        "sb.dropout_mask(rng, (T, B, n), 0.1) draws a mask; what is drawn once and stays is drawn outside of the function",
    )


_GENERATORS = (np.random.Generator, np.random.RandomState, np.random.BitGenerator, random.Random)
# A module's own names alone: random has names of math, itertools and bisect for itself.
_DRAWING = {id(getattr(module, name)) for module in (np.random, random) for name in module.__all__}


def _meant(name: str, value: Any) -> Any:
    """Return what a name means while its function is traced, or None where that is what it always means."""
    if value is np:
        return Numpy()
    if value is np.random or value is random or isinstance(value, _GENERATORS) or id(value) in _DRAWING:
        return Noise(value, name)
    if value is math or id(value) in _OF_MATH:
        return Math() if value is math else of_a_size(value)
    creator = _NAMES.get(id(value), "")
    if creator in BRACKETS:
        return Brackets(creator, _is_ours)
    if creator in JOINERS:
        return of_values(creator, value)
    return of_sizes(creator, CREATORS[creator], value) if creator else _of_scipy(value)


_NAMES = {id(getattr(np, name)): name for name in (*CREATORS, *JOINERS, *BRACKETS)}
"""NumPy's functions of sizes and of lists by what they are, for `from numpy import eye`."""
_OF_MATH = {id(value) for value in vars(math).values() if callable(value)}


_LOCKS = [RLock()]
if hasattr(os, "register_at_fork"):
    # A process that is forked while a thread traces has that thread's lock, and nobody who gives it back.
    os.register_at_fork(after_in_child=lambda: _LOCKS.__setitem__(0, RLock()))


@contextmanager
def traced_names(function: Callable[..., Any]) -> Iterator[None]:
    """Let the names that a function and those that it calls by name find mean what they mean while it is traced."""
    graph = TRACED.get()
    with _exchanged(function, _meant), _open("traces"):
        token = MADE.set(None if graph is None else allocated(graph))
        try:
            yield
        finally:
            MADE.reset(token)


@contextmanager
def checked_names(function: Callable[..., Any]) -> Iterator[None]:
    """Let SciPy's names that a function finds mean what they mean of numbers that carry a tangent."""
    with _exchanged(function, lambda _, value: _of_scipy(value)), _open("checks"):
        yield


@contextmanager
def held_names(function: Callable[..., Any], made: Callable[[Any], Any]) -> Iterator[None]:
    """Let arrays that a function allocates be what a check makes of them: `np.zeros(h.shape)` has room for complex numbers then, or
    for elements of a field."""
    token = MADE.set(made)
    try:
        with _exchanged(function, _allocating):
            yield
    finally:
        MADE.reset(token)


def _allocating(name: str, value: Any) -> Any:
    """Return what a name means while a check makes of arrays what it computes with, or None where that is what it always means."""
    if value is np:
        return Numpy()
    if _is_number(value):
        return value.item()
    name = _NAMES.get(id(value), "")
    if name in BRACKETS:
        return Brackets(name, _is_ours)
    if name in JOINERS:
        return of_values(name, value)
    return _held(value) if name in ALLOCATORS else None


@contextmanager
def _open(counter: str) -> Iterator[None]:
    """Count one trace, or one call of a check, as open in this thread."""
    setattr(_HERE, counter, getattr(_HERE, counter) + 1)
    try:
        yield
    finally:
        setattr(_HERE, counter, getattr(_HERE, counter) - 1)


def reads_scipy(function: Callable[..., Any]) -> bool:
    """Answer whether a function, or one that it calls by name, reads a name of SciPy that means something else in a check."""
    if "scipy" not in sys.modules:
        return False
    if function not in _READS:  # asked for each call of a check
        _READS[function] = any(_of_scipy(value) is not None for _, _, value in _places(function, set()))
    return _READS[function]


_READS: WeakKeyDictionary[Callable[..., Any], bool] = WeakKeyDictionary()


@contextmanager
def _exchanged(function: Callable[..., Any], meant: Callable[[str, Any], Any]) -> Iterator[None]:
    """Put other values behind the names that a function reads, where there are any, and put back what was there."""
    # Other threads do so with functions of the same file at other times: what one puts back another has not put there.
    with _LOCKS[0]:
        changed = []
        for place, name, value in _places(function, set()):
            other = meant(name, value)
            if other is not None:
                changed.append((place, name, value))
                _put(place, name, other)
        try:
            yield
        finally:
            for place, name, value in changed:
                _put(place, name, value)


def _put(place: dict[str, Any] | CellType, name: str, value: Any) -> None:
    if isinstance(place, dict):
        place[name] = value
    else:
        place.cell_contents = value


def _places(function: Any, seen: set[Any]) -> Iterator[tuple[dict[str, Any] | CellType, str, Any]]:
    """Yield where the names that a function reads are kept, each with its value, also those of functions of the user's that it reads."""
    function = getattr(function, "function", function)  # of a cell that another one calls
    function = getattr(function, "__wrapped__", function)
    if not isinstance(function, FunctionType) or function in seen or not is_user_file(function.__code__.co_filename):
        return
    seen.add(function)
    found: list[tuple[dict[str, Any] | CellType, str, Any]] = [
        (function.__globals__, name, function.__globals__[name])
        for name in _names(function.__code__)
        if name in function.__globals__
    ]
    # An empty cell has no value yet.
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    found += [(cell, name, cell.cell_contents) for name, cell in cells if cell != CellType()]
    for place, name, value in found:
        yield place, name, value
        yield from _places(value, seen)
        if isinstance(value, ModuleType) and is_user_file(getattr(value, "__file__", None) or ""):
            for inner in _names(function.__code__):
                yield from _places(vars(value).get(inner), seen)


def _names(code: CodeType) -> Iterator[str]:
    """Yield the names that a function reads beside its own variables, and those of the functions inside it."""
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)
