"""Fixed points and their stability along a knob: branches, the points where they change, and the orbit diagram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from symbptt.errors import ArgumentError, instead_of_cell, three_lines
from symbptt.language.cell import Cell
from symbptt.stability.dynamics.continuation import (
    FIXED,
    LONGEST,
    Range,
    Spot,
    at_value,
    carried,
    corrected,
    first_spot,
)
from symbptt.stability.dynamics.crossings import Bifurcation, crossings, is_known
from symbptt.stability.dynamics.family import Family, family
from symbptt.stability.dynamics.fixed_points import FAR, newton
from symbptt.stability.dynamics.orbits import TRIED, Orbits, orbits

Arrays = Mapping[str, Any]
SEARCHED = 9
"""Values at which fixed points are searched for, spread over all."""
SEEDS, WORK = 64, 2**26
"""Seeds of that search at each value: at the most, and times N³."""
MOST = 32
"""Branches at the most."""
SAME, NEARBY = 1e-6, 1e-3
MARGINAL = 1e-6
ZERO = 1e-12
"""A value this near to zero, relative to the range, is printed as zero."""
BESIDE = 1e-2
"""At the very end of a fold Newton's method has no answer: a point this near to the branch is on it."""
LINES = 24
"""Points that are printed at the most."""
SHOWN = 4
"""Elements of a state that are printed with a point, at the most."""
AWAY = (0.02, 0.005, 0.1)
"""Distances from a crossing of branches at which the other branch is looked for."""
ENDS = {
    "range": "the end of the values", "closed": "its own start: it is closed", "long": "2000 points, and goes on",
    "away": "states over 1e8: it runs away", "stopped": "a point from which Newton's method finds no next one",
}  # fmt: skip


@dataclass(frozen=True)
class Branch:
    """Fixed points along a curve of values and states.

    `unstable` counts the eigenvalues outside the unit circle; `points` are where stability changes, in the order of the curve.
    `ends` says of the first and the last point why the branch ends there: "range", "closed", "away", "stopped" or "long".

    Shapes: values (K,), states (K, N), eigenvalues (K, N) complex, the largest first, unstable (K,).
    """

    values: Any
    states: Any = field(repr=False)
    eigenvalues: Any = field(repr=False)
    unstable: Any = field(repr=False)
    points: tuple[Bifurcation, ...]
    ends: tuple[str, str]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def stability(self) -> Any:
        """Return "stable", "marginal" (within 1e-6 of the circle) or "unstable" for each point, (K,)."""
        size = np.abs(self.eigenvalues[:, 0])
        return np.where(size < 1 - MARGINAL, "stable", np.where(size <= 1 + MARGINAL, "marginal", "unstable"))


@dataclass(frozen=True)
class Sweep:
    """Branches of fixed points of a cell along a knob, and the states at which its runs settle.

    `orbit` has the last states of runs for each of the values, `names` the slice of each state in the whole state. With a period k,
    fixed points are those of k steps, cycles of a length that divides k among them. `unfollowed` counts fixed points from which
    no single curve leads on, as where all states are fixed; `more` says that there may be branches beyond 32.
    """

    cell_name: str
    knob: str
    period: int
    values: Any = field(repr=False)
    branches: tuple[Branch, ...]
    orbit: Orbits = field(repr=False)
    names: dict[str, slice] = field(repr=False)
    unfollowed: int
    more: bool

    @property
    def points(self) -> tuple[Bifurcation, ...]:
        """The points where stability changes on any branch, each once, by value; those of one cycle are one point."""
        found: list[Bifurcation] = []
        for branch in self.branches:
            found += [p for i, p in enumerate(branch.points) if not is_known([*found, *branch.points[:i]], p)]
        return tuple(sorted(found, key=lambda p: p.value))

    def text(self) -> str:
        """Return the branches, the points where they change and the orbits in words."""
        return sweep_text(self)

    __str__ = text

    def numbers(self) -> dict[str, Any]:
        """Return the numbers as JSON can represent them; complex eigenvalues as [real, imaginary], None for numbers that are not finite."""
        return sweep_numbers(self)

    def plot(self, axes: Any = None, *, component: int | None = None) -> Any:
        """Draw the branches over the orbit diagram and return the axes: stable parts solid, unstable ones dashed, marks where they
        change. `component` is the element of the whole state that is shown, by default the one that varies most."""
        from symbptt.stability.dynamics.sweep_figure import draw_sweep

        return draw_sweep(self, axes, component=component)


