"""The weights of ONNX' operators RNN, LSTM and GRU, as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symbptt.errors import ArgumentError
from symbptt.interop.weight_layout import Layout, bias, layout_for, layout_of, read, weight, write
from symbptt.language.cell import Cell

# ONNX orders the gates i, o, f, c, where torch has i, f, g, o.
_LSTM = (weight("W", "Wi Wo Wf Wg"), weight("R", "Ui Uo Uf Ug"), bias("B", "bi bo bf bg bi bo bf bg"))

LAYOUTS = (
    Layout("ONNX RNN", "rnn", (weight("W", "W"), weight("R", "U"), bias("B", "b b"))),
    Layout("ONNX LSTM", "lstm", _LSTM),
    Layout("ONNX LSTM", "lstm_peephole", (*_LSTM, bias("P", "pi po pf"))),
    Layout("ONNX GRU", "gru", (weight("W", "Wz Wr Wn"), weight("R", "Uz Ur Un"), bias("B", "bz br bn bz br cn"))),
)

_RESET_BEFORE = (
    "a GRU with linear_before_reset=0, ONNX' default, computes Un @ (r * h), the zoo's gru r * (Un @ h + cn)\n"
    "  pass linear_before_reset=1 where the node has it; else write that cell yourself, with the reset inside"
)


def from_onnx(
    W: Any, R: Any, B: Any = None, P: Any = None, *, cell: str | Cell = "lstm", linear_before_reset: int = 0
) -> list[dict[str, Any]]:
    """Return the zoo's parameters of an ONNX operator RNN, LSTM or GRU, one dict a direction.

    The node is taken to have default activations, no `clip` and no `input_forget`: its weights do not tell.

    Shapes: W (D, g·n, m), R (D, g·n, n), B (D, 2·g·n), peepholes P (D, 3·n), with D directions and g gates.
    Raises: ArgumentError for a GRU with linear_before_reset=0, for peepholes of an `lstm`, for arrays that do not fit.
    """
    layout = layout_of(LAYOUTS, "ONNX", cell)
    if layout.cell == "gru" and not linear_before_reset:
        raise ArgumentError(_RESET_BEFORE)
    # Peepholes of zeros change nothing.
    if layout.cell == "lstm" and P is not None:
        if np.any(P):
            raise ArgumentError("the zoo's lstm has no peepholes\n  pass cell='lstm_peephole'")
        P = None
    given = {name: array for name, array in {"W": W, "R": R, "B": B, "P": P}.items() if array is not None}
    directions = {name: np.shape(array)[:1] for name, array in given.items()}
    if len(set(directions.values())) != 1 or not directions["W"]:
        raise ArgumentError(f"{layout.module} has a first axis of directions in every array, got {directions}")
    return [read(layout, {name: array[i] for name, array in given.items()}) for i in range(len(W))]


def to_onnx(directions: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> dict[str, Any]:
    """Return W, R, B (and P, of lstm_peephole) of an ONNX operator from the zoo's parameters, one dict a direction.

    A GRU's node needs linear_before_reset=1. The summed biases stand in the first half of B.

    Raises: ArgumentError for cells that ONNX lacks, and for directions of different cells or sizes.
    """
    directions = [directions] if isinstance(directions, Mapping) else directions
    layouts = [layout_for(LAYOUTS, "ONNX", params) for params in directions]
    written = [write(layout, params) for layout, params in zip(layouts, directions, strict=True)]
    shapes = {tuple((name, array.shape) for name, array in arrays.items()) for arrays in written}
    if len(shapes) != 1 or len(directions) > 2 or layouts[0] != layouts[-1]:
        raise ArgumentError(
            f"an ONNX node holds one direction or two, of one cell and of the same sizes\n"
            f"  got {', '.join(layout.cell for layout in layouts) or 'none'}"
        )
    return {name: np.stack([arrays[name] for arrays in written]) for name in written[0]}
