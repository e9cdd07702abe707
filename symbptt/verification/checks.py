"""`sb.verify` and `sb.check_backward`: gradients against the user's own function."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from symbptt.checks import check_call, check_seed
from symbptt.codegen.kernel import Kernel
from symbptt.codegen.kernel import compile as compile_cell
from symbptt.codegen.results import Grads
from symbptt.errors import ArgumentError, instead_of_cell
from symbptt.language.cell import Cell
from symbptt.language.held import as_states, contexts_of
from symbptt.language.kept_traces import traces_kept
from symbptt.language.model import Model
from symbptt.language.pairs import has_complex
from symbptt.notebook import preformatted
from symbptt.verification import oracle
from symbptt.verification.blocks import in_blocks, to_the_last_digits
from symbptt.verification.certificate import Certificate, certificate_of
from symbptt.verification.comparison import TOLERANCE, Case, gradient_rows, type_rows, value_rows
from symbptt.verification.finite_differences import has_complex_version
from symbptt.verification.forms import NOWHERE, form_rows, settled_rows
from symbptt.verification.function import check_function
from symbptt.verification.handed import gradients_of
from symbptt.verification.held import HeldKernel, backward_of_held
from symbptt.verification.inner_gradients import inner_rows
from symbptt.verification.mistakes.explain import Finding, explained
from symbptt.verification.objective import Truncation, loss_of, predictions_of
from symbptt.verification.oracle import Arrays, Point
from symbptt.verification.pairs import PairedKernel, backward_of_parts, given_parts
from symbptt.verification.proof.prove import proof_of
from symbptt.verification.proof.subjects import has_proved_loops
from symbptt.verification.regimes import GIVEN, REGIMES, Blocks, has_gates, settings_of, size_given, sizes_of
from symbptt.verification.regimes import point as draw
from symbptt.verification.report import Report, Row
from symbptt.verification.requests import NOTHING, Asked, asked_of
from symbptt.verification.rounding.measure import rounding_of
from symbptt.verification.saved import kernel_of, read_module
from symbptt.verification.undefined import undefined

HELD = "contexts are compared as states that stay as they are: of a context c, dc_0 is the gradient"
OF_CONTEXTS = (
    f"{HELD}; they are proved as such too; norms of monitor=True are compared in the proof alone; "
    "not proved: the loops behind each pass, and losses of a cell alone"
)
OF_PAIRS = (
    "complex numbers are compared, and proved, as their real and imaginary parts, with the user's function on pairs of these; "
    "rounding is told by runs against that function at 50 digits, on which the text does not run; not verified: the loops behind each pass"
)
IN_C = "values, gradients and rounding are those of the kernel in C; the text of C itself is compared, not proved"
PROVED_OF_C = (
    "proved is its module in NumPy, made of the same program, whose driver is the same but for ragged batches in rows and the checks "
    "of calls"
)
LOOPS_OF_C = "the loops that its C is printed from are proved too, without masks"


class Verification(Report):
    """The result of a verification, as a table under `str`."""

    def __str__(self) -> str:
        return _table(self)

    def _repr_html_(self) -> str:
        return preformatted(str(self))

    @property
    def certificate(self) -> Certificate:
        """What this says of the module that was compared: `.lines` for its head, `.to_json()`, `.verified`.

        Raises: ArgumentError where no module was compared, but a backward pass of yours.
        """
        if not self.text:
            raise ArgumentError(
                f"a check of a backward pass of yours, or of a kernel in C, has no certificate, which is of a module in NumPy\n"
                f"  verify that: sb.verify(sb.compile({self.name}))"
            )
        return certificate_of(self)

    def to_json(self) -> str:
        """Return the certificate as JSON."""
        return self.certificate.to_json()


@dataclass(frozen=True)
class BackwardCheck(Verification):
    """The result of a check of a caller's backward pass; `findings` are the mistakes that explain what is wrong, told by `str` too."""

    findings: tuple[Finding, ...] = ()


