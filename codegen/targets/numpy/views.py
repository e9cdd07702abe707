"""Where the views of a function are taken: before the loop, at the head of a block, or step by step by the loop itself.

Example of a product in a block whose operand is read once, and of a sum in the loop over its steps:

    b_gates_1 = b_gates[:, None, None]                      the same in all rounds
    for lo in range(0, T, K):
        np.matmul(x[lo:hi].reshape(K * B, m), ...)          read once: taken where it is read
        for t, h_prev_t in zip(range(lo, hi), h_prev[lo:hi]):   moves with the step
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import sympy as sp

from symbptt.codegen.loop_ir.nodes import Axis, Buffer, Loop, View
from symbptt.codegen.loop_ir.views import symbols_of
from symbptt.codegen.lower.frame import COUNT, LO, T
from symbptt.codegen.targets.numpy.grouping import TYPES, Made, made_lines
from symbptt.codegen.targets.numpy.index import Base, Names, Shown, arranged, base_of, based, view_text
from symbptt.codegen.targets.python.text import listed, tuple_text
from symbptt.ir.naming import unique
from symbptt.ir.shape import Size, size, symbols

MARK = "\0"
"""What stands around the number of a mark in a line."""
SHORT = 60
"""The letters of an expression that is written into the one line that reads it."""
NUMBERS = {"0": "zero", "1": "one", "2": "two", "0.5": "half"}


@dataclass(eq=False)
class Scope:
    """A body of statements: that of a function, where `loop` is None, or that of a loop."""

    loop: Loop | None = None
    outer: Scope | None = None

    @property
    def is_top(self) -> bool:
        return self.loop is None

    @property
    def is_step(self) -> bool:
        return self.loop is not None and self.loop.count is None

    @property
    def is_rounds(self) -> bool:
        """True for the rounds of a loop inside a step."""
        return self.is_step and self.loop is not None and self.loop.index != T

    @property
    def numbers(self) -> set[sp.Symbol]:
        """The numbers of the rounds around."""
        own = {self.loop.index} if self.is_rounds and self.loop is not None else set[sp.Symbol]()
        return own if self.outer is None else own | self.outer.numbers

    @property
    def top(self) -> Scope:
        return self if self.outer is None else self.outer.top

    @property
    def outermost(self) -> Scope:
        """The outermost loop around."""
        return self if self.outer is None or self.outer.is_top else self.outer.outermost


@dataclass(frozen=True)
class _Slice:
    """A part of an array that moves with a loop: the array, and the text of the index that takes the part."""

    array: str
    index: str


@dataclass
class _Head:
    """What a loop needs before it and at its head: views by text with their variables, the arrays that it goes through by
    variable, and of a block how often each of its slices is read."""

    views: dict[str, str] = field(default_factory=dict)
    steps: dict[str, _Slice] = field(default_factory=dict)
    slices: dict[_Slice, str] = field(default_factory=dict)
    before: list[Made] = field(default_factory=list)
    opening: list[Made] = field(default_factory=list)


@dataclass
class Views:
    """The marks of a function's lines, and the variables that they become.

    `wishes` are names for parts of buffers, by the buffer and the text of the index.
    """

    names: Names
    taken: set[str]
    wishes: Mapping[tuple[Buffer, tuple[str, ...]], str] = field(default_factory=dict)
    marks: dict[tuple[Scope, Shown | tuple[str, str], bool], int] = field(default_factory=dict)
    scopes: dict[Scope, _Head] = field(default_factory=dict)
    found: dict[int, str] = field(default_factory=dict)
    free: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.free = {*self.wishes.values()} - self.taken
        self.taken |= self.free

    # While lines are written.

    def mark(self, scope: Scope, shown: Shown, is_late: bool = False) -> str:
        """Return the mark of a view; outside of loops its expression. One that is read `late`, if at all, is not taken
        before."""
        if scope.is_top:
            return view_text(shown, self.names)
        return self._mark(scope, shown, is_late)

    def constant(self, scope: Scope, text: str, dtype: str) -> str:
        """Return the mark of a number as an array without axes, made before the loop."""
        return self._mark(scope.outermost, (text, TYPES[dtype]))

    def _mark(self, scope: Scope, key: Shown | tuple[str, str], is_late: bool = False) -> str:
        number = self.marks.setdefault((scope, key, is_late), len(self.marks))
        return f"{MARK}{number}{MARK}"

    def inside(self, scope: Scope, loop: Loop) -> Scope:
        inner = Scope(loop, scope)
        self.scopes[inner] = _Head()
        return inner

    def name(self, wish: str) -> str:
        """Return a name that is not taken; what is wished for a part of a buffer is free once."""
        if wish in self.free:
            self.free.remove(wish)
            return wish
        found = unique(wish, self.taken)
        self.taken.add(found)
        return found

    # When all lines are written.

    def resolve(self, codes: Iterable[str]) -> None:
        """Choose the variables of all marks in some lines of code."""
        # Only when all lines are written is it known how often a view is read, and so whether a variable is worth a
        # line: lines carry marks until then.
        counts = Counter(int(part) for code in codes for part in code.split(MARK)[1::2])
        keys = [(key, number) for key, number in self.marks.items() if number in counts]
        blocks = {number: self._block_slice(scope, key) for (scope, key, _), number in keys}
        readers = Counter(
            part for number, part in blocks.items() if part is not None for _ in range(min(counts[number], 2))
        )
        # What is read late takes the views that are there already.
        for (scope, key, is_late), number in sorted(keys, key=lambda item: item[0][2]):
            if isinstance(key, tuple):
                self.found[number] = self._constant(scope, *key)
            else:
                count = 1 if is_late else counts[number]
                self.found[number] = self._view(scope, key, count, blocks[number], readers, is_late)

    def text(self, code: str) -> str:
        """Return a line of code with variables in the place of marks."""
        parts = code.split(MARK)
        return "".join(self.found[int(part)] if i % 2 else part for i, part in enumerate(parts))

    def _constant(self, scope: Scope, text: str, kind: str) -> str:
        return self._variable(scope, f"np.array({text}, {kind})", NUMBERS.get(text, "number"))

    def _variable(self, scope: Scope, text: str, wish: str, is_inner: bool = False) -> str:
        """Return the variable of an expression that is evaluated before a loop, or at the head of a block."""
        head = self.scopes[scope]
        if text not in head.views:
            head.views[text] = self.name(wish)
            (head.opening if is_inner else head.before).append(Made(head.views[text], text))
        return head.views[text]

    def _view(
        self, scope: Scope, shown: Shown, count: int, part: _Slice | None, readers: Counter[_Slice], is_late: bool
    ) -> str:
        used = symbols_of(shown.view)
        if scope.numbers & used:
            return self._of_round(scope, shown)
        if T in used:
            step = scope
            while step.is_rounds and step.outer is not None:
                step = step.outer
            return self._of_step(step, shown)
        if part is not None:
            block = self._block(scope)
            assert block is not None
            return self._of_block(block, shown, count, part, readers)
        text = view_text(shown, self.names)
        if shown.groups is not None:
            # What is repeated explicitly has the length that a block has: the last one may be shorter.
            used |= symbols(*shown.view.shape)
        if {LO, COUNT} & used or (is_late and text not in self.scopes[scope.outermost].views):
            return text
        return text if text.isidentifier() else self._variable(scope.outermost, text, self._wish(shown.view))

    def _wish(self, view: View, moving: int | None = None) -> str:
        base = base_of(view, self.names, moving)
        return self.wishes.get((view.buffer, base.index), view.buffer.name)

    def _base(self, scope: Scope, view: View, base: Base, moving: int) -> str:
        """Return the variable of the array of which a view that moves is a part."""
        text = based(view.buffer.name, base, self.names)
        return text if text.isidentifier() else self._variable(scope.outermost, text, self._wish(view, moving))

    def _of_step(self, scope: Scope, shown: Shown) -> str:
        """Return the variable of a view at a step, through which the loop goes."""
        # Iteration over an array gives its rows one after the other: `for t, h_t in zip(range(T), h)` needs no index
        # that Python evaluates in each round.
        moving = [i for i, n in enumerate(shown.view.start) if T in symbols(n)]
        view = shown.view
        kinds = {T: "lo:hi" if scope.outermost is not scope else "", size(T - LO): ":K"}
        if len(moving) != 1 or view.start[moving[0]] not in kinds or any(moving[0] in axis.of for axis in view.axes):
            return view_text(shown, self.names)
        base = base_of(view, self.names, moving[0])
        array = self._base(scope, view, base, moving[0])
        wish = array
        text = arranged(array, view, base, shown.groups, self.names, lead=True)
        if text != array:
            array = self._variable(scope.outermost, text, array)
        part = _Slice(array, kinds[view.start[moving[0]]])
        steps = self.scopes[scope].steps
        for name, there in steps.items():
            if there == part:
                return name
        name = self.name(f"{wish}_t" if array == wish else f"{array}_t")
        steps[name] = part
        return name

    def _of_round(self, scope: Scope, shown: Shown) -> str:
        """Return the variable of a view in a round inside of a step, through whose rows the loop goes."""
        view, number, outer = shown.view, scope.loop.index if scope.loop is not None else None, scope.outer
        moving = [i for i, n in enumerate(view.start) if number in symbols(n)]
        plain = outer is not None and outer.is_step and not outer.is_rounds and len(moving) == 1
        if not plain or any(moving[0] in axis.of for axis in view.axes):
            return view_text(shown, self.names)
        assert outer is not None and scope.loop is not None and number is not None
        first = size(view.start[moving[0]] - number)
        if first not in (0, 1):
            return view_text(shown, self.names)
        (i,) = moving
        start = tuple(0 if axis == i else n for axis, n in enumerate(view.start))
        rows = View(view.buffer, start, (Axis(view.buffer.shape[i], (i,)), *view.axes))
        groups = None if shown.groups is None else ((0,), *(tuple(k + 1 for k in group) for group in shown.groups))
        array = self._view(outer, Shown(rows, groups), 2, None, Counter(), False)
        whole = size(view.buffer.shape[i] - scope.loop.stop)
        if not scope.loop.reverse:
            index = "1:" if first else ""
        elif first:
            index = ":0:-1" if whole == 1 else f"{self.names.size(scope.loop.stop)}:0:-1"
        else:
            index = "::-1" if whole == 0 else f"{self.names.size(size(scope.loop.stop - 1))}::-1"
        part = _Slice(array, index)
        steps = self.scopes[scope].steps
        for name, there in steps.items():
            if there == part:
                return name
        name = self.name(
            f"{array.removesuffix('_t')}_{number}" if array.isidentifier() else f"{view.buffer.name}_{number}"
        )
        steps[name] = part
        return name

    def _block(self, scope: Scope) -> Scope | None:
        """Return the loop over blocks around."""
        while scope.loop is not None and scope.loop.count is None and scope.outer is not None:
            scope = scope.outer
        return None if scope.is_top else scope

    def _block_slice(self, scope: Scope | None, shown: Shown | tuple[str, str]) -> _Slice | None:
        """Return the part of an array that a view of a block reads; None of a view that moves in another way."""
        if isinstance(shown, tuple) or scope is None:
            return None
        view = shown.view
        used = symbols_of(view)
        if T in used or scope.numbers & used or not {LO, COUNT} & used or self._block(scope) is None:
            return None
        moving = _moving_in_block(view)
        if moving is None:
            return None
        i, start = moving
        base = base_of(view, self.names, i)
        array = self._base(scope, view, base, i)
        assert base.moving is not None
        return _Slice(array, ":, " * base.moving + ("lo:hi" if start == LO else ":K"))

    def _of_block(self, scope: Scope, shown: Shown, count: int, part: _Slice, readers: Counter[_Slice]) -> str:
        head, view = self.scopes[scope], shown.view
        moving = _moving_in_block(view)
        assert moving is not None
        base = base_of(view, self.names, moving[0])
        text = f"{part.array}[{part.index}]"
        if readers[part] > 1:
            if part not in head.slices:
                head.slices[part] = self.name(f"{part.array}_b")
                head.opening.append(Made(head.slices[part], text, part.array, part.index))
            text = head.slices[part]
        whole = arranged(text, view, base, shown.groups, self.names)
        if whole in head.views:
            return head.views[whole]
        if whole == text or (count == 1 and len(whole) <= SHORT):
            return whole
        if whole.endswith(".T"):
            rows = whole.removesuffix(".T")
            whole = f"{head.views.get(rows, rows)}.T"
        return self._variable(scope, whole, f"{part.array}_b{'T' * whole.endswith('.T')}", is_inner=True)

    # The lines of heads.

    def before(self, scope: Scope) -> list[str]:
        """Return the lines before an outermost loop that take views."""
        return made_lines(self.scopes[scope].before)

    def opening(self, scope: Scope) -> list[str]:
        """Return the lines at the head of a block that take views."""
        return made_lines(self.scopes[scope].opening)

    def stepping(self, scope: Scope) -> str:
        """Return the head of a loop over steps, which goes through arrays, grouped by the slices that are taken."""
        loop = scope.loop
        assert loop is not None
        if scope.is_rounds:
            return self._rounding(scope, loop)
        in_block = scope.outermost is not scope
        count = ("range(hi - 1, lo - 1, -1)" if loop.reverse else "range(lo, hi)") if in_block else (
            "range(T - 1, -1, -1)" if loop.reverse else "range(T)"
        )  # fmt: skip
        steps = self.scopes[scope].steps
        if not steps:
            return f"for t in {count}:"
        groups: dict[str, dict[str, str]] = {}
        for name, part in steps.items():
            index = (f"[{part.index}]" if part.index else "") + ("[::-1]" if loop.reverse else "")
            groups.setdefault(index, {})[name] = part.array
        names = [name for group in groups.values() for name in group]
        arrays = [text for index, group in groups.items() for text in _parts_text(index, list(group.values()))]
        return f"for {listed(['t', *names])} in zip({', '.join([count, *arrays])}):"

    def _rounding(self, scope: Scope, loop: Loop) -> str:
        """Return the head of a loop over rounds inside of a step, which goes through the rows of arrays."""
        most, steps = self.names.size(loop.stop), self.scopes[scope].steps
        count = f"range({most} - 1, -1, -1)" if loop.reverse else f"range({most})"
        if not steps:
            return f"for {loop.index} in {count}:"
        arrays = [f"{part.array}[{part.index}]" if part.index else part.array for part in steps.values()]
        return f"for {listed([str(loop.index), *steps])} in zip({', '.join([count, *arrays])}):"


def _parts_text(index: str, arrays: Sequence[str]) -> list[str]:
    if not index or len(arrays) == 1:
        return [f"{array}{index}" for array in arrays]
    return [f"*(v{index} for v in {tuple_text(arrays)})"]


def _moving_in_block(view: View) -> tuple[int, Size] | None:
    """Return the axis of the buffer along which a view moves with the blocks and where it starts there, if it is one plain
    slice of it."""
    moving = [
        i
        for i, n in enumerate(view.start)
        if LO in symbols(n) or any(COUNT in symbols(axis.length) for axis in view.axes if i in axis.of)
    ]
    if len(moving) != 1:
        return None
    i = moving[0]
    own = [axis for axis in view.axes if i in axis.of]
    is_plain = len(own) == 1 and own[0].of == (i,) and own[0].step == 1 and own[0].length == COUNT
    return (i, view.start[i]) if is_plain and view.start[i] in (0, LO) else None
