"""Writes a placed program as the source of a NumPy module."""

from __future__ import annotations

import builtins
import inspect
import keyword
import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field

import sympy as sp

from symbptt import ops, special
from symbptt.codegen import prelude
from symbptt.codegen.lower import HELPERS, Scope, is_bool, shape_text, size_text
from symbptt.codegen.passes.place import AFTER, ALL, LOOP, ONCE
from symbptt.codegen.program import Program
from symbptt.codegen.training import Head, public_functions
from symbptt.derive.labels import Label
from symbptt.errors import CellError
from symbptt.ir.node import Node
from symbptt.ir.shape import names_in, named_size
from symbptt.ir.step import Argument
from symbptt.ir.naming import unique
from symbptt.render.expression import Writer
from symbptt.render.notation import TEXT
from symbptt.truncation import Chunked, Window

RESERVED = {*keyword.kwlist, *keyword.softkwlist, *dir(builtins), "np", "t", "T", "B", "a", "sizes", "dtype", "active", "reset",
            "tape", "flow", "given", "last", "full", "idle", "forward", "backward", "value_and_grad", "erf", "params", "inputs",
            "state", "run", "SHAPES", "PARAMS", "INPUTS", "STATES", "INDICES", "Run", "Grads", "ArgumentError"}  # fmt: skip

WIDTH = 120


@dataclass(frozen=True)
class Module:
    """What the writers of both sweeps share: the program, a variable for each value that has one, what is stored."""

    program: Program
    variables: dict[int, str]
    stored: frozenset[int]
    static: frozenset[int]
    varying: frozenset[int]
    previous: dict[int, str]
    sizes: dict[str, str]
    lead: tuple[str, ...] = ("T", "B")
    helpers: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)

    def scope(self, sweep: str, region: str) -> Scope:
        """Return how values are written in a region of a sweep."""
        lead = ("B",) if region == LOOP else self.lead
        return Scope(self.program.graph, set(self.varying), set(self.static), lead,
                     lambda id: self.refer(id, region), self.helpers, self.sizes)  # fmt: skip

    def refer(self, id: int, region: str) -> str | None:
        """Return the text of a value that has a variable, in a region."""
        name = self.previous.get(id) or self.variables.get(id)
        if name is None:
            return None
        self.used.add(name)
        if id not in self.varying:
            return name
        if self.is_carry(id):
            return name if region == LOOP else self.kept_carry(name)
        array = self.program.graph[id].family == "leaf" or id in self.stored or not self.place(id).endswith(LOOP)
        return f"{name}[t]" if region == LOOP and array else name

    def place(self, id: int) -> str:
        return self.program.places.get(id, "")

    def is_carry(self, id: int) -> bool:
        return id in self.program.carry.values()

    def kept_carry(self, name: str) -> str:
        """The array that holds an adjoint at every step."""
        self.used.add(f"{name}_all")
        return f"{name}_all"


def source(p: Program, version: str, equations: str, head: Head | None = None,
           truncation: Window | Chunked | None = None, clip: float | None = None) -> str:  # fmt: skip
    """Return the text of the module for a placed program, and for the loss of a model."""
    m = module_of(p)
    back = _backward(m, clip)
    pull = _pull(m) if isinstance(truncation, Window) else []
    tape = _tape(m)
    parts = ["\n".join(_forward(m, tape)), "\n".join(_unpacked(m, back, tape, BACKWARD))]
    parts += ["\n".join(_unpacked(m, pull, tape, PULL))] * bool(pull)
    modules = [m]
    if head is not None:
        modules.append(module_of(head.program, ("T", "B") if head.at == "every" or truncation else ("B",)))
        parts.append("\n".join(_loss(modules[1])))
    guard = _guard(modules)
    parts += [text.replace("GUARD", guard) for text in public_functions(head, truncation, clip)]
    parts += [HELPERS[name] for name in sorted(set().union(*(module.helpers for module in modules)))]
    if any("erf(" in part for part in parts):
        parts.append(_erf_source())
    tables = _tables(p, () if head is None else head.added, head)
    if truncation is not None:
        tables += f"\n\n\nTIMED = {_timed(m, tape)}  # which values of the tape have an axis of steps"
    body = "\n\n".join(part.strip("\n") + "\n" for part in [*parts, _prelude()])
    return f"{_head(p, version, equations, head)}\n\nimport numpy as np\n\n{tables}\n\n\n{body}"


