"""The theorem on vanishing gradients as a statement, in plain text and in LaTeX."""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp

from symbptt.derive.labels import Label
from symbptt.render.notation import LATEX, TEXT
from symbptt.stability.bounds import ZERO, Count, Factor, Greatest, Plus, Sup, Times, Tree, scalar_ranges
from symbptt.stability.box import local_of
from symbptt.stability.enclosure import Enclosure, largest
from symbptt.stability.formula import LATEX_SIGNS, TEXT_SIGNS, Formulas, expression, formulas, shared, written
from symbptt.stability.hypotheses import TRIED, general, sizes_in
from symbptt.stability.local import Local, node_of
from symbptt.stability.suprema import slope_bound

NAMES = {"2": "2-norm", "max": "max-norm"}


def text(theorem: Any) -> str:
    """Return a theorem as plain text."""
    f = formulas(local_of(theorem.cell), theorem.norm, theorem.bounded, TEXT_SIGNS)
    lines = [f"Theorem (vanishing gradients of {theorem.cell.name}, {NAMES[theorem.norm]})."]
    lines += [f"Hypothesis: {line}" for line in _hypotheses(f, theorem)]
    sub = {"2": "₂", "max": "∞"}[theorem.norm]
    state = _state(f)
    scope = "states" if not theorem.bounded else "such states"
    lines += [f"For all inputs, all {scope} and all t ≥ k:", f"    ‖∂{state}_t/∂{state}_k‖{sub} ≤ η^(t−k)", "with"]
    lines += [f"    {line}" for line in _rates(f, theorem)]
    simple = _simple(f, theorem)
    if simple:
        norm, limit = simple
        lines += [f"Sufficient for vanishing: {norm} < 1/γ = {limit}.",
                  f"Necessary for exploding: {norm} > 1/γ = {limit}. It is not sufficient."]  # fmt: skip
    else:
        lines += ["Sufficient for vanishing: η < 1.", "Necessary for exploding: η > 1. It is not sufficient."]
    return "\n".join(lines + _remarks(f, theorem))


def latex(theorem: Any) -> str:
    """Return a theorem as LaTeX."""
    f = formulas(local_of(theorem.cell), theorem.norm, theorem.bounded, LATEX_SIGNS)
    state, sub = _state(f), {"2": "2", "max": r"\infty"}[theorem.norm]
    partial = rf"\frac{{\partial {state}_{{t}}}}{{\partial {state}_{{k}}}}"
    rows = [rf"\left\|{partial}\right\|_{{{sub}}} \le \eta^{{t-k}} \quad (t \ge k)", *_rates(f, theorem)]
    given = _hypotheses(f, theorem)
    rows = [*([r"\text{if } " + r",\; ".join(given)] if given else []), *rows]
    simple = _simple(f, theorem)
    left, limit = simple or (r"\eta", "1")
    over = rf"\frac{{1}}{{\gamma}} = {limit}" if simple else "1"
    rows += [rf"\text{{sufficient for vanishing: }} {left} < {over}",
             rf"\text{{necessary, not sufficient, for exploding: }} {left} > {over}"]  # fmt: skip
    return "\\begin{gathered}\n  " + " \\\\\n  ".join(rows) + "\n\\end{gathered}"


def _state(f: Formulas) -> str:
    names = list(f.of.step.next)
    if len(names) > 1:
        return "s"
    return names[0] if f.signs is TEXT_SIGNS else LATEX.symbol(Label(names[0], None))


def _hypotheses(f: Formulas, theorem: Any) -> list[str]:
    found = []
    for name in theorem.bounded:
        if f.signs is TEXT_SIGNS:
            found.append(f"|{name}_0| ≤ 1; then |{name}_t| ≤ 1 for all t.")
        else:
            found.append(rf"|{LATEX.symbol(Label(name, None))}_{{0}}| \le 1")
    needed = {id for tree in theorem.entries.values() for id in _read(f.of, tree)}
    return [line for name, line in zip(theorem.bounded, found, strict=True) if f.of.step.leaves[name] in needed]


