"""Routes through a cell: they add up to its Jacobian, symbolically and on data, and are told by the user's names."""

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State, zoo
from symbptt.zoo import attention, delay_rnn, gru, lstm, lstm_peephole, min_gru, mlstm, rnn
from tests import brute
from tests.jacobian_page import page_of
from tests.oracle import STEP, one_step
from tests.test_fixed_point import coupled, equilibrium
from tests.test_jacobians import leaky, several, small


def data_of(cell: sb.Cell, T: int, seed: int = 0):  # type: ignore[no-untyped-def]
    data = brute.data_of(cell, max(T, 1), 1, small(cell))
    return data.params, {k: v[:, 0] for k, v in data.inputs.items()}, {k: v[0] for k, v in data.state.items()}


def after(cell: sb.Cell, params, inputs, state, steps: int):  # type: ignore[no-untyped-def]
    """What the user's function returns after some steps."""
    found = dict(state)
    for t in range(steps):
        found = one_step(cell, {**params, **{k: v[t] for k, v in inputs.items()}, **{k: found[k] for k in state}})
    return found


def exact(cell: sb.Cell, to: str, of: str, given, steps: int):  # type: ignore[no-untyped-def]
    params, inputs, state = given
    plain = np.shape(after(cell, params, inputs, state, steps)[to])
    result = np.zeros((*plain, *np.shape(state[of])))
    for place in np.ndindex(*np.shape(state[of])):
        moved = np.array(state[of], complex)
        moved[place] += 1j * STEP
        result[(..., *place)] = np.imag(after(cell, params, inputs, {**state, of: moved}, steps)[to]) / STEP
    return result


CASES = [(lstm, "c", "c"), (lstm, "h", "h"), (gru, "h", "h"), (leaky, "h", "h"), (delay_rnn, "past", "past"), (several, "y", "c"),
         (several, "c", "c"), (mlstm, "h", "m"), (min_gru, "h", "h")]  # fmt: skip


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("cell, to, of", CASES, ids=lambda x: getattr(x, "name", x))
@pytest.mark.thinned(7, 2)
def test_routes_add_up_to_the_derivative(cell: sb.Cell, to: str, of: str, steps: int) -> None:
    given = data_of(cell, steps)
    found = sb.derive(cell).paths(to, of, steps).evaluate(*given)
    value = exact(cell, to, of, given, steps)
    scale = max(float(np.max(np.abs(value), initial=0.0)), 1e-9)
    assert found.total.shape == (1, *value.shape)
    np.testing.assert_allclose(found.total[0], value, rtol=0, atol=1e-12 * scale)
    np.testing.assert_allclose(sum(found.values)[0] if found.values else 0, found.total[0], atol=1e-14)
    assert all(v.shape == found.total.shape for v in found.values)


@pytest.mark.long
@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("cell", zoo.CELLS.values(), ids=list(zoo.CELLS))
@pytest.mark.thinned(1, 17)
def test_routes_of_every_cell_add_up(cell: sb.Cell, steps: int) -> None:
    given = data_of(cell, steps)
    inputs = {**given[1]}
    for to in [*cell.step.next, *cell.step.outputs]:
        for of in cell.step.next:
            routes = sb.derive(cell).paths(to, of, steps, most=3000)
            value = exact(cell, to, of, (given[0], inputs, given[2]), steps)
            found = routes.evaluate(*given)
            scale = max(float(np.max(np.abs(value), initial=0.0)), 1e-9)
            np.testing.assert_allclose(found.total[0], value, rtol=0, atol=1e-11 * scale)


@sb.cell
def gated(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], V: Param["n n"]):
    """A gate beside a fixed point, whose body has a name of its own."""
    u = W @ x + V @ h
    f = sb.sigmoid(u)

    def body(z):
        inner = 0.3 * U @ z + u
        return np.tanh(inner)

    z = sb.fixed_point(body, np.zeros_like(h))
    return f * h + (1 - f) * z


@sb.cell
def paired(x: Input["m"], h: State["n"], c: State["n"], W: Param["n m"], U: Param["n n"], V: Param["n n"]):
    """Two values that settle together: that of one reads what the other reads."""
    a = np.tanh(V @ h + W @ x)
    p, q = sb.fixed_point(lambda z: (np.tanh(0.3 * U @ z[1] + a), 0.5 * np.sin(0.5 * U @ z[0] + c)), (h, c))
    return 0.5 * p + 0.1 * p * q, q + a