@np.errstate(all="ignore")  # what leaves the range is told in words or is infinite in the result
def sweep(
    cell: Cell, params: Arrays, knob: Any, values: Sequence[float], inputs: Arrays | None = None, states: Arrays | None = None,
    *, period: int = 1, settle: int = 1000, keep: int = 64, seed: int = 0,
) -> Sweep:  # fmt: skip
    """Return how the fixed points of a cell and their stability change along a knob, and the states at which its runs settle.

    The knob is a parameter or an input of one element by name, `"b"`; an element, `("U", 0, 1)`; `"gain"`, a factor on the
    recurrent weights (`sb.recurrent_weights`); or a function `params, value -> params`. Fixed points that are found at some of the
    values, from states on trajectories, are carried on along the curve on which they lie, around its folds and from branch to
    branch where these cross, between the least and the largest value. At each value the last `keep` states of runs, behind
    `settle` steps, make the orbit diagram. With `period` k, cycles of k steps are carried on in the place of fixed points. Folds,
    flips and Neimark–Sacker points are located to rounding, points where branches cross to about 1e-10.

    Shapes: values (V,); inputs as annotated, the same at every step; states, from which runs start, with any leading axes.

    Raises: ArgumentError for a knob that is none, values that do not differ, and as `sb.fixed_points` does.

    Source: Keller 1977, "Numerical solution of bifurcation and nonlinear eigenvalue problems" (arclength); Kuznetsov 2004,
    "Elements of applied bifurcation theory", chapters 4, 5 and 10.
    """
    grid = _checked(cell, values, period, settle, keep)
    with np.errstate(all="ignore"):  # what leaves the range is told in words
        of = family(cell, params, {} if inputs is None else inputs, states, knob, float(grid[0]), period)
        within = Range(float(grid[0]), float(grid[-1]))
        starts = [_starts(of, states, np.random.default_rng([seed, i])) for i in range(len(grid))]
        found = orbits(of, grid, starts, settle, keep)
        branches, unfollowed = _branches(of, grid, starts, found, within)
    return Sweep(
        cell.name, of.label, period, grid, tuple(branches), found, of.linear.names, unfollowed, len(branches) >= MOST
    )


def _checked(cell: Any, values: Any, period: Any, settle: Any, keep: Any) -> Any:
    """The values in ascending order, each once.

    Raises: ArgumentError for what is no cell, and for values and counts that make no sweep.
    """
    if not isinstance(cell, Cell):
        raise ArgumentError(three_lines(f"sweep takes a cell, got {type(cell).__name__}", cure=instead_of_cell(cell)))
    cell.check_real()
    where = f"in a sweep of {cell.name}"
    grid = np.asarray(values)
    if grid.ndim != 1 or grid.dtype.kind not in "iuf" or not np.isfinite(grid).all() or len(np.unique(grid)) < 2:
        raise ArgumentError(
            three_lines(
                "values: at least two different finite numbers are expected", where, "write np.linspace(0, 2, 41)"
            )
        )
    for name, count, least in (("period", period, 1), ("settle", settle, 0), ("keep", keep, 2)):
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < least:
            raise ArgumentError(three_lines(f"{name}={count!r}", where, f"give an integer from {least}"))
    return np.unique(grid.astype(np.float64))


def _starts(of: Family, states: Arrays | None, random: np.random.Generator) -> Any:
    """States (K, N) that runs of a value start from: some of those given, or random ones of several sizes."""
    if states is None:
        size = np.geomspace(0.1, 2.0, TRIED)[:, None]
        return size * random.standard_normal((TRIED, of.linear.dimension))
    whole = of.linear.flat({k: np.asarray(v, np.float64) for k, v in states.items()})
    flat = whole.reshape(-1, whole.shape[-1])
    flat = flat[np.isfinite(flat).all(-1)]
    if not len(flat):
        raise ArgumentError(three_lines("no state to start from is finite", f"in a sweep of {of.linear.cell.name}",
                                        "give states of a run that stays in range, or none"))  # fmt: skip
    return flat[np.sort(random.choice(len(flat), min(TRIED, len(flat)), replace=False))]


