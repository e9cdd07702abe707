"""The choice of derivatives and values with lines of their own, so that no line of a Jacobian is long or repeats another."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from symbptt.autodiff.bptt import per_step
from symbptt.autodiff.chain import Chain
from symbptt.autodiff.labels import TIMES, Label, letter_of_rounds, without_time
from symbptt.autodiff.term import Entry
from symbptt.equations.algebra.expressions import Derivative, Expr, Symbol, normal
from symbptt.equations.algebra.lower import Lowering
from symbptt.equations.algebra.normal import in_normal_form
from symbptt.equations.algebra.traversal import every, relabelled
from symbptt.equations.notation.signs import TEXT
from symbptt.equations.notation.writing import write
from symbptt.equations.page.chains import Definition, Derivatives
from symbptt.ir.graph import Graph
from symbptt.ir.nesting import Nesting
from symbptt.ir.rounds import changing, has_rounds

MANY = 12
"""Values with a made name from which on the lines of such values are not parted any more."""
SAID = 14
"""Characters of " for k < 100"."""
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
        labels[id] = made[id] = letter_of(chain, labels, id)
    uses = _uses(chain, targets, ())
    # What is read twice would be printed twice.
    named = {id for id, n in uses.items() if n > 1 or id in targets}
    drafts = _Drafts(chain, labels, of, targets, letters)
    drafts.add(sorted(named))
    # Greedy, one name at a time: each new name shortens other lines, which then may need none.
    while len(made) <= MANY and (again := _repeated(drafts, made)) is not None:
        labels[again] = made[again] = letter_of(chain, labels, again)
        drafts.tell(again)
    while True:
        widths = drafts.widths()
        more = _longest(drafts, widths)
        if more is not None:
            drafts.add([more])
            continue
        value = _long_value(drafts, [id for id, width in widths.items() if width > WIDEST])
        value = value if value is not None or len(made) > MANY else _long_part(drafts, made)
        if value is None:
            if (again := _read_often(drafts, widths)) is None:
                break
            drafts.letter(again)
            continue
        labels[value] = made[value] = letter_of(chain, labels, value)
        drafts.tell(value)
    found = drafts.done(uses)
    letters += drafts.letters.values()
    writer = drafts.writer
    values_ = {
        id: Definition(Symbol(labels[id], normal(writer.shape(id))), in_normal_form(writer.lowering.formula(id)))
        for id in made
    }
    read = {x.name for line in found for x in line.right.labels}
    defined: list[Definition] = []
    # Only values that some line reads: a value may have been named for a line that was shortened otherwise.
    for id in sorted(values_, reverse=True):  # what a value reads was made before it
        if made[id].name in read:
            defined.insert(0, values_[id])
            read |= {x.name for x in values_[id].right.labels}
    return (*found, *defined)


@dataclass(frozen=True)
class _Draft:
    """A line before letters have their numbers: its right side as text, its width without letters, the derivatives that it has
    by a letter, as often as they stand in it, those that are written out in it, and the values without a name in it."""

    line: Definition
    text: str
    width: int
    lettered: tuple[int, ...]
    inlined: frozenset[int]
    values: frozenset[int]


FIRST = 10**6
"""The number from which on letters are numbered while lines are drafted: by their values, so that none changes with another."""


class _Drafts:
    """The lines of derivatives while names are chosen. A new name changes the lines alone in which stood what it names: only
    these are written again, so that all names of a step of many inner rounds do not cost the square of the rounds."""

    def __init__(self, chain: Chain, labels: Mapping[int, Label], of: Label, targets: Mapping[int, Label],
                 taken: Iterable[Label]) -> None:  # fmt: skip
        self.chain, self.labels, self.of, self.targets = chain, labels, of, targets
        self.taken = tuple(taken)
        # What goes through the rounds of a loop stands under its name in all lines.
        self.named: dict[int, Label | None] = dict.fromkeys(chain.told)
        self.of_letter: dict[Label, int] = {}
        self.rounds: dict[int, str] = {}
        self.drafts: dict[int, _Draft] = {}
        self.writer = Derivatives(chain, labels, of, self.named)
        self.formulas: dict[int, str] = {}

    def add(self, ids: Iterable[int]) -> None:
        """Give derivatives lines of their own."""
        new = set(ids)
        for id in new:
            self.named[id] = None if _is_told(self.labels, id) else self._lettered(id)
        changed = {id for id, draft in self.drafts.items() if not draft.inlined.isdisjoint(new)}
        self._write(changed | new | {id for id in self.targets if id not in self.drafts})

    def letter(self, id: int) -> None:
        """Give a derivative a letter in the place of its value's name."""
        self.named[id] = self._lettered(id)
        self._write([x for x, draft in self.drafts.items() if x == id or id in _uses(self.chain, [x], self.named)])

    def _lettered(self, id: int) -> Label:
        label = Label(f"J_{FIRST + id}", None, given=False)
        self.of_letter[label], self.rounds[id] = id, _round_of(self.chain.calculus.graph, id)
        return label

    def tell(self, value: int) -> None:
        """Write the lines again in which a value stood that has a name now."""
        # What makes expressions of values keeps what it has made, under the names of then.
        self.writer = Derivatives(self.chain, self.labels, self.of, self.named)
        changed = self.chain.calculus.graph.descendants([value])
        self.formulas = {id: text for id, text in self.formulas.items() if id not in changed}
        self._write([id for id, draft in self.drafts.items() if value in draft.values])

    def _write(self, ids: Iterable[int]) -> None:
        for id in ids:
            self.drafts[id] = self._draft(id)

    def _draft(self, id: int) -> _Draft:
        line = self.writer.definition(id, self.targets.get(id) or self.named.get(id))
        lettered = [label for side in (line.left, line.right) for label in side.labels if label in self.of_letter]
        inlined = _inlined(self.chain, id, self.named)
        text = write(line.right, TEXT)
        return _Draft(
            line,
            text,
            widest([line]) - sum(len(label.name) for label in lettered),
            tuple(self.of_letter[label] for label in lettered),
            frozenset(inlined),
            frozenset(self._values([id, *inlined])),
        )

    def _values(self, ids: Iterable[int]) -> Iterator[int]:
        g, of = self.chain.calculus.graph, self.chain.of
        entries = {f.id for id in ids for term in of.get(id, ()) for f, _ in term.factors if isinstance(f, Entry)}
        for id in entries:
            yield from _unnamed(g, id, self.labels)

    @property
    def letters(self) -> dict[int, Label]:
        """The letters of the derivatives of values without a name, numbered in the order of their values."""
        lettered = sorted(self.of_letter.values())
        found = zip(lettered, fresh_labels(self.labels, self.taken, "J"), strict=False)
        return {id: label._replace(round=self.rounds[id]) for id, label in found}

    def widths(self) -> dict[int, int]:
        """Return the width of each line."""
        letters = {id: len(label.name) for id, label in self.letters.items()}
        return {id: draft.width + sum([letters[x] for x in draft.lettered]) for id, draft in self.drafts.items()}

    def done(self, uses: Mapping[int, int]) -> list[Definition]:
        """Return the lines, with the numbers of their letters: those of the targets, then of what they read, the last first."""
        order = [
            *self.targets,
            *sorted((id for id in self.named if id in uses and id not in self.targets), reverse=True),
        ]
        letters = self.letters
        names = {label: letters[id] for label, id in self.of_letter.items()}

        def numbered(x: Symbol) -> Expr:
            return Symbol(names[x.label], x.of) if x.label in names else x

        found = [self.drafts[id].line for id in order]
        return [Definition(relabelled(x.left, numbered), relabelled(x.right, numbered)) for x in found]

    def formula(self, id: int) -> str:
        """Return the formula of a value as text."""
        if id not in self.formulas:
            self.formulas[id] = write(self.writer.lowering.formula(id), TEXT)
        return self.formulas[id]

    def size_of(self, id: int) -> int:
        """Return the width of the formula of a value."""
        return len(self.formula(id))


