"""Fixed points over the field, where no rounds settle: the value is an atom, and all that follows from its equation is exact.

A derivation uses of a fixed point z = f(z, c) that dz = (I - ∂f/∂z)⁻¹ ∂f/∂c dc, with the derivatives at z, and not that z is f(z, c).
So it is proved for any z: here one that is drawn for what the first round makes, the same on both sides. The user's function has the
tangent by a solve, its derivatives by dual numbers; a module finds its adjoint, the fixed point of an affine map, from the rounds
that it goes through.

Source: Sidi 2017, "Vector extrapolation methods", section 1.2: the minimal polynomial of the differences gives the limit, exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symbptt.verification.proof.atoms import Atoms
from symbptt.verification.proof.field import P, reduced
from symbptt.verification.proof.matrices import solved


def point_of(memory: Atoms, first: Any) -> Any:
    """Return the value of a fixed point, drawn once for each element that the first round makes."""
    values = [memory.settled(int(x)) if x == x else np.nan for x in np.real(first).ravel().tolist()]
    return np.array(values, float).reshape(np.shape(first))


def with_tangents(
    step: Callable[..., Any],
    values: Sequence[Any],
    several: bool,
    made: Callable[[Any], Any],
    read: Callable[[Any], Any],
) -> list[Any]:
    """Return the values of a fixed point of a step with their tangents; `made` makes an array of the field, `read` a plain one."""

    def moved(tangents: Any) -> Any:
        parts = np.split(tangents, np.cumsum([x.size for x in values])[:-1])
        given = [made(x + 1j * part.reshape(x.shape)) for x, part in zip(values, parts, strict=True)]
        found = step(tuple(given)) if several else step(given[0])
        return np.concatenate([np.imag(read(x)).ravel() for x in (found if several else (found,))])

    size = sum(x.size for x in values)
    own = moved(np.zeros(size))
    jacobian = np.stack([reduced(moved(unit) - own) for unit in np.eye(size)], -1)
    tangent = solved(reduced(np.eye(size) - jacobian), own[:, None])[0][:, 0]
    parts = np.split(tangent, np.cumsum([x.size for x in values])[:-1])
    return [made(x + 1j * part.reshape(x.shape)) for x, part in zip(values, parts, strict=True)]


class Rounds:
    """What takes the place of the test whether rounds have settled: it gives the fixed point by itself. `read` makes plain arrays."""

    def __init__(self, memory: Callable[[], Atoms], read: Callable[[Any], Any]) -> None:
        self.memory, self.read = memory, read
        self.seen: list[Any] = []

    def settled(self, pairs: Sequence[tuple[Any, Any]], k: int, most: int, is_affine: bool, lead: int) -> bool:
        """Write the fixed point over old values once it is known, and answer whether it is; until then new ones over old ones.

        Raises: ArithmeticError where the last round comes before that.
        """
        if not is_affine:
            for old, new in pairs:
                old[...] = point_of(self.memory(), self.read(new))
            return True
        shapes = [np.shape(old) for old, _ in pairs]
        if not k:
            self.seen = [_rows([self.read(old) for old, _ in pairs], lead)]
        self.seen.append(_rows([self.read(new) for _, new in pairs], lead))
        size = self.seen[0].shape[-1]
        if k < size:
            for old, new in pairs:
                old[...] = new
            if k + 1 == most:
                raise ArithmeticError(f"{most} rounds are too few for an adjoint of {size} numbers, give most= more")
            return False
        found = np.array([limit(np.stack(rows)) for rows in zip(*self.seen, strict=True)]).reshape(-1, size)
        ends = np.cumsum([int(np.prod(shape[lead:])) for shape in shapes])[:-1]
        for (old, _), part, shape in zip(pairs, np.split(found, ends, -1), shapes, strict=True):
            old[...] = part.reshape(shape)
        return True


def _rows(arrays: Sequence[Any], lead: int) -> Any:
    """Return what each sample has of some arrays as one row."""
    count = int(np.prod(np.shape(arrays[0])[:lead]))
    return np.concatenate([np.array(x).reshape(count, -1) if np.size(x) else np.zeros((count, 0)) for x in arrays], -1)


def limit(iterates: Any) -> Any:
    """Return the fixed point of an affine map of which some iterates are known, one more than it takes.

    Of differences d_k, which a linear map makes one of the other, Σ c_k d_k = 0 for some c; the fixed point is Σ c_k x_k / Σ c_k.
    """
    if np.isnan(iterates).any():
        return iterates[-1]
    xs = [[int(x) for x in row] for row in iterates.tolist()]
    rows: list[tuple[int, list[int], list[int]]] = []
    for k in range(len(xs) - 1):
        vector = [(b - a) % P for a, b in zip(xs[k], xs[k + 1], strict=True)]
        weights = [int(i == k) for i in range(len(xs))]
        for pivot, other, own in rows:
            factor = vector[pivot]
            vector = [(a - factor * b) % P for a, b in zip(vector, other, strict=True)]
            weights = [(a - factor * b) % P for a, b in zip(weights, own, strict=True)]
        first = next((i for i, x in enumerate(vector) if x), None)
        if first is None:
            scale = pow(sum(weights) % P, -1, P)
            return np.array(
                [sum(c * x[i] for c, x in zip(weights, xs, strict=True)) * scale % P for i in range(len(xs[0]))], float
            )
        back = pow(vector[first], -1, P)
        rows.append((first, [x * back % P for x in vector], [x * back % P for x in weights]))
    raise AssertionError("more differences than a space has dimensions are independent")
