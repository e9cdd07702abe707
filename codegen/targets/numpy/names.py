"""The names that a NumPy module uses itself, which no value of a program has."""

from __future__ import annotations

import builtins
import keyword

from symbptt.codegen.targets.numpy.embed import defined

RESERVED = {
    *keyword.kwlist, *keyword.softkwlist, *dir(builtins), "np", "t", "T", "B", "a", "sizes", "dtype", "active", "reset",
    "tape", "flow", "given", "last", "full", "init", "forward", "backward", "value_and_grad", "value", "predict", "stepper", "erf",
    "params", "inputs", "state", "run", "start", "carry", "sums", "read", "of", "masked", "scanned", "window", "plans", "K", "lo", "hi",
    "v", "final", "adjoint", "adjoints", "resets", "waiting", "sent", "ws", "workspace", "_", *defined(),
}  # fmt: skip
"""Names that a module uses itself."""
