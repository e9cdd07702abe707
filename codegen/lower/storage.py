"""The storage of the values of a program: the policy that both sweeps share.

Example: of h' = tanh(W x + U h + b) the value W x + b lies in a buffer of a block (K, B, n), for the prologue of each block
writes it. The states are a result of T + 1 rows: h is the view of rows 0 to T - 1, h' that of rows 1 to T. Backward the
adjoint dh is a carry (B, n), which each step overwrites, and da lies in a buffer of a block, whose epilogue adds Σ da xᵀ
to dW, a result without an axis of steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from symbptt.codegen.loop_ir.nodes import BATCH, BLOCK, STEPS, Axis, Buffer, Constant, View
from symbptt.codegen.loop_ir.views import span, whole
from symbptt.codegen.lower.frame import SYMBOLS, Stored
from symbptt.codegen.program.names import Named
from symbptt.codegen.program.program import Program
from symbptt.codegen.program.regions import LOOP, NEAR, ONCE, TAIL
from symbptt.codegen.program.values import is_baked, readers_of, size_names
from symbptt.ir.naming import unique
from symbptt.ir.node import WITHOUT_COPY, Node
from symbptt.ir.shape import Shape, size
from symbptt.ir.step import Argument

LEADS: dict[str, Shape] = dict.fromkeys(("input", "index", "output", "target"), (STEPS, BATCH)) | {"context": (BATCH,)}
"""The axes of steps and samples of arguments, by role; the others have none."""


@dataclass
class Storage:
    """The views of values, by id, and the buffers of each sweep.

    `states` have a row for the state before the first step and one after each; `initial` are the given initial states, to
    which resets return; `start` those before the first step, which differ in a piece of the steps. `carries` have the
    incoming cotangent of each state, which a step replaces by the outgoing one, `direct` the given cotangents of states;
    `after` those from the steps behind a piece. `given` are the buffers of arguments by name, `cotangents` those of
    outputs, and `kept` what is read of these: zeros for samples that have ended, and where none are given. `there` are
    the flags that tell whether the cotangents of a state or an output are given, where these may be absent. `masks` are
    those of a cell that is run with masks. `taken` are the names of buffers and sizes.
    """

    taken: set[str]
    stored: dict[int, Stored] = field(default_factory=dict)
    given: dict[str, Buffer] = field(default_factory=dict)
    constants: list[Constant] = field(default_factory=list)
    states: dict[str, Buffer] = field(default_factory=dict)
    initial: dict[str, Buffer] = field(default_factory=dict)
    start: dict[str, Buffer] = field(default_factory=dict)
    carries: dict[str, Buffer] = field(default_factory=dict)
    direct: dict[str, Buffer] = field(default_factory=dict)
    after: dict[str, Buffer] = field(default_factory=dict)
    cotangents: dict[str, Buffer] = field(default_factory=dict)
    kept: dict[str, Buffer] = field(default_factory=dict)
    there: dict[str, Buffer] = field(default_factory=dict)
    forward: list[Buffer] = field(default_factory=list)
    backward: list[Buffer] = field(default_factory=list)
    masks: Masks | None = None

    def name(self, wish: str) -> str:
        """Return a name that is not taken, and take it."""
        name = unique(wish, self.taken)
        self.taken.add(name)
        return name


@dataclass
class Masks:
    """The buffers that masks need: the flags for lengths and resets, and which samples are active or reset at each
    step.

    By the name of a state: `before` is the state before each step, where a reset or the end of a sample may change the
    state that the step before left; its first row is for the state of ended samples before the first step, which is
    given as `held`; `stopped` are the states that a caller gets; `waiting` has the adjoints of ended samples, `resets`
    the sum of adjoints for the initial states.
    """

    lengths: Buffer
    resets_there: Buffer
    active: Buffer
    reset: Buffer
    held: dict[str, Buffer] = field(default_factory=dict)
    before: dict[str, Buffer] = field(default_factory=dict)
    stopped: dict[str, Buffer] = field(default_factory=dict)
    waiting: dict[str, Buffer] = field(default_factory=dict)
    resets: dict[str, Buffer] = field(default_factory=dict)


def type_of_value(m: Named, id: int) -> str:
    """Return the type of the numbers of a value."""
    return "complex" if m.program.graph.is_complex(id) else "float"


def type_of_argument(a: Argument) -> str:
    """Return the type of the entries of an argument."""
    return "index" if a.role == "index" else "complex" if a.complex else "float"


def after_steps(states: Buffer) -> View:
    """Return the states after each step: a buffer may have a row more, for the state before the first one."""
    return whole(states) if states.shape[0] == STEPS else span(whole(states), 0, 1, STEPS)


def _masks(found: Storage) -> Masks:
    """Return the buffers of masks, without those of states."""
    lengths, resets_there = (Buffer(found.name(x), (), "argument", "bool") for x in ("has_lengths", "has_reset"))
    active, reset = (Buffer(found.name(x), (STEPS, BATCH), "argument", "bool") for x in ("active", "reset"))
    return Masks(lengths, resets_there, active, reset)


def storage_of(
    m: Named, masked: bool = False, pulled: bool = False, absent: bool = False, in_pieces: bool = False
) -> Storage:
    """Return the storage of a placed program.

    `masked`: samples may end before others, and be reset; `pulled`: the backward sweep computes all steps at once;
    `absent`: cotangents need not be given; `in_pieces`: other steps may come before and behind these.
    """
    # Where a value lies is decided before a statement is written, and for both sweeps at once: the backward one reads
    # residuals where the forward one has written them, so that neither decides by itself.
    found = Storage(names_of(m))
    found.masks = _masks(found) if masked else None
    for a in m.program.arguments:
        _argument(m, found, a, in_pieces)
    for name, leaf in m.program.cotangent.items():
        shape = (STEPS, BATCH, *m.program.graph.shape(leaf))
        kind = type_of_value(m, leaf)
        buffer = found.cotangents[name] = Buffer(m.variables[leaf], shape, "argument", kind)
        if absent:
            found.there[name] = Buffer(found.name(f"has_{buffer.name}"), (), "argument", "bool")
        if absent or (found.masks is not None and not pulled):
            buffer = found.kept[name] = Buffer(found.name(f"{buffer.name}_kept"), shape, "temporary", kind)
            found.backward.append(buffer)
        found.stored[leaf] = Stored(whole(buffer), "all")
    for name, leaf in m.program.carry.items():
        if pulled:
            shape = (STEPS, BATCH, *m.program.graph.shape(leaf))
            buffer = found.carries[name] = Buffer(m.variables[leaf], shape, "argument", type_of_value(m, leaf))
            found.stored[leaf] = Stored(whole(buffer), "all")
        else:
            _carry(m, found, name, leaf, absent, in_pieces)
    _values(m, found, pulled)
    return found


def _argument(m: Named, found: Storage, a: Argument, in_pieces: bool) -> None:
    """Add the buffers of an argument."""
    leaf, name, kind = m.program.leaves[a.name], m.of_argument(a.name), type_of_argument(a)
    if is_baked(a):
        buffer = Buffer(name, a.shape, "constant", kind)
        found.constants.append(Constant(buffer, a.default))
    elif a.role == "state":
        space = "result" if found.masks is None else "residual"
        buffer = found.states[a.name] = Buffer(name, (size(STEPS + 1), BATCH, *a.shape), space, kind)
        initial = Buffer(found.name(f"{name}_0"), (BATCH, *a.shape), "argument", kind)
        found.initial[a.name] = found.start[a.name] = initial
        if in_pieces:
            found.start[a.name] = Buffer(found.name(f"{name}_start"), (BATCH, *a.shape), "argument", kind)
        found.forward.append(buffer)
        if found.masks is not None:
            found.masks.stopped[a.name] = Buffer(found.name(f"{name}_stopped"), buffer.shape, "result", kind)
            found.forward.append(found.masks.stopped[a.name])
            buffer = found.masks.before[a.name] = Buffer(m.previous[leaf], buffer.shape, "residual", kind)
            found.masks.held[a.name] = Buffer(found.name(f"{name}_held"), (BATCH, *a.shape), "argument", kind)
            found.forward.append(buffer)
        # The state before step t is row t of the states, or row t + 1 of `before`, whose first row is that of ended
        # samples.
        found.stored[leaf] = Stored(span(whole(buffer), 0, int(found.masks is not None), STEPS), "all")
        return
    else:
        lead = LEADS.get(a.role, ())
        buffer = found.given[a.name] = Buffer(name, (*lead, *a.shape), "argument", kind)
    found.stored[leaf] = Stored(whole(buffer), "all" if STEPS in LEADS.get(a.role, ()) else "none")


def _carry(m: Named, found: Storage, name: str, leaf: int, absent: bool, in_pieces: bool) -> None:
    """Add the carry of a state, to which each step adds the direct cotangent.

    Where a value behind the loop reads it, it is stored for all steps, or for those of a block.
    """
    p, shape, variable, kind = m.program, m.program.graph.shape(leaf), m.variables[leaf], type_of_value(m, leaf)
    # One array for each state holds the adjoint that goes from step to step, whatever the number of steps. It is a
    # result too: what it holds in front of the first step is the gradient of the initial state.
    carry = found.carries[name] = Buffer(variable, (BATCH, *shape), "result", kind)
    found.direct[name] = Buffer(found.name(f"{variable}_in"), (STEPS, BATCH, *shape), "argument", kind)
    found.backward.append(carry)
    if absent:
        found.there[name] = Buffer(found.name(f"has_{found.direct[name].name}"), (), "argument", "bool")
    if in_pieces:
        found.after[name] = Buffer(found.name(f"{variable}_after"), (BATCH, *shape), "argument", kind)
    if found.masks is not None:
        for aside, end in ((found.masks.waiting, "waiting"), (found.masks.resets, "resets")):
            aside[name] = Buffer(found.name(f"{variable}_{end}"), (BATCH, *shape), "temporary", kind)
            found.backward.append(aside[name])
    if leaf in m.collected or leaf in p.inputs.values():
        found.stored[leaf] = _new(
            found.backward, found.name(f"{variable}_all"), (STEPS, BATCH), shape, False, "temporary", dtype=kind
        )
    elif any(p.places[reader] == f"backward {TAIL}" for reader in readers_of(p, leaf)):
        found.stored[leaf] = _new(
            found.backward, found.name(f"{variable}_all"), (BLOCK, BATCH), shape, False, "block", dtype=kind
        )
    else:
        found.stored[leaf] = Stored(whole(carry), "none")


def _new(
    buffers: list[Buffer], name: str, lead: Shape, shape: Shape, front: bool, space: str, by_round: bool = False, dtype: str = "float",
) -> Stored:  # fmt: skip
    """Return the storage of a new buffer, whose first own axis may come before that of samples."""
    view = arranged(name, lead, shape, front, space, by_round, dtype)
    buffers.append(view.buffer)
    return Stored(view, {STEPS: "all", BLOCK: "block"}.get(lead[0], "none") if lead else "none")


def arranged(
    name: str, lead: Shape, shape: Shape, front: bool, space: str, by_round: bool = False, dtype: str = "float"
) -> View:
    """Return a view of a new buffer with the axes of steps and samples first.

    In memory, with `front`, the axis of gates comes before that of samples, and in a block of steps before that of
    steps too.
    """
    order = [*range(len(lead) + len(shape))]
    if (front or by_round) and lead:
        gates = order.pop(len(lead))
        # In a block each gate is one contiguous array over all steps and samples, which one call can take; stored for
        # all steps, the part of one step is contiguous.
        order.insert(0 if lead[0] == BLOCK and not by_round else len(lead) - 1, gates)
    axes = (*lead, *shape)
    buffer = Buffer(name, tuple(axes[i] for i in order), space, dtype)
    return View(buffer, (0,) * len(axes), tuple(Axis(n, (order.index(i),)) for i, n in enumerate(axes)))


def _values(m: Named, found: Storage, pulled: bool) -> None:
    """Add the storage of the values that have a variable, those first of which others are parts."""
    p, carried = m.program, {m.variables[leaf]: leaf for leaf in m.program.carry.values()}
    # A next state is written into row t + 1 of the states, which is row t of the next step's: the step that reads it
    # needs no copy.
    # Reversed, so that the first of two states with one next value owns it; the other one is a copy.
    nexts = {id: name for name, id in reversed([*p.next.items()]) if m.variables.get(id) == m.of_argument(name)}
    ids = [id for id in sorted(m.variables) if p.graph[id].family != "leaf" and id in p.places]
    results, read = _direct_results(m), _read_back(p)
    # A joined value first: its parts then lie in it, and each is computed where a product will read all of them as
    # one operand.
    for id in sorted(ids, key=lambda id: id not in p.joined):
        sweep, _, region = p.places[id].partition(" ")
        goes_on = m.variables[id] in carried and sweep == "backward" and region == LOOP
        if id in nexts and sweep == "forward" and region in NEAR:
            found.stored[id] = Stored(span(whole(found.states[nexts[id]]), 0, 1, STEPS), "all")
        elif goes_on and not pulled:
            # Nothing else reads the incoming cotangent, so that the total one overwrites it.
            found.stored[id] = found.stored[carried[m.variables[id]]]
        elif id not in found.stored and not is_looked_at(m, id):
            at_once = pulled and sweep == "backward" and id in m.timed
            lead = (STEPS, BATCH) if at_once else _lead(m, id, region)
            kept = id in read and sweep == "forward"
            space = "result" if id in results else "residual" if kept else _space(m, id, lead)
            # The name itself is that of the incoming cotangent.
            name = found.name(f"{m.variables[id]}_all") if goes_on else m.variables[id]
            buffers = found.forward if sweep == "forward" else found.backward
            kind = type_of_value(m, id)
            found.stored[id] = _new(
                buffers, name, lead, p.graph.shape(id), id in p.front, space, id in p.by_round, kind
            )
            if id in p.joined:
                _parts(m, found, id)


def _space(m: Named, id: int, lead: Shape) -> str:
    """Return the space of the buffer of a value that stays in its sweep."""
    if lead[:1] == (BLOCK,):
        return "block"
    return "scalar" if id in m.static else "temporary"


def _parts(m: Named, found: Storage, id: int) -> None:
    """Store the parts of a joined value as slices of it."""
    stored, graph = found.stored[id], m.program.graph
    lead = len(stored.view.axes) - len(graph.shape(id))
    for arg in graph[id].args:
        part = m.parts[arg]
        found.stored.setdefault(arg, Stored(span(stored.view, lead, part.start, part.length), stored.steps))


def _lead(m: Named, id: int, region: str) -> Shape:
    """Return the axes of steps and samples with which a value is stored."""
    if id not in m.timed:
        return (BATCH,) if id in m.varying else ()
    # The axes decide between three lives: all steps, for what another block or the caller reads; a block, for what
    # its prologue makes or its epilogue reads; one step, overwritten by the next.
    if id in m.stored or region not in NEAR:
        return (STEPS, BATCH)
    return (BLOCK, BATCH) if id in m.held or region != LOOP else (BATCH,)


def is_looked_at(m: Named, id: int) -> bool:
    """Answer whether a value is a view of a stored value, so that it needs no buffer of its own."""
    node = m.program.graph[id]
    if node.family != "view" or node.attrs.kind not in WITHOUT_COPY or node.id in m.static:
        return False
    if id in m.parts:
        return True
    if m.place(id).endswith(ONCE) and node.attrs.kind == "transpose":
        return False  # products read it in its own order
    return id not in m.stored and id not in m.held and _lies(m, node)


def _lies(m: Named, node: Node) -> bool:
    """Answer whether the operand of a view is stored somewhere in its region or for all steps."""
    source = m.program.graph[node.args[0]]
    if source.id in m.variables:
        return True
    return source.family == "view" and source.attrs.kind in WITHOUT_COPY and _lies(m, source)


def _direct_results(m: Named) -> set[int]:
    """Return the values that are computed in the caller's buffers: outputs and gradients that are no part of another
    value."""
    p = m.program
    # What a caller gets is computed where he gets it, but for what lies in another layout or inside of another array:
    # of that he gets a copy in his own order.
    found = {*p.outputs.values(), *p.params.values(), *p.inputs.values()} - {*p.next.values(), *p.front, *p.joined}
    return {id for id in found if p.graph[id].family != "leaf" and id not in m.parts}


def _read_back(p: Program) -> set[int]:
    """Return the values of the forward sweep that the backward sweep reads, and those of which these are views."""
    found = set[int]()
    backward = (id for id, where in p.places.items() if where.startswith("backward"))
    queue = [
        arg for id in backward for arg in p.graph[id].args if not p.places.get(arg, "backward").startswith("backward")
    ]
    while queue:
        id = queue.pop()
        if id not in found:
            found.add(id)
            queue += p.graph[id].args if p.graph[id].family == "view" else ()
    return found


def names_of(m: Named) -> set[str]:
    """Return the names of values, of sizes, and of the symbols of the IR."""
    return {*m.variables.values(), *m.previous.values(), *m.sizes.values(), *size_names(m.program)} | SYMBOLS
