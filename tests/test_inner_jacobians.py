"""Jacobians through loops inside a step of a named number of rounds, and through fixed points: on numbers, on pages, in analyses."""

import re
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.autodiff import inner_blocks
from symbptt.ir.node import placeholder
from symbptt.ir.shape import named_size
from symbptt.language.init import concrete
from symbptt.stability.runs.gain import recurrent_weights
from symbptt.stability.runs.linear import linearize
from tests import brute
from tests.jacobian_page import JacobianPage
from tests.oracle import one_step
from tests.page import bare, column, letters_of
from tests.readback import as_text, begun
from tests.test_fixed_point import coupled, equilibrium, implicit_euler, once, retrieval
from tests.test_repeat import layers


@sb.cell
def relaxation(x: Input["m"], h: State["n"], c: State["n"], W: Param["n m"], U: Param["n n"], a: Param["k"]):
    """Two values through as many rounds as `a` has entries, one of which starts as a constant."""

    def step(z, k):
        u, v, w = z
        g = sb.sigmoid(U @ u + W @ x)
        return sb.where(u > 0.2, g * u + v, np.sin(u)), a[k] * v + g * w, 0.5 * w + 0.1

    u, v, w = sb.repeat(step, (h, c, np.zeros(h.shape[0])), a.shape[0])
    return {"h": u, "c": v, "y": np.sum(v * w)}


@sb.cell
def mean_field(x: Input["p d"], s: State["q d"], W: Param["d d"], A: Param["q p"]):
    """A fixed point of two axes, which no matrix product has a derivative of."""
    z = sb.fixed_point(lambda z: np.tanh(0.3 * z @ W + A @ x + 0.2 * s), s)
    return 0.5 * z + 0.5 * s


@sb.cell
def entrywise(x: Input["n"], h: State["n"], w: Param["n"]):
    return sb.fixed_point(lambda z: 0.5 * np.tanh(w * z + x) + 0.3 * h, h)


@sb.cell
def number(x: Input, h: State, w: Param):
    return sb.fixed_point(lambda z: 0.5 * np.tanh(w * z + x) + 0.3 * h, h)


@sb.cell
def leaky(x: Input["n"], h: State["n"], c: State["n"], a: Param["k"], w: Param["n"]):
    """Rounds in which each entry is on its own."""

    def step(z, k):
        u, v, t = z
        return sb.sigmoid(a[k]) * u + np.tanh(v * x) + t, v * w + 0.1 * h * u, 0.5 * t + 0.2

    u, v, t = sb.repeat(step, (h, 0.5 * c, np.zeros(h.shape[0])), a.shape[0])
    return {"h": u, "c": v, "y": u.sum() + t[0]}


@sb.cell
def within(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], R: Param["n n"]):
    """A fixed point that is read by a loop, and that reads another one."""
    p = sb.fixed_point(lambda z: np.tanh(0.4 * U @ z + W @ x), np.zeros(h.shape[0]))
    q = sb.fixed_point(lambda z: 0.5 * np.sin(R @ z + p) + 0.2 * h, p)
    return sb.repeat(lambda z: np.tanh(U @ z + q), h, W.shape[1])


CELLS = {
    c.name: c
    for c in (
        equilibrium,
        retrieval,
        implicit_euler,
        coupled,
        once,
        layers,
        relaxation,
        mean_field,
        entrywise,
        number,
        leaky,
        within,
    )
}
SIZES = {"m": 2, "n": 3, "p": 4, "d": 3, "q": 2, "k": 3, "L": 2}


def arguments(cell: sb.Cell, sizes: dict[str, int], seed: int = 0) -> dict[str, dict[str, Any]]:
    """Random arguments of one step by role, with which bodies contract."""
    rng, known = np.random.default_rng(seed), {named_size(k): v for k, v in sizes.items()}
    found: dict[str, dict[str, Any]] = {"param": {}, "input": {}, "state": {}}
    for a in cell.arguments:
        if a.role in found:
            scale = 0.3 if a.role == "param" else 1.0
            found[a.role][a.name] = scale * rng.standard_normal(concrete(a.shape, known))
    return found


def by_complex_step(cell: sb.Cell, given: dict[str, Any], of: str) -> dict[str, Any]:
    """The derivatives of all that the user's function returns in one argument."""
    columns: dict[str, list[Any]] = {}
    for place in np.ndindex(*np.shape(given[of])):
        moved = np.array(given[of], complex)
        moved[place] += 1e-30j
        for name, value in one_step(cell, given | {of: moved}).items():
            columns.setdefault(name, []).append(np.imag(value) / 1e-30)
    return {k: np.stack(v, -1).reshape((*np.shape(v[0]), *np.shape(given[of]))) for k, v in columns.items()}


