"""All steps of a cell in modules for torch and for JAX, with lengths and resets."""

from symbptt.codegen.frameworks.arguments import _arguments, _parted
from symbptt.codegen.frameworks.arrays import _recurrence, _where
from symbptt.codegen.frameworks.cell import OUTPUTS, STATES
from symbptt.codegen.frameworks.heard import _hear
from symbptt.codegen.frameworks.masks import _at, _ends, _like, _masked, _masks


def _called(params, inputs, state, lengths, reset, steps):
    """Return the states after each step, the outputs, which are zero where a sample has ended, and the last states."""
    groups = {"parameter": params, "input": {} if inputs is None else inputs, "state": {} if state is None else state}
    given, T, B = _arguments(groups, steps)
    lengths, reset = _masks(given, lengths, reset, T, B)
    states, outputs, final = _ran(given, T, B, lengths, reset)
    if lengths is not None:
        active, _ = _ends(lengths, T)
        outputs = {k: _where(_like(active, v), v, 0) for k, v in outputs.items()}
    return states, outputs, final


def _ran(given, T, B, lengths, reset):
    """Return the states after each step, the outputs, those of a sample that has ended as at its last step, and the last states."""
    arrays, active, reset, index = _masked(given, T, lengths, reset)
    after, outputs = map(list, _recurrence((T, B), active, reset, index, *_parted(arrays)))
    _hear(after, T)
    _hear(outputs, T)
    states = dict(zip(STATES, after))
    if index is not None:
        # A sample that has ended keeps the state that it had at its end; one that never began keeps the initial one.
        states = {k: _where(_like(lengths > 0, given[k]), _at(v, index), given[k]) for k, v in states.items()}
    return states, dict(zip(OUTPUTS, outputs)), {k: v[-1] if T else given[k] for k, v in states.items()}