@traces_kept()
def verify(
    subject: Cell | Model | Kernel,
    /,
    *,
    target: Literal["numpy", "c"] = "numpy",
    inputs: Any = None,
    params: Any = None,
    domain: Any = None,
    seed: int = 0,
    proof: bool = True,
    module: str | os.PathLike[str] | None = None,
) -> Verification:
    """Return the comparison of the generated module with the user's function, in eight regimes, on several sizes.

    Values are compared with the function itself, gradients with its complex step (central differences where a function
    has no complex version); errors are relative to each block: each parameter, each input at each step, each initial
    state. All gradients are compared along one random direction, whose error then stands for each of them; where it is not a hundredth
    of the tolerance, each array along one of its own, and what is not plainly right then element by element.

    One regime is a padded batch with resets, compared with samples that run on their own; in one many numbers are exactly
    zero or one. Some sizes have several blocks of steps, and several windows of a scan. Of a model, its loss and the
    gradients of that; of a truncated kernel, gradients with those states constant that the truncation names. Of
    single precision only the types are looked at. Other forms of a call must give the same numbers: one sample without a
    batch axis, no state, cotangents of the last step alone, single steps of a stepper, a loss of some steps and of
    the others, by a mask and by labels that are ignored, `forward` and `backward` of a model with what its loss sends to the
    states; norms of `monitor=True`, final states and first values are compared too.

    Gradients that the user's function takes inside a step (`sb.grad`) are compared with complex steps of the functions that they are
    the gradients of, in rows of their own: that function takes them by the rules by which the module was derived.

    With `proof` the gradients are compared once more, exactly: over a field of residues, where nothing rounds, with random
    elements for numbers and for the values of functions, and dual numbers through the user's own function. Of a cell or a
    model that takes every path that a call may take: blocks of steps, windows, masks, options, places and reductions of a
    loss, and the loops behind every pass. `report.proof` lists the paths; what the field cannot tell is said there.

    With `proof` rounding is measured too: the module's text and the user's function on numbers of 50 digits, against runs in
    float64 and float32; `report.rounding` has the error of each block in units of rounding, and what rounding explains.

    `inputs` (T, B, ...) or (T, ...) and `params` are arrays to check at, by name; what they leave out is drawn. `domain`
    says where: domain={"x": (0, 1), "keep": "binary", "p": "positive"}; also "nonnegative", "probability", "simplex" over the last
    axis, "integer". A cell that is NaN on usual data is not passed: the report names the argument and its domain.

    With target="c" the kernel in C is compared, as where `sb.compile(cell, target="c")` is what is verified: on all levels in floats.
    Proved is its module in NumPy, and without truncation and contexts the loops that its C is printed from.

    `module` is a file that `kernel.save` or `symbptt generate` wrote: its text is compared as it stands, edited or not, with the cell or
    the model that it was made of, with the options that its head names.

    `.certificate` and `.to_json()` tell what was verified, for the head of the module: kernel.save(path, certificate=report.certificate).

    Raises: ArgumentError where the subject is none of the three, or a kernel that clips adjoints, and for arrays and domains
    that do not go with it; CellError where what the user wrote is no function: it draws at random, reads what changes,
    or changes a parameter.
    """
    check_seed(seed)
    if not isinstance(subject, Cell | Model | Kernel):
        raise ArgumentError(
            f"verify takes a cell, a model or a kernel, got {type(subject).__name__}\n  {instead_of_cell(subject)}"
        )
    if not isinstance(proof, bool | np.bool_):
        raise ArgumentError(f"verify: proof is True or False, got {proof!r}")
    checked = _in_c(subject, module) if _is_c(target) else subject
    return _verified(checked, inputs, params, domain, seed, proof, module)


def _said_of_c(kernel: Kernel, proof: bool) -> Iterator[str]:
    """Yield what is to be said of a kernel in C: what is compared, and what is proved."""
    if kernel.backend == "c":
        yield IN_C
        if proof:
            yield PROVED_OF_C
        if proof and has_proved_loops(kernel):
            yield LOOPS_OF_C