def furthest(cell: sb.Cell, sizes: dict[str, int]) -> float:
    """The largest difference of the blocks of a cell from complex steps through the user's function."""
    parts, d = arguments(cell, sizes), sb.derive(cell)
    given = {k: v for part in parts.values() for k, v in part.items()}
    found = [0.0]
    for of in given:
        for to, wanted in by_complex_step(cell, given, of).items():
            block = d.jacobian(to, of).evaluate(parts["param"], parts["input"], parts["state"])
            assert np.shape(block) == wanted.shape, (to, of)
            found.append(float(np.max(np.abs(block - wanted), initial=0.0)))
    return max(found)


QUICK = ("layers", "entrywise")


@pytest.mark.parametrize("name", [pytest.param(x, marks=() if x in QUICK else pytest.mark.long) for x in CELLS])
@pytest.mark.thinned(1, 5)
def test_blocks_are_what_the_function_does(name: str) -> None:
    assert furthest(CELLS[name], SIZES) < 1e-10


@pytest.mark.parametrize("size", [1, pytest.param(2, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", ["layers", "mean_field", pytest.param("relaxation", marks=pytest.mark.long)])
def test_axes_of_size_one_and_two(name: str, size: int) -> None:
    assert furthest(CELLS[name], dict.fromkeys(SIZES, size)) < 1e-10


def test_no_rounds_give_the_identity() -> None:
    @sb.cell
    def fewer(x: Input["n"], h: State["n"], w: Param["k"]):
        return sb.repeat(lambda z: np.tanh(z + w[0] * x), h, w.shape[0] - 1)

    found = sb.derive(fewer).jacobian("h", "h")
    given = {"w": np.zeros(1)}, {"x": np.ones(3)}, {"h": np.ones(3)}
    assert np.array_equal(found.evaluate(*given), np.eye(3))
    assert np.allclose(found.evaluate({"w": np.zeros(2)}, *given[1:]), np.eye(3) * (1 - np.tanh(1) ** 2))


@pytest.mark.long
def test_whole_state_and_all_steps_of_a_batch_are_the_blocks() -> None:
    params, rng = arguments(relaxation, SIZES)["param"], np.random.default_rng(1)
    inputs, state = {"x": rng.standard_normal((4, 2, 2))}, {k: rng.standard_normal((2, 3)) for k in "hc"}
    found, whole = linearize(relaxation, params, inputs, state), sb.derive(relaxation).jacobian()
    for t, b in ((0, 0), (3, 1)):
        now = {k: found.states[t, b, part] for k, part in found.names.items()}
        own = whole.evaluate(params, {"x": inputs["x"][t, b]}, now)
        assert np.allclose(own, found.jacobians[t, b], rtol=1e-13, atol=1e-14)
        assert np.allclose(own[:3, :3], whole["h", "h"].evaluate(params, {"x": inputs["x"][t, b]}, now), atol=1e-15)


def test_single_precision_has_its_own_digits() -> None:
    parts = arguments(equilibrium, SIZES)
    single = {role: {k: v.astype(np.float32) for k, v in part.items()} for role, part in parts.items()}
    block = sb.derive(equilibrium).jacobian("h", "h")
    found, wanted = (block.evaluate(x["param"], x["input"], x["state"]) for x in (single, parts))
    assert found.dtype == np.float32 and np.allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_structure_is_what_the_graph_shows() -> None:
    kinds = {
        name: sb.derive(CELLS[name]).jacobian("h", "h").structure
        for name in ("equilibrium", "entrywise", "number", "once")
    }
    assert kinds == {"equilibrium": "dense", "entrywise": "diagonal", "number": "scalar", "once": "diagonal"}
    assert set(sb.derive(leaky).jacobian().structure.values()) == {"diagonal"}
    assert sb.derive(layers).jacobian("h", "W").structure == "dense"


def test_planted_mistake_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inner_blocks, "placeholder", lambda i: (-1) ** i * placeholder(i))
    assert furthest(equilibrium, SIZES) > 1e-3


# Pages.

POINT = "∂h_t/∂h_{t-1} = (I - diag(1 - h_t²) U)⁻¹ diag(1 - h_t²) R"
LAYERS = """\
∂h_t/∂h_{t-1} = ∂z_{t,L}/∂h_{t-1}
with
  ∂z_{t,0}/∂h_{t-1} = I
  ∂z_{t,k+1}/∂h_{t-1} = diag(1 - z_{t,k+1}²) U_k ∂z_{t,k}/∂h_{t-1} for k < L"""


@sb.cell
def deep(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["L n n"]):
    return sb.repeat(lambda z, k: np.tanh(U[k] @ z + W @ x), h, U.shape[0])


@sb.cell
def entangled(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], V: Param["n n"]):
    u, v = sb.fixed_point(lambda z: (np.tanh(U @ z[1] + W @ x), 0.5 * z[0] + V @ h), (h, h))
    return u + v


def test_pages_have_one_line_for_all_rounds_and_solve_for_a_fixed_point() -> None:
    assert sb.derive(equilibrium).jacobian("h", "h").text() == POINT
    assert sb.derive(deep).jacobian().text() == LAYERS
    assert r"(I - \mathrm{diag}(1 - h_{t}^{2}) U)^{-1}" in sb.derive(equilibrium).jacobian("h", "h").latex()
    assert r"\quad (k < L)" in sb.derive(deep).jacobian("h", "h").latex()
    assert "= 0.3 / (1 - 0.5 (1 - tanh(w h_t + x_t)²) w)" in sb.derive(number).jacobian("h", "h").text()
    text = sb.derive(entangled).jacobian("h", "h").text()
    assert "∂u_t/∂h_{t-1} = diag(1 - u_t²) U ∂v_t/∂h_{t-1}\n" in text
    assert text.endswith("∂u_t/∂h_{t-1}, ∂v_t/∂h_{t-1} solve these equations together"), text
    assert sb.derive(equilibrium, reset=True).jacobian("h", "h").text().count("= (1 - r_t)") == 1


def test_lines_of_a_page_are_what_is_evaluated() -> None:
    """The lines above, worked through by hand."""
    parts = arguments(equilibrium, SIZES)
    given, U, R = (parts["param"], parts["input"], parts["state"]), parts["param"]["U"], parts["param"]["R"]
    h = equilibrium(**parts["input"], **parts["state"], **parts["param"])
    slope = np.diag(1 - h**2)
    wanted = np.linalg.inv(np.eye(3) - slope @ U) @ slope @ R
    assert np.allclose(sb.derive(equilibrium).jacobian("h", "h").evaluate(*given), wanted, rtol=1e-10)
    parts = arguments(deep, SIZES)
    z, D = parts["state"]["h"], np.eye(3)
    for U in parts["param"]["U"]:
        z = np.tanh(U @ z + parts["param"]["W"] @ parts["input"]["x"])
        D = np.diag(1 - z**2) @ U @ D
    found = sb.derive(deep).jacobian("h", "h").evaluate(parts["param"], parts["input"], parts["state"])
    assert np.allclose(found, D, rtol=1e-13)


@sb.cell
def joint(x: Input["n"], u: State["n"], v: State["2 n"], A: Param["n n"], w: Param["n"]):
    """Two states that settle together, each of which reads the other one."""

    def step(z):
        p, q = z
        return np.tanh(A @ p + q[0] + x), 0.3 * q + np.stack([w * p, np.sin(p)]) + 0.1 * v

    return sb.fixed_point(step, (u, v))


def unmet(cell: sb.Cell, sizes: dict[str, int], to: str, of: str, change: tuple[str, str] = ("", "")) -> float:
    """By how much the lines of a block are off at most where each derivative in them is what the user's function has."""
    data = brute.data_of(cell, 1, 1, sizes)
    for value in data.params.values():
        value *= 0.4
    sections, names, _, constants = as_text("textbook")(sb.derive(cell))
    page = begun(cell, data, sizes, names)
    page.once |= constants
    page.begin(sections)
    given = {**data.params, **{k: v[0, 0] for k, v in data.inputs.items()}, **{k: v[0] for k, v in data.state.items()}}
    for name, value in one_step(cell, given).items():
        page.timed.setdefault(name, {})[1] = column(value)
    shapes = {k: np.shape(v) for k, v in given.items()}
    reader, wanted = JacobianPage(cell, page, shapes), by_complex_step(cell, given, of)
    text = sb.derive(cell).jacobian(to, of).text().replace(*change)
    lines = [x.strip() for x in text.splitlines() if " = " in x]
    plain = [reader.plain(x).partition(" = ") for x in lines]
    for (over, _), made in reader.names.items():
        reader.found[made] = column(wanted[over.partition("_")[0]])
    worst = 0.0
    for left, _, right in reversed(plain):
        match = re.fullmatch(r"\((\w+)\)_(\{.*\}|.)", left)
        name, letters = (match[1], letters_of(bare(match[2]))) if match else (left, [])
        value = reader.of_entries(name, letters, right) if letters else reader.whole(name, right)
        worst = max(worst, float(np.max(np.abs(np.reshape(value, np.shape(reader.found[name])) - reader.found[name]))))
    return worst


@pytest.mark.parametrize(
    ("to", "of"), [("u", "v"), *(pytest.param(*x, marks=pytest.mark.long) for x in ("vv", "uA", "vx"))]
)
def test_equations_of_what_settles_together_hold(to: str, of: str) -> None:
    assert unmet(joint, {"n": 3}, to, of) < 1e-10


def test_equations_that_are_wrong_are_seen() -> None:
    assert unmet(joint, {"n": 3}, "v", "v", ("0.1 δ", "0.2 δ")) > 1e-3
    assert (
        unmet(equilibrium, {"m": 2, "n": 3}, "h", "h")
        < 1e-10
        < 1e-3
        < unmet(equilibrium, {"m": 2, "n": 3}, "h", "h", ("R", "Rᵀ"))
    )


def test_closed_form_and_linearity_know_loops() -> None:
    assert "J_t = " + POINT in sb.derive(equilibrium).unrolled().text()

    @sb.cell
    def affine(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], v: Param["k"]):
        z = sb.fixed_point(lambda z: 0.5 * U @ z + W @ x + h, h)
        return {
            "h": sb.repeat(lambda y: U @ y + v[0] * z, h, v.shape[0]),
            "y": sb.repeat(lambda y: U @ y, h, v.shape[0]),
        }

    found = sb.derive(affine).linearity("h")
    assert [found[name].kind for name in "xhWU"] == ["affine", "affine", "affine", "not shown"]
    assert sb.derive(affine).linearity("y")["h"].kind == "linear"
    assert "tanh" in str(sb.derive(equilibrium).linearity("h")["h"])


