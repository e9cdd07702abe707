"""The functions of the table of ops in C: those of math.h, and small ones in their terms."""

from __future__ import annotations

from collections.abc import Collection

MATH = {
    "exp": "exp", "expm1": "expm1", "log": "log", "log1p": "log1p", "sqrt": "sqrt", "power": "pow", "sin": "sin", "cos": "cos",
    "tan": "tan", "arctan": "atan", "tanh": "tanh", "sinh": "sinh", "cosh": "cosh", "erf": "erf", "abs": "fabs",
    "floor": "floor", "hypot": "hypot", "arctan2": "atan2", "fmod": "fmod", "copysign": "copysign",
}  # fmt: skip
"""Functions that math.h has, by our names; for float their names end with f."""

HELPERS = {
    "square": "static real SQUARE(real a) { return a*a; }",
    "maximum": "static real MAXIMUM(real a, real b) { return a > b || a != a ? a : b; }  // NaN where one is NaN",
    "minimum": "static real MINIMUM(real a, real b) { return a < b || a != a ? a : b; }",
    "relu": "static real RELU(real a) { return a > 0 || a != a ? a : 0; }",
    "sign": "static real SIGN(real a) { return a != a ? a : (real)((a > 0) - (a < 0)); }",
    "sigmoid": """\
static real SIGMOID(real a) {
    const real e = EXP(-FABS(a));  // never overflows
    return (a < 0 ? e : 1)/(1 + e);
}""",
    "softplus": "static real SOFTPLUS(real a) { return RELU(a) + LOG1P(EXP(-FABS(a))); }",
    "tanh_rest": """\
static real TANH_REST(real a) {  // 1 - tanh(a)², with all its digits
    const real e = EXP(-FABS(a)), r = 2*e/(1 + e*e);
    return r*r;
}""",
    "sigmoid_rest": "static real SIGMOID_REST(real a) { return SIGMOID(-a); }  // 1 - σ(a), with all its digits",
    "mod": """\
static real MOD(real a, real b) {  // with the sign of b
    const real r = FMOD(a, b);
    return r == 0 ? COPYSIGN(r, b) : (r < 0) != (b < 0) ? r + b : r;
}""",
    "floor_divide": """\
static real FLOOR_DIVIDE(real a, real b) {  // as NumPy has it, where a or b is not finite too
    const real r = FMOD(a, b), q = (a - r)/b - (r != 0 && (r < 0) != (b < 0)), f = FLOOR(q);
    return b == 0 ? a/b : q == 0 ? COPYSIGN(0, a/b) : q - f > (real)0.5 ? f + 1 : f;
}""",
}
"""Functions that C lacks, by our names; those that one calls stand before it or in `MATH`."""

CALLS = {
    "sigmoid": ("exp", "abs"), "softplus": ("relu", "log1p", "exp", "abs"), "tanh_rest": ("exp", "abs"),
    "sigmoid_rest": ("sigmoid",), "mod": ("fmod", "copysign"), "floor_divide": ("fmod", "floor", "copysign"),
}  # fmt: skip
"""The functions that helpers call."""

SIGNS = {"greater": ">", "greater_equal": ">=", "less": "<", "less_equal": "<=", "equal": "==", "not_equal": "!="}
LOGIC = {"logical_and": "&&", "logical_or": "||"}
WRITTEN = {*SIGNS, *LOGIC, "logical_not", "where", "stop_gradient"}
"""Functions that are signs of C, or nothing."""


def is_known(name: str) -> bool:
    """Answer whether C has a function of the table of ops."""
    return name in WRITTEN or name in MATH or name in HELPERS


def macro(name: str) -> str:
    """Return the name under which generated C calls a function."""
    return MATH.get(name, name).upper()


def called(names: Collection[str]) -> set[str]:
    """Return functions with all that these call."""
    found, queue = set[str](), [*names]
    while queue:
        name = queue.pop()
        if name not in found and name not in WRITTEN:
            found.add(name)
            queue += CALLS.get(name, ())
    return found


def definitions(names: Collection[str], double: str) -> list[str]:
    """Return the lines that define functions: those of math.h for float, or for double where the macro `double` is
    defined, and then helpers."""
    needed = called(names)
    math = sorted(MATH[name] for name in needed if name in MATH)
    lines = [f"#ifdef {double}", *(f"#define {name.upper()} {name}" for name in math), "#else"]
    lines += [*(f"#define {name.upper()} {name}f" for name in math), "#endif"]
    helpers = [line for name, text in HELPERS.items() if name in needed for line in text.splitlines()]
    return [*(lines if math else []), *([""] if math and helpers else []), *helpers]
