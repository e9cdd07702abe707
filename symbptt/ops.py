"""The primitive table: one record for every elementwise function of the language.

A record says what the function is (`body`: SymPy, over real placeholders), what it computes on arrays (`evaluate`:
NumPy, the independent oracle), how a primitive is written in generated code and in LaTeX, and where tests may probe it.
A function whose body is made of other functions is *composed*: tracing expands it, so that it needs no code of its own.

Where a function has no derivative, one rule holds: **at a tie a number wins, and equal values share.** So the slope of
relu, maximum, minimum, clip, hard_tanh and hard_sigmoid at a bound that is a number is 0, at both bounds of clip alike; two
values that are equal have one half each, and equal maxima of an array equal shares. The slope of abs and sign at 0 is 0,
that of where is the slope of the branch that is taken, that of hypot and arctan2 where both arguments are 0 is 0. The quotient
that mod and fmod take away, and floor_divide, are flat, as floor is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp

from symbptt.special import erf as _erf


@dataclass(frozen=True)
class Remainder:
    """What a function that saturates leaves of one, of which its derivative is made: 1 - tanh², 1 - σ.

    `function` stands for it in a program, of the value and the argument. `body(y)` writes it in the value, which keeps no
    digits of it where the function saturates; `code` is the NumPy text in e = exp(-|a|), a the argument of the function,
    which keeps them all. It is for arguments where 1 is what the function tends to. `alone(a)` keeps them for any argument.
    """

    function: Any
    text: str
    body: Callable[[sp.Expr], sp.Expr]
    code: str
    alone: Callable[[sp.Expr], sp.Expr]


@dataclass(frozen=True)
class Op:
    """One elementwise function.

    `body(*placeholders)` is its SymPy expression; `evaluate` its NumPy function; `code` the NumPy text of a primitive
    ("" when composed); `latex` its LaTeX with `{0}`, `{1}`; `domain` an interval on which it is smooth apart from
    `kinks`; `numpy` the names of the NumPy functions that mean it; `remainder` what it leaves of one where it saturates.
    `slopes(*arguments, value)` are its partial derivatives as a page shows them, where the function stands there by its
    name and SymPy's derivatives of its body are not what a reader expects.
    """

    name: str
    body: Callable[..., sp.Expr]
    evaluate: Callable[..., Any]
    code: str = ""
    latex: str = ""
    domain: tuple[float, float] = (-3.0, 3.0)
    kinks: tuple[float, ...] = ()
    numpy: tuple[str, ...] = ()
    arity: int = 1
    complex: bool = True
    remainder: Remainder | None = None
    slopes: tuple[Callable[..., sp.Expr], ...] = ()


def scalar_function(name: str, arity: Any, *partials: Callable[..., sp.Expr]) -> Any:
    """Return a real SymPy function whose i-th partial derivative is `partials[i](*arguments, value)`."""

    def fdiff(self: Any, argindex: int = 1) -> sp.Expr:
        return sp.sympify(partials[argindex - 1](*self.args, self))

    def of_numbers(self: Any, precision: int) -> sp.Expr | None:
        numbers = [arg.evalf() for arg in self.args]
        if not all(number.is_Number for number in numbers):
            return None  # an argument without a symbol may still stand for a value: SymPy leaves the function as it is
        return sp.Float(float(np.real(PRIMITIVES[self.func].evaluate(*map(float, numbers)))), precision=precision)

    parts = {"nargs": arity, "fdiff": fdiff, "_eval_evalf": of_numbers, "is_real": True, "is_extended_real": True}
    return type(name, (sp.Function,), parts)


def _zero(*_: sp.Expr) -> sp.Expr:
    return sp.S.Zero


def _constant(name: str, arity: int) -> Any:
    function = scalar_function(name, arity, *[_zero] * arity)
    function.flat = True  # nothing flows through it
    return function


def _share(ahead: Any, direction: int) -> Callable[..., sp.Expr]:
    """The partial derivative of maximum and minimum: 1 where a value is ahead; at a tie with a number 0, else one half."""

    def partial(a: sp.Expr, b: sp.Expr) -> sp.Expr:
        return ahead(a, b) if a.is_number or b.is_number else (1 + direction * sign(a - b)) / 2

    return partial


def _condition(name: str, arity: int) -> Any:
    function = _constant(name, arity)
    function.boolean = True  # its values are False and True
    return function


greater, greater_equal = _condition("greater", 2), _condition("greater_equal", 2)
less, less_equal = _condition("less", 2), _condition("less_equal", 2)
equal, not_equal = _condition("equal", 2), _condition("not_equal", 2)
logical_and, logical_or = _condition("logical_and", 2), _condition("logical_or", 2)
logical_not, sign, floor = _condition("logical_not", 1), _constant("sign", 1), _constant("floor", 1)
floor_divide, stop_gradient = _constant("floor_divide", 2), _constant("stop_gradient", 1)
stop_gradient.declared = True  # its derivative is said to be zero, it is not that of its values
shift = type("stop_gradient", (stop_gradient,), {"nargs": 1})
"""The same of a value on which nothing depends, as the maximum that a softmax takes off: what would flow through it cancels."""


def is_held(function: Any) -> bool:
    """Answer whether a function holds its argument constant."""
    return isinstance(function, type) and issubclass(function, stop_gradient)


ahead = _condition("ahead", 2)
"""1 where the first is greater, and one half where both are equal: how a page writes the slopes of maximum and minimum."""
_at_maximum, _at_minimum = _share(greater, 1), _share(less, -1)
maximum = scalar_function("maximum", 2, lambda a, b, y: _at_maximum(a, b), lambda a, b, y: _at_maximum(b, a))
minimum = scalar_function("minimum", 2, lambda a, b, y: _at_minimum(a, b), lambda a, b, y: _at_minimum(b, a))
where: Any = scalar_function("where", 3, _zero, lambda c, a, b, y: where(c, 1, 0), lambda c, a, b, y: where(c, 0, 1))
where.eval = classmethod(lambda cls, c, a, b: (b if c == 0 else a) if c.is_Number else None)


def _apart(size: sp.Expr) -> sp.Expr:
    """A divisor that is not zero: where it is, what it divides is zero too, and so is the slope."""
    return where(equal(size, 0), 1, size)


over: Any = scalar_function("over", 2, lambda a, b, y: over(1, b), lambda a, b, y: -over(y, b))
"""A quotient that counts as 0 where its divisor is 0, as what it divides is there: how a page writes the slope of a norm."""
normal_density = scalar_function("normal_density", 1, lambda x, y: -x * y)
normal_share = scalar_function("normal_share", 1, lambda x, y: normal_density(x))
"""The density of the normal distribution and the share of it below x: how a page writes the slope of gelu."""
hypot = scalar_function("hypot", 2, lambda a, b, y: a / _apart(y), lambda a, b, y: b / _apart(y))
arctan2 = scalar_function(
    "arctan2", 2, lambda a, b, y: b / _apart(hypot(a, b)) ** 2, lambda a, b, y: -a / _apart(hypot(a, b)) ** 2
)
mod = scalar_function("mod", 2, lambda a, b, y: sp.S.One, lambda a, b, y: -floor_divide(a, b))
fmod = scalar_function("fmod", 2, lambda a, b, y: sp.S.One, lambda a, b, y: (y - a) / b)
relu = scalar_function("relu", 1, lambda x, y: greater(x, 0))
absolute = scalar_function("absolute", 1, lambda x, y: sign(x))
sigmoid = scalar_function("sigmoid", 1, lambda x, y: y * (1 - y))
softplus = scalar_function("softplus", 1, lambda x, y: -expm1(-y))
expm1: Any = scalar_function("expm1", 1, lambda x, y: sp.exp(x))  # y + 1 has no digits of exp(-40)
log1p = scalar_function("log1p", 1, lambda x, y: 1 / (1 + x))


def _one(*_: sp.Expr) -> sp.Expr:
    return sp.S.One


conj = scalar_function("conj", 1, _one)
as_complex = scalar_function("as_complex", 1, _one)
"""A real number as a complex one, where an argument or a result is an array of these."""
real_part, imaginary_part = scalar_function("real", 1, _one), scalar_function("imag", 1, _one)
modulus = scalar_function("modulus", 1, lambda z, y: z / _apart(y))
angle = scalar_function("angle", 1, lambda z, y: sp.I * z / _apart(modulus(z)) ** 2)
REAL_VALUED = (real_part, imaginary_part, modulus, angle)
"""Functions of a complex number that are real. None is holomorphic: their adjoints are those of their real Jacobians, and `partials`
of them hold what a real cotangent is multiplied by. A body has none of them, nor `conj`, inside of another function."""
OF_COMPLEX = (*REAL_VALUED, conj, as_complex)

tanh_rest, sigmoid_rest = scalar_function("tanh_rest", 2), scalar_function("sigmoid_rest", 2)


def _real_positive(x: Any) -> Any:
    return np.real(x) > 0


def _evaluate_sigmoid(x: Any) -> Any:
    # Arrays of a class of their own, as checks have them, may bring a function with them, as they do `erf`.
    if hasattr(x, "sigmoid"):
        return x.sigmoid()
    is_positive = _real_positive(x)
    e = np.exp(np.where(is_positive, -x, x))
    return np.where(is_positive, 1, e) / (1 + e)


def _evaluate_softplus(x: Any) -> Any:
    if hasattr(x, "softplus"):
        return x.softplus()
    return _evaluate_relu(x) + np.log1p(np.exp(np.where(_real_positive(x), -x, x)))


def _evaluate_relu(x: Any) -> Any:
    return np.where(np.isnan(x), x, np.where(_real_positive(x), x, 0 * x)) if np.iscomplexobj(x) else np.maximum(x, 0)


def _evaluate_absolute(x: Any) -> Any:
    return x * np.sign(np.real(x)) if np.iscomplexobj(x) else np.abs(x)


def _evaluate_maximum(a: Any, b: Any) -> Any:
    return _ahead(np.greater, a, b) if np.iscomplexobj(a) or np.iscomplexobj(b) else np.maximum(a, b)


def _evaluate_minimum(a: Any, b: Any) -> Any:
    return _ahead(np.less, a, b) if np.iscomplexobj(a) or np.iscomplexobj(b) else np.minimum(a, b)


def is_number(x: Any) -> bool:
    """Answer whether an argument is a number that stands in a body, which wins at a tie: no array, as an index is one for a check."""
    return isinstance(x, int | float | np.floating | np.integer | np.bool_)


def _ahead(is_ahead: Any, a: Any, b: Any) -> Any:
    """The value ahead by its real part; at a tie a number, of two values the mean."""
    tied = a if is_number(a) else b if is_number(b) else (a + b) / 2
    x, y = np.real(a), np.real(b)
    return np.where(is_ahead(x, y), a, np.where(x == y, tied, b))


def _evaluate_hypot(a: Any, b: Any) -> Any:
    x, y = np.real(a), np.real(b)
    size = np.hypot(x, y)
    return size + 1j * (_over(x, size) * np.imag(a) + _over(y, size) * np.imag(b)) if _any_complex(a, b) else size


def _evaluate_arctan2(a: Any, b: Any) -> Any:
    y, x = np.real(a), np.real(b)
    size, angle = np.hypot(y, x), np.arctan2(y, x)
    if not _any_complex(a, b):
        return angle
    return angle + 1j * _over(_over(x, size) * np.imag(a) - _over(y, size) * np.imag(b), size)


def _over(a: Any, size: Any) -> Any:
    return a / np.where(size == 0, 1, size)


def _any_complex(a: Any, b: Any) -> bool:
    return bool(np.iscomplexobj(a) or np.iscomplexobj(b))


def _remainder(ufunc: Any) -> Callable[..., Any]:
    """A remainder of real numbers: its imaginary part is how it moves between two jumps."""

    def evaluate(a: Any, b: Any) -> Any:
        x, y = np.real(a), np.real(b)
        found = ufunc(x, y)
        return found + 1j * (np.imag(a) - np.round((x - found) / y) * np.imag(b)) if _any_complex(a, b) else found

    return evaluate


def _evaluate_elu(x: Any, alpha: Any = 1.0) -> Any:
    return np.where(_real_positive(x), x, alpha * np.expm1(np.where(_real_positive(x), 0, x)))


def _body_elu(x: sp.Expr, alpha: Any = 1) -> sp.Expr:
    return where(greater(x, 0), x, alpha * expm1(where(greater(x, 0), 0, x)))  # smooth at 0 where alpha is 1


def _body_logaddexp(a: sp.Expr, b: sp.Expr) -> sp.Expr:
    """The greater, and softplus of minus the distance; its slopes add up to 1 wherever it is."""
    if a == 0 or b == 0:
        return softplus(a + b)
    return where(greater(a, b), a, b) + softplus(where(greater(a, b), b - a, a - b))


def _evaluate_logaddexp(a: Any, b: Any) -> Any:
    if not (np.iscomplexobj(a) or np.iscomplexobj(b)):
        return np.logaddexp(a, b)
    first = np.real(a) > np.real(b)
    return np.where(first, a, b) + _evaluate_softplus(np.where(first, np.subtract(b, a), np.subtract(a, b)))


def _compare(ufunc: Any) -> Callable[..., Any]:
    return lambda a, b: ufunc(np.real(a), np.real(b))


def _evaluate_erf(x: Any) -> Any:
    # Arrays of a class of their own, as checks have them, bring the function with them: no series is one of its elements.
    return x.erf() if hasattr(x, "erf") else _erf(x)


def _gelu(x: Any) -> Any:
    return x * (1 + _evaluate_erf(x * (0.5**0.5))) / 2


def _slope_silu(x: sp.Expr, y: sp.Expr) -> sp.Expr:
    return sigmoid(x) * (1 + x * (1 - sigmoid(x)))


def _slope_mish(x: sp.Expr, y: sp.Expr) -> sp.Expr:
    return sp.tanh(softplus(x)) + x * (1 - sp.tanh(softplus(x)) ** 2) * sigmoid(x)


def _slope_gelu(x: sp.Expr, y: sp.Expr) -> sp.Expr:
    return normal_share(x) + x * normal_density(x)


def _slope_elu(x: sp.Expr, *rest: sp.Expr) -> sp.Expr:
    """That of alpha (exp(x) - 1) to the left; without alpha, which is 1 then, both sides are one formula."""
    left = sp.exp(minimum(x, 0))
    return left if len(rest) == 1 else greater(x, 0) + rest[0] * less_equal(x, 0) * left


def _slope_elu_by_alpha(x: sp.Expr, *rest: sp.Expr) -> sp.Expr:
    return sp.exp(minimum(x, 0)) - 1


def _slope_selu(x: sp.Expr, y: sp.Expr) -> sp.Expr:
    left = sp.Float(_SELU_SCALE * _SELU_ALPHA) * less_equal(x, 0) * sp.exp(minimum(x, 0))
    return sp.Float(_SELU_SCALE) * greater(x, 0) + left


def _slope_leaky_relu(x: sp.Expr, *rest: sp.Expr) -> sp.Expr:
    return greater(x, 0) + (rest[0] if len(rest) == 2 else _LEAK) * less_equal(x, 0)


def _slope_leaky_relu_by_slope(x: sp.Expr, *rest: sp.Expr) -> sp.Expr:
    return minimum(x, 0)


def _slope_at_maximum(a: sp.Expr, b: sp.Expr) -> sp.Expr:
    return greater(a, b) if a.is_number or b.is_number else ahead(a, b)


def _slope_at_minimum(a: sp.Expr, b: sp.Expr) -> sp.Expr:
    return less(a, b) if a.is_number or b.is_number else ahead(b, a)


def _slope_clip(x: sp.Expr, low: sp.Expr, high: sp.Expr, y: sp.Expr) -> sp.Expr:
    return _slope_at_maximum(x, low) * _slope_at_minimum(x, high)


def _between(low: int, high: int, slope: sp.Expr) -> Callable[..., sp.Expr]:
    return lambda x, y: slope * greater(x, low) * less(x, high)


_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
_LEAK = sp.Float(0.01)
_POSITIVE = (0.1, 3.0)

OPS: tuple[Op, ...] = (
    Op("add", lambda a, b: a + b, np.add, numpy=("add",), arity=2),
    Op("subtract", lambda a, b: a - b, np.subtract, numpy=("subtract",), arity=2),
    Op("multiply", lambda a, b: a * b, np.multiply, numpy=("multiply",), arity=2),
    Op("divide", lambda a, b: a / b, np.divide, numpy=("divide", "true_divide"), arity=2, domain=_POSITIVE),
    Op("power", lambda a, b: a**b, np.power, numpy=("power", "float_power", "pow"), arity=2, domain=_POSITIVE),
    Op("negative", lambda a: -a, np.negative, numpy=("negative",)),
    Op("positive", lambda a: a, np.positive, numpy=("positive",)),
    Op("reciprocal", lambda a: 1 / a, np.reciprocal, numpy=("reciprocal",), domain=_POSITIVE),
    Op("square", lambda a: a**2, np.square, numpy=("square",)),
    Op("sqrt", sp.sqrt, np.sqrt, "np.sqrt({0})", r"\sqrt{{{0}}}", _POSITIVE, numpy=("sqrt",)),
    Op("exp", sp.exp, np.exp, "np.exp({0})", r"\exp({0})", numpy=("exp",)),
    Op("expm1", expm1, np.expm1, "np.expm1({0})", r"\mathrm{{expm1}}({0})", numpy=("expm1",)),
    Op("log", sp.log, np.log, "np.log({0})", r"\log({0})", _POSITIVE, numpy=("log",)),
    Op("log1p", log1p, np.log1p, "np.log1p({0})", r"\mathrm{{log1p}}({0})", (-0.9, 3.0), numpy=("log1p",)),
    Op("log2", lambda a: sp.log(a) / sp.log(2), np.log2, domain=_POSITIVE, numpy=("log2",)),
    Op("log10", lambda a: sp.log(a) / sp.log(10), np.log10, domain=_POSITIVE, numpy=("log10",)),
    Op("sin", sp.sin, np.sin, "np.sin({0})", r"\sin({0})", numpy=("sin",)),
    Op("cos", sp.cos, np.cos, "np.cos({0})", r"\cos({0})", numpy=("cos",)),
    Op("tan", sp.tan, np.tan, "np.tan({0})", r"\tan({0})", (-1.4, 1.4), numpy=("tan",)),
    Op("arctan", sp.atan, np.arctan, "np.arctan({0})", r"\arctan({0})", numpy=("arctan", "atan")),
    Op("tanh", sp.tanh, np.tanh, "np.tanh({0})", r"\tanh({0})", numpy=("tanh",),
       remainder=Remainder(tanh_rest, "1 - tanh(a)²", lambda y: 1 - y**2, "(2 * e / (1 + e * e)) ** 2",
                           lambda a: (2 * sp.exp(-absolute(a)) / (1 + sp.exp(-2 * absolute(a)))) ** 2)),
    Op("sinh", sp.sinh, np.sinh, "np.sinh({0})", r"\sinh({0})", numpy=("sinh",)),
    Op("cosh", sp.cosh, np.cosh, "np.cosh({0})", r"\cosh({0})", numpy=("cosh",)),
    Op("erf", sp.erf, _evaluate_erf, "erf({0})", r"\mathrm{{erf}}({0})"),
    Op("abs", absolute, _evaluate_absolute, "np.abs({0})", r"\left| {0} \right|", kinks=(0.0,),
       numpy=("absolute", "abs", "fabs")),
    Op("sign", sign, lambda x: np.sign(np.real(x)), "np.sign({0})", r"\mathrm{{sign}}({0})", kinks=(0.0,),
       numpy=("sign",)),
    Op("floor", floor, lambda x: np.floor(np.real(x)), "np.floor({0})", r"\lfloor {0}\rfloor",
       kinks=(-2.0, -1.0, 0.0, 1.0, 2.0), numpy=("floor",)),
    Op("sigmoid", sigmoid, _evaluate_sigmoid, "1 / (1 + np.exp(-{0}))", r"\sigma({0})",
       remainder=Remainder(sigmoid_rest, "1 - σ(a)", lambda y: 1 - y, "e / (1 + e)", lambda a: sigmoid(-a))),
    Op("softplus", softplus, _evaluate_softplus, "np.logaddexp({0}, 0)", r"\mathrm{{softplus}}({0})",
       slopes=(lambda x, y: sigmoid(x),)),
    Op("relu", relu, _evaluate_relu, "np.maximum({0}, 0)", r"\mathrm{{relu}}({0})", kinks=(0.0,)),
    Op("leaky_relu", lambda x, slope=_LEAK: where(greater(x, 0), x, slope * x),
       lambda x, slope=0.01: np.where(_real_positive(x), x, slope * x), kinks=(0.0,),
       slopes=(_slope_leaky_relu, _slope_leaky_relu_by_slope)),
    Op("elu", _body_elu, _evaluate_elu, kinks=(0.0,), slopes=(_slope_elu, _slope_elu_by_alpha)),
    Op("selu", lambda x: sp.Float(_SELU_SCALE) * _body_elu(x, sp.Float(_SELU_ALPHA)),
       lambda x: _SELU_SCALE * _evaluate_elu(x, _SELU_ALPHA), kinks=(0.0,), slopes=(_slope_selu,)),
    Op("gelu", lambda x: x * (1 + sp.erf(x / sp.sqrt(2))) / 2, _gelu, slopes=(_slope_gelu,)),
    Op("silu", lambda x: x * sigmoid(x), lambda x: x * _evaluate_sigmoid(x), slopes=(_slope_silu,)),
    Op("mish", lambda x: x * sp.tanh(softplus(x)), lambda x: x * np.tanh(_evaluate_softplus(x)),
       slopes=(_slope_mish,)),
    Op("softsign", lambda x: x / (1 + absolute(x)), lambda x: x / (1 + _evaluate_absolute(x)), kinks=(0.0,),
       slopes=(lambda x, y: 1 / (1 + absolute(x)) ** 2,)),
    Op("hard_sigmoid", lambda x: minimum(maximum(x / 6 + sp.Rational(1, 2), 0), 1),
       lambda x: _evaluate_minimum(_evaluate_maximum(x / 6 + 0.5, 0), 1), domain=(-5.0, 5.0), kinks=(-3.0, 3.0),
       slopes=(_between(-3, 3, sp.Rational(1, 6)),)),
    Op("hard_tanh", lambda x: minimum(maximum(x, -1), 1),
       lambda x: _evaluate_minimum(_evaluate_maximum(x, -1), 1), kinks=(-1.0, 1.0)),
    Op("clip", lambda x, lo, hi: minimum(maximum(x, lo), hi),
       lambda x, lo, hi: _evaluate_minimum(_evaluate_maximum(x, lo), hi), numpy=("clip",), arity=3,
       slopes=(_slope_clip, lambda x, lo, hi, y: less(x, lo) * less(lo, hi), lambda x, lo, hi, y: less(hi, maximum(x, lo)))),
    Op("maximum", maximum, _evaluate_maximum, "np.maximum({0}, {1})", r"\max({0}, {1})", numpy=("maximum", "fmax"),
       arity=2, slopes=(lambda a, b, y: _slope_at_maximum(a, b), lambda a, b, y: _slope_at_maximum(b, a))),
    Op("minimum", minimum, _evaluate_minimum, "np.minimum({0}, {1})", r"\min({0}, {1})", numpy=("minimum", "fmin"),
       arity=2, slopes=(lambda a, b, y: _slope_at_minimum(a, b), lambda a, b, y: _slope_at_minimum(b, a))),
    Op("hypot", hypot, _evaluate_hypot, "np.hypot({0}, {1})", r"\mathrm{{hypot}}({0}, {1})", numpy=("hypot",), arity=2),
    Op("arctan2", arctan2, _evaluate_arctan2, "np.arctan2({0}, {1})", r"\mathrm{{arctan2}}({0}, {1})",
       numpy=("arctan2", "atan2"), arity=2),
    Op("mod", mod, _remainder(np.mod), "np.mod({0}, {1})", r"({0} \bmod {1})", numpy=("remainder", "mod"), arity=2),
    Op("fmod", fmod, _remainder(np.fmod), "np.fmod({0}, {1})", r"\mathrm{{fmod}}({0}, {1})", numpy=("fmod",), arity=2),
    Op("floor_divide", floor_divide, _compare(np.floor_divide), "np.floor_divide({0}, {1})",
       r"\left\lfloor \frac{{{0}}}{{{1}}}\right\rfloor", numpy=("floor_divide",), arity=2),
    Op("logaddexp", _body_logaddexp, _evaluate_logaddexp, numpy=("logaddexp",), arity=2,
       slopes=(lambda a, b, y: sigmoid(a - b), lambda a, b, y: sigmoid(b - a))),
    Op("where", where, lambda c, a, b: np.where(np.real(c) != 0, a, b), "np.where({0}, {1}, {2})",
       r"\mathrm{{where}}({0}, {1}, {2})", numpy=("where",), arity=3),
    Op("greater", greater, _compare(np.greater), "({0} > {1})", r"[{0} > {1}]", numpy=("greater",), arity=2),
    Op("greater_equal", greater_equal, _compare(np.greater_equal), "({0} >= {1})", r"[{0} \ge {1}]",
       numpy=("greater_equal",), arity=2),
    Op("less", less, _compare(np.less), "({0} < {1})", r"[{0} < {1}]", numpy=("less",), arity=2),
    Op("less_equal", less_equal, _compare(np.less_equal), "({0} <= {1})", r"[{0} \leq {1}]", numpy=("less_equal",),
       arity=2),
    Op("equal", equal, _compare(np.equal), "({0} == {1})", r"[{0} = {1}]", numpy=("equal",), arity=2),
    Op("not_equal", not_equal, _compare(np.not_equal), "({0} != {1})", r"[{0} \ne {1}]", numpy=("not_equal",), arity=2),
    Op("logical_and", logical_and, np.logical_and, "np.logical_and({0}, {1})", r"({0} \wedge {1})",
       numpy=("logical_and", "bitwise_and"), arity=2),
    Op("logical_or", logical_or, np.logical_or, "np.logical_or({0}, {1})", r"({0} \vee {1})",
       numpy=("logical_or", "bitwise_or"), arity=2),
    Op("logical_not", logical_not, np.logical_not, "np.logical_not({0})", r"\neg {0}",
       numpy=("logical_not", "invert")),
    Op("stop_gradient", stop_gradient, np.real, "{0}", r"\mathrm{{sg}}({0})"),
)  # fmt: skip

COMPLEX_OPS: tuple[Op, ...] = (
    Op("real", real_part, np.real, "{0}.real", r"\mathrm{{Re}}({0})"),
    Op("imag", imaginary_part, np.imag, "{0}.imag", r"\mathrm{{Im}}({0})"),
    Op("conj", conj, np.conj, "np.conj({0})", r"\overline{{{0}}}"),
    Op("modulus", modulus, np.abs, "np.abs({0})", r"\left| {0} \right|"),
    Op("angle", angle, np.angle, "np.arctan2({0}.imag, {0}.real)", r"\arg({0})"),
    Op("as_complex", as_complex, lambda x: x + 0j, "({0} + 0j)", "{0}"),
)
"""Functions of complex numbers alone: of real arrays tracing makes none of them."""
HOLOMORPHIC = ("add", "subtract", "multiply", "divide", "power", "negative", "positive", "reciprocal", "square", "exp", "sin",
               "cos", "sinh", "cosh", "tanh", "where")  # fmt: skip
"""Functions whose rules are proved for complex numbers too: f(z̄) is the conjugate of f(z), and df = f'(z) dz. Of a power the
exponent is an integer, of a choice the condition is real."""

BY_NAME: dict[str, Op] = {op.name: op for op in OPS + COMPLEX_OPS}
BY_NUMPY: dict[str, Op] = {name: op for op in OPS for name in op.numpy}
PRIMITIVES: dict[Any, Op] = {op.body: op for op in OPS + COMPLEX_OPS if op.code and op.name != "sqrt"}
"""The record of each SymPy function class that generated code can write."""
PRIMITIVES[shift] = BY_NAME["stop_gradient"]
SHOWN: dict[str, Any] = {
    op.name: scalar_function(op.name, (op.arity, len(op.slopes)), *op.slopes) for op in OPS if op.slopes
}
"""The functions that a page shows by their names: SymPy functions whose derivatives are `Op.slopes`."""
REMAINDERS: dict[Any, tuple[Any, Remainder]] = {
    op.body: (op.remainder.function, op.remainder) for op in OPS if op.remainder is not None
}
"""By a function that saturates: what programs have in the place of its remainder, a function of value and argument."""
REMAINING: dict[str, Remainder] = {function.__name__: remainder for function, remainder in REMAINDERS.values()}
"""The remainders by the names of these functions."""
