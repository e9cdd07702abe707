"""A small evaluator of step graphs: every node by its family, on NumPy arrays, sample by sample."""

import functools
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
import sympy as sp
from scipy import linalg
from scipy.special import logsumexp

import symbptt as sb
from symbptt import ops
from symbptt.codegen.program.program import Program
from symbptt.ir.node import Node, placeholder

SAMPLES = 3
LETTERS = "abcdefghij"


def number_of(size: Any, sizes: Mapping[str, int]) -> int:
    """A size in numbers."""
    return size if isinstance(size, int) else _number_of(size, tuple(sizes.items()))


@functools.cache
def _number_of(size: sp.Expr, sizes: tuple[tuple[str, int], ...]) -> int:
    return int(size.subs({s: dict(sizes)[s.name] for s in size.free_symbols}))


def formula(expr: sp.Expr, args: list[Any]) -> Any:
    """A scalar body on arrays."""
    if expr.is_Symbol:
        return args[int(expr.name[1:])]
    if expr.is_number and not expr.args:
        return float(expr)
    parts = [formula(part, args) for part in expr.args]
    if expr.is_Add or expr.is_Mul:
        return functools.reduce(operator.add if expr.is_Add else operator.mul, parts)
    if expr.is_Pow:
        return np.power(parts[0], int(expr.exp) if expr.exp.is_Integer else parts[1])
    if expr.is_number:
        return float(expr)
    name = type(expr).__name__
    if name in OF_PAGES:
        return OF_PAGES[name](*parts)
    if name in ops.REMAINING:
        return formula(ops.REMAINING[name].body(placeholder(0)), parts)
    return ops.BY_NAME[name].evaluate(*parts) if name in ops.BY_NAME else getattr(np, name)(*parts)


def _over(a: Any, b: Any) -> Any:
    return np.where(b == 0, 0.0, a / np.where(b == 0, 1.0, b))


OF_PAGES = {"over": _over, "ahead": lambda a, b: np.heaviside(a - b, 0.5)}
"""Functions that stand on pages alone, by their definitions."""


def span(start: int, length: int, step: int) -> Any:
    """An index of a slice, also where it goes down to 0."""
    return start + step * np.arange(length)


def view(node: Node, args: list[Any], sizes: Mapping[str, int]) -> Any:
    shape, data = tuple(number_of(s, sizes) for s in node.shape), node.attrs.data
    match node.attrs.kind:
        case "transpose":
            return np.transpose(args[0], data)
        case "reshape":
            return np.reshape(args[0], shape)
        case "expand":
            return np.broadcast_to(args[0], shape)
        case "concatenate":
            return np.concatenate(args, data[0])
        case "roll":
            return np.roll(args[0], int(number_of(data[1], sizes)), data[0])
    index = np.ix_(*(span(*(number_of(s, sizes) for s in item)) for item in data))
    if node.attrs.kind == "slice":
        return args[0][index]
    whole = np.zeros(shape)
    whole[index] = args[0]
    return whole


ALGEBRA: dict[str, Any] = {
    "solve": np.linalg.solve,
    "cholesky": np.linalg.cholesky,
    "expm": linalg.expm,
    "det": np.linalg.det,
    "logdet": lambda a: np.linalg.slogdet(a)[1],
    "detsign": lambda a: np.linalg.slogdet(a)[0],
    "tril": np.tril,
    "halved": lambda a: np.tril(a) - np.diag(np.diag(a)) / 2,
    "diag": np.diag,
    "diagonal": np.diag,
}


def one(node: Node, args: list[Any], sizes: Mapping[str, int]) -> Any:
    """The value of a node from those of its arguments, for one sample."""
    attrs = node.attrs
    match node.family:
        case "number":
            return np.reshape(np.asarray(attrs.value, float), tuple(number_of(s, sizes) for s in node.shape))
        case "map":
            shape = tuple(number_of(s, sizes) for s in node.shape)
            return np.array(np.broadcast_to(np.asarray(formula(attrs.expr, args), float), shape))
        case "contract":
            a, b, out = ("".join(LETTERS[i] for i in part) for part in (attrs.a, attrs.b, attrs.out))
            return np.einsum(f"{a},{b}->{out}", *args)
        case "reduce":
            return getattr(np, attrs.kind)(args[0], axis=attrs.axes)
        case "view":
            return view(node, args, sizes)
        case "cumulate" if attrs.reverse:
            return np.flip(np.cumsum(np.flip(args[0], attrs.axis), attrs.axis), attrs.axis)
        case "cumulate":
            return np.cumsum(args[0], attrs.axis)
        case "gather" if attrs.kind == "gather":
            return np.take(args[0], np.asarray(args[1], int), attrs.axis)
        case "gather" if np.ndim(args[1]):
            whole = np.zeros(tuple(number_of(s, sizes) for s in node.shape))
            np.add.at(whole, np.asarray(args[1], int), args[0])
            return whole
        case "gather":
            whole = np.zeros(tuple(number_of(s, sizes) for s in node.shape))
            whole[(slice(None),) * attrs.axis + (int(args[1]),)] = args[0]
            return whole
        case "algebra":
            return ALGEBRA[attrs.name](*args)
        case "convolution":
            return _convolution(node, args, sizes)
        case "whole":
            return WHOLE[attrs.name](args[0], attrs.axes, *args[1:])
    raise AssertionError(f"no value for {node}")


