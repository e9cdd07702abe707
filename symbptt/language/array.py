"""Symbolic arrays: what a cell's arguments are while it is traced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp

from symbptt import ops
from symbptt.errors import ShapeError
from symbptt.ir import build
from symbptt.ir import shape as shapes
from symbptt.ir.from_sympy import node_of
from symbptt.ir.graph import Graph
from symbptt.ir.node import placeholder
from symbptt.language.number_kinds import COMPLEX, INTEGER, REAL, TRUTH, kind_of, kind_of_value, meaning, type_of
from symbptt.language.numpy_dispatch import NUMPY_FUNCTIONS, call_function, call_ufunc, other_way, refuse
from symbptt.language.sizes import Dim, public_shape, public_size, without_number
from symbptt.language.user_frames import cell_error

MOST_VALUES = 10_000
"""Values of a step: what makes more is a loop that does not end, or one that nobody would wait for."""


class Part:
    """Of which array another one is a view, how it is read from that, and what becomes of that when the view is changed.

    `keys` are the indices by which it was taken, where it was.
    """

    __slots__ = ("keys", "read", "seen", "whole", "written")

    def __init__(
        self, whole: Array, read: Callable[[int], int], written: Callable[[int, int], int], keys: Sequence[Any] = ()
    ) -> None:
        self.whole, self.read, self.written, self.seen, self.keys = whole, read, written, whole.id, keys


@dataclass(frozen=True, eq=False)
class Body:
    """A function inside of a step that is traced once, whatever number of times it is called; `name` says whose it is."""

    name: str


_BODY: ContextVar[Body | None] = ContextVar("body", default=None)


@contextmanager
def body_of(name: str) -> Iterator[None]:
    """Let what is traced here be a body of its own, in which arrays from outside stay as they are."""
    token = _BODY.set(Body(name))
    try:
        yield
    finally:
        _BODY.reset(token)


class Array:
    """A value of the graph that behaves as a NumPy array of its shape.

    `value` is its number where it follows from constants alone, so that a cell may branch and loop on constants; `limit` of
    a place, such as argmax gives, the number of entries that it chooses from. `part` says of which array this is a view: what
    is written into either is seen in both, as in NumPy.
    """

    __slots__ = ("_id", "body", "given", "graph", "limit", "part", "value")
    __array_priority__ = 1000

    def __init__(self, graph: Graph, id: int, value: Any = None, part: Part | None = None, limit: Any = None) -> None:
        if id >= MOST_VALUES:
            raise cell_error(
                f"a step makes more than {MOST_VALUES:,} values",
                "does a loop in it never end? loops over time are the kernel's: a cell is one step",
            )
        self.graph, self._id, self.value, self.part, self.limit, self.given = graph, id, value, part, limit, ""
        self.body = _BODY.get()

    @property
    def id(self) -> int:
        """The node that is its value now."""
        part = self.part
        if part is not None and part.whole.id != part.seen:
            part.seen = part.whole.id
            self._id = part.read(part.seen)
        return self._id

    @property
    def last(self) -> int:
        """The node that was its value when it was last read."""
        return self._id

    def is_of_here(self) -> bool:
        """Answer whether it was made in the body that is traced now, and not in one around it."""
        return self.body is _BODY.get()

    def become(self, id: int) -> None:
        """Change the value in place, and that of the array of which it is a view."""
        check_here(self)
        if self.part is not None:
            whole = self.part.whole
            whole.become(self.part.written(whole.id, id))
            self.part.seen = whole.id
        self._id, self.value = id, None

    @property
    def shape(self) -> tuple[int | Dim, ...]:
        return public_shape(self.graph, self.graph.shape(self.id))

    @property
    def ndim(self) -> int:
        return len(self.graph.shape(self.id))

    @property
    def size(self) -> int | Dim:
        return public_size(self.graph, shapes.prod(self.graph.shape(self.id)))

    @property
    def T(self) -> Array:
        return turned(self, range(self.ndim)[::-1])

    @property
    def real(self) -> Array:
        found: Array = NUMPY_FUNCTIONS["real"](self)
        return found

    def conj(self) -> Array:
        """Return the conjugates; an array of real numbers is its own, as in NumPy, where np.conj makes a new one."""
        found: Array = NUMPY_FUNCTIONS["conj"](self) if kind(self) == COMPLEX else self
        return found

    conjugate = conj

    @property
    def imag(self) -> Array:
        found: Array = NUMPY_FUNCTIONS["imag"](self)
        return found

    @property
    def mT(self) -> Array:
        if self.ndim < 2:
            raise cell_error(f"{self!r} has no matrix to transpose", "write .T, or give it a second axis", ShapeError)
        return turned(self, (*range(self.ndim - 2), self.ndim - 1, self.ndim - 2))

    @property
    def flat(self) -> Any:
        return NUMPY_FUNCTIONS["ravel"](self)

    @property
    def dtype(self) -> Any:
        return type_of(kind(self))

    def __copy__(self) -> Any:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Any:
        return self.copy()

    def __repr__(self) -> str:
        return f"<{self.graph.names.get(self.id, 'array')} of shape {shapes.show(self.graph.shape(self.id))}>"

    def __len__(self) -> int:
        if not self.ndim:
            raise cell_error("a scalar has no length")
        if isinstance(self.shape[0], Dim):
            raise cell_error(
                f"the size {self.shape[0]} has no number while the cell is traced, as len(x) and a loop over x need one",
                'write x.shape[0]; a loop over the entries needs a size of known length, for example Param["3 n"]',
            )
        return int(self.shape[0])

    def __iter__(self) -> Any:
        return iter([self[i] for i in range(len(self))])

    def _number(self, what: str, cure: str) -> Any:
        # Sizes have an error of their own: the advice there names loops, np.zeros and np.eye.
        if self.value is None:
            if is_of_sizes(self):
                raise without_number(" or ".join(leaf.attrs.name for leaf in _leaves(self)))
            raise cell_error(f"{what}: it has no number while the cell is traced", cure)
        return self.value

    def __bool__(self) -> bool:
        return bool(
            self._number(
                "a branch on a value of the cell",
                "write sb.where(condition, a, b) instead of if; np.maximum(a, b), np.max(x) or np.sort(x) instead of max and sorted",
            )
        )

    def __index__(self) -> int:
        return int(
            self._number(
                "a value of the cell used as a Python integer", 'make it a Const with a default, or an Index["v"]'
            )
        )

    def __float__(self) -> float:
        return float(
            self._number(
                "a value of the cell used as a Python float",
                "leave float() out, and use the functions of NumPy or symbptt, not of math",
            )
        )

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise cell_error(
            "a value of the cell was turned into a plain NumPy array",
            "leave np.asarray and np.array out, values are arrays already; put several together with np.stack or np.concatenate; "
            "for a row of a plain table write sb.one_hot(i, n) @ table, for a sparse constant S.toarray()",
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return call_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return call_function(func, args, kwargs)

    def __setitem__(self, key: Any, value: Any) -> None:
        NUMPY_FUNCTIONS["setitem"](self, key, value)

    def __getitem__(self, key: Any) -> Any:
        return NUMPY_FUNCTIONS["getitem"](self, key)

    def __getattr__(self, name: str) -> Any:
        if name in _METHODS:
            function = NUMPY_FUNCTIONS.get(f"{name}()", NUMPY_FUNCTIONS[name])
            return lambda *args, **kwargs: function(self, *args, **kwargs)
        way = f"; {other_way(name)}" if hasattr(np.ndarray, name) else ""
        raise AttributeError(f"a value of a cell has no attribute {name!r}{way}")

    def __divmod__(self, other: Any) -> Any:
        return NUMPY_FUNCTIONS["divmod"](self, other)

    def __rdivmod__(self, other: Any) -> Any:
        return NUMPY_FUNCTIONS["divmod"](other, self)

    def __matmul__(self, other: Any) -> Any:
        return NUMPY_FUNCTIONS["matmul"](self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return NUMPY_FUNCTIONS["matmul"](other, self)

    def __hash__(self) -> int:
        return hash(self.id)


# Each method is the function of the same name with the array as its first argument.
_METHODS = (
    "sum", "mean", "max", "min", "dot", "reshape", "transpose", "cumsum", "clip", "ravel", "squeeze", "swapaxes",
    "copy", "flatten", "var", "std", "take", "prod", "cumprod", "any", "all", "repeat", "round", "astype", "fill",
    "argmax", "argmin", "argsort", "put",
)  # fmt: skip
_BOTH_SIDES = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power", "and": "bitwise_and",
    "or": "bitwise_or", "xor": "bitwise_xor", "mod": "mod", "floordiv": "floor_divide",
}  # fmt: skip
_COMPARISONS = {
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal",
}  # fmt: skip
_OF_ONE = {"neg": "negative", "pos": "positive", "abs": "abs", "invert": "invert"}


_IN_PLACE = {
    "iadd": "add", "isub": "subtract", "imul": "multiply", "itruediv": "divide", "ipow": "power", "iand": "bitwise_and",
    "ior": "bitwise_or", "ixor": "bitwise_xor", "imod": "mod", "ifloordiv": "floor_divide", "imatmul": "matmul",
}  # fmt: skip
_UNKNOWN = {"lshift": "left_shift", "rshift": "right_shift"}
"""Operators that have no meaning in a cell, by the function of NumPy that they are."""


def _operators() -> None:
    for short, name in _BOTH_SIDES.items():
        setattr(Array, f"__{short}__", lambda a, b, name=name: apply(name, a, b, plain=True))
        setattr(Array, f"__r{short}__", lambda a, b, name=name: apply(name, b, a, plain=True))
    for short, name in _UNKNOWN.items():
        setattr(Array, f"__{short}__", refuse(name))
        setattr(Array, f"__r{short}__", refuse(name))
    for short, name in _IN_PLACE.items():
        setattr(Array, f"__{short}__", lambda a, b, name=name: changed(name, a, b))
    for short, name in _COMPARISONS.items():
        setattr(Array, f"__{short}__", lambda a, b, name=name: apply(name, a, b))
    for short, name in _OF_ONE.items():
        setattr(Array, f"__{short}__", lambda a, name=name: apply(name, a, plain=True))


_operators()
IN_PLACE = tuple(f"__{short}__" for short in _IN_PLACE)
OPERATORS = (
    *(f"__{side}{short}__" for short in (*_BOTH_SIDES, *_UNKNOWN, "divmod", "matmul") for side in ("", "r")),
    *(f"__{short}__" for short in (*_COMPARISONS, *_OF_ONE)),
    *IN_PLACE,
)
"""The operators of arrays, by the names of their methods."""


def graph_of(*values: Any) -> Graph | None:
    """Return the graph of the first symbolic value, looking into lists and tuples, or None."""
    for value in values:
        if isinstance(value, Array | Dim):
            return value.graph
        if isinstance(value, list | tuple):
            found = graph_of(*value)
            if found is not None:
                return found
    return None


def _leaves(x: Array) -> list[Any]:
    return [x.graph[id] for id in x.graph.ancestors([x.id]) if x.graph[id].family == "leaf"]


def is_of_sizes(value: Any) -> bool:
    """Answer whether a value is a named size, or is computed of named sizes alone."""
    if not isinstance(value, Array):
        return isinstance(value, Dim)
    leaves = _leaves(value)
    return bool(leaves) and all(leaf.attrs.role == "size" for leaf in leaves)


def is_traced(values: Sequence[Any]) -> bool:
    """Answer whether a call of NumPy has a symbolic array among its arguments, which then says what the call means."""
    return any(isinstance(value, Array) or (type(value) in (list, tuple) and is_traced(value)) for value in values)


def as_array(graph: Graph, value: Any) -> Array:
    """Return a value that a cell may hold as a symbolic array.

    Raises: CellError for a value of another trace, and for what is no real number or array of numbers.
    """
    if isinstance(value, Array):
        if value.graph is not graph:
            raise cell_error("a value of another cell's trace is used here", "pass values to a cell as its arguments")
        return value
    if isinstance(value, Dim):
        return Array(graph, build.size_of(graph, value.expr))
    # np.asarray of such a list would ask each Array for a plain number.
    if isinstance(value, list | tuple) and graph_of(value) is not None:
        return NUMPY_FUNCTIONS["stack"](list(value))
    return _literal(graph, value)


class Recording(Graph):
    """The graph of a function that is traced on the spot, for numbers that are there: what else it reads becomes leaves, whose
    values are `given` by name, whatever arrays they are."""

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, Any] = {}
        self.has_complex = ARE_NUMBERS.get()
        self._leaf_of: dict[int, tuple[Any, int]] = {}

    def leaf_of(self, value: Any, role: str = "given") -> int:
        """Return the leaf of an array that is no array of this trace, one for each array."""
        # The array is kept beside its leaf: the identity of one that is gone may be that of a later one.
        if id(value) not in self._leaf_of:
            name = f"given {len(self.given)}"
            self.given[name] = value
            self._leaf_of[id(value)] = value, build.leaf(self, role, name, np.shape(value), self.is_of_numbers(value))
        return self._leaf_of[id(value)][1]

    def is_of_numbers(self, value: Any) -> bool:
        """Answer whether an array has complex numbers of the user's, no real ones with a tangent in the imaginary part."""
        return self.has_complex and np.iscomplexobj(value)


