"""The functions `_forward` and `_backward`, or `_pull`, of a module, and `_loss`, from the program of a cell or of a loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from symbptt.codegen.loop_ir.nodes import Buffer, Function, Port, Scan, View, views, walk
from symbptt.codegen.loop_ir.views import is_whole, point, span
from symbptt.codegen.lower.backward import backward
from symbptt.codegen.lower.equations import equation, handed, writer_of
from symbptt.codegen.lower.forward import forward
from symbptt.codegen.lower.loss import lower_loss, lower_told
from symbptt.codegen.lower.pull import pull
from symbptt.codegen.lower.storage import Storage
from symbptt.codegen.memory.runs import LEAST, widths
from symbptt.codegen.program.head import Head
from symbptt.codegen.program.names import Named, named
from symbptt.codegen.program.program import Program
from symbptt.codegen.program.values import is_baked
from symbptt.codegen.targets.numpy import sweeps
from symbptt.codegen.targets.numpy.functions import FREE, Text, function_text
from symbptt.codegen.targets.numpy.grouping import kind
from symbptt.codegen.targets.numpy.index import Names, Shown, base_of, names_of, view_text
from symbptt.codegen.targets.numpy.names import RESERVED
from symbptt.codegen.targets.numpy.passes import ready
from symbptt.codegen.targets.numpy.printer import Printer
from symbptt.codegen.targets.python.text import dict_text, listed, size_text, tuple_text, unpack
from symbptt.codegen.targets.python.wrap import wrapped

FORWARD = "def _forward(a, start, sizes, T, B, dtype, active, reset, ws):"
BACKWARD = "def _backward(tape, full, last, flow, sizes, T, B, dtype, active, reset, ws):"
PULL = "def _pull(tape, carry, full, sums, sizes, T, B, dtype):"
LOSS = "def _loss(a, read, dloss, sizes, T, B, dtype):"
LOSS_VALUE = "def _loss_value(a, read, sizes, T, B, dtype):"
PREDICTED = "def _predicted(a, read, sizes, T, B, dtype):"


@dataclass(frozen=True)
class Sweeps:
    """Both sweeps of a cell as they are printed, with the names of their values; `back` is the backward sweep, or one step of
    it for all steps at once."""

    named: Named
    storage: Storage
    forward: Function
    back: Function

    @property
    def tape(self) -> list[Buffer]:
        """What the backward sweep reads of the forward sweep and of its arguments."""
        used = {view.buffer for s in walk(self.back.body) for view in views(s)}
        used |= {port.view.buffer for port in self.back.results}
        groups = ("residual", "param", "context", "input", "index", "const")
        found = {p.view.buffer for p in self.back.arguments if p.group in groups and p.view.buffer in used}
        return sorted(found, key=lambda b: b.name)


@dataclass(frozen=True)
class Printed:
    """Both sweeps of a cell, and their texts."""

    sweeps: Sweeps
    texts: tuple[str, ...]


def printed(p: Program, limit: float | None, pulled: bool) -> Printed:
    """Return both sweeps of a placed program as text."""
    found = sweeps_of(p, limit, pulled)
    return Printed(found, tuple(cell_texts(found, limit, pulled)))


def sweeps_of(p: Program, limit: float | None = None, pulled: bool = False) -> Sweeps:
    """Return both sweeps of a placed program, behind the passes."""
    n, edges = named(p, RESERVED), sweeps.Calls(limit)
    storage = sweeps.numpy_storage(n)
    second, read = pull(n, sweeps.numpy_storage(n, pulled=True)) if pulled else backward(n, storage, edges)
    return Sweeps(n, storage, ready(forward(n, storage, read, edges)), ready(second))


def cell_texts(s: Sweeps, limit: float | None, pulled: bool) -> list[str]:
    """Return the functions of both sweeps."""
    text = _text(s, limit)
    names = text.names
    initial = {a.name: s.storage.initial[a.name].name for a in s.named.program.of_role("state")}
    given = [initial.get(a.name, s.named.of_argument(a.name)) for a in s.named.program.arguments if not is_baked(a)]
    first = [f"{listed(given)} = (a[k] for k in ARGUMENTS)"] * bool(given)
    first.append("# before the loop: what needs no state")
    tape = [b.name for b in s.tape]

    def behind(printer: Printer) -> list[str]:
        rooms = [b for b in printer.rooms if b.space == "residual"]
        back = [b.name for b in printer.rooms if b.space != "residual"]
        kept = tuple_text([*tape, tuple_text(b.name for b in rooms)])
        states, outputs = (_results(s.forward, group, names) for group in ("states", "outputs"))
        return [*[f"ws.give({tuple_text(back)})"] * bool(back), f"return {states}, {outputs}, {kept}"]

    states = [f"{s.storage.states[name].name}_buffer[0]" for name in s.named.program.next]
    forward = function_text(FORWARD, s.forward, text, first, behind, _around(s.forward, states, "not masked"))
    unpacked = [f"{listed([*tape, '_'])} = tape"]
    if pulled:
        carries = {p.name: p.view.buffer for p in s.back.arguments if p.group == "carry"}
        unpacked += [f'{buffer.name} = carry["{name}"]' for name, buffer in carries.items()]
        unpacked += _given(s.back, text, "{}")
        return [forward, function_text(PULL, s.back, text, unpacked, lambda _: [_pulled(s, text)])]
    unpacked.append("# before the loop: what needs no adjoint of a state")
    unpacked += _given(s.back, text, "_kept(active, {})")

    def after(printer: Printer) -> list[str]:
        params, inputs = (_results(s.back, group, names) for group in ("params", "inputs"))
        given_back = [f"ws.give({tuple_text(b.name for b in printer.rooms)})"] * bool(printer.rooms)
        return [*given_back, f"return {params}, {inputs}, dict(zip(STATES, adjoints)), dict(zip(STATES, resets))"]

    carried = [s.storage.carries[name].name for name in s.named.program.next]
    backward = function_text(BACKWARD, s.back, text, unpacked, after, _around(s.back, carried, FREE))
    return [forward, backward]


def _around(f: Function, states: Iterable[str], condition: str) -> tuple[str, str] | None:
    """Return the lines around the loop of a sweep whose blocks are scanned."""
    least = next((LEAST[s.is_fixed] for s in walk(f.body) if isinstance(s, Scan)), None)
    if least is None:
        return None
    # Masks and monitors act on single steps, so that a call with them takes the loop.
    opening = f"window, plans = _window(T, {tuple_text(states)}, {least}) if {condition} else 0, {{0: _Rooms(ws)}}"
    return opening, "ws.give(plans[0].values())"


def _given(f: Function, text: Text, kept: str) -> list[str]:
    """Return the lines of the cotangents of outputs: zeros where none is given."""
    used = {view.buffer for s in walk(f.body) for view in views(s)}
    # Those of states are added by the runtime, which knows which are there.
    ports = [p for p in f.arguments if p.group == "cotangent" and p.view.buffer in used and p.name not in text.states]
    lines = []
    for p in ports:
        given, shape = f'full["{p.name}"]', text.names.shape(p.view.buffer.shape)
        lines.append(
            f"{p.view.buffer.name} = np.zeros({shape}, {kind(p.view.buffer)}) if {given} is None else {kept.format(given)}"
        )
    return lines


def _pulled(s: Sweeps, text: Text) -> str:
    carry, params, inputs = (_results(s.back, group, text.names) for group in ("carry", "params", "inputs"))
    return f"return {carry}, {params}, {inputs}"


def _results(f: Function, group: str, names: Names) -> str:
    """Return the dict of the results of a group."""
    return dict_text({p.name: view_text(Shown(p.view), names) for p in f.results if p.group == group})


def _text(s: Sweeps, limit: float | None) -> Text:
    n = s.named
    numbers = frozenset(c.buffer.name for c in s.storage.constants if not c.buffer.shape)
    names = names_of(n.sizes)
    # A view of the first gate of packed sums would be called after the array. Where the program has a name for just
    # that part, the line reads as its equation does.
    wishes: dict[tuple[Buffer, tuple[str, ...]], str] = {}
    for id, view in [*_parts(n, s.storage), *((id, stored.view) for id, stored in s.storage.stored.items())]:
        if id in n.variables and not is_whole(view):
            for moving in (None, 0):
                wishes.setdefault((view.buffer, base_of(view, names, moving).index), n.variables[id])
    states = tuple(a.name for a in n.program.of_role("state"))
    return Text(names, equations_of(n), wishes, states, limit, numbers)


def _parts(n: Named, storage: Storage) -> Iterable[tuple[int, View]]:
    """Return the views of the values that lie in others."""
    for id, part in n.parts.items():
        if part.whole in storage.stored:
            view = storage.stored[part.whole].view
            lead = len(view.axes) - len(n.program.graph.shape(part.whole))
            yield id, point(view, lead, part.start) if part.is_point else span(view, lead, part.start, part.length)


def equations_of(n: Named) -> Callable[[int], str]:
    """Return the function that returns the equation of a value, or nothing."""
    p, writer = n.program, writer_of(n.program)
    shown = {*n.own, *p.params.values(), *p.inputs.values()}
    onwards = {id: name for name, id in p.recurrent.items()}

    @cache
    def found(id: int) -> str:
        if p.graph[id].family == "leaf":
            return ""
        if id in shown and id in p.places:
            return equation(n, writer, id)
        return handed(n, writer, onwards[id]) if id in onwards else ""

    return found


def loss_text(p: Program, f: Function) -> tuple[str, dict[str, float]]:
    """Return the function of a loss, and the numbers that it reads at the head of the module.

    In the module `read` are the states and outputs of the cell.
    """
    n = named(p, RESERVED)
    text = Text(names_of(n.sizes), equations_of(n), {}, (), None, frozenset(constants_of(f)))
    (weight,) = (q.view.buffer.name for q in f.arguments if q.group == "cotangent")
    first = taken("a", [q for q in f.arguments if q.group not in ("output", "cotangent")])
    first += taken("read", [q for q in f.arguments if q.group == "output"])
    first += [f"{weight} = dloss"] if weight != "dloss" else []

    def behind(_: Printer) -> list[str]:
        value = view_text(Shown(f.results[0].view), text.names)
        return [f"return {value}, {_results(f, 'inputs', text.names)}, {_results(f, 'params', text.names)}"]

    return function_text(LOSS, f, text, first, behind), constants_of(f)


def loss_texts(head: Head, of_all_steps: bool, sizes: Sequence[str]) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield the functions of a loss, each with the numbers that it reads at the head of the module: with gradients, how large its arrays
    are where it is taken at every step, its value alone, and what it returns beside its value; `sizes` are those of the module."""
    f = ready(lower_loss(head.program, of_all_steps, RESERVED))
    yield loss_text(head.program, f)
    # A loss at the last step is one there, also where truncation takes it at all steps for its gradients.
    at_every = head.at == "every"
    if at_every:
        yield _size_text(f, sizes), {}
    yield _told_text(LOSS_VALUE, head.program, at_every, lambda values: values["loss"])
    if head.predicted is not None:
        yield _told_text(PREDICTED, head.predicted, at_every, dict_text)


