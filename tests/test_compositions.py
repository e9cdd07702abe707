"""Steps from the last to the first, two directions, an encoder with a decoder: against plain loops of the user's functions."""

import numpy as np
import pytest

import symbptt as sb
from symbptt import Context, Input, Output, Param, State, Target
from symbptt.codegen.reverse import Order
from symbptt.training import encoder_decoder as encoder_decoder_module
from tests.kernels import kernel_of


@sb.cell
def leaky(x: Input["m"], h: State["n"], c: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"]):
    c = 0.7 * c + np.sin(W @ x + U @ h)
    return {"h": np.tanh(c * b), "c": c, "y": h * c}


@sb.cell
def second(x: Input["m"], h: State["k"], W: Param["k m"], v: Param["k"]):
    return np.tanh(W @ x - v * h)


@sb.cell
def writer(z: Input["k"], s: State["n"], A: Param["n k"], w: Param["n"]) -> Output["n"]:
    s = np.tanh(A @ z + w * s)
    return {"s": s, "o": s * s}


@sb.cell
def attending(s: State["n"], memory: Context["s n"], one: Context["n"]):
    return np.tanh(sb.softmax(memory @ s) @ memory + one)


@sb.cell
def matrix(x: Input["m"], A: State["n n"], w: Param["n m"]):
    return A + np.outer(w @ x, w @ x)


@sb.loss
def squared(o: Output["n"], t: Target["n"], q: Param["n"]):
    return sb.sum((q * o - t) ** 2)


SIZES = {"m": 2, "n": 3, "k": 4}
TINY = 1e-30


def drawn(shapes, dtype=np.float64, seed=0):
    random = np.random.default_rng(seed)
    return {k: random.standard_normal(shape).astype(dtype) for k, shape in shapes.items()}


def plain(cell, params, x, state, lengths, reset, backward):
    """The values of a cell along samples, one by one, by its function: states and outputs at their own steps, and those at the end."""
    T, B = x.shape[:2]
    values, ends = {}, []
    for b in range(B):
        now = {k: v[b] for k, v in state.items()}
        steps = range(lengths[b])
        for t in reversed(steps) if backward else steps:
            border = t + 1 < T and reset[t + 1, b] if backward else reset[t, b]
            now = {k: v[b] for k, v in state.items()} if border else now
            found = cell.function(**params, **{_input(cell): x[t, b]}, **now)
            found = found if isinstance(found, dict) else {"h": found}
            for k, v in found.items():
                values.setdefault(k, np.zeros((T, B, *np.shape(v)), complex))[t, b] = v
            now = {k: found[k] for k in now}
        ends.append(now)
    return values, {k: np.stack([end[k] for end in ends]) for k in state}


def _input(cell):
    return next(a.name for a in cell.arguments if a.role == "input")


def begun(net, sizes):
    """First values that are zero nowhere, so that everything reaches everything."""
    random = np.random.default_rng(9)
    return {k: v + 0.3 * random.standard_normal(v.shape) for k, v in net.init(sizes, seed=2).items()}


def slopes(objective, groups):
    """The gradient of a function of groups of arrays by complex steps, element by element."""
    found = {}
    for group, arrays in groups.items():
        found[group] = {}
        for name, array in arrays.items():
            slope = np.zeros(array.shape)
            for place in np.ndindex(*array.shape):
                moved = array.astype(complex)
                moved[place] += 1j * TINY
                slope[place] = objective(**{**groups, group: {**arrays, name: moved}}).imag / TINY
            found[group][name] = slope
    return found


def assert_close(found, wanted):
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-11, atol=1e-12, err_msg=name)


def case(T, B, m=2, n=3, seed=0):
    params = drawn({"W": (n, m), "U": (n, n), "b": (n,)}, seed=seed)
    state = drawn({"h": (B, n), "c": (B, n)}, seed=seed + 1)
    x = drawn({"x": (T, B, m)}, seed=seed + 2)["x"]
    lengths = np.random.default_rng(seed).integers(0, T + 1, B)
    if B:
        lengths[0] = T
    reset = np.random.default_rng(seed + 3).random((T, B)) < 0.3
    sent = drawn({"h": (T, B, n), "c": (T, B, n), "y": (T, B, n)}, seed=seed + 4)
    return params, x, state, lengths, reset, sent


KERNEL = sb.compile(leaky)
OTHER = sb.compile(second)


