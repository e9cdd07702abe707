"""A loss that reads every state and every output of a cell, so that a cell alone has models to prove."""

from __future__ import annotations

import inspect
from typing import Any

from symbptt.ir.shape import size_text
from symbptt.language.cell import Cell
from symbptt.language.functions import sum as total
from symbptt.language.model import Loss
from symbptt.language.roles import Annotation

GOAL, WEIGHT = "goal_of_proof", "weight_of_proof"


def general_loss(cell: Cell) -> Loss:
    """Return Σ over all values v of Σ v (v/2 - goal) + weight · Σ v, with a target and a parameter that are numbers."""
    graph = cell.looped.graph
    shapes = {a.name: a.shape for a in cell.arguments if a.role == "state"}
    roles = dict.fromkeys(shapes, "state")
    shapes |= {name: graph.shape(id) for name, id in cell.looped.outputs.items()}
    roles |= dict.fromkeys(cell.looped.outputs, "output")
    annotated = {name: Annotation(roles[name], " ".join(map(size_text, shape))) for name, shape in shapes.items()}

    def loss(**values: Any) -> Any:
        goal, weight = values[GOAL], values[WEIGHT]
        found = 0
        for name in annotated:
            v = values[name]
            found = found + total(v * (v / 2 - goal)) + weight * total(v)
        return found

    names = annotated | {GOAL: Annotation("target", ""), WEIGHT: Annotation("param", "")}
    kind = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter(name, kind, annotation=a) for name, a in names.items()]
    loss.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return Loss(loss)
