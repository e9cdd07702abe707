"""What a loop that trains needs beside the kernel: batches, flat vectors, Adam."""

import doctest
import io
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import symbptt as sb
from symbptt import Index, Input, Param, State, Target
from symbptt.training import adam as adam_module
from symbptt.training import batches


@sb.cell
def small(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"], s: Param[""]):
    return np.tanh(W @ x + U @ h + s * b)


@sb.loss
def squared(h: State["n"], y: Target["n"], V: Param["n n"]):
    return sb.sum((V @ h - y) ** 2)


MODEL = sb.model(small, squared, reduction="mean")
SIZES = {"m": 2, "n": 3}


def _params(dtype=np.float64):
    random = np.random.default_rng(3)
    return {
        k: np.asarray(v + 0.1 * random.standard_normal(v.shape), dtype) for k, v in MODEL.init(SIZES, seed=1).items()
    }


def _data(T=4, B=2, dtype=np.float64):
    random = np.random.default_rng(5)
    return {"x": random.standard_normal((T, B, 2)).astype(dtype)}, {
        "y": random.standard_normal((T, B, 3)).astype(dtype)
    }


@pytest.mark.parametrize("module", [batches, adam_module])
def test_examples_of_docstrings(module):
    assert doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0


@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.sampled_from([(), (2,), (2, 1)]))
def test_unpad_gives_back_what_pad_put_together(lengths, inner):
    random = np.random.default_rng(0)
    sequences = [random.standard_normal((n, *inner)).astype(np.float32) for n in lengths]
    batch, found = sb.pad(sequences, value=7)
    assert batch.shape == (max(lengths), len(lengths), *inner) and batch.dtype == np.float32
    assert found.tolist() == lengths
    for b, (sequence, back) in enumerate(zip(sequences, sb.unpad(batch, found), strict=True)):
        np.testing.assert_array_equal(back, sequence)
        assert np.shares_memory(back, batch) or not back.size
        assert (batch[lengths[b] :, b] == 7).all()
    if min(lengths) > 0:
        np.testing.assert_array_equal(sb.last(batch, found), [s[-1] for s in sequences])


def test_a_padded_batch_computes_what_its_sequences_do():
    random = np.random.default_rng(2)
    kernel, params = sb.compile(small), {k: v for k, v in _params().items() if k != "V"}
    sequences = [{"x": random.standard_normal((n, 2))} for n in (3, 1, 5)]
    inputs, lengths = sb.pad(sequences)
    states = kernel.forward(params, inputs, lengths=lengths).states
    alone = [kernel.forward(params, one).states["h"] for one in sequences]
    for one, together in zip(alone, sb.unpad(states, lengths), strict=True):
        np.testing.assert_allclose(together["h"], one, rtol=1e-13)
    np.testing.assert_allclose(sb.last(states, lengths)["h"], [one[-1] for one in alone], rtol=1e-13)
    np.testing.assert_allclose(
        sb.last(states)["h"], [one[-1] for one in alone], rtol=1e-13
    )  # frozen from their ends on


