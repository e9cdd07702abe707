"""Kernels in C: the sweeps and the losses of a module as C functions, which its driver calls in the place of those in NumPy.

The module keeps all else: its checks, masks, checkpoints, truncation and losses over pieces of steps call `_forward`, `_backward`, `_pull`,
`_loss`, `_loss_value` and `_predicted`, and get from C what these return in NumPy. A sweep has four variants, with and without masks and
a monitor, each made and compiled when it is first called.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symbptt.codegen.compiler import Compiler, library
from symbptt.codegen.loop_ir.interpret import evaluated
from symbptt.codegen.loop_ir.nodes import BATCH, STEPS, Buffer, Function, Port, View
from symbptt.codegen.loop_ir.views import stride
from symbptt.codegen.lower.driven import driven, pulled
from symbptt.codegen.lower.loss import lower_loss, lower_told
from symbptt.codegen.program.head import Head
from symbptt.codegen.program.program import Program
from symbptt.codegen.runtime.masks import _kept, _present, _where
from symbptt.codegen.targets.c99.flat import DOUBLE, Flat, Flats, flats_of
from symbptt.codegen.targets.c99.module import equations_of
from symbptt.ir.shape import Size

Array = NDArray[Any]
Arrays = dict[str, Any]
DATA = ("param", "const", "input", "index", "target", "state")
"""The groups of arguments that a call has by name."""
KEPT = ("residual", "after", "before", "param", "input", "index", "const")
"""The groups of what a sweep backward reads of the one forward."""
KINDS = {"index": np.dtype(np.uintp), "bool": np.dtype(np.bool_)}
"""The types of elements that are no numbers of the data."""


@dataclass(frozen=True)
class InC:
    """What the kernel of a cell or a model computes in C: the program of the cell, its loss, the limit of adjoints, whether each loss
    flows back by itself, and whether losses are taken at all steps."""

    name: str
    about: str
    program: Program
    compiler: Compiler
    head: Head | None = None
    limit: float | None = None
    is_pulled: bool = False
    of_all_steps: bool = False

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

    def _sweeps(self, masked: bool, monitored: bool) -> dict[str, Function]:
        pair = driven(self.program, self.limit, masked, monitored)
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

    def variant(self, masked: bool, monitored: bool) -> Flats:
        """Return the sweeps of calls with masks, or with a monitor."""
        if not (masked or monitored):
            return self.plain
        equation = equations_of(self.program)
        functions = {key: (f, equation) for key, f in self._sweeps(masked, monitored).items()}
        return flats_of(self.name, self.about, functions)

    def installed(self, module: ModuleType) -> ModuleType:
        """Return a module whose sweeps and losses are those in C; its runs are told from those of the module in NumPy."""
        calls = _Calls(self, module)
        found = vars(module)
        found |= {"_forward": calls.forward, "TIMED": calls.timed, "MARK": f"{module.MARK} in C"}
        found |= {"_pull": calls.pull} if self.is_pulled else {"_backward": calls.backward}
        if self.head is not None:
            found |= {"_loss": calls.loss, "_loss_value": calls.loss_value, "_predicted": calls.predicted}
        return module


@dataclass
class _Function:
    """A C function that was compiled for a type of numbers."""

    flat: Flat
    call: Any
    dtype: np.dtype[Any]
    known: dict[Any, tuple[Any, dict[Buffer, tuple[int, ...]], dict[Any, int]]] = field(default_factory=dict)

    def numbers(self, sizes: Mapping[str, int], T: int, B: int) -> Any:
        """Return the sizes as C takes them, the shapes of the arrays, and the numbers of all symbols."""
        key = (T, B, *sizes.values())
        if key not in self.known:
            values = {STEPS: T, BATCH: B, **{x: sizes[x.name] for x in self.flat.function.sizes}}
            plain = [values[symbol] for symbol in self.flat.sizes]
            shapes = {b: tuple(evaluated(n, values) for n in b.shape) for b in self.flat.arrays}
            self.known[key] = (ctypes.c_size_t * len(plain))(*plain), shapes, values
        return self.known[key]

    def run(
        self, given: Mapping[Buffer, Any], sizes: Mapping[str, int], T: int, B: int, room: Any
    ) -> dict[Buffer, Any]:
        """Call the function, and return all its arrays: those that are given, None where one counts as zero, and those that it
        writes, of which residuals and what it needs for a moment come from `room`."""
        numbers, shapes, _ = self.numbers(sizes, T, B)
        found: dict[Buffer, Any] = {}
        for buffer in self.flat.arrays:
            dtype = KINDS.get(buffer.dtype, self.dtype)
            if buffer in given:
                value = given[buffer]
                found[buffer] = None if value is None else np.asarray(value, dtype, order="C")
            else:
                make = np.empty if buffer.space == "result" else room
                found[buffer] = make(shapes[buffer], dtype)
        pointers = [None if v is None else v.__array_interface__["data"][0] for v in found.values()]
        self.call(numbers, (ctypes.c_void_p * len(pointers))(*pointers))
        return found

    def results(
        self, group: str, found: Mapping[Buffer, Any], sizes: Mapping[str, int], T: int, B: int
    ) -> dict[str, Array]:
        """Return the results of a group by name."""
        values = self.numbers(sizes, T, B)[2]
        return {
            port.name: _viewed(found[port.view.buffer], port.view, values)
            for port in self.flat.function.results
            if port.group == group
        }


def _viewed(array: Array, view: View, values: Mapping[Any, int]) -> Array:
    """Return a view of the loop IR on an array."""

    def number(n: Size) -> int:
        return int(evaluated(n, values))

    shape = tuple(map(number, view.shape))
    if array.shape == shape and all(axis.of == (i,) for i, axis in enumerate(view.axes)):
        return array
    start = tuple(slice(number(n), None) for n in view.start)
    strides = tuple(number(stride(view, axis)) * array.itemsize for axis in view.axes)
    return np.lib.stride_tricks.as_strided(array[start], shape, strides)


class _Calls:
    """The functions that a module's driver calls, with the arguments that it has for those in NumPy."""

    def __init__(self, of: InC, module: ModuleType) -> None:
        self.of, self.module = of, module
        self.function = cache(self._function)
        self.tape = [*_tape(of)]
        self.timed = (*(port.view.buffer.shape[:1] == (STEPS,) for port in self.tape), False)

    def _function(self, name: str, dtype: np.dtype[Any], masked: bool = False, monitored: bool = False) -> _Function:
        flats = self.of.variant(masked, monitored)
        flat = flats.functions[name]
        built = library(flats.text, (f"-D{DOUBLE}",) * (dtype == np.float64))
        call = built[flat.name]
        call.argtypes, call.restype = (ctypes.c_void_p, ctypes.c_void_p), None
        return _Function(flat, call, dtype)

    def forward(
        self, a: Arrays, start: Arrays, sizes: Any, T: int, B: int, dtype: Any, active: Any, reset: Any, ws: Any
    ) -> Any:
        """Return the states and outputs of all steps, and the tape, at its end what is given back to the workspace."""
        masked = active is not None or reset is not None
        f = self.function("forward", dtype, masked)
        rows = {k: _rows(start[k], T) for k in self.module.STATES}
        before = {k: v[:-1] for k, v in rows.items()}
        of = {("rows", k): v for k, v in rows.items()}
        if masked:
            began = {k: _rows(_held(start[k], a[k], active, reset, T), T) for k in rows}
            before = {k: v[1:] for k, v in began.items()}
            of |= {("before", k): v for k, v in began.items()}
            of |= {("mask", "active"): _mask(active, True, T, B), ("mask", "reset"): _mask(reset, False, T, B)}
        given = {}
        for port in f.flat.function.arguments:
            if port.group in DATA:
                given[port.view.buffer] = a[port.name]
            elif (port.group, port.name) in of:
                given[port.view.buffer] = of[port.group, port.name]
        found = f.run(given, sizes, T, B, ws.room)
        ws.give(_spaces(found, given, "temporary", "block"))
        states = {k: v[1:] for k, v in rows.items()}
        apart = {"after": states, "before": before}
        tape = tuple(
            apart[x.group][x.name]
            if x.group in apart
            else found[x.view.buffer]
            if x.view.buffer in found
            else a[x.name]
            for x in self.tape
        )
        return states, f.results("outputs", found, sizes, T, B), (*tape, tuple(_spaces(found, given, "residual")))

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
        f = self.function("backward", dtype, masked, monitored)
        shapes = self.module._shapes(**sizes)
        states = self.module.STATES
        carry = {k: np.zeros((B, *shapes[k]), dtype) if last[k] is None else _copied(last[k], dtype) for k in states}
        resets = {k: np.zeros_like(v) for k, v in carry.items()}
        of: dict[tuple[str, str], Any] = {("carry", k): v for k, v in carry.items()}
        of |= {(group, k): _kept(active, v) if v is not None else None
               for k, v in full.items() for group in ("cotangent", "direct")}  # fmt: skip
        if masked:
            of |= {("mask", "active"): _mask(active, True, T, B), ("mask", "reset"): _mask(reset, False, T, B)}
            of |= {("resets", k): v for k, v in resets.items()}
            of |= {("waiting", k): np.zeros_like(v) for k, v in carry.items()}
        watched = {k: np.empty((T, *v.shape), dtype) for k, v in carry.items()} if monitored else {}
        of |= {("watched", k): v for k, v in watched.items()}
        found = self._run(f, tape, of, sizes, T, B, ws.room)
        ws.give(_spaces(found, (), "temporary", "block"))
        for t in range(T - 1, -1, -1) if monitored else ():
            self.module._watch(flow, t, [watched[k][t] for k in states])
        params, inputs = (f.results(group, found, sizes, T, B) for group in ("params", "inputs"))
        return params, inputs, carry, resets

    def pull(self, tape: Any, carry: Arrays, full: Arrays, sums: bool, sizes: Any, T: int, B: int, dtype: Any) -> Any:
        """Return the adjoints one step before for all steps at once; with `sums` the whole adjoints and the gradients."""
        f = self.function("sums" if sums else "pulled", dtype)
        of = {("carry", k): v for k, v in carry.items()} | {("cotangent", k): v for k, v in full.items()}
        found = self._run(f, tape, of, sizes, T, B, np.empty)
        groups = [f.results(group, found, sizes, T, B) for group in ("carry", "params", "inputs")]
        return tuple(groups) if sums else (groups[0], None, None)

    def _run(
        self, f: _Function, tape: Any, of: Mapping[tuple[str, str], Any], sizes: Any, T: int, B: int, room: Any
    ) -> Any:
        """Call a sweep backward with a tape, and what it is given beside that by group and name."""
        given = {}
        for port in f.flat.function.arguments:
            if (port.group, port.name) in of:
                given[port.view.buffer] = of[port.group, port.name]
        return f.run({x.view.buffer: v for x, v in zip(self.tape, tape, strict=False)} | given, sizes, T, B, room)

    def loss(self, a: Arrays, read: Arrays, dloss: Any, sizes: Any, T: int, B: int, dtype: Any) -> Any:
        """Return the loss of each sample, and the gradients of what it reads and of its own parameters."""
        f = self.function("loss", dtype)
        found = self._told(f, a, read, dloss, sizes, T, B)
        groups = (f.results(group, found, sizes, T, B) for group in ("outputs", "inputs", "params"))
        value, inputs, params = groups
        return value["loss"], inputs, params

    def loss_value(self, a: Arrays, read: Arrays, sizes: Any, T: int, B: int, dtype: Any) -> Any:
        """Return the loss of each sample."""
        f = self.function("loss_value", dtype)
        return f.results("outputs", self._told(f, a, read, None, sizes, T, B), sizes, T, B)["loss"]

    def predicted(self, a: Arrays, read: Arrays, sizes: Any, T: int, B: int, dtype: Any) -> Arrays:
        """Return what the loss returns beside its value, of each sample."""
        f = self.function("predicted", dtype)
        return f.results("outputs", self._told(f, a, read, None, sizes, T, B), sizes, T, B)

    def _told(self, f: _Function, a: Arrays, read: Arrays, dloss: Any, sizes: Any, T: int, B: int) -> Any:
        used = {*f.flat.arrays}
        ports = [port for port in f.flat.function.arguments if port.view.buffer in used]
        sources = {"output": read, "cotangent": {"loss": dloss}}
        given = {port.view.buffer: sources.get(port.group, a)[port.name] for port in ports}
        return f.run(given, sizes, T, B, np.empty)


