"""The memory of a call with truncation: losses flow back block by block, through the steps that they reach and no further.

Each function here follows one of runtime/reach.py, chunked.py or window.py, in numbers, for blocks differ in length. Example: of
Chunked(3, 4) the block of steps 3 to 6 is run, its tape is put together with that of step 2, of the block before, and the adjoints
flow back through the four; what the block left in variables is let go of before the next one is run.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import sympy as sp

from symbptt.codegen.loop_ir.nodes import BATCH, STEPS
from symbptt.codegen.memory.account import Sum
from symbptt.codegen.memory.driver import Driver
from symbptt.codegen.memory.runs import Ran
from symbptt.language.truncation import Chunked, Window

LIKE = 3
"""The number of blocks that reach no further back than to the first step, and of others, after which all are alike."""


@dataclass
class Truncated(Driver):
    """A truncated call while its memory is counted: the tapes that are held, each with its first and last step, what the variables
    of the block before hold, and the gradients of parameters of the loss."""

    truncation: Window | Chunked = field(default_factory=lambda: Window(1))
    held: list[tuple[int, int, list[Sum]]] = field(default_factory=list)
    variables: dict[str, list[Sum]] = field(default_factory=dict)
    own: list[Sum] = field(default_factory=list)

    def run(self) -> None:
        """Count a call from its masks to its results."""
        for _ in range(self.call.lengths * (1 + self.call.reset)):
            self._take((STEPS, BATCH), "bool")
        (self._trained if self.call.trains else self._there_and_back)()
        self.account.note()

    def _blocks(self) -> list[tuple[int, int, int]]:
        """`_blocks` and `_first`: the steps of each block, and the first one that its losses reach. Of many blocks that are alike
        some are left out, and the short one at the end follows."""
        # Blocks differ until losses reach their full number of steps back. Then each is as the one before, and
        # thousands of them would be walked for the same sums.
        steps, k = int(self.sizes.of(STEPS)), self.truncation
        size, reach = (k.k1, k.k2) if isinstance(k, Chunked) else (k.k, k.k)
        steps = min(steps, (-(-reach // size) + LIKE) * size + steps % size)
        found = [(lo, min(lo + size, steps)) for lo in range(0, max(steps, 1), size)]
        return [(lo, hi, max(hi - reach if isinstance(k, Chunked) else lo - reach + 1, 0)) for lo, hi in found]

    def _set(self, name: str, new: list[Sum]) -> None:
        """Give a variable of a loop its new value: what it had is let go of."""
        self.account.free(*self.variables.get(name, ()))
        self.variables[name] = new

    def _trained(self) -> None:
        """`_trained` of reach.py."""
        self._data([*self._inputs(), *self._targets()])
        self._counted()
        self._sums_of_inputs()
        for lo, hi, first in self._blocks():
            self.runs.steps = sp.Integer(hi - lo)
            ran, data = self._part()
            self._set("states", [*ran.states.values(), *ran.outputs.values()])
            self._set("start", self._finals())
            self._set("sent", [self._of_steps(hi - lo)])
            lost = self.runs.lost()
            self._set("full", lost["inputs"])
            self._set("part", lost["params"])
            self.own = self._sums(self.own, lost["params"])
            self.held.append((lo, hi, [*ran.tape, *data]))
            self._forget(first, lo)
            if self.call.lengths:
                self._set("full", [self.account.take(x) for x in lost["inputs"]])
            joined = [
                self._of_steps(hi - first, *b.shape[1:], dtype=b.dtype)
                for b in self.functions.tape
                if b.shape[:1] == (STEPS,)
            ]
            self._set("joined", joined)
            self._block_back(lo, hi, first, self.functions.read_by_loss)
            for name in ("states", "full", "part", "joined"):
                self._set(name, [])

    def _forget(self, first: int, lo: int) -> None:
        """Let go of the tapes of blocks that no later loss reaches."""
        for at, end, tape in self.held:
            if end <= first and at != lo:
                self.account.free(*tape)
        self.held = [(at, end, tape) for at, end, tape in self.held if end > first or at == lo]

    def _there_and_back(self) -> None:
        """`forward` of driver.py over whole.py, and `_flowed_back` of reach.py."""
        data = self._data(self._inputs())
        ran: Ran = self.runs.forward()
        if self.call.lengths:
            self._stopped(ran)
        self._free_read(data)
        self._ended()
        every = {**{name: (STEPS, *shape) for name, shape in self.functions.states.items()}, **self.functions.outputs}
        if self.call.lengths:
            for shape in every.values():
                self._take(shape)
        self._sums_of_inputs()
        for lo, hi, first in self._blocks():
            self._block_back(lo, hi, first, frozenset(every))

    def _block_back(self, lo: int, hi: int, first: int, given: frozenset[str]) -> None:
        """`_block_back`, and `_accumulate` of reach.py: gradients of parameters are added to those of the blocks before."""
        back = self._chunk_back if isinstance(self.truncation, Chunked) else self._window_back
        found = back(lo, hi, first, given)
        self.params = self._sums(self.params, found["params"])
        self.resets = self._sums(self.resets, found["state"])
        self.account.free(*(x for group in found.values() for x in group))

    def _chunk_back(self, lo: int, hi: int, first: int, given: frozenset[str]) -> dict[str, list[Sum]]:
        """`_block_back` of chunked.py."""
        sent = self._behind_zeros(hi - first, max(lo - first, 0), [*given])
        self.runs.steps = sp.Integer(hi - first)
        found = self.runs.backward(given)
        self.account.free(*sent)
        return found

    def _window_back(self, lo: int, hi: int, first: int, given: frozenset[str]) -> dict[str, list[Sum]]:
        """`_block_back` of window.py: one step back after another, of which the second has an adjoint of the first."""
        states, outputs = self.functions.states, frozenset(given) - self.functions.states.keys()
        sent = self._behind_zeros(hi - first, lo - first, [*outputs])
        carry = [self._of_steps(hi - lo, *shape) for name, shape in states.items() if name not in given]
        total = [self._of_steps(hi - first, *shape) for shape in states.values()]
        small = [self._take(shape) for shape in (*states.values(), *states.values())]
        self.runs.steps = sp.Integer(hi - lo)
        for step in range(min(2, hi - first)):
            found = self.runs.pull(False, outputs if step == 0 else ())["carry"]
            self.account.free(*carry)
            carry = found
            if self.call.reset:
                self.account.briefly(*(self._bytes((hi - lo, *shape)) for shape in [*states.values()][:1]))
                kept = [self.account.take(x) for x in carry]
                self.account.free(*carry)
                carry = kept
        self.runs.steps = sp.Integer(hi - first)
        sums = self.runs.pull(True, outputs)
        self.account.free(*carry, *total, *sent, *sums["carry"])
        return {"params": sums["params"], "inputs": sums["inputs"], "state": small}

    def _behind_zeros(self, steps: int, before: int, names: list[str]) -> list[Sum]:
        """`_behind_zeros`: cotangents behind zeros for so many steps before."""
        shapes = {**self.functions.states, **{name: shape[1:] for name, shape in self.functions.outputs.items()}}
        found: list[Sum] = []
        for name in names:
            zeros = self._of_steps(before, *shapes[name])
            found.append(self._of_steps(steps, *shapes[name]))
            self.account.free(zeros)
        return found

    def _sums(self, old: list[Sum], now: list[Sum]) -> list[Sum]:
        """Return new arrays in the place of sums so far; what is added to them is still there."""
        found: list[Sum] = []
        for i, x in enumerate(now):
            found.append(self.account.take(x))
            self.account.free(*old[i : i + 1])
        return found

    def _of_steps(self, steps: int, *shape: object, dtype: str = "float") -> Sum:
        """Take an array of so many steps."""
        return self._take((steps, *(shape or (BATCH,))), dtype)
