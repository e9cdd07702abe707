"""The scan that a generated module carries where its recursion is affine: steps are joined, and nothing is divided.

Example: of h_t = a_t h_{t-1} + u_t two steps are one, h_t = (a_t a_{t-1}) h_{t-2} + (a_t u_{t-1} + u_t). From coefficients and
sums of pairs come those of fours, and so on up to a window of s steps: log₂ s calls on all steps at once in place of s calls
one after the other. Then each window follows from the last state of the one before.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from symbptt.codegen.runtime.cell import Array

Row: TypeAlias = list[Any]
"""Arrays of the states, one a state; None is zero."""
Rows: TypeAlias = list[list[Any]]
"""A matrix of coefficients between states, or lists of such arrays."""
Plan: TypeAlias = tuple[Any, ...]
"""The calls and rooms that `_scan` keeps for a number of steps."""
Calls: TypeAlias = list[tuple[Any, Any, Any, Any]]
"""Functions of two operands and the array that each writes."""

WINDOW: int = 2**13  # bytes of a state over the steps of a window: with few of them a loop is as fast
TILE: int = 2**13  # numbers that NumPy takes at once
LARGEST_PRODUCT: int = 16  # how much larger than that of the plain recursion rounding may be
ROUNDINGS: int = 4  # of the coefficients of windows, which together have a smaller error


class _Rooms(dict):
    """Rooms of a workspace, by what they are for and their shape."""

    def __init__(self, ws: Any) -> None:
        self.room = ws.room


def _window(T: int, states: Sequence[Array], least: int) -> int:
    """Return how many of T steps of states (B, ...) a scan takes together: a power of two, or 0 for a loop."""
    size = max(v.nbytes for v in states)
    steps = min(T, WINDOW // size) if size else 0
    return 1 << steps.bit_length() - 1 if steps >= least else 0


def _scan(plans: dict[int, Any], a: Rows, b: Row, x: Row, window: int, fixed: bool = False, back: bool = False) -> bool:
    """Fill x[i][t + 1] = Σ_j a[i][j][t] x[j][t] + b[i][t] from x[i][0] on, and answer whether that was done; `back`:
    x[i][t] = Σ_j a[i][j][t] x[j][t + 1] + b[i][t] from the last on; `fixed`: coefficients are the same at all steps.

    Steps are joined to pairs, pairs to fours, up to `window` steps: each has the product of their coefficients, and
    what they make of states that are zero. Then windows follow one from the other. Nothing is divided. Where a product
    is large, or anything is not finite, rounding could differ from that of the plain recursion, and the steps are left
    to it. `plans` holds the calls for each number of steps, and at 0 the rooms of all.
    """
    m = len(x[0]) - 1
    if not window or m < 2:
        return bool(window) and not m
    new, ends = [v[:-1] if back else v[1:] for v in x], [v[-1:] if back else v[:1] for v in x]
    with np.errstate(all="ignore"):
        held = plans[0]
        if m not in plans:
            plans[m] = (_planned_fixed if fixed else _planned)(a, new, window, back, held)
        first, pairs, calls, last, parts = plans[m]
        sums, adds = parts[0]
        if not fixed:
            first = a
            _run(_products(a, pairs, 1, m, back, held))
        elif last is None:
            return False
        zero = [np.zeros_like(v) if c is None else c for c, v in zip(b, new)]
        _run(_joined(first, zero, sums, adds, 1, m, back, held, fixed))
        _run(calls)
        _follow(parts, ends, new, back, held)
        return (fixed or _is_small(last)) and all(bool(np.isfinite(v[0 if back else -1]).all()) for v in new)


def _scan_back(
    plans: dict[int, Any], a: Rows, b: Row, given: Rows, carry: Row, x: Row, window: int, fixed: bool = False
) -> bool:
    """Fill the adjoints x[i] of the steps of a block backward, and answer whether that was done; `carry` comes from the
    steps behind the block, and goes to those before it.

    x[i][t - 1] = Σ_j a[i][j][t] x[j][t] + b[i][t] + Σ given[i][t - 1].
    """
    if not window:
        return False
    totals = [_total(terms) for terms in given]
    for v, end, own in zip(x, carry, totals):
        np.add(end, 0 if own is None else own[-1], out=v[-1])
    added = [_total([c if c is None else c[1:], own if own is None else own[:-1]]) for c, own in zip(b, totals)]
    later = a if fixed else [[c if c is None else c[1:] for c in row] for row in a]
    if not _scan(plans, later, added, x, window, fixed, back=True):
        return False
    for row, free, out in zip(a, b, carry):
        _run(_sum([(c if fixed else c[0], v[0]) for c, v in zip(row, x) if c is not None], out, plans[0]))
        if free is not None:
            np.add(out, free[0], out=out)
    return True


def _total(terms: Iterable[Array | None]) -> Array | None:
    """Return the sum of what is not None, or None."""
    there: Row = [v for v in terms if v is not None]
    return sum(there[1:], start=there[0]) if there else None


def _planned(a: Rows, new: Row, window: int, back: bool, held: _Rooms) -> Plan:
    """Return what `_scan` needs for so many steps: rooms for the coefficients of two, the calls that join more, the
    coefficients of a window, the parts of all windows."""
    m, s, calls, last, pairs = len(new[0]), 1, [], a, None
    sums, adds, _ = _work(new, held)
    while s < min(window, m):
        later = _like(last, new, held, s.bit_length() % 2)
        if s == 1:
            pairs = later
        else:
            calls += _products(last, later, s, m, back, held) + _joined(last, sums, sums, adds, s, m, back, held)
        last, s = later, 2 * s
    spans = _spans(s, m, back)
    pieces = [[None if c is None else [c[span] for span in spans] for c in row] for row in last]
    return None, pairs, calls, last, _parts(sums, adds, spans, pieces)


def _planned_fixed(a: Rows, new: Row, window: int, back: bool, held: _Rooms) -> Plan:
    """Return the same where the coefficients are the same at all steps: those of one step are there for many. Errors of
    powers would repeat with every window: they are made in a wider type."""
    m, s, calls, dtype = len(new[0]), 1, [], new[0].dtype
    sums, adds, _ = _work(new, held)
    step = [[None if c is None else np.broadcast_to(np.asarray(c, dtype).astype(_wide(dtype)), v[:1].shape) for c in row]
            for row, v in zip(a, new)]  # fmt: skip
    first, powers = _tiled(step, dtype), step  # of the steps 1, ..., s
    while s < min(window, m):
        calls += _joined(_tiled(step, dtype), sums, sums, adds, s, m, back, held, True) if s > 1 else []
        powers = _each(_behind, powers, _matrix(step, powers))
        step, s = _matrix(step, step), 2 * s
    spans = _spans(s, m, back)
    counts = [span.stop - span.start for span in spans]
    many = min(len(counts) - 1, ROUNDINGS)
    later = _each(lambda c, _: _rounded(c, many, counts[0], dtype), step, step)
    begin = _each(lambda c, _: np.array(c[: counts[0]][::-1] if back else c[: counts[0]], dtype), powers, powers)
    pieces = _each(lambda own, many: [own, *_cut_to(counts[1:], many)], begin, later)
    return first, None, calls, begin if _is_small(begin) else None, _parts(sums, adds, spans, pieces)


# Powers of one coefficient are the same numbers in each window, so that their rounding would add up in one direction;
# in a wider type it is too small to matter.
def _wide(dtype: Any) -> Any:
    """Return a type in which the error of many products vanishes beside that of one in another type."""
    return np.result_type(dtype, np.float64 if np.finfo(dtype).bits == 32 else np.longdouble)


def _rounded(c: Array, times: int, count: int, dtype: Any) -> Row:
    """Return a coefficient rounded to a type some times, each time with what was lost before, for many steps each."""
    found, lost = [], 0
    for _ in range(times):
        found.append((c + lost).astype(dtype))
        lost = c + lost - found[-1]
    return [np.array(np.broadcast_to(v, (count, *v.shape[1:]))) for v in found]


def _cut_to(counts: Sequence[int], many: Row | None) -> Row:
    """Return coefficients for windows of so many steps, one rounding after the other; None is zero."""
    return [None if many is None else many[k % ROUNDINGS][:count] for k, count in enumerate(counts)]


def _work(new: Row, held: _Rooms) -> Rows:
    """Return rooms for what steps make of zero, for products, and for the second term of a sum."""
    names: Rows = [
        [("sum", i) for i, _ in enumerate(new)],
        [("add", i) for i, _ in enumerate(new)],
        ["spare"] * (len(new) > 1),
    ]
    return [[_rows(held, name, v.shape, v.dtype) for name, v in zip(group, new)] for group in names]


def _parts(sums: Row, adds: Row, spans: Sequence[slice], pieces: Any) -> tuple[Any, ...]:
    """Return what windows make of zero, rooms for products, the windows, and by window the coefficients and those."""
    return (sums, adds), spans, pieces, *([[v[span] for span in spans] for v in group] for group in (sums, adds))


def _each(call: Callable[[Any, Any], Any], a: Rows, b: Rows) -> Rows:
    """Return what a function makes of the coefficients of two matrices; None where both are."""
    return [[None if c is None and d is None else call(c, d) for c, d in zip(*rows)] for rows in zip(a, b)]


def _behind(c: Array | None, d: Array | None) -> Array:
    """Return the coefficients c and behind them as many d; None is zero."""
    return np.concatenate([np.zeros_like(d) if c is None else c, np.zeros_like(c) if d is None else d])


def _matrix(a: Rows, b: Rows) -> Rows:
    """Return the product of two matrices of coefficients."""
    n = range(len(b))
    terms = [[[row[k] * b[k][j] for k in n if row[k] is not None and b[k][j] is not None] for j in n] for row in a]
    return [[_total(cell) for cell in row] for row in terms]


def _tiled(a: Rows, dtype: Any) -> Rows:
    """Return coefficients rounded to a type and repeated for many steps, as many as NumPy takes at once."""

    def many(c: Array, _: Any) -> Array:
        return np.array(np.broadcast_to(c.astype(dtype), (max(TILE // max(c.size, 1), 1), *c.shape[1:])))

    return _each(many, a, a)


def _rows(held: _Rooms, key: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return the room of a key and a shape, for as many steps as the shape has; the first that asks has the most, and
    an even number, so that both sweeps use the same."""
    key = (key, shape[1:])
    if key not in held or len(held[key]) < shape[0]:
        held[key] = held.room((shape[0] + shape[0] % 2, *shape[1:]), dtype)
    return held[key][: shape[0]]


