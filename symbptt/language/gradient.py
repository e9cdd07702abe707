"""`sb.grad`: the gradient of a scalar function inside the body of a cell, as nodes of the step.

The function is traced on a leaf of its own in the place of its argument, so that what it closes over, be it the same array,
counts as constant; the reverse sweep of the derivation then runs over its value, and what it finds is put into the step with the
leaf replaced by the argument. No family of nodes is new: the derivation of the cell goes through these nodes as through others.

Example: sb.grad(lambda M: sb.sum((M @ k - v) ** 2))(M) is the value 2 (M k - v) kᵀ of the step.

On NumPy arrays, as in the ordinary call of a cell, the function is traced on the spot, on leaves of the shapes of its arrays, and its
gradient evaluated on these arrays: complex ones, dual numbers and numbers of 50 digits are carried through.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import sympy as sp

from symbptt.autodiff.scalar_gradient import gradient_of
from symbptt.errors import ArgumentError, CellError, ShapeError
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, Slope, placeholder
from symbptt.ir.rewrite import copy_node, moved_slopes
from symbptt.ir.rounds import written_out_from
from symbptt.ir.scalar import as_sympy
from symbptt.ir.shape import show
from symbptt.language.array import TRACED, Array, Recording, as_array, body_of, graph_of, kind
from symbptt.language.evaluation import evaluated
from symbptt.language.folding import spelled, with_smooth_wholes
from symbptt.language.kept_traces import reading_of
from symbptt.language.local_names import named_so_far
from symbptt.language.namespaces import held_names
from symbptt.language.number_kinds import COMPLEX, REAL, own_functions
from symbptt.language.sizes import Dim
from symbptt.language.stable_forms import stable_values
from symbptt.language.user_frames import cell_error, user_place

Path = tuple[Any, ...]
"""The keys and places by which an array is found in tuples, lists and dicts."""


def grad(function: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """Return the function that gives the gradient of a scalar-valued `function` with respect to one of its arguments.

    `argnums` are the numbers of the arguments: a tuple of them gives a tuple of gradients. An argument is an array, or a tuple,
    list or dict of arrays, and its gradient has the same structure. What the function closes over counts as constant; the
    derivation of the cell goes through the gradient to all of it. May be nested: the function may itself call `grad`.

    Shapes: a gradient has that of its argument.

    Raises: ArgumentError where `function` cannot be called, or argnums are no numbers of arguments; CellError, at the call, where an
    argument is no array of real numbers, or the value is none; ShapeError where the value has axes.

    Example: `M - eta * sb.grad(lambda M: sb.sum((M @ k - v) ** 2))(M)`.
    """
    wanted = _checked("grad", function, argnums)

    def gradient(*args: Any, **kwargs: Any) -> Any:
        return _of_call("grad", function, wanted, args, kwargs)[1]

    return _named(gradient, function)


def value_and_grad(function: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """Return the function that gives the value of a scalar-valued `function` and its gradient, as `grad` does.

    Shapes: a scalar, and a gradient of the shape of its argument.

    Raises: as `grad`.

    Example: `loss, g = sb.value_and_grad(lambda W: sb.sum((W @ k - v) ** 2))(W)`.
    """
    wanted = _checked("value_and_grad", function, argnums)

    def value_and_gradient(*args: Any, **kwargs: Any) -> Any:
        return _of_call("value_and_grad", function, wanted, args, kwargs)

    return _named(value_and_gradient, function)


def _checked(what: str, function: Any, argnums: Any) -> int | tuple[int, ...]:
    """Return argnums as an integer or a tuple of them."""
    if not callable(function):
        given = f"sb.{what} takes a function, got {type(function).__name__}"
        place = f"\n  at {user_place()}" if user_place() else ""
        raise ArgumentError(
            f"{given}{place}\n  write sb.{what}(lambda M: loss(M, k, v))(M), the argument in brackets of its own"
        )
    several = isinstance(argnums, tuple | list)
    numbers = tuple(argnums) if several else (argnums,)
    if not all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in numbers):
        raise ArgumentError(
            f"argnums of sb.{what} is a number of an argument or a tuple of them, got {argnums!r}\n  write argnums=0, or argnums=(0, 1)"
        )
    return tuple(map(int, numbers)) if several else int(argnums)


def _named(made: Any, function: Any) -> Any:
    made.__name__ = made.__qualname__ = f"gradient of {getattr(function, '__name__', 'a function')}"
    return made


@dataclass(frozen=True)
class _Part:
    """An array of an argument: the argument's number, where the array is in it, the array."""

    number: int
    path: Path
    value: Any


