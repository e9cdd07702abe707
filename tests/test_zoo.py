"""The cells of the zoo: traced, derived, initialised, and equal to their papers."""

import inspect
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import zoo
from symbptt.ir import laws
from symbptt.ir.shape import named_size, names_in
from symbptt.language.init import concrete
from symbptt.zoo import CELLS
from tests.kernels import kernel_of

SIZES = {"m": 3, "n": 4, "k": 5, "d": 2, "v": 6, "a": 3}
EVERY_CELL = pytest.mark.parametrize("cell", CELLS.values(), ids=list(CELLS))
REQUIRED = ("rnn", "lstm", "gru", "lstm_peephole", "mgu", "cornn", "cifg", "ugrnn", "mgu2", "sru", "minimal_rnn",
            "indrnn", "antisymmetric", "min_gru", "lru", "s4d", "linear_attention", "mlstm", "fast_weights", "retnet",
            "clockwork", "echo_state", "ctrnn", "hopfield", "gru_layer_norm", "zoneout", "attention")  # fmt: skip


def sizes_of(cell: sb.Cell, among: dict[str, int] = SIZES) -> dict[str, int]:
    """The sizes that a cell's arguments name."""
    limits = [(a.limit,) for a in cell.arguments if a.limit is not None]
    names = {name for shape in [*(a.shape for a in cell.arguments), *limits] for name in names_in(shape)}
    return {name: among[name] for name in sorted(names)}


def values_of(cell: sb.Cell, among: dict[str, int] = SIZES, seed: int = 0, scale: float = 1.0) -> dict[str, Any]:
    """Parameters as `init` draws them, random inputs and states, by name."""
    sizes = sizes_of(cell, among)
    known = {named_size(name): size for name, size in sizes.items()}
    random = np.random.default_rng(seed)
    values = cell.init(sizes, seed=seed)
    for a in cell.arguments:
        if a.role == "index":
            values[a.name] = int(random.integers(concrete((a.limit,), known)[0]))
        elif a.role in ("input", "state"):
            values[a.name] = scale * random.standard_normal(concrete(a.shape, known))
    return values


def step(cell: sb.Cell, values: dict[str, Any]) -> dict[str, Any]:
    """One step by the plain function: next states and outputs by name."""
    result = cell(**values)
    if isinstance(result, dict):
        return result
    states = [a.name for a in cell.arguments if a.role == "state"]
    return dict(zip(states, result if len(states) > 1 else [result], strict=True))


def test_zoo_lists_its_cells_by_name() -> None:
    assert set(REQUIRED) <= set(CELLS)
    assert list(CELLS) == sorted(CELLS)
    assert all(cell.name == name and getattr(zoo, name) is cell for name, cell in CELLS.items())
    assert set(zoo.__all__) == {*CELLS, "CELLS"}


@EVERY_CELL
def test_docstring_names_character_and_source(cell: sb.Cell) -> None:
    first, _, rest = (inspect.getdoc(cell.function) or "").partition("\n")
    assert 30 < len(first) < 125 and first.endswith(".")
    assert "\nSource: " in rest


@EVERY_CELL
@pytest.mark.filterwarnings("error")
def test_traced_graph_is_legal(cell: sb.Cell) -> None:
    laws.check(cell.step.graph)
    assert list(cell.step.next) == [a.name for a in cell.arguments if a.role == "state"]


@EVERY_CELL
@pytest.mark.thinned(7)
def test_equations_mention_every_state(cell: sb.Cell) -> None:
    derivation = sb.derive(cell)
    text, latex = derivation.text("loop"), derivation.latex("loop")
    shown = {named.name: named for named in derivation.symbols}
    for name in cell.step.next:  # h_t and h_{t-1}, or h_{f,t} and h_{f,t-1}
        now = shown[name].text
        before = now.replace(",t}", ",t-1}") if now.endswith("}") else f"{now.removesuffix('_t')}_{{t-1}}"
        assert now in text and f"d{before}" in text and shown[name].latex in latex
    for name in (a.name for a in cell.step.of_role("param")):
        symbol = shown[name].text
        assert any(line.startswith((f"  d{symbol} ", f"  d{symbol}_", f"  (d{symbol})_")) for line in text.splitlines())


@EVERY_CELL
def test_init_gives_the_annotated_shapes(cell: sb.Cell) -> None:
    sizes = sizes_of(cell)
    params = cell.init(sizes, seed=1, dtype=np.float32)
    known = {named_size(name): size for name, size in sizes.items()}
    shapes = {a.name: a.shape for a in cell.arguments if a.role == "param" or (a.role == "const" and a.default is None)}
    assert {name: value.shape for name, value in params.items()} == {n: concrete(s, known) for n, s in shapes.items()}
    assert all(value.dtype == np.float32 and np.isfinite(value).all() for value in params.values())


