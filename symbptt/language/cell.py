"""Cells: a user's function of one step, its arguments read from the annotations, its body traced."""

from __future__ import annotations

import dataclasses
import difflib
import dis
import functools
import inspect
import math
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import zip_longest
from types import CellType, ModuleType
from typing import Any

import numpy as np

from symbptt.checks import check_constant, check_function, check_mapping, named
from symbptt.errors import ArgumentError, CellError, ShapeError, SymbpttError, counted, three_lines
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.needs import Need, needs_of, unmet
from symbptt.ir.node import Node, Number, Settling
from symbptt.ir.rounds import as_loops, with_closed_bodies, written_out
from symbptt.ir.shape import Shape, show, sign_of, size_text
from symbptt.ir.sizes import axes_of, misfit, solved
from symbptt.ir.step import Argument, Step
from symbptt.language.array import ARE_NUMBERS, TRACED, Array, apply, as_array, graph_of
from symbptt.language.folding import folded
from symbptt.language.functions import NUMPY_FUNCTIONS
from symbptt.language.groups import NOTHING, Group, group_of, grouped
from symbptt.language.init import initial
from symbptt.language.local_names import choose, recorded, with_parts
from symbptt.language.namespaces import checked_names, reads_scipy, traced_names
from symbptt.language.roles import ROLES, Annotation, Param, annotation_of, parse_dims
from symbptt.language.scipy_names import is_plain
from symbptt.language.stable_forms import stable
from symbptt.language.user_frames import user_place
from symbptt.syntax import as_read

assert NUMPY_FUNCTIONS  # a trace needs what symbptt.language.functions says of NumPy's functions
CELL_ROLES = ("input", "state", "context", "param", "const", "index")


