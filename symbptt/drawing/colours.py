"""Colours of drawings, by the role of a node."""

from __future__ import annotations

COLOURS = {
    "input": ("#cdebdd", "#009e73"),
    "index": ("#dcdfe2", "#000000"),
    "target": ("#e6e1f4", "#5b4a99"),
    "state": ("#cce3f1", "#0072b2"),
    "param": ("#eeeeee", "#777777"),
    "const": ("#f7f7f7", "#a0a0a0"),
    "value": ("#f2f9fd", "#56b4e9"),
    "output": ("#f5ddea", "#cc79a7"),
    "loss": ("#e8e8e8", "#222222"),
    "adjoint": ("#fbe3d3", "#d55e00"),
    "cotangent": ("#ffffff", "#d55e00"),
    "gradient": ("#fff3d2", "#e69f00"),
}
"""Fill and edge of a node by its role. Source: Okabe, Ito 2008, "Color universal design", which colour-blind people can
tell apart."""

ARROWS = {"forward": "#40586b", "backward": "#d55e00", "saved": "#7d8890"}
SAVED = ("#0072b2", "#009e73", "#a33c86", "#8a6d00", "#5b4a99", "#44555f")
"""Colours of the lines of saved values, in turns, so that lines side by side can be told apart."""
