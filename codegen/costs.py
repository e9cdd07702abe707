"""How many numbers a module holds at once: whatever the steps are, for each sample, for each step and sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sympy as sp

from symbptt.codegen.calls.block import block_lines, held_of, rows_of
from symbptt.codegen.checkpoints import bytes_needed
from symbptt.codegen.passes.place import AFTER, ALL, BLOCK, LOOP, NEAR, ONCE, TAIL
from symbptt.codegen.statements import computed, writer_of
from symbptt.codegen.text import size_text, tuple_text
from symbptt.codegen.variables import Module
from symbptt.ir.node import Node
from symbptt.ir.shape import Size, named_size, names_in, prod, size

VIEWS = ("reshape", "expand", "slice", "transpose", "broadcast")


@dataclass(frozen=True)
class Costs:
    """Numbers of elements; of those with several alternatives the greatest counts.

    `once`: packed weights and gradients of parameters; `sample`: the rooms of one step, for each sample; for each
    sample and step of all: `always`; for each sample and step of a piece: `forward`, `loss`, `backward`, in each phase;
    for each sample and step of a block of the sweeps: `ahead` forward, `block` backward; `held` tells how long these
    are, and `rows` how many rows of products one has at the least. `results` are states and outputs of a
    step, `state` the states alone.
    """

    once: Size
    sample: Size
    always: Size
    forward: tuple[Size, ...]
    loss: tuple[Size, ...]
    backward: tuple[Size, ...]
    ahead: Size
    ahead_held: Size
    ahead_rows: int
    block: Size
    held: Size
    rows: int
    results: Size
    state: Size

    @property
    def counts(self) -> tuple[tuple[Size, ...], ...]:
        """The alternatives of each number that `checkpoints.bytes_needed` takes."""
        one = [(x,) for x in (self.once, self.sample, self.always)]
        blocks = [(x,) for x in (self.ahead, self.ahead_held, self.ahead_rows, self.block, self.held, self.rows)]
        return (*one, self.forward, self.loss, self.backward, *blocks)

    @property
    def names(self) -> tuple[str, ...]:
        """The named sizes that they depend on."""
        return names_in(tuple(sp.sympify(x) for group in self.counts for x in group))

    def bytes(self, steps: int, T: int, B: int, item: int, sizes: Mapping[str, int], results: bool = False) -> int:
        """Return the bytes that a call holds with pieces of so many steps; `results`: those of all steps too."""
        once, sample, always, *others = (max(at(x, sizes) for x in group) for group in self.counts)
        counts = (once, sample, always + results * at(self.results, sizes), *others)
        return bytes_needed(counts, steps, T, B, item)


def at(x: Size, sizes: Mapping[str, int]) -> int:
    """Return a number of elements for given sizes."""
    return int(sp.sympify(x).subs({named_size(name): value for name, value in sizes.items()}))


def costs_of(m: Module, tape: Iterable[str], loss: Module | None, *, pieces: bool) -> Costs:
    """Return the costs of a module, whose loss is taken at every step where it is given; `pieces`: calls take pieces of
    steps, and keep nothing of one but its tape while they flow back through it."""
    p = m.program
    state, inputs = (sum(prod(a.shape) for a in p.of_role(role)) for role in ("state", "input"))
    outputs = sum(_size(m, id) for id in p.outputs.values() if not _owns(m, id))
    tail, sent = ([0], 0) if loss is None else _loss(loss)
    kept = _kept(m, set(tape)) + state
    left = sent + (0 if pieces else outputs)
    ahead, block = ([*computed(m, sweep, BLOCK), *computed(m, sweep, TAIL)] for sweep in ("forward", "backward"))
    weights = [id for sweep in ("forward", "backward") for id in computed(m, sweep, ONCE) if _owns(m, id, False)]
    return Costs(
        size(sum(_size(m, id) for id in weights) + 2 * sum(prod(a.shape) for a in p.of_role("param"))),
        size(8 * state),
        size((inputs if pieces else 0) + 1),
        _greatest(x + state + outputs for x in _phase(m, "forward")),
        _greatest(x + kept + outputs for x in tail),
        _greatest(x + kept + left for x in _phase(m, "backward")),
        _rooms(m, "forward"),
        held_of(m, ahead),
        rows_of(m, ahead),
        _rooms(m, "backward"),
        held_of(m, block),
        rows_of(m, block),
        size(state + sum(_size(m, id) for id in p.outputs.values())),
        size(state),
    )


def costs_text(costs: Costs, names: Iterable[str]) -> list[str]:
    """Return the functions of a module that tell its costs."""
    head = ", ".join(names)
    counts = [_text(group) for group in costs.counts]
    return [
        f"def _counts({head}):",
        '    """Return the numbers of elements that `_needed` takes."""',
        f"    return {tuple_text(counts)}",
        "",
        "",
        f"def _of_a_step({head}):",
        '    """Return the numbers of elements of the states and outputs of a step, and of the states alone."""',
        f"    return {tuple_text([size_text(costs.results), size_text(costs.state)])}",
    ]


def _text(group: tuple[Size, ...]) -> str:
    return size_text(group[0]) if len(group) == 1 else f"max{tuple_text(map(size_text, group))}"


def _size(m: Module, id: int) -> Size:
    return prod(m.program.graph.shape(id))


def _owns(m: Module, id: int, varying: bool = True) -> bool:
    """Whether a value has an array of its own."""
    node = m.program.graph[id]
    view = node.family == "view" and node.attrs.kind in VIEWS
    return (id in m.varying or not varying) and node.family != "leaf" and id not in m.aliases and not view


def _phase(m: Module, sweep: str) -> list[Size]:
    """The numbers for each step that a sweep holds when each of its values of all steps has been computed."""
    p = m.program
    inside = [id for region in NEAR for id in computed(m, sweep, region)]
    stored = [id for id in inside if id in m.stored and id not in m.aliases]
    loop = sum(_size(m, id) for id in stored if id not in p.next.values())
    live: Size = 0
    found: list[Size] = []
    for region in (ALL, LOOP, AFTER):
        live += loop if region == LOOP else 0
        for id in computed(m, sweep, region) if region != LOOP else []:
            found.append(size(live + _written(m, id)))
            live += _size(m, id) if _owns(m, id) else 0
    apart = [id for id in p.inputs.values() if sweep == "backward" and (id not in m.variables or not _owns(m, id))]
    for id in apart:
        found.append(size(live + _written(m, id)))
        live += _size(m, id)
    return [*found, size(live)]


def _written(m: Module, id: int) -> Size:
    """The numbers for each step that are held while a value is computed, itself among them."""
    held: Size = 0
    peaks: list[Size] = []
    for arg in _inline(m, id):
        peaks.append(held + _written(m, arg))
        held += _made(m, arg)
    own = _size(m, id) if _owns(m, id) else 0
    return _most([*peaks, held + own])


def _made(m: Module, id: int) -> Size:
    """The numbers of an inline value that stay until its reader is done."""
    if _owns(m, id):
        return _size(m, id)
    return sum(_made(m, arg) for arg in _inline(m, id))


def _inline(m: Module, id: int) -> list[int]:
    """The values of all steps that are computed within the formula of a value; a sum of products is one product."""
    g = m.program.graph
    found = [arg for arg in g[id].args if arg not in m.variables and arg in m.varying and g[arg].family != "leaf"]
    if g[id].family == "total":
        fused = [arg for arg in found if g[arg].family == "contract" or _is_scatter(g[arg])]
        return [inner for arg in found for inner in (_inline(m, arg) if arg in fused else [arg])]
    return found


def _is_scatter(node: Node) -> bool:
    return node.family == "gather" and node.attrs.kind == "scatter"


def _most(alternatives: Iterable[Size]) -> Size:
    """The greatest of some numbers, as if all named sizes were large and equal."""
    return max(alternatives, key=lambda x: sp.sympify(x).subs(dict.fromkeys(sp.sympify(x).free_symbols, 97)))


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


def _rooms(m: Module, sweep: str) -> Size:
    """The numbers for each step of a block."""
    return size(sum(block_lines(m, sweep, writer_of(m.program)).made))


def _kept(m: Module, tape: set[str]) -> Size:
    """The numbers for each step of the tape, without states."""
    p = m.program
    ids = [id for id, name in m.variables.items() if name in tape and id in m.varying]
    roots = {m.whole(id) for id in ids}
    return sum(_size(m, id) for id in roots if _owns(m, id) and id not in p.next.values())


def _loss(m: Module) -> tuple[list[Size], Size]:
    """The numbers for each step of a loss, and those that it sends back."""
    p = m.program
    sent = sum(_size(m, id) for id in p.inputs.values())
    live = _most(_phase(m, "forward"))
    return [live, *(live + x for x in _phase(m, "backward"))], size(sent + 1)
