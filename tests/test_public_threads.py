"""Public threads about gradients through time that came out wrong, rebuilt: each with its address and with the number that is right.

Numbers are from calculus by hand or from the thread; nothing here is compared with symbptt's own derivation.
"""

import warnings
from typing import Any

import numpy as np
import pytest
import sympy as sp

import symbptt as sb
from symbptt import Index, Input, Output, Param, State, Target
from symbptt.zoo import gru, lstm, rnn

close = np.testing.assert_allclose


def gradients(
    cell: sb.Cell, params: Any, inputs: Any, state: Any = None, of: Any = None, calm: bool = True, **masks: Any
) -> Any:
    """Gradients of the sum of all states and outputs at every step, or of what `of` weighs; if `calm`, without a warning."""
    kernel = sb.compile(cell)
    with warnings.catch_warnings():
        warnings.simplefilter("error" if calm else "ignore")
        run = kernel.forward(params, inputs, state, **masks)
        sent = of or {k: np.ones_like(v) for k, v in {**run.outputs, **run.states}.items()}
        return run, kernel.backward(run, sent)


def output(y: Any, size: int) -> Any:
    """A cell of one input that puts out a function of it and keeps no state of interest."""

    @sb.cell
    def step(x: Input[str(size)], h: State, w: Param):
        return {"h": 0.0 * h, "y": y(w * x)}

    return step


def slope(y: Any, x: Any, dtype: Any = np.float64, calm: bool = True) -> tuple[Any, Any]:
    """The value of a function of a vector at one step, and the gradient of its sum by the input."""
    x = np.array(x, dtype)[None, None]
    kernel = sb.compile(output(y, x.shape[-1]))
    with warnings.catch_warnings():
        warnings.simplefilter("error" if calm else "ignore")
        run = kernel.forward({"w": np.array(1.0, dtype)}, {"x": x})
        return run.outputs["y"][0, 0], kernel.backward(run, {"y": np.ones_like(run.outputs["y"])}).inputs["x"][0, 0]


# Tables.


@sb.cell
def lookup(i: Index["v"], h: State["n"], E: Param["v n"]):
    return {"h": 0.5 * h, "y": E[i]}


def test_rows_that_are_read_twice_add_up() -> None:
    # https://github.com/pytorch/pytorch/issues/1631 and https://github.com/pytorch/pytorch/issues/1528
    _, grads = gradients(
        lookup, {"E": np.array([[0.1], [7.0]])}, {"i": np.array([[0], [0]])}, of={"y": np.array([[[0.2]], [[0.3]]])}
    )
    close(grads.params["E"], [[0.5], [0.0]], rtol=1e-15)


def test_row_that_is_read_very_often_keeps_its_sum_in_single_precision() -> None:
    # https://github.com/tenstorrent/tt-metal/pull/53386
    index = np.zeros((5000, 40), int)
    sent = np.full((5000, 40, 1), 0.1, np.float32)
    _, grads = gradients(lookup, {"E": np.ones((2, 1), np.float32)}, {"i": index}, of={"y": sent})
    close(grads.params["E"], [[200_000 * float(np.float32(0.1))], [0.0]], rtol=3e-7)


def test_tied_table_gets_what_both_ends_send() -> None:
    # https://github.com/paiml/entrenar/issues/314
    @sb.cell
    def tied(i: Index["v"], h: State["n"], E: Param["v n"]):
        h = 0.5 * h + E[i]
        return {"h": h, "logits": E @ h}

    E = np.array([[1.0, 2.0], [3.0, 5.0]])
    _, grads = gradients(tied, {"E": E}, {"i": np.array([[1]])}, of={"logits": np.array([[[1.0, 0.0]]])})
    # logits_0 = E_0 · E_1: each row gets the other
    close(grads.params["E"], [[3.0, 5.0], [1.0, 2.0]])


# Branches that are not taken, and places without a derivative.


@pytest.mark.filterwarnings("ignore:.*encountered in")  # the value of a branch that is not taken may be no number
def test_branch_that_is_not_taken_sends_nothing() -> None:
    # https://github.com/pytorch/pytorch/issues/187297
    close(slope(lambda x: np.where(x > 0, np.sqrt(x), x), [-1.0, -4.0], calm=False)[1], [1.0, 1.0])
    # https://github.com/pytorch/pytorch/issues/108618
    found = slope(lambda x: np.where(x > 2, np.log2(x), 2 * x), [0.0, 2.0, 3.0], calm=False)[1]
    close(found, [2.0, 2.0, 1 / (3 * np.log(2))])
    # https://github.com/pytorch/pytorch/issues/23395
    close(slope(lambda x: np.where(x == 0, x / 2, np.sqrt(x) + 1), [16.0, 0.0], calm=False)[1], [0.125, 0.5])
    # https://github.com/tensorflow/tensorflow/issues/38349
    close(slope(lambda a: np.where(a < 15.0, a, 10.0 ** np.exp(a)), [10.0], calm=False)[1], [1.0])
    # https://github.com/pytorch/pytorch/issues/156212
    found = slope(lambda x: np.where(x <= 10.0, np.exp(x), 1.0), [1.0, 1e10], calm=False)[1]
    close(found, [np.e, 0.0])


