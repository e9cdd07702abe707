"""A kernel of complex numbers as one of real arrays, so that it is compared with its function in real numbers.

The checks of this room draw real arrays and move them by complex steps. Of a complex cell they are given a target whose arguments
are pairs of real numbers (`language/pairs.py`), on which the user's own function runs, and a kernel whose results are taken apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from symbptt.codegen.kernel import Kernel
from symbptt.language.cell import Cell
from symbptt.language.model import Model
from symbptt.language.pairs import PairedCell, from_parts, in_parts, real_pairs
from symbptt.verification.wrapped import Arrays, WrappedGrads, WrappedRun


class PairedKernel(Kernel):
    """A kernel that takes and gives the parts of complex numbers in the place of these."""

    def __init__(self, kernel: Kernel) -> None:
        vars(self).update(vars(kernel))
        self.target = real_pairs(kernel.target)
        self.cell = self.target if isinstance(self.target, Cell) else self.target.cell
        cell = kernel.target if isinstance(kernel.target, Cell) else kernel.target.cell
        self.complex = frozenset(a.name for a in kernel.target.arguments if a.complex) | PairedCell(cell).complex

    @cached_property
    def _ranks(self) -> dict[str, int]:
        """The number of axes of each complex value of one sample and step."""
        step = self.cell.looped
        outputs = {k: len(step.graph.shape(id)) for k, id in step.outputs.items()}
        return {k: n - 1 for k, n in ({a.name: len(a.shape) for a in self.target.arguments} | outputs).items()}

    def whole(self, arrays: Mapping[str, Any] | None) -> Any:
        """Return arrays with complex numbers in the place of their parts."""
        if arrays is None:
            return None
        return {
            k: from_parts(v, np.ndim(v) - self._ranks[k] - 1) if k in self.complex else v for k, v in arrays.items()
        }

    def parts(self, arrays: Mapping[str, Any] | None) -> Any:
        """Return arrays with the parts of complex numbers in the place of these."""
        if arrays is None:
            return None
        return {k: in_parts(v, np.ndim(v) - self._ranks[k]) if k in self.complex else v for k, v in arrays.items()}

    def forward(self, params: Any, inputs: Any = None, state: Any = None, **options: Any) -> Any:
        """Return a run with complex numbers as their parts."""
        run = super().forward(*map(self.whole, (params, inputs, state)), **options)
        return WrappedRun(self.parts(run.states), self.parts(run.outputs), run)

    def backward(self, run: Any, cotangents: Any, **options: Any) -> Any:
        """Return gradients with complex ones as their parts."""
        return self._grads(super().backward(run.whole, self.whole(cotangents), **options))

    def value_and_grad(
        self, params: Any, inputs: Any = None, targets: Any = None, state: Any = None, **options: Any
    ) -> Any:
        """Return the loss of a model and its gradients with complex ones as their parts."""
        loss, grads = super().value_and_grad(*map(self.whole, (params, inputs, targets, state)), **options)
        return loss, self._grads(grads)

    def value(self, params: Any, inputs: Any = None, targets: Any = None, state: Any = None, **options: Any) -> Any:
        """Return the loss of a model alone."""
        return super().value(*map(self.whole, (params, inputs, targets, state)), **options)

    def predict(self, params: Any, inputs: Any = None, state: Any = None, **options: Any) -> Any:
        """Return what a loss returns beside its value, complex numbers as their parts."""
        return self._predictions(super().predict(*map(self.whole, (params, inputs, state)), **options))

    def stepper(self, params: Any, contexts: Any = None) -> Callable[..., tuple[Arrays, Arrays]]:
        """Return what runs the cell one step at a time, with complex numbers as their parts."""
        step = super().stepper(*map(self.whole, (params, contexts)))

        def stepped(inputs: Any, state: Any) -> tuple[Arrays, Arrays]:
            states, outputs = map(self.parts, step(*map(self.whole, (inputs, state))))
            return states, self._predictions(outputs)

        return stepped

    def _predictions(self, found: Arrays) -> Arrays:
        """Return arrays among which are those that a loss returns beside its value, these with complex numbers as their parts."""
        predicted = self.target.loss.predicted if isinstance(self.target, Model) else None
        shapes = {} if predicted is None else {k: predicted.graph.shape(id) for k, id in predicted.outputs.items()}
        ranks = {k: len(shape) - 1 for k, shape in shapes.items()}
        return {k: in_parts(v, v.ndim - ranks[k]) if k in ranks and np.iscomplexobj(v) else v for k, v in found.items()}

    def _grads(self, grads: Any) -> WrappedGrads:
        params, inputs, state = map(self.parts, (grads.params, grads.inputs, grads.state))
        return WrappedGrads(params, inputs, state, grads.flow, self.parts(grads.final))


def given_parts(target: Cell | Model, arrays: Any) -> Any:
    """Return arrays by name that a caller gives, of complex arguments their parts."""
    if not isinstance(arrays, Mapping):
        return arrays
    lead = {a.name: len(a.shape) for a in target.arguments if a.complex}
    return {k: in_parts(np.asarray(v), max(np.ndim(v) - lead[k], 0)) if k in lead else v for k, v in arrays.items()}


def backward_of_parts(kernel: PairedKernel, backward: Callable[..., Any]) -> Callable[..., Any]:
    """Return a caller's backward pass of complex numbers as one of their parts."""

    def of_parts(*groups: Arrays) -> Any:
        found = backward(*map(kernel.whole, groups))
        if not isinstance(found, dict):
            return found
        known = {k: np.asarray(v) + 0j for k, v in found.items() if k in kernel.complex}
        return {**found, **kernel.parts(known)}

    return of_parts
