"""Directional derivatives, Hessian-vector products and gradients by sample, against the user's function on complex numbers."""

from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Chunked, Input, Param, State, Target, Window
from symbptt.autodiff import forward_mode
from symbptt.language.tangent import tangent_of
from tests.kernels import kernel_of
from tests.native_cells import CELLS, SIZES, arguments, begun, branches, masks, plain
from tests.readback import assert_read, sizes_of

STEP = 1e-25
SHAPES = ((5, 3, False), (4, 3, True), (1, 1, True), (2, 1, False), (0, 2, False))


@sb.loss
def squared(h: State["n"], y: Target["n"], V: Param["n n"]):
    return sb.sum((V @ np.tanh(h) - y) ** 2) / 2


def moved(groups: Any, tangents: Any) -> list[Any]:
    """The groups of a call, changed along the tangents by a complex step."""
    return [{k: v + 1j * STEP * tangents[k] if k in tangents else v for k, v in group.items()} for group in groups]


def by_hand(
    cell: Any, params: Any, inputs: Any, state: Any, T: int, B: int, lengths: Any = None, reset: Any = None
) -> Any:
    """States and outputs, (T, B, ...), by loops over samples and steps of the user's function, called on arrays."""
    found: dict[str, Any] = {}
    for b in range(B):
        first = {k: v[b] for k, v in state.items()}
        now = first
        for t in range(T):
            before = first if reset is not None and reset[t, b] else now
            ended = lengths is not None and t >= lengths[b]
            if not ended:
                given = cell.called({**params, **{k: v[t, b] for k, v in inputs.items()}, **before})
                given = given if isinstance(given, dict) else {cell.looped.of_role("state")[0].name: given}
                now = {k: given[k] for k in first}
            for k, v in given.items():
                v = now[k] if k in now else np.zeros_like(v) if ended else v
                found.setdefault(k, {})[t, b] = np.asarray(v) + 0j
    return {k: np.array([[v[t, b] for b in range(B)] for t in range(T)]) for k, v in found.items()}


def slopes(cell: Any, groups: Any, tangents: Any, *rest: Any) -> Any:
    """The derivative along tangents, by the complex step where NumPy has each function of complex numbers, else by differences."""
    if cell is not branches:
        return {k: np.imag(v) / STEP for k, v in by_hand(cell, *moved(groups, tangents), *rest).items()}
    ends = [[{k: v + s * 1e-4 * tangents.get(k, 0) for k, v in g.items()} for g in groups] for s in (-2, -1, 1, 2)]
    a, b, c, d = (by_hand(cell, *end, *rest) for end in ends)
    return {k: np.real(a[k] - 8 * b[k] + 8 * c[k] - d[k]) / 12e-4 for k in a}


def draw(groups: Any, seed: int = 5) -> dict[str, Any]:
    """A tangent for each real array, but the second, which does not change."""
    random = np.random.default_rng(seed)
    names = {k: v for group in groups for k, v in group.items() if np.asarray(v).dtype.kind == "f"}
    return {k: random.standard_normal(np.shape(v)) for i, (k, v) in enumerate(names.items()) if i != 1}


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.parametrize(("T", "B", "masked"), SHAPES)
@pytest.mark.thinned(97, 3)
def test_jvp_is_the_derivative_of_the_users_function(cell: Any, T: int, B: int, masked: bool) -> None:
    params, inputs, state, options = arguments(cell, T, B)
    inputs, masked = {k: v[:, : 1 if B == 1 else B] for k, v in inputs.items()}, masked and T > 0
    constants = {a.name for a in cell.arguments if a.role == "const"}
    tangents = {k: v for k, v in draw([params, inputs, state]).items() if k not in constants}
    options |= {"lengths": np.linspace(T, 1, B).astype(int), "reset": masks(T, B)["reset"]} if masked else {}
    values, change = kernel_of(cell).jvp(params, inputs, state, tangents, **options)
    by_name = options.get("lengths"), options.get("reset")
    wanted, digits = (
        slopes(cell, [params, inputs, state], tangents, T, B, *by_name),
        1e-6 if cell is branches else 1e-10,
    )
    run = kernel_of(cell).forward(params, inputs, state, **options)
    for found, of, like in ((values.states, run.states, change.states), (values.outputs, run.outputs, change.outputs)):
        assert found.keys() == of.keys() == like.keys()
        for k, v in of.items():
            np.testing.assert_allclose(found[k], v, rtol=1e-12, atol=1e-14, err_msg=k)
            assert like[k].shape == v.shape
            if T:
                least = digits / 100 * np.abs(wanted[k]).max(initial=1)
                np.testing.assert_allclose(like[k], wanted[k], rtol=digits, atol=least, err_msg=k)