ARE_NUMBERS: ContextVar[bool] = ContextVar("are_numbers", default=False)
"""Whether complex arrays are numbers of a cell that has complex arguments, while it is called on arrays."""
TRACED: ContextVar[Graph | None] = ContextVar("traced", default=None)
"""The graph in which a function of the user's is traced, while it is."""


def _literal(graph: Graph, value: Any) -> Array:
    if isinstance(graph, Recording) and isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "fcO":
        return Array(graph, graph.leaf_of(value))
    array = np.asarray(value)
    if array.dtype.kind not in "biufc":
        raise cell_error(f"a cell computes with numbers, got {type(value).__name__} {value!r}"[:200])
    # nan != nan would also defeat hash-consing: equal literals would be two nodes.
    if np.isnan(array).any():
        raise cell_error("nan is no number to compute with", "leave it out: whatever it meets is lost")
    if array.ndim == 0:
        number = array.item()
        if isinstance(number, complex) and not number.imag:  # formulas would take it for a real one
            return Array(
                graph, build.map_(graph, ops.as_complex(placeholder(0)), (build.number(graph, number.real),)), number
            )
        return Array(graph, build.number(graph, number), number)
    if not array.size:  # no list of Python's tells the shape of an array without entries
        return Array(graph, build.expand(graph, build.number(graph, array.dtype.type(0).item()), array.shape), array)
    return Array(graph, build.literal(graph, tuple(array.ravel().tolist()), array.shape), array)