@EVERY_CELL
@pytest.mark.parametrize("scale", [0.0, 1.0, 1000.0])
@pytest.mark.parametrize("among", [SIZES, dict.fromkeys(SIZES, 1)], ids=["sizes", "ones"])
@pytest.mark.thinned(11)
def test_step_is_finite_and_keeps_the_shapes_of_states(cell: sb.Cell, among: dict[str, int], scale: float) -> None:
    values = values_of(cell, among, scale=scale)
    with np.errstate(over="ignore", under="ignore"):
        result = step(cell, values)
    assert all(np.isfinite(value).all() for value in result.values())
    assert {name: np.shape(result[name]) for name in cell.step.next} == {n: np.shape(values[n]) for n in cell.step.next}
    known = {named_size(name): size for name, size in sizes_of(cell, among).items()}
    for name, id in cell.step.outputs.items():
        assert np.shape(result[name]) == concrete(cell.step.graph.shape(id), known)


@EVERY_CELL
@pytest.mark.thinned(7)
def test_every_parameter_matters_at_its_first_value(cell: sb.Cell) -> None:
    """No default and no rule of `init` starts a parameter where it has no first-order effect in two steps."""
    values = values_of(cell, seed=3) | ({"t": np.zeros(())} if cell is zoo.clockwork else {})

    def after_two_steps(changed: dict[str, Any]) -> Any:
        first = step(cell, changed)
        second = step(cell, changed | {name: first[name] for name in cell.step.next})
        return np.concatenate([np.ravel(value) for value in second.values()])

    for a in cell.step.of_role("param"):
        direction = np.random.default_rng(5).standard_normal(np.shape(values[a.name]))
        moved = after_two_steps(values | {a.name: values[a.name] + 1e-30j * direction})
        assert np.abs(moved.imag).max() > 1e-6 * 1e-30, a.name


# Equations spelled a second way, from the papers.


def sigmoid(v: Any) -> Any:
    return 1 / (1 + np.exp(-v))


def run(cell: sb.Cell, values: dict[str, Any], inputs: Any) -> list[dict[str, Any]]:
    """The results of a sequence of steps from zero states."""
    states = {name: np.zeros_like(values[name]) for name in cell.step.next}
    results = []
    for x in inputs:
        results.append(step(cell, values | states | {"x": x}))
        states = {name: results[-1][name] for name in states}
    return results


def inputs_of(T: int, m: int = SIZES["m"]) -> Any:
    return np.random.default_rng(7).standard_normal((T, m))


def test_gru_is_the_form_of_its_paper_where_the_reset_is_open() -> None:
    """With r = 1 the places of the reset agree, and 1 - z here is the paper's z."""
    p = values_of(zoo.gru)
    p["br"] = np.full(4, 50.0)
    x, h = p["x"], p["h"]
    z = sigmoid(-(p["Wz"] @ x + p["Uz"] @ h + p["bz"]))
    candidate = np.tanh(p["Wn"] @ x + p["bn"] + p["Un"] @ h + p["cn"])
    np.testing.assert_allclose(zoo.gru(**p), (1 - z) * h + z * candidate, rtol=1e-13)


def test_lstm_is_one_product_of_stacked_weights() -> None:
    p = values_of(zoo.lstm)
    weights = np.vstack([np.hstack([p["W" + gate], p["U" + gate], p["b" + gate][:, None]]) for gate in "ifog"])
    a = weights @ np.concatenate([p["x"], p["h"], [1.0]])
    i, f, o = sigmoid(a[:12]).reshape(3, 4)
    c = f * p["c"] + i * np.tanh(a[12:])
    np.testing.assert_allclose(zoo.lstm(**p), (o * np.tanh(c), c), rtol=1e-13)


def test_peepholes_read_the_old_cell_in_i_and_f_and_the_new_one_in_o() -> None:
    p = values_of(zoo.lstm_peephole)
    plain = {name: value for name, value in p.items() if name not in ("pi", "pf", "po")}
    _, c = zoo.lstm(**plain | {"bi": p["bi"] + p["pi"] * p["c"], "bf": p["bf"] + p["pf"] * p["c"]})
    o = sigmoid(p["Wo"] @ p["x"] + p["Uo"] @ p["h"] + p["bo"] + p["po"] * c)
    np.testing.assert_allclose(zoo.lstm_peephole(**p), (o * np.tanh(c), c), rtol=1e-13)


def test_cifg_is_an_lstm_with_coupled_gates() -> None:
    p = values_of(zoo.cifg)
    coupled = {"Wi": -p["Wf"], "Ui": -p["Uf"], "bi": -p["bf"]}
    np.testing.assert_allclose(zoo.cifg(**p), zoo.lstm(**p, **coupled), rtol=1e-13)