def test_integers_stay_integers():
    batch, _ = sb.pad([[3, 1], [2]])
    assert batch.dtype.kind == "i" and batch.tolist() == [[3, 2], [1, 0]]


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: sb.pad([]), "at least one sequence"),
        (lambda: sb.pad([np.zeros((2, 3)), np.zeros((2, 4))]), r"sequence 1: \(T, 3\) is expected, as of the first, got \(2, 4\)"),
        (lambda: sb.pad([1.0, 2.0]), "sequence 0: an array .* got one number"),
        (lambda: sb.pad([["a"]]), "sequence 0: an array"),
        (lambda: sb.pad([[[1.0, 2.0], [3.0]]]), "sequence 0: not an array"),
        (lambda: sb.pad([{"x": [1.0]}, {"y": [1.0]}]), "sequence 1: x are expected"),
        (lambda: sb.pad([{"x": [1.0]}, [1.0]]), "sequence 1: x are expected, .* got list"),
        (lambda: sb.pad([{"x": [1.0], "y": [1.0, 2.0]}]), "sequence 0: x has 1 steps, y has 2"),
        (lambda: sb.unpad(np.zeros(3), [3]), r"\(T, B, ...\) is expected"),
        (lambda: sb.unpad(np.zeros((3, 2)), [3]), "2 integers are expected"),
        (lambda: sb.unpad(np.zeros((3, 1)), [4]), "0 to 3 steps are expected, got 4 for sample 0"),
        (lambda: sb.unpad(np.zeros((3, 1)), [1.5]), "1 integers are expected"),
        (lambda: sb.last(np.zeros((3, 2)), [3, 0]), "sample 1 has no step"),
        (lambda: sb.last(np.zeros((0, 2))), "sample 0 has no step"),
        (lambda: sb.flat(small, SIZES), "flat takes a kernel, got Cell"),
        (lambda: sb.flat(sb.compile(small), {"m": 2}), "needs the size 'n'"),
        (lambda: sb.flat(sb.compile(small), SIZES).objective(_data()[0]), "small has no loss"),
        (lambda: sb.flat(sb.compile(small), SIZES).unpack(np.zeros(4)), r"a vector of 19 numbers is expected, got shape \(4,\)"),
        (lambda: sb.flat(sb.compile(small), SIZES).pack({"W": 1}), "W, U, b, s are expected, got W"),
        (lambda: sb.flat(sb.compile(MODEL), SIZES).pack(_params() | {"b": np.zeros(2)}), r"b: shape \(3,\) is expected"),
        (lambda: sb.flat(sb.compile(MODEL), SIZES).unpack([[1.0], [1.0, 2.0]]), "vector: not an array"),
        (lambda: sb.flat(sb.compile(MODEL), SIZES).objective([1]), "inputs: a dict by name is expected, got list"),
        (lambda: sb.flat(sb.compile(MODEL), SIZES).objective({}, np.ones(2)), "targets: a dict by name is expected, got ndarray"),
        (lambda: sb.flat(sb.compile(MODEL, wrt=("U", "x")), SIZES), "has no gradient of W, b, s"),
        (lambda: sb.unpad([[[1.0]], [1.0]], [1]), "values: not an array"),
        (lambda: sb.Adam(0), "lr: a positive number is expected, got 0"),
        (lambda: sb.Adam(1e-3, clip=-1), "clip: a positive number"),
        (lambda: sb.Adam(1e-3, betas=(0.9, 1.0)), "betas: two numbers"),
        (lambda: sb.Adam(1e-3, state=[1]), "state: a dict by name is expected"),
        (lambda: sb.Adam().step({"w": np.ones(2)}, {"v": np.ones(2)}), "grads: w are expected, got v"),
        (lambda: sb.Adam().step({"w": np.ones(2)}, {"w": np.ones(3)}), r"w: a gradient of shape \(2,\) is expected"),
        (lambda: sb.Adam().step({"w": np.ones(2)}, {"w": np.ones(2, int)}), "w: floats are expected"),
        (lambda: sb.Adam().step({"w": np.ones(1)}, {"w": np.array([np.nan])}), "w: its gradient is not finite"),
        (lambda: sb.Adam(state={"t": 1}).step({"w": np.ones(1)}, {"w": np.ones(1)}), "state: m.w of shape"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_what_came(call, said):
    with pytest.raises(sb.ArgumentError, match=said):
        call()


def test_a_flat_vector_holds_each_parameter_once_and_in_place():
    layout, params = sb.flat(sb.compile(MODEL), SIZES), _params()
    vector = layout.pack(params)
    assert vector.shape == (layout.size,) == (sum(p.size for p in params.values()),)
    views = layout.unpack(vector)
    assert list(views) == [name for name, _, _ in layout.slots] and set(views) == set(params)
    for name, view in views.items():
        np.testing.assert_array_equal(view, params[name])
        view += 1
        np.testing.assert_array_equal(layout.unpack(vector)[name], params[name] + 1)
    assert layout.pack(params, np.float32).dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_objective_is_the_loss_with_its_gradient(dtype):
    kernel, (inputs, targets) = sb.compile(MODEL), _data(dtype=dtype)
    layout = sb.flat(kernel, SIZES)
    objective = layout.objective(inputs, targets, lengths=[4, 2])
    vector = layout.pack(_params())
    value, gradient = objective(vector)
    assert isinstance(value, float) and gradient.dtype == np.float64
    if dtype is np.float64:  # an oracle of its own: central differences along each axis
        steps = 1e-6 * np.eye(layout.size)
        differences = [(objective(vector + e)[0] - objective(vector - e)[0]) / 2e-6 for e in steps]
        np.testing.assert_allclose(gradient, differences, rtol=1e-6, atol=1e-8)
    else:
        loss, grads = kernel.value_and_grad(_params(dtype), inputs, targets, lengths=[4, 2])
        assert value == float(loss)
        np.testing.assert_array_equal(gradient, layout.pack(grads.params))


def test_scipy_minimises_the_objective():
    optimize = pytest.importorskip("scipy.optimize")
    inputs, targets = _data(T=2, B=1)
    layout = sb.flat(sb.compile(MODEL), SIZES)
    start = layout.pack(_params())
    objective = layout.objective(inputs, targets)
    found = optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 60})
    assert found.fun < 1e-2 * objective(start)[0]


def test_groups_and_tokens_have_places_too():
    @sb.cell
    def grouped(w: Index["v"], h: State["n"], block: {"E": Param["v n"], "U": Param["n n"]}):
        return np.tanh(block["E"][w] + block["U"] @ h)

    layout = sb.flat(sb.compile(sb.model(grouped, squared)), {"v": 5, "n": 3})
    assert [name for name, _, _ in layout.slots] == ["block.E", "block.U", "V"]
    value, gradient = layout.objective({"w": np.array([[1], [4]])}, {"y": np.ones((2, 1, 3))})(
        np.full(layout.size, 0.1)
    )
    assert value > 0 and gradient.shape == (33,)


