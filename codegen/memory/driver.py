"""The memory of a call: what the files of runtime/ allocate between the sweeps, and what they hold meanwhile.

Each function here follows one there, which its docstring names. The states at the borders of pieces, of which a schedule
holds as many as it has slots, are counted by the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import sympy as sp

from symbptt.codegen.loop_ir.nodes import BATCH, STEPS, Port
from symbptt.codegen.memory.account import Account, Scale, Sizes, Sum
from symbptt.codegen.memory.runs import Call, Functions, Ran, Runs, given_to, lies_in_rows, widths
from symbptt.codegen.runtime.workspace import _loss_steps
from symbptt.ir.shape import Shape


@dataclass
class Driver:
    """A call while its memory is counted: the sums of gradients so far, and the adjoints behind the piece at hand; the functions
    of a target are counted by its `kind`."""

    functions: Functions
    call: Call
    sizes: Sizes = field(default_factory=Sizes)
    params: list[Sum] = field(default_factory=list)
    resets: list[Sum] = field(default_factory=list)
    carry: list[Sum] = field(default_factory=list)
    kind: Callable[[Functions, Call, Sizes], Runs] = Runs
    runs: Runs = field(init=False)

    def __post_init__(self) -> None:
        self.runs = self.kind(self.functions, self.call, self.sizes)

    @property
    def account(self) -> Account:
        return self.runs.account

    def run(self) -> None:
        """Count a call from its masks to its results."""
        for _ in range(self.call.lengths * (1 + self.call.reset)):
            self._take((STEPS, BATCH), "bool")
        if self.call.pieces:
            (self._trained_in_pieces if self.call.trains else self._there_and_back_in_pieces)()
        else:
            (self._trained if self.call.trains else self._there_and_back)()
        self.account.note()

    # All steps at once.

    def _trained(self) -> None:
        """`_trained` of whole.py."""
        self._data([*self._inputs(), *self._targets()])
        self._counted()
        laid = self._laid()
        ran = self.runs.forward()
        if self.in_rows:
            self._stopped(ran)
            self._free_read(laid)
        if not self.functions.at_every:
            self._noted()
        self._lost()
        given = self._sent()
        self._finals()
        self._back(given)

    def _lost(self) -> None:
        """`_of_all` of every.py: where steps are many, the loss of a block of them, whose cotangents are written into those of all."""
        runs, f = self.runs, self.functions.loss
        assert f is not None
        if not self.functions.at_every or not self.sizes.values:
            runs.loss()
            return
        T, B, size = (int(self.sizes.of(x)) for x in (STEPS, BATCH, sp.Max(*widths(f))))
        steps = _loss_steps(T, B, size)
        if steps >= T:
            runs.loss()
            return
        runs.steps = sp.Integer(steps)
        first = runs.lost()
        runs.steps = self.call.steps
        for port in f.results:
            if port.group == "inputs":
                self._take(port.view.shape)
        self.account.free(*first["inputs"])
        # The second block makes its arrays, gradients of the loss's own parameters too, beside those that are there, and adds these.
        runs.steps = sp.Integer(steps)
        second = runs.lost()
        runs.steps = self.call.steps
        for amount in first["params"]:
            self.account.briefly(amount)
        self.account.free(*second["inputs"], *second["params"])

    def _there_and_back(self) -> None:
        """`forward` and `backward` of driver.py, over whole.py."""
        data = self._data(self._inputs())
        laid = self._laid()
        ran = self.runs.forward()
        if self.call.lengths:
            self._stopped(ran)
        if self.in_rows:
            self.account.free(*data)
        self._free_read(laid if self.in_rows else data)
        self._ended()
        self._back({*self.functions.states, *self.functions.outputs})

    @property
    def in_rows(self) -> bool:
        """True if samples lie one behind another: what is counted is of samples of which each is nearly as long as the longest."""
        f, call = self.functions, self.call
        return call.lengths and not call.reset and not call.pieces and lies_in_rows(f.forward, f.back)

    def _laid(self) -> list[Sum]:
        """`_Rows` of shared.py, which the tape holds, and the data in rows."""
        for _ in range(3 * self.in_rows):
            self._take((STEPS, BATCH), "index")
        return [self._take(port.view.shape, port.view.buffer.dtype) for port in self._inputs() if self.in_rows]

    def _back(self, given: set[str] | frozenset[str]) -> None:
        """`_backward`, whose gradients of inputs are taken from rows."""
        self.runs.backward(given)
        for port in self.functions.back.results if self.in_rows else ():
            if port.group == "inputs":
                self._take(port.view.shape)

    def _stopped(self, ran: Ran) -> None:
        """`_stopped` and `_kept`: states and outputs behind the ends of samples, in new arrays."""
        at = self._take((STEPS, BATCH), "index")
        for shape in self.functions.states.values():
            self._take((STEPS, *shape))
        self.account.free(at)
        for shape in self.functions.outputs.values():
            self._take(shape)
        # Variables of `_ran` hold what the sweep gave until it ends.
        self.account.free(*ran.states.values(), *ran.outputs.values())

    # Piece by piece.

    def _trained_in_pieces(self) -> None:
        """`_trained` of pieces.py: a piece runs ahead; another one runs with its tape and flows back, and once more, when
        there are gradients and adjoints already. No other piece takes more."""
        self._counted()
        if not self.functions.at_every:
            self._noted()
        self._sums_of_inputs()
        if self.call.pieces > 1:
            self._ahead()
        # The first piece that flows back makes the sums of gradients, the second adds to them while they are there:
        # from then on every piece is as the second one.
        for i in range(min(self.call.pieces, 2)):
            ran, data = self._part()
            if i == 0:
                self._finals()
            targets = self._data(self._targets())
            # A loss at the last step is computed with the first piece that flows back.
            sent = self.runs.loss() if self.functions.at_every or i == 0 else []
            given = self._sent()
            self._let_go(ran)
            self.account.free(*targets)
            self._piece_back(given)
            self.account.free(*ran.tape, *data, *(sent if self.functions.at_every else ()))

    def _there_and_back_in_pieces(self) -> None:
        """`_ran` and `_flowed_back` of pieces.py: a piece runs; then two run with their tapes and flow back."""
        for shape in self.functions.states.values():
            self._take((STEPS, *shape))
        for shape in self.functions.outputs.values():
            self._take(shape)
        self._ahead()
        self._ended()
        self._sums_of_inputs()
        for _ in range(min(self.call.pieces, 2)):
            ran, data = self._part()
            self._let_go(ran)
            self._piece_back({*self.functions.states, *self.functions.outputs})
            self.account.free(*ran.tape, *data)

    def _part(self) -> tuple[Ran, list[Sum]]:
        """`_part` of part.py, to what it returns, and the data that its tape holds."""
        data = self._data(self._inputs())
        ran = self.runs.forward()
        return ran, self._free_read(data)

    def _ahead(self) -> None:
        """`_ahead_to`: a piece runs from the states that the piece before it left, which are let go of behind it."""
        start = [self._take(shape) for shape in self.functions.states.values()]
        ran, data = self._part()
        # The states behind the last piece are counted as a slot.
        self.account.free(*start, *self._finals())
        self._let_go(ran)
        self.account.free(*ran.tape, *data)

    def _piece_back(self, given: set[str] | frozenset[str]) -> None:
        """`_piece_back`: gradients of parameters, and what resets send to the initial states, are added to those of later
        pieces."""
        found = self.runs.backward(given)
        self.account.free(*self.carry, *found["inputs"])
        self.carry = found["state"]
        if self.params:
            found["params"] = [self._sum(old, now) for old, now in zip(self.params, found["params"], strict=True)]
        self.params = found["params"]
        # The first sum is a new array, too.
        before: list[Sum] = self.resets or [{} for _ in found["resets"]]
        self.resets = [self._sum(old, now) for old, now in zip(before, found["resets"], strict=True)]

    def _let_go(self, ran: Ran) -> None:
        """Free the states and outputs of a sweep that are not on its tape."""
        self.account.free(*ran.states.values(), *ran.outputs.values())

    def _sum(self, old: Sum, now: Sum) -> Sum:
        """Return a new array in the place of two."""
        new = self.account.take(now)
        self.account.free(now, old)
        return new

    def _sums_of_inputs(self) -> None:
        """`_input_sums` of parts.py."""
        for port in self.functions.back.results:
            if port.group == "inputs":
                self._take(port.view.shape)

    # Losses and masks.

    def _counted(self) -> None:
        """`_Loss.__init__` of every.py: which steps count, and the weight of each."""
        if self.functions.at_every:
            if not self.call.lengths:
                self._take((STEPS, BATCH), "bool")
            self._take((STEPS, BATCH))

    def _noted(self) -> None:
        """`_Loss.note` of last.py: what a loss at the last step reads."""
        assert self.functions.loss is not None
        for port in given_to(self.functions.loss, "output"):
            self._take(port.view.shape)

    def _sent(self) -> frozenset[str]:
        """Return the states and outputs whose cotangents a sweep is given; those of the last step alone are zeros at the
        others, or of states behind the last step."""
        read = self.functions.read_by_loss
        if self.functions.at_every:
            return read
        for name, shape in self.functions.outputs.items():
            if name in read:
                self.account.take(Scale(self.sizes, self.call.steps).bytes(shape))
        return read - self.functions.states.keys()

    def _ended(self) -> None:
        """`_cotangents`: those behind the ends of samples are summed; those of outputs are looked at where they count."""
        if self.call.lengths:
            for shape in self.functions.states.values():
                self._take(shape)
            for shape in self.functions.outputs.values():
                self.account.briefly(self._bytes(shape))

    def _finals(self) -> list[Sum]:
        """`_final`: the states at the end, chosen from the last of each sample and the initial ones."""
        found = []
        for shape in self.functions.states.values():
            self.account.briefly(self._bytes(shape))
            found.append(self._take(shape))
        return found

    # Data.

    def _inputs(self) -> list[Port]:
        return given_to(self.functions.forward, "input", "index")

    def _targets(self) -> list[Port]:
        loss = self.functions.loss
        assert loss is not None
        return given_to(loss, "target", "index") if self.functions.at_every else []

    def _data(self, ports: list[Port]) -> list[Sum]:
        """`_held`: the data of steps, behind the ends of samples repeated; the indices of steps live meanwhile."""
        scale, found = Scale(self.sizes, self.runs.steps), list[Sum]()
        for port in ports if self.call.lengths else ():
            at = self.account.take(scale.bytes((STEPS, BATCH), "index"))
            found.append(self.account.take(scale.bytes(port.view.shape, port.view.buffer.dtype)))
            self.account.free(at)
        return found

    def _free_read(self, data: list[Sum]) -> list[Sum]:
        """Free the data that no tape holds, and return the others."""
        pairs = [*zip(data, self._inputs(), strict=False)]
        self.account.free(*(x for x, port in pairs if port.view.buffer not in self.functions.tape))
        return [x for x, port in pairs if port.view.buffer in self.functions.tape]

    # Arrays of all steps.

    def _bytes(self, shape: Shape, dtype: str = "float") -> Sum:
        return Scale(self.sizes, STEPS).bytes(shape, dtype)

    def _take(self, shape: Shape, dtype: str = "float") -> Sum:
        return self.account.take(self._bytes(shape, dtype))
