"""One step of a cell after the other, each with what the caller makes of the step before: generation, control, filtering."""

from typing import Any

import numpy as np

from symbptt.codegen.runtime.arguments import _arguments, _array, _batched, _check_data, _names
from symbptt.codegen.runtime.cell import CONTEXTS, INDICES, INPUTS, PARAMS, SHAPES, STATES, Array, Arrays, _shapes
from symbptt.codegen.runtime.sweeps import _once, _step
from symbptt.codegen.runtime.told_every import _tell


class Stepper:
    """Runs a cell step by step: `state, outputs = stepper(inputs, state)`. It holds copies of parameters and contexts: what they alone
    determine, packed and turned weights among it, is made once."""

    def __init__(self, params: Any, contexts: Any) -> None:
        params = {} if params is None and not PARAMS else params
        _names("parameter", params, PARAMS, PARAMS)
        self.params = {k: _own(k, params[k]) for k in PARAMS}
        contexts = {} if contexts is None else contexts
        _names("context", contexts, CONTEXTS, CONTEXTS)
        self.contexts = {k: _array(k, contexts[k], len(SHAPES[k].split()), 1).copy() for k in CONTEXTS}
        self.forms: list[Any] | None = None
        self.left: Any = None
        self.known: Any = None

    def __call__(
        self,
        inputs: Arrays | None = None,
        state: Arrays | None = None,
    ) -> tuple[Arrays, Arrays]:
        """Return the states after one step and its outputs, with what a loss predicts there, by name: inputs (B, ...) or (...), state
        likewise; an omitted one is what it begins with, zero as a rule."""
        inputs, state = {} if inputs is None else inputs, {} if state is None else state
        given = self._alike(inputs, state)
        given = self._checked(inputs, state) if given is None else given
        states, outputs = _step(self.tape, given, self.sizes, self.B, self.dtype)
        _tell(self, states, outputs)
        if not self.batched:
            states, outputs = ({k: v[0, ...] for k, v in group.items()} for group in (states, outputs))
        self.left = states
        return states, outputs

    # All checks of a call take longer than a small step: a call like the one before needs few of them.
    def _alike(self, inputs: Any, state: Any) -> list[Array] | None:
        """Return inputs and states, with a batch axis, where their shapes and types are those of the call before, else None."""
        # An array in the place of a dict has no names: the checks say so.
        if self.forms is None or type(inputs) is not dict or type(state) is not dict:
            return None
        if len(inputs) != len(INPUTS) or len(state) != len(STATES):
            return None
        given = []
        for name, shape, dtype, limit in self.forms:
            group = inputs if name in INPUTS else state
            v = group.get(name)
            if type(v) is not np.ndarray or v.shape != shape or v.dtype != dtype:
                return None
            if limit is not None and v.size and not (v.min() >= 0 and v.max() < limit):
                return None
            # An own state need not be finite, as within a long call.
            if limit is None and group is not self.left and not np.isfinite(v).all():
                return None
            given.append(v if self.batched else v[None])
        return given

    def _checked(self, inputs: Any, state: Any) -> list[Array]:
        """Return inputs and states of a call whose arguments are checked, and note their shapes for the calls to come."""
        _names("input", inputs, INPUTS, INPUTS)
        _names("state", state, STATES, ())
        given = {k: _array(k, v, len(SHAPES[k].split()), 1) for k, v in {**inputs, **state}.items()}
        _batched(given | self.contexts, 1)
        one = {k: given[k][None] for k in inputs}
        a, sizes, _, B, dtype, batched = _arguments(self.params, one | self.contexts, state, None if INPUTS else 1)
        _check_data(a, None, sizes)
        if self.known != (sizes, B, dtype):
            self.a, self.sizes, self.B, self.dtype, self.known = a, sizes, B, dtype, (sizes, B, dtype)
            self.tape = _once(a, sizes, B, dtype)
        self.batched = batched
        moving = {k: a[k][0] for k in INPUTS} | {k: a[k] for k in STATES}
        self.forms = [(k, v.shape[0 if batched else 1 :], v.dtype, self._limit(k)) for k, v in moving.items()]
        return [*moving.values()]

    def _limit(self, name: str) -> Any:
        """Return the number below which an index must be, None of other arguments."""
        if name not in INDICES:
            return None
        size = INDICES[name]
        return _shapes(**self.sizes)[size][0] if size else np.inf


def stepper(params: Arrays, contexts: Arrays | None = None) -> Stepper:
    """Return what runs the cell with these parameters and contexts step by step: `state, outputs = stepper(inputs, state)`."""
    return Stepper(params, contexts)


def _own(name: str, value: Any) -> Any:
    """Return a copy of a parameter; a plain number stays one."""
    if type(value) in (int, float, complex) and not SHAPES[name]:
        return value
    return _array(name, value, len(SHAPES[name].split()), 0).copy()
