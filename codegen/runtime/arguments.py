"""The arguments of a call: arrays of one type with a batch axis, their sizes, and what is wrong with them."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from symbptt.codegen.runtime.cell import (
    CONTEXTS,
    INDICES,
    INPUTS,
    LEAD,
    MARK,
    PARAMS,
    SHAPES,
    STATES,
    TARGETS,
    Array,
    Arrays,
    Mask,
    Sizes,
    _shapes,
    _sizes,
)
from symbptt.codegen.runtime.contexts import _share
from symbptt.codegen.runtime.errors import ArgumentError
from symbptt.codegen.runtime.masks import _after_end, _held, _kept
from symbptt.codegen.runtime.starts import _begin, _spare_start
from symbptt.codegen.runtime.types import _is_complex, _type_of

OUTSIDE: tuple[str, ...] = (*INPUTS, *CONTEXTS)
"""What a call is given beside parameters, states and targets: at each step, and once a sequence."""


def _plain(name: str, value: Any) -> Array:
    """Return a plain array of a value, in the machine's byte order."""
    if isinstance(value, (np.ma.MaskedArray, np.matrix)):
        raise ArgumentError(f"{name}: a plain array is expected, got {type(value).__name__}; write np.asarray(...)")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists; tensors with a gradient or on a device
        cure = "; write .detach().cpu().numpy()" if hasattr(value, "detach") else ""
        raise ArgumentError(f"{name}: not an array of numbers ({error}){cure}") from None
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _array(name: str, value: Any, rank: int, lead: int) -> Array:
    """Return one argument as an array whose axes are as many as `rank`, or `lead` more at the most."""
    array = _plain(name, value)
    if name in INDICES:
        if array.dtype.kind not in "iu":
            whole = array.dtype.kind == "f" and bool((array == np.floor(array)).all())
            cure = "; write .astype(int)" if whole else ""
            raise ArgumentError(f"{name}: integers are expected, got {array.dtype}{cure}")
    elif array.dtype not in [_type_of(name, known) for known in (np.float32, np.float64)]:
        wanted = ("complex64", "complex128") if _is_complex(name) else ("float32", "float64")
        cure = f"; write .astype(np.{wanted[1]})" if array.dtype.kind in "biuf" else ""
        came = array.dtype if cure or isinstance(value, (np.ndarray, np.generic)) else type(value).__name__
        raise ArgumentError(f"{name}: {' or '.join(wanted)} is expected, got {came}{cure}")
    if not max(rank, rank + lead - 1) <= array.ndim <= rank + lead:
        raise ArgumentError(f"{name}: {_axes(name, lead)} is expected, got shape {array.shape}")
    return array


def _axes(name: str, lead: int) -> str:
    inner = SHAPES[name].split()
    return "(" + ", ".join(["T", "B"][2 - lead :] + inner) + ")" if inner or lead else "a scalar"


def _names(what: str, given: Any, known: Sequence[str], needed: Iterable[str]) -> None:
    group = {"parameter": "params", "state or output": "cotangents", "state": "state"}.get(what, f"{what}s")
    if isinstance(given, type) or not hasattr(given, "items"):
        cure = f'; write {group}={{"{known[0]}": array}}' if known else ""
        raise ArgumentError(f"{group}: a dict by name is expected, got {type(given).__name__}{cure}")
    for name in given:
        if name not in known:
            raise ArgumentError(f"{what} {name!r} is not known; expected {', '.join(known) or 'none'}")
    for name in needed:
        if name not in given:
            cure = f"pass {group}={{{name!r}: ...}}, {_axes(name, LEAD.get(name, 0))}"
            raise ArgumentError(f"{what} {name!r} is missing; {cure}")


def _check_shape(name: str, array: Array, wanted: tuple[int, ...], T: int) -> None:
    if array.shape != wanted:
        lead = LEAD.get(name, 0)
        swapped = array.shape[:2] == wanted[1::-1] if lead == 2 else lead == 1 and array.shape[0] == T
        # As many steps as samples: what is wrong is another axis.
        hint = "; time comes first: (T, B, ...)" if swapped and array.shape[0] != wanted[0] else ""
        raise ArgumentError(f"{name}: {_axes(name, lead)} = {wanted} is expected, got {array.shape}{hint}")


