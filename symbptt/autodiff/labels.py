"""The names of the values of a recursion, in equations and in code."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cache
from itertools import islice
from typing import NamedTuple

from symbptt import ops
from symbptt.autodiff.bptt import Recursion, per_step
from symbptt.autodiff.subexpressions import is_function
from symbptt.ir.algebra import is_eye
from symbptt.ir.graph import Graph
from symbptt.ir.naming import beside, free_letters, next_number, unique
from symbptt.ir.node import Node, placeholder
from symbptt.ir.rounds import changing, loops_of, next_values
from symbptt.ir.shape import Shape, names_in
from symbptt.ir.step import Argument

NEXT, LAST, FIRST, START = 1, 2, 3, 4
"""Times beside t and t - 1: t + 1, the last step T, the first step, and what is before it."""


class Label(NamedTuple):
    """A name; its time: 0 for this step, -1 for the step before, NEXT, LAST, FIRST or START, None for what does not depend on
    time; whether it is an adjoint; whether the user chose the name; of a value in a loop inside a step in which `round` it is; and
    whether it is an identity, which is I on a page whatever its name."""

    name: str
    time: int | None
    adjoint: bool = False
    given: bool = True
    mark: str = "d"
    round: str = ""
    is_identity: bool = False

    @property
    def full(self) -> str:
        """The name, of an adjoint with its mark: d, or δ where d would make it another value's name."""
        return f"{self.mark}{self.name}" if self.adjoint else self.name

    def at(self, time: int | None) -> Label:
        """Return the label of the same value at another time."""
        return self._replace(time=time)


def labels(
    r: Recursion, taken: Iterable[str] = (), beside: Iterable[str] = (), *, on_page: bool = False
) -> dict[int, Label]:
    """Return the labels of all values that have a name; values that have none of their own get none that is `taken`.
    Names of what stands on the same page, `beside`, have a say in the mark of adjoints. `on_page`, where a matrix of one column is a
    vector, the name of one is that of the vector it is made of."""
    g = r.graph
    found = _of_points(r, _in_rounds(r.graph, _forward(r, taken, on_page)))
    varying = per_step(g, range(len(g)))
    mark = mark_of({label.name for label in found.values()} | set(beside))
    for name, id in (r.carry | r.cotangent).items():
        found[id] = Label(name, 0, adjoint=True, mark=mark)
    for node in g:
        if node.family == "repeat":
            starts, _, _, following = node.attrs.parts(node.args)
            for id in (*starts, *following):
                # What a page tells of by a line of its own, whatever else has the same adjoint.
                if id in r.adjoint:
                    found[r.adjoint[id]] = found[id]._replace(adjoint=True, mark=mark)
    named_leaves = {r.step.leaves[a.name] for a in r.step.arguments}
    # What a round of a fixed point gives back to it is a part of the equation of its adjoint.
    named_leaves |= {node.id for role in ("solved", "solved once") for node in g.leaves(role)}
    for id, label in sorted(found.items()):
        bar = r.adjoint.get(id)

        alike = id in varying and bar not in varying  # as the weight of a mean, whose formula is short
        if bar is not None and bar not in found and id not in named_leaves and not alike:
            time = 0 if bar in varying else None
            found[bar] = Label(label.name, time, True, label.given, mark, label.round)
    return found | _in_loops(g, varying, found)


def _in_rounds(g: Graph, found: dict[int, Label]) -> dict[int, Label]:
    """Return labels with those of what goes through the rounds of a loop, and the round of each value of a body."""
    loops = loops_of(g, "repeat")
    if not loops:
        return found
    number = letter_of_rounds(g)
    depends = changing(g, range(len(g)))
    used = {label.name for label in found.values()}
    found = {id: label._replace(round=number) if depends[id] else label for id, label in found.items()}
    for node in loops:
        starts, carried, _, following = node.attrs.parts(node.args)
        for start, leaf, new in zip(starts, carried, following, strict=True):
            name = beside(g.names.get(leaf, g[leaf].attrs.name.split(".")[-1]), used - {g.names.get(leaf, "")})
            used.add(name)
            found |= {start: Label(name, 0, round="0"), leaf: Label(name, 0, round=number)}
            found[new] = Label(name, 0, round=f"{number}+1")
    return found