def _size_text(f: Function, sizes: Sequence[str]) -> str:
    """Return the function of the size of the largest array of a loss."""
    largest = [size_text(size) for size in widths(f) if size != 1]
    lines = [
        f"def _loss_size({', '.join(sizes)}):",
        '    """Return the numbers of the largest array of the loss, of one step and sample."""',
        *wrapped(f"    return max(1, {', '.join(largest)})" if largest else "    return 1"),
    ]
    return "\n".join(lines)


def _told_text(
    head: str, p: Program, of_all_steps: bool, returned: Callable[[dict[str, str]], str]
) -> tuple[str, dict[str, float]]:
    """Return the function of all outputs of a loss, and the numbers that it reads at the head of the module."""
    n = named(p, RESERVED)
    f = ready(lower_told(p, p.outputs, of_all_steps, RESERVED))
    text = Text(names_of(n.sizes), equations_of(n), {}, (), None, frozenset(constants_of(f)))
    used = {view.buffer for s in walk(f.body) for view in views(s)} | {port.view.buffer for port in f.results}
    ports = [q for q in f.arguments if q.view.buffer in used and q.group != "cotangent"]
    first = taken("a", [q for q in ports if q.group != "output"]) + taken(
        "read", [q for q in ports if q.group == "output"]
    )
    results = {port.name: view_text(Shown(port.view), text.names) for port in f.results}
    return function_text(head, f, text, first, lambda _: [f"return {returned(results)}"]), constants_of(f)


def constants_of(f: Function) -> dict[str, float]:
    """Return the numbers of a function that stand at the head of its module."""
    return {c.buffer.name: c.values for c in f.constants if not c.buffer.shape}


def taken(source: str, ports: Sequence[Port]) -> list[str]:
    """Return the line that takes arguments out of a dict."""
    return unpack([p.view.buffer.name for p in ports], [p.name for p in ports], source)
