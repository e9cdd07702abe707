"""What a kernel computes where, what it stores, and what that costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import sympy as sp

from symbptt.arguments import check_count, check_dtype
from symbptt.codegen.checkpoints import actions, pieces, refusal
from symbptt.codegen.costs import Costs, at
from symbptt.codegen.passes.recompute import computed_again
from symbptt.codegen.program import Program
from symbptt.codegen.statements import equation, writer_of
from symbptt.codegen.variables import Module, module_of
from symbptt.errors import ArgumentError
from symbptt.ir.shape import Shape, names_in, prod, show
from symbptt.render.expression import Writer
from symbptt.truncation import Chunked, Window

REGIONS = {
    "once": "before the loop, once",
    "all": "before the loop, all steps at once",
    "block": "before each block of steps, all its steps at once",
    "loop": "in the loop, every step",
    "tail": "behind each block of steps, all its steps at once",
    "after": "after the loop, all steps at once",
}


@dataclass(frozen=True)
class Stored:
    """A value kept for every step and sample: its variable, its formula, its shape without those two axes."""

    name: str
    formula: str
    shape: Shape


@dataclass(frozen=True)
class Plan:
    """Where products run (sweep, region, formula), what is kept for the backward sweep and what it computes again, and
    the truncation.

    The numbers are those of training, where `value_and_grad` holds the steps that the truncation needs and no more;
    `of_all_steps` has those of `forward` and `backward`.
    """

    name: str
    products: tuple[tuple[str, str, str], ...]
    stored: tuple[Stored, ...]
    truncation: Window | Chunked | None
    memory: str | int
    costs: Mapping[str, Costs] = field(repr=False)
    trains: bool
    again: tuple[Stored, ...] = ()

    @property
    def of_all_steps(self) -> Plan:
        """The plan without truncation: what `forward` and `backward` hold."""
        return replace(self, truncation=None)

    @property
    def elements(self) -> sp.Expr:
        """The number of stored values for each step and sample, in the named sizes."""
        return sp.sympify(sum(prod(item.shape) for item in self.stored))

    def steps_held(self, T: int) -> int:
        """Return how many steps are stored at once: all, or as many as the truncated training needs."""
        check_count("T", T)
        match self.truncation:
            case Window(k):
                return min(T, 2 * k - 1)
            case Chunked(k1, k2):
                return min(T, k1 + k2)
        return T

    def bytes(self, T: int, B: int, *, dtype: Any = np.float64, **sizes: int) -> int:
        """Return the bytes that the stored values take for T steps of B samples: of as many at once as `steps_held`
        says; with checkpoints, of a piece of steps, and the states at the borders of pieces.

        Raises: ArgumentError where a named size lacks, a number is none, or no schedule keeps within the memory.
        """
        self._check(T, B, dtype, sizes, names_in((self.elements,)))
        step = at(self.elements, sizes) * B * np.dtype(dtype).itemsize
        if self.memory == "all":
            return step * self.steps_held(T)
        piece, actions = self._schedule(T, B, dtype, sizes, "none")
        return step * piece + (slots_of(actions) if self.trains else T) * self._slot(B, dtype, sizes)

    def peak(
        self, T: int, B: int, *, dtype: Any = np.float64, lengths: bool = False, reset: bool = False, **sizes: int
    ) -> int:
        """Return the bytes that a call holds beside its arguments at the most: `value_and_grad` of a model, `forward`
        and `backward` of a cell; with `lengths` of which the longest is T, with `reset`; without truncation.

        Raises: ArgumentError where a named size lacks, a number is none, or no schedule keeps within the memory.
        """
        masks = _masks(lengths, reset)
        piece, actions = self._schedule(T, B, dtype, sizes, masks)
        slots = slots_of(actions) if self.trains else 0
        return self._needed(T, B, dtype, sizes, masks)(piece) + slots * self._slot(B, dtype, sizes)

    def recomputed(self, T: int, B: int, *, dtype: Any = np.float64, **sizes: int) -> int:
        """Return how many steps are run again; a run of a cell is run again as a whole.

        Raises: ArgumentError as `peak` does.
        """
        if self.memory == "all":
            return 0
        actions = self._schedule(T, B, dtype, sizes, "none")[1]
        return sum(hi - lo for lo, hi, is_last in actions if is_last is not self.trains)

    def schedule(
        self, T: int, B: int, *, dtype: Any = np.float64, lengths: bool = False, reset: bool = False, **sizes: int
    ) -> tuple[int, list[tuple[int, int, bool]]]:
        """Return the steps of a piece, and what is done in order: (lo, hi, False) runs those steps and holds the state
        before step hi; (lo, hi, True) runs them with their tape and flows back through them.

        Raises: ArgumentError where a named size lacks, a number is none, or no schedule keeps within the memory.
        """
        return self._schedule(T, B, dtype, sizes, _masks(lengths, reset))

    def _schedule(
        self, T: int, B: int, dtype: Any, sizes: Mapping[str, int], masks: str
    ) -> tuple[int, list[tuple[int, int, bool]]]:
        self._check(T, B, dtype, sizes, self.costs["none"].names)
        if self.memory == "all":
            return T, [(0, T, True)]
        needed = self._needed(T, B, dtype, sizes, masks)
        slot = self._slot(B, dtype, sizes) if self.trains else 0
        found = pieces(T, self.memory, needed, slot, self.trains)
        if found is None:
            raise ArgumentError(refusal(T, B, needed(min(T, 1)) + slot * (T > 1), int(self.memory)))
        return found[0], actions(T, *found, self.trains)

    def _needed(self, T: int, B: int, dtype: Any, sizes: Mapping[str, int], masks: str) -> Callable[[int], int]:
        item, costs = np.dtype(dtype).itemsize, self.costs[masks]
        return lambda steps: costs.bytes(steps, T, B, item, sizes, results=not self.trains)

    def _slot(self, B: int, dtype: Any, sizes: Mapping[str, int]) -> int:
        return at(self.costs["none"].state, sizes) * B * np.dtype(dtype).itemsize

    def _check(self, T: int, B: int, dtype: Any, sizes: Mapping[str, int], names: Iterable[str]) -> None:
        for name, number in {"T": T, "B": B, **sizes}.items():
            check_count(name, number, int(name in sizes))
        check_dtype(dtype)
        lack = [name for name in names if name not in sizes]
        if lack:
            raise ArgumentError(f"plan.bytes needs the size {', '.join(lack)}\n  write plan.bytes(T, B, {lack[0]}=...)")

    def __str__(self) -> str:
        lines = [f"Plan of {self.name}", "", "Products"]
        lines += [f"  {sweep:<9} {REGIONS[region]:<49} {formula}" for sweep, region, formula in self.products]
        lines += ["", "Kept for the backward sweep, for each step and sample"]
        lines += [f"  {item.name:<12} {show(item.shape):<12} {item.formula}" for item in self.stored]
        lines += [f"  together {self.elements} numbers", "", *self._again(), *self._cost()]
        return "\n".join(lines)

    def _again(self) -> list[str]:
        if not self.again:
            return []
        lines = [f"  {item.name:<12} {show(item.shape):<12} {item.formula}" for item in self.again]
        return ["Computed again in the backward sweep, not kept", *lines, ""]

    def _cost(self) -> list[str]:
        match self.truncation:
            case Window(k):
                return [
                    f"Truncation: each loss flows back through at most {k} steps.",
                    f"  time: the reverse recursion runs {k} times over all steps, at once for many; "
                    "gradients are summed once",
                    f"  memory: value_and_grad holds at most {2 * k - 1} steps; forward and backward hold all",
                ]
            case Chunked(k1, k2):
                return [
                    f"Truncation: every {k1} steps, their losses flow back through the last {k2}.",
                    f"  time: the backward sweep takes {k2} steps for every {k1} of the sequence",
                    f"  memory: value_and_grad holds at most {k1 + k2} steps; forward and backward hold all",
                ]
        match self.memory:
            case "all":
                return ["No truncation: all T steps are held."]
            case "sqrt":
                return [
                    "Memory: the states at the borders of about √T pieces of about √T steps are held, and the tape of one.",
                    "  time: all steps but those of the last piece are run once more",
                ]
        return [
            f"Memory: a call holds at most {self.memory:,} bytes beside its arguments.",
            "  time: as few steps are run again as that allows: plan.recomputed(T, B, ...), plan.schedule(T, B, ...)",
        ]


def _masks(lengths: bool, reset: bool) -> str:
    return "lengths" if lengths else "reset" if reset else "none"


def slots_of(actions: Iterable[tuple[int, int, bool]]) -> int:
    """Return how many states a schedule holds at once beside the initial one."""
    held, most = {0}, 1
    for lo, hi, is_last in actions:
        held = held - {lo} if is_last else held | {hi}
        most = max(most, len(held))
    return most - 1


def plan_of(
    p: Program, truncation: Window | Chunked | None, memory: str | int, costs: Mapping[str, Costs], trains: bool
) -> Plan:
    """Return the plan of a placed program."""
    m = module_of(p)
    writer = writer_of(p)
    contracts = [id for id in sorted(p.places) if p.graph[id].family == "contract"]
    products = [
        (sweep, region, _formula(m, writer, id)) for id in contracts for sweep, region in [p.places[id].split()]
    ]
    backward = {arg for id, place in p.places.items() if place.startswith("backward") for arg in p.graph[id].args}
    kept = []
    for id in sorted(m.variables):
        place = p.places.get(id, "")
        leaf = p.graph[id].family == "leaf"  # the caller's arrays, and states before the step, which are those after it
        read = id in m.varying and (id in m.stored or id in backward)
        if place.startswith("forward") and not leaf and read and id not in m.aliases:  # parts are counted as a whole
            kept.append(Stored(m.variables[id], _formula(m, writer, id), p.graph.shape(id)))
    again = [Stored(_name(m, id), _formula(m, writer, id), p.graph.shape(id)) for id in computed_again(p)]
    return Plan(p.name, tuple(products), tuple(kept), truncation, memory, costs, trains, tuple(again))


def _name(m: Module, id: int) -> str:
    """What a value is called: as the equations call it, else by its variable if it has one."""
    label = m.program.labels.get(id)
    return m.variables.get(id, "") if label is None else label.full


def _formula(m: Module, writer: Writer, id: int) -> str:
    """What a value is, in the terms of the equations where it stands for values of theirs."""
    return equation(m, writer, id) if id in m.program.origin else writer.rhs(id)
