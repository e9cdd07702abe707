"""The paths that calls of a module take, each as a small case: blocks of steps, windows of scans, masks, cotangents, options.

Thresholds that a module takes from the size of a cache are parameters here, so small that few steps have several blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from symbptt.language.cell import Cell
from symbptt.language.model import Model
from symbptt.language.truncation import Chunked, Window
from symbptt.verification.oracle import Arrays, Point
from symbptt.verification.regimes import REGIMES, Blocks, Size
from symbptt.verification.regimes import point as draw
from symbptt.verification.requests import Asked

WHOLE = Blocks(99, 2)
"""All steps in one block."""
LENGTHS = np.array([2, 4, 5, 3, 1, 0])
"""Samples that end at every step of five, one without any."""
RESET = np.array(
    [[0, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 1], [1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1], [1, 1, 0, 1, 0, 0]], bool
)
"""At first steps, inside, at a last step, and behind a sample's end, where none is."""


@dataclass(frozen=True)
class Setting:
    """One way to call a kernel: its sizes, how many steps a block and a window of a scan have, what is masked, which
    cotangents are given: of states, of outputs, of one state `only`, those of states at the `last` step; `monitor`: with the
    norms of adjoints."""

    path: str
    size: Size
    blocks: Blocks = WHOLE
    lengths: bool = False
    reset: bool = False
    last: bool = False
    only: str = ""
    monitor: bool = False

    @property
    def sizes(self) -> str:
        """The sizes in words."""
        return f"T={self.size.steps} B={self.size.batch}"

    def chosen(self, states: Arrays, outputs: Arrays) -> Arrays:
        """Return the values that have cotangents in this setting."""
        one = {name: states[name] for name in [*states][-1:]}
        return {"states": states, "outputs": outputs, "one": one}.get(self.only) or states | outputs

    def point(self, target: Cell | Model, seed: int, asked: Asked) -> Point | None:
        """Return a point of floats with the sizes and the masks of the setting; none where sizes cannot all be 1."""
        found = draw(target, REGIMES[0], self.size, seed, asked)
        if found is None:
            return None
        masks: dict[str, Any] = {
            "lengths": LENGTHS[: self.size.batch] if self.lengths else None,
            "reset": RESET[: self.size.steps, : self.size.batch] if self.reset else None,
        }
        return replace(found, **masks)


@dataclass(frozen=True)
class Options:
    """Options of `compile`, in words and as they are."""

    words: str = ""
    memory: str | int = "all"
    truncation: Window | Chunked | None = None
    clip_adjoint: float | None = None
    piece: tuple[int, int] | None = None
    settings: tuple[Setting, ...] | None = None
    """The paths of the module of a cell, where they are not the usual few."""


MASKED = Setting(
    "lengths, resets and monitor=True, over three blocks", Size(5, 6), Blocks(2, 2), True, True, monitor=True
)
LAST = Setting("resets; cotangents of states at the last step", Size(5, 4), Blocks(3, 2), reset=True, last=True)
PLAIN = (
    Setting("one block of steps", Size(3, 2)),
    Setting("three blocks, the last one short", Size(5, 2), Blocks(2, 2)),
    Setting(
        "two blocks; cotangents of states at the last step alone", Size(6, 1), Blocks(4, 2), last=True, only="states"
    ),
    Setting("several windows of a scan in a block, the last one short", Size(9, 2), Blocks(7, 2)),
    MASKED,
    Setting("lengths without resets, which lie in rows", Size(5, 4), Blocks(3, 2), lengths=True),
    LAST,
    Setting("cotangents of the last of the states alone", Size(4, 2), Blocks(2, 2), only="one"),
    Setting("all named sizes 1", Size(2, 1, ones=True)),
    Setting("one step of one sample", Size(1, 1)),
    Setting("no steps", Size(0, 2)),
    Setting("named sizes in another order; cotangents of outputs alone", Size(2, 2, other=True), only="outputs"),
)
"""The paths of a module without options."""
FEW = (Setting("three blocks, the last one short", Size(5, 2), Blocks(2, 2)), MASKED)
"""The paths of a module with an option."""
LOOPS = (
    Setting("two blocks, without masks", Size(3, 2)),
    Setting("two blocks, lengths and resets", Size(3, 3), lengths=True, reset=True),
)
"""The paths of loops."""
IN_C = (
    Setting("one block of steps, without masks", Size(3, 2)),
    Setting("three blocks, the last one short, without masks", Size(5, 2), Blocks(2, 2)),
    Setting("all named sizes 1, without masks", Size(2, 1, ones=True)),
    Setting("one step of one sample, without masks", Size(1, 1)),
)
"""The paths of the loops that C is printed from, as a call without masks takes them."""
BYTES = 2**40
OPTIONS = (
    Options('memory="sqrt"', memory="sqrt", settings=(*FEW, LAST)),
    Options("memory in bytes, pieces of two steps", memory=BYTES, piece=(2, 1)),
    Options("truncation=Window(2)", truncation=Window(2), settings=(*FEW, LAST)),
    Options("truncation=Chunked(2, 3)", truncation=Chunked(2, 3), settings=(*FEW, LAST)),
    Options("truncation=Chunked(3, 2)", truncation=Chunked(3, 2)),
    Options("clip_adjoint, where no norm is over it", clip_adjoint=1e30),
    Options('clip_adjoint and memory="sqrt"', memory="sqrt", clip_adjoint=1e30, settings=(MASKED,)),
    Options(
        "clip_adjoint and truncation=Chunked(2, 3)", truncation=Chunked(2, 3), clip_adjoint=1e30, settings=(MASKED,)
    ),
)
"""The options that change which text a module has, and those that go together."""


def settings_of(target: Cell | Model, settings: tuple[Setting, ...]) -> Iterator[Setting]:
    """Yield the paths of a kernel, of some that are asked for; those that differ by the cotangents given only where there are
    outputs and cotangents."""
    cell = target if isinstance(target, Cell) else None
    for setting in settings:
        if setting.only == "outputs" and (cell is None or not cell.looped.outputs):
            yield replace(setting, path=setting.path.split("; cotangents")[0], only="")
        elif setting.only == "one" and (cell is None or len(cell.looped.next) < 2):
            continue
        elif setting is LAST and cell is None and LAST is settings[-1]:
            continue  # models are given no cotangents: what is left of that path is another one
        elif cell is None:
            yield replace(setting, path=setting.path.split("; cotangents")[0], last=False, only="")
        else:
            yield setting
