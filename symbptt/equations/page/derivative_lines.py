"""The choice of derivatives and values with lines of their own, so that no line of a Jacobian is long or repeats another."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count

from symbptt.autodiff.bptt import per_sample
from symbptt.autodiff.chain import Chain
from symbptt.autodiff.labels import TIMES, Label, without_time
from symbptt.autodiff.term import Entry
from symbptt.equations.algebra.expressions import Symbol, normal
from symbptt.equations.algebra.normal import in_normal_form
from symbptt.equations.notation.signs import TEXT
from symbptt.equations.notation.writing import write
from symbptt.equations.page.chains import Definition, Derivatives
from symbptt.ir.graph import Graph
from symbptt.ir.nesting import Nesting

MANY = 12
"""Values with a made name from which on the lines of such values are not parted any more."""
WIDTH, WIDEST = 120, 190
"""Characters from which on a line is parted: where a derivative in it has a value's name, and where it gets a letter."""


def lines(chain: Chain, labels: Mapping[int, Label], of: Label, targets: Mapping[int, Label],
          made: dict[int, Label] | None = None, letters: list[Label] | None = None) -> tuple[Definition, ...]:  # fmt: skip
    """Return the lines of some derivatives and, behind them, those of what stands in them under a name: the derivatives that
    are read more than once or make a line too long, and long values without a name. Names of such values are added to
    `made`, those of derivatives to `letters`, where other lines beside these may have some."""
    made, letters = {} if made is None else made, [] if letters is None else letters
    labels = {**labels, **made}
    for id in _too_long(chain, targets, labels):
        labels[id] = made[id] = _letter(chain, labels, id)
    uses = _uses(chain, targets, ())
    # What is read twice would be printed twice.
    named = {id for id, n in uses.items() if n > 1 or id in targets}
    # Greedy, one name at a time: each new name shortens other lines, which then may need none.
    while True:
        writer = Derivatives(chain, labels, of, _numbered(labels, named, letters))
        shown = {
            **targets,
            **{id: None for id in sorted(named - set(targets), reverse=True) if id in uses},
        }
        found = {
            id: writer.definition(id, writer.named.get(id) if label is None else label) for id, label in shown.items()
        }
        more = _longest(writer, found, named)
        if more is not None:
            named.add(more)
            continue
        value = _long_value(writer, [id for id, line in found.items() if _width(line) > WIDEST], named)
        value = value if value is not None or len(made) > MANY else _long_part(writer, made)
        if value is None:
            break
        labels[value] = made[value] = _letter(chain, labels, value)
    letters += [label for label in writer.named.values() if label is not None]
    values_ = {
        id: Definition(Symbol(labels[id], normal(writer.shape(id))), in_normal_form(writer.lowering.formula(id)))
        for id in made
    }
    read = {x.name for line in found.values() for x in line.right.labels}
    defined: list[Definition] = []
    # Only values that some line reads: a value may have been named for a line that was shortened otherwise.
    for id in sorted(values_, reverse=True):  # what a value reads was made before it
        if made[id].name in read:
            defined.insert(0, values_[id])
            read |= {x.name for x in values_[id].right.labels}
    return (*found.values(), *defined)


def _width(line: Definition) -> int:
    return len(write(line.left, TEXT)) + 3 + len(write(line.right, TEXT))


def _longest(writer: Derivatives, found: Mapping[int, Definition], named: Collection[int]) -> int | None:
    """Return the derivative that is to have a line of its own next: the longest that stands in too long a line."""
    widths = {id: _width(line) for id, line in found.items()}
    inner = [(len(writer.chain.of[x]), x) for id, width in widths.items() for x in _inlined(writer.chain, id, named)
             if width > (WIDTH if _is_told(writer.labels, x) else WIDEST)]  # fmt: skip
    return max(inner)[1] if inner else None


def _uses(chain: Chain, ids: Iterable[int], stops: Collection[int]) -> dict[int, int]:
    """Return the number of times that each derivative is read by those that some derivatives are made of."""
    found: dict[int, int] = {}
    open_, seen = list(ids), set(ids)
    while open_:
        for term in chain.of.get(open_.pop(), ()):
            inner = term.inner
            if inner is None or inner.id == chain.source:
                continue
            found[inner.id] = found.get(inner.id, 0) + 1
            if inner.id not in seen and inner.id not in stops:
                seen.add(inner.id)
                open_.append(inner.id)
    return found


