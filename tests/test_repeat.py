"""Loops inside a step: one body, repeated a fixed number of times."""

import ctypes
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Index, Input, Param, State
from symbptt.autodiff.bptt import derive
from symbptt.codegen.passes.still_sums import in_loops
from symbptt.equations.notation.signs import TEXT
from symbptt.equations.notation.writing import write
from symbptt.ir.laws import check
from tests import ccode, oracle, test_c99, test_plan
from tests.kernels import kernel_of


@sb.cell
def rounds(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], many: Const = 3):
    return sb.repeat(lambda z: np.tanh(U @ z + W @ x), h, many)


@sb.cell
def pair(x: Input["n"], u: State["n"], v: State["n"], w: Param["n"], U: Param["n n"], dt: Const = 0.1):
    def step(z, k):
        u, v = z
        v = v + dt * (np.tanh(U @ u + x) - w * u - 0.1 * k * v)
        return u + dt * v, v

    return sb.repeat(step, (u, v), 3)


@sb.cell
def grown(x: Input["n"], h: State["n"], U: Param["n n"], w: Param["4 n"]):
    return h + sb.repeat(lambda z, k: np.sin(U @ (z + h) + w[k]) + x, 0.0, 4)


@sb.cell
def nested(x: Input["n"], h: State["n"], U: Param["n n"]):
    return sb.repeat(lambda z: sb.repeat(lambda y, k: np.tanh(U @ y + k * z + x), z, 2) * 0.5, h, 2)


@sb.cell
def layers(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["L n n"]):
    z = W @ x + 0.1 * h
    return sb.repeat(lambda z, k: np.tanh(U[k] @ z), z, U.shape[0])


@sb.cell
def rk4(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"], dt: Const = 0.1):
    def f(z):
        return np.tanh(U @ z + W @ x + b) - z

    def substep(z):
        s = dt / 4
        k1 = f(z)
        k2 = f(z + s / 2 * k1)
        k3 = f(z + s / 2 * k2)
        return z + s / 6 * (k1 + 2 * k2 + 2 * k3 + f(z + s * k3))

    return sb.repeat(substep, h, 4)


CELLS = {"rounds": rounds, "pair": pair, "grown": grown, "nested": nested, "rk4": rk4}


def test_plain_arrays_go_through_the_rounds():
    z = sb.repeat(lambda z, k: 2 * z + k, np.ones(2), 3)
    assert np.array_equal(z, [12.0, 12.0])  # 2, 5, 12
    assert np.array_equal(sb.repeat(np.tanh, np.zeros(2), 5), np.zeros(2))
    assert sb.repeat(lambda z: z + 1, 7, 0) == 7


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "pair" else pytest.mark.long) for name in CELLS]
)
@pytest.mark.thinned(1, 2)
def test_a_cell_is_the_same_as_with_a_loop_of_python(name):
    """The user's function on arrays runs the loop; the module must give its values and, by complex step, its gradients."""
    cell = CELLS[name]
    report = sb.verify(cell)
    assert report.passed, str(report)


def _refused(body, times=2, start=None):
    @sb.cell
    def wrong(x: Input["n"], h: State["n"], U: Param["n n"]):
        return sb.repeat(lambda z: body(z, x, U), h if start is None else start, times)

    with pytest.raises(sb.SymbpttError) as error:
        sb.derive(wrong)
    text = str(error.value)
    assert "test_repeat.py" in text
    return text


@pytest.mark.parametrize(
    ("body", "options", "words"),
    [
        (lambda z, x, U: z[:1], {}, "keeps its shape"),
        (lambda z, x, U: (z, z), {}, "a tuple for one value"),
        (lambda z, x, U: None, {}, "returns None"),
        (lambda z, x, U: z > 0, {}, "truth values"),
        (lambda z, x, U: z, {"times": -1}, "0 or more"),
        (lambda z, x, U: z, {"times": 2.5}, "must be an integer"),
        (lambda z, x, U: z, {"times": True}, "must be an integer"),
    ],
)
def test_a_body_that_is_none_is_refused(body, options, words):
    assert words in _refused(body, **options)