@pytest.mark.parametrize("T, B, n", [(0, 2, 3), (1, 1, 1), (2, 3, 2), (5, 3, 3)])
@pytest.mark.parametrize("masked", [False, True])
def test_reversed_runs_are_those_of_plain_loops(T, B, n, masked):
    params, x, state, lengths, reset, sent = case(T, B, n=n)
    masks = {"lengths": lengths, "reset": reset} if masked else {}
    own = masks or {"lengths": np.full(B, T), "reset": np.zeros((T, B), bool)}
    run = KERNEL.forward(params, {"x": x}, state, **masks, reverse=True)
    values, ends = plain(leaky, params, x, state, own["lengths"], own["reset"], True)
    active = np.arange(T)[:, None] < own["lengths"]
    for name, value in values.items():
        np.testing.assert_allclose((run.states | run.outputs)[name][active], value.real[active], rtol=1e-12)
    if T:
        assert_close(run.final, {k: v.real for k, v in ends.items()})

    def objective(params, inputs, state):
        values, _ = plain(leaky, params, inputs["x"], state, own["lengths"], own["reset"], True)
        return sum((np.sum((sent[k] * v)[active]) for k, v in values.items()), 0j)

    wanted = slopes(objective, {"params": params, "inputs": {"x": x}, "state": state})
    grads = KERNEL.backward(run, {k: np.where(active[..., None], v, 0) for k, v in sent.items()})
    for group, arrays in wanted.items():
        assert_close(getattr(grads, group), arrays)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_reversed_twice_is_as_it_was(dtype):
    x = np.arange(24, dtype=dtype).reshape(4, 3, 2)
    for lengths in (None, np.array([4, 0, 2])):
        order = Order(lengths, (4, 3))
        np.testing.assert_array_equal(order.turned(order.turned(x)), x)
        assert order.turned(x).dtype == dtype


def test_several_blocks_of_steps_go_back_as_few_do():
    params, x, state, _, _, sent = case(90, 40)
    turned = KERNEL.forward(params, {"x": x[::-1].copy()}, state)
    run = KERNEL.forward(params, {"x": x}, state, reverse=True)
    assert_close(run.states, {k: v[::-1] for k, v in turned.states.items()})
    grads = KERNEL.backward(run, sent)
    wanted = KERNEL.backward(turned, {k: v[::-1].copy() for k, v in sent.items()})
    assert_close(grads.params, wanted.params)
    assert_close(grads.inputs, {"x": wanted.inputs["x"][::-1]})


@pytest.mark.parametrize("at", ["every", "last"])
def test_a_loss_on_the_way_back_is_that_of_the_turned_sequence(at):
    kernel = sb.compile(sb.model(writer, squared, at=at))
    params = drawn({"A": (3, 4), "w": (3,), "q": (3,)})
    z, t = drawn({"z": (4, 2, 4), "t": (4, 2, 3)}).values()
    t = t if at == "every" else t[0]
    there = {"t": t[::-1].copy()} if at == "every" else {"t": t}
    value, grads = kernel.value_and_grad(params, {"z": z}, {"t": t}, reverse=True, monitor=True)
    wanted, others = kernel.value_and_grad(params, {"z": z[::-1].copy()}, there, monitor=True)
    assert value == wanted == kernel.value(params, {"z": z}, {"t": t}, reverse=True)
    assert_close(grads.params, others.params)
    assert_close(grads.inputs, {"z": others.inputs["z"][::-1]})
    assert_close(grads.flow, others.flow)
    mask = np.random.default_rng(2).random((4, 2) if at == "every" else 2) < 0.5
    value, grads = kernel.value_and_grad(params, {"z": z}, {"t": t}, mask=mask, reverse=True)
    mask = mask[::-1].copy() if at == "every" else mask
    wanted, others = kernel.value_and_grad(params, {"z": z[::-1].copy()}, there, mask=mask)
    assert value == wanted
    assert_close(grads.params, others.params)


@pytest.mark.parametrize("lengths", [None, [3, 1]], ids=str)
def test_flow_of_a_reversed_run_stands_in_the_order_of_its_steps(lengths):
    params, x, state, *_ = case(3, 2)
    sent = {"h": np.random.default_rng(1).standard_normal((3, 2, 3))}
    order = Order(None if lengths is None else np.array(lengths), (3, 2))
    run = KERNEL.forward(params, {"x": x}, state, lengths=lengths, reverse=True)
    flow = KERNEL.backward(run, sent, monitor=True).flow
    turned = KERNEL.forward(params, {"x": order.turned(x)}, state, lengths=lengths)
    wanted = KERNEL.backward(turned, order.of(sent, sent), monitor=True).flow
    for name in wanted:
        assert len(set(wanted[name])) == 3  # another order would be seen
        np.testing.assert_array_equal(flow[name], wanted[name])