@pytest.mark.filterwarnings("ignore:.*encountered in")
def test_quotient_by_zero_that_is_not_taken_sends_nothing() -> None:
    # https://github.com/pytorch/pytorch/issues/52248
    @sb.cell
    def step(x: Input["n"], h: State["n"], zero: Param):
        return {"h": 0.0 * h, "y": np.where(x > 100.0, x / zero, 1.0)}

    _, grads = gradients(
        step, {"zero": np.array(0.0)}, {"x": np.ones((1, 1, 2))}, of={"y": np.ones((1, 1, 2))}, calm=False
    )
    close(grads.inputs["x"], np.zeros((1, 1, 2)))
    close(grads.params["zero"], 0.0)


def test_norm_at_zero() -> None:
    # https://github.com/pytorch/pytorch/issues/2421 and https://github.com/jax-ml/jax/issues/4177
    close(slope(lambda x: np.linalg.norm(x)[None], [0.0, 0.0])[1], [0.0, 0.0])
    close(slope(lambda x: (np.linalg.norm(x) ** 2)[None], [0.0, 0.0])[1], [0.0, 0.0])
    # https://github.com/HIPS/autograd/issues/183
    close(slope(lambda x: np.exp(-1.0 * np.linalg.norm(x) ** 2)[None], [0.0, 0.0])[1], [0.0, 0.0])

    # https://github.com/jax-ml/jax/issues/347
    @sb.cell
    def step(x: Input["2 2"], h: State):
        sizes = np.sqrt(np.sum(x**2, axis=1))
        return {"h": 0.0 * h, "y": np.where(sizes > 0.5, sizes, 1.0)}

    _, grads = gradients(step, {}, {"x": np.array([[[[3.0, 4.0], [0.0, 0.0]]]])}, of={"y": np.ones((1, 1, 2))})
    close(grads.inputs["x"][0, 0], [[0.6, 0.8], [0.0, 0.0]])


def test_norms_of_rows_of_which_one_is_zero() -> None:
    # https://github.com/tenstorrent/tt-metal/issues/55585
    @sb.cell
    def step(x: Input["2 3"], h: State):
        return {"h": 0.0 * h, "y": np.linalg.norm(x, axis=1)}

    _, grads = gradients(step, {}, {"x": np.array([[[[0.0, 0, 0], [1, 2, 2]]]])}, of={"y": np.ones((1, 1, 2))})
    close(grads.inputs["x"][0, 0], [[0, 0, 0], [1 / 3, 2 / 3, 2 / 3]])


@pytest.mark.parametrize("fill", [0.0, 1.0, 1e6])
@pytest.mark.thinned(2)
def test_standard_deviation_of_what_is_constant(fill: float) -> None:
    # https://github.com/pytorch/pytorch/issues/4320
    close(slope(lambda x: np.std(x)[None], [fill] * 3)[1], [0.0] * 3)
    # https://github.com/FluxML/Flux.jl/issues/2096: (x - mean) / (std + 0.5) is smooth there, with slope (I - 1/n) / 0.5
    weights = np.array([1.0, 2.0, 6.0])
    found = slope(lambda x: weights * (x - np.mean(x)) / (np.std(x) + 0.5), [fill] * 3)[1]
    close(found, (weights - 3.0) / 0.5)


def test_layer_norm_of_one_number_does_not_depend_on_its_gain() -> None:
    # https://github.com/pytorch/pytorch/issues/188372
    @sb.cell
    def step(x: Input["n"], h: State["n"], gain: Param["n"], bias: Param["n"]):
        return {"h": 0.0 * h, "y": sb.layer_norm(x, gain, bias)}

    for dtype in (np.float32, np.float64):
        params = {"gain": np.array([2.0], dtype), "bias": np.array([3.0], dtype)}
        run, grads = gradients(step, params, {"x": np.full((1, 1, 1), 1e6, dtype)}, of={"y": np.ones((1, 1, 1), dtype)})
        assert (
            run.outputs["y"] == 3.0
            and grads.params["gain"] == 0.0
            and grads.params["bias"] == 1.0
            and grads.inputs["x"] == 0.0
        )


