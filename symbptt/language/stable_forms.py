"""Textbook spellings that overflow, made into their stable forms.

They are: sigmoid, its powers and its derivative, silu, softplus, tanh by exponentials, softmax, logsumexp, log-softmax,
the absolute value as a root of a square, the square of a norm, one over a root as a power.

Example: 1 / (1 + exp(-a)) at a = -1000: exp(1000) is inf in float64, so that the value is 0, but its derivative
exp(-a) / (1 + exp(-a))² is inf / inf = nan. `_sigmoid` sees the quotient 1 / (1 + exp(u)) with u = -a, and puts σ(-u) = σ(a)
in its place, whose derivative σ (1 - σ) is 0 there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import sympy as sp

from symbptt import ops
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, Reduction, placeholder
from symbptt.ir.rewrite import copy_node, rewritten
from symbptt.ir.step import Step

A, B, C = (placeholder(i) for i in range(3))


def stable(step: Step) -> Step:
    """Return the step with every recognised spelling in its stable form; values are the same where both are finite."""
    roots = [*step.leaves.values(), *step.next.values(), *step.outputs.values()]
    g, new = rewritten(step.graph, roots, _rewrite)
    leaves, following, outputs = (
        {name: new[id] for name, id in ids.items()} for ids in (step.leaves, step.next, step.outputs)
    )
    return replace(step, graph=g, leaves=leaves, next=following, outputs=outputs)


def stable_value(g: Graph, id: int) -> tuple[Graph, int]:
    """Return a value in its stable form, in a graph of its own."""
    found, new = stable_values(g, [id])
    return found, new[id]


def stable_values(g: Graph, ids: Iterable[int]) -> tuple[Graph, dict[int, int]]:
    """Return some values, and all that they are computed from, in their stable forms in a graph of its own; new ids by old ones."""
    return rewritten(g, ids, _rewrite)


def _rewrite(g: Graph, node: Node, args: tuple[int, ...]) -> int:
    id = copy_node(g, node, args)
    if node.family != "map" or any(map(g.is_complex, (id, *args))):  # the forms are those of real numbers
        return id
    # The graph is rebuilt from arguments to values: a rule sees arguments that are in stable form already.
    for rule in RULES:
        found = rule(g, id)
        # Where the spelling broadcasts and its stable form would not, the shapes differ and the spelling stays.
        if found is not None and g.shape(found) == g.shape(id):
            return found
    return id


def _body(g: Graph, id: int) -> sp.Expr | None:
    return g[id].attrs.expr if g[id].family == "map" else None


def _argument(g: Graph, id: int, function: sp.Expr) -> int | None:
    """Return the argument of a node that is `function` of it."""
    return g[id].args[0] if _body(g, id) == function else None


def _exp(g: Graph, id: int) -> int | None:
    """Return u where a node is exp(u) or 1 / exp(-u), else None."""
    inner = _argument(g, id, 1 / A)
    if inner is None and _body(g, id) == A / B and _number(g, g[id].args[0]) == 1:
        inner = g[id].args[1]
    below = None if inner is None else _argument(g, inner, sp.exp(A))
    return _argument(g, id, sp.exp(A)) if below is None else _negative(g, below)


def _number(g: Graph, id: int) -> float | None:
    node = g[id]
    return node.attrs.value if node.family == "number" and not node.shape else None


def _quotient(g: Graph, id: int) -> tuple[int, int] | None:
    """Return numerator and denominator of a division, or of a product with a reciprocal."""
    body, args = _body(g, id), g[id].args
    if body == A / B:
        return args[0], args[1]
    if body == A * B:
        for one, other in (args, args[::-1]):
            inner = _quotient(g, other) if _may_be_reciprocal(g, other) else None
            if inner is not None and _number(g, inner[0]) == 1 and g.shape(other) == g.shape(inner[1]):
                return one, inner[1]
    return (build.number(g, 1), args[0]) if body == 1 / A else None


def _may_be_reciprocal(g: Graph, id: int) -> bool:
    """Answer whether a value is a division, or a product with one: a look into all factors would double with each square."""
    body = _body(g, id)
    return body in (A / B, 1 / A) or (body == A * B and 1 in (_number(g, arg) for arg in g[id].args))


def _one_plus_exp(g: Graph, id: int) -> int | None:
    """Return u where a node is 1 + exp(u), else None."""
    if _body(g, id) != A + B:
        return None
    for one, other in (g[id].args, g[id].args[::-1]):
        if _number(g, one) == 1:
            return _exp(g, other)
    return None


def _negative(g: Graph, id: int) -> int:
    inner = _argument(g, id, -A)
    return build.map_(g, -A, (id,)) if inner is None else inner


def _sigmoid(g: Graph, id: int) -> int | None:
    """Rewrite a / (1 + exp(u)) as a σ(-u), and exp(u) / (1 + exp(u)) as σ(u)."""
    parts = _quotient(g, id)
    u = None if parts is None else _one_plus_exp(g, parts[1])
    if parts is None or u is None:
        return None
    if _exp(g, parts[0]) == u:
        return build.map_(g, ops.sigmoid(A), (u,))
    if _body(g, parts[0]) == A * B:
        for one, other in (g[parts[0]].args, g[parts[0]].args[::-1]):
            if _exp(g, other) == u:
                return build.map_(g, A * B, (one, build.map_(g, ops.sigmoid(A), (u,))))
    value = build.map_(g, ops.sigmoid(A), (_negative(g, u),))
    return value if _number(g, parts[0]) == 1 else build.map_(g, A * B, (parts[0], value))


def _logistic(g: Graph, id: int) -> int | None:
    """Rewrite a / (1 + exp(u))² as a σ(-u)², and exp(u) / (1 + exp(u))² as σ(u) σ(-u); other whole powers likewise."""
    parts = _quotient(g, id)
    base, count = (None, 0) if parts is None else _whole_power(g, parts[1])
    u = None if base is None else _one_plus_exp(g, base)
    if parts is None or u is None:
        return None
    below = build.map_(g, ops.sigmoid(A), (_negative(g, u),))
    rest = _without_exp(g, parts[0], u, set())
    if rest is None:
        return build.map_(g, A * B**count, (parts[0], below))
    value = build.map_(g, A * B ** (count - 1), (build.map_(g, ops.sigmoid(A), (u,)), below))
    return value if _number(g, rest) == 1 else build.map_(g, A * B, (rest, value))


def _whole_power(g: Graph, id: int) -> tuple[int | None, int]:
    """Return the base and the exponent of a whole power from 2 on, or of a square that is written as a product."""
    body, args = _body(g, id), g[id].args
    if body == A * B and args[0] == args[1]:
        return args[0], 2
    if body is not None and body.is_Pow and body.base == A and body.exp.is_Integer and body.exp > 1:
        return args[0], int(body.exp)
    return None, 0


def _without_exp(g: Graph, id: int, u: int, without: set[int]) -> int | None:
    """Return the rest of a product without its factor exp(u); None where it has none, as those that are known to be
    `without` it: factors that are read twice are looked at once."""
    if id in without:
        return None
    if _exp(g, id) == u:
        return build.number(g, 1)
    if _body(g, id) == A / B:
        left = _without_exp(g, g[id].args[0], u, without)
        if left is not None:
            return build.map_(g, A / B, (left, g[id].args[1]))
    if _body(g, id) == A * B:
        for one, other in (g[id].args, g[id].args[::-1]):
            left = _without_exp(g, one, u, without)
            if left is not None:
                return other if _number(g, left) == 1 else build.map_(g, A * B, (left, other))
    # Remembers failures: a product that reads a factor twice would otherwise be searched exponentially often.
    without.add(id)
    return None


def _absolute(g: Graph, id: int) -> int | None:
    """Rewrite sqrt(x * x) as |x|."""
    inside = _argument(g, id, sp.sqrt(A))
    base, count = (None, 0) if inside is None else _whole_power(g, inside)
    return build.map_(g, ops.absolute(A), (base,)) if base is not None and count == 2 else None


def _squared_norm(g: Graph, id: int) -> int | None:
    """Rewrite the square of a norm, which `norm` has as where(s > 0, sqrt(where(s > 0, s, 1)), 0), as its sum of squares s."""
    norm, count = _whole_power(g, id)
    if norm is None or count != 2 or _body(g, norm) != ops.where(A, B, C):
        return None
    positive, root, _ = g[norm].args
    chosen = _argument(g, root, sp.sqrt(A))
    squares = g[positive].args[0]
    if chosen is None or _body(g, chosen) != ops.where(A, B, C) or g[chosen].args[:2] != (positive, squares):
        return None
    return squares if _is_sum_of_squares(g, squares) else None


def _is_sum_of_squares(g: Graph, id: int) -> bool:
    node = g[id]
    if node.family != "reduce" or node.attrs.kind != "sum":
        return False
    return _whole_power(g, node.args[0])[1] == 2


def _one_over_root(g: Graph, id: int) -> int | None:
    """Rewrite u ** -0.5 as 1 / sqrt(u).

    The derivative of the power is one coefficient, u ** -1.5 / 2, which leaves the range where neither the value nor the gradient
    does: in single precision from u = 1e26 on, as the sum of squares of a norm. That of a quotient and a root comes in two
    factors, which do not.
    """
    if _body(g, id) not in (A ** sp.Float(-0.5), 1 / sp.sqrt(A)):
        return None
    return build.map_(g, 1 / A, (build.map_(g, sp.sqrt(A), g[id].args),))


def _softplus(g: Graph, id: int) -> int | None:
    """Rewrite log(1 + exp(u)) and log1p(exp(u)) as softplus(u)."""
    inside, small = _argument(g, id, sp.log(A)), _argument(g, id, ops.log1p(A))
    u = _one_plus_exp(g, inside) if inside is not None else _exp(g, small) if small is not None else None
    return None if u is None else build.map_(g, ops.softplus(A), (u,))


def _log_sigmoid(g: Graph, id: int) -> int | None:
    """Rewrite log(σ(u)) as -softplus(-u)."""
    inside = _argument(g, id, sp.log(A))
    u = None if inside is None else _argument(g, inside, ops.sigmoid(A))
    if u is None:
        return None
    return build.map_(g, -A, (build.map_(g, ops.softplus(A), (_negative(g, u),)),))


def _power_of_e(g: Graph, id: int) -> int | None:
    """Rewrite e ** u as exp(u)."""
    if _body(g, id) != A**B or _number(g, g[id].args[0]) != math.e:
        return None
    return build.map_(g, sp.exp(A), (g[id].args[1],))


def _tanh_by_expm1(g: Graph, id: int) -> int | None:
    """Rewrite expm1(u) / (expm1(u) + 2) as tanh(u / 2)."""
    parts = _quotient(g, id)
    u = None if parts is None else _argument(g, parts[0], ops.expm1(A))
    if parts is None or u is None or _body(g, parts[1]) != A + B:
        return None
    for one, two in (g[parts[1]].args, g[parts[1]].args[::-1]):
        if one == parts[0] and _number(g, two) == 2:
            return build.map_(g, sp.tanh(A), (build.map_(g, A / 2, (u,)),))
    return None


def _tanh(g: Graph, id: int) -> int | None:
    """Rewrite (exp(u) - exp(v)) / (exp(u) + exp(v)) as tanh((u - v) / 2), where 1 counts as exp(0); and sinh / cosh."""
    parts = _quotient(g, id)
    if parts is None:
        return None
    above, below = parts
    x = _argument(g, above, sp.sinh(A))
    if x is not None and x == _argument(g, below, sp.cosh(A)):
        return build.map_(g, sp.tanh(A), (x,))
    if _body(g, above) != A - B or _body(g, below) != A + B or set(g[above].args) != set(g[below].args):
        return None
    u, v = (_exponent(g, arg) for arg in g[above].args)
    if u is None or v is None:
        return None
    return build.map_(g, sp.tanh(A), (_half_difference(g, u, v),))


def _exponent(g: Graph, id: int) -> int | None:
    return build.number(g, 0) if _number(g, id) == 1 else _exp(g, id)


def _half_difference(g: Graph, u: int, v: int) -> int:
    # (u - (-u)) / 2 = u: the common spelling of tanh.
    if _negative(g, u) == v or _negative(g, v) == u:
        return u
    if _number(g, v) == 0:
        return build.map_(g, A / 2, (u,))
    if _number(g, u) == 0:
        return build.map_(g, -A / 2, (v,))
    return build.map_(g, (A - B) / 2, (u, v))


def _softmax(g: Graph, id: int) -> int | None:
    """Rewrite exp(u) / sum(exp(u)) with the maximum of u subtracted first."""
    parts = _quotient(g, id)
    u = None if parts is None else _exp(g, parts[0])
    if parts is None or u is None:
        return None
    axes = _sum_of(g, parts[1], parts[0])
    if axes is None or _is_shifted(g, u, axes):
        return None
    e = build.map_(g, sp.exp(A), (_shift(g, u, axes)[0],))
    return build.map_(g, A / B, (e, _kept(g, build.reduce(g, "sum", e, axes), g.shape(u), axes)))


def _logsumexp(g: Graph, id: int) -> int | None:
    """Rewrite log(sum(exp(u))) with the maximum of u subtracted first and added last."""
    inside = _argument(g, id, sp.log(A))
    total = None if inside is None else _reduced(g, inside)
    u = None if total is None else _exp(g, g[total].args[0])
    if inside is None or total is None or u is None:
        return None
    axes = g[total].attrs.axes
    if _is_shifted(g, u, axes):
        return None
    shifted, top = _shift(g, u, axes)
    log = build.map_(g, sp.log(A), (build.reduce(g, "sum", build.map_(g, sp.exp(A), (shifted,)), axes),))
    flat = build.reshape(g, top, g.shape(log))
    # log Σ exp(u) = top + log Σ exp(u - top).
    return build.reshape(g, build.map_(g, A + B, (log, flat)), g.shape(inside))


def _log_softmax(g: Graph, id: int) -> int | None:
    """Rewrite log(exp(u) / sum(exp(u))) as u - log(sum(exp(u))), where the maximum is subtracted already."""
    inside = _argument(g, id, sp.log(A))
    parts = None if inside is None else _quotient(g, inside)
    u = None if parts is None else _exp(g, parts[0])
    if parts is None or u is None or _sum_of(g, parts[1], parts[0]) is None:
        return None
    return build.map_(g, A - B, (u, build.map_(g, sp.log(A), (parts[1],))))


def _reduced(g: Graph, id: int) -> int | None:
    """Return the sum that a node is, seen through a reshape that keeps axes of size 1."""
    node = g[id]
    if node.family == "view" and node.attrs.kind == "reshape":
        node = g[node.args[0]]
    return node.id if node.family == "reduce" and node.attrs.kind == "sum" else None


def _sum_of(g: Graph, id: int, e: int) -> tuple[int, ...] | None:
    total = _reduced(g, id)
    if total is None or g[total].args != (e,):
        return None
    axes: tuple[int, ...] = g[total].attrs.axes
    aligned = g.shape(id) in (_ones(g.shape(e), axes), g.shape(total)) and (
        g.shape(id) == _ones(g.shape(e), axes) or axes == tuple(range(len(axes)))
    )
    return axes if aligned else None


def _ones(shape: tuple[object, ...], axes: tuple[int, ...]) -> tuple[object, ...]:
    return tuple(1 if i in axes else item for i, item in enumerate(shape))


def _kept(g: Graph, id: int, shape: tuple[object, ...], axes: tuple[int, ...]) -> int:
    return build.reshape(g, id, _ones(shape, axes))


def _shift(g: Graph, u: int, axes: tuple[int, ...]) -> tuple[int, int]:
    top = _kept(g, build.reduce(g, "max", u, axes), g.shape(u), axes)
    # The value does not depend on the shift, so that its derivative through the maximum is zero.
    fixed = build.map_(g, ops.shift(A), (top,))
    return build.map_(g, A - B, (u, fixed)), fixed


def _is_shifted(g: Graph, u: int, axes: tuple[int, ...]) -> bool:
    """Answer whether the maximum is taken off already: u is x less the maximum of that same x along the same axes."""
    if _body(g, u) != A - B:
        return False
    x, top = g[u].args
    while g[top].family == "view" or _body(g, top) in (ops.shift(A), ops.stop_gradient(A)):
        top = g[top].args[0]
    return g[top].family == "reduce" and g[top].attrs == Reduction("max", axes) and g[top].args == (x,)


RULES = (_power_of_e, _tanh, _tanh_by_expm1, _sigmoid, _logistic, _log_sigmoid, _softplus, _softmax, _log_softmax,
         _logsumexp, _absolute, _squared_norm, _one_over_root)  # fmt: skip