DIVISIONS = ("divide", "mod", "fmod", "floor_divide")
PYTHON = ("add", "subtract", "multiply", "negative", "positive", "abs", "invert")
"""Operators that Python applies to truth values of its own, such as dt > 0.1 of a number dt, as to the integers 0 and 1."""


def apply(name: str, *values: Any, plain: bool = False) -> Array:
    """Return the elementwise function `name` of values; `plain`: it is an operator, which plain numbers have from Python."""
    graph = graph_of(*values)
    assert graph is not None
    arrays = [as_array(graph, value) for value in values]
    # NumPy would give inf and a warning at run time, at every step.
    if name in DIVISIONS and graph[arrays[1].id].family == "number" and _has_zero(arrays[1].value):
        raise cell_error("a division by zero", "divide by a number that is not zero, or by a value of the cell")
    # NumPy's meaning depends on the kind: + of two truth values is a logical or, of numbers a sum.
    kinds = [kind(array) for array in arrays]
    if plain and name in PYTHON and all(array.value is not None and not array.ndim for array in arrays):
        kinds = [max(found, INTEGER) for found in kinds]
        arrays = [array if kind(array) else Array(graph, array.id, int(array.value)) for array in arrays]
    op = ops.BY_NAME[meaning(name, kinds, _is_safe(name, arrays[-1]))]
    if (
        name == "power"
        and kinds[0] == COMPLEX
        and not (arrays[1].value is not None and float(arrays[1].value).is_integer())
    ):
        raise cell_error(
            "a complex number to a power that is no integer, which has several values", "write z**2, or z * z"
        )
    if op.name in OUTSIDE and any(map(is_of_sizes, arrays)) and not all(map(is_of_sizes, arrays)):
        return _bounded(op.name, *arrays)
    expr = op.body(*_arguments(op.name, graph, arrays))
    result = apply_expr(graph, expr, [array.id for array in arrays])
    # Numbers follow constants through the trace, so that `if dt > 0.1` and `range(k)` work on Const arguments.
    known = all(array.value is not None for array in arrays)
    return Array(graph, result, _value(op, [array.value for array in arrays]) if known else None)


