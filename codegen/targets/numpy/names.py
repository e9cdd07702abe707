"""The variables of a module: which values have one, their names, and which are stored for every step."""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

import sympy as sp

from symbptt.codegen.passes.accurate_slopes import arguments_again
from symbptt.codegen.program.program import Program
from symbptt.codegen.program.regions import AFTER, BLOCK, LOOP, NEAR, TAIL, is_near
from symbptt.codegen.targets.numpy.embed import defined
from symbptt.codegen.targets.numpy.expressions import Scope
from symbptt.codegen.targets.numpy.text import size_text
from symbptt.ir.naming import unique
from symbptt.ir.node import WITHOUT_COPY, Node, placeholder
from symbptt.ir.shape import Size, names_in, size
from symbptt.ir.step import Argument

RESERVED = {
    *keyword.kwlist, *keyword.softkwlist, *dir(builtins), "np", "t", "T", "B", "a", "sizes", "dtype", "active", "reset",
    "tape", "flow", "given", "last", "full", "forward", "backward", "value_and_grad", "erf", "params", "inputs",
    "state", "run", "start", "carry", "sums", "read", "of", "masked", "scanned", "window", "plans", "K", "lo", "hi", "v",
    "final", "adjoint", "adjoints", "resets", "waiting", "sent", "ws", "workspace", "_", *defined(),
}  # fmt: skip
"""Names that a module uses itself."""


@dataclass(frozen=True)
class Module:
    """The data that the writers of both sweeps share: the program, a variable for each value that has one, the values
    that are stored for all steps, and those that are stored for a block of steps.

    `collected` are the carries that are read after the loop: their arrays have all steps, those of the others a block.
    `static` values are Python numbers; `varying` ones differ between samples; `previous` are the variables of states
    before a step; `sizes` those of named sizes whose name is taken; `gradients` those of results. Writing adds to
    `used`.
    """

    program: Program
    variables: dict[int, str]
    stored: frozenset[int]
    held: frozenset[int]
    collected: frozenset[int]
    static: frozenset[int]
    varying: frozenset[int]
    previous: dict[int, str]
    sizes: dict[str, str]
    gradients: dict[str, str]
    aliases: dict[int, tuple[int, str]] = field(default_factory=dict)
    lead: tuple[str, ...] = ("T", "B")
    used: set[str] = field(default_factory=set)

    def scope(self, region: str) -> Scope:
        """Return how values are written in a region of either sweep."""
        lead = ("B",) if region == LOOP else self.lead
        return Scope(
            self.program.graph,
            self.varying,
            self.static,
            lead,
            lambda id: self.refer(id, region),
            self.sizes,
        )

    def refer(self, id: int, region: str) -> str | None:
        """Return the text of a value that has a variable, in a region."""
        name = self.previous.get(id) or self.variables.get(id)
        if name is None:
            return None
        self.used.add(name)
        if id not in self.varying:
            return name
        if self.is_carry(id):
            return name if region == LOOP else self.kept_carry(name)
        # A value of the loop that is not stored has one step only, and no index.
        array = self.program.graph[id].family == "leaf" or id in self.stored or not self.place(id).endswith(LOOP)
        if id in self.program.front:
            # A gate-major array of all steps has the axes (T, g, B, n).
            name = f"{name}.swapaxes(1, 2)"
        return f"{name}[t]" if region == LOOP and array else name

    def root(self, id: int) -> str:
        """Return the variable of the array whose memory a value has."""
        return self.variables[self.whole(id)]

    def whole(self, id: int) -> int:
        """Return the value of whose array a value is a part."""
        while id in self.aliases:
            id = self.aliases[id][0]
        return id

    def place(self, id: int) -> str:
        """Return the sweep and the region in which a value is computed."""
        return self.program.places.get(id, "")

    def is_carry(self, id: int) -> bool:
        """Answer whether a value is the incoming cotangent of a state."""
        return id in self.program.carry.values()

    def kept_carry(self, name: str) -> str:
        """Return the array that has an adjoint at every step."""
        self.used.add(f"{name}_all")
        return f"{name}_all"

    def steps_of_carry(self, id: int) -> str:
        """Return the number of steps of the array that has an adjoint at every step."""
        return "T" if id in self.collected else "K"

    def of_argument(self, name: str) -> str:
        """Return the variable of an argument, after a step where it is a state."""
        return self.variables[self.program.leaves[name]]


