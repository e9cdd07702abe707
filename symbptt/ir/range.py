"""Bounds of a value before it is computed, and the reasons why it may be no finite number."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import TypeVar

import sympy as sp

from symbptt import ops
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, placeholder
from symbptt.ir.rounds import graph_of
from symbptt.ir.scalar import expanded

T = TypeVar("T")
Bounds = tuple[float, float]
Known = Mapping[sp.Expr, Bounds]
Hazards = frozenset[str]
NONE: Hazards = frozenset()

ANY: Bounds = (-math.inf, math.inf)
TINY = 5e-324
"""The least bound of what is positive, however small."""
# log(largest float32) is about 88.7; the margin leaves room for a sum of a few thousand such terms.
LARGEST_EXPONENT = 80.0
"""Up to here exp is finite in single precision."""

MOST_FACTORS = 16
"""Factors of a product that is written out where another product reads it: all those of a chain would be many."""

POLE, LOGARITHM, OVERFLOW, SCALE = "pole", "logarithm", "overflow", "scale"
"""Why a value may be infinite or no number: it divides by what may be zero, or takes a root of what may be negative;
it is a logarithm; it grows as an exponential does; or it does so of parameters alone."""
SHARED = ("param", "const", "size", "eye")
"""Roles of leaves that are the same for all samples and steps."""

_GROWING = (sp.exp, ops.expm1, sp.sinh, sp.cosh)
_BOUNDED = (sp.tanh, ops.sigmoid, sp.erf, sp.atan, ops.arctan2, ops.sign)
_DIVIDING = (ops.mod, ops.fmod, ops.floor_divide)
_LIMITED = (*_BOUNDED, sp.exp, ops.expm1, ops.softplus, ops.SHOWN["softplus"])
_CHOOSING = (ops.where, ops.relu, ops.maximum, ops.minimum, ops.SHOWN["maximum"], ops.SHOWN["minimum"])


class Ranges:
    """Bounds and hazards of the values of one graph, each found once."""

    def __init__(self, g: Graph) -> None:
        self.g = g
        self._bounds: dict[int, Bounds] = {}
        self._hazards: dict[int, Hazards] = {}
        self._shared: dict[int, bool] = {}
        self._factors: dict[int, sp.Expr] = {}

    def suppose(self, hazards: Mapping[int, Hazards]) -> None:
        """Take it as known why some leaves may be infinite or no number."""
        self._hazards.update(hazards)

    def bounds(self, id: int) -> Bounds:
        """Return numbers between which a value lies, wherever it is a number."""
        return self._found(id, self._bounds, self._bounds_of)

    def hazards(self, id: int) -> Hazards:
        """Return why a value may be infinite or no number, where those from outside are finite."""
        return self._found(id, self._hazards, self._hazards_of)

    def absorbed(self, node: Node) -> Hazards:
        """Return why what a value reads may be no finite number where the value is one: a slice and a maximum leave anything,
        as a choice does; a condition compares anything; a quotient, an exponential and others have a limit where their
        argument overflows."""
        if _leaves_entries(node):
            return self.hazards(node.args[0])
        if node.family != "map" or not _may_absorb(node.attrs.expr):
            return NONE
        read = {placeholder(i): _symbol(arg) for i, arg in enumerate(node.args)}
        told = self._told(node.args)
        parts = list(sp.preorder_traversal(expanded(node.attrs.expr).xreplace(read)))
        compared = (hazards_of(arg, told) for part in parts if _is_choosing(part) for arg in part.args)
        limited = (hazards_of(arg, told) for part in parts if _has_limit(part) for arg in part.args)
        return NONE.union(*compared, NONE.union(*limited) & {OVERFLOW, SCALE})

    def _found(self, id: int, known: dict[int, T], rule: Callable[[Node], T]) -> T:
        """Return the bounds and hazards of a value from those of its arguments."""
        # An explicit stack: recursion over a long chain of values would exceed Python's limit.
        open_ = [id] * (id not in known)
        while open_:
            missing = [arg for arg in self.g[open_[-1]].args if arg not in known]
            if not missing:
                node = self.g[open_.pop()]
                known[node.id] = rule(node)
            open_ += missing
        return known[id]

    def is_shared(self, id: int) -> bool:
        """Answer whether a value is computed from parameters and constants alone."""
        return self._found(id, self._shared, self._is_shared)

    def _is_shared(self, node: Node) -> bool:
        if node.family == "leaf":
            return node.attrs.role in SHARED
        return all(self._shared[arg] for arg in node.args)

    def of_expression(self, expr: sp.Expr, args: Mapping[sp.Expr, int]) -> tuple[Bounds, Hazards]:
        """Return bounds and hazards of an expression over symbols that stand for values."""
        free = expr.free_symbols  # asked once: SymPy looks through the whole expression each time
        read = {symbol: id for symbol, id in args.items() if symbol in free}
        expr = expr.xreplace({symbol: self._compared(id) for symbol, id in read.items()})
        told = self._told(int(s.name[1:]) for s in expr.free_symbols)
        if expr.has(sp.I, ops.conj) or any(map(self.g.is_complex, read.values())):
            return ANY, _complex_hazards(expr, told)
        return bounds_of(expr, told.bounds), hazards_of(expr, told)

    def _told(self, ids: Iterable[int]) -> _Told:
        ids = list(ids)
        return _Told({_symbol(id): self.bounds(id) for id in ids}, {_symbol(id): self.hazards(id) for id in ids},
                     frozenset(_symbol(id) for id in ids if self.is_shared(id)))  # fmt: skip

    def _bounds_of(self, node: Node) -> Bounds:
        if self.g.is_complex(node.id) or any(map(self.g.is_complex, node.args)):
            return (0.0, math.inf) if node.family == "map" and node.attrs.expr.func is ops.modulus else ANY
        args = [self._bounds[arg] for arg in node.args]
        match node.family:
            case "number":
                values = node.attrs.value if isinstance(node.attrs.value, tuple) else (node.attrs.value,)
                return (float(min(values)), float(max(values))) if values else ANY
            case "leaf":
                return (1.0, math.inf) if node.attrs.role == "size" else ANY
            case "map" if self._is_less_its_maximum(node):
                return -math.inf, 0.0
            case "map":
                expr = self._unfolded(node)
                found = bounds_of(expr, {s: self._bounds[int(s.name[1:])] for s in expr.free_symbols})
                return self._bent(node, found)
            # A product of x with itself along the same labels is a sum of squares.
            case "contract" if node.args[0] == node.args[1] and node.attrs.a == node.attrs.b:
                return 0.0, math.inf
            case "contract":
                return (0.0, math.inf) if all(low >= 0 for low, _ in args) else ANY
            case "reduce" if self._is_sum_with_one(node):
                return 1.0, math.inf
            case "reduce" if node.attrs.kind == "sum":
                return _summed(*args)
            # Padding adds zeros to the entries.
            case "view" if node.attrs.kind == "pad":
                return min(args[0][0], 0.0), max(args[0][1], 0.0)
            case "reduce" | "view":
                return min(low for low, _ in args), max(high for _, high in args)
            case "gather" if node.attrs.kind == "gather":
                return args[0]
            case "whole":
                return _WHOLE.get(node.attrs.name, args[0])
        return ANY

    def _bent(self, node: Node, found: Bounds) -> Bounds:
        """Return bounds with what the body alone does not tell: a choice that is made where it is positive, and that an exponential of
        parameters does not vanish."""
        if node.attrs.expr.func is ops.where and self._is_taken_positive(node):
            return min(TINY, self._bounds[node.args[2]][0]), found[1]
        if node.attrs.expr.func is sp.exp and found[0] == 0 and self.is_shared(node.id):
            # exp underflows only below about -103 in float32: of parameters alone, which are of moderate size, it counts as positive.
            return TINY, found[1]
        return found

    def _is_taken_positive(self, node: Node) -> bool:
        """Answer whether a node is where(x > a, x, ...) or where(a < x, x, ...), a number a that is not negative."""
        if node.attrs.expr.args != tuple(placeholder(i) for i in range(3)):
            return False
        # where(x > a, x, y) with a >= 0 returns x only where x > 0: the usual guard in front of a logarithm or a quotient.
        test, x = self.g[node.args[0]], node.args[1]
        if test.family != "map" or test.attrs.expr.func not in (ops.greater, ops.less) or len(test.args) != 2:
            return False
        more, less = test.args if test.attrs.expr.func is ops.greater else test.args[::-1]
        return more == x and self.bounds(less)[0] >= 0

    def _is_less_its_maximum(self, node: Node) -> bool:
        """Answer whether a value is x less the maximum of that same x, as softmax has it, or of x and another value."""
        if node.attrs.expr != placeholder(0) - placeholder(1):
            return False
        top = self._maximum(node)
        if top.family == "map" and top.attrs.expr.func in (ops.maximum, ops.SHOWN["maximum"]):
            return node.args[0] in top.args
        return top.family == "reduce" and top.attrs.kind == "max" and top.args[0] == node.args[0]

    def _maximum(self, difference: Node) -> Node:
        top = self.g[difference.args[1]]
        while top.family == "view" or (top.family == "map" and ops.is_held(top.attrs.expr.func)):
            top = self.g[top.args[0]]
        return top

    def _is_sum_with_one(self, node: Node) -> bool:
        """Answer whether a sum has the exponential of x less its maximum, along the axes of that maximum: one term is 1."""
        e = self.g[node.args[0]]
        if node.attrs.kind != "sum" or e.family != "map" or e.attrs.expr != sp.exp(placeholder(0)):
            return False
        u = self.g[e.args[0]]
        if u.family != "map" or not self._is_less_its_maximum(u):
            return False
        top = self._maximum(u)
        return top.family == "reduce" and bool(top.attrs.axes == node.attrs.axes)

    def _unfolded(self, node: Node) -> sp.Expr:
        """Return the body over values, products written out, so that 0.5 * x * x is seen as a square."""
        over = {placeholder(i): self._factors.get(arg) or self._compared(arg) for i, arg in enumerate(node.args)}
        expr = node.attrs.expr.xreplace(over)
        if (node.attrs.expr.is_Mul or node.attrs.expr.is_Pow) and len(expr.args) <= MOST_FACTORS:
            # Interval arithmetic takes (0.5 x) * x as a product of independent factors, which may be negative; 0.5 x**2 is not.
            self._factors[node.id] = expr
        return expr

    def _compared(self, id: int) -> sp.Expr:
        """Return a value as a symbol; a comparison as what it compares, which tells bounds where it holds."""
        node = self.g[id]
        if node.family != "map" or node.attrs.expr.func not in (*_MORE, *_LESS):
            return _symbol(id)
        return node.attrs.expr.xreplace({placeholder(i): _symbol(arg) for i, arg in enumerate(node.args)})

    def _hazards_of(self, node: Node) -> Hazards:
        if node.family == "rounds":
            inner = Ranges(graph_of(node.attrs.inner))
            found = (inner.hazards(id) for id in (node.attrs.out, *node.attrs.inner.following))
            return NONE.union(*found, *(self._hazards[arg] for arg in node.args))
        if node.family == "settled":  # its entries have settled, so that they are finite
            return NONE
        if node.family != "map":
            return NONE.union(*(self._hazards[arg] for arg in node.args))
        return self.of_expression(node.attrs.expr, {placeholder(i): arg for i, arg in enumerate(node.args)})[1]


def _leaves_entries(node: Node) -> bool:
    """Answer whether a value is made of some entries of another alone."""
    kinds = {"view": ("slice",), "gather": ("gather",), "reduce": ("max", "min")}.get(node.family, ())
    return bool(kinds) and node.attrs.kind in kinds


@cache
def _may_absorb(body: sp.Expr) -> bool:
    """Answer whether a part of a body compares, chooses or has a limit."""
    return any(_is_choosing(part) or _has_limit(part) for part in sp.preorder_traversal(expanded(body)))


def _is_choosing(expr: sp.Expr) -> bool:
    return expr.func in _CHOOSING or bool(getattr(expr.func, "boolean", False))


def _has_limit(expr: sp.Expr) -> bool:
    """Answer whether an expression goes to a number where its argument goes to an infinity."""
    return bool((expr.is_Pow and expr.exp.could_extract_minus_sign()) or expr.func in _LIMITED)


@cache
def _symbol(id: int) -> sp.Symbol:
    return sp.Symbol(f"v{id}", real=True)


def _summed(bounds: Bounds) -> Bounds:
    """Return the bounds of a sum of any number of such values."""
    low, high = bounds
    # The number of terms is unknown: one positive term bounds the sum from below, one negative term makes it unbounded.
    return (low if low > 0 else 0.0 if low == 0 else -math.inf), (high if high < 0 else 0.0 if high == 0 else math.inf)


@dataclass(frozen=True)
class _Told:
    """Facts about the symbols of an expression: their bounds, their hazards, and which are shared."""

    bounds: Known
    hazards: Mapping[sp.Expr, Hazards]
    shared: frozenset[sp.Expr]

    def of(self, hazard: str, expr: sp.Expr) -> Hazards:
        """Return a hazard of an expression, told apart where all that it reads is shared."""
        return frozenset({SCALE if expr.free_symbols <= self.shared else hazard})


def _complex_hazards(expr: sp.Expr, told: _Told) -> Hazards:
    """Return why an expression in complex numbers, of which no bounds are known, may be infinite or no number."""
    own = {POLE for p in expr.atoms(sp.Pow) if p.exp.is_negative and p.base.free_symbols}
    own |= {OVERFLOW for f in expr.atoms(sp.Function) if f.func in _GROWING or f.func in (sp.sin, sp.cos)}
    own |= {POLE for f in expr.atoms(sp.tanh)}
    return NONE.union(own, *(told.hazards[symbol] for symbol in expr.free_symbols))


def hazards_of(expr: sp.Expr, told: _Told) -> Hazards:
    """Return why an expression may be infinite or no number."""
    if expr.is_Symbol:
        return told.hazards[expr]
    if expr.is_number or getattr(expr.func, "boolean", False):
        return NONE
    # Hazards of the arguments pass on, unless the function has a limit that absorbs them.
    found = NONE.union(*(hazards_of(arg, told) for arg in expr.args))
    # tanh(inf) = 1: an overflow in the argument does no harm, a nan passes on.
    if expr.func in _BOUNDED:
        return found - {OVERFLOW, SCALE}
    low, high = bounds_of(expr.args[0], told.bounds)
    if expr.func in (sp.log, ops.log1p):
        return found if low > (0 if expr.func is sp.log else -1) else found | {LOGARITHM}
    if expr.func is sp.tan:
        return found | {POLE}
    if expr.func in _GROWING:
        # exp and expm1 overflow at one end only; at -inf they have a limit, which absorbs an overflow in the argument.
        both = expr.func in (sp.sinh, sp.cosh)
        grows = high > LARGEST_EXPONENT or (both and low < -LARGEST_EXPONENT)
        return found | told.of(OVERFLOW, expr) if grows else found if both else found - {OVERFLOW, SCALE}
    if expr.func in _DIVIDING:
        low, high = bounds_of(expr.args[1], told.bounds)
        return found | told.of(POLE, expr.args[1]) if low <= 0 <= high else found
    return found | _power_hazards(expr, told) if expr.is_Pow else found


def _power_hazards(expr: sp.Expr, told: _Told) -> Hazards:
    base, exponent = expr.args
    low, high = bounds_of(base, told.bounds)
    if not exponent.is_number:
        return frozenset({POLE, LOGARITHM, OVERFLOW})
    # 0 to a negative power divides by zero; a negative base to a fractional power is not real.
    at_zero = exponent.is_negative and low <= 0 <= high
    of_negative = not exponent.is_Integer and low < 0
    return told.of(POLE, base) if at_zero or of_negative else NONE


def bounds_of(expr: sp.Expr, known: Known) -> Bounds:
    """Return the bounds of an expression, given those of its symbols; an interval for each part of it."""
    if expr in known:
        return known[expr]
    if expr.is_number:
        return (float(expr), float(expr)) if expr.is_real else ANY
    if expr.func is ops.where:
        return _where_bounds(expr, known)
    args = [bounds_of(arg, known) for arg in expr.args]
    if expr.is_Add:
        return _positive_sum(args)
    if expr.is_Mul:
        result = args[0]
        for other in args[1:]:
            result = _times(result, other)
        return result
    if expr.is_Pow:
        return _power(args[0], expr.args[1])
    return _FUNCTIONS[expr.func](*args) if expr.func in _FUNCTIONS else ANY


def _positive_sum(args: list[Bounds]) -> Bounds:
    return sum(low for low, _ in args), sum(high for _, high in args)


def _times(a: Bounds, b: Bounds) -> Bounds:
    # A bound of infinity is a limit, not a value: 0 times it is 0 here, where IEEE arithmetic has nan.
    ends = [0.0 if 0 in (x, y) else x * y for x, y in product(a, b)]
    low, high = min(ends), max(ends)
    # TINY * TINY underflows to 0.0; the product of positive numbers must stay positive.
    return max(low, TINY) if a[0] > 0 and b[0] > 0 else low, high


def _power(base: Bounds, exponent: sp.Expr) -> Bounds:
    low, high = base
    if low > 0:
        return TINY, math.inf
    if not exponent.is_number:
        return (0.0, math.inf) if low >= 0 else ANY
    if exponent.is_Integer and exponent % 2 == 0:
        return (TINY if high < 0 else 0.0), math.inf
    return (0.0, math.inf) if low >= 0 or not exponent.is_Integer else ANY


def _where_bounds(expr: sp.Expr, known: Known) -> Bounds:
    test, first, second = expr.args
    # Each branch under its own condition: where(x > 0, x, -x) is found to be at least 0.
    a, b = bounds_of(first, _narrowed(test, True, known)), bounds_of(second, _narrowed(test, False, known))
    return min(a[0], b[0]), max(a[1], b[1])


def _narrowed(test: sp.Expr, holds: bool, known: Known) -> Known:
    """Return the bounds of symbols where a comparison holds, or does not: the greater side is at least the lower bound of the less."""
    if test.func not in (*_MORE, *_LESS):
        return known
    # Where x > a does not hold, x <= a: the two change places. Strictness does not matter for bounds.
    more, less = test.args if (test.func in _MORE) == holds else test.args[::-1]
    (low, _), (_, high) = bounds_of(less, known), bounds_of(more, known)
    narrowed = {more: (max(known[more][0], low), known[more][1])} if more in known else {}
    narrowed |= {less: (known[less][0], min(known[less][1], high))} if less in known else {}
    return {**known, **narrowed}


_MORE, _LESS = (ops.greater, ops.greater_equal), (ops.less, ops.less_equal)


def _exp(a: Bounds) -> Bounds:
    # math.exp raises OverflowError above 709; 0.0 and inf are safe, if loose, bounds beyond ±300.
    return (math.exp(a[0]) if -300 < a[0] < 300 else 0.0), (math.exp(a[1]) if a[1] < 300 else math.inf)


def _absolute(a: Bounds) -> Bounds:
    low, high = a
    return (low if low > 0 else -high if high < 0 else 0.0), max(abs(low), abs(high))


def _fixed(low: float, high: float) -> Callable[..., Bounds]:
    return lambda *_: (low, high)


_FUNCTIONS: dict[object, Callable[..., Bounds]] = {
    sp.exp: _exp,
    ops.expm1: lambda a: (-1.0, math.inf if a[1] > 0 else -TINY if a[1] < 0 else 0.0),
    sp.tanh: _fixed(-1.0, 1.0),
    sp.sin: _fixed(-1.0, 1.0),
    sp.cos: _fixed(-1.0, 1.0),
    sp.erf: _fixed(-1.0, 1.0),
    # π/2 and π rounded outward.
    sp.atan: _fixed(-1.6, 1.6),
    ops.arctan2: _fixed(-3.2, 3.2),
    ops.hypot: _fixed(0.0, math.inf),
    sp.cosh: _fixed(1.0, math.inf),
    ops.sigmoid: _fixed(0.0, 1.0),
    ops.softplus: lambda a: (0.0, max(a[1], 0.0) + 1),
    ops.relu: lambda a: (max(a[0], 0.0), max(a[1], 0.0)),
    ops.absolute: _absolute,
    sp.Abs: _absolute,
    ops.sign: _fixed(-1.0, 1.0),
    ops.maximum: lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
    ops.minimum: lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
    ops.stop_gradient: lambda a: a,
    ops.shift: lambda a: a,
    ops.SHOWN["softplus"]: lambda a: (0.0, max(a[1], 0.0) + 1),
    ops.SHOWN["maximum"]: lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
    ops.SHOWN["minimum"]: lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
} | {op.body: _fixed(0.0, 1.0) for op in ops.OPS if getattr(op.body, "boolean", False)}

_WHOLE: dict[str, Bounds] = {
    "softmax": (0.0, 1.0),
    "log_softmax": (-math.inf, 0.0),
    "logsumexp": ANY,
    "is_max": (0.0, 1.0),
    "is_min": (0.0, 1.0),
    "unit": (-1.0, 1.0),
    "layer_norm": ANY,
    "rms_norm": ANY,
    **dict.fromkeys(("var", "std", "norm"), (0.0, math.inf)),
    **dict.fromkeys(("smooth_norm", "deviation", "rms"), (TINY, math.inf)),
}
"""Bounds of whole functions; those of mean, max and min are those of what they go over."""