def _read(of: Local, tree: Tree) -> set[int]:
    """The nodes whose ranges a bound reads."""
    match tree:
        case Factor():
            return set() if tree.node in of.fixed else set(of.graph.ancestors([tree.node]))
        case Times(parts) | Plus(parts) | Greatest(parts):
            return {id for part in parts for id in _read(of, part)}
        case Sup(parts):
            found = {id for _, part in parts for id in _read(of, part)}
            for p, _ in parts:
                for s in p.free_symbols:
                    found |= _sources(of, s)
            return found
    return set()


def _sources(of: Local, s: sp.Symbol) -> set[int]:
    id = node_of(s)
    if id is not None:
        return set() if of.graph[id].family == "map" and _has_own_range(of, id) else set(of.graph.ancestors([id]))
    return set() if of.atoms[s].slope_of else {x for inner in of.atoms[s].expr.free_symbols for x in _sources(of, inner)}


def _has_own_range(of: Local, id: int) -> bool:
    """Whether a value is a function with a bounded range, such as a gate."""
    return getattr(of.graph[id].attrs.expr.func, "__name__", "") in ("sigmoid", "tanh", "erf", "sin", "cos", "atan")


def _rates(f: Formulas, theorem: Any) -> list[str]:
    """η, and the bounds that it is made of."""
    eta = "η" if f.signs is TEXT_SIGNS else r"\eta"
    names = list(f.of.step.next)
    trees = {pair: tree for pair, tree in theorem.entries.items() if tree != ZERO}
    if simple := _simple(f, theorem):
        gamma = _gamma(f, theorem)
        return [f"{eta} = γ {simple[0]},   {gamma}" if f.signs is TEXT_SIGNS else rf"{eta} = \gamma\, {simple[0]}, \quad {gamma}"]
    if len(names) == 1:
        return [f"{eta} = {_whole(f, tree)}" for tree in trees.values()] or [f"{eta} = 0"]
    if theorem.norm == "max":
        lower = [_lower(f, eta, name) for name in names]
        return [f"{eta} = {f.signs.maximum.format(', '.join(lower))}"] + [
            f"{_lower(f, eta, i)} = {_whole(f, theorem.entries[i, ''])}" for i in names
        ]
    whole = f.signs.norm_two.format("N")
    return [f"{eta} = {whole}"] + [f"{_lower(f, 'N', f'{i},{j}')} = {_whole(f, tree)}" for (i, j), tree in trees.items()]


def _lower(f: Formulas, letter: str, name: str) -> str:
    if f.signs is TEXT_SIGNS:
        return f"{letter}_{name}" if "," not in name else f"{letter}[{name}]"
    inside = ",".join(LATEX.symbol(Label(part, None)) for part in name.split(","))
    return rf"{letter}_{{{inside}}}"


def _whole(f: Formulas, tree: Tree) -> str:
    """A bound with the ranges of the gates that stay in its formula."""
    if tree == ZERO:
        return "0"
    ranges = [_range(f, s) for s in sorted(_gates(f, tree), key=lambda s: int(s.name[1:]))]
    body = written(f, tree)
    if not ranges:
        return body
    if f.signs is TEXT_SIGNS:
        return f"sup {{ {body} : {', '.join(ranges)} }}"
    below = r",\; ".join(ranges)
    return rf"\sup_{{{below}}} \left({body}\right)"


def _gates(f: Formulas, tree: Tree) -> set[sp.Symbol]:
    match tree:
        case Times(parts) | Plus(parts) | Greatest(parts):
            return {s for part in parts for s in _gates(f, part)}
        case Sup(parts):
            return {s for _, part in parts for s in _gates(f, part)} | set(shared(f, tree))
    return set()


