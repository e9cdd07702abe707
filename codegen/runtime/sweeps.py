"""The sweeps of the cell of `cell.py`, by hand, as each generated module has its own: of h_t = w ⊙ h_{t-1} + x_t with y_t = h_t²
and the loss Σ (v h_t - goal)² / 2. No module carries this file."""

from typing import Any

import numpy as np

from symbptt.codegen.runtime.alone import _enter, _leave
from symbptt.codegen.runtime.cell import STATES, Array, Arrays, Gradients, Mask, Sizes
from symbptt.codegen.runtime.masks import _adjoints, _buffers, _kept, _sent, _wait
from symbptt.codegen.runtime.watch import _watch


def _forward(
    a: Arrays, start: Arrays, sizes: Sizes, T: int, B: int, dtype: Any, active: Mask, reset: Mask, ws: Any
) -> tuple[Arrays, Arrays, tuple[Any, ...]]:
    """Return the states and outputs of all steps, and the tape, at its end what is given back to the workspace."""
    x, w, masked = a["x"], a["w"], active is not None or reset is not None
    h_buffer, h_prev, h = _buffers(start["h"], T, masked)
    for t in range(T):
        if masked:
            _enter(t, ((a["h"], h_buffer, h_prev),), active, reset)
        np.add(w * h_prev[t], x[t], out=h[t])
    return {"h": h}, {"y": h * h}, (h, h_prev, w, ())


def _backward(
    tape: Any,
    full: Arrays,
    last: Arrays,
    flow: Any,
    sizes: Sizes,
    T: int,
    B: int,
    dtype: Any,
    active: Mask,
    reset: Mask,
    ws: Any,
) -> Gradients:
    """Return the gradients of parameters, inputs and the initial state, and what resets send to that."""
    h, h_prev, w, _ = tape
    dy = np.zeros_like(h) if full["y"] is None else _kept(active, full["y"])
    adjoints, resets, waiting = _adjoints(last, sizes, B, dtype)
    (dh,) = adjoints
    dx = np.zeros_like(h)
    for t in range(T - 1, -1, -1):
        for adjoint, given in _sent(full, adjoints, active):
            adjoint += given[t]
        if active is not None:
            _wait(active[t], adjoints, waiting)
        dx[t] = dh + 2 * h[t] * dy[t]
        if flow is not None:
            _watch(flow, t, (dx[t],))
        np.multiply(dx[t], w, out=dh)
        if active is not None or reset is not None:
            _leave(t, adjoints, waiting, resets, active, reset)
    params = {"w": (dx * h_prev).sum((0, 1))}
    return params, {"x": dx}, dict(zip(STATES, adjoints)), dict(zip(STATES, resets))


def _pull(tape: Any, carry: Arrays, full: Arrays, sums: bool, sizes: Sizes, T: int, B: int, dtype: Any) -> Any:
    """Return the adjoints one step before for all steps at once; with `sums` the whole adjoints and the gradients."""
    h, h_prev, w, _ = tape
    dh = carry["h"] if full["y"] is None else carry["h"] + 2 * h * full["y"]
    return ({"h": dh}, {"w": (dh * h_prev).sum((0, 1))}, {"x": dh}) if sums else ({"h": dh * w}, None, None)


def _loss(a: Arrays, read: Arrays, dloss: Any, sizes: Sizes, T: int, B: int, dtype: Any) -> tuple[Any, Arrays, Arrays]:
    """Return the loss of each sample, and the gradients of what it reads and of its own parameters."""
    error = a["v"] * read["h"] - a["goal"]
    sent = dloss[..., None] * error
    return (error * error).sum(-1) / 2, {"h": sent * a["v"]}, {"v": np.sum(sent * read["h"])}


def _loss_value(a: Arrays, read: Arrays, sizes: Sizes, T: int, B: int, dtype: Any) -> Array:
    """Return the loss of each sample."""
    error = a["v"] * read["h"] - a["goal"]
    return (error * error).sum(-1) / 2


def _loss_size(n: int) -> int:
    """Return the numbers of the largest array of a loss, of one step and sample."""
    return n


def _predicted(a: Arrays, read: Arrays, sizes: Sizes, T: int, B: int, dtype: Any) -> Arrays:
    """Return what the loss returns beside its value, of each sample."""
    return {"guess": a["v"] * read["h"]}


def _needed(steps: int, T: int, B: int, item: int, sizes: Sizes, trains: bool, masks: int) -> int:
    """Return the bytes that a call holds beside its arguments where a piece has so many steps."""
    return item * B * sizes["n"] * (4 * steps + T + 4)


def _once(a: Arrays, sizes: Sizes, B: int, dtype: Any) -> tuple[Any, ...]:
    """Return what each step needs of the parameters alone."""
    return (a["w"],)


def _step(tape: Any, given: Any, sizes: Sizes, B: int, dtype: Any) -> tuple[Arrays, Arrays]:
    """Return the states after one step, and its outputs."""
    (w,), (x, h) = tape, given
    after = w * h + x
    return {"h": after}, {"y": after * after}
