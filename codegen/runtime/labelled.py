"""Steps and samples whose loss counts where a call says which: a mask with holes, labels that are ignored."""

from typing import Any

import numpy as np

from symbptt.codegen.runtime.arguments import _plain
from symbptt.codegen.runtime.call import _Call
from symbptt.codegen.runtime.cell import INDICES, TARGETS, Array, Mask
from symbptt.codegen.runtime.errors import ArgumentError
from symbptt.codegen.runtime.every import _places
from symbptt.codegen.runtime.masks import _where


def _label(call: _Call, mask: Any, ignored: Any) -> None:
    """Note in a call which of its losses count beside those that lengths tell. Targets of others may be anything: in their
    place stand those of one that counts."""
    counts = _told(call, mask)
    for k in _ignoring(ignored):
        known = call.a[k] != ignored
        if known.shape != _places(call):
            raise ArgumentError(f"ignore_index: {k} has several integers at a step; write mask= instead")
        counts = known if counts is None else counts & known
    if counts is None:
        return
    call.counts = counts
    at = np.argwhere(counts if call.active is None or counts.ndim == 1 else counts & call.active)[:1]
    for k in TARGETS:
        v = call.a[k]
        # Where nothing counts it is one, at which more functions have a value than at zero, or the first label.
        call.a[k] = _where(counts, v, v[tuple(at[0])] if len(at) else v.dtype.type(k not in INDICES))


def _told(call: _Call, mask: Any) -> Mask:
    """Return the mask of a call, with an axis of samples."""
    if mask is None:
        return None
    mask, places = _plain("mask", mask), _places(call)
    mask = np.expand_dims(mask, -1) if mask.ndim == len(places) - 1 and call.B == 1 else mask
    if mask.shape != places or mask.dtype != bool:
        cure = "; write .astype(bool)" if mask.shape == places and mask.dtype.kind in "iuf" else ""
        raise ArgumentError(
            f"mask: a bool array of shape {places} is expected, got {mask.dtype} of shape {mask.shape}{cure}"
        )
    return mask


def _ignoring(ignored: Any) -> list[str]:
    """Return the targets whose labels may be ignored."""
    if ignored is None:
        return []
    labels = [k for k in TARGETS if k in INDICES]
    if not isinstance(ignored, (int, np.integer)) or isinstance(ignored, bool) or not labels:
        what = "an integer is expected" if labels else "the loss has no target that is an Index"
        raise ArgumentError(f"ignore_index: {what}, got {ignored!r}; write mask= for other targets")
    return labels


def _copied(call: _Call) -> int:
    """Return the bytes of what a call holds because it says which losses count."""
    arrays: list[Array] = [] if call.counts is None else [call.counts, call.counts, *(call.a[k] for k in TARGETS)]
    return sum(v.nbytes for v in arrays)