def _of_call(
    what: str,
    function: Callable[..., Any],
    argnums: int | tuple[int, ...],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[Any, Any]:
    """Return the value of a call and the gradient by the wanted arguments."""
    numbers = _in_range(what, argnums, args)
    parts = [_Part(n, path, x) for n in dict.fromkeys(numbers) for path, x in _leaves(what, args[n])]
    graph = graph_of(*(part.value for part in parts)) or TRACED.get()
    if any(_is_pair(part.value) for part in parts):
        value, gradients = _on_pairs(what, function, parts, args, kwargs)
    elif graph is None:
        value, gradients = _on_numbers(what, function, parts, args, kwargs)
    else:
        value, gradients = _in_graph(what, graph, function, parts, args, kwargs)
    found = {(part.number, part.path): x for part, x in zip(parts, gradients, strict=True)}
    whole = {n: _filled(args[n], partial(_found, found, n)) for n in dict.fromkeys(numbers)}
    return value, tuple(whole[n] for n in numbers) if isinstance(argnums, tuple) else whole[numbers[0]]


def _found(arrays: Mapping[tuple[int, Path], Any], number: int, path: Path) -> Any:
    return arrays[number, path]


def _in_range(what: str, argnums: int | tuple[int, ...], args: tuple[Any, ...]) -> list[int]:
    numbers = list(argnums) if isinstance(argnums, tuple) else [argnums]
    for n in numbers:
        if not -len(args) <= n < len(args):
            raise cell_error(
                f"sb.{what} with argnums={argnums!r} has no argument {n}: the call has {len(args)}",
                "give the arguments to differentiate by position, counted from 0",
            )
    return [n % len(args) for n in numbers]


# Structures of arrays.


def _leaves(what: str, value: Any, path: Path = ()) -> list[tuple[Path, Any]]:
    """Return the arrays in an argument.

    Raises: CellError for what is no array of real or complex numbers.
    """
    if isinstance(value, dict):
        return [leaf for key, x in value.items() for leaf in _leaves(what, x, (*path, key))]
    if isinstance(value, tuple | list):
        return [leaf for i, x in enumerate(value) for leaf in _leaves(what, x, (*path, i))]
    kind_of_it = _what_it_is(value)
    if kind_of_it:
        raise cell_error(
            f"sb.{what} differentiates by arrays of real or complex numbers, got {kind_of_it}",
            "give it an array of the cell, or tuples, lists and dicts of arrays; what stays constant, the function may close over",
        )
    return [(path, value)]


def _what_it_is(value: Any) -> str:
    """Return what an argument is, in words, where it is nothing to differentiate by; "" of real numbers."""
    if isinstance(value, Dim):
        return f"the size {value!r}"
    if isinstance(value, Array):
        return "" if kind(value) >= REAL else f"integers or truth values: {value!r}"
    if own_functions(value) is not None or _is_pair(value):
        return ""
    array = np.asarray(value) if isinstance(value, int | float | complex | np.ndarray | np.generic) else None
    if array is None:
        return f"{type(value).__name__} {value!r}"[:100]
    return "" if array.dtype.kind in "fcO" else f"{array.dtype} {value!r}"[:100]


def _filled(value: Any, at: Callable[[Path], Any], path: Path = ()) -> Any:
    """Return an argument's structure with another value in the place of each array."""
    if isinstance(value, dict):
        return type(value)({key: _filled(x, at, (*path, key)) for key, x in value.items()})
    if isinstance(value, tuple | list):
        made = [_filled(x, at, (*path, i)) for i, x in enumerate(value)]
        return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)
    return at(path)


