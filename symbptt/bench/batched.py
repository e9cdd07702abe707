"""The step of a cell over a batch, as a user of torch or JAX would write it: Python text over a namespace `np`.

One line for each value of the traced step, samples along the first axis. Only the forward step is written; torch and
JAX differentiate it themselves, so that their gradients owe nothing to ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp

from symbptt.autodiff.bptt import per_sample
from symbptt.ir.algebra import RECORDS
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, placeholder
from symbptt.ir.scalar import Call, Num, Power, Prod, Ref, Sum, Tree, as_python, expanded, tree_of
from symbptt.ir.shape import Shape, named_size
from symbptt.language.cell import Cell
from symbptt.language.roles import parse_dims

LETTERS = "abcdefghijklmnopqrstuvwxyz"
CONDITIONS = frozenset({"greater", "greater_equal", "less", "less_equal", "equal", "not_equal"} |
                       {"logical_and", "logical_or", "logical_not"})  # fmt: skip


@dataclass(frozen=True)
class Scope:
    """The material of the lines: the step's graph, numbers for its sizes, the values that differ between samples."""

    graph: Graph
    sizes: dict[Any, int]
    varying: frozenset[int]
    folded: dict[int, int | float]
    defaults: dict[str, Any]
    B: int

    def shape(self, shape: Shape) -> tuple[int, ...]:
        """Return a shape in numbers."""
        return tuple(int(sp.sympify(item).subs(self.sizes)) for item in shape)

    def lead(self, id: int) -> int:
        """Return how many axes stand before a value's own."""
        return 1 if id in self.varying else 0

    def text(self, id: int) -> str:
        """Return a value's number, or its variable."""
        return repr(self.folded[id]) if id in self.folded else f"v{id}"


class NotWritable(Exception):
    """The step has something that torch and JAX do not have."""


def batched_step(cell: Cell, sizes: Mapping[str, int], B: int) -> str:
    """Return the text of `step(np, s, x, p)`: the next states by name from states, inputs and parameters by name.

    Raises: NotWritable with the reason where a value has no counterpart.
    """
    step = cell.step
    ids = step.graph.ancestors(step.next.values())
    numbers = {named_size(name): value for name, value in sizes.items()}
    defaults = {a.name: a.default for a in step.of_role("const") if a.default is not None}
    scope = Scope(step.graph, numbers, frozenset(per_sample(step.graph, ids)), {}, defaults, B)
    lines = []
    for node in (step.graph[id] for id in ids):
        value = _fold(scope, node)
        if value is None:
            lines.append(f"    v{node.id} = {WRITE[node.family](scope, node)}")
        else:
            scope.folded[node.id] = value
    result = ", ".join(f"{name!r}: {_whole(scope, id)}" for name, id in step.next.items())
    return "\n".join(["def step(np, s, x, p):", *lines, f"    return {{{result}}}", ""])


def load_step(text: str, namespace: Any) -> Callable[[Any, Any, Any], dict[str, Any]]:
    """Return the step that `batched_step` wrote, over a namespace."""
    space: dict[str, Any] = {}
    # The text was written by `batched_step` above from a traced graph: names in it are quoted with repr.
    exec(compile(text, "<symbptt batched step>", "exec"), space)
    return lambda s, x, p: space["step"](namespace, s, x, p)


def _fold(s: Scope, node: Node) -> int | float | None:
    """Return the number that a value is, where it is one: literals, sizes, constants with a default, functions of
    them."""
    if node.shape:
        return None
    if node.family == "number":
        return node.attrs.value
    if node.family == "leaf" and node.attrs.role == "size":
        return s.shape(parse_dims(node.attrs.name))[0]
    if node.family == "leaf" and node.attrs.role == "const":
        default = s.defaults.get(node.attrs.name)
        return None if default is None else float(default)
    if node.family == "map" and all(arg in s.folded for arg in node.args):
        values = {placeholder(i): s.folded[arg] for i, arg in enumerate(node.args)}
        value = expanded(node.attrs.expr).xreplace({k: sp.sympify(v) for k, v in values.items()}).evalf()
        return float(value) if value.is_Number else None
    return None


def _whole(s: Scope, id: int) -> str:
    """Return a value for each sample, repeated where all samples share it."""
    if id in s.varying:
        return f"np.real({s.text(id)})" if _is_condition(s.graph[id]) else s.text(id)
    return f"np.broadcast_to(np.array({s.text(id)}), {(s.B, *s.shape(s.graph.shape(id)))})"


def _leaf(s: Scope, node: Node) -> str:
    role, name = node.attrs.role, node.attrs.name
    if role == "const" and name in s.defaults:
        return f"np.array({np.asarray(s.defaults[name]).tolist()})"
    if role not in ("state", "input", "index", "param", "const"):
        raise NotWritable(f"a value of the kind {role!r}")
    return f"{ {'state': 's', 'input': 'x', 'index': 'x'}.get(role, 'p') }[{name!r}]"


def _number(s: Scope, node: Node) -> str:
    return f"np.array({np.reshape(node.attrs.value, s.shape(node.shape)).tolist()})"


def _map(s: Scope, node: Node) -> str:
    parts = [_aligned(s, arg, len(node.shape)) for arg in node.args]
    conditions = {i for i, arg in enumerate(node.args) if _is_condition(s.graph[arg])}
    return _tree(tree_of(expanded(node.attrs.expr)), parts, conditions)


def _is_condition(node: Node) -> bool:
    return node.family == "map" and bool(getattr(node.attrs.expr.func, "boolean", False))


