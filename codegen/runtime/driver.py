"""The public functions of a generated module: forward, backward and, for a model, value_and_grad.

What differs between modules stands in files of which each module carries one: how steps are run and flowed back through
(`whole.py`, `pieces.py`, `reach.py`), and at which steps a loss counts (`every.py`, `last.py`).
"""

from typing import Any

import numpy as np

from symbptt.codegen.runtime.arguments import _arguments, _check_monitor, _cotangents, _masks
from symbptt.codegen.runtime.call import _Call
from symbptt.codegen.runtime.cell import STATES, Array, Arrays, Number
from symbptt.codegen.runtime.contexts import _note_shared, _part_contexts, _shared
from symbptt.codegen.runtime.evaluation import _evaluated
from symbptt.codegen.runtime.labelled import _label
from symbptt.codegen.runtime.resets import _aim, _aimed, _check_reset_to
from symbptt.codegen.runtime.results import Grads, Run, _frozen, _grads
from symbptt.codegen.runtime.starts import _add_starts, _by_param, _note_start
from symbptt.codegen.runtime.told_every import _alone, _Prediction, _Value
from symbptt.codegen.runtime.whole import _flowed_back, _prepared, _ran, _trained
from symbptt.codegen.runtime.workspace import Workspace, _workspace


def forward(
    params: Arrays,
    inputs: Arrays | None = None,
    state: Arrays | None = None,
    *,
    steps: int | None = None,
    lengths: Array | list[int] | None = None,
    reset: Array | None = None,
    reset_to: str = "initial",
    workspace: Workspace | None = None,
) -> Run:
    """Run the cell over time, and return `.states` and `.outputs` by name after every step, (T, B, ...), for `backward`.

    inputs (T, B, ...), state (B, ...), or both without B for one sample, a context among the inputs (B, ...), or without B for all; a
    state that is not given is what it begins with, zero as a rule. Without inputs `steps` says T. From `lengths`, (B,) integers, on a
    sample keeps its last state and its outputs are zero. Where `reset`, (T, B) bool, is true, the state is the initial one again before
    that step; with `reset_to="start"` what the cell begins with, zero as a rule, whatever `state` is. The run refers to what it was given:
    change arrays in place after `backward` only. `workspace`, a Workspace(limit=bytes), keeps memory between calls; the module has its own.
    """
    call, batched = _called(params, inputs, None, state, steps, lengths, reset, reset_to, workspace)
    plan = _prepared(call, False)
    states, outputs, tape = _ran(call, plan)
    kept = (tape, call.sizes, call.T, call.B, call.dtype, call.active, call.reset)
    run = Run(
        _frozen(states, batched),
        _frozen(outputs, batched),
        kept,
        batched,
        call.dtype,
        call.ws,
        tape[-1],
    )
    run.reset_to = reset_to
    _note_start(run, state)
    _note_shared(run, inputs)
    return run


def backward(
    run: Run,
    cotangents: Arrays,
    *,
    monitor: bool = False,
    workspace: Workspace | None = None,
) -> Grads:
    """Return the gradients of sum(cotangent * value) over all states and outputs named: `.params`, `.inputs`, `.contexts`, `.state`, each
    by name and of the shape of its argument; with `monitor` `.flow`, the norm of each state's adjoint after every step, (T,).

    cotangents (T, B, ...), or (B, ...) of the last step alone; what is not named has none. From the length of a sample on its states
    are those of its last step, and its outputs are zero.
    """
    _check_monitor(monitor)
    full, last = _cotangents(run, cotangents)
    ws = run.workspace if workspace is None else _workspace(workspace)
    tape, sizes, T, B, dtype, active, reset = run.tape
    call = _Call({}, sizes, T, B, dtype, active, reset, ws)
    flow = {k: np.zeros(T, dtype) for k in STATES} if monitor else None
    found = _aimed(_flowed_back(call, tape, full, last, flow), run.reset_to)
    grads = _grads(*found, flow, run.batched, empty=not T)
    _part_contexts(grads, vars(run)["shared"], run.batched)
    _add_starts(grads, vars(run)["begun"], run.batched)
    return grads