def _like(a: Rows, new: Row, held: _Rooms, parity: int) -> Rows:
    """Return rooms for the products of coefficients of two steps."""
    n = range(len(a))
    found = [[None for _ in n] for _ in n]
    for i in n:
        for j in n:
            terms = [c for k in n for c in (a[i][k], a[k][j]) if a[i][k] is not None and a[k][j] is not None]
            terms += [] if a[i][j] is None else [a[i][j]]
            if terms:
                shape = np.broadcast_shapes(*(c.shape for c in terms))
                found[i][j] = _rows(held, (i, j, parity), shape, new[i].dtype)
    return found


def _products(a: Rows, out: Rows, s: int, m: int, back: bool, held: _Rooms) -> Calls:
    """Return the calls that write the products of coefficients with those s steps before."""
    to, of, rest = _apart(s, m, back)
    calls = []
    for row, rooms in zip(a, out):
        for j, room in enumerate(rooms):
            if room is not None:
                terms = [(c[to], below[j][of]) for c, below in zip(row, a) if c is not None and below[j] is not None]
                calls += _sum(terms, room[to], held)
                calls.append((np.multiply, *((0, 0) if row[j] is None else (row[j][rest], 1)), room[rest]))
    return calls


def _joined(
    a: Rows, old: Row, out: Row, adds: Row, s: int, m: int, back: bool, held: _Rooms, fixed: bool = False
) -> Calls:
    """Return the calls that add to what steps make of zero what coefficients make of that s steps before."""
    to, of, rest = _apart(s, m, back)
    calls = []
    for row, add in zip(a, adds):
        calls += _sum([(c if fixed else c[to], v[of]) for c, v in zip(row, old) if c is not None], add[to], held)
    for v, add, room in zip(old, adds, out):
        calls.append((np.add, v[to], add[to], room[to]))
        if s == 1:
            calls.append((np.multiply, v[rest], 1, room[rest]))
    return calls


