"""The loss of a model with the derived gradient, which modules for JAX carry."""

from typing import Any

from symbptt.codegen.frameworks.cell import _loss, _loss_back
from symbptt.codegen.frameworks.jax_parts import _with_derivative


def _loss_there(lead, params, inputs):
    loss, kept = _loss(params, inputs, *lead)
    return loss, (params, inputs, loss, kept)


def _loss_gradients(lead, saved, dloss):
    params, inputs, loss, kept = saved
    T, B = lead
    return _loss_back(params, inputs, (loss,), kept, (dloss,), T, B)


_losses: Any = _with_derivative(_loss_there, _loss_gradients)
"""The loss of each step and sample, of T and B, parameters and what it reads; its gradient is the derived one."""
