"""The values of a graph on numbers: floats, complex numbers, and whatever arrays a check calls a user's function with.

Each family is one function of NumPy, so that arrays of a class of their own carry their tangents, digits or residues through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import sympy as sp

from symbptt import ops
from symbptt.dense import of_matrices
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node
from symbptt.ir.scalar import NAME_OF
from symbptt.ir.shape import Shape
from symbptt.language.custom_function import on_arrays, on_values
from symbptt.language.functions import ELEMENTWISE


def evaluated(g: Graph, ids: Iterable[int], leaves: Mapping[str, Any]) -> list[Any]:
    """Return the values of some nodes, from those of the leaves by name.

    Shapes: leaves as in the graph, whose sizes are numbers.
    """
    ids, known = list(ids), dict[int, Any]()
    for id in g.ancestors(ids):
        node = g[id]
        if node.family == "leaf":
            known[id] = _identity(node) if node.attrs.role == "eye" else leaves[node.attrs.name]
        else:
            known[id] = FAMILIES[node.family](node, [known[arg] for arg in node.args])
    return [known[id] for id in ids]


def _identity(node: Node) -> Any:
    return np.eye(node.shape[0])


def _number(node: Node, args: list[Any]) -> Any:
    value = node.attrs.value
    return np.asarray(value).reshape(node.shape) if isinstance(value, tuple) else value


def _map(node: Node, args: list[Any]) -> Any:
    return _in_shape(body_on(node.attrs.expr, args), node.shape)


def _in_shape(value: Any, shape: Shape) -> Any:
    return value if np.shape(value) == shape else np.broadcast_to(value, shape)


def body_on(expr: sp.Expr, args: list[Any]) -> Any:
    """Return a scalar body on arrays; functions whose derivative is declared hand on tangents by that."""
    return on_values(expr, args, _called)


def _called(expr: sp.Expr, parts: list[Any]) -> Any:
    if expr.is_Pow:
        root = ELEMENTWISE["sqrt"](parts[0])
        return root if expr.exp.is_positive else 1 / root
    if hasattr(expr.func, "expansion"):
        return on_arrays(expr.func.expansion, expr.func.partials, parts)
    return ELEMENTWISE[ops.BY_NAME[NAME_OF[expr.func]].name](*parts)


def _contract(node: Node, args: list[Any]) -> Any:
    labels = node.attrs
    return np.einsum(args[0], list(labels.a), args[1], list(labels.b), list(labels.out))


def _reduce(node: Node, args: list[Any]) -> Any:
    return (np.sum if node.attrs.kind == "sum" else np.max)(args[0], axis=node.attrs.axes)


def _view(node: Node, args: list[Any]) -> Any:
    x, data = args[0], node.attrs.data
    match node.attrs.kind:
        case "transpose":
            return np.transpose(x, data)
        case "reshape":
            return np.reshape(x, node.shape)
        case "expand":
            return np.broadcast_to(x, node.shape)
        case "slice":
            return x[_spans(data)]
        case "pad":
            return _padded(x, _spans(data), node.shape)
        case "concatenate":
            return np.concatenate(args, data[0])
        case "roll":
            return np.roll(x, data[1], data[0])
    raise AssertionError(f"no value of {node}")


def _spans(data: Any) -> tuple[slice, ...]:
    found = []
    for start, length, step in data:
        stop = start + length * step
        # A stop below zero would count from the end.
        found.append(slice(start, stop if stop >= 0 else None, step))
    return tuple(found)


def _padded(x: Any, where: tuple[slice, ...], shape: Shape) -> Any:
    found = np.zeros_like(x, shape=shape)
    found[where] = x
    return found


def _added_up(x: Any, index: Any, shape: Shape) -> Any:
    found = np.zeros_like(x, shape=shape)
    for place in np.ndindex(*np.shape(index)):
        found[int(index[place])] = found[int(index[place])] + x[place]
    return found


def _gather(node: Node, args: list[Any]) -> Any:
    x, index = args
    if np.ndim(index):
        return x[np.asarray(index, int)] if node.attrs.kind == "gather" else _added_up(x, index, node.shape)
    at = (slice(None),) * node.attrs.axis + (int(index),)
    return x[at] if node.attrs.kind == "gather" else _padded(x, at, node.shape)


def _cumulate(node: Node, args: list[Any]) -> Any:
    axis = node.attrs.axis
    if not node.attrs.reverse:
        return np.cumsum(args[0], axis)
    return np.flip(np.cumsum(np.flip(args[0], axis), axis), axis)


def _algebra(node: Node, args: list[Any]) -> Any:
    return of_matrices(node.attrs.name, *args)


FAMILIES: dict[str, Callable[[Node, list[Any]], Any]] = {
    "number": _number,
    "map": _map,
    "contract": _contract,
    "reduce": _reduce,
    "view": _view,
    "gather": _gather,
    "cumulate": _cumulate,
    "algebra": _algebra,
}
