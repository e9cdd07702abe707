"""The memory of the functions of a module in a call: both sweeps and the loss, with what calls of the runtime allocate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import sympy as sp

from symbptt.codegen.loop_ir.nodes import (
    BATCH,
    BLOCK,
    STEPS,
    Algebra,
    Buffer,
    Function,
    If,
    Loop,
    Port,
    Runtime,
    Scan,
    Settle,
    View,
    elements,
    views,
    walk,
)
from symbptt.codegen.memory.account import ITEM, Account, Scale, Sizes, Sum, terms
from symbptt.codegen.memory.forms import Chosen
from symbptt.codegen.memory.sweeps import Calls, Kept, Pool, Sweep
from symbptt.codegen.runtime.scan import TILE
from symbptt.ir.shape import Shape, Size, prod

VIEWS, CALLS = 3, 3 * 2**9
"""The number of views of the windows of a scan that take a byte for each number of a state, and the bytes of the calls
that join steps once."""
LEAST = (4, 8)
"""The steps of the smallest window that is scanned: where coefficients differ between steps, and where not."""
PIECE = sp.Symbol("steps", integer=True, positive=True)
"""The steps of a piece."""


@dataclass(frozen=True)
class Functions:
    """The functions of a module: both sweeps, and the loss of a model with whether it is taken at every step; `tape` are the
    buffers that the backward sweep reads of the forward sweep and of its arguments, and `forms` tells how the target writes the
    statements of a function."""

    forward: Function
    back: Function
    tape: frozenset[Buffer]
    forms: Callable[[Function], Chosen]
    loss: Function | None = None
    at_every: bool = False

    @property
    def states(self) -> dict[str, Shape]:
        """The shapes of the states of all samples."""
        return {port.name: port.view.shape for port in given_to(self.forward, "state")}

    @property
    def outputs(self) -> dict[str, Shape]:
        """The shapes of the outputs at all steps."""
        return {port.name: port.view.shape for port in self.forward.results if port.group == "outputs"}

    @property
    def read_by_loss(self) -> frozenset[str]:
        """The states and outputs that the loss sends cotangents to."""
        assert self.loss is not None
        return frozenset(port.name for port in self.loss.results if port.group == "inputs")


def widths(f: Function) -> tuple[Size, ...]:
    """Return the numbers that arrays of a loss have of one step and sample."""
    found = {prod(b.shape[2:]) for b in f.declared if b.shape[:2] == (STEPS, BATCH)}
    return tuple(sorted({1, *found}, key=str))


def lies_in_rows(*functions: Function) -> bool:
    """Answer whether ragged batches lie in rows, one sample behind another. A sample that has ended waits where adjoints are clipped,
    which its own is meanwhile; a message that tells steps and samples reads them of the arrays that a sweep has; and a row of several
    samples has no one context."""
    statements = (s for f in functions for s in walk(f.body))
    return not (
        any(given_to(f, "context") for f in functions)
        or any(isinstance(s, Algebra | Settle) or (isinstance(s, Runtime) and s.name == "clip") for s in statements)
    )


def given_to(f: Function, *groups: str) -> list[Port]:
    """Return the arguments of some groups."""
    return [port for port in f.arguments if port.group in groups]


@dataclass(frozen=True)
class Call:
    """A kind of call: training, or a run and the way back; with lengths of samples, with resets; by so many pieces of the
    steps, of which more than two take no more than two, or 0 for all steps at once; whether blocks of steps are scanned.
    """

    trains: bool
    lengths: bool = False
    reset: bool = False
    pieces: int = 0
    scans: bool = False

    @property
    def steps(self) -> sp.Expr:
        """The steps of a sweep."""
        return PIECE if self.pieces else STEPS

    @property
    def masked(self) -> bool:
        return self.lengths or self.reset


@dataclass
class Ran:
    """A forward sweep that has run: the bytes of its states and outputs by name, where they are not on the tape, and of
    what is on the tape or goes back to the workspace with it."""

    states: dict[str, Sum]
    outputs: dict[str, Sum]
    tape: list[Sum]


@dataclass
class Runs:
    """The functions of a module while the memory of a call is counted; `scanned` are the least steps of a window and the
    bytes of a step of each state, where steps are scanned."""

    functions: Functions
    call: Call
    sizes: Sizes = field(default_factory=Sizes)
    account: Account = field(default_factory=Account)
    scanned: dict[tuple[int, sp.Expr], None] = field(default_factory=dict)
    pool: Pool = field(init=False)
    steps: sp.Expr = field(init=False)

    def __post_init__(self) -> None:
        # Modules with checkpoints keep no workspace.
        self.pool = Pool(self.account, not self.call.pieces)
        self.steps = self.call.steps  # of the sweep at hand: with truncation not all have the same

    def forward(self) -> Ran:
        """`_forward`, to the states, the outputs and the tape."""
        f, call = self.functions.forward, self.call
        entered = next((s for s in walk(f.body) if isinstance(s, Runtime) and s.name == "enter"), None)
        before = [] if entered is None else [view.buffer for view in entered.out]
        after = {port.name: port.view.buffer for port in f.results if port.group == "states"}

        def begin(sweep: Sweep, s: Runtime) -> None:
            for buffer, shape in zip(after.values(), self.functions.states.values(), strict=True):
                sweep.live[buffer] = self.account.take(sweep.scale.bytes((STEPS + 1, *shape)))
            for buffer in before:
                # Without masks the states before each step are views of those after it.
                sweep.live[buffer] = self.account.take(sweep.scale.bytes(buffer.shape)) if call.masked else {}

        def enter(sweep: Sweep, s: Runtime) -> None:
            chosen = [sweep.scale.bytes(view.shape) for view in s.out[:1]]
            self.account.briefly(*chosen * (call.lengths + call.reset))

        kept = self._sweep(f, {"begin": begin, "enter": enter}, self._scans(frozenset())).run()
        views_of = (
            set()
            if call.masked
            else {b for b, view in zip(after.values(), before, strict=True) if view in self.functions.tape}
        )
        on_tape = self.functions.tape | views_of
        outputs = {port.name: port.view.buffer for port in f.results if port.group == "outputs"}
        found = [{name: _taken(kept, b) for name, b in group.items() if b not in on_tape} for group in (after, outputs)]
        return Ran(found[0], found[1], [*kept.values()])

    def backward(self, given: Iterable[str]) -> dict[str, list[Sum]]:
        """`_backward`, to the gradients by group; `given` are the cotangents of states and outputs that are there."""
        f, call, given = self.functions.back, self.call, frozenset(given)
        found: dict[str, list[Sum]] = {"params": [], "inputs": [], "state": [], "resets": []}

        def start(sweep: Sweep, s: Runtime) -> None:
            shapes = [sweep.scale.bytes(view.shape) for view in s.out]
            for view, amount in zip(s.out, shapes, strict=True):
                sweep.live[view.buffer] = self.account.take(amount)
            found["resets"] = [self.account.take(amount) for amount in shapes]
            for amount in shapes:
                sweep.hold(amount)  # the adjoints of samples that have ended
            for name, shape in self.functions.states.items():
                if call.lengths and name in given:
                    sweep.hold(sweep.scale.bytes((STEPS, *shape)))

        def chosen(sweep: Sweep, s: Runtime) -> None:
            self.account.briefly(*(sweep.scale.bytes(view.shape) for view in s.out[:1] if call.masked))

        def clip(sweep: Sweep, s: Runtime) -> None:
            self.account.briefly(*(sweep.scale.bytes(view.shape) for view in s.out[:1]))

        nothing = dict.fromkeys(("arrive", "watch"), lambda sweep, s: None)
        calls = {**nothing, "start": start, "wait": chosen, "leave": chosen, "clip": clip}
        sweep = self._sweep(f, calls, self._scans(given))
        self._hold_cotangents(sweep, f, given if not call.lengths else frozenset())
        return found | _grouped(f, sweep.run(), ("params", "inputs", "state"))

    def _hold_cotangents(self, sweep: Sweep, f: Function, given: frozenset[str]) -> None:
        """Count the cotangents of outputs that a sweep makes: zeros where none are `given`, copies where samples end."""
        read = {view.buffer for s in walk(f.body) for view in views(s)}
        for port in given_to(f, "cotangent"):
            # Those of states are added as they are given.
            if port.name not in self.functions.states and port.view.buffer in read and port.name not in given:
                sweep.hold(sweep.scale.bytes(port.view.shape))

    def loss(self) -> list[Sum]:
        """`_loss`, and the sum of its values that count, to the cotangents of what it reads."""
        return self.lost()["inputs"]

    def lost(self) -> dict[str, list[Sum]]:
        """The same, to the gradients of its own parameters too ("params", beside "inputs")."""
        f = self.functions.loss
        assert f is not None
        kept = Sweep(self.account, self.pool, Scale(self.sizes, self.steps), f, self.functions.forms(f), {}).run()
        groups = _grouped(f, kept, ("outputs", "inputs", "params"))
        (value,) = groups["outputs"]
        if self.functions.at_every:
            self.account.briefly(value, value)  # chosen, and weighed
        self.account.free(value)
        return groups

    def pull(self, sums: bool, given: Iterable[str]) -> dict[str, list[Sum]]:
        """`_pull`, to the adjoints before each step, or with `sums` to total ones and to the gradients, by group; `given` are
        the cotangents of outputs that are there."""
        f = _branch(self.functions.back, sums)
        sweep = Sweep(self.account, self.pool, Scale(self.sizes, self.steps), f, self.functions.forms(f), {})
        self._hold_cotangents(sweep, f, frozenset(given))
        return _grouped(f, sweep.run(), ("carry", "params", "inputs"))

    def _sweep(self, f: Function, calls: Calls, scan: Callable[[Sweep, Scan], None]) -> Sweep:
        letter = BLOCK if f.block is None else self.sizes.block(self.steps, BATCH, *f.block)
        counts = frozenset(s.count for s in walk(f.body) if isinstance(s, Loop) and s.count is not None)
        scale, chosen = Scale(self.sizes, self.steps, letter, counts), self.functions.forms(f)
        return Sweep(self.account, self.pool, scale, f, chosen, calls, scan)

    def _scans(self, given: frozenset[str]) -> Callable[[Sweep, Scan], None]:
        """`_scan` and `_scan_back`: rooms in which steps are joined, which are given back behind the sweep."""
        states = list(self.functions.states)

        def scan(sweep: Sweep, s: Scan) -> None:
            x, fixed = s.out, s.is_fixed
            sizes = [terms(sweep.scale.size(elements(view) * ITEM)) for view in x]
            block = sweep.scale.size(x[0].shape[0])
            steps = tuple(dict.fromkeys(sp.sympify(prod(view.shape[1:])) * ITEM for view in x))
            self.scanned.update(dict.fromkeys((LEAST[fixed], step) for step in steps))
            if self.sizes.values:
                if self.call.masked or not self.sizes.scans(self.steps, LEAST[fixed], steps):
                    return
            elif not self.call.scans:
                return
            levels = self.sizes.levels(self.steps, block, steps)
            # Coefficients are joined along the axes along which they move.
            entries = [moving(sweep.scale, c) for row in s.coefficients for c in row if c is not None]
            rooms = [*sizes, *sizes, *sizes[: len(x) > 1]]
            for i, term in enumerate(s.free):
                there = term is not None
                if s.reverse:
                    count = (states[i] in given) + len(s.given[i][1:])
                    rooms += [sizes[i]] * ((count > 1) + (there == (count > 0)))
                else:
                    rooms += [sizes[i]] * (not there)
            rooms += [terms(self.sizes.of(levels * TILE * ITEM))] * len(entries) if fixed else entries * 2
            views = -(-(len(entries) + 4 * len(x) + 1) // VIEWS)
            elements_of_one = sweep.scale.size(elements(x[0]))
            objects = terms(elements_of_one * views + levels * (CALLS * len(entries)))
            for room in rooms:
                sweep.borrow(room)
            sweep.hold(objects)

        return scan


def _grouped(f: Function, kept: Kept, groups: Iterable[str]) -> dict[str, list[Sum]]:
    """Return the bytes of results by group; a buffer of several results counts once."""
    found: dict[str, list[Sum]] = {group: [] for group in groups}
    for port in f.results:
        if port.view.buffer in kept:
            found[port.group].append(kept.pop(port.view.buffer))
    return found


def _branch(f: Function, sums: bool) -> Function:
    """Return one step back for all steps as one of the two functions that it is: without the sums it ends early."""
    # One function is called in two ways, with sums and without, which end at different places; each is counted as a
    # function that has no such choice.
    at = next(i for i, s in enumerate(f.body) if isinstance(s, If) and s.orelse)
    early = f.body[at]
    assert isinstance(early, If)
    if sums:
        return replace(f, body=(*f.body[:at], *f.body[at + 1 :]))
    *inside, send = early.orelse
    assert isinstance(send, Runtime)
    results = tuple(Port("carry", "", view) for view in send.args if isinstance(view, View))
    return replace(f, body=(*f.body[:at], *inside), results=results)


def _taken(kept: Kept, buffer: Buffer) -> Sum:
    """Return the bytes of a buffer, which may be that of several values, once."""
    return kept.pop(buffer, {})


def moving(scale: Scale, view: View) -> Sum:
    """Return the bytes of a view without the axes along which it repeats."""
    return scale.bytes(tuple(axis.length for axis in view.axes if axis.of))