OUTSIDE = {"maximum": "less_equal", "minimum": "greater_equal", "clip": ""}
"""By the functions that may tie with a bound, when a value is not within it, or at it."""


def _bounded(name: str, *arrays: Array) -> Array:
    """Return a value within bounds of which some are computed of named sizes: these are numbers for NumPy, which win at a tie, as
    those do that are written down. A value that is NaN stays."""
    if name == "clip":
        x, low, high = arrays
        return apply("minimum", apply("maximum", x, low), high)
    bound, x = arrays if is_of_sizes(arrays[0]) else arrays[::-1]
    return apply("where", apply(OUTSIDE[name], x, bound), bound, x)


def kind(array: Array) -> int:
    """Return the kind of a value in NumPy, that of its number where it has one: plain integers behave as real numbers."""
    of_value = REAL if array.value is None else kind_of_value(array.value)
    # A plain Python integer adapts to the other operand in NumPy, an array of integers does not.
    return of_value if of_value == TRUTH or (array.ndim and of_value == INTEGER) else kind_of(array.graph, array.id)


def _is_safe(name: str, last: Array) -> bool:
    """Answer whether NumPy computes a power, or a quotient, of integers as of real numbers: the last one is not negative, or not 0."""
    return last.value is not None if name in DIVISIONS else name == "power" and _is_natural(last)


