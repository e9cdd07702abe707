"""The theorem on vanishing gradients as a statement, in plain text and in LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import sympy as sp

from symbptt.stability.activations.suprema import slope_bound
from symbptt.stability.algebra.atoms import node_of, symbol
from symbptt.stability.algebra.interval import Interval, exactly
from symbptt.stability.algebra.letters import letters_of
from symbptt.stability.algebra.polynomials import Local, local
from symbptt.stability.proofs.bounds import (
    ONE,
    ZERO,
    Factor,
    Greatest,
    One,
    Plus,
    Root,
    Shared,
    Sup,
    Tree,
    folded,
    scalar_ranges,
)
from symbptt.stability.proofs.enclosure import Enclosure, largest
from symbptt.stability.proofs.formulas import (
    LATEX_SIGNS,
    TEXT_SIGNS,
    Formulas,
    expression,
    formulas,
    on_nodes,
    range_of,
    shared,
    written,
)
from symbptt.stability.proofs.gram import turns
from symbptt.stability.proofs.hypotheses import TRIED, every_part, general, is_tried, sizes_in
from symbptt.stability.proofs.invariant_box import local_of
from symbptt.stability.proofs.jumps import declared_text, surrogates
from symbptt.stability.runs.gates import carries, formula_of

EDGE = 1e-12
"""Rounding of numbers that are at most 1."""
LONGEST = 60
"""Characters of a factor that is written out."""
LARGE = 61
"""A size at which is looked whether a bound of 1 grows with the sizes."""
SCALES = 1.0, -1.0, 1e-2, 1e2
"""Factors on drawn parameters: a supremum that is the same with all of them counts as one for all parameters."""
SMALL = 2, 3
"""Sizes at which rotations are looked for."""
NAMES = {"2": "2-norm", "max": "max-norm"}


def text(theorem: Any) -> str:
    """Return a theorem as plain text."""
    f = formulas(local_of(theorem.cell), theorem.norm, theorem.bounded, TEXT_SIGNS, theorem.entries.values())
    lines = [f"Theorem (vanishing gradients of {theorem.cell.name}, {NAMES[theorem.norm]})."]
    lines += [f"Hypothesis: {line}" for line in _hypotheses(f, theorem)]
    scope = "such states" if len(lines) > 1 else "states"
    lines += declared_text(f.of)
    sub = {"2": "₂", "max": "∞"}[theorem.norm]
    state, time, start = _state(f), f.time, f.letters.start
    names = list(f.of.step.next)
    whole = f" of {state} = ({', '.join(map(f.shown, names))})" if len(names) > 1 else ""
    lines += [
        f"For all inputs, all {scope}{whole} and all {time} ≥ {start}:",
        f"    ‖∂{state}_{time}/∂{state}_{start}‖{sub} ≤ η^({time}−{start})",
        "with",
    ]
    lines += [f"    {line}" for line in _rates(f, theorem)]
    simple = _simple(f, theorem)
    if simple:
        norm, limit = simple
        lines += [f"Sufficient for vanishing: {norm} < 1/γ = {limit}.",
                  f"Necessary for exploding: {norm} > 1/γ = {limit}. It is not sufficient."]  # fmt: skip
    elif not _is_never_under_one(f, theorem):
        lines += ["Sufficient for vanishing: η < 1.", "Necessary for exploding: η > 1. It is not sufficient."]
    return "\n".join(lines + _remarks(f, theorem) + for_all_parameters(theorem))


def _surrogates_latex(of: Local) -> list[str]:
    names = [rf"\text{{{name}}}" for name in surrogates(of)]
    return [rf"\text{{with the surrogate, not the true, derivative of }} {', '.join(names)}"] if names else []


def for_all_parameters(theorem: Any) -> list[str]:
    """State the facts that are true whatever the parameters are: a rate of at most 1, elementwise paths that never grow."""
    of = local_of(theorem.cell)
    rates = [_rate(of, theorem, size) for size in TRIED]
    # A bound may be 1 at two small sizes and grow with the size, as √n does; a large prime size shows that.
    if max(rates) <= 1 + EDGE and _rate(of, theorem, LARGE) <= 1 + EDGE:
        return ["For all parameters: no gradient grows, η ≤ 1."] if max(rates) > 1 - EDGE else []
    if _only_turns(of, theorem):
        letters = letters_of(of.step)
        state = letters.whole
        return [f"For all parameters: no gradient grows, ‖∂{state}_{letters.time}/∂{state}_{letters.start}‖₂ ≤ 1."]
    found = carries(theorem.cell)
    inner = local(found.jacobian.step)
    withins = [general(inner, theorem.bounded, sizes_in(of, size)) for size in TRIED]
    lines = []
    for name, block in found.blocks.items():
        ranges = [within.nodes[block.id] for within in withins] if block.id >= 0 else [exactly(1.0)]
        if max(float(r.size.max()) for r in ranges) <= 1 + EDGE:
            lines.append(
                f"For all parameters: the elementwise path of {name} never grows{_factor_range(theorem.cell, name, ranges)}."
            )
    return lines


def _is_number(text: str) -> bool:
    return text.removeprefix("-").replace(".", "", 1).isdecimal()


def _rate(of: Local, theorem: Any, size: int) -> float:
    return float(theorem._norm(theorem._matrix(general(of, theorem.bounded, sizes_in(of, size)))))


def _only_turns(of: Local, theorem: Any) -> bool:
    """Answer whether a step rotates groups of elements, of one length whatever the sizes, and stretches none, for all parameters."""
    widest = set()
    for size in SMALL:  # a greater size costs many times as much, and is not needed where the least one answers
        with np.errstate(all="ignore"):
            known = turns(of, general(of, theorem.bounded, sizes_in(of, size)))
        # The 2-norm of the matrix of block norms bounds that of the Jacobian.
        if known is None or float(np.linalg.norm(known.norms, 2)) > 1 + EDGE:
            return False
        widest.add(max(map(len, known.groups)))
    return len(widest) == 1


def _factor_range(cell: Any, name: str, ranges: list[Interval]) -> str:
    formula = formula_of(cell, name)
    factor, sign, _ = formula.partition(" = ")
    if not sign and (len(formula) > LONGEST or "elementwise" in formula):
        return ""
    if formula == factor and _is_number(factor):
        return f": its factor is {factor}"
    low, high = min(float(r.lo.min()) for r in ranges), max(float(r.hi.max()) for r in ranges)
    if f"{low:g}" == f"{high:g}":
        return f": its factor {factor} is {low:g}"
    return f": {low:g} ≤ {factor} ≤ {high:g}" if low >= 0 else f": |{factor}| ≤ {max(-low, high):g}"


def latex(theorem: Any) -> str:
    """Return a theorem as LaTeX."""
    f = formulas(local_of(theorem.cell), theorem.norm, theorem.bounded, LATEX_SIGNS, theorem.entries.values())
    state, sub = _state(f), {"2": "2", "max": r"\infty"}[theorem.norm]
    time, start = f.time, f.letters.start
    partial = rf"\frac{{\partial {state}_{{{time}}}}}{{\partial {state}_{{{start}}}}}"
    norm = rf"\left\|{partial}\right\|_{{{sub}}}"
    rows = [rf"{norm} \leq \eta^{{{time}-{start}}} \quad ({time} \geq {start})", *_rates(f, theorem)]
    given = _hypotheses(f, theorem)
    names = [f.shown(name) for name in f.of.step.next]
    rows = [*([f"{state} = ({', '.join(names)})"] if len(names) > 1 else []), *rows]
    rows = [*([r"\text{if } " + r",\; ".join(given)] if given else []), *rows]
    rows = [*_surrogates_latex(f.of), *rows]
    simple = _simple(f, theorem)
    if not simple and _is_never_under_one(f, theorem):
        rows.append(
            r"\eta \geq 1 \quad \text{for all parameters: how fast gradients grow at the most, never that they vanish}"
        )
        return "\\begin{gathered}\n  " + " \\\\\n  ".join(rows) + "\n\\end{gathered}"
    left, limit = simple or (r"\eta", "1")
    over = rf"\frac{{1}}{{\gamma}} = {limit}" if simple else "1"
    rows += [rf"\text{{sufficient for vanishing: }} {left} < {over}",
             rf"\text{{necessary, not sufficient, for exploding: }} {left} > {over}"]  # fmt: skip
    return "\\begin{gathered}\n  " + " \\\\\n  ".join(rows) + "\n\\end{gathered}"


def _state(f: Formulas) -> str:
    names = list(f.of.step.next)
    if len(names) > 1:
        return f.letters.state
    return f.shown(names[0])


def _hypotheses(f: Formulas, theorem: Any) -> list[str]:
    found = []
    for name in theorem.bounded:
        if f.signs is TEXT_SIGNS:
            tried = (
                f" (found for sizes of {TRIED[0]} and of {TRIED[1]}, not proven for others)"
                if is_tried(f.of, name)
                else ""
            )
            found.append(f"|{f.shown(name)}_0| ≤ 1; then |{f.shown(name)}_{f.time}| ≤ 1 for all {f.time}{tried}.")
        else:
            tried = rf"\ \text{{(found for sizes of {TRIED[0]} and of {TRIED[1]})}}" if is_tried(f.of, name) else ""
            found.append(rf"|{f.shown(name)}_{{0}}| \leq 1{tried}")
    return found


def _rates(f: Formulas, theorem: Any) -> list[str]:
    """η, and the bounds that it is made of, with those that they share behind them."""
    lines = [*_rates_alone(f, theorem), *(f"{name} = {_whole(f, shared.tree)}" for shared, name in f.names.items())]
    read = {atom for tree in theorem.entries.values() for part in every_part(tree) for atom in _atoms_read(part)}
    return lines + f.definitions(read)


def _atoms_read(part: Tree) -> set[sp.Symbol]:
    if isinstance(part, Factor):
        return {symbol(part.node)}
    return {s for p, _ in part.parts for s in p.free_symbols} if isinstance(part, Sup) else set()


def _rates_alone(f: Formulas, theorem: Any) -> list[str]:
    eta = "η" if f.signs is TEXT_SIGNS else r"\eta"
    names = list(f.of.step.next)
    trees = {pair: tree for pair, tree in theorem.entries.items() if tree != ZERO}
    if simple := _simple(f, theorem):
        gamma = _gamma(f, theorem)
        return [
            f"{eta} = γ {simple[0]},   {gamma}"
            if f.signs is TEXT_SIGNS
            else rf"{eta} = \gamma\, {simple[0]}, \quad {gamma}"
        ]
    if len(names) == 1:
        return [f"{eta} = {_whole(f, tree)}" for tree in trees.values()] or [f"{eta} = 0"]
    if theorem.norm == "max":
        lower = [_lower(f, eta, name) for name in names]
        return [f"{eta} = {f.signs.maximum.format(', '.join(lower))}"] + [
            f"{_lower(f, eta, i)} = {_whole(f, theorem.entries[i, ''])}" for i in names
        ]
    whole = f.signs.norm_two.format("N")
    return [f"{eta} = {whole}"] + [
        f"{_lower(f, 'N', f'{i},{j}')} = {_whole(f, tree)}" for (i, j), tree in trees.items()
    ]


def _lower(f: Formulas, letter: str, name: str) -> str:
    if f.signs is TEXT_SIGNS:
        shown = ",".join(map(f.shown, name.split(",")))
        return f"{letter}_{shown}" if "," not in name else f"{letter}[{shown}]"
    inside = ",".join(map(f.shown, name.split(",")))
    return rf"{letter}_{{{inside}}}"


def _whole(f: Formulas, tree: Tree) -> str:
    return "0" if tree == ZERO else written(f, tree)


def _gates(f: Formulas, tree: Tree) -> set[sp.Symbol]:
    """The values that stay in a formula with their ranges."""
    sums = (part for part in every_part(tree) if isinstance(part, Sup))
    return {s for part in sums for s in shared(f, part) if range_of(f, s)}


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
    """State which values have no bound, and what would give one; that a gate may preserve the state."""
    drawn = _drawn(f.of, theorem.bounded)
    within = drawn[0]
    trees = list(theorem.entries.values())
    lost = _ordered({s for tree in trees for s in _unbounded(tree, within)})
    gates = _ordered({s for tree in trees for s in _gates(f, tree) if node_of(s) not in f.of.fixed})
    found = []
    if lost:
        names = " and ".join(dict.fromkeys(f"|{_shown(f, _unscaled(f, s))}|" for s in lost))
        # That a search finds no bound does not prove that there is none.
        found.append(f"No finite η was found that holds for all inputs: no bound was found on {names}.")
    if _is_never_under_one(f, theorem):
        if "no gradient grows" not in "".join(for_all_parameters(theorem)):
            found.append(
                "η ≥ 1 for all parameters: it says how fast gradients grow at the most, never that they vanish."
            )
    elif max((_floor(tree, drawn) for tree in trees), default=0.0) >= 1:
        gates = gates or _gates_read(f, trees)
        found.append(
            "Where large inputs reach the gates, η ≥ 1: at the ends of their ranges gates and slopes hold the state."
        )
    elif gates:
        found.append(f"A narrower range of {', '.join(_shown(f, s) for s in gates)} gives a smaller η.")
    return found + _examples(
        f, [(s, "(-2, 2)") for s in lost] + [(s, _narrower(within.atoms[s])) for s in gates if s not in lost]
    )


def _narrower(known: Interval) -> str:
    """A range within that of a gate, as an example."""
    low, high = float(known.lo.min()), float(known.hi.max())
    if not np.isfinite([low, high]).all():
        return "(-2, 2)"
    return (
        f"({low + 0.1 * (high - low) / (2 if low < 0 else 1):g}, {high - 0.1 * (high - low) / (2 if low < 0 else 1):g})"
    )


def _is_never_under_one(f: Formulas, theorem: Any) -> bool:
    """Answer whether a bound is 1 or more whatever the parameters and whatever is known of the gates: constants and slopes make it so."""
    # In the middle of their ranges gates neither preserve nor erase a state: a bound that is 1 or more there cannot
    # be blamed on them.
    narrow = [
        replace(within, atoms={s: _middle(f, s, known) for s, known in within.atoms.items()}, found={})
        for within in _drawn(f.of, theorem.bounded)
    ]
    return max((_floor(tree, narrow) for tree in theorem.entries.values()), default=0.0) >= 1


@lru_cache(16)
@np.errstate(all="ignore")
def _drawn(of: Local, bounded: tuple[str, ...]) -> tuple[Enclosure, ...]:
    """Intervals of all values for some parameters, of each of the sizes and signs that are tried."""
    return tuple(general(of, bounded, sizes_in(of, TRIED[0]), scale) for scale in SCALES)


def _middle(f: Formulas, s: sp.Symbol, known: Interval) -> Interval:
    """The middle of the range of a gate."""
    id = node_of(s)
    if id is None or id in f.of.fixed or not np.isfinite(known.size).all():
        return known
    return exactly((known.lo + known.hi) / 2)


def _ordered(symbols: set[Any]) -> list[Any]:
    return sorted(symbols, key=lambda s: (str(s)[0], int(str(s)[1:])))


def _shown(f: Formulas, s: sp.Symbol) -> str:
    return expression(f, s)


def _unscaled(f: Formulas, s: sp.Symbol) -> sp.Expr:
    """Return the value that has a bound where an atom has one: a multiple of a value by a number is as free as the value."""
    return on_nodes(f, s).as_coeff_Mul()[1]


def _gates_read(f: Formulas, trees: list[Tree]) -> list[sp.Symbol]:
    """The named values with a range of their own that the identity is multiplied by."""
    found: set[sp.Symbol] = set()
    for tree in trees:
        for p, part in tree.parts if isinstance(tree, Sup) else ():
            found |= {
                s for s in p.free_symbols if part == ONE and node_of(s) is not None and node_of(s) not in f.of.fixed
            }
    return _ordered(found)


def _examples(f: Formulas, pairs: list[tuple[sp.Symbol, str]]) -> list[str]:
    """Tell how to give bounds as hypotheses, for the values that have a name."""
    names = f.of.graph.names | {id: name for name, id in f.of.step.leaves.items()}
    known = {names[id]: pair for s, pair in pairs if (id := node_of(s)) in names}
    inside = ", ".join(f'"{name}": {pair}' for name, pair in known.items())
    return [f"Bounds that hold at all steps are given as rate(params, {{{inside}}})."] if known else []


def _floor(tree: Tree, drawn: Sequence[Enclosure]) -> float:
    """Return the least value of a bound for large inputs, whatever the norms of parameters are: what it has for all that were drawn."""
    return folded(tree, lambda part, known: _floor_of(part, drawn, known))


def _floor_of(tree: Tree, drawn: Sequence[Enclosure], known: Mapping[Shared, float]) -> float:
    match tree:
        case One():
            return 1.0
        case Shared():
            return known[tree]
        case Plus(parts):
            return sum(_floor_of(part, drawn, known) for part in parts)
        case Greatest(parts):
            return max(_floor_of(part, drawn, known) for part in parts)
        case Root(parts):
            return float(np.linalg.norm([_floor_of(part, drawn, known) for part in parts]))
        case Sup(parts):
            ranges = [scalar_ranges(tree, within) for within in drawn]
            floors = [(p, _floor_of(part, drawn, known)) for p, part in parts]
            return max((_held(p, ranges) * least for p, least in floors if least), default=0.0)
    return 0.0


def _held(p: sp.Expr, ranges: list[dict[sp.Symbol, Interval]]) -> float:
    """The supremum of |p|, nothing where it has none or is not the same for all parameters that were drawn."""
    sizes = [float(largest((p,), [1.0], each)) for each in ranges]
    return min(sizes) if np.isfinite(sizes).all() and max(sizes) - min(sizes) <= EDGE * max(sizes) else 0.0


def _unbounded(tree: Tree, within: Enclosure) -> set[sp.Symbol]:
    """The atoms without a bound in a formula."""
    return {s for part in every_part(tree) for s in _unbounded_in(part, within)}


def _unbounded_in(part: Tree, within: Enclosure) -> set[sp.Symbol]:
    if isinstance(part, Factor):
        return set() if np.isfinite(within.nodes[part.node].size).all() else {symbol(part.node)}
    if not isinstance(part, Sup):
        return set()
    ranges = scalar_ranges(part, within)
    lost = [p for p, _ in part.parts if not np.isfinite(largest((p,), [1.0], ranges))]
    return {s for p in lost for s in p.free_symbols if not np.isfinite(ranges[s].size)}