def of_what_rounds_make(g: Graph, labels: Mapping[int, Label]) -> dict[int, Label]:
    """Return the values without a name that are next values of loops and fixed points, with the names that these have: of
    z_{k+1} = tanh(a_k) the derivative is then written in z_{k+1}."""
    found: dict[int, Label] = {}
    for leaf, new in (pair for node in loops_of(g, "repeat", "point") for pair in next_values(node)):
        value = g[new].args[0]
        # A value with a name of its own is written under it.
        if leaf in labels and value not in labels and g[value].family not in ("leaf", "number"):
            found.setdefault(value, labels.get(new, labels[leaf]))
    return found


def _of_points(r: Recursion, found: dict[int, Label]) -> dict[int, Label]:
    """Return labels with those of fixed points: in their bodies they have the same name, and the solutions of the equations of their
    adjoints are called λ."""
    g = r.graph
    points = {(node.args, node.attrs.out): node for node in g if node.family == "point"}
    if not points:
        return found
    found, used = dict(found), {label.name for label in found.values()}
    varying = per_step(g, range(len(g)))
    for args in dict.fromkeys(args for args, _ in points):
        first = next(node for (own, _), node in points.items() if own == args)
        _, leaves, following = first.attrs.parts(args)
        for i, (leaf, new) in enumerate(zip(leaves, following, strict=True)):
            node, time = points.get((args, i)), 0 if new in varying else None
            label = None if node is None else found.get(node.id)
            if label is None:
                label = Label(unique(g[leaf].attrs.name.split(".")[-1], used), time)
            used.add(label.name)
            found[leaf] = label
            if node is not None:
                found[node.id] = label
            if new in r.adjoint:
                alone = len(points) == 1 and len(leaves) == 1
                name = unique("lambda" if alone else f"lambda_{label.name}", used)
                used.add(name)
                found[r.adjoint[new]] = Label(name, time)
    return found


def letter_of_rounds(g: Graph) -> str:
    """Return the letter of the number of a round on a page, which no value and no size is called."""
    leaves = [node for node in g if node.family == "leaf"]
    named = {name.partition("_")[0] for name in g.names.values()} | {node.attrs.name for node in leaves}
    named |= {name for node in leaves for name in names_in(node.shape)}
    return next(free_letters("kjiqrl", named))


def _in_loops(g: Graph, varying: Collection[int], found: Mapping[int, Label]) -> dict[int, Label]:
    """Return the labels of the values that loops inside a step have in all their rounds: the names in their bodies."""
    used, named = {label.full for label in found.values()}, {}
    for node in g:
        if node.family == "rounds" and node.id not in found:
            wish = dict(node.attrs.inner.names).get(node.attrs.out, "v" if not node.attrs.reverse else "dv")
            name = unique(wish, used)
            used.add(name)
            named[node.id] = Label(name, 0 if node.id in varying else None)
    return named


def mark_of(names: Collection[str]) -> str:
    """Return the mark of adjoints: d, unless that with a name gives another name."""
    shown = {without_time(name, role) for name in names for role in TIMES} | set(names)
    return "δ" if any(f"d{name}" in shown for name in shown) else "d"


TIMES = {
    "state": ("_t_minus_1", "_previous", "_prev", "_tm1", "_old", "_t"),
    "value": ("_next", "_new", "_t"),
    "input": ("_t",),
}
"""Endings of names that tell the time: of a state before a step, of what a step computes, of other arguments."""


