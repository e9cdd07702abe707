"""Losses and models: what a step should give, and a cell trained by it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from symbptt.checks import check_constant, check_function, check_mapping, named
from symbptt.errors import ArgumentError, CellError, ShapeError
from symbptt.ir.graph import Graph
from symbptt.ir.needs import Need
from symbptt.ir.rounds import written_out
from symbptt.ir.shape import show, size_text
from symbptt.ir.step import Argument, Step
from symbptt.language.array import as_array
from symbptt.language.cell import (
    Cell,
    arguments_of,
    by_name,
    called_with,
    check_complex,
    check_gathers,
    check_option,
    check_repeats,
    checked_needs,
    groups_of,
    nearest,
    options_of,
    place_of,
    run_traced,
    traced_arguments,
)
from symbptt.language.groups import grouped
from symbptt.language.init import initial
from symbptt.language.local_names import choose, recorded, with_parts
from symbptt.language.shown import ShownCell
from symbptt.language.stable_forms import stable

LOSS_ROLES = ("state", "output", "input", "target", "index", "param", "const")


class Loss:
    """A function of one sample and one step: of states after the step, outputs and inputs, targets and parameters of its own."""

    INSTEAD_OF_CELL = "write the cell, or sb.model(cell, loss)"

    def __init__(self, function: Callable[..., Any], consts: Mapping[str, Any] | None = None) -> None:
        self.function = function
        self.consts = dict(consts or {})
        functools.update_wrapper(self, function)
        self.__doc__ = function.__doc__ or f"The loss {function.__name__}, which has no docstring."
        self.__qualname__ = function.__qualname__.removesuffix(".function")  # as `by_name` may have called it
        given = arguments_of(function, self.consts, LOSS_ROLES)
        self.inputs = tuple(a.name for a in given if a.role == "input")
        # An input of the cell is one of its outputs to a loss.
        self.arguments = tuple(replace(a, role="output") if a.role == "input" else a for a in given)
        self.groups, self.options = groups_of(function), options_of(function, self.consts)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def called(self, values: Mapping[str, Any]) -> Any:
        """Return what the function returns of its arguments by name, each field of a group by its own."""
        with called_with(self, values.values()):
            return self.function(**grouped(self.groups, values), **self.options)

    def __reduce__(self) -> Any:
        return by_name(self)

    def __repr__(self) -> str:
        return f"<loss {self.name}({', '.join(a.name for a in self.arguments)})>"

    @property
    def name(self) -> str:
        return str(self.function.__name__)

    @property
    def step(self) -> Step:
        """The traced loss: one scalar output, `loss`; what it reads of a step has the role of an output."""
        return self._traced[0]

    @property
    def predicted(self) -> Step | None:
        """What the loss returns beside its value, as a step with these outputs; None where it returns its value alone."""
        return self._traced[1]

    @functools.cached_property
    def _traced(self) -> tuple[Step, Step | None]:
        return _trace(self)


def loss(function: Callable[..., Any]) -> Loss:
    """Return the loss that a function of one sample and one step defines.

    Raises: ArgumentError for what is no function; CellError where an argument has no role or a dimension cannot be read.
    """
    check_function("loss", function, '@sb.loss above def error(h: State["n"], y: Target["n"]):')
    return Loss(function)


class Model:
    """A cell with a loss at every step or at the last."""

    INSTEAD_OF_CELL = "write model.cell"

    def __init__(self, cell: Cell, loss: Loss, at: str, reduction: str) -> None:
        _check_inputs(cell, loss)
        shown = tuple(name for name in loss.inputs if name not in cell.looped.outputs)
        self.cell = ShownCell(cell, shown) if shown else cell
        self.loss, self.at, self.reduction = loss, at, reduction
        self.arguments = _joint_arguments(self.cell, loss)

    def __repr__(self) -> str:
        return f"<model {self.name}, loss at {'every' if self.at == 'every' else 'the last'} step>"

    @property
    def name(self) -> str:
        return f"{self.cell.name}_{self.loss.name}"

    @property
    def targets(self) -> tuple[Argument, ...]:
        """Return the arguments that the loss must be given, in its order."""
        return tuple(a for a in self.loss.arguments if a.role in ("target", "index"))

    @property
    def needs(self) -> tuple[Need, ...]:
        """Return the conditions on sizes under which the slices of cell and loss lie inside their axes."""
        return (*self.cell.needs, *self.loss.step.needs)

    def with_consts(self, consts: Mapping[str, Any]) -> Model:
        """Return the model with other values of constants of its cell or its loss.

        Raises: ArgumentError for a name that is a constant of neither.
        """
        # A constant that cell and loss share has one value: it is set in both.
        check_mapping("consts", consts, 'consts={"dt": 0.05}')
        consts = named(consts)
        of_cell = {a.name for a in self.cell.arguments if a.role == "const"} | {*self.cell.options}
        of_loss = {a.name for a in self.loss.arguments if a.role == "const"} | {*self.loss.options}
        for name in consts:
            if name not in of_cell | of_loss:
                raise ArgumentError(f"{name!r} is no constant of {self.name}" + nearest(name, of_cell | of_loss))
            for part in (self.cell, self.loss):
                if name in part.options:
                    check_option(name, part, consts[name])
            if name not in {*self.cell.options, *self.loss.options}:
                check_constant(name, self.name, consts[name])
        cell = self.cell.with_consts({k: v for k, v in consts.items() if k in of_cell})
        own = {**self.loss.consts, **{k: v for k, v in consts.items() if k in of_loss}}
        return Model(cell, Loss(self.loss.function, own), self.at, self.reduction)

    def init(
        self, dims: Mapping[str, int], seed: int = 0, *, dtype: Any = np.float64, **override: Any
    ) -> dict[str, Any]:
        """Return first values of the parameters of cell and loss, by the rules of `Cell.init`.

        Raises: ArgumentError for sizes that lack or are not positive, and for names that the model does not have.
        """
        return initial(self, dims, seed, dtype, override)


def model(
    cell: Cell,
    loss: Loss,
    *,
    at: Literal["every", "last"] = "every",
    reduction: Literal["sum", "mean"] = "sum",
) -> Model:
    """Return a cell with its loss, at="every" step or at="last"; reduction="sum" over steps and samples, or "mean".

    The mean is that over the steps and samples that count: none from a sample's length on; at="last", none of samples of
    length 0, which have no last step.

    Raises: ArgumentError where the arguments are no cell and no loss, or an option is misspelt; CellError where the
    loss reads what the cell does not have.
    """
    if not isinstance(cell, Cell) or not isinstance(loss, Loss):
        raise ArgumentError(
            f"model takes a cell and a loss, got {type(cell).__name__} and {type(loss).__name__}\n"
            "  decorate the functions with @sb.cell and @sb.loss"
        )
    for name, value, known in (("at", at, ("every", "last")), ("reduction", reduction, ("sum", "mean"))):
        if not isinstance(value, str) or value not in known:
            raise ArgumentError(f"{name} is {' or '.join(map(repr, known))}, got {value!r}")
    return Model(cell, loss, at, reduction)


def _check_inputs(cell: Cell, loss: Loss) -> None:
    """Raises: CellError where a loss reads as an input what is none of the cell."""
    known = [a.name for a in cell.arguments if a.role == "input"]
    for name in loss.inputs:
        if name not in known:
            where = f"\n  in the loss {loss.name}{place_of(loss.function)}"
            raise CellError(f"{cell.name} has no input {name!r}{where}{nearest(name, known)}")


def _joint_arguments(cell: Cell, loss: Loss) -> tuple[Argument, ...]:
    """Return the cell's arguments, then the parameters and targets that the loss adds."""
    own = {a.name: a for a in cell.arguments}
    outputs = {name: cell.looped.graph.shape(id) for name, id in cell.looped.outputs.items()}
    added = []
    for a in loss.arguments:
        where = f"\n  in the loss {loss.name}{place_of(loss.function)}"
        if a.role in ("state", "output"):
            shapes = {b.name: b.shape for b in cell.arguments if b.role == "state"} if a.role == "state" else outputs
            if a.name not in shapes:
                raise CellError(f"{cell.name} has no {a.role} {a.name!r}{where}{nearest(a.name, shapes)}")
            of = cell.looped if a.role == "output" else None
            is_complex = own[a.name].complex if of is None else of.graph.is_complex(of.outputs[a.name])
            if is_complex != a.complex:
                kinds, dims = ("real", "complex"), " ".join(map(size_text, a.shape))
                raise CellError(
                    f"the {a.role} {a.name!r} of {cell.name} is {kinds[is_complex]}, the loss says {kinds[a.complex]}{where}\n"
                    f'  annotate it as {a.role.capitalize()}["{dims}"{", complex" * is_complex}]'
                )
            if shapes[a.name] != a.shape:
                raise ShapeError(
                    f"the {a.role} {a.name!r} of {cell.name} has shape {show(shapes[a.name])}, "
                    f"the loss says {show(a.shape)}{where}"
                )
        elif a.name in own:
            if (own[a.name].role, own[a.name].shape) != (a.role, a.shape) or a.role not in ("param", "const"):
                raise CellError(
                    f"{a.name!r} is {own[a.name].role} {show(own[a.name].shape)} of {cell.name} and "
                    f"{a.role} {show(a.shape)} of its loss{where}\n  give one of them another name"
                )
        else:
            # An index of a loss is a label to be predicted: the kernel takes it with the targets.
            added.append(replace(a, role="target" if a.role == "index" else a.role))
    return (*cell.arguments, *added)


