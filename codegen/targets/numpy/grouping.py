"""Lines that take views or allocate arrays alike, as one line each.

Example: `i = gates[:, 0]` and `f = gates[:, 1]` are `i, f = (gates[:, v] for v in (0, 1))`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from symbptt.codegen.loop_ir.nodes import Buffer
from symbptt.codegen.targets.python.text import listed, tuple_text

LONG = 116


@dataclass(frozen=True)
class Made:
    """A variable and its expression; of a plain slice also the array and the index."""

    name: str
    text: str
    array: str = ""
    index: str = ""


@dataclass(frozen=True)
class Allocated:
    """An array that is allocated: its name, the function, the shape and the type."""

    name: str
    maker: str
    shape: str
    dtype: str

    @property
    def call(self) -> str:
        return f"{self.maker}({self.shape}, {self.dtype})"


def made_lines(made: Sequence[Made]) -> list[str]:
    """Return the lines that take views: slices of one index together, then parts of one array, then others as they come."""
    slices = [m for m in made if m.array]
    found: list[str] = []
    for index in dict.fromkeys(m.index for m in slices):
        group = sorted((m for m in slices if m.index == index), key=lambda m: m.name)
        found.append(_joint([m.name for m in group], [m.array for m in group], index))
    others = [m for m in made if not m.array]
    order = {array: i for i, array in reversed([*enumerate(_array(m.text) for m in others)])}
    # Stable: a view of another view comes after it, for that one's array was met before.
    runs = groupby(sorted(others, key=lambda m: order[_array(m.text)]), key=lambda m: _array(m.text))
    for array, run in runs:
        found += _parts(array, list(run))
    return found


def _joint(names: Sequence[str], arrays: Sequence[str], index: str) -> str:
    if len(names) == 1:
        return f"{names[0]} = {arrays[0]}[{index}]"
    return f"{listed(names)} = (v[{index}] for v in {tuple_text(arrays)})"


def _array(text: str) -> str:
    return text.partition("[")[0] if text.endswith("]") and text.count("[") == 1 and "(" not in text else text


def _parts(array: str, run: Sequence[Made]) -> list[str]:
    """Return parts of one array whose indices differ at one place in one line."""
    plain = [f"{m.name} = {m.text}" for m in run]
    if len(run) < 2:
        return plain
    indices = [m.text[len(array) + 1 : -1].split(", ") for m in run]
    places = [i for i, items in enumerate(zip(*indices, strict=False)) if len(set(items)) > 1]
    if len({len(index) for index in indices}) > 1 or len(places) != 1:
        return plain
    spans = [index[places[0]].split(":") for index in indices]
    if len({len(span) for span in spans}) != 1 or len(spans[0]) > 2 or any("None" in span for span in spans):
        return plain
    names = ["v"] if len(spans[0]) == 1 else ["lo", "hi"]
    index = [*indices[0][: places[0]], ":".join(names), *indices[0][places[0] + 1 :]]
    ends = [[span[0] or "0", *(end or "None" for end in span[1:])] for span in spans]
    values = tuple_text(tuple_text(end) if len(names) > 1 else end[0] for end in ends)
    return [f"{listed(m.name for m in run)} = ({array}[{', '.join(index)}] for {', '.join(names)} in {values})"]


def allocated_lines(made: Sequence[Allocated]) -> list[str]:
    """Return the lines that allocate arrays, equal ones together, and single ones by one function together."""
    # A block of a dozen allocations hides what a function computes: those of one shape stand in one line.
    groups: dict[str, list[Allocated]] = {}
    for m in made:
        groups.setdefault(m.call, []).append(m)
    found, single = list[str](), dict[tuple[str, str], list[Allocated]]()
    for call, group in groups.items():
        if len(group) > 1:
            # A generator calls the function once for each array, where a = b = np.empty(n) would be one array.
            found.append(f"{listed(m.name for m in group)} = ({call} for _ in range({len(group)}))")
        else:
            single.setdefault((group[0].maker, group[0].dtype), []).extend(group)
    for (maker, dtype), group in single.items():
        joined = (
            f"{listed(m.name for m in group)} = ({maker}(v, {dtype}) for v in {tuple_text(m.shape for m in group)})"
        )
        found += [joined] if len(group) > 1 and len(joined) <= LONG else [f"{m.name} = {m.call}" for m in group]
    return found


TYPES = {"float": "dtype", "complex": "_complex(dtype)", "index": "np.intp", "bool": "bool"}
"""The types of elements in the text of a sweep."""


def kind(buffer: Buffer) -> str:
    return TYPES[buffer.dtype]