def _by_complex_step(cell: sb.Cell, sizes: dict[str, int], T: int, B: int, seed: int = 0) -> float:
    """The largest difference of the module's gradients from complex steps through the user's function, and of its values."""
    rng, kernel = np.random.default_rng(seed), kernel_of(cell)
    params = {k: 0.5 * rng.standard_normal(v.shape) for k, v in cell.init(sizes).items()}
    x = rng.standard_normal((T, B, *[sizes[str(n)] for a in cell.arguments if a.name == "x" for n in a.shape]))
    run = kernel.forward(params, {"x": x})
    sent = {k: rng.standard_normal(v.shape) for k, v in run.states.items()}
    grads = kernel.backward(run, sent)

    def loss(params: Any, x: Any) -> Any:
        total = 0.0
        for b in range(B):
            state = [np.zeros(v.shape[2:]) for v in run.states.values()]
            for t in range(T):
                found = cell(x[t, b], *state, **params)
                state = list(found) if isinstance(found, tuple) else [found]
                total = total + sum(np.sum(w[t, b] * h) for w, h in zip(sent.values(), state, strict=True))
        return total

    value = sum(float(np.sum(sent[k] * v)) for k, v in run.states.items())
    worst = abs(value - loss(params, x))
    for name, got in (*grads.params.items(), ("x", grads.inputs["x"])):
        for at in np.ndindex(got.shape):
            moved = {k: v.astype(complex) for k, v in (params | {"x": x}).items()}
            moved[name][at] += 1e-30j
            other = moved.pop("x")
            worst = max(worst, abs(loss(moved, other).imag / 1e-30 - got[at]))
    return worst


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize(("T", "B"), [(3, 2), (1, 1)])
def test_rounds_may_be_as_many_as_a_size_says(length: int, T: int, B: int) -> None:
    assert _by_complex_step(layers, {"m": 2, "n": 3, "L": length}, T, B) < 1e-13


@sb.cell
def inner_of_a_size(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["L n n"]):
    def outer(z):
        y = sb.repeat(lambda y, k: np.tanh(U[k] @ y + z), z, U.shape[0])
        return 0.5 * y + W @ x

    return sb.repeat(outer, h, 3)


@sb.cell
def outer_of_a_size(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["L n n"]):
    return sb.repeat(lambda z, k: sb.repeat(lambda y: np.tanh(U[k] @ y + z + W @ x), z, 2), h, U.shape[0])


@pytest.mark.parametrize("length", [pytest.param(1, marks=pytest.mark.long), 2])
@pytest.mark.parametrize("cell", [inner_of_a_size, outer_of_a_size], ids=lambda cell: cell.name)
def test_loops_of_a_size_stand_inside_and_around_of_others(cell: sb.Cell, length: int) -> None:
    assert _by_complex_step(cell, {"m": 1, "n": 2, "L": length}, 2, 2) < 1e-13


def test_a_loop_of_a_size_inside_of_another_one_is_refused_with_the_way_out() -> None:
    @sb.cell
    def both(x: Input["n"], h: State["n"], U: Param["L n n"]):
        return sb.repeat(lambda z, k: sb.repeat(lambda y: np.tanh(U[k] @ y + x), z, x.shape[0]), h, U.shape[0])

    with pytest.raises(
        sb.CellError, match="repeats a body L times, a size without a number, and inside of it a body n times"
    ) as told:
        sb.compile(both)
    assert "times=4" in str(told.value)


@pytest.mark.long
def test_a_loop_of_a_size_inside_of_others_is_proved() -> None:
    assert sb.verify(inner_of_a_size).passed


def test_no_steps_give_zeros() -> None:
    sizes = {"m": 2, "n": 3, "L": 2}
    run = kernel_of(layers).forward(layers.init(sizes), {"x": np.zeros((0, 2, 2))})
    assert not np.any(kernel_of(layers).backward(run, {}).params["U"])


def test_what_needs_each_round_written_out_refuses_a_named_number() -> None:
    for use in (lambda cell: sb.unroll(cell, 2), lambda cell: sb.derive(cell).to_sympy()):
        with pytest.raises(sb.CellError, match="repeats a body L times, a size without a number"):
            use(layers)


@pytest.mark.parametrize("name", CELLS)
def test_loops_are_legal_and_have_one_body(name: str) -> None:
    step = in_loops(CELLS[name].looped)
    check(step.graph)
    check(derive(step).graph)
    text = kernel_of(CELLS[name]).source
    # One loop over rounds forward, and one back.
    assert (
        text.count("in zip(\n                    range(")
        + text.count("for k in ")
        + text.count("for k, ")
        + text.count("for (k, ")
        >= 2
    )
    assert len([n for n in step.graph if n.family == "repeat"]) == 0


