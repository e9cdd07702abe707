"""Checks of calls in as many microseconds as a short sweep in C takes: none is left out, and what fails one is told by the module.

What a module says of names, types, shapes and sizes depends on these alone, so that a call in the form of one before needs no second
look at them. Whether numbers are finite is looked for at each call, by one C function for all arrays together.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from struct import pack
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symbptt.codegen.c_function import address

Array = NDArray[Any]
FORMS = 64
"""The forms of calls that are remembered: a program has few, but for lengths that are drawn anew."""
NAMES = {np.dtype(np.float32): "unfinite_float", np.dtype(np.float64): "unfinite_double"}
"""The C functions that look for numbers that are not finite, by the types of these."""


@dataclass(frozen=True)
class _Form:
    """What the module said of a call: the shapes of the arrays that it made of those given, and all else that it returned."""

    shapes: Mapping[str, tuple[int, ...]]
    rest: tuple[Any, ...]


@dataclass
class KnownCalls:
    """The checks of a module, in the place of which these stand, and the library with the functions of `finite.c`."""

    module: ModuleType
    library: ctypes.CDLL
    forms: dict[Any, _Form] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.full = {name: vars(self.module)[name] for name in ("_arguments", "_check_data", "_check_finite")}
        self.unfinite = {dtype: self.library[name] for dtype, name in NAMES.items()}
        for function in self.unfinite.values():
            function.argtypes, function.restype = (ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p), ctypes.c_size_t

    def arguments(self, params: Any, inputs: Any, state: Any, steps: Any, targets: Any = None) -> Any:
        """Return what `_arguments` of the module does."""
        groups = params, inputs, state, targets
        form = _form_of(groups, steps)
        known = None if form is None else self.forms.get(form)
        if known is None:
            found = self.full["_arguments"](params, inputs, state, steps, targets)
            if form is not None and (noted := _noted(groups, found)) is not None:
                if len(self.forms) >= FORMS:
                    self.forms.clear()
                self.forms[form] = noted
            return found
        shapes, (sizes, _, B, dtype, _) = known.shapes, known.rest
        arrays = {k: _as(v, shapes[k]) for group in groups if group is not None for k, v in group.items()}
        if any(k not in arrays for k in self.module.STATES):
            self.module._fill(arrays, self.module._shapes(**sizes), B, dtype)
        # The sizes are a dict of the caller's own.
        return arrays, {**sizes}, *known.rest[1:]

    def check_data(self, arrays: dict[str, Array], active: Any, sizes: Any, first: int = 0) -> None:
        """Do what `_check_data` of the module does."""
        indices = self.module.INDICES
        if active is not None or not self._are_finite(v for k, v in arrays.items() if k not in indices):
            self.full["_check_data"](arrays, active, sizes, first)
        elif indices:
            self.module._check_indices(arrays, sizes, first)

    def check_finite(self, name: str, array: Array, lead: int, first: int = 0) -> None:
        """Do what `_check_finite` of the module does."""
        if not self._are_finite([array]):
            self.full["_check_finite"](name, array, lead, first)

    def _are_finite(self, arrays: Iterable[Array]) -> bool:
        """Answer whether all numbers of some arrays are finite; no, where C does not read one of them."""
        lengths, places, dtype = [], [], None
        for v in arrays:
            dtype = v.dtype if dtype is None else dtype
            if v.dtype != dtype or not v.flags.c_contiguous:
                return False
            lengths.append(v.size)
            places.append(address(v))
        if dtype not in self.unfinite:
            return dtype is None
        count = len(lengths)
        return bool(self.unfinite[dtype](count, pack(f"{count}N", *lengths), pack(f"{count}P", *places)) == count)


def _form_of(groups: Iterable[Any], steps: Any) -> Any:
    """Return all of a call that names, types and shapes are checked for; None where something else than an array is given."""
    if type(steps) not in (int, type(None)):
        return None
    found: list[Any] = [steps]
    for group in groups:
        if type(group) is dict:
            for name, v in group.items():
                if type(v) is not np.ndarray:
                    return None
                found += (name, v.shape, v.dtype)
        elif group is not None:
            return None
        found.append(group is None)
    return tuple(found)


def _noted(groups: Iterable[Any], found: Any) -> _Form | None:
    """Return what is known of all calls in the form of one; None where its arrays have another type than those given."""
    arrays, *rest = found
    given = {k: v for group in groups for k, v in (group or {}).items()}
    if any(arrays[k].dtype != v.dtype for k, v in given.items()):
        return None
    return _Form({k: arrays[k].shape for k in given}, tuple(rest))


def _as(array: Array, shape: tuple[int, ...]) -> Array:
    """Return a view of an array with an axis of samples, or the array where it has one."""
    if array.shape == shape:
        return array
    return (
        array.reshape(shape)
        if len(array.shape) < len(shape) and array.size == np.prod(shape)
        else np.broadcast_to(array, shape)
    )
