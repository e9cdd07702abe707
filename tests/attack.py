"""Theorems attacked: the true norm of a step's Jacobian made as large as it gets, by gradient ascent over states, inputs and parameters
within the hypotheses, against the bound that is claimed.

`python -m tests.attack` prints how tight each bound is, as a table; a ratio above 1 would be a violation. Names of cells may follow.
"""

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import symbptt as sb
from symbptt import Const, Input, Param, State
from symbptt.errors import ArgumentError
from symbptt.stability.runs.linear import Linear, linear
from symbptt.zoo import CELLS
from tests import test_stability_suprema as suprema
from tests import test_stability_theorems as theorems
from tests.test_stability_theorems import limits, of_role, parameters, shape

Arrays = dict[str, Any]
STARTS, KEPT, ROUNDS, MOVES = 48, 2, 10, 3
"""Points tried first, climbed from, steps of a climb, and moves of the parameters."""
WIDE = 4.0
"""Inputs and states of which no theorem says where they are lie within this."""
LENGTHS = np.array([0.5, 0.2, 0.05, 0.01, 0.001])
"""Steps of a climb, relative to the ranges."""


@sb.cell
def wave(x: Input["n"], q: State["n"], p: State["n"], k: Param["n"], U: Param["n n"]):
    """Coupled oscillators with a sine for a spring."""
    p_new = 0.9 * p - 0.2 * np.sin(k * q) + 0.1 * np.tanh(U @ q + x)
    return q + 0.2 * p_new, p_new


@sb.cell
def selector(x: Input["n"], h: State["n"], U: Param["n n"], V: Param["n n"]):
    """Shares of candidates, mixed with the state by a gate."""
    z = sb.sigmoid(V @ x)
    return (1 - z) * h + z * sb.softmax(U @ h + x)


@sb.cell
def banded(x: Input["n"], h: State["n"], K: Param["3"], b: Param["n"]):
    """A stencil over a ring, then a function of no table."""
    z = K @ np.stack([np.roll(h, 1), h, np.roll(h, -1)]) + x + b
    return z * np.exp(-z * z)


@sb.cell
def outer_product(x: Input["n"], M: State["n n"], a: Param["n"], f: Const = 0.5):
    """A memory that is read, and written by an outer product."""
    return f * M + 0.2 * np.outer(np.tanh(M @ x), a)


@sb.cell
def tiled(x: Input["n"], h: State["n"], W: Param["n 2*n"], U: Param["n n"]):
    """A state twice beside itself, repeated along rows, and in an einsum."""
    c = np.cos(h)
    rows = np.broadcast_to(h, U.shape)
    return np.tanh(W @ np.concatenate([c, c]) + np.einsum("ij,ij->i", U, rows) + x)


UNSEEN = {
    cell.name: cell
    for cell in (
        wave, selector, banded, outer_product, tiled, *suprema.COMPOSED, *suprema.SHARES, theorems.stencil, theorems.doubled,
        theorems.overlapping, theorems.beside, theorems.interleaved, theorems.leaky, theorems.outer_memory, theorems.gelu_rnn,
    )
}  # fmt: skip


LINEAR: dict[Any, Linear] = {}
"""Cells, each compiled once; their parameters are replaced."""


@dataclass(frozen=True)
class Claim:
    """A bound on the norm of a Jacobian within limits of inputs and states, for given parameters."""

    rate: float
    norm: Callable[[Any], float]
    limits: dict[str, tuple[Any, Any]]


def norm_of(kind: str, weights: Any) -> Callable[[Any], float]:
    order = np.inf if kind == "max" else 2
    return lambda j: float(np.linalg.norm(j * weights / weights[:, None], order))


