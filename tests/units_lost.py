"""The table of docs/digits.md: units of rounding that the gradient of one function has lost, by argument and type."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np

import symbptt as sb
from symbptt import Input, State
from symbptt.codegen.kernel import Kernel
from symbptt.codegen.kernel import compile as compile_cell
from symbptt.verification.oracle import Point
from symbptt.verification.rounding.arrays import values_of
from symbptt.verification.rounding.exact import Tape, fifty_digits
from symbptt.verification.rounding.gradients import gradients_of

ARGUMENTS = (2.0, 4.0, 8.0, 12.0, 20.0)
NAMES = (
    "tanh", "sigmoid", "softplus", "silu", "mish", "gelu", "erf", "elu", "selu", "softsign", "arctan", "exp", "expm1",
    "log", "log1p", "sqrt", "sinh", "cosh", "sin", "cos", "tan", "logsumexp", "softmax", "log_softmax",
)  # fmt: skip


def cell_of(name: str) -> sb.Cell:
    """Return a cell whose next state is one function of its input and its state; of several entries, the first."""
    function = getattr(sb, name, None) or getattr(np, name)
    if name in ("logsumexp", "softmax", "log_softmax"):

        @sb.cell
        def several(x: Input["2"], h: State["2"]):
            return function(x + h) + 0 * h

        return several

    @sb.cell
    def one(x: Input["1"], h: State["1"]):
        return function(x + h)

    return one


def kernel_of(name: str) -> Kernel:
    """Return the kernel of such a cell."""
    return compile_cell(cell_of(name))


def units(kernel: Kernel, a: float, dtype: Any) -> float:
    """Return the error of the gradient of the input in units of rounding of its largest entry, where the argument is `a`; of several
    entries `a` is the lead of the first one."""
    size = 2 if "several" in kernel.target.name else 1
    x = np.zeros((1, 1, size), dtype)
    x[..., 0] = a
    state, sent = {"h": np.zeros((1, size), dtype)}, {"h": np.ones((1, 1, size), dtype)}
    sent["h"][..., 1:] = 0.5
    with np.errstate(all="ignore"), fifty_digits():
        found = kernel.backward(kernel.forward({}, {"x": x}, state), sent).inputs["x"]
        point = Point({}, {"x": x}, state, 1, 1)
        wanted = gradients_of(kernel.target, point, sent, None, Tape())["inputs", "x"]
        top = max(abs(v) for v in wanted.ravel())
        if not (np.all(np.isfinite(found)) and top.is_finite()) or top < Decimal(float(np.finfo(dtype).tiny)):
            return np.nan
        off = max(abs(v) for v in (values_of(found) - wanted).ravel())
        return float(off / top / Decimal(float(np.finfo(dtype).eps)))


def worst(kernel: Kernel, a: float, dtype: Any, signs: tuple[int, ...] = (1, -1)) -> float:
    """Return the worst of some arguments near one, of both signs."""
    near = [a * (1 + k / 64) for k in range(8)]
    found = [units(kernel, sign * x, dtype) for x in near for sign in signs]
    return max((x for x in found if x == x), default=np.nan)


def shown(x: float) -> str:
    """Return a number of units as the table has it; a dash where the slope is no normal number."""
    return (
        "–"
        if x != x
        else f"{x:.1f}"
        if x < 10
        else f"{float(f'{x:.1g}'):,.0f}".replace(",", " ")
        if x < 1e6
        else f"{x:.0e}"
    )


def main() -> None:
    """Print the table."""
    numbers = " | ".join(f"{a:.0f}" for a in ARGUMENTS)
    print(
        f"| function | float64, 2 | {numbers[4:]} | float32, 2 | {numbers[4:]} |\n|" + "---|" * (2 * len(ARGUMENTS) + 1)
    )
    for name in NAMES:
        signs = (1,) if name in ("log", "log1p", "sqrt") else (1, -1)
        kernel = kernel_of(name)
        parts = [worst(kernel, a, dtype, signs) for dtype in (np.float64, np.float32) for a in ARGUMENTS]
        print(
            f"| {name} | " + " | ".join(shown(x) for x in parts) + " |",
            flush=True,
        )


if __name__ == "__main__":
    main()
