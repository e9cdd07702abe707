"""A reader of printed Jacobians: it evaluates their lines on numbers, and shares nothing with what printed them.

Each derivative on the left is an array of the shape of the value and that of what it is derived by. Where it stands in
another line, with or without indices, it is that array. `I` is the identity of the one size that fits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import symbptt as sb
from symbptt.ir.shape import named_size
from symbptt.language.init import concrete
from tests import brute
from tests.convolution_page import convolutions_of
from tests.oracle import STEP, one_step
from tests.page import Page, Reader, Symbol, Value, bare, column, letters_of, symbol_of, tokens_of
from tests.readback import as_text, begun
from tests.tape import Tape, gradients

NAME = r"(?:\([^()]+\)|(?![ᵀ²³∂])[^\W\d](?:(?![ᵀ²³])[\w\u0302-\u0307′])*?)"
SUB = r"_(?:\{[^{}]*\}|\w)"
PART = rf"{NAME}(?:{SUB})?"
DERIVATIVE = re.compile(rf"∂({PART})/∂({PART})(?![\w{{])")


class _Reader(Reader):
    """Reads δ and the identity too."""

    eye = 0

    def atom(self) -> Value:
        if self.peek() == "I" and self.tokens[self.pos + 1 : self.pos + 2] != [("(", False)]:
            self.take()
            return np.eye(self.eye)
        return super().atom()

    def entry(self, value: Value, sub: str) -> Value:
        """The derivative of a number is a row, whose entries have one index."""
        is_row = value.ndim == 2 and value.shape[0] == 1 and len(letters_of(bare(sub))) == 1
        return super().entry(value[0] if is_row else value, sub)

    def axis_with(self, letter: str, whole: bool = False) -> int:
        """δ says nothing of how far an index runs."""
        kept, self.tokens = (
            self.tokens,
            [("1", space) if x.startswith("δ_") else (x, space) for x, space in self.tokens],
        )
        try:
            return super().axis_with(letter, whole)
        finally:
            self.tokens = kept

    def symbol(self, token: str) -> Value:
        if token.startswith("δ_"):
            one, other = (self.scope[x] if x in self.scope else self.inner(x) for x in letters_of(bare(token[2:])))
            return np.asarray((one == other) * 1.0)
        return super().symbol(token)


@dataclass
class JacobianPage:
    """Reads the lines of Jacobians of one cell at one step."""

    cell: sb.Cell
    page: Page
    shapes: Mapping[str, tuple[int, ...]]
    found: dict[str, Value] = field(default_factory=dict)
    names: dict[tuple[str, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.page.reader.at = 1
        self.page.reader = self.reader = _Reader(
            self.value,
            self.page.sizes,
            1,
            at=1,
            functions=self.page.reader.functions,
            limits=self.page.limits,
            convolutions=self.page.reader.convolutions,
        )

    def value(self, symbol: Symbol) -> Value:
        if symbol.time is None and symbol.name in self.found:
            return self.found[symbol.name]
        return self.page.value(symbol)

    def plain(self, text: str) -> str:
        """A line with a name in the place of each derivative."""

        def name(match: re.Match[str]) -> str:
            over, under = (self.part(x) for x in match.groups())
            made = self.names.setdefault((over[0], under[0]), f"D{len(self.names)}")
            letters = [*over[1], *under[1]]
            sub = ",".join(letters) if any(len(x) > 1 or not x.isalpha() for x in letters) else "".join(letters)
            return f"({made})_{{{sub}}}" if letters else made

        return DERIVATIVE.sub(name, text)

    def part(self, text: str) -> tuple[str, list[str]]:
        """A symbol above or below, and its indices."""
        match = re.fullmatch(r"\(([^()]+)\)_(\{.*\}|.)", text)
        if match is not None:
            return match[1], letters_of(bare(match[2]))
        head, _, sub = text.partition("_")
        is_entry = sub and symbol_of(text).time is None and not self.reader.is_known(text)
        return (head, letters_of(bare(sub))) if is_entry else (text, [])

    def read(self, text: str) -> None:
        """Evaluate lines, the last first: each needs those that stand below it only."""
        left = [line.strip() for line in text.splitlines() if line.strip() not in ("", "with")]
        self.found.clear()
        self.names.clear()
        for line in left:
            name = self.plain(line.partition(" = ")[0])
            if DERIVATIVE.search(line.partition(" = ")[0]) is None:  # of lines that were read before
                self.page.timed.pop(symbol_of(name).name, None)
                self.page.once.pop(symbol_of(name).name, None)
        waiting = left[::-1]
        while waiting:
            late = [line for line in waiting if not self._read(line)]
            assert len(late) < len(waiting), f"what do these read? {late}"
            waiting = late

    def block(self, text: str, shape: tuple[int, ...]) -> Value:
        """The derivative whose line is the first, in the shape that it should have; a zero stands for zeros."""
        self.read(text)
        first = self.plain(text.splitlines()[0].partition(" = ")[0])
        match = re.fullmatch(r"\((\w+)\)_(\{.*\}|.)", first)
        found = np.asarray(self.found[match[1] if match else first])
        if found.size == 1:
            assert found == 0 or int(np.prod(shape)) == 1, f"a number for {shape}: {text}"
            return np.full(shape, float(found.reshape(())))
        wide = tuple(n for n in shape if n != 1)
        plain = tuple(n for n in found.shape if n != 1)
        assert plain == wide or (found.ndim == 2 and found.size == np.prod(shape)), f"{found.shape} for {shape}: {text}"
        return found.reshape(shape)

    def _read(self, line: str) -> bool:
        left, _, right = self.plain(line).partition(" = ")
        match = re.fullmatch(r"\((\w+)\)_(\{.*\}|.)", left)
        name, letters = (match[1], letters_of(bare(match[2]))) if match else (left, [])
        symbol = symbol_of(name)
        try:
            value = self.of_entries(name, letters, right) if letters else self.whole(name, right)
        except KeyError:
            return False
        except Exception as error:
            error.add_note(line)
            raise
        if symbol.time is None:
            self.found[name] = value
        else:
            self.page.timed.setdefault(symbol.name, {})[1] = value
        return True

    def of_entries(self, name: str, letters: list[str], right: str) -> Value:
        right, *ranges = right.split(",  ")
        reader = self.reader
        reader.scope = {}
        reader.tokens, reader.pos, reader.line = tokens_of(right), 0, right
        shape = self.shape_of(name)
        sizes = dict(zip([x for x in letters if x != "0"], shape, strict=True)) if shape is not None else {}
        sizes |= {part.split("<")[0].strip(): reader.size(part.split("<")[1]) for part in ranges}
        value = reader.of_entries(letters, reader.sum, sizes)
        assert reader.pos == len(reader.tokens), f"{reader.peek()!r} is left over"
        return value

    def shape_of(self, name: str) -> tuple[int, ...] | None:
        """The axes of a derivative that have indices."""
        for (over, under), made in self.names.items():
            if made == name:
                return tuple(n for x in (over, under) for n in np.shape(self.page.value(symbol_of(x))) if n != 1)
        return None

    def whole(self, name: str, right: str) -> Value:
        """A line in matrices, with the identity of the size that fits."""
        shape = self.shape_of(name)
        count = None if shape is None else int(np.prod(shape))
        for size in self.eyes(name):
            self.reader.eye, self.reader.scope = size, {}
            try:
                value = column(np.asarray(self.reader.read(right)))
            except ValueError:
                if size == 0:
                    raise
                continue
            if count is None or value.size in (1, count):
                return value
        raise ValueError(f"no identity fits {right!r}")

    def eyes(self, name: str) -> Iterator[int]:
        shape = self.shape_of(name)
        if shape is not None:
            yield int(np.sqrt(np.prod(shape)))
        yield from sorted({int(n) for s in self.shapes.values() for n in s})
        yield from sorted({2 * int(n) for s in self.shapes.values() for n in s})
        yield 0


def page_of(cell: sb.Cell, sizes: dict[str, int]) -> tuple[JacobianPage, Any]:
    """A page on which the forward lines of one step have been worked through, and its data."""
    data = brute.data_of(cell, 1, 1, sizes)
    sections, names, _, constants = as_text("textbook")(sb.derive(cell))
    page = begun(cell, data, sizes, names)
    page.once |= constants
    page.reader.convolutions = convolutions_of(sb.derive(cell).text())
    page.begin(sections)
    page.section(next(lines for head, lines in sections.items() if head.startswith("Forward")), range(1, 2))
    shapes = {**{k: np.shape(v) for k, v in data.params.items()}, **{k: v.shape[1:] for k, v in data.state.items()}}
    shapes |= {k: v.shape[2:] for k, v in data.inputs.items()}
    return JacobianPage(cell, page, shapes), data


def by_complex_step(cell: sb.Cell, data: Any) -> dict[tuple[str, str], Value]:
    """The derivatives of all that the user's function returns in all that it is given."""
    given = {**data.params, **{k: v[0, 0] for k, v in data.inputs.items()}, **{k: v[0] for k, v in data.state.items()}}
    wanted = [a.name for a in cell.arguments if a.role in ("param", "input", "state") and a.name in given]
    found: dict[tuple[str, str], Value] = {}
    plain = one_step(cell, given)
    for of in wanted:
        for place in np.ndindex(*np.shape(given[of])):
            moved = np.array(given[of], complex)
            moved[place] += 1j * STEP
            for to, value in one_step(cell, given | {of: moved}).items():
                shape = (*np.shape(plain[to]), *np.shape(given[of]))
                array = found.setdefault((to, of), np.zeros(shape))
                array[(..., *place)] = np.imag(value) / STEP
    return found


