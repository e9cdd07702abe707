"""Families: lines, and terms of sums, that differ in one part of their names, as those of the gates of an LSTM do.

They are found by comparing expressions; what a cell's names mean is not known here.

Example: the lines a_i = σ(W_i x + b_i), a_f = σ(W_f x + b_f) and a_o = σ(W_o x + b_o).
They differ in names alone; `_differ` finds that the names differ by one ending only, i against f at the
same places. The page then has one line, a_k = σ(W_k x + b_k), k ∈ {i, f, o}.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain

from symbptt.autodiff.labels import TIMES, Label, without_time
from symbptt.equations.algebra.expressions import Expr, OverFamily, Sum, Symbol, plus
from symbptt.equations.algebra.traversal import differ_in_names, mapped_where, relabelled
from symbptt.equations.notation.names import ACCENTS
from symbptt.equations.page.lines import Line

LETTERS = "kjlqrspuvw"
"""Names of the letter that stands for the members of a family, in the order in which they are taken."""


@dataclass
class Letters:
    """The letters of families: one for each set of members, none that is taken."""

    taken: set[str]
    found: dict[frozenset[str], tuple[str, tuple[str, ...]]] = field(default_factory=dict)

    def of(self, values: tuple[str, ...]) -> tuple[str, tuple[str, ...]] | None:
        """Return the letter of a set of members, and these in their order; None where all letters are taken."""
        key = frozenset(values)
        if key not in self.found:
            used = self.taken | {letter for letter, _ in self.found.values()}
            letter = next((x for x in LETTERS if x not in used), None)
            if letter is None:
                return None
            is_counted = all(value.isdecimal() for value in values)
            self.found[key] = (letter, tuple(sorted(values, key=int)) if is_counted else values)
        return self.found[key]


@dataclass(frozen=True)
class Family:
    """Expressions that are alike: which of those that were compared, and the part of a name in which each differs."""

    places: tuple[int, ...]
    values: tuple[str, ...]
    holes: frozenset[Label]
    """Labels of the first member in which it differs from the others."""


def families(compared: Sequence[tuple[Expr, ...]]) -> list[Family]:
    """Return the families among expressions, each of which is in one at most; what is compared is one expression, or both
    sides of a line."""
    # Kinds and size are cached and cheap to compare; all else is compared only where another expression agrees in both.
    rough: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for i, parts in enumerate(compared):
        rough.setdefault(tuple([(e.kinds, e.size) for e in parts]), []).append(i)
    groups = [group for like in rough.values() if len(like) > 1 for group in _alike(compared, like)]
    # In the order of their first members, from which letters are taken.
    return [family for group in sorted(groups) if len(group) > 1 for family in _families(compared, group)]


def _alike(compared: Sequence[tuple[Expr, ...]], like: Sequence[int]) -> list[list[int]]:
    """Return expressions in groups of those that differ in names alone."""
    groups: list[list[int]] = []
    for i in like:
        group = next((x for x in groups if all(map(differ_in_names, compared[x[0]], compared[i]))), None)
        if group is None:
            groups.append([i])
        else:
            group.append(i)
    return groups


def _families(compared: Sequence[tuple[Expr, ...]], group: Sequence[int]) -> Iterator[Family]:
    labels = {i: tuple(chain.from_iterable([e.labels for e in compared[i]])) for i in group}
    open_ = list(group)
    while len(open_) > 1:
        first, *rest = open_
        best: list[tuple[int, str, str, frozenset[int]]] = []
        found = [(i, match) for i in rest if (match := _differ(labels[first], labels[i])) is not None]
        for _, (value, _, places) in found:
            same = [(i, m[0], m[1], m[2]) for i, m in found if m[0] == value and m[2] == places]
            # Reversed, so that of members with the same ending the first in the user's order is taken.
            distinct = {m[2]: m for m in reversed(same)}
            if len(distinct) > len(best):
                best = [m for m in same if distinct[m[2]] == m]
            if len(best) == len(found):
                break  # all that are alike are members
        # What is left may be a family of its own, with another ending at other places.
        open_ = [i for i in rest if i not in {m[0] for m in best}]
        if best:
            value, places = best[0][1], best[0][3]
            holes = frozenset(labels[first][place] for place in places)
            yield Family((first, *(m[0] for m in best)), (value, *(m[2] for m in best)), holes)


def _differ(a: tuple[Label, ...], b: tuple[Label, ...]) -> tuple[str, str, frozenset[int]] | None:
    """Return the one part at the end of names in which two lists of labels differ, and where they do."""
    found: set[tuple[str, str]] = set()
    places = []
    for place, (x, y) in enumerate(zip(a, b, strict=True)):
        if x is y or x == y:
            continue
        ends = _ends(x.name, y.name)
        # The argument of the gate t is a_t, which a page has as a at step t: its ending is no part of its name there. Both
        # expressions are equal but for their names, so that x and y have one time.
        if ends is None or (x.time is not None and (_tells_time(x.name) or _tells_time(y.name))):
            return None
        found.add(ends)
        places.append(place)
    if len(found) != 1:
        return None
    # In tanh(s2) - s2 beside tanh(s2) - s0 a letter for both s2 would say tanh(s0) - s0.
    holes = {a[place] for place in places}
    return (*found.pop(), frozenset(places)) if sum(x in holes for x in a) == len(places) else None


@cache
def _tells_time(name: str) -> bool:
    """Answer whether the end of a name says its time, and is left out on a page."""
    return any(without_time(name, role) != name for role in TIMES)


@cache
def _ends(x: str, y: str) -> tuple[str, str] | None:
    """Return the ends behind the part in which two names agree; both have a beginning and an end. Of z_bar and i_bar, whose accents
    agree, it is the letter below."""
    below = accented(x), accented(y)
    if below[0] is not None and below[1] is not None and below[0][1] == below[1][1]:
        return below[0][0], below[1][0]
    same = 0
    while same < min(len(x), len(y)) and x[same] == y[same]:
        same += 1
    # p10 and p11 are p with two numbers, not p1 with two digits.
    while same and x[same - 1].isdecimal() and (x[same:] + y[same:])[:1].isdecimal():
        same -= 1
    stem = x[:same].rstrip("_")
    ends = x[same:], y[same:]
    # Names without a common stem, as x and h, are no family: a letter in their place would say nothing.
    return ends if stem and all(end.isalnum() for end in ends) else None


def as_member(family: Family, letter: str, e: Expr) -> Expr:
    """Return an expression of the first member as that of any member, which a letter stands for."""
    value = family.values[0]

    def general(x: Symbol) -> Expr:
        if x.label in family.holes:
            name = of_member(x.label.name, value, letter)
            return Symbol(Label(name, x.label.time, x.label.adjoint, mark=x.label.mark, round=x.label.round), x.of)
        return x

    return relabelled(e, general)


def accented(name: str) -> tuple[str, str] | None:
    """Return the letters of a name and the word of their accent, of a name that is no more."""
    head, _, accent = name.rpartition("_")
    return (head, accent) if accent in ACCENTS and head.isalnum() else None


def of_member(name: str, value: str, letter: str) -> str:
    """Return the name of a member with a letter in the place of what tells it from the others."""
    below = accented(name)
    if below is not None and below[0] == value:
        return f"{letter}_{below[1]}"
    stem = name[: len(name) - len(value)].rstrip("_")
    return f"{stem}_{letter}"


def members(name: str, letter: str, values: Iterable[str]) -> Iterator[str]:
    """Yield the names that members of a family may have, of a name with a letter in the place of what tells them apart."""
    below = accented(name)
    for value in values:
        if below is not None and below[0] == letter:
            yield f"{value}_{below[1]}"
        elif name.endswith(f"_{letter}"):
            stem = name.removesuffix(f"_{letter}")
            yield from (f"{stem}{value}", f"{stem}_{value}")


def gathered(lines: Sequence[Line], letters: Letters, in_order: bool) -> list[Line]:
    """Return lines with those of a family as one, in the place of the first. Where lines stand `in_order`, one of them may
    read no value that is defined between the first and the last."""
    plain = [i for i, line in enumerate(lines) if line.relation == "=" and not line.note and not line.family]
    # Members must agree in what they define and in what they read.
    found = families([(lines[i].left, lines[i].right) for i in plain])
    gone: set[int] = set()
    new: dict[int, Line] = {}
    for family in found:
        places = [plain[i] for i in family.places]
        # Members move up to the first line of the family: a value defined between would be read before it is computed.
        if in_order and _reads_between(lines, places):
            continue
        named = letters.of(family.values)
        if named is None or not any(label in family.holes for label in lines[places[0]].left.labels):
            continue
        line = lines[places[0]]
        letter = named[0]
        new[min(places)] = line._replace(
            left=as_member(family, letter, line.left), right=as_member(family, letter, line.right), family=named
        )
        gone |= {*places} - {min(places)}
    return [new.get(i, line) for i, line in enumerate(lines) if i not in gone]


def _reads_between(lines: Sequence[Line], places: Sequence[int]) -> bool:
    first, last = min(places), max(places)
    defined = {label for line in lines[first : last + 1] for label in line.left.labels}
    return any(label in defined for place in places for label in lines[place].right.labels)


def summed(e: Expr, letters: Letters) -> Expr:
    """Return an expression whose sums have terms of a family as one sum over its members."""

    def one(x: Sum) -> Expr:
        if len(x.terms) < 2:
            return x
        terms = list(x.terms)
        for family in families([(term,) for _, term in terms]):
            signs = {terms[i][0] for i in family.places}
            # Terms that differ in one symbol alone, x_a + x_b, are clearer as they stand than as Σ_k x_k.
            named = letters.of(family.values) if len(signs) == 1 and len(family.holes) > 1 else None
            if named is None:
                continue
            first = family.places[0]
            whole = OverFamily(named[0], named[1], as_member(family, named[0], terms[first][1]))
            terms[first] = (terms[first][0], whole)
            for i in family.places[1:]:
                terms[i] = (0, terms[i][1])
        return plus([pair for pair in terms if pair[0]])

    return mapped_where(e, one, Sum)


def names_of_lines(lines: Iterable[Line]) -> set[str]:
    """Return the names of all symbols of some lines."""
    return {label.name for line in lines for side in (line.left, line.right) for label in side.labels}