def test_slopes_at_corners_follow_one_rule() -> None:
    # https://github.com/jax-ml/jax/issues/37821
    close(slope(lambda x: np.maximum(x, 0.0), [0.0, 1e-300, -1e-300])[1], [0.0, 1.0, 0.0])
    close(slope(lambda x: np.where(x > 0, x, 0.0), [0.0])[1], [0.0])
    # https://github.com/tinygrad/tinygrad/pull/18029 and https://github.com/pytorch/pytorch/pull/7049
    close(slope(lambda x: np.minimum(np.maximum(x, 0.0), 6.0), [0.0, 6.0, 3.0])[1], [0.0, 0.0, 1.0])
    close(slope(lambda x: np.clip(x, 0.0, 6.0), [0.0, 6.0, 3.0])[1], [0.0, 0.0, 1.0])
    close(slope(lambda x: np.abs(x), [0.0, -2.0])[1], [0.0, -1.0])


def test_powers_of_zero() -> None:
    # https://github.com/tensorflow/tensorflow/issues/2295
    close(slope(lambda x: np.clip(x, 0.0, 1.0) ** 2.4, [0.0, 0.5])[1], [0.0, 2.4 * 0.5**1.4])

    # https://github.com/pytorch/pytorch/issues/27134
    @sb.cell
    def step(a: Input["n"], h: State["n"], b: Param["n"]):
        return {"h": 0.0 * h, "y": a**b}

    _, grads = gradients(step, {"b": np.ones(2)}, {"a": np.array([[[0.0, 2.0]]])}, of={"y": np.ones((1, 1, 2))})
    close(grads.params["b"], [0.0, 2 * np.log(2)])


def test_angle_at_the_origin() -> None:
    # https://github.com/pytorch/pytorch/issues/98276
    @sb.cell
    def step(z: Input["2"], h: State):
        return {"h": 0.0 * h, "y": np.arctan2(z[1], z[0])}

    near = np.array([5.6843e-14, 1e-13])
    _, grads = gradients(step, {}, {"z": np.stack([near, np.zeros(2)])[:, None]}, of={"y": np.ones((2, 1))})
    close(grads.inputs["z"][0, 0], np.array([-near[1], near[0]]) / np.sum(near**2))
    close(grads.inputs["z"][1, 0], [0.0, 0.0])


@pytest.mark.parametrize(("x", "wanted"), [
    ([2.0, 0.0, 3.0, 4.0], [1.0, 32.0, 0.0, 0.0]), ([0.0, 2.0, 3.0], [9.0, 0.0, 0.0]), ([2.0, 3.0, 0.0], [4.0, 2.0, 6.0]),
    ([2.0, 0.0, 0.0, 3.0], [1.0, 2.0, 0.0, 0.0]),
])  # fmt: skip
def test_running_products_with_zeros(x: list[float], wanted: list[float]) -> None:
    # https://github.com/tracel-ai/burn/issues/3864 and https://github.com/tensorflow/tensorflow/issues/119430
    @sb.cell
    def product(x: Input, h: State):
        return h * x

    _, grads = gradients(product, {}, {"x": np.array(x)[:, None]}, {"h": np.ones(1)})
    close(grads.inputs["x"][:, 0], wanted)


def test_softplus_far_out_in_single_precision() -> None:
    # https://github.com/tracel-ai/burn/issues/5373
    for beta, x, value in (
        (1.0, [20.0, 50.0, 100.0], [20.0, 50.0, 100.0]),
        (5.0, [20.0, 50.0, 100.0], [20.0, 50.0, 100.0]),
    ):
        found, by = slope(lambda v, beta=beta: np.log(np.exp(beta * v) + 1) / beta, x, np.float32)
        close(found, value, rtol=1e-6)
        close(by, [1.0] * 3, rtol=1e-6)


def test_logsumexp_of_what_a_mask_leaves() -> None:
    # https://github.com/jax-ml/jax/issues/23842
    mask = np.array([1.0, 0.0])

    def masked(a: Any) -> Any:
        top = np.max(np.where(mask > 0, a, -1e30))
        return (top + np.log(np.sum(np.where(mask > 0, np.exp(a - top), 0.0))))[None]

    value, found = slope(masked, [0.0, 100.0])
    close(value, [0.0])
    close(found, [1.0, 0.0])


# Samples of different lengths.


