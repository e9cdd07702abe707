"""The rule of calculus by which a value passes its adjoint on, in words."""

from __future__ import annotations

import sympy as sp

from symbptt import ops
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node
from symbptt.ir.scalar import NAME_OF
from symbptt.ir.shape import prod
from symbptt.ir.shape import size as sized

SLOPES: dict[str, str] = {
    "sigmoid": "σ' = σ (1 - σ)",
    "tanh": "tanh' = 1 - tanh²",
    "exp": "exp' = exp",
    "expm1": "the slope of exp(a) - 1 is exp(a)",
    "log": "log' a = 1 / a",
    "log1p": "the slope of log(1 + a) is 1 / (1 + a)",
    "sqrt": "the slope of √a is 1 / (2 √a)",
    "sin": "sin' = cos",
    "cos": "cos' = -sin",
    "relu": "relu' a = [a > 0]",
    "softplus": "softplus' = σ",
    "abs": "|a|' = sign(a), at 0 it is 0",
    "maximum": "max(a, b): the larger is given it all, equal ones half",
    "minimum": "min(a, b): the smaller is given it all, equal ones half",
    "where": "a choice: what is chosen is given it all, the other nothing",
    "stop_gradient": "held constant: nothing flows",
}
"""The slopes of functions, as a textbook has them."""
FAMILIES: dict[str, str] = {
    "contract": "product A b: dA is given dc bᵀ, db is given Aᵀ dc",
    "convolution": "convolution z = w ∗ x: dx is given w ∗ᵀ dz, dw is given dz ⋆ x",
    "cumulate": "a running sum: what it sums is given the running sum of the adjoint from the other end",
}
ALGEBRA: dict[str, str] = {
    "solve": "solve X = A⁻¹ B: dB is given A⁻ᵀ dX, dA is given -A⁻ᵀ dX Xᵀ",
    "cholesky": "Cholesky A = L Lᵀ: dA is given low(S + Sᵀ), S = L⁻ᵀ low(Lᵀ dL) L⁻¹",
    "expm": "matrix exponential: dA is given the derivative of exp at Aᵀ in the direction of the adjoint",
    "det": "determinant: dA is given d det(A) A⁻ᵀ",
    "logdet": "log-determinant: dA is given d A⁻ᵀ",
    "detsign": "the sign of a determinant is flat: nothing flows",
    "halved": "a lower triangle with half its diagonal: the same of the adjoint",
    "tril": "a lower triangle: it alone is given the adjoint",
    "diag": "a diagonal matrix: its vector is given the diagonal of the adjoint",
    "diagonal": "the diagonal of a matrix: it alone is given the adjoint",
}
WHOLES: dict[str, str] = {
    "softmax": "y = softmax(a): da is given y ⊙ (dy - sum(y ⊙ dy))",
    "log_softmax": "y = log softmax(a): da is given dy - sum(dy) softmax(a)",
    "logsumexp": "y = log(sum(exp(a))): da is given dy softmax(a)",
    "mean": "y = mean(a) of n numbers: each is given dy / n",
    "var": "y = var(a) of n numbers: da is given 2 dy (a - mean(a)) / n",
    "std": "y = √(var(a)) of n numbers: da is given dy (a - mean(a)) / (n y), and nothing where y is zero",
    "deviation": "y = √(var(a) + ε) of n numbers: da is given dy (a - mean(a)) / (n y)",
    "rms": "y = √(mean(a²) + ε) of n numbers: da is given dy a / (n y)",
    "norm": "y = ‖a‖: da is given dy a / y, and nothing where y is zero",
    "smooth_norm": "y = √(‖a‖² + ε): da is given dy a / y",
    "unit": "y = a / ‖a‖: da is given (dy - y sum(y ⊙ dy)) / ‖a‖",
    "layer_norm": "y = (a - mean(a)) / √(var(a) + ε): da is given (dy - mean(dy) - y mean(y ⊙ dy)) / √(var(a) + ε)",
    "rms_norm": "y = a / √(mean(a²) + ε): da is given (dy - y mean(y ⊙ dy)) / √(mean(a²) + ε)",
    "max": "a maximum: the largest is given it all, equal ones share it",
    "min": "a minimum: the smallest is given it all, equal ones share it",
}
"""The adjoints of functions of arrays that a page shows whole, as `whole.ADJOINTS` makes them."""
REDUCTIONS = {"sum": "a sum: each of its terms is given the same", "max": "a maximum: the largest is given it all"}
VIEWS = {
    "transpose": "a transpose: what is transposed is given the transpose of the adjoint",
    "reshape": "the same entries in another shape: the adjoint is given back in the shape that they had before",
    "expand": "a repetition: what is repeated is given the sum over its copies",
    "slice": "a part of an array: that part is given the adjoint, the rest nothing",
    "roll": "a roll: the adjoint is rolled back",
    "concatenate": "joined parts: each is given its own part of the adjoint",
    "pad": "zeros around a part: the part is given what stands in its place",
}