def test_zoneout_keeps_masked_units_and_is_an_lstm_elsewhere() -> None:
    p = values_of(zoo.zoneout)
    p["keep_h"], p["keep_c"] = np.array([1.0, 0, 1, 0]), np.array([0.0, 0, 1, 1])
    h, c = zoo.lstm(**{name: value for name, value in p.items() if not name.startswith("keep")})
    expected = np.where(p["keep_h"], p["h"], h), np.where(p["keep_c"], p["c"], c)
    np.testing.assert_array_equal(zoo.zoneout(**p), expected)


def test_layer_norm_makes_the_gru_blind_to_the_scale_of_its_weights() -> None:
    p = values_of(zoo.gru_layer_norm, seed=2)
    scaled = p | {name: 1e3 * p[name] for name in ("W", "U", "Wn", "Un")}
    np.testing.assert_allclose(zoo.gru_layer_norm(**scaled), zoo.gru_layer_norm(**p), atol=1e-4)


def test_householder_keeps_the_norm_before_the_activation() -> None:
    p = values_of(zoo.householder)
    h = zoo.householder(**p | {"W": np.zeros((4, 3))})
    np.testing.assert_allclose(np.linalg.norm(np.arctanh(h)), np.linalg.norm(p["h"]), rtol=1e-12)


def test_antisymmetric_jacobian_has_eigenvalues_of_real_part_one_less_damping() -> None:
    p = values_of(zoo.antisymmetric) | {"x": np.zeros(3), "h": np.zeros(4)}
    columns = [np.imag(zoo.antisymmetric(**p | {"h": 1e-30j * e})) / 1e-30 for e in np.eye(4)]
    np.testing.assert_allclose(np.linalg.eigvals(np.array(columns).T).real, 1 - 0.1 * 0.01, rtol=1e-12)


def test_delay_rnn_hears_its_state_of_k_plus_one_steps_ago() -> None:
    p = values_of(zoo.delay_rnn)
    inputs = inputs_of(9)
    h = [np.zeros(4)] * 7
    for x in inputs:
        h.append(np.tanh(p["W"] @ x + p["U"] @ h[-1] + p["V"] @ h[-6] + p["b"]))
    np.testing.assert_allclose([r["h"] for r in run(zoo.delay_rnn, p, inputs)], h[7:], rtol=1e-12)


def test_clockwork_modules_run_at_their_periods() -> None:
    p = values_of(zoo.clockwork)
    h, expected = np.zeros((4, 4)), []
    for t, x in enumerate(inputs_of(17)):
        before = h.copy()
        for i, period in enumerate((1, 2, 4, 8)):
            if t % period == 0:
                recurrent = sum(p["U"][i, :, j, :] @ before[j] for j in range(i, 4))
                h[i] = np.tanh(p["W"][i] @ x + recurrent + p["b"][i])
        expected.append(h.copy())
    np.testing.assert_allclose([r["h"] for r in run(zoo.clockwork, p, inputs_of(17))], expected, rtol=1e-12)


def test_second_order_is_a_product_with_one_hot_symbols() -> None:
    p = values_of(zoo.second_order)
    one_hot = np.eye(6)[p["x"]]
    expected = np.tanh(np.einsum("s,sij,j->i", one_hot, p["U"], p["h"]) + one_hot @ p["b"])
    np.testing.assert_allclose(zoo.second_order(**p), expected, rtol=1e-13)


def test_lru_is_a_complex_diagonal_recurrence() -> None:
    p = values_of(zoo.lru)
    eigenvalue = np.exp(-np.exp(p["nu"]) + 1j * np.exp(p["theta"]))
    B, C = p["B_re"] + 1j * p["B_im"], p["C_re"] + 1j * p["C_im"]
    state, y = np.zeros(4, complex), []
    for x in inputs_of(6):
        state = eigenvalue * state + np.sqrt(1 - np.abs(eigenvalue) ** 2) * (B @ x)
        y.append((C @ state).real + p["D"] @ x)
    np.testing.assert_allclose([r["y"] for r in run(zoo.lru, p, inputs_of(6))], y, rtol=1e-12)


def test_s4d_is_the_convolution_with_its_kernel() -> None:
    p = values_of(zoo.s4d)
    T, inputs = 6, inputs_of(6)
    A, C = -np.exp(p["decay"]) + 1j * p["omega"], p["C_re"] + 1j * p["C_im"]
    dt = np.exp(p["log_dt"])[:, None]
    kernel = [2 * (C * np.exp(lag * dt * A) * (np.exp(dt * A) - 1) / A).real.sum(1) for lag in range(T)]
    expected = [sum(kernel[t - s] * inputs[s] for s in range(t + 1)) + p["D"] * inputs[t] for t in range(T)]
    np.testing.assert_allclose([r["y"] for r in run(zoo.s4d, p, inputs)], expected, rtol=1e-11)