def _branches(of: Family, grid: Any, starts: Sequence[Any], found: Orbits, within: Range) -> tuple[list[Branch], int]:
    """All branches: those of fixed points that are found at some values, then those that cross them. And the number of fixed
    points that are on no branch."""
    branches: list[Branch] = []
    lone: list[Bifurcation] = []
    chosen = np.unique(np.linspace(0, len(grid) - 1, SEARCHED).round().astype(int))
    # Both ends first: a branch from there runs through the whole range, and most points between are found to be on
    # it.
    for i in (chosen[0], chosen[-1], *chosen[1:-1]):
        for state in _found(of, float(grid[i]), starts[i], found.states[i]):
            start = first_spot(of, state, float(grid[i]), within.span)
            if start is None:
                lone.append(Bifurcation("", float(grid[i]), state, 1 + 0j))
            elif not any(_is_on(of, b, start) for b in branches):
                _add(of, branches, start, within)
    done = 0
    # Branches that are found at crossings may be crossed by further ones: the list grows while it is read.
    while done < len(branches):
        for point in branches[done].points:
            if point.kind == "branch point":
                for spot in _across(of, branches[done], point, within):
                    if not any(_is_on(of, b, spot) for b in branches):
                        _add(of, branches, spot, within)
        done += 1
    unfollowed = sum(not any(_is_on(of, b, _base(point, within)) for b in branches) for point in lone)
    branches = [replace(b, points=tuple(_met(p, branches, within) for p in b.points)) for b in branches]
    return sorted(branches, key=lambda b: (b.values.min(), tuple(b.states[np.argmin(b.values)]))), unfollowed


def _met(point: Bifurcation, branches: Sequence[Branch], within: Range) -> Bifurcation:
    """The point itself; a turn that lies where branches cross is that crossing: near to it the equations are singular, and the
    turn of the outer branch is found to about the root of their rounding."""
    known = [p for b in branches for p in b.points if p.kind == "branch point"] if point.kind == "fold" else []
    size = 1 + np.abs(point.state).max()
    return next(
        (p for p in known if abs(p.value - point.value) <= SAME * within.span
         and np.abs(p.cycle - point.state).max(-1).min() <= NEARBY * size),
        point,
    )  # fmt: skip


