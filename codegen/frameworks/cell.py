"""What each native module has of its own cell; here, by hand, of h_t = w ⊙ h_{t-1} + x_t with y_t = h_t².

No module carries this file: it has its own tables and sweeps under these names. With them the parts for torch and for JAX are checked
by a type checker, and run by themselves.
"""

from collections.abc import Callable, Mapping
from typing import Any

PARAMS: tuple[str, ...] = ("w",)
INPUTS: tuple[str, ...] = ("x",)
CONTEXTS: tuple[str, ...] = ()
"""What a sequence is given once, and each step reads."""
STATES: tuple[str, ...] = ("h",)
TARGETS: tuple[str, ...] = ()
ARGUMENTS: tuple[str, ...] = ("x", "h", "w")
"""The arguments of the cell itself, without those of a loss."""
SIZES: tuple[str, ...] = ("n",)
NEEDED: tuple[str, ...] = ("n",)
"""The sizes that parameters have."""
OUTPUTS: tuple[str, ...] = ("y",)
LEAD: dict[str, int] = {"x": 2, "h": 1}
SHAPES: dict[str, str] = {"x": "n", "h": "n", "w": "n"}
INDICES: dict[str, str | None] = {}
STARTS: dict[str, Any] = {}
"""What states begin with where a call omits them: numbers, or the name of a parameter; zero of those that are not here."""
CONSTS: tuple[str, ...] = ()
"""The arguments among the parameters that are not trained."""
LOSS_PARAMS: tuple[str, ...] = ()
"""The parameters that a loss reads."""
LOSS_INPUTS: tuple[str, ...] = ("h",)
"""What it reads beside these."""
PREDICTED: tuple[str, ...] = ()
"""What a loss returns beside its value, by name; what that reads are `PREDICT_PARAMS` and `PREDICT_INPUTS`."""
PREDICT_PARAMS: tuple[str, ...] = ()
PREDICT_INPUTS: tuple[str, ...] = ()
REDUCTION: str = "sum"
"""The loss of a call: the "sum" over the steps and samples that count, or their "mean"."""
CHUNK: int = 1
"""The number of steps whose losses flow back together."""
REACH: int = 3
"""The number of steps that they flow back through."""
FIRST: dict[str, Any] = {"w": 0.0}
"""First values of parameters: numbers, "orthogonal", or "uniform" between Glorot's limits."""


def _sizes(of: Callable[[str, int], Any]) -> dict[str, int]:
    """Return the named sizes, each read from an argument and an axis."""
    return {"n": of("w", 0)}


def _shapes(n: int) -> Mapping[str, tuple[int, ...]]:
    """Return the shape of every argument of one sample and step."""
    return {"x": (n,), "h": (n,), "w": (n,)}


def _forward(params: Any, inputs: Any, state: Any, T: int, B: int, scan: Any) -> Any:
    """Run all steps: the states behind each, the outputs, and what the way back reads."""
    (w,) = params
    (x,) = inputs
    (h_0,) = state

    def step(carry: Any, given: Any) -> Any:
        (h_prev,) = carry
        (x,) = given
        return (w * h_prev + x,), ()

    (h,), () = scan(step, (h_0,), (x,), T)
    return (h,), (h * h,), ()


def _kept(params: Any, inputs: Any, before: Any, T: int, B: int) -> Any:
    """Compute what the way back reads of all steps at once, from the states before each."""
    return ()


def _backward(
    params: Any,
    inputs: Any,
    before: Any,
    after: Any,
    outputs: Any,
    kept: Any,
    cotangents: Any,
    T: int,
    B: int,
    scan: Any,
) -> Any:
    """Go back through all steps: the gradients of parameters, inputs and initial states."""
    (w,) = params
    (h_prev,) = before
    (h,) = after
    (dy,) = cotangents
    direct = 2 * h * dy

    def step(carry: Any, given: Any) -> Any:
        (dh,) = carry
        (direct,) = given
        dh = dh + direct
        return (w * dh,), (dh,)

    first, (dh,) = scan(step, (direct,))
    return ((dh * h_prev).sum((0, 1)),), (dh,), first


def _loss(params: Any, inputs: Any, T: int, B: int) -> Any:
    """Compute the loss of each step and sample, and what its gradient reads."""
    (h,) = inputs
    return h.sum(2), ()


def _loss_back(params: Any, inputs: Any, outputs: Any, kept: Any, cotangents: Any, T: int, B: int) -> Any:
    """Compute the gradients of the loss by its parameters, and by what it reads of steps."""
    (h,) = inputs
    (dloss,) = cotangents
    return (), (dloss[:, :, None] + 0 * h,)


def _predicted(params: Any, inputs: Any, T: int, B: int) -> Any:
    """Compute what the loss returns beside its value at each step and sample."""
    return ()
