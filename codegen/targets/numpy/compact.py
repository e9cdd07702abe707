"""Shortening of one function of a module: composed views, and arrays that are allocated or sliced alike in one line.

Example: `a = np.empty((T, B), dtype)` and the same for b become `a, b = (np.empty((T, B), dtype) for _ in range(2))`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise, takewhile

from symbptt.codegen.targets.numpy.text import SUM, listed, tightness, tuple_text
from symbptt.syntax import NAME

ASSIGNED = re.compile(rf"(?P<indent> *)(?P<name>{NAME}(?: = {NAME})*) = (?P<value>.+)")
VIEW = re.compile(rf"(?P<array>{NAME})(?P<rest>[.\[].*)")
PART = re.compile(rf"(?P<array>{NAME})\[(?P<index>[^\[\]]*)\]")
ONE = re.compile(r"\[(\d+):(\d+)\]\[0\]")
MADE = re.compile(r"(?:np\.empty|np\.zeros|ws\.room)\(.*\)")
WORD = re.compile(NAME)
CALL = re.compile(r" *np\.[\w.]+\(")
WIDTH, LONG, LINE = 58, 100, 116


@dataclass(frozen=True)
class Line:
    """A line: its code, its comment, and of an assignment to one variable its indent, that variable, and the value."""

    code: str
    comment: str
    indent: str = ""
    name: str = ""
    value: str = ""


def compact(lines: Sequence[str]) -> list[str]:
    """Return the lines of a function in which lines that only slice or allocate arrays are merged."""
    found = _inlined(_composed([_line(text) for text in lines]))
    shapes = {line.name: _axes(line.value) for line in found if line.value.startswith("np.zeros(")}
    parts: Callable[[list[Line]], list[Line]] = lambda run: _split(run, shapes) or _joint_parts(run)  # noqa: E731
    for alike, joined in (
        (_made, _joint_rooms),
        (_maker, _rooms_of_shapes),
        (_same_index, _joint_views),
        (_same_array, parts),
    ):
        found = _grouped(found, alike, joined)
    return [f"{line.code:<{WIDTH}}  # {line.comment}" if line.comment else line.code for line in found]


def _line(text: str) -> Line:
    code, _, comment = text.partition("  # ")
    code = code.rstrip()
    match = ASSIGNED.fullmatch(code)
    if match is None:
        return Line(code, comment, code[: len(code) - len(code.lstrip())])
    return Line(code, comment, match["indent"], match["name"], match["value"])


def _composed(lines: list[Line]) -> list[Line]:
    """Return the lines with each view that only one other view reads composed with that one."""
    uses, free = Counter(word for line in lines for word in WORD.findall(line.code)), dict[str, str]()
    for i in range(len(lines)):
        line = lines[i]
        inside = VIEW.fullmatch(line.value)
        # Two uses are the line itself and one reader.
        if inside is None or not _is_view(line) or uses[line.name] != 2:
            continue
        for j in range(i + 1, len(lines)):
            reader = VIEW.fullmatch(lines[j].value)
            if not lines[j].name or lines[j].indent != line.indent:
                break
            if reader is not None and reader["array"] == line.name:
                value = ONE.sub(_entry, line.value + reader["rest"])
                code = f"{lines[j].indent}{lines[j].name} = {value}"
                lines[j], lines[i] = replace(lines[j], code=code, value=value), Line("", "")
                free[lines[j].name] = line.name
                break
    return [_renamed(line, free) for line in lines if line.code]


def _entry(part: re.Match[str]) -> str:
    """Return the first entry of a part."""
    # [2:5][0] is [2]; [2:2][0] is an error, which must stay one.
    return f"[{part[1]}]" if int(part[2]) > int(part[1]) else part[0]


def _inlined(lines: list[Line]) -> list[Line]:
    """Return the lines with each view that one call outside of inner loops reads written there, where that stays short."""
    uses = Counter(word for line in lines for word in WORD.findall(line.code))
    for i in reversed(range(len(lines))):
        view = lines[i]
        if ")" not in view.value or not _is_view(view) or view.comment or uses[view.name] != 2:
            continue  # plain parts of arrays stand together
        j = _reader(view, lines[i + 1 :])
        code = "" if j is None else _written_for(view, lines[i + 1 + j].code)
        if j is not None and len(code) <= LONG:
            lines[i], lines[i + 1 + j] = Line("", ""), replace(lines[i + 1 + j], code=code)
    return [line for line in lines if line.code]


def _reader(view: Line, later: Sequence[Line]) -> int | None:
    """Return the position of the call that reads a view, where that is in the same block of lines."""
    inside = takewhile(lambda item: not item[1].code or item[1].indent >= view.indent, enumerate(later))
    found = next((item for item in inside if view.name in WORD.findall(item[1].code)), None)
    is_call = found is not None and found[1].indent == view.indent and CALL.match(found[1].code) is not None
    return found[0] if found is not None and is_call else None


def _written_for(view: Line, code: str) -> str:
    return WORD.sub(lambda word: view.value if word[0] == view.name else word[0], code)


def _renamed(line: Line, free: Mapping[str, str]) -> Line:
    """Return a line with the names that composed views leave free, given to their results."""
    new: Callable[[str], str] = lambda text: WORD.sub(lambda word: free.get(word[0], word[0]), text)  # noqa: E731
    return Line(new(line.code), line.comment, line.indent, new(line.name), new(line.value))


def _is_view(line: Line) -> bool:
    """Answer whether a line only looks at an array, by an index or a method that makes no copy."""
    rest = re.sub(r"\.(?:swapaxes|reshape|transpose)\([^()]*(?:\([^()]*\))?[^()]*\)|\[[^\[\]]*\]", "", line.value)
    return bool(WORD.fullmatch(rest)) and " = " not in line.name


def _grouped(
    lines: Sequence[Line], alike: Callable[[Line], object], joined: Callable[[list[Line]], list[Line]]
) -> list[Line]:
    """Return the lines with neighbours of equal keys merged; a key of None is equal to nothing."""
    found: list[Line] = []
    for key, group in groupby(lines, lambda line: None if alike(line) is None else (line.indent, alike(line))):
        run = list(group)
        found += joined(run) if key is not None and len(run) > 1 and _apart(run) else run
    return found


def _apart(run: Sequence[Line]) -> bool:
    """Answer whether no line reads a variable that another assigns."""
    # In one assignment the right side is computed before any name is set.
    names = {line.name for line in run}
    return not any(word in names for line in run for word in WORD.findall(line.value))


def _assigned(run: Sequence[Line], value: str, comment: str = "") -> Line:
    names = [line.name for line in run]
    return Line(f"{run[0].indent}{listed(names)} = {value}", comment, run[0].indent, "", value)


def _made(line: Line) -> object:
    """Return the call that allocates an array, as the key of lines that allocate alike."""
    return line.value if MADE.fullmatch(line.value) and not line.comment else None


def _joint_rooms(run: list[Line]) -> list[Line]:
    first = [replace(line, name=line.name.partition(" = ")[0]) for line in run]
    others = [(name, line.name.partition(" = ")[0]) for line in run for name in line.name.split(" = ")[1:]]
    more = [Line(f"{run[0].indent}{name} = {room}", "", run[0].indent, name, room) for name, room in others]
    # A generator calls the allocation once for each array, where a = b = np.empty(n) would be one array.
    return [_assigned(first, f"({run[0].value} for _ in range({len(run)}))"), *more]


def _maker(line: Line) -> object:
    """Return the function that allocates a single array."""
    match = MADE.fullmatch(line.value)
    is_one = match is not None and " for _ in " not in line.value and " = " not in line.name and not line.comment
    return line.value.partition("(")[0] if is_one else None


def _rooms_of_shapes(run: list[Line]) -> list[Line]:
    """Return the allocations of arrays of several shapes by one function in one line."""
    maker = str(_maker(run[0]))
    shapes = [line.value.removeprefix(f"{maker}(").removesuffix(", dtype)") for line in run]
    joined = _assigned(run, f"({maker}(v, dtype) for v in {tuple_text(shapes)})")
    return [joined] if all(line.value.endswith(", dtype)") for line in run) and len(joined.code) <= LINE else run


def _same_index(line: Line) -> object:
    """Return the index by which a part of an array is taken."""
    part = PART.fullmatch(line.value)
    return part["index"] if part is not None and not line.comment and " = " not in line.name else None


def _joint_views(run: list[Line]) -> list[Line]:
    parts = [PART.fullmatch(line.value) for line in run]
    arrays = [part["array"] for part in parts if part is not None]
    return [_assigned(run, f"(v[{_same_index(run[0])}] for v in {tuple_text(arrays)})")]


def _same_array(line: Line) -> object:
    """Return the array of which a part is taken."""
    part = PART.fullmatch(line.value)
    return part["array"] if part is not None and " = " not in line.name else None


def _axes(made: str) -> list[str]:
    """Return the sizes of the axes of an allocated array, as text."""
    return [size for size in made.partition("((")[2].partition(")")[0].rstrip(",").split(", ") if size]


def _split(run: list[Line], shapes: Mapping[str, Sequence[str]]) -> list[Line]:
    """Return parts of equal length that make up one array along its first axis as one reshape; else an empty list."""
    array = str(_same_array(run[0]))
    indices = [part["index"] for line in run if (part := PART.fullmatch(line.value)) is not None]
    axes, count = shapes.get(array, []), len(run)
    length = indices[0].removeprefix("..., :").partition(",")[0]
    rest = ", :" * (len(axes) - 1)
    ends = ["", length, *(f"{i}*{length}" for i in range(2, count)), ""]
    wanted = [f"..., {start}:{end}{rest}" for start, end in pairwise(ends)]
    if not axes or axes[0] != f"{count}*{length}" or indices != wanted or tightness(length) == SUM:
        return []  # twice n+1 is not 2*n+1
    return [_assigned(run, f"{array}.reshape({', '.join([str(count), length, *axes[1:]])})", _side_by_side(run, array))]


def _side_by_side(run: Sequence[Line], array: object) -> str:
    """Return the comment of parts of an array, where they have any."""
    return f"[{'; '.join(line.name for line in run)}] = {array}" if any(line.comment for line in run) else ""


def _joint_parts(run: list[Line]) -> list[Line]:
    """Return parts of one array whose indices differ at one place in one line."""
    indices = [part["index"].split(", ") for line in run if (part := PART.fullmatch(line.value)) is not None]
    places = [i for i, items in enumerate(zip(*indices, strict=False)) if len(set(items)) > 1]
    spans = [index[places[0]].split(":") for index in indices] if len(places) == 1 else []
    if len({len(index) for index in indices}) > 1 or len({len(span) for span in spans}) != 1:
        return run
    names = ["v"] if len(spans[0]) == 1 else ["lo", "hi"]
    if len(spans[0]) > 2:
        return run
    index = [*indices[0][: places[0]], ":".join(names), *indices[0][places[0] + 1 :]]
    ends = [[span[0] or "0", *(end or "None" for end in span[1:])] for span in spans]
    values = tuple_text(tuple_text(end) if len(names) > 1 else end[0] for end in ends)
    array = _same_array(run[0])
    comment = _side_by_side(run, array)
    return [_assigned(run, f"({array}[{', '.join(index)}] for {', '.join(names)} in {values})", comment)]
