"""The typed tree of a cell: expressions with their shapes, statements, the cell, its loss. It is written as a file of a user's."""

import re
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

Dims = tuple[str, ...]
"""A shape: sizes as they are annotated, such as ("2*n", "m")."""


@dataclass(frozen=True)
class Term:
    """An expression: its shape and its text, where {0}, {1}, ... stand for its parts. A name has no parts."""

    shape: Dims
    text: str
    parts: tuple["Term", ...] = ()

    def __str__(self) -> str:
        pieces = [(before, field) for before, field, _, _ in string.Formatter().parse(self.text)]
        found = ""
        for i, (before, field) in enumerate(pieces):
            found += before
            if field is None:
                continue
            after = pieces[i + 1][0][:1] if i + 1 < len(pieces) else ""
            part = self.parts[int(field)]
            # An argument of a call or an entry of a list needs no parentheses.
            is_enclosed = found.endswith(("(", "[", ", ")) and after in (")", "]", ",") and after
            found += f"({part})" if part.is_open and not is_enclosed else str(part)
        return found

    @cached_property
    def is_open(self) -> bool:
        """Whether an operator stands outside of all brackets."""
        depth = 0
        for c in self.text:
            depth += (c in "([") - (c in ")]")
            if depth == 0 and c in " -":
                return True
        return False

    @cached_property
    def names(self) -> frozenset[str]:
        """The names that it reads, those of functions too."""
        own = re.findall(r"(?<![\w.])[A-Za-z_]\w*", self.text)
        return frozenset(own).union(*(part.names for part in self.parts))

    @cached_property
    def size(self) -> int:
        return 1 + sum(part.size for part in self.parts)

    def smaller(self, leaves: Callable[[Dims], list["Term"]]) -> Iterator["Term"]:
        """Terms of the same shape with less in them: a name or a part in its place, or the same with a smaller part."""
        if self.parts:
            yield from (leaf for leaf in leaves(self.shape) if leaf != self)
            yield from (part for part in self.parts if part.shape == self.shape)
        for i, part in enumerate(self.parts):
            for less in part.smaller(leaves):
                yield replace(self, parts=(*self.parts[:i], less, *self.parts[i + 1 :]))

    def renamed(self, old: str, new: str) -> "Term":
        """The term with a name in another's place."""
        text = re.sub(rf"(?<![\w.]){old}\b", new, self.text)
        return Term(self.shape, text, tuple(part.renamed(old, new) for part in self.parts))


@dataclass(frozen=True)
class Argument:
    """An argument of a cell or a loss."""

    name: str
    role: str
    shape: Dims
    default: str = ""

    def __str__(self) -> str:
        dims = f'["{" ".join(self.shape)}"]' if self.shape else ""
        return f"{self.name}: {self.role}{dims}" + (f" = {self.default}" if self.default else "")


@dataclass(frozen=True)
class Statement:
    """A local variable, and what is made of it in the rounds of a loop, if any."""

    name: str
    value: Term
    rounds: int = 0
    body: Term | None = None

    @property
    def names(self) -> frozenset[str]:
        return self.value.names | (self.body.names if self.body else frozenset())

    def lines(self) -> list[str]:
        looped = [f"for i in range({self.rounds}):", f"    {self.name} = {self.body}"] if self.body else []
        return [f"{self.name} = {self.value}", *looped]


@dataclass(frozen=True)
class Tree:
    """A cell with a loss: what its states become and what it puts out, by name."""

    arguments: tuple[Argument, ...]
    statements: tuple[Statement, ...]
    following: tuple[tuple[str, Term], ...]
    outputs: tuple[tuple[str, Term], ...]
    as_dict: bool
    loss_arguments: tuple[Argument, ...]
    loss: Term

    @cached_property
    def names(self) -> frozenset[str]:
        """The names that the cell reads."""
        terms = [term for _, term in (*self.following, *self.outputs)]
        return frozenset().union(*(s.names for s in self.statements), *(term.names for term in terms))

    @property
    def signature(self) -> list[Argument]:
        """The arguments in use; states stay, and what has a default stands last."""
        used = [a for a in self.arguments if a.role == "State" or a.name in self.names]
        return [a for a in used if not a.default] + [a for a in used if a.default]

    @property
    def loss_signature(self) -> list[Argument]:
        return [a for a in self.loss_arguments if a.name in self.loss.names]

    @property
    def text(self) -> str:
        """The cell as a function."""
        body = [line for statement in self.statements for line in statement.lines()]
        results = (*self.following, *self.outputs)
        values = ", ".join(f'"{name}": {term}' for name, term in results)
        plain = ", ".join(str(term) for _, term in self.following)
        is_plain = not self.as_dict and not self.outputs
        body.append(f"return {plain}" if is_plain else f"return {{{values}}}")
        return f"def step({', '.join(map(str, self.signature))}):\n" + "".join(f"    {line}\n" for line in body)

    @property
    def loss_text(self) -> str:
        """The loss as a function."""
        return f"def error({', '.join(map(str, self.loss_signature))}):\n    return {self.loss}\n"

    @property
    def file(self) -> str:
        """The file that a user would have written."""
        read = self.names | self.loss.names
        helpers = [text for name, text in HELPERS.items() if name in read]
        head = "import numpy as np\n" + ("import sympy as sp\n" if any("sp." in text for text in helpers) else "")
        roles = sorted({a.role for a in (*self.signature, *self.loss_signature)})
        head += f"\nimport symbptt as sb\nfrom symbptt import {', '.join(roles)}\n\n\n"
        return (
            head + "".join(f"{text}\n\n" for text in helpers) + f"@sb.cell\n{self.text}\n\n@sb.loss\n{self.loss_text}"
        )

    def without(self, name: str) -> "Tree":
        """The tree without a state, whose value is a parameter wherever it was read."""
        arguments = tuple(replace(a, role="Param") if a.name == name else a for a in self.arguments)
        following = tuple((k, v) for k, v in self.following if k != name)
        return replace(self, arguments=arguments, following=following)


HELPERS = {
    "mix": "def mix(gate, a, b):\n    return gate * a + (1 - gate) * b\n",
    "relax": (
        "def relax(v, U, times):\n    for _ in range(times):\n        v = v + 0.5 * np.tanh(U @ v)\n    return v\n"
    ),
    "leak": "def leak(v, target, rate=0.2):\n    return v + rate * (target - v)\n",
    "attend": (
        "def attend(keys, query):\n    weights = sb.softmax(keys @ query / query.shape[0] ** 0.5)\n    return weights @ keys\n"
    ),
    "standard": (
        "def standard(v, eps=1e-2):\n    centred = v - np.mean(v)\n    return centred / np.sqrt(np.mean(centred * centred) + eps)\n"
    ),
    "swish": 'swish = sb.function("swish", lambda v: v / (1 + sp.exp(-3 * v)))\n',
    "spike": 'spike = sb.function("spike", lambda v: sp.Heaviside(v), lambda v: 1 / (1 + 2 * sp.Abs(v)) ** 2)\n',
    "blend": 'blend = sb.function("blend", lambda a, b: sp.sin(a) * b + sp.exp(-(b**2)))\n',
}
"""Functions that a cell may call, as they stand in its file."""
