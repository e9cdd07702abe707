"""`sb.function`: elementwise functions of the user's own, with a derivative of their own where they want one."""

from __future__ import annotations

import copyreg
import inspect
import keyword
import operator
import sys
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, reduce
from typing import Any

import numpy as np
import sympy as sp
from sympy.core.function import FunctionClass
from sympy.logic.boolalg import Boolean, BooleanAtom

from symbptt import ops
from symbptt.checks import check_function
from symbptt.errors import ArgumentError, CellError, counted
from symbptt.ir.graph import Graph
from symbptt.ir.node import Mark, placeholder
from symbptt.ir.scalar import NAME_OF, as_python, canonical
from symbptt.language.array import Array, apply_expr, as_array, graph_of
from symbptt.language.number_kinds import own_functions
from symbptt.language.spelling import stable_expression
from symbptt.language.user_frames import user_place


def function(
    name: str, body: Callable[..., sp.Expr], derivative: Callable[..., Any] | None = None
) -> Callable[..., Any]:
    """Return the elementwise function `name` of one or more arrays that a SymPy expression defines.

    With `derivative` (an expression; for several arguments a tuple of them) the function counts as having that
    derivative, whatever its own is: a surrogate, as spiking networks use it. Checks then run on the pair as declared.

    Raises: ArgumentError where `name` is no identifier, is a function of the table, or `body` gives no SymPy
    expression; CellError where an expression has a function that is not in the table.
    """
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name) or name in ops.BY_NAME:
        raise ArgumentError(f"{name!r} cannot name a function\n  choose an identifier that symbptt has not taken")
    check_function(f"the body of {name!r}", body, "lambda v: <SymPy expression>")
    count = len(inspect.signature(body).parameters)
    if derivative is not None:
        check_function(f"the derivative of {name!r}", derivative, "lambda v: <SymPy expression>", count)
    symbols = [placeholder(i) for i in range(count)]
    expr = _expression(name, body, symbols)
    if derivative is None:
        return Declared(name, count, expr, None)
    found = derivative(*symbols)
    parts = found if isinstance(found, tuple | list) else (found,)
    partials = [_expression(name, lambda *_, part=part: part, symbols, "derivative") for part in parts]
    if len(partials) != count:
        raise ArgumentError(
            f"{name!r} has {count} arguments and {len(partials)} derivatives\n  give one for each, as a tuple"
        )
    return Declared(name, count, expr, partials)


class DeclaredClass(FunctionClass):
    """The class of a user's SymPy function: pickled by its parts, because no module knows it by name."""


# A SymPy function is a class made at run time: pickle looks classes up by module and name, and would not find it.
copyreg.pickle(
    DeclaredClass,
    lambda scalar: (declared_function, (scalar.__name__, scalar.expansion, scalar.partials)),
)


def declared_function(name: str, expansion: sp.Expr, partials: Sequence[sp.Expr]) -> Any:
    """Return the SymPy function with a value and partial derivatives, expressions over placeholders."""
    symbols = [placeholder(i) for i in range(len(partials))]
    scalar = ops.scalar_function(name, len(partials), *(_with_arguments(part, symbols) for part in partials))
    scalar = DeclaredClass(name, (scalar,), {"nargs": len(partials)})
    scalar.declared, scalar.expansion, scalar.partials = True, expansion, tuple(partials)
    return scalar


@cache
def named(name: str, expansion: sp.Expr, partials: tuple[sp.Expr, ...], replaced: bool) -> Any:
    """Return the SymPy function that a page shows for one of the user's: its derivatives have names too, f' or f'_1, f'_2.

    What it is stands in `expansion`, over placeholders; `replaced`: its derivatives are declared, not those of its values.
    """
    count = len(partials)
    symbols = [placeholder(i) for i in range(count)]
    slopes = [
        part if part.is_number else _slope(name + derivative_mark(i, count), part, count, replaced)(*symbols)
        for i, part in enumerate(partials)
    ]
    shown = ops.scalar_function(name, count, *(_with_arguments(slope, symbols) for slope in slopes))
    shown.expansion, shown.partials, shown.replaced = expansion, partials, replaced
    return shown


def derivative_mark(argument: int, count: int) -> str:
    """Return what stands behind the name of a function of some arguments for its derivative by one of them."""
    return "'" if count == 1 else f"'_{argument + 1}"


