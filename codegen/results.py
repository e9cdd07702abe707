"""What kernels return, as type checkers and editors see it: each module has these classes of its own."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray


class Run(Protocol):
    """What `kernel.forward` returns: states and outputs by name after every step, (T, B, ...), and what `backward` reads."""

    states: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]


class Grads(Protocol):
    """Gradients by name, each of the shape of its argument, that of a context summed over steps; with monitor=True `flow` has the norm of
    the adjoint of each state at every step, (T,), by name, else it is None."""

    params: dict[str, NDArray[Any]]
    inputs: dict[str, NDArray[Any]]
    contexts: dict[str, NDArray[Any]]
    state: dict[str, NDArray[Any]]
    flow: Any


class LossGrads(Grads, Protocol):
    """The gradients of a loss; `final` has the states after the last step of each sample."""

    final: dict[str, NDArray[Any]]