def value_and_grad(
    params: Arrays,
    inputs: Arrays | None = None,
    targets: Arrays | None = None,
    state: Arrays | None = None,
    *,
    steps: int | None = None,
    lengths: Array | list[int] | None = None,
    reset: Array | None = None,
    reset_to: str = "initial",
    mask: Array | None = None,
    ignore_index: int | None = None,
    monitor: bool = False,
    workspace: Workspace | None = None,
) -> tuple[Number, Grads]:
    """Return the loss and its gradients: `.params`, of cell and loss, `.inputs`, `.contexts`, `.state`, `.flow` with `monitor`, and
    `.final`, the states after the last step of each sample, with which the next part of a stream begins.

    targets (T, B, ...) or (T, ...) of a loss at every step, (B, ...) or (...) of one at the last; all else as for `forward`. Steps from
    the length of a sample on do not count, nor do those where `mask` (T, B), or (B,), is false or a label is `ignore_index`.
    """
    _check_monitor(monitor)
    targets = {} if targets is None else targets
    call, batched = _called(params, inputs, targets, state, steps, lengths, reset, reset_to, workspace)
    _label(call, mask, ignore_index)
    plan = _prepared(call, True)
    flow = {k: np.zeros(call.T, call.dtype) for k in STATES} if monitor else None
    value, found, final = _trained(call, plan, flow)
    grads = _grads(*_aimed(found, reset_to), flow, batched, final, not call.T)
    _part_contexts(grads, _shared(inputs), batched)
    _add_starts(grads, _by_param(state), batched)
    return value, grads


def value(
    params: Arrays,
    inputs: Arrays | None = None,
    targets: Arrays | None = None,
    state: Arrays | None = None,
    *,
    steps: int | None = None,
    lengths: Array | list[int] | None = None,
    reset: Array | None = None,
    reset_to: str = "initial",
    mask: Array | None = None,
    ignore_index: int | None = None,
    workspace: Workspace | None = None,
) -> Number:
    """Return the loss alone, of which `value_and_grad` has the gradients too."""
    call, _ = _called(
        params, inputs, {} if targets is None else targets, state, steps, lengths, reset, reset_to, workspace
    )
    _label(call, mask, ignore_index)
    return _evaluated(call, _Value(call))


def predict(
    params: Arrays,
    inputs: Arrays | None = None,
    state: Arrays | None = None,
    *,
    steps: int | None = None,
    lengths: Array | list[int] | None = None,
    reset: Array | None = None,
    reset_to: str = "initial",
    workspace: Workspace | None = None,
) -> Arrays:
    """Return what the loss returns beside its value, by name: (T, B, ...) or (T, ...) of a loss at every step, zeros behind
    the end of a sample, (B, ...) or (...) of one at the last."""
    call, batched = _called(params, inputs, None, state, steps, lengths, reset, reset_to, workspace)
    found = _evaluated(call, _Prediction(call))
    return found if batched else {k: _alone(v) for k, v in found.items()}


def _called(
    params: Any,
    inputs: Any,
    targets: Any,
    state: Any,
    steps: Any,
    lengths: Any,
    reset: Any,
    reset_to: Any,
    workspace: Any,
) -> tuple[_Call, bool]:
    """Return a call whose arguments are checked, and whether they have a batch axis."""
    ws = _workspace(workspace)
    _check_reset_to(reset_to)
    a, sizes, T, B, dtype, batched = _arguments(params, inputs, state, steps, targets)
    active, reset = _masks(lengths, reset, T, B)
    call = _Call(a, sizes, T, B, dtype, active, reset, ws)
    _aim(call, reset_to)
    return call, batched