# Joined steps are those s before each other: s doubles from round to round, as in any prefix sum.
def _apart(s: int, m: int, back: bool) -> tuple[slice, slice, slice]:
    """Return the steps that have one s steps before them, those, and the others."""
    ahead, behind = slice(s, m), slice(0, m - s)
    return (behind, ahead, slice(m - s, m)) if back else (ahead, behind, slice(0, s))


def _spans(s: int, m: int, back: bool) -> list[slice]:
    """Return the windows of s steps in the order in which they follow one from the other."""
    return (
        [slice(max(k - s, 0), k) for k in range(m, 0, -s)]
        if back
        else [slice(k, min(k + s, m)) for k in range(0, m, s)]
    )


def _sum(terms: Sequence[tuple[Array, Array]], out: Array, held: _Rooms) -> Calls:
    """Return the calls that write Σ c·v."""
    if not terms:
        return [(np.multiply, 0, 0, out)]
    calls = _times(*terms[0], out)
    spare = _rows(held, "spare", out.shape, out.dtype) if len(terms) > 1 else None
    for c, v in terms[1:]:
        calls += [*_times(c, v, spare), (np.add, out, spare, out)]
    return calls


def _times(c: Array, v: Array, out: Array) -> Calls:
    """Return the calls that write c·v; c may have fewer steps, and go on with its first."""
    if np.ndim(c) < out.ndim or len(c) == 1 or len(c) >= len(out):
        return [(np.multiply, c[: len(out)] if np.ndim(c) == out.ndim else c, v, out)]
    count, rest = divmod(len(out), len(c))
    many, split = count * len(c), (count, len(c))
    calls = [(np.multiply, c, v[:many].reshape(*split, *v.shape[1:]), out[:many].reshape(*split, *out.shape[1:]))]
    return calls + [(np.multiply, c[:rest], v[many:], out[many:])] * (rest > 0)