def _inlined(chain: Chain, id: int, named: Collection[int]) -> list[int]:
    return [x for x in _uses(chain, [id], named) if x not in named]


def _is_told(labels: Mapping[int, Label], id: int) -> bool:
    """Answer whether a value has a name of the user's."""
    return id in labels and labels[id].given


def _numbered(labels: Mapping[int, Label], named: Iterable[int], taken: Iterable[Label]) -> dict[int, Label | None]:
    """Return letters that are not taken for the derivatives of values without a name; the others are told by their
    values' names."""
    found: dict[int, Label | None] = {}
    made = list(taken)
    for id in sorted(named):
        label = None if _is_told(labels, id) else fresh_label(labels, made, "J")
        made += [label] if label is not None else []
        found[id] = label
    return found


SHORT, SHORTEST = 24, 6
"""Characters of a formula that needs no name: in matrices, and where its sums are written out."""


def _long_value(writer: Derivatives, ids: Sequence[int], named: Collection[int]) -> int | None:
    """Return the value without a name that has the longest formula in some lines."""
    chain, g = writer.chain, writer.calculus.graph
    read = [x for id in ids for x in [id, *_inlined(chain, id, named)]]
    entries = {f.id for x in read for term in chain.of[x] for f, _ in term.factors if isinstance(f, Entry)}
    found = {x for e in entries for x in _unnamed(g, e, writer.labels)}
    sizes = {x: len(write(writer.lowering.formula(x), TEXT)) for x in found}
    # A scalar sum that is written out inside a product of matrices is hard to read, and gets a name sooner.
    sums = {x for x in found if g[x].family in ("contract", "reduce", "whole") and not g.shape(x)}
    return max(
        (x for x in found if sizes[x] > (SHORTEST if x in sums else SHORT)), key=lambda x: (sizes[x], x), default=None
    )


def _long_part(writer: Derivatives, made: Iterable[int]) -> int | None:
    """Return the value without a name that has the longest formula in too long a line of a value."""
    lowering, g = writer.lowering, writer.calculus.graph
    long = [id for id in made if len(write(lowering.formula(id), TEXT)) > WIDEST]
    sizes = {
        x: len(write(lowering.formula(x), TEXT))
        for id in long
        for arg in g[id].args
        for x in _unnamed(g, arg, writer.labels)
    }
    return max((x for x in sizes if sizes[x] > SHORT), key=lambda x: (sizes[x], x), default=None)


def _unnamed(g: Graph, id: int, labels: Mapping[int, Label]) -> Iterator[int]:
    """Yield the values without a name that stand in the formula of a value, and itself, each once."""
    open_, seen = [id], {id}
    while open_:
        at = open_.pop()
        if at not in labels and g[at].family not in ("leaf", "number"):
            yield at
            open_ += [arg for arg in dict.fromkeys(g[at].args) if arg not in seen]
            seen.update(g[at].args)


def _too_long(chain: Chain, targets: Iterable[int], labels: dict[int, Label]) -> Iterator[int]:
    """Yield the values whose formulas are too long or too deep to be written, each to be named before the next one
    is asked for."""
    g, ids = chain.calculus.graph, {*targets, *_uses(chain, targets, ())}
    entries = {f.id for id in ids for term in chain.of.get(id, ()) for f, _ in term.factors if isinstance(f, Entry)}
    read = set(g.ancestors(entries))
    yield from (id for id in Nesting(g, labels).too_long() if id in read)


def _letter(chain: Chain, labels: Mapping[int, Label], id: int) -> Label:
    return replace(fresh_label(labels, [], "u"), time=0 if _varies(chain, id) else None)


def _varies(chain: Chain, id: int) -> bool:
    return id in per_sample(chain.calculus.graph, chain.calculus.graph.ancestors([id]))


def fresh_label(labels: Mapping[int, Label], others: Sequence[Label], letter: str) -> Label:
    """Return a name for what has none, which is written like none of the others: W1 and W_1 are alike on a page."""
    used = {label.name for label in (*labels.values(), *others)}
    used |= {without_time(name, role) for name in used for role in TIMES}
    used = {name.replace("_", "") for name in used}
    number = next(n for n in count(1) if f"{letter}{n}" not in used)
    return Label(f"{letter}_{number}", None, given=False)