def _tape(of: InC) -> Iterable[Port]:
    """Return what sweeps backward read of the sweep forward and of its arguments, in the order of the names of buffers."""
    flats = [flat for key, flat in of.plain.functions.items() if key in ("backward", "pulled", "sums")]
    found: dict[str, Port] = {}
    for flat in flats:
        used = {*flat.arrays}
        ports = [x for x in flat.function.arguments if x.group in KEPT and x.view.buffer in used]
        found |= {port.view.buffer.name: port for port in ports}
    return (found[name] for name in sorted(found))


def _rows(first: Array, T: int) -> Array:
    """Return room for an array at each of so many steps, behind the first one."""
    found = np.empty((T + 1, *first.shape), first.dtype)
    found[0] = first
    return found


def _held(start: Array, initial: Array, active: Any, reset: Any, T: int) -> Array:
    """Return what samples that have no step here begin with: a state from which something finite is computed."""
    entering = start if reset is None or not T else _where(reset[0], initial, start)
    return entering if active is None else entering[_present(active.sum(0))]


def _mask(mask: Any, default: bool, T: int, B: int) -> Array:
    return np.full((T, B), default) if mask is None else mask


def _copied(v: Array, dtype: Any) -> Array:
    return np.array(v, dtype, order="C")


def _spaces(found: Mapping[Buffer, Any], given: Any, *spaces: str) -> list[Array]:
    """Return the arrays of some spaces that were made for a call."""
    return [v for buffer, v in found.items() if buffer.space in spaces and buffer not in given]