def _verified(
    target: Cell | Model | Kernel,
    inputs: Any,
    params: Any,
    domain: Any,
    seed: int,
    proof: bool,
    module: str | os.PathLike[str] | None,
) -> Verification:
    """Return the comparison of what was asked for, whose arguments are checked here alone."""
    if module is not None:
        if isinstance(target, Kernel):
            raise ArgumentError(
                "verify: a module in a file is compared with a cell or a model, got a kernel\n  write verify(kernel.target, module=...)"
            )
        target = kernel_of(read_module(module), target)
    kernel = target if isinstance(target, Kernel) else None
    own = target.target if isinstance(target, Kernel) else target
    is_pairs = has_complex(own)
    if is_pairs:
        (own if isinstance(own, Cell) else own.cell).check_contexts()
        kernel = PairedKernel(compile_cell(own) if kernel is None else kernel)
        inputs, params = given_parts(own, inputs), given_parts(own, params)
    elif contexts_of(own):
        kernel = HeldKernel(compile_cell(own) if kernel is None else kernel)
        own = kernel.target
    asked = asked_of(own if kernel is None else kernel.target, inputs, params, domain)
    kernel = compile_cell(own) if kernel is None else kernel
    if kernel.clip_adjoint is not None:
        raise ArgumentError(
            "the gradients of a clipped kernel are not those of a function\n  verify the kernel without clip_adjoint"
        )
    if kernel.wanted is not None:
        raise ArgumentError(
            "a kernel with wrt= computes some gradients alone, and a report would speak of all\n"
            "  verify the kernel without wrt, whose gradients these are"
        )
    found = Verification(
        kernel.target.name,
        tuple(rows(kernel, seed, asked)),
        text=kernel.source if kernel.backend == "numpy" else "",
        seed=seed,
        given=tuple(sorted({*asked.inputs, *asked.params, *asked.domain})),
        settings=settings_of(kernel.target, asked),
        remarks=(
            *(OF_PAIRS,) * (is_pairs and bool(proof)),
            *(OF_CONTEXTS,) * isinstance(kernel, HeldKernel),
            *_said_of_c(kernel, bool(proof)),
        ),
    )
    if not proof:
        return found
    proof_target = kernel if isinstance(target, Kernel) else kernel.target
    return replace(found, proof=proof_of(proof_target, seed, asked), rounding=rounding_of(kernel, seed, asked))


def _is_c(target: Any) -> bool:
    if not isinstance(target, str) or target not in ("numpy", "c"):
        raise ArgumentError(f'verify: target is "numpy" or "c", got {target!r}')
    return target == "c"


def _in_c(subject: Cell | Model | Kernel, module: Any) -> Kernel:
    """Return what is verified as a kernel in C.

    Raises: ArgumentError for a kernel, which has its target, and beside a module in a file; CellError for what C does not have.
    """
    if isinstance(subject, Kernel):
        raise ArgumentError(
            'verify: a kernel has its own target, got target="c" beside one\n  write verify(compile(cell, target="c"))'
        )
    if module is not None:
        raise ArgumentError(
            'verify: a module in a file is one in NumPy, got target="c" beside it\n  leave one of them out'
        )
    return compile_cell(subject, target="c")


def rows(kernel: Kernel, seed: int, asked: Asked = NOTHING) -> Iterator[Row]:
    """Yield the comparisons of a kernel with its target, one after the other."""
    target, as_it_stands, kernel = kernel.target, kernel, to_the_last_digits(kernel)
    check_function(target, _first_point(target, seed, asked))
    yield from _undefined_rows(target, seed, asked)
    yield from inner_rows(target, seed, asked)
    is_complex = has_complex_version(target, seed, asked)
    kept: dict[Blocks | None, Kernel] = {}
    known: frozenset[str] = frozenset()
    is_sharp = isinstance(target, Cell)  # derivatives of a loss are taken from values
    for drawn in _cases(target, seed, asked, kernel.truncation):
        case = replace(drawn, sharp=is_sharp)

        def run(blocks: Blocks | None = case.size.blocks) -> Kernel:
            return kept[blocks] if blocks in kept else kept.setdefault(blocks, in_blocks(kernel, blocks))

        named = _names_of_values(target)
        yield from value_rows(case, partial(_values, run), named)
        # Types do not depend on the numbers, so that one case is enough.
        if case.regime is REGIMES[0] and case.size is sizes_of(case.regime)[0]:
            yield from type_rows(case, partial(_in_single_precision, kernel))
            yield from form_rows(kernel, seed, asked, is_complex)
            yield from settled_rows(as_it_stands, kernel, seed, asked)
        found = gradient_rows(case, partial(_gradients, run), is_complex, known)
        # A block that is wrong once is wrong: looking at its elements again in every case would cost most of the
        # time.
        known |= _wrong(found)
        yield from found


