"""`sb.trace_gradient`: the cotangents of a run step by step, from the last back to the first, and where they go wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from symbptt.checks import check_mapping
from symbptt.codegen.kernel import Kernel
from symbptt.derivations.derivation import Derivation
from symbptt.errors import ArgumentError, three_lines
from symbptt.ir.shape import named_size
from symbptt.verification import oracle
from symbptt.verification.adjoints.sweep import gradients_of
from symbptt.verification.adjoints.tape import Tape, tape_of
from symbptt.verification.adjoints.traced import Masks, Traced, traced
from symbptt.verification.mistakes.words import Words
from symbptt.verification.trace_events import events_of
from symbptt.verification.trace_report import GradientTrace
from symbptt.verification.trace_run import Look

__all__ = ["GradientTrace", "trace_gradient"]

BELOW, ABOVE = 1e-8, 1e8
"""The factors of the largest cotangent given under which a cotangent counts as vanished, and over which as exploded."""
Arrays = Mapping[str, Any]


def trace_gradient(
    kernel: Kernel, run: Any, cotangents: Arrays, *, below: float = BELOW, above: float = ABOVE
) -> GradientTrace:
    """Return the cotangents of a run step by step, from the last step to the first: the first step and variable that is NaN or
    infinite, or whose norm leaves the thresholds, and the share of each path of the derivation.

    `run` is what `kernel.forward` returned, with its lengths and resets; the truncation is that of the kernel. A norm counts as below or
    above where it is less than `below` or more than `above` times the largest norm of a cotangent given at one step.

    Shapes: cotangents as for `kernel.backward`: of states and outputs (T, B, ...), or (B, ...) for the last step.

    Example:
        run = kernel.forward(params, {"x": x})
        print(sb.trace_gradient(kernel, run, {"h": np.ones_like(run.states["h"][-1])}))

    Raises: ArgumentError where the kernel is none, or clips adjoints, where the run is not one of its own, for cotangents as
    `kernel.backward` does, and for thresholds that are no positive numbers with below < above.
    """
    _check(kernel, run, below, above)
    check_mapping("cotangents", cotangents, 'trace_gradient(kernel, run, {"h": dh})')
    with np.errstate(all="ignore"):
        grads = kernel.backward(run, cotangents)
        page = Derivation(kernel.cell)
        tape, masks = _tape(kernel, page, run)
        sent = {k: _batched(np.asarray(v, float), run, k) for k, v in cotangents.items()}
        found = traced(tape, sent, masks, kernel.truncation)
        look = Look(Words(page, kernel.cell), tape, masks, found, sent)
        values = look.norms()
        paths = tuple(look.paths())
        unit = max((look.largest(k, v) for k, v in sent.items()), default=0.0)
        events = tuple(events_of(look, values, below, above, unit))
        difference = _difference(grads, tape, found, run)
    shown = {name: look.words.result(name, bar=True) for name in tape.recursion.step.next}
    return GradientTrace(kernel.target.name, tape.steps, values, paths, events, difference, below, above, unit, shown)


def _check(kernel: Any, run: Any, below: Any, above: Any) -> None:
    if not isinstance(kernel, Kernel):
        raise ArgumentError(
            f"trace_gradient takes a kernel, got {type(kernel).__name__}\n  write kernel = sb.compile(cell)"
        )
    kernel.cell.check_contexts()
    kernel.cell.check_real()
    if kernel.clip_adjoint is not None:
        raise ArgumentError(
            three_lines(
                "the cotangents of a clipped kernel are not sums over paths",
                f"in a trace of {kernel.target.name}",
                "trace the kernel without clip_adjoint",
            )
        )
    if kernel.wanted is not None:
        raise ArgumentError(
            three_lines(
                "a trace compares all gradients, of which a kernel with wrt= computes some",
                f"in a trace of {kernel.target.name}",
                "trace the kernel without wrt",
            )
        )
    if getattr(run, "given", None) is None or getattr(run, "mark", None) != kernel.module.MARK:
        raise ArgumentError(
            f"run: what forward of this kernel returned is expected, got {type(run).__name__}\n"
            "  write run = kernel.forward(...), then trace_gradient(kernel, run, ...)"
        )
    is_number = all(
        isinstance(v, int | float | np.number) and not isinstance(v, bool) and np.isfinite(v) and v > 0
        for v in (below, above)
    )
    if not is_number or below >= above:
        raise ArgumentError(f"below and above are positive numbers with below < above, got {below!r} and {above!r}")


def _tape(kernel: Kernel, page: Derivation, run: Any) -> tuple[Tape, Masks]:
    """Return the values of a run at all steps, and its masks."""
    arrays, sizes, T, B, _, _ = kernel.read(*run.given)
    active, reset = run.tape[-2:]
    numbers = {named_size(name): value for name, value in sizes.items()}
    masks = Masks(
        np.ones((T, B), bool) if active is None else active, np.zeros((T, B), bool) if reset is None else reset
    )
    before: dict[str, Any] = {}
    for name, after in run.states.items():
        whole = np.asarray(after, float) if run.batched else np.asarray(after, float)[:, None]
        first = np.asarray(arrays[name], float)
        entering = np.concatenate([first[None], whole[: T - 1]])[:T] if T else whole
        before[name] = np.where(masks.reset.reshape(T, B, *(1,) * (whole.ndim - 2)), first[None], entering)
    point = oracle.Point({}, {}, {}, T, B, sizes=numbers)
    given = oracle.constants(kernel.cell, point) | dict(arrays) | before
    return tape_of(page.recursion, numbers, T, B, given), masks


def _batched(value: Any, run: Any, name: str) -> Any:
    """Return a cotangent with an axis for samples."""
    if run.batched:
        return value
    has_time = value.ndim == (run.states | run.outputs)[name].ndim
    return value[:, None] if has_time else value[None]


def _difference(grads: Any, tape: Tape, found: Traced, run: Any) -> float:
    """Return the largest difference of the gradients that the contributions add up to from those of the kernel, relative to each."""
    worst = 0.0
    for (group, name), value in gradients_of(tape, found.found).items():
        own = np.asarray(getattr(grads, group)[name], float)
        value = value if run.batched or group == "params" else value[:, 0] if group == "inputs" else value[0]
        top = float(np.max(np.abs(own), initial=0.0))
        off = float(np.max(np.abs(value - own), initial=0.0))
        worst = max(worst, off / top if top else off) if np.isfinite(off) and np.isfinite(top) else np.inf
    return worst
