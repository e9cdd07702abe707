"""All steps of an affine recurrence at once, in modules for torch and for JAX, in the place of their loops over steps.

Coefficients are between -1 and 1. Where a sample has ended, a scan goes on with its last step: numbers that were finite stay so.
"""

from symbptt.codegen.frameworks.arrays import _joined, _linear, _where
from symbptt.codegen.frameworks.masks import _like


def _scan(coefficients, free, initial, *, active, reset):
    """Return the states behind each step of h_t = a_t ⊙ h_{t-1} + u_t."""
    found = []
    for a, u, h in zip(coefficients, free, initial):
        if reset is not None:
            stops = _like(reset, a)
            a, u = _where(stops, 0, a), _where(stops, u + a * h, u)
        found.append(_linear(a, _joined((u[:1] + a[:1] * h, u[1:])), False))
    return tuple(found)


def _scan_back(coefficients, given, *, cotangents, reset, state=None):
    """Return the gradients of the initial states, and the adjoints x_t = D_t + g_t + a_{t+1} ⊙ x_{t+1} at each step."""
    first, found = [], []
    for a, g, d in zip(coefficients, given, cotangents):
        kept = a if reset is None else _where(_like(reset, a), 0, a)
        # Behind the last step nothing follows.
        x = _linear(_joined((kept[1:], 0 * kept[:1])), d if g is None else d + g, True)
        # The initial state takes what comes to the first step, and what comes to a reset.
        passed = (a * x)[:1] if reset is None else _joined(((a * x)[:1], ((a - kept) * x)[1:]))
        first.append(passed.sum(0))
        found.append(x)
    return tuple(first), tuple(found)