def _guard(modules: list[Module]) -> str:
    """The sigmoid overflows to its right limit, which is no reason for a warning."""
    sigmoid = any(node.family == "map" and node.attrs.expr.has(ops.sigmoid) for m in modules for node in m.program.graph)
    return 'over="ignore"' if sigmoid else ""


def _timed(m: Module, tape: list[str]) -> str:
    timed = {name for id, name in [*m.variables.items(), *m.previous.items()] if id in m.varying}
    return "(" + ", ".join(str(name in timed) for name in tape) + ("," if len(tape) == 1 else "") + ")"


def _erf_source() -> str:
    text = inspect.getsource(special.erf)
    return text.replace("(x: Any) -> Any", "(x)").replace("  # fmt: skip", "")


def _prelude() -> str:
    return inspect.getsource(prelude).partition("# ----")[2].partition("\n")[2].strip("\n") + "\n"


# ---------------------------------------------------------------------------------------------------------- variables


def module_of(p: Program, lead: tuple[str, ...] = ("T", "B")) -> Module:
    """Return the variables of a placed program, and what is stored."""
    g = p.graph
    varying = p.varying
    static = _static(p)
    taken = {*RESERVED, *(a.name for a in p.arguments)}
    variables: dict[int, str] = {}
    used = set(RESERVED)
    sizes = {name: _allocate(name, used) for name in _size_names(p)}
    for a in p.arguments:
        variables[p.leaves[a.name]] = _allocate(a.name, used)
    previous = {p.leaves[a.name]: _allocate(f"{a.name}_prev", used | taken) for a in p.of_role("state")}
    used |= set(previous.values())
    for leaf in [*p.carry.items(), *p.cotangent.items()]:
        variables[leaf[1]] = _allocate(f"d{leaf[0]}", used)
        used.add(f"{variables[leaf[1]]}_all")
    for id in _with_variable(p, static):
        if id not in variables:
            shared = _next_state(p, id, variables) or _carry_read_up(p, id, variables)
            variables[id] = shared or _allocate(_suggest(p, id, variables), used)
    stored = frozenset(id for id in variables if _is_stored(p, id))
    return Module(p, variables, stored, frozenset(static), frozenset(varying), previous,
                  {name: variable for name, variable in sizes.items() if name != variable}, lead)  # fmt: skip


def _next_state(p: Program, id: int, variables: dict[int, str]) -> str | None:
    """The value that becomes a state has the variable of the state; the state before has another."""
    for name, target in p.next.items():
        if target == id and id in p.varying and p.places.get(id) == f"forward {LOOP}":
            return variables[p.leaves[name]]
    return None


def _carry_read_up(p: Program, id: int, variables: dict[int, str]) -> str | None:
    """The whole adjoint of a state goes on under the name of what the next step brought, where nothing else reads that."""
    for leaf in p.carry.values():
        if list(_readers(p, leaf)) == [id] and not _is_stored(p, id) and id in p.whole.values() and p.places[id].endswith(LOOP):
            return variables[leaf]
    return None


def _allocate(name: str, used: set[str]) -> str:
    name = unique(name if name not in RESERVED else f"{name}_", used)
    used.add(name)
    return name


def _static(p: Program) -> set[int]:
    """Values that are Python numbers when the module runs: literals, sizes, constants, and what follows from them."""
    constants = {p.leaves[a.name] for a in p.of_role("const") if a.default is not None and not a.shape}
    found: set[int] = set()
    for node in p.graph:
        literal = (node.family == "number" and not node.shape) or (node.family == "leaf" and node.attrs.role == "size")
        derived = node.family == "map" and not node.shape and all(arg in found for arg in node.args)
        if literal or node.id in constants or derived:
            found.add(node.id)
    return found


def _with_variable(p: Program, static: set[int]) -> list[int]:
    """The values that have a line of their own: named, read twice, read in another region, results."""
    g = p.graph
    ids = sorted(p.places)
    readers = g.consumers(ids)
    roots = {*p.forward_roots}
    chosen = []
    for id in ids:
        node = g[id]
        if node.family == "leaf" or (node.family == "number" and not node.shape):
            continue
        label = p.labels.get(id)
        named = label is not None and (label.given or label.adjoint)
        across = any(p.places[reader] != p.places[id] for reader in readers[id])
        cheap = node.family == "view" and node.attrs.kind in ("reshape", "expand", "slice", "transpose") and not across
        if named or across or id in roots or (len(readers[id]) > 1 and not cheap) or node.family == "number":
            chosen.append(id)
    return chosen


