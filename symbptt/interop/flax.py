"""The weights of Flax' recurrent cells, of linen and of nnx, as trees of arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from symbptt.errors import ArgumentError
from symbptt.interop.weight_layout import Layout, Slot, bias, layout_for, layout_of, read, weight, write
from symbptt.language.cell import Cell


def _kernels(**params: str) -> tuple[Slot, ...]:
    return tuple(weight(f"{layer}/kernel", names, transposed=True) for layer, names in params.items())


def _biases(**params: str) -> tuple[Slot, ...]:
    return tuple(bias(f"{layer}/bias", names) for layer, names in params.items())


_LSTM_BIASES = _biases(hi="bi", hf="bf", hg="bg", ho="bo")

LINEN = (
    Layout("flax.linen.SimpleCell", "rnn", _kernels(i="W", h="U") + _biases(i="b")),
    Layout("flax.linen.LSTMCell", "lstm",
           _kernels(**{"ii": "Wi", "if": "Wf", "ig": "Wg", "io": "Wo"}, hi="Ui", hf="Uf", hg="Ug", ho="Uo")
           + _LSTM_BIASES),
    Layout("flax.linen.GRUCell", "gru",
           _kernels(**{"ir": "Wr", "iz": "Wz", "in": "Wn"}, hr="Ur", hz="Uz", hn="Un")
           + _biases(**{"ir": "br", "iz": "bz", "in": "bn"}, hn="cn")),
)  # fmt: skip
"""OptimizedLSTMCell has the tree of LSTMCell."""

NNX = (
    Layout("flax.nnx.SimpleCell", "rnn", _kernels(dense_i="W", dense_h="U") + _biases(dense_i="b")),
    Layout("flax.nnx.LSTMCell", "lstm",
           _kernels(ii="Wi", if_="Wf", ig="Wg", io="Wo", hi="Ui", hf="Uf", hg="Ug", ho="Uo") + _LSTM_BIASES),
    Layout("flax.nnx.OptimizedLSTMCell", "lstm",
           _kernels(dense_i="Wi Wf Wg Wo", dense_h="Ui Uf Ug Uo") + _biases(dense_h="bi bf bg bo")),
    Layout("flax.nnx.GRUCell", "gru",
           _kernels(dense_i="Wr Wz Wn", dense_h="Ur Uz Un") + _biases(dense_i="br bz bn"),
           {"cn": "its candidate has no bias on the side of the state"}),
)  # fmt: skip

_MODULES = {layout.module.removeprefix("flax."): layout for layout in LINEN + NNX}
_MODULES["linen.OptimizedLSTMCell"] = _MODULES["linen.LSTMCell"]


def from_flax(tree: Mapping[str, Any], cell: str | Cell = "lstm") -> dict[str, Any]:
    """Return the zoo's parameters of one Flax cell.

    `tree` is linen's `variables["params"]` of the cell (or the variables themselves), or the pure dict of
    `nnx.state(cell, nnx.Param)`; which of them, and which class, its names tell. The cell is taken to have Flax'
    default activations and no `residual`.

    Raises: ArgumentError for a tree of another cell.
    """
    layout = layout_of(LINEN, "Flax", cell)
    # linen's `init` returns {"params": ...}, its `apply` takes the same.
    arrays = dict(_leaves(tree["params"] if set(tree) == {"params"} else tree))
    candidates = [known for known in LINEN + NNX if known.cell == layout.cell]
    # "<=": biases may be absent.
    fitting = [known for known in candidates if set(arrays) <= {slot.name for slot in known.slots}]
    if not fitting:
        modules = " or ".join(known.module for known in candidates)
        raise ArgumentError(
            f"no tree of {modules}: {', '.join(sorted(arrays))}\n  pass the parameters of the cell "
            "alone, those of nnx by nnx.state(cell, nnx.Param)"
        )
    return read(fitting[0], arrays)


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{name}/")
        else:
            yield f"{path}{name}", value


def to_flax(params: Mapping[str, Any], module: str | None = None) -> dict[str, Any]:
    """Return the tree of a Flax cell from the zoo's parameters, nested as `variables["params"]` of the cell is.

    `module` names the class, as "nnx.OptimizedLSTMCell"; without it, it is linen's.

    Raises: ArgumentError for cells that Flax lacks, and for what the module cannot hold, as cn in nnx.GRUCell.
    """
    if module is not None and module not in _MODULES:
        raise ArgumentError(f"no module {module!r} of Flax is known\n  known: {', '.join(_MODULES)}")
    layout = layout_for([_MODULES[module]] if module else LINEN, module or "Flax", params)
    tree: dict[str, Any] = {}
    for name, array in write(layout, params).items():
        layer, leaf = name.split("/")
        tree.setdefault(layer, {})[leaf] = array
    return tree
