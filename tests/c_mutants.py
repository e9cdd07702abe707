"""Mistakes in the text of C: a dropped term, a sign, a shifted index, a stale sum, a dropped statement, another array of the same kind."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """A text with one mistake: its kind, the line as it is and as it was."""

    kind: str
    line: str
    before: str
    text: str


def mutants(text: str, begin: str, end: str) -> Iterator[Mutant]:
    """All mistakes in the lines of functions between two pieces of a text."""
    first, last = text.index(begin), text.index(end)
    lines = text[first:last].splitlines()
    arrays = _alike(lines)
    for number, line in enumerate(lines):
        code, comment = line.partition("  //")[0], line.partition("  //")[2]
        if "*restrict" in code or not code.strip().endswith(";") or "return" in code or code.lstrip().startswith("//"):
            continue
        for kind, new in _mistakes(code, arrays):
            if new != code:
                changed = [*lines[:number], f"{new}  //{comment}" if comment else new, *lines[number + 1 :]]
                yield Mutant(kind, new.strip(), code.strip(), text[:first] + "\n".join(changed) + "\n" + text[last:])


def _alike(lines: list[str]) -> dict[str, str]:
    """The arrays of a function by their names, each with another one of the same axes."""
    shapes: dict[str, list[str]] = {}
    for line in lines:
        if "*restrict" in line:
            declared = line.partition("*restrict ")[2].partition(" =")[0]
            name, _, axes = declared.partition(")")
            shapes.setdefault(axes, []).append(name)
    return {name: names[(i + 1) % len(names)] for names in shapes.values() for i, name in enumerate(names)}


def _mistakes(code: str, arrays: dict[str, str]) -> Iterator[tuple[str, str]]:
    left, sign, right = code.partition(" += ") if " += " in code else code.partition(" = ")
    if not sign:
        return
    for a, b in ((" + ", " - "), (" - ", " + ")):
        for at in _places(right, a):
            yield "a sign", f"{left}{sign}{right[:at]}{b}{right[at + 3 :]}"
            yield (
                "a dropped term",
                f"{left}{sign}{right[:at]}{';' if _depth(right, at) == 0 else ')' * _depth(right, at) + ';'}",
            )
    for at in _places(right, "*"):
        yield "a dropped factor", f"{left}{sign}{right[:at]}{')' * _depth(right, at)};"
    if sign == " += ":
        yield "a sum that is not added to", f"{left} = {right}"
    if "[t + 1]" in right:
        yield "a shifted index", f"{left}{sign}{right.replace('[t + 1]', '[t]', 1)}"
    if "[t]" in right:
        yield "a shifted index", f"{left}{sign}{right.replace('[t]', '[0]', 1)}"
    if left.strip().startswith(("const ", "real ")):
        pass
    else:
        yield "a dropped statement", code[: len(code) - len(code.lstrip())] + ";"
    for name, other in arrays.items():
        if f"{name}[" in right and not any(
            right[at - 1].isalnum() or right[at - 1] == "_" for at in _places(right, f"{name}[") if at
        ):
            yield "another array", f"{left}{sign}{right.replace(f'{name}[', f'{other}[', 1)}"


def _places(text: str, part: str) -> list[int]:
    return [i for i in range(len(text)) if text.startswith(part, i)]


def _depth(text: str, at: int) -> int:
    return text[:at].count("(") - text[:at].count(")")