def _longest(drafts: _Drafts, widths: Mapping[int, int]) -> int | None:
    """Return the derivative that is to have a line of its own next: the longest that stands in too long a line."""
    of = drafts.chain.of
    inner = [(len(of[x]), x) for id, width in widths.items() if width > WIDTH for x in drafts.drafts[id].inlined
             if width > (WIDTH if _is_told(drafts.labels, x) else WIDEST)]  # fmt: skip
    return max(inner)[1] if inner else None


def _read_often(drafts: _Drafts, widths: Mapping[int, int]) -> int | None:
    """Return the derivative with the name of a value that stands most often in too long a line: a letter is shorter."""
    told = {drafts.labels[x]: x for x, label in drafts.named.items()
            if label is None and x in drafts.drafts and x not in drafts.targets}  # fmt: skip
    found = [
        told[e.over.labels[0]]
        for id, width in widths.items()
        if width > WIDEST
        for e in every(drafts.drafts[id].line.right, Derivative)
        if e.over.labels[0] in told
    ]
    return max(found, key=lambda x: (found.count(x), x), default=None)


def widest(lines: Iterable[Definition]) -> int:
    """Return the characters of the longest line, with the words that say in which rounds it holds."""
    return max(
        (len(write(x.left, TEXT)) + 3 + len(write(x.right, TEXT)) + SAID * _is_of_rounds(x) for x in lines), default=0
    )


def _is_of_rounds(line: Definition) -> bool:
    """Answer whether a line may hold in each round of a loop inside the step."""
    return any(x.round and not x.round.isdigit() for x in (*line.left.labels, *line.right.labels))


