"""Two cells along one sequence: one takes the steps from the first to the last, the other from the last to the first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from symbptt.checks import check_seed
from symbptt.codegen.kernel import Kernel
from symbptt.codegen.reverse import ReversedRun, final_of
from symbptt.codegen.runtime.results import Grads
from symbptt.training.parts import check_params, check_run, joined, kernel_of, names_of, parted, read_by, sizes_by

WAYS = ("forward", "backward")
"""The parts: "forward.h" is a state of the one cell, "backward.h" of the other."""


@dataclass(frozen=True)
class BidirectionalRun:
    """The runs of both cells; `.states` and `.outputs` by "forward.NAME" and "backward.NAME", each value at its own step."""

    forward: Any
    backward: ReversedRun

    @property
    def states(self) -> dict[str, Any]:
        """The states of both, (T, B, ...)."""
        return joined({"forward": self.forward.states, "backward": self.backward.states})

    @property
    def outputs(self) -> dict[str, Any]:
        """The outputs of both, (T, B, ...)."""
        return joined({"forward": self.forward.outputs, "backward": self.backward.outputs})

    @property
    def final(self) -> dict[str, Any]:
        """The states behind the step that each takes last: of the one the last step of each sample, of the other the first.

        Raises: ArgumentError where there is no step.
        """
        return joined({"forward": final_of(self.forward), "backward": self.backward.final})


@dataclass(frozen=True)
class Bidirectional:
    """Two kernels that read the same inputs, in both directions."""

    forward_kernel: Kernel
    backward_kernel: Kernel

    @property
    def kernels(self) -> dict[str, Kernel]:
        """Both, by the way that each goes."""
        return {"forward": self.forward_kernel, "backward": self.backward_kernel}

    def __repr__(self) -> str:
        return f"<bidirectional {self.forward_kernel.target.name} and {self.backward_kernel.target.name}>"

    def init(self, sizes: Mapping[str, int], seed: int = 0, **options: Any) -> dict[str, Any]:
        """Return first values of the parameters of both, drawn from two seeds; `sizes` of one alone are named "backward.n".

        Raises: ArgumentError as `init` of a cell does.
        """
        check_seed(seed)
        own = sizes_by(sizes, {way: [kernel] for way, kernel in self.kernels.items()})
        firsts = (k.target.init(own[way], seed + i, **options) for i, (way, k) in enumerate(self.kernels.items()))
        return joined(dict(zip(WAYS, firsts, strict=True)))

    def forward(
        self,
        params: Mapping[str, Any],
        inputs: Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
        *,
        steps: int | None = None,
        lengths: Any = None,
        reset: Any = None,
    ) -> BidirectionalRun:
        """Return the runs of both cells over the same inputs.

        Shapes: params and state by "forward.NAME" and "backward.NAME"; inputs (T, B, ...) under their own names. Of samples with
        `lengths` the cell that goes back begins at their ends; a `reset` is where the sequence behind it begins, for both.

        Raises: ArgumentError as `forward` of a kernel does.
        """
        weights, begins = parted("params", params, WAYS), parted("state", state, WAYS)
        data = read_by("inputs", inputs, self.kernels)
        check_params(weights, {way: names_of(kernel, "param") for way, kernel in self.kernels.items()})
        masks = {"steps": steps, "lengths": lengths, "reset": reset}
        ahead = self.forward_kernel.forward(weights["forward"], data["forward"], begins["forward"], **masks)
        back = self.backward_kernel.forward(
            weights["backward"], data["backward"], begins["backward"], **masks, reverse=True
        )
        assert isinstance(back, ReversedRun)
        return BidirectionalRun(ahead, back)

    def backward(self, run: BidirectionalRun, cotangents: Mapping[str, Any]) -> Grads:
        """Return the gradients of sum(cotangent * value): `.params` and `.state` by the names of both, `.inputs` and
        `.contexts` of both together.

        Shapes: cotangents of states and outputs by "forward.NAME" and "backward.NAME", (T, B, ...), or (B, ...) for the step that each
        takes last; an absent one is zero.

        Raises: ArgumentError as `backward` of a kernel does.
        """
        check_run(run, BidirectionalRun)
        sent = parted("cotangents", cotangents, WAYS)
        ahead = self.forward_kernel.backward(run.forward, sent["forward"])
        back = self.backward_kernel.backward(run.backward, sent["backward"])
        # Both cells read the same data, so that what reaches it by one adds to what reaches it by the other.
        params = joined({"forward": ahead.params, "backward": back.params})
        state = joined({"forward": ahead.state, "backward": back.state})
        grads = Grads(params, _of_both(ahead.inputs, back.inputs), state, None)
        grads.contexts = _of_both(ahead.contexts, back.contexts)
        return grads


def _of_both(ahead: Mapping[str, Any], back: Mapping[str, Any]) -> dict[str, Any]:
    """Return arrays by name, of those that both have the sums."""
    return {**back, **ahead} | {k: ahead[k] + back[k] for k in ahead if k in back}


def bidirectional(forward: Any, backward: Any = None) -> Bidirectional:
    """Return two cells, or kernels of cells, as one net that reads a sequence in both directions; one cell is taken for both.

    Example::

        net = sb.bidirectional(gru)
        params = net.init({"m": 3, "n": 16})
        run = net.forward(params, {"x": x}, lengths=lengths)
        both = np.concatenate([run.states["forward.h"], run.states["backward.h"]], -1)

    Raises: ArgumentError for what is no cell and no kernel.
    """
    one = kernel_of("bidirectional", forward)
    return Bidirectional(one, one if backward is None else kernel_of("bidirectional", backward))