def _is_stored(p: Program, id: int) -> bool:
    """Whether a value of a loop is kept for all steps: something outside that loop reads it."""
    place = p.places.get(id, "")
    if not place.endswith(LOOP) or p.graph[id].family == "leaf":
        return False
    return id in p.next.values() or any(p.places.get(reader, place) != place for reader in _readers(p, id)) or id in [
        *p.inputs.values(), *p.outputs.values()]  # fmt: skip


def _readers(p: Program, id: int) -> Iterable[int]:
    return (reader for reader in p.graph.network.successors(id) if reader in p.places)


def _suggest(p: Program, id: int, variables: dict[int, str]) -> str:
    """A name for a value: its label, or one that tells what it is made of."""
    label, node = p.labels.get(id), p.graph[id]
    if label is not None:
        return label.full
    names = [variables.get(arg, "") for arg in node.args]
    if node.family == "view" and node.attrs.kind == "transpose" and names[0]:
        return f"{names[0]}T"
    if node.family == "map" and node.attrs.expr.is_Function and names[0]:
        return f"{type(node.attrs.expr).__name__}_{names[0]}"
    if node.family == "contract" and all(names):
        return "_".join(names)
    owner = _owner(p, id)
    if p.places[id] == f"forward {ALL}" and owner:
        return f"{owner}_in"
    return f"v_{owner}" if owner else "v"


def _owner(p: Program, id: int) -> str:
    """The name of the first named value that a value goes into."""
    queue, seen, sweep = [id], set(), p.places[id].split()[0]
    while queue:
        id = queue.pop(0)
        if id in p.labels:
            return p.labels[id].full
        for reader in sorted(_readers(p, id)):
            if reader not in seen and p.places[reader].split()[0] == sweep:
                seen.add(reader)
                queue.append(reader)
    return ""


# ------------------------------------------------------------------------------------------------------------- forward


def _statements(m: Module, sweep: str, region: str, writer: Writer) -> list[str]:
    """The lines of a region, in the order of the graph."""
    p = m.program
    lines = []
    for id in sorted(m.variables):
        if m.place(id) == f"{sweep} {region}" and p.graph[id].family != "leaf":
            lines.append(_statement(m, sweep, region, writer, id))
    return lines


def _statement(m: Module, sweep: str, region: str, writer: Writer, id: int) -> str:
    text = m.scope(sweep, region).formula(id)[0]
    node = m.program.graph[id]
    if is_bool(node):
        text = f"({text}).astype(dtype)"
    if node.family == "view" and node.attrs.kind == "transpose" and region == ONCE:
        text = f"np.ascontiguousarray({text})"
    target = f"{m.variables[id]}[t]" if region == LOOP and id in m.stored else m.variables[id]
    return _commented(f"{target} = {text}", _equation(m, writer, id))


def _equation(m: Module, writer: Writer, id: int) -> str:
    label = m.program.labels.get(id)
    if label is None:
        return writer.rhs(id)
    return f"{TEXT.symbol(label)} = {writer.rhs(id)}"


def _commented(code: str, comment: str) -> str:
    return f"{code:<58}  # {comment}" if comment else code


def _writer(p: Program) -> Writer:
    return Writer(p.graph, {id: label for id, label in p.labels.items() if label.given or label.adjoint}, TEXT)


