"""The sweeps of a program as functions that change no array: the steps forward, what the way back reads of them, the way back.

Values of a region stand in the order of the graph, each as one line with its equation. What a step reads of all steps goes into the scan
as `given`, what others read of a step comes out of it.

Example: of h_t = tanh(W x_t + U h_{t-1}) the forward function has `a_in = x @ W.T` for all steps, a step with
`h = torch.tanh(a_in + h_prev @ U.T)`, and `(h,), () = scan(step, (h_0,), (a_in,))`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from symbptt.codegen.load import names_read
from symbptt.codegen.lower.equations import equation, handed, writer_of
from symbptt.codegen.passes.affine_recurrence import Affine
from symbptt.codegen.program.names import Named
from symbptt.codegen.program.program import Program
from symbptt.codegen.program.regions import AFTER, ALL, BLOCK, LOOP, ONCE, TAIL
from symbptt.codegen.program.values import is_baked
from symbptt.codegen.targets.functional.affine import contractions
from symbptt.codegen.targets.functional.families import Scope, array, bodies_of, lifted, lifted_beside, own_formula
from symbptt.codegen.targets.functional.tables import Table
from symbptt.codegen.targets.python.text import size_text, tuple_text
from symbptt.codegen.targets.python.wrap import wrapped
from symbptt.errors import CellError, three_lines
from symbptt.ir.naming import unique
from symbptt.ir.node import WITHOUT_COPY
from symbptt.ir.shape import Shape, names_in
from symbptt.ir.sizes import Told, axes_of, told
from symbptt.ir.step import Argument

STEPS = ("T", "B")
CHUNKS = "K"
"""The axis of chunks, which go back beside each other, in the place of that of steps."""
GROUPS = {
    "params": ("param", "const"),
    "inputs": ("input", "index", "output", "target", "context"),
    "state": ("state",),
}
"""The arguments of a call, by the roles that they hold, in the user's order; contexts come behind inputs."""
INDENT = 4
AXES_BEFORE = {"input": 2, "index": 2, "output": 2, "target": 2, "context": 1, "state": 1}


