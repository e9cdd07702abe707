"""The values of a recursion as formulas."""

from __future__ import annotations

from dataclasses import dataclass

from symbptt.ir.node import Node
from symbptt.render.families import FAMILIES
from symbptt.render.formulas import Formulas, Written


@dataclass(frozen=True)
class Writer(Formulas):
    """Writes values of all families."""

    def family(self, node: Node) -> Written:
        """Return a value that is no elementwise function of others."""
        return FAMILIES[node.family](self, node)
