"""Fixed points inside a step: rounds of one body until its value settles, and the gradient of the equation that it solves."""

import sys
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Input, Param, State, Target
from symbptt.autodiff.bptt import derive
from symbptt.codegen.kernel import Kernel
from symbptt.codegen.passes.still_sums import in_loops
from symbptt.ir.laws import check
from symbptt.verification.blocks import to_the_last_digits
from symbptt.verification.forms import settled_rows
from symbptt.verification.proof.field import P
from symbptt.verification.proof.points import limit
from symbptt.verification.proof.prove import proof_of
from tests.kernels import kernel_of


@sb.cell
def equilibrium(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], R: Param["n n"], b: Param["n"]):
    """A recurrent layer of infinite depth (Bai, Kolter, Koltun 2019)."""
    return sb.fixed_point(lambda z: np.tanh(U @ z + R @ h + W @ x + b), h)


@sb.cell
def retrieval(x: Input["n"], h: State["n"], X: Param["p n"], beta: Const = 1.5):
    """What a modern Hopfield network remembers near a query (Ramsauer et al. 2020, equation 3)."""
    return sb.fixed_point(lambda xi: 0.6 * sb.softmax(beta * X @ xi) @ X + 0.3 * h + 0.1 * x, x)


@sb.cell
def implicit_euler(x: Input["m"], h: State["n"], A: Param["n n"], B: Param["n m"], dt: Const = 0.2):
    """A step of the implicit Euler method for h' = tanh(A h + B x) - h."""

    def f(z):
        return np.tanh(A @ z + B @ x) - z

    return sb.fixed_point(lambda z: h + dt * f(z), h + dt * f(h))


@sb.cell
def coupled(x: Input["n"], u: State["n"], v: State["2 n"], A: Param["n n"], w: Param["n"]):
    """Two values that settle together, of which an output reads one again."""

    def step(z):
        u_, v_ = z
        return np.tanh(A @ u_ + v_[0] + x), 0.3 * v_ + np.stack([w * u_, np.sin(u_)]) + 0.1 * v

    p, q = sb.fixed_point(step, (np.zeros_like(u), v))
    return {"u": p + 0.1 * u, "v": q, "y": np.sum(q * q)}


@sb.cell
def once(x: Input["n"], h: State["n"], A: Param["n n"], c: Param["n"]):
    """A fixed point of parameters alone, and one of an input alone."""
    p = sb.fixed_point(lambda z: np.cos(0.3 * A @ z) + c, c)
    q = sb.fixed_point(lambda z: 0.4 * np.sin(A @ z) + x, np.zeros_like(x))
    return np.tanh(p * h + q)


CELLS = {cell.name: cell for cell in (equilibrium, retrieval, implicit_euler, coupled, once)}
SIZES = {"m": 2, "n": 3, "p": 4}


def case(
    cell: sb.Cell, T: int, B: int, sizes: dict[str, int], scale: float = 0.3, seed: int = 0
) -> tuple[Any, Any, Any]:
    """Random parameters with which the bodies contract, inputs and first states."""
    rng = np.random.default_rng(seed)
    own = {k: v for k, v in sizes.items() if any(k in map(str, a.shape) for a in cell.arguments)}
    params = {k: scale * rng.standard_normal(v.shape) for k, v in cell.init(own).items()}
    shapes = {a.name: [own[str(n)] if str(n) in own else int(n) for n in a.shape] for a in cell.arguments}
    inputs = {a.name: rng.standard_normal((T, B, *shapes[a.name])) for a in cell.arguments if a.role == "input"}
    state = {a.name: rng.standard_normal((B, *shapes[a.name])) for a in cell.arguments if a.role == "state"}
    return params, inputs, state


def by_function(cell: sb.Cell, params: Any, inputs: Any, state: Any, lengths: Any = None) -> list[list[dict[str, Any]]]:
    """What the user's function gives at each step of each sample."""
    T, B = next(iter(inputs.values())).shape[:2]
    names = [a.name for a in cell.arguments if a.role == "state"]
    found = []
    for b in range(B):
        now, steps = {k: v[b] for k, v in state.items()}, []
        for t in range(T if lengths is None else lengths[b]):
            got = cell(**{k: v[t, b] for k, v in inputs.items()}, **{k: now[k] for k in names}, **params)
            now = got if isinstance(got, dict) else dict(zip(names, [got], strict=True))
            steps.append(now)
        found.append(steps)
    return found


