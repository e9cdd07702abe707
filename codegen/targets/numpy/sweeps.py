"""The edges of the sweeps of a NumPy module: around each step calls of the runtime for masks, given cotangents, clipping and
monitors, which act on the states and adjoints that they are given.

A state has two buffers of all steps: the state after a step, and that before it, which is a view of the other unless
samples end or are reset. The runtime allocates them (`_buffers`).
"""

from __future__ import annotations

from symbptt.codegen.loop_ir.nodes import Operand, Runtime, View
from symbptt.codegen.loop_ir.views import point, whole
from symbptt.codegen.lower import edges, watching
from symbptt.codegen.lower.driven import with_apart_states
from symbptt.codegen.lower.families import operand
from symbptt.codegen.lower.frame import T
from symbptt.codegen.lower.storage import Storage, storage_of
from symbptt.codegen.lower.sweep import Sweep
from symbptt.codegen.program.names import Named
from symbptt.codegen.targets.numpy.names import RESERVED
from symbptt.ir.shape import Size, prod, size

BEGIN, ENTER, START, ARRIVE, CLIP, WAIT, WATCH, LEAVE = (
    "begin", "enter", "start", "arrive", "clip", "wait", "watch", "leave",
)  # fmt: skip
"""The names of calls of the runtime."""


def numpy_storage(n: Named, pulled: bool = False) -> Storage:
    """Return the storage of a program whose states have buffers before and after each step."""
    found = with_apart_states(n, storage_of(n, pulled=pulled))
    found.taken |= RESERVED | {f"{n.of_argument(a.name)}_buffer" for a in n.program.of_role("state")}
    return found


class Calls(edges.Edges):
    """The edges of both sweeps as calls of the runtime. Where its scan is not done, for a mask or a monitor, it says so itself."""

    def begin(self, w: Sweep) -> None:
        _call(w, BEGIN, (), tuple(map(whole, w.storage.initial.values())))

    def enter(self, w: Sweep) -> None:
        p = w.module.program
        before = tuple(point(w.storage.stored[p.leaves[a.name]].view, 0, T) for a in p.of_role("state"))
        if before:
            _call(w, ENTER, before, tuple(map(whole, w.storage.initial.values())))

    def start(self, w: Sweep) -> None:
        _call(w, START, _carries(w), ())

    def arrive(self, w: Sweep) -> None:
        carries = _carries(w)
        _call(w, ARRIVE, carries, carries)
        if self.limit is not None:
            _call(w, CLIP, carries, carries, size(sum((prod(view.shape) for view in carries), start=0)))
        _call(w, WAIT, carries, carries)
        for name, leaf in w.module.program.carry.items():
            w.builder.copy(operand(w.lowering, leaf), whole(w.storage.carries[name]))

    def watch(self, w: Sweep) -> None:
        names = w.module.program.carry
        _call(w, WATCH, (), tuple(watching.total(w, name) or whole(w.storage.carries[name]) for name in names))

    def leave(self, w: Sweep) -> None:
        _call(w, LEAVE, _carries(w), _carries(w))


def _call(w: Sweep, name: str, out: tuple[View, ...], args: tuple[Operand, ...], held: Size = 0) -> None:
    w.builder.add(Runtime(name, out, args, held))


def _carries(w: Sweep) -> tuple[View, ...]:
    return tuple(map(whole, w.storage.carries.values()))
