"""Kernels in C: the sweeps and the losses of a module as C functions, which its driver calls in the place of those in NumPy.

The module keeps all else: its masks, checkpoints, truncation and losses over pieces of steps call `_forward`, `_backward`, `_pull`,
`_loss`, `_loss_value` and `_predicted`, and get from C what these return in NumPy; calls are checked by `known_calls`. A sweep has six
variants, without masks, with them, and with rows of several samples, each with and without a monitor, made and compiled when it is
first called.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, partial
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symbptt.codegen.c_function import Bound, CFunction, Ran, Sized, bound, results_of
from symbptt.codegen.c_memory import Needs, Rooms, rooms_of
from symbptt.codegen.c_rows import CRows
from symbptt.codegen.compiler import Compiler, compiler, library
from symbptt.codegen.known_calls import KnownCalls
from symbptt.codegen.loop_ir.nodes import STEPS, Function, Port
from symbptt.codegen.lower.driven import driven, pulled
from symbptt.codegen.lower.loss import lower_loss, lower_told
from symbptt.codegen.lower.stepping import lower_stepping
from symbptt.codegen.memory.runs import Functions
from symbptt.codegen.program.at_once import one_step
from symbptt.codegen.program.head import Head
from symbptt.codegen.program.program import Program
from symbptt.codegen.runtime.algebra import OTHERS
from symbptt.codegen.runtime.masks import _held as _held_data
from symbptt.codegen.runtime.masks import _kept, _present, _where
from symbptt.codegen.runtime.settling import MORE, _unfound
from symbptt.codegen.targets.c99.flat import DOUBLE, Flats, flat_stepping, flats_of
from symbptt.codegen.targets.c99.function import MOVING
from symbptt.codegen.targets.c99.functions import driver_text
from symbptt.codegen.targets.c99.matrices import Fault
from symbptt.codegen.targets.c99.module import equations_of

Array = NDArray[Any]
Arrays = dict[str, Any]
DATA = ("param", "context", "const", "input", "index", "target", "state")
"""The groups of arguments that a call has by name."""
KEPT = ("residual", "after", "before", "param", "context", "input", "index", "const")
"""The groups of what a sweep backward reads of the one forward."""


def working_compiler() -> Compiler:
    """Return the compiler of the machine, which has compiled the header that all sources copy from.

    Raises: TargetError where there is none, or where it does not work: a compiler may be there without the headers of C.
    """
    library(driver_text())
    return compiler()


@dataclass(frozen=True)
class InC:
    """What the kernel of a cell or a model computes in C: the program of the cell, its loss, the limit of adjoints, whether each loss
    flows back by itself, whether losses are taken at all steps; and of a kernel whose memory is counted what the driver runs in NumPy."""

    name: str
    about: str
    program: Program
    compiler: Compiler
    head: Head | None = None
    limit: float | None = None
    is_pulled: bool = False
    of_all_steps: bool = False
    counted: Functions | None = None

    @cached_property
    def plain(self) -> Flats:
        """The functions of calls without masks and monitors, as they are read.

        Raises: CellError for what C does not have.
        """
        equation = equations_of(self.program)
        functions = self._sweeps(False, False)
        found = {key: (f, equation) for key, f in functions.items()}
        if self.head is not None:
            found |= {key: (f, equations_of(p)) for key, p, f in self._losses(self.head)}
        return flats_of(self.name, self.about, found)

    def _sweeps(self, masked: bool, monitored: bool, turning: bool = False) -> dict[str, Function]:
        pair = driven(self.program, self.limit, masked, monitored, turning)
        if self.is_pulled:
            passed, sums = pulled(self.program)
            return {"forward": pair.forward, "pulled": passed, "sums": sums}
        return {"forward": pair.forward, "backward": pair.backward}

    def _losses(self, head: Head) -> Iterator[tuple[str, Program, Function]]:
        yield "loss", head.program, lower_loss(head.program, self.of_all_steps)
        # A loss at the last step is one there, also where truncation takes it at all steps for its gradients.
        at_every = head.at == "every"
        yield "loss_value", head.program, lower_told(head.program, head.program.outputs, at_every)
        if head.predicted is not None:
            yield "predicted", head.predicted, lower_told(head.predicted, head.predicted.outputs, at_every)

    def variant(self, masked: bool, monitored: bool, turning: bool = False) -> Flats:
        """Return the sweeps of calls with masks, or with a monitor, or with rows that turn to other samples."""
        if not (masked or monitored or turning):
            return self.plain
        equation = equations_of(self.program)
        functions = {key: (f, equation) for key, f in self._sweeps(masked, monitored, turning).items()}
        return flats_of(self.name, self.about, functions)

    @cached_property
    def stepping(self) -> Flats:
        """One step of the cell, and what that needs of the parameters alone."""
        found = lower_stepping(one_step(self.program))
        return flat_stepping(self.name, self.about, found.once, found.step, equations_of(found.named.program))

    def _rooms(self, masked: bool) -> Rooms:
        """Return what the functions of a call with or without masks have in rooms; a monitor needs no other ones."""
        sweeps = self.variant(masked, False).functions
        return rooms_of(sweeps["forward"], sweeps["backward"], self.plain.functions.get("loss"))

    def installed(self, module: ModuleType) -> ModuleType:
        """Return a module whose sweeps and losses are those in C; its runs are told from those of the module in NumPy."""
        calls, known, found = _Calls(self, module), KnownCalls(module, library(driver_text())), vars(module)
        found |= {"_arguments": known.arguments, "_check_data": known.check_data, "_check_finite": known.check_finite}
        found |= {"_once": calls.once, "_step": calls.step}
        found |= {"_forward": calls.forward, "TIMED": calls.timed, "MARK": f"{module.MARK} in C"}
        found |= {"_pull": calls.pull} if self.is_pulled else {"_backward": calls.backward}
        if "_Rows" in found:
            found |= {"_Rows": CRows, "_prepared": calls.prepared, "_swept": calls.swept}
        if self.counted is not None:
            found["_needed"] = Needs(self.counted, self._rooms).needed
        if self.head is not None:
            found |= {"_loss": calls.loss, "_loss_value": calls.loss_value, "_predicted": calls.predicted}
        return module


class _Calls:
    """The functions that a module's driver calls, with the arguments that it has for those in NumPy."""

    def __init__(self, of: InC, module: ModuleType) -> None:
        self.of, self.module = of, module
        self.function = cache(self._function)
        self.tape = [*_tape(of)]
        self.timed = (*(port.view.buffer.shape[:1] == (STEPS,) for port in self.tape), False)

    def _function(
        self, name: str, dtype: np.dtype[Any], masked: bool = False, monitored: bool = False, turning: bool = False
    ) -> CFunction:
        flats = self.of.stepping if name in ("once", "step") else self.of.variant(masked, monitored, turning)
        flat = flats.functions[name]
        built = library(flats.text, (f"-D{DOUBLE}",) * (dtype == np.float64))
        call = built[flat.name]
        call.argtypes, call.restype = (ctypes.c_void_p, ctypes.c_void_p), None
        return CFunction(flat, call, dtype, partial(error_of, self.module))

    def forward(
        self, a: Arrays, start: Arrays, sizes: Any, T: int, B: int, dtype: Any, active: Any, reset: Any, ws: Any
    ) -> Any:
        """Return the states and outputs of all steps, and the tape, at its end what is given back to the workspace."""
        masked, turns = active is not None or reset is not None, reset if isinstance(reset, CRows) else None
        if turns is not None:
            active, reset = turns.active, turns.turned
        f = self.function("forward", dtype, masked, False, turns is not None)
        # What a caller gets of rows are copies, so that they are the workspace's.
        room, lent = ws.room if turns else np.empty, list[Array]()
        rows = {k: _rows(start[k], T, room, lent) for k in self.module.STATES}
        before = {k: v[:-1] for k, v in rows.items()}
        of = {("rows", k): v for k, v in rows.items()}
        if masked:
            first = start if turns else {k: _held(start[k], a[k], active, reset, T) for k in rows}
            began = {k: _rows(first[k], T, room, lent) for k in rows}
            if turns is not None:
                # Behind the state before the first step that before each step, there where a row turns to a sample.
                for k, v in began.items():
                    v[1:][turns.turns] = a[k][turns.later]
            before = {k: v[1:] for k, v in began.items()}
            of |= {("before", k): v for k, v in began.items()}
            of |= _masks(active, reset, T, B)
        given = {buffer: a[k] if group in DATA else of[group, k] for group, k, buffer in f.ports}
        sized = f.sized(sizes, T, B)
        ran = f.run(given, sized, ws.room)
        ws.give(ran.moment)
        found = ran.arrays
        states = {k: v[1:] for k, v in rows.items()}
        known = {("after", k): v for k, v in states.items()} | {("before", k): v for k, v in before.items()}
        # An argument that the sweep forward does not read is taken as it came.
        own = [(x.view.buffer.name, (x.group, x.name)) for x in self.tape]
        tape = [known[key] if key in known else found[name] if name in found else a[key[1]] for name, key in own]
        return states, results_of("outputs", found, sized), (*tape, (*ran.kept, *(lent if turns else ())))

    def prepared(self, call: Any, trains: bool) -> None:
        """Check the data of a call, of a ragged batch as it lies in rows: what lies behind the ends of samples is not read."""
        call.rows = None
        if call.active is None or call.reset is not None or not call.active.any():
            self.module._check_data(call.a, call.active, call.sizes)
            return
        rows = CRows(call.active)
        laid = {k: rows.laid(call.a[k]) for k in self.module.INPUTS}
        given = call.a
        call.a = given | {
            k: _held_data(given[k], call.active.sum(0))
            for k in self.module.TARGETS
            if k in given and self.module.LEAD[k] == 2
        }
        try:
            self.module._check_data(call.a | laid, None, call.sizes)
        except self.module.ArgumentError:
            # What was found is told by its step and sample in rows: the check of the module has those of the call.
            self.module._check_data(given, call.active, call.sizes)
            raise
        call.rows = rows, laid

    def swept(self, call: Any) -> Any:
        """Return the states and outputs of a sweep, and its tape behind how a ragged batch lies in rows."""
        if call.rows is None:
            states, outputs, tape = self.forward(call.a, call.start, *call.of(0, call.T))
            return states, outputs, (None, tape, tape[-1])
        rows, laid = call.rows
        start = {k: v[rows.first] for k, v in call.start.items()}
        states, outputs, tape = self.forward(call.a | laid, start, *self.module._of(call, rows, rows))
        states, outputs = rows.stopped(states, call.start), rows.stopped(outputs, {})
        return states, outputs, (rows, tape, tape[-1])

    def backward(
        self,
        tape: Any,
        full: Arrays,
        last: Arrays,
        flow: Any,
        sizes: Any,
        T: int,
        B: int,
        dtype: Any,
        active: Any,
        reset: Any,
        ws: Any,
    ) -> Any:
        """Return the gradients of parameters, inputs and the initial state, and what resets send to that."""
        masked, monitored = active is not None or reset is not None, flow is not None
        # Rows on the way back have masks, and where the adjoints of samples go that begin within them.
        back: Any = None if reset is None or isinstance(reset, np.ndarray) else reset
        turns: Any = None if back is None else back.rows
        if turns is not None:
            active, reset = turns.active, turns.turned
        f = self.function("backward", dtype, masked, monitored, turns is not None)
        shapes = self.module._shapes(**sizes)
        states = self.module.STATES
        carry = {k: np.zeros((B, *shapes[k]), dtype) if last[k] is None else _copied(last[k], dtype) for k in states}
        resets = {k: np.zeros(v.shape, dtype) for k, v in carry.items()}
        of: dict[tuple[str, str], Any] = {("carry", k): v for k, v in carry.items()}
        begun = dict[str, Array]()
        sent = {k: None if v is None else v if turns else _kept(active, v) for k, v in full.items()}
        if back is not None:
            sent |= {k: turns.with_last(sent[k], v) for k, v in back.last.items() if v is not None}
            begun = {k: ws.room((T, *v.shape), dtype) for k, v in carry.items()}
            of |= {("begun", k): v for k, v in begun.items()}
        of |= {(group, k): v for k, v in sent.items() for group in ("cotangent", "direct")}
        if masked:
            of |= {("resets", k): v for k, v in resets.items()}
            of |= {("waiting", k): np.zeros(v.shape, dtype) for k, v in carry.items()}
            of |= _masks(active, reset, T, B)
        watched = {k: np.empty((T, *v.shape), dtype) for k, v in carry.items()} if monitored else {}
        of |= {("watched", k): v for k, v in watched.items()}
        sized = f.sized(sizes, T, B)
        ran = self._run(f, tape, of, sized, ws.room)
        ws.give(ran.moment)
        for t in range(T - 1, -1, -1) if monitored else ():
            self.module._watch(flow, t, [watched[k][t] for k in states])
        for k, first in zip(states, back.first if back is not None else (), strict=False):
            first[turns.later] = begun[k][turns.turns]
        ws.give(begun.values())
        params, inputs = (results_of(group, ran.arrays, sized) for group in ("params", "inputs"))
        return params, inputs, carry, resets

    def pull(self, tape: Any, carry: Arrays, full: Arrays, sums: bool, sizes: Any, T: int, B: int, dtype: Any) -> Any:
        """Return the adjoints one step before for all steps at once; with `sums` the whole adjoints and the gradients."""
        f = self.function("sums" if sums else "pulled", dtype)
        of = {("carry", k): v for k, v in carry.items()} | {("cotangent", k): v for k, v in full.items()}
        sized = f.sized(sizes, T, B)
        found = self._run(f, tape, of, sized, np.empty).arrays
        groups = [results_of(group, found, sized) for group in ("carry", "params", "inputs")]
        return tuple(groups) if sums else (groups[0], None, None)

    def _run(self, f: CFunction, tape: Any, of: Mapping[tuple[str, str], Any], sized: Sized, room: Any) -> Ran:
        """Call a sweep backward with a tape, and what it is given beside that by group and name."""
        given = {port.view.buffer.name: v for port, v in zip(self.tape, tape, strict=False)}
        given |= {buffer: of[group, name] for group, name, buffer in f.ports if (group, name) in of}
        return f.run(given, sized, room)

    def once(self, a: Arrays, sizes: Any, B: int, dtype: Any) -> Bound:
        """Return a step with what it reads beside its inputs and states: parameters, contexts, and what is made of them once."""
        first, step = self.function("once", dtype), self.function("step", dtype)
        made = first.run({buffer: a[k] for _, k, buffer in first.ports}, first.sized(sizes, 1, B), np.empty).arrays
        stay = {buffer: made[buffer] if group == "residual" else a[k] for group, k, buffer in step.ports
                if group not in MOVING}  # fmt: skip
        return bound(step, step.sized(sizes, 1, B), stay)

    def step(self, tape: Bound, given: Any, sizes: Any, B: int, dtype: Any) -> Any:
        """Return the states after one step, and its outputs."""
        moving = dict(zip((*self.module.INPUTS, *self.module.STATES), given, strict=True))
        found = tape.run({buffer: moving[k] for group, k, buffer in tape.function.ports if group in MOVING})
        return results_of("states", found, tape.sized), results_of("outputs", found, tape.sized)

    def loss(self, a: Arrays, read: Arrays, dloss: Any, sizes: Any, T: int, B: int, dtype: Any) -> Any:
        """Return the loss of each sample, and the gradients of what it reads and of its own parameters."""
        found = self._told("loss", a, read, dloss, sizes, T, B, dtype)
        return found["outputs"]["loss"], found.get("inputs", {}), found.get("params", {})

    def loss_value(self, a: Arrays, read: Arrays, sizes: Any, T: int, B: int, dtype: Any) -> Any:
        """Return the loss of each sample."""
        return self._told("loss_value", a, read, None, sizes, T, B, dtype)["outputs"]["loss"]

    def predicted(self, a: Arrays, read: Arrays, sizes: Any, T: int, B: int, dtype: Any) -> Any:
        """Return what the loss returns beside its value, of each sample."""
        return self._told("predicted", a, read, None, sizes, T, B, dtype)["outputs"]

    def _told(
        self, name: str, a: Arrays, read: Arrays, dloss: Any, sizes: Any, T: int, B: int, dtype: Any
    ) -> dict[str, Arrays]:
        """Return what a function of a loss gives, by group."""
        f = self.function(name, dtype)
        sized, sources = f.sized(sizes, T, B), {"output": read, "cotangent": {"loss": dloss}}
        given = {buffer: sources.get(group, a)[k] for group, k, buffer in f.ports}
        found = f.run(given, sized, np.empty).arrays
        return {group: results_of(group, found, sized) for group in sized.results}


