"""A kernel of a cell with contexts as one whose contexts are states that stay, so that it is compared with its function as others are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from symbptt.codegen.kernel import Kernel
from symbptt.language.cell import Cell
from symbptt.language.held import as_states, contexts_of
from symbptt.language.model import Model
from symbptt.verification.wrapped import Arrays, WrappedGrads, WrappedRun


def backward_of_held(target: Cell | Model, backward: Callable[..., Any]) -> Callable[..., Any]:
    """Return a caller's backward pass of a target with contexts as one of the target whose contexts are states."""
    held = contexts_of(target)

    def of_held(params: Arrays, inputs: Arrays, state: Arrays, last: Arrays) -> Any:
        given = {k: state[k] for k in held}
        return backward(params, inputs | given, {k: v for k, v in state.items() if k not in given}, last)

    return of_held


class HeldKernel(Kernel):
    """A kernel that takes its contexts as states and gives their gradients as those of states."""

    def __init__(self, kernel: Kernel) -> None:
        vars(self).update(vars(kernel))
        self.held = contexts_of(kernel.target)
        self.target = as_states(kernel.target)
        self.cell = self.target if isinstance(self.target, Cell) else self.target.cell

    def _called(self, inputs: Any, state: Any) -> tuple[Arrays, Arrays]:
        """Return inputs with contexts among them, and the states that are left."""
        state = {} if state is None else state
        given = {k: state[k] for k in self.held}
        return {**({} if inputs is None else inputs), **given}, {k: v for k, v in state.items() if k not in given}

    def forward(self, params: Any, inputs: Any = None, state: Any = None, **options: Any) -> Any:
        """Return a run with the contexts after every step."""
        given, left = self._called(inputs, state)
        run = super().forward(params, given, left, **options)
        steps = len(next(iter(run.states.values())))
        return WrappedRun(run.states | self._repeated(given, steps), run.outputs, run)

    def _repeated(self, given: Arrays, steps: int) -> Arrays:
        return {k: np.broadcast_to(given[k], (steps, *np.shape(given[k])), subok=True) for k in self.held}

    def backward(self, run: Any, cotangents: Any, **options: Any) -> Any:
        """Return the gradients of a run; a context itself has no cotangents, of which a loss of steps has zeros."""
        own = {k: v for k, v in cotangents.items() if k not in self.held}
        return self._grads(super().backward(run.whole, own, **options))

    def _grads(self, grads: Any, final: Any = None) -> WrappedGrads:
        return WrappedGrads(grads.params, grads.inputs, grads.state | grads.contexts, grads.flow, final)

    def value_and_grad(
        self, params: Any, inputs: Any = None, targets: Any = None, state: Any = None, **options: Any
    ) -> Any:
        """Return the loss of a model and its gradients, and the states at the end, contexts among them."""
        given, left = self._called(inputs, state)
        loss, grads = super().value_and_grad(params, given, targets, left, **options)
        return loss, self._grads(grads, grads.final | {k: given[k] for k in self.held})

    def value(self, params: Any, inputs: Any = None, targets: Any = None, state: Any = None, **options: Any) -> Any:
        """Return the loss of a model alone."""
        given, left = self._called(inputs, state)
        return super().value(params, given, targets, left, **options)

    def predict(self, params: Any, inputs: Any = None, state: Any = None, **options: Any) -> Any:
        """Return what a loss returns beside its value."""
        return super().predict(params, *self._called(inputs, state), **options)

    def stepper(self, params: Any, contexts: Any = None) -> Callable[..., tuple[Arrays, Arrays]]:
        """Return what runs the cell one step at a time, with the contexts that its first state has."""
        made: list[Any] = []

        def stepped(inputs: Any, state: Any) -> tuple[Arrays, Arrays]:
            given, left = self._called({}, state)
            made.append(made[0] if made else Kernel.stepper(self, params, given))
            states, outputs = made[0](inputs, left)
            return states | given, outputs

        return stepped