class Cell:
    """A step function: called on NumPy arrays it computes one step; symbptt traces it once for all else."""

    shows: tuple[str, ...] = ()
    """The inputs that are outputs too, for a loss that reads them."""
    held: tuple[str, ...] = ()
    """The states that stay as they are, which stand for what a sequence is given once."""

    def __init__(self, function: Callable[..., Any], consts: Mapping[str, Any] | None = None) -> None:
        self.function = function
        self.consts = dict(consts or {})
        functools.update_wrapper(self, function)
        # Help on an object without a text of its own is that on its class.
        self.__doc__ = function.__doc__ or f"The cell {function.__name__}, which has no docstring."
        self.__qualname__ = function.__qualname__.removesuffix(".function")  # as `by_name` may have called it
        self.arguments = arguments_of(function, self.consts, CELL_ROLES)
        self.groups, self.options = groups_of(function), options_of(function, self.consts)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if self.consts:
            # Arguments given in the call go before constants set by `with_consts`; those of a group come with it.
            given = inspect.signature(self.function).bind_partial(*args, **kwargs).arguments
            args, kwargs = (), {**{k: v for k, v in self.consts.items() if "." not in k}, **given}
        token = ARE_NUMBERS.set(any(a.complex for a in self.arguments))
        try:
            return self.function(*args, **kwargs)
        finally:
            ARE_NUMBERS.reset(token)

    def called(self, values: Mapping[str, Any]) -> Any:
        """Return what the function returns of its arguments by name, each field of a group by its own; what a state begins with is none."""
        own = {k: v for k, v in values.items() if k not in self.begun.values()}
        with called_with(self, values.values()):
            return self.function(**grouped(self.groups, own), **self.options)

    @property
    def begun(self) -> dict[str, str]:
        """The states that begin with a parameter, shared by all samples, and its name."""
        return {a.name: a.start for a in self.arguments if isinstance(a.start, str)}

    def __repr__(self) -> str:
        inside = ", ".join(f"{a.name}: {a.role.capitalize()}{show(a.shape)}" for a in self.arguments)
        return f"<cell {self.name}({inside})>"

    @property
    def name(self) -> str:
        return str(self.function.__name__)

    def __reduce__(self) -> Any:
        return by_name(self)

    @property
    def needs(self) -> tuple[Need, ...]:
        """Return the conditions on sizes under which its slices lie inside their axes."""
        return self.looped.needs

    @functools.cached_property
    def looped(self) -> Step:
        """The traced step, with repetitions as the user wrote them."""
        return trace(self)

    @property
    def has_numbers_of_rounds(self) -> bool:
        """True if each repetition of the body has an integer as its number of rounds, not a named size, and none is a fixed point."""
        repeats = [n.attrs for n in self.looped.graph if n.family == "repeat"]
        return all(isinstance(r.count, int) and not isinstance(r, Settling) for r in repeats)

    @property
    def has_counted_rounds(self) -> bool:
        """True if each repetition of the body but its fixed points has an integer as its number of rounds, not a named size."""
        repeats = [n.attrs for n in self.looped.graph if n.family == "repeat"]
        return all(isinstance(r.count, int) for r in repeats)

    @property
    def tolerances(self) -> tuple[float, ...]:
        """The tolerances of the fixed points in the body."""
        found = (n.attrs.tolerance for n in self.looped.graph if isinstance(n.attrs, Settling))
        return tuple(sorted(set(found)))

    @property
    def has_infinite_numbers(self) -> bool:
        """True if the body writes ±∞, as a mask before a softmax does."""
        written = [n.attrs.value for n in self.looped.graph if isinstance(n.attrs, Number)]
        numbers = [x for value in written for x in (value if isinstance(value, tuple) else (value,))]
        return any(isinstance(x, float) and math.isinf(x) for x in numbers)

    def check_rounds(self) -> None:
        """Raises: CellError where a body is repeated as often as a named size says, so that its rounds cannot be written out."""
        self.check_real()
        written_out(self.looped)

    def check_real(self) -> None:
        """Raises: CellError where a value is complex: Jacobians, routes, analyses, C and other frameworks are of real numbers."""
        g = self.looped.graph
        made = next((node for node in g if g.is_complex(node.id)), None)
        if made is not None:
            place = _place_of_value(g, made.id, self)
            raise CellError(
                f"{self.name} has complex numbers, and what is asked for is known of real ones{place}\n"
                f"  give it sb.real_pairs({self.name}), the same cell in their real and imaginary parts"
            )

    def check_contexts(self) -> None:
        """Raises: CellError where an argument is a context."""
        found = next((a for a in self.arguments if a.role == "context"), None)
        if found is not None:
            dims = " ".join(map(size_text, found.shape))
            kind = ", complex" * found.complex
            raise CellError(
                f"{self.name} has the context {found.name!r}, which what is asked for does not take{place_of(self.function)}\n"
                f'  annotate it as Input["{dims}"{kind}], which each step is given anew: np.broadcast_to(value, (T, *value.shape))'
            )

    @functools.cached_property
    def step(self) -> Step:
        """The traced step, with each round of its repetitions written out.

        Raises: CellError for a cell of complex numbers.
        """
        self.check_real()
        return self.written

    @functools.cached_property
    def closed(self) -> Step:
        """The traced step as its derivatives are evaluated: each round written out where all repetitions have integers as their numbers
        of rounds, else each repetition, and each fixed point, with a body of its own.

        Raises: CellError for a cell of complex numbers.
        """
        return self.step if self.has_numbers_of_rounds else self._with_bodies()

    def _with_bodies(self) -> Step:
        self.check_real()
        return with_closed_bodies(as_loops(self.looped))

    @functools.cached_property
    def written(self) -> Step:
        """The same, also of a cell of complex numbers, of which pages alone are made."""
        return written_out(self.looped)

    @functools.cached_property
    def shown(self) -> Step:
        """The same as pages show it, with its functions whole."""
        return folded(self.written)

    def with_consts(self, consts: Mapping[str, Any]) -> Cell:
        """Return the cell with other values of its constants.

        Raises: ArgumentError for a name that is no constant of the cell, and for a value that is no finite number.
        """
        check_mapping("consts", consts, 'consts={"dt": 0.05}')
        consts = named(consts)
        known = [*(a.name for a in self.arguments if a.role == "const"), *self.options]
        for name, value in consts.items():
            if name not in known:
                raise ArgumentError(f"{name!r} is no constant of {self.name}" + nearest(name, known))
            check_option(name, self, value) if name in self.options else check_constant(name, self.name, value)
        return Cell(self.function, {**self.consts, **consts})

    def init(
        self, dims: Mapping[str, int], seed: int = 0, *, dtype: Any = np.float64, **override: Any
    ) -> dict[str, Any]:
        """Return first values of the parameters, and of constants without a default, by name.

        Matrices are Glorot uniform, square ones whose two sizes are the same state size orthogonal; vectors are zero;
        a default in the signature and then `override` go before.

        Raises: ArgumentError for sizes that lack or are not positive, and for names that the cell does not have.
        """
        return initial(self, dims, seed, dtype, override)


