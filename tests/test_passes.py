"""Each pass keeps the values of all roots, by an evaluator of its own, and leaves a legal program."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import symbptt as sb
from symbptt.autodiff.bptt import derive
from symbptt.codegen.passes import PASSES, hoist, join, pack, place, split, spread, tidy, turn, turn_signs
from symbptt.codegen.program.program import Program, program_of
from symbptt.ir import build, laws
from symbptt.ir.node import placeholder
from tests import spellings
from tests.evaluate import roots
from tests.properties.cells import Case, cases, cell_of
from tests.spellings import LAYOUTS

pytestmark = pytest.mark.filterwarnings("ignore:.*is never used", "ignore::RuntimeWarning")
Pass = Callable[[Program], Program]
ORDER = ("once", "all", "block", "loop", "tail", "after")
FEW = settings(max_examples=settings().max_examples // 3)

# Cells of the kind that passes change: gates that share operands, spelled in many ways.

OPERANDS = {"x": "m", "h": "n", "c": "n", "r * h": "n", "c * h": "n"}
FUNCTIONS = ("sb.sigmoid", "np.tanh", "np.sin", "sb.relu", "")


@st.composite
def gated(draw: Any) -> Case:
    """A cell of two or three states with gates; some weights are slices of one, some operands concatenations."""
    arguments = {"x": ("Input", "m"), "h": ("State", "n"), "c": ("State", "n")}
    lines = ["r = sb.sigmoid(h)"]
    count = draw(st.integers(2, 5))
    for i in range(count):
        terms = []
        for j, operand in enumerate(
            draw(st.lists(st.sampled_from(list(OPERANDS)), min_size=1, max_size=3, unique=True))
        ):
            arguments[f"W{i}{j}"] = ("Param", f"n {OPERANDS[operand]}")
            shape = ("W{0}{1} @ ({2})", "np.einsum('ij,j->i', W{0}{1}, {2})", "np.dot(W{0}{1}, {2})")
            terms.append(draw(st.sampled_from(shape)).format(i, j, operand))
        if draw(st.booleans()):
            arguments[f"V{i}"] = ("Param", "n m+n")
            terms.append(f"V{i} @ np.concatenate([x, {draw(st.sampled_from(('h', 'c', 'r * h')))}])")
        if draw(st.booleans()):
            arguments[f"b{i}"] = ("Param", "n")
            terms.append(draw(st.sampled_from((f"b{i}", f"b{i} * c"))))
        total = draw(st.sampled_from((" + ", " - "))).join(draw(st.permutations(terms)))
        lines.append(f"g{i} = {draw(st.sampled_from(FUNCTIONS))}({total})")
    if draw(st.booleans()):
        arguments["P"] = ("Param", "3*n n")
        lines.append("q = P @ h")
        lines.append("s = sb.sigmoid(q[: h.shape[0]]) * q[h.shape[0] : 2 * h.shape[0]] + np.tanh(q[2 * h.shape[0] :])")
    else:
        lines.append("s = np.tanh(c)")
    gates = " * ".join(f"g{i}" for i in range(0, count, 2)), " + ".join(f"g{i}" for i in range(count))
    lines.append(f'return {{"h": r * h + {gates[0]} * s, "c": g0 * c + {gates[1]}, "y": x[:1] * h}}')
    signature = ", ".join(f'{k}: {role}["{dims}"]' for k, (role, dims) in arguments.items())
    text = f"def step({signature}):\n" + "\n".join(f"    {line}" for line in lines) + "\n"
    sizes = {name: draw(st.integers(1, 3)) for name in "mn"}
    return Case(text, sizes, 1, 1, 0)


UNUSUAL = {
    "scalar state": 'def step(x: Input["m"], h: State[""], w: Param["m"], u: Param[""]):\n    return np.tanh(w @ x + u * h)',
    "matrix state": 'def step(x: Input["m"], S: State["n m"], K: Param["m m"], V: Param["n m"]):\n'
    "    k = K @ x\n    return S + np.outer(V @ x - S @ k, k)",
    "no inputs": 'def step(h: State["n"], U: Param["n n"], Z: Param["n n"]):\n'
    "    z = sb.sigmoid(Z @ h)\n    return z * h + (1 - z) * np.tanh(U @ h)",
    "stateless output": 'def step(x: Input["m"], h: State["n"], V: Param["k m"], U: Param["n n"]):\n'
    '    return {"h": U @ h, "y": V @ x}',
    "a roll": 'def step(x: Input["n"], h: State["n"], U: Param["n n"]):\n'
    "    a = U @ h\n    return np.tanh(np.concatenate([a[-1:], a[:-1]]) + x)",
    "a part not used": 'def step(x: Input["n"], h: State["n"], U: Param["3*n n"]):\n'
    "    a = U @ h + np.concatenate([x, x, x])\n    return np.tanh(a[: x.shape[0]]) + a[2 * x.shape[0] :]",
    "a part read twice": 'def step(x: Input["n"], h: State["n"], U: Param["2*n n"]):\n'
    "    a = U @ h\n    n = x.shape[0]\n    return sb.sigmoid(a[:n]) * np.tanh(a[n:]) + a[:n] * x",
    "a part stopped": 'def step(x: Input["n"], h: State["n"], U: Param["2*n n"]):\n'
    "    a = U @ h\n    n = x.shape[0]\n    return sb.stop_gradient(a[:n]) * np.tanh(a[n:]) + x",
    "packed and whole": 'def step(x: Input["n"], h: State["n"], U: Param["2*n n"]):\n'
    "    a = U @ h\n    n = x.shape[0]\n    return sb.sigmoid(a[:n]) * np.tanh(a[n:]) + sb.sum(a) * x",
    "of two states": 'def step(x: Input["m"], h: State["n"], c: State["n"], W: Param["n m+2*n"]):\n'
    '    v = np.concatenate([x, h, c])\n    return {"h": np.tanh(W @ v), "c": sb.sigmoid(W @ v) * c}',
}  # fmt: skip


def program(cell: sb.Cell) -> Program:
    return program_of(derive(cell.step))


def after(p: Program, count: int) -> Program:
    """A program after the first passes."""
    for step in PASSES[:count]:
        p = step(p)
    return p


def assert_kept(wanted: dict[str, np.ndarray], new: Program, sizes: dict[str, int]) -> None:
    got = roots(new, sizes)
    assert wanted.keys() == got.keys()
    for name, value in wanted.items():
        if np.isfinite(value).all():
            scale = max(np.max(np.abs(value), initial=0.0), 1.0)
            np.testing.assert_allclose(got[name], value, rtol=1e-9, atol=1e-9 * scale, err_msg=name)


def assert_legal(p: Program) -> None:
    """The graph keeps its laws, and nothing is read in a region before that in which it is made."""
    laws.check(p.graph)
    rank = lambda id: p.places[id].split()  # noqa: E731
    for id in p.places:
        for arg in p.graph[id].args if id not in p.joined else ():
            if arg not in p.places or p.graph[arg].family == "leaf":
                continue
            (sweep, region), (made, where) = rank(id), rank(arg)
            assert made == "forward" or sweep == "backward", p.graph[id]
            assert sweep != made or ORDER.index(where) <= ORDER.index(region), (p.graph[id], p.places[arg])


def assert_passes_keep(cell: sb.Cell, sizes: dict[str, int]) -> None:
    p = before = program(cell)
    wanted = roots(before, sizes)
    for step in PASSES:
        if p is not before:
            assert_kept(wanted, step(before), sizes)
        p = step(p)
        assert_kept(wanted, p, sizes)
        assert_legal(place(p))


@pytest.mark.long
@FEW
@given(gated())
def test_passes_keep_values_of_gated_cells(case: Case) -> None:
    assert_passes_keep(cell_of(case.text), case.sizes)


@FEW
@given(cases(6))
def test_passes_keep_values_of_random_cells(case: Case) -> None:
    assert_passes_keep(cell_of(case.text), case.sizes)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("name", UNUSUAL)
@pytest.mark.thinned(7, 3)
def test_passes_keep_values_of_unusual_cells(name: str, size: int) -> None:
    cell = cell_of(UNUSUAL[name])
    assert_passes_keep(cell, dict.fromkeys("mnk", size))
    assert size == 1 or sb.verify(cell).passed  # sizes are its own


@pytest.mark.parametrize("name", [name for kind, count in (("lstm", 4), ("gru", 3))
                                  for name in LAYOUTS[kind](*[np.zeros((count, 2, 2))] * 3)])  # fmt: skip
@pytest.mark.thinned(11, 5)
def test_passes_keep_values_of_spellings(name: str) -> None:
    assert_passes_keep(getattr(spellings, name), {"m": 2, "n": 3})


# One mistake in each pass.


run_of = sys.modules[join.__module__]._run  # type: ignore[attr-defined]
MISTAKES: dict[str, tuple[Pass, str, Callable[..., Any]]] = {
    "a term is lost": (hoist, "sum_of", lambda g, terms: build.map_(g, placeholder(0), [terms[0][1]])),
    "a coefficient without its factor": (split, "_coefficient", lambda made, node, mover, factor: build.expand(
        made.graph, build.number(made.graph, 2), node.shape)),
    "lanes cut at the wrong gate": (pack, "_pick", lambda g, x, i: build.reshape(
        g, build.cut(g, x, [(0, 1, 1), *((0, s, 1) for s in g.shape(x)[1:])]), g.shape(x)[1:])),
    "weights stacked in another order than adjoints": (join, "_run", lambda lanes, members: run_of(lanes, members)[::-1]),
    "a part taken of the wrong place": (spread, "part_of", lambda g, x, spans: build.cut(
        g, x, [(0, n, s) for _, n, s in spans])),
    "parts that are not adjacent as one": (tidy, "_adjacent", lambda g, a, b, axis: None if a.args != b.args else b.id),
    "a transpose without its labels": (turn, "Product", lambda a, b, out: sys.modules[
        "symbptt.ir.node"].Product(a[::-1], b, out)),
    "a bias that keeps its sign": (turn_signs, "_args", lambda p, id, signs: [0]),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
@pytest.mark.thinned(3)
def test_planted_mistake_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    step, function, wrong = MISTAKES[name]
    monkeypatch.setattr(sys.modules[step.__module__], function, wrong)
    cell = spellings.lstm_one_weight if step in (spread, tidy) else spellings.lstm_plain
    with pytest.raises((AssertionError, sb.ShapeError, LookupError, ValueError)):
        assert_passes_keep(cell, {"m": 3, "n": 3})


def test_planted_place_is_caught() -> None:
    """A value of the loop that is said to be made after it."""
    p = after(program(spellings.gru_plain), len(PASSES))
    found = next(id for id in p.next.values())
    arg = next(a for a in p.graph[found].args if p.places.get(a) == "forward loop" and p.graph[a].family != "leaf")
    p.places[arg] = "forward after"
    with pytest.raises(AssertionError):
        assert_legal(p)


# Logistic gates read arguments of the other sign.

TURNED = {
    "packed": ("sb.sigmoid(U @ h + W @ x)", "sb.sigmoid(V @ h)", "a * h + (1 - a) * b", True),
    "beside another function": ("sb.sigmoid(U @ h + W @ x)", "np.tanh(V @ h + Z @ x)", "a * h + (1 - a) * b", True),
    "a term that another function shares": (
        "sb.sigmoid(U @ h + x)",
        "np.tanh(V @ h + x)",
        "a * h + (1 - a) * b",
        False,
    ),
    "one gate": ("sb.sigmoid(U @ h + W @ x)", "x", "a * h + (1 - a) * b", True),
    "a bias that varies": ("sb.sigmoid(U @ h + x)", "x", "a * h + (1 - a) * b", False),
    "a sum that others read": ("U @ h + W @ x", "x", "sb.sigmoid(a) * a + b * h", False),
}


@pytest.mark.parametrize("name", TURNED)
def test_signs_are_turned_where_that_is_free(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results stay as they are to the last bit, in steps and in sweeps; nothing is negated in the loop."""
    a, b, new, is_turned = TURNED[name]
    weights = ", ".join(f'{w}: Param["n n"]' for w in "UVWZ" if f"{w} @" in a + b)
    cell = cell_of(f'def step(x: Input["n"], h: State["n"], {weights}):\n    a = {a}\n    b = {b}\n    return {new}\n')
    found = turn_signs(before := after(program(cell), PASSES.index(turn_signs)))
    assert (found is not before) == is_turned and turn_signs(found) is found
    kernel = sb.compile(cell)
    monkeypatch.setattr("symbptt.codegen.kernel.PASSES", tuple(step for step in PASSES if step is not turn_signs))
    plain = sb.compile(cell)
    forward = [k.source.partition("def _forward")[2].partition("def _backward")[0] for k in (kernel, plain)]
    assert ["np.negative(" in text for text in forward] == [not is_turned, True]
    random = np.random.default_rng(0)
    params = {k: random.standard_normal((3, 3)) for k in "UVWZ" if f"{k} @" in a + b}
    x, h = random.standard_normal((5, 2, 3)), random.standard_normal((2, 3))
    for part in (slice(0, 1), slice(None)):
        runs = [k.forward(params, {"x": x[part]}, {"h": h}) for k in (kernel, plain)]
        grads = [
            k.backward(run, {"h": np.ones_like(run.states["h"])}) for k, run in zip((kernel, plain), runs, strict=True)
        ]
        assert np.array_equal(*(run.states["h"] for run in runs))
        assert all(np.array_equal(grads[0].params[k], grads[1].params[k]) for k in params)
        assert np.array_equal(*(grad.inputs["x"] for grad in grads))