def error_of(module: Any, fault: Fault, step: int, sample: int, change: float) -> Exception:
    """Return the error of a module where something has no value, as its functions in NumPy give it."""
    words = fault.words if fault.rounds is None else _unfound(fault.words, change, *fault.rounds)
    cure = OTHERS if fault.rounds is None else MORE
    if fault.is_placed:
        return module._StepError(words, step, sample, cure)
    return module.ArgumentError(f"{words.removesuffix(',')}, where the cell has no value\n  {cure}")


def _tape(of: InC) -> Iterable[Port]:
    """Return what sweeps backward read of the sweep forward and of its arguments, in the order of the names of buffers."""
    flats = [flat for key, flat in of.plain.functions.items() if key in ("backward", "pulled", "sums")]
    found: dict[str, Port] = {}
    for flat in flats:
        used = {*flat.arrays}
        ports = [x for x in flat.function.arguments if x.group in KEPT and x.view.buffer in used]
        found |= {port.view.buffer.name: port for port in ports}
    return (found[name] for name in sorted(found))


def _rows(first: Array, T: int, room: Any, lent: list[Array]) -> Array:
    """Return a room, which is noted, for an array at each of so many steps, behind the first one."""
    found: Array = room((T + 1, *first.shape), first.dtype)
    lent.append(found)
    found[0] = first
    return found


def _held(start: Array, initial: Array, active: Any, reset: Any, T: int) -> Array:
    """Return what samples that have no step here begin with: a state from which something finite is computed."""
    entering = start if reset is None or not T else _where(reset[0], initial, start)
    return entering if active is None else entering[_present(active.sum(0))]


def _masks(active: Any, reset: Any, T: int, B: int) -> dict[tuple[str, str], Any]:
    """Return the masks of a sweep that has both: where one is absent all are active, or nobody is reset."""
    active = np.ones((T, B), bool) if active is None else active
    return {("mask", "active"): active, ("mask", "reset"): np.zeros((T, B), bool) if reset is None else reset}


def _copied(v: Array, dtype: Any) -> Array:
    return np.array(v, dtype, order="C")