def _is_natural(array: Array) -> bool:
    """Answer whether an exponent is no negative number whatever the data are."""
    node = array.graph[array.id]
    literal = node.family == "number" and np.min(array.value) >= 0
    return literal or (node.family == "leaf" and node.attrs.role in ("index", "size", "round")) or kind(array) == TRUTH


def _value(op: ops.Op, values: list[Any]) -> Any:
    """Return the number that follows from constants; a power of integers is real where the exponent is negative, as
    in Python."""
    # NumPy refuses an integer to a negative integer power; Python's 2 ** -1 is 0.5.
    if op.name == "power" and np.min(values[1]) < 0:
        values = [np.asarray(values[0], float)[()], values[1]]
    return op.evaluate(*values)


def _has_zero(value: Any) -> bool:
    return value is not None and not np.all(value)


SEEN = {"power": (1,), "where": (0,), "maximum": (0, 1), "minimum": (0, 1), "clip": (0, 1, 2), "logaddexp": (0, 1)}
"""The arguments that a body has in it as numbers, where they are literals."""


def _arguments(name: str, graph: Graph, arrays: Sequence[Array]) -> list[sp.Expr]:
    """Placeholders, but for what must be seen as a number: exponents, conditions, and what may tie with a value."""
    result: list[sp.Expr] = [placeholder(i) for i in range(len(arrays))]
    literal = [graph[array.id].family == "number" and array.ndim == 0 for array in arrays]
    for i, array in enumerate(arrays):
        if literal[i] and i in SEEN.get(name, ()):
            value = array.value
            result[i] = sp.Integer(int(value)) if float(value).is_integer() else sp.Float(value)
            # With a Rational exponent SymPy knows √, its slope and its printing; x**0.5 would stay a power of a Float.
            if name == "power" and value == 0.5:
                result[i] = sp.Rational(1, 2)
    return result


def apply_expr(graph: Graph, expr: sp.Expr, args: Sequence[int]) -> int:
    """Return a SymPy expression over placeholders as nodes: arithmetic in one, each function in one of its own.

    It has the shape of all arguments together, also of those that SymPy found not to matter, as in h ** 0.
    """
    try:
        result, shape = node_of(graph, expr, args), shapes.broadcast(*map(graph.shape, args))
        # SymPy folds h ** 0 to the integer 1, where NumPy gives floats.
        if graph[result].family == "number" and any(kind_of(graph, arg) >= REAL for arg in args):
            result = build.number(graph, float(graph[result].attrs.value))
        if not graph.is_complex(result) and expr.func not in ops.REAL_VALUED and any(map(graph.is_complex, args)):
            result = build.map_(graph, ops.as_complex(placeholder(0)), (result,))
        return build.expand(graph, result, shape)
    except ShapeError as error:
        cure = "give one of them the shape of the other, or an axis of size 1 with [:, None]"
        raise cell_error(str(error), cure, ShapeError) from None


