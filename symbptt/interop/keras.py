"""The weights of Keras' SimpleRNN, LSTM and GRU, as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symbptt.errors import ArgumentError
from symbptt.interop.weight_layout import Layout, bias, layout_for, layout_of, read, weight, write
from symbptt.language.cell import Cell

LAYOUTS = (
    Layout("keras.layers.SimpleRNN", "rnn",
           (weight("kernel", "W", transposed=True), weight("recurrent_kernel", "U", transposed=True),
            bias("bias", "b"))),
    Layout("keras.layers.LSTM", "lstm",
           (weight("kernel", "Wi Wf Wg Wo", transposed=True),
            weight("recurrent_kernel", "Ui Uf Ug Uo", transposed=True), bias("bias", "bi bf bg bo"))),
    Layout("keras.layers.GRU", "gru",
           (weight("kernel", "Wz Wr Wn", transposed=True), weight("recurrent_kernel", "Uz Ur Un", transposed=True),
            # Row 0 is added to W x, row 1 to U h: only the candidate's two biases cannot be summed, as r multiplies the second.
            bias("bias", "bz br bn bz br cn", rows=2))),
)  # fmt: skip

_NAMES = ("kernel", "recurrent_kernel", "bias")
_RESET_BEFORE = (
    "a GRU with reset_after=False computes Un @ (r * h), the zoo's gru r * (Un @ h + cn)\n"
    "  the two agree for no weights; write that cell yourself, with the reset inside"
)


def from_keras(weights: Sequence[Any], cell: str | Cell = "lstm", *, reset_after: bool = True) -> dict[str, Any]:
    """Return the zoo's parameters of one Keras layer.

    `weights` is `layer.get_weights()`: kernel, recurrent kernel and, with `use_bias`, bias. The layer is taken to have
    Keras' default activations, tanh and sigmoid: its weights do not tell. Nor do those of a GRU without bias tell
    whether it resets after the product, hence `reset_after`.

    Raises: ArgumentError for a GRU that resets before the product, for a Bidirectional, and for arrays that do not fit.
    """
    layout = layout_of(LAYOUTS, "Keras", cell)
    if len(weights) not in (2, 3):
        raise ArgumentError(
            f"{layout.module} has two or three arrays ({', '.join(_NAMES)}), got {len(weights)}\n"
            "  of a Bidirectional pass the half of one direction"
        )
    # With reset_after Keras has two rows of biases; a single row gives the other kind away.
    if layout.cell == "gru" and (not reset_after or (len(weights) == 3 and np.ndim(weights[2]) == 1)):
        raise ArgumentError(_RESET_BEFORE)
    return read(layout, dict(zip(_NAMES, weights, strict=False)))


def to_keras(params: Mapping[str, Any]) -> list[Any]:
    """Return the arrays for `layer.set_weights()` from the zoo's parameters: kernel, recurrent kernel, bias.

    A GRU's layer must have Keras' default reset_after=True; the summed biases stand in the input's row.

    Raises: ArgumentError for cells that Keras lacks.
    """
    arrays = write(layout_for(LAYOUTS, "Keras", params), params)
    return [arrays[name] for name in _NAMES]