def rule(node: Node, expr: sp.Expr | None, g: Graph) -> str:
    """Return the name of the rule by which the adjoint of a value goes to what it reads; `expr` is the formula of a map."""
    match node.family:
        case "map":
            return _of_map(expr)
        case "contract":
            return _of_product(g, node)
        case "reduce":
            return REDUCTIONS[node.attrs.kind]
        case "view":
            # A vector is a column where a solve reads it: the adjoint is that of the solve.
            inner = [g[reader] for reader in g.readers(node.id)]
            if node.attrs.kind == "reshape" and len(inner) == 1 and inner[0].family == "algebra":
                return ALGEBRA[inner[0].attrs.name]
            # `v[:, None]` itself repeats nothing: what reads it does.
            return VIEWS["expand" if node.attrs.kind == "reshape" and _is_repeated(g, node) else node.attrs.kind]
        case "algebra":
            return ALGEBRA[node.attrs.name]
        case "gather":
            return _of_gather(g, node)
        case "whole" if node.attrs.name in WHOLES:
            return WHOLES[node.attrs.name]
    return FAMILIES.get(node.family, f"the adjoint of {getattr(node.attrs, 'name', node.family)}")


def _is_repeated(g: Graph, node: Node) -> bool:
    """Answer whether a value, or what is computed of it entry by entry, stands beside larger arrays."""
    readers = [g[reader] for reader in g.readers(node.id) if g[reader].family == "map"]
    own = sized(prod(node.shape))
    return any(sized(prod(x.shape)) != own or (x.id not in g.names and _is_repeated(g, x)) for x in readers)


def _of_product(g: Graph, node: Node) -> str:
    ranks = [len(g.shape(arg)) for arg in node.args]
    if ranks == [2, 1]:
        return "product W v: dW is given da vᵀ, dv is given Wᵀ da"
    if ranks == [1, 2]:
        return "product Aᵀ v: dv is given A da, dA is given v daᵀ"
    if ranks == [1, 1] and not node.shape:
        return "inner product uᵀ v: du is given da v, dv is given da u"
    if ranks == [1, 1]:
        return "outer product u vᵀ: du is given dA v, dv is given dAᵀ u"
    if ranks == [2, 2]:
        return "product A B: dA is given dC Bᵀ, dB is given Aᵀ dC"
    return "product rule: each factor is given the adjoint times the other"


def _of_gather(g: Graph, node: Node) -> str:
    table, index = (g.shape(arg) for arg in node.args)
    if node.attrs.kind == "scatter":
        return "values added at the places of an index: each is given the adjoint of its place"
    one = "an entry" if len(table) == 1 else {0: "a row", 1: "a column"}.get(node.attrs.axis, "a part")
    if index:
        many = {"an entry": "entries", "a row": "rows"}[one]
        return f"{many} of a table chosen by integers: each is given the sum over all places where it stands"
    return f"{one} of a table chosen by an integer: it alone is given the adjoint"


def _of_map(expr: sp.Expr) -> str:
    if expr.is_Add:
        plain = all(len(term.free_symbols) < 2 for term in expr.args)
        return "sum rule: each term is given the adjoint" if plain else "sum and product rule, elementwise"
    if expr.is_Mul:
        below = any(p.is_Pow and p.exp.is_negative for p in sp.Mul.make_args(expr))
        return "quotient rule" if below else "product rule, elementwise"
    if expr.is_Symbol:
        return "the same value: it is given the whole adjoint"
    # SymPy has no class for the square root: it is a power.
    name = "sqrt" if expr.is_Pow and expr.exp == sp.Rational(1, 2) else NAME_OF.get(expr.func, "")
    if name in SLOPES:
        return SLOPES[name]
    if getattr(expr.func, "declared", False):
        return f"{expr.func.__name__}' is the derivative that was declared for it"
    if expr.is_Pow:
        return "quotient rule" if expr.exp == -1 else "power rule"
    if getattr(expr.func, "flat", False) or expr.func is ops.sign:
        return f"{name or expr.func.__name__} is flat: nothing flows"
    return f"chain rule with the slope of {name or expr.func.__name__}"