@sb.cell
def biased(x: Input, h: State, w: Param, b: Param):
    return w * h + x + b


def test_bias_does_not_leak_into_steps_that_are_padding() -> None:
    # https://github.com/keras-team/keras/issues/1300
    x, lengths = np.array([[1.0, 1.0], [2.0, 0.0], [4.0, 0.0]]), np.array([3, 1])
    run, grads = gradients(
        biased, {"w": np.array(0.5), "b": np.array(0.1)}, {"x": x}, of={"h": np.ones(2)}, lengths=lengths
    )
    close(run.states["h"][-1], [0.25 * 1.1 + 0.5 * 2.1 + 4.1, 1.1])
    close(grads.params["b"], (1 + 0.5 + 0.25) + 1)
    close(grads.inputs["x"], [[0.25, 1.0], [0.5, 0.0], [1.0, 0.0]])


def test_gradient_of_final_states_enters_where_each_sample_ends() -> None:
    # https://github.com/OpenNMT/OpenNMT/issues/306
    _, grads = gradients(biased, {"w": np.array(2.0), "b": np.array(0.0)}, {"x": np.ones((4, 3))}, of={"h": np.array([1.0, 10.0, 100.0])},
                         lengths=np.array([4, 2, 0]))  # fmt: skip
    close(grads.inputs["x"].T, [[8, 4, 2, 1], [20, 10, 0, 0], [0, 0, 0, 0]])
    close(grads.state["h"], [16, 40, 100])


@sb.loss
def squared(h: State, y: Target):
    return (h - y) ** 2


def test_mean_of_a_loss_counts_true_steps() -> None:
    # https://github.com/tensorflow/tensorflow/issues/39146
    model = sb.model(biased, squared, at="every", reduction="mean")
    params = {"w": np.array(0.0), "b": np.array(0.0)}
    x = np.array([[1.0, 3.0], [2.0, 99.0]])
    loss, grads = sb.compile(model).value_and_grad(params, {"x": x}, {"y": np.zeros((2, 2))}, lengths=np.array([2, 1]))
    close(loss, (1 + 4 + 9) / 3)
    close(grads.inputs["x"], [[2 / 3, 2.0], [4 / 3, 0.0]])
    close(grads.params["b"], 2 * (1 + 2 + 3) / 3)


def test_other_direction_begins_at_the_end_of_each_sample() -> None:
    # https://github.com/pytorch/pytorch/issues/1811 and https://github.com/pytorch/pytorch/issues/517
    x, lengths = np.random.default_rng(0).standard_normal((5, 3, 2)), np.array([5, 3, 1])
    turned = np.zeros_like(x)
    for b, end in enumerate(lengths):
        turned[:end, b] = x[:end, b][::-1]
    params = rnn.init({"m": 2, "n": 2}, seed=0)
    run, grads = gradients(rnn, params, {"x": turned}, of={"h": np.ones((3, 2))}, lengths=lengths)
    for b, end in enumerate(lengths):
        alone, by = gradients(rnn, params, {"x": x[:end, b][::-1]}, of={"h": np.ones(2)})
        close(run.states["h"][-1, b], alone.states["h"][-1])
        close(grads.inputs["x"][:end, b], by.inputs["x"])
        assert not grads.inputs["x"][end:, b].any()


# What a gradient crosses, and what not.


def test_state_that_begins_anew_lets_no_gradient_through() -> None:
    # https://github.com/ikostrikov/pytorch-a2c-ppo-acktr-gail/issues/206 and https://github.com/luchris429/purejaxrl/issues/23
    reset = np.array([[False], [False], [True], [False]])
    run, grads = gradients(biased, {"w": np.array(3.0), "b": np.array(0.0)}, {"x": np.ones((4, 1))}, {"h": np.array([5.0])},
                           of={"h": np.ones(1)}, reset=reset)  # fmt: skip
    close(run.states["h"][:, 0], [16, 49, 16, 49])
    close(grads.inputs["x"][:, 0], [0, 0, 3, 1])
    close(grads.state["h"], [9])  # the initial state enters again at the reset


