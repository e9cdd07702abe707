"""The way back of truncated gradients, which modules for torch carry in the place of that through all steps."""

from typing import Any

import torch

from symbptt.codegen.frameworks.cell import CHUNK, REACH
from symbptt.codegen.frameworks.masks import _like


# The step back is the same function at all steps, and linear: all chunks go one step back at once, along an axis before that of samples.
def _scan_back(step, given, direct, *, cotangents, reset):
    """Return the gradients of the initial states, and what steps send out, of losses that flow back chunk by chunk. What is `direct`
    comes with the cotangents of a step, and counts in its own chunk alone."""
    T = len(cotangents[0])
    device = cotangents[0].device
    ends = [min(begin + CHUNK, T) for begin in range(0, T, CHUNK)]
    carry: Any = ()
    sent: Any = ()
    first = tuple(torch.zeros_like(x[0]) for x in cotangents)
    for back in range(min(REACH, T)):
        steps = [(end - 1 - back, i * CHUNK) for i, end in enumerate(ends) if end > back]
        at = torch.tensor([t for t, _ in steps], device=device)
        own = torch.tensor([t >= begin for t, begin in steps], device=device)
        arrived = tuple(_of_own(x[at], own) for x in cotangents)
        # A chunk that has come to the first step is the foremost of those that there were.
        carry = tuple(a[-len(steps) :] + b for a, b in zip(carry, arrived)) if carry else arrived
        rows = tuple(x[at] for x in given)
        beside = tuple(_of_own(x[at], own) for x in direct)
        carry, found = step(carry, rows, beside, len(steps))
        sent = sent or tuple(x.new_zeros((T, *x.shape[1:])) for x in found)
        sent = tuple(total.index_add(0, at, x) for total, x in zip(sent, found))
        if reset is not None:
            stops = [_like(reset[at], x) for x in carry]
            first = tuple(a + torch.where(s, x, 0).sum(0) for a, s, x in zip(first, stops, carry))
            carry = tuple(torch.where(s, 0, x) for s, x in zip(stops, carry))
        if not steps[0][0]:
            first = tuple(a + x[0] for a, x in zip(first, carry))
    return first, sent


def _of_own(x, own):
    """Return entries of steps that lie in the chunk whose losses flow back, and zeros of others."""
    return torch.where(_like(own, x), x, 0)