def module_of(p: Program, lead: tuple[str, ...] = ("T", "B")) -> Module:
    """Return the variables of a placed program, and the values that are stored."""
    static = _static(p)
    variables: dict[int, str] = {}
    used = set(RESERVED) | {f"{a.name}{end}" for a in p.of_role("state") for end in ("_0", "_prev", "_buffer")}
    used |= {f"d{a.name}{end}" for a in p.of_role("state") for end in ("_0", "_all", "_in")}
    sizes = {name: _allocate(name, used) for name in size_names(p)}
    previous = {}
    for a in p.of_role("state"):  # first: names of our own are made from theirs
        name = variables[p.leaves[a.name]] = _allocate(a.name, used)
        previous[p.leaves[a.name]] = f"{name}_prev"
        used |= {f"{name}_prev", f"{name}_buffer", f"{a.name}_0", f"d{a.name}_0"}
    for name, leaf in [*p.carry.items(), *p.cotangent.items()]:
        variables[leaf] = _allocate(f"d{name}", used)
        used |= {f"{variables[leaf]}{end}" for end in ("_0", "_all", "_in")}
    for a in p.arguments:
        if p.leaves[a.name] not in variables:
            variables[p.leaves[a.name]] = _allocate(a.name, used)
    gradients = {name: _allocate(f"d{name}", used) for name in [*p.params, *p.inputs]}
    for name, id in [*p.params.items(), *p.inputs.items()]:
        if p.places.get(id, "").endswith(TAIL) and id not in p.labels:
            # A sum over steps that is a gradient is accumulated under the name of the gradient.
            variables.setdefault(id, gradients[name])
    varying = frozenset(p.varying)
    for id in _with_variable(p):
        if id not in variables:
            shared = _next_state(p, id, variables, varying) or _carry_read_up(p, id, variables)
            variables[id] = shared or _allocate(_suggest(p, id, variables), used)
    stored = {id for id in variables if _is_stored(p, id)}
    # An array of all steps serves the steps of a block too.
    held = {id for id in variables if _is_held(p, id) or id in p.joined} - stored
    renamed = {name: variable for name, variable in sizes.items() if name != variable}
    aliases = _aliases(p, variables, stored, held, renamed)
    return Module(
        p,
        variables,
        frozenset(stored),
        frozenset(held - stored),
        frozenset(leaf for leaf in p.carry.values() if _is_read_after(p, leaf)),
        frozenset(static),
        varying,
        previous,
        renamed,
        gradients,
        aliases,
        lead,
    )


def _aliases(
    p: Program, variables: dict[int, str], stored: set[int], held: set[int], renamed: dict[str, str]
) -> dict[int, tuple[int, str]]:
    """Return the values that are parts of another's array, with that value and the index.

    A value with a stored part is stored, and so are all its parts; likewise for those of a block.
    """
    parts = {id: found for id in variables for found in [_part(p, variables, id)] if found is not None}
    parts |= _laid(p, variables, renamed)
    for kept in (stored, held):
        for id in sorted(parts, reverse=True):
            if id in kept:
                kept.add(parts[id][0])
        for id in sorted(parts):
            if parts[id][0] in kept:
                kept.add(id)
        held -= stored
    return {id: part for id, part in parts.items() if id in stored or id in held}


def _laid(p: Program, variables: dict[int, str], renamed: dict[str, str]) -> dict[int, tuple[int, str]]:
    """Return the indices at which the parts of joined values lie."""
    found = {}
    for id in p.joined:
        start: Size = 0
        for arg in p.graph[id].args:
            stop = size(start + p.graph.shape(arg)[0])
            if id in variables and arg in variables:
                found[arg] = (id, f"[..., {size_text(start, renamed)}:{size_text(stop, renamed)}]")
            start = stop
    return found


def _part(p: Program, variables: dict[int, str], id: int) -> tuple[int, str] | None:
    """Return the gate-major value of which a value is a part, and the index of that part."""
    node, index = p.graph[id], "0"
    while node.id not in variables or node.id == id:
        if node.family != "view" or node.attrs.kind not in ("slice", "reshape"):
            return None
        if node.attrs.kind == "slice":
            (start, length, _), *_ = node.attrs.data
            index = f"{start}:{start + length}" if node.id == id else str(start)
        node = p.graph[node.args[0]]
    return (node.id, f"[:, {index}]") if node.id in p.front else None


def size_names(p: Program) -> list[str]:
    """Return the named sizes of a program's arguments."""
    return sorted({name for a in p.arguments for name in names_in(a.shape)})


def is_baked(a: Argument) -> bool:
    """Answer whether an argument is a constant whose value stands in the module."""
    return a.role == "const" and a.default is not None


def constants_of(m: Module) -> dict[str, float]:
    """Return the constants that are one number, by variable."""
    return {m.of_argument(a.name): a.default for a in m.program.arguments if is_baked(a) and not a.shape}


def _allocate(name: str, used: set[str]) -> str:
    name = unique(name if name not in RESERVED else f"{name}_", used)
    used.add(name)
    return name


def _next_state(p: Program, id: int, variables: dict[int, str], varying: frozenset[int]) -> str | None:
    """Return the variable of a state for the value that becomes it; the state before the step has another one."""
    for name, target in p.next.items():
        if target == id and id in varying and p.places.get(id) in (f"forward {BLOCK}", f"forward {LOOP}"):
            return variables[p.leaves[name]]
    return None


