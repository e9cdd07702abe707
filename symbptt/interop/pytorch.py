"""The weights of torch.nn.RNN, LSTM and GRU, as arrays."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from symbptt.errors import ArgumentError
from symbptt.interop.weight_layout import Layout, bias, layout_for, layout_of, read, sizes_of, weight, write
from symbptt.language.cell import Cell

LAYOUTS = (
    Layout("torch.nn.RNN", "rnn",
           (weight("weight_ih", "W"), weight("weight_hh", "U"), bias("bias_ih", "b"), bias("bias_hh", "b"))),
    Layout("torch.nn.LSTM", "lstm",
           (weight("weight_ih", "Wi Wf Wg Wo"), weight("weight_hh", "Ui Uf Ug Uo"),
            bias("bias_ih", "bi bf bg bo"), bias("bias_hh", "bi bf bg bo"))),
    Layout("torch.nn.GRU", "gru",
           (weight("weight_ih", "Wr Wz Wn"), weight("weight_hh", "Ur Uz Un"),
            # n = tanh(Wn x + bn + r ⊙ (Un h + cn)): the reset gate multiplies cn, so that bn and cn stay apart.
            bias("bias_ih", "br bz bn"), bias("bias_hh", "br bz cn"))),
)  # fmt: skip

_KEY = re.compile(r"((?:weight|bias)_(?:ih|hh|hr))(?:_l(\d+))?(_reverse)?")


def from_torch(state: Mapping[str, Any], cell: str | Cell = "lstm") -> list[dict[str, Any]]:
    """Return the zoo's parameters of a torch.nn.RNN, LSTM or GRU (or RNNCell, ...), one dict a layer.

    `state` is the module's `state_dict()`, of tensors or arrays. The two biases are added where the equations add them:
    all but n's in the GRU, which are bn and cn. An RNN is taken to use tanh: its weights do not tell.

    Raises: ArgumentError for a bidirectional module, for `proj_size`, and for arrays that do not fit.
    """
    layout = layout_of(LAYOUTS, "torch", cell)
    layers: dict[int, dict[str, Any]] = {}
    for key, value in state.items():
        name, number = _parsed(layout, key)
        layers.setdefault(number, {})[name] = value
    # At least layer 0, so that an empty state_dict is refused here.
    if sorted(layers) != list(range(max(1, len(layers)))):
        raise ArgumentError(f"{layout.module} needs the arrays of layers 0, 1, …, got layers {sorted(layers)}")
    return [read(layout, layers[number]) for number in sorted(layers)]


def _parsed(layout: Layout, key: str) -> tuple[str, int]:
    """Return the name of an array without its layer, and the layer."""
    match = _KEY.fullmatch(key)
    if match is None:
        raise ArgumentError(
            f"{layout.module} has no array {key!r}\n  pass the state_dict() of the module itself, as "
            "model.rnn.state_dict()"
        )
    name, number, reverse = match.groups()
    if name == "weight_hr":
        raise ArgumentError(
            f"{key!r}: a module with proj_size hands on a projection of its state, which {layout.cell} "
            "has not\n  write that cell yourself, with the projection in it"
        )
    if reverse:
        raise ArgumentError(
            f"{key!r}: a bidirectional module is two cells a layer\n"
            "  pass the arrays of one direction, named without _reverse"
        )
    return name, int(number or 0)


def to_torch(layers: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> dict[str, Any]:
    """Return the arrays of a torch module's `state_dict()` from the zoo's parameters, one dict a layer.

    The bias stands in bias_ih, bias_hh is zero (but for the GRU's cn). Make tensors of them with torch.from_numpy.

    Raises: ArgumentError for cells that torch lacks, and for layers that do not follow each other as torch's do.
    """
    layers = [layers] if isinstance(layers, Mapping) else layers
    if not layers:
        raise ArgumentError("to_torch takes the parameters of at least one layer")
    layouts = [layout_for(LAYOUTS, "torch", params) for params in layers]
    hidden = sizes_of(layouts[0], layers[0])["n"]
    state: dict[str, Any] = {}
    for number, (layout, params) in enumerate(zip(layouts, layers, strict=True)):
        sizes = sizes_of(layout, params)
        if layout != layouts[0] or sizes["n"] != hidden or (number and sizes["m"] != hidden):
            raise ArgumentError(
                f"layer {number} is of {layout.cell} with {sizes['m']} inputs and {sizes['n']} units\n"
                f"  all layers of {layouts[0].module} have layer 0's {hidden} units, and those above "
                "it as many inputs"
            )
        state |= {f"{name}_l{number}": array for name, array in write(layout, params).items()}
    return state
