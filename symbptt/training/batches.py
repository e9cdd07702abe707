"""Sequences of several lengths as one batch, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symbptt.checks import as_array
from symbptt.errors import ArgumentError


def pad(sequences: Sequence[Any], value: float = 0) -> tuple[Any, Any]:
    """Return the sequences side by side, filled up with `value`, and their lengths, as `lengths=` of a kernel takes them.

    Sequences are arrays, or dicts of arrays by name that have the same steps: then one dict of batches is returned.

    Shapes: each (T_b, ...), with T_b its own; the batch (T, B, ...), with the largest of them; the lengths (B,).
    Raises: ArgumentError for no sequence, and where two differ in more than their lengths.

    >>> batch, lengths = pad([[1.0, 2.0, 3.0], [4.0]])
    >>> batch.tolist(), lengths.tolist()
    ([[1.0, 4.0], [2.0, 0.0], [3.0, 0.0]], [3, 1])
    """
    sequences = list(sequences)
    if not sequences:
        raise ArgumentError("pad takes at least one sequence, got none\n  write sb.pad([first, second])")
    if not isinstance(sequences[0], Mapping):
        return _padded("", sequences, value)
    for number, sequence in enumerate(sequences):
        if not isinstance(sequence, Mapping) or set(sequence) != set(sequences[0]):
            came = ", ".join(map(str, sequence)) if isinstance(sequence, Mapping) else type(sequence).__name__
            raise ArgumentError(
                f"sequence {number}: {', '.join(sequences[0])} are expected, as in the first, got {came}"
            )
    batches = {name: _padded(name, [s[name] for s in sequences], value) for name in sequences[0]}
    lengths = [found for _, found in batches.values()]
    for name, found in zip(batches, lengths, strict=True):
        if (found != lengths[0]).any():
            number = int(np.argmax(found != lengths[0]))
            raise ArgumentError(
                f"sequence {number}: {next(iter(batches))} has {lengths[0][number]} steps, {name} has {found[number]}\n"
                "  what belongs to the same steps has one length"
            )
    return {name: batch for name, (batch, _) in batches.items()}, lengths[0]


def _padded(name: str, sequences: Sequence[Any], value: float) -> tuple[Any, Any]:
    arrays = [_array(f"sequence {number}{name and f', {name}'}", found) for number, found in enumerate(sequences)]
    inner = arrays[0].shape[1:]
    for number, array in enumerate(arrays):
        if array.shape[1:] != inner:
            shape = ", ".join(["T", *map(str, inner)])
            raise ArgumentError(
                f"sequence {number}{name and f', {name}'}: ({shape}) is expected, as of the first, got {array.shape}"
            )
    lengths = np.array([len(array) for array in arrays])
    batch = np.full((max(lengths), len(arrays), *inner), value, np.result_type(*arrays))
    for number, array in enumerate(arrays):
        batch[: len(array), number] = array
    return batch, lengths


def _array(what: str, value: Any) -> Any:
    array = as_array(what, value)
    if array.dtype.kind not in "biufc" or array.ndim == 0:
        raise ArgumentError(f"{what}: an array (T, ...) of numbers is expected, got {_came(value, array)}")
    return array


def _came(value: Any, array: Any) -> str:
    return "one number" if array.dtype.kind in "biufc" else f"{type(value).__name__} of {array.dtype}"


def unpad(values: Any, lengths: Any) -> list[Any]:
    """Return what each sample has up to its length, as views; of a dict of arrays, a dict for each sample.

    Shapes: values (T, B, ...); lengths (B,); the results (T_b, ...).
    Raises: ArgumentError for other shapes, and lengths outside of 0 to T.

    >>> [a.tolist() for a in unpad(*pad([[1.0, 2.0, 3.0], [4.0]]))]
    [[1.0, 2.0, 3.0], [4.0]]
    """
    arrays = values if isinstance(values, Mapping) else {"": values}
    arrays = {name: as_array(name or "values", array) for name, array in arrays.items()}
    found = {name: _lengths(name, array, lengths) for name, array in arrays.items()}
    parts = [
        {name: array[: found[name][b], b] for name, array in arrays.items()} for b in range(len(np.atleast_1d(lengths)))
    ]
    return list(parts) if isinstance(values, Mapping) else [part[""] for part in parts]


def last(values: Any, lengths: Any = None) -> Any:
    """Return what each sample has at its last step; of a dict of arrays, a dict.

    Shapes: values (T, B, ...); lengths (B,), T for all where they are not given; the result (B, ...).
    Raises: ArgumentError for other shapes, and where a sample has no step.

    >>> last(*pad([[1.0, 2.0, 3.0], [4.0]])).tolist()
    [3.0, 4.0]
    """
    if isinstance(values, Mapping):
        return {name: _last(name, as_array(name, array), lengths) for name, array in values.items()}
    return _last("", as_array("values", values), lengths)


def _last(name: str, array: Any, lengths: Any) -> Any:
    ends = _lengths(name, array, [len(array)] * array.shape[1] if lengths is None and array.ndim > 1 else lengths)
    if (ends == 0).any():
        raise ArgumentError(
            f"{name or 'values'}: sample {int(np.argmin(ends))} has no step, and so no last one\n  leave it out, or take its first state"
        )
    return array[ends - 1, np.arange(len(ends))]


def _lengths(name: str, array: Any, lengths: Any) -> Any:
    """Return lengths as integers.

    Raises: ArgumentError where an array has no steps and samples, or the lengths are not those of its samples.
    """
    what = name or "values"
    if array.ndim < 2:
        raise ArgumentError(f"{what}: an array (T, B, ...) is expected, got shape {array.shape}")
    T, B = array.shape[:2]
    found = as_array("lengths", lengths)
    if found.shape != (B,) or found.dtype.kind not in "iu":
        raise ArgumentError(f"lengths: {B} integers are expected, one for each sample, got {found.dtype} {found.shape}")
    if ((found < 0) | (found > T)).any():
        number = int(np.argmax((found < 0) | (found > T)))
        raise ArgumentError(f"lengths: 0 to {T} steps are expected, got {found[number]} for sample {number}")
    return found