def called_with(target: Any, values: Iterable[Any]) -> AbstractContextManager[None]:
    """Return where SciPy's names mean what they mean of numbers that carry a tangent, if a cell or a loss is given such."""
    values = [*values]
    is_check = graph_of(*values) is None and not is_plain(*values) and reads_scipy(target.function)
    return checked_names(target.function) if is_check else nullcontext()


def by_name(value: Any) -> Any:
    """Return how a cell or a loss is pickled: by its function and its constants, the function by where its module has it.

    Behind its decorator a function is `NAME.function` of its module, not NAME, and is told so here: then pickle finds it,
    and cloudpickle (of joblib's workers, of Dask's) finds it or, where the module is a notebook's, sends its code.
    """
    found: Any = sys.modules.get(value.__module__)
    for part in value.__qualname__.split("."):
        found = getattr(found, part, None)
    if isinstance(found, type(value)) and found.function is value.function:
        value.function.__qualname__ = f"{value.__qualname__}.function"
    return _again, (type(value), value.function, value.consts)


def _again(kind: Any, function: Callable[..., Any], consts: Mapping[str, Any]) -> Any:
    """Return the cell or loss that was pickled: the one that its module knows, or one with the same function."""
    found: Any = sys.modules.get(function.__module__)
    for part in function.__qualname__.removesuffix(".function").split("."):
        found = getattr(found, part, None)
    known = isinstance(found, kind) and found.function is function
    return found if known and not consts and not found.consts else kind(function, consts)


def check_option(name: str, target: Any, value: Any) -> None:
    """Raises: ArgumentError where the value of an option is no word."""
    if not isinstance(value, str):
        raise ArgumentError(
            f"{name!r} of {target.name} is a word such as {target.options[name]!r}, got {value!r}\n  give it a string"
        )


def cell(function: Callable[..., Any]) -> Cell:
    """Return the cell that a function of one sample and one step defines.

    Raises: ArgumentError for what is no function; CellError where an argument has no role or a dimension cannot be read.
    """
    check_function("cell", function, '@sb.cell above def step(x: Input["m"], h: State["n"], ...):')
    return Cell(function)


def nearest(name: str, known: Any) -> str:
    alike = {str(one).lower(): one for one in known}
    near = [alike[found] for found in difflib.get_close_matches(name.lower(), alike, 1)]
    return f"\n  did you mean {near[0]!r}?" if near else f"\n  known: {', '.join(known) or 'none'}"


def place_of(function: Callable[..., Any]) -> str:
    code = getattr(function, "__code__", None)
    return f"\n  at {code.co_filename}:{code.co_firstlineno}, in {code.co_name}" if code else ""


def arguments_of(
    function: Callable[..., Any], consts: Mapping[str, Any], roles: tuple[str, ...]
) -> tuple[Argument, ...]:
    """Return the arguments of a function by its annotations; only some roles are allowed."""
    scope, options = scope_of(function), options_of(function, consts)
    found: list[Argument] = []
    for parameter in inspect.signature(function).parameters.values():
        group = group_of(parameter.annotation, scope)
        if group is not None:
            found += _fields(function, parameter, group, scope, consts)
        elif parameter.name not in options:
            found.append(_argument(function, parameter, scope, consts, roles))
    found += _begun(found, place_of(function))
    axes = axes_of(found)
    # Defaults are arrays of known lengths, which may contradict each other.
    wrong = misfit(axes, solved(axes))
    if wrong is not None:
        raise ShapeError(
            f"the default of {wrong.argument!r} has {wrong.length} along axis {wrong.number}, where other defaults or axes "
            f"say another {wrong.size}{place_of(function)}\n  give it the shape of its annotation"
        )
    spelled: dict[str, str] = {}
    for argument in found:
        # Python normalizes identifiers in source to NFKC, but not names in a signature that is made at run time.
        plain = as_read(argument.name)
        if spelled.setdefault(plain, argument.name) != argument.name:
            raise CellError(f"two arguments are both called {plain!r}{place_of(function)}")
    if roles is CELL_ROLES and not any(argument.role == "state" for argument in found):
        raise CellError(
            f"the cell {function.__name__} has no state{place_of(function)}\n"
            f'  annotate what a step hands to the next as State["n"]'
        )
    return tuple(found)


