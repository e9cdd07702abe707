"""Line breaking for modules, where Python allows it: between the tokens inside brackets."""

from __future__ import annotations

import textwrap
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import StringIO
from itertools import pairwise

WIDTH = 120
DEEPER = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}
TESTS = ("if", "elif", "while", "assert")
"""Words that begin a statement of one expression."""
JOINTS = {"for", "if", "else", "in", "and", "or", "+", "-", "*", "/", "@", "//", "==", "<=", ">=", "<", ">", "="}
"""Tokens before which a line is broken where commas, sums and differences do not suffice."""


@dataclass(frozen=True)
class Token:
    """A token of a line: its text, its first column, and the number of brackets that are open before it."""

    text: str
    start: int
    depth: int


@dataclass(frozen=True)
class Piece:
    """A part of a line with the spaces behind it, and a flag that a new line may begin with it."""

    text: str
    is_free: bool


def wrapped(line: str) -> list[str]:
    """Return a line, or where it is too long its comment above it and its code over several lines.

    A line is broken only inside brackets, its own ones or some put around one of its sides, and never inside a token,
    so that it stays the same statement; a line without such a place stays long.
    """
    code, mark, comment = line.partition("  # ")
    # The spaces that align comments are the first to go.
    short = f"{code.rstrip()}{mark}{comment}"
    if len(line) <= WIDTH or len(short) <= WIDTH:
        return [line if len(line) <= WIDTH else short]
    indent = " " * (len(code) - len(code.lstrip()))
    return [*(_comment(comment, indent) if mark else []), *_broken(code.strip(), indent)]


def _comment(text: str, indent: str) -> list[str]:
    # A deep indent still leaves a readable width.
    return textwrap.wrap(
        text, max(WIDTH - len(indent) - 2, 40), initial_indent=f"{indent}# ", subsequent_indent=f"{indent}#   "
    )


def _broken(code: str, indent: str) -> list[str]:
    """Return code broken in the first way that leaves no line too long, else in the last."""
    # Ways from the most readable on: the first that fits is the best, and a line for which none fits is still the
    # same statement.
    lines = [f"{indent}{code}"]
    for lines in _ways(code, indent):
        if all(len(line) <= WIDTH for line in lines):
            return lines
    return lines


def _ways(code: str, indent: str) -> Iterator[list[str]]:
    """Yield code over several lines: broken inside its brackets, then by brackets around a side of it, then both at
    finer places."""
    further = f"{indent}    "
    for fine in (False, True):
        if code.startswith("for "):
            yield _loop(code, indent, fine)
        else:
            yield _filled(_pieces(code, fine), indent, further)
            yield _around(code, indent, fine)
    yield _filled(_pieces(code, True), indent, f"{further}    ")


def _around(code: str, indent: str, fine: bool) -> list[str]:
    """Return code with brackets around the value of a statement, or around the targets of an assignment where these are
    long."""
    tokens, further = _tokens(code), f"{indent}    "
    equal = max((token.start for token in tokens if token.text == "=" and not token.depth), default=0)
    if tokens[0].text == "return":
        head, side, tail = "return ", code.removeprefix("return "), ")"
    elif tokens[0].text in TESTS:
        head, side, tail = f"{tokens[0].text} ", code.removeprefix(tokens[0].text).removesuffix(":"), "):"
    elif not equal:
        return _filled(_pieces(code, fine), indent, further)  # a call: it has brackets
    elif equal > WIDTH // 2 and _is_one_target(tokens):
        target = _filled(_pieces(code[:equal], fine, 1), further, further)
        return [f"{indent}(", *target, *_filled(_pieces(code[equal + 1 :].strip(), fine), f"{indent}) = ", further)]
    else:
        head, side, tail = code[: equal + 2], code[equal + 2 :], ")"
    return [f"{indent}{head}(", *_filled(_pieces(side.strip(), fine, 1), further, further), f"{indent}{tail}"]