@pytest.mark.parametrize("steps", [7, 1, 0])
@pytest.mark.thinned(2)
def test_plan_counts_the_calls_of_all_rounds(steps: int) -> None:
    for cell in (rk4, pair):
        kernel, sizes = kernel_of(cell), test_plan.sizes_of(cell)
        ran = test_plan.totals(test_plan.counts_of(kernel, steps, 3, sizes))
        assert test_plan.totals_of(kernel.plan.work_of(steps, 3, **sizes)) == ran


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "pair" else pytest.mark.long) for name in (*CELLS, "layers")]
)
@pytest.mark.thinned(1, 5)
def test_c_agrees_with_numpy(name: str, tmp_path: Path) -> None:
    cell, sizes = (CELLS | {"layers": layers})[name], {"m": 2, "n": 3, "L": 3}
    source = sb.c_source(cell)
    library: ctypes.CDLL = ccode.build([source], tmp_path)
    own = {k: v for k, v in sizes.items() if k in kernel_of(cell).plan.written.names}
    for T, B in test_c99.SHAPES:
        groups = test_c99.oracle.draw(cell, T, B, own)
        assert test_c99.compare(cell, test_c99.Caller(source, library, np.float64, own, T, B), groups, T) < 1e-11


def test_planted_mistake_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the values of all rounds the gradient of a weight reads those behind a round, not before it."""
    module = sys.modules["symbptt.autodiff.rounds"]
    right = module.build.rows

    def exchanged(g: Any, x: int, start: Any, count: Any) -> int:
        is_of_loop = g[x].family == "rounds" and start in (0, 1) and count == 3
        return right(g, x, 1 - start if is_of_loop else start, count)

    monkeypatch.setattr(module.build, "rows", exchanged)
    wrong = sb.Cell(pair.function)
    assert _by_complex_step(wrong, {"n": 3}, 3, 2) > 1e-3


def test_gradients_of_pair_by_complex_step() -> None:
    assert _by_complex_step(pair, {"n": 3}, 3, 2) < 1e-13


PAGE = """\
Forward, t = 1, …, T
  ũ_{t,0}     = u_{t-1}
  v_{1,t,0}   = v_{t-1}
  a_{t,k}     = U ũ_{t,k} + x_t for k < 3
  v_{2,t,k}   = v_{1,t,k} + Δt (tanh(a_{t,k}) - w ⊙ ũ_{t,k} - 0.1 k v_{1,t,k}) for k < 3
  ũ_{t,k+1}   = ũ_{t,k} + Δt v_{2,t,k} for k < 3
  v_{1,t,k+1} = v_{2,t,k} for k < 3
  u_t         = ũ_{t,3}
  v_t         = v_{1,t,3}

Backward, t = T, …, 1; terms of step T + 1 are zero
  du_t       = dL/du_t + dũ_{t+1,0}
  dv_t       = dL/dv_t + dv_{1,t+1,0}
  dũ_{t,3}   = du_t
  dv_{1,t,3} = dv_t
  dv_{2,t,k} = Δt dũ_{t,k+1} + dv_{1,t,k+1} for k < 3
  dv_{1,t,k} = (1 - 0.1 k Δt) dv_{2,t,k} for k < 3
  da_{t,k}   = Δt dv_{2,t,k} ⊙ (1 - tanh(a_{t,k})²) for k < 3
  dũ_{t,k}   = Uᵀ da_{t,k} - Δt dv_{2,t,k} ⊙ w + dũ_{t,k+1} for k < 3

Gradients of the parameters
  dw = -Σ_t Σ_{k < 3} Δt dv_{2,t,k} ⊙ ũ_{t,k}
  dU = Σ_t Σ_{k < 3} da_{t,k} ũ_{t,k}ᵀ

Gradients of the inputs
  dx_t = Σ_{k < 3} da_{t,k}

Gradients of the initial state
  du_0 = dũ_{1,0}
  dv_0 = dv_{1,1,0}
