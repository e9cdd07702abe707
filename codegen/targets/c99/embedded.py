"""A file in C for one set of sizes: no allocation, numbers for sizes, all arrays but the parameters in one static arena.

Functions of the loop IR become functions of C whose pointers begin in the arena, or in the parameters that a caller hands over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import sympy as sp

from symbptt.codegen.loop_ir.interpret import evaluated
from symbptt.codegen.loop_ir.nodes import BATCH, STEPS, Buffer, Function, Loop
from symbptt.codegen.loop_ir.step_by_step import without_scans, without_unread
from symbptt.codegen.lower.sent import TOTAL
from symbptt.codegen.program.head import Head
from symbptt.codegen.program.program import Program
from symbptt.codegen.program.values import is_baked
from symbptt.codegen.targets.c99.arena import INDEX, Arena, Member, Struct, source
from symbptt.codegen.targets.c99.blocks import with_one_step
from symbptt.codegen.targets.c99.embedded_check import Checked, Filled, SelfCheck, program
from symbptt.codegen.targets.c99.embedded_header import Names, arena_line, header_of
from symbptt.codegen.targets.c99.function import TYPES, Sweep, declaration, printer_of, sweep_of
from symbptt.codegen.targets.c99.module import equations_of, prologue
from symbptt.codegen.targets.c99.names import FIELDS, RESERVED, c_name, named
from symbptt.codegen.targets.c99.printer import Printer, broken, joined, lines_of, safe
from symbptt.codegen.targets.c99.single import with_numbers, with_single_steps
from symbptt.ir.shape import Shape, named_size

KINDS = {**TYPES, "index": INDEX}
OF_LOSS = ("loss", "value", "predicted")
"""The keys of the functions of a loss."""
ENDS = (
    "real", "params", "arrays", "arena", "inputs", "consts", "targets", "start", "forward", "backward", "value", "predict",
    "value_and_grad", *(f"{key}_of" for key in ("forward", "backward", *OF_LOSS)),
)  # fmt: skip
"""The endings of names that a file has itself."""


@dataclass(frozen=True)
class Subject:
    """What a file computes: the program of a cell, the loss beside it, functions by their keys ("forward", "backward", "loss", "value",
    "predicted"), sizes by name, those of steps and samples as T and B apart, equations as text, the parameters that cell
    and loss share, and the reason why differences of values tell nothing of its gradients, where there is one."""

    name: str
    program: Program
    head: Head | None
    functions: Mapping[str, Function]
    sizes: Mapping[str, int]
    T: int
    B: int
    equations: str
    shared: frozenset[str] = frozenset()
    unchecked: str = ""

    @cached_property
    def numbers(self) -> Mapping[sp.Symbol, int]:
        """The sizes by their symbols."""
        return {STEPS: self.T, BATCH: self.B, **{named_size(k): n for k, n in self.sizes.items()}}

    @property
    def is_last(self) -> bool:
        """True where the loss is one at the last step."""
        return self.head is not None and self.head.at == "last"

    def shape(self, shape: Shape) -> tuple[int, ...]:
        """Return a shape in numbers."""
        return tuple(int(evaluated(n, self.numbers)) for n in shape)

    def of_key(self, key: str) -> Program:
        """Return the program of which a function is."""
        if self.head is None or key not in OF_LOSS:
            return self.program
        return self.head.predicted if key == "predicted" and self.head.predicted else self.head.program


Value = Callable[[Subject, Mapping[str, str], Sequence[Filled]], float]
"""What computes the value of a file at the numbers of its check, given the names in C."""


@dataclass(frozen=True)
class Fixed:
    """The texts of a header and of a source, their name in C, the structs of the arena and of the parameters, and the code of a check of
    the file by itself."""

    name: str
    header: str
    comment: str
    code: str
    arena: Struct
    params: Struct


def fixed(s: Subject, version: str, value: Value) -> Fixed:
    """Return the texts of a file for one set of sizes, with a check by itself where it has gradients; `value` computes what the
    functions give at the numbers of that.

    Raises: CellError for what C does not have.
    """
    w = _Writer(s)
    functions = [w.function(key) for key in s.functions]
    title = f"Backpropagation through time for {s.name} at one set of sizes, written by symbptt {version}."
    about = "\n\n".join([title, *[s.program.doc] * bool(s.program.doc), s.equations])
    begin = prologue(f"{w.macro}_DOUBLE", [*w.sweeps.values()], more=["all_below"] * w.has_indices)
    code = [begin, *functions, *w.together(), *_checking(w, s, value)]
    sizes = {"T": s.T, "B": s.B, **{w.sizes[k]: n for k, n in s.sizes.items()}}
    calls = ["forward", "backward"] if s.head is None else [name for name, _ in w.runs()]
    header = header_of(
        Names(w.name, title, sizes, tuple(x for x in calls if x in s.functions or s.head)), w.params, w.whole
    )
    code[1:1] = [arena_line(w.name, w.whole)]
    return Fixed(w.name, header, f"/* {safe(about)}\n */", "\n\n".join(code) + "\n", w.whole, w.params)


def _checking(w: _Writer, s: Subject, value: Value) -> Iterator[str]:
    if "backward" in s.functions:
        found = w.check()
        yield program(found, s.unchecked, math.nan if s.unchecked else value(s, w.names, found.filled))


def numbered(f: Function, numbers: Mapping[sp.Symbol, int]) -> Function:
    """Return a function with numbers for its sizes, in which what one step alone needs has one step."""
    f = with_single_steps(without_scans(f))
    loops = [x.index for x in f.body if isinstance(x, Loop) and x.stop == STEPS]
    return without_unread(with_numbers(with_one_step(f, loops), numbers))


@dataclass
class _Writer:
    """The texts of a file, with the members of its arena as functions ask for them."""

    s: Subject
    sweeps: dict[str, Sweep] = field(default_factory=dict)
    at: dict[Buffer, str] = field(default_factory=dict)
    has_indices: bool = False

    def __post_init__(self) -> None:
        p, head = self.s.program, self.s.head
        self.name = c_name(self.s.name)
        self.macro = self.name.upper()
        added = () if head is None else head.added
        self.arguments = [a for a in (*p.arguments, *added) if not is_baked(a)]
        told = () if head is None or head.predicted is None else head.predicted.outputs
        # What stands behind the name of the cell for a number, a macro or a type is no size.
        self.sizes = named(self.s.sizes, {"T", "B", "H", "DOUBLE", "DONE", "WRONG_INDEX", *ENDS})
        macros = {f"{self.macro}_H", f"{self.macro}_DOUBLE", "SELFCHECK"}
        self.names = named([*(a.name for a in self.arguments), *p.outputs, *told], FIELDS | macros)
        own = [
            *(f"{self.name}_{x}" for x in ENDS),
            *(f"{self.macro}_{x}" for x in (*"TB", *self.sizes.values(), "DONE", "WRONG_INDEX")),
        ]
        self.taken = {*RESERVED, "params", *macros, *own}
        self.own = self._of_roles((), "param")
        self.params = Struct("params", self.own, "parameters, or the gradient", f"{self.name}_params")
        self.arena = Arena(f"{self.name}_arena", dict(self._known()))

    def _of_roles(self, lead: Shape, *roles: str) -> tuple[Member, ...]:
        return tuple(
            Member(
                self.names[a.name],
                self.s.shape((*lead, *a.shape)),
                "float" if a.limit is None else "index",
                self._shown(lead, a.shape),
            )
            for a in self.arguments
            if a.role in roles
        )

    def _shown(self, lead: Shape, shape: Shape) -> str:
        return ", ".join(str(n) for n in (*lead, *shape))

    def _known(self) -> Iterator[tuple[str, tuple[Member, ...]]]:
        """Yield the members that a caller writes or reads, by struct."""
        p, head, steps = self.s.program, self.s.head, (STEPS, BATCH)
        lead: Shape = (BATCH,) if self.s.is_last else steps
        own = {self.names[a.name] for a in p.arguments if a.role in ("input", "index")}
        yield "consts", self._of_roles((), "const")
        yield "inputs", tuple(x for x in self._of_roles(steps, "input", "index") if x.name in own)
        yield "targets", tuple(x for x in self._of_roles(lead, "target", "index") if x.name not in own)
        yield "start", self._of_roles((BATCH,), "state")
        yield "states", self._of_roles((STEPS + 1, BATCH), "state")
        yield "outputs", self._values(p, steps)
        yield "predicted", () if head is None or head.predicted is None else self._values(head.predicted, lead)

    def _values(self, p: Program, lead: Shape) -> tuple[Member, ...]:
        shapes = {k: p.graph.shape(id) for k, id in p.outputs.items()}
        return tuple(
            Member(self.names[k], self.s.shape((*lead, *n)), words=self._shown(lead, n)) for k, n in shapes.items()
        )

    # Where arrays begin.

    def _place(self, key: str, group: str, name: str, b: Buffer, is_result: bool) -> str:
        """Return where an argument or a result of a function begins."""
        a, of = self.arena, self.names.get(name, "")
        if group == "param":
            return source("params->", next(x for x in self.own if x.name == of))
        if group == "params" and name in self.s.shared and key == "loss":
            return a.ask("own", of, b)
        if group == "params":
            return source(f"{a.name}.gradients.params.", next(x for x in self.own if x.name == of))
        if key in OF_LOSS:
            return self._place_of_loss(key, group, name, b)
        match group:
            case "const" | "input" | "index":
                return a.path(*a.find(("consts", "inputs"), of))
            case "states" | "outputs":
                return a.path(*a.find((group,), of))
            case "state":
                struct, member = a.find(("start",), of)
                return a.path(f"gradients.{struct}" if is_result else struct, member)
            case "inputs":
                return a.ask("gradients.inputs", of, b)
            case "cotangent" | "carry" | "own":
                return a.ask({"cotangent": "cotangents", "carry": "last", "own": "own"}[group], of, b)
        assert group == "residual", (group, name)
        return a.ask("tape", c_name(b.name), b)

    def _place_of_loss(self, key: str, group: str, name: str, b: Buffer) -> str:
        a, of, T = self.arena, self.names.get(name, ""), self.s.T
        if group == "outputs" and name == TOTAL and key != "predicted":
            return f"&{a.name}.loss"
        if group == "outputs":
            return a.path(*a.find(("predicted",), of))
        is_state = any(x.name == of for x in a.known["states"])
        if group == "inputs" and self.s.is_last and is_state:
            return a.ask("last", of, b)
        if group == "inputs":
            _, member = a.find(("states" if is_state else "outputs",), of)
            shape = (T, *member.shape[1:])
            a.ask("cotangents", of, Buffer(b.name, shape, b.space, b.dtype))
            return a.path("cotangents", Member(of, shape), T - 1 if self.s.is_last else 0)
        struct, member = a.find(("consts", "targets", "states", "outputs", "inputs"), of)
        first, last = (1, T) if struct == "states" else (0, T - 1)
        return a.path(struct, member, 0 if struct in ("consts", "targets") else last if self.s.is_last else first)

    # Functions.

    def function(self, key: str) -> str:
        """Return a function as text, and let the arena have what it needs."""
        f = numbered(self.s.functions[key], self.s.numbers)
        sweep = self.sweeps[key] = sweep_of(self.s.name, f, absent=(), is_plain=True)
        p = printer_of(sweep, {}, self.taken, frozenset(), equations_of(self.s.of_key(key)))
        at = self._places(key, f, sweep, p)
        arrays = [line for b in sweep.arrays for line in declaration(b, sweep, p, at.get(b, ""), KINDS)]
        reads = any(at.get(b, "").lstrip("&").startswith("params->") for b in sweep.arrays)
        is_public = self.s.head is None
        name = f"{self.name}_{key}" if is_public else f"{self.name}_{key}_of"
        return "\n".join([
            *self._opened(f"{'' if is_public else 'static '}int {name}("),
            *["    (void)params;"] * (bool(self.own) and not reads),
            *self._checks(f, sweep, at),
            *arrays, "", *lines_of(sweep.lines, p), f"    return {self.macro}_DONE;", "}",
        ])  # fmt: skip

    def _opened(self, start: str, end: str = ") {") -> list[str]:
        return joined(start, [f"const {self.name}_params *params" if self.own else "void"], end)

    def _places(self, key: str, f: Function, sweep: Sweep, p: Printer) -> Mapping[Buffer, str]:
        """Return where the arrays of a function begin. A sweep backward knows those of the sweep forward."""
        at = {} if key in OF_LOSS else self.at
        for is_result, ports in ((False, f.arguments), (True, f.results)):
            for port in ports:
                b = port.view.buffer
                if b in sweep.arrays and b not in at:
                    at[b] = self._place(key, port.group, port.name, b, is_result)
        constants = {c.buffer for c in f.constants}
        rooms = [b for b in sweep.arrays if b not in at and b not in constants]
        return at | {b: self.arena.ask(f"room.{key}", p.buffers[b], b) for b in rooms}

    def _checks(self, f: Function, sweep: Sweep, at: Mapping[Buffer, str]) -> Iterator[str]:
        """Yield the lines that refuse indices under which a table has no row."""
        limits = {self.names[a.name]: a.limit for a in self.arguments if a.limit is not None}
        for port in f.arguments:
            b, limit = port.view.buffer, limits.get(self.names.get(port.name, ""))
            if b.dtype == "index" and b in sweep.arrays and limit is not None:
                self.has_indices = True
                count, most = Member("", self.s.shape(b.shape)).count, int(evaluated(limit, self.s.numbers))
                yield from broken(
                    f"    if (!all_below({count}, (const void *){at[b]}, {most})) return {self.macro}_WRONG_INDEX;"
                )

    def together(self) -> Iterator[str]:
        """Yield the functions of a model that run others one after the other."""
        for name, keys in self.runs():
            calls = [f"{self.name}_{key}_of({'params' * bool(self.own)})" for key in keys]
            lines = [
                f"    int found = {calls[0]};",
                *(f"    if (found == {self.macro}_DONE) found = {call};" for call in calls[1:]),
            ]
            yield "\n".join([*self._opened(f"int {self.name}_{name}("), *lines, "    return found;", "}"])

    def runs(self) -> Iterator[tuple[str, Sequence[str]]]:
        """Yield the functions of a model, each with those that it runs."""
        if self.s.head is None:
            return
        yield "forward", ["forward"]
        if "predicted" in self.s.functions:
            yield "predict", ["forward", "predicted"]
        yield "value", ["forward", "value"]
        if "backward" in self.s.functions:
            yield "value_and_grad", ["forward", "loss", "backward"]

    def check(self) -> SelfCheck:
        """Return what a check of the file by itself fills, calls and compares."""
        a, known, is_cell = self.arena, self.arena.known, self.s.head is None
        of_index = [x for x in self.arguments if x.limit is not None]
        limits = {self.names[x.name]: int(evaluated(x.limit, self.s.numbers)) for x in of_index}
        sent = [*a.asked.get("cotangents", {}).values()] if is_cell else []
        given = [(k, x, a.path(k, x)) for k in ("consts", "inputs", "targets", "start") for x in known[k]]
        given += [("cotangents", x, a.path("cotangents", x)) for x in sent]
        given += [("params", x, source("selfcheck_params.", x)) for x in self.own]
        found = [(x, source("selfcheck_params.", x), source(f"{a.name}.gradients.params.", x)) for x in self.own]
        slopes = {"inputs": a.asked.get("gradients.inputs", {}).values(), "start": known["start"]}
        found += [(x, a.path(k, x), a.path(f"gradients.{k}", x)) for k, members in slopes.items() for x in members]
        values = [a.find(("states", "outputs"), x.name) for x in sent]
        rows = [a.path(struct, member, int(struct == "states")) for struct, member in values]
        return SelfCheck(
            self.name,
            "&selfcheck_params" if self.own else "",
            tuple(Filled(k, where, x, limits[x.name] if x.dtype == "index" else None) for k, x, where in given),
            tuple(Checked(x.name, where, slope, x.count) for x, where, slope in found),
            ("forward", "backward") if is_cell else ("value_and_grad",),
            "forward" if is_cell else "value",
            "" if is_cell else f"{a.name}.loss",
            tuple((row, a.path("cotangents", x), x.count) for row, x in zip(rows, sent, strict=True)),
        )

    @cached_property
    def whole(self) -> Struct:
        """The arena, behind all functions."""
        a, known, asked = self.arena, self.arena.known, self.arena.asked
        rooms = tuple(Struct(k.partition(".")[2], tuple(m.values())) for k, m in asked.items() if k.startswith("room."))
        start = Struct("start", known["start"], "", f"{self.name}_start")
        own = {k: tuple(asked.get(k, {}).values()) for k in ("cotangents", "last", "own", "tape", "gradients.inputs")}
        params, inputs = (
            Struct("params", self.own, "", self.params.type),
            Struct("inputs", own["gradients.inputs"]),
        )
        gradients = Struct(
            "gradients",
            tuple(x for x in (params, inputs, start) if x.members),
            "what the backward pass writes: dL/d of each",
        )
        loss = (Member("loss", (), words="L"),) * (self.s.head is not None)
        sent = "dL/d of each at each step" + ("; you write them" if self.s.head is None else "")
        found: list[Member | Struct] = [
            Struct("consts", known["consts"], "constants; you write them"),
            Struct("inputs", known["inputs"], "inputs; you write them"),
            Struct("targets", known["targets"], "targets; you write them"),
            replace(start, words="states before the first step; zero, or you write them"),
            Struct("states", known["states"], "states: [0] before the first step, [t] after t steps"),
            Struct("outputs", known["outputs"], "outputs of each step"),
            Struct("predicted", known["predicted"], "what the loss returns beside its value"),
            *loss,
            Struct("cotangents", own["cotangents"], sent),
            *([gradients] * ("backward" in self.s.functions)),
            Struct("last", own["last"], "dL/d of each after the last step"),
            Struct("own", own["own"], "gradients that the loss has of its own"),
            Struct("tape", own["tape"], "what the backward pass reads of the forward pass"),
            Struct("room", rooms, "what a function needs for a moment", is_union=True),
        ]
        return Struct(a.name, tuple(x for x in found if isinstance(x, Member) or x.members), type=f"{self.name}_arrays")
