"""Steps of many inner rounds: every stage grows about as the number of rounds, in calls rather than in seconds."""

import ast
import sys

import numpy as np
import pytest
import sympy as sp

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.autodiff.entrywise import Calculus
from symbptt.codegen.lower import equations
from symbptt.codegen.targets.numpy.scalar_text import body_text
from symbptt.ir.node import placeholder
from symbptt.ir.scalar import tree_of


def tanh(h, x, w):
    return np.tanh(w * h + x)


def product(h, x, w):
    return h * (1 + 0.1 * np.tanh(w * h)) * x


def affine(h, x, w):
    return 0.5 * h + x * h * np.mean(w)


def linear_rk4(h, x, w):
    k1 = w * h + x
    k2 = w * (h + 0.05 * k1) + x
    k3 = w * (h + 0.05 * k2) + x
    return h + 0.1 / 4 * (k1 + 2 * k2 + k3)


def gates(h, x, w):
    z = 1 / (1 + np.exp(-(w * h + x)))
    return (1 - z) * h + z * np.tanh(w * h)


def softmax(h, x, w):
    e = np.exp(w * h - np.max(w * h))
    return np.tanh(h * e / np.sum(e) + x)


def norm(h, x, w):
    c = h - np.mean(h)
    return np.tanh(w * c / np.sqrt(np.mean(c**2) + 0.1) + x)


def branch(h, x, w):
    return np.where(h > x, 0.5 * h + w, np.log1p(h * h) * w)


def rolled(h, x, w):
    return np.roll(h, 1)


def rolled_twice(h, x, w):
    return np.roll(h, 1) * np.tanh(np.roll(h, 3) + x) + w * h


def joined(h, x, w):
    return np.concatenate([h[1:], h[:1]]) * w + x * h


def squared(h, x, w):
    return h * h


def summed(h, x, w):
    return np.cumsum(h) * w + h / (1 + np.sum(h * h))


BODIES = {f.__name__: f for f in (tanh, product, affine, linear_rk4, gates, softmax, norm, branch, rolled, rolled_twice,
                                  joined, squared, summed)}  # fmt: skip


def cell_of(body, rounds):
    @sb.cell
    def deep(x: Input["4"], h: State["4"], w: Param["4"]):
        for _ in range(rounds):
            h = body(h, x, w)
        return np.tanh(h + x * w) if body in (rolled, squared) else h

    return deep


def coupled(rounds):
    @sb.cell
    def deep(x: Input["4"], h: State["4"], g: State["4"], w: Param["4"]):
        for _ in range(rounds):
            h, g = w * h + 0.3 * g + x, 0.2 * h - w * x * g
        return {"h": h, "g": g}

    return deep


def calls_of(stage, *given):
    """How many Python functions a call calls."""
    count = [0]

    def counted(frame, event, arg):
        count[0] += event == "call"

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        found = stage(*given)
    finally:
        sys.setprofile(before)
    return count[0], found


STAGES = {
    "trace": lambda cell: cell.step,
    "derive": lambda cell: sb.derive(cell),
    "text": lambda cell: sb.derive(cell).text(),
    "latex": lambda cell: sb.derive(cell).latex(),
    "jacobian": lambda cell: sb.derive(cell).jacobian("h", "h").structure,
    "compile": lambda cell: sb.compile(cell).source,
    "plan": lambda cell: str(sb.compile(cell).plan),
}


@pytest.mark.parametrize(
    "make",
    [pytest.param(name, marks=[] if name == "rolled" else pytest.mark.long) for name in (*BODIES, "coupled")],
)
@pytest.mark.thinned(1, 11)
def test_every_stage_grows_little_more_than_the_rounds(make):
    def counts(rounds):
        cell = coupled(rounds) if make == "coupled" else cell_of(BODIES[make], rounds)
        return {name: calls_of(stage, cell)[0] for name, stage in STAGES.items()}

    counts(1)
    short, long = counts(4), counts(12)
    grown = {name: long[name] / (short[name] + 2_000) for name in STAGES}
    assert max(grown.values()) < 6, grown  # 3 were linear, 9 quadratic, and 2^12 what affine and rolled rounds took


def newton(rounds):
    """Rounds of Newton whose values have no names, and that read the one before six times."""

    @sb.cell
    def root(x: Input["n"], h: State["n"], a: Param["n"]):
        def solved(y, left):
            step = (y + a * np.tanh(y) - x - h) / (1 + a * (1 - np.tanh(y) ** 2)) if left else None
            return solved(y - step, left - 1) if left else y

        return solved(h, rounds)

    return root


