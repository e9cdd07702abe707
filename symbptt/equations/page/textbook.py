"""The style "textbook": the lines of the loop, rearranged.

Each transformation takes lines and returns lines of the same meaning: adjoints of states with all that they are made of, the
values at the ends of time, what one line reads folded into it, what is printed twice under a name, families of lines as one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter, is_

from symbptt.autodiff.labels import FIRST, LAST, NEXT, START, Label
from symbptt.equations.algebra.expressions import (
    ONE,
    ZERO,
    Along,
    Blocks,
    Call,
    Count,
    Entries,
    Entry,
    Expr,
    Index,
    Matmul,
    Number,
    Outside,
    Over,
    Power,
    Sum,
    SumOver,
    Symbol,
    Times,
    Total,
    matmul,
    plus,
    times,
)  # fmt: skip
from symbptt.equations.algebra.normal import in_normal_form, is_positive, renamed, signed, with_sign
from symbptt.equations.algebra.traversal import (
    every,
    has,
    kinds_of,
    mapped_where,
    relabelled,
    replaced,
    walk,
    with_parts,
)
from symbptt.equations.notation.signs import text_of
from symbptt.equations.notation.writing import RELATIONS, write
from symbptt.equations.page.families import Letters, accented, gathered, names_of_lines, summed
from symbptt.equations.page.lines import BACKWARD, FORWARD, ONCE, Line, Lines, indexed, with_right
from symbptt.equations.page.quotients import in_terms, is_of_the_next

LONGEST = 14
"""Symbols on the right side of a line into which another is still folded."""
SHORT = 2
"""Symbols of a product that is folded also where one line reads it twice."""
AFTER = {NEXT: 0, FIRST: START}
"""The step before another."""
LARGE = 4_000
"""Symbols and signs of a page on which nothing more gets a name."""
SHORTEST = 5
"""Symbols and signs of an expression that gets a name where it is printed twice."""
SHORTEST_CALL = SHORTEST - 2
"""The same of a function."""
SHORTEST_WHOLE = 2
"""The same of a function of a whole array that is an array, such as a softmax."""
SHORTEST_OFTEN = SHORTEST - 1
"""The same where it is printed more often than twice."""
MADE = (Sum, Over, Call, Matmul, Times, Power, Entries, SumOver)
"""What is computed of other values."""
NAMELESS = kinds_of(Total, Outside)
"""The bits of what never gets a name where it is printed twice: sums over steps, and what comes from outside."""
ELEMENTWISE = kinds_of(Sum, Times, Over, Power, Call, Number, Symbol, Count, Entry, Index)
"""The bits of what has an entry for each entry of what it is made of."""
INDEXED = kinds_of(Index, Entry)
"""The bits of what is written by its entries."""
AS_READ = text_of({})
"""The text of names by themselves, by which it is measured how long a function is to read."""
WIDE = 12
"""Characters, its time apart, of a function of one value that gets a name where it is printed twice."""
SHORT_KINDS = kinds_of(Sum, Times, Number, Symbol, Count)
"""The bits of what needs no name as the argument of a function: a difference, a number times a value."""


def recursion_of(lines: Lines) -> tuple[list[Line], list[Line]]:
    """Return the lines of the adjoints, with the cotangents from step t + 1, and those of the initial states."""
    r = lines.recursion
    loop = lines.backward()
    before = {
        line.left.label.name: line for line in loop if isinstance(line.left, Symbol) and line.left.label.time == -1
    }
    added = {_label(line.left).name: line for line in loop if line.relation == "+="}
    whole = {name: _whole(lines, name, before[name], added.get(name)) for name in r.carry}
    # An input that a loss reads has one line, that of its gradient.
    outputs = [_of_output(lines, name) for name in r.cotangent if name not in r.inputs]
    first = [line for name, line in whole.items() if name not in added]
    rest = [
        whole[_label(line.left).name] if line.relation == "+=" else line
        for line in loop
        if _label(line.left).time != -1
    ]
    defined = {_label(line.left) for line in rest}
    given = [line for line in outputs if _label(line.left) not in defined]
    start = [_at_start(lines, name) for name in r.carry]
    return [*given, *first, *rest], start


def _label(e: Expr) -> Label:
    return e.labels[0]


def _whole(lines: Lines, name: str, before: Line, added: Line | None) -> Line:
    """Return the adjoint of a state: from the loss, from the next step, from this one."""
    symbol = _moved(before.left, {-1: 0})
    assert isinstance(symbol, Symbol)
    id = lines.recursion.recurrent.get(name)
    terms: list[tuple[int, Expr]] = [(1, Outside(Symbol(Label(name, 0), symbol.of)))]
    terms += [(1, _moved(lines.inside(id), {0: NEXT, -1: 0}))] if id is not None else []
    if added is not None:
        right = added.right
        if isinstance(added.left, Entry):
            right = Entries(added.left.indices, right, symbol.of)
        terms.append((1, right))
    return indexed(Line(symbol, lifted(in_normal_form(plus(terms))), BACKWARD))


def _of_output(lines: Lines, name: str) -> Line:
    label = Label(name, 0, adjoint=True, mark=lines.mark)
    shape = lines.page_shape(lines.recursion.cotangent[name])
    return Line(Symbol(label, shape), Outside(Symbol(Label(name, 0), shape)), BACKWARD)


def _at_start(lines: Lines, name: str) -> Line:
    """Return the gradient of an initial state: the outgoing cotangent of step 1."""
    id = lines.recursion.recurrent.get(name)
    left = Symbol(Label(name, START, adjoint=True, mark=lines.mark), lines.page_shape(lines.recursion.carry[name]))
    right = ZERO if id is None else _moved(lines.inside(id), {0: FIRST, -1: START})
    return indexed(Line(left, right, ONCE))


def _moved(e: Expr, times: Mapping[int | None, int]) -> Expr:
    """Return an expression at another step."""

    def later(x: Symbol) -> Expr:
        return x if x.label.time not in times else Symbol(x.label.at(times[x.label.time]), x.of)

    return relabelled(e, later)


# Entries of whole expressions, where one of their parts is written by its entries.


def lifted(e: Expr) -> Expr:
    """Return a sum with arrays by their entries as one array by its entries, where all other terms have some too."""
    found = next((term for _, term in e.terms if isinstance(term, Entries)), None) if isinstance(e, Sum) else None
    if found is None:
        return e
    inner = entry_of(e, found.indices)
    return e if inner is None else Entries(found.indices, in_normal_form(inner), found.of)


def entry_of(e: Expr, at: Sequence[Expr]) -> Expr | None:
    """Return an entry of an elementwise expression; None of another."""
    if not e.shape:
        return e
    match e:
        case Symbol() | Outside():
            return Entry(e, tuple(at))
        case Entries():
            places = dict(zip(e.indices, at, strict=True))
            return mapped_where(e.inner, lambda x: places.get(x, x), Index)
        case Sum() | Times() | Over() | Power():
            inner = [entry_of(part, at) for part in e.parts]
        case Call() if e.of is None:
            inner = [entry_of(part, at) for part in e.parts]
        case _:
            return None
    if any(part is None for part in inner):
        return None
    return with_parts(e, [part for part in inner if part is not None])


def array_of_entries(e: Expr) -> tuple[Expr, tuple[Expr, ...]] | None:
    """Return what is written for one entry as an array, and the indices of the entry: tanh(u) for tanh(u_j); a sum over
    named indices as the array that has it for its entries. None of another expression."""
    free = _free(e)
    if isinstance(e, Entries) and not free:
        return e, ()
    if isinstance(e, SumOver):
        return (renamed(Entries(free, e, tuple([i.of_size for i in free]))), free) if free else (e, ())
    entries = [*every(e, Entry)]
    # Of the same entry of each array, which no index stands beside.
    is_elementwise = not e.kinds & ~ELEMENTWISE and all(x.of is None for x in every(e, Call))
    if not free or not is_elementwise or len([*every(e, Index)]) != len(entries) * len(free):
        return None
    if any(x.indices != free or len(x.array.shape) != len(free) for x in entries):
        return None
    whole = mapped_where(e, lambda x: x.array, Entry)
    return (whole, free) if not any(x.shape for x in every(_without(e), Symbol)) else None


def _without(e: Expr) -> Expr:
    """Return an expression with a number in the place of each entry."""
    return mapped_where(e, lambda x: ONE, Entry)


def _free(e: Expr) -> tuple[Index, ...]:
    """Return the named indices that an expression does not sum over, in the order in which they are written."""
    if not e.kinds & Index.bit:
        return ()
    if isinstance(e, Index):
        return (e,)
    own = e.indices if isinstance(e, SumOver | Along | Entries) else ()
    return tuple(dict.fromkeys(i for part in e.parts for i in _free(part) if i not in own))


# Folding.


def folded(lines: Sequence[Line], kept: set[Label]) -> list[Line]:
    """Return lines with the values that are read once, or are another value, in the place where they are read."""
    found: dict[int, Line] = dict(enumerate(lines))
    # Of each value that may go, the lines that read it, each as often as it does.
    readers: dict[tuple[str, bool], list[int]] = {_value(_label(x.left)): [] for x in lines if _may_go(x, kept)}
    for k, line in found.items():
        _add_reads(readers, k, line)
    for i in list(found):
        line = found[i]
        if not _may_go(line, kept):
            continue
        label = _label(line.left)
        read_in = readers[_value(label)]
        different = dict.fromkeys(sorted(read_in))
        is_alias = isinstance(signed(line.right)[1], Symbol)
        # The weight of a loss, 1 / N, is no longer than a name.
        is_number = not line.right.labels and line.right.size <= SHORT
        is_short = is_number or (len(different) == 1 and _is_short(line.right))
        if not different or not (is_alias or is_short or len(read_in) == 1):
            continue
        # Gates have a line each: in the one line of all that is taken apart nobody would find them.
        if not is_alias and any(_is_row_of_many(found[k].right) for k in different):
            continue
        new = {k: x for k in different if (x := _put(found[k], label, line.right)) is not None}
        is_long = not is_alias and any(_length(x.right) > LONGEST for x in new.values())
        # All readers or none: a value that keeps one reader still needs its line.
        if len(new) < len(different) or is_long:
            continue
        for k in (i, *new):
            for value in {*map(_value, found[k].right.labels)} & readers.keys():
                readers[value] = [other for other in readers[value] if other != k]
        del found[i]
        for k, x in new.items():
            found[k] = x
            _add_reads(readers, k, x)
    return list(found.values())


def inlined(sections: Sequence[Sequence[Line]]) -> list[Line]:
    """Return the lines of the forward pass, the first of the sections, with arguments of functions that symbptt has named where
    they are read, if nothing else reads them and no line has their adjoint: exp(-softplus(a_t)) for exp(u_t)."""
    forward = [*sections[0]]
    reads = Counter([_value(x) for lines in sections for line in lines for x in line.right.labels])
    for label in _made_names(sections):
        if reads[_value(label)] != 1:
            continue
        line = next(x for x in forward if _is_of(x, label))  # what it reads may have been put into it
        i, reader = next(((i, x) for i, x in enumerate(forward) if label in x.right.labels), (0, None))
        new = _put(reader, label, line.right) if reader is not None else None
        if new is not None and _length(new.right) <= LONGEST // 2:
            forward[i] = new
            forward.remove(line)
    return forward


def without_short_names(sections: Sequence[Sequence[Line]]) -> list[list[Line]]:
    """Return sections, the forward pass first, with arguments of functions that symbptt has named and that are shorter than what gets a
    name where it is printed twice in all places where they are read, if no line has their adjoint: log(1 - p_t) for log(u_t)."""
    found = [list(lines) for lines in sections]
    for label in _made_names(sections):
        line = next(x for x in found[0] if _is_of(x, label))
        if line.right.size >= SHORTEST or line.right.kinds & ~SHORT_KINDS:
            continue
        places = {(s, i): x for s, lines in enumerate(found) for i, x in enumerate(lines)
                  if any(_value(label) == _value(own) for own in x.right.labels)}  # fmt: skip
        new = {place: _put(x, label, line.right) for place, x in places.items()}
        if new and all(x is not None for x in new.values()):
            found = [[new.get((s, i)) or x for i, x in enumerate(lines)] for s, lines in enumerate(found)]
            found[0].remove(line)
    return found


def _made_names(sections: Sequence[Sequence[Line]]) -> list[Label]:
    """Return the names that symbptt has given to values of the forward pass whose adjoints have no line."""
    adjoints = {x.name for lines in sections for line in lines for x in line.left.labels if x.adjoint}
    own = [x.left.label for x in sections[0] if isinstance(x.left, Symbol) and x.relation == "="]
    return [x for x in own if not x.given and not x.round and x.name not in adjoints]


def _is_of(line: Line, label: Label) -> bool:
    return isinstance(line.left, Symbol) and line.left.label == label


def _add_reads(readers: Mapping[tuple[str, bool], list[int]], place: int, line: Line) -> None:
    for label in line.right.labels:
        if label.adjoint and (label.name, True) in readers:
            readers[label.name, True].append(place)


def _is_row_of_many(e: Expr) -> bool:
    return isinstance(e, Blocks) and len(e.blocks) > 2


def _is_short(e: Expr) -> bool:
    """Answer whether a value may stand twice in the one line that reads it, as ds does in s ⊙ (ds - sᵀ ds)."""
    return isinstance(e, Times | Matmul) and e.size <= SHORT and not has(e, Over, Total)


_value = attrgetter("name", "adjoint")
"""The value that a label names, at whatever step."""


def _may_go(line: Line, kept: set[Label]) -> bool:
    if not isinstance(line.left, Symbol) or line.relation != "=" or line.note:
        return False
    label = line.left.label
    return label.adjoint and label.time in (0, LAST, None) and label not in kept


def _put(line: Line, label: Label, value: Expr) -> Line | None:
    """Return a line with a value in the place of its name, at the step at which it is read; None where it has no
    place."""

    def put(e: Expr) -> Expr:
        if isinstance(e, Entry) and (isinstance(e.array, Symbol) or _is_odd(e.array)):
            inner = entry_of(e.array, e.indices)
            return e if isinstance(e.array, Symbol) or inner is None else inner
        if isinstance(e, Symbol) and _value(label) == _value(e.label):
            time = e.label.time
            # The folded formula holds at step t; where it is read at t + 1, its "now" becomes t + 1 and its "before" becomes t.
            return _moved(value, {0: time, -1: {0: -1, NEXT: 0, FIRST: START}.get(time, -2)}) if time else value
        return e

    right = mapped_where(line.right, put, Entry, Symbol)
    bad = any(_is_odd(e.array) for e in every(right, Entry))
    # The folded formula would need a step that the page has no sign for.
    late = any(x.time == -2 for x in right.labels)
    return None if bad or late else indexed(with_right(line, lifted(in_normal_form(right))))


def _is_odd(e: Expr) -> bool:
    return isinstance(e, (*MADE, Total))


def _length(e: Expr) -> int:
    return len(e.labels)


# What is positive.


def positive(forward: Iterable[Line]) -> set[str]:
    """Return the names of the values of a forward pass that are positive, whatever it is given."""
    found: set[str] = set()
    for line in forward:
        if isinstance(line.left, Symbol) and is_positive(line.right, found):
            found.add(line.left.label.name)
    return found


# What the terms of a sum share.


def collected(lines: Sequence[Line]) -> list[Line]:
    """Return lines whose sums have what all of their terms share once: g (a - b) for g a - g b, aᵀ (b - c) for aᵀ b - aᵀ c."""
    return [with_right(line, _collected(line.right)) for line in lines]


def _collected(e: Expr) -> Expr:
    found = mapped_where(e, _with_shared, Sum)
    return e if found is e else in_normal_form(found)


def _with_shared(e: Sum) -> Expr:
    if len(e.terms) < 2 or has(e, Outside, Index):
        return e
    terms = [term for _, term in e.terms]
    if all(isinstance(term, Matmul) for term in terms):
        return _with_shared_matrix(e)
    first = terms[0]
    if isinstance(first, Over) and all(isinstance(term, Over) and term.below == first.below for term in terms):
        above = plus([(sign, term.above) for sign, term in e.terms if isinstance(term, Over)])
        return Over(_with_shared(above) if isinstance(above, Sum) else above, first.below)
    factors = [list(term.factors) if isinstance(term, Times) else [term] for term in terms]
    shared = [x for x in factors[0] if not isinstance(x, Number | Count) and all(x in other for other in factors)]
    rests = [_less(other, shared) for other in factors]
    # A term that is nothing but what all share would leave a one behind.
    if not shared or not all(rests):
        return e
    sign = max(sign for sign, _ in e.terms)
    inner = plus([(sign * own, times(rest)) for (own, _), rest in zip(e.terms, rests, strict=True)])
    return with_sign(sign, times([*(x for x in shared if not x.shape), *(x for x in shared if x.shape), inner]))


def _less(factors: Sequence[Expr], shared: Sequence[Expr]) -> list[Expr]:
    left = list(factors)
    for x in shared:
        left.remove(x)
    return left


def _with_shared_matrix(e: Sum) -> Expr:
    """Return a sum of products of matrices that begin or end alike as one."""
    chains = [term.factors for _, term in e.terms if isinstance(term, Matmul)]
    for own in (0, -1):
        rests = [matmul(chain[1:] if own == 0 else chain[:-1]) for chain in chains]
        first = chains[0][own]
        # M v - a M v, a number a row times M v, has no such form: (M - a M) v would add a matrix and a row.
        if first.shape and all(chain[own] == first for chain in chains) and len({x.shape for x in rests}) == 1:
            rest = plus([(sign, x) for (sign, _), x in zip(e.terms, rests, strict=True)])
            inner = _with_shared(rest) if isinstance(rest, Sum) else rest
            return matmul([first, inner] if own == 0 else [inner, first])
    return e


# Names for what is printed twice.


def shared(sections: Sequence[Sequence[Line]], names: Iterable[str]) -> list[list[Line]]:
    """Return the sections forward, backward and others, in which what is printed twice has a name in a line of its own, before
    the first that reads it; of values of the forward pass, there."""
    found, free = [list(lines) for lines in sections], iter(names)
    found[0] = _in_their_order(found[0])
    known = _own_names(found[0])
    known |= _at_other_steps(known, found[1:])
    found[1:] = [_by_name(lines, known) for lines in found[1:]]
    # Each name costs a pass over the whole page, so that naming is quadratic in its length.
    if sum(line.right.size for lines in found for line in lines) > LARGE:
        return found  # of a page that nobody reads, such as that of a cell with hundreds of inner rounds
    # The largest repeated expression first; its parts then occur once less, and often need no name of their own.
    while True:
        read = [x for lines in found for line in lines for x in _long(line.right)]
        forms = _forms(read)
        long = [key for key, _, _ in read]
        # What is equal has equal kinds and size: of all else no hash is needed.
        rough = Counter([(x.kinds, x.size) for x in long])
        counts = Counter([x for x in long if rough[x.kinds, x.size] > 1])
        within = _within(counts, long)
        counts += Counter({e: len(larger) for e, larger in within.items()})
        often = {
            e: n
            for e, n in counts.items()
            if (n > 2 or (n > 1 and (e.size >= SHORTEST or isinstance(e, Call))))
            and (e.size > 2 or e in forms or _is_wide(e))
        }
        # Of (1 + a)² and 1 + a the latter has the name, of 1 - σ(a) and σ(a) too.
        twice = [e for e in often if not (isinstance(e, Power) and e.base in often) and _less_than_one(e) not in often]
        name = next(free, None) if twice else None
        if name is not None and not name.isalpha():
            # u_1 without a time would be read as u at step 1.
            twice = [e for e in twice if any(x.time is not None for x in e.labels)]
        if name is None or not twice:
            return found
        e = max(twice, key=lambda e: e.size)
        found = _named(found, e, name, forms.get(e, {}), within.get(e, ()))


def _less_than_one(e: Expr) -> Expr | None:
    """Return what is taken from one, σ(a) of 1 - σ(a); None of what is no such difference."""
    if isinstance(e, Sum) and len(e.terms) == 2 and e.terms[0] == (1, ONE) and e.terms[1][0] < 0:
        return e.terms[1][1]
    return None


def _within(counts: Mapping[Expr, int], long: Iterable[Expr]) -> dict[Expr, tuple[Times, ...]]:
    """Return products with a cotangent that stand twice by themselves, as in g - mean(g), and the larger ones that have all of
    their factors, as in mean(u ⊙ g)."""
    twice = [e for e, n in counts.items() if n > 1 and isinstance(e, Times) and any(x.adjoint for x in e.labels)]
    products = dict.fromkeys(x for x in long if isinstance(x, Times)) if twice else {}
    return {e: tuple(x for x in products if x != e and _has_factors(x, e)) for e in twice}


def _with_name(whole: Times, part: Expr, name: Symbol) -> Expr:
    """Return a product with a name for those of its factors that are a product by themselves."""
    return times([*_less(whole.factors, part.parts), name])


def _has_factors(whole: Times, part: Times) -> bool:
    return not Counter(part.factors) - Counter(whole.factors)


def _in_their_order(forward: Sequence[Line]) -> list[Line]:
    """Return lines of the forward pass with the values of earlier ones by their names, where their formulas stand
    behind them."""
    own, lines, known = _own_names(forward), [], dict[Expr, Expr]()
    for line in forward:
        lines += _by_name([line], known)
        if own.get(line.right) == line.left:
            known[line.right] = line.left
    return lines


def _own_names(forward: Iterable[Line]) -> dict[Expr, Expr]:
    """Return the names of values by their formulas."""
    return {line.right: line.left for line in forward if _has_own_name(line)}


AT_NEXT: Mapping[int | None, int] = {0: NEXT, -1: 0}
AT_FIRST: Mapping[int | None, int] = {0: FIRST, -1: START}
"""The times of a formula of step t where it is read at step t + 1, and at the first step."""


def _at_other_steps(known: Mapping[Expr, Expr], sections: Iterable[Sequence[Line]]) -> dict[Expr, Expr]:
    """Return formulas of the forward pass by their names at other steps, of those formulas that lines may have there."""
    read = {x for lines in sections for line in lines for x in line.right.labels}
    later, first = _there(known, read, AT_NEXT), _there(known, read, AT_FIRST)
    if not later and not first:
        return {}
    after = {_moved(e, AT_NEXT): _moved(known[e], AT_NEXT) for e in later}
    return after | {_moved(e, AT_FIRST): _moved(known[e], AT_FIRST) for e in first}


def at_the_next(e: Expr) -> Expr:
    """Return an expression of step t at step t + 1."""
    return _moved(e, AT_NEXT)


def at_the_first(e: Expr) -> Expr:
    """Return an expression of step t at the first step."""
    return _moved(e, AT_FIRST)


def _there(formulas: Iterable[Expr], read: Container[Label], times: Mapping[int | None, int]) -> list[Expr]:
    """Return formulas of the forward pass at step t that lines which read such values may have at another step."""
    # A formula of values before the step alone is at the next step one of values of this step: its name would be of the future.
    needed = {0} if times is AT_NEXT else {0, -1}
    found = []
    for e in formulas:
        timed = [x for x in e.labels if x.time is not None]
        moving = [x for x in timed if x.time in needed]
        if moving and all(x.at(times[x.time]) in read for x in moving):
            found.append(e)
    return found


def _by_name(lines: Sequence[Line], known: Mapping[Expr, Expr]) -> list[Line]:
    """Return lines with values by their names."""
    rights = replaced([line.right for line in lines], known)
    return [
        line if right is line.right else with_right(line, in_normal_form(right))
        for line, right in zip(lines, rights, strict=True)
    ]


def _has_own_name(line: Line) -> bool:
    """Answer whether a formula may stand on the page by the name of its value."""
    is_power = isinstance(line.right, Power) and isinstance(line.right.base, Call)
    is_long = _is_worth(line.right) or isinstance(line.right, Call) or is_power
    return is_long and isinstance(line.left, Symbol) and not _is_once_under_a_step(line.left, line.right)


def _is_once_under_a_step(left: Symbol, right: Expr) -> bool:
    """Answer whether a value that is the same at all steps stands under the name of one step, which no line outside a sum may read."""
    return left.label.time is not None and all(label.time is None for label in right.labels)


Read = tuple[Expr, Expr, tuple[Expr, ...]]
"""What may have a name, what stands on the page for it, and at which indices: an entry of it stands for an entry."""


def _long(e: Expr) -> Iterator[Read]:
    """Yield the parts of an expression that are long enough for a name, in the order in which they are written."""
    open_ = [e]
    while open_:
        e = open_.pop()
        if e.size >= SHORTEST_CALL or e.kinds & Call.bit:  # else all that it is made of is shorter still
            whole, at = (e, ()) if not e.kinds & INDEXED else array_of_entries(e) or (None, ())
            if whole is not None and _is_worth(whole, SHORTEST_OFTEN):
                yield whole, e, at
            # What an array has for its entries is no second place of it.
            open_ += (e.inner if isinstance(e, Entries) else e).parts[::-1]


def _forms(read: Iterable[Read]) -> dict[Expr, dict[Expr, tuple[Expr, ...]]]:
    """Return how entries of arrays are written, and at which indices, by the arrays."""
    found: dict[Expr, dict[Expr, tuple[Expr, ...]]] = {}
    for whole, form, at in read:
        if at:
            found.setdefault(whole, {})[form] = at
    return found


def _is_worth(e: Expr, least: int = SHORTEST) -> bool:
    """Answer whether an expression is long enough for a name; a sum over steps has none."""
    function = isinstance(e, Call) and e.name not in RELATIONS
    long_enough = SHORTEST_WHOLE if function else SHORTEST if isinstance(e, Call | Entries) else least
    if e.size < long_enough or e.kinds & NAMELESS:
        return False
    if not isinstance(e, MADE) or (isinstance(e, Sum) and len(e.terms) < 2):
        return False
    times = {label.time for label in e.labels}
    # An expression of two different steps is no value of one step, and could not be computed in its loop.
    return bool(times) and (times <= {0, -1, None} or times <= {LAST, None})


def _is_wide(e: Expr) -> bool:
    """Answer whether a function of one value is too long to be read often, as softmax(scores_t) is, and tanh(c_t) is not."""
    return _is_whole(e) or len(write(relabelled(e, lambda x: Symbol(x.label.at(None), x.of)), AS_READ)) >= WIDE


def _is_whole(e: Expr) -> bool:
    """Answer whether an expression is a function of a whole array that is an array."""
    return isinstance(e, Call) and bool(e.of) and e.size >= SHORTEST_WHOLE


def _named(
    sections: list[list[Line]],
    e: Expr,
    name: str,
    forms: Mapping[Expr, tuple[Expr, ...]],
    larger: Sequence[Times] = (),
) -> list[list[Line]]:
    """Return sections with a name for an expression, and entries of it where one of its `forms` stands; in `larger` products the
    name stands for those of their factors that are its own."""
    times = {x.time for x in e.labels} - {None}
    round_ = _round_of(e)
    label = Label(name, LAST if LAST in times else 0 if times else None, given=False, round=round_)
    symbol, adjoint = Symbol(label, e.shape), any(x.adjoint for x in e.labels)
    s, i = next((s, i) for s, lines in enumerate(sections) for i, line in enumerate(lines)
                if any(x == e or x in forms or x in larger for x in walk(line.right)))  # fmt: skip
    # A value of the forward pass is computed there, even if only the backward pass reads it twice.
    if s > 0 and not adjoint:
        s, i = 0, len(sections[0])
    elif s > 1 and label.time is not None:
        s, i = 1, len(sections[1])
    entries = {form: Entry(symbol, at) for form, at in forms.items()}
    # Innermost first: where the array itself stands by its entries, these have their name before it.
    whole: dict[Expr, Expr] = {Entries(x.indices, x, e.shape): symbol for x in entries.values()}
    table: dict[Expr, Expr] = {e: symbol, **entries, **whole}
    table |= {x: _with_name(x, e, symbol) for x in larger}
    later = table | _at_other_steps(table, sections[1:])
    tables = [table, *[later for _ in sections[1:]]]
    found = [
        [*map(with_right, lines, replaced([line.right for line in lines], known))]
        for lines, known in zip(sections, tables, strict=True)
    ]
    if not adjoint and times == {
        -1
    }:  # at the next step it is of this one, and its name stands where all is of the next
        there = {_moved(e, AT_NEXT): _moved(symbol, AT_NEXT)}
        found[1] = [with_right(x, in_terms(x.right, lambda term: _of_the_next(term, there))) for x in found[1]]
    where = ONCE if label.time is None else (FORWARD, BACKWARD)[min(s, 1)]
    found[s].insert(i, indexed(Line(symbol, e, where, note=_rounds_of(e, sections) if round_ else "")))
    return found


def _of_the_next(term: Expr, table: Mapping[Expr, Expr]) -> Expr:
    return replaced([term], table)[0] if is_of_the_next(term) else term


def _round_of(e: Expr) -> str:
    """Return the letter of the round of a loop inside a step that an expression is of, "" where it is of none or sums over all:
    w_{t,k} = 1 - z_{t,k}² has a value in each round."""
    if isinstance(e, SumOver) and not e.indices and e.condition:
        return ""
    if isinstance(e, Symbol):
        return (e.label.round.partition("+")[0] or "") if not e.label.round.isdigit() else ""
    return next((found for part in e.parts if (found := _round_of(part))), "")


def _rounds_of(e: Expr, sections: Iterable[Iterable[Line]]) -> str:
    """Return the rounds in which an expression has a value: those of the lines of what it reads."""
    read = {label.name for label in e.labels if label.round}
    lines = (line for lines in sections for line in lines if line.note)
    return next((line.note for line in lines if any(x.name in read and x.round for x in line.left.labels)), "")


# The user's order.


def ordered_as(sections: Iterable[Sequence[Line]], model: Iterable[Line]) -> list[list[Line]]:
    """Return sections whose sums have their terms in the order in which the sums of a model have the same ones."""
    # A frozenset of terms is equal for sums in any order.
    orders = {frozenset(e.terms): e for line in model for e in every(line.right, Sum)}
    # SymPy multiplies a number into brackets: 1 + 0.1 (a + b) comes as 1 + 0.1 a + 0.1 b.
    orders = {frozenset(x.terms): e for e in orders.values() if (x := _multiplied_out(e)) is not None} | orders
    # Order and time change neither kinds nor size, which are cheaper to compare.
    rough = {(e.kinds, e.size) for known in orders for e in (Sum(tuple(known)),)}

    def same(e: Sum) -> Expr:
        if (e.kinds, e.size) not in rough:
            return e
        found = orders.get(frozenset(e.terms))
        if found is not None:
            return found
        # A sum of values of step t + 1 alone, as a cotangent from there reads it, stands in the model at step t.
        for there, before in AFTER.items():
            if e.labels and all(x.time in (there, before, None) and not x.adjoint for x in e.labels):
                here = _moved(e, {there: 0, before: -1})
                known = orders.get(frozenset(here.terms)) if isinstance(here, Sum) else None
                return e if known is None else _moved(known, {0: there, -1: before})
        return e

    return [[with_right(line, mapped_where(line.right, same, Sum)) for line in lines] for lines in sections]


def _multiplied_out(e: Sum) -> Sum | None:
    """Return a sum without numbers before brackets; None of one that has no such term."""
    terms: list[tuple[int, Expr]] = []
    for sign, term in e.terms:
        inner = term.factors[-1] if isinstance(term, Times) and len(term.factors) == 2 else None
        if isinstance(inner, Sum) and isinstance(term, Times) and isinstance(term.factors[0], Number):
            terms += [(sign * own, times([term.factors[0], x])) for own, x in inner.terms]
        else:
            terms.append((sign, term))
    found = in_normal_form(plus(terms)) if len(terms) > len(e.terms) else None
    return found if isinstance(found, Sum) else None


def as_written(forward: Iterable[Line], formulas: Iterable[Expr]) -> list[Line]:
    """Return lines of the forward pass with differences as the user's own formulas have them, a minus before the product:
    -u ⊙ (r - q), not u ⊙ (q - r)."""
    lines = list(forward)
    # Most pages have no such product: then no formula is made again.
    if not any(_is_difference(factor) for line in lines for e in every(line.right, Times) for factor in e.factors):
        return lines
    own = {in_normal_form(e) for formula in formulas for e in every(formula, Sum) if len(e.terms) == 2}
    return [with_right(line, _as_written(line.right, own)) for line in lines]


def _is_difference(e: Expr) -> bool:
    """Answer whether an expression is a difference that may have been turned round: 1 - z never is."""
    if not isinstance(e, Sum) or len(e.terms) != 2 or isinstance(e.terms[0][1], Number):
        return False
    return e.terms[0][0] > 0 > e.terms[1][0]


def _as_written(e: Expr, own: Container[Expr]) -> Expr:
    match e:
        case Times():
            return _with_difference(e, own)
        case Sum():
            terms = [(sign, term, *signed(_as_written(term, own))) for sign, term in e.terms]
            is_same = all(term is new for _, term, _, new in terms)
            return e if is_same else plus([(sign * turned, new) for sign, _, turned, new in terms])
        case Over():
            sign, above = signed(_as_written(e.above, own))
            return e if above is e.above else with_sign(sign, Over(above, e.below))
        case Call() if e.of is None:
            new = [_as_written(part, own) for part in e.args]
            return e if all(map(is_, e.args, new)) else Call(e.name, tuple(new), e.of)
    return e


def _with_difference(e: Times, own: Container[Expr]) -> Expr:
    for i, factor in enumerate(e.factors):
        if not isinstance(factor, Sum) or not _is_difference(factor) or factor in own:
            continue
        (_, first), (_, last) = factor.terms
        turned = Sum(((1, last), (-1, first)))
        if turned in own:
            return plus([(-1, times([*e.factors[:i], turned, *e.factors[i + 1 :]]))])
    return e


def as_families(
    sections: Sequence[tuple[str, Sequence[Line], bool]], taken: Iterable[str]
) -> list[tuple[str, list[Line]]]:
    """Return sections with lines, and terms of sums, of a family as one; of each section, whether its order matters."""
    both = [line for _, lines, _ in sections for line in lines]
    indices = {x.name for line in both for x in every(line.right, Index)}
    names = names_of_lines(both)
    heads = {below[0] for name in names if (below := accented(name)) is not None}
    letters = Letters({*taken, *indices, *names, *heads})
    found = [(title, gathered(lines, letters, in_order)) for title, lines, in_order in sections]
    return [(title, [with_right(line, summed(line.right, letters)) for line in lines]) for title, lines in found]
