"""The pen of all that is printed of one cell: a notation with the names of its page, as text, as ASCII, or as LaTeX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from symbptt.autodiff.labels import Label
from symbptt.equations.algebra.expressions import Expr
from symbptt.equations.notation.signs import Notation
from symbptt.equations.notation.writing import write


@dataclass(frozen=True)
class Pen:
    """A notation with the names of a page, and what is made of a finished text: words for signs that ASCII lacks."""

    notation: Notation
    words: Callable[[str], str] = str

    def expression(self, e: Expr) -> str:
        """Return an expression as the page has it."""
        return self.words(write(e, self.notation))

    def symbol(self, label: Label) -> str:
        """Return a name with its time as the page has it."""
        return self.words(self.notation.symbol(label))

    def name(self, name: str) -> str:
        """Return the name of the user's for a value, as the page has it without its time."""
        return self.symbol(Label(name, None))