def slots(rounds):
    @sb.cell
    def attending(x: Input["p n"], s: State["k n"], W: Param["n n"], U: Param["n n"]):
        values = [s]
        for _ in range(rounds):
            a = sb.softmax(x @ (values[-1] @ W).T, axis=1)
            u = (a / np.sum(a, axis=0)).T @ x
            z = sb.sigmoid(u @ U + values[-1])
            values.append((1 - z) * values[-1] + z * u)
        return values[-1]

    return attending


PAGES = {
    "state": lambda d, h, w: d.jacobian(h, h).text(),
    "param": lambda d, h, w: d.jacobian(h, w).text(),
    "unrolled": lambda d, h, w: d.unrolled().text(),
    "linearity": lambda d, h, w: str(d.linearity(h)),
}


@pytest.mark.parametrize("page", ["param", *(pytest.param(x, marks=pytest.mark.long) for x in PAGES if x != "param")])
@pytest.mark.parametrize("make, h, w", [(newton, "h", "a"), pytest.param(slots, "s", "W", marks=pytest.mark.long)])
@pytest.mark.thinned(1, 3)
def test_pages_of_jacobians_grow_little_more_than_the_rounds(make, h, w, page):
    def counted(rounds):
        return calls_of(PAGES[page], sb.derive(make(rounds)), h, w)

    counted(1)
    (few, _), (many, text) = counted(3), counted(9)
    assert many < 9 * (few + 2_000), (few, many)  # 9 is quadratic
    assert len(text) < 9 * 3_000


@pytest.mark.long
def test_values_that_are_looked_for_by_every_path_are_seen_by_the_counts(monkeypatch):
    def calls():
        return calls_of(PAGES["param"], sb.derive(newton(9)), "h", "a")[0]

    once = calls()
    monkeypatch.setattr(Calculus, "_wholes", by_every_path)
    assert calls() > 1.5 * once


def by_every_path(calculus, id):
    node = calculus.graph[id]
    if id in calculus.parts or id in calculus.labelled or node.family != "map":
        return [id] * (id in calculus.parts)
    return [x for arg in node.args if calculus.graph.shape(arg) == node.shape for x in by_every_path(calculus, arg)]


@pytest.mark.parametrize(
    "make, h, shape, rounds",
    [(newton, "h", (3,), 5), (slots, "s", (2, 3), 2), pytest.param(slots, "s", (2, 3), 5, marks=pytest.mark.long)],
)
@pytest.mark.thinned(2)
def test_jacobians_of_many_rounds_are_those_by_complex_step(make, h, shape, rounds):
    cell, random = make(rounds), np.random.default_rng(rounds)
    sizes = {"p": 4, "k": 2, "n": 3}
    arrays = {
        a.name: 0.5 * random.standard_normal([sizes[str(n)] for n in a.shape]) for a in cell.arguments if a.name != h
    }
    state = random.standard_normal(shape)
    params = {k: v for k, v in arrays.items() if k != "x"}
    given = sb.derive(cell).jacobian(h, h).evaluate(params, {"x": arrays["x"]}, {h: state})
    wanted = np.zeros((*shape, *shape))
    for place in np.ndindex(shape):
        moved = state.astype(complex)
        moved[place] += 1e-30j
        wanted[(..., *place)] = np.imag(cell.function(**arrays, **{h: moved})) / 1e-30
    np.testing.assert_allclose(given, wanted, rtol=1e-10, atol=1e-12)
    planted = {**params, "a" if make is newton else "U": 1.01 * arrays["a" if make is newton else "U"]}
    moved = sb.derive(cell).jacobian(h, h).evaluate(planted, {"x": arrays["x"]}, {h: state})
    assert not np.allclose(moved, wanted, rtol=1e-6)


@pytest.mark.parametrize("rounds, T, B", [(1, 9, 2), (2, 0, 1), (12, 1, 1), (12, 9, 2)])
@pytest.mark.parametrize("make", [*BODIES, "coupled"])
@pytest.mark.thinned(47, 17)
def test_gradients_are_those_of_the_function_by_complex_step(make, rounds, T, B):
    cell = coupled(rounds) if make == "coupled" else cell_of(BODIES[make], rounds)
    kernel, random = sb.compile(cell), np.random.default_rng(rounds)
    states = [a.name for a in cell.arguments if a.role == "state"]
    w, x = 0.4 + 0.1 * random.random(4), 0.3 * random.standard_normal((T, B, 4))
    state = {name: 0.5 * random.standard_normal((B, 4)) for name in states}
    run = kernel.forward({"w": w}, {"x": x}, state)
    sent = {name: random.standard_normal((T, B, 4)) for name in states}
    grads = kernel.backward(run, sent)
    dw, dx, dh = random.standard_normal(4), random.standard_normal(x.shape), random.standard_normal((B, 4))

    def loss(e):
        total = 0.0
        for b in range(B):
            now = {name: state[name][b] + e * (dh[b] if name == "h" else 0) for name in states}
            for t in range(T):
                found = cell.function(x=x[t, b] + e * dx[t, b], w=w + e * dw, **now)
                now = found if isinstance(found, dict) else {"h": found}
                total = total + sum((now[name] * sent[name][t, b]).sum() for name in states)
        return total

    if make in ("softmax", "branch"):  # an order of complex numbers is none
        wanted, close = (loss(1e-6) - loss(-1e-6)) / 2e-6, 1e-6
    else:
        wanted, close = np.imag(loss(1e-30j)) / 1e-30, 1e-10
    given = (grads.params["w"] * dw).sum() + (grads.inputs["x"] * dx).sum() + (grads.state["h"] * dh).sum()
    np.testing.assert_allclose(given, wanted, rtol=close, atol=close)


