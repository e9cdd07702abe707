"""Requests of a caller on the arguments that a check draws: values of inputs and parameters, and the domains of others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sympy as sp

from symbptt.checks import check_mapping, named
from symbptt.errors import ArgumentError, three_lines
from symbptt.ir.needs import unmet
from symbptt.ir.shape import named_size, names_in, show, size, size_text
from symbptt.ir.sizes import Axis, axes_of, axes_of_needs, misfit, solved
from symbptt.ir.step import Argument
from symbptt.language.cell import Cell, nearest
from symbptt.language.model import Model
from symbptt.verification.domains import EXAMPLE, check_domain


@dataclass(frozen=True)
class Asked:
    """Arrays of inputs (T, B, ...) and of parameters by name, which are used unchanged, and domains of the arguments that are drawn."""

    inputs: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    domain: Mapping[str, Any] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def axes(self, target: Cell | Model) -> list[Axis]:
        """The axes of arguments, with the lengths that the arrays and the defaults of the user's tell; what no array tells of
        how many values an index has, the greatest of those given does."""
        axes = axes_of(target.arguments, dict(self.shapes) | _shapes_of_defaults(target, self.shapes))
        for a in target.arguments:
            if a.name in self.inputs and a.limit is not None and not {*names_in((a.limit,))} <= {*solved(axes)}:
                # An index i reads a table of at least i + 1 rows.
                axes.append(Axis(a.name, 0, a.limit, int(np.max(self.inputs[a.name])) + 1))
        return axes + axes_of_needs(target.needs)


NOTHING = Asked()


def asked_of(target: Cell | Model, inputs: Any, params: Any, domain: Any) -> Asked:
    """Return the request, checked, with the sizes that it tells.

    Raises: ArgumentError for what is no dict by name, a name that is not known, another shape, or no domain.
    """
    (target if isinstance(target, Cell) else target.cell).check_contexts()
    given: dict[str, dict[str, Any]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for group, value, roles, lead in (
        ("inputs", inputs, ("input", "index"), 2),
        ("params", params, ("param", "const"), 0),
    ):
        value = {} if value is None else value
        check_mapping(group, value, f'{group}={{"{_first(target, roles)}": ...}}')
        value = named(value)
        known = {a.name: a for a in target.arguments if a.role in roles and not _is_set(a)}
        _check_names(target, group, value, known)
        given[group] = {k: _array(known[k], v, lead) for k, v in value.items()}
        shapes |= {k: v.shape[lead:] for k, v in given[group].items()}
    domain = {} if domain is None else domain
    check_mapping("domain", domain, EXAMPLE)
    domain, taken = named(domain), given["inputs"] | given["params"]
    drawn = {a.name: a for a in target.arguments if a.limit is None and a.name not in taken and not _is_set(a)}
    _check_names(target, "domain", domain, drawn)
    for name, where in domain.items():
        check_domain(drawn[name], where)
    asked = Asked(given["inputs"], given["params"], dict(domain), shapes)
    _check_fit(target, asked)
    return asked


def _first(target: Cell | Model, roles: tuple[str, ...]) -> str:
    return next((a.name for a in target.arguments if a.role in roles), "x")


def _is_set(a: Argument) -> bool:
    """Answer whether an argument has one value: a constant has that of its default, or of `compile`."""
    return a.role == "const" and a.default is not None


def _check_names(target: Cell | Model, group: str, value: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for name in value:
        if any(a.name == name and _is_set(a) for a in target.arguments):
            raise ArgumentError(
                f"{group}: {name!r} is a constant of {target.name} with a value\n"
                f"  write sb.verify(sb.compile({target.name}, consts={{{name!r}: ...}}))"
            )
        if name not in known:
            raise ArgumentError(f"{group}: {target.name} draws no {name!r} there" + nearest(name, known))


def _array(a: Argument, value: Any, lead: int) -> Any:
    """Return a given value as an array, (T, B, ...) of an input."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        raise ArgumentError(f"{a.name}: numbers are expected, got {type(value).__name__}") from None
    if array.dtype.kind not in ("iu" if a.role == "index" else "biuf"):
        raise ArgumentError(
            f"{a.name}: {'integers' if a.role == 'index' else 'numbers'} are expected, got {type(value).__name__} of {array.dtype}"
        )
    if not np.all(np.isfinite(array)):
        raise ArgumentError(f"{a.name}: finite numbers are expected, got NaN or infinity")
    array = array.astype(int if a.role == "index" else float)
    if array.ndim == len(a.shape) + lead - 1 and lead:
        array = array[:, None]
    if array.ndim != len(a.shape) + lead or 0 in array.shape:
        wanted = "(T, B, ...) or (T, ...), of a step and a sample at least," if lead else show(a.shape)
        raise ArgumentError(f"{a.name}: shape {wanted} is expected, got {array.shape}")
    return array


def _shapes_of_defaults(target: Cell | Model, given: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of array defaults of parameters and constants for which nothing is given."""
    known = [a for a in target.arguments if a.default is not None and a.name not in given]
    return {a.name: np.shape(a.default) for a in known if np.ndim(a.default) == len(a.shape)}


def _check_fit(target: Cell | Model, asked: Asked) -> None:
    """Raises: ArgumentError where arrays tell two lengths of one size."""
    leads = {name: v.shape[:2] for name, v in asked.inputs.items()}
    for name, lead in leads.items():
        first, wanted = next(iter(leads.items()))
        if lead != wanted:
            raise ArgumentError(
                f"{name}: as many steps and samples as in {first} are expected, {wanted[0]} and {wanted[1]}, got {lead[0]} and {lead[1]}"
            )
    axes = asked.axes(target)
    sizes = solved(axes)
    _check_indices(target, asked, {named_size(name): value for name, value in sizes.items()})
    lack = unmet(target.needs, sizes)
    if lack is not None:
        raise ArgumentError(three_lines(*lack.parts(sizes)))
    wrong = misfit(axes, sizes)
    if wrong is not None:
        shape = next(a.shape for a in target.arguments if a.name == wrong.argument)
        told = ", ".join(f"{name} is {value}" for name, value in sorted(sizes.items()))
        raise ArgumentError(
            f"{wrong.argument}: shape {show(shape)} is expected, got {wrong.length} along axis {wrong.number}; {told}"
        )


def _check_indices(target: Cell | Model, asked: Asked, numbers: Mapping[sp.Symbol, int]) -> None:
    for a in target.arguments:
        if a.limit is None or a.name not in asked.inputs:
            continue
        values, limit = asked.inputs[a.name], size(sp.sympify(a.limit).xreplace(numbers))
        if np.min(values) < 0 or (isinstance(limit, int) and np.max(values) >= limit):
            most = f"{limit - 1}" if isinstance(limit, int) else f"{size_text(limit)} - 1"
            raise ArgumentError(
                f"{a.name}: integers from 0 to {most} are expected, got {np.min(values)} to {np.max(values)}"
            )