def by_tape(cell: sb.Cell, data: Any, sizes: dict[str, int]) -> dict[tuple[str, str], Value]:
    """The same by reverse mode over the user's function, of cells that have functions without complex values."""
    given = {**data.params, **{k: v[0, 0] for k, v in data.inputs.items()}, **{k: v[0] for k, v in data.state.items()}}
    known = {named_size(k): n for k, n in sizes.items()}
    # A constant of one number may be an array: the user's function reads its shape.
    given |= {a.name: np.full(concrete(a.shape, known), a.default) for a in cell.arguments
              if a.role == "const" and a.default is not None}  # fmt: skip
    wanted = [a.name for a in cell.arguments if a.role in ("param", "input", "state") and a.name in given]
    tapes = {name: Tape(np.array(given[name], float)) for name in wanted}
    found: dict[tuple[str, str], Value] = {}
    for to, given_back in one_step(cell, given | tapes).items():
        value = given_back if isinstance(given_back, Tape) else np.asarray(given_back)
        rows = [gradients(value[place], [*tapes.values()]) for place in np.ndindex(*np.shape(value))]
        for i, of in enumerate(wanted):
            found[to, of] = np.reshape([row[i] for row in rows], (*np.shape(value), *np.shape(given[of])))
    return found


def assert_jacobians_read(cell: sb.Cell, sizes: dict[str, int], roles: tuple[str, ...] = ("state", "input", "param"),
                          tolerance: float = 1e-10, oracle: Callable[..., Any] = by_complex_step) -> None:  # fmt: skip
    """Each printed block is what its `evaluate` says, and what the user's function does."""
    page, data = page_of(cell, sizes)
    wanted, derivation = oracle(cell, data), sb.derive(cell)
    given = (data.params, {k: v[0, 0] for k, v in data.inputs.items()}, {k: v[0] for k, v in data.state.items()})
    of_role = {a.name for a in cell.arguments if a.role in roles}
    for (to, of), value in wanted.items():
        if of not in of_role:
            continue
        block = derivation.jacobian(to, of)
        scale = max(float(np.max(np.abs(value), initial=0.0)), 1e-9)
        found = block.evaluate(*given)
        assert np.shape(found) == np.shape(value), (to, of)
        assert np.max(np.abs(found - value), initial=0.0) <= tolerance * scale, f"evaluate of {to}, {of}"
        read = page.block(block.text(), np.shape(value))
        error = np.max(np.abs(read - value), initial=0.0)
        assert error <= tolerance * scale, f"{to}, {of}: off by {error:.1e}\n{block.text()}"