def _as_published(params, gradients, lr, first=0.9, second=0.999, eps=1e-8, is_corrected=True):
    """Return what algorithm 1 of Kingma and Ba gives, written as it stands there; without its correction of the bias, what others gave."""
    m, v = 0.0, 0.0
    for t, g in enumerate(gradients, 1):
        m, v = first * m + (1 - first) * g, second * v + (1 - second) * g**2
        mean, square = (m / (1 - first**t), v / (1 - second**t)) if is_corrected else (m, v)
        params = params - lr * mean / (np.sqrt(square) + eps)
    return params


@pytest.mark.parametrize("dtype, close", [(np.float32, 1e-5), (np.float64, 1e-13)])
def test_adam_is_as_published(dtype, close):
    random = np.random.default_rng(0)
    gradients = random.standard_normal((6, 3, 2)).astype(dtype)
    start = random.standard_normal((3, 2)).astype(dtype)
    adam, params = sb.Adam(0.05), {"w": start}
    for g in gradients:
        before = params["w"].copy()
        after = adam.step(params, {"w": g})
        np.testing.assert_array_equal(params["w"], before)  # what a run still refers to does not change
        params = after
    assert params["w"].dtype == dtype
    np.testing.assert_allclose(params["w"], _as_published(start, gradients, 0.05), rtol=close)
    wrong = _as_published(start, gradients, 0.05, is_corrected=False)  # a planted mistake
    assert not np.allclose(params["w"], wrong, rtol=1e-3)


def test_adam_goes_on_from_what_was_saved():
    random = np.random.default_rng(1)
    gradients, params = random.standard_normal((4, 3)), {"w": np.ones(3), "s": np.array(2.0)}
    whole, adam = sb.Adam(0.1, clip=1.0), sb.Adam(0.1, clip=1.0)
    expected, found = dict(params), dict(params)
    for number, g in enumerate(gradients):
        expected = whole.step(expected, {"s": g[0], "w": g})
        if number == 2:
            kept = io.BytesIO()
            np.savez(kept, **adam.state)
            kept.seek(0)
            adam = pickle.loads(pickle.dumps(sb.Adam(0.1, clip=1.0, state=dict(np.load(kept)))))
        found = adam.step(found, {"w": g, "s": g[0]})
    assert int(adam.state["t"]) == 4
    for name in params:
        np.testing.assert_array_equal(found[name], expected[name])


def test_a_gradient_that_is_not_finite_changes_nothing():
    adam = sb.Adam(0.1)
    params = adam.step({"w": np.ones(2)}, {"w": np.ones(2)})
    before = {name: np.copy(value) for name, value in adam.state.items()}
    with pytest.raises(sb.ArgumentError, match="not finite"):
        adam.step(params, {"w": np.array([1.0, np.inf])})
    for name, value in before.items():
        np.testing.assert_array_equal(adam.state[name], value)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_complex_parameters_are_updated_as_their_parts(dtype):
    random = np.random.default_rng(4)
    start, gradients = (random.standard_normal((*lead, 2)) @ [1, 1j] for lead in ((3,), (5, 3)))
    adam, other, params = sb.Adam(0.1, clip=1.0), sb.Adam(0.1, clip=1.0), {"w": start.astype(dtype)}
    parts = {"a": start.real, "b": start.imag}
    for g in gradients:
        params = adam.step(params, {"w": g.astype(dtype)})
        parts = other.step(parts, {"a": g.real, "b": g.imag})
    assert params["w"].dtype == dtype
    np.testing.assert_allclose(params["w"], parts["a"] + 1j * parts["b"], rtol=1e-5 if dtype is np.complex64 else 1e-12)


def test_clipping_makes_the_joint_norm_small():
    clipped, plain = sb.Adam(0.1, clip=1e-3), sb.Adam(0.1)
    grads = {"w": np.array([3.0, 4.0]), "u": np.array([12.0])}
    clipped.step({k: np.ones_like(v) for k, v in grads.items()}, grads)
    plain.step({k: np.ones_like(v) for k, v in grads.items()}, grads)
    for name in ("m.w", "m.u"):
        np.testing.assert_allclose(clipped.state[name], plain.state[name] * 1e-3 / 13, rtol=1e-12)


@pytest.mark.peers
def test_adam_is_that_of_torch():
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(0)
    gradients, start = random.standard_normal((5, 4)), random.standard_normal(4)
    weight = torch.tensor(start, requires_grad=True)
    other, adam, params = torch.optim.Adam([weight], lr=0.02), sb.Adam(0.02), {"w": start}
    for g in gradients:
        weight.grad = torch.tensor(g)
        other.step()
        params = adam.step(params, {"w": g})
    np.testing.assert_allclose(params["w"], weight.detach().numpy(), rtol=1e-10)
