"""How many numbers a module holds at once: whatever the steps are, for each sample, for each step and sample."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sympy as sp

from symbptt.codegen.affine import recursion, scan_sizes
from symbptt.codegen.calls.block import held_of, rows_of
from symbptt.codegen.checkpoints import bytes_needed
from symbptt.codegen.passes.place import AFTER, ALL, BLOCK, NEAR, ONCE, TAIL
from symbptt.codegen.statements import computed
from symbptt.codegen.temporaries import LARGE, Held, owns, size_of, written
from symbptt.codegen.text import size_text, tuple_text
from symbptt.codegen.variables import Module, size_names
from symbptt.ir.shape import Size, named_size, names_in, prod, size

MASKS = ("none", "reset", "lengths")
"""What masks a call takes: none, resets alone, lengths with resets or without."""


@dataclass(frozen=True)
class Phase:
    """Numbers of elements that a phase holds at once: packed weights and gradients of parameters; the rooms of one step,
    for each sample; for each sample and step of a piece, of which alternatives the greatest counts: where arrays are
    small, and where they are so large that NumPy writes some results in place."""

    once: Size
    sample: Size
    small: tuple[Size, ...]
    large: tuple[Size, ...]


@dataclass(frozen=True)
class Costs:
    """Numbers of elements that a call holds at once.

    `always`: for each sample and step of all; `marks`: bytes beside them; `phases`: the forward sweep, the loss, the
    backward sweep; for each sample and step of a block of the sweeps: `ahead` forward, of which `during` the loss and
    `left` in the backward sweep stay as memory that the process has, `block` backward; `ahead_held` and `held` tell how
    long these are, `ahead_rows` and `rows` how many rows of products one has at the least. `results` are states and outputs of a
    step, `state` the states alone; `objects` are bytes of Python's own objects.
    """

    always: Size
    marks: int
    phases: tuple[Phase, ...]
    ahead: Size
    during: Size
    left: Size
    ahead_held: Size
    ahead_rows: int
    block: Size
    held: Size
    rows: int
    results: Size
    state: Size
    objects: int

    @property
    def names(self) -> tuple[str, ...]:
        """The named sizes that they depend on."""
        found = [x for phase in self.phases for x in (phase.once, phase.sample, *phase.small, *phase.large)]
        return names_in(tuple(map(sp.sympify, [self.always, *found, *self._blocks])))

    @property
    def _blocks(self) -> tuple[Size, ...]:
        return self.ahead, self.during, self.left, self.ahead_held, self.ahead_rows, self.block, self.held, self.rows

    def bytes(self, steps: int, T: int, B: int, item: int, sizes: Mapping[str, int], results: bool = False) -> int:
        """Return the bytes that a call holds with pieces of so many steps; `results`: those of all steps too."""
        of: Callable[[Size], int] = lambda x: at(x, sizes)  # noqa: E731
        phases = [(of(p.once), of(p.sample), max(map(of, p.small)), max(map(of, p.large))) for p in self.phases]
        always, width = of(self.always) + results * of(self.results), of(self.state)
        counts: Sequence[Any] = (always, self.marks, phases, (width, LARGE), self.objects, *map(of, self._blocks))
        return bytes_needed(counts, steps, T, B, item)


def at(x: Size, sizes: Mapping[str, int]) -> int:
    """Return a number of elements for given sizes."""
    return int(sp.sympify(x).subs({named_size(name): value for name, value in sizes.items()}))


@dataclass(frozen=True)
class Sweeps:
    """Both sweeps of a module, as text, and the variables that the one hands to the other."""

    forward: str
    backward: str
    tape: frozenset[str]


def costs_of(m: Module, sweeps: Sweeps, loss: Module | None, masks: str, *, pieces: bool) -> Costs:
    """Return the costs of a module, whose loss is taken at every step where it is given; `pieces`: calls take pieces of
    steps, and keep nothing of one but its tape while they flow back through it."""
    p, padded = m.program, masks == "lengths"
    state, inputs, params = (_of_role(m, *roles) for roles in (("state",), ("input", "index"), ("param",)))
    outputs = _outputs(m, sweeps.tape)
    sent = 0 if loss is None else size(sum(size_of(loss, id) for id in loss.program.inputs.values()) + 1)
    targets = 0 if loss is None else _of_role(loss, "target", "index")
    before = state if masks != "none" else 0  # states before each step have arrays of their own
    read = _read_inputs(m, sweeps.tape) if pieces and padded else 0
    given = inputs if pieces and padded else 0
    kept = _kept(m, sweeps.tape) + _states(m, sweeps.tape, pieces, before)
    left = sent + (0 if pieces else outputs)
    whole = _of_role(m, "input") if pieces else inputs + targets if padded else 0
    copies = sent if padded else 0  # cotangents behind the ends of samples are made zero
    states = list(p.next.values()) if recursion(m) else []
    scans = [scan_sizes(m, sweep) if masks == "none" else (0, 0) for sweep in ("forward", "backward")]
    ahead, block = ([*computed(m, sweep, BLOCK), *computed(m, sweep, TAIL)] for sweep in ("forward", "backward"))
    weights = _weights(m, sweeps.tape)
    sums = params if pieces else 0
    zeros = _silent(m, loss)
    beside = (
        given,
        kept + outputs + read + (targets if given else 0),
        kept + left + copies + read + zeros,
    )

    def steps(large: bool) -> list[tuple[Size, ...]]:
        tail = [0] if loss is None else _loss(loss, large)
        found = (_phase(m, "forward", large, size(state + before)), tail, _phase(m, "backward", large))
        return [_greatest(x + more for x in group) for group, more in zip(found, beside, strict=True)]

    once = [
        size(weights[0] + sums + scans[0][1]),
        size(weights[1] + sums),
        size(weights[2] + sums + _rooms_once(m, sweeps.backward) + scans[1][1]),
    ]
    entering = (2 * before, 0, 2 * before)  # a step enters with copies where masks say so
    adjoints = (0, 0, 3)  # of what is brought, reset and set aside
    rooms = [
        size(_rooms_of_a_step(m, text) + (5 + n) * state + x)
        for text, n, x in zip((sweeps.forward, "", sweeps.backward), adjoints, entering, strict=True)
    ]
    return Costs(
        size(whole + int(loss is not None)),
        1 if padded or loss is not None else 0,
        tuple(map(Phase, once, rooms, steps(False), steps(True))),
        size(_rooms_of_a_block(m, sweeps.forward) + scans[0][0]),
        0 if pieces else _rooms_of_a_block(m, sweeps.forward),
        0 if pieces else _rooms_left(m, sweeps),
        held_of(m, ahead or states),
        rows_of(m, ahead),
        size(_rooms_of_a_block(m, sweeps.backward) + scans[1][0]),
        held_of(m, block or states),
        rows_of(m, block),
        size(state + sum(size_of(m, id) for id in p.outputs.values())),
        size(state),
        2**13 + 2**8 * len(m.variables),
    )


def _of_role(m: Module, *roles: str) -> Size:
    return size(sum(prod(a.shape) for a in m.program.of_role(*roles)))


def _outputs(m: Module, tape: Iterable[str]) -> Size:
    """The numbers for each step of outputs that have arrays of their own, beside those of the tape."""
    ids = {m.whole(id) if id in m.variables else id for id in m.program.outputs.values()}
    return size(sum(size_of(m, id) for id in ids if owns(m, id) and m.variables.get(id, "") not in set(tape)))


def _silent(m: Module, loss: Module | None) -> Size:
    """The numbers for each step of the cotangents of outputs that the loss does not read, which are zeros."""
    read = set() if loss is None else set(loss.program.inputs)
    leaves = [leaf for name, leaf in m.program.cotangent.items() if leaf in m.program.places and name not in read]
    return size(sum(size_of(m, leaf) for leaf in leaves)) if loss is not None else 0


def _states(m: Module, tape: Iterable[str], pieces: bool, before: Size) -> Size:
    """The numbers for each step of states behind the forward sweep: those before and after a step are views of one array
    without masks; with masks they are two arrays, which stay where the tape or the caller has them."""
    if not before:
        return _of_role(m, "state")
    found: Size = 0
    for a in m.program.of_role("state"):
        held = (m.previous[m.program.leaves[a.name]] in tape) + (not pieces or m.of_argument(a.name) in tape)
        found += held * prod(a.shape)
    return size(found)


def _read_inputs(m: Module, tape: Iterable[str]) -> Size:
    arguments = m.program.of_role("input", "index")
    return size(sum(prod(a.shape) for a in arguments if m.of_argument(a.name) in tape))


def _weights(m: Module, tape: Iterable[str]) -> tuple[Size, Size, Size]:
    """The numbers of what is computed once, in the forward sweep, behind it, in the backward sweep."""

    def own(id: int) -> bool:
        node = m.program.graph[id]
        turned = node.family == "view" and node.attrs.kind == "transpose"  # is copied, so that its rows lie in order
        return turned or owns(m, id, False)

    forward, backward = ([id for id in computed(m, sweep, ONCE) if own(id)] for sweep in ("forward", "backward"))
    kept = size(sum(size_of(m, id) for id in forward if m.variables[id] in tape))
    return (
        size(sum(size_of(m, id) for id in forward)),
        kept,
        size(kept + sum(size_of(m, id) for id in backward)),
    )


AS_OFTEN = r"\(\(((?:[^()]|\([^()]*\))*?),?\), dtype\)(?: for _ in range\((\d+)\))?"
MADE, TAKEN = (re.compile(name + AS_OFTEN) for name in (r"np\.(?:empty|zeros)", r"ws\.room"))


def _shapes(text: str, *ways: re.Pattern[str]) -> list[list[str]]:
    """The shapes of the arrays that the lines of a sweep make, or take of those given back."""
    found = [room for way in ways for room in way.finditer(" ".join(text.split()))]
    return [[axis for axis in room[1].split(", ") if axis] for room in found for _ in range(int(room[2] or 1))]


def _rooms_of_a_step(m: Module, text: str) -> Size:
    """The numbers for each sample of the rooms that the lines of a sweep make before its loop."""
    return _together(m, [s for s in _shapes(text, MADE) if "B" in s and not {"T", "T + 1", "K"} & set(s)])


def _rooms_once(m: Module, text: str) -> Size:
    """The numbers of sums over steps, and of the rooms of their terms, that the lines of a sweep make before its loop."""
    return _together(m, [s for s in _shapes(text, MADE, TAKEN) if not {"T", "T + 1", "K", "B"} & set(s)])


def _rooms_of_a_block(m: Module, text: str) -> Size:
    """The numbers for each sample and step of the rooms of a block of steps."""
    return _together(m, [s for s in _shapes(text, MADE, TAKEN) if "K" in s])


def _rooms_left(m: Module, sweeps: Sweeps) -> Size:
    """The numbers for each step of a block forward of rooms that the backward sweep does not take again."""
    given = Counter(_alike(s) for s in _shapes(sweeps.forward, TAKEN) if "K" in s)
    return _together(m, (given - Counter(map(_alike, _shapes(sweeps.backward, TAKEN)))).elements())


def _alike(shape: Sequence[str]) -> tuple[str, ...]:
    """A shape with a block of all steps, in which it is the same as that of all steps."""
    return tuple("K" if axis == "T" else axis for axis in shape)


def _together(m: Module, shapes: Iterable[Sequence[str]]) -> Size:
    names = {m.sizes.get(name, name): named_size(name) for name in size_names(m.program)}
    own = [[axis for axis in shape if axis not in ("K", "B")] for shape in shapes]
    return size(sum(prod(tuple(eval(axis, {}, names) for axis in shape)) for shape in own))


def costs_text(costs: Sequence[Costs], names: Iterable[str]) -> list[str]:
    """Return the functions of a module that tell its costs, `costs` being those without masks, with resets, with lengths."""
    head = ", ".join(names)
    return [
        f"def _counts({head}):",
        '    """Return the numbers of elements that `bytes_needed` takes: without masks, with resets, with lengths."""',
        "    return (",
        *(f"        {_counts_text(c)}," for c in costs),
        "    )",
        "",
        "",
        f"def _of_a_step({head}):",
        '    """Return the numbers of elements of the states and outputs of a step, and of the states alone."""',
        f"    return {tuple_text([size_text(costs[0].results), size_text(costs[0].state)])}",
    ]


def _counts_text(c: Costs) -> str:
    phases = tuple_text(
        tuple_text([size_text(p.once), size_text(p.sample), _text(p.small), _text(p.large)]) for p in c.phases
    )
    blocks = [size_text(x) for x in (c.ahead, c.during, c.left, c.ahead_held, c.ahead_rows, c.block, c.held, c.rows)]
    large = f"({size_text(c.state)}, {LARGE})"
    return tuple_text([size_text(c.always), repr(c.marks), phases, large, repr(c.objects), *blocks])


def _text(group: tuple[Size, ...]) -> str:
    return size_text(group[0]) if len(group) == 1 else f"max{tuple_text(map(size_text, group))}"


def _phase(m: Module, sweep: str, large: bool, states: Size = 0) -> list[Size]:
    """The numbers for each step that a sweep holds when each of its values of all steps has been computed; room for
    `states` is made for the loop."""
    p = m.program
    inside = [id for region in NEAR for id in computed(m, sweep, region)]
    stored = [id for id in inside if id in m.stored and id not in m.aliases]
    loop = states + sum(size_of(m, id) for id in stored if id not in p.next.values())
    last = p.inputs.values() if sweep == "backward" else p.outputs.values()
    late = [id for id in last if id not in m.variables or (sweep == "backward" and not owns(m, id))]
    late += [id for id in p.params.values() if sweep == "backward" and id not in m.variables]
    live: Size = 0
    found: list[Size] = []
    for ids in (computed(m, sweep, ALL), [None], computed(m, sweep, AFTER), late):
        for id in ids:
            more = Held(loop, loop) if id is None else written(m, id, large)
            found.append(size(live + more.peak))
            live += more.kept
    return [*found, size(live)]


def _greatest(alternatives: Iterable[Size]) -> tuple[Size, ...]:
    """The alternatives that none of the others exceeds whatever the sizes are."""
    found: list[Size] = []
    for x in dict.fromkeys(map(size, alternatives)):
        if not any(_is_less(x, y) for y in found):
            found = [y for y in found if not _is_less(y, x)] + [x]
    return tuple(found)


def _is_less(x: Size, y: Size) -> bool:
    """Whether y is at least x for all sizes, by its coefficients."""
    return all(c >= 0 for c in sp.expand(sp.sympify(y - x)).as_coefficients_dict().values())


def _kept(m: Module, tape: Iterable[str]) -> Size:
    """The numbers for each step of the tape, without states."""
    p = m.program
    ids = [id for id, name in m.variables.items() if name in tape and id in m.varying]
    roots = {m.whole(id) for id in ids}
    return sum(size_of(m, id) for id in roots if owns(m, id) and id not in p.next.values())


def _carries(m: Module) -> Size:
    """The adjoints of states that are kept for all steps."""
    carries = m.program.carry.values()
    return sum(size_of(m, leaf) for leaf in carries if f"{m.variables[leaf]}_all" in m.used)


def _loss(m: Module, large: bool) -> list[Size]:
    """The numbers for each step of a loss."""
    forward = _phase(m, "forward", large)
    return [*forward, *(forward[-1] + x for x in _phase(m, "backward", large))]