def test_state_carried_to_the_next_part_is_an_input_there() -> None:
    # https://github.com/keras-team/keras/issues/3669 and https://github.com/karpathy/char-rnn/issues/102
    params = {"w": np.array(0.5), "b": np.array(0.0)}
    first, _ = gradients(biased, params, {"x": np.array([[1.0], [2.0]])})
    second, later = gradients(
        biased, params, {"x": np.array([[4.0]])}, {"h": first.states["h"][-1]}, of={"h": np.ones(1)}
    )
    close(second.states["h"][-1], [0.25 + 1 + 4])
    close(later.params["w"], first.states["h"][-1][0])  # one step back, not three
    kernel = sb.compile(biased)
    earlier = kernel.backward(first, {"h": later.state["h"]})
    whole = gradients(biased, params, {"x": np.array([[1.0], [2.0], [4.0]])}, of={"h": np.ones(1)})[1]
    close(earlier.params["w"] + later.params["w"], whole.params["w"])
    close(whole.params["w"], 2.5 + 0.5 * 1)


@pytest.mark.parametrize("k", [1, 2, 3, 9])
def test_each_loss_flows_back_through_so_many_steps(k: int) -> None:
    # https://github.com/rsokl/MyGrad/pull/4 and https://github.com/Theano/Theano/issues/4652
    kernel = sb.compile(biased, truncation=sb.Window(k))
    run = kernel.forward({"w": np.array(2.0), "b": np.array(0.0)}, {"x": np.ones((5, 1))})
    grads = kernel.backward(run, {"h": np.ones((5, 1))})
    close(grads.inputs["x"][:, 0], [sum(2.0**j for j in range(min(k, 5 - t))) for t in range(5)])


def test_gradients_of_all_parts_of_a_long_sequence_add_up() -> None:
    # https://github.com/OpenNMT/OpenNMT-py/issues/891
    kernel = sb.compile(biased, truncation=sb.Chunked(2, 2))
    run = kernel.forward({"w": np.array(2.0), "b": np.array(0.0)}, {"x": np.ones((4, 1))})
    grads = kernel.backward(run, {"h": np.ones((4, 1))})
    close(run.states["h"][:, 0], [1, 3, 7, 15])
    close(grads.params["b"], (3 + 1) + (3 + 1))
    # h_1 = w h_0 + 1, h_2 = w h_1 + 1 with h_0 = 0; then h_3 = w·3 + 1 and h_4 = w h_3 + 1 with 3 held
    close(grads.params["w"], (0 + 1) + (3 + (7 + 2 * 3)))


def test_state_that_is_a_parameter_is_one_at_every_step() -> None:
    # https://github.com/Theano/Theano/issues/1647
    @sb.cell
    def constant(h: State, w: Param):
        return 0.0 * h + w

    kernel = sb.compile(constant)
    run = kernel.forward({"w": np.array(3.0)}, steps=2)
    close(kernel.backward(run, {"h": np.ones(1)}).params["w"], 1.0)
    close(kernel.backward(run, {"h": np.ones((2, 1))}).params["w"], 2.0)


def test_initial_state_that_is_trained_gets_what_all_samples_send() -> None:
    # https://github.com/lisa-lab/DeepLearningTutorials/issues/111 and https://github.com/LuxDL/Lux.jl/pull/117
    @sb.cell
    def begun(x: Input, first: Input, h: State, w: Param, h0: Param):
        return w * np.where(first > 0, h0, h) + x

    first = np.zeros((3, 2))
    first[0] = 1
    _, grads = gradients(
        begun, {"w": np.array(0.5), "h0": np.array(4.0)}, {"x": np.zeros((3, 2)), "first": first}, of={"h": np.ones(2)}
    )
    close(grads.params["h0"], 2 * 0.125)
    close(grads.params["w"], 2 * 3 * 0.25 * 4.0)
    assert not grads.state["h"].any()


def test_adjoint_is_clipped_at_every_step() -> None:
    # https://github.com/allenai/allennlp/pull/113 and https://github.com/open-lm-engine/lm-engine/pull/505
    kernel = sb.compile(biased, clip_adjoint=5.0)
    run = kernel.forward({"w": np.array(2.0), "b": np.array(0.0)}, {"x": np.ones((5, 1))})
    found = kernel.backward(run, {"h": np.ones(1)}).inputs["x"][:, 0]
    close(found, [5, 5, 4, 2, 1])


def test_two_calls_of_backward_are_independent() -> None:
    # https://github.com/pytorch/pytorch/issues/1532
    random = np.random.default_rng(0)
    params = gru.init({"m": 2, "n": 3}, seed=0)
    kernel = sb.compile(gru)
    run = kernel.forward(params, {"x": random.standard_normal((6, 2, 2))})
    one, two = random.standard_normal((2, 6, 2, 3))
    parts = [kernel.backward(run, {"h": sent}).params for sent in (one, two, one)]
    both = kernel.backward(run, {"h": one + two}).params
    for k, v in both.items():
        close(parts[0][k] + parts[1][k], v, rtol=1e-12, atol=1e-13)
        assert np.array_equal(parts[0][k], parts[2][k])