@dataclass(frozen=True)
class Sweeps:
    """A program with names, in the table of one framework.

    Where gradients are `truncated`, a step back is taken of several steps at once, and is told apart what comes with cotangents of its
    own step; with a `limit` the adjoints that arrive at a step are kept under this norm.
    """

    module: Named
    table: Table
    truncated: bool = False
    limit: float | None = None

    @property
    def program(self) -> Program:
        return self.module.program

    def arguments(self, group: str) -> tuple[Argument, ...]:
        """Return the arguments of a group that a call gives."""
        found = [a for a in self.program.of_role(*GROUPS[group]) if not is_baked(a)]
        return tuple(sorted(found, key=lambda a: a.role == "context"))

    @cached_property
    def names(self) -> dict[int, str]:
        """The variables of all values that have one: a state that a step begins with has another than the one behind it."""
        states = {self.program.leaves[a.name] for a in self.arguments("state")}
        return {
            id: self.module.previous[id] if id in states else self.module.variables[id]
            for id in sorted(self.module.own)
            if id not in self.module.static
        }

    @cached_property
    def after(self) -> dict[str, int]:
        """The next states by name."""
        return dict(self.program.next)

    def of(self, sweep: str, *regions: str) -> list[int]:
        """Return the values of regions that have a line, in the order of the graph."""
        arrays = {self.program.leaves[a.name] for a in self.program.arguments if is_baked(a)}  # constants of the module
        found = {id for region in regions for id in self.module.computed(sweep, region)}
        found |= {id for id in arrays if self.module.place(id) in {f"{sweep} {region}" for region in regions}}
        return [id for id in sorted(found) if id in self.names]

    def reads(self, id: int) -> set[int]:
        """Return the variables that the formula of a value reads."""
        return self.within(self.program.graph[id].args)

    def within(self, ids: Iterable[int]) -> set[int]:
        """Return the variables that formulas of values read, those among the values themselves."""
        found, stack = set[int](), [*ids]
        while stack:
            id = stack.pop()
            if id in self.names:
                found.add(id)
            elif id not in self.module.static:
                stack += self.program.graph[id].args
        return found

    @cached_property
    def befores(self) -> dict[int, str]:
        """The states that a step begins with: the name of each by its leaf."""
        return {self.program.leaves[a.name]: a.name for a in self.arguments("state")}

    @cached_property
    def reads_forward(self) -> frozenset[int]:
        """The values of the forward sweep that the way back reads."""
        ids = [id for region in (ONCE, ALL, BLOCK, LOOP, TAIL, AFTER) for id in self.of("backward", region)]
        return frozenset(
            self.forward_parts(set().union(*map(self.reads, ids), self.within(self.program.backward_roots)))
        )

    def forward_parts(self, ids: Iterable[int]) -> list[int]:
        """Return those of some variables that the forward sweep computes."""
        return sorted(id for id in ids if self.module.place(id).startswith("forward") and not self._is_given(id))

    @cached_property
    def again(self) -> list[int]:
        """The values of the forward sweep that the way back computes again: those that no step has a part in, and views."""
        # A view costs nothing, and what it shows is kept once: of packed gates their one array.
        found, stack = set[int](), [*self.reads_forward]
        while stack:
            id = stack.pop()
            if id not in found and self._is_free(id):
                found.add(id)
                stack += self.forward_parts(self.reads(id))
        return sorted(found)

    def _is_free(self, id: int) -> bool:
        node = self.program.graph[id]
        return id not in self.module.varying or (node.family == "view" and node.attrs.kind in WITHOUT_COPY)

    @cached_property
    def kept(self) -> list[int]:
        """The values of all steps that the forward sweep leaves for the way back, beside states and outputs."""
        read = {*self.reads_forward}.union(*(self.forward_parts(self.reads(id)) for id in self.again))
        return sorted(read - {*self.again} - {*self.after.values()} - {*self.sent.values()})

    @cached_property
    def sent(self) -> dict[str, int]:
        """The outputs that are variables of all steps, by name: others are put together where they are returned."""
        return {name: id for name, id in self.program.outputs.items() if id in self.names and id in self.module.varying}

    @cached_property
    def told_forward(self) -> list[int]:
        """The values of each step that are read behind all steps, beside the states after each."""
        late = self.of("forward", TAIL, AFTER)
        behind = {*self.program.outputs.values(), *self.kept, *late}
        read = set().union(*(self.reads(id) for id in late), self.within(behind))
        loop = {*self.of("forward", LOOP)} - {*self.after.values()}
        return [id for id in sorted(read) if id in self.befores or id in loop]

    @cached_property
    def told_backward(self) -> list[int]:
        """The values of each step backward that are read behind all steps."""
        late = self.of("backward", TAIL, AFTER)
        ends = [id for group in (self.program.params, self.program.inputs) for id in group.values()]
        read = set().union(*(self.reads(id) for id in late), self.within(ends))
        return sorted(read & {*self.of("backward", LOOP), *self.program.carry.values()})

    @cached_property
    def scans(self) -> tuple[Affine, Affine] | None:
        """The recurrences of both sweeps where they are contractions, and all that steps compute; None where steps are a loop."""
        found = None if self.truncated or self.limit is not None else contractions(self.program)
        # What reads a state before a step is no part of a scan, nor is what it sends back to that state.
        if found is None or self.told_forward or any(value is not None for value in found[1].free):
            return None
        there = {*self.of("forward", LOOP)} <= {*self.after.values()}
        back = {*self.of("backward", LOOP)} <= {*found[1].cut, *self.program.recurrent.values()}
        return found if there and back and {*self.told_backward} <= {*found[1].cut} else None

    def _is_given(self, id: int) -> bool:
        node = self.program.graph[id]
        given = {self.program.leaves[a.name] for a in self.program.arguments if not is_baked(a)}
        return node.family == "leaf" and id in given

    def scope(self, lead: Sequence[str]) -> Scope:
        return Scope(self.module, self.table, tuple(lead), self.names)


