"""The results of the public functions of a module: runs and gradients."""

from typing import Any

import numpy as np

from symbptt.codegen.runtime.cell import MARK, Arrays


class Run:
    """What forward returns: `states` and `outputs` by name, (T, B, ...), read-only, and the tape that backward reads."""

    def __init__(
        self,
        states: Arrays,
        outputs: Arrays,
        tape: Any,
        batched: bool,
        dtype: Any,
        workspace: Any,
        rooms: Any = (),
    ) -> None:
        self.states, self.outputs, self.tape, self.batched, self.dtype = states, outputs, tape, batched, dtype
        self.workspace, self.rooms = workspace, rooms
        self.reset_to = "initial"
        self.mark = MARK

    def __repr__(self) -> str:
        return f"<run: {_listed(states=self.states, outputs=self.outputs)}>"

    def __del__(self) -> None:
        self.workspace.give(self.rooms)

    def __copy__(self) -> "Run":
        return self

    def __getstate__(self) -> Any:
        """All but the rooms, which stay with the run that took them."""
        return {**self.__dict__, "rooms": ()}


class Grads:
    """Gradients by name: `params`, `inputs`, `contexts` and `state`, each of the shape of its argument; `flow`, the norms of the adjoints
    of states at every step, (T,), else None; `final`, of a loss, the states at the end of each sample, else None."""

    def __init__(
        self,
        params: Arrays,
        inputs: Arrays,
        state: Arrays,
        flow: Arrays | None,
        final: Arrays | None = None,
    ) -> None:
        self.params, self.inputs, self.state, self.flow, self.final = params, inputs, state, flow, final
        self.contexts: Arrays = {}

    def __repr__(self) -> str:
        return f"<gradients: {_listed(**self.__dict__)}>"


def _listed(**groups: Any) -> str:
    """Return what groups of arrays hold, with the shapes."""
    texts = {
        group: ", ".join(f"{k} {np.shape(v)}" for k, v in (arrays or {}).items()) for group, arrays in groups.items()
    }
    return "; ".join(f"{group} {text}" for group, text in texts.items() if text) or "none"


def _grads(
    params: Arrays,
    inputs: Arrays,
    state: Arrays,
    resets: Arrays,
    flow: Arrays | None,
    batched: bool,
    final: Arrays | None = None,
    empty: bool = False,
) -> Grads:
    """Return gradients, all of them arrays, without the batch axis where none was given; resets send theirs to the initial state
    too. Over no steps a gradient of a parameter is zero, also where its derivative is infinite."""
    params = {k: np.zeros_like(v) if empty else np.asarray(v) for k, v in params.items()}
    state = {k: v + resets[k] for k, v in state.items()}
    if not batched:
        inputs, state = {k: v[:, 0] for k, v in inputs.items()}, {k: v[0, ...] for k, v in state.items()}
        final = final and {k: v[0, ...] for k, v in final.items()}
    return Grads(params, inputs, state, flow, final)


def _frozen(arrays: Arrays, batched: bool) -> Arrays:
    """Return arrays without the batch axis where none was given, and read-only: backward still needs them."""
    arrays = {k: (a if batched else a[:, 0])[...] for k, a in arrays.items()}
    for a in arrays.values():
        a.flags.writeable = False
    return arrays