def scope_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the names that annotations which are strings may have: those of where the function was defined, and what encloses it."""
    return {**getattr(function, "__globals__", {}), **_closure(function)}


def groups_of(function: Callable[..., Any]) -> dict[str, Group]:
    """Return the arguments of a function that are groups."""
    scope = scope_of(function)
    found = {p.name: group_of(p.annotation, scope) for p in inspect.signature(function).parameters.values()}
    return {name: group for name, group in found.items() if group is not None}


def options_of(function: Callable[..., Any], consts: Mapping[str, Any]) -> dict[str, str]:
    """Return the constants of a function that are words: a body chooses by them, and computes with none."""
    scope = scope_of(function)
    found = {}
    for p in inspect.signature(function).parameters.values():
        kind = annotation_of(p.annotation, scope) if isinstance(p.default, str) else None
        if kind is not None and kind.role == "const" and not kind.dims:
            found[p.name] = consts.get(p.name, p.default)
    return found


def _fields(
    function: Callable[..., Any],
    parameter: inspect.Parameter,
    group: Group,
    scope: dict[str, Any],
    consts: Mapping[str, Any],
) -> Iterator[Argument]:
    """Yield the arguments that a group is."""
    if parameter.default is not parameter.empty:
        raise CellError(
            f"the group {parameter.name!r} has a default{place_of(function)}\n  give its fields defaults, in its class"
        )
    for name, kind, default in group.arguments(parameter.name):
        if not isinstance(kind, Annotation) or kind.role not in ("param", "const"):
            what = repr(kind) if not isinstance(kind, Annotation) else kind.role.capitalize()
            raise CellError(
                f"the field {name!r} of a group is Param or Const, got {what}{place_of(function)}\n"
                "  make what changes from step to step an argument of its own"
            )
        own = inspect.Parameter(
            "field", inspect.Parameter.KEYWORD_ONLY, annotation=kind,
            default=inspect.Parameter.empty if default is NOTHING else default,
        )  # fmt: skip
        yield dataclasses.replace(
            _argument(function, own, scope, {"field": consts[name]} if name in consts else {}, ("param", "const")),
            name=name,
        )


def _closure(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the variables around a function, without those that get their value later."""
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None) or ()
    names = code.co_freevars if code else ()
    # An empty cell compares equal to a new one; reading the contents of an empty cell raises ValueError.
    return {name: cell.cell_contents for name, cell in zip(names, cells, strict=True) if cell != CellType()}


CURES = {
    "output": '\n  return it with the states, by name: return {"h": h, "y": ...}',
    "target": "\n  a loss takes it: @sb.loss",
    "context": '\n  let the cell return it, {"h": h, "weight": w}, and read weight as an Output',
}
"""Advice about an argument that only a loss, or only a cell, has."""