def _trace(loss: Loss) -> tuple[Step, Step | None]:
    """Return the step of the value of a loss, and that of what it returns beside it."""
    # A loss reads the state after the step and returns none: for its own recursion it is an input with a gradient.
    arguments = tuple(replace(a, role="output") if a.role == "state" else a for a in loss.arguments)
    graph, leaves, values = traced_arguments(arguments)
    with recorded(graph) as found:
        result = run_traced(loss, values)
    value, *others = (as_array(graph, item) for item in _returned(loss, result).values())
    if value.ndim:
        raise ShapeError(
            f"the loss {loss.name} returns shape {show(graph.shape(value.id))}{place_of(loss.function)}\n"
            "  return a scalar: sb.sum(...) over one sample"
        )
    if graph.is_complex(value.id):
        raise CellError(
            f"the loss {loss.name} returns a complex number{place_of(loss.function)}\n"
            "  return a real one: np.sum(np.abs(e) ** 2), or the .real of what it is"
        )

    def again(other: Graph, result: Any) -> int:
        return as_array(other, next(iter(_returned(loss, result).values()))).id

    # A loss is traced once as well, and must be a function.
    check_repeats(loss, graph, value.id, again, arguments)
    check_gathers(loss, graph, arguments)
    check_complex(loss, graph)
    predicted = dict(zip([*_returned(loss, result)][1:], (other.id for other in others), strict=True))
    _check_untargeted(loss, graph, leaves, predicted)
    roots = [value.id, *predicted.values()]
    graph.names = {id: name for name, id in leaves.items()} | choose(found, leaves, graph, roots)
    needs = checked_needs(loss, graph, arguments)
    doc = inspect.getdoc(loss.function) or ""
    told = ({"loss": value.id}, predicted)
    step, beside = (Step(loss.name, doc, graph, arguments, leaves, {}, outputs, needs) for outputs in told)
    return written_out(with_parts(stable(step))), written_out(with_parts(stable(beside))) if predicted else None