def _place(where: Iterable[Any], lead: int, first: int = 0) -> str:
    """Return in words where an entry is: at which step and sample, as far as it has these."""
    where = tuple(int(i) for i in where)
    where = (where[0] + first, *where[1:]) if lead == 2 else where
    places = [f"{axis} {i}" for axis, i in zip(("step", "sample")[2 - lead :], where)]
    return f" at {', '.join(places)} (index {where})" if places else f" at index {where}" if where else ""


def _filled(name: str) -> str:
    """Return what to write where data of steps, or of a whole sequence, is not finite."""
    if name in STATES or name not in LEAD:
        return ""
    other = "or end the sample before it by lengths=" if LEAD[name] == 2 else "also where a mask hides it"
    return f"; fill the gap, as np.nan_to_num does, {other}"


# A nan among the data would come out as a gradient of nan for every weight, and say nothing of where it came from.
def _check_finite(name: str, array: Array, lead: int, first: int = 0) -> None:
    """Say where an array is not finite; `lead` of its axes are those of steps, from `first` on, and samples."""
    if np.isfinite(array.sum()) or np.isfinite(array).all():  # a finite sum saves an array of bools
        return
    bad = ~np.isfinite(array)
    _spare_start(bad, name, array)
    if not bad.any():
        return
    where = tuple(np.argwhere(bad)[0])
    raise ArgumentError(
        f"{name}: {array[where]}{_place(where, lead, first)}; finite numbers are expected{_filled(name)}"
    )


def _check_data(arrays: Arrays, active: Mask, sizes: Sizes, first: int = 0) -> None:
    """Say where numbers that are read are not finite, or no index; behind a sample's end its last step is held.
    The arrays of steps begin with step `first`."""
    for k in [k for k in arrays if LEAD.get(k) == 2 and active is not None]:
        arrays[k] = _held(arrays[k], active.sum(0))
    _check_indices(arrays, sizes, first)
    with np.errstate(over="ignore", invalid="ignore"):
        for k in [k for k in arrays if k not in INDICES]:
            _check_finite(k, arrays[k], LEAD.get(k, 0), first)


def _check_indices(arrays: Arrays, sizes: Sizes, first: int) -> None:
    """Say where numbers are no index."""
    shapes = _shapes(**sizes)
    for k in [k for k in INDICES if k in arrays]:
        name = INDICES[k]
        limit = shapes[name][0] if name else np.inf
        if arrays[k].size and not (arrays[k].min() >= 0 and arrays[k].max() < limit):
            where = tuple(np.argwhere((arrays[k] < 0) | (arrays[k] >= limit))[0])
            came = f"{arrays[k][where]}{_place(where, LEAD.get(k, 0), first)}"
            raise ArgumentError(f"{k}: integers from 0 to {limit - 1} are expected, got {came}")


def _length(arrays: Arrays, name: str, axis: int) -> Any:
    """Return the length of an axis; where its argument is not given, from one with the same size, else not a number."""
    if name in arrays:
        return arrays[name].shape[LEAD.get(name, 0) + axis]
    size = SHAPES[name].split()[axis]
    same = [
        a.shape[LEAD.get(k, 0) + SHAPES[k].split().index(size)] for k, a in arrays.items() if size in SHAPES[k].split()
    ]
    return same[0] if same else np.nan


def _given(params: Any, inputs: Any, state: Any, targets: Any) -> tuple[dict[str, Any], set[str]]:
    """Return all arguments by name, and the names of plain numbers, which take the type of the arrays."""
    params = {} if params is None and not PARAMS else params
    inputs, state = ({} if v is None else v for v in (inputs, state))
    _names("parameter", params, PARAMS, PARAMS)
    _names("input", inputs, OUTSIDE, OUTSIDE)
    _names("state", state, STATES, ())
    if targets is not None or TARGETS:
        _names("target", {} if targets is None else targets, TARGETS, () if targets is None else TARGETS)
    given = {k: v for group in (params, inputs, state, targets or {}) for k, v in group.items()}
    weak = {k for k, v in given.items() if type(v) in (int, float, complex) and k in PARAMS and not SHAPES[k]}
    return {k: _weak(k, v) if k in weak else v for k, v in given.items()}, weak


def _weak(name: str, value: Any) -> Any:
    """Return a plain number as one of an array; a complex one stays that, and is refused where real ones are expected."""
    return np.complex128(value) if _is_complex(name) or isinstance(value, complex) else np.float64(value)