def _forward(m: Module, tape: list[str]) -> list[str]:
    p, writer = m.program, _writer(m.program)
    states = [(a.name, m.variables[p.leaves[a.name]], m.previous[p.leaves[a.name]], a.shape) for a in p.of_role("state")]
    targets = [_initial(a.name) if a.role == "state" else m.variables[p.leaves[a.name]] for a in p.arguments if not _is_baked(a)]
    lines = [f"{', '.join(targets)}{',' if len(targets) == 1 else ''} = (a[k] for k in {_tuple([a.name for a in p.arguments if not _is_baked(a)])})"]
    lines += [f"{m.variables[p.leaves[a.name]]} = {_baked(a, m.sizes)}" for a in p.arguments if _is_baked(a) and a.shape]
    lines += ["# before the loop: what needs no state"]
    lines += _statements(m, "forward", ONCE, writer) + _masked_inputs(m) + _statements(m, "forward", ALL, writer)
    for name, now, before, shape in states:
        lines.append(f"{now}_buffer = np.empty({shape_text(('T + 1', 'B'), shape, m.sizes)}, dtype)")
        lines.append(f"{now}_buffer[0], {before}, {now} = start[\"{name}\"], {now}_buffer[:-1], {now}_buffer[1:]")
    lines += [_allocation(m, id) for id in sorted(m.stored) if m.place(id) == f"forward {LOOP}" and id not in p.next.values()]
    lines += ["if reset is not None:", *(f"    {before} = np.empty_like({now})" for _, now, before, _ in states)]
    lines += ["for t in range(T):", "    if reset is not None:"]
    lines += [f"        {before}[t] = _where(reset[t], {_initial(name)}, {now}_buffer[t])"
              for name, now, before, _ in states]  # fmt: skip
    lines += [f"    {line}" for line in _statements(m, "forward", LOOP, writer) + _aliased_states(m)]
    lines += ["    if active is not None:"]
    lines += [f"        {now}[t] = _where(active[t], {now}[t], {before}[t])" for _, now, before, _ in states]
    after = _statements(m, "forward", AFTER, writer)
    lines += ["# after the loop: what no later step needs"] * bool(after) + after
    outputs = ", ".join(f'"{name}": _kept(active, {_output(m, id)})' for name, id in p.outputs.items())
    finals = ", ".join(f'"{name}": {now}' for name, now, _, _ in states)
    lines.append(f"return {{{finals}}}, {{{outputs}}}, {_tuple(tape, quoted=False)}")
    return ["def _forward(a, start, sizes, T, B, dtype, active, reset):", *_body(_all_sizes(m), lines)]


def _all_sizes(m: Module) -> dict[str, str]:
    return {name: m.sizes.get(name, name) for name in _size_names(m.program)}


def _body(sizes: dict[str, str], lines: list[str]) -> list[str]:
    """The body of a function: the sizes that it uses, then its lines, none of them long."""
    text = "\n".join(line.partition("  # ")[0] for line in lines)
    names = [(name, variable) for name, variable in sizes.items() if re.search(rf"\b{variable}\b", text)]
    targets = "".join(f"{variable}, " for _, variable in names)
    unpack = [f"{targets.strip() if len(names) == 1 else targets[:-2]} = (sizes[k] for k in {_tuple([n for n, _ in names])})"] if names else []
    return [short for line in lines[:1] + unpack + lines[1:] for short in _shortened(f"    {line}")]


def _shortened(line: str) -> list[str]:
    """A line, or where it is too long its comment above it and its code broken after commas and before signs."""
    if len(line) <= WIDTH:
        return [line]
    code, mark, comment = line.partition("  # ")
    indent = " " * (len(code) - len(code.lstrip()))
    above = textwrap.wrap(comment, WIDTH - len(indent) - 2, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}#   ") if mark else []
    return [*above, *_broken(code.rstrip(), indent)]


def _broken(code: str, indent: str) -> list[str]:
    """Code over several lines, by brackets around the side of an assignment (or of a return) that is long."""
    if len(code) <= WIDTH:
        return [code]
    if code.lstrip().startswith("return "):
        return _filled(f"{indent}return (", code.strip().removeprefix("return "), ")", indent)
    target, _, right = code.strip().partition(" = ")
    if len(target) > WIDTH // 2:
        return _filled(f"{indent}(", target, f") = {right}", indent)
    return _filled(f"{indent}{target} = (", right, ")", indent)


def _filled(head: str, inside: str, tail: str, indent: str) -> list[str]:
    lines, current = [head], f"{indent}    "
    for piece in re.split(r"(?<=,) |(?<=[^(,]) (?=[+-] )", inside):
        if len(current) + len(piece) > WIDTH and current.strip():
            lines.append(current.rstrip())
            current = f"{indent}    "
        current += piece + " "
    return [*lines, current.rstrip(), f"{indent}{tail}"]


def _output(m: Module, id: int) -> str:
    text = m.scope("forward", AFTER).text(id)
    if id in m.varying:
        return text
    return f"np.broadcast_to({text}, {shape_text(('T', 'B'), m.program.graph.shape(id), m.sizes)})"