def _undefined_rows(target: Cell | Model, seed: int, asked: Asked) -> Iterator[Row]:
    """Yield a row where the user's functions are no numbers on usual data: nothing that is compared there speaks for them."""
    said = undefined(target, seed, asked)
    if said:
        yield Row(
            REGIMES[0].name,
            sizes_of(REGIMES[0])[0].label,
            "forward",
            np.inf,
            TOLERANCE["forward"],
            "forward",
            said=said,
        )


def _wrong(rows: Iterable[Row]) -> frozenset[str]:
    return frozenset(row.name for row in rows if not row.passed)


def _values(run: Callable[[], Kernel], point: Point) -> dict[str, tuple[Any, Any]]:
    """Each state and output, or the loss, by the user's function, and by the kernel."""
    target = run().target
    if isinstance(target, Model):
        wanted = np.asarray(loss_of(target, point))
        found = {
            "loss": (wanted, np.asarray(_trained(run(), point)[0])),
            "value": (wanted, np.asarray(_evaluated(run(), point))),
        }
        return found | _predictions(run(), point)
    states, outputs = oracle.run(target, point)
    found = _forward(run(), point)
    came = found.states | found.outputs
    return {name: (reference, came.get(name, NOWHERE)) for name, reference in (states | outputs).items()}


def _names_of_values(target: Cell | Model) -> tuple[str, ...]:
    """Return the blocks that `_values` compares."""
    if isinstance(target, Cell):
        return (*target.looped.next, *target.looped.outputs)
    predicted = target.loss.predicted
    return ("loss", "value", *(predicted.outputs if predicted is not None else ()))


def _predictions(kernel: Kernel, point: Point) -> dict[str, tuple[Any, Any]]:
    """What a loss returns beside its value, by the user's function, and by the kernel."""
    target = kernel.target
    if not isinstance(target, Model) or target.loss.predicted is None:
        return {}
    groups = (point.params, point.inputs, point.state)
    found = kernel.predict(*map(_fixed, groups), steps=point.steps, **point.masks)
    wanted = predictions_of(target, point)
    return {name: (wanted.get(name, np.zeros_like(value)), value) for name, value in found.items()}


def _evaluated(kernel: Kernel, point: Point) -> Any:
    groups = (point.params, point.inputs, point.targets, point.state)
    return kernel.value(*map(_fixed, groups), steps=point.steps, **point.masks)


def _gradients(run: Callable[[], Kernel], point: Point, cotangents: Arrays) -> tuple[Arrays, Arrays, Arrays]:
    """Gradients by a kernel."""
    kernel = run()
    is_model = isinstance(kernel.target, Model)
    found = _trained(kernel, point)[1] if is_model else kernel.backward(_forward(kernel, point), cotangents)
    return found.params, found.inputs, found.state


def _in_single_precision(kernel: Kernel, point: Point, cotangents: Arrays) -> dict[str, Any]:
    """Return the results of a kernel for float32, by block."""
    narrow = partial(_of_type, dtype=np.float32)
    groups = (point.params, point.inputs, point.targets, point.state)
    params, inputs, targets, state = map(narrow, groups)
    found: Grads
    if isinstance(kernel.target, Model):
        loss, found = kernel.value_and_grad(params, inputs, targets, state, steps=point.steps)
        values: Arrays = {"loss": loss}
    else:
        run = kernel.forward(params, inputs, state, steps=point.steps)
        values, found = run.states | run.outputs, kernel.backward(run, narrow(cotangents))
    grads = {f"d{k}": v for k, v in (found.params | found.inputs).items()}
    return values | grads | {f"d{k}_0": v for k, v in found.state.items()}


