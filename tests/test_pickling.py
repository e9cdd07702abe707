"""Cells, losses, models and kernels are pickled by the name of what they were made of."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
import sympy as sp

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
@pytest.mark.thinned(7)
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


SPIKE = sb.function("spike", lambda v: sp.tanh(v), lambda v: 1 / (1 + v**2))


@sb.cell
def spiking(x: Input["n"], h: State["n"], U: Param["n n"]):
    return SPIKE(U @ h + x)


@pytest.mark.parametrize("copied", [again, copy.deepcopy, copy.copy], ids=["pickle", "deepcopy", "copy"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("T, B", [(0, 1), (1, 1), (2, 3), (600, 3)])
@pytest.mark.parametrize("options", [{}, {"memory": "sqrt"}, {"clip_adjoint": 2.0}], ids=str)
@pytest.mark.thinned(11, 2)
def test_runs_and_gradients_are_the_same_again(copied, dtype, T, B, options):
    kernel = sb.compile(leaky, **options)
    params = leaky.init({"n": 2}, seed=1, dtype=dtype)
    x = np.random.default_rng(0).normal(size=(T, B, 2)).astype(dtype)
    run = kernel.forward(params, {"x": x})
    cotangents = {"h": np.ones((T, B, 2), dtype)}
    expected = kernel.backward(run, cotangents)
    other = copied(run)
    assert type(other).__name__ == "Run" and repr(other) == repr(run)
    for grads in (kernel.backward(other, cotangents), copied(expected)):
        assert repr(grads) == repr(expected)
        np.testing.assert_array_equal(grads.params["U"], expected.params["U"])
        np.testing.assert_array_equal(grads.inputs["x"], expected.inputs["x"])
    del run, expected  # their rooms go back; the copy has its own arrays
    kernel.forward(params, {"x": x + 1})
    np.testing.assert_array_equal(kernel.backward(other, cotangents).params["U"], grads.params["U"])


def test_a_run_of_another_cell_is_refused_after_pickling_too():
    one, two = sb.compile(leaky), sb.compile(spiking)
    x = np.ones((2, 1, 2))
    run = again(two.forward(spiking.init({"n": 2}), {"x": x}))
    with pytest.raises(sb.ArgumentError, match="the run of another module"):
        one.backward(run, {"h": np.ones((2, 1, 2))})


def test_runs_of_saved_modules_go_to_the_module_loaded_anew(tmp_path):
    program = f"""
import pickle, sys, numpy as np, importlib, importlib.util
sys.path.insert(0, {str(tmp_path)!r})
import leaky_bptt as m
U, x, ones = np.eye(2), np.ones((3, 1, 2)), np.ones((3, 1, 2))
run = m.forward({{"U": U, "dt": 0.1}} if "dt" in m.PARAMS else {{"U": U}}, {{"x": x}})
grads = m.backward(run, {{"h": ones}})
data = pickle.dumps((run, grads))
del sys.modules["leaky_bptt"]
import leaky_bptt as other
again, kept = pickle.loads(data)
assert type(again) is other.Run and other is not m
np.testing.assert_array_equal(other.backward(again, {{"h": ones}}).params["U"], grads.params["U"])
np.testing.assert_array_equal(kept.params["U"], grads.params["U"])
"""
    sb.compile(leaky).save(tmp_path / "leaky_bptt.py")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("target", [leaky, spiking, lstm, sb.model(gru, squares)], ids=lambda t: t.name)
@pytest.mark.thinned(7)
def test_derivations_plans_and_jacobians_are_the_same_again(target):
    derivation, plan = sb.derive(target), sb.compile(target).plan
    assert again(derivation).text() == derivation.text() == copy.deepcopy(derivation).text()
    assert str(again(plan)) == str(plan)
    J = derivation.jacobian("h", "h")
    assert again(J).text() == J.text() and again(J).structure == J.structure
    assert again(derivation.forward) == derivation.forward


NOTEBOOK = """
import numpy as np, symbptt as sb, sympy as sp, joblib
from symbptt import Const, Input, Param, State, Target

spike = sb.function("spike", lambda v: sp.tanh(v), lambda v: 1 / (1 + v**2))

def helper(v):
    return spike(v) * scale

scale = 0.5

@sb.cell
def mine(x: Input["n"], h: State["n"], U: Param["n n"], dt: Const = 0.1):
    return h + dt * (helper(U @ h + x) - h)

@sb.loss
def squares(h: State["n"], y: Target["n"]):
    return sb.sum((h - y) ** 2)

def closed(k):
    @sb.cell
    def inner(x: Input["n"], h: State["n"], U: Param["n n"]):
        return np.tanh(U @ h + k * x)
    return inner

def work(target, x):
    kernel = sb.compile(target)
    run = kernel.forward({"U": np.eye(2)}, {"x": x})
    return run, kernel.backward(run, {"h": np.ones(x.shape)})

x = np.ones((3, 1, 2))
targets = [mine, mine.with_consts({"dt": 0.5}), closed(2.0), sb.model(mine, squares)]
found = joblib.Parallel(n_jobs=2)(joblib.delayed(work)(target, x) for target in targets)
for target, (run, grads) in zip(targets, found):
    kernel = sb.compile(target)
    here = kernel.backward(run, {"h": np.ones(x.shape)})
    assert np.array_equal(here.params["U"], grads.params["U"]), target
print("same")
"""


@pytest.mark.long
@pytest.mark.parametrize("way", ["notebook", "exec", "script"])
@pytest.mark.thinned(1, 2)
def test_cells_of_a_notebook_reach_workers(way, tmp_path):
    pytest.importorskip("joblib")
    pytest.importorskip("cloudpickle")
    path = tmp_path / "cells.py"
    path.write_text(NOTEBOOK)
    runs = {"notebook": "import __main__; exec(compile(open(PATH).read(), '<cell 1>', 'exec'), vars(__main__))",
            "exec": "exec(compile(open(PATH).read(), '<cell 1>', 'exec'), {})"}  # fmt: skip
    program = f"PATH = {str(path)!r}\n{runs.get(way)}"
    command = [sys.executable, str(path)] if way == "script" else [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout == "same\n", done.stderr