def _argument(
    function: Any,
    parameter: inspect.Parameter,
    scope: dict[str, Any],
    consts: Mapping[str, Any],
    roles: tuple[str, ...],
) -> Argument:
    name, where = parameter.name, place_of(function)
    annotation = _annotation(function, parameter, scope, where)
    shape = parse_dims(annotation.dims, lambda message: f"{message}{where} (argument {name!r})")
    if annotation.role == "index" and "index" in roles:
        limit = parse_dims(annotation.limit, lambda message: f"{message}{where} (argument {name!r})")
        if len(limit) != 1:
            raise CellError(
                f"Index takes the number of values, got {annotation.limit!r} for {name!r}{where}\n"
                '  write Index["v"], or Index["v", "k"] for k integers a step'
            )
        given = None if parameter.default is parameter.empty else parameter.default
        return Argument("index", name, shape, _checked_default(given, "index", name, shape, where), limit[0])
    if annotation.role not in roles:
        raise CellError(
            f"{annotation.role.capitalize()} is a role of {'losses' if roles is CELL_ROLES else 'cells'}, "
            f"not of {'cells' if roles is CELL_ROLES else 'losses'} (argument {name!r}){where}{CURES.get(annotation.role, '')}"
        )
    default = consts.get(name, None if parameter.default is parameter.empty else parameter.default)
    kind = annotation.complex
    if annotation.role == "state" and roles is CELL_ROLES:
        return Argument("state", name, shape, start=_start(default, name, shape, where, kind), complex=kind)
    checked = _checked_default(default, annotation.role, name, shape, where, kind)
    return Argument(annotation.role, name, shape, checked, complex=kind)


def _annotation(function: Any, parameter: inspect.Parameter, scope: dict[str, Any], where: str) -> Annotation:
    name = parameter.name
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        raise CellError(
            f"the argument {parameter} of {function.__name__} has no fixed name{where}\n"
            "  write every argument of a cell out, with its role"
        )
    if parameter.annotation is parameter.empty:
        raise CellError(
            f"the argument {name!r} of {function.__name__} has no role{where}\n"
            f'  annotate it, for example {name}: Input["m"] or {name}: Param["n m"]'
        )
    annotation = annotation_of(parameter.annotation, scope)
    if annotation is None:
        raise CellError(
            f"the annotation {parameter.annotation!r} of {name!r} is no role{where}\n"
            f"  the roles are {', '.join(ROLES)}" + nearest(str(parameter.annotation).split("[")[0], ROLES)
        )
    return annotation


def _begun(arguments: Sequence[Argument], where: str) -> list[Argument]:
    """Return the parameters that states begin with."""
    begun = [Argument("param", a.start, a.shape, complex=a.complex) for a in arguments if isinstance(a.start, str)]
    for name in sorted({a.name for a in begun} & {a.name for a in arguments}):
        raise CellError(
            f"two arguments are both called {name!r}: the parameter that a state begins with, and one of the function{where}\n"
            "  rename that of the function"
        )
    return begun


def _start(default: Any, name: str, shape: Shape, where: str, is_complex: bool = False) -> Any:
    """Return what a state begins with: numbers, the name of a parameter for `= Param`, or None for zero."""
    if default is Param:
        return f"{name}0"
    found = _checked_default(default, "const", name, shape, where, is_complex)
    if found is not None and np.isnan(found).any():
        raise CellError(f"the state {name!r} begins with NaN{where}\n  give it numbers; -np.inf is one")
    if found is None or np.ndim(found):
        return found
    return complex(found) if is_complex else float(found)


def _checked_default(default: Any, role: str, name: str, shape: Shape, where: str, is_complex: bool = False) -> Any:
    if default is None:
        return None
    if role not in ("const", "param"):
        given = "give it to the kernel with the data"
        raise CellError(
            f"the {role} {name!r} has a default, and only Param, Const and State may have one{where}\n  {given}"
        )
    array = np.asarray(default)
    if array.dtype.kind not in ("biufc" if is_complex else "biuf"):
        cure = f'\n  annotate it as {role.capitalize()}["n", complex]' if array.dtype.kind == "c" else ""
        what = "number" if is_complex else "real number"
        raise CellError(f"the default of {name!r} must be a {what} or an array of them, got {default!r}{where}{cure}")
    array = array.astype(complex) if is_complex else array
    if array.ndim and array.ndim != len(shape):
        raise CellError(
            f"the default of {name!r} has shape {show(array.shape)}, the annotation says {show(shape)}{where}"
        )
    return array.item() if array.ndim == 0 else array


