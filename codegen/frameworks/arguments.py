"""What modules for torch and for JAX check alike of the arguments of a call; arrays are those of either."""

from functools import partial

from symbptt.codegen.frameworks.arrays import _broadcast, _constant, _data
from symbptt.codegen.frameworks.cell import (
    ARGUMENTS,
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
    shapes = _shapes(**_sizes(partial(_length, given)))
    like = next(given[k] for k in (*PARAMS, *STATES, *INPUTS) if k in given and k not in INDICES)
    for name in STATES:
        if name not in given:
            start = STARTS.get(name, 0.0)
            start = given[start] if isinstance(start, str) else _constant(start, like)
            given[name] = _broadcast(start, (B, *shapes[name]))
    _check_arrays(given, like, T, B, shapes)
    return given, T, B


def _check_names(groups):
    """Raises: ArgumentError for names that lack or are not known; a state may lack."""
    known = {"parameter": PARAMS, "input": INPUTS, "state": STATES, "target": TARGETS}
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
    """Return the length of an axis of one sample and step."""
    if name not in given:
        raise ArgumentError(f"the state {name!r} is needed, for it tells a size")
    axis += LEAD.get(name, 0)
    if axis >= given[name].ndim:
        raise ArgumentError(f"{name}: {axis + 1} axes or more are expected, got the shape {tuple(given[name].shape)}")
    return given[name].shape[axis]


def _lead(given, steps):
    """Return the numbers of steps and samples."""
    first = next((k for k in INPUTS if k in given), None)
    if first is not None:
        if given[first].ndim < 2:
            raise ArgumentError(f"{first}: axes of steps and samples are expected, got {tuple(given[first].shape)}")
        return tuple(given[first].shape[:2])
    begun = next((k for k in STATES if k in given), None)
    if steps is None or begun is None:
        raise ArgumentError("a cell without inputs takes steps=, and a state that tells the number of samples")
    return steps, given[begun].shape[0]


def _check_arrays(given, like, T, B, shapes):
    """Raises: ArgumentError for another shape, or another type than that of `like`."""
    for name, value in given.items():
        wanted = ((T, B)[2 - LEAD.get(name, 0) :] if LEAD.get(name, 0) else ()) + tuple(shapes[name])
        if tuple(value.shape) != wanted:
            lead = "T, B, "[6 - 3 * LEAD.get(name, 0) :]
            came = tuple(value.shape)
            raise ArgumentError(f"{name}: the shape ({lead}{SHAPES[name]}) = {wanted} is expected, got {came}")
        if name not in INDICES and value.dtype != like.dtype:
            raise ArgumentError(f"{name}: the type of all arrays is {like.dtype}, got {value.dtype}")


def _parted(arrays):
    """Return the arguments of the cell as parameters, inputs and states."""
    one = len(_weights())
    two = one + len(INPUTS)
    return tuple(arrays[:one]), tuple(arrays[one:two]), tuple(arrays[two:])


def _weights():
    """Return the parameters that the cell itself reads."""
    return tuple(k for k in PARAMS if k in ARGUMENTS)