def theorem_of(norm: str) -> Callable[[Any, Arrays, float], Claim]:
    """The theorem of a cell in a norm, for all inputs and states that its hypotheses admit."""

    def claim(cell: Any, params: Arrays, size: float) -> Claim:
        theorem = sb.vanishing_condition(cell, norm=norm)
        reach = {a.name: (1.0 if a.name in theorem.bounded else np.inf) for a in of_role(cell, "state")}
        reach |= {a.name: np.inf for a in of_role(cell, "input")}
        rate = theorem.rate(params, {a.name: limits(a, reach[a.name]) for a in cell.arguments if a.name in reach})
        within = {a.name: limits(a, min(reach[a.name], WIDE)) for a in cell.arguments if a.name in reach}
        return Claim(rate, norm_of(norm, np.ones(dimension(cell))), within)

    return claim


def certificate_of(metric: str) -> Callable[[Any, Arrays, float], Claim]:
    """The certificate of a cell in a metric, over the box of states that it finds."""

    def claim(cell: Any, params: Arrays, size: float) -> Claim:
        box = {a.name: limits(a, size) for a in cell.arguments if a.role in ("input", "state")}
        found = sb.certified_rate(cell, params, box, metric=metric)
        within = {
            name: tuple(np.clip(end, -WIDE, WIDE) for end in ends) for name, ends in found.box.items() if name in box
        }
        if metric == "quadratic":
            values, vectors = np.linalg.eigh(found.matrix)
            root, back = np.sqrt(values)[:, None] * vectors.T, vectors / np.sqrt(values)
            return Claim(found.rate, lambda j: float(np.linalg.norm(root @ j @ back, 2)), within)
        sizes = [int(np.prod(shape(a))) for a in of_role(cell, "state")]
        return Claim(
            found.rate,
            norm_of(found.norm, np.repeat([found.scaling[a.name] for a in of_role(cell, "state")], sizes)),
            within,
        )

    return claim


CLAIMS = {
    "theorem, 2-norm": theorem_of("2"), "theorem, max-norm": theorem_of("max"),
    "certificate": certificate_of("diagonal"), "quadratic": certificate_of("quadratic"),
}  # fmt: skip


def dimension(cell: Any) -> int:
    return sum(int(np.prod(shape(a))) for a in of_role(cell, "state"))


def norms(cell: Any, params: Arrays, claim: Claim, points: Any) -> Any:
    """The norm of the Jacobian at each of some points, flat values of all that has limits; 0 where it is not finite."""
    arrays, at = {}, 0
    for name, (lo, _) in claim.limits.items():
        arrays[name] = points[:, at : at + lo.size].reshape(-1, *lo.shape)
        at += lo.size
    inputs = {a.name: arrays[a.name][None] for a in of_role(cell, "input")}
    random = np.random.default_rng(0)
    for a in of_role(cell, "index"):
        inputs[a.name] = random.integers(0, theorems.SIZES[str(a.limit)], (1, len(points)))
    state = {a.name: arrays[a.name] for a in of_role(cell, "state")}
    if cell not in LINEAR:
        LINEAR[cell] = linear(cell, params, inputs, state)
    with np.errstate(all="ignore"):
        jacobians = LINEAR[cell].with_params(params).jacobians(LINEAR[cell].flat(state)[None], inputs)[0]
    return np.array([claim.norm(j) if np.isfinite(j).all() else 0.0 for j in jacobians])