@cache
def without_time(name: str, role: str) -> str:
    """Return a name without what its end says of time: the state h_prev is h, the value h_new too. What was made unique
    by a number keeps that."""
    stem, _, number = name.rpartition("_")
    numbered = number.isdigit() and stem and role == "value"
    whole = stem if numbered else name
    base = next((whole.removesuffix(end) for end in TIMES.get(role, ()) if whole.endswith(end) and whole != end), whole)
    return f"{base}_{number}" if numbered and base != whole else base if base != whole else name


def names_of(r: Recursion) -> set[str]:
    """Return the names of the values of a recursion, adjoints apart."""
    return {label.name for label in _forward(r, ()).values()}


def _forward(r: Recursion, taken: Iterable[str], on_page: bool = False) -> dict[int, Label]:
    g, step = r.graph, r.step
    varying = per_step(g, range(len(g)))
    used = {a.name for a in step.arguments} | set(step.outputs) | set(taken)
    found = {id: Label(name, _time(step.arguments, name, id in varying)) for name, id in step.leaves.items()}
    for name, id in (step.next | step.outputs).items():
        # A next state that is a leaf keeps the leaf's name: it is another argument under a second name.
        if g[id].family not in ("leaf", "number"):
            found.setdefault(id, Label(name, 0 if id in varying else None))
    for id, name in g.names.items():
        if id not in found and id in r.kept:
            name = beside(name, used) if on_page and not name[-1].isdecimal() else next_number(name, used)
            used.add(name)
            found[_vector_of(r, id, found) if on_page else id] = Label(
                name, 0 if id in varying else None, is_identity=is_eye(g, id)
            )
    letters = [*islice(free_letters(LETTERS, used | _names_and_sizes(r, found)), len(LETTERS))]
    # Those with the name of a value first: a letter alone is none of theirs.
    for id, name in sorted(_preactivations(r, found, on_page).items(), key=lambda named: "_" not in named[1]):
        name = _apart(name, letters, used)
        used.add(name)
        found[id] = Label(name, 0 if id in varying else None, given=False)
    return found


def _vector_of(r: Recursion, id: int, found: Mapping[int, Label]) -> int:
    """Return the vector without a name that a matrix of one column is made of, as sigmoid(a)[:, None] is; another value as it is."""
    g = r.graph
    node = g[id]
    if node.family != "view" or node.attrs.kind != "reshape":
        return id
    arg = node.args[0]
    is_free = arg in r.kept and arg not in found and arg not in g.names and g[arg].family not in ("leaf", "number")
    return arg if is_free and _as_vector(g.shape(arg)) == _as_vector(node.shape) else id


def _as_vector(shape: Shape) -> Shape:
    while 0 < len(shape) <= 2 and isinstance(shape[-1], int) and shape[-1] == 1:
        shape = shape[:-1]
    return shape


LETTERS = "auzwrpqsvg"
"""The letters of arguments of functions; later ones where several go into one value, or the page of a loss has the first."""


def _names_and_sizes(r: Recursion, found: Mapping[int, Label]) -> set[str]:
    """Return the names of values, also without what their ends say of time, and of the sizes of arguments, none of which an argument
    of a function may have: beside a_t of the user's it is u."""
    sizes = {name for a in r.step.arguments for name in names_in(a.shape)}
    names = {label.name for label in found.values()}
    return sizes | names | {without_time(name, role) for name in names for role in TIMES}


def _apart(name: str, letters: Iterable[str], used: Collection[str]) -> str:
    """Return the name of an argument, with another letter where it is used: u_g beside a_g, which is no entry of a matrix as a_g_1 is,
    and u beside a_g, which is no entry of u."""
    _, line, owner = name.partition("_")
    beside = {x.partition("_")[0] for x in used if "_" in x} if not line else set[str]()
    free = (x for x in letters if x not in beside)
    return next((new for x in free if (new := f"{x}{line}{owner}") not in used), unique(name, used))


