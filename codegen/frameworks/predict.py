"""What the loss of a model returns beside its value, in modules for torch and for JAX."""

from symbptt.codegen.frameworks.arguments import _arguments
from symbptt.codegen.frameworks.arrays import _where
from symbptt.codegen.frameworks.cell import PREDICT_INPUTS, PREDICT_PARAMS, PREDICTED, _predicted
from symbptt.codegen.frameworks.every import _read, _shown
from symbptt.codegen.frameworks.masks import _like, _masks
from symbptt.codegen.frameworks.steps import _ran


def predict(params, inputs=None, state=None, *, lengths=None, reset=None, steps=None):
    """Return what the loss returns beside its value, by name: (T, B, ...) of a loss at every step, zeros from the length of a sample on;
    (B, ...) of one at the last, zeros of samples without a step. Arguments are those of `value`, without targets."""
    found = {"parameter": params, "input": inputs, "state": state}
    given, T, B = _arguments({what: {} if group is None else group for what, group in found.items()}, steps)
    lengths, reset = _masks(given, lengths, reset, T, B)
    return _foretold(given, given, lengths, reset, T, B)


def _foretold(given, exact, lengths, reset, T, B):
    """Return what the loss returns beside its value: steps read what is given, the loss the same arguments in their `exact` type."""
    states, outputs, _ = _ran(given, T, B, lengths, reset)
    read, counted, T = _read(exact, {**states, **outputs}, lengths, T)
    found = _predicted(tuple(read[k] for k in PREDICT_PARAMS), tuple(read[k] for k in PREDICT_INPUTS), T, B)
    if counted is not None:
        found = tuple(_where(_like(counted, x), x, 0) for x in found)
    return {k: _shown(x) for k, x in zip(PREDICTED, found)}
