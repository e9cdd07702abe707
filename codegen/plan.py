"""What a kernel computes where, what it stores, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sympy as sp

from symbptt.arguments import check_count, check_dtype
from symbptt.codegen.checkpoints import _fitting, _largest, _root, _schedule
from symbptt.codegen.costs import Costs, at
from symbptt.codegen.program import Program
from symbptt.codegen.statements import writer_of
from symbptt.codegen.variables import module_of
from symbptt.errors import ArgumentError
from symbptt.ir.shape import Shape, named_size, names_in, prod, show
from symbptt.truncation import Chunked, Window

REGIONS = {
    "once": "before the loop, once",
    "all": "before the loop, all steps at once",
    "block": "before each block of steps, all its steps at once",
    "loop": "in the loop, every step",
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
    """Where products run (sweep, region, formula), what is kept for the backward sweep, and the truncation.

    The numbers are those of training, where `value_and_grad` holds the steps that the truncation needs and no more;
    `of_all_steps` has those of `forward` and `backward`.
    """

    name: str
    products: tuple[tuple[str, str, str], ...]
    stored: tuple[Stored, ...]
    truncation: Window | Chunked | None
    memory: str | int
    costs: Costs
    trains: bool

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
        """Return the bytes that the stored values take for T steps of B samples, as many at once as `steps_held` says.

        Raises: ArgumentError where a named size lacks, or a number is none.
        """
        for name, number in {"T": T, "B": B, **sizes}.items():
            check_count(name, number, int(name in sizes))
        check_dtype(dtype)
        lack = [name for name in names_in((self.elements,)) if name not in sizes]
        if lack:
            raise ArgumentError(f"plan.bytes needs the size {', '.join(lack)}\n  write plan.bytes(T, B, {lack[0]}=...)")
        count = self.elements.subs({named_size(k): v for k, v in sizes.items()})
        return int(count) * self.steps_held(T) * B * np.dtype(dtype).itemsize

    def __str__(self) -> str:
        lines = [f"Plan of {self.name}", "", "Products"]
        lines += [f"  {sweep:<9} {REGIONS[region]:<36} {formula}" for sweep, region, formula in self.products]
        lines += ["", "Kept for the backward sweep, for each step and sample"]
        lines += [f"  {item.name:<12} {show(item.shape):<12} {item.formula}" for item in self.stored]
        lines += [f"  together {self.elements} numbers", "", *self._cost()]
        return "\n".join(lines)

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
        return ["No truncation: all T steps are held."]


def plan_of(p: Program, truncation: Window | Chunked | None, memory: str | int, costs: Costs, trains: bool) -> Plan:
    """Return the plan of a placed program."""
    m = module_of(p)
    writer = writer_of(p)
    contracts = [id for id in sorted(p.places) if p.graph[id].family == "contract"]
    products = [(sweep, region, writer.rhs(id)) for id in contracts for sweep, region in [p.places[id].split()]]
    backward = {arg for id, place in p.places.items() if place.startswith("backward") for arg in p.graph[id].args}
    kept = []
    for id in sorted(m.variables):
        place = p.places.get(id, "")
        leaf = p.graph[id].family == "leaf"  # the caller's arrays, and states before the step, which are those after it
        if place.startswith("forward") and not leaf and (id in m.stored or id in backward) and id in m.varying:
            kept.append(Stored(m.variables[id], writer.rhs(id), p.graph.shape(id)))
    return Plan(p.name, tuple(products), tuple(kept), truncation, memory, costs, trains)