def _called(
    what: str, graph: Graph, function: Callable[..., Any], parts: Sequence[_Part], leaves: Sequence[int],
    args: tuple[Any, ...], kwargs: dict[str, Any],
) -> Any:  # fmt: skip
    """Return the value of a function on leaves in the place of the arrays by which it is differentiated."""
    with body_of(f"sb.{what}"):
        stands = {(part.number, part.path): Array(graph, id) for part, id in zip(parts, leaves, strict=True)}
        by = {part.number for part in parts}
        given = [_filled(x, partial(_found, stands, n)) if n in by else x for n, x in enumerate(args)]
        return function(*given, **kwargs)


def _scalar(what: str, graph: Graph, function: Callable[..., Any], value: Any) -> Array:
    """Return the value of a function as an array of the graph.

    Raises: CellError, ShapeError where it is no real number.
    """
    name = getattr(function, "__name__", "the function")
    if isinstance(value, tuple | list | dict) or value is None:
        has = "None" if value is None else f"a {type(value).__name__}"
        raise cell_error(
            f"sb.{what} takes a function whose value is one number, {name} returns {has}{_at(function)}",
            "return the number alone: a loss, not the pair of a loss and something else",
        )
    found = as_array(graph, value)
    if found.ndim:
        raise cell_error(
            f"sb.{what} takes a function whose value is one number, {name} returns shape {show(graph.shape(found.id))}{_at(function)}",
            "sum it: return sb.sum(...)",
            ShapeError,
        )
    if kind(found) == COMPLEX:
        raise _complex_value(what, function)
    if kind(found) != REAL:
        raise cell_error(
            f"sb.{what} takes a function whose value is a real number, {name} returns an integer or a truth value{_at(function)}",
            "a count has no derivative: return a smooth function of the argument",
        )
    return found


def _complex_value(what: str, function: Any) -> CellError:
    name = getattr(function, "__name__", "the function")
    said = f"sb.{what} takes a function whose value is a real number, {name} returns a complex one{_at(function)}"
    return cell_error(said, "return its .real, or np.abs")


def _at(function: Any) -> str:
    code = getattr(function, "__code__", None)
    return f"\n  at {code.co_filename}:{code.co_firstlineno}, in {code.co_name}" if code else ""


# In a graph.


def _in_graph(
    what: str, graph: Graph, function: Callable[..., Any], parts: Sequence[_Part], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Array, list[Array]]:  # fmt: skip
    """Return the value and the gradients as arrays of the graph."""
    given = [as_array(graph, part.value) for part in parts]
    leaves = [
        build.leaf(graph, "variable", f"variable {len(graph)}", graph.shape(x.id), graph.is_complex(x.id))
        for x in given
    ]
    value = _scalar(what, graph, function, _called(what, graph, function, parts, leaves, args, kwargs))
    onto = dict(zip(leaves, (x.id for x in given), strict=True))
    done = Derived.of(graph, value.id, leaves)
    new = done.into(graph, onto)
    made = [
        new[done.value],
        *(new[id] if id is not None else _zeros(graph, x.id) for id, x in zip(done.gradients, given, strict=True)),
    ]
    graph.moved.update({old: new[id] for old, id in done.stable.items() if id in new and new[id] != old})
    links = tuple((id, new[id]) for id in _closed(done, leaves) if id in new)
    names, called = _names(function, parts), getattr(function, "__name__", "")
    for number, id in enumerate(made[1:]):
        # A gradient that is a value of the cell already, or a number, has a name of its own.
        if graph[id].family not in ("leaf", "number"):
            shown, inside = "" if called.startswith("<") else called, tuple(done.stable[leaf] for leaf in leaves)
            slope = Slope(shown, number, tuple(x.id for x in given), names, done.graph, done.value, inside, links)
            graph.slopes.setdefault(id, slope)
    value_made, *gradients = (Array(graph, id) for id in made)
    return value_made, gradients