@sb.cell
def rounds(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"]):
    """As many rounds as a size says."""
    u = W @ x
    z = sb.repeat(lambda z: 0.5 * z + 0.3 * np.tanh(U @ z + u), h, h.shape[0])
    return sb.sigmoid(z + u) * h


IMPLICIT = """\
∂h_t/∂h_{t-1}
  h → u → f → h  diag((h_{t-1} - z_t) ⊙ f_t ⊙ (1 - f_t)) V
  h → h          diag(f_t)
  h → u → z → h  ∂h_t/∂z_t ∂z_t/∂u_t ∂u_t/∂h_{t-1}
with
  ∂u_t/∂h_{t-1} = V
  ∂z_t/∂u_t = (I - 0.3 diag(1 - z_t²) U)⁻¹ diag(1 - z_t²)
  ∂h_t/∂z_t = diag(1 - f_t)"""


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("cell, to, of", [(gated, "h", "h"), (paired, "h", "c"), (rounds, "h", "h"), (coupled, "u", "v")],
                         ids=lambda x: getattr(x, "name", x))  # fmt: skip
@pytest.mark.thinned(7, 2)
def test_routes_through_a_fixed_point_or_its_rounds_add_up(cell: sb.Cell, to: str, of: str, steps: int) -> None:
    given = data_of(cell, steps + 1, seed=steps)
    found = sb.derive(cell).paths(to, of, steps).evaluate(*given)
    value = exact(cell, to, of, given, steps)
    # The rounds end at a change of 1e-12.
    np.testing.assert_allclose(found.total[0], value, rtol=0, atol=1e-12)
    assert found.norms.shape == (2, len(found.paths)) and np.all(found.norms > 0)


def test_equations_that_several_routes_read_in_two_orders_are_told_once() -> None:
    text = sb.derive(paired).paths("h", "c").text()
    assert text.count("solve these equations together") == 1
    assert text.endswith("∂p_t/∂c_{t-1}, ∂q_t/∂c_{t-1} solve these equations together")


def test_a_route_by_way_of_a_fixed_point_has_the_implicit_derivative() -> None:
    routes = sb.derive(gated).paths("h", "h")
    assert str(routes) == IMPLICIT
    assert [len(sb.derive(paired).paths("h", "c", k)) for k in (1, 2)] == [
        2,
        6,
    ]  # h from p and q, each from a and c; c from q and a
    assert str(sb.derive(paired).paths("c", "c")[0]).endswith(
        "∂q_t/∂c_{t-1}, ∂p_t/∂c_{t-1} solve these equations together"
    )
    assert "(1 - r_t) (1 - r_{t-1})" in sb.derive(gated, reset=True).paths("h", "h", 2).text()
    (whole,) = sb.derive(equilibrium).paths("h", "h")
    assert whole.text() == "(I - diag(1 - h_t²) U)⁻¹ diag(1 - h_t²) R"


def test_a_route_that_forgets_the_equation_of_a_fixed_point_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    from symbptt.autodiff import inner_blocks

    # The derivative of the rounds' body alone, as if the fixed point did not read itself.
    monkeypatch.setattr(inner_blocks, "algebra", lambda g, name, matrix, right: right)
    with pytest.raises(AssertionError):
        test_routes_through_a_fixed_point_or_its_rounds_add_up(gated, "h", "h", 1)


def test_each_route_has_its_formula() -> None:
    found = sb.derive(lstm).paths("c", "c", 2)
    assert [p.route for p in found] == ["c → c → h → f → c", "c → c → c", "c → c → h → i → c", "c → c → h → g → c"]
    assert found[1].text() == "diag(f_t ⊙ f_{t-1})"
    assert found[2].text() == "diag(g_t ⊙ i_t ⊙ (1 - i_t)) Ui diag(o_{t-1} ⊙ (1 - tanh(c_{t-1})²) ⊙ f_{t-1})"
    assert str(found).startswith("∂c_t/∂c_{t-2}\n") and found[1].latex().isascii()
    assert sb.derive(lstm).paths("c", "c").text() == "∂c_t/∂c_{t-1}\n  c → c  diag(f_t)"


@pytest.mark.parametrize(
    "cell, to, of", [(lstm, "h", "h"), (gru, "h", "h"), (leaky, "h", "h")], ids=lambda x: getattr(x, "name", x)
)
def test_each_formula_is_its_value(cell: sb.Cell, to: str, of: str) -> None:
    page, data = page_of(cell, small(cell))
    given = (data.params, {k: v[0, 0] for k, v in data.inputs.items()}, {k: v[0] for k, v in data.state.items()})
    measured = sb.derive(cell).paths(to, of).evaluate(*given)
    for path, value in zip(measured.paths, measured.values, strict=True):
        name = f"∂{to}_t/∂{of}_{{t-1}}"
        lines = path.text().splitlines()
        read = page.block("\n".join([f"{name} = {lines[0]}", *lines[1:]]), value.shape)
        np.testing.assert_allclose(read, value, rtol=1e-10, atol=1e-13)


def test_a_long_value_has_one_name_in_all_routes() -> None:
    @sb.cell
    def coupled(x: Input["n"], h: State["n"], c: State["n"], U: Param["n n"], V: Param["n n"], p: Param["n"]):
        i = sb.sigmoid(U @ h + p * c)
        c = (1 - i) * c + i * np.tanh(V @ h + x + p * p + 0.5)
        return h * c, c

    for found in (sb.derive(coupled).paths("c", "c", 2), sb.derive(coupled).paths("h", "c", 2)):
        text, latex = found.text(), found.latex()
        assert text.count("tanh(V h_{t-1} + x_t + p² + 0.5)") == 1 and "tanh(V h_{t-2}" not in text
        assert latex.count("V h_{t-1} + x_{t} + p^{2} + 0.5") == 1 and latex.count("aligned") == 2


def test_norms_are_those_of_the_values_for_each_window() -> None:
    given = data_of(lstm, 7)
    found = sb.derive(lstm).paths("h", "h", 2).evaluate(*given)
    assert found.norms.shape == (6, 19) and found.whole.shape == (6,)
    np.testing.assert_allclose(found.norms[3, 5], np.linalg.norm(found.values[5][3], 2))
    np.testing.assert_allclose(found.whole[2], np.linalg.norm(found.total[2], 2))
    later = after(lstm, *given, 3)
    shifted = (given[0], {k: v[3:5] for k, v in given[1].items()}, later)
    np.testing.assert_allclose(found.total[3], exact(lstm, "h", "h", shifted, 2), atol=1e-13)
    assert "all together" in found.text() and "‖·‖₂" in found.text()


def test_one_step_of_data_needs_no_axis_of_time() -> None:
    params, inputs, state = data_of(gru, 1)
    one = sb.derive(gru).paths("h", "h").evaluate(params, {"x": inputs["x"][0]}, state)
    many = sb.derive(gru).paths("h", "h").evaluate(params, inputs, state)
    assert one.norms.shape == (4,) and many.norms.shape == (1, 4)
    np.testing.assert_array_equal(one.total, many.total[0])


def test_single_precision_stays() -> None:
    params, inputs, state = ({k: np.asarray(v, np.float32) for k, v in x.items()} for x in data_of(gru, 2))
    found = sb.derive(gru).paths("h", "h", 2).evaluate(params, inputs, state)
    assert found.total.dtype == np.float32 and found.values[0].dtype == np.float32


def test_through_tells_routes_by_fewer_values() -> None:
    found = sb.derive(lstm).paths("h", "h", 2, through=())
    assert [p.route for p in found] == [
        "h → h → h",
        "h → h → c → h",
        "h → c → h → h",
        "h → c → h → c → h",
        "h → c → c → h",
    ] or len(found) < 19
    given = data_of(lstm, 2)
    np.testing.assert_allclose(found.evaluate(*given).total[0], exact(lstm, "h", "h", given, 2), atol=1e-13)


def test_routes_of_an_input_and_of_a_parameter() -> None:
    found = sb.derive(rnn).paths("h", "x", 2)
    assert str(found).startswith("∂h_t/∂x_{t-1}") and found[0].route == "x → h → h"
    assert sb.derive(rnn).paths("h", "W")[0].route == "W → h"


def test_no_route_is_said() -> None:
    found = sb.derive(mlstm).paths("n", "C")
    assert len(found) == 0 and found.text() == "∂n_t/∂C_{t-1} = 0: no route leads from C to n"
    assert not found.evaluate(*data_of(mlstm, 2)).total.any()


def test_too_many_routes_are_counted_and_not_made() -> None:
    with pytest.raises(
        sb.ArgumentError, match=r"[\d,]{20,} routes lead from h to h in 40 steps.*\n.*fewer steps.*through="
    ):
        sb.derive(lstm_peephole).paths("h", "h", 40)
    assert len(sb.derive(attention).paths("h", "h", 2, most=8)) == 8
    with pytest.raises(sb.ArgumentError, match="8 routes"):
        sb.derive(attention).paths("h", "h", 2, most=7)


def test_long_routes_are_products_of_local_derivatives() -> None:
    @sb.cell
    def wide(x: Input["n"], h: State["n"], A: Param["n n"], B: Param["n n"]):
        a = np.tanh(A @ h) + np.sin(B @ h) + h * np.tanh(np.sum(h * h)) + x
        b = np.tanh(A @ a) + np.sin(B @ a) + a * np.tanh(np.sum(a * a))
        return np.tanh(A @ b) + np.sin(B @ b) + b * np.tanh(np.sum(b * b))

    (path,) = sb.derive(wide).paths("h", "h")
    assert path.text().splitlines()[0] == "∂h_t/∂b_t ∂b_t/∂a_t ∂a_t/∂h_{t-1}" and "∂a_t/∂h_{t-1} = " in path.text()
    given = data_of(wide, 2)
    routes = sb.derive(wide).paths("h", "h", 2)
    np.testing.assert_allclose(routes.evaluate(*given).total[0], exact(wide, "h", "h", given, 2), rtol=1e-11)


def test_rows_of_routes_by_way_of_matrices_are_no_longer_than_a_line() -> None:
    @sb.cell
    def stacked(h: State["n"], m: State["n"], R: Param["3 n n"]):
        a = R @ h
        top = np.maximum(a[0] + m, a[1])
        return np.tanh(a[2]) * np.exp(a[0] + m - top) + np.exp(a[1] - top), top

    routes = sb.derive(stacked).paths("h", "h", 2)
    assert max(map(len, routes.text().splitlines())) <= 200
    assert (
        "  ∂h_t/∂m_t ∂m_t/∂a_t ∂a_t/∂h_{t-1} ∂h_{t-1}/∂m_{t-1} ∂m_{t-1}/∂a_{t-1} ∂a_{t-1}/∂h_{t-2}\n" in routes.text()
    )
    assert "a product of derivatives sums over all indices of the value between" in routes.text()


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"steps": 1.5}, {"steps": True}, {"through": "c"}, {"through": ["q"]}, {"most": 0}]
)
def test_options_that_do_not_fit_are_told(wrong: dict[str, object]) -> None:
    with pytest.raises(sb.ArgumentError):
        sb.derive(lstm).paths("h", "h", **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("names", [("q", "h"), ("h", "q"), (1, "h")])
def test_names_that_are_not_there_are_told(names: tuple[str, str]) -> None:
    with pytest.raises(sb.ArgumentError, match="has no"):
        sb.derive(lstm).paths(*names)


def test_data_that_does_not_fit_is_told() -> None:
    params, inputs, state = data_of(lstm, 3)
    routes = sb.derive(lstm).paths("c", "c", 2)
    with pytest.raises(sb.ArgumentError, match="axis of time"):
        routes.evaluate(params, {"x": inputs["x"][0]}, state)
    with pytest.raises(sb.ArgumentError, match="at least 2 steps"):
        routes.evaluate(params, {"x": inputs["x"][:1]}, state)
    with pytest.raises(sb.ArgumentError, match="a dict by name"):
        routes.evaluate(params, [1.0], state)
    with pytest.raises(sb.ArgumentError):
        routes.evaluate(params, {"x": inputs["x"][:, :1]}, state)


def test_a_local_derivative_that_is_wrong_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    from symbptt.derivations import paths

    plain = paths._product
    monkeypatch.setattr(paths, "_product", lambda *a: np.swapaxes(plain(*a), -1, -2))
    with pytest.raises(AssertionError):
        test_routes_add_up_to_the_derivative(gru, "h", "h", 2)
