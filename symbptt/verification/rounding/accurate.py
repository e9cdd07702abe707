"""Arguments at which each accurate form of a module decides: where a gradient is wrong as soon as that form alone is left out.

A form computes what tanh or σ leaves of one from the argument, where the value has lost it. Regimes drive the biases of gates there,
but not what has no bias. So one or two arrays at a time are moved far from zero, and the module that symbptt writes is run with and
without each of its forms: where that changes a gradient the form decides, and there any text of the module is measured.

Example: tanh(c) of an LSTM saturates where the initial c is 20; the form decides where a cotangent comes to h alone, for beside
that of c nothing is seen of what goes through tanh(c).
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations, islice, product
from typing import Any

import numpy as np

from symbptt.codegen.kernel import Kernel, Shared, compiled
from symbptt.codegen.load import load
from symbptt.language.model import Model
from symbptt.language.user_frames import is_of_code
from symbptt.verification import oracle
from symbptt.verification.blocks import with_module
from symbptt.verification.oracle import Arrays, Point
from symbptt.verification.regimes import REGIMES, Size, point
from symbptt.verification.requests import Asked
from symbptt.verification.rounding.gradients import Group
from symbptt.verification.rounding.runs import gradients_by, in_type, narrow, single

FAR = 20.0
"""Where float64 has no digit of 1 - tanh² and seven of 1 - σ, float32 none of either."""
CHANGED = 10
"""The units of rounding by which a form changes a block where it decides, at least: half of what rounding explains of any block."""
TYPES = ("float64", "float32")
"""The types in which forms are looked at."""
MOST = 500
"""Pairs of arrays, with signs and cotangents, that are tried for the forms which no single array drives."""
ROUNDING, FORMULA = "rounding", "formula"
CALL = "_sharpened("
"""How the line of a form begins."""


@dataclass(frozen=True)
class Driven:
    """Arguments at which forms decide, by what they are called, and which arrays were moved there."""

    names: tuple[str, ...]
    moved: str
    near: Point
    sent: Arrays


class _Switch:
    """What stands for the function by which a module takes forms: `met` are the lines of those that act, `off` is left out."""

    def __init__(self, source: str) -> None:
        self.lines = [n for n, line in enumerate(source.splitlines(), 1) if line.lstrip().startswith(CALL)]
        self.off, self.met = 0, set[int]()

    def put_into(self, kernel: Kernel) -> None:
        """Stand in the module of a kernel for its function."""
        self.sharpened: Callable[..., Any] = kernel.module._sharpened
        vars(kernel.module).update(_sharpened=self)

    def __call__(self, rest: Any, of: Callable[..., Any], argument: Callable[[], Any]) -> Any:
        # The formula of the argument is written in the call, in its first line or a later one.
        line = self.lines[bisect_right(self.lines, argument.__code__.co_firstlineno) - 1]

        def noted() -> Any:
            self.met.add(line)
            return argument()

        return rest if line == self.off else self.sharpened(rest, of, noted)


def driven(
    kernel: Kernel, seed: int, asked: Asked, judged: Callable[[Kernel, Point, Arrays, Sequence[str]], str]
) -> tuple[tuple[Driven, ...], tuple[str, ...]]:
    """Return arguments at which the forms of a module decide, and the names of those for which none are found; `judged` tells what
    a module is wrong by in some types, ROUNDING or FORMULA, or nothing."""
    # Forms are those that symbptt writes, whatever text the kernel has: one that an edit has dropped is looked for too.
    own = compiled(kernel.target, Shared(), truncation=kernel.truncation, memory=kernel.memory)
    switch = _Switch(own.source)
    if not switch.lines:
        return (), ()
    own = with_module(own, load(own.source, f"<symbptt {own.target.name}, its accurate forms>"), {})
    switch.put_into(own)
    left, found, still = set(switch.lines), list[Driven](), None
    for moved, near, sent in _tried(own, seed, asked):
        if near is still:
            continue
        changing = _that_change(own, switch, left, near, sent)
        # Whether a form acts is a matter of values: where none that is left does, none does for other cotangents either.
        still = near if changing is None else None
        decided = [
            line
            for line, types in (changing or {}).items()
            if _without(switch, line, partial(judged, own, near, sent, types))
        ]
        # Where all forms together lose digits, these are lost elsewhere: that is no place to look at one form.
        if not decided or _without(switch, 0, partial(judged, own, near, sent, TYPES)) == ROUNDING:
            continue
        left.difference_update(decided)
        found.append(Driven(tuple(_name(own.source, line) for line in decided), moved, near, sent))
        if not left:
            break
    return tuple(found), tuple(_name(own.source, line) for line in sorted(left))


def _that_change(
    own: Kernel, switch: _Switch, lines: set[int], near: Point, sent: Arrays
) -> dict[int, list[str]] | None:
    """Return those of some forms that act at some arguments, and without which gradients are others, with the types of floats in which
    they are; none where no form acts."""
    found: dict[int, list[str]] = {}
    met = set[int]()
    for kind in TYPES:
        run = partial(gradients_by, own, in_type(near, kind), narrow(sent, kind))
        whole = _without(switch, 0, run)
        acting = sorted(switch.met & lines)  # the next run forgets them
        met |= {*acting}
        if whole is None:
            return {}
        others = {line: _without(switch, line, run) for line in acting}
        for line in [line for line, other in others.items() if other and _is_changed(whole, other, kind)]:
            found.setdefault(line, []).append(kind)
    return dict(sorted(found.items())) if met else None


def _is_changed(whole: dict[Group, Any], other: dict[Group, Any], kind: str) -> bool:
    """Answer whether any block of gradients is another one, of inputs at any step."""
    pairs = [(k, whole[k], other[k]) for k in whole]
    parts = [zip(a, b, strict=True) if group == "inputs" else [(a, b)] for (group, _), a, b in pairs]
    return any(_is_far(a, b, kind) for part in parts for a, b in part)


def _is_far(whole: Any, other: Any, kind: str) -> bool:
    scale = np.max(np.abs(whole), initial=0)
    far = np.max(np.abs(whole - other), initial=0) > CHANGED * np.finfo(kind).eps * scale
    return bool(np.isfinite(scale) and far)


def _without(switch: _Switch, line: int, call: Callable[[], Any]) -> Any:
    """Return what a call gives without a form; none where the code of the module or of the user has no result."""
    switch.off, switch.met = line, set()
    try:
        return call()
    except Exception as error:  # rounds that do not settle, matrices that are singular: another point will do
        if not is_of_code(error):
            raise
        return None
    finally:
        switch.off = 0


def _tried(own: Kernel, seed: int, asked: Asked) -> Iterator[tuple[str, Point, Arrays]]:
    """Yield arguments of which one array is far from zero, and then two, or one and the other is zero, with the cotangents of all
    values and of each alone."""
    target, given = own.target, {*asked.params, *asked.inputs, *asked.domain}
    for steps in (1, 2):
        drawn = point(target, REGIMES[0], Size(steps, 1, small=True), seed, asked)
        if drawn is None:
            continue
        base = single(drawn, asked)
        names = [k for k in oracle.arrays_by_name(base) if k in oracle.differentiable(target) and k not in given]
        singles = ((name,) for name in names)
        pairs = [*combinations(names, 2)]
        random.Random(seed).shuffle(pairs)
        # What no bias drives is a function of a state.
        pairs.sort(key=lambda pair: not any(name in base.state for name in pair))
        yield from _moved(own, base, singles, seed)
        yield from islice(_moved(own, base, iter(pairs), seed), MOST)


def _moved(
    own: Kernel, base: Point, choices: Iterator[tuple[str, ...]], seed: int
) -> Iterator[tuple[str, Point, Arrays]]:
    for names in choices:
        for signs in product((1, -1, 0)[: len(names) + 1], repeat=len(names)):
            near = in_type(_at(base, dict(zip(names, signs, strict=True)), seed), np.float32)
            said = " ".join(f"{name}={sign * FAR:g}" for name, sign in zip(names, signs, strict=True))
            for sent in _cotangents(own, near, seed):
                yield said, near, sent


def _at(base: Point, signs: dict[str, int], seed: int) -> Point:
    """Return a point with some arrays near 20 or -20, or zero."""
    draw = np.random.default_rng(seed)

    def far(arrays: Arrays) -> Arrays:
        return {k: signs[k] * FAR * draw.uniform(0.9, 1.1, np.shape(v)) if k in signs else v for k, v in arrays.items()}

    return replace(base, params=far(base.params), inputs=far(base.inputs), state=far(base.state))


def _cotangents(own: Kernel, near: Point, seed: int) -> list[Arrays]:
    """Return cotangents of all values, and of each alone; of a model its loss has them."""
    if isinstance(own.target, Model):
        return [{}]
    sent = narrow(oracle.cotangents(own.target, near, seed + 1000), np.float32)
    alone = [{k: v if k == name else np.zeros_like(v) for k, v in sent.items()} for name in sent]
    return [sent, *alone] if len(sent) > 1 else [sent]


def _name(source: str, line: int) -> str:
    """Return the line, and the first equation that stands beside it or a statement behind it."""
    beside = (text.partition("# ")[2].strip() for text in source.splitlines()[line - 1 :])
    said = next((text for text in beside if " = " in text), "")
    return f"line {line}, {said}" if said else f"line {line}"