def _zeros(graph: Graph, like: int) -> int:
    return build.expand(graph, build.number(graph, 0.0), graph.shape(like))


def _names(function: Any, parts: Sequence[_Part]) -> tuple[str, ...]:
    """Return what the arrays are called by which a function is differentiated: its parameters, with keys of structures."""
    known = list(inspect.signature(function).parameters) if hasattr(function, "__code__") else []
    found = []
    for part in parts:
        head = known[part.number] if part.number < len(known) else "z"
        found.append("_".join(map(str, (head, *part.path))))
    return tuple(found)


def _closed(done: Derived, leaves: Sequence[int]) -> list[int]:
    """Return the values of a derivation that do not depend on its leaves, in the order of their making."""
    g = done.graph
    moving = g.descendants([done.stable[leaf] for leaf in leaves])
    return [id for id in g.ancestors([done.value]) if id not in moving]


@dataclass(frozen=True)
class Derived:
    """A scalar with its gradients by some leaves, in a graph of its own; a gradient is None where it is zero. `stable` are the nodes
    of the function there by those of the graph in which it was traced."""

    graph: Graph
    value: int
    gradients: tuple[int | None, ...]
    stable: Mapping[int, int]

    @classmethod
    def of(cls, graph: Graph, value: int, leaves: Sequence[int]) -> Derived:
        """Return the derivation of a value by leaves, in the stable forms of the spellings that it is made of."""
        stable, first = stable_values(graph, [value, *leaves])
        # What the user has named is a value of its own: its adjoint reads it, and does not spell it out.
        stable.names = {first[id]: name for id, name in named_so_far().items() if id in first}
        # The reverse sweep of a function is made of operations of the step, and a loop back reads all rounds of the loop forward.
        roots = [first[value], *(first[id] for id in leaves)]
        flat, written = written_out_from(
            stable, roots, [first[id] for id in leaves], "a function of which a gradient is taken"
        )
        small, second = with_smooth_wholes(flat, [written[id] for id in roots])
        new = {old: second[written[id]] for old, id in first.items() if written.get(id) in second}
        made = [new[id] for id in leaves]
        found = gradient_of(small, new[value], made)
        return cls(small, new[value], tuple(found.get(id) for id in made), new)

    def into(self, graph: Graph, onto: Mapping[int, int]) -> dict[int, int]:
        """Make the value and the gradients in another graph, some leaves being other nodes there; return nodes there by nodes here."""
        stands = {self.stable[old]: new for old, new in onto.items()}
        roots = [self.value, *(id for id in self.gradients if id is not None)]
        before, place, new = graph.locate, graph.locate(), dict[int, int]()
        numbers: dict[int, sp.Expr] = {}
        for id in self.graph.ancestors(roots):
            node = self.graph[id]
            graph.locate = lambda node=node: node.place or place  # type: ignore[misc]
            new[id] = stands[id] if id in stands else _made(graph, node, new, numbers)
        graph.locate = before
        for id, slope in moved_slopes(self.graph, new).items():
            graph.slopes.setdefault(id, slope)
        for id, mark in self.graph.marks.items():
            if id in new and all(arg in new for arg in mark.args):
                graph.marks.setdefault(new[id], replace(mark, args=tuple(new[arg] for arg in mark.args)))
        return new


