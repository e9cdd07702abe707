"""Cells, losses, models and kernels are pickled by the name of what they were made of."""

import copy
import pickle

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Input, Param, State, Target
from symbptt.zoo import CELLS, gru, lstm


@sb.cell
def leaky(x: Input["n"], h: State["n"], U: Param["n n"], dt: Const = 0.1):
    return h + dt * (np.tanh(U @ h + x) - h)


@sb.loss
def squares(h: State["n"], y: Target["n"]):
    return sb.sum((h - y) ** 2)


def again(value):
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("name", CELLS)
def test_cells_of_the_zoo_are_themselves_again(name):
    assert again(CELLS[name]) is CELLS[name] is copy.deepcopy(CELLS[name])


def test_cells_with_other_constants_are_equal_again():
    cell = again(leaky.with_consts({"dt": 0.5}))
    assert cell.consts == {"dt": 0.5} and cell.function is leaky.function and again(leaky) is leaky


@pytest.mark.parametrize(
    "options", [{}, {"truncation": sb.Window(3)}, {"memory": "sqrt"}, {"clip_adjoint": 2.0}], ids=str
)
def test_kernels_have_the_same_module_again(options):
    for target in (lstm, leaky.with_consts({"dt": 0.5}), sb.model(gru, squares)):
        if isinstance(target, sb.model(gru, squares).__class__) or "truncation" not in options:
            kernel = sb.compile(target, **options)
            assert again(kernel).source == kernel.source


def test_a_cell_that_no_module_knows_is_refused():
    @sb.cell
    def local(h: State["n"], u: Param["n"]):
        return u * h

    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(local)