# Spikes.

step_up = sb.function("step_up", lambda v: sp.Heaviside(v), derivative=lambda v: 1 / (1 + sp.Abs(v)) ** 2)


def test_reset_that_is_held_constant_sends_nothing_back() -> None:
    # https://github.com/fzenke/spytorch/issues/2 and https://github.com/jeshraghian/snntorch/pull/413
    @sb.cell
    def held(x: Input, v: State, threshold: Param):
        s = step_up(v - threshold)
        return {"v": 0.5 * v + x - sb.stop_gradient(s * threshold), "s": s}

    @sb.cell
    def felt(x: Input, v: State, threshold: Param):
        s = step_up(v - threshold)
        return {"v": 0.5 * v + x - s * threshold, "s": s}

    params, inputs = {"threshold": np.array(2.0)}, {"x": np.array([[3.0], [1.0]])}
    # v_0 = 0, v_1 = 3 (no spike before), v_2 = 1.5 + 1 - 2 = 0.5
    run, grads = gradients(held, params, inputs, of={"v": np.ones(1)})
    close(run.states["v"][:, 0], [3.0, 0.5])
    close(grads.inputs["x"][:, 0], [0.5, 1.0])
    close(grads.params["threshold"], 0.0)
    _, grads = gradients(felt, params, inputs, of={"v": np.ones(1)})
    # the surrogate at v_1 - 2 = 1 is 1/4: dv_2/dv_1 = 0.5 - 2/4; dv_2/dθ = -1 + 2/4, and dv_1/dθ = 2/9 at -2 times 0
    close(grads.inputs["x"][:, 0], [0.0, 1.0])
    close(grads.params["threshold"], -0.5 + 0.0 * 2 / 9)


def test_surrogate_is_centred_at_the_threshold() -> None:
    # https://github.com/synsense/sinabs/issues/97
    @sb.cell
    def step(x: Input["n"], v: State["n"], threshold: Param):
        return {"v": 0.0 * v, "s": step_up(x - threshold)}

    for threshold in (1.0, 3.0):
        _, grads = gradients(step, {"threshold": np.array(threshold)}, {"x": threshold + np.array([[[0.0, 1.0, -1.0]]])},
                             of={"s": np.ones((1, 1, 3))})  # fmt: skip
        close(grads.inputs["x"][0, 0], [1.0, 0.25, 0.25])
        close(grads.params["threshold"], -1.5)


# Backward passes by hand.


def backward_of_lstm(mistake: str) -> Any:
    """A textbook backward pass, with one of the mistakes of public code."""

    def sigmoid(v: Any) -> Any:
        return 1 / (1 + np.exp(-v))

    def backward(params: Any, inputs: Any, state: Any, cotangents: Any) -> dict[str, Any]:
        p, x, T = params, inputs["x"], len(inputs["x"])
        h, c, kept = state["h"], state["c"], []
        for t in range(T):
            a = {g: x[t] @ p[f"W{g}"].T + h @ p[f"U{g}"].T + p[f"b{g}"] for g in "ifgo"}
            i, f, g, o = sigmoid(a["i"]), sigmoid(a["f"]), np.tanh(a["g"]), sigmoid(a["o"])
            before = (h, c)
            c = f * c + i * g
            h = o * np.tanh(c)
            kept.append((i, f, g, o, c, *before))
        grads = {k: np.zeros_like(v) for k, v in p.items()} | {"x": np.zeros_like(x)}
        full = {k: np.zeros((T, *state[k].shape)) for k in "hc"}
        dh, dc = np.zeros_like(state["h"]), np.zeros_like(state["c"])
        for k, v in cotangents.items():
            if v.ndim == 3:
                full[k] = v
            elif T:
                full[k][-1] = v
            elif k == "h":
                dh = v
            else:
                dc = v
        for t in range(T)[::-1]:
            i, f, g, o, c, h_before, c_before = kept[t]
            dh, dc = dh + full["h"][t], dc + full["c"][t]
            through = dh * o * (1 - np.tanh(c) ** 2)
            if mistake == "tanh of tanh":
                through = dh * o * (1 - np.tanh(np.tanh(c)) ** 2)
            dc = through if mistake == "dc is not added" else dc + through
            da = {"i": dc * g * i * (1 - i), "f": dc * c_before * f * (1 - f), "g": dc * i * (1 - g * g),
                  "o": dh * np.tanh(c) * o * (1 - o)}  # fmt: skip
            if mistake == "no slope of the forget gate":
                da["f"] = dc * c_before * f
            for k, d in da.items():
                grads[f"W{k}"] += d.T @ x[t]
                grads[f"U{k}"] += d.T @ h_before
                grads[f"b{k}"] += da["f"].sum(0) if mistake == "bias of another gate" and k in "io" else d.sum(0)
                grads["x"][t] += d @ p[f"W{k}"]
            dh, dc = sum(d @ p[f"U{k}"] for k, d in da.items()), dc * f
            if mistake == "nothing from the next step":
                dh = np.zeros_like(dh)
        return {**grads, "h": dh, "c": dc}

    return backward


