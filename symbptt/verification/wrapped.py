"""What a kernel gives that takes and gives its arrays in another form than its module does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Arrays = dict[str, Any]


@dataclass(frozen=True)
class WrappedRun:
    """What a kernel returns of a run, in the other form, and the run itself."""

    states: Arrays
    outputs: Arrays
    whole: Any


@dataclass(frozen=True)
class WrappedGrads:
    """Gradients in the other form."""

    params: Arrays
    inputs: Arrays
    state: Arrays
    flow: Any
    final: Any