def _made(graph: Graph, node: Node, new: Mapping[int, int], numbers: dict[int, sp.Expr]) -> int:
    """Return a node in another graph; `numbers` are the values so far that are one number repeated, such as the adjoint of each
    term of a sum: a sweep multiplies by them, and a formula need not."""
    args = tuple(new[arg] for arg in node.args)
    if node.family == "whole":
        return spelled(graph, node, args)
    if node.family == "number" and not node.shape:
        numbers[node.id] = _whole(as_sympy(node.attrs.value))
    elif node.family == "view" and node.attrs.kind in SAME and node.args[0] in numbers:
        numbers[node.id] = numbers[node.args[0]]
    # What the user wrote has a place and stays as it is, but for two arguments that have become one.
    known = {} if node.place else {i: numbers[arg] for i, arg in enumerate(node.args) if arg in numbers}
    if node.family != "map" or (not known and len(set(args)) == len(args)):
        return copy_node(graph, node, args)
    rest = list(dict.fromkeys(arg for i, arg in enumerate(args) if i not in known))
    inside = {placeholder(i): known[i] if i in known else placeholder(rest.index(arg)) for i, arg in enumerate(args)}
    expr = node.attrs.expr.xreplace(inside)
    if expr.free_symbols:
        return build.expand(graph, build.map_(graph, expr, rest), node.shape)
    numbers[node.id] = _whole(expr)
    return build.expand(graph, build.number(graph, float(expr)), node.shape)


def _whole(number: sp.Expr) -> sp.Expr:
    """Return a number, a whole one as an integer: 1.0 times a formula would stay in it as a factor."""
    return sp.Integer(int(number)) if number.is_Float and float(number).is_integer() else number


# On pairs of real numbers, as complex ones are written where they are checked.


def _is_pair(value: Any) -> bool:
    return hasattr(value, "elementwise_of_pairs")


def _on_pairs(
    what: str, function: Callable[..., Any], parts: Sequence[_Part], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, list[Any]]:  # fmt: skip
    """Return the value and the gradients as pairs: those by the real and by the imaginary part are the parts of one, by the
    definition of the cotangent of a complex number."""
    kind_of_pair = next(type(part.value) for part in parts if _is_pair(part.value))
    whole = [part.value if _is_pair(part.value) else kind_of_pair(part.value) for part in parts]
    flat = [x for pair in whole for x in (pair.re, pair.im) if x is not None]

    def of_parts(*given: Any) -> Any:
        left = iter(given)
        pairs = [kind_of_pair(*(next(left) for x in (pair.re, pair.im) if x is not None)) for pair in whole]
        found = _moved_value(function, parts, args, kwargs, pairs)
        if not _is_pair(found):
            return found
        if found.im is not None:
            raise _complex_value(what, function)
        return found.re

    value, gradients = _of_call(what, of_parts, tuple(range(len(flat))), tuple(flat), {})
    slopes = iter(gradients)
    found = [kind_of_pair(*(next(slopes) for x in (pair.re, pair.im) if x is not None)) for pair in whole]
    return kind_of_pair(value), found


SAME = ("reshape", "expand", "transpose")
"""Views of one number repeated that are such themselves."""


# On numbers.


@dataclass(frozen=True)
class Call:
    """A gradient that was taken on numbers: of what function, at which arrays, and what it is; `along` gives the function's value at
    these arrays moved in one direction each."""

    name: str
    function: Callable[..., Any]
    given: tuple[Any, ...]
    gradients: tuple[Any, ...]
    along: Callable[[Sequence[Any]], Any]


_CALLS: ContextVar[list[Call] | None] = ContextVar("calls", default=None)


@contextmanager
def calls_recorded() -> Iterator[list[Call]]:
    """Collect the gradients that functions of the user's take on numbers."""
    found: list[Call] = []
    token = _CALLS.set(found)
    try:
        yield found
    finally:
        _CALLS.reset(token)


def _moved_value(
    function: Callable[..., Any], parts: Sequence[_Part], args: tuple[Any, ...], kwargs: dict[str, Any], given: Sequence[Any]
) -> Any:  # fmt: skip
    """Return the value of a function at other arrays, as the user wrote it."""
    stands = {(part.number, part.path): x for part, x in zip(parts, given, strict=True)}
    by = {part.number for part in parts}
    return function(*(_filled(x, partial(_found, stands, n)) if n in by else x for n, x in enumerate(args)), **kwargs)