def test_without_an_axis_of_samples():
    params, x, state, _, _, sent = case(4, 1)
    both = KERNEL.forward(params, {"x": x}, state, lengths=[3], reverse=True)
    one = KERNEL.forward(params, {"x": x[:, 0]}, {k: v[0] for k, v in state.items()}, lengths=[3], reverse=True)
    assert_close(one.states, {k: v[:, 0] for k, v in both.states.items()})
    found = KERNEL.backward(one, {"h": sent["h"][:, 0]})
    assert_close(found.inputs, {"x": KERNEL.backward(both, {"h": sent["h"]}).inputs["x"][:, 0]})


@pytest.mark.parametrize("T, B", [(1, 1), (4, 3)])
def test_two_directions_are_those_of_plain_loops(T, B):
    params, x, state, lengths, reset, sent = case(T, B, seed=7)
    net = sb.bidirectional(leaky, second)
    back = drawn({"W": (4, 2), "v": (4,)}, seed=3)
    begins = drawn({"h": (B, 4)}, seed=4)
    active = np.arange(T)[:, None] < lengths
    sent = {f"forward.{k}": v for k, v in sent.items()} | {"backward.h": drawn({"h": (T, B, 4)}, seed=5)["h"]}
    sent = {k: np.where(active[..., None], v, 0) for k, v in sent.items()}

    def parts(name, arrays):
        return {k.partition(".")[2]: v for k, v in arrays.items() if k.startswith(f"{name}.")}

    def objective(params, inputs, state):
        ahead, _ = plain(leaky, parts("forward", params), inputs["x"], parts("forward", state), lengths, reset, False)
        after, _ = plain(second, parts("backward", params), inputs["x"], parts("backward", state), lengths, reset, True)
        found = {f"forward.{k}": v for k, v in ahead.items()} | {f"backward.{k}": v for k, v in after.items()}
        return sum((np.sum(sent[k] * v) for k, v in found.items()), 0j)

    groups = {
        "params": {f"forward.{k}": v for k, v in params.items()} | {f"backward.{k}": v for k, v in back.items()},
        "inputs": {"x": x},
        "state": {f"forward.{k}": v for k, v in state.items()} | {f"backward.{k}": v for k, v in begins.items()},
    }
    run = net.forward(groups["params"], groups["inputs"], groups["state"], lengths=lengths, reset=reset)
    grads = net.backward(run, sent)
    for group, wanted in slopes(objective, groups).items():
        assert_close(getattr(grads, group), wanted)


@pytest.mark.parametrize("T, S, B", [(1, 1, 1), (3, 4, 3)])
def test_a_decoder_begins_where_its_encoder_ends(T, S, B):
    net = sb.encoder_decoder(sb.bidirectional(leaky, second), sb.model(writer, squared), {"s": "forward.c"})
    params = begun(net, {**SIZES, "decoder.k": 4})
    x, z = drawn({"x": (S, B, 2), "z": (T, B, 4)}).values()
    target = drawn({"t": (T, B, 3)}, seed=1)
    ends, lengths = np.maximum(np.arange(B) % (S + 1), 1), np.minimum(np.arange(B) + 1, T)

    def objective(params, inputs):
        own = {k.removeprefix("encoder.forward."): v for k, v in params.items() if k.startswith("encoder.forward.")}
        zeros = {k: np.zeros((B, 3)) for k in ("h", "c")}
        _, last = plain(leaky, own, inputs["encoder.x"], zeros, ends, np.zeros((S, B), bool), False)
        own = {k.removeprefix("decoder."): v for k, v in params.items() if k.startswith("decoder.")}
        q = own.pop("q")
        found, _ = plain(writer, own, inputs["decoder.z"], {"s": last["c"]}, lengths, np.zeros((T, B), bool), False)
        active = np.arange(T)[:, None] < lengths
        return np.sum(((q * found["o"] - target["t"]) ** 2)[active])

    inputs = {"encoder.x": x, "decoder.z": z}
    masks = {"lengths": {"encoder": ends, "decoder": lengths}}
    value, grads = net.value_and_grad(params, inputs, target, **masks)
    np.testing.assert_allclose(value, objective(params, inputs).real, rtol=1e-12)
    by_part = {"decoder.t": target["t"]}
    np.testing.assert_allclose(net.value(params, inputs, by_part, **masks), value, rtol=1e-12)
    assert net.value_and_grad(params, inputs, by_part, **masks)[0] == value
    for group, wanted in slopes(objective, {"params": params, "inputs": inputs}).items():
        assert_close(getattr(grads, group), wanted)