# Analyses.


def test_recurrent_weights_are_found_inside_of_loops() -> None:
    assert recurrent_weights(deep) == ("U",)
    assert recurrent_weights(mean_field) == ("W",)


@pytest.mark.long
@pytest.mark.parametrize("cell", [equilibrium, deep], ids=lambda cell: cell.name)
def test_cells_are_analysed(cell: sb.Cell) -> None:
    parts, rng = arguments(cell, SIZES), np.random.default_rng(0)
    report = sb.analyze(cell, parts["param"], {"x": rng.standard_normal((40, 2, 2))})
    assert "vanishing" in str(report) and "no finite bound" in str(report)


@pytest.mark.long
@pytest.mark.parametrize("cell", [equilibrium, deep], ids=lambda cell: cell.name)
def test_exponents_have_gradients_through_loops(cell: sb.Cell) -> None:
    params, x = arguments(cell, SIZES)["param"], {"x": np.random.default_rng(0).standard_normal((30, 2))}
    found, total = sb.exponent_gradient(cell, params, x, transient=2).params["U"], []
    at = (0,) * found.ndim
    for step in (1e-5, -1e-5):
        moved = params["U"].copy()
        moved[at] += step
        total.append(sb.lyapunov_spectrum(cell, params | {"U": moved}, x, transient=2).exponents.sum())
    assert np.isclose(found[at], (total[0] - total[1]) / 2e-5, rtol=1e-7)


