"""Lengths and resets in modules for torch and for JAX: what a sample that has ended reads, and where states begin anew."""

from symbptt.codegen.frameworks.arguments import ArgumentError, _check_indices, _given, _weights
from symbptt.codegen.frameworks.arrays import _has_values, _index, _is_integer, _is_truth, _mask, _range, _where
from symbptt.codegen.frameworks.cell import CONTEXTS, INPUTS, STATES


def _masks(given, lengths, reset, T, B):
    """Return lengths and resets as arrays beside those that are given.

    Raises: ArgumentError for other shapes and types, and for lengths outside of 0 to T.
    """
    if lengths is not None:
        lengths = _mask(lengths, given)
        _check_mask("lengths", lengths, (B,), _is_integer(lengths), "integers")
        lengths = _index(lengths)
        if _has_values(lengths) and bool(((lengths < 0) | (lengths > T)).any()):
            raise ArgumentError(f"lengths: 0 to {T} steps are expected, got {lengths.tolist()}")
    if reset is not None:
        reset = _mask(reset, given)
        _check_mask("reset", reset, (T, B), _is_truth(reset), "truth values")
    return lengths, reset


def _check_mask(name, value, wanted, is_of_kind, kind):
    """Raises: ArgumentError where lengths or resets have another shape, or are not of their kind."""
    if tuple(value.shape) != wanted or not is_of_kind:
        came = f"{value.dtype} of shape {tuple(value.shape)}"
        raise ArgumentError(f"{name}: {kind} of shape {wanted} are expected, got {came}")


def _masked(given, T, lengths, reset):
    """Return the arguments of the cell, which samples are active and which are reset at each step, and where a sample that has ended
    reads."""
    arrays, active, index = dict(given), None, None
    if lengths is not None:
        active, index = _ends(lengths, T)
        arrays.update((k, _held(given[k], lengths, index)) for k in INPUTS)
        arrays.update((k, given[k][_present(lengths)]) for k in (*CONTEXTS, *STATES))
        reset = reset if reset is None else reset & active
    _check_indices(given, {k: arrays[k] for k in INPUTS})
    return [arrays[k] for k in (*_weights(), *_given(), *STATES)], active, reset, index


def _ends(lengths, T):
    """Return which steps and samples are active, and for each the step that it reads: from its length on a sample reads its last."""
    time = _range(T, lengths)[:, None]
    return time < lengths, _where(time < lengths, time, (lengths - 1) * (lengths > 0))


def _at(x, index):
    """Return the entries of steps (steps, B) of all samples."""
    return x[index, _range(index.shape[1], index)]


# Only values are computed that were finite before: padding may hold anything, and 0 * nan would reach the gradients of all weights.
def _held(x, lengths, index):
    """Return data of which a sample that has ended repeats its last step; one without a step repeats the first of the longest."""
    return x[index, _present(lengths)]


def _present(lengths):
    """Return for each sample whose data it reads: its own, or those of the longest where it has no step."""
    return _where(lengths > 0, _range(len(lengths), lengths), lengths.argmax() if len(lengths) else 0)


def _like(mask, x):
    """Return a mask with the axes that it lacks."""
    return mask.reshape(*mask.shape, *(1,) * (x.ndim - mask.ndim))