@pytest.mark.parametrize("T, B, scale", [(9, 2, 30.0), (2, 1, 0.3), (0, 1, 1.0)])
@pytest.mark.thinned(5)
def test_the_argument_of_a_deep_tanh_is_there_where_its_slope_is_computed_again(T, B, scale):
    @sb.cell
    def stack(x: Input["n"], h: State["n"], W: Param["n n"]):
        for _ in range(16):
            h = h + np.tanh(W @ h + x)
        return 0.1 * h

    random = np.random.default_rng(0)
    W, x, h = 0.2 * random.standard_normal((3, 3)), scale * random.standard_normal((T, B, 3)), random.random((B, 3))
    sent = random.standard_normal((T, B, 3))
    kernel = sb.compile(stack)
    grads = kernel.backward(kernel.forward({"W": W}, {"x": x}, {"h": h}), {"h": sent})
    for place in np.ndindex(3, 3):
        moved, total = W.astype(complex), 0.0
        moved[place] += 1e-30j
        for b in range(B):
            now = h[b]
            for t in range(T):
                now = stack.function(x[t, b], now, moved)
                total = total + now @ sent[t, b]
        wanted = np.imag(total) / 1e-30
        np.testing.assert_allclose(grads.params["W"][place], wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.long
@pytest.mark.parametrize("body", [affine, pytest.param(linear_rk4, marks=pytest.mark.long)])
def test_deep_affine_steps_are_still_scanned(body):
    assert "Recursion: affine, element by element" in str(sb.compile(cell_of(body, 12)).plan)


@pytest.mark.exhaustive
def test_a_form_without_parts_doubles_with_each_round_and_is_seen_by_the_counts(monkeypatch):
    monkeypatch.setattr(sys.modules["symbptt.codegen.passes.affine_recurrence"], "LONG", 10**9)
    short, long = (calls_of(sb.compile, cell_of(linear_rk4, rounds))[0] for rounds in (2, 4))
    assert long > 4 * short


def test_a_formula_beside_a_line_is_an_ellipsis_where_it_is_long(monkeypatch):
    assert "= …" not in sb.compile(cell_of(affine, 3)).source
    monkeypatch.setattr(equations, "LONGEST", 2)
    assert "= …" in sb.compile(cell_of(affine, 3)).source


def test_a_quotient_of_repeated_squares_is_looked_at_once_each():
    def traced(squares):
        @sb.cell
        def deep(h: State["n"], x: Input["n"]):
            y = h
            for _ in range(squares):
                y = y * (y * x)
            return y / (1 + np.exp(x)) ** 2

        return deep.step

    traced(1)
    assert calls_of(traced, 24)[0] < 6 * (calls_of(traced, 6)[0] + 500)


def depth(tree):
    """How deep a tree of syntax is nested."""
    deepest, open_ = 0, [(tree, 1)]
    while open_:
        node, at = open_.pop()
        deepest = max(deepest, at)
        open_ += [(child, at + 1) for child in ast.iter_child_nodes(node)]
    return deepest


@pytest.mark.parametrize("count", [1, 2, 64, 65, 129, 5_000])
@pytest.mark.parametrize("join", [sp.Add, sp.Mul])
def test_long_sums_and_products_are_nested_little_and_keep_their_value(count, join):
    tree = tree_of(join(*(placeholder(i) for i in range(count)), -1 if join is sp.Mul else 0))
    numbers = np.random.default_rng(0).choice([0.5, 2.0, -1.0], count) if join is sp.Mul else np.arange(count) - 40.0
    text = body_text(tree, [(f"v[{i}]", 5) for i in range(count)])[0]
    with np.errstate(all="ignore"):
        wanted = -np.prod(numbers) if join is sp.Mul else np.sum(numbers)
    assert eval(text, {"v": numbers}) == wanted and depth(ast.parse(text)) < 250


@pytest.mark.exhaustive
def test_the_plan_of_a_weight_that_is_read_at_400_rounds_is_written():
    assert "Plan of deep" in str(sb.compile(cell_of(tanh, 400)).plan)
