"""A reader of the signs of convolutions: it evaluates each as its line of the legend says it, entry by entry."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Value = np.ndarray[Any, Any]
Affine = tuple[dict[str, int], int]
"""The coefficient of each index in a place, and a number."""
LINE = re.compile(r"^  \((\w) ([∗⋆]\S*) (\w)\)_(\{[^}]*\}|\w) = Σ_(?:\{[^}]*\}|\w) (.*)$", re.MULTILINE)
FACTOR = re.compile(r"([A-Z])_(\{[^}]*\}|\w)")


def convolutions_of(text: str) -> dict[str, Callable[..., Value]]:
    """The convolutions of a page by their signs: functions of two arrays, and of the shape of the result where the line says it."""
    found = {}
    zeros: dict[str, list[tuple[int, int]]] = {}
    for left, sign, right, at, formula in LINE.findall(text):
        family = re.sub("[∗⋆ᵀ]", "", sign)
        pads = [(int(a), int(b)) for a, b in re.findall(r"\((\d+), (\d+)\) along", formula)]
        zeros[family] = zeros.get(family) or pads
        found[sign] = _function(sign, (left, right), _letters(at), formula, zeros[family])
    return found


def _letters(sub: str) -> list[str]:
    inner = sub.strip("{}")
    return [part.strip() for part in inner.split(",")] if not inner.isalpha() else [*inner]


def place_of(text: str) -> Affine:
    """2 i + k - 1 as its coefficients and its number."""
    found, number = dict[str, int](), 0
    for sign, size, letter in re.findall(r"([+-]?) ?(\d*) ?([a-z]?)", text):
        value = int(size or 1) * (-1 if sign == "-" else 1)
        if letter:
            found[letter] = value
        elif size:
            number += value
    return found, number


def _function(sign: str, names: tuple[str, str], at: Sequence[str], formula: str, pads: list[tuple[int, int]]) -> Any:
    line, formula = formula, re.split(", (?:zeros|with|of)", formula)[0]
    tests = [(one, place_of(other)) for one, other in re.findall(r"\[(\w) = ([^\]]*)\]", formula)]
    factors = [(name, [place_of(place) for place in _letters(sub)]) for name, sub in FACTOR.findall(formula)]

    def value(x: Value, y: Value, shape: Sequence[int] | None = None) -> Value:
        # What has one column is a vector on a page, and what has one entry a number.
        ranks = {name: len(places) for name, places in factors}
        arrays = {
            name: a.reshape(a.shape + (1,) * (ranks[name] - a.ndim)) for name, a in zip(names, (x, y), strict=True)
        }
        sizes = {i: n for name, places in factors for (terms, number), n in zip(places, arrays[name].shape, strict=True)
                 for i in terms if terms == {i: 1} and not number}  # fmt: skip
        moving = [
            (terms, number, n)
            for name, places in factors
            for (terms, number), n in zip(places, arrays[name].shape, strict=True)
            if len(terms) == 2
        ] or [(terms, number, 0) for _, (terms, number) in tests]
        for axis, (terms, number, n) in enumerate(moving):
            low, high = pads[axis] if pads else (0, 0)
            if tests:  # the last place that a window has read, without the zeros behind
                last = sum(factor * (sizes[i] - 1) for i, factor in terms.items()) + number
                sizes[tests[axis][0]] = last + 1 - high
            elif sign.endswith("ᵀ"):
                (i,), (k,) = [x for x in terms if x in at], [x for x in terms if x not in at]
                sizes[i] = n - terms[k] * (sizes[k] - 1) - low - high
            else:
                (i,), (k,) = [x for x in terms if x not in sizes], [x for x in terms if x in sizes]
                sizes[i] = (n + low + high - terms[k] * (sizes[k] - 1) - 1) // terms[i] + 1
        is_spread = bool(tests) or any(abs(factor) > 1 for terms, _, _ in moving for factor in terms.values())
        if is_spread and ", of the shape of" in line and shape is not None and len(shape) == len(at):
            # "of the shape of B", or of A: without steps between places it follows from what is read, also inside of formulas.
            sizes |= dict(zip(at, shape, strict=True))
        return _summed(arrays, factors, tests, at, sizes)

    return value


def _summed(
    arrays: Mapping[str, Value], factors: Any, tests: Any, at: Sequence[str], sizes: Mapping[str, int]
) -> Value:
    letters = [*at, *(x for x in sizes if x not in at)]
    grid = dict(zip(letters, np.ogrid[tuple(slice(0, sizes[x]) for x in letters)], strict=True))

    def place(of: Affine) -> Any:
        return sum(factor * grid[i] for i, factor in of[0].items()) + of[1]

    total = np.ones([sizes[x] for x in letters])
    for one, other in tests:
        total = total * (grid[one] == place(other))
    for name, places in factors:
        x, index = arrays[name], [*map(place, places)]
        inside = np.all(np.broadcast_arrays(*((0 <= i) & (i < n) for i, n in zip(index, x.shape, strict=True))), 0)
        clipped = (np.clip(i, 0, n - 1) for i, n in zip(index, x.shape, strict=True))
        total = total * np.where(inside, x[tuple(clipped)], 0.0)
    return np.asarray(np.sum(total, tuple(range(len(at), len(letters)))))
