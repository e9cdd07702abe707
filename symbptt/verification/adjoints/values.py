"""The value of a node of a step graph on arrays, for many steps and samples at once.

Every array has two leading axes, steps and samples, of length 1 where the value is the same for all: a weight of shape (n, m)
is (1, 1, n, m), a state at T steps of B samples (T, B, n).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import sympy as sp

from symbptt import ops
from symbptt.codegen.loop_ir.arithmetics import floats
from symbptt.codegen.loop_ir.interpret import tree_value
from symbptt.dense import of_matrices
from symbptt.ir.node import Node
from symbptt.ir.scalar import expanded, tree_of
from symbptt.ir.shape import Shape
from symbptt.language.init import concrete

LETTERS = "abcdefghijklm"
LEAD = 2
"""The axes before those of the annotation: steps and samples."""
FLOATS = floats()

Sizes = Mapping[sp.Symbol, int]
Compute = Callable[[Sequence[Any]], Any]


def computation(node: Node, shapes: Sequence[Shape], sizes: Sizes) -> Compute:
    """Return what computes a node from arrays of its arguments, which have the `shapes`.

    Raises: AssertionError for a leaf, whose value comes from outside.
    """
    shape = concrete(node.shape, sizes)
    match node.family:
        case "number":
            # One for all steps and samples.
            number = np.reshape(np.asarray(node.attrs.value, float), (1, 1, *shape))
            return lambda _: number
        case "map":
            return _map(node.attrs.expr, shape, [len(s) for s in shapes])
        case "contract":
            a, b, out = ("".join(LETTERS[i] for i in part) for part in (node.attrs.a, node.attrs.b, node.attrs.out))
            # The dots are steps and samples: a weight has one of each, and is spread over those of the state.
            text = f"...{a},...{b}->...{out}"
            return lambda args: np.einsum(text, *args)
        case "reduce":
            return _reduction(node.attrs.kind, node.attrs.axes)
        case "view":
            return _view(node, shape, sizes)
        case "cumulate":
            return _cumulation(LEAD + node.attrs.axis, node.attrs.reverse)
        case "algebra":
            name = node.attrs.name
            return lambda args: of_matrices(name, *args)
        case "gather":
            # An array of integers has places of its own; one integer a sample picks along an axis.
            return _rows(node.attrs.kind, shape) if shapes[1] else _gather(node, shape)
        case "whole":
            function, axes = WHOLE[node.attrs.name], tuple(LEAD + i for i in node.attrs.axes)
            return lambda args: np.reshape(found := function(args[0], axes, *args[1:]), (*found.shape[:LEAD], *shape))
    raise AssertionError(f"no value for {node}")


@cache
def _body(expr: sp.Expr) -> Any:
    return tree_of(expanded(_computed(expr)))


def _computed(expr: sp.Expr) -> sp.Expr:
    """Return a body with functions of pages as what they stand for."""
    shown = {
        part: FUNCTIONS_OF_PAGES[part.func.__name__](*map(_computed, part.args))
        for part in expr.atoms(sp.Function)
        if part.func.__name__ in FUNCTIONS_OF_PAGES
    }
    return expr.xreplace(shown) if shown else expr


def _remaining(name: str) -> Callable[[sp.Expr], sp.Expr]:
    return lambda x: ops.REMAINING[name].body(x)


_SHOWN: dict[str, Callable[..., Any]] = {
    "ahead": lambda a, b: (1 + sp.sign(a - b)) / 2,
    "over": lambda a, b: ops.where(ops.equal(b, 0), 0, a / ops.where(ops.equal(b, 0), 1, b)),
    "normal_density": lambda x: sp.exp(-x * x / 2) / sp.sqrt(2 * sp.pi).n(30),
    "normal_share": lambda x: (1 + sp.erf(x / sp.sqrt(2).n(30))) / 2,
}
FUNCTIONS_OF_PAGES: dict[str, Callable[..., Any]] = {**_SHOWN, **{name: _remaining(name) for name in ops.REMAINING}}
"""Functions that stand on pages alone or in programs alone, by what they are."""


def _map(expr: sp.Expr, shape: tuple[int, ...], ranks: Sequence[int]) -> Compute:
    tree = _body(expr)
    missing = [len(shape) - rank for rank in ranks]

    def compute(args: Sequence[Any]) -> Any:
        # Axes of the annotation broadcast from the right; the leading axes stay in front of those that are added.
        parts = [
            x.reshape(*x.shape[:LEAD], *(1,) * m, *x.shape[LEAD:]) if m else x
            for x, m in zip(args, missing, strict=True)
        ]
        found = np.asarray(tree_value(tree, parts, FLOATS), float)
        # The body may not read all arguments along all axes; the value has them all the same, for those behind count
        # on it.
        lead = np.broadcast_shapes(*(x.shape[:LEAD] for x in args)) if args else (1, 1)
        return found if found.shape == (*lead, *shape) else np.broadcast_to(found, (*lead, *shape))

    return compute


def _reduction(kind: str, axes: Sequence[int]) -> Compute:
    moved = tuple(LEAD + i for i in axes)
    if kind == "sum":
        return lambda args: np.sum(args[0], axis=moved)
    return lambda args: np.max(args[0], axis=moved)


def _cumulation(axis: int, reverse: bool) -> Compute:
    if reverse:
        # A sum from the last to the first is the adjoint of one from the first to the last.
        return lambda args: np.flip(np.cumsum(np.flip(args[0], axis), axis), axis)
    return lambda args: np.cumsum(args[0], axis)


def _view(node: Node, shape: tuple[int, ...], sizes: Sizes) -> Compute:
    data = node.attrs.data
    match node.attrs.kind:
        case "transpose":
            order = (0, 1, *(LEAD + i for i in data))
            return lambda args: np.transpose(args[0], order)
        case "reshape":
            return lambda args: np.reshape(args[0], (*args[0].shape[:LEAD], *shape))
        case "expand":
            return lambda args: np.broadcast_to(_filled(args[0], len(shape)), (*args[0].shape[:LEAD], *shape))
        case "concatenate":
            return lambda args: _joined(args, LEAD + data[0])
        case "roll":
            by = _number(data[1], sizes)
            return lambda args: np.roll(args[0], by, LEAD + data[0])
    places = [
        _number(start, sizes) + _number(step, sizes) * np.arange(_number(length, sizes)) for start, length, step in data
    ]
    index: Any = (slice(None), slice(None), *np.ix_(*places))
    if node.attrs.kind == "slice":
        return lambda args: args[0][index]

    def pad(args: Sequence[Any]) -> Any:
        whole = np.zeros((*args[0].shape[:LEAD], *shape))
        whole[index] = args[0]
        return whole

    return pad


def _filled(x: Any, rank: int) -> Any:
    return x.reshape(*x.shape[:LEAD], *(1,) * (rank + LEAD - x.ndim), *x.shape[LEAD:])


def _number(size: Any, sizes: Sizes) -> int:
    return size if isinstance(size, int) else int(sp.sympify(size).subs(sizes))


def _joined(args: Sequence[Any], axis: int) -> Any:
    lead = np.broadcast_shapes(*(x.shape[:LEAD] for x in args))
    return np.concatenate([np.broadcast_to(x, (*lead, *x.shape[LEAD:])) for x in args], axis)


def _rows(kind: str, shape: tuple[int, ...]) -> Compute:
    """Return what reads rows of a table at an array of integers, or adds up in zeros of a shape what has the same integer."""

    def places(lead: tuple[int, ...], index: Any) -> tuple[Any, ...]:
        index = np.broadcast_to(index.astype(int), (*lead, *index.shape[LEAD:]))
        return (*np.indices(index.shape, sparse=True)[:LEAD], index)

    def read(args: Sequence[Any]) -> Any:
        table, index = args
        lead = np.broadcast_shapes(table.shape[:LEAD], index.shape[:LEAD])
        return np.broadcast_to(table, (*lead, *table.shape[LEAD:]))[places(lead, index)]

    def write(args: Sequence[Any]) -> Any:
        value, index = args
        lead = np.broadcast_shapes(value.shape[:LEAD], index.shape[:LEAD])
        whole = np.zeros((*lead, *shape), value.dtype)
        # Equal integers add up; an assignment would keep the last one alone.
        np.add.at(whole, places(lead, index), np.broadcast_to(value, (*lead, *value.shape[LEAD:])))
        return whole

    return read if kind == "gather" else write


def _gather(node: Node, shape: tuple[int, ...]) -> Compute:
    axis = LEAD + node.attrs.axis

    def place(index: Any, lead: tuple[int, ...], rank: int) -> Any:
        return np.broadcast_to(index.astype(int), lead).reshape(*lead, *(1,) * (rank - LEAD))

    def read(args: Sequence[Any]) -> Any:
        table, index = args
        lead = np.broadcast_shapes(table.shape[:LEAD], index.shape)
        table = np.broadcast_to(table, (*lead, *table.shape[LEAD:]))
        return np.take_along_axis(table, place(index, lead, table.ndim), axis).squeeze(axis)

    def write(args: Sequence[Any]) -> Any:
        value, index = args
        lead = np.broadcast_shapes(value.shape[:LEAD], index.shape)
        whole = np.zeros((*lead, *shape))
        rows = np.broadcast_to(
            np.expand_dims(value, axis), (*lead, *(1 if i == node.attrs.axis else n for i, n in enumerate(shape)))
        )
        # One integer a sample: no two meet in one place, so that an assignment is a sum.
        np.put_along_axis(whole, place(index, lead, whole.ndim), rows, axis)
        return whole

    return read if node.attrs.kind == "gather" else write


def _kept(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, axes: function(x, axis=axes, keepdims=True)


_mean, _sum, _var, _max, _min = (_kept(f) for f in (np.mean, np.sum, np.var, np.max, np.min))


def _logsumexp(x: Any, axes: Any) -> Any:
    # The greatest one outside, so that no exponential overflows.
    top = _max(x, axes)
    return top + np.log(_sum(np.exp(x - top), axes))


def _root(square: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, axes, eps=0.0: np.sqrt(square(x, axes) + _beside(eps, x))


def _beside(eps: Any, x: Any) -> Any:
    return _filled(eps, x.ndim - LEAD) if isinstance(eps, np.ndarray) else eps


def _squares(x: Any, axes: Any) -> Any:
    return _sum(x * x, axes)


def _mean_square(x: Any, axes: Any) -> Any:
    return _mean(x * x, axes)


def _share(top: Callable[..., Any]) -> Callable[..., Any]:
    def share(x: Any, axes: Any) -> Any:
        # Equal maxima share the derivative equally.
        chosen = (x == top(x, axes)) * 1.0
        return chosen / _sum(chosen, axes)

    return share


WHOLE: dict[str, Callable[..., Any]] = {
    "logsumexp": _logsumexp,
    "mean": _mean,
    "var": _var,
    "std": _root(_var),
    "norm": _root(_squares),
    "smooth_norm": _root(_squares),
    "deviation": _root(_var),
    "rms": _root(_mean_square),
    "max": _max,
    "min": _min,
    "softmax": lambda x, axes: np.exp(x - _logsumexp(x, axes)),
    "log_softmax": lambda x, axes: x - _logsumexp(x, axes),
    "unit": lambda x, axes: x / _root(_squares)(x, axes),
    "layer_norm": lambda x, axes, eps=0.0: (x - _mean(x, axes)) / _root(_var)(x, axes, eps),
    "rms_norm": lambda x, axes, eps=0.0: x / _root(_mean_square)(x, axes, eps),
    "is_max": _share(_max),
    "is_min": _share(_min),
}
"""Functions of an array along axes, by their definitions; the axes stay with length 1."""