@dataclass(frozen=True)
class Function:
    """A function of a module: its name, its parameters, its docstring and its lines."""

    name: str
    parameters: tuple[str, ...]
    doc: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        body = [f'"""{self.doc}"""', *self.lines]
        return "\n".join(
            [f"def {self.name}({', '.join(self.parameters)}):", *(f"    {line}" if line else "" for line in body)]
        )


def forward(s: Sweeps) -> Function:
    """Return the function that runs all steps: the states behind each, the outputs, what the way back reads."""
    lines = lines_of(s, s.of("forward", ONCE, ALL, BLOCK), STEPS)
    loop = s.of("forward", LOOP)
    lines += _forward_scan(s, loop, s.told_forward) if s.scans is None else _at_once(s, s.scans[0])
    lines += lines_of(s, s.of("forward", TAIL, AFTER), STEPS)
    scope = s.scope(STEPS)
    states = [_behind(s, name) for name in s.after]
    outputs = [lifted(scope, id) for id in s.program.outputs.values()]
    kept = [s.names[id] for id in s.kept]
    lines += broken(f"return {tuple_text(states)}, {tuple_text(outputs)}, {tuple_text(kept)}")
    return Function(
        "_forward", ("params", "inputs", "state", "T", "B", "scan"),
        "Run all steps: the states behind each, the outputs, and what the way back reads.",
        _with_head(s, lines, _unpack(s, "state"), "state"),
    )  # fmt: skip


def _behind(s: Sweeps, name: str) -> str:
    """Return the variable of a state behind all steps: that of the value which a step computes for this state first."""
    id = s.after[name]
    is_first = [*s.after.values()].index(id) == [*s.after].index(name)
    if is_first and id in s.names and s.module.place(id) == f"forward {LOOP}" and not s._is_given(id):
        return s.names[id]
    return unique(f"{s.module.of_argument(name)}_after", {*s.names.values(), *s.module.previous.values()})


def _forward_scan(s: Sweeps, loop: Sequence[int], out: Sequence[int]) -> list[str]:
    names = s.names
    read = set().union(*(s.reads(id) for id in loop), s.within(s.after.values())) - {*loop, *s.befores}
    # What is the same at all steps is read where it is, once a sequence.
    given = sorted(id for id in read if id in s.module.timed)
    scope = s.scope(STEPS[1:])
    body = [
        f"{tuple_text(s.module.previous[id] for id in s.befores)} = carry",
        *(broken(f"{tuple_text(names[id] for id in given)} = given", 2 * INDENT) if given else []),
    ]
    body += lines_of(s, loop, STEPS[1:], scope)
    following = tuple_text(lifted(scope, id) for id in s.after.values())
    body += broken(f"return {following}, {tuple_text(lifted(scope, id) for id in out)}", 2 * INDENT)
    states = tuple_text(_behind(s, name) for name in s.after)
    initial = tuple_text(_initial(s, a) for a in s.arguments("state"))
    inputs = tuple_text(names[id] for id in given)
    return [
        *_turned(scope),
        "",
        "def step(carry, given):",
        *(f"    {line}" for line in body),
        "",
        *broken(f"{states}, {tuple_text(names[id] for id in out)} = scan(step, {initial}, {inputs}, T)"),
    ]


def _at_once(s: Sweeps, a: Affine) -> list[str]:
    """Return the lines of a scan of the states of all steps."""
    scope, writer = s.scope(STEPS), writer_of(s.program)
    shapes = [b.shape for b in s.arguments("state")]
    coefficients = tuple_text(_of_steps(scope, row[i], shapes[i]) for i, row in enumerate(a.rows))
    free = tuple_text(_of_steps(scope, value, shape) for value, shape in zip(a.free, shapes, strict=True))
    initial = tuple_text(_initial(s, b) for b in s.arguments("state"))
    told = "; ".join(equation(s.module, writer, id) for id in s.after.values())
    states = tuple_text(_behind(s, name) for name in s.after)
    return [*_turned(scope), *broken(f"{states} = scan({coefficients}, {free}, {initial})  # {told}")]


