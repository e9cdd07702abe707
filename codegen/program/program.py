"""A program: the recursion of a step with the place of every value, from which modules are generated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import takewhile
from typing import Any

import sympy as sp

from symbptt.autodiff.bptt import Recursion, per_sample, per_step
from symbptt.autodiff.labels import Label, labels
from symbptt.ir.graph import Graph
from symbptt.ir.needs import Need
from symbptt.ir.rewrite import Rewrite, rewritten
from symbptt.ir.step import Argument

Names = Mapping[str, int]


@dataclass(frozen=True)
class Program:
    """Values by name, all of them nodes of one graph.

    `whole` is the total cotangent of each state, with what its own step adds; `places` is the region in which each
    value is computed (program/regions.py). Values in `front` have a gate-major layout, with their first axis before
    that of samples, and so have those in `by_round`, but behind that of steps; a value in `joined` is made of parts
    that are computed in place in it. `written` is the program as equations show it, and `origin` the values there for
    which a value stands. `guarded` is that of the recursion. `wanted` are the parameters and inputs whose gradients
    a caller gets, None: all.
    """

    name: str
    doc: str
    arguments: tuple[Argument, ...]
    graph: Graph
    labels: dict[int, Label]
    leaves: Names
    next: Names
    outputs: Names
    carry: Names
    cotangent: Names
    recurrent: Names
    inputs: Names
    params: Names
    whole: Names
    kept: frozenset[int]
    places: dict[int, str] = field(default_factory=dict)
    front: frozenset[int] = frozenset()
    by_round: frozenset[int] = frozenset()
    joined: frozenset[int] = frozenset()
    written: Program | None = None
    origin: dict[int, tuple[int, ...]] = field(default_factory=dict)
    turned: dict[int, tuple[bool, ...]] = field(default_factory=dict)
    guarded: bool = False
    wanted: frozenset[str] | None = None
    needs: tuple[Need, ...] = ()

    def of_role(self, *roles: str) -> tuple[Argument, ...]:
        """Return the arguments of some roles, in the user's order."""
        return tuple(a for a in self.arguments if a.role in roles)

    @cached_property
    def origins(self) -> dict[int, tuple[int, ...]]:
        """The values of this graph for each value of `written` that they stand for."""
        found: dict[int, list[int]] = {}
        for new, olds in self.origin.items():
            for old in olds:
                found.setdefault(old, []).append(new)
        return {old: tuple(news) for old, news in found.items()}

    def wants(self, name: str) -> bool:
        """Answer whether a caller gets the gradient of an argument."""
        return self.wanted is None or name in self.wanted

    @property
    def forward_roots(self) -> list[int]:
        return [*self.next.values(), *self.outputs.values()]

    @property
    def backward_roots(self) -> list[int]:
        return [*self.recurrent.values(), *self.inputs.values(), *self.params.values()]

    @property
    def needed(self) -> list[int]:
        """The values that must survive when the graph is rebuilt."""
        return [*self.forward_roots, *self.backward_roots, *self.leaves.values(), *self.carry.values(),
                *self.cotangent.values()]  # fmt: skip

    @property
    def varying(self) -> set[int]:
        """The values that differ between samples or steps."""
        return per_sample(self.graph, range(len(self.graph)))

    @property
    def timed(self) -> set[int]:
        """The values that differ between steps: those of contexts alone differ between samples, and are the same at all steps."""
        return per_step(self.graph, range(len(self.graph)))


def program_of(r: Recursion) -> Program:
    """Return a recursion as a program without places."""
    s = r.step
    # The cotangent of a next state that is the same at all steps is a sum over them: after one step it is what came in.
    own = per_sample(r.graph, range(len(r.graph)))
    return Program(
        s.name,
        s.doc,
        s.arguments,
        r.graph,
        labels(r),
        s.leaves,
        s.next,
        s.outputs,
        r.carry,
        r.cotangent,
        r.recurrent,
        r.inputs,
        r.params,
        {name: r.adjoint[id] for name, id in s.next.items() if r.adjoint.get(id) in own},
        r.kept,
        guarded=r.guarded,
        needs=s.needs,
    )


def rebuild(p: Program, rewrite: Rewrite) -> Program:
    """Return the program with every node rebuilt by `rewrite`; nodes that no root needs are dropped."""
    return renewed(p, *rewritten(p.graph, p.needed, rewrite))


def traced(p: Program, origin: Mapping[int, tuple[int, ...]]) -> dict[int, tuple[int, ...]]:
    """Return the values of the program as equations show it, for the new values that stand for values of `p`."""
    if p.written is None:
        return dict(origin)
    # Origins refer to `written`, not to the pass before, so that a second pass maps through the first one.
    known = {
        new: tuple(dict.fromkeys(first for old in olds for first in p.origin.get(old, ())))
        for new, olds in origin.items()
    }
    return {new: olds for new, olds in known.items() if olds}


def renewed(p: Program, g: Graph, new: Mapping[int, int]) -> Program:
    """Return the program in another graph, `new` being the new ids by the old ones."""
    names: dict[str, Any] = {
        f.name: {key: new[id] for key, id in getattr(p, f.name).items()}
        for f in fields(p)
        if f.type == "Names" and f.name != "whole"
    }
    names["whole"] = {key: new[id] for key, id in p.whole.items() if id in new}  # dropped where no gradient reads it
    found: dict[int, Label] = {}
    for id, label in p.labels.items():
        if id in new:
            # Two old values may have become one: the label of the first one stays.
            found.setdefault(new[id], label)
    return replace(
        p,
        graph=g,
        labels=found,
        kept=frozenset(new[id] for id in p.kept if id in new),
        # Places belong to ids of the old graph; `place` derives them anew, as the last pass.
        places={},
        front=frozenset(new[id] for id in p.front if id in new),
        by_round=frozenset(new[id] for id in p.by_round if id in new),
        joined=frozenset(new[id] for id in p.joined if id in new),
        origin={new[id]: olds for id, olds in p.origin.items() if id in new},
        turned={new[id]: signs for id, signs in p.turned.items() if id in new},
        **names,
    )


def symbol_of(id: int) -> sp.Symbol:
    """Return the real scalar that stands for a value of the program."""
    return sp.Symbol(f"v{id}", real=True)


def joint_name(names: Sequence[str], what: str) -> str:
    """Return a name for concatenated values: the letters with which all their names begin, and what they are."""
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    common = "".join(letters[0] for letters in alike).rstrip("_")
    return f"{common}_{what}" if common else what