def _initial(name: str) -> str:
    return f"{name}_0" if name.isidentifier() else name


def _tuple(names: list[str], quoted: bool = True) -> str:
    inside = [f'"{name}"' if quoted else name for name in names]
    return f"({', '.join(inside)}{',' if len(inside) == 1 else ''})"


def _is_baked(a: Argument) -> bool:
    return a.role == "const" and a.default is not None


def _baked(a: Argument, sizes: dict[str, str]) -> str:
    values = a.default.tolist() if hasattr(a.default, "tolist") else a.default
    text = f"np.array({values!r}, dtype)"
    return f"np.broadcast_to({text}, {shape_text((), a.shape, sizes)})" if a.shape else repr(values)


def _masked_inputs(m: Module) -> list[str]:
    names = [m.variables[m.program.leaves[a.name]] for a in m.program.of_role("input")]
    if not names:
        return []
    chain = ", ".join(names)
    return [f"{chain}{',' if len(names) == 1 else ''} = (_kept(active, v) for v in ({chain},))"]


def _allocation(m: Module, id: int) -> str:
    return f"{m.variables[id]} = np.empty({shape_text(('T', 'B'), m.program.graph.shape(id), m.sizes)}, dtype)"


def _aliased_states(m: Module) -> list[str]:
    """States that become a value which is another's already: an argument, a literal, the value of another state."""
    p, lines = m.program, []
    for name, id in p.next.items():
        variable = m.variables[p.leaves[name]]
        if m.variables.get(id) != variable or p.graph[id].family == "leaf" or not m.place(id).endswith(LOOP):
            lines.append(f"{variable}[t] = {m.scope('forward', LOOP).text(id)}")
    return lines


# ------------------------------------------------------------------------------------------------------------ backward


def _backward(m: Module, clip: float | None = None) -> list[str]:
    p, writer = m.program, _writer(m.program)
    carries = {name: m.variables[leaf] for name, leaf in p.carry.items()}
    chain = ", ".join(carries.values())
    before = _cotangents(m)
    before += _statements(m, "backward", ONCE, writer) + _statements(m, "backward", ALL, writer)
    body = [f"    {line}" for line in _statements(m, "backward", LOOP, writer)]
    after = _statements(m, "backward", AFTER, writer) + _gradients(m, writer)
    kept = [name for name in carries.values() if f"{name}_all" in m.used]
    loop = ["for t in range(T - 1, -1, -1):"]
    for name, d in carries.items():
        loop += [f'    if full["{name}"] is not None:', f'        {d} = {d} + full["{name}"][t]']
    if clip is not None:
        loop.append(f"    {chain}{_comma(carries)} = _clipped(({chain},), {clip!r})")
    loop += ["    if active is not None:", f"        idle = [_kept(~active[t], d) for d in ({chain},)]",
             f"        {chain}{_comma(carries)} = (_kept(active[t], d) for d in ({chain},))"]  # fmt: skip
    loop += [f"    {d}_all[t] = {d}" for d in kept] + body
    loop += ["    if flow is not None:", *(f"        {line}" for line in _watched(m, carries)), _step_back(m, carries)]
    loop += ["    if active is not None:", f"        {chain}{_comma(carries)} = (d + i for d, i in zip(({chain},), idle))"]
    loop += ["    if reset is not None:"]
    loop += [f"        {d}_0 = {d}_0 + _kept(reset[t], {d})" for d in carries.values()]
    loop += [f"        {chain}{_comma(carries)} = (_kept(~reset[t], d) for d in ({chain},))"]
    start = []
    for name, d in carries.items():
        shape = shape_text(("B",), p.graph.shape(p.carry[name]), m.sizes)
        start.append(f'{d} = np.zeros({shape}, dtype) if last["{name}"] is None else last["{name}"]')
        start.append(f"{d}_0 = np.zeros({shape}, dtype)")
    start += [f"{d}_all = np.empty({shape_text(('T', 'B'), p.graph.shape(p.carry[name]), m.sizes)}, dtype)" for name, d in carries.items() if d in kept]
    start += [_allocation(m, id) for id in sorted(m.stored) if m.place(id) == f"backward {LOOP}"]
    result = [f"return {{{_dict(m, 'param')}}}, {{{_dict(m, 'input')}}}, {_by_name(carries)}, {_by_name(carries, '_0')}"]
    return ["# before the loop: what needs no adjoint of a state", *before, *start, *loop,
            "# after the loop: sums over all steps and samples", *after, *result]  # fmt: skip