def _back_at_once(s: Sweeps, a: Affine) -> list[str]:
    """Return the lines of a scan of the adjoints of all steps, and of the gradients of initial states."""
    scope, writer = s.scope(STEPS), writer_of(s.program)
    shapes = [b.shape for b in s.arguments("state")]
    coefficients = tuple_text(_of_steps(scope, row[i], shapes[i]) for i, row in enumerate(a.rows))
    given = tuple_text(
        "None" if value is None else _of_steps(scope, value, shape)
        for value, shape in zip(a.given, shapes, strict=True)
    )
    told = "; ".join(handed(s.module, writer, name) for name in s.program.recurrent)
    adjoints = tuple_text(s.names[id] for id in a.cut)
    return [*_turned(scope), *broken(f"first, {adjoints} = scan({coefficients}, {given})  # {told}")]


def _of_steps(scope: Scope, value: int | sp.Expr | None, shape: Shape) -> str:
    """Return a value at all steps and samples with the axes of a state; a value that is nothing is zero."""
    if isinstance(value, int) and value in scope.module.varying:
        return lifted_beside(scope, value, shape, scope.lead)
    number = scope.table.array.format(repr(float(value or 0)))
    text = array(scope, value).text if isinstance(value, int) else number
    return scope.table.broadcast.format(text, scope.shape(STEPS, shape))


def _initial(s: Sweeps, a: Argument) -> str:
    return f"{s.module.of_argument(a.name)}_0"


def kept(s: Sweeps) -> Function:
    """Return the function that computes what the way back reads from the states before each step, of all steps at once."""
    needed, stack = set[int](), [*s.kept]
    while stack:
        id = stack.pop()
        if id not in needed:
            needed.add(id)
            stack += s.forward_parts(s.reads(id))
    lines = lines_of(s, sorted(needed), STEPS)
    lines += broken(f"return {tuple_text(s.names[id] for id in s.kept)}")
    return Function(
        "_kept", ("params", "inputs", "before", "T", "B"),
        "Compute what the way back reads of all steps at once, from the states before each.",
        _with_head(s, lines, _unpack(s, "before"), "before"),
    )  # fmt: skip


def backward(s: Sweeps) -> Function:
    """Return the function of the way back: the gradients of parameters, inputs and initial states."""
    lines = lines_of(s, [*s.again, *s.of("backward", ONCE, ALL, BLOCK)], STEPS)
    loop = s.of("backward", LOOP)
    lines += _backward_scan(s, loop, s.told_backward) if s.scans is None else _back_at_once(s, s.scans[1])
    lines += lines_of(s, s.of("backward", TAIL, AFTER), STEPS)
    lines += broken(f"return {_gradients(s, 'params')}, {_gradients(s, 'inputs')}, first")
    return Function(
        "_backward", ("params", "inputs", "before", "after", "outputs", "kept", "cotangents", "T", "B", "scan"),
        "Go back through all steps: the gradients of parameters, inputs and initial states.",
        _with_head(s, lines, [*_unpack(s, "before"), *_given(s, lines)], "before"),
    )  # fmt: skip


def _given(s: Sweeps, lines: Sequence[str]) -> list[str]:
    """Return the lines that give their names to what a way back is given of the way there, where its own lines read it."""
    there = {
        "after": [_behind(s, name) for name in s.after],
        "outputs": [s.names[s.sent[name]] if name in s.sent else "_" for name in s.program.outputs],
        "kept": [s.names[id] for id in s.kept],
        "cotangents": [s.names[id] for id in s.program.cotangent.values()],
    }
    names_of = names_read(Function("way_back", (), "", tuple(lines)).text, "the way back")
    return [f"{tuple_text(names)} = {source}" for source, names in there.items() if not names_of.isdisjoint(names)]


def loss(s: Sweeps) -> Function:
    """Return the function of the loss of each step and sample, and of what its gradient reads."""
    value, kept = lifted(s.scope(STEPS), s.program.outputs["loss"]), tuple_text(s.names[id] for id in s.kept)
    return _of_loss(
        s, "_loss", "Compute the loss of each step and sample, and what its gradient reads.", f"{value}, {kept}"
    )