def _uses(chain: Chain, ids: Iterable[int], stops: Collection[int]) -> dict[int, int]:
    """Return the number of times that each derivative is read by those that some derivatives are made of."""
    found: dict[int, int] = {}
    open_, seen = list(ids), set(ids)
    while open_:
        for term in chain.of.get(open_.pop(), ()):
            inner = term.inner
            if inner is None or inner.id == chain.source or inner.id in chain.told:
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


SHORT, SHORTEST = 24, 6
"""Characters of a formula that needs no name: in matrices, and where its sums are written out."""


REPEATED = ((2, SHORT), (3, SHORT // 2))
"""How often a value may not stand in lines with a formula of more than so many characters."""


def _repeated(drafts: _Drafts, made: Iterable[int]) -> int | None:
    """Return the value without a name whose formula is the longest that is printed again and again."""
    texts = [*(draft.text for draft in drafts.drafts.values()), *map(drafts.formula, made)]
    # Values of the step alone, not weights that derivatives are made of: these are their lines.
    step = set(drafts.chain.calculus.graph.ancestors([*drafts.targets]))
    values = sorted({x for draft in drafts.drafts.values() for x in draft.values if x in step})
    return max(
        (x for x in values if (n := sum(text.count(drafts.formula(x)) for text in texts)) > 1
         and any(n >= most and drafts.size_of(x) > width for most, width in REPEATED)),
        key=lambda x: (drafts.size_of(x), x), default=None,
    )  # fmt: skip


def read_again(chains: Sequence[Chain], labels: Mapping[int, Label], of: Iterable[int]) -> Iterator[int]:
    """Yield the values without a name, among the values of a step, that several derivatives read and whose formulas are long; no
    value that another one of them is made of."""
    if not chains:
        return
    g, step = chains[0].calculus.graph, set(of)
    read: dict[int, int] = {}
    for chain in chains:
        entries = {
            f.id for terms in chain.of.values() for term in terms for f, _ in term.factors if isinstance(f, Entry)
        }
        for id in {x for entry in entries for x in _unnamed(g, entry, labels)} & step:
            read[id] = read.get(id, 0) + 1
    lowering = Lowering(g, labels)
    inside: set[int] = set()
    # What reads others was made after them.
    for id in sorted((x for x, n in read.items() if n > 1), reverse=True):
        if id not in inside and len(write(lowering.formula(id), TEXT)) > SHORT:
            yield id
            inside |= set(g.ancestors([id]))


def _long_value(drafts: _Drafts, ids: Sequence[int]) -> int | None:
    """Return the value without a name that has the longest formula in some lines; a short one where all others have names."""
    g = drafts.chain.calculus.graph
    sizes = {x: drafts.size_of(x) for id in ids for x in drafts.drafts[id].values}
    # A scalar sum that is written out inside a product of matrices is hard to read, and gets a name sooner.
    sums = {x for x in sizes if g[x].family in ("contract", "reduce", "whole") and not g.shape(x)}
    long = [x for x in sizes if sizes[x] > (SHORTEST if x in sums else SHORT)]
    return max(long or (x for x in sizes if sizes[x] > SHORTEST), key=lambda x: (sizes[x], x), default=None)


def _long_part(drafts: _Drafts, made: Iterable[int]) -> int | None:
    """Return the value without a name that has the longest formula in too long a line of a value."""
    g = drafts.chain.calculus.graph
    long = [id for id in made if drafts.size_of(id) > WIDEST]
    sizes = {x: drafts.size_of(x) for id in long for arg in g[id].args for x in _unnamed(g, arg, drafts.labels)}
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


def letter_of(chain: Chain, labels: Mapping[int, Label], id: int) -> Label:
    """Return a name for a value without one."""
    label = next(fresh_labels(labels, [], "u")).at(0 if _varies(chain, id) else None)
    return label._replace(round=_round_of(chain.calculus.graph, id))


def _round_of(g: Graph, id: int) -> str:
    """Return the letter of the round of a loop inside the step that a value is of, "" where it is of none."""
    return letter_of_rounds(g) if has_rounds(g) and changing(g, g.ancestors([id]))[id] else ""


def _varies(chain: Chain, id: int) -> bool:
    return id in per_step(chain.calculus.graph, chain.calculus.graph.ancestors([id]))


def fresh_labels(labels: Mapping[int, Label], others: Sequence[Label], letter: str) -> Iterator[Label]:
    """Yield names for what has none, which are written like none of the others: W1 and W_1 are alike on a page."""
    used = {label.name for label in (*labels.values(), *others)}
    used |= {without_time(name, role) for name in used for role in TIMES}
    used = {name.replace("_", "") for name in used}
    return (Label(f"{letter}_{n}", None, given=False) for n in count(1) if f"{letter}{n}" not in used)
