"""The proof of a cell, a model or a kernel: every path of its module, and its loops behind every pass, over a field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from symbptt.codegen.kernel import Kernel
from symbptt.errors import one_line
from symbptt.language.cell import Cell
from symbptt.language.held import HeldCell
from symbptt.language.model import Model
from symbptt.language.pairs import PairedCell
from symbptt.verification import oracle
from symbptt.verification.oracle import Arrays
from symbptt.verification.proof.cases import Case, Cases
from symbptt.verification.proof.degrees import chance_of, degree
from symbptt.verification.proof.floats import agrees_in_floats, raises_in_floats
from symbptt.verification.proof.identity import are_equal, wrong_blocks
from symbptt.verification.proof.loops import as_derived
from symbptt.verification.proof.norms import label
from symbptt.verification.proof.residues import elements, functions_of, generated, has_elements
from symbptt.verification.proof.results import Line, Proof
from symbptt.verification.proof.rules import functions_in, line_of_rules, wrong_rules
from symbptt.verification.proof.settings import FEW, Setting
from symbptt.verification.proof.subjects import LOOPS_OF, Found, Subject, subjects_of
from symbptt.verification.proof.symbolic import symbolic
from symbptt.verification.requests import NOTHING, Asked

GENERATED = "what is generated does not run on elements of a field"
FLOATS = (
    "it differs from the user's function over the field, and agrees in floats: "
    "it uses an identity of functions that the field does not know"
)
NO_FLOATS = (
    "it differs from the user's function over the field, and floats do not tell whether it uses an identity of functions that the "
    "field does not know: the user's function is not finite there"
)

SECONDS = 2.0
"""The time of the symbolic proof, which takes as many sizes as it reaches."""


def proof_of(target: Cell | Model | Kernel, seed: int, asked: Asked = NOTHING) -> Proof:
    """Return the proof of a kernel, or of all modules that a cell or a model may have."""
    cell = target.target if isinstance(target, Kernel) else target
    cases = Cases(seed, asked)
    lines = [line_of(subject, setting, cases) for subject, settings in subjects_of(target) for setting in settings]
    names = [f"d{a.name}" + "_0" * (a.role == "state") for a in cell.arguments if a.name in oracle.differentiable(cell)]
    stepped = cell.cell if isinstance(cell, Model) else cell
    steps = [stepped.looped, *([cell.loss.step] if isinstance(cell, Model) else [])]
    functions = functions_in(steps)
    # Letters are real numbers, of which a function of a complex one is made in no polynomial way.
    is_plain = not isinstance(target, Kernel) and not isinstance(stepped, PairedCell | HeldCell)
    proved = str(symbolic(stepped, asked, SECONDS)) if is_plain else ""
    return Proof(
        tuple(names), tuple(lines), _chance(stepped, cases), proved, line_of_rules(functions), wrong_rules(functions)
    )


def _chance(cell: Cell, cases: Cases) -> str:
    """Return in words how likely a mistake is missed, by the degree of what is compared over three blocks."""
    case = cases.at(cell, FEW[0])
    if isinstance(case, str) or cell.tolerances:
        return ""
    return chance_of(degree(as_derived(cell), cell, case.point, case.sent))


def line_of(subject: Subject, setting: Setting, cases: Cases) -> Line:
    """Return the comparison of one subject in one setting: where square roots are anything and both sides differ, once more at
    arguments at which all of them exist."""
    if cases.needs_roots(subject.target):
        rooted = cases.at(subject.target, setting, rooted=True)
        if not isinstance(rooted, str):
            return _compared(subject, setting, cases, rooted)
    case = cases.at(subject.target, setting)
    if isinstance(case, str) or not case.free:
        return _compared(subject, setting, cases, case)
    if _agrees(subject, setting, case):
        return _line(subject, setting, case)
    rooted = cases.at(subject.target, setting, rooted=True)
    if isinstance(rooted, str):
        return _compared(subject, setting, cases, case)
    line = _compared(subject, setting, cases, rooted)
    if not (line.wrong or line.note):
        cases.need_roots(subject.target)
    return line


def _agrees(subject: Subject, setting: Setting, case: Case) -> bool:
    """Answer whether both sides are the same, without a search for the blocks in which they are not."""
    with functions_of(case.atoms), np.errstate(all="ignore"):
        try:
            with generated():
                found = subject.on_elements(setting)(case.point, case.sent)
        except Exception:  # what it raises is told of where it is compared block by block
            return False
        return not _differing(subject, setting, case, found, named=False)


def _compared(subject: Subject, setting: Setting, cases: Cases, case: Case | str) -> Line:
    if isinstance(case, str):
        return replace(_line(subject, setting), note=case)
    with functions_of(case.atoms), np.errstate(all="ignore"):
        try:
            with generated():
                found = subject.on_elements(setting)(case.point, case.sent)
        except Exception as error:  # what is generated may raise anything; what compares it is ours, and raises
            if raises_in_floats(subject, setting, cases.seed, cases.asked):
                blocks = _blocks(subject, case)
                return replace(_line(subject, setting), blocks=blocks, wrong=blocks)
            return replace(_line(subject, setting), note=f"{GENERATED}: {type(error).__name__}: {one_line(error)}")
        differing = _differing(subject, setting, case, found)
    agrees = agrees_in_floats(subject, setting, cases.seed, cases.asked, differing) if differing else False
    if agrees or agrees is None:
        return replace(_line(subject, setting), note=FLOATS if agrees else NO_FLOATS)
    return _line(subject, setting, case, differing)


def _line(subject: Subject, setting: Setting, case: Case | None = None, differing: Sequence[str] = ()) -> Line:
    """Return the line of a comparison; without a case one in which nothing was compared."""
    few = setting.size.ones or setting.size.steps < 2
    line = Line(subject.words, setting.path, setting.sizes, few=few)
    if case is None:
        return line
    norms = _norms(subject, setting, case)
    return replace(line, blocks=(*_blocks(subject, case), *norms), wrong=tuple(differing))


def _blocks(subject: Subject, case: Case) -> tuple[str, ...]:
    return (*case.wanted, *oracle.blocks(case.point, oracle.differentiable(subject.target)))


def _differing(subject: Subject, setting: Setting, case: Case, given: Found, named: bool = True) -> list[str]:
    """Return the labels of the values and blocks that are not the same on both sides; of blocks not `named` one word for all."""
    values, gradients = given
    wanted = case.wanted | _norms(subject, setting, case)
    found = [k for k, v in wanted.items() if not _same(v, values.get(k))]
    slope, along = case.slope(subject.truncation), partial(case.along, subject.truncation)
    if are_equal(gradients, case.moving, slope):
        return found
    return [
        *found,
        *(wrong_blocks(case.point, subject.target, gradients, case.moving, along) if named else ("gradients",)),
    ]


def _norms(subject: Subject, setting: Setting, case: Case) -> Arrays:
    """Return the squares of the norms that are compared: loops are run without, and a context that stands for a state has none."""
    target = subject.target
    if not isinstance(target, Cell) or subject.words.startswith(LOOPS_OF) or not setting.monitor:
        return {}
    held = [label(name) for name in target.held] if isinstance(target, HeldCell) else []
    return {name: value for name, value in case.squares(subject.truncation).items() if name not in held}


def _same(wanted: Any, given: Any) -> bool:
    return has_elements(given) and np.array_equal(elements(wanted), elements(given))
