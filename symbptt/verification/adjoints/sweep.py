"""A derivation run backward in time on numbers, with its contributions one by one; and the same with mistakes in it.

A `Plan` holds the mistakes: an edge that is scaled, computed otherwise or reads another value, a carry that is scaled or clipped,
steps that a loss does not reach, sums that leave something out. A plan without any gives the gradients of the derivation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symbptt.ir.node import Node
from symbptt.verification.adjoints.tape import Edge, Tape

Group = tuple[str, str]
"""The place of a gradient: params, inputs or state, and the name."""
Arrays = dict[str, Any]


@dataclass(frozen=True)
class EdgeFault:
    """A mistake on an edge: a factor, nodes in the place of those with the same id, values that are read in the place of those of
    the forward pass, by node; with `passes` the cotangent is handed on as it is; `takes` is the value whose cotangent is taken, `weights`
    those of steps and samples, (T, B); `steps` (T,) those at which the mistake is made, all where there are none."""

    scale: float = 1.0
    nodes: Mapping[int, Node] = field(default_factory=dict)
    reads: Mapping[int, Any] = field(default_factory=dict)
    passes: bool = False
    takes: int | None = None
    weights: Any = None
    steps: Any = None


@dataclass(frozen=True)
class Sum:
    """How a gradient is summed: a factor, and weights of steps (T,) and of samples (B,), one by default. Of an initial
    state: `handed` is the step whose handed-on cotangent it gets, `after` the step whose next state's cotangent it gets."""

    scale: float = 1.0
    steps: Any = None
    samples: Any = None
    handed: int | None = None
    after: int | None = None


Clip = Callable[[dict[str, Any]], dict[str, Any]]
"""The cotangents of all states at one step, by name -> clipped ones."""


@dataclass(frozen=True)
class Plan:
    """A backward pass with mistakes.

    `carry` are factors on what a step hands to the step before, by state, (T,) or one for all steps; `clip` is applied to
    that, with `clip_start` to what the initial state gets too, `clip_all` to the cotangents of states as they enter a step,
    `limits` to those of single values; `reach` (T, T) tells which steps t the loss of step τ flows back to, [τ, t], `start`
    (T,) which losses reach the initial state.
    """

    edges: Mapping[int, EdgeFault] = field(default_factory=dict)
    carry: Mapping[str, Any] = field(default_factory=dict)
    clip: Clip | None = None
    clip_start: bool = False
    clip_all: Clip | None = None
    limits: Mapping[int, Callable[[Any], Any]] = field(default_factory=dict)
    reach: Any = None
    start: Any = None
    sums: Mapping[Group, Sum] = field(default_factory=dict)

    @property
    def is_linear(self) -> bool:
        """Answer whether the losses of several steps may go back together and be told apart."""
        return self.clip is None and self.clip_all is None and not self.limits


RIGHT = Plan()


Record = Callable[[Edge, Any, Any], None]
"""(edge, cotangent of its value, contribution), both (N, B, ...)."""


def pulled(
    tape: Tape,
    at: slice,
    roots: Mapping[int, Any],
    plan: Plan = RIGHT,
    record: Record | None = None,
    *,
    varying: bool = True,
) -> dict[int, Any]:
    """Return the cotangents of leaves, and of values that are the same at all steps, from those of the results of a step; with
    `varying` false from those of such values alone.

    Shapes: all (N, B, ...), N the number of the steps `at`.
    """
    pending, bars, late = dict(roots), dict[int, Any](), list[Edge]()
    # Edges come from the last value to the first: when a value is taken, all that reads it has given.
    for value, edges in tape.from_value.items():
        if value not in pending or (value in tape.varying) != varying:
            continue
        bar = pending.pop(value)
        bar = plan.limits[value](bar) if value in plan.limits else bar
        bars[value], known = bar, {edges[0].bar: bar}
        for edge in edges:
            fault = plan.edges.get(edge.number)
            if fault is not None and fault.takes is not None and fault.takes not in bars:
                late.append(edge)
                continue
            given = contribution(tape, edge, known, at) if fault is None else _faulty(tape, edge, bars, at, fault)
            if record is not None:
                record(edge, bar, given)
            pending[edge.target] = given if edge.target not in pending else pending[edge.target] + given
    for edge in late:
        fault = plan.edges[edge.number]
        if fault.takes in bars:
            given = _faulty(tape, edge, bars, at, fault)
            pending[edge.target] = given if edge.target not in pending else pending[edge.target] + given
    return pending