def worst(
    cell: sb.Cell, T: int, B: int, sizes: dict[str, int], kernel: Any = None, lengths: Any = None, **more: Any
) -> float:
    """The largest difference of a module's values and gradients from the user's function and its complex step."""
    kernel = kernel or kernel_of(cell)
    params, inputs, state = case(cell, T, B, sizes, **more)
    run = kernel.forward(params, inputs, state, **({} if lengths is None else {"lengths": lengths}))
    rng = np.random.default_rng(1)
    sent = {k: rng.standard_normal(v.shape) for k, v in (run.states | run.outputs).items()}
    for b, n in enumerate(lengths if lengths is not None else ()):
        for v in sent.values():
            v[n:, b] = 0
    grads = kernel.backward(run, sent)

    def loss(given: Any) -> Any:
        parts = [{k: given[k] for k in x} for x in (params, inputs, state)]
        total = 0.0
        for b, steps in enumerate(by_function(cell, *parts, lengths)):
            for t, now in enumerate(steps):
                total = total + sum(np.sum(sent[k][t, b] * v) for k, v in now.items())
        return total

    whole = params | inputs | state
    value = sum(float(np.sum(sent[k] * v)) for k, v in (run.states | run.outputs).items())
    found = [abs(value - loss(whole))]
    for name, got in (*grads.params.items(), *grads.inputs.items(), *grads.state.items()):
        for at in [*np.ndindex(got.shape)][:: max(1, got.size // 6)]:
            moved = {k: v.astype(complex) for k, v in whole.items()}
            moved[name][at] += 1e-30j
            found.append(abs(np.imag(loss(moved)) / 1e-30 - got[at]))
    return max(found)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize(("T", "B"), [(3, 2), (1, 1)])
@pytest.mark.thinned(17)
def test_values_and_gradients_are_those_of_the_function(name: str, T: int, B: int) -> None:
    assert worst(CELLS[name], T, B, SIZES) < 1e-9


@pytest.mark.parametrize("name", CELLS)
def test_graphs_and_loops_are_legal(name: str) -> None:
    cell = CELLS[name]
    step = in_loops(cell.looped)
    check(step.graph)
    check(derive(step).graph)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.thinned(11)
def test_gradients_of_padded_samples(name: str) -> None:
    assert worst(CELLS[name], 4, 3, SIZES, lengths=np.array([4, 0, 2])) < 1e-9


@pytest.mark.parametrize("options", [{"memory": "sqrt"}, {"memory": 20_000}, {"truncation": sb.Window(9)}], ids=str)
@pytest.mark.thinned(11)
def test_options_of_a_kernel_give_the_same(options: dict[str, Any]) -> None:
    """A window that is longer than the run drops nothing."""
    kernel = kernel_of(equilibrium, **options)
    assert worst(equilibrium, 7, 2, SIZES, kernel=kernel) < 1e-9


def test_resets_are_those_of_samples_that_run_on_their_own() -> None:
    params, inputs, state = case(equilibrium, 5, 2, SIZES)
    reset = np.zeros((5, 2), bool)
    reset[3, 1] = True
    kernel = kernel_of(equilibrium)
    run = kernel.forward(params, inputs, state, reset=reset)
    alone = kernel.forward(params, {"x": inputs["x"][3:, 1:]}, {"h": state["h"][1:]})
    assert np.allclose(run.states["h"][3:, 1], alone.states["h"][:, 0], rtol=0, atol=1e-11)


def test_no_steps_give_zeros() -> None:
    params, inputs, state = case(equilibrium, 0, 2, SIZES)
    kernel = kernel_of(equilibrium)
    assert not np.any(kernel.backward(kernel.forward(params, inputs, state), {}).params["U"])


def test_single_precision_settles_to_its_own_digits() -> None:
    params, inputs, state = (
        {k: v.astype(np.float32) for k, v in part.items()} for part in case(equilibrium, 5, 4, SIZES)
    )
    kernel = kernel_of(equilibrium)
    run = kernel.forward(params, inputs, {k: 1e3 * v for k, v in state.items()})
    grads = kernel.backward(run, {"h": run.states["h"]})
    wide = kernel.forward(
        *({k: v.astype(float) for k, v in part.items()} for part in (params, inputs)),
        {k: 1e3 * v.astype(float) for k, v in state.items()},
    )
    exact = kernel.backward(wide, {"h": wide.states["h"]})
    assert run.states["h"].dtype == grads.params["U"].dtype == np.float32
    assert np.allclose(run.states["h"], wide.states["h"], rtol=0, atol=2e-6)
    assert np.allclose(grads.params["U"], exact.params["U"], rtol=1e-4, atol=1e-4)


def test_a_body_that_barely_contracts_has_its_gradient() -> None:
    """h = ρ h + x has the point x / (1 - ρ), and dx = dh / (1 - ρ)."""

    @sb.cell
    def slow(x: Input["n"], h: State["n"], rho: Param[""]):
        return sb.fixed_point(lambda z: rho * z + x, h, most=50_000)

    kernel, x = kernel_of(slow), np.full((1, 1, 2), 0.5)
    run = kernel.forward({"rho": 0.999}, {"x": x})
    assert np.allclose(run.states["h"], 500, rtol=1e-9)
    grads = kernel.backward(run, {"h": np.ones((1, 1, 2))})
    assert np.allclose(grads.inputs["x"], 1000, rtol=1e-9)
    assert np.isclose(grads.params["rho"], 2 * 500 * 1000, rtol=1e-8)


def test_what_does_not_settle_is_told_by_step_and_sample() -> None:
    @sb.cell
    def grows(x: Input["n"], h: State["n"], a: Param["n"]):
        return sb.fixed_point(lambda z: a * z + x, 0 * h, most=60)

    x = np.zeros((4, 3, 2))
    x[2, 1, 1] = 1.0
    for options in ({}, {"memory": "sqrt"}):
        kernel = kernel_of(grows, **options)
        with pytest.raises(ValueError, match="fixed point z is not found in 60 rounds: .* at step 2 of sample 1"):
            kernel.forward({"a": np.array([0.5, 1.5])}, {"x": x})
    # Forward 1.5 * 0 stays zero; an adjoint that comes from outside does not.
    kernel = kernel_of(grows)
    run = kernel.forward({"a": np.array([0.5, 1.5])}, {"x": 0 * x})
    with pytest.raises(ValueError, match="adjoint of the fixed point z is not found in 60 rounds"):
        kernel.backward(run, {"h": np.ones_like(x)})
    with pytest.raises(ValueError, match="is not found in 60 rounds"):
        grows(x[2, 1], np.zeros(2), a=np.array([0.5, 1.5]))
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="changed it by nan.* at step 2 of sample 1"):
        kernel.forward({"a": np.array([0.5, 1e200])}, {"x": x})


def test_samples_of_a_batch_depend_on_each_other_within_the_tolerance_alone() -> None:
    params, inputs, state = case(equilibrium, 3, 5, SIZES)
    kernel = kernel_of(equilibrium)
    whole = kernel.forward(params, inputs, state).states["h"]
    for b in range(5):
        own = kernel.forward(params, {"x": inputs["x"][:, b : b + 1]}, {"h": state["h"][b : b + 1]}).states["h"]
        assert np.allclose(whole[:, b : b + 1], own, rtol=0, atol=1e-11)


def test_gradients_of_a_small_loss_have_as_many_digits() -> None:
    params, inputs, state = case(equilibrium, 3, 2, SIZES)
    kernel = kernel_of(equilibrium)
    run = kernel.forward(params, inputs, state)
    one, small = (kernel.backward(run, {"h": scale * run.states["h"]}).params["U"] for scale in (1.0, 1e-20))
    assert np.allclose(one, 1e20 * small, rtol=1e-10, atol=0)


@pytest.mark.long
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.thinned(1, 2)
def test_cells_are_verified(name: str) -> None:
    report = sb.verify(CELLS[name], proof=False)
    assert report.passed, str(report)
    assert "the tolerance 1e-12" in str(report)


@pytest.mark.parametrize("old", ["told=(k, 1000, 1e-12, False", "told=(k, 1000, 1e-12, True"])
def test_a_tolerance_that_the_cell_does_not_have_is_caught(old: str) -> None:
    """The planted mistake: rounds of the value, or of the adjoint, that stop too early, which checks to the last digits do not see."""
    kernel = kernel_of(implicit_euler)
    assert old in kernel.source and not [*settled_rows(kernel, to_the_last_digits(kernel), 0)]
    other = Kernel(kernel.target, kernel.program, kernel.source.replace(old, old.replace("1e-12", "1e-3")))
    found = {row.name for row in settled_rows(other, to_the_last_digits(other), 0)}
    assert found >= ({"h"} if "False" in old else {"dA", "dh_0"})


@pytest.mark.long
@pytest.mark.proof
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.thinned(1, 5)
def test_cells_are_proved(name: str) -> None:
    """Over a field, of any values in the place of the fixed points: what follows from their equations is exact."""
    proof = proof_of(CELLS[name], 0)
    assert not proof.wrong and not proof.unproved, str(proof)
    assert all(line.compared for line in proof.lines), str(proof)


def test_the_limit_of_an_affine_map_is_exact_over_the_field() -> None:
    rng = np.random.default_rng(0)
    for size in (1, 2, 4):
        A, b = (rng.integers(0, P, shape).astype(object) for shape in ((size, size), size))
        iterates = [rng.integers(0, P, size).astype(object)]
        for _ in range(size + 1):
            iterates.append((A @ iterates[-1] + b) % P)
        x = limit(np.array(iterates, float)).astype(int).astype(object)
        assert np.array_equal((A @ x + b) % P, x)
    # A map that is constant has its limit in the second iterate.
    assert np.array_equal(limit(np.array([[5.0], [7.0], [7.0]])), [7.0])


def test_plain_arrays_settle_to_their_last_digits() -> None:
    z = sb.fixed_point(np.cos, np.ones(2), tolerance=1e-3, most=30)
    assert np.allclose(z, 0.7390851332151607, rtol=0, atol=1e-15)
    u, v = sb.fixed_point(lambda z: (0.5 * z[1], 0.5 * z[0] + 1), (0.0, 0.0))
    assert np.isclose(u, 2 / 3) and np.isclose(v, 4 / 3)


@pytest.mark.parametrize(
    ("body", "options", "words"),
    [
        (lambda z, x: z[:1], {}, "keeps its shape"),
        (lambda z, x: (z, z), {}, "a tuple for one value"),
        (lambda z, x: z > 0, {}, "truth values"),
        (lambda z, x: z, {"tolerance": -1.0}, "a number of 0 or more"),
        (lambda z, x: z, {"tolerance": "small"}, "a number of 0 or more"),
        (lambda z, x: z, {"most": 0}, "1 or more"),
        (lambda z, x: z, {"most": 2.5}, "must be an integer"),
        (lambda z, x: sb.fixed_point(lambda y: 0.5 * y + z, x), {}, "let both settle together"),
    ],
)
def test_a_body_that_is_none_is_refused(body: Any, options: dict[str, Any], words: str) -> None:
    @sb.cell
    def wrong(x: Input["n"], h: State["n"]):
        return sb.fixed_point(lambda z: body(z, x), h, **options)

    with pytest.raises(sb.SymbpttError, match=words) as error:
        sb.derive(wrong)
    assert "test_fixed_point.py" in str(error.value)


def test_a_gradient_of_a_function_with_a_fixed_point_is_refused() -> None:
    def energy(z: Any, x: Any) -> Any:
        return np.sum(sb.fixed_point(lambda y: 0.5 * np.sin(y) + z, x) ** 2)

    @sb.cell
    def wrong(x: Input["n"], h: State["n"]):
        return h - 0.1 * sb.grad(lambda z: energy(z, x))(h)

    with pytest.raises(sb.CellError, match="no gradient of a function with a fixed point"):
        sb.compile(wrong)
    with pytest.raises(sb.CellError, match="no gradient of a function with a fixed point"):
        wrong(np.zeros(2), np.zeros(2))


def test_fixed_points_and_rounds_stand_inside_of_each_other() -> None:
    @sb.cell
    def substeps(x: Input["n"], h: State["n"], A: Param["n n"]):
        return sb.repeat(lambda h: sb.fixed_point(lambda z: h + 0.1 * (np.tanh(A @ z + x) - z), h), h, 2)

    @sb.cell
    def deeper(x: Input["n"], h: State["n"], A: Param["n n"]):
        return sb.fixed_point(lambda z: sb.repeat(lambda y: np.tanh(A @ y + x), z, 2), h)

    for cell in (substeps, deeper):
        assert worst(cell, 2, 2, {"n": 2}) < 1e-9


def test_the_loop_of_a_value_that_only_the_backward_pass_reads_is_computed_by_it() -> None:
    """The value p is needed for the derivative of its tanh alone, where 1 - p² leaves no digits."""

    @sb.cell
    def one_read(x: Input["n"], h: State["n"], U: Param["n n"]):
        return sb.fixed_point(lambda z: (np.tanh(0.1 * U @ z[0] + x), 0.5 * z[0] + 0.1 * z[1]), (h, h))[1]

    assert worst(one_read, 2, 2, {"n": 3}) < 1e-9


def test_what_has_no_fixed_points_refuses_them_by_name() -> None:
    def target(h: State["n"], y: Target["n"]):
        return np.sum((sb.fixed_point(lambda z: 0.3 * np.sin(z) + h, h) - y) ** 2)

    d = sb.derive(equilibrium)
    for use in (
        d.to_sympy,
        lambda: sb.c_source(equilibrium),
        lambda: sb.compile(sb.model(equilibrium, sb.loss(target))),
    ):
        with pytest.raises(sb.CellError, match="has a fixed point"):
            use()
    with pytest.raises(sb.CellError, match="losses go through each round(?s:.*) kernels in C and"):
        d.to_sympy()


PAGE = """\
Forward, t = 1, …, T
  a_t = U h_t + R h_{t-1} + W x_t + b
  h_t = tanh(a_t)

Backward, t = T, …, 1; terms of step T + 1 are zero
  dh_t = dL/dh_t + Rᵀ da_{t+1}
  λ_t  = dh_t + Uᵀ da_t
  da_t = λ_t ⊙ (1 - h_t²)

Gradients of the parameters
  dW = Σ_t da_t x_tᵀ
  dU = Σ_t da_t h_tᵀ
  dR = Σ_t da_t h_{t-1}ᵀ
  db = Σ_t da_t
"""


def test_a_page_has_the_equation_and_that_of_its_adjoint() -> None:
    d = sb.derive(equilibrium)
    assert d.text().startswith(PAGE)
    assert (
        "h_t is the fixed point of its equation: rounds from h_{t-1} end at a change of 10⁻¹², 1000 at most" in d.text()
    )
    assert r"\lambda_{t}" in d.latex() and "λ" in d.mathml()


def test_a_page_has_one_equation_of_a_fixed_point_of_parameters() -> None:
    """Where its rounds begin, here at an input, is not what it depends on: λ is a sum over steps, as what else is computed once."""

    @sb.cell
    def once(x: Input["n"], h: State["n"], w: Param["n"]):
        z = sb.fixed_point(lambda z: 0.5 * np.tanh(z) + w, x)
        return z + h

    d = sb.derive(once)
    assert d.linearity("h")["x"].kind == "constant"
    text = d.text()
    assert "  z   = 0.5 tanh(z) + w\n" in text and "solved" not in text
    assert "  λ  = Σ_t dh_t + 0.5 λ ⊙ (1 - tanh(z)²)\n  dw = λ\n" in text


def test_lines_of_the_page_are_the_gradients_of_the_module() -> None:
    """The page, worked through by hand: λ is solved for, by I - Jᵀ."""
    params, inputs, state = case(equilibrium, 2, 1, SIZES)
    W, U, R = (params[k] for k in "WUR")
    kernel = kernel_of(equilibrium)
    run = kernel.forward(params, inputs, state)
    grads = kernel.backward(run, {"h": np.ones_like(run.states["h"])})
    h = np.concatenate([state["h"], run.states["h"][:, 0]])
    found, da = {k: np.zeros_like(v) for k, v in params.items()}, np.zeros(3)
    for t in (1, 0):
        assert np.allclose(h[t + 1], np.tanh(U @ h[t + 1] + R @ h[t] + W @ inputs["x"][t, 0] + params["b"]), rtol=1e-11)
        slope = 1 - h[t + 1] ** 2
        lam = np.linalg.solve(np.eye(3) - U.T * slope, 1 + R.T @ da)
        da = lam * slope
        for name, read in (("W", inputs["x"][t, 0]), ("U", h[t + 1]), ("R", h[t]), ("b", None)):
            found[name] += da if read is None else np.outer(da, read)
    for name, value in found.items():
        assert np.allclose(value, grads.params[name], rtol=1e-9)
    assert np.allclose(R.T @ da, grads.state["h"][0], rtol=1e-9)


def test_planted_mistake_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the second fixed point the gradient is that of the last round alone."""
    module = sys.modules["symbptt.autodiff.settled"]
    right = module.build.settled

    def one_round(g: Any, args: Any, attrs: Any) -> int:
        return args[attrs.out] if attrs.adjoint else right(g, args, attrs)

    monkeypatch.setattr(module.build, "settled", one_round)
    wrong = sb.Cell(equilibrium.function)
    assert worst(wrong, 3, 2, SIZES, kernel=sb.compile(wrong)) > 1e-3
