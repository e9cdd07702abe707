"""A loop under construction: the arrays and views allocated before it, the arrays it iterates over, the calls inside
it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from symbptt.codegen.targets.numpy.expressions import Scope
from symbptt.codegen.targets.numpy.names import Module
from symbptt.codegen.targets.numpy.text import ATOM, Written, listed, shape_text, size_text, tuple_text
from symbptt.ir.naming import unique
from symbptt.ir.shape import Shape
from symbptt.syntax import NAME

LOOP_AXES = ("B",)
BLOCK_AXES = ("K", "B")


@dataclass(frozen=True)
class Operand:
    """A value as a call reads or writes it.

    `text` is the text in a call; `whole` the array that the loop iterates over, or the array of the workspace, or the
    expression itself; `base` the array whose memory it is. `lead`: it has the axes of samples before its own `shape`;
    `stepped`: the loop iterates over `whole`; `solid`: it is contiguous, so that any reshape of it is a view;
    `settled`: it is loop-invariant, so that a copy of it is as good as a view; `bare`: it is a Python number. `room` is
    the array that its one reader may overwrite or give back. `front`: it has a gate-major layout; `count`: the number
    of steps of `whole`; `tightness`: how tightly `text` binds, where it is an expression of numbers.
    """

    text: str
    whole: str
    shape: Shape
    base: str = ""
    lead: bool = False
    stepped: bool = False
    solid: bool = True
    settled: bool = False
    bare: bool = False
    room: str = ""
    kind: str = "dtype"
    front: bool = False
    count: str = "T"
    tightness: int = ATOM

    @property
    def written(self) -> Written:
        """The text in a call, and how tightly it binds: for a place next to an operator."""
        return self.text, self.tightness


def number(text: str, tightness: int = ATOM) -> Operand:
    """Return a Python number, or an expression of Python numbers that binds so tightly, as an operand."""
    return Operand(text, text, (), settled=True, bare=True, tightness=tightness)


@dataclass
class Rooms:
    """Arrays of the workspace that calls write into: the allocation of each, the names that share it, the free ones,
    the name of each as a temporary, and the conditions that are stored in some, by the numbers from which they were
    converted."""

    made: dict[str, str] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    free: list[str] = field(default_factory=list)
    scratch: dict[str, str] = field(default_factory=dict)
    conditions: dict[str, Operand] = field(default_factory=dict)

    def again(self, numbers: str) -> Operand | None:
        """Return the condition of some numbers, taken again, where its array is free."""
        found = self.conditions.get(numbers)
        if found is None or found.room not in self.free:
            return None
        self.free.remove(found.room)
        return found

    def find(self, how: str) -> str | None:
        """Return a free array of the same allocation."""
        return next((room for room in reversed(self.free) if self.made[room] == how), None)

    def take(self, how: str, name: str, reuse: bool = True) -> str:
        """Return the array for `name`: a free one, which gets the name too, or a new one."""
        room = self.find(how) if reuse else None
        if room is None:
            self.made[name], self.names[name] = how, [name]
            return name
        self.free.remove(room)
        # The new owner overwrites the condition that was stored there.
        self.conditions = {text: of for text, of in self.conditions.items() if of.room != room}
        if name not in self.names[room]:
            self.names[room].append(name)
        return room

    def lines(self, empty: str) -> list[str]:
        """Return the lines that allocate the arrays, those that are not zeros by a call of `empty`."""
        # Equal allocations are neighbours, which `compact` merges.
        order = sorted(self.made, key=lambda room: list(self.made.values()).index(self.made[room]))
        calls = {room: re.sub("^empty", empty, self.made[room]) for room in order}
        calls = {room: f"np.{call}" if call.startswith("zeros") else call for room, call in calls.items()}
        return [f"{' = '.join(self.names[room])} = {call}" for room, call in calls.items()]


@dataclass
class Sheet:
    """A loop under construction, or the calls for a block of its steps.

    `lead` are the sample axes of values inside; `operand` returns the operand of a value that has a variable; `bound`
    caches these; `views` are expressions evaluated before the calls, by text; `steps` the arrays that the loop iterates
    over, or of which a block takes a slice, by the variable of that step or slice; `parts` the slices of workspace
    arrays that a block uses, by variable.
    """

    module: Module
    lead: tuple[str, ...]
    operand: Callable[[int], Operand | None]
    taken: set[str]
    bound: dict[int, Operand] = field(default_factory=dict)
    views: dict[str, str] = field(default_factory=dict)
    steps: dict[str, str] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    rooms: Rooms = field(default_factory=Rooms)
    calls: list[str] = field(default_factory=list)

    def call(self, text: str) -> None:
        """Add a line to the loop."""
        self.calls.append(text)

    def name(self, wish: str) -> str:
        """Return a variable that is not taken."""
        name = unique(wish, self.taken)
        self.taken.add(name)
        return name

    def shape_text(self, shape: Shape, lead: bool, front: bool = False) -> str:
        """Return the shape of an operand as text."""
        axes = self.lead if lead else ()
        if not front:
            return shape_text(axes, shape, self.module.sizes)
        return shape_text([size_text(shape[0], self.module.sizes), *axes], shape[1:], self.module.sizes)

    def room(self, shape: Shape, lead: bool = True, kind: str = "dtype", front: bool = False) -> Operand:
        """Return an array to write into, which its one reader gives back."""
        how = f"empty({self.shape_text(shape, lead, front)}, {kind})"
        found = self.rooms.find(how)
        # An array keeps one name as a temporary, whatever values lie in it.
        name = self.rooms.scratch.get(found or "") or self.name("s" if kind == "dtype" else "is_s")
        room = self.rooms.take(how, name)
        self.rooms.scratch[room] = name
        text = self._part(name, lead, front)
        return Operand(text, text, shape, room, lead, room=room, kind=kind, front=front)

    def named_room(
        self, name: str, shape: Shape, *, reuse: bool = True, how: str = "empty", front: bool = False
    ) -> Operand:
        """Return an array for a value that has a variable; the caller gives it back."""
        how = f"{how}({self.shape_text(shape, True, front)}, dtype)"
        room = self.rooms.take(how, name, reuse)
        text = self._part(name, True, front)
        return Operand(text, text, shape, room, True, front=front)

    def _part(self, room: str, lead: bool, front: bool) -> str:
        """Return the variable of the slice of an array that a block uses: as many steps as it has."""
        if self.lead != BLOCK_AXES or not lead:
            return room
        part = next((name for name, whole in self.parts.items() if whole.partition("[")[0] == room), None)
        name = part or self.name(f"{room}_b")
        # The array has room for a whole block; the last one may be shorter.
        self.parts[name] = f"{room}[{':, ' * front}:K]"
        return name

    def free(self, operands: Iterable[Operand], besides: str = "") -> None:
        """Give back the arrays of operands that nothing else reads."""
        for room in dict.fromkeys(o.room for o in operands if o.room and o.room != besides):
            self.give(room)

    def give(self, room: str) -> None:
        """Give back an array."""
        # An array that is given back twice would be taken by two values at once.
        assert room not in self.rooms.free, room
        self.rooms.free.append(room)

    def step(self, whole: str) -> str:
        """Return the variable of a step of an array."""
        for name, array in self.steps.items():
            if array == whole:
                return name
        name = self.name(f"{whole}_t" if self.lead == LOOP_AXES else f"{whole}_b")
        self.steps[name] = whole
        return name

    def array(
        self,
        name: str,
        shape: Shape,
        *,
        settled: bool = True,
        solid: bool = True,
        base: str = "",
        front: bool = False,
        count: str = "T",
    ) -> Operand:
        """Return the operand of an array that has the axes of steps and samples; `base` is the array of which it is a
        part."""
        if self.lead == LOOP_AXES:
            step = self.step(name)
            return Operand(step, name, shape, base or name, True, True, solid, settled, front=front, count=count)
        part = self.step(name) if count == "T" else self._part(name, True, False)
        found = Operand(part, part, shape, base or name, True, False, solid, settled)
        return self.view(found, f"{part}.swapaxes(0, 1)", shape, front=True) if front else found

    def view(
        self, of: Operand, whole: str, shape: Shape, *, solid: bool = False, front: bool = False, wish: str = ""
    ) -> Operand:
        """Return a view of an operand, evaluated before the calls by the expression `whole`; `wish` is a name for it."""
        # A part that has a variable is not taken once more.
        known = {f"{self.module.variables[id]}{index}": part for part, (id, index) in self.module.aliases.items()}
        if whole in known:
            name = self.module.variables[known[whole]]
        else:
            name = self.views[whole] = self.views.get(whole) or self.name(_wished(wish, of))
        # A view of all steps is taken once, and the loop iterates over it.
        text = self.step(name) if of.stepped else name
        return replace(of, text=text, whole=name, shape=shape, solid=solid, bare=False, front=front)

    def axes(self, of: Operand) -> tuple[str, ...]:
        """Return the sample axes of the array of an operand."""
        if not of.lead:
            return ()
        return (of.count, "B") if of.stepped else self.lead

    def find(self, id: int) -> Operand | None:
        """Return the operand of a value that has a variable."""
        if id not in self.bound:
            found = self.operand(id)
            if found is None:
                return None
            self.bound[id] = found
        return self.bound[id]

    def scope(self) -> Scope:
        """Return the scope of expressions inside the loop."""
        m = self.module

        def refer(id: int) -> str | None:
            found = self.find(id)
            return None if found is None else found.text

        return Scope(m.program.graph, m.varying, m.static, self.lead, refer, m.sizes)

    def before(self, lines: Sequence[str], empty: str = "np.empty") -> list[str]:
        """Return the lines before the loop that allocate the arrays and views which `lines` read; `empty` allocates an
        array."""
        views = self._used_views(lines)
        inner = self._inner(views)
        return [*self.rooms.lines(empty), *(f"{name} = {text}" for name, text in views.items() if name not in inner)]

    def inside(self, lines: Sequence[str]) -> list[str]:
        """Return the lines that take the slices of arrays which the `lines` of a block read, and views of them."""
        views = self._used_views(lines)
        used, inner = _words(lines) | _words(views.values()), self._inner(views)
        parts = {name: f"{array}[lo:hi]" for name, array in self.steps.items()} | self.parts
        made = [f"{name} = {text}" for name, text in views.items() if name in inner]
        return [*_taken({name: text for name, text in parts.items() if name in used}), *made]

    def _used_views(self, lines: Sequence[str]) -> dict[str, str]:
        """Return the views that `lines` read, by name, in the order in which they are evaluated."""
        used, views = _words(lines) | _words(self.steps[name] for name in _words(lines) if name in self.steps), {}
        # A view refers to earlier views only, so that one pass from the last to the first finds all that are used.
        for text, name in reversed(self.views.items()):
            if name in used:
                views[name] = text
                used |= _words([text])
        return dict(reversed(views.items()))

    def _inner(self, views: Mapping[str, str]) -> set[str]:
        """Return the views that are taken in each block: those of slices of arrays."""
        found: set[str] = set() if self.lead == LOOP_AXES else {*self.steps, *self.parts}
        for name, text in views.items():
            if _words([text]) & found:
                found.add(name)
        return found


def _wished(wish: str, of: Operand) -> str:
    """Return the wished name of a view, or another one."""
    names = (name for name in (wish, of.whole) if name.isidentifier())
    return next(names, "v")


def reads(m: Module, ids: Iterable[int]) -> set[int]:
    """Return the values with a variable from which some values are computed, those values among them."""
    found: set[int] = set()
    queue = list(ids)
    while queue:
        id = queue.pop()
        if id in m.variables or id in m.previous:
            found.add(id)
        else:
            queue.extend(m.program.graph[id].args)
    return found


def bases(sheet: Sheet, ids: Iterable[int]) -> set[str]:
    """Return the arrays from which some values are computed."""
    found = (sheet.find(read) for read in reads(sheet.module, ids))
    return {operand.base for operand in found if operand is not None}


def _taken(parts: Mapping[str, str]) -> list[str]:
    """Return the lines that take slices of arrays, those with one index next to each other."""
    return [
        f"{name} = {text}" for name, text in sorted(parts.items(), key=lambda part: (part[1].partition("[")[2], part))
    ]


def _words(lines: Iterable[str]) -> set[str]:
    # Comments name variables, too.
    return {word for line in lines for word in re.findall(NAME, line.partition("  # ")[0])}


def used_steps(sheet: Sheet, lines: Sequence[str]) -> dict[str, str]:
    """Return the arrays that `lines` read, by the variable of their step."""
    used = _words(lines)
    return {name: array for name, array in sheet.steps.items() if name in used}


def stepping(sheet: Sheet, lines: Sequence[str], short: Iterable[str] | None = None) -> str:
    """Return the head of the loop over all steps of the arrays that `lines` read, or over the steps of a block, where
    the arrays `short` have only those."""
    if short is None:
        return _loop(used_steps(sheet, lines), "range(T)", lambda array: "")
    short = _all_short(sheet, short)
    return _loop(used_steps(sheet, lines), "range(lo, hi)", lambda array: "[:K]" if array in short else "[lo:hi]")


def stepping_back(sheet: Sheet, lines: Sequence[str], short: Iterable[str]) -> str:
    """Return the head of the loop from step hi - 1 to step lo; the arrays `short` have only the steps of the block."""
    short = _all_short(sheet, short)
    return _loop(
        used_steps(sheet, lines),
        "range(hi - 1, lo - 1, -1)",
        lambda array: "[:K][::-1]" if array in short else "[lo:hi][::-1]",
    )


def _all_short(sheet: Sheet, short: Iterable[str]) -> set[str]:
    """Return the arrays that have only the steps of a block, and the views of them."""
    found = set(short)
    for text, name in sheet.views.items():
        if _words([text]) & found:
            found.add(name)
    return found


def _loop(steps: dict[str, str], count: str, part: Callable[[str], str]) -> str:
    """Return the head of a loop over arrays, grouped by the slice that is taken of them."""
    if not steps:
        return f"for t in {count}:"
    groups: dict[str, dict[str, str]] = {}
    for name, array in steps.items():
        groups.setdefault(part(array), {})[name] = array
    names = [name for group in groups.values() for name in group]
    arrays = [text for index, group in groups.items() for text in _parts_text(index, list(group.values()))]
    return f"for {listed(['t', *names])} in zip({', '.join([count, *arrays])}):"


def _parts_text(index: str, arrays: list[str]) -> list[str]:
    if not index or len(arrays) == 1:
        return [f"{array}{index}" for array in arrays]
    return [f"*(v{index} for v in {tuple_text(arrays)})"]