def climbed(cell: Any, params: Arrays, claim: Claim, random: Any, start: Any = None) -> tuple[float, Any]:
    """The largest norm that is found within the limits, and where: from the best of some points up along the gradient, and back
    into the limits."""
    lo, hi = (np.concatenate([np.ravel(ends[i]) for ends in claim.limits.values()]) for i in (0, 1))
    wide = hi - lo
    inside = random.random((STARTS, lo.size))
    inside = np.where(random.random((STARTS, 1)) < 0.5, inside, np.where(random.random(inside.shape) < 0.5, 0.0, 1.0))
    inside = np.where(random.random((STARTS, 1)) < 0.3, 0.5 + (inside - 0.5) * 0.05, inside)
    points = (
        lo
        + np.concatenate(
            [inside, *([] if start is None else [np.clip((start - lo) / np.where(wide > 0, wide, 1), 0, 1)[None]])]
        )
        * wide
    )
    sizes = norms(cell, params, claim, points)
    best, place = float(sizes.max()), points[sizes.argmax()]
    for point in points[np.argsort(-sizes)[:KEPT]] if lo.size else ():
        size = norms(cell, params, claim, point[None])[0]
        for _ in range(ROUNDS):
            shift = 1e-5 * np.diag(np.where(wide > 0, wide, 0))
            probes = norms(cell, params, claim, np.concatenate([point + shift, point - shift]))
            slope = probes[: lo.size] - probes[lo.size :]
            if not slope.any():
                break
            ahead = np.clip(point + LENGTHS[:, None] * wide * slope / np.abs(slope).max(), lo, hi)
            tried = norms(cell, params, claim, ahead)
            if tried.max() <= size:
                break
            size, point = tried.max(), ahead[tried.argmax()]
        if size > best:
            best, place = float(size), point
    return best, place


def tightness(cell: Any, kind: str, scale: float, size: float, seed: int, moves: int = MOVES) -> float:
    """The largest ratio of a true norm and its bound that is found; nan without a finite bound. Parameters climb by differences
    along random directions, each with the bound that is claimed for it."""
    random = np.random.default_rng(seed)
    params = parameters(cell, scale, seed)
    ratio, place = _ratio(cell, kind, params, size, random)
    for _ in range(moves if np.isfinite(ratio) else 0):
        step = {k: 0.2 * scale * random.standard_normal(np.shape(v)) for k, v in params.items()}
        for sign in (1, -1):
            moved = {k: v + sign * step[k] for k, v in params.items()}
            found, there = _ratio(cell, kind, moved, size, random, place)
            if found > ratio:
                ratio, params, place = found, moved, there
                break
    return ratio


def _ratio(cell: Any, kind: str, params: Arrays, size: float, random: Any, start: Any = None) -> tuple[float, Any]:
    claim = CLAIMS[kind](cell, params, size)
    if not 0 < claim.rate < np.inf:
        largest = climbed(cell, params, claim, random)[0] if claim.rate == 0 else 0.0
        return (np.inf if largest > 1e-280 else np.nan), None
    largest, place = climbed(cell, params, claim, random, start)
    return largest / claim.rate, place


def attacked(cell: Any, kind: str, moves: int = MOVES) -> float:
    """The tightest that a bound of a cell is found to be, over scales of its parameters and boxes."""
    found = []
    for seed, (scale, size) in enumerate([(0.2, 0.5), (0.6, 1.0)]):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found.append(tightness(cell, kind, scale, size, seed, moves))
        except ArgumentError:  # η depends on a size that nothing tells, or no derivative is finite
            continue
    return max((f for f in found if not np.isnan(f)), default=np.nan)


def table(cells: dict[str, Any]) -> tuple[str, float]:
    """How tight the bounds are as a Markdown table, and the largest ratio."""
    lines, worst = [f"| cell | {' | '.join(CLAIMS)} |", "|---" * (1 + len(CLAIMS)) + "|"], 0.0
    for name, cell in cells.items():
        found = [attacked(cell, kind) for kind in CLAIMS]
        worst = max(worst, *(f for f in found if not np.isnan(f)), 0.0)
        lines.append(f"| {name} | {' | '.join('–' if np.isnan(f) else f'{f:.3f}' for f in found)} |")
        print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines), worst


if __name__ == "__main__":
    every = {**CELLS, **UNSEEN}
    text, largest = table({name: every[name] for name in sys.argv[1:] or every})
    print(text, f"largest ratio {largest:.9f}", sep="\n\n")
    sys.exit(largest > 1 + 1e-9)