def test_s5_is_its_complex_system_held_between_steps() -> None:
    """By the exponential of the system beside its input (Van Loan 1978), which is constant over a step."""
    p, inputs = values_of(zoo.s5), inputs_of(6)
    modes, B, C = -np.exp(p["decay"]) + 1j * p["omega"], p["B_re"] + 1j * p["B_im"], p["C_re"] + 1j * p["C_im"]
    state, found = np.zeros(4, complex), {"re": np.zeros(4), "im": np.zeros(4)}
    for u in inputs:
        pairs = [np.array([[mode, drive], [0, 0]]) for mode, drive in zip(modes, B @ u, strict=True)]
        held = [sb.expm(step * pair) for step, pair in zip(np.exp(p["log_step"]), pairs, strict=True)]
        state = np.array([block[0, 0] * x + block[0, 1] for block, x in zip(held, state, strict=True)])
        found = zoo.s5(**p | {k: found[k] for k in ("re", "im")} | {"u": u})
        np.testing.assert_allclose(found["y"], 2 * (C @ state).real + p["D"] * u, rtol=1e-10)


def test_linoss_takes_implicit_steps_of_its_oscillators() -> None:
    p = values_of(zoo.linoss)
    A, dt, force = np.maximum(p["A_hat"], 0), sigmoid(p["step"]), p["B"] @ p["u"]
    found = zoo.linoss(**p)
    np.testing.assert_allclose(found["z"], p["z"] + dt * (force - A * found["y"]), rtol=1e-12)
    np.testing.assert_allclose(found["y"], p["y"] + dt * found["z"], rtol=1e-12)
    np.testing.assert_allclose(found["x"], p["C"] @ found["y"] + p["D"] @ p["u"], rtol=1e-12)


def test_selective_ssm_is_mambas_scan() -> None:
    p = values_of(zoo.selective_ssm)
    h, expected = np.zeros((3, 4)), []
    for x in inputs_of(6):
        B, C, dt = p["Wb"] @ x, p["Wc"] @ x, np.log1p(np.exp(p["Wd"] @ x + p["bd"]))
        for i in range(3):
            h[i] = np.exp(dt[i] * -np.exp(p["log_a"][i])) * h[i] + dt[i] * B * x[i]
        expected.append(h @ C + p["D"] * x)
    np.testing.assert_allclose([r["y"] for r in run(zoo.selective_ssm, p, inputs_of(6))], expected, rtol=1e-12)


def test_linear_attention_is_attention_with_a_feature_map() -> None:
    p = values_of(zoo.linear_attention)
    inputs = inputs_of(6)
    q, k = (np.where(a > 0, a + 1, np.exp(a)) for a in (inputs @ p["Wq"].T, inputs @ p["Wk"].T))
    scores = np.tril(q @ k.T)
    expected = scores @ (inputs @ p["Wv"].T) / scores.sum(1, keepdims=True)
    np.testing.assert_allclose([r["y"] for r in run(zoo.linear_attention, p, inputs)], expected, rtol=1e-5)


def test_retnet_is_retention_in_parallel() -> None:
    p = values_of(zoo.retnet)
    T, inputs = 6, inputs_of(6)
    lag = np.arange(T)[:, None] - np.arange(T)
    heads = []
    for a in range(4):
        q, k, v = inputs @ p["Wq"][a].T, inputs @ p["Wk"][a].T / np.sqrt(2), inputs @ p["Wv"][a].T
        y = (q @ k.T * np.where(lag >= 0, (1 - 2.0 ** (-5 - a)) ** lag, 0)) @ v
        heads.append((y - y.mean(1, keepdims=True)) / np.sqrt(y.var(1, keepdims=True) + 1e-5))
    gate = inputs @ p["Wg"].T
    expected = (gate * sigmoid(gate) * np.concatenate(heads, 1)) @ p["Wo"].T
    np.testing.assert_allclose([r["y"] for r in run(zoo.retnet, p, inputs)], expected, rtol=1e-10)


def test_delta_rule_reads_back_what_it_wrote_last() -> None:
    p = values_of(zoo.delta_rule) | {"Wb": np.full((1, 3), 100.0), "x": np.ones(3)}
    p["Wq"] = p["Wk"]
    np.testing.assert_allclose(zoo.delta_rule(**p)["y"], p["Wv"] @ p["x"], rtol=1e-4)