@pytest.mark.long
def test_branches_that_are_not_taken_leave_no_nan() -> None:
    @sb.cell
    def branched(x: Input["n"], h: State["n"], w: Param["k"]):
        z = sb.repeat(lambda z: sb.where(z > 0.1, 0.5 * np.sqrt(z) + x, 0.2 * z), h, w.shape[0])
        y = sb.fixed_point(lambda y: sb.where(z > 0.2, 0.3 * np.sqrt(z) + 0.2 * np.sin(y), 0.4 * np.sin(y) + w[0]), h)
        return y + z

    given = {"w": np.full(3, 0.3)}, {"x": np.array([0.5, -0.7, 0.1])}, {"h": np.array([-0.4, 0.3, 2.0])}
    wanted = by_complex_step(branched, {k: v for part in given for k, v in part.items()}, "h")["h"]
    found = sb.derive(branched).jacobian("h", "h").evaluate(*given)
    assert np.isfinite(found).all() and np.allclose(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.peers
def test_blocks_are_those_of_jax() -> None:
    import jax

    jax.config.update("jax_enable_x64", True)
    np_ = jax.numpy
    parts = arguments(equilibrium, SIZES)
    p, x, h = parts["param"], parts["input"]["x"], parts["state"]["h"]

    def settled(h: Any) -> Any:
        z = h
        for _ in range(200):
            z = np_.tanh(p["U"] @ z + p["R"] @ h + p["W"] @ x + p["b"])
        return z

    found = sb.derive(equilibrium).jacobian("h", "h").evaluate(p, {"x": x}, {"h": h})
    assert np.allclose(found, jax.jacfwd(settled)(h), rtol=1e-10)