def trace(cell: Cell) -> Step:
    """Return the step of a cell: its function run once on symbolic arrays.

    Raises: CellError where the body or its result is not a step of the states.
    """
    graph, leaves, values = traced_arguments(cell.arguments)
    with recorded(graph) as found:
        result = run_traced(cell, values)
    following, outputs = _results(cell, graph, result)
    # A cell must be a pure function: the trace is taken once, and the kernel replays it at every step.
    check_repeats(cell, graph, (following, outputs), lambda other, again: _results(cell, other, again), cell.arguments)
    check_gathers(cell, graph, cell.arguments)
    check_complex(cell, graph)
    results = [*following.values(), *outputs.values()]
    graph.names = {id: name for name, id in leaves.items()} | choose(found, leaves, graph, results)
    needs = checked_needs(cell, graph, cell.arguments)
    doc = inspect.getdoc(cell.function) or ""
    step = Step(cell.name, doc, graph, cell.arguments, leaves, following, outputs, needs)
    _warn_unused(cell, step)
    # Stable forms first: they recognise spellings by their formulas, which names of parts would cut.
    return with_parts(stable(step))


def traced_arguments(arguments: tuple[Argument, ...]) -> tuple[Graph, dict[str, int], dict[str, Array]]:
    """Return a new graph, its leaves by name, and the arrays that a function is called with while it is traced."""
    graph = Graph()
    leaves = {a.name: build.leaf(graph, a.role, a.name, a.shape, a.complex) for a in arguments}
    values = {a.name: Array(graph, leaves[a.name], a.default if a.role == "const" else None) for a in arguments}
    for a in arguments:
        values[a.name].given = f"{a.role} {a.name}"
    # Set after the leaves are made: those come from the signature, not from a line of the body.
    graph.locate = user_place
    return graph, leaves, values


def check_repeats(
    cell: Any, graph: Graph, read: Any, reader: Callable[[Graph, Any], Any], arguments: tuple[Argument, ...]
) -> None:
    """Run a traced function once more; `reader` takes a graph and what the function returned, and `read` is what it found.

    Raises: CellError where it computes something else then: it draws at random, or reads what changes between calls.
    """
    other, _, values = traced_arguments(arguments)
    # Gradients inside the body read what the user has named; other bodies make the same nodes unwatched, which is faster.
    with recorded(other) if graph.leaves("variable") else nullcontext():
        result = run_traced(cell, values)
    again = reader(other, result)
    # Equal functions make equal nodes in the same order: the first difference is where the body draws or reads something else.
    pairs = zip_longest(graph, other)
    changed = next((one or two for one, two in pairs if one is None or two is None or not _is_same(one, two)), None)
    if changed is not None or again != read:
        line = f", line {changed.place}" if changed is not None and changed.place else ""
        raise CellError(
            f"{cell.name} is no function: traced a second time it computes something else{place_of(cell.function)}{line}\n"
            "  draw nothing at random and read nothing that changes between calls: pass the noise as an Input"
        )


def _is_same(one: Node, two: Node) -> bool:
    """Answer whether two nodes are the same; functions defined inside a cell are other objects each time, written the same."""
    parts = [(node.family, node.args, node.shape) for node in (one, two)]
    return parts[0] == parts[1] and (one.attrs == two.attrs or repr(one.attrs) == repr(two.attrs))


def check_gathers(cell: Any, graph: Graph, arguments: tuple[Argument, ...]) -> None:
    """Raises: ShapeError where a table may have fewer entries than its index has values: NumPy then reads another one."""
    limits = {a.name: a.limit for a in arguments if a.limit is not None}
    for node in graph:
        chosen = build.index_of(graph, node.args[1]).attrs if node.family == "gather" else None
        if chosen is None or chosen.role == "round":
            continue
        index, is_read = chosen.name, node.attrs.kind == "gather"
        length = (graph.shape(node.args[0]) if is_read else node.shape)[node.attrs.axis]
        # NumPy would read from the end for a negative index, and raise for a large one only at run time.
        if sign_of(length - limits[index]) not in (0, 1):
            line = f", line {node.place}" if node.place else ""
            raise ShapeError(
                f"{index!r} has {size_text(limits[index])} values, and {'chooses from' if is_read else 'adds up in'} an axis "
                f"of size {size_text(length)}"
                f'{place_of(cell.function)}{line}\n  annotate it as Index["{size_text(length)}"], or give the table that axis'
            )