@pytest.mark.parametrize("source", ["forward.c", "backward.h"])
def test_what_is_handed_on_adds_to_the_cotangents_of_the_encoder(source):
    net = sb.encoder_decoder(sb.bidirectional(leaky), writer, {"s": source})
    params = begun(net, SIZES)
    inputs = drawn({"encoder.x": (4, 2, 2), "decoder.z": (3, 2, 4)})
    run = net.forward(params, inputs, lengths={"encoder": [4, 2]})
    sent = {
        f"encoder.{source}": drawn({"a": (4, 2, 3)}, seed=1)["a"],
        "decoder.s": drawn({"a": (3, 2, 3)}, seed=2)["a"],
    }
    both = net.backward(run, sent)
    alone = [net.backward(run, {k: v}) for k, v in sent.items()]
    for group in ("params", "inputs"):
        first, second = (getattr(grads, group) for grads in alone)
        assert_close(getattr(both, group), {k: first[k] + second[k] for k in first})


def test_planted_mistake_at_the_end_of_a_direction_is_caught(monkeypatch):
    added = encoder_decoder_module._added
    monkeypatch.setattr(encoder_decoder_module, "_added", lambda given, last, shape, end: added(given, last, shape, -1))
    with pytest.raises(AssertionError):
        test_what_is_handed_on_adds_to_the_cotangents_of_the_encoder("backward.h")


def test_planted_mistake_in_the_resets_on_the_way_back_is_caught(monkeypatch):
    monkeypatch.setattr(Order, "resets", lambda self, reset: reset if reset is None else self.turned(reset))
    with pytest.raises(AssertionError):
        test_reversed_runs_are_those_of_plain_loops(5, 3, 3, True)


NET = sb.bidirectional(leaky)
RAGGED = [[1.0], [1.0, 2.0]]


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: sb.bidirectional(3), "a cell or a kernel is expected, got int"),
        (lambda: NET.forward(np.ones(2), {}), "params: a dict by name is expected, got ndarray"),
        (lambda: NET.forward({}, np.ones(2)), "inputs: a dict by name is expected, got ndarray"),
        (lambda: NET.backward(None, {}), "run: what forward of this net returns is expected, got NoneType"),
        (
            lambda: NET.init({"m": 2, "n": 3, "forwrd.n": 4}),
            "no part has the size 'forwrd.n'\n  did you mean 'forward.n'",
        ),
        (lambda: NET.init([2, 3]), "sizes: a dict by name is expected, got list"),
        (lambda: NET.init(SIZES), "no part has the size 'k'"),
        (lambda: NET.init({"m": 2, "n": 3}, seed="a"), "seed: an integer of at least 0 is expected, got 'a'"),
        (lambda: NET.forward({"W": 1}, {}), "begins with forward. or backward. is expected, got 'W'"),
        (lambda: NET.forward(NET.init({"m": 2, "n": 3}), {"z": 1}), "x are read, got 'z'"),
        (lambda: NET.forward({f"forward.{k}": 1 for k in "WUb"}, {}), "parameter 'backward.W' is missing"),
        (lambda: NET.backward(KERNEL.forward(*_short()), {}), "what forward of this net returns is expected, got Run"),
        (
            lambda: sb.encoder_decoder(NET, writer, {"s": "forward.h"}).forward({}),
            "parameter 'encoder.forward.W' is missing",
        ),
        (lambda: KERNEL.forward(*_short(), lengths=[9], reverse=True), "integers from 0 to 2 are expected"),
        (lambda: KERNEL.forward(*_short()[:1], {"x": np.zeros((2, 1))}, reverse=True), "x"),
        (lambda: KERNEL.forward(*_short(), reverse="yes"), "reverse is True or False, got 'yes'"),
        (lambda: KERNEL.backward(KERNEL.forward(*_short(), reverse=True), {"h": RAGGED}), "h: not an array"),
        (lambda: _told_back({"t": 3.0}), "t: (T, B, n) is expected, got shape ()"),
        (lambda: _told_back({"t": RAGGED}), "t: not an array"),
        (lambda: _told_back([1]), "targets: a dict by name is expected, got list"),
        (lambda: _told_back({"t": np.zeros((2, 1, 3))}, lengths=[2, 1]), "t: (T, B, n) = (2, 2, 3) is expected"),
        (lambda: _told_back({"t": np.zeros((2, 2, 3))}, mask=RAGGED), "mask: not an array"),
        (lambda: sb.trace_gradient(KERNEL, KERNEL.forward(*_short(), reverse=True), {}), "ReversedRun"),
        (lambda: sb.encoder_decoder(leaky, writer), 'tell which it takes: state={"s": "h"}'),
        (lambda: sb.encoder_decoder(leaky, writer, {"s": "q"}), "'q' is no state of the encoder"),
        (lambda: sb.encoder_decoder(leaky, writer, {"o": "h"}), "'o' is no state of the decoder"),
        (lambda: sb.encoder_decoder(leaky, writer, {"s": 5}), "5 is no state of the encoder"),  # type: ignore[dict-item]
        (lambda: _sent_back(1.0), "h: shape (2, 1, 3), or (1, 3) for the last step, is expected, got ()"),
        (lambda: _sent_back(np.ones(3)), "h: shape (2, 1, 3), or (1, 3) for the last step, is expected, got (3,)"),
        (lambda: _sent_back(np.ones((1, 3), "f")), "h: a cotangent of float64 is expected, got float32"),
        (lambda: _sent_back(RAGGED), "encoder.h: not an array"),
        (lambda: sb.encoder_decoder(leaky, writer, {"s": "h"}).forward({}, lengths=[1]), "lengths: a dict by name"),
        (lambda: sb.encoder_decoder(leaky, writer, {"s": "h"}).forward({}, lengths={"x": 1}), "got 'x'"),
        (
            lambda: sb.encoder_decoder(leaky, attending, contexts=["mem"]),
            'contexts: a dict by name is expected, got list\n  write contexts={"memory": "h"}',
        ),
        (
            lambda: sb.encoder_decoder(leaky, attending, contexts={"one": "y"}),
            "contexts: 'one' of the decoder is (n,), and 'y' of the encoder (n,) at each of its steps\n"
            '  write one: Context["s n"] in the decoder',
        ),
        (
            lambda: sb.encoder_decoder(sb.bidirectional(leaky, matrix), attending, {"s": "backward.A"}),
            "state: 's' of the decoder is (n,), and 'backward.A' of the encoder (n, n)\n  write s: State[\"n n\"]",
        ),
        (lambda: _told_twice(), "targets: 't' is given twice\n  write targets={'decoder.t': ...} alone"),
    ],
)
def test_errors(call, text):
    with pytest.raises(sb.ArgumentError) as error:
        call()
    assert text in str(error.value)