def _faulty(tape: Tape, edge: Edge, bars: Mapping[int, Any], at: slice, fault: EdgeFault) -> Any:
    """Return what an edge gives with a mistake, at other steps than those of the mistake without it."""
    used = bars[edge.value if fault.takes is None else fault.takes]
    given = contribution(tape, edge, {edge.bar: used}, at, fault)
    if fault.steps is None:
        return given
    right = contribution(tape, edge, {edge.bar: bars[edge.value]}, at)
    return np.where(fault.steps[at].reshape(-1, *(1,) * (given.ndim - 1)), given, right)


def contribution(tape: Tape, edge: Edge, known: dict[int, Any], at: slice, fault: EdgeFault | None = None) -> Any:
    """Return the contribution of an edge; `known` has the cotangent of its value, and what other edges have computed from it."""
    if fault is not None and fault.passes:
        return known[edge.bar]
    # A mistake on one edge is not one on the others, which share nodes with it.
    values = known if fault is None else {edge.bar: known[edge.bar]}
    for node in edge.nodes:
        if node.id in values:
            continue
        node = node if fault is None else fault.nodes.get(node.id, node)
        values[node.id] = (
            tape.read(node.id, at)
            if node.family == "leaf"
            else tape.compute(node, [_read(tape, arg, values, at, fault) for arg in node.args])
        )
    given = values[edge.given] if edge.given in values else tape.read(edge.given, at)
    if fault is not None and fault.weights is not None:
        given = given * fault.weights[at].reshape(*fault.weights[at].shape, *(1,) * (given.ndim - 2))
    return given if fault is None else fault.scale * given


def _read(tape: Tape, id: int, values: Mapping[int, Any], at: slice, fault: EdgeFault | None) -> Any:
    if fault is not None and id in fault.reads:
        array = fault.reads[id]
        return array[at] if len(array) == tape.steps else array
    return values[id] if id in values else tape.read(id, at)


@dataclass(frozen=True)
class Found:
    """The cotangents that a sweep finds, step by step.

    Shapes: `leaves` of values that differ between steps (T, B, ...), of the others too, before they are summed; `start` of
    initial states (B, ...), `entered` of states after each step (T, B, ...), what later steps and the loss give.
    """

    leaves: Mapping[int, Any]
    start: Arrays
    entered: Arrays


def swept(tape: Tape, cotangents: Mapping[str, Any], plan: Plan = RIGHT) -> Found:
    """Return what a sweep over all steps finds, from the last step to the first.

    Shapes: cotangents of states and outputs by name, (T, B, ...).
    """
    if plan.reach is not None:
        return _paired(tape, cotangents, plan)
    step, T = tape.recursion.step, tape.steps
    carry: Arrays = {name: np.zeros((1, tape.batch, *tape.shape(id))) for name, id in step.next.items()}
    parts: dict[int, list[Any]] = {}
    all_entered: Arrays = {name: np.zeros((T, *zero.shape[1:])) for name, zero in carry.items()}
    for t in reversed(range(T)):
        entered = {
            name: carry[name] + cotangents[name][t : t + 1] if name in cotangents else carry[name] for name in carry
        }
        entered = entered if plan.clip_all is None else plan.clip_all(entered)
        for name, bar in entered.items():
            all_entered[name][t] = bar[0]
        roots = _roots(tape, entered | {k: v[t : t + 1] for k, v in cotangents.items() if k in step.outputs})
        leaves = pulled(tape, slice(t, t + 1), roots, plan)
        before = _handed(tape, leaves, carry, plan, slice(t, t + 1))
        carry = before if plan.clip is None or (t == 0 and not plan.clip_start) else plan.clip(before)
        for id, array in leaves.items():
            parts.setdefault(id, [None] * T)[t] = array
    zero = {id: np.zeros((1, tape.batch, *tape.shape(id))) for id in parts}
    whole = {
        id: np.concatenate([_full(zero[id] if x is None else x, tape) for x in found]) for id, found in parts.items()
    }
    return Found(whole, {k: v[0] for k, v in carry.items()}, all_entered)