"""


@pytest.mark.parametrize("size, number, member", [("n", "k", "j"), ("k", "j", "l")])
def test_members_of_a_family_have_the_round_of_their_loop_and_another_letter(size, number, member) -> None:
    @sb.cell
    def gated(x: Input[size], h: State[size], Wz: Param[f"{size} {size}"], Wr: Param[f"{size} {size}"]):
        def step(s):
            z, r = sb.sigmoid(Wz @ s + x), sb.sigmoid(Wr @ s + x)
            return (1 - z) * s + z * r * s

        return sb.repeat(step, h, 3)

    text = sb.derive(gated).text()
    assert f"Σ_{member} W_{member}ᵀ da_{{{member},t,{number}}} +" in text, text
    assert (
        f"dW_{member} = Σ_t Σ_{{{number} < 3}} da_{{{member},t,{number}}} s_{{t,{number}}}ᵀ,  {member} ∈ {{z, r}}"
        in text
    )


def test_page_has_one_body_for_all_rounds() -> None:
    d = sb.derive(pair)
    assert d.text().startswith(PAGE)
    assert "z̃_{t,k+1} = tanh(U_k z̃_{t,k}) for k < L" in sb.derive(layers).text("loop")
    assert r"\mathrm{d}U &= \sum_{t} \sum_{k < 3}" in d.latex()
    assert len(d.mathml()) > 1000
    # The Jacobian is that of the step with its rounds written out.
    assert "U" in str(d.jacobian("u", "v").text())


def test_lines_of_the_page_are_the_gradients_of_the_module() -> None:
    """The page, worked through by hand: each line in NumPy as it stands there."""
    rng, n, T, dt = np.random.default_rng(3), 3, 2, 0.1
    w, U, x = rng.standard_normal(n), rng.standard_normal((n, n)), rng.standard_normal((T, 1, n))
    run = kernel_of(pair).forward({"w": w, "U": U}, {"x": x})
    sent = {k: rng.standard_normal((T, 1, n)) for k in "uv"}
    grads = kernel_of(pair).backward(run, sent)
    u, v = np.zeros((T, 4, n)), np.zeros((T, 4, n))
    for t in range(T):
        u[t, 0], v[t, 0] = (u[t - 1, 3], v[t - 1, 3]) if t else (0, 0)
        for k in range(3):
            a = U @ u[t, k] + x[t, 0]
            v[t, k + 1] = v[t, k] + dt * (np.tanh(a) - w * u[t, k] - 0.1 * k * v[t, k])
            u[t, k + 1] = u[t, k] + dt * v[t, k + 1]
    du, dv, dw, dU, dx = np.zeros((4, n)), np.zeros((4, n)), np.zeros(n), np.zeros((n, n)), np.zeros((T, n))
    for t in reversed(range(T)):
        du[3], dv[3] = sent["u"][t, 0] + du[0], sent["v"][t, 0] + dv[0]
        for k in (2, 1, 0):
            both = dt * du[k + 1] + dv[k + 1]
            da = dt * both * (1 - np.tanh(U @ u[t, k] + x[t, 0]) ** 2)
            dv[k] = (1 - 0.1 * dt * k) * both
            du[k] = U.T @ da - dt * both * w + du[k + 1]
            dw -= dt * both * u[t, k]
            dU += np.outer(da, u[t, k])
            dx[t] += da
    for mine, other in ((dw, grads.params["w"]), (dU, grads.params["U"]), (dx, grads.inputs["x"][:, 0]),
                        (du[0], grads.state["u"][0]), (dv[0], grads.state["v"][0])):  # fmt: skip
        assert np.allclose(mine, other, rtol=1e-13, atol=1e-13)


# Siblings: functions of the language in a body, what is carried in other shapes and orders, loops before and behind the steps.


@sb.cell
def soft(x: Input["n"], h: State["n"], U: Param["n n"]):
    def b(z):
        a = sb.softmax(U @ z + x)
        return z + 0.5 * (a - sb.mean(z))

    return sb.repeat(b, h, 3)


@sb.cell
def swap(x: Input["n"], h: State["n"], g: State["n"], U: Param["n n"]):
    return sb.repeat(lambda z: (z[1], np.tanh(U @ z[0] + x)), (h, g), 3)


@sb.cell
def mat(x: Input["n"], M: State["n n"], U: Param["n n"]):
    return sb.repeat(lambda z: 0.5 * z + 0.1 * (U @ z @ z.T) + np.outer(x, x), M, 2)


@sb.cell
def ponly(x: Input["n"], h: State["n"], W: Param["n n"], v: Param["n"]):
    u = sb.repeat(lambda z: np.tanh(W @ z), v, 3)  # of parameters alone
    return np.tanh(u * h + x)


@sb.cell
def two(x: Input["n"], h: State["n"], W: Param["n n"], V: Param["n n"]):
    a = sb.repeat(lambda z: np.tanh(W @ z + x), h, 2)
    b = sb.repeat(lambda z: np.sin(V @ z + a), a, 3)
    return {"h": b, "y": a * b}


@sb.cell
def parts(x: Input["n"], h: State["2*n"], W: Param["n n"]):
    def f(z):
        n = x.shape[0]
        a, b = z[:n], z[n:]
        c = np.cumsum(np.tanh(W @ a)) + b[::-1]
        return np.concatenate([sb.where(c > 0.1, c, 0.5 * a), b + 0.1 * sb.max(c) + x])

    return sb.repeat(f, h, 2)


@sb.cell
def tok(x: Index["v"], h: State["n"], E: Param["v n"], U: Param["n n"]):
    return sb.repeat(lambda z, k: np.tanh(U @ z + E[x] * (1 + k)), h, 3)


@sb.cell
def const_next(x: Input["n"], h: State["n"], U: Param["n n"]):
    u, v = sb.repeat(lambda z: (np.tanh(U @ z[0] + z[1]), x), (h, 0.5 * h), 3)
    return u + 0 * v


@sb.cell
def inner_k(x: Input["3"], h: State["3"], U: Param["3 3"]):
    return sb.repeat(lambda z, k: np.tanh(U @ z + z[k]) + x, h, 3)


SIBLINGS = {cell.name: cell for cell in (soft, swap, mat, ponly, two, parts, tok, const_next, inner_k)}


@pytest.mark.long
@pytest.mark.proof
def test_rounds_of_a_named_number_are_proved() -> None:
    report = sb.verify(layers)
    assert report.passed and report.proof, str(report)


@pytest.mark.long
@pytest.mark.parametrize("name", SIBLINGS)
@pytest.mark.thinned(1, 5)
def test_siblings_are_proved(name: str) -> None:
    report = sb.verify(sb.compile(SIBLINGS[name]))
    assert report.passed, str(report)


def test_pages_of_values_that_change_places_or_stay() -> None:
    assert "dz1_{t,k} = dz0_{t,k+1} for k < 3" in sb.derive(swap).text()
    assert "dx_t = Σ_{k < 3} dz1_{t,k+1}" in sb.derive(const_next).text()
    assert "dv = Σ_t dz_{t,0}" in sb.derive(ponly).text()
    assert "dz_{t,k}   = Wᵀ du_{a,t,k} for k < 2" in sb.derive(two).text()
    # What a body reads of what it carries at the number of the round has no loop: its rounds stand there one by one.
    assert not any(node.family == "rounds" for node in in_loops(inner_k.looped).graph)


@sb.cell
def begin_alike(x: Input["n"], h: State["n"], w: Param["n"]):
    """Values of one loop, and of two, that begin with one value; what is behind the last rounds has names of the user's."""
    a = sb.repeat(lambda z: (z[0] * w, z[1] + z[0] * h), (np.ones_like(h), np.ones_like(h)), 3)[1]
    b = sb.repeat(lambda v: np.sin(v) + x, h, 4)
    return np.tanh(a + np.cos(b) * sb.repeat(lambda u: np.tanh(u * w), h, 2))