def _by_name(carries: dict[str, str], suffix: str = "") -> str:
    return f"{{{', '.join(f'{chr(34)}{name}{chr(34)}: {d}{suffix}' for name, d in carries.items())}}}"


BACKWARD = "def _backward(tape, full, last, flow, sizes, T, B, dtype, active, reset):"
PULL = "def _pull(tape, carry, full, sums, sizes, T, B, dtype):"


def _pull(m: Module) -> list[str]:
    """One step back for the adjoints of all steps at once, and with `sums` the gradients that follow from them."""
    p, writer = m.program, _writer(m.program)
    carries = {name: m.variables[leaf] for name, leaf in p.carry.items()}
    lines = [f'{d}_all = carry["{name}"]' for name, d in carries.items()]
    lines += _zero_outputs(m) + _statements(m, "backward", ONCE, writer) + _statements(m, "backward", ALL, writer)
    for id in sorted(m.variables):
        if m.place(id) == f"backward {LOOP}" and p.graph[id].family != "leaf":
            lines.append(_commented(f"{m.variables[id]} = {m.scope('backward', AFTER).formula(id)[0]}", _equation(m, writer, id)))
    texts = [f'"{name}": ' + (f"np.zeros_like({d}_all)" if p.recurrent.get(name) is None else _full(m, p.recurrent[name], AFTER))
             for name, d in carries.items()]  # fmt: skip
    lines += [f"carry = {{{', '.join(texts)}}}", "if not sums:", "    return carry, None, None"]
    lines += _statements(m, "backward", AFTER, writer) + _gradients(m, writer)
    return [*lines, f"return carry, {{{_dict(m, 'param')}}}, {{{_dict(m, 'input')}}}"]


def _watched(m: Module, carries: dict[str, str]) -> list[str]:
    """The norm of each state's whole adjoint; a state whose adjoint no parameter asks for has what it was brought."""
    p, lines = m.program, []
    for name, d in carries.items():
        whole = p.whole.get(name)
        text = d if whole is None or m.place(whole) != f"backward {LOOP}" or whole not in m.variables else m.refer(whole, LOOP)
        lines.append(f'flow["{name}"][t] = np.sqrt(np.sum(np.square({text})))')
    return lines


def _comma(names: dict[str, str]) -> str:
    return "," if len(names) == 1 else ""


def _cotangents(m: Module) -> list[str]:
    return ["full = {k: None if v is None else _kept(active, v) for k, v in full.items()}", *_zero_outputs(m)]


def _zero_outputs(m: Module) -> list[str]:
    p, lines = m.program, []
    for name, leaf in p.cotangent.items():
        if leaf in p.places:
            shape = shape_text(("T", "B"), p.graph.shape(leaf), m.sizes)
            lines.append(f'{m.variables[leaf]} = np.zeros({shape}, dtype) if full["{name}"] is None else full["{name}"]')
    return lines


def _step_back(m: Module, carries: dict[str, str]) -> str:
    """The adjoints of the states before this step, all at once."""
    p, writer, right = m.program, _writer(m.program), []
    for name, d in carries.items():
        id = p.recurrent.get(name)
        right.append(f"np.zeros_like({d})" if id is None else _full(m, id, LOOP))
    comment = "; ".join(f"{TEXT.symbol(Label(name, -1, True))} = {writer.symbol(p.recurrent[name])}" for name in carries if name in p.recurrent)
    return "    " + _commented(f"{', '.join(carries.values())} = {', '.join(right)}", comment)


def _full(m: Module, id: int, region: str) -> str:
    """A value that differs between samples, also where its formula does not."""
    text = m.scope("backward", region).text(id)
    lead = ("B",) if region == LOOP else ("T", "B")
    return text if id in m.varying else f"np.broadcast_to({text}, {shape_text(lead, m.program.graph.shape(id), m.sizes)})"


