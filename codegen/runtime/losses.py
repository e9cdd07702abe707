"""The common parts of losses: their weights, and the gradients of parameters that they share with the cell."""

from typing import Any

from symbptt.codegen.runtime.cell import REDUCTION, Array, Arrays


def _weights(counted: Array, dtype: Any) -> Array:
    """Return the weight of the loss at each step and sample: one, or one over their number, and zero where not counted."""
    return counted.astype(dtype) / (max(int(counted.sum()), 1) if REDUCTION == "mean" else 1)


def _added(params: Arrays, own: Arrays) -> Arrays:
    """Return the gradients of the cell's and of the loss's parameters; what both have is added."""
    return params | {k: params[k] + v if k in params else v for k, v in own.items()}