def _dtype(arrays: Arrays, weak: set[str]) -> Any:
    """Return the one type of the arrays of floats."""
    floats = {k: a.dtype for k, a in arrays.items() if k not in INDICES and k not in weak}
    dtype = next((np.empty(0, found).real.dtype for found in floats.values()), np.dtype(np.float64))
    for k, found in floats.items():
        if found != _type_of(k, dtype):
            raise ArgumentError(
                f"{k}: {found} among arrays of {next(iter(floats.values()))} ({next(iter(floats))}); convert one of them"
            )
    return dtype


def _batched(arrays: Arrays, most: int = 2) -> bool:
    """Return whether the arrays have a batch axis: all that may have one do, or none does; of one step they have `most` one axis
    before their own."""
    lead = {k: min(LEAD[k], most) for k in arrays if k in LEAD}
    single = {k: arrays[k].ndim < len(SHAPES[k].split()) + lead[k] for k in lead}
    first = next(iter(single), "")
    for k in single:
        if single[k] != single[first]:
            one, other = (k, first) if single[k] else (first, k)
            raise ArgumentError(f"{k}: {_one_batched(arrays, one, other, k, lead)}")
    return not any(single.values())


def _one_batched(arrays: Arrays, single: str, other: str, name: str, lead: dict[str, int]) -> str:
    """Return what is wrong where one of two arguments, of which `name` is told, has a batch axis and the other has none."""
    batch, wanted = arrays[other].shape[lead[other] - 1], _axes(single, lead[single])
    cure = f"where it is the same for all samples write np.stack([{single}] * {batch}, axis={lead[single] - 1})"
    return (
        f"shape {arrays[name].shape} does not go with {other if name == single else single}: a batch axis is on one only; "
        f"{single}: {wanted} is expected, got {arrays[single].shape}; {cure}"
    )


def _count(arrays: Arrays, steps: Any) -> int:
    """Return the number of steps: that of the inputs, else what is said."""
    number = isinstance(steps, (int, np.integer)) and not isinstance(steps, bool)
    if steps is not None and not (number and steps >= 0):
        raise ArgumentError(f"steps: a number of steps is expected, got {steps!r}")
    T = next((arrays[k].shape[0] for k in INPUTS), steps)
    if T is None:
        raise ArgumentError("the cell has no inputs: say how many steps, steps=")
    if steps not in (None, T):
        raise ArgumentError(f"steps: {steps} is given, the inputs have T = {T}")
    return T


def _measured(arrays: Arrays, T: int, B: int, batched: bool) -> Sizes:
    """Return the sizes by name; the shapes of all arrays go with them."""
    sizes = _sizes(lambda name, axis: _length(arrays, name, axis))
    shapes = _shapes(**sizes)
    for k in [k for k in STATES if k not in arrays and any(s != s for s in shapes[k])]:
        lack = " and ".join(repr(name) for name, s in sizes.items() if s != s)
        cure = f"pass state={{{k!r}: np.zeros({_axes(k, int(batched))})}}"
        raise ArgumentError(f"{k}: nothing that is given tells the size {lack}; {cure}")
    for k, a in arrays.items():
        _check_shape(k, a, ((T, B)[2 - LEAD[k] :] if k in LEAD else ()) + shapes[k], T)
    if min([*sizes.values(), 1]) < 1:
        raise ArgumentError(f"sizes are positive, got {sizes}")
    return sizes


def _arguments(
    params: Any, inputs: Any, state: Any, steps: Any, targets: Any = None
) -> tuple[Arrays, Sizes, int, int, Any, bool]:
    """Return the arguments as arrays of one type, with a batch axis, the sizes, and whether there was a batch axis."""
    given, weak = _given(params, inputs, state, targets)
    arrays = {k: _array(k, v, len(SHAPES[k].split()), LEAD.get(k, 0)) for k, v in given.items()}
    _share(arrays)
    dtype, batched = _dtype(arrays, weak), _batched(arrays)
    if not batched:
        arrays = {k: np.expand_dims(a, LEAD[k] - 1) if k in LEAD else a for k, a in arrays.items()}
    T = _count(arrays, steps)
    B = next((arrays[k].shape[LEAD[k] - 1] for k in (*INPUTS, *arrays) if k in LEAD and k in arrays), 1)
    sizes = _measured(arrays, T, B, batched)
    shapes = _shapes(**sizes)
    _fill(arrays, shapes, B, dtype)
    arrays = {k: a if k in INDICES else a.astype(_type_of(k, dtype), copy=False) for k, a in arrays.items()}
    return arrays, sizes, T, B, dtype, batched