def _found(of: Family, value: float, start: Any, settled: Any) -> list[Any]:
    """Fixed points at a value, from states on trajectories and the states at which these settle."""
    at, size = of(value), start.shape[-1]
    count = max(8, min(SEEDS, WORK // size**3))
    along = at.orbit(start, 8)
    seen = np.concatenate([start[None], along, settled.reshape(-1, 1, size)[::8].repeat(len(start), 1)]).reshape(
        -1, size
    )
    seen = seen[np.isfinite(seen).all(-1)]
    seen = seen[np.abs(seen).max(-1) < 1e6]
    seen = seen[np.linspace(0, len(seen) - 1, min(count, len(seen))).astype(int)] if len(seen) else seen
    points: list[Any] = []
    ends = newton(at, seen) if len(seen) else []
    centre = seen.mean(0) if len(seen) else 0.0
    for s in ends:
        if (
            np.abs(s - centre).max() > FAR * np.abs(seen - centre).max() + FIXED
        ):  # where gates saturate any state is held
            continue
        if not np.isfinite(s).all() or np.abs(at(s[None])[0] - s).max() > FIXED * (1 + np.abs(s).max()):
            continue
        # The damped method solves with A'A, which squares the condition: a plain Newton step gains the last digits.
        polished = at_value(of, value, s)
        s = s if polished is None or np.abs(polished - s).max() > SAME * (1 + np.abs(s).max()) else polished
        if all(np.abs(s - p).max() > SAME * (1 + np.abs(s).max()) for p in points):
            points.append(s)
    return points


def _add(of: Family, branches: list[Branch], start: Spot, within: Range) -> None:
    """Carry a branch on from a point, in both directions."""
    if len(branches) >= MOST:
        return
    ahead, end = carried(of, start, 1, within)
    behind, begin = ([], end) if end == "closed" else carried(of, start, -1, within)
    points = (
        crossings(of, behind, within)[::-1] + crossings(of, ahead, within) if behind else crossings(of, ahead, within)
    )
    spots = [*behind[:0:-1], *ahead]
    if len(spots) < 2:
        return
    values = np.array([s.eigenvalues for s in spots])
    branches.append(Branch(
        np.array([s.value for s in spots]), np.array([s.state for s in spots]), values, (np.abs(values) > 1).sum(-1),
        tuple(points), (begin, end),
    ))  # fmt: skip


def _is_on(of: Family, branch: Branch, spot: Spot) -> bool:
    """Answer whether a point lies on a branch: between two of its points Newton's method leads to it, or it is a fold away."""
    size = 1 + np.abs(spot.state).max()
    whole = np.column_stack([branch.states, branch.values]) / spot.scale
    middle = spot.whole
    if np.abs(whole - middle).max(-1).min() <= SAME:
        return True
    a, b = whole[:-1], whole[1:]
    way = b - a
    part = np.clip(((middle - a) * way).sum(-1) / np.maximum((way * way).sum(-1), 1e-300), 0, 1)
    off = np.linalg.norm(a + part[:, None] * way - middle, axis=-1)
    for i in np.argsort(off)[:3]:
        if off[i] > LONGEST:
            break
        base = branch.states[i] + part[i] * (branch.states[i + 1] - branch.states[i])
        state = at_value(of, spot.value, base)
        if off[i] < BESIDE if state is None else np.abs(state - spot.state).max() <= SAME * size:
            return True
    return False


def _across(of: Family, branch: Branch, point: Bifurcation, within: Range) -> list[Spot]:
    """Points of the other branch at a crossing, on both sides: in the direction that J leaves as it is."""
    jacobian = of(point.value).jacobian(point.state[None])[0]
    # At a crossing J − 1 is singular; its null vector points along the branch that crosses.
    direction = np.linalg.svd(jacobian - np.eye(len(point.state)))[2][-1]
    base = _base(point, within)
    found = []
    for distance in AWAY:
        for sign in (1, -1):
            normal = np.append(sign * direction, 0.0)
            spot = corrected(of, base, normal, distance, within.span)
            if spot is not None and within.holds(spot.value) and not _is_on(of, branch, spot):
                found.append(spot)
        if found:
            break
    return found


def _base(point: Bifurcation, within: Range) -> Spot:
    """A located point with its units; it has no tangent of its own."""
    scale = np.append(np.full(len(point.state), 1 + np.abs(point.state).max()), within.span)
    return Spot(point.state, point.value, np.zeros(len(scale)), scale, np.array([point.eigenvalue]))


# ---- words --------------------------------------------------------------------------------------------------------


def sweep_text(found: Sweep) -> str:
    """Return a sweep as lines."""
    what = "fixed points" if found.period == 1 else f"cycles of {found.period} steps"
    lines = [f"{found.cell_name}: {what} along {found.knob} from {found.values[0]:.6g} to {found.values[-1]:.6g}."]
    if not found.branches and not found.unfollowed:
        lines.append(
            f"No {'fixed point' if found.period == 1 else 'such cycle'} was found at any of the values that were searched."
        )
    if found.unfollowed:
        lines.append(
            f"{found.unfollowed} points are fixed, but none leads on in a single direction: lines or planes of states are fixed."
        )
    lines += [f"Branch {i}: {_course(branch, found.knob)}" for i, branch in enumerate(found.branches, 1)]
    lines += [f"There may be more branches: {MOST} are followed."] if found.more else []
    alike: dict[tuple[str, str], list[Bifurcation]] = {}
    for point in found.points:
        value = 0.0 if abs(point.value) < ZERO * (found.values[-1] - found.values[0]) else point.value
        alike.setdefault((point.kind, f"{value:.10g}"), []).append(point)
    for (kind, shown), points in list(alike.items())[:LINES]:
        places = _place(found, points[0]) if len(points) == 1 else f", at {len(points)} {_apart(points)}"
        lines.append(f"{kind[0].upper()}{kind[1:]} at {found.knob} = {shown}{places}{_detail(found, points[0])}.")
    lines += [f"And {len(alike) - LINES} values more: see points."] if len(alike) > LINES else []
    return "\n".join([*lines, _orbit_line(found)])


def _course(branch: Branch, knob: str) -> str:
    """Tell the course of a branch, how stable it is, and how it ends."""
    kinds = [str(k) for k in branch.stability if k != "marginal"] or ["marginal"]
    runs = [k for i, k in enumerate(kinds) if i == 0 or kinds[i - 1] != k]
    shown = ", ".join(runs[:6]) + (", and so on" if len(runs) > 6 else "")
    span = f"{knob} = {branch.values[0]:.6g} to {branch.values[-1]:.6g}"
    if branch.values.max() > max(branch.values[[0, -1]]) or branch.values.min() < min(branch.values[[0, -1]]):
        span += f" by way of {branch.values.min():.6g} and {branch.values.max():.6g}"
    ends = dict.fromkeys(branch.ends)
    if list(ends) == ["range"]:
        return f"{span}, {len(branch)} points: {shown}."
    return f"{span}, {len(branch)} points: {shown}; it ends at {' and at '.join(ENDS[e] for e in ends)}."


def _place(found: Sweep, point: Bifurcation) -> str:
    """The state at a point, or those of its cycle in their order, where they have few elements."""
    steps = len(point.cycle)
    if point.cycle.size > SHOWN:
        return f", of a cycle of {steps} steps" if steps > 1 else ""
    cycle = np.where(np.abs(point.cycle) < 1e-12, 0.0, point.cycle)
    parts = []
    for name, part in found.names.items():
        rows = [", ".join(f"{x + 0.0:.6g}" for x in row[part]) for row in cycle]
        parts.append(f"{name} = {' → '.join(rows if part.stop - part.start == 1 else [f'({row})' for row in rows])}")
    return f", {'of the cycle ' * (steps > 1)}{', '.join(parts)}"


def _apart(points: Sequence[Bifurcation]) -> str:
    """Name what points of one value are: states, or cycles."""
    return "cycles" if any(len(p.cycle) > 1 for p in points) else "states"


def _detail(found: Sweep, point: Bifurcation) -> str:
    if point.kind == "Neimark–Sacker":
        times = f" times {found.period} steps" if found.period > 1 else ""
        return f", at an angle of {point.angle:.4g} (a period of {2 * np.pi / point.angle:.4g}{times} is born)"
    if point.kind == "jump":
        return ": eigenvalues jump over the unit circle at a kink of the step"
    return ""


def _orbit_line(found: Sweep) -> str:
    """Tell at what runs settle."""
    finite = np.isfinite(found.orbit.states).all((2, 3))
    left, some = ~finite.any(1), found.orbit.periods
    count = len(found.values)
    if left.all():
        return "Runs leave the float range at every value."
    periods = sorted(set(some[finite].tolist()) - {0})
    settled = f"cycles of {_listed(periods)} steps" if periods and periods != [1] else "fixed points" if periods else ""
    free = int(((some == 0) & finite).any(1).sum())
    parts = [f"Runs settle on {settled}" if settled else "Runs have not settled on a short cycle"]
    # A run that comes in slowly, as beside a bifurcation, is not seen on the cycle that it tends to.
    parts += [f"some have not settled on a short cycle at {free} of {count} values"] if free and settled else []
    parts += [f"they leave the float range at {int(left.sum())} of {count}"] if left.any() else []
    return "; ".join(parts) + "."


def _listed(numbers: Sequence[int]) -> str:
    shown = [str(n) for n in numbers[:8]]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def sweep_numbers(found: Sweep) -> dict[str, Any]:
    """Return the numbers of a sweep as lists, numbers and texts."""
    return {
        "cell": found.cell_name, "knob": found.knob, "period": found.period, "values": found.values.tolist(),
        "branches": [
            {"values": b.values.tolist(), "states": b.states.tolist(), "eigenvalues": _pairs(b.eigenvalues),
             "unstable": b.unstable.tolist(), "stability": b.stability.tolist(), "ends": list(b.ends),
             "points": [_point(p) for p in b.points]}
            for b in found.branches
        ],
        "points": [_point(p) for p in found.points],
        "orbit": {"states": _without_nan(found.orbit.states),
                  "periods": found.orbit.periods.tolist()},
    }  # fmt: skip


def _point(p: Bifurcation) -> dict[str, Any]:
    return {
        "kind": p.kind,
        "value": p.value,
        "state": p.state.tolist(),
        "cycle": p.cycle.tolist(),
        "eigenvalue": [p.eigenvalue.real, p.eigenvalue.imag],
    }


def _without_nan(array: Any) -> Any:
    """An array as lists, None where it is not finite."""
    return np.where(np.isfinite(array), array, np.array(None)).tolist()


def _pairs(values: Any) -> Any:
    return np.stack([values.real, values.imag], -1).tolist()
