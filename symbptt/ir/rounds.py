"""Repetitions of one body; the same step with each round written out; and with each body as nodes of its own.

A traced step has a repetition as nodes of the family "repeat", and its body once, over leaves that stand for what goes from round
to round. Example of z = repeat(lambda z: tanh(U z + x), h, 3):

    c = leaf of what is carried;  a = U c + x;  n = tanh(a);  z = repeat(h, c, k, n)  with 3 rounds

`written_out` puts a = U h + x, n = tanh(a), a_1 = U n + x, n_1 = ... in its place. `with_closed_bodies` puts the node of the family
"rounds" there, whose value are z^(0), ..., z^(3) as the rows of one array, and its last row. Such a node is closed: a pass that
knows nothing of loops may treat it as any other.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Collection, Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, replace

from symbptt.errors import CellError
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.naming import unique
from symbptt.ir.node import Body as Scalar
from symbptt.ir.node import Inner, Node, Point, Repeat, Rounds, Settled, Settling, placeholder
from symbptt.ir.rewrite import copy_node, moved_slopes, rewritten
from symbptt.ir.shape import Size, size_text
from symbptt.ir.step import Step

NO_GRADIENT = "sb.grad takes no gradient of a function with a fixed point inside"
GRADIENT_CURE = "take the gradient inside the body of fixed_point, or write sb.repeat with a fixed number of rounds"
MOST_VALUES = 10_000
"""Values of a step that has each round written out, beyond which nobody would wait for what is derived of it."""


def has_rounds(g: Graph) -> bool:
    """Answer whether a graph has a repetition."""
    return any(node.family == "repeat" for node in g)


def with_bodies(nodes: Iterable[Node]) -> Iterator[Node]:
    """Yield nodes, and those of the bodies of the loops among them."""
    for node in nodes:
        yield node
        if node.family in ("rounds", "settled"):
            yield from with_bodies(node.attrs.inner.nodes)


def leaves_of(node: Node) -> frozenset[int]:
    """Return the leaves that stand in the body of a repetition for what changes from round to round."""
    _, carried, number, _ = node.attrs.parts(node.args)
    return frozenset({*carried, number})


def loop_of(node: Node) -> tuple[tuple[int, ...], Rounds]:
    """Return what the values of one loop, which are nodes of the family "rounds", have in common."""
    return node.args, replace(node.attrs, out=0)


def changing(g: Graph, ids: Iterable[int]) -> dict[int, frozenset[int]]:
    """Return of nodes, given with all that they are computed from, those leaves of bodies on which each depends."""
    found: dict[int, frozenset[int]] = {}
    # Ids grow from arguments to results, so that what a node depends on is known when it is met.
    for id in sorted(ids):
        node = g[id]
        if node.family == "leaf":
            found[id] = frozenset({id}) if node.attrs.role in ("carried", "round") else frozenset()
        else:
            found[id] = frozenset().union(*(found[arg] for arg in node.args))
        if node.family == "repeat":
            # After the last round nothing of its own body changes any more.
            found[id] -= leaves_of(node)
    return found


def written_out(step: Step) -> Step:
    """Return a step without repetitions: each round of each stands there.

    Raises: CellError where the number of rounds is a named size, the step would have more than MOST_VALUES values, or has a fixed point.
    """
    if not has_rounds(step.graph):
        return step
    fixed = next((node for node in step.graph if isinstance(node.attrs, Settling)), None)
    if fixed is not None:
        raise CellError(
            f"{step.name} has a fixed point, whose rounds nobody knows before it runs{_line(fixed)}\n"
            "  SymPy, sb.c_source and losses go through each round: write sb.repeat(step, z, times). Pages, Jacobians, routes,"
            " drawings, explanations, reports, modules, kernels in C and analyses have fixed points"
        )
    # Leaves are kept though nothing may read them: arguments that go unused still have a place and a gradient of
    # zero.
    roots = [*step.leaves.values(), *step.next.values(), *step.outputs.values()]
    old = step.graph
    ids = old.ancestors(roots)
    writing = _Writing(step.name, old, Graph(), changing(old, ids), set(old.names.values()) | set(step.leaves))
    new: dict[int, int] = {}
    writing.write([id for id in ids if not writing.depends[id]], new)
    leaves, following, outputs = (
        {name: new[id] for name, id in found.items()} for found in (step.leaves, step.next, step.outputs)
    )
    return replace(step, graph=writing.new, leaves=leaves, next=following, outputs=outputs)


def with_few_rounds(step: Step, count: int) -> Step:
    """Return a step with each round written out, as many as `count` where their number is a size, or nobody knows it; those to a fixed
    point, which does not depend on its start, begin at zero. What feeds what, through which products, is the same in all rounds."""
    roots = [*step.leaves.values(), *step.next.values(), *step.outputs.values()]

    def rewrite(g: Graph, node: Node, args: tuple[int, ...]) -> int:
        if node.family != "repeat" or (isinstance(node.attrs.count, int) and not isinstance(node.attrs, Settling)):
            return copy_node(g, node, args)
        n = node.attrs.carried
        starts = args[:n]
        if isinstance(node.attrs, Settling):
            starts = tuple(build.expand(g, build.number(g, 0.0), g.shape(id)) for id in starts)
        return g.add("repeat", (*starts, *args[n:]), node.shape, Repeat(count, n, node.attrs.out))

    g, new = rewritten(step.graph, roots, rewrite)
    leaves, following, outputs = (
        {name: new[id] for name, id in found.items()} for found in (step.leaves, step.next, step.outputs)
    )
    return written_out(replace(step, graph=g, leaves=leaves, next=following, outputs=outputs))


def as_loops(step: Step, *, points_alone: bool = False) -> Step:
    """Return a step whose repetitions are none inside of another: these are written out, and those whose body reads what it
    carries at the number of the round, or has a fixed point or a repetition of a named number of rounds, which stay. With
    `points_alone` all are written out but fixed points.

    Raises: CellError where one that is written out has no number of rounds.
    """
    if not has_rounds(step.graph):
        return step
    roots = [*step.leaves.values(), *step.next.values(), *step.outputs.values()]
    old = step.graph
    ids = old.ancestors(roots)
    depends = changing(old, ids)
    whole = {node.args: node for id in ids if not depends[id] for node in [old[id]] if node.family == "repeat"}
    kept = {args for args, node in whole.items()
            if not (_is_in_rounds(old, depends, node) or (points_alone and not isinstance(node.attrs, Settling)))}  # fmt: skip
    used = set(old.names.values()) | set(step.leaves)
    writing = _Writing(step.name, old, Graph(), depends, used, frozenset(kept), opened=True)
    new: dict[int, int] = {}
    own = frozenset().union(*(leaves_of(whole[args]) for args in kept))
    writing.write([id for id in ids if depends[id] <= own], new)
    leaves, following, outputs = (
        {name: new[id] for name, id in found.items()} for found in (step.leaves, step.next, step.outputs)
    )
    return replace(step, graph=writing.new, leaves=leaves, next=following, outputs=outputs)


def written_out_from(g: Graph, roots: Sequence[int], leaves: Iterable[int], name: str) -> tuple[Graph, dict[int, int]]:
    """Return some values of a graph without repetitions that depend on some leaves, and new ids by old ones; other repetitions stay,
    and what may depend on rounds around these values. `name` is that of what repeats, for an error.

    Raises: CellError where a number of rounds is a named size, there would be more than MOST_VALUES values, or one is a fixed point.
    """
    if not has_rounds(g):
        return g, {id: id for id in range(len(g))}
    ids = g.ancestors(roots)
    depends, repeats = changing(g, ids), [g[id] for id in ids if g[id].family == "repeat"]
    moving, closed = {*g.descendants(leaves)}, frozenset[int]()
    # What is in a body that is written out has other values in each round, so that repetitions inside of it are written out as well.
    while (inside := closed.union(*(leaves_of(node) for node in repeats if node.id in moving))) != closed:
        closed = inside
        moving.update(g.descendants(closed))
    fixed = next((node for node in repeats if node.id in moving and isinstance(node.attrs, Settling)), None)
    if fixed is not None:
        raise CellError(f"{NO_GRADIENT}{_line(fixed)}\n  {GRADIENT_CURE}")
    kept = frozenset(node.args for node in repeats if node.id not in moving)
    writing = _Writing(name, g, Graph(), depends, set(g.names.values()), kept)
    new: dict[int, int] = {}
    writing.write([id for id in ids if not depends[id] & closed], new)
    writing.new.slopes = moved_slopes(g, new)
    return writing.new, new


def _is_in_rounds(g: Graph, depends: dict[int, frozenset[int]], node: Node) -> bool:
    """Answer whether a repetition must be written out: its body reads at the number of the round, or has a fixed point of its own, or
    a repetition of as many rounds as a size says."""
    inside = (g[id] for id in g.ancestors(node.args) if depends[id] & leaves_of(node))
    return _reads_at_number(g, depends, node) or any(_stays_inside(inner) for inner in inside)


def _stays_inside(node: Node) -> bool:
    """Answer whether the rounds of a repetition are never written out: nobody knows their number."""
    return node.family == "repeat" and (isinstance(node.attrs, Settling) or not isinstance(node.attrs.count, int))


def _reads_at_number(g: Graph, depends: dict[int, frozenset[int]], node: Node) -> bool:
    """Answer whether a body reads at the number of the round what is not the same in all rounds, or writes there."""
    _, _, number, following = node.attrs.parts(node.args)
    inside = (g[id] for id in g.ancestors(following) if g[id].family == "gather" and g[id].args[1] == number)
    return any(depends[gather.args[0]] or gather.attrs.kind == "scatter" for gather in inside)


def for_page(step: Step) -> Step:
    """Return a step whose repetitions begin and end with a value of their own, so that each has a line on a page."""
    old = step.graph
    roots = [*step.leaves.values(), *step.next.values(), *step.outputs.values()]
    solved = _solved(old)

    def rewrite(g: Graph, node: Node, args: tuple[int, ...]) -> int:
        if node.id in solved:
            return build.leaf(g, solved[node.id], node.attrs.name, node.shape)
        if node.family != "repeat":
            return copy_node(g, node, args)
        if isinstance(node.attrs, Settling):
            return _equation(g, node, args)
        starts, carried, number, following = node.attrs.parts(args)
        first, last = (_own(g, ids, carried, what) for ids, what in ((starts, "first"), (following, "last")))
        return g.add("repeat", (*first, *carried, number, *last), node.shape, node.attrs)

    g, new = rewritten(old, roots, rewrite)
    leaves, following, outputs = (
        {name: new[id] for name, id in found.items()} for found in (step.leaves, step.next, step.outputs)
    )
    return replace(step, graph=g, leaves=leaves, next=following, outputs=outputs)


def loops_of(g: Graph, *families: str) -> list[Node]:
    """Return the loops and fixed points on a page, "repeat" and "point": of the values of one, which have the same arguments, the last."""
    return list({node.args: node for family in families for node in g if node.family == family}.values())


def next_values(node: Node) -> Iterator[tuple[int, int]]:
    """Yield the leaves that stand for what changes from round to round on a page, and what a round makes of each."""
    n = node.attrs.carried
    yield from zip(node.args[n : 2 * n], node.args[-n:], strict=True)


def _own(g: Graph, ids: Sequence[int], carried: Sequence[int], what: str) -> list[int]:
    """Return second values of nodes, one for each leaf that is carried: what goes round may be another value of the step as well,
    and several loops, or values of one loop, may begin or end with one."""
    found, here = [], g.locate
    for id, leaf in zip(ids, carried, strict=True):
        # What goes on to the next round is of the line of the body that makes it, not of that which repeats the body.
        g.locate = here if what == "first" else lambda place=g[id].place: place  # type: ignore[misc]
        found.append(g.add("map", (id,), g.shape(id), Scalar(placeholder(0), again=f"{what} {leaf}")))
    g.locate = here
    return found


def _solved(g: Graph) -> dict[int, str]:
    """Return the roles on a page of the leaves that stand for fixed points: "solved" where these differ between samples or steps."""
    found: dict[int, str] = {}
    for node in g:
        if isinstance(node.attrs, Settling):
            _, carried, _, following = node.attrs.parts(node.args)
            read = (g[id] for id in g.ancestors(following) if g[id].family == "leaf")
            moves = any(leaf.attrs.role in MOVING or found.get(leaf.id) == "solved" for leaf in read)
            found |= dict.fromkeys(carried, "solved" if moves else "solved once")
    return found


MOVING = ("input", "index", "state", "output", "target")
"""The roles of what differs between samples or steps."""


def _equation(g: Graph, node: Node, args: tuple[int, ...]) -> int:
    """Return a value of a fixed point as what its own equation says: what a round makes of it, which is read under its name."""
    starts, carried, _, following = node.attrs.parts(args)
    i = node.attrs.out
    new = _own(g, following, carried, "solution")
    attrs = Point(node.attrs.tolerance, node.attrs.count, i, len(carried))
    return g.add("point", (*starts, *carried, *new), node.shape, attrs)


def with_closed_bodies(step: Step) -> Step:
    """Return a step with a body of its own for each repetition, none of which is inside of another."""
    roots = [*step.leaves.values(), *step.next.values(), *step.outputs.values()]
    old = step.graph
    ids = old.ancestors(roots)
    depends = changing(old, ids)
    g, new = Graph(), dict[int, int]()
    loops: dict[tuple[int, ...], tuple[tuple[int, ...], Rounds]] = {}
    points: dict[tuple[int, ...], tuple[int, ...]] = {}
    for id in ids:
        node = old[id]
        # What changes from round to round is inside of a body, and has no value in the step itself.
        if depends[id]:
            continue
        g.locate = lambda place=node.place: place  # type: ignore[misc]
        if node.family != "repeat":
            new[id] = copy_node(g, node, tuple(new[arg] for arg in node.args))
        elif isinstance(node.attrs, Settling):
            # Values that settle together have the same arguments, and are solved for once.
            if node.args not in points:
                points[node.args] = _Writing(step.name, old, g, depends, set()).settled(node, new)
            new[id] = points[node.args][node.attrs.out]
        else:
            # Values that go through the rounds together are one loop: it runs once.
            if node.args not in loops:
                loops[node.args] = _loop(g, old, depends, node, new)
            args, attrs = loops[node.args]
            new[id] = build.row(g, build.rounds(g, args, replace(attrs, out=node.attrs.out)), attrs.count)
        if id in old.names and new[id] not in g.names:
            g.names[new[id]] = old.names[id]
        if id in old.marks:
            mark = old.marks[id]
            g.marks.setdefault(new[id], replace(mark, args=tuple(new[arg] for arg in mark.args)))
    g.locate = lambda: ""
    leaves, following, outputs = (
        {name: new[id] for name, id in found.items()} for found in (step.leaves, step.next, step.outputs)
    )
    return replace(step, graph=g, leaves=leaves, next=following, outputs=outputs)


def _loop(
    g: Graph, old: Graph, depends: dict[int, frozenset[int]], node: Node, new: dict[int, int]
) -> tuple[tuple[int, ...], Rounds]:
    """Return the arguments of a loop and what it is, without the value that is asked for."""
    repeat: Repeat = node.attrs
    starts, carried, number, following = repeat.parts(node.args)
    own = leaves_of(node)
    body = [id for id in old.ancestors(following) if depends[id] & own]
    each: dict[int, int] = {}
    closed: dict[int, int] = {}
    for id in (*body, *following):
        inner = old[id]
        # Read at the number of the round: a row of an array that goes in front, as inputs of steps do.
        if inner.family == "gather" and inner.args[1] == number:
            each[id] = _sliced(g, new[inner.args[0]], inner.attrs.axis, repeat.count)
        else:
            for arg in inner.args if id in body else (id,):
                if arg == number:
                    each[number] = build.arange(g, repeat.count)
                # Computed before the rounds and the same in all of them: an argument of the loop.
                elif not depends[arg] and not is_number(old[arg]):
                    closed[arg] = new[arg]
    parts = Body(carried, tuple(each), tuple(closed))
    own_body, _ = parts.of(old, [id for id in body if id not in each], following)
    args = (*(new[id] for id in starts), *each.values(), *closed.values())
    return args, Rounds(own_body, len(carried), len(each), repeat.count, False, 0)


def is_number(node: Node) -> bool:
    """Answer whether a value is a number or a size, which a body has of its own."""
    return (node.family == "number" and not node.shape) or (node.family == "leaf" and node.attrs.role == "size")


def _sliced(g: Graph, table: int, axis: int, count: Size) -> int:
    """Return the entries of an array along an axis that rounds read one after the other, that axis first."""
    order = [axis, *(i for i in range(len(g.shape(table))) if i != axis)]
    return build.rows(g, build.transpose(g, table, order), 0, count)


@dataclass(frozen=True)
class Body:
    """The values of a graph that are leaves of a body: what is carried, what each round has, what is the same in all."""

    carried: Sequence[int]
    each: Sequence[int]
    closed: Sequence[int]

    def of(self, g: Graph, ids: Iterable[int], following: Sequence[int | None]) -> tuple[Inner, dict[int, int]]:
        """Return the nodes `ids`, arguments first, as a body, and their ids there; a next value that is None is zero."""
        own, new = Graph(), dict[int, int]()
        for role, leaves in (("state", self.carried), ("input", self.each), ("param", self.closed)):
            for i, id in enumerate(leaves):
                # An array of which each round reads a row has the shape of a row here.
                new[id] = build.leaf(own, role, f"{role}{i}", g.shape(id), g.is_complex(id))
        for id in ids:
            if id not in new:
                node = g[id]
                for arg in node.args:
                    if arg not in new:
                        new[arg] = copy_node(own, g[arg], ())
                new[id] = copy_node(own, node, tuple(new[arg] for arg in node.args))
        last = [self._next(own, g, new, leaf, id) for leaf, id in zip(self.carried, following, strict=True)]
        names = {new[id]: g[id].attrs.name.split(".")[-1] for id in self.carried if g[id].attrs.role == "carried"}
        names |= {new[id]: name for id, name in g.names.items() if id in new}
        return Inner(tuple(replace(node, place="") for node in own), tuple(last), tuple(names.items())), new

    def _next(self, own: Graph, g: Graph, new: dict[int, int], leaf: int, id: int | None) -> int:
        if id is None:
            return build.expand(own, build.number(own, 0.0), g.shape(leaf))
        if id not in new:  # a number
            new[id] = copy_node(own, g[id], ())
        return new[id]


def graph_of(inner: Inner) -> Graph:
    """Return a body as a graph, with the same ids."""
    g = Graph()
    for node in inner.nodes:
        g.add(node.family, node.args, node.shape, node.attrs)
    g.names.update(inner.names)
    return g


def made_in_rounds(node: Node, rows: Node | None) -> int | None:
    """Return the value of a body of which `rows`, a view of the values of a loop, has all that the rounds make, None where the view
    shows something else; without a view, of all its values."""
    # Rows from the second on are what rounds make; the first row is what they begin with.
    loop: Rounds = node.attrs
    if not loop.is_carried():
        return loop.out if rows is None else None
    behind = ((1, loop.count, 1), *((0, n, 1) for n in node.shape[1:]))
    is_next = rows is not None and rows.attrs.kind == "slice" and rows.attrs.data == behind and not loop.reverse
    return loop.inner.following[loop.out] if is_next else None


@dataclass
class _Writing:
    """A step whose rounds are written out into another graph; `used` are the names that values have there, `kept` the arguments
    of repetitions that stay what they are. Fixed points have a body of their own there, unless they stay `opened`."""

    name: str
    old: Graph
    new: Graph
    depends: dict[int, frozenset[int]]
    used: set[str]
    kept: frozenset[tuple[int, ...]] = frozenset()
    opened: bool = False

    def write(self, ids: Iterable[int], known: MutableMapping[int, int]) -> None:
        """Write values, arguments first; `known` are the new values of old ones, to which these are added."""
        ends: dict[tuple[int, ...], tuple[int, ...]] = {}
        for id in ids:
            if id in known:
                continue
            node = self.old[id]
            self.new.locate = lambda place=node.place: place  # type: ignore[misc]
            if node.family == "repeat" and node.args not in self.kept:
                # Values that go through the rounds together have the same arguments.
                if node.args not in ends:
                    ends[node.args] = self._ends(node, known)
                known[id] = ends[node.args][node.attrs.out]
            else:
                known[id] = self._copied(node, tuple(known[arg] for arg in node.args))
            self._name(id, known)
        self.new.locate = lambda: ""

    def _copied(self, node: Node, args: tuple[int, ...]) -> int:
        if node.family == "gather" and self.new[args[1]].family == "number":
            # An array is read at the number of a round: that is known now, and a slice; its adjoint lies in zeros.
            is_scatter = node.attrs.kind == "scatter"
            at, shape = self.new[args[1]].attrs.value, node.shape if is_scatter else self.new.shape(args[0])
            spans = [(at, 1, 1) if i == node.attrs.axis else (0, n, 1) for i, n in enumerate(shape)]
            if is_scatter:
                # The adjoint of reading one row is that row with zeros around it.
                row = tuple(1 if i == node.attrs.axis else n for i, n in enumerate(shape))
                return build.pad(self.new, build.reshape(self.new, args[0], row), spans, shape)
            return build.reshape(self.new, build.cut(self.new, args[0], spans), node.shape)
        return copy_node(self.new, node, args)

    def _name(self, id: int, known: MutableMapping[int, int]) -> None:
        value, name, mark = known[id], self.old.names.get(id), self.old.marks.get(id)
        if name is not None and value not in self.new.names:
            taken = name in self.new.names.values()
            self.new.names[value] = unique(name, self.used) if taken else name
            self.used.add(self.new.names[value])
        if mark is not None:
            self.new.marks.setdefault(value, replace(mark, args=tuple(known[arg] for arg in mark.args)))

    def _last(self, node: Node, known: MutableMapping[int, int]) -> tuple[int, ...]:
        """Return what is carried, after the last round."""
        repeat: Repeat = node.attrs
        starts, carried, number, following = repeat.parts(node.args)
        if not isinstance(repeat.count, int):
            raise self._unknown(node)
        body = self._body(following, known, leaves_of(node))
        values = tuple(known[id] for id in starts)
        for k in range(repeat.count):
            inside: ChainMap[int, int] = ChainMap({}, known) if not isinstance(known, ChainMap) else known.new_child({})
            # The leaves of the body stand for what the round before has made.
            inside.update(zip(carried, values, strict=True))
            inside[number] = build.number(self.new, k)
            self.write(body, inside)
            if len(self.new) > MOST_VALUES:
                raise CellError(
                    f"{self.name} has more than {MOST_VALUES:,} values with each of {repeat.count:,} rounds written out"
                    f"{_line(node)}\n  give fewer rounds"
                )
            values = tuple(inside[id] for id in following)
        return values

    def _ends(self, node: Node, known: MutableMapping[int, int]) -> tuple[int, ...]:
        """Return what is carried, behind all rounds."""
        is_point = isinstance(node.attrs, Settling)
        # In each round that is written out a loop of a named number of rounds is one of its own.
        is_inner = bool(self.depends[node.id]) and not is_point and _stays_inside(node)
        if self.opened and (is_point or (is_inner and not self._reads_own(node))):
            return self._open(node, known)
        return self.settled(node, known) if is_point else self._last(node, known)

    def _unknown(self, node: Node) -> CellError:
        """Return the error of a number of rounds that is a size, where each round must be written out."""
        times = f"{self.name} repeats a body {size_text(node.attrs.count)} times, a size without a number"
        inside = (self.old[id] for id in self.old.ancestors(node.args) if self.depends[id] & leaves_of(node))
        inner = next((other for other in inside if _stays_inside(other)), None) if self.opened else None
        if inner is None:
            return CellError(
                f"{times}{_line(node)}\n"
                "  that many rounds cannot be written out one by one: give the size a number, or times= an integer"
            )
        other = "a fixed point" if isinstance(inner.attrs, Settling) else f"a body {size_text(inner.attrs.count)} times"
        return CellError(
            f"{times}, and inside of it {other}{_line(node)}\n"
            "  the rounds around it are written out one by one: give these an integer, times=4, or hand all values on in one loop"
        )

    def _reads_own(self, node: Node) -> bool:
        """Answer whether a body reads what it carries at the number of the round."""
        own = {id: found & leaves_of(node) for id, found in self.depends.items()}
        return _reads_at_number(self.old, own, node)

    def _open(self, node: Node, known: MutableMapping[int, int]) -> tuple[int, ...]:
        """Return the values of a fixed point whose body stands among all other values, over leaves of its own."""
        g, (starts, carried, number, following) = self.new, node.attrs.parts(node.args)
        # Leaves of its own: the same body may stand in the step twice, and each has another argument.
        leaves = {id: self.old[id].attrs for id in (*carried, number)}
        inside: ChainMap[int, int] = ChainMap({}, known)
        for id, leaf in leaves.items():
            place, _, rest = leaf.name.partition(".")
            inside[id] = build.leaf(g, leaf.role, f"{place}_{len(g)}.{rest}", self.old.shape(id))
        self.write(self._body(following, known, leaves_of(node)), inside)
        args = (*(known[id] for id in starts), *(inside[id] for id in (*carried, number, *following)))
        return tuple(
            g.add("repeat", args, self.old.shape(id), replace(node.attrs, out=i)) for i, id in enumerate(carried)
        )

    def settled(self, node: Node, known: MutableMapping[int, int]) -> tuple[int, ...]:
        """Return the values of a fixed point, each a node with a body of its own."""
        repeat: Settling = node.attrs
        starts, carried, _, following = repeat.parts(node.args)
        body = self._body(following, known, leaves_of(node))
        read = dict.fromkeys(arg for id in body for arg in self.old[id].args if arg in known)
        read |= dict.fromkeys(id for id in following if id in known)
        closed = [id for id in read if not is_number(self.new[known[id]])]
        own, inside = Graph(), dict[int, int]()
        for role, leaves in (("state", carried), ("input", closed)):
            inside |= {id: build.leaf(own, role, f"{role}{i}", self.old.shape(id)) for i, id in enumerate(leaves)}
        inside |= {id: copy_node(own, self.new[known[id]], ()) for id in read if id not in inside}
        # A graph of its own, so that whoever solves it sees a closed function.
        writing = _Writing(self.name, self.old, own, self.depends, set())
        writing.write(body, inside)
        names = {inside[id]: self.old[id].attrs.name.split(".")[-1] for id in carried} | own.names
        inner = Inner(
            tuple(replace(n, place="") for n in own), tuple(inside[id] for id in following), tuple(names.items())
        )
        args = (*(known[id] for id in starts), *(known[id] for id in closed))
        attrs = Settled(inner, len(carried), _count(repeat), repeat.tolerance, 0)
        return tuple(build.settled(self.new, args, replace(attrs, out=i)) for i in range(len(carried)))

    def _body(self, following: Iterable[int], known: Collection[int], own: frozenset[int]) -> list[int]:
        """Return what is computed in each round: not what is known outside, nor what rounds inside of these compute."""
        outside = {leaf for id in known for leaf in self.depends.get(id, ())}
        inside = self.old.ancestors(following)
        return [id for id in inside if id not in known and self.depends[id] <= own | outside]


def _count(repeat: Repeat) -> int:
    assert isinstance(repeat.count, int), f"a greatest number of rounds that is none: {repeat}"
    return repeat.count


def _line(node: Node) -> str:
    return f"\n  at line {node.place}" if node.place else ""