def _slope(name: str, part: sp.Expr, count: int, replaced: bool) -> Any:
    slope = ops.scalar_function(name, count, *[lambda *_: sp.S.Zero] * count)
    slope.expansion, slope.is_surrogate = part, replaced
    return slope


def _expression(name: str, body: Callable[..., Any], symbols: Sequence[sp.Symbol], what: str = "body") -> sp.Expr:
    try:
        found = body(*symbols)
        if not isinstance(found, sp.Expr | Boolean | int | float | np.number) or isinstance(found, bool | BooleanAtom):
            raise TypeError(f"it is {type(found).__name__}; text is never evaluated")
        given = sp.sympify(found, strict=True)
        _check_numbers(given, f"the {what} of {name!r}")
        expr = canonical(given, f"in the {what} of {name!r}")
    except (TypeError, AttributeError, sp.SympifyError) as error:
        raise ArgumentError(
            f"the {what} of {name!r} gives no SymPy expression ({error})\n"
            "  write it with SymPy's functions: lambda v: sympy.tanh(v)"
        ) from None
    extra = expr.free_symbols - set(symbols)
    if extra:
        raise ArgumentError(
            f"the {what} of {name!r} has the symbols {', '.join(sorted(map(str, extra)))} beside its arguments"
        )
    return expr


def _check_numbers(expr: sp.Basic, where: str) -> None:
    for atom in sorted(expr.atoms(sp.AtomicExpr), key=str):
        if not atom.is_Symbol and not (atom.is_real and atom.is_finite and abs(atom) <= sys.float_info.max):
            raise ArgumentError(
                f"{where} has a number that is no float: {str(atom)[:20]}\n"
                "  write it with finite real numbers, and branches as a sympy.Piecewise whose last condition is True"
            )


def _with_arguments(part: sp.Expr, symbols: Sequence[sp.Symbol]) -> Callable[..., sp.Expr]:
    return lambda *args: part.xreplace(dict(zip(symbols, args[:-1], strict=True)))


class Declared:
    """An elementwise function of the user's: called on arrays and SymPy expressions it is what was given, on values of a cell its
    stable form."""

    def __init__(self, name: str, count: int, expr: sp.Expr, partials: Sequence[sp.Expr] | None) -> None:
        self.__name__ = self.__qualname__ = name
        self.__doc__ = f"Return {name}({', '.join(f'_{i}' for i in range(count))}) = {expr}, elementwise."
        self.count, self.expr, self.partials = count, expr, partials
        self.traced = stable_expression(expr)
        if partials is not None:
            scalar = declared_function(name, self.traced, [stable_expression(part) for part in partials])
            self.traced = scalar(*map(placeholder, range(count)))

    def __reduce__(self) -> Any:
        return Declared, (self.__name__, self.count, self.expr, self.partials)

    def __repr__(self) -> str:
        return f"<function {self.__name__} of {counted(self.count, 'argument')}>"

    def __call__(self, *values: Any) -> Any:
        if len(values) != self.count:
            raise ArgumentError(
                f"{self.__name__} takes {self.count} arguments, got {len(values)}"
                + (f"\n  at {place}" if (place := user_place()) else "")
            )
        graph = graph_of(*values)
        if graph is not None:
            arrays = [as_array(graph, value) for value in values]
            return Array(graph, self._marked(graph, tuple(array.id for array in arrays)))
        if any(isinstance(value, sp.Basic) for value in values):
            given = self.expr if self.partials is None else self.traced
            return given.xreplace({placeholder(i): value for i, value in enumerate(values)})
        return on_arrays(self.expr, self.partials, values)

    def _marked(self, graph: Graph, ids: tuple[int, ...]) -> int:
        """Return the value of a call, told apart by the name of the function where that is made of others."""
        found = apply_expr(graph, self.traced, ids)
        # A result with a smaller id than an argument is an older node (as for f(x) = x): the mark would name that one.
        if self.partials is None and all(id < found for id in ids):
            graph.marks.setdefault(found, Mark(self.__name__, ids, self.traced))
        return found


