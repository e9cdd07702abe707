"""Arrays of known shape that a body allocates: NumPy's own as long as plain numbers stand in them, symbolic from the first value on.

Example: of `y = np.zeros(3)` the values `np.linalg.inv(np.diag(y + 1))` and `y.dtype` are NumPy's. After `y[0] = np.sum(h)` y is an
array of the graph as any other, and so is each view of it that was taken before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.language.array import IN_PLACE, OPERATORS, Array, Part, as_array, check_here, graph_of
from symbptt.language.user_frames import cell_error


class Allocated(Array):
    """An array that a body may fill with values of the cell; `plain` is NumPy's, None as soon as one stands in it."""

    __slots__ = ("plain",)

    def __init__(self, graph: Graph, plain: Any, part: Part | None = None) -> None:
        self.plain: Any = plain
        super().__init__(graph, _node(graph, plain), None, part)

    @property
    def id(self) -> int:
        if self._numbers() is None:
            return super().id
        return _node(self.graph, self.plain)

    @property
    def value(self) -> Any:
        """NumPy's array, where the array holds plain numbers."""
        return self._numbers()

    @value.setter
    def value(self, value: Any) -> None:
        """Leave it out: arrays of the graph are told their number once, and this one has what stands in it."""

    def _numbers(self) -> Any:
        """Return NumPy's array, None where a value of the cell stands in it or in the array of which it is a view."""
        whole = self._whole()
        if whole is not None and whole._numbers() is None:
            self.plain = None
        return self.plain if self.plain is None or self.is_of_here() else _locked(self.plain)

    def _whole(self) -> Allocated | None:
        """Return the array of which it is a view, or a view of a view without numbers of its own."""
        part = self.part
        while part is not None:
            if isinstance(part.whole, Allocated):
                return part.whole
            part = part.whole.part
        return None

    def become(self, id: int) -> None:
        super().become(id)
        self.plain = None

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._numbers(), name, None)
        if found is None:
            return super().__getattr__(name)
        if name == "copy":
            return _copied(self, found)
        return self._method(name, found) if callable(found) else self._shown(found)

    def _method(self, name: str, of_numbers: Callable[..., Any]) -> Callable[..., Any]:
        """Return a method of NumPy's array: with values of the cell among its arguments the symbolic one."""

        def method(*args: Any, **kwargs: Any) -> Any:
            def symbolic() -> Any:
                return Array.__getattr__(self, name)(*args, **kwargs)

            if not is_plain((args, kwargs)):
                return symbolic()
            return self._shown(of_numbers(*plainly(args), **plainly(kwargs)), name, symbolic)

        return method

    def __getitem__(self, key: Any) -> Any:
        numbers = self._numbers()
        if numbers is None or not is_plain(key):
            return super().__getitem__(key)
        return self._seen(numbers[plainly(key)], lambda: super(Allocated, self).__getitem__(key))

    def _seen(self, found: Any, symbolic: Callable[[], Array]) -> Any:
        """Return a part of the numbers, which may be filled as well; one that is a view is one of both."""
        if not isinstance(found, np.ndarray) or found is self.plain:
            return self if found is self.plain else found
        return Allocated(self.graph, found, symbolic().part if self._is_view(found) else None)

    def _is_view(self, found: Any) -> bool:
        return isinstance(found, np.ndarray) and bool(found.size) and np.may_share_memory(found, self.plain)

    def _shown(self, found: Any, name: str = "", symbolic: Callable[[], Any] | None = None) -> Any:
        """Return what a function of NumPy made of the numbers, of which a view goes on showing what the array becomes."""
        if type(found) in (list, tuple):
            return type(found)(self._shown(part) for part in found)
        if not self._is_view(found):
            return found
        return self._seen(found, symbolic if symbolic is not None and name in VIEWS else lambda: _closed(self, found))

    @property
    def T(self) -> Any:
        numbers = self._numbers()
        symbolic = super().T
        return symbolic if numbers is None else self._seen(numbers.T, lambda: symbolic)

    def __setitem__(self, key: Any, value: Any) -> None:
        numbers = self._numbers()
        if numbers is None or not is_plain((key, value)):
            super().__setitem__(key, value)
        else:
            check_here(self)
            numbers[plainly(key)] = plainly(value)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        numbers = self._numbers()
        return super().__array__(*args, **kwargs) if numbers is None else np.asarray(numbers, *args)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if is_plain((inputs, kwargs)):
            found = getattr(ufunc, method)(*plainly(inputs), **plainly(kwargs))
            return kwargs["out"][0] if "out" in kwargs else found
        return super().__array_ufunc__(ufunc, method, *inputs, **kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if is_plain((args, kwargs)):
            found = func(*plainly(args), **plainly(kwargs))
            if func.__name__ in FILLED:
                return Allocated(self.graph, found)
            symbolic = partial(super().__array_function__, func, types, args, kwargs)
            return _shown_of((args, kwargs), found, func.__name__, symbolic)
        return super().__array_function__(func, types, args, kwargs)

    def __len__(self) -> int:
        return int(self.shape[0]) if self.ndim else super().__len__()


def _node(graph: Graph, plain: Any) -> int:
    """Return the node of plain numbers: equal ones are one number."""
    if plain.size and (plain == plain.flat[0]).all():
        return build.expand(graph, as_array(graph, plain.flat[0]).id, plain.shape)
    return as_array(graph, plain).id


def _locked(plain: Any) -> Any:
    """Return numbers to read alone: those of an array that was made outside of the body which reads them."""
    found = plain.view()
    found.flags.writeable = False
    return found


def _closed(x: Allocated, found: Any) -> Array:
    """Return a view of numbers that no value of the cell may come into any more: how it would show it is not known."""

    def refuse(*_: int) -> int:
        raise cell_error(
            f"a view of shape {found.shape} of an array in which a value of the cell stands, taken while there were numbers in it",
            "take the view behind the last line that writes a value into the array",
        )

    return Array(x.graph, x.id, part=Part(x, refuse, refuse))


def _shown_of(operands: Any, found: Any, name: str = "", symbolic: Callable[[], Any] | None = None) -> Any:
    """Return what a function of NumPy made of its operands, tied to the first of which it is a view, if it is one."""
    for x in _allocated_in(operands):
        shown = x._shown(found, name, symbolic)
        if shown is not found:
            return shown
    return found


def _allocated_in(value: Any) -> Iterator[Allocated]:
    match value:
        case Allocated():
            yield value
        case tuple() | list():
            for part in value:
                yield from _allocated_in(part)
        case dict():
            yield from _allocated_in(list(value.values()))


def plain_call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what NumPy's function makes of plain numbers; where that is a view of an array it goes on showing what that becomes."""
    return _shown_of((args, kwargs), function(*plainly(args), **plainly(kwargs)))


VIEWS = (
    "reshape", "ravel", "transpose", "permute_dims", "swapaxes", "moveaxis", "squeeze", "expand_dims", "flip", "diagonal",
)  # fmt: skip
"""Functions and methods of an array whose results are views of it in the graph too."""
FILLED = ("copy", "zeros_like", "ones_like", "full_like", "empty_like")
"""Functions of an array whose results a body may fill as well."""


def _copied(x: Allocated, copy: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: Allocated(x.graph, copy(*args, **kwargs))


def is_plain(value: Any) -> bool:
    """Answer whether a value, or what a tuple, list, dict or slice has in it, is NumPy's or Python's."""
    match value:
        case Allocated():
            return value._numbers() is not None
        case tuple() | list():
            return all(map(is_plain, value))
        case dict():
            return all(map(is_plain, value.values()))
        case slice():
            return graph_of(value.start, value.stop, value.step) is None
        case _:
            return graph_of(value) is None


def plainly(value: Any) -> Any:
    """Return a value with NumPy's array for each allocated one in it that holds plain numbers."""
    match value:
        case Allocated():
            numbers = value._numbers()
            return value if numbers is None else numbers
        case tuple() | list():
            return type(value)(map(plainly, value)) if not hasattr(value, "_fields") else value
        case dict():
            return {key: plainly(x) for key, x in value.items()}
        case _:
            return value


def _operator(name: str) -> Callable[..., Any]:
    symbolic = getattr(Array, name)

    def operator(self: Allocated, *others: Any) -> Any:
        numbers = self._numbers()
        if numbers is None or not is_plain(others):
            return symbolic(self, *others)
        if name in IN_PLACE:
            check_here(self)
        found = getattr(numbers, name)(*plainly(others))
        return self if name in IN_PLACE else found

    return operator


for _name in OPERATORS:
    setattr(Allocated, _name, _operator(_name))


def _attribute(name: str) -> Any:
    symbolic = getattr(Array, name)

    def attribute(self: Allocated) -> Any:
        numbers = self._numbers()
        return symbolic.fget(self) if numbers is None else self._shown(getattr(numbers, name))

    return property(attribute)


for _name in ("dtype", "real", "imag", "mT"):
    setattr(Allocated, _name, _attribute(_name))


def allocated(graph: Graph) -> Callable[[Any], Any]:
    """Return what makes of NumPy's new array one that values of a graph may be written into."""
    return lambda plain: Allocated(graph, plain)