def _time(arguments: Iterable[Argument], name: str, varies: bool) -> int | None:
    if not varies:
        return None
    return -1 if any(a.name == name and a.role == "state" for a in arguments) else 0


def _preactivations(r: Recursion, found: dict[int, Label], on_page: bool) -> dict[int, str]:
    """Return names for the unnamed arguments of functions, and for values whose adjoint stands in a condition too:
    `a`, or `a_z` where there are several and the value is z. `on_page` also for one that is taken apart, as i, f, g, o = W @ x, whose
    adjoint is then da and not [di; df; dg; do] in each line that reads it."""
    g = r.graph
    ids = _on_page(g, r.forward_roots)
    consumers = g.consumers(ids)
    arguments: dict[int, str] = {}
    for id in ids:
        for arg in g[id].args if is_function(g[id]) else ():
            if arg in r.kept and arg not in found and _is_argument(g[arg]):
                arguments.setdefault(arg, _nearest(g, id, consumers, found))
    for id in ids if on_page else ():
        if id in r.kept and id not in found and _is_argument(g[id]) and _is_taken_apart(g, consumers.get(id, ())):
            arguments[id] = ""
    known = {r.adjoint.get(id) for id in {*found, *arguments}}
    for id in ids:
        # The adjoint of a convolution is an argument of two others: it has a name, or the value has one.
        if g[id].family == "convolution" and id not in found and r.adjoint.get(id) not in known:
            arguments.setdefault(id, _nearest(g, id, consumers, found))
    for id in ids:
        if id in r.kept and id not in found and g[id].family == "map" and _is_compared(r, id):
            arguments.setdefault(id, _nearest(g, id, consumers, found))
    # One preactivation is plainly `a`; several carry the name of the value they lead to.
    letter = _free_letter(_names_and_sizes(r, found))
    if len(arguments) == 1:
        return dict.fromkeys(arguments, letter)
    shown = {owner: without_time(owner, "state" if owner in r.carry else "value") for owner in arguments.values()}
    return {arg: f"{letter}_{shown[owner]}" if owner else letter for arg, owner in sorted(arguments.items())}


def _on_page(g: Graph, roots: Iterable[int]) -> list[int]:
    """Return what values are made of, but for what a fixed point begins with alone: no line tells of that."""
    found, stack = set[int](), [*roots]
    while stack:
        node = g[stack.pop()]
        if node.id not in found:
            found.add(node.id)
            stack += node.args[node.attrs.carried :] if node.family == "point" else node.args
    return sorted(found)


def _is_argument(node: Node) -> bool:
    """Answer whether a value gets a name where a function reads it: what is no function of another value."""
    return node.family in ("contract", "convolution") or (node.family == "map" and not is_function(node))


def _is_taken_apart(g: Graph, readers: Collection[int]) -> bool:
    return len(readers) > 1 and all(g[x].family == "view" and g[x].attrs.kind == "slice" for x in readers)


def _free_letter(names: Collection[str]) -> str:
    """Return the letter of arguments of functions: a, or another where a value of the user's is called a."""
    return next((letter for letter in "auz" if letter not in names), "a")


def _is_compared(r: Recursion, id: int) -> bool:
    """Answer whether a condition asks if the adjoint of a value is zero, so that it is read more than once."""
    bar = r.adjoint.get(id)
    if not r.guarded or bar is None or r.graph[bar].family == "leaf":
        return False
    readers = (r.graph[reader] for reader in r.graph.readers(bar))
    return any(getattr(node.attrs, "expr", None) == ops.not_equal(placeholder(0), 0) for node in readers)


def _nearest(g: Graph, id: int, consumers: dict[int, list[int]], found: dict[int, Label]) -> str:
    """Return the name of the first named value that a value goes into."""
    queue = [id]
    while queue:
        id = queue.pop(0)
        if id in found:
            return found[id].name
        queue.extend(consumers.get(id, []))
    return ""