def _range(f: Formulas, s: sp.Symbol) -> str:
    le = "≤" if f.signs is TEXT_SIGNS else r"\le"
    name = expression(f, s)
    within = f.general[0].atoms[s]
    lo, hi = float(within.lo.min()), float(within.hi.max())
    if np.isfinite(lo) and np.isfinite(hi) and lo == round(lo) and hi == round(hi):
        return f"{lo:g} {le} {name} {le} {hi:g}"
    low, high = ("min {0}", "max {0}") if f.signs is TEXT_SIGNS else (r"\min {0}", r"\max {0}")
    return name if node_of(s) not in f.of.fixed else f"{low.format(name)} {le} {name} {le} {high.format(name)}"


def _simple(f: Formulas, theorem: Any) -> tuple[str, str] | None:
    """Pascanu's case: one slope times one matrix. The norm of the matrix, and 1/γ."""
    trees = list(theorem.entries.values())
    name = _slope(f.of, trees[0]) if len(trees) == 1 else None
    if name is None or not np.isfinite(slope_bound(name).value):
        return None
    known = slope_bound(name)
    limit = 1 / known.exact if known.exact is not None and known.exact.is_Rational else None
    return written(f, trees[0].parts[0][1]), str(limit) if limit is not None else f"{1 / known.value:.6g}"


def _slope(of: Local, tree: Tree) -> str | None:
    if not isinstance(tree, Sup) or len(tree.parts) != 1 or not isinstance(tree.parts[0][1], Factor):
        return None
    p = tree.parts[0][0]
    return of.atoms[p].slope_of or None if p in of.atoms else None


def _gamma(f: Formulas, theorem: Any) -> str:
    name = _slope(f.of, theorem.entries[next(iter(theorem.entries))]) or ""
    known = slope_bound(name)
    value = str(known.exact) if known.exact is not None and known.exact.is_Rational else f"{known.value:.8g}"
    if f.signs is TEXT_SIGNS:
        return f"γ = sup |{name}′| = {value}."
    function = FUNCTIONS.get(name) or rf"\mathrm{{{name}}}"
    return rf"\gamma = \sup |{function}'| = {value}"


FUNCTIONS = {"tanh": r"\tanh", "sigmoid": r"\sigma", "sin": r"\sin", "arctan": r"\arctan"}


def _remarks(f: Formulas, theorem: Any) -> list[str]:
    """What no bound holds for, and what would give one; that a gate may hold the state."""
    within = general(f.of, theorem.bounded, sizes_in(f.of, TRIED[0]), parameters=True)
    lost = sorted({name for tree in theorem.entries.values() for name in _unbounded(f, tree, within)})
    if lost:
        names = " and ".join(lost)
        are = "is" if len(lost) == 1 else "are"
        return [f"Without more hypotheses η is infinite: {names} {are} not bounded for all inputs.",
                "With bounds that hold at all steps it is finite: rate(params, bounds={name: (lo, hi)})."]  # fmt: skip
    gates = {expression(f, s) for tree in theorem.entries.values() for s in _gates(f, tree) if node_of(s) not in f.of.fixed}
    if gates:
        return [f"A tighter range of {', '.join(sorted(gates))} gives a smaller η: rate(params, bounds={{name: (lo, hi)}})."]
    return []


def _unbounded(f: Formulas, tree: Tree, within: Enclosure) -> set[str]:
    """The values without a bound in a formula, as it names them."""
    match tree:
        case Factor() if not np.isfinite(within.nodes[tree.node].size).all():
            return {f.signs.notation.call("abs", [f.writer.symbol(tree.node)])}
        case Times(parts) | Plus(parts) | Greatest(parts):
            return {name for part in parts for name in _unbounded(f, part, within)}
        case Sup(parts):
            found = {name for _, part in parts for name in _unbounded(f, part, within)}
            ranges = scalar_ranges(tree, within)
            for p, _ in parts:
                if not np.isfinite(largest((p,), [1.0], ranges)):
                    found |= {_named(f, s) for s in p.free_symbols if not np.isfinite(ranges[s].size)}
            return found
    return set()


def _named(f: Formulas, s: sp.Symbol) -> str:
    return f.signs.notation.call("abs", [expression(f, s)])