def check_complex(cell: Any, graph: Graph) -> None:
    """Raises: CellError where a value is made of complex numbers by what no rule is proved of."""
    for node in graph:
        refused = (
            ("a function of complex matrices",
             "of whole matrices functions are known of real ones: [[A.real, -A.imag], [A.imag, A.real]] is A as a real matrix")
            if node.family == "algebra"
            else ("a fixed point of complex numbers", "write so many rounds, sb.repeat(step, z, 50), or let z.real and z.imag settle")
            if isinstance(node.attrs, Settling)
            else None
        )  # fmt: skip
        if refused and any(map(graph.is_complex, (node.id, *node.args))):
            raise CellError(f"{refused[0]}{_place_of_value(graph, node.id, cell)}\n  {refused[1]}")


def checked_needs(cell: Any, graph: Graph, arguments: tuple[Argument, ...]) -> tuple[Need, ...]:
    """Return what slices need of sizes.

    Raises: ShapeError where arrays that are constants tell sizes that are less.
    """
    needs = needs_of(graph, [item for a in arguments for item in a.shape])
    sizes = solved(axes_of(arguments, fixed=("const",)))
    wrong = unmet(needs, sizes)
    if wrong is not None:
        raise ShapeError(three_lines(*wrong.parts(sizes)))
    return needs


def run_traced(cell: Any, values: dict[str, Array]) -> Any:
    token = TRACED.set(graph_of(*values.values()))
    try:
        with traced_names(cell.function):
            return cell.called(values)
    # Our own errors say the place and the cure already.
    except SymbpttError:
        raise
    except RecursionError as error:
        raise CellError(
            f"the body of {cell.name} nests more calls than Python allows ({sys.getrecursionlimit()})"
            f"{_last_place(error, cell)}\n  does a function call itself without end? write deep recursions as loops"
        ) from error
    except Exception as error:
        raise CellError(
            f"the body of {cell.name} raised {_what(error)}{_last_place(error, cell)}\n  {_cure(error)}"
        ) from error
    finally:
        TRACED.reset(token)


def _what(error: Exception) -> str:
    if isinstance(error, ValueError) and "array element" in str(error):
        return "a value of the cell was put into a plain NumPy array"
    if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):
        return f"{error.obj.__name__} has no attribute {error.name!r}"
    return f"{type(error).__name__}: {error}"


def _cure(error: Exception) -> str:
    if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):
        near = difflib.get_close_matches(str(error.name), dir(error.obj), 3)
        return f"did you mean {' or '.join(map(repr, near))}?" if near else f"{error.obj.__name__} has no such function"
    if isinstance(error, ValueError) and "array element" in str(error):
        return "an array cannot be filled in place here: build it with np.stack or np.concatenate"
    return "while it was traced with symbolic arrays of the annotated shapes"


def _last_place(error: BaseException, cell: Cell) -> str:
    place, trace = place_of(cell.function), error.__traceback__
    while trace is not None:
        # The last match is the innermost frame in the user's file: frames of the library below it are skipped.
        if trace.tb_frame.f_code.co_filename == cell.function.__code__.co_filename:
            place = f"\n  at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}, in {trace.tb_frame.f_code.co_name}"
        trace = trace.tb_next
    return place


def _results(cell: Cell, graph: Graph, result: Any) -> tuple[dict[str, int], dict[str, int]]:
    states = [a for a in cell.arguments if a.role == "state"]
    names = [a.name for a in states]
    if isinstance(result, dict):
        _check_spellings(cell, names, result)
        results = named(result)
    else:
        given = list(result) if isinstance(result, tuple | list) else [result]
        if len(given) != len(states):
            raise CellError(
                f"{cell.name} returns {counted(len(given), 'value')} for {counted(len(states), 'state')} ({', '.join(names)})"
                f"{place_of(cell.function)}\n  return one next state each, in the order of the arguments, "
                "or a dict by name"
            )
        results = dict(zip(names, given, strict=True))
    for name in names:
        if name not in results:
            raise CellError(
                f"{cell.name} returns no next state {name!r}{place_of(cell.function)}"
                + nearest(name, map(str, results))
            )
    return _next_states(cell, graph, states, results), _outputs(cell, graph, names, results)


