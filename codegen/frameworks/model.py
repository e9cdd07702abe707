"""The loss of a model in modules for torch and for JAX, from the values of its cell."""

from symbptt.codegen.frameworks.arguments import _arguments, _check_indices
from symbptt.codegen.frameworks.arrays import _losses, _where
from symbptt.codegen.frameworks.cell import LOSS_INPUTS, LOSS_PARAMS, REDUCTION, TARGETS
from symbptt.codegen.frameworks.every import _read
from symbptt.codegen.frameworks.heard import _hear
from symbptt.codegen.frameworks.masks import _masks
from symbptt.codegen.frameworks.steps import _ran


def value(params, inputs=None, targets=None, state=None, *, lengths=None, reset=None, steps=None):
    """Return the loss of the model, and the states after the last step, (B, ...), by name.

    `params`, `inputs` (T, B, ...), `targets` ((T, B, ...) of a loss at every step, (B, ...) of one at the last) and `state` (B, ...) are
    dicts by name; a state that is not given is what the cell says, or zero. No step counts from the length of a sample on; where
    `reset` (T, B) is true, the state returns to the initial one before that step. A cell without inputs takes `steps`, and B from a
    state.
    """
    found = {"parameter": params, "input": inputs, "target": targets, "state": state}
    given, T, B = _arguments({what: {} if group is None else group for what, group in found.items()}, steps)
    lengths, reset = _masks(given, lengths, reset, T, B)
    return _valued(given, given, lengths, reset, T, B)


def _valued(given, exact, lengths, reset, T, B):
    """Return the loss and the last states: steps read what is given, the loss the same arguments in their `exact` type."""
    states, outputs, final = _ran(given, T, B, lengths, reset)
    return _total(exact, {**states, **outputs}, lengths, T, B), final


def _total(given, values, lengths, T, B):
    """Return the sum of the loss over the steps and samples that count, or its mean."""
    read, counted, T = _read(given, values, lengths, T)
    _check_indices(given, {k: read[k] for k in TARGETS})
    found = [_losses((T, B), tuple(read[k] for k in LOSS_PARAMS), tuple(read[k] for k in LOSS_INPUTS))]
    _hear(found, T)
    losses = found[0]
    number = T * B
    if counted is not None:
        losses, number = _where(counted, losses, 0), counted.sum()
    # Where no step counts, the loss is zero, its mean too.
    return losses.sum() / (number + (number == 0)) if REDUCTION == "mean" else losses.sum()
