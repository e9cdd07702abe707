"""Names for the values of a program that have a place: the user's, those of adjoints, and others made of these."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from symbptt.codegen.program.program import Program
from symbptt.codegen.program.regions import BLOCK, LOOP
from symbptt.codegen.program.values import (
    Values,
    chosen,
    gradient_sums,
    is_held,
    is_stored,
    readers_of,
    size_names,
    values_of,
)
from symbptt.ir.naming import unique

LONG = 30
"""The number of letters of a name that is not put into others: names of chains of values would grow without end."""


@dataclass(frozen=True)
class Named(Values):
    """The values of a program with names: `variables` those of values, `previous` those of states before a step, `sizes`
    those of named sizes whose own name is taken, `gradients` those of results."""

    variables: dict[int, str]
    previous: dict[int, str]
    sizes: dict[str, str]
    gradients: dict[str, str]

    def of_argument(self, name: str) -> str:
        """Return the name of an argument, after a step where it is a state."""
        return self.variables[self.program.leaves[name]]


def named(p: Program, reserved: Collection[str] = ()) -> Named:
    """Return the values of a placed program with names, none of them `reserved`."""
    v = values_of(p)
    reserved = frozenset(reserved)
    used = set(reserved) | {f"{a.name}{end}" for a in p.of_role("state") for end in ("_0", "_prev", "_buffer")}
    # A user may call a parameter h_prev or dh_in. Names that are derived from those of states are taken before any
    # value is named, so that the user's value gets a number and the derived ones stay as every reader knows them.
    used |= {f"d{a.name}{end}" for a in p.of_role("state") for end in ("_0", "_all", "_in")}

    def allocate(name: str) -> str:
        name = unique(name if name not in reserved else f"{name}_", used)
        used.add(name)
        return name

    variables, previous = dict[int, str](), dict[int, str]()
    sizes = {name: allocate(name) for name in size_names(p)}
    for a in p.of_role("state"):  # first: names of our own are made from theirs
        name = variables[p.leaves[a.name]] = allocate(a.name)
        previous[p.leaves[a.name]] = f"{name}_prev"
        used |= {f"{name}_prev", f"{name}_buffer", f"{a.name}_0", f"d{a.name}_0"}
    for name, leaf in [*p.carry.items(), *p.cotangent.items()]:
        variables[leaf] = allocate(f"d{name}")
        used |= {f"{variables[leaf]}{end}" for end in ("_0", "_all", "_in")}
    for a in p.arguments:
        if p.leaves[a.name] not in variables:
            variables[p.leaves[a.name]] = allocate(a.name.replace(".", "_"))
    gradients = {name: allocate(f"d{name}".replace(".", "_")) for name in [*p.params, *p.inputs]}
    for name, id in gradient_sums(p).items():
        variables.setdefault(id, gradients[name])
    for id in chosen(p):
        if id not in variables:
            shared = _next_state(v, id, variables) or _carry_read_up(p, id, variables)
            variables[id] = shared or allocate(_suggest(p, id, variables))
    renamed = {name: variable for name, variable in sizes.items() if name != variable}
    return Named(**vars(v), variables=variables, previous=previous, sizes=renamed, gradients=gradients)


def _next_state(v: Values, id: int, variables: dict[int, str]) -> str | None:
    """Return the name of a state for the value that becomes it; the state before the step has another one."""
    p = v.program
    for name, target in p.next.items():
        if target == id and id in v.varying and p.places.get(id) in (f"forward {BLOCK}", f"forward {LOOP}"):
            return variables[p.leaves[name]]
    return None


def _carry_read_up(p: Program, id: int, variables: dict[int, str]) -> str | None:
    """Return the name of the carry for the total cotangent of a state, where nothing else reads the carry.

    A part of joined values lies in their buffer instead.
    """
    if (
        any(id in p.graph[joined].args for joined in p.joined)
        or is_stored(p, id)
        or is_held(p, id)
        or id not in p.whole.values()
        or not p.places[id].endswith(LOOP)
    ):
        return None
    # The carry of that state and no other one: what is recorded of a step reads the cotangents of all states behind it.
    own = (p.carry[name] for name, total in p.whole.items() if total == id)
    return next((variables[leaf] for leaf in own if list(readers_of(p, leaf)) == [id]), None)


def _suggest(p: Program, id: int, variables: dict[int, str]) -> str:
    """Return a name for a value: its label, or one made of the names of its arguments."""
    label, node = p.labels.get(id), p.graph[id]
    if label is not None:
        return label.full
    names = [variables.get(arg, "") for arg in node.args]
    if node.family == "view" and node.attrs.kind == "transpose" and names[0]:
        return f"{names[0]}T"
    if node.family == "map" and node.attrs.expr.is_Function and names[0]:
        called = type(node.attrs.expr).__name__
        return f"{called}_{names[0]}" if len(names[0]) < LONG else called
    if node.family == "contract" and all(names) and sum(map(len, names)) < LONG:
        return "_".join(names)
    owner = _owner(p, id)
    if p.places[id] == f"forward {BLOCK}" and owner:
        return f"{owner}_in"
    return f"v_{owner}" if owner else "v"


def _owner(p: Program, id: int) -> str:
    """Return the name of the first named value that a value goes into."""
    queue, seen, sweep = [id], set[int](), p.places[id].split()[0]
    while queue:
        # Breadth first: the nearest reader with a name.
        id = queue.pop(0)
        if id in p.labels:
            return p.labels[id].full
        for reader in sorted(readers_of(p, id)):
            if reader not in seen and p.places[reader].split()[0] == sweep:
                seen.add(reader)
                queue.append(reader)
    return ""