def test_a_wrong_rule_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each tangent of a product lacks what its second factor gives."""
    rule = forward_mode.RULES["contract"]
    monkeypatch.setitem(
        forward_mode.RULES, "contract", lambda g, node, found: rule(g, node, {node.args[1]: found[node.args[1]]})
    )

    @sb.cell
    def again(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"]):
        return np.tanh(W @ x + U @ h + b)

    params, inputs, state, _ = arguments(plain, 3, 2)
    tangents = draw([params, inputs, state])
    wrong, right = (kernel.jvp(params, inputs, state, tangents)[1] for kernel in (sb.compile(again), kernel_of(plain)))
    assert not np.allclose(wrong.states["h"], right.states["h"], rtol=1e-3)


def loss_by_hand(params: Any, inputs: Any, targets: Any, state: Any, lengths: Any, reset: Any, mean: bool) -> Any:
    T, B, _ = inputs["x"].shape
    cell = {k: v for k, v in params.items() if k != "V"}
    h = by_hand(plain, cell, inputs, state, T, B, lengths, reset)["h"]
    ends = np.full(B, T) if lengths is None else lengths
    e = np.tanh(h) @ params["V"].T - targets["y"]
    counted = np.arange(T)[:, None] < ends
    return (np.sum(e * e, -1) * counted).sum() / 2 / (counted.sum() if mean else 1)


def case(T: int = 4, B: int = 3, masked: bool = True) -> Any:
    params, inputs, state, _ = arguments(plain, T, B)
    random = np.random.default_rng(3)
    params["V"] = random.standard_normal((SIZES["n"], SIZES["n"]))
    options = {"lengths": np.linspace(T, 1, B).astype(int), "reset": masks(T, B)["reset"]} if masked else {}
    return params, inputs, {"y": random.standard_normal((T, B, SIZES["n"]))}, state, options


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.thinned(2)
def test_jvp_and_hvp_of_a_model_are_the_complex_step_of_loss_and_gradient(reduction: Any) -> None:
    kernel = kernel_of(sb.model(plain, squared, reduction=reduction))
    params, inputs, targets, state, options = case()
    tangents = draw([params, inputs, state])
    loss, change = kernel.jvp(params, inputs, state, tangents, targets=targets, **options)
    groups = moved([params, inputs, state], tangents)
    wanted = loss_by_hand(
        groups[0], groups[1], targets, groups[2], options["lengths"], options["reset"], reduction == "mean"
    )
    np.testing.assert_allclose([loss, change], [wanted.real, wanted.imag / STEP], rtol=1e-12)

    direction = {k: v for k, v in tangents.items() if k in params and k != "b"}
    found = kernel.hvp(params, inputs, targets, state, direction, **options)
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in params.items()}
    sparing = kernel_of(sb.model(plain, squared, reduction=reduction), memory="sqrt").hvp(
        params, inputs, targets, state, direction, **options
    )
    assert all(np.allclose(sparing[k], v, rtol=1e-11, atol=1e-13) for k, v in found.items())
    size = 1e-6
    ends = [{k: v + s * size * direction.get(k, 0) for k, v in params.items()} for s in (-2, -1, 1, 2)]
    a, b, c, d = (kernel.value_and_grad(p, inputs, targets, state, **options)[1].params for p in ends)
    for k, v in found.items():
        slope = (a[k] - 8 * b[k] + 8 * c[k] - d[k]) / (12 * size)
        np.testing.assert_allclose(v, slope, rtol=1e-6, atol=1e-7 * np.abs(slope).max(), err_msg=k)


@pytest.mark.long
def test_hessian_is_symmetric_and_of_float32_too() -> None:
    kernel = kernel_of(sb.model(plain, squared, at="last"))
    params, inputs, targets, state, _ = case(masked=False)
    targets = {"y": targets["y"][-1]}
    u, v = draw([params], 1), draw([params], 2)
    uv, vu = (kernel.hvp(params, inputs, targets, state, of) for of in (u, v))
    np.testing.assert_allclose(sum(np.sum(uv[k] * v[k]) for k in v), sum(np.sum(vu[k] * u[k]) for k in u), rtol=1e-11)
    single: Any = [{k: x.astype(np.float32) for k, x in group.items()} for group in (params, inputs, targets, state, u)]
    for k, x in kernel.hvp(*single).items():
        assert x.dtype == np.float32
        np.testing.assert_allclose(x, uv[k], rtol=1e-3, atol=1e-3 * np.abs(uv[k]).max())


def test_hvp_of_no_steps_is_zero() -> None:
    params, inputs, targets, state, _ = case(T=0, masked=False)
    found = kernel_of(sb.model(plain, squared)).hvp(params, inputs, targets, state, {"U": params["U"]})
    assert not any(v.any() for v in found.values())


def test_a_branch_that_is_not_taken_and_a_root_at_zero_leave_no_nan() -> None:
    @sb.cell
    def rooted(x: Input["n"], h: State["n"], w: Param["n"]):
        return np.where(x > 0, np.sqrt(x), w * h) + np.where(h > 0, np.log(h), 0) + sb.norm(x)

    ones, x = np.ones(3), np.zeros((2, 3))
    with np.errstate(all="raise"):
        _, change = sb.compile(rooted).jvp(
            {"w": 0.5 * ones}, {"x": x}, {"h": -ones}, {"w": ones, "h": ones, "x": x + 1}
        )
    np.testing.assert_allclose(change.states["h"][0], -0.5 * ones)


@pytest.mark.long
def test_starts_have_tangents_and_states_that_are_given_have_none_without_one() -> None:
    params, inputs, state, _ = arguments(begun, 3, 2)
    kernel, h0 = kernel_of(begun), {"h0": np.ones(SIZES["n"])}
    shared = kernel.jvp(params, inputs, {}, h0)[1].states["h"]
    each = kernel.jvp(
        params,
        inputs,
        {"h": np.tile(params["h0"], (2, 1)), "g": np.full((2, SIZES["k"]), 0.5)},
        {"h": np.ones((2, SIZES["n"]))},
    )
    np.testing.assert_allclose(shared, each[1].states["h"], rtol=1e-13)
    assert np.abs(shared).max() > 0 and not kernel.jvp(params, inputs, state, h0)[1].states["h"].any()


@sb.cell
def scaled(x: Input["n"], h: State["n"], a: Param):
    return np.tanh(x) + a * h


def test_a_plain_number_and_its_tangent_take_the_type_of_the_arrays() -> None:
    x = np.ones((3, 2, 2), np.float32)
    ones = kernel_of(scaled).jvp({"a": 0.5}, {"x": x}, None, {"x": x})[1].states["h"]
    assert ones.dtype == np.float32
    change = kernel_of(scaled).jvp({"a": 0.5}, {"x": x}, None, {"a": 1})[1].states["h"]
    assert change.dtype == np.float32
    assert np.allclose(change[2], np.tanh(1) * (1 + 2 * 0.5), rtol=1e-6)


def test_tangents_of_inputs_may_be_anything_behind_the_end_of_a_sample() -> None:
    x = np.ones((3, 2, 2))
    moved, beyond = x.copy(), x.copy()
    beyond[1:, 0] = np.nan
    changes = [
        kernel_of(scaled).jvp({"a": 0.5}, {"x": x}, None, {"x": dx}, lengths=[1, 3])[1].states["h"]
        for dx in (moved, beyond)
    ]
    assert np.array_equal(*changes)
    with pytest.raises(sb.ArgumentError, match="nan at step 1, sample 0"):
        kernel_of(scaled).jvp({"a": 0.5}, {"x": x}, None, {"x": beyond}, lengths=[2, 3])


def test_equations_of_tangents_are_a_derivation() -> None:
    text = sb.derive(plain).forward_mode().text()
    assert "u_t = Ẇ x_t + W ẋ_t + U̇ h_{t-1} + U ḣ_{t-1} + ḃ" in text and "ḣ_t = u_t ⊙ (1 - h_t²)" in text
    with pytest.raises(sb.ArgumentError, match="write sb.derive\\(plain\\).forward_mode"):
        sb.derive(sb.model(plain, squared)).forward_mode()


def test_equations_of_tangents_have_functions_whole_and_read_as_the_kernel_computes() -> None:
    @sb.cell
    def attending(x: Input["m"], h: State["n"], K: Param["k n"], V: Param["k n"], g: Param["n"]):
        a = K @ h
        p = sb.softmax(a)
        return g * sb.layer_norm(p @ V) + sb.norm(x)

    text = sb.derive(attending).forward_mode().text()
    assert "ṗ_t     = p_t ⊙ (ȧ_t - p_tᵀ ȧ_t)" in text and "LN(" in text and "shifted" not in text
    dotted = tangent_of(attending)
    assert_read(dotted, sizes_of(dotted))


def test_what_has_no_tangent_is_refused_by_name() -> None:
    params, inputs, targets, state, _ = case(masked=False)
    model = sb.model(plain, squared)
    kernel = kernel_of(model)
    own = {k: v for k, v in params.items() if k != "V"}
    for call, words in (
        (lambda: kernel.jvp(params, inputs, state, {"u": params["U"]}, targets=targets), "'u' of plain_squared has no tangent\n  did you mean 'U'"),
        (lambda: kernel.jvp(params, inputs, state, {"y": targets["y"]}, targets=targets), "'y' of plain_squared has no tangent"),
        (lambda: kernel.jvp(params, inputs, state, {"U": params["W"]}, targets=targets), r"the tangent of 'U' of plain_squared has shape \(4, 3\)"),
        (lambda: kernel.jvp(params, inputs, state, {"U": params["U"].astype("f4")}, targets=targets), "'U' of plain_squared is float32, U is float64"),
        (lambda: kernel.jvp(params, inputs, state, {"U": params["U"] * np.nan}, targets=targets), "the tangent of 'U' of plain_squared is not finite"),
        (lambda: kernel.jvp(params, inputs, state, {"U": params["U"]}), r"target 'y' is missing; pass targets=\{'y': ...\}, \(T, B, n\)\n  in a call of the kernel of plain_squared$"),
        (lambda: kernel_of(plain).jvp(own | {"Q": 1}, inputs, state, {}), "'Q' is not known; expected [^_]*\n  in a call of the kernel of plain$"),
        (lambda: kernel_of(plain).jvp(own, inputs, None, {"h": np.ones(4)}), r"the tangent of 'h' of plain has shape \(4,\), h has \(3, 4\)"),
        (lambda: kernel_of(plain).jvp(own, inputs, state, {}, lengths=[99]), "integers from 0 to 4 .*\n  in a call of the kernel of plain$"),
        (lambda: kernel.hvp(params, inputs, {}, state, {}), r"target 'y' is missing; pass targets=\{'y': ...\}, \(T, B, n\)\n  in a call of the kernel of plain_squared$"),
        (lambda: kernel.hvp(params, inputs, targets, state, {"x": inputs["x"]}), "'x' is no parameter of plain_squared"),
        (lambda: kernel_of(plain).hvp(params, inputs, targets, state, {}), "plain has no loss"),
        (lambda: kernel_of(plain).jvp(own, inputs, state, {}, targets=targets), "target 'y' is not known; expected none"),
        (lambda: kernel.jvp({**params, "U_dot": params["U"]}, inputs, state, {}, targets=targets), "parameter 'U_dot' is not known"),
        (lambda: kernel.jvp(params, inputs, state, np.ones(3), targets=targets), "tangents: a dict by name is expected, got ndarray"),
        (lambda: kernel.jvp(params, inputs, state, {"U": [[1.0], [1.0, 2.0]]}, targets=targets), "the tangent of 'U': not an array"),
        (lambda: kernel.jvp({**params, "U": [[1.0], [1.0, 2.0]]}, inputs, state, {}, targets=targets), "U: not an array"),
        (lambda: kernel.hvp(params, inputs, targets, state, np.ones(3)), "direction: a dict by name is expected, got ndarray"),
        (lambda: kernel.hvp(params, inputs, targets, state, [1]), "direction: a dict by name is expected, got list"),
        (lambda: kernel.grad_per_sample(params, inputs, [1], state), "targets: a dict by name is expected, got list"),
        (lambda: kernel.grad_per_sample(params, inputs, {**targets, "z": 1.0}, state), "target 'z' is not known"),
        (lambda: kernel.grad_per_sample(params, inputs, {"y": 1.0}, state), r"y: \(T, B, n\) is expected, got shape \(\)"),
        (lambda: kernel_of(model, truncation=Window(2)).hvp(params, inputs, targets, state, {}), "with truncation are those of no function"),
        (lambda: kernel_of(model, truncation=Chunked(2, 2)).hvp(params, inputs, targets, state, {}), "with truncation are those"),
        (lambda: kernel_of(model, clip_adjoint=1.0).hvp(params, inputs, targets, state, {}), "with clip_adjoint are those of no function"),
    ):  # fmt: skip
        with pytest.raises(sb.ArgumentError, match=words):
            call()

    @sb.cell
    def settled(x: Input["n"], h: State["n"], U: Param["n n"]):
        return sb.fixed_point(lambda z: np.tanh(0.1 * U @ z + x + h), h, tolerance=1e-9, most=50)

    with pytest.raises(sb.CellError):
        sb.compile(settled).jvp({"U": np.eye(2)}, {"x": np.zeros((1, 2))}, {}, {"U": np.eye(2)})


@pytest.mark.parametrize(("reduction", "options"), [
    ("sum", {}), ("mean", {}), ("sum", {"truncation": Chunked(9, 9)}), ("mean", {"memory": "sqrt"}),
])  # fmt: skip
@pytest.mark.thinned(3)
def test_gradients_by_sample_are_those_of_each_and_add_up(reduction: Any, options: Any) -> None:
    kernel = kernel_of(sb.model(plain, squared, reduction=reduction), **options)
    params, inputs, targets, state, masked = case()
    masked["lengths"] = np.array([4, 2, 1])
    direction = draw([params])
    changed = moved([params], direction)[0]
    found = kernel.grad_per_sample(params, inputs, targets, state, **masked)
    count = 7 if reduction == "mean" else 1
    for b in range(3):
        one = [{k: v[:, b : b + 1] for k, v in group.items()} for group in (inputs, targets)]
        first, ends, resets = (
            {k: v[b : b + 1] for k, v in state.items()},
            masked["lengths"][b : b + 1],
            masked["reset"][:, b : b + 1],
        )
        slope = np.imag(loss_by_hand(changed, *one, first, ends, resets, False)) / STEP / count
        np.testing.assert_allclose(
            sum(np.sum(found[k][b] * v) for k, v in direction.items()), slope, rtol=1e-11, atol=1e-13
        )
    for k, v in kernel.value_and_grad(params, inputs, targets, state, **masked)[1].params.items():
        np.testing.assert_allclose(found[k].sum(0), v, rtol=1e-11, atol=1e-13, err_msg=k)


@pytest.mark.long
def test_gradients_by_sample_at_the_last_step_and_what_they_refuse() -> None:
    kernel = kernel_of(sb.model(plain, squared, at="last", reduction="mean"))
    params, inputs, targets, state, _ = case(masked=False)
    last = {"y": targets["y"][-1]}
    found = kernel.grad_per_sample(params, inputs, last, state, lengths=[4, 1, 0])
    whole = kernel.value_and_grad(params, inputs, last, state, lengths=[4, 1, 0])[1].params
    assert (
        all(np.allclose(found[k].sum(0), v, rtol=1e-11, atol=1e-13) for k, v in whole.items())
        and not found["U"][2].any()
    )
    assert {v.shape[0] for v in kernel.grad_per_sample(params, {"x": inputs["x"][:0]}, last).values()} == {3}
    with pytest.raises(sb.ArgumentError, match="y: \\(B, n\\) = \\(3, 4\\) is expected, got \\(2, 4\\)"):
        kernel.grad_per_sample(params, inputs, {"y": last["y"][:2]}, state)
    with pytest.raises(sb.ArgumentError, match="need an axis of samples"):
        kernel.grad_per_sample(params, {"x": inputs["x"][:, 0]}, {"y": last["y"][0]})
    with pytest.raises(sb.ArgumentError, match="lengths: \\(3,\\) integers"):
        kernel.grad_per_sample(params, inputs, last, state, lengths=[4, 1])


def test_products_of_a_kernel_with_some_gradients_are_theirs() -> None:
    model = sb.model(plain, squared)
    params, inputs, targets, state, _ = case(B=1, masked=False)
    direction = draw([params])
    masks = {"lengths": 2, "reset": np.array([False, True, False, False])}
    few, full = kernel_of(model, wrt=("U", "x")), kernel_of(model)
    for name, rest in (("hvp", [direction]), ("grad_per_sample", [])):
        found, wanted = (getattr(k, name)(params, inputs, targets, state, *rest, **masks) for k in (few, full))
        assert set(found) == {"U"} and set(wanted) == set(params)
        np.testing.assert_allclose(found["U"], wanted["U"], rtol=1e-13)
    alone = full.value_and_grad(params, inputs, targets, state, **masks)[1].params
    np.testing.assert_allclose(wanted["U"][0], alone["U"], rtol=1e-13)


@pytest.mark.peers
@pytest.mark.long
def test_jvp_and_hvp_are_those_of_jax() -> None:
    import jax

    with jax.enable_x64(True):
        params, inputs, targets, state, _ = case(T=6, masked=False)
        np_ = jax.numpy

        def loss(p: Any) -> Any:
            def step(h: Any, x: Any) -> Any:
                h = np_.tanh(x @ p["W"].T + h @ p["U"].T + p["b"])
                return h, h

            _, h = jax.lax.scan(step, state["h"], inputs["x"])
            return np_.sum((np_.tanh(h) @ p["V"].T - targets["y"]) ** 2) / 2

        direction = {k: np.random.default_rng(7).standard_normal(v.shape) for k, v in params.items()}
        value, change = jax.jvp(loss, (params,), (direction,))
        hessian = jax.jvp(jax.grad(loss), (params,), (direction,))[1]
    kernel = kernel_of(sb.model(plain, squared))
    np.testing.assert_allclose(
        kernel.jvp(params, inputs, state, direction, targets=targets), [value, change], rtol=1e-11
    )
    for k, v in kernel.hvp(params, inputs, targets, state, direction).items():
        np.testing.assert_allclose(v, hessian[k], rtol=1e-9, atol=1e-10, err_msg=k)
