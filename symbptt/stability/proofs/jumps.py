"""Steps that jump with their states: spikes and hard resets have no derivative there, and exponents do not see them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp

from symbptt import ops
from symbptt.autodiff.labels import Label
from symbptt.equations.notation.formula import Writer
from symbptt.equations.notation.signs import TEXT
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, placeholder
from symbptt.ir.scalar import tree_of
from symbptt.language.custom_function import evaluate
from symbptt.stability.algebra.atoms import node_of, symbol
from symbptt.stability.algebra.polynomials import Local
from symbptt.stability.proofs.invariant_box import local_of
from symbptt.stability.runs.trajectory import Trajectory

LONGEST = 60
"""Operations in an expression that is evaluated on both sides of a condition, at the most."""
APART = 1e-3
"""The distance at which two runs start, relative to the size of the state, or to 1."""
REACH, POINTS, DRAWS, HALVINGS, WIDER = 7.3, 101, 8, 200, 20
"""A threshold is looked for up to REACH from zero, between so many points, at so many values of all else, so narrowly; and, to
compare, with fewer halvings."""
SHRINKS = 0.1
"""A difference that shrinks to less than this part of itself tends to zero, as that of a root does, however steep."""
SAME = 1e-9
"""Values that differ by less on both sides of it meet there."""


@dataclass(frozen=True)
class FiniteGrowth:
    """Distance of two runs that start `apart` from each other: the factor after `steps` steps, the largest on the way and
    its lag, medians over samples. It needs no derivative."""

    apart: float
    steps: int
    last: float
    peak: float
    peak_lag: int


def surrogates(of: Local) -> dict[str, str]:
    """Return the functions with a declared derivative that states pass through, with the text of that in v."""
    found = {}
    for node in _carried(of):
        for part in sp.preorder_traversal(node.attrs.expr) if node.family == "map" else ():
            if hasattr(part.func, "partials") and getattr(part.func, "declared", False):
                found[part.func.__name__] = _texts(part.func.partials)
    return found


def _texts(partials: Sequence[sp.Expr]) -> str:
    """Derivatives in the placeholders as formulas in v, as the page writes them."""
    g = Graph()
    names = {build.leaf(g, "state", "v" if i == 0 else f"v{i}", ()): i for i in range(len(partials))}
    writer = Writer(g, {id: Label("v" if i == 0 else f"v{i}", None) for id, i in names.items()}, TEXT)
    over = {placeholder(i): placeholder(id) for id, i in names.items()}
    return ", ".join(writer.formula(tree_of(p.xreplace(over))) for p in partials)


def jumps(of: Local) -> bool:
    """Return whether a step jumps where states cross a threshold: by a declared function that does, or where a value of its
    differs on both sides of where a condition changes, tried at random values of all else."""
    moved = of.graph.descendants(of.step.leaves[a.name] for a in of.step.of_role("state") if a.name not in clocks(of))
    carried = [node for node in _carried(of) if node.family == "map" and node.id in moved]
    # A value inside an elementwise expression may jump without harm, as a branch of `where` that meets the other;
    # only values that leave the expression count.
    read = {arg for node in _carried(of) if node.family != "map" for arg in node.args} | {*of.step.next.values()}
    if any(_spikes(part) for node in carried for part in sp.preorder_traversal(node.attrs.expr)):
        return True
    return any(_jumps(of, node, moved) for node in carried if node.id in read)


def declared_text(of: Local) -> list[str]:
    """Name the derivatives that are not those of the functions, and say that a jump has none."""
    found = [
        f"With the surrogate {name}′(v) = {formula}, not the true derivative of {name}: the theorem is on the gradients of training."
        for name, formula in surrogates(of).items()
    ]
    if not found and jumps(of):
        found = [
            "The step jumps where a state crosses a threshold; the theorem is on its derivatives, which no jump has."
        ]
    return found


def clocks(of: Local) -> tuple[str, ...]:
    """Return the states that follow from themselves and from constants alone, as counters do: they are the same in all runs."""
    found = []
    for name, id in of.step.next.items():
        read = [of.graph[i] for i in of.graph.ancestors([id])]
        if all(
            n.attrs.role == "const" or n.attrs.name == name
            for n in read
            if n.family == "leaf" and n.attrs.role != "size"
        ):
            found.append(name)
    return tuple(found) if len(found) < len(of.step.next) else ()


def _carried(of: Local) -> Iterator[Node]:
    wanted = of.graph.ancestors(of.step.next.values())
    return (of.graph[id] for id in wanted if id in of.recurrent)


def _jumps(of: Local, node: Node, moved: Collection[int]) -> bool:
    expr = _expanded(of, node.attrs.expr.xreplace(_over(node)))
    moving = sorted((s for s in expr.free_symbols if node_of(s) in moved), key=str)
    edges = {edge for part in sp.preorder_traversal(expr) if _is_flat(part) for edge in _edges(part)}
    return any(_is_apart(expr, edge, s) for edge in edges for s in moving if s in edge.free_symbols)


def _edges(part: sp.Expr) -> list[sp.Expr]:
    """Return the expressions that are zero where a condition, a sign or a floor changes."""
    if part.func is ops.floor:
        # sin(π x) changes its sign at every whole number, which is where a floor jumps.
        return [sp.sin(sp.pi * part.args[0])]
    if part.func is ops.sign:
        return [part.args[0]]
    return [part.args[0] - part.args[1]] if len(part.args) == 2 and not any(_is_flat(p) for p in part.args) else []


def _is_apart(expr: sp.Expr, edge: sp.Expr, s: sp.Symbol) -> bool:
    """Answer whether a value differs on both sides of a zero of `edge`, found by bisection along s."""
    others = sorted((expr.free_symbols | edge.free_symbols) - {s}, key=str)
    over = {x: placeholder(i) for i, x in enumerate([s, *others])}
    fixed = [v[:, None] for v in np.random.default_rng(0).uniform(0.3, 1.7, (len(others), DRAWS))]

    def at(f: sp.Expr, x: Any) -> Any:
        with np.errstate(all="ignore"):
            return np.broadcast_to(np.asarray(evaluate(f.xreplace(over), [x, *fixed]), float), x.shape)

    grid = np.broadcast_to(np.linspace(-REACH, REACH, POINTS), (DRAWS, POINTS))
    side = at(edge, grid) > 0
    changes = side[:, :-1] != side[:, 1:]
    low, high = (np.where(changes, end, np.nan) for end in (grid[:, :-1], grid[:, 1:]))
    # A continuous function may be steep: its difference falls as the bracket narrows, while that of a jump stays. The
    # difference after WIDER halvings is what the last one is compared with.
    wide = np.zeros(low.shape)
    for i in range(HALVINGS):
        wide = _difference(at(expr, low), at(expr, high)) if i == WIDER else wide
        middle = low / 2 + high / 2
        same = (at(edge, middle) > 0) == side[:, :-1]
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    narrow = _difference(at(expr, low), at(expr, high))
    return bool(((narrow > SAME) & (narrow > SHRINKS * wide)).any())


def _difference(a: Any, b: Any) -> Any:
    with np.errstate(invalid="ignore"):
        return np.abs(a - b)


def _spikes(part: sp.Expr) -> bool:
    """Answer whether a function with a declared derivative is made of conditions."""
    body = getattr(part.func, "expansion", None)
    return (
        body is not None
        and getattr(part.func, "declared", False)
        and any(_is_flat(p) for p in sp.preorder_traversal(body))
    )


def _is_flat(part: sp.Expr) -> bool:
    return bool(getattr(part.func, "flat", False)) and not ops.is_held(part.func)


def _over(node: Node) -> dict[sp.Symbol, sp.Symbol]:
    return {placeholder(i): symbol(arg) for i, arg in enumerate(node.args)}


def _expanded(of: Local, expr: sp.Expr) -> sp.Expr:
    """An expression over values of nodes with elementwise ones written out, up to a length."""
    while True:
        inner = {}
        for s in expr.free_symbols:
            node = of.graph[node_of(s) or 0]
            if node.family == "map" and symbol(node.id) == s:
                inner[s] = node.attrs.expr.xreplace(_over(node))
            elif node.family == "number" and not node.shape and symbol(node.id) == s:
                inner[s] = sp.sympify(node.attrs.value)
        wider = expr.xreplace(inner) if inner else expr
        if not inner or wider.count_ops() > LONGEST:
            return expr
        expr = wider


def finite_growth(run: Trajectory) -> FiniteGrowth:
    """Return the distance of a run and another one that starts a little displaced."""
    size = max(1.0, float(np.sqrt(np.mean(np.square(run.start)))))
    away = np.random.default_rng(0).standard_normal(run.start.shape)
    for name in clocks(local_of(run.of.cell)):
        # Clocks are the same in all runs: displaced ones would compare different systems.
        away[:, run.of.names[name]] = 0
    away *= APART * size / np.linalg.norm(away, axis=-1, keepdims=True)
    with np.errstate(all="ignore"):
        starts = run.start, (run.start + away).astype(run.start.dtype)
        first, second = (run.of.run(run.inputs, run.of.by_name(start), run.steps) for start in starts)
        apart = np.median(np.linalg.norm(np.asarray(second, float) - first, axis=-1), -1) / (APART * size)
    top = int(np.argmax(apart))
    return FiniteGrowth(APART * size, run.steps, float(apart[-1]), float(apart[top]), top + 1)