def test_kalman_is_the_mean_of_the_last_state_given_all_observations() -> None:
    n, m, T = SIZES["n"], SIZES["m"], 4
    cell, values = zoo.kalman, values_of(zoo.kalman)
    F, H, q, r = (values[k] for k in ("F", "H", "q", "r"))
    P0 = np.eye(n) + 0.1
    z = inputs_of(T, m)
    found = values | {"x": np.ones(n), "P": P0}
    for t in range(T):
        found |= step(cell, found | {"z": z[t]})
    # The states and observations of all steps are one Gaussian vector, which is conditioned at once.
    powers = [np.linalg.matrix_power(F, t) for t in range(T + 1)]
    noise = np.diag(np.exp(q))

    def covariance(s: int, t: int) -> Any:
        common = sum((powers[s - k] @ noise @ powers[t - k].T for k in range(1, min(s, t) + 1)), start=0)
        return powers[s] @ P0 @ powers[t].T + common

    steps = range(1, T + 1)
    whole = np.block([[H @ covariance(s, t) @ H.T + (s == t) * np.diag(np.exp(r)) for t in steps] for s in steps])
    across = np.hstack([covariance(T, t) @ H.T for t in steps])
    expected = np.concatenate([H @ powers[t] @ np.ones(n) for t in steps])
    gain = across @ np.linalg.inv(whole)
    np.testing.assert_allclose(found["x"], powers[T] @ np.ones(n) + gain @ (z.ravel() - expected), rtol=1e-9)
    np.testing.assert_allclose(found["P"], covariance(T, T) - gain @ across.T, rtol=1e-8, atol=1e-9)


def test_graph_gru_reads_at_each_node_what_its_neighbours_send() -> None:
    p = values_of(zoo.graph_gru)
    x, h = p["x"], p["h"]
    for v, new in enumerate(zoo.graph_gru(**p)):
        a = p["b"] + p["V"].T @ x[v] + sum(p["A"][v, u] * h[u] for u in range(len(h)))
        z, r = (sigmoid(p[f"W{gate}"].T @ a + p[f"U{gate}"].T @ h[v]) for gate in "zr")
        candidate = np.tanh(p["W"].T @ a + p["U"].T @ (r * h[v]))
        np.testing.assert_allclose(new, (1 - z) * h[v] + z * candidate, rtol=1e-12)


def test_conv_lstm_is_an_lstm_of_the_neighbourhood_of_each_place() -> None:
    """With maps as units: the filters of a place are weights of the 9 places around it, which are zero outside of the grid."""
    p = values_of(zoo.conv_lstm)
    around = {k: np.pad(p[k], ((0, 0), (1, 1), (1, 1))) for k in "xh"}
    h, c = zoo.conv_lstm(**p)
    for i, j in np.ndindex(h.shape[1:]):
        x, before = (around[k][:, i : i + 3, j : j + 3].ravel() for k in "xh")
        of_place = {f"{k}{g}": p[f"{k}{g}"].reshape(4, -1) for k in "WU" for g in "ifgo"} | {
            f"b{g}": p[f"b{g}"] for g in "ifgo"
        }
        a = {g: of_place[f"W{g}"] @ x + of_place[f"U{g}"] @ before + of_place[f"b{g}"] for g in "ifgo"}
        old = p["c"][:, i, j]
        new = sigmoid(a["f"] + p["pf"][:, i, j] * old) * old + sigmoid(a["i"] + p["pi"][:, i, j] * old) * np.tanh(
            a["g"]
        )
        np.testing.assert_allclose(c[:, i, j], new, rtol=1e-12)
        np.testing.assert_allclose(h[:, i, j], sigmoid(a["o"] + p["po"][:, i, j] * new) * np.tanh(new), rtol=1e-12)


def normed(v: Any) -> Any:
    return (v - v.mean()) / np.sqrt(v.var() + 1e-5)


def test_slot_attention_is_its_algorithm_slot_by_slot() -> None:
    p = values_of(zoo.slot_attention)
    k, v = ([p[w].T @ normed(x) for x in p["x"]] for w in ("Wk", "Wv"))
    queries = [p["Wq"].T @ normed(s) for s in p["slots"]]
    scores = np.exp([[key @ q / 2 for q in queries] for key in k])  # 2 is the root of n = 4
    shares = scores / scores.sum(1, keepdims=True) + 1e-8
    gru = {f"{name}{g}": p[f"{name}{g}"].T for name in "WU" for g in "rzn"} | {
        b: p[b] for b in ("br", "bz", "bn", "cn")
    }
    for i, new in enumerate(zoo.slot_attention(**p)):
        u = sum(share * value for share, value in zip(shares[:, i] / shares[:, i].sum(), v, strict=True))
        s = zoo.gru(u, p["slots"][i], **gru)
        wanted = s + p["W2"].T @ np.maximum(p["W1"].T @ normed(s) + p["b1"], 0) + p["b2"]
        np.testing.assert_allclose(new, wanted, rtol=1e-10)


def test_predictive_coding_moves_by_its_two_prediction_errors() -> None:
    p = values_of(zoo.predictive_coding)
    A, C, rate = p["A"], p["C"], p["rate"]
    prior = A @ np.tanh(p["x"])
    x = prior
    for _ in range(3):
        of_input, of_state = p["y"] - C @ np.tanh(x), x - prior
        x = x - rate * (of_state - (1 - np.tanh(x) ** 2) * (C.T @ of_input))
    np.testing.assert_allclose(zoo.predictive_coding(**p), x, rtol=1e-12)