def _of_type(arrays: Arrays, dtype: Any) -> Arrays:
    return {k: np.asarray(v, dtype if np.asarray(v).dtype.kind == "f" else None) for k, v in arrays.items()}


def _forward(kernel: Kernel, point: Point) -> Any:
    groups = (point.params, point.inputs, point.state)
    return kernel.forward(*map(_fixed, groups), steps=point.steps, **point.masks)


def _trained(kernel: Kernel, point: Point) -> Any:
    groups = (point.params, point.inputs, point.targets, point.state)
    return kernel.value_and_grad(*map(_fixed, groups), steps=point.steps, **point.masks)


def _fixed(arrays: Arrays) -> Arrays:
    """Views that cannot be written: a module that changes its arguments raises an error."""
    views = {k: np.asanyarray(v)[...] for k, v in arrays.items()}
    for view in views.values():
        # The view is locked, not the array behind it: the point is used again for other checks.
        view.flags.writeable = False
    return views


@traces_kept()
def check_backward(
    target: Cell | Model,
    backward: Callable[..., Any],
    *,
    inputs: Any = None,
    params: Any = None,
    domain: Any = None,
    seed: int = 0,
) -> BackwardCheck:
    """Return the comparison of a backward pass of yours with the derivative of a cell, or of a model's loss.

    `backward(params, inputs, state, cotangents)` returns one flat dict of gradients by name, of parameters, inputs, contexts and
    initial states, in float64. Shapes: inputs (T, B, ...), among them contexts (B, ...), state (B, ...), cotangents of states and
    outputs (T, B, ...); of a model the last argument has the targets in place of cotangents. Each call is given copies, and is made
    twice.

    Where it is wrong, `.findings` and `str` tell what is wrong: the mistakes in the derivation that give the same numbers, to 1e-8 of
    the difference on two draws of data, with the term, the user's line and the blocks that they explain; or that none does, and
    where the largest difference is.

    `inputs`, `params` and `domain` say where it is checked, as for `verify`: {"x": (0, 1), "keep": "binary"}.

    Example: `print(sb.check_backward(gru, my_backward))`.

    Raises: ArgumentError where the target is no cell and no model, where `backward` raises an error, or where what it returns
    is no dict with an array of real numbers in float64 for every name.
    """
    if not isinstance(target, Cell | Model):
        raise ArgumentError(
            f"check_backward takes a cell or a model, got {type(target).__name__}\n  {instead_of_cell(target)}"
        )
    last = "targets" if isinstance(target, Model) else "cotangents"
    check_call("check_backward", backward, f"def backward(params, inputs, state, {last}):", 4)
    check_seed(seed)
    beside: tuple[str, ...] = ()
    if has_complex(target):
        (target if isinstance(target, Cell) else target.cell).check_contexts()
        kernel = PairedKernel(compile_cell(target))
        inputs, params = given_parts(target, inputs), given_parts(target, params)
        target, backward = kernel.target, backward_of_parts(kernel, backward)
    elif contexts_of(target):
        target, backward = as_states(target), backward_of_held(target, backward)
        beside = (HELD,)
    asked = asked_of(target, inputs, params, domain)
    gradients = gradients_of(target, backward)
    check_function(target, _first_point(target, seed, asked))
    cases = [
        case
        for case in _cases(target, seed, asked)
        # A backward pass of the caller's knows no lengths and no resets, and no blocks of a module; it may take 1 - tanh² from the
        # value, which has no digits of it at a bias of -12.
        if not case.regime.padded and case.size.blocks is None and not case.size.shut
        if case.size.gates is None or has_gates(target)
    ]
    is_complex = has_complex_version(target, seed, asked)
    found = [*_undefined_rows(target, seed, asked)]
    wrong: Case | None = None
    for case in cases:
        of_case = gradient_rows(case, gradients, is_complex, _wrong(found))
        # Of no gradient, or of one that changes from call to call, there is nothing to explain.
        is_wrong = any(not row.passed and (not row.said or row.said.startswith("shape")) for row in of_case)
        wrong = wrong or (case if is_wrong else None)
        found += of_case
    if wrong is None:
        return BackwardCheck(target.name, tuple(found), beside, settings=settings_of(target, asked))
    findings, remarks = explained(target, gradients, seed, asked, wrong)
    said = (*map(str, findings), *remarks, *beside)
    return BackwardCheck(target.name, tuple(found), said, settings=settings_of(target, asked), findings=findings)


