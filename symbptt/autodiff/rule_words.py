"""Words for the rule that makes a value: for a line of the user's, and for its adjoint."""

from __future__ import annotations

import sympy as sp

from symbptt.ir.graph import Graph
from symbptt.ir.node import Node

VIEWS = {
    "transpose": "transpose",
    "reshape": "reshape",
    "expand": "repetition",
    "slice": "part",
    "pad": "zeros around a part",
    "roll": "roll",
    "concatenate": "concatenation",
}

NAMES = {
    "solve": "linear solve",
    "cholesky": "Cholesky factor",
    "expm": "matrix exponential",
    "det": "determinant",
    "logdet": "log-determinant",
    "detsign": "sign of a determinant",
    "halved": "lower triangle",
    "tril": "lower triangle",
    "diag": "diagonal matrix",
}
"""The words for functions of matrices."""


WHOLES = {
    "smooth_norm": "root of a sum of squares",
    "deviation": "root of a variance",
    "std": "standard deviation",
    "rms": "root mean square",
    "unit": "unit vector",
    "is_max": "place of a maximum",
    "is_min": "place of a minimum",
}
"""The words for functions of arrays whose names nobody writes."""


def rule_of(node: Node) -> str:
    """Return what a node does with its arguments, in a word or two."""
    match node.family:
        case "map":
            return _of_body(node.attrs.expr)
        case "contract":
            return "matrix product" if set(node.attrs.a) & set(node.attrs.b) else "outer product"
        case "reduce":
            return "sum of entries" if node.attrs.kind == "sum" else "largest entry"
        case "view":
            return VIEWS[node.attrs.kind]
        case "gather":
            if node.attrs.kind != "gather":
                return "zeros around a row"
            return {0: "row of a table", 1: "column of a table"}.get(node.attrs.axis, "part of a table")
        case "cumulate":
            return "running sum"
        case "algebra":
            return NAMES.get(node.attrs.name, str(node.attrs.name))
        case "total":
            return "sum over steps"
        case "convolution":
            return {"z": "convolution", "x": "transposed convolution", "w": "correlation"}[node.attrs.result]
        case "whole":
            return WHOLES.get(node.attrs.name, str(node.attrs.name).replace("_", " "))
        case "point":
            return "fixed point"
    return "given" if node.family == "leaf" else node.family


def _of_body(expr: sp.Expr) -> str:
    if expr.is_Function:
        return str(expr.func.__name__)
    if expr.is_Add:
        return "sum"
    if expr.is_Mul:
        return "quotient" if any(arg.is_Pow and arg.exp.is_negative for arg in expr.args) else "product"
    if expr.is_Pow:
        return "quotient" if expr.exp.is_negative else "power"
    return "value"


def adjoint_rule(g: Graph, readers: list[int]) -> str:
    """Return through what the adjoint of a value comes, by those that read the value."""
    found = dict.fromkeys(rule_of(g[reader]) for reader in readers)
    return f"chain rule through {', '.join(found)}" if found else "given by the loss"
