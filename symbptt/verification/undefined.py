"""Where a user's function is no number on usual data: at which value, of which arguments, and in which domain it is one.

Example: np.log(p) of a parameter p that is drawn on both sides of zero is NaN; with p positive it is not. A domain is proposed only
where the function has been seen to be finite in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations, islice, product

import numpy as np
import sympy as sp
from sympy.printing.str import StrPrinter

from symbptt.autodiff.bptt import derive
from symbptt.errors import three_lines
from symbptt.ir.node import placeholder
from symbptt.language.cell import Cell, place_of
from symbptt.language.model import Model
from symbptt.verification import oracle
from symbptt.verification.adjoints.tape import Tape, tape_of
from symbptt.verification.objective import loss_of
from symbptt.verification.oracle import Point
from symbptt.verification.regimes import REGIMES, SIZES, point
from symbptt.verification.requests import Asked

PROPOSED = ("positive", "probability")
"""The domains that are tried, in their order."""
USUAL = tuple(regime for regime in REGIMES if regime.name in ("healthy", "contractive", "expansive"))
OR_FINITE = "; or in the cell -1e9 for -inf: where all that a softmax takes is -inf, its values are no numbers"
MOST = 6
"""Arguments of which domains are tried."""


@dataclass(frozen=True)
class Origin:
    """A value that is NaN first: its node, or None where it is a loss; in words, with its line; the arguments it is computed from."""

    id: int | None
    what: str
    place: str
    names: tuple[str, ...]


def undefined(target: Cell | Model, seed: int, asked: Asked) -> str:
    """Return in three lines which value of a target is NaN on usual data, where, and what to write; of one that is never, nothing."""
    origin = _origin(target, seed, asked)
    return "" if origin is None else three_lines(origin.what, origin.place, _cure(target, seed, asked, origin))


def _points(target: Cell | Model, seed: int, asked: Asked) -> Iterator[Point]:
    points = (point(target, regime, SIZES[0], seed + shift, asked) for shift, regime in enumerate(USUAL))
    yield from (near for near in points if near is not None)


def is_defined(target: Cell | Model, near: Point) -> bool:
    """Answer whether no state, no output and no loss of the user's functions is NaN."""
    with np.errstate(all="ignore"):
        states, outputs = oracle.run(target.cell if isinstance(target, Model) else target, near)
        found = [*states.values(), *outputs.values(), *([loss_of(target, near)] if isinstance(target, Model) else [])]
    return not any(np.isnan(v).any() for v in found)


def _origin(target: Cell | Model, seed: int, asked: Asked, regimes: int = 1) -> Origin | None:
    """Return which value is NaN first in some of the usual regimes, if any is."""
    near = next((p for p in islice(_points(target, seed, asked), regimes) if not is_defined(target, p)), None)
    if near is None:
        return None
    cell = target.cell if isinstance(target, Model) else target
    tape = _tape(cell, near)
    step = tape.recursion.step
    found = next(_missing(tape, [*step.next.values(), *step.outputs.values()]), None)
    if found is None:  # a loss: of its own arguments
        loss = target.loss if isinstance(target, Model) else target
        names = tuple(a.name for a in loss.arguments if a.role in ("param", "target"))
        return Origin(None, f"the loss {loss.name} is NaN on usual data", place_of(loss.function).strip(), names)
    t, id = found
    leaves = {leaf: name for name, leaf in step.leaves.items()}
    names = tuple(leaves[arg] for arg in tape.graph.ancestors([id]) if arg in leaves)
    place = f"at {tape.graph[id].place}" if tape.graph[id].place else place_of(cell.function).strip()
    what = f"{cell.name}: {_formula(tape, id, leaves)} is NaN on usual data, first in step {t + 1}"
    return Origin(id, what, place, tuple(name for name in names if _is_drawn(target, name)))


def _formula(tape: Tape, id: int, leaves: dict[int, str]) -> str:
    """Return a value as a formula, dots for what has no name."""
    node = tape.graph[id]
    if node.family != "map":
        return tape.graph.names.get(id, f"a {node.attrs.name}" if node.family == "whole" else "a value")
    known = [leaves.get(arg) or tape.graph.names.get(arg) for arg in node.args]
    # Two values without a name are not the same one, whose difference would be 0.
    names = {placeholder(i): sp.Symbol(name) if name else sp.Dummy("...") for i, name in enumerate(known)}
    return _Dots().doprint(node.attrs.expr.xreplace(names))


class _Dots(StrPrinter):
    """A printer that writes a symbol of its own by its name alone."""

    def _print_Dummy(self, expr: sp.Dummy) -> str:
        return str(expr.name)


def _is_drawn(target: Cell | Model, name: str) -> bool:
    return any(
        a.name == name and a.limit is None and not (a.role == "const" and a.default is not None)
        for a in target.arguments
    )


def _tape(cell: Cell, near: Point) -> Tape:
    with np.errstate(all="ignore"):
        states, _ = oracle.run(cell, near)
    before = {k: np.concatenate([np.asarray(near.state[k])[None], v])[: near.steps] for k, v in states.items()}
    given = oracle.constants(cell, near) | near.params | near.inputs | before
    return tape_of(derive(cell.step), near.sizes, near.steps, near.batch, given)


def _missing(tape: Tape, results: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the steps at which a result is NaN, each with the value that is NaN first."""
    for t in range(tape.steps):
        for id in results:
            if _is_missing(tape, id, t):
                while True:
                    further = [arg for arg in tape.graph[id].args if _is_missing(tape, arg, t)]
                    if not further:
                        break
                    id = further[0]
                if tape.graph[id].family != "leaf":
                    yield t, id


def _is_missing(tape: Tape, id: int, t: int) -> bool:
    array = np.asarray(tape.primal[id]) if id in tape.primal else np.zeros(1)
    return array.dtype.kind == "f" and bool(np.isnan(array[t if len(array) == tape.steps else 0]).any())


def _cure(target: Cell | Model, seed: int, asked: Asked, origin: Origin) -> str:
    """Return what to write: domains in which the function is a number in the usual regimes, if there are any."""
    given, domain = {*asked.inputs, *asked.params}, dict(asked.domain)
    first, left = origin, len(target.arguments)
    while left:
        free = [name for name in origin.names if name not in given and name not in domain][:MOST]
        for proposed in _proposed(free):
            wider = replace(asked, domain={**domain, **proposed})
            following = _origin(target, seed, wider, len(USUAL))
            if following is None:
                words = ", ".join(f"{k!r}: {v!r}" for k, v in wider.domain.items())
                masked = OR_FINITE if _writes_infinity(target) else ""
                return f"say where it is defined: write domain={{{words}}}{masked}"
            if following.id != origin.id:  # a further value has a domain
                domain, origin = dict(wider.domain), following
                break
        else:
            break
        left -= 1
    others = ", ".join(first.names) or "its arguments"
    return f"no domain of {others} was found in which it is a number: pass inputs= and params= at which it is"


def _writes_infinity(target: Cell | Model) -> bool:
    return (target.cell if isinstance(target, Model) else target).has_infinite_numbers


def _proposed(names: list[str]) -> Iterator[dict[str, str]]:
    """Yield domains of one argument, then of two, then the same one of all."""
    for count in (1, 2):
        for some in combinations(names, count):
            yield from (dict(zip(some, words, strict=True)) for words in product(PROPOSED, repeat=count))
    yield from (dict.fromkeys(names, words) for words in PROPOSED)