def test_mesa_net_fits_values_to_keys_by_weighted_least_squares() -> None:
    cell, values, T = zoo.mesa_net, values_of(zoo.mesa_net), 5
    x = inputs_of(T)
    state = {"H": np.zeros_like(values["H"]), "G": np.zeros_like(values["G"])}
    for t in range(T):
        found = step(cell, values | state | {"x": x[t]})
        state = {name: found[name] for name in state}
    k, q = x @ values["Wk"].T, values["Wq"] @ x[-1]
    k, q = k / (np.linalg.norm(k, axis=1, keepdims=True) + 1e-6), q / (np.linalg.norm(q) + 1e-6)
    kept = sigmoid(x @ values["wf"] + values["bf"])
    weights = sigmoid(x @ values["wi"] + values["bi"]) * np.array([np.prod(kept[t + 1 :]) for t in range(T)])
    ridge = np.diag(np.sqrt(np.log1p(np.exp(values["lam"]))))
    rows = np.vstack([np.sqrt(weights)[:, None] * k, ridge])
    targets = np.vstack([np.sqrt(weights)[:, None] * (x @ values["Wv"].T), np.zeros((len(ridge), len(values["G"])))])
    fitted = np.linalg.lstsq(rows, targets, rcond=None)[0].T
    np.testing.assert_allclose(found["y"], fitted @ q, rtol=1e-9)


def test_fast_weights_attend_to_past_states() -> None:
    p = values_of(zoo.fast_weights)
    states = [np.zeros(4)]
    for t, x in enumerate(inputs_of(6)):
        a = p["W"] @ x + p["U"] @ states[-1] + p["b"]
        s = np.tanh(a)
        recalled = sum(0.5 * 0.95 ** (t - i) * h * (h @ s) for i, h in enumerate(states))
        a = a + recalled
        states.append(np.tanh((a - a.mean()) / np.sqrt(a.var() + 1e-5)))
    np.testing.assert_allclose([r["h"] for r in run(zoo.fast_weights, p, inputs_of(6))], states[1:], rtol=1e-9)


@pytest.mark.parametrize("offset", [-40.0, 0.0, 40.0])
def test_mlstm_is_its_equations_without_the_stabiliser(offset: float) -> None:
    p = values_of(zoo.mlstm) | {"bi": np.array(offset)}
    C, n, expected = np.zeros((4, 2)), np.zeros(2), []
    for x in inputs_of(6):
        q, k, v = p["Wq"] @ x + p["bq"], (p["Wk"] @ x + p["bk"]) / np.sqrt(2), p["Wv"] @ x + p["bv"]
        i, f = np.exp(p["wi"] @ x + p["bi"]), sigmoid(p["wf"] @ x + p["bf"])
        C, n = f * C + i * np.outer(v, k), f * n + i * k
        expected.append(sigmoid(p["Wo"] @ x + p["bo"]) * (C @ q) / max(abs(n @ q), 1))
    np.testing.assert_allclose([r["h"] for r in run(zoo.mlstm, p, inputs_of(6))], expected, rtol=1e-9)


def test_hopfield_retrieves_the_nearest_pattern() -> None:
    p = values_of(zoo.hopfield) | {"W": np.zeros((4, 3)), "M": np.eye(5, 4), "h": np.array([0.1, 0.9, 0.2, 0.0])}
    np.testing.assert_allclose(zoo.hopfield(**p, beta=100.0), np.eye(4)[1], atol=1e-12)


def test_attention_weighs_its_past() -> None:
    p = values_of(zoo.attention)
    scores = np.array([p["v"] @ np.tanh(p["Wa"] @ p["h"] + p["Ua"] @ past) for past in p["past"]])
    context = (np.exp(scores) / np.exp(scores).sum()) @ p["past"]
    h, past = zoo.attention(**p)
    np.testing.assert_allclose(h, np.tanh(p["W"] @ p["x"] + p["U"] @ p["h"] + p["V"] @ context + p["b"]), rtol=1e-12)
    np.testing.assert_array_equal(past, [h, *p["past"][:-1]])


def test_stack_moves_down_on_push_and_up_on_pop() -> None:
    p = values_of(zoo.stack_rnn)
    h, pushed = zoo.stack_rnn(**p | {"A": np.array([[100.0] * 4, [-100.0] * 4])})
    _, popped = zoo.stack_rnn(**p | {"A": np.array([[-100.0] * 4, [100.0] * 4])})
    np.testing.assert_allclose(pushed, [sigmoid(p["D"] @ h), *p["s"][:-1]], atol=1e-12)
    np.testing.assert_allclose(popped, [*p["s"][1:], np.zeros(2)], atol=1e-12)