def _is_one_target(tokens: Sequence[Token]) -> bool:
    """Answer whether a value is assigned once, to one target or to one tuple of them."""
    return sum(token.text == "=" and not token.depth for token in tokens) == 1


def _loop(code: str, indent: str, fine: bool) -> list[str]:
    """Return the head of a loop, the iterable on lines of its own, indented further than the body."""
    further, tokens = f"{indent}        ", _tokens(code)
    at = next(token.start for token in tokens if token.text == "in" and not token.depth)
    opening = next((token.start for token in tokens if token.text == "(" and token.start > at), None)
    closed = opening is None or any(token.start > opening and not token.depth for token in tokens[:-2])
    if opening is None or closed or not code.endswith("):"):
        return _filled(_pieces(code, fine), indent, further)
    target, name, inside = code[len("for ") : at].strip(), code[at + 3 : opening], code[opening + 1 : -2]
    heads = [f"{indent}for {target} in {name}("]
    if len(heads[0]) > WIDTH:
        heads = _filled(_pieces(target, fine, 1), f"{indent}for (", further, f") in {name}(")
    return [*heads, *_filled(_pieces(inside, fine, 1), further, further, "):")]


@lru_cache(64)
def _tokens(code: str) -> tuple[Token, ...]:
    """Return the tokens of one line of code, strings whole. Kept, for each way to break a line asks for them."""
    found, depth, inside = list[Token](), 0, 0
    for token in tokenize.generate_tokens(StringIO(code).readline):
        kind = tokenize.tok_name[token.type]
        # From Python 3.12 on an f-string is a START, tokens of its parts and an END; `inside` counts the open ones.
        inside += kind.endswith("STRING_START")
        if token.string.strip() and inside <= kind.endswith("STRING_START"):
            depth += min(DEEPER.get(token.string, 0), 0) if kind == "OP" else 0
            found.append(Token(token.string, token.start[1], depth))
            depth += max(DEEPER.get(token.string, 0), 0) if kind == "OP" else 0
        inside -= kind.endswith("STRING_END")
    return tuple(found)


def _pieces(code: str, fine: bool = False, depth: int = 0) -> list[Piece]:
    """Return code cut behind commas and before signs, or also before other joints and behind opening brackets.

    `depth` is the number of brackets around it. A new line may begin where one is open.
    """
    tokens = _tokens(code)
    cuts = [
        (token.start, token.depth + depth > 0)
        for before, token in pairwise(tokens)
        if _is_cut(code, before, token, fine)
    ]
    starts = [(0, False), *cuts]
    ends = [*(start for start, _ in cuts), len(code)]
    return [Piece(code[start:end], is_free) for (start, is_free), end in zip(starts, ends, strict=True)]


def _is_cut(code: str, before: Token, token: Token, fine: bool) -> bool:
    """Answer whether code is cut between two tokens: a sign with spaces around it is one between two terms."""
    is_apart, after = code[token.start - 1] == " ", code[token.start + len(token.text) :]
    if is_apart and (before.text == "," or (token.text in "+-" and before.text not in "(," and after.startswith(" "))):
        return True
    return fine and (before.text in ("(", "[", "{") or (is_apart and token.text in JOINTS))


def _filled(pieces: Sequence[Piece], first: str, further: str, tail: str = "") -> list[str]:
    """Return lines as full as possible, the first and the others behind their beginnings; `tail` goes to the last
    piece."""
    lines = [first]
    pieces = [*pieces[:-1], Piece(pieces[-1].text + tail, pieces[-1].is_free)]
    for piece in pieces:
        # An empty line takes any piece, for a break before it would gain nothing.
        if piece.is_free and len(lines[-1]) + len(piece.text.rstrip()) > WIDTH and lines[-1] not in (first, further):
            lines[-1] = lines[-1].rstrip()
            lines.append(further)
        lines[-1] += piece.text
    return [*lines[:-1], lines[-1].rstrip()]