def predicted(s: Sweeps) -> Function:
    """Return the function of what a loss returns beside its value."""
    values = tuple_text(lifted(s.scope(STEPS), id) for id in s.program.outputs.values())
    return _of_loss(s, "_predicted", "Compute what the loss returns beside its value at each step and sample.", values)


def _of_loss(s: Sweeps, name: str, words: str, given: str) -> Function:
    lines = [*lines_of(s, s.of("forward", ONCE, AFTER), STEPS), *broken(f"return {given}")]
    body = _with_head(s, lines, _unpack(s, "state"), "state")
    return Function(name, ("params", "inputs", "T", "B"), words, body)


def loss_back(s: Sweeps) -> Function:
    """Return the function of the gradients of a loss, by its parameters and by what it reads of steps."""
    lines = lines_of(s, [*s.again, *s.of("backward", ONCE, AFTER)], STEPS)
    lines += broken(f"return {_gradients(s, 'params')}, {_gradients(s, 'inputs')}")
    return Function(
        "_loss_back", ("params", "inputs", "outputs", "kept", "cotangents", "T", "B"),
        "Compute the gradients of the loss by its parameters, and by what it reads of steps.",
        _with_head(s, lines, [*_unpack(s, "state"), *_given(s, lines)], "state"),
    )  # fmt: skip


def _backward_scan(s: Sweeps, loop: Sequence[int], out: Sequence[int]) -> list[str]:
    p, names = s.program, s.names
    carries = [*p.carry.values()]
    read = set().union(*(s.reads(id) for id in loop), s.within(p.recurrent.values())) - {*loop, *carries}
    given = sorted(id for id in read if id in s.module.timed)
    from_cotangents = s.program.graph.descendants([*p.cotangent.values()]) if s.truncated else ()
    direct = [id for id in given if id in from_cotangents]
    groups = {"given": [id for id in given if id not in direct]} | ({"direct": direct} if s.truncated else {})
    scope = s.scope((CHUNKS, *STEPS[1:]) if s.truncated else STEPS[1:])
    arrived = "carry" if s.limit is None else f"_clipped(carry, {s.limit!r}, {len(scope.lead)})"
    body = [f"{tuple_text(names[id] for id in carries)} = {arrived}"]
    for group, ids in groups.items():
        body += broken(f"{tuple_text(names[id] for id in ids)} = {group}", 2 * INDENT) if ids else []
    body += lines_of(s, loop, scope.lead, scope)
    writer = writer_of(p)
    following = []
    for name, carry in p.carry.items():
        if name not in p.recurrent:  # nothing of the state before a step reaches what is behind it
            following.append(s.table.zeros_like.format(names[carry]))
            continue
        variable = unique(f"{names[carry]}_prev", {*names.values(), *s.module.previous.values()})
        following.append(variable)
        text = lifted(scope, p.recurrent[name])
        body += broken(f"{variable} = {text}  # {handed(s.module, writer, name)}", 2 * INDENT)
    body += broken(f"return {tuple_text(following)}, {tuple_text(lifted(scope, id) for id in out)}", 2 * INDENT)
    texts = ", ".join(tuple_text(names[id] for id in ids) for ids in groups.values())
    return [
        *_turned(scope),
        "",
        f"def step(carry, {', '.join(groups)}{f', {CHUNKS}' if s.truncated else ''}):",
        *(f"    {line}" for line in body),
        "",
        *broken(f"first, {tuple_text(names[id] for id in out)} = scan(step, {texts})"),
    ]


def _gradients(s: Sweeps, group: str) -> str:
    """Return the gradients of a group: none of an index or a constant, zero of what the cell does not read."""
    found, scope = [], s.scope(STEPS)
    ids = {**s.program.params, **s.program.inputs}
    for a in s.arguments(group):
        if a.role in ("index", "const"):
            found.append("None")
        elif a.name not in ids:
            found.append(s.table.zeros_like.format(s.names[s.program.leaves[a.name]]))
        else:
            found.append(lifted(scope, ids[a.name], STEPS[len(STEPS) - AXES_BEFORE.get(a.role, 0) :]))
    return tuple_text(found)


