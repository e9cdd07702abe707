"""What modules for torch and for JAX check alike of the arguments of a call; arrays are those of either."""

from functools import partial

from symbptt.codegen.frameworks.arrays import _broadcast, _constant, _data, _has_values, _index, _is_float, _is_integer
from symbptt.codegen.frameworks.cell import (
    ARGUMENTS,
    CONTEXTS,
    INDICES,
    INPUTS,
    LEAD,
    PARAMS,
    SHAPES,
    STARTS,
    STATES,
    TARGETS,
    _shapes,
    _sizes,
)


class ArgumentError(ValueError):
    """An array or a name is not what a call takes."""


def _arguments(groups, steps):
    """Return the arguments by name, the states that lack among them, T and B; `groups` are dicts by what they hold.

    Raises: ArgumentError for what lacks, is not known, or has another shape or type.
    """
    _check_names(groups)
    given = {name: _data(name, value) for group in groups.values() for name, value in group.items()}
    T, B = _lead(given, steps)
    _share(given, B)
    shapes = _shapes(**_sizes(partial(_length, given)))
    first = next((k for k in (*PARAMS, *STATES, *_given()) if k in given and k not in INDICES), None)
    if first is None:
        raise ArgumentError(f"the state {STATES[0]!r} is needed, for it tells the type of all arrays")
    like = given[first]
    if not _is_float(like):
        raise ArgumentError(f"{first}: floating-point numbers are expected, got {like.dtype}")
    for name in STATES:
        if name not in given:
            start = STARTS.get(name, 0.0)
            start = given[start] if isinstance(start, str) else _constant(start, like)
            given[name] = _broadcast(start, (B, *shapes[name]))
    _check_arrays(given, like, T, B, shapes)
    given.update((k, _index(given[k])) for k in INDICES if k in given)
    return given, T, B


def _share(given, B):
    """Give all samples the contexts that have no axis of samples."""
    for name in CONTEXTS:
        if given[name].ndim == len(SHAPES[name].split()):
            given[name] = _broadcast(given[name], (B, *given[name].shape))


def _check_names(groups):
    """Raises: ArgumentError for names that lack or are not known; a state may lack."""
    known = {"parameter": PARAMS, "input": _given(), "state": STATES, "target": TARGETS}
    for what, found in groups.items():
        names = known[what]
        if not hasattr(found, "items"):
            raise ArgumentError(f"a dict by name is expected for {', '.join(names)}, got {type(found).__name__}")
        for name in found:
            if name not in names:
                raise ArgumentError(f"{name!r} is no {what}\n  known: {', '.join(names) or 'none'}")
        for name in names if what != "state" else ():
            if name not in found:
                raise ArgumentError(f"the {what} {name!r} is missing")


def _length(given, name, axis):
    """Return the length of an axis of one sample and step; what is predicted reads no target, whose sizes are none."""
    if name not in given and name in TARGETS:
        return 0
    if name not in given:
        raise ArgumentError(f"the state {name!r} is needed, for it tells a size")
    axis += LEAD.get(name, 0)
    if axis >= given[name].ndim:
        raise ArgumentError(f"{name}: {axis + 1} axes or more are expected, got the shape {tuple(given[name].shape)}")
    return given[name].shape[axis]


def _lead(given, steps):
    """Return the numbers of steps and samples."""
    if steps is not None and (isinstance(steps, (bool, float, str)) or steps < 0):
        raise ArgumentError(f"steps: a number of steps is expected, got {steps!r}")
    first = next((k for k in INPUTS if k in given), None)
    if first is not None:
        if given[first].ndim < 2:
            raise ArgumentError(f"{first}: axes of steps and samples are expected, got {tuple(given[first].shape)}")
        if given[first].ndim == len(SHAPES[first].split()) + 1:
            came = f"got the shape {tuple(given[first].shape)}\n  write {first}[:, None] for one sample"
            raise ArgumentError(f"{first}: axes of steps and samples are expected, {came}")
        T, B = given[first].shape[:2]
        if steps is not None and steps != T:
            raise ArgumentError(f"steps: {steps} is given, the inputs have T = {T}")
        return T, B
    shared = [k for k in CONTEXTS if given[k].ndim == len(SHAPES[k].split())]
    begun = next((k for k in (*STATES, *CONTEXTS) if k in given and k not in shared), None)
    if steps is None or begun is None:
        raise ArgumentError("a cell without inputs takes steps=, and a state that tells the number of samples")
    if not given[begun].ndim:
        raise ArgumentError(f"{begun}: an axis of samples is expected, got a scalar")
    return steps, given[begun].shape[0]


def _check_arrays(given, like, T, B, shapes):
    """Raises: ArgumentError for another shape, or another type than that of `like`."""
    for name, value in given.items():
        wanted = ((T, B)[2 - LEAD.get(name, 0) :] if LEAD.get(name, 0) else ()) + tuple(shapes[name])
        if tuple(value.shape) != wanted:
            axes = ", ".join(("T", "B")[2 - LEAD.get(name, 0) :] + tuple(SHAPES[name].split()))
            came = tuple(value.shape)
            raise ArgumentError(f"{name}: the shape ({axes}) = {wanted} is expected, got {came}")
        if name in INDICES and not _is_integer(value):
            raise ArgumentError(f"{name}: integers are expected, got {value.dtype}")
        if name not in INDICES and value.dtype != like.dtype:
            raise ArgumentError(f"{name}: the type of all arrays is {like.dtype}, got {value.dtype}")


# A framework counts negative indices from the end and moves others into the table, and says nothing of either.
def _check_indices(given, read):
    """Raises: ArgumentError where what steps read by name are no values of an index."""
    found = [(name, INDICES.get(name), value) for name, value in read.items() if _has_values(value)]
    shapes = _shapes(**_sizes(partial(_length, given))) if any(of is not None for _, of, _ in found) else {}
    for name, of, value in found:
        limit = 0 if of is None else shapes[of][0]
        if of is not None and bool(((value < 0) | (value >= limit)).any()):
            came = f"{value.min().item()} to {value.max().item()}"
            raise ArgumentError(f"{name}: integers from 0 to {limit - 1} are expected, got {came}")


def _parted(arrays):
    """Return the arguments of the cell as parameters, inputs and states."""
    one = len(_weights())
    two = one + len(_given())
    return tuple(arrays[:one]), tuple(arrays[one:two]), tuple(arrays[two:])


def _given():
    """Return what the cell reads beside parameters and states: inputs of each step, then what a sequence is given once."""
    return (*INPUTS, *CONTEXTS)


def _weights():
    """Return the parameters that the cell itself reads."""
    return tuple(k for k in PARAMS if k in ARGUMENTS)