def test_ctrnn_rests_where_its_equation_does() -> None:
    p = values_of(zoo.ctrnn)
    for _ in range(3000):
        p["h"] = zoo.ctrnn(**p)
    np.testing.assert_allclose(p["h"], p["U"] @ sigmoid(p["h"] + p["b"]) + p["W"] @ p["x"], atol=1e-10)


def test_oscillators_solve_their_differential_equation() -> None:
    """Free: y'' = -(gamma y + epsilon y'), and y'' = -c² alpha y; the error is of first order in dt."""
    t, dt, free = 2.0, 1e-4, {"x": np.zeros(3), "W": np.zeros((4, 4)), "Wz": np.zeros((4, 4)), "V": np.zeros((4, 3))}
    damped = values_of(zoo.cornn) | free | {"y": np.ones(4), "z": np.zeros(4)}
    undamped = values_of(zoo.unicornn) | {"x": np.zeros(3), "w": np.zeros(4), "y": np.ones(4), "z": np.zeros(4)}
    for _ in range(round(t / dt)):
        damped["y"], damped["z"] = zoo.cornn(**damped, dt=dt, gamma=4.0, epsilon=1.0)
        undamped["y"], undamped["z"] = zoo.unicornn(**undamped, dt=dt)
    w = np.sqrt(4 - 0.25)
    np.testing.assert_allclose(damped["y"], np.exp(-t / 2) * (np.cos(w * t) + np.sin(w * t) / (2 * w)), atol=1e-3)
    np.testing.assert_allclose(undamped["y"], np.cos(0.5 * t), atol=1e-3)


def test_sru_and_min_gru_are_leaky_averages() -> None:
    p = values_of(zoo.min_gru)
    z = sigmoid(p["Wz"] @ p["x"] + p["bz"])
    np.testing.assert_allclose(zoo.min_gru(**p), p["h"] + z * (p["Wh"] @ p["x"] + p["bh"] - p["h"]), rtol=1e-12)
    s = values_of(zoo.sru)
    f, r = (sigmoid(s["W" + g] @ s["x"] + s["v" + g] * s["c"] + s["b" + g]) for g in "fr")
    c = f * s["c"] + (1 - f) * (s["W"] @ s["x"])
    np.testing.assert_allclose(zoo.sru(**s)["h"], r * c + (1 - r) * (s["V"] @ s["x"]), rtol=1e-12)


@pytest.mark.skipif(not hasattr(sb, "function"), reason="spiking cells need sb.function")
def test_lif_spikes_at_its_threshold() -> None:
    from symbptt.zoo.spiking import lif

    x, v, s, W, U = np.zeros(1), np.array([0.5, 2.0]), np.zeros(2), np.zeros((2, 1)), np.zeros((2, 2))
    np.testing.assert_array_equal(lif(x, v, s, W, U)[1], [0.0, 1.0])


# The modules of torch, given the same weights.


def torch_module(name: str, double: bool) -> Any:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    return getattr(torch.nn, name)(3, 4, dtype=torch.float64 if double else torch.float32)


def blocks_of(module: Any, gates: str) -> dict[str, Any]:
    """torch's weights by gate, the two biases apart: W, U, b (of the input) and c (of the state)."""
    letters = {"W": "weight_ih_l0", "U": "weight_hh_l0", "b": "bias_ih_l0", "c": "bias_hh_l0"}
    arrays = {letter: getattr(module, name).detach().numpy() for letter, name in letters.items()}
    return {letter + gate: block for letter, array in arrays.items()
            for gate, block in zip(gates or [""], np.split(array, len(gates) or 1), strict=True)}  # fmt: skip


def graph_gru_of(jax: Any, x: Any, h: Any, p: dict[str, Any]) -> Any:
    """Equations 2 to 6 of Li et al. 2016, node by node."""

    def of_node(x: Any, h: Any, sent: Any) -> Any:
        a = sent + p["V"].T @ x + p["b"]
        z, r = (jax.nn.sigmoid(p[f"W{k}"].T @ a + p[f"U{k}"].T @ h) for k in "zr")
        return (1 - z) * h + z * jax.numpy.tanh(p["W"].T @ a + p["U"].T @ (r * h))

    return jax.vmap(of_node)(x, h, p["A"] @ h)


def predictive_coding_of(jax: Any, y: Any, x: Any, p: dict[str, Any]) -> Any:
    """Three steps of inference of Millidge et al. 2024, with the gradient of the energy as JAX has it."""
    tanh, prior = jax.numpy.tanh, p["A"] @ jax.numpy.tanh(x)

    def energy(x: Any) -> Any:
        return jax.numpy.sum((y - p["C"] @ tanh(x)) ** 2) / 2 + jax.numpy.sum((x - prior) ** 2) / 2

    x = prior
    for _ in range(3):
        x = x - p["rate"] * jax.grad(energy)(x)
    return x


