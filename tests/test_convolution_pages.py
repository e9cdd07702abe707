"""Pages of convolutions: each has its signs, which the legend defines entry by entry, and reads back to what the kernel computes."""

from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.equations.page import legend
from tests.jacobian_page import assert_jacobians_read
from tests.readback import Printed, as_latex, as_latex_textbook, assert_model_read, assert_read, sizes_of
from tests.test_mathml import as_mathml, as_mathml_textbook
from tests.test_windows import LAYERS, conv_lstm, filtered, smoothed


@sb.cell
def strided(x: Input["9"], h: State["4"], w: Param["3"], u: Param["3"]):
    """Without channels, two convolutions of unlike steps."""
    return np.tanh(sb.conv(x, w, stride=2) * sb.conv(h, u, padding=2, dilation=2))


@sb.cell
def pictures(x: Input["9 7"], h: State["2 5 4"], W: Param["2 1 3 3"], U: Param["2 2 3 3"], g: Param["2 5 4"]):
    """One channel without an axis, an argument that has no name, an adjoint that has none."""
    return np.tanh(sb.conv(x[None], W, stride=2, padding=1) + g * sb.conv(h * h, U, padding=1))


@sb.cell
def uneven(x: Input["m 6 5"], h: State["n 6 5"], W: Param["n m 2 3"], U: Param["n n 3 4"], b: Param["n"]):
    return np.tanh(sb.conv(x, W, padding="same") + sb.conv(h, U, padding="same") + b[:, None, None])


@sb.cell
def shared(x: Input["n t"], h: State["n t"], W: Param["n n 3"]):
    """One filter of two arrays, and twice in a row."""
    return np.tanh(sb.conv(x, W, padding=1) + sb.conv(np.tanh(sb.conv(h, W, padding=1)), W, padding=1))


@sb.cell
def one(x: Input["1 5"], h: State["1 5"], W: Param["1 1 1"]):
    """Axes of one entry."""
    return np.tanh(sb.conv(h, W) + x)


@sb.cell
def squared(x: Input["4"], h: State["4"]):
    """Of an array with itself, and with numbers."""
    return np.tanh(sb.conv(h, h, padding=2)[:4] + np.convolve(x, np.array([1.0, -2.0, 0.5]), "same"))


@sb.cell
def constant(x: Input["2 5"], h: State["2 5"]):
    """With filters that are numbers, which have a name on the page."""
    return np.tanh(sb.conv(h, np.arange(12.0).reshape(2, 2, 3) / 8 - 0.5, padding=1) + x)


CELLS = {c.name: c for c in (filtered, smoothed, strided, pictures, uneven, shared, one, squared, constant, conv_lstm)}
FORMS: dict[str, tuple[str, Printed | None]] = {
    "text": ("textbook", None), "loop": ("loop", None), "latex": ("textbook", as_latex_textbook), "latex loop": ("loop", as_latex),
    "mathml": ("textbook", as_mathml_textbook), "mathml loop": ("loop", as_mathml),
}  # fmt: skip


@pytest.mark.parametrize("form", [
    form if form in ("text", "latex", "mathml") else pytest.param(form, marks=pytest.mark.long) for form in FORMS
])  # fmt: skip
@pytest.mark.parametrize("name", [
    name if name in ("strided", "pictures") else pytest.param(name, marks=pytest.mark.long) for name in CELLS
])  # fmt: skip
@pytest.mark.thinned(1, 17)
def test_pages_read_back(name: str, form: str) -> None:
    style, printed = FORMS[form]
    assert_read(CELLS[name], sizes_of(CELLS[name]), style, printed)


@pytest.mark.parametrize("given", [layer if i in (7, 11) else pytest.param(layer, marks=pytest.mark.long)
                                   for i, layer in enumerate(LAYERS)], ids=str)  # fmt: skip
def test_layers_read_back(given: Any) -> None:
    x, w, options = given
    shape, filters = " ".join(map(str, x)), " ".join(map(str, w))

    @sb.cell
    def layer(h: State[shape], w: Param[filters]):  # type: ignore[valid-type]
        return {"h": np.tanh(h), "y": sb.conv(h, w, **options)}

    assert_read(layer, {})


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in CELLS if name not in ("conv_lstm", "constant")])
@pytest.mark.thinned(1, 3)
def test_jacobians_read_back(name: str) -> None:
    assert_jacobians_read(CELLS[name], sizes_of(CELLS[name]))


def test_page_is_that_of_a_paper() -> None:
    text = sb.derive(filtered).text()
    for line in (
        "= W ∗ x_t + U ∗ h_{t-1}",
        "dW = Σ_t d",
        "⋆ x_t",
        "⋆ h_{t-1}",
        "dx_t = W ∗ᵀ d",
        "dh_t = dL/dh_t + U ∗ᵀ d",
    ):
        assert line in text
    assert "(A ∗ B)_{oi} = Σ_{cj} A_{ocj} B_{c,i + j - 1}, zeros around B (before, behind): (1, 1) along i" in text
    latex = sb.derive(filtered).latex()
    assert (
        r"W \ast x_{t} + U \ast h_{t-1}" in latex and r"W \ast^{\top} \mathrm{d}" in latex and r"\star x_{t}" in latex
    )
    ascii = sb.derive(filtered).text(ascii=True)
    assert ascii.isascii() and "W conv x_t" in ascii


def test_lines_of_conv_lstm_fit_a_column() -> None:
    lines = sb.derive(conv_lstm).text().split("Legend")[0].splitlines()
    assert all(len(line) <= 120 for line in lines)
    assert "dUc            = Σ_t du_{g,t} ⋆ h_{t-1}" in map(str.strip, lines)


def test_convolution_of_a_loss_has_a_number_of_its_own() -> None:
    @sb.loss
    def loss(h: State["n t"], y: sb.Target["n t"], V: Param["n n 5"]):
        return sb.sum((sb.conv(h, V, padding=2) - y) ** 2)

    model = sb.model(filtered, loss)
    assert "V ∗_2 h_t" in sb.derive(model).text()
    assert_model_read(model, sizes_of(model))


def test_planted_place_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    own = legend._place
    monkeypatch.setattr(legend, "_place", lambda step, i, spread, k, start: own(step, i, spread, k, start + 1))
    with pytest.raises(AssertionError):
        assert_read(strided, {})