@sb.cell
def plain_lstm(x: Input["m"], h: State["n"], c: State["n"], Wi: Param["n m"], Ui: Param["n n"], bi: Param["n"], Wf: Param["n m"],
               Uf: Param["n n"], bf: Param["n"], Wg: Param["n m"], Ug: Param["n n"], bg: Param["n"], Wo: Param["n m"],
               Uo: Param["n n"], bo: Param["n"]):  # fmt: skip
    i, f, o = sb.sigmoid(Wi @ x + Ui @ h + bi), sb.sigmoid(Wf @ x + Uf @ h + bf), sb.sigmoid(Wo @ x + Uo @ h + bo)
    c = f * c + i * np.tanh(Wg @ x + Ug @ h + bg)
    return o * np.tanh(c), c


@pytest.mark.parametrize(("mistake", "wrong"), [
    ("", set()),
    # https://github.com/apache/mxnet/issues/4057 and https://github.com/cthorey/CS231/issues/1
    pytest.param("dc is not added", {"dWf", "dWi", "dWg", "dc_0", "dx"}, marks=pytest.mark.long),
    # https://github.com/CaptainE/RNN-LSTM-in-numpy/issues/1
    pytest.param("no slope of the forget gate", {"dWf", "dUf", "dbf", "dx", "dh_0"}, marks=pytest.mark.long),
    pytest.param("nothing from the next step", {"dUi", "dh_0"}, marks=pytest.mark.long),
    # https://github.com/nicklashansen/rnn_lstm_from_scratch/issues/1
    pytest.param("tanh of tanh", {"dWi", "dc_0"}, marks=pytest.mark.long),
    # https://github.com/hanbt/learn_dl/issues/53
    pytest.param("bias of another gate", {"dbi", "dbo"}, marks=pytest.mark.long),
])  # fmt: skip
@pytest.mark.thinned(1, 5)
def test_mistakes_of_public_backward_passes_are_named(mistake: str, wrong: set[str]) -> None:
    report = sb.check_backward(plain_lstm, backward_of_lstm(mistake))
    assert report.passed == (not wrong) and wrong <= {*report.wrong}, str(report)
    if mistake == "bias of another gate":
        assert {*report.wrong} == wrong


def test_textbook_backward_pass_of_a_plain_network_is_right() -> None:
    # https://github.com/oreilly-japan/deep-learning-from-scratch-2/issues/26 asks for 1 / (1 - h²) in the place of dh (1 - h²)
    @sb.cell
    def plain(x: Input["n"], h: State["n"], U: Param["n n"]):
        return np.tanh(U @ h + x)

    def backward(turned: bool) -> Any:
        def passed(params: Any, inputs: Any, state: Any, cotangents: Any) -> dict[str, Any]:
            h, x, T = [state["h"]], inputs["x"], len(inputs["x"])
            for t in range(T):
                h.append(np.tanh(h[-1] @ params["U"].T + x[t]))
            sent = cotangents["h"]
            dh, dx, dU = np.zeros_like(state["h"]), np.zeros_like(x), np.zeros_like(params["U"])
            if sent.ndim == 2 and not T:
                dh = sent
            for t in range(T)[::-1]:
                dh = dh + (sent[t] if sent.ndim == 3 else sent * (t == T - 1))
                dx[t] = 1 / (1 - h[t + 1] ** 2) if turned else dh * (1 - h[t + 1] ** 2)
                dU += dx[t].T @ h[t]
                dh = dx[t] @ params["U"]
            return {"U": dU, "x": dx, "h": dh}

        return passed

    assert sb.check_backward(plain, backward(turned=False)).passed
    assert not sb.check_backward(plain, backward(turned=True)).passed


# Where an error in words is what is right.