def conv_lstm_of(jax: Any, x: Any, h: Any, c: Any, p: dict[str, Any]) -> Any:
    """Equation 3 of Shi et al. 2015, with the convolution of JAX."""

    def gate(k: str, peep: Any = 0.0) -> Any:
        of_input, of_state = (jax.lax.conv(v[None], p[w + k], (1, 1), "SAME")[0] for v, w in ((x, "W"), (h, "U")))
        return of_input + of_state + peep + p["b" + k][:, None, None]

    i, f = (jax.nn.sigmoid(gate(k, p["p" + k] * c)) for k in "if")
    c = f * c + i * jax.numpy.tanh(gate("g"))
    return jax.nn.sigmoid(gate("o", p["po"] * c)) * jax.numpy.tanh(c), c


def slot_attention_of(jax: Any, x: Any, slots: Any, p: dict[str, Any]) -> Any:
    """Algorithm 1 of Locatello et al. 2020, its GRU slot by slot."""

    def normed(v: Any) -> Any:
        return jax.nn.standardize(v, epsilon=1e-5)

    def gru(u: Any, s: Any) -> Any:
        r, z = (jax.nn.sigmoid(u @ p["W" + k] + s @ p["U" + k] + p["b" + k]) for k in "rz")
        return (1 - z) * jax.numpy.tanh(u @ p["Wn"] + p["bn"] + r * (s @ p["Un"] + p["cn"])) + z * s

    k, v = normed(x) @ p["Wk"], normed(x) @ p["Wv"]
    share = jax.nn.softmax(k @ (normed(slots) @ p["Wq"]).T / slots.shape[1] ** 0.5, axis=1) + 1e-8
    slots = jax.vmap(gru)((share / share.sum(0)).T @ v, slots)
    return slots + jax.nn.relu(normed(slots) @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"]


AS_IN_PAPERS = {
    "graph_gru": graph_gru_of, "predictive_coding": predictive_coding_of, "conv_lstm": conv_lstm_of,
    "slot_attention": slot_attention_of,
}  # fmt: skip


@pytest.mark.peers
@pytest.mark.parametrize("name", AS_IN_PAPERS)
@pytest.mark.thinned(1, 3)
def test_gradients_agree_with_jax(name: str) -> None:
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    cell, values, random, T = CELLS[name], values_of(CELLS[name]), np.random.default_rng(2), 4
    (input_,), states = ([a.name for a in cell.arguments if a.role == role] for role in ("input", "state"))
    x, h = random.standard_normal((T, *np.shape(values.pop(input_)))), [values.pop(state) for state in states]
    sent = [random.standard_normal((T, *v.shape)) for v in h]

    def objective(x: Any, h: Any, p: dict[str, Any]) -> Any:
        total = 0.0
        for t in range(T):
            found = AS_IN_PAPERS[name](jax, x[t], *h, p)
            h = found if len(states) > 1 else [found]
            total = total + sum(jax.numpy.sum(weights[t] * v) for weights, v in zip(sent, h, strict=True))
        return total

    dx, dh, dp = jax.grad(objective, (0, 1, 2))(x, h, values)
    kernel = kernel_of(cell)
    run = kernel.forward(values, {input_: x}, dict(zip(states, h, strict=True)))
    found = kernel.backward(run, dict(zip(states, sent, strict=True)))
    np.testing.assert_allclose(found.inputs[input_], dx, rtol=1e-9, atol=1e-12)
    for state, gradient in zip(states, dh, strict=True):
        np.testing.assert_allclose(found.state[state], gradient, rtol=1e-9, atol=1e-12)
    for k, gradient in found.params.items():
        np.testing.assert_allclose(gradient, dp[k], rtol=1e-9, atol=1e-12, err_msg=k)


def torch_params(module: Any, gates: str) -> dict[str, Any]:
    """The zoo's parameters: biases summed, but those of n, where the reset stands between them."""
    blocks = blocks_of(module, gates)
    keep = {name for name in blocks if name[0] != "c"} | ({"cn"} if "n" in gates else set())
    return {
        name: blocks[name] + blocks["c" + name[1:]] if name[0] == "b" and name != "bn" else blocks[name]
        for name in keep
    }


@pytest.mark.peers
@pytest.mark.parametrize("double", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize(("name", "gates"), [("RNN", ""), ("LSTM", "ifgo"), ("GRU", "rzn")])
def test_cell_agrees_with_the_module_of_torch(name: str, gates: str, double: bool) -> None:
    module = torch_module(name, double)
    inputs = inputs_of(20).astype(np.float64 if double else np.float32)
    torch = pytest.importorskip("torch")
    expected = module(torch.from_numpy(inputs))[0].detach().numpy()
    cell = CELLS[name.lower()]
    values = torch_params(module, gates) | {s: np.zeros(4, inputs.dtype) for s in cell.step.next}
    got = np.array([result["h"] for result in run(cell, values, inputs)])
    assert got.dtype == inputs.dtype
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 if double else 5e-7)
