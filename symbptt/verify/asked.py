"""What a caller says of the arguments that a check draws: values of inputs and parameters, and where others lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symbptt.arguments import check_mapping
from symbptt.cell import Cell, nearest
from symbptt.errors import ArgumentError
from symbptt.ir.shape import show
from symbptt.ir.sizes import Axis, axes_of, misfit, solved
from symbptt.ir.step import Argument
from symbptt.model import Model

NAMED = ("binary", "positive")
EXAMPLE = 'domain={"x": (0, 1), "keep": "binary", "p": "positive"}'


@dataclass(frozen=True)
class Asked:
    """Arrays of inputs (T, B, ...) and of parameters by name, which are taken as they are, and domains of what is drawn."""

    inputs: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    domain: Mapping[str, Any] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def axes(self, target: Cell | Model) -> list[Axis]:
        """The axes of arguments, with the lengths that the arrays and the defaults of the user's tell."""
        return axes_of(target.arguments, dict(self.shapes) | _shapes_of_defaults(target, self.shapes))


NOTHING = Asked()


def asked_of(target: Cell | Model, inputs: Any, params: Any, domain: Any) -> Asked:
    """Return what was asked, checked, with the sizes that it tells.

    Raises: ArgumentError for what is no dict by name, a name that is not known, another shape, or no domain.
    """
    given: dict[str, dict[str, Any]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for group, value, roles, lead in (
        ("inputs", inputs, ("input", "index"), 2),
        ("params", params, ("param", "const"), 0),
    ):
        value = {} if value is None else value
        check_mapping(group, value, f'{group}={{"{_first(target, roles)}": ...}}')
        known = {a.name: a for a in target.arguments if a.role in roles}
        _check_names(target, group, value, known)
        given[group] = {k: _array(known[k], v, lead) for k, v in value.items()}
        shapes |= {k: v.shape[lead:] for k, v in given[group].items()}
    domain = {} if domain is None else domain
    check_mapping("domain", domain, EXAMPLE)
    drawn = {a.name: a for a in target.arguments if a.limit is None and a.name not in given["inputs"] | given["params"]}
    _check_names(target, "domain", domain, drawn)
    for name, where in domain.items():
        _check_domain(name, where)
    asked = Asked(given["inputs"], given["params"], dict(domain), shapes)
    _check_fit(target, asked)
    return asked


def _first(target: Cell | Model, roles: tuple[str, ...]) -> str:
    return next((a.name for a in target.arguments if a.role in roles), "x")


def _check_names(target: Cell | Model, group: str, value: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for name in value:
        if name not in known:
            raise ArgumentError(f"{group}: {target.name} draws no {name!r} there" + nearest(name, known))


def _array(a: Argument, value: Any, lead: int) -> Any:
    """Return what was given as an array, (T, B, ...) of an input."""
    try:
        array = np.array(value, int if a.role == "index" else float)
    except (TypeError, ValueError):
        raise ArgumentError(f"{a.name}: numbers are expected, got {type(value).__name__}") from None
    if array.ndim == len(a.shape) + lead - 1 and lead:
        array = array[:, None]
    if array.ndim != len(a.shape) + lead or 0 in array.shape:
        wanted = "(T, B, ...) or (T, ...)" if lead else show(a.shape)
        raise ArgumentError(f"{a.name}: shape {wanted} is expected, got {array.shape}")
    return array


def _shapes_of_defaults(target: Cell | Model, given: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of array defaults of parameters and constants for which nothing is given."""
    known = [a for a in target.arguments if a.default is not None and a.name not in given]
    return {a.name: np.shape(a.default) for a in known if np.ndim(a.default) == len(a.shape)}


def _check_fit(target: Cell | Model, asked: Asked) -> None:
    """Raises: ArgumentError where arrays tell two lengths of one size."""
    axes = asked.axes(target)
    sizes = solved(axes)
    wrong = misfit(axes, sizes)
    if wrong is not None:
        shape = next(a.shape for a in target.arguments if a.name == wrong.argument)
        told = ", ".join(f"{name} is {value}" for name, value in sorted(sizes.items()))
        raise ArgumentError(
            f"{wrong.argument}: shape {show(shape)} is expected, got {wrong.length} along axis {wrong.number}; {told}"
        )


def _check_domain(name: str, where: Any) -> None:
    if isinstance(where, str) and where in NAMED:
        return
    if isinstance(where, tuple | list) and len(where) == 2 and all(map(_is_number, where)) and where[0] < where[1]:
        return
    raise ArgumentError(
        f"domain: {name!r} lies in (lowest, greatest), or is one of {', '.join(map(repr, NAMED))}, got {where!r}\n"
        f"  write {EXAMPLE}"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and bool(np.isfinite(value))


def into(domain: Any, normal: Any, factor: float) -> Any:
    """Return normal numbers brought into a domain; those without borders grow with the factor of a regime."""
    if domain is None:
        return factor * normal
    if domain == "binary":
        return (normal > 0).astype(float)
    if domain == "positive":
        return 0.1 + factor * np.abs(normal)
    low, high = domain
    return low + (high - low) / (1 + np.exp(-1.5 * normal))


def at_border(domain: Any, values: Any, chance: Any) -> Any:
    """Return values some of which are exactly zero, one or minus one, as far as a domain has these, or at its ends."""
    marks = {None: (0.0, 1.0, -1.0), "positive": (1.0,), "binary": ()}
    wanted = marks[domain] if domain is None or isinstance(domain, str) else tuple(map(float, domain))
    for number, mark in enumerate(wanted):
        values = np.where((chance >= 0.2 * number) & (chance < 0.2 * (number + 1)), mark, values)
    return values