def _convolution(node: Node, args: list[Any], sizes: Mapping[str, int]) -> Any:
    """A convolution, or what a cotangent of it gives to the filters or to what they are applied to, one entry after the other."""
    of, shape = node.attrs, tuple(number_of(s, sizes) for s in node.shape)
    around = ((0, 0),) * of.has_channels + of.pads

    def convolved(w: Any, x: Any) -> Any:
        return sb.conv(np.pad(x, around), w, stride=of.steps, dilation=of.spreads)

    if of.result == "z":
        return convolved(*args)
    units = np.eye(int(np.prod(shape))).reshape(-1, *shape)
    if of.result == "x":
        return np.reshape([np.sum(convolved(args[0], unit) * args[1]) for unit in units], shape)
    return np.reshape([np.sum(convolved(unit, args[1]) * args[0]) for unit in units], shape)


def _kept(f: Any) -> Any:
    """A reduction whose axes stay, so that it lies beside what it was made of."""
    return lambda x, axes: f(x, axis=axes, keepdims=True)


def _root(square: Any) -> Any:
    return lambda x, axes, eps=0.0: np.sqrt(square(x, axes) + eps)


_mean, _sum, _var, _max, _min = map(_kept, (np.mean, np.sum, np.var, np.max, np.min))
_lse = _kept(logsumexp)
_squares, _mean_square = (lambda x, axes: _sum(x * x, axes)), (lambda x, axes: _mean(x * x, axes))
_gone: dict[str, Any] = {
    "logsumexp": _lse, "mean": _mean, "var": _var, "std": _root(_var), "norm": _root(_squares), "smooth_norm": _root(_squares),
    "deviation": _root(_var), "rms": _root(_mean_square), "max": _max, "min": _min,
}  # fmt: skip
WHOLE = {name: (lambda x, axes, *eps, f=f: np.squeeze(f(x, axes, *eps), axes)) for name, f in _gone.items()} | {
    "softmax": lambda x, axes: np.exp(x - _lse(x, axes)),
    "log_softmax": lambda x, axes: x - _lse(x, axes),
    "unit": lambda x, axes: x / _root(_squares)(x, axes),
    "layer_norm": lambda x, axes, eps: (x - _mean(x, axes)) / _root(_var)(x, axes, eps),
    "rms_norm": lambda x, axes, eps: x / _root(_mean_square)(x, axes, eps),
    "is_max": lambda x, axes: (x == _max(x, axes)) / _sum((x == _max(x, axes)) * 1.0, axes),
    "is_min": lambda x, axes: (x == _min(x, axes)) / _sum((x == _min(x, axes)) * 1.0, axes),
}
"""Functions of an array along axes, by their definitions."""


def leaf(node: Node, sizes: Mapping[str, int], varies: bool) -> list[Any]:
    """Numbers for a value from outside, the same in every program."""
    role, name = node.attrs.role, node.attrs.name
    if role == "size":
        return [float(eval(name, {}, dict(sizes)))] * SAMPLES
    if role == "eye":
        return [np.eye(number_of(node.shape[0], sizes))] * SAMPLES
    seed = [ord(letter) for letter in f"{role}.{name}"]
    shape = tuple(number_of(s, sizes) for s in node.shape)
    drawn = np.random.default_rng(seed).uniform(-1, 1, (SAMPLES, *shape))
    return list(drawn) if varies else [drawn[0]] * SAMPLES


def values(p: Program, sizes: Mapping[str, int]) -> list[list[Any]]:
    """The value of every node of a program, for every sample."""
    found: list[list[Any]] = []
    for node in p.graph:
        args = [found[arg] for arg in node.args]
        if node.family == "leaf":
            found.append(leaf(node, sizes, node.id in p.varying))
        elif node.family == "total":
            found.append([sum(args[0])] * SAMPLES)
        else:
            found.append([one(node, [arg[k] for arg in args], sizes) for k in range(SAMPLES)])
    return found


def roots(p: Program, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """The results of a program by name, for every sample."""
    found = values(p, sizes)
    groups = {"next": p.next, "output": p.outputs, "before": p.recurrent, "input": p.inputs, "param": p.params,
              "whole": p.whole}  # fmt: skip
    return {f"{group} {name}": np.array(found[id]) for group, names in groups.items() for name, id in names.items()}