def on_arrays(expr: sp.Expr, partials: Sequence[sp.Expr] | None, values: Sequence[Any]) -> Any:
    """Return the value on arrays; with a declared derivative, complex arrays carry a tangent in their imaginary part.

    Arrays of a class of their own keep it: those of a check compare by the real part alone.
    """
    # float32 as the least type: integers and truth values become real numbers, and float32 data stay float32.
    if partials is not None and any(map(own_functions, values)):
        return _with_slopes(expr, partials, values)
    dtype = np.result_type(*(np.asarray(value) for value in values), np.float32)
    shape = np.broadcast_shapes(*map(np.shape, values))
    if partials is None or dtype.kind != "c":
        # NumPy's arithmetic on truth values is logic; here they count as 0 and 1.
        numbers = [value if np.asarray(value).dtype.kind != "b" else np.asarray(value, dtype) for value in values]
        return _of_shape(np.asanyarray(evaluate(expr, numbers), dtype=None if dtype.kind == "O" else dtype), shape)
    reals = [np.real(value) for value in values]
    # A complex step i ε propagates derivatives: f(x + i ε) = f(x) + i ε f'(x); a surrogate replaces f' here as well.
    tangent = sum(evaluate(part, reals) * np.imag(value) for part, value in zip(partials, values, strict=True))
    found = _of_shape(evaluate(expr, reals) + 1j * tangent, shape)
    kinds = [type(v) for v in values if isinstance(v, np.ndarray) and type(v) is not np.ndarray and v.dtype.kind == "c"]
    return np.asarray(found).view(kinds[0]) if kinds else found


def _with_slopes(expr: sp.Expr, partials: Sequence[sp.Expr], values: Sequence[Any]) -> Any:
    """Return the value at constants, and the declared slopes times what the values are beside these: nothing but their tangents."""
    constant = np.frompyfunc(lambda x: x.elementwise("stop_gradient", x), 1, 1)
    plain = [value if own_functions(value) is None else constant(value) for value in values]
    pairs = zip(partials, values, plain, strict=True)
    return evaluate(expr, plain) + sum(evaluate(part, plain) * (value - fixed) for part, value, fixed in pairs)


def _of_shape(value: Any, shape: tuple[int, ...]) -> Any:
    """Return a value with the shape of all arguments together, also of those that its expression does not read."""
    return value if np.shape(value) == shape else np.broadcast_to(value, shape, subok=True).copy()


def evaluate(expr: sp.Expr, values: Sequence[Any]) -> Any:
    """Return an expression over placeholders on arrays, by the NumPy functions of the table."""
    return on_values(expr, values, _of_table)


def on_values(expr: sp.Expr, values: Sequence[Any], call: Callable[[sp.Expr, list[Any]], Any]) -> Any:
    """Return an expression over placeholders on arrays; `call` applies its functions and its roots of two."""
    return _planned(expr)(values, call)


_Plan = Callable[[Sequence[Any], Callable[[sp.Expr, list[Any]], Any]], Any]


@lru_cache(10_000)
def _planned(expr: sp.Expr) -> _Plan:
    """Return how an expression is computed, read once: a body is asked for its value thousands of times."""
    if expr.is_Symbol:
        index = int(expr.name[1:])
        return lambda values, call: values[index]
    if not expr.free_symbols:
        number = as_python(expr)
        return lambda values, call: number
    plans = [_planned(part) for part in expr.args]
    if expr.is_Add or expr.is_Mul:
        joined = operator.add if expr.is_Add else operator.mul
        return lambda values, call: reduce(joined, [plan(values, call) for plan in plans])
    if expr.is_Pow and abs(expr.exp) != sp.Rational(1, 2):
        return lambda values, call: _power(*(plan(values, call) for plan in plans))
    return lambda values, call: call(expr, [plan(values, call) for plan in plans])


def _power(base: Any, exponent: Any) -> Any:
    # NumPy refuses integer arrays to negative integer powers.
    return base ** (float(exponent) if isinstance(exponent, int) and exponent < 0 else exponent)


def _of_table(expr: sp.Expr, parts: list[Any]) -> Any:
    if expr.is_Pow:
        return parts[0] ** parts[1]
    if hasattr(expr.func, "expansion"):
        return evaluate(expr.func.expansion, parts)
    if expr.func not in NAME_OF:
        raise CellError(f"the function {expr.func.__name__} is not in the table of ops")
    return ops.BY_NAME[NAME_OF[expr.func]].evaluate(*parts)
