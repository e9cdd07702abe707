"""Convolutions: the sums that their definition has, with the gradients of another library, and the ConvLSTM of its paper."""

from itertools import product
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.language import windows
from tests.kernels import kernel_of

LAYERS = [
    # (shape of x, shape of w, options)
    ((5,), (3,), {}),
    ((1,), (1,), {}),
    ((6,), (2,), {"stride": 2, "padding": 1}),
    ((7,), (3,), {"dilation": 2}),
    ((5,), (2,), {"padding": "same"}),
    ((4, 5), (3, 2), {"padding": (1, 0), "stride": (1, 2)}),
    ((2, 6), (3, 2, 3), {"padding": "same"}),
    ((2, 7), (1, 2, 2), {"stride": 3, "dilation": 2, "padding": 2}),
    ((1, 3), (2, 1, 3), {"padding": "valid"}),
    ((2, 4, 5), (3, 2, 3, 3), {"padding": 1}),
    ((2, 5, 4), (1, 2, 2, 1), {"stride": (2, 1), "dilation": (2, 1)}),
    ((3, 1, 1), (2, 3, 3, 3), {"padding": 1, "stride": 2}),
]


def defined(x: Any, w: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> Any:
    """The sum of the definition, entry by entry."""
    has_channels = w.ndim == x.ndim + 1
    filters = w if has_channels else w[None, None]
    image = x if has_channels else x[None]
    rank = image.ndim - 1
    stride, dilation = ((n,) * rank if isinstance(n, int) else n for n in (stride, dilation))
    if padding == "same":
        reach = [(k - 1) * d for k, d in zip(filters.shape[2:], dilation, strict=True)]
        pads = [(n // 2, n - n // 2) for n in reach]
    else:
        numbers = (0,) * rank if padding == "valid" else (padding,) * rank if isinstance(padding, int) else padding
        pads = [(n, n) for n in numbers]
    wide = np.zeros((image.shape[0], *(n + a + b for n, (a, b) in zip(image.shape[1:], pads, strict=True))))
    wide[(slice(None), *(slice(a, a + n) for n, (a, _) in zip(image.shape[1:], pads, strict=True)))] = image
    sizes = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(wide.shape[1:], filters.shape[2:], stride, dilation, strict=True)
    ]
    found = np.zeros((len(filters), *sizes))
    for place in np.ndindex(*found.shape):
        for c, *inside in product(*map(range, filters.shape[1:])):
            at = [i * s + k * d for i, s, k, d in zip(place[1:], stride, inside, dilation, strict=True)]
            found[place] += filters[(place[0], c, *inside)] * wide[(c, *at)]
    return found if has_channels else found[0]


def layer(x_shape: Any, w_shape: Any, options: Any) -> sb.Cell:
    """A cell whose output is a convolution of a state, which stays as it is."""

    def step(h, w):  # type: ignore[no-untyped-def]
        return {"h": h, "y": sb.conv(h, w, **options)}

    step.__annotations__ = {"h": State[" ".join(map(str, x_shape))], "w": Param[" ".join(map(str, w_shape))]}
    return sb.cell(step)


@pytest.mark.parametrize("given", LAYERS, ids=str)
@pytest.mark.thinned(5)
def test_convolution_is_the_sum_of_its_definition(given: Any) -> None:
    x_shape, w_shape, options = given
    random = np.random.default_rng(0)
    x, w = random.standard_normal(x_shape), random.standard_normal(w_shape)
    wanted = defined(x, w, **options)
    np.testing.assert_allclose(sb.conv(x, w, **options), wanted, rtol=1e-12, atol=1e-14)
    kernel = kernel_of(layer(*given))
    run = kernel.forward({"w": w}, {}, {"h": x}, steps=1)
    np.testing.assert_allclose(run.outputs["y"][0], wanted, rtol=1e-12, atol=1e-14)
    sent = random.standard_normal(wanted.shape)
    grads = kernel.backward(run, {"y": sent[None]})
    for name, value in (("w", w), ("h", x)):
        own = grads.params["w"] if name == "w" else grads.state["h"]
        for place in np.ndindex(*value.shape):
            unit = np.zeros(value.shape)
            unit[place] = 1.0
            pair = (x, unit) if name == "w" else (unit, w)  # bilinear: the derivative is the function itself
            np.testing.assert_allclose(own[place], np.sum(sent * defined(*pair, **options)), rtol=1e-11, atol=1e-12)


@pytest.mark.peers
@pytest.mark.parametrize("given", [g for g in LAYERS if len(g[1]) == len(g[0]) + 1], ids=str)
def test_convolution_is_that_of_torch(given: Any) -> None:
    torch = pytest.importorskip("torch")
    x_shape, w_shape, options = given
    random = np.random.default_rng(0)
    x, w = random.standard_normal(x_shape), random.standard_normal(w_shape)
    call = torch.nn.functional.conv1d if len(x_shape) == 2 else torch.nn.functional.conv2d
    wanted = call(torch.tensor(x)[None], torch.tensor(w), **options)[0].numpy()
    np.testing.assert_allclose(sb.conv(x, w, **options), wanted, rtol=1e-12, atol=1e-13)


@sb.cell
def filtered(x: Input["m t"], h: State["n t"], W: Param["n m 3"], U: Param["n n 3"]):
    return np.tanh(sb.conv(x, W, padding=1) + sb.conv(h, U, padding="same"))


@sb.cell
def smoothed(x: Input["n"], h: State["n"], k: Param["3"]):
    return np.tanh(np.convolve(h, k, "same") + x)


@pytest.mark.parametrize("cell", [filtered, smoothed], ids=lambda cell: cell.name)
@pytest.mark.thinned(5)
def test_cells_of_convolutions_are_verified(cell: sb.Cell) -> None:
    report = sb.verify(cell)
    assert report.passed, str(report)


def test_size_at_which_numpy_exchanges_both_is_refused() -> None:
    with pytest.raises(sb.ArgumentError, match="n >= 3 is expected, got n = 2"):
        sb.compile(smoothed).forward({"k": np.ones(3)}, {"x": np.ones((4, 1, 2))})


@pytest.mark.parametrize(("call", "words"), [
    (lambda h, w: sb.conv(h, w), "a size without a number"),
    (lambda h, w: sb.conv(h, np.ones((2, 2, 2))), "write x (c, t) with w"),
    (lambda h, w: sb.conv(h, np.ones(3), stride=0), "stride=0"),
    (lambda h, w: sb.conv(h, np.ones(3), padding=-1), "padding=-1"),
    (lambda h, w: sb.conv(h, np.ones(3), padding="same", stride=2), "with a stride"),
    (lambda h, w: np.convolve(w, w), "neither with a number"),
    (lambda h, w: np.convolve(h, np.ones(3), mode="wide"), "full"),
    (lambda h, w: np.pad(h, 1, mode="median"), "the modes are"),
    (lambda h, w: np.lib.stride_tricks.sliding_window_view(h, (2, 2)), "one width for each axis"),
])  # fmt: skip
def test_what_is_no_convolution_is_refused(call: Any, words: str) -> None:
    @sb.cell
    def step(h: State["n"], w: Param["k"]):
        return h * sb.sum(call(h, w))

    with pytest.raises(sb.CellError) as caught:
        sb.derive(step)
    assert words in str(caught.value)
    assert "at " in str(caught.value)


def test_planted_window_that_is_turned_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    own = windows.windows
    monkeypatch.setattr(windows, "windows", lambda *args: own(*args)[..., ::-1])
    x, w = np.arange(5.0), np.array([1.0, 2.0, 4.0])
    assert not np.allclose(sb.conv(x, w), defined(x, w))


@sb.cell
def conv_lstm(x: Input["m a d"], h: State["n a d"], c: State["n a d"],
              Wi: Param["n m 3 3"], Wf: Param["n m 3 3"], Wc: Param["n m 3 3"], Wo: Param["n m 3 3"],
              Ui: Param["n n 3 3"], Uf: Param["n n 3 3"], Uc: Param["n n 3 3"], Uo: Param["n n 3 3"],
              vi: Param["n a d"], vf: Param["n a d"], vo: Param["n a d"],
              bi: Param["n 1 1"], bf: Param["n 1 1"], bc: Param["n 1 1"], bo: Param["n 1 1"]):  # fmt: skip
    """An LSTM on images of a by d places with m and n channels: its products are convolutions with windows of 3 by 3.

    Source: Shi, Chen, Wang, Yeung, Wong, Woo 2015, "Convolutional LSTM network: a machine learning approach for
    precipitation nowcasting", equation 3.
    """
    i = sb.sigmoid(sb.conv(x, Wi, padding=1) + sb.conv(h, Ui, padding=1) + vi * c + bi)
    f = sb.sigmoid(sb.conv(x, Wf, padding=1) + sb.conv(h, Uf, padding=1) + vf * c + bf)
    g = np.tanh(sb.conv(x, Wc, padding=1) + sb.conv(h, Uc, padding=1) + bc)
    c_new = f * c + i * g
    o = sb.sigmoid(sb.conv(x, Wo, padding=1) + sb.conv(h, Uo, padding=1) + vo * c_new + bo)
    return {"h": o * np.tanh(c_new), "c": c_new}


def test_conv_lstm_is_that_of_its_paper() -> None:
    """Equation 3 of Shi et al. 2015, by the sums of the definition."""
    sizes, steps, batch = {"m": 2, "n": 3, "a": 3, "d": 2}, 3, 2
    params = conv_lstm.init(sizes, 0)
    random = np.random.default_rng(0)
    params |= {k: random.standard_normal(v.shape) for k, v in params.items() if k[0] in "bv"}
    x = random.standard_normal((steps, batch, 2, 3, 2))
    run = sb.compile(conv_lstm).forward(params, {"x": x})
    for s in range(batch):
        h = c = np.zeros((3, 3, 2))
        for t in range(steps):
            i, f, g, o = (
                defined(x[t, s], params[f"W{k}"], padding=1) + defined(h, params[f"U{k}"], padding=1) + params[f"b{k}"]
                for k in "ifco"
            )
            i, f = (1 / (1 + np.exp(-(z + params[k] * c))) for z, k in ((i, "vi"), (f, "vf")))
            c = f * c + i * np.tanh(g)
            h = np.tanh(c) / (1 + np.exp(-(o + params["vo"] * c)))
            np.testing.assert_allclose(run.states["h"][t, s], h, rtol=1e-12, atol=1e-14)