def _gradients(m: Module, writer: Writer) -> list[str]:
    """One line for each gradient that has no variable yet, and copies where two names mean one array."""
    p, lines, seen = m.program, [], set()
    for role, group in (("param", p.params), ("input", p.inputs)):
        for name, id in group.items():
            label = Label(name, None if role == "param" else 0, True)
            text = m.scope("backward", AFTER).text(id) if role == "param" else _full(m, id, AFTER)
            if id in seen or p.graph[id].family == "view":
                text = f"np.array({text})"
            seen.add(id)
            lines.append(_commented(f"{_gradient(m, name)} = {text}", f"{TEXT.symbol(label)} = {writer.symbol(id)}"))
    return lines


def _gradient(m: Module, name: str) -> str:
    return f"d{m.variables[m.program.leaves[name]]}_sum" if f"d{name}" in m.variables.values() else f"d{name}"


def _dict(m: Module, role: str) -> str:
    p = m.program
    found = p.params if role == "param" else p.inputs
    return ", ".join(f'"{a.name}": ' + (_gradient(m, a.name) if a.name in found else f"np.zeros_like({m.refer(p.leaves[a.name], ALL)})")
                     for a in p.of_role(role))  # fmt: skip


def _tape(m: Module) -> list[str]:
    """The variables that backward reads from forward."""
    p = m.program
    forward = {name for id, name in m.variables.items() if not m.place(id).startswith("backward") and not m.is_carry(id)
               and id not in p.cotangent.values() and not _is_global(p, id)}  # fmt: skip
    return sorted((forward | set(m.previous.values())) & m.used)


def _is_global(p: Program, id: int) -> bool:
    return any(p.leaves[a.name] == id for a in p.arguments if _is_baked(a) and not a.shape)


def _unpacked(m: Module, lines: list[str], tape: list[str], head: str) -> list[str]:
    unpack = [f"{', '.join(tape)}{',' if len(tape) == 1 else ''} = tape"] if tape else []
    return [head, *_body(_all_sizes(m), [*unpack, *lines])]


def _loss(m: Module) -> list[str]:
    """The function of the loss: its value for each sample, and what it sends back."""
    p, writer = m.program, _writer(m.program)
    own = [a for a in p.arguments if a.role != "output" and not _is_baked(a)]
    lines = []
    for source_of, arguments in (("a", own), ("read", [a for a in p.arguments if a.role == "output"])):
        targets = [m.variables[p.leaves[a.name]] for a in arguments]
        lines += [f"{', '.join(targets)}{',' if len(targets) == 1 else ''} = ({source_of}[k] for k in "
                  f"{_tuple([a.name for a in arguments])})"] * bool(arguments)  # fmt: skip
    lines += [f"{m.variables[p.leaves[a.name]]} = {_baked(a, m.sizes)}" for a in p.arguments if _is_baked(a) and a.shape]
    for sweep in ("forward", "backward"):
        lines += _statements(m, sweep, ONCE, writer) + _statements(m, sweep, AFTER, writer)
    value = m.scope("forward", AFTER).text(p.outputs["loss"])
    value = value if p.outputs["loss"] in m.varying else f"np.broadcast_to({value}, dloss.shape)"
    lines += _gradients(m, writer)
    read = ", ".join(f'"{a.name}": {_gradient(m, a.name)}' for a in p.of_role("output") if a.name in p.inputs)
    lines.append(f"return {value}, {{{read}}}, {{{_dict(m, 'param')}}}")
    return ["def _loss(a, read, dloss, sizes, T, B, dtype):", *_body(_all_sizes(m), lines)]


# -------------------------------------------------------------------------------------------------------------- module


def _head(p: Program, version: str, equations: str, head: Head | None) -> str:
    arguments = p.arguments if head is None else p.arguments + head.added
    shapes = "\n".join(f"  {a.name:<8} {a.role:<6} {_annotation(a)}" for a in arguments)
    name = p.name if head is None else f"{p.name} with the loss {head.program.name} at {head.at} step, {head.reduction}"
    doc = f"{p.doc}\n\n" if p.doc else ""
    text = (f"Backpropagation through time for the cell {name}, written by symbptt {version}.\n\n{doc}Shapes\n{shapes}\n\n"
            f"{equations}")  # fmt: skip
    clean = text.replace("\\", "\\\\").replace('"""', "'''")
    return f'"""{clean}\n"""'


def _annotation(a: Argument) -> str:
    if a.limit is not None:
        return f"integer in [0, {size_text(a.limit)})"
    default = f" = {a.default!r}" if _is_baked(a) and not a.shape else ""
    return shape_text((), a.shape) + default


