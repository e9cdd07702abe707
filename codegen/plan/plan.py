"""The plan of a kernel: the work of each region, what it stores, and what that costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np
import sympy as sp

from symbptt.autodiff.labels import Label
from symbptt.checks import check_count, check_dtype
from symbptt.codegen.load import LIVING, load
from symbptt.codegen.loop_ir.nodes import BATCH, STEPS
from symbptt.codegen.lower.equations import equation, writer_of
from symbptt.codegen.memory.account import ITEM
from symbptt.codegen.memory.needed import peak
from symbptt.codegen.memory.runs import PIECE, Call
from symbptt.codegen.passes.rematerialize import computed_again
from symbptt.codegen.plan.rates import shares
from symbptt.codegen.plan.runs import Run, of_all_steps, of_blocks, of_pieces
from symbptt.codegen.plan.tables import KINDS, Stored, calls_table, legend, notes, values_table, work_table
from symbptt.codegen.plan.work import (
    Read,
    T,
    Work,
    calls_of_a_step,
    merged,
    numbers,
    read,
    times,
    values_of,
    works,
)  # fmt: skip
from symbptt.codegen.plan.written import Written
from symbptt.codegen.program.names import Named, named
from symbptt.codegen.program.regions import BLOCK
from symbptt.codegen.runtime.checkpoints import SLOT, _root, _schedule, _spanned
from symbptt.codegen.targets.numpy.names import RESERVED
from symbptt.codegen.targets.numpy.scan import recursion_of
from symbptt.equations.notation.formula import Writer
from symbptt.equations.notation.signs import TEXT
from symbptt.errors import ArgumentError, counted
from symbptt.ir.shape import Size, named_size, names_in, prod
from symbptt.ir.step import Step
from symbptt.language.truncation import Chunked, Window
from symbptt.notebook import preformatted

REFERENCE = (100, 32, 128)
"""The steps, the samples and each named size for which a plan without sizes shows shares of time."""


@dataclass(frozen=True)
class Plan:
    """The plan of a kernel: the region, the number of calls and the operations of each product, the residuals of the
    backward sweep, what is rematerialized instead, and what truncation and memory cost. `print(plan)` shows it in
    symbols, and `print(plan.table(T, B, ...))` in numbers.

    The numbers are those of training, where `value_and_grad` stores only the steps that the truncation needs;
    `of_all_steps` has those of `forward` and `backward`.
    """

    name: str
    written: Written = field(repr=False)
    whole: Written = field(repr=False)
    step: Step = field(repr=False)
    stored: tuple[Stored, ...]
    in_blocks: tuple[Stored, ...]
    truncation: Window | Chunked | None
    memory: str | int
    trains: bool
    recursion: str
    again: tuple[Stored, ...] = ()
    backend: str = ""
    """What computes the sweeps, where more than NumPy was asked for."""

    @property
    def of_all_steps(self) -> Plan:
        """The plan without truncation, which is that of `forward` and `backward`."""
        return replace(self, truncation=None)

    @property
    def elements(self) -> sp.Expr:
        """The number of stored values for each step and sample, in the named sizes."""
        return sp.sympify(sum(prod(item.shape) for item in self.stored))

    def steps_held(self, T: int) -> int:
        """Return how many steps are stored at once: all, or as many as the truncated training needs."""
        check_count("T", T)
        match self.truncation:
            case Window(k):
                # A block of losses has k steps, and its first loss reaches k - 1 steps further back.
                return min(T, 2 * k - 1)
            case Chunked(k1, k2):
                return min(T, k1 + k2)
        return T

    def bytes(self, T: int, B: int, *, dtype: Any = np.float64, **sizes: int) -> int:
        """Return the bytes that the stored values take for T steps of B samples: of as many at once as `steps_held`
        says; with checkpoints, of a piece of steps, and the states at the borders of pieces.

        Raises: ArgumentError where a named size lacks, a number is none, or no schedule keeps within the memory.
        """
        self._check(T, B, dtype, sizes, names_in((self.elements,)))
        step = at(self.elements, sizes) * B * self._item(dtype)
        if self.memory == "all":
            return step * self.steps_held(T)
        piece, actions = self._schedule(T, B, dtype, sizes, 0)
        return step * piece + (slots_of(actions) if self.trains else T) * self._slot(B, dtype, sizes)

    def peak(
        self, T: int, B: int, *, dtype: Any = np.float64, lengths: bool = False, reset: bool = False, **sizes: int
    ) -> int:
        """Return the greatest number of bytes that a call takes beside its arguments: `value_and_grad` of a model,
        `forward` and `backward` of a cell; with `lengths` of which all are T or nearly so, for short samples take less, with `reset`.

        Raises: ArgumentError where a named size lacks, a number is none, or no schedule keeps within the memory.
        """
        piece, actions = self._schedule(T, B, dtype, sizes, _masks(lengths, reset))
        slots = slots_of(actions) if self.trains else 0
        pieces = 0 if self.memory == "all" else len(_spanned(T, piece))
        numbers = {named_size(name): size for name, size in sizes.items()}
        numbers |= {STEPS: T, BATCH: B, PIECE: min(piece, T), ITEM: self._item(dtype)}
        functions = self.whole.functions if self.truncation is None else self.written.functions
        found = peak(functions, Call(self.trains, lengths, reset, pieces), numbers, self.truncation)
        return found + slots * (self._slot(B, dtype, sizes) + SLOT)

    def recomputed(self, T: int, B: int, *, dtype: Any = np.float64, **sizes: int) -> int:
        """Return how many steps are run again; a run of a cell is run again as a whole.

        Raises: ArgumentError as `peak` does.
        """
        actions = self._schedule(T, B, dtype, sizes, 0)[1]
        # `forward` of a cell has run all steps once, so that each piece with a tape runs its steps again; in training
        # it is the pieces that run ahead which are extra.
        again = sum(hi - lo for lo, hi, is_last in actions if is_last is not self.trains)
        return 0 if self.memory == "all" else again

    def schedule(
        self, T: int, B: int, *, dtype: Any = np.float64, lengths: bool = False, reset: bool = False, **sizes: int
    ) -> tuple[int, list[tuple[int, int, bool]]]:
        """Return the steps of a piece, and the actions in order: (lo, hi, False) runs those steps and stores the state
        before step hi; (lo, hi, True) runs them with their tape and flows back through them.

        Raises: ArgumentError where a named size lacks, a number is none, or no schedule keeps within the memory.
        """
        return self._schedule(T, B, dtype, sizes, _masks(lengths, reset))

    def _schedule(
        self, T: int, B: int, dtype: Any, sizes: Mapping[str, int], masks: int
    ) -> tuple[int, list[tuple[int, int, bool]]]:
        self._check(T, B, dtype, sizes, self.written.names)
        if self.memory == "all":
            return T, [(0, T, True)]
        found = _root(T) if self.memory == "sqrt" else self._within(T, B, self._item(dtype), sizes, masks)
        if self.trains:
            return found[0], [*_schedule(T, *found)]
        # `forward` has run all pieces; `backward` goes through them from the last one.
        return found[0], [(lo, hi, True) for lo, hi in _spanned(T, found[0])][::-1]

    def _within(self, T: int, B: int, item: int, sizes: Mapping[str, int], masks: int) -> tuple[int, int]:
        """Return the steps of a piece and the slots, by the function that the module itself calls."""
        # The module itself decides on pieces, so that the plan runs its function.
        module = self._module
        try:
            piece, slots = module._within(self.memory, T, T, B, sizes, item, self.trains, masks)
        except module.ArgumentError as error:
            raise ArgumentError(str(error)) from None
        return piece, slots

    def _item(self, dtype: Any) -> int:
        """Return the bytes of a number; where some are complex, of one of these."""
        return np.dtype(dtype).itemsize * self.written.parts

    def _slot(self, B: int, dtype: Any, sizes: Mapping[str, int]) -> int:
        states = sum(prod(a.shape) for a in self.step.of_role("state"))
        return at(states, sizes) * B * self._item(dtype)

    def _check(self, T: int, B: int, dtype: Any, sizes: Mapping[str, int], names: Iterable[str]) -> None:
        for name, number in {"T": T, "B": B, **sizes}.items():
            # Named sizes are positive; T and B may be zero.
            check_count(name, number, int(name in sizes))
        check_dtype(dtype)
        other = [name for name in sizes if name not in self.written.names]
        if other:
            known = ", ".join(self.written.names) or "none"
            raise ArgumentError(f"the plan of {self.name} has no size {', '.join(other)}\n  its sizes are: {known}")
        lack = [name for name in names if name not in sizes]
        if lack:
            missing = ", ".join(f"{name}=..." for name in lack)
            raise ArgumentError(f"the plan of {self.name} needs the size {', '.join(lack)}\n  add {missing} after T, B")

    @cached_property
    def work(self) -> tuple[Work, ...]:
        """Each product, and the elementwise calls of each region: calls and operations in T, B and the named sizes,
        where each sweep runs once over T steps."""
        return works(self.written, self._read, [sweep for sweep in self._read.calls if sweep != "carried"])

    def work_of(self, T: int, B: int, *, dtype: Any = np.float64, **sizes: int) -> tuple[Work, ...]:
        """Return the same in numbers, for all sweeps that run: with truncation or checkpoints some run again.

        Raises: ArgumentError where a named size lacks, a number is none, or no schedule keeps within the memory.
        """
        self._check(T, B, dtype, sizes, self.written.names)
        found = list[Work]()
        for (sweep, steps), count in self._runs(T, B, dtype, sizes).items():
            values = values_of(sizes, steps, B)
            found += [
                times(numbers(work, self._read, values), count) for work in works(self.written, self._read, [sweep])
            ]
        return merged(found)

    def table(self, T: int, B: int, *, dtype: Any = np.float64, **sizes: int) -> str:
        """Return the plan as text, in numbers.

        Raises: ArgumentError as `work_of` does.
        """
        work = self.work_of(T, B, dtype=dtype, **sizes)
        dims = ", ".join(f"{name} = {value}" for name, value in {"T": T, "B": B, **sizes}.items())
        lines = [f"Plan of {self.name}: {dims}, {np.dtype(dtype).name}", ""]
        lines += [*work_table(work, shares(work, dtype)), "", *calls_table(self.before(T), work), ""]
        whole = self._item(dtype) * B * T
        for title, values in self._values:
            lines += values_table(title, values, lambda count: at(count, sizes) * whole, "bytes")
        return "\n".join(
            [
                *lines,
                *self._bytes(T, B, dtype, sizes),
                *notes([*self._cost(), self.recursion, *[self.backend] * bool(self.backend)]),
                "",
                *legend({}, dtype),
            ]
        )

    def _repr_html_(self) -> str:
        return preformatted(str(self))

    def __str__(self) -> str:
        work, (steps, batch, size) = self.work, REFERENCE
        values = values_of(dict.fromkeys(self.written.names, size), steps, batch)
        share = shares([numbers(w, self._read, values) for w in work], np.float32)
        lines = [f"Plan of {self.name}", "", *work_table(work, share), "", *calls_table(self.before(), work), ""]
        for title, stored in self._values:
            lines += values_table(f"{title}, for each step and sample", stored, lambda count: count, "numbers")
        example = f"; here T = {steps}, B = {batch}, all sizes {size}. plan.table(T, B, ...) takes yours"
        once = ", each sweep once" if self.truncation is not None or self.memory != "all" else ""
        used = set[sp.Basic]().union(*(sp.sympify(w.calls).free_symbols for w in work))
        letters = {letter: length for letter, length in self._read.letters.items() if letter in used}
        return "\n".join(
            [
                *lines,
                *notes([*self._cost(), self.recursion, *[self.backend] * bool(self.backend)]),
                "",
                *legend(letters, np.float32, once, example),
            ]
        )

    def before(self, T: Any = T) -> dict[str, tuple[int, Any]]:
        """Return how many products and other calls a step has before planning, with each value computed in its step,
        and T steps."""
        step = dict(zip(KINDS, calls_of_a_step(self.step, self.written.clip), strict=True))
        loss = {kind: sum(w.lines for w in self.work if w.sweep == "loss" and w.kind == kind) for kind in KINDS}
        if self.written.at_every:
            return {kind: (step[kind] + loss[kind], (step[kind] + loss[kind]) * T) for kind in KINDS}
        return {kind: (step[kind], step[kind] * T + loss[kind]) for kind in KINDS}

    @property
    def _values(self) -> tuple[tuple[str, tuple[Stored, ...]], ...]:
        return (
            ("Kept for the backward sweep", self.stored),
            ("Computed again in the backward sweep, not kept", self.again),
            ("Computed backward for a block of steps at a time, not kept", self.in_blocks),
        )

    @cached_property
    def _module(self) -> ModuleType:
        return LIVING.get(self.written.text) or load(self.written.text, f"<symbptt {self.name}>")

    @cached_property
    def _read(self) -> Read:
        return read(self.written)

    def _runs(self, T: int, B: int, dtype: Any, sizes: Mapping[str, Any]) -> Counter[Run]:
        """Return the sweeps that run for T steps, with their counts."""
        if self.truncation is not None:
            return of_blocks(T, self.truncation, self.trains)
        if self.memory == "all":
            return of_all_steps(T, self.trains)
        piece, actions = self.schedule(T, B, dtype=dtype, **sizes)
        return of_pieces(T, piece, actions, self.trains, self.written.at_every)

    def _bytes(self, T: int, B: int, dtype: Any, sizes: Mapping[str, Any]) -> list[str]:
        """Return the lines that tell the bytes that are stored at once, and the steps that run again."""
        held = f"Held for the backward sweep at once: {self.bytes(T, B, dtype=dtype, **sizes):,} bytes"
        peak, again = (f(T, B, dtype=dtype, **sizes) for f in (self.peak, self.recomputed))
        return [
            f"{held}; at most {peak:,} in a call.",
            *[f"Steps run again: {again:,} of {T:,}."] * (self.memory != "all"),
        ]

    def _cost(self) -> list[str]:
        match self.truncation:
            case Window(k):
                return [
                    f"Truncation: each loss flows back through at most {counted(k, 'step')}.",
                    f"  time: the reverse recursion runs {counted(k, 'time')} over all steps, many at once; "
                    "gradients are summed once",
                    f"  memory: value_and_grad holds at most {counted(2 * k - 1, 'step')}; forward and backward hold all",
                ]
            case Chunked(k1, k2):
                return [
                    f"Truncation: every {counted(k1, 'step')}, their losses flow back through the last {k2}.",
                    f"  time: the backward sweep takes {counted(k2, 'step')} for every {k1} of the sequence",
                    f"  memory: value_and_grad holds at most {k1 + k2} steps; forward and backward hold all",
                ]
        match self.memory:
            case "all":
                return ["No truncation: all T steps are held."]
            case "sqrt":
                return [
                    "Memory: the states at the borders of about √T pieces of √T steps are held, and the tape of one.",
                    "  time: all steps but those of the last piece are run once more",
                ]
        return [
            f"Memory: a call holds at most {self.memory:,} bytes beside its arguments.",
            "  time: as few steps are run again as that allows, and the least memory runs each step T/2 times again:",
            '  plan.recomputed(T, B, ...) tells how many in all; with the bytes of "sqrt", each once at the most',
        ]


def _masks(lengths: bool, reset: bool) -> int:
    """Return the number of the masks that a call takes, as modules count them."""
    return 2 if lengths else int(reset)


def at(x: Size, sizes: Mapping[str, int]) -> int:
    """Return a number of elements for given sizes."""
    return int(sp.sympify(x).subs({named_size(name): value for name, value in sizes.items()}))


def slots_of(actions: Iterable[tuple[int, int, bool]]) -> int:
    """Return how many states a schedule stores at once beside the initial one."""
    held, most = {0}, 1
    for lo, hi, is_last in actions:
        # The state before a piece is dropped once the adjoints have flowed back through it; state 0 is the caller's.
        held = held - {lo} if is_last else held | {hi}
        most = max(most, len(held))
    return most - 1


def plan_of(written: Written, whole: Written, step: Step, memory: str | int) -> Plan:
    """Return the plan of a module of a cell with this step; `whole` is the module without truncation."""
    p = written.program
    m = named(p, RESERVED)
    writer = writer_of(p)
    backward = {arg for id, place in p.places.items() if place.startswith("backward") for arg in p.graph[id].args}
    kept = []
    for id in sorted(m.variables):
        place = p.places.get(id, "")
        leaf = p.graph[id].family == "leaf"  # the caller's arrays, and states before the step, which are those after it
        read = id in m.varying and (id in m.stored or id in backward)
        if place.startswith("forward") and not leaf and read and id not in m.parts:  # parts are counted as a whole
            kept.append(_stored(m, writer, id))
    kept += _other_states(m, writer, {item.name for item in kept})
    near = [
        id for id in sorted(m.variables) if m.place(id) == f"backward {BLOCK}" or (id in m.held and id in m.varying)
    ]
    own = [id for id in near if m.place(id).startswith("backward") and id not in m.parts and id not in m.stored]
    blocks = [_stored(m, writer, id) for id in own]
    trains = written.head is not None
    again = [Stored(_name(m, id), _formula(m, writer, id), p.graph.shape(id)) for id in computed_again(p)]
    return Plan(
        p.name,
        written,
        whole,
        step,
        tuple(kept),
        tuple(blocks),
        written.truncation,
        memory,
        trains,
        recursion_of(m),
        tuple(again),
    )


def _other_states(m: Named, writer: Writer, known: Collection[str]) -> list[Stored]:
    """Return states that become the value of another variable, and have an array beside that."""
    p = m.program
    return [
        Stored(m.of_argument(name), f"{TEXT.symbol(Label(name, 0))} = {writer.symbol(id)}", p.graph.shape(id))
        for name, id in p.next.items()
        if m.of_argument(name) not in known
    ]


def _name(m: Named, id: int) -> str:
    """Return the name of a value: that of the equations, else its variable if it has one."""
    label = m.program.labels.get(id)
    return m.variables.get(id, "") if label is None else label.full


def _stored(m: Named, writer: Writer, id: int) -> Stored:
    """Return a value that has a variable."""
    return Stored(m.variables[id], _formula(m, writer, id), m.program.graph.shape(id))


def _formula(m: Named, writer: Writer, id: int) -> str:
    """Return the formula of a value, in the terms of the equations where it stands for values of theirs."""
    return equation(m, writer, id) if id in m.program.origin else writer.rhs(id)
