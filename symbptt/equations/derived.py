"""The equations of a cell or a model, derived from its steps."""

from __future__ import annotations

from collections.abc import Sequence

from symbptt.autodiff.bptt import derive
from symbptt.autodiff.unit_weight import unit_weight
from symbptt.equations.algebra.expressions import Expr
from symbptt.equations.page.equations import Equations, Loss
from symbptt.ir.naming import free_letters
from symbptt.ir.node import Convolution
from symbptt.ir.rounds import as_loops, for_page, has_rounds
from symbptt.ir.shape import names_in
from symbptt.language.cell import Cell
from symbptt.language.folding import convolutions_of, folded
from symbptt.language.model import Model


def equations_of(target: Cell | Model, counted: Expr | None = None) -> Equations:
    """Return the equations of a cell or a model, its functions whole; `counted`: the condition under which the loss of a
    step contributes to gradients, where truncation drops some."""
    if not isinstance(target, Model):
        return Equations(derive(target.shown))
    step = target.cell.shown
    return Equations(derive(step), _loss_of(target, counted, convolutions_of(step)))


def _loss_of(target: Model, counted: Expr | None, convolutions: Sequence[Convolution]) -> Loss:
    loss = derive(folded(target.loss.step, convolutions))
    # In a sum each loss has the weight 1, which would stand as a factor "dloss = 1" in every line.
    whole = unit_weight(loss) if target.reduction == "sum" and counted is None else loss
    names = {n for a in target.arguments for n in (a.name, *names_in(a.shape))}
    return Loss(whole, target.at, target.reduction, counted, next(free_letters("NMKQRZ", names)))


def looped_equations_of(
    target: Cell | Model, counted: Expr | None = None, *, points_alone: bool = False
) -> Equations | None:
    """Return the equations of a cell or a model whose step repeats a body, with one body for all rounds; with `points_alone`, of fixed
    points alone, all other rounds written out. None of another cell."""
    cell = target.cell if isinstance(target, Model) else target
    if not has_rounds(cell.looped.graph):
        return None
    step = folded(as_loops(cell.looped, points_alone=points_alone))
    recursion = derive(for_page(step))
    if not isinstance(target, Model):
        return Equations(recursion)
    return Equations(recursion, _loss_of(target, counted, convolutions_of(step)))


def loss_page_of(target: Cell | Model) -> Equations | None:
    """Return the equations of a model's loss by itself, with the weight of each loss as a cotangent; none of a cell."""
    return Equations(derive(folded(target.loss.step))) if isinstance(target, Model) else None
