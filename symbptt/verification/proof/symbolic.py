"""A symbolic proof at one or two steps, samples and units: <u, J v> - <Jᵀ u, v> is the polynomial zero.

Parameters, inputs, states, cotangents and the direction v are letters, and so are values of functions. Both sides are linear in
u and in v, so that the difference is zero if and only if every entry of every gradient is right.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import sympy as sp

from symbptt.autodiff.bptt import derive
from symbptt.codegen.loop_ir.arithmetics import exact
from symbptt.codegen.passes import PASSES
from symbptt.codegen.passes.still_sums import in_loops
from symbptt.codegen.program.program import program_of
from symbptt.errors import one_line
from symbptt.ir.shape import named_size, names_in
from symbptt.ir.sizes import fits
from symbptt.language.cell import Cell
from symbptt.language.init import concrete
from symbptt.language.user_frames import is_of_code
from symbptt.verification import oracle
from symbptt.verification.objective import value_of
from symbptt.verification.oracle import Arrays, Point
from symbptt.verification.proof.constants import meant
from symbptt.verification.proof.loops import UNCLIPPED, Lowered, lowered, run_loops
from symbptt.verification.proof.opaque import (
    FUNCTIONS,
    SLOTS,
    Letters,
    Opaque,
    Opaques,
    OutOfLettersError,
    OutOfTimeError,
    UndefinedError,
)
from symbptt.verification.requests import Asked

NO_FORMULA = "none, for a fixed point has no formula; over the field any values are taken for it, with the tangents of its equation"
INFINITE = "none, for ±∞ in the body is in no polynomial; over the field it is what it is where exp(-∞) = 0 takes it"
SIZES = ((1, 1, 1), (2, 1, 1), (1, 1, 2), (1, 2, 1), (2, 1, 2), (2, 2, 2))
"""Steps, samples, and every named size, from small to large."""


@dataclass(frozen=True)
class Symbolic:
    """The sizes at which the difference is zero, those at which it is not, and why others were not reached."""

    zero: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    note: str = ""

    def __str__(self) -> str:
        texts = [f"the difference is the polynomial zero at (T,B,n) = {' '.join(self.zero)}"] * bool(self.zero)
        texts += [f"not decided by the derivatives of functions alone at (T,B,n) = {' '.join(self.other)}"] * bool(
            self.other
        )
        return f"Symbolic, with opaque functions: {'; '.join([*texts, *([self.note] if self.note else [])])}"


def symbolic(cell: Cell, asked: Asked, seconds: float) -> Symbolic:
    """Return at which sizes the loops of a cell are proved symbolically, within a time."""
    if cell.tolerances:
        return Symbolic(note=NO_FORMULA)
    if cell.has_infinite_numbers:
        return Symbolic(note=INFINITE)
    end = time.process_time() + seconds
    found = lowered(program_of(derive(in_loops(cell.looped))), PASSES, False)
    zero: list[str] = []
    other: list[str] = []
    note = ""
    for steps, samples, size in SIZES:
        words = f"({steps},{samples},{size})"
        numbers = _numbers(cell, size, asked)
        if numbers is None:
            continue
        try:
            (zero if _is_zero(cell, found, numbers, steps, samples, end) else other).append(words)
        except OutOfTimeError:
            note = f"{words} was not reached within {seconds:g} s of processor time"
            break
        except Exception as error:  # a function without a version for these numbers, or a size that would be 0
            if not (isinstance(error, UndefinedError) or is_of_code(error)):
                raise
            note = f"not at {words}: {type(error).__name__}: {one_line(error)[:80]}"
    return Symbolic(tuple(zero), tuple(other), note)


def _numbers(cell: Cell, size: int, asked: Asked) -> dict[sp.Symbol, int] | None:
    """Return the named sizes, all equal, or none where they cannot be."""
    shapes = [(*a.shape, *(() if a.limit is None else (a.limit,))) for a in cell.arguments]
    names = sorted({name for shape in shapes for name in names_in(shape)})
    numbers = dict.fromkeys(names, size)
    return {named_size(name): size for name in names} if fits(asked.axes(cell), numbers) else None


def _is_zero(cell: Cell, found: Lowered, numbers: Any, steps: int, samples: int, end: float) -> bool:
    """Answer whether both sides are the same polynomial; with more letters for values of functions where they are too few."""
    for doubled in range(6):
        try:
            return _difference(cell, found, numbers, steps, samples, SLOTS << doubled, end)
        except OutOfLettersError:
            continue
    raise OutOfTimeError


def _difference(cell: Cell, found: Lowered, numbers: Any, steps: int, samples: int, slots: int, end: float) -> bool:
    lead = {"input": (steps, samples), "index": (steps, samples), "state": (samples,)}
    shapes = {a.name: (*lead.get(a.role, ()), *concrete(a.shape, numbers)) for a in cell.arguments}
    values = {**cell.looped.next, **cell.looped.outputs}
    sent_shapes = {k: (steps, samples, *concrete(cell.looped.graph.shape(id), numbers)) for k, id in values.items()}
    named = oracle.differentiable(cell)
    count = sum(int(np.prod(shape)) for shape in [*shapes.values(), *sent_shapes.values()])
    letters = Letters(count + sum(int(np.prod(shapes[k])) for k in named), slots, 0, end)

    def drawn(shape: tuple[int, ...]) -> Any:
        return _filled(shape, lambda: Opaque(letters, letters.letter()))

    def point_of(arrays: dict[str, Arrays]) -> Point:
        return Point(arrays["params"], arrays["inputs"], arrays["state"], steps, samples, sizes=numbers)

    random = np.random.default_rng(0)
    plain: dict[str, Arrays] = {"params": {}, "inputs": {}, "state": {}}
    for a in cell.arguments:
        group = {"input": "inputs", "index": "inputs", "state": "state"}.get(a.role, "params")
        if a.role == "index":
            plain[group][a.name] = random.integers(0, int(sp.sympify(a.limit).subs(numbers)), shapes[a.name])
        elif a.role != "const" or a.default is None:
            plain[group][a.name] = drawn(shapes[a.name])
    sent = {k: drawn(shape) for k, shape in sent_shapes.items()}
    moving = {k: drawn(shapes[k]) for k in sorted(named)}
    dual = {g: {k: _dual(v, moving[k]) if k in moving else v for k, v in arrays.items()} for g, arrays in plain.items()}
    consts = {k: _constants(letters, v) for k, v in oracle.constants(cell, point_of(plain)).items()}
    given = dual | {"params": consts | dual["params"]}
    if any(node.family == "algebra" for node in cell.looped.graph):
        given = {group: {k: _with_matrices(v) for k, v in arrays.items()} for group, arrays in given.items()}
    slope = value_of(cell, sent, point_of(given))(point_of(given))
    kind = exact(lambda value: Opaque(letters, letters.constant(_fraction(value))), FUNCTIONS)
    kind = replace(kind, runtime=UNCLIPPED)
    try:
        _, gradients = run_loops(found, cell, point_of(plain), sent, 1, kind)
    except ArithmeticError:
        raise
    except Exception as error:  # of what is generated, which is compared here, as in the proof over a field
        raise UndefinedError(f"what is generated does not run: {one_line(error)}") from error
    total: Any = Opaque(letters, letters.ring.zero)
    for (_, name), gradient in gradients.items():
        for g, v in zip(np.ravel(gradient), np.ravel(moving[name]), strict=True):
            total = total + g * v
    tangent: Any = np.asarray(slope)[()]
    return bool((tangent.b if tangent.b is not None else letters.ring.zero) == total.a)


def _filled(shape: tuple[int, ...], make: Any) -> Any:
    found = np.empty(shape, object)
    for place in np.ndindex(*shape):
        found[place] = make()
    return found


def _dual(values: Any, tangents: Any) -> Any:
    found = np.empty(values.shape, object)
    for place in np.ndindex(*values.shape):
        x = values[place]
        found[place] = Opaque(x.letters, x.a, tangents[place].a)
    return found


def _with_matrices(array: Any) -> Any:
    return array.view(Opaques) if isinstance(array, np.ndarray) and array.dtype == object else array


def _constants(letters: Letters, value: Any) -> Any:
    """Return constants with a point as elements; whole numbers may be numbers of rounds, and stay."""
    if isinstance(value, int):
        return value
    array = np.asarray(value)
    places = iter(array.ravel().tolist())
    found = _filled(array.shape, lambda: Opaque(letters, letters.constant(next(places))))
    return found if array.ndim else found[()]


def _fraction(value: sp.Expr) -> Fraction:
    return Fraction(int(value.p), int(value.q)) if value.is_Rational else meant(float(value))