def _full(x: Any, tape: Tape) -> Any:
    return np.broadcast_to(x, (len(x), tape.batch, *x.shape[2:]))


def _roots(tape: Tape, bars: Mapping[str, Any]) -> dict[int, Any]:
    """Return cotangents of results by node: two results may be one value."""
    step, found = tape.recursion.step, dict[int, Any]()
    for name, id in [*step.next.items(), *step.outputs.items()]:
        if name in bars:
            found[id] = bars[name] if id not in found else found[id] + bars[name]
    return found


def _handed(tape: Tape, leaves: Mapping[int, Any], like: Mapping[str, Any], plan: Plan, at: slice) -> Arrays:
    """Return what the steps `at` hand to the step before, by state."""
    leaf = tape.recursion.step.leaves
    found = {}
    for name, zero in like.items():
        given = leaves.get(leaf[name])
        factor = np.asarray(plan.carry.get(name, 1.0))
        factor = factor[at].reshape(-1, *(1,) * (zero.ndim - 1)) if factor.ndim else factor
        found[name] = np.zeros_like(zero) if given is None else factor * _full(given, tape)
    return found


def _paired(tape: Tape, cotangents: Mapping[str, Any], plan: Plan) -> Found:
    """Return what a sweep finds where the loss of step τ reaches some steps t alone: all losses go back together, so many steps."""
    pairs = paired(tape, cotangents, plan)
    return pairs.reached(plan.reach, plan.start)


@dataclass(frozen=True)
class Pairs:
    """The contributions of the loss of each step τ to each step t, for every distance τ − t.

    Shapes: `leaves` by node, a list by distance d of (T − d, B, ...), entry τ − d the step; `start` by state (T, B, ...) by τ;
    `entered` by state, lists as of leaves: what a state after a step has of each loss.
    """

    tape: Tape
    leaves: Mapping[int, list[Any]]
    start: Arrays
    entered: Mapping[str, list[Any]]

    def reached(self, reach: Any, start: Any) -> Found:
        """Return the sums over those pairs for which `reach` is true, [τ, t]; of initial states over the losses of `start`."""
        tape, following = self.tape, self.tape.recursion.step.next
        weights = [np.diagonal(reach, -d).astype(float) for d in range(tape.steps)]
        leaves = {id: _weighted(parts, weights, tape, tape.shape(id)) for id, parts in self.leaves.items()}
        # What enters a state is there whether the step itself is flowed back through or not.
        full = [np.ones(tape.steps - d) for d in range(tape.steps)]
        entered = {k: _weighted(parts, full, tape, tape.shape(following[k])) for k, parts in self.entered.items()}
        return Found(
            leaves, {k: np.einsum("t,t...->...", np.asarray(start, float), v) for k, v in self.start.items()}, entered
        )


def _weighted(parts: list[Any], weights: list[Any], tape: Tape, shape: tuple[int, ...]) -> Any:
    """Return the sum over distances of the contributions to each step, with weights."""
    whole = np.zeros((tape.steps, tape.batch, *shape))
    for d, part in enumerate(parts):
        if part is not None:
            whole[: tape.steps - d] += weights[d].reshape(-1, *(1,) * (part.ndim - 1)) * part
    return whole