def _carry_read_up(p: Program, id: int, variables: dict[int, str]) -> str | None:
    """Return the variable of the carry for the total cotangent of a state, where nothing else reads the carry.

    A part of joined values lies in their array instead.
    """
    if (
        any(id in p.graph[joined].args for joined in p.joined)
        or _is_stored(p, id)
        or _is_held(p, id)
        or id not in p.whole.values()
        or not p.places[id].endswith(LOOP)
    ):
        return None
    return next((variables[leaf] for leaf in p.carry.values() if list(_readers(p, leaf)) == [id]), None)


def _static(p: Program) -> set[int]:
    """Return the values that are Python numbers when the module runs: literals, sizes, constants, and what follows from
    them."""
    found = {p.leaves[a.name] for a in p.arguments if is_baked(a) and not a.shape}
    for node in p.graph:
        literal = (node.family == "number" and not node.shape) or (node.family == "leaf" and node.attrs.role == "size")
        derived = node.family == "map" and not node.shape and all(arg in found for arg in node.args)
        if literal or derived:
            found.add(node.id)
    return found


LONGEST = 100
"""The number of operations of a formula beyond which a value has a line of its own; each argument counts as often as it
is read."""


def _with_variable(p: Program) -> list[int]:
    """Return the values that have a line of their own: named, read twice, read in another region, or results."""
    ids = sorted(p.places)
    inline = arguments_again(p)
    ids = [id for id in ids if id not in inline]
    readers = p.graph.consumers(ids)
    sent = [id for id in p.inputs.values() if p.places.get(id, "").endswith((LOOP, TAIL))]
    sums = [id for id in ids if p.graph[id].family == "total" and p.places[id].endswith(TAIL)]
    roots = {*p.forward_roots, *sent, *sums, *(arg for id in p.joined for arg in p.graph[id].args)}
    chosen, length = list[int](), dict[int, int]()
    for id in ids:
        node, label = p.graph[id], p.labels.get(id)
        length[id] = 1 + sum(_reads(node, i) * length.get(arg, 1) for i, arg in enumerate(node.args))
        if node.family == "leaf" or (node.family == "number" and not node.shape):
            continue
        if node.family == "view" and node.attrs.kind == "slice" and node.args[0] in p.joined:
            continue  # a part of an array, wherever it is read
        named = label is not None and (label.given or label.adjoint)
        # A value that another region reads must outlive its own.
        across = any(p.places[reader] != p.places[id] for reader in readers[id])
        # A view copies no element, so that it may be taken twice.
        cheap = node.family == "view" and node.attrs.kind in WITHOUT_COPY and not across
        long = length[id] > LONGEST and node.family != "view"
        if named or across or long or id in roots or (len(readers[id]) > 1 and not cheap) or node.family == "number":
            # From here on the value counts as one operation in the formulas of its readers.
            chosen.append(id)
            length[id] = 1
    return chosen


def _reads(node: Node, argument: int) -> int:
    """Return how often the text of a value has that of one of its arguments."""
    return _occurrences(node.attrs.expr, argument) if node.family == "map" else 1


@cache
def _occurrences(expr: sp.Expr, argument: int) -> int:
    return sum(part == placeholder(argument) for part in sp.preorder_traversal(expr))


def _is_stored(p: Program, id: int) -> bool:
    """Answer whether a value of each step is stored for all steps: it is a result, or something outside its block reads
    it."""
    sweep, _, region = p.places.get(id, "").partition(" ")
    # Leaves are the caller's arrays, and a total has no axis of steps.
    if p.graph[id].family in ("leaf", "total") or region not in NEAR:
        return False
    if any(id in results.values() for results in (p.next, p.inputs, p.outputs)):
        return True
    return not all(is_near(p.places, sweep, reader) for reader in _readers(p, id))


def _is_held(p: Program, id: int) -> bool:
    """Answer whether a value of a loop is stored for a block of steps, because the block epilogue reads it."""
    sweep, _, region = p.places.get(id, "").partition(" ")
    if region != LOOP or p.graph[id].family == "leaf":
        return False
    return any(p.places[reader] == f"{sweep} {TAIL}" for reader in _readers(p, id))


def _is_read_after(p: Program, id: int) -> bool:
    """Answer whether a value is read after the loop of the backward sweep."""
    return any(p.places[reader] == f"backward {AFTER}" for reader in _readers(p, id))


def _readers(p: Program, id: int) -> Iterable[int]:
    return (reader for reader in p.graph.readers(id) if reader in p.places)


LONG = 30
"""The number of letters of a name that is not put into others: names of chains of values would grow without end."""


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
        for reader in sorted(_readers(p, id)):
            if reader not in seen and p.places[reader].split()[0] == sweep:
                seen.add(reader)
                queue.append(reader)
    return ""