def _fill(arrays: Arrays, shapes: dict[str, tuple[int, ...]], B: int, dtype: Any) -> None:
    """Add what the states begin with that are not given."""
    _begin(arrays, shapes, B, dtype)
    arrays |= {k: np.zeros((B, *shapes[k]), _type_of(k, dtype)) for k in STATES if k not in arrays}


def _masks(lengths: Any, reset: Any, T: int, B: int) -> tuple[Mask, Mask]:
    """Return who is active and who is reset at each step, (T, B) bool each, or None: all and nobody."""
    active = None
    if lengths is not None:
        lengths = np.atleast_1d(_plain("lengths", lengths))
        if lengths.shape != (B,) or lengths.dtype.kind not in "iu" or (lengths < 0).any() or (lengths > T).any():
            hint = "; time comes first: (T, B, ...)" if lengths.shape == (T,) != (B,) else ""
            hint = "; write .astype(int)" if lengths.dtype.kind == "f" and lengths.shape == (B,) else hint
            raise ArgumentError(f"lengths: ({B},) integers from 0 to {T} are expected, got {_shown(lengths)}{hint}")
        active = np.arange(T)[:, None] < lengths if (lengths < T).any() else None
    if reset is not None:
        reset = _plain("reset", reset)
        reset = reset[:, None] if reset.ndim == 1 and B == 1 else reset
        if reset.shape != (T, B) or reset.dtype != bool:
            cure = "; write .astype(bool)" if reset.shape == (T, B) and reset.dtype.kind in "iuf" else ""
            raise ArgumentError(f"reset: a bool array of shape ({T}, {B}) is expected, got {_shown(reset)}{cure}")
        reset = reset if active is None else reset & active
        reset = reset if reset.any() else None
    return active, reset


def _shown(array: Array) -> str:
    """Return an array in words: its numbers where they are few, else its type and shape."""
    few = array.ndim == 1 and array.size <= 8 and array.dtype.kind in "iuf"
    return f"{array.tolist()}" if few else f"{array.dtype} of shape {array.shape}"


def _check_monitor(monitor: Any) -> None:
    if not isinstance(monitor, (bool, np.bool_)):
        raise ArgumentError(f"monitor is True or False, got {monitor!r}")


def _cotangents(run: Any, given: Any) -> tuple[Arrays, Arrays]:
    """Return the cotangents of every step and those of the last step by name, None where nothing is given. Behind the
    end of a sample a state is the last one of the sample, which gets the cotangents there; an output is zero."""
    if getattr(run, "mark", None) != MARK:
        came = "the run of another module" if isinstance(getattr(run, "mark", None), str) else type(run).__name__
        cure = "write run = forward(...), then backward(run, ...)"
        raise ArgumentError(f"run: what forward of this module returns is expected, got {came}; {cure}")
    full: Arrays = dict.fromkeys([*run.states, *run.outputs])
    last: Arrays = dict.fromkeys(run.states)
    _names("state or output", given, list(full), ())
    for name, value in given.items():
        wanted, dtype = (run.states | run.outputs)[name].shape, (run.states | run.outputs)[name].dtype
        array = _plain(name, value)
        if array.dtype != dtype:
            raise ArgumentError(f"{name}: a cotangent of {dtype} is expected, got {array.dtype}")
        if array.shape == wanted:
            full[name] = array if run.batched else np.expand_dims(array, 1)
        elif array.shape == wanted[1:] and name in last:
            last[name] = array if run.batched else array[None]
        elif array.shape == wanted[1:] and wanted[0]:
            full[name] = np.zeros((wanted[0], *array.shape), dtype)
            full[name][-1] = array
            full[name] = full[name] if run.batched else np.expand_dims(full[name], 1)
        else:
            raise ArgumentError(
                f"{name}: shape {wanted}, or {wanted[1:]} for the last step, is expected, got {array.shape}"
            )
        active = run.tape[-2]
        with np.errstate(over="ignore", invalid="ignore"):
            if full[name] is None:
                _check_finite(name, last[name], 1)
            else:
                _check_finite(name, full[name] if name in last else _kept(active, full[name]), 2)
        if active is not None and name in last and full[name] is not None:
            last[name] = _after_end(active, full[name])
    return full, last