def _told_twice():
    net = sb.encoder_decoder(leaky, sb.model(writer, squared), {"s": "h"})
    data = {"encoder.x": np.zeros((2, 1, 2)), "decoder.z": np.zeros((2, 1, 4))}
    return net.value(net.init(SIZES), data, {"t": np.zeros((2, 1, 3)), "decoder.t": np.zeros((2, 1, 3))})


def _sent_back(cotangent):
    net = sb.encoder_decoder(leaky, writer, {"s": "h"})
    run = net.forward(net.init(SIZES), {"encoder.x": np.zeros((2, 1, 2)), "decoder.z": np.zeros((2, 1, 4))})
    return net.backward(run, {"encoder.h": cotangent})


def _told_back(targets, **options):
    kernel = kernel_of(sb.model(writer, squared))
    params = begun(kernel.target, {"k": 2, "n": 3})
    return kernel.value(params, {"z": np.zeros((2, 2, 2))}, targets, **options, reverse=True)


@pytest.mark.parametrize("steps, samples", [(4, 2), (2, 2), (3, 3), (3, 1)])
@pytest.mark.parametrize("lengths", [None, [3, 1]])
def test_targets_of_other_steps_or_samples_are_refused_in_reverse(lengths, steps, samples):
    kernel = sb.compile(sb.model(writer, squared))
    params = kernel.target.init({"n": 3, "k": 4}, seed=0)
    z, t = np.ones((3, 2, 4)), np.ones((steps, samples, 3))
    with pytest.raises(sb.ArgumentError, match=r"t: \(T, B, n\) = \(3, 2, 3\) is expected, got \(\d, \d, 3\)"):
        kernel.value(params, {"z": z}, {"t": t}, lengths=lengths, reverse=True)


def _short():
    params, x, *_ = case(2, 1)
    return params, {"x": x}


def test_no_steps_end_with_nothing():
    params, x, *_ = case(0, 1)
    run = KERNEL.forward(params, {"x": x}, reverse=True)
    with pytest.raises(sb.ArgumentError, match="has no last state"):
        print(run.final)