def paired(tape: Tape, cotangents: Mapping[str, Any], plan: Plan) -> Pairs:
    """Return the contributions of each loss to each step."""
    step, T = tape.recursion.step, tape.steps
    zeros = {name: np.zeros((T, tape.batch, *tape.shape(id))) for name, id in step.next.items()}
    bars = zeros | {k: np.asarray(v, float) for k, v in cotangents.items()}
    start = {k: v.copy() for k, v in zeros.items()}
    entered: dict[str, list[Any]] = {name: [None] * T for name in zeros}
    leaves: dict[int, list[Any]] = {}
    for d in range(T):
        roots = _roots(tape, bars)
        for name in start:
            entered[name][d] = bars[name]
        found = pulled(tape, slice(0, T - d), roots, plan)
        for id, array in found.items():
            parts = leaves.setdefault(id, [None] * T)
            parts[d] = np.broadcast_to(array, (T - d, tape.batch, *array.shape[2:]))
        before = _handed(
            tape,
            {k: np.broadcast_to(v, (T - d, *v.shape[1:])) for k, v in found.items()},
            {k: v[: T - d] for k, v in zeros.items()},
            plan,
            slice(0, T - d),
        )
        for name in start:
            # The first of these steps is step 0, which the loss of step d has reached.
            start[name][d] = before[name][0]
        # Behind them only cotangents of states are left, one step earlier each.
        bars = {name: before[name][1:] for name in start}
    return Pairs(tape, leaves, start, entered)


def gradients_of(
    tape: Tape, found: Found, plan: Plan = RIGHT, beside: Mapping[int, Any] | None = None
) -> dict[Group, Any]:
    """Return the gradients of parameters, inputs and initial states, from what a sweep has found.

    `beside` are cotangents that values which are the same at all steps have from elsewhere, (1, 1, ...).
    """
    step = tape.recursion.step
    once = [id for id in found.leaves if id not in tape.varying]

    def summed(weighed: Sum) -> dict[int, Any]:
        totals = {id: _total(found.leaves[id], weighed) for id in once}
        return pulled(tape, slice(0, 1), totals, plan, varying=False)

    plain = summed(Sum())
    result: dict[Group, Any] = {}
    for a in step.of_role("param", "input", "state"):
        group = {"param": "params", "input": "inputs", "state": "state"}[a.role]
        place, leaf = (group, a.name), step.leaves[a.name]
        how = plan.sums.get(place, Sum())
        if a.role == "param":
            value = (plain if how.steps is None and how.samples is None else summed(how)).get(leaf)
            result[place] = how.scale * (np.zeros(tape.shape(leaf)) if value is None else value[0, 0])
        elif a.role == "input":
            value = found.leaves.get(leaf)
            value = np.zeros((tape.steps, tape.batch, *tape.shape(leaf))) if value is None else value
            result[place] = how.scale * _weighed(value, how)
        else:
            result[place] = how.scale * _of_start(tape, found, a.name, how)
    return result


def _of_start(tape: Tape, found: Found, name: str, how: Sum) -> Any:
    """Return the gradient of an initial state."""
    if how.after is not None:
        return found.entered[name][how.after]
    if how.handed is None:
        return found.start[name]
    handed = found.leaves.get(tape.recursion.step.leaves[name])
    return np.zeros_like(found.start[name]) if handed is None else handed[how.handed]


def _total(array: Any, how: Sum) -> Any:
    return _weighed(array, how).sum((0, 1), keepdims=True)


def _weighed(array: Any, how: Sum) -> Any:
    for weights, axis in ((how.steps, 0), (how.samples, 1)):
        if weights is not None:
            shape = [1] * array.ndim
            shape[axis] = -1
            array = array * np.reshape(weights, shape)
    return array