def _on_numbers(
    what: str, function: Callable[..., Any], parts: Sequence[_Part], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, list[Any]]:  # fmt: skip
    """Return the value and the gradients as numbers, of whatever kind the arguments are."""
    given = [part.value if isinstance(part.value, np.ndarray) else np.asarray(part.value) for part in parts]
    done, roots, read = _traced(what, function, parts, given, args, kwargs)
    known = read | {f"variable {i}": x for i, x in enumerate(given)}
    found = iter(evaluated(done, [id for id in roots if id is not None], known))
    made, *slopes = (None if id is None else next(found) for id in roots)
    gradients = [_like(x, slope) for x, slope in zip(given, slopes, strict=True)]
    record = _CALLS.get()
    if record is not None:
        name = getattr(function, "__name__", "a function")
        record.append(
            Call(name, function, tuple(given), tuple(gradients), partial(_moved_value, function, parts, args, kwargs))
        )
    return made, gradients


_Traced = tuple[Graph, tuple[int | None, ...]]
"""The graph of a value and its gradients, and where these are."""


def _traced(
    what: str, function: Callable[..., Any], parts: Sequence[_Part], given: Sequence[Any], args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[Graph, tuple[int | None, ...], dict[str, Any]]:  # fmt: skip
    """Return the graph of a call's value and gradients, where these are, and the arrays that it reads by name; that of a call which
    is alike, where one is kept."""
    stands = [(part.number, part.path, np.shape(x)) for part, x in zip(parts, given, strict=True)]
    reading = reading_of(function, (args, kwargs, stands))
    kept = reading and reading.kept()
    if reading and kept:
        derived, places = kept
        return (*derived, {name: reading.arrays[place] for name, place in places.items()})
    derived, read = _traced_anew(what, function, parts, given, args, kwargs)
    if reading:
        reading.keep(derived, read)
    return (*derived, read)


def _traced_anew(
    what: str, function: Callable[..., Any], parts: Sequence[_Part], given: Sequence[Any], args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[_Traced, dict[str, Any]]:  # fmt: skip
    graph = Recording()
    leaves = [
        build.leaf(graph, "variable", f"variable {i}", np.shape(x), graph.is_of_numbers(x)) for i, x in enumerate(given)
    ]
    token = TRACED.set(graph)
    try:
        with held_names(function, lambda x: as_array(graph, x) if x.dtype.kind in "fcO" else x):
            value = _called(what, graph, function, parts, leaves, args, kwargs)
        value = _scalar(what, graph, function, value)
    finally:
        TRACED.reset(token)
    nodes = tuple((n.family, n.args, n.shape, n.attrs, type(getattr(n.attrs, "value", None))) for n in graph)
    return _derived(nodes, value.id, tuple(leaves)), graph.given


@lru_cache(1000)
def _derived(nodes: tuple[Any, ...], value: int, leaves: tuple[int, ...]) -> _Traced:
    """Return the graph of a value and its gradients: made once for all calls that take the same way through a function."""
    graph = Graph()
    for family, args, shape, attrs, _ in nodes:
        graph.add(family, args, shape, attrs)
    derived, done = Derived.of(graph, value, leaves), Graph()
    new = derived.into(done, {})
    return done, (new[derived.value], *(None if id is None else new[id] for id in derived.gradients))


def _like(given: Any, slope: Any) -> Any:
    """Return a gradient as an array of its own, of the kind of what it is the gradient by."""
    if slope is None:
        return np.zeros_like(given)
    if type(given) is not np.ndarray:
        return slope + np.zeros_like(given)
    # What the function closes over may be of another kind than its argument, such as numbers that carry a tangent.
    is_plain = type(slope) in (np.ndarray, np.float64, np.float32, float) and np.asarray(slope).dtype.kind == "f"
    return np.array(slope, given.dtype if is_plain else None, subok=True)
