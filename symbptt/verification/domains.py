"""Domains of arguments: where what a check draws lies, in each of its regimes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbptt.errors import ArgumentError
from symbptt.ir.step import Argument

EXAMPLE = 'domain={"x": (0, 1), "keep": "binary", "p": "positive"}'
ON_LINE = "--domain x=0..1 keep=binary p=positive"


@dataclass(frozen=True)
class Named:
    """A domain with a name: what it is, how normal numbers are brought into it, where the factor of a regime stretches what
    has no border, which exact numbers it has, and whether an array lies in it."""

    text: str
    into: Callable[[Any, float], Any]
    marks: tuple[float, ...]
    holds: Callable[[Any], Any]


def _positive(normal: Any, factor: float) -> Any:
    return 0.1 + factor * np.abs(normal)


def _inside(normal: Any, factor: float) -> Any:
    """A sigmoid maps every number inside 0 and 1, where clipping would put many exactly on them; larger ones come near both."""
    return 1 / (1 + np.exp(-1.5 * min(max(factor, 1.0), FARTHEST) * normal))


def _shares(normal: Any, factor: float) -> Any:
    # The greatest is taken off first, so that no exponential overflows.
    found = np.exp(min(max(factor, 1.0), FARTHEST) * (normal - np.max(normal, -1, keepdims=True, initial=-np.inf)))
    return found / np.sum(found, -1, keepdims=True)


FARTHEST = 8.0
"""The factor beyond which numbers inside borders would be the borders themselves."""
NAMED: dict[str, Named] = {
    "positive": Named("numbers from 0.1 on", _positive, (1.0,), lambda x: x > 0),
    "nonnegative": Named("0 and more", lambda z, factor: factor * np.abs(z), (0.0, 1.0), lambda x: x >= 0),
    "probability": Named("0 to 1", _inside, (0.0, 1.0), lambda x: (x >= 0) & (x <= 1)),
    "simplex": Named("shares along the last axis, which add up to 1", _shares, (),
                     lambda x: (x >= 0) & (np.abs(np.sum(x, -1, keepdims=True) - 1) < 1e-9)),
    "binary": Named("0 or 1", lambda z, factor: (z > 0) * 1.0, (0.0, 1.0), lambda x: (x == 0) | (x == 1)),
    "integer": Named("whole numbers", lambda z, factor: np.round(2 * factor * z), (0.0, 1.0, -1.0), lambda x: x == np.round(x)),
}  # fmt: skip
"""The domains that have a name."""
USUAL = (0.0, 1.0, -1.0)
"""The exact numbers of an argument without a domain."""


def into(domain: Any, normal: Any, factor: float) -> Any:
    """Return normal numbers brought into a domain; those without borders grow with the factor of a regime."""
    if domain is None:
        return factor * normal
    if isinstance(domain, str):
        return NAMED[domain].into(normal, factor)
    low, high = domain
    return low + (high - low) * _inside(normal, factor)


def at_border(domain: Any, values: Any, chance: Any, all_of_them: bool = False) -> Any:
    """Return values some of which are exactly zero, one or minus one, as far as a domain has these, or at its ends; or all of them."""
    if domain == "simplex":
        # Of shares all are at the border together: one is 1 and the others are 0.
        return np.where(np.bool_(all_of_them) | (chance[..., :1] < 0.5), _corner(values, chance), values)
    marks = _marks(domain)
    # One chance for each mark, so that all of them occur; else a fifth each, and the rest stays.
    share = 1 / len(marks) if all_of_them else 0.2
    for number, mark in enumerate(marks):
        values = np.where((chance >= share * number) & (chance < share * (number + 1)), mark, values)
    return values


def _marks(domain: Any) -> tuple[float, ...]:
    if domain is None:
        return USUAL
    return NAMED[domain].marks if isinstance(domain, str) else tuple(map(float, domain))


def _corner(values: Any, chance: Any) -> Any:
    return (chance == np.max(chance, -1, keepdims=True, initial=0.0)) * np.ones_like(values)


def holds(domain: Any, array: Any) -> bool:
    """Answer whether all numbers of an array lie in a domain; one without borders is None."""
    array = np.asarray(array, float)
    if domain is None or not array.size:
        return True
    if isinstance(domain, str):
        return bool(np.all(NAMED[domain].holds(array)))
    return bool(np.all((array >= domain[0]) & (array <= domain[1])))


def kept_in(domain: Any, moved: Any, array: Any) -> Any:
    """Return numbers that have moved a little, those that would leave their domain where they were."""
    if domain is None:
        return moved
    if domain == "simplex":  # one share does not move alone
        return array
    # Asked one by one: a whole array that does not hold would not tell which number leaves.
    stays = np.array([holds(domain, x) for x in np.ravel(moved)], bool).reshape(np.shape(array))
    return np.where(stays, moved, array)


def in_single(domain: Any, array: Any) -> Any:
    """Return numbers of float32 that lie between the ends of a domain, of which one may be no such number itself."""
    if domain is None or isinstance(domain, str):
        return array
    # 0.1 in single precision is greater than 0.1: the next number down lies inside.
    up, down = np.nextafter(array, np.float32(np.inf)), np.nextafter(array, np.float32(-np.inf))
    return np.where(np.float64(array) < domain[0], up, np.where(np.float64(array) > domain[1], down, array))


def check_domain(a: Argument, where: Any) -> None:
    """Raises: ArgumentError for what is no domain, or none of this argument."""
    # What is no domain is told before anything is drawn, at the argument that it was given for.
    if not is_domain(where):
        raise ArgumentError(
            f"domain: {a.name!r} lies in (lowest, greatest), or is one of {_names()}, got {where!r}\n"
            f"  {_cure(where)}write {EXAMPLE}"
        )
    if where == "simplex" and not a.shape:
        raise ArgumentError(
            f"domain: {a.name!r} is one number, a simplex has shares along an axis\n"
            f'  write domain={{{a.name!r}: "probability"}}, or give {a.name!r} an axis'
        )
    if a.default is not None and not holds(where, a.default):
        raise ArgumentError(
            f"domain: the default of {a.name!r}, {a.default!r}, does not lie in {where!r}\n"
            "  write a domain that has it, or pass params= with a value inside"
        )


def _names() -> str:
    return ", ".join(map(repr, NAMED))


def _cure(where: Any) -> str:
    is_pair = isinstance(where, tuple | list) and len(where) == 2
    return 'without an end, "positive" or "nonnegative"; else ' if is_pair and np.inf in [*where] else ""


def is_domain(where: Any) -> bool:
    """Answer whether a value is the name of a domain, or its two ends."""
    if isinstance(where, str):
        return where in NAMED
    return isinstance(where, tuple | list) and len(where) == 2 and all(map(_is_number, where)) and where[0] < where[1]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and bool(np.isfinite(value))


def shown(where: Any) -> str:
    """Return a domain as a report lists it."""
    return where if isinstance(where, str) else f"{where[0]:g} to {where[1]:g}"


def domain_of(texts: Iterable[str]) -> dict[str, Any]:
    """Return the domains that a command line lists, each x=0..1, x=0,1 or keep=binary, several in one text apart by spaces.

    Raises: ArgumentError where a text has no name or no domain, or names one twice.
    """
    found: dict[str, Any] = {}
    for text in _apart(texts):
        name, _, where = (part.strip() for part in text.partition("="))
        if not name or not where or name in found:
            problem = f"{name!r} has two domains" if name in found else f"no domain in {text!r}"
            raise ArgumentError(f"{problem}\n  write {ON_LINE}")
        ends = where.split("..") if ".." in where else where.split(",")
        found[name] = tuple(map(_number, ends)) if len(ends) > 1 else where
        if not is_domain(found[name]):
            raise ArgumentError(
                f"--domain: {name} lies between two numbers, the lowest first, or is one of {', '.join(NAMED)}, got {where!r}\n"
                f"  write --domain {name}=0..1 or --domain {name}=binary"
            )
    return found


def _apart(texts: Iterable[str]) -> list[str]:
    """Return the domains of texts that list several, apart by spaces; behind a comma a space is none."""
    return [part for text in texts for part in (text.replace(", ", ",").split() or [text])]


def _number(text: str) -> float | str:
    """A number, or the text itself where it is none."""
    try:
        return float(text)
    except ValueError:
        return text.strip()