@pytest.mark.parametrize("style", ["textbook", "loop"])
def test_each_value_on_a_page_of_loops_has_one_line(style: str) -> None:
    d = sb.derive(begin_alike)
    lines = [line for section in d.page(style).sections for line in section.lines]
    told = [write(line.left, TEXT) for line in lines]
    assert len(set(told)) == len(told)
    adjoints = {label.name for line in lines for label in line.right.labels if label.adjoint} - {"h"}
    assert adjoints and adjoints <= {label.name for line in lines for label in line.left.labels if label.adjoint}
    text = d.text(style)
    for line in ("dz0_{t,3} = 0", "v_{t,0} = h_{t-1}", "u_{t,0} = h_{t-1}"):
        assert line in " ".join(text.split()), line
    assert "first" not in text and "behind" not in text


@sb.cell
def keyed(x: Input["m"], M: State["d d"], S: State["d d"], K: Param["d m"], V: Param["d m"]):
    """A memory whose key has the name that the numbers of rounds have, and is read in two other shapes."""
    k, v = K @ x, V @ x
    S = 0.9 * S - sb.grad(lambda M: np.sum((M @ k - v) ** 2))(M)

    def orthogonal(X):
        A = X @ X.T
        return 3.4445 * X + (-4.7750 * A + 2.0315 * A @ A) @ X

    M = 0.95 * M + 0.1 * sb.repeat(orthogonal, S / (np.sqrt(np.sum(S * S)) + 1e-6), 3)
    return {"M": M, "S": S, "y": M @ k}


def test_number_of_a_round_is_no_variable_of_another_value() -> None:
    kernel = kernel_of(keyed)
    groups = oracle.draw(keyed, 2, 1, {"m": 1, "d": 2}, scale=0.4)
    run = kernel.forward(*groups)
    sent = {name: np.random.default_rng(1).standard_normal(v.shape) for name, v in (run.states | run.outputs).items()}
    wanted = oracle.gradients(keyed, *groups, sent, 2)
    oracle.assert_blocks_close(oracle.flat(kernel.backward(run, sent)), wanted)