def test_state_that_is_written_in_place() -> None:
    # https://github.com/pytorch/pytorch/pull/173888
    @sb.cell
    def in_place(x: Input["n"], h: State["2 n"], U: Param["2 n n"]):
        h[0] = np.tanh(U[0] @ h[0] + x)
        h[1] = np.tanh(U[1] @ h[1] + h[0])
        return h

    with pytest.raises(sb.CellError, match=r"in place|assign"):
        sb.derive(in_place)

    @sb.cell
    def stacked(x: Input["n"], h: State["2 n"], U: Param["2 n n"]):
        low = np.tanh(U[0] @ h[0] + x)
        return np.stack([low, np.tanh(U[1] @ h[1] + low)])

    _, grads = gradients(stacked, {"U": np.zeros((2, 1, 1))}, {"x": np.full((1, 1, 1), 0.5)}, {"h": np.ones((1, 2, 1))})
    low, high = np.tanh(0.5), np.tanh(np.tanh(0.5))
    close(grads.params["U"].ravel(), [(1 - low**2) * (1 + 1 - high**2), 1 - high**2])


def test_types_are_not_mixed() -> None:
    # https://github.com/denizyuret/Knet.jl/issues/460 and https://github.com/keras-team/keras/issues/2209
    kernel = sb.compile(gru)
    params = {k: v.astype(np.float32) for k, v in gru.init({"m": 2, "n": 2}, seed=0).items()}
    with pytest.raises((sb.ArgumentError, TypeError, ValueError), match="x"):
        kernel.forward(params, {"x": np.ones((3, 1, 2))})
    run = kernel.forward(params, {"x": np.ones((3, 1, 2), np.float32)})
    assert (
        run.states["h"].dtype
        == kernel.backward(run, {"h": np.ones((1, 2), np.float32)}).params["Uz"].dtype
        == np.float32
    )


def test_state_of_each_step_enters_the_next() -> None:
    # https://github.com/karpathy/makemore/pull/3: there each step began with the first state
    run, grads = gradients(
        biased, {"w": np.array(3.0), "b": np.array(1.0)}, {"x": np.zeros((3, 1))}, of={"h": np.ones(1)}
    )
    close(run.states["h"][:, 0], [1, 4, 13])
    close(grads.params["w"], 4 + 3 * 1)  # h_2 + w h_1, with h_0 = 0


def test_reset_gate_before_or_after_the_product_are_two_cells() -> None:
    # https://github.com/tensorflow/tensorflow/issues/8311
    @sb.cell
    def after(x: Input, h: State, U: Param, b: Param, r: Param):
        return np.tanh(x + sb.sigmoid(r) * (U * h + b))

    @sb.cell
    def before(x: Input, h: State, U: Param, b: Param, r: Param):
        return np.tanh(x + U * (sb.sigmoid(r) * h) + b)

    zero = {"U": np.array(0.0), "b": np.array(0.0), "r": np.array(0.0)}
    for cell, slope_of_b in ((after, 0.5), (before, 1.0)):
        run, grads = gradients(cell, zero, {"x": np.zeros((1, 1))})
        assert run.states["h"] == 0.0
        close(grads.params["b"], slope_of_b)


def test_loss_at_every_step_reads_each_prefix() -> None:
    # https://github.com/keras-team/keras/issues/765
    @sb.loss
    def reading(y: Output, t: Target):
        return y * t

    @sb.cell
    def total(x: Input, h: State):
        return {"h": h + x, "y": h + x}

    x, t = np.array([[1.0], [2.0], [3.0]]), np.array([[1.0], [10.0], [100.0]])
    loss, grads = sb.compile(sb.model(total, reading, at="every")).value_and_grad({}, {"x": x}, {"t": t})
    close(loss, 1 * 1 + 3 * 10 + 6 * 100)
    close(grads.inputs["x"][:, 0], [111, 110, 100])
    loss, grads = sb.compile(sb.model(total, reading, at="last")).value_and_grad({}, {"x": x}, {"t": t[-1]})
    close(loss, 600)
    close(grads.inputs["x"][:, 0], [100, 100, 100])


def test_lstm_of_the_zoo_keeps_its_memory_and_its_gradient() -> None:
    # https://github.com/Element-Research/rnn/issues/31: gradients over several steps were far off
    params = {k: np.zeros_like(v) for k, v in lstm.init({"m": 1, "n": 1}, seed=0).items()}
    params = {k: np.full_like(v, 0.0) for k, v in params.items()}
    _, grads = gradients(
        lstm,
        params,
        {"x": np.zeros((4, 1, 1))},
        {"c": np.ones((1, 1)), "h": np.zeros((1, 1))},
        of={"c": np.ones((1, 1))},
    )
    close(grads.state["c"], 0.5**4)  # each forget gate is a half
