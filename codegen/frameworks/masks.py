"""Lengths and resets in modules for torch and for JAX: what a sample that has ended reads, and where states begin anew."""

from symbptt.codegen.frameworks.arguments import ArgumentError, _weights
from symbptt.codegen.frameworks.arrays import _at, _ends, _has_values, _is_integer, _is_truth, _mask
from symbptt.codegen.frameworks.cell import INPUTS, STATES


def _masks(given, lengths, reset, T, B):
    """Return lengths and resets as arrays beside those that are given.

    Raises: ArgumentError for other shapes and types, and for lengths outside of 0 to T.
    """
    if lengths is not None:
        lengths = _mask(lengths, given)
        _check_mask("lengths", lengths, (B,), _is_integer(lengths), "integers")
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
        # A sample that has ended repeats its last step, so that only values are computed that were finite before.
        active, index = _ends(lengths, T)
        arrays.update((k, _at(given[k], index)) for k in INPUTS)
        reset = reset if reset is None else reset & active
    return [arrays[k] for k in (*_weights(), *INPUTS, *STATES)], active, reset, index


def _like(mask, x):
    """Return a mask with the axes that it lacks."""
    return mask.reshape(*mask.shape, *(1,) * (x.ndim - mask.ndim))