def _aligned(s: Scope, arg: int, rank: int) -> str:
    """Return a value with axes of size 1 after the samples, where the result has more axes."""
    own = len(s.graph.shape(arg))
    if arg not in s.varying or own == rank:
        return s.text(arg)
    # The axis of samples stays first; new axes stand between it and the value's own, where NumPy would broadcast in front.
    return f"{s.text(arg)}[{', '.join([':'] + ['None'] * (rank - own) + ['...'])}]"


def _tree(tree: Tree, parts: list[str], conditions: set[int]) -> str:
    def real(part: Tree) -> str:
        text = _tree(part, parts, conditions)
        is_bool = part.index in conditions if isinstance(part, Ref) else getattr(part, "name", "") in CONDITIONS
        return f"np.real({text})" if is_bool else text

    match tree:
        case Num(value):
            return repr(as_python(value))
        case Ref(index):
            return parts[index]
        case Sum(terms):
            text = "".join(f" {'-' if sign < 0 else '+'} {real(term)}" for sign, term in terms)
            return f"({text.removeprefix(' + ').strip()})"
        case Prod(factors, divisors):
            return "(" + " * ".join(map(real, factors)) + "".join(f" / {real(d)}" for d in divisors) + ")"
        case Power(base, exponent):
            return f"({real(base)} ** {real(exponent)})"
        case Call(name, args):
            keep = name in CONDITIONS or name == "where"
            return f"np.{name}({', '.join(_tree(a, parts, conditions) if keep else real(a) for a in args)})"
    raise AssertionError(tree)


def _contract(s: Scope, node: Node) -> str:
    a, b, out = node.attrs.a, node.attrs.b, node.attrs.out
    left, right = node.args
    if left not in s.varying and right in s.varying:
        left, right, a, b = right, left, b, a
    # x @ W.T for the weight of a layer, as a user would write it; frameworks dispatch it to a gemm directly.
    if left in s.varying and right not in s.varying and len(a) == len(out) == 1 and len(b) == 2 and a[0] in b:
        return f"{s.text(left)} @ {s.text(right)}{'.T' if b[1] == a[0] else ''}"
    terms = (("Z" if id in s.varying else "") + "".join(LETTERS[x] for x in labels) for id, labels in
             ((left, a), (right, b), (node.id, out)))  # fmt: skip
    first, second, result = terms
    # The capital Z labels the samples: it occurs in no label of the graph, which are small letters.
    return f"np.einsum('{first},{second}->{result}', {s.text(left)}, {s.text(right)})"


def _reduce(s: Scope, node: Node) -> str:
    x = node.args[0]
    return f"np.{node.attrs.kind}({s.text(x)}, {tuple(axis + s.lead(x) for axis in node.attrs.axes)})"


def _view(s: Scope, node: Node) -> str:
    lead = (s.B,) * s.lead(node.id)
    x, data, shape = node.args[0], node.attrs.data, (*lead, *s.shape(node.shape))
    value = f"np.array({s.text(x)})" if x in s.folded else s.text(x)
    match node.attrs.kind:
        case "transpose":
            return f"np.permute({value}, {(*range(len(lead)), *(i + len(lead) for i in data))})"
        case "reshape":
            return f"{value}.reshape({shape})"
        case "expand":
            own = s.shape(s.graph.shape(x))
            padded = (*lead, *(1,) * (len(node.shape) - len(own)), *own)
            return f"np.broadcast_to({value}.reshape({padded}), {shape})"
        case "slice":
            return _slice(s, node, value, len(lead))
        case "concatenate":
            parts = [_whole(s, arg) if lead else s.text(arg) for arg in node.args]
            return f"np.concatenate([{', '.join(parts)}], {data[0] + len(lead)})"
    raise NotWritable(f"a view of the kind {node.attrs.kind!r}")


def _slice(s: Scope, node: Node, value: str, lead: int) -> str:
    cuts, turned = [":"] * lead, []
    for axis, span in enumerate(node.attrs.data):
        start, length, step = s.shape(span)
        last = start + (length - 1) * step
        if step < 0:
            turned.append(axis + lead)
        # torch has no negative steps: the slice is taken forward, then flipped.
        low, high = (start, last) if step > 0 else (last, start)
        cuts.append(f"{low}:{high + 1}:{abs(step)}" if length else "0:0")
    cut = f"{value}[{', '.join(cuts)}]"
    return f"np.flip({cut}, {tuple(turned)})" if turned else cut


def _gather(s: Scope, node: Node) -> str:
    table, index = node.args
    if node.attrs.kind != "gather" or index not in s.varying:
        raise NotWritable("a read at an index that is the same for all samples")
    at, axis = s.lead(table), node.attrs.axis + s.lead(table)
    moved = s.text(table) if axis == at else f"np.moveaxis({s.text(table)}, {axis}, {at})"
    return f"{moved}[np.arange({s.B}), {s.text(index)}]" if at else f"{moved}[{s.text(index)}]"


def _cumulate(s: Scope, node: Node) -> str:
    if node.attrs.reverse:
        raise NotWritable("a running sum from the back")
    return f"np.cumsum({s.text(node.args[0])}, {node.attrs.axis + s.lead(node.id)})"


def _algebra(s: Scope, node: Node) -> str:
    raise NotWritable(RECORDS[node.attrs.name].words)


WRITE: dict[str, Callable[[Scope, Node], str]] = {
    "leaf": _leaf,
    "number": _number,
    "map": _map,
    "contract": _contract,
    "reduce": _reduce,
    "view": _view,
    "gather": _gather,
    "cumulate": _cumulate,
    "algebra": _algebra,
}