def built(graph: Graph, make: Callable[..., int], *args: Any) -> Array:
    """Return what a builder of nodes makes, with the user's place in errors."""
    try:
        return Array(graph, make(graph, *args))
    except ShapeError as error:
        raise cell_error(str(error), "check the shapes of what is put together here", ShapeError) from None


def view(x: Array, read: Callable[[int], int], written: Callable[[int, int], int]) -> Array:
    """Return a view of an array: `read` makes it of a node, `written(whole, new)` the whole of which it is `new`."""
    return Array(x.graph, read(x.id), part=Part(x, read, written))


def read_only(what: str, x: Array, read: Callable[[int], int]) -> Array:
    """Return a view into which NumPy lets nobody write."""

    def refuse(_: int, __: int) -> int:
        raise cell_error(f"{what} is changed in place, which NumPy refuses", "change a copy: y = y.copy()")

    return view(x, read, refuse)


def turned(x: Array, order: Sequence[int]) -> Array:
    """Return a view with permuted axes."""
    order = tuple(order)
    back = [order.index(k) for k in range(len(order))]
    g = x.graph
    return view(x, lambda id: build.transpose(g, id, order), lambda _, new: build.transpose(g, new, back))


def changed(name: str, x: Array, other: Any) -> Any:
    """Return an array after an operation in place, as in `a += b`; a number is none to change, and Python computes a new one."""
    check_writable(x)
    if not x.ndim:
        return NotImplemented
    new = NUMPY_FUNCTIONS["matmul"](x, other) if name == "matmul" else apply(name, x, other, plain=True)
    check_kept(x, new)
    x.become(new.id)
    return x


def check_writable(x: Array, owned: bool = False) -> None:
    """Raises: CellError for parameters and constants, of which a change would last; with `owned` for all arguments."""
    while x.part is not None:
        x = x.part.whole
    role, _, name = x.given.partition(" ")
    cure = f"change a copy: {name} = {name}.copy(), or give the new array a name of its own"
    if role in ("param", "const") and x.ndim:
        raise cell_error(f"the {role} {name!r} is changed in place: it is another one at the next step", cure)
    if owned and role and x.ndim:
        raise cell_error(f"the {role} {name!r} is changed in place, which the caller's array would show", cure)


def check_here(x: Array) -> None:
    """Raises: CellError where an array is changed in a body other than that in which it was made: it is traced once for all rounds."""
    while x.part is not None:
        x = x.part.whole
    body = _BODY.get()
    if body is not None and not x.is_of_here():
        raise cell_error(
            f"an array that was made outside of the body of {body.name} is changed in it",
            "make the array in the body, or let the body take it and return it: what the body returns is all that is left of it",
        )


def check_kept(x: Array, new: Array) -> None:
    """Raises: CellError where what is to be written has a larger shape, or is of another kind than the array holds."""
    if new.shape != x.shape:
        raise cell_error(
            f"{x!r} cannot become {new!r} in place", "write a = a + b, which makes a new array", ShapeError
        )
    if kind(new) > kind(x):
        names = {TRUTH: "truth values", INTEGER: "whole numbers", REAL: "real numbers"}
        cure = f"begin with an array of numbers, such as x * {'1j' if kind(new) == COMPLEX else '1.0'}"
        raise cell_error(f"an array of {names[kind(x)]} cannot hold other numbers", cure)


def axes_of(axis: Any, rank: int) -> tuple[int, ...]:
    """Return axes as an argument names them: all for None, negative ones counted from the end."""
    chosen = range(rank) if axis is None else axis if isinstance(axis, tuple | list) else (axis,)
    if not all(isinstance(i, int | np.integer) and not isinstance(i, bool) for i in chosen):
        raise cell_error(f"an axis is an integer, got {axis!r}", "write axis=0, or axis=(0, 1)", ShapeError)
    try:
        found = tuple(shapes.normal_axis(int(i), rank) for i in chosen)
        if len(set(found)) < len(found):
            raise ShapeError(f"an axis stands twice in {axis!r}")
        return found
    except ShapeError as error:
        raise cell_error(
            str(error), "axes count one sample and one step: the body has no batch axis", ShapeError
        ) from None


def symbolic(x: Any) -> Array:
    """Return a value that is symbolic, or holds one, as an array."""
    graph = graph_of(x)
    assert graph is not None
    return as_array(graph, x)