def lines_of(s: Sweeps, ids: Iterable[int], lead: Sequence[str], scope: Scope | None = None) -> list[str]:
    """Return a line for each value, with its equation; weights that a product reads in another order are put in order just before,
    or in a step, whose scope is given, by whom it belongs to."""
    is_step, writer = scope is not None, writer_of(s.program)
    scope = scope or s.scope(lead)
    lines = list[str]()
    for id in ids:
        node = s.program.graph[id]
        bodies = bodies_of(scope, node)
        text = bodies.as_array(bodies.as_real(own_formula(scope, id))).text
        if not is_step:
            lines += _turned(scope)
            scope.turned.clear()
        told = equation(s.module, writer, id)
        lines += broken(f"{s.names[id]} = {text}" + f"  # {told}" * bool(told), INDENT * (1 + is_step))
    return lines


def _turned(scope: Scope) -> list[str]:
    """Return the lines of weights whose axes products read in another order."""
    return [line for name, text in scope.turned.values() for line in broken(f"{name} = {text}")]


def broken(line: str, deep: int = INDENT) -> list[str]:
    """Return a line that stands so deep in a function, over several lines where it is too long."""
    return [text[deep:] for text in wrapped(" " * deep + line)]


def _unpack(s: Sweeps, states: str) -> list[str]:
    """Return the lines that give the arguments their names: states are those at the start, or those before each step."""
    named = {group: [_variable(s, a, states) for a in s.arguments(group)] for group in GROUPS}
    return [f"{tuple_text(names)} = {states if group == 'state' else group}" for group, names in named.items() if names]


def _with_head(s: Sweeps, lines: Sequence[str], head: Sequence[str], states: str) -> tuple[str, ...]:
    """Return lines behind those that name arguments, and the sizes and the type that they read."""
    read = names_read(Function("sweep", (), "", tuple(lines)).text, "a sweep")
    sizes = [f"{name} = {text}" for name, text in sizes_of(s, states).items() if name in read]
    floats = [a for group in ("params", "state", "inputs") for a in s.arguments(group) if a.role != "index"]
    like = [f"like = {_variable(s, floats[0], states)}"] * ("like" in read)
    return (*(line for text in (*head, *sizes, *like) for line in broken(text)), *lines)


def _variable(s: Sweeps, a: Argument, states: str) -> str:
    """Return the variable of an argument: of a state at the start, or before each step."""
    leaf = s.program.leaves[a.name]
    if a.role != "state":
        return s.names[leaf]
    return _initial(s, a) if states == "state" else s.module.previous[leaf]


def sizes_of(s: Sweeps, states: str) -> dict[str, str]:
    """Return the named sizes, each as the length of an axis of an argument: states are those at the start, or those before each step.

    Raises: CellError where no argument tells a size.
    """
    every = [a for group in GROUPS for a in s.arguments(group)]
    axes = axes_of(every, fixed=())
    by_name = {a.name: a for a in every}
    found = {step.name: _size_text(s, step, by_name, states) for step in told(axes)}
    lacking = [name for a in every for name in names_in(a.shape) if name not in found]
    if lacking:
        raise CellError(
            three_lines(
                f"the size {lacking[0]!r} of {s.program.name} stands alone on no axis, so that no argument tells it",
                cure="use it alone in one dimension",
            )
        )
    return {s.module.sizes.get(name, name): text for name, text in found.items()}


def _size_text(s: Sweeps, step: Told, by_name: dict[str, Argument], states: str) -> str:
    terms = []
    for factor, axis in step.lengths:
        a = by_name[axis.argument]
        before = AXES_BEFORE.get(a.role, 0) + (a.role == "state" and states != "state")
        terms.append(f"{'' if factor == 1 else f'{factor} * '}{_variable(s, a, states)}.shape[{axis.number + before}]")
    text = " + ".join(terms)
    if step.rest != 0:
        text = f"{text} - ({size_text(step.rest, s.module.sizes)})"
    return text if step.divisor == 1 else f"({text}) // ({size_text(step.divisor, s.module.sizes)})"