def _size_names(p: Program) -> list[str]:
    return sorted({name for a in p.arguments for name in names_in(a.shape)})


def _tables(p: Program, added: tuple[Argument, ...], head: Head | None) -> str:
    every = [a for a in p.arguments + added if not _is_baked(a)]
    roles = {"PARAMS": ("param", "const"), "INPUTS": ("input", "index"), "STATES": ("state",), "TARGETS": ("target",)}
    lines = [f"{table} = {_tuple([a.name for a in every if a.role in of])}" for table, of in roles.items()]
    lead = {"input": 2, "index": 2, "state": 1, "target": 2 if head is None or head.at == "every" else 1}
    lines.append(f"LEAD = {{{', '.join(f'{chr(34)}{a.name}{chr(34)}: {lead.get(a.role, 0)}' for a in every if a.role in lead)}}}")
    lines.append(f"SHAPES = {{{', '.join(f'{chr(34)}{a.name}{chr(34)}: {chr(34)}{_dims(a)}{chr(34)}' for a in every)}}}")
    lines.append(f"INDICES = {{{', '.join(_limit_entry(every, a) for a in every if a.limit is not None)}}}")
    lines += [f"{a.name} = {a.default!r}" for a in p.arguments + added if _is_baked(a) and not a.shape]
    short = [piece for line in lines for piece in _shortened(line)]
    return "\n".join([*short, "", "", *_sizes_function(p.name, every), "", "", *_shapes_function(every)])


def _dims(a: Argument) -> str:
    return " ".join(map(size_text, a.shape))


def _limit_entry(every: list[Argument], a: Argument) -> str:
    return f'"{a.name}": "{a.name} limit"' if _is_limited(every, a) else f'"{a.name}": None'


def _is_limited(every: list[Argument], a: Argument) -> bool:
    """Whether the number of values of an index follows from the sizes of the arguments."""
    return a.limit is not None and set(names_in((a.limit,))) <= set(_names_of(every))


def _names_of(arguments: Iterable[Argument]) -> list[str]:
    return sorted({name for a in arguments for name in names_in(a.shape)})


def _sizes_function(name: str, every: list[Argument]) -> list[str]:
    """Each size from the first argument that tells it: alone on an axis, or in a sum with sizes that are known."""
    known: dict[str, str] = {}
    rank = {"param": 0, "const": 0, "input": 1, "index": 1, "target": 2, "state": 3}
    order = sorted(every, key=lambda a: rank[a.role])
    names = _names_of(every)
    while len(known) < len(names):
        found = next((hit for a in order for hit in [_solved(a, set(known))] if hit), None)
        if found is None:
            lack = [name for name in names if name not in known]
            raise CellError(f"the size {lack[0]!r} of {name} stands alone on no axis, so that no argument tells it\n"
                            f"  use it alone in one dimension")  # fmt: skip
        known[found[0]] = found[1]
    body = [f"    {name} = {text}" for name, text in known.items()]
    result = f"    return dict({', '.join(f'{name}={name}' for name in sorted(known))})"
    return ["def _sizes(of):", '    """Return the named sizes, each read from an argument and an axis."""', *body, result]


def _solved(a: Argument, known: set[str]) -> tuple[str, str] | None:
    for axis, item in enumerate(a.shape):
        unknown = [name for name in names_in((item,)) if name not in known]
        if len(unknown) != 1:
            continue
        symbol, measured = named_size(unknown[0]), sp.Symbol("_measured")
        if sp.degree(item, symbol) != 1:
            continue
        factor = sp.expand(item).coeff(symbol)
        rest = sp.expand(item - factor * symbol)
        text = f'of("{a.name}", {axis})'
        text = f"({text} - ({size_text(rest)}))" if rest != 0 else text
        return unknown[0], text + (f" // ({size_text(factor)})" if factor != 1 else "")
    return None


def _shapes_function(every: list[Argument]) -> list[str]:
    entries = [f'"{a.name}": {shape_text((), a.shape)}' for a in every]
    entries += [f'"{a.name} limit": ({size_text(a.limit)},)' for a in every if _is_limited(every, a)]
    return [f"def _shapes({', '.join(_names_of(every))}):", '    """Return the shape of every argument of one sample and step."""',
            *_shortened(f"    return {{{', '.join(entries)}}}")]  # fmt: skip