def _run(calls: Calls) -> None:
    for call, p, q, out in calls:
        call(p, q, out=out)


def _follow(parts: tuple[Any, ...], ends: Row, new: Row, back: bool, held: _Rooms) -> None:
    """Write windows: what each makes of zero, and of the window before; `ends` come before the first."""
    _, spans, pieces, sums, adds = parts
    now = [[v[span] for span in spans] for v in new]
    before = [[end, *v[:-1]] for end, v in zip(ends, now)]
    count = len(now[0][-1])
    if len(spans) > 1:  # the last may be short
        before = [[*v[:-1], v[-1][-count:] if back else v[-1][:count]] for v in before]
    if len(new) == 1 and pieces[0][0] is not None:
        for c, v, own, add, out in zip(pieces[0][0], before[0], sums[0], adds[0], now[0]):
            np.multiply(c, v, out=add)
            np.add(own, add, out=out)
        return
    for k in range(len(spans)):
        for row, add in zip(pieces, adds):
            _run(_sum([(c[k], v[k]) for c, v in zip(row, before) if c is not None and c[k] is not None], add[k], held))
        for out, own, add in zip(now, sums, adds):
            np.add(own[k], add[k], out=out[k])


# A product of coefficients much greater than one would make the rounding of what it multiplies as much greater. The
# recursion step by step has no such product, and is taken then.
def _is_small(a: Rows) -> bool:
    parts = [v for row in a for c in row if c is not None for v in ((c.real, c.imag) if np.iscomplexobj(c) else (c,))]
    return all(v.min() >= -LARGEST_PRODUCT and v.max() <= LARGEST_PRODUCT for v in parts)
