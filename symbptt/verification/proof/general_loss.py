"""A loss that reads every state and every output of a cell, so that a cell alone has models to prove."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from symbptt.ir.shape import Shape, size_text
from symbptt.language.cell import Cell
from symbptt.language.functions import sum as total
from symbptt.language.model import Loss
from symbptt.language.roles import Annotation

GOAL, WEIGHT = "goal_of_proof", "weight_of_proof"


def general_loss(cell: Cell) -> Loss:
    """Return Σ over all values v of Σ v (v/2 - goal) + weight · Σ v, with a target and a parameter that are numbers; of complex values
    the same of both parts."""
    graph, outputs = cell.looped.graph, cell.looped.outputs
    annotated = {
        a.name: Annotation("state", _dims(a.shape), complex=a.complex) for a in cell.arguments if a.role == "state"
    }
    annotated |= {
        k: Annotation("output", _dims(graph.shape(id)), complex=graph.is_complex(id)) for k, id in outputs.items()
    }

    def loss(**values: Any) -> Any:
        goal, weight = values[GOAL], values[WEIGHT]
        found = 0
        for name, one in annotated.items():
            for v in (np.real(values[name]), np.imag(values[name])) if one.complex else (values[name],):
                found = found + total(v * (v / 2 - goal)) + weight * total(v)
        return found

    names = annotated | {GOAL: Annotation("target", ""), WEIGHT: Annotation("param", "")}
    kind = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter(name, kind, annotation=a) for name, a in names.items()]
    loss.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return Loss(loss)


def _dims(shape: Shape) -> str:
    return " ".join(map(size_text, shape))