def _check_spellings(cell: Cell, states: list[str], result: Mapping[Any, Any]) -> None:
    """Raises: CellError where two keys of a result are one name as Python reads them, such as the letters fi and their ligature."""
    for name, count in Counter(map(as_read, result)).items():
        if count > 1:
            kind = "results" if name in states else "outputs"
            raise CellError(
                f"two {kind} of {cell.name} are both called {name!r}{place_of(cell.function)}\n  rename one of them"
            )


def _next_states(cell: Cell, graph: Graph, states: list[Argument], named: dict[str, Any]) -> dict[str, int]:
    following = {}
    for a in states:
        value = _as_result(cell, graph, a.name, named[a.name])
        if graph.shape(value.id) != a.shape:
            raise ShapeError(
                f"the next state {a.name!r} of {cell.name} has shape {show(graph.shape(value.id))}, "
                f"the state has {show(a.shape)}{place_of(cell.function)}\n  return an array of the state's shape: "
                "the body is one sample and one step, it has no batch axis and no time axis"
            )
        if graph.is_complex(value.id) and not a.complex:
            dims = " ".join(map(size_text, a.shape))
            raise CellError(
                f"the next state {a.name!r} of {cell.name} is complex, the state is real{_place_of_value(graph, value.id, cell)}\n"
                f'  annotate it as State["{dims}", complex], or return its .real'
            )
        following[a.name] = value.id if graph.is_complex(value.id) == a.complex else apply("as_complex", value).id
    return following


def _place_of_value(graph: Graph, id: int, cell: Cell) -> str:
    """Return the line that made a value, else that of its cell."""
    (file, _, line), code = graph[id].place.rpartition(":"), cell.function.__code__
    if not file or not code.co_filename.endswith(file):
        return place_of(cell.function)
    return f"\n  at {code.co_filename}:{line}, in {code.co_name}"


def _outputs(cell: Cell, graph: Graph, states: list[str], named: dict[str, Any]) -> dict[str, int]:
    outputs: dict[str, int] = {}
    for name, value in named.items():
        if name in states:
            continue
        if not isinstance(name, str) or not name.isidentifier():
            raise CellError(
                f"an output of {cell.name} is called {name!r}{place_of(cell.function)}\n  names are identifiers"
            )
        if name in [a.name for a in cell.arguments] and name not in cell.shows:
            raise CellError(
                f"the output {name!r} of {cell.name} has the name of an argument{place_of(cell.function)}\n"
                f"  what a step returns by the name of a state is the next one; write another name, such as {name + '_out'!r}"
            )
        outputs[name] = _as_result(cell, graph, name, value).id
    return outputs


def _as_result(cell: Cell, graph: Graph, name: str, value: Any) -> Array:
    if value is None:
        raise CellError(
            f"{cell.name} returns None for {name!r}{place_of(cell.function)}\n  does the body end with return?"
        )
    if graph_of(value) is None:
        try:
            np.asarray(value, dtype=complex)
        except (TypeError, ValueError):
            raise CellError(
                f"{cell.name} returns {type(value).__name__} for {name!r}{place_of(cell.function)}\n  return an array"
            ) from None
    found = as_array(graph, value)
    number = graph[found.id].attrs.value if graph[found.id].family == "number" and not found.ndim else None
    return as_array(graph, float(number)) if isinstance(number, int) else found  # a result is an array of floats


def _is_read(cell: Cell, name: str) -> bool:
    """Answer whether a body reads a variable: an integer may be a size or a choice alone, and leaves no value then."""
    return any(
        found.argval == name and found.opname.startswith("LOAD") for found in dis.get_instructions(cell.function)
    )


def _warn_unused(cell: Cell, step: Step) -> None:
    read = step.graph.ancestors([*step.next.values(), *step.outputs.values()])
    for a in cell.arguments:
        if a.name in cell.begun.values():
            continue
        if step.leaves[a.name] not in read and not (isinstance(a.default, int) and _is_read(cell, a.name)):
            warnings.warn(
                f"the {a.role} {a.name!r} of {cell.name} is never used{place_of(cell.function)}", stacklevel=2
            )