def _returned(loss: Loss, result: Any) -> dict[str, Any]:
    """Return the value of a loss by the name "loss", first, and what it returns beside it, by name.

    Raises: CellError where it returns neither a value nor a dict with one.
    """
    where = place_of(loss.function)
    if result is None:
        raise CellError(f"the loss {loss.name} returns None{where}\n  does the body end with return?")
    if not isinstance(result, Mapping):
        return {"loss": result}
    if "loss" not in result or not all(isinstance(name, str) and name.isidentifier() for name in result):
        names = ", ".join(map(str, result)) or "nothing"
        raise CellError(
            f'the loss {loss.name} returns a dict of {names}; "loss" and names of what it predicts are expected{where}\n'
            '  write return {"loss": value, "logits": z}'
        )
    return {"loss": result["loss"], **{name: value for name, value in result.items() if name != "loss"}}


def _check_untargeted(loss: Loss, graph: Graph, leaves: Mapping[str, int], predicted: Mapping[str, int]) -> None:
    """Raises: CellError where what a loss predicts reads what is to be predicted."""
    targets = {leaves[a.name]: a.name for a in loss.arguments if a.role in ("target", "index")}
    for name, id in predicted.items():
        read = [targets[other] for other in graph.ancestors([id]) if other in targets]
        if read:
            raise CellError(
                f"{name} of the loss {loss.name} reads the target {read[0]}, which predict does not have{place_of(loss.function)}\n"
                "  return what is computed before the target comes in"
            )