def _first_point(target: Cell | Model, seed: int, asked: Asked) -> Point:
    points = (draw(target, REGIMES[0], size, seed, asked) for size in sizes_of(REGIMES[0]))
    return next(point for point in points if point is not None)


def _cases(target: Cell | Model, seed: int, asked: Asked, truncation: Truncation = None) -> Iterator[Case]:
    for number, regime in enumerate(REGIMES):
        for size in sizes_of(regime):
            point = draw(target, regime, size, seed + number, asked)
            if point is not None:
                sent = {}
                if isinstance(target, Cell):
                    # A seed far from those of the arguments, so that cotangents do not repeat their numbers.
                    sent = oracle.cotangents(target, point, seed + 1000, size.last, size.only)
                yield Case(target, regime, size, point, sent, truncation, domain=asked.domain)
    whole = size_given(asked)
    point = draw(target, GIVEN, whole, seed, asked) if whole else None
    if whole is not None and point is not None:
        sent = oracle.cotangents(target, point, seed + 1000) if isinstance(target, Cell) else {}
        yield Case(target, GIVEN, whole, point, sent, truncation, domain=asked.domain)


def _table(report: Report) -> str:
    table = Table(title=f"{report.name}: {report.verdict}", title_justify="left")
    regimes = dict.fromkeys(row.regime for row in report.rows)
    for column in ("block", *regimes, "tolerance"):
        table.add_column(column, justify="left" if column == "block" else "right")
    for block in dict.fromkeys(row.name for row in report.rows):
        rows = [row for row in report.rows if row.name == block]
        allowed = [row.tolerance for row in rows if row.tolerance == row.tolerance]
        table.add_row(
            block,
            *(_cell_text([r for r in rows if r.regime == regime]) for regime in regimes),
            f"{max(allowed):.0e}" if allowed else "-",
        )
    out = io.StringIO()
    Console(file=out, width=120, no_color=True).print(table)
    worst = report.worst
    place = "nearest to its tolerance" if worst and worst.passed else "farthest over its tolerance"
    lines = ["\n".join(line.rstrip() for line in out.getvalue().rstrip().split("\n"))]
    lines += (
        [
            f"{len(report.rows)} comparisons; {place}: {worst.block} at {worst.error:.1e} of {worst.tolerance:.0e} "
            f"({worst.regime}, {worst.size}, {worst.method})"
        ]
        if worst
        else []
    )
    said = {row.name: row.said for row in reversed(report.rows) if row.said}
    lines += [f"{block}: {text}" for block, text in said.items()]
    lines += [f"compared nowhere: {', '.join(report.uncompared)}"] * bool(report.uncompared)
    lines += report.remarks
    lines += report.settings
    lines += [str(level) for level in (report.proof, report.rounding) if level]
    notes = sorted({f"{row.regime}: {row.note}" for row in report.rows if row.note})
    return "\n".join(
        lines + [f"not compared: {note}" for note in notes] + [f"wrong: {', '.join(report.wrong)}"] * bool(report.wrong)
    )


def _cell_text(rows: list[Row]) -> str:
    made = [row for row in rows if not row.note]
    if not made:
        return "-"
    worst = max(made, key=lambda row: row.error if row.error == row.error else np.inf)
    return f"{worst.error:.0e}" + ("" if all(row.passed for row in made) else " ✗")
