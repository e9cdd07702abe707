"""A point at which a backward pass is looked at: the derivation there on numbers, and what a mistake in it would give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from symbptt.derivations.derivation import Derivation
from symbptt.equations.page.equations import Equations
from symbptt.language.cell import Cell
from symbptt.language.model import Model
from symbptt.verification import oracle
from symbptt.verification.adjoints.sweep import RIGHT, Group, Plan, gradients_of, paired, pulled, swept
from symbptt.verification.adjoints.tape import Tape, tape_of
from symbptt.verification.oracle import Arrays, Point

CELL, LOSS = "cell", "loss"
"""The two graphs in which an edge may lie."""
Post = Callable[[dict[Group, Any]], dict[Group, Any]]
"""A change of finished gradients."""


@dataclass(frozen=True)
class Draft:
    """A backward pass with mistakes: those of the cell and of the loss, other cotangents, changes of the finished gradients."""

    cell: Plan = RIGHT
    loss: Plan = RIGHT
    cotangents: Mapping[str, Any] = field(default_factory=dict)
    posts: tuple[Post, ...] = ()


@dataclass(frozen=True)
class Problem:
    """The derivation of a cell or a model at a point. Shapes: cotangents of states and outputs (T, B, ...); none of a model."""

    target: Cell | Model
    page: Derivation
    loss_page: Equations | None
    point: Point
    sent: Arrays

    @property
    def cell(self) -> Cell:
        return self.page.cell

    @cached_property
    def tape(self) -> Tape:
        """The values of the cell at all steps."""
        point = self.point
        states, _ = self._run
        before = {
            k: np.concatenate([np.asarray(point.state[k])[None], v[: point.steps - 1]])[: point.steps]
            for k, v in states.items()
        }
        given = oracle.constants(self.cell, point) | point.params | point.inputs | before
        return tape_of(self.page.recursion, point.sizes, point.steps, point.batch, given)

    @cached_property
    def _run(self) -> tuple[Arrays, Arrays]:
        with np.errstate(all="ignore"):
            return oracle.run(self.cell, self.point)

    @cached_property
    def loss_tape(self) -> Tape | None:
        """The values of the loss at the steps where it counts; none of a cell."""
        target, loss, point = self.target, self.loss_page, self.point
        if not isinstance(target, Model) or loss is None:
            return None
        states, outputs = self._run
        at = slice(None) if target.at == "every" else slice(-1, None)
        targets = {k: v if target.at == "every" else np.asarray(v)[None] for k, v in point.targets.items()}
        consts = {a.name: a.default for a in target.loss.arguments if a.role == "const" and a.default is not None}
        given = point.params | consts | targets | {k: v[at] for k, v in (states | outputs).items()}
        steps = point.steps if target.at == "every" else 1
        return tape_of(loss.recursion, point.sizes, steps, point.batch, given)

    def _from_loss(self, draft: Draft) -> tuple[Arrays, dict[Group, Any]]:
        """Return the cotangents that a loss sends to states and outputs, and the gradients of its own parameters."""
        tape = self.loss_tape
        assert tape is not None and isinstance(self.target, Model)
        step = tape.recursion.step
        weight = 1.0 / (tape.steps * tape.batch) if self.target.reduction == "mean" else 1.0
        bar = np.full((tape.steps, tape.batch), weight)
        found = pulled(tape, slice(0, tape.steps), {step.outputs["loss"]: bar}, draft.loss)
        once = {id: v.sum((0, 1), keepdims=True) for id, v in found.items() if id not in tape.varying}
        totals = pulled(tape, slice(0, 1), once, draft.loss, varying=False)
        grads = {
            ("params", a.name): totals[step.leaves[a.name]][0, 0]
            for a in step.of_role("param")
            if step.leaves[a.name] in totals
        }
        grads = {("params", a.name): np.zeros(tape.shape(step.leaves[a.name])) for a in step.of_role("param")} | grads
        sent: Arrays = {}
        for a in step.arguments:
            if a.role in ("state", "output") and step.leaves[a.name] in found:
                array = np.broadcast_to(value := found[step.leaves[a.name]], (tape.steps, tape.batch, *value.shape[2:]))
                whole = np.zeros((self.point.steps, *array.shape[1:]))
                whole[len(whole) - len(array) :] = array
                sent[a.name] = whole
        return sent, grads

    def cotangents(self, draft: Draft) -> Arrays:
        """Return the cotangents that enter the cell."""
        own = self.sent if self.loss_tape is None else self._from_loss(draft)[0]
        return {k: np.asarray(v) for k, v in {**own, **draft.cotangents}.items()}

    def gradients(self, draft: Draft | None = None) -> dict[Group, Any]:
        """Return the gradients of a backward pass with mistakes; without any those of the derivation."""
        draft = Draft() if draft is None else draft
        own: dict[Group, Any] = {}
        sent = self.sent
        with np.errstate(all="ignore"):
            if self.loss_tape is not None:
                sent, own = self._from_loss(draft)
            sent = {**sent, **draft.cotangents}
            T = self.point.steps
            plan = draft.cell
            if plan.is_linear:
                # All losses go back at once, which takes as many calls as steps, and not their square.
                reach = np.tril(np.ones((T, T), bool)) if plan.reach is None else plan.reach
                plan = replace(plan, reach=reach, start=np.ones(T, bool) if plan.start is None else plan.start)
            found = gradients_of(self.tape, swept(self.tape, sent, plan), plan)
            for place, value in own.items():
                scale = plan.sums[place].scale if place in plan.sums else 1.0
                found[place] = found[place] + scale * value if place in found else scale * value
            for post in draft.posts:
                found = post(found)
        return found

    @cached_property
    def right(self) -> dict[Group, Any]:
        """The gradients of the derivation."""
        return self.gradients()

    @cached_property
    def pairs(self) -> Any:
        """The contributions of the loss of each step to each step."""
        return paired(self.tape, self.cotangents(Draft()), RIGHT)


Blocks = dict[tuple[str, str, int], Any]
"""Gradients by block: an input has one a step, others one, at step -1."""


def blocks_of(gradients: Mapping[Group, Any]) -> Blocks:
    """Return gradients by block."""
    found: Blocks = {}
    for (group, name), value in gradients.items():
        if group == "inputs":
            found |= {(group, name, t): part for t, part in enumerate(value)}
        else:
            found[group, name, -1] = value
    return found
