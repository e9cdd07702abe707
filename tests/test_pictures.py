"""Pictures of stability: what is drawn is the data, each says what it shows and in what units, and no input breaks them."""

import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import symbptt as sb
from symbptt.errors import SymbpttError
from symbptt.stability import pictures
from symbptt.stability.activations.mean_field import critical_line
from symbptt.stability.dynamics.fixed_points import FixedPoints, Points, fixed_points
from symbptt.stability.dynamics.population import Growth
from symbptt.stability.gradients.flow import GradientFlow, gradient_flow
from symbptt.stability.pictures.field import forget_horizon, phase_of
from symbptt.stability.pictures.gradients import least_window
from symbptt.stability.spectra.lyapunov import LocalExponents, LyapunovSpectrum, lyapunov_spectrum
from symbptt.stability.spectra.products import product_spectrum
from symbptt.zoo import lstm
from tests.dynamics import independent, tanh_bias, tanh_network

matplotlib = pytest.importorskip("matplotlib")
Figure = pytest.importorskip("matplotlib.figure").Figure

pytestmark = pytest.mark.filterwarnings("error")
INF = np.inf


def windows_of(exponents) -> LocalExponents:
    each = exponents + 0.1 * np.linspace(-1, 1, 20)[:, None, None]
    return LocalExponents(each, 5 + 25 * np.arange(21), np.zeros(len(exponents)), each[1, 0], each[-2, 0])


def spectrum(exponents, error=0.01, between=None, points=50) -> LyapunovSpectrum:
    exponents = np.asarray(exponents, float)
    noise = np.random.default_rng(0).standard_normal((points, len(exponents))) / np.arange(1, points + 1)[:, None]
    return LyapunovSpectrum(
        exponents, np.full(len(exponents), error), between, True, False, 0.0, 1.0, 0.0, exponents + noise,
        10 * np.arange(1, points + 1), 10 * points, 5, 20, exponents[None], np.full((1, len(exponents)), error), np.zeros((points, 1)),
        windows_of(exponents),
    )  # fmt: skip


def flow(norms, **states) -> GradientFlow:
    norms = np.asarray(norms, float)
    return GradientFlow(np.arange(len(norms)), norms, {"h": norms, **states}, {}, {})


def points(states, eigenvalues) -> Points:
    states, eigenvalues = np.asarray(states, float), np.asarray(eigenvalues, complex)
    count = (np.abs(eigenvalues) > 1).sum(-1)
    return Points(states, np.zeros(len(states)), eigenvalues, count, {"h": slice(0, states.shape[-1])})


def none_of(n) -> Points:
    return points(np.zeros((0, n)), np.zeros((0, n)))


def labels_of(axes) -> list[str]:
    return [] if axes.get_legend() is None else [text.get_text() for text in axes.get_legend().get_texts()]


def line(axes, start) -> tuple[np.ndarray, np.ndarray]:
    """The data of the one line whose label starts so."""
    (found,) = [item for item in axes.lines if str(item.get_label()).startswith(start)]
    return np.asarray(found.get_xdata(), float), np.asarray(found.get_ydata(), float)


def png(axes) -> bytes:
    written = io.BytesIO()
    axes.figure.set_layout_engine("none")  # it draws twice
    axes.figure.savefig(written, format="png", dpi=30)
    return written.getvalue()


TANH = {"J": 1.5 * np.random.default_rng(0).standard_normal((5, 5)) / np.sqrt(5)}
START = {"h": np.ones(5)}
GROWTHS = [(0.3, 1.0, Growth(-0.2, 0.01)), (0.3, 2.0, Growth(0.2, 0.01)), (0.3, 1.4, Growth(0.01, 0.01))]
FIXED = FixedPoints(
    points(np.eye(4)[:3], [[0.5] * 4, [2, 0, 0, 0], [1, 0.1, 0, 0]]), points(np.ones((1, 4)), [[0.9] * 4]), 9, 1
)
SWEEP = sb.sweep(tanh_bias, {"w": np.array(1.5), "b": np.array(0.0)}, "b", np.linspace(-1, 1, 5), settle=20, keep=4)
PICTURES = {
    "draw_exponents": lambda axes, name: pictures.draw_exponents(spectrum([0.1, 0, -1]), axes, name=name),
    "draw_convergence": lambda axes, name: pictures.draw_convergence(spectrum([0.1, 0, -1]), axes, name=name),
    "draw_fan": lambda axes, name: pictures.draw_fan(product_spectrum(tanh_network, TANH, None, START, steps=9), axes,
                                                     spectrum=spectrum([0.1, -1]), name=name),
    "draw_paths": lambda axes, name: pictures.draw_paths(product_spectrum(tanh_network, TANH, None, START, steps=9), axes, name=name),
    "draw_eigenvalues": lambda axes, name: pictures.draw_eigenvalues([0.5, 1 + 1j, 2], axes, name=name),
    "draw_flow": lambda axes, name: pictures.draw_flow(flow(0.9 ** np.arange(100)), axes, name=name),
    "draw_bias": lambda axes, name: pictures.draw_bias({"certified": 0.9 ** np.arange(1, 100), "asymptotic": [INF, INF]}, axes, name=name),
    "draw_gradient_norms": lambda axes, name: pictures.draw_gradient_norms(np.geomspace(0.1, 9, 50), axes, threshold=3, name=name),
    "draw_fixed_points": lambda axes, name: pictures.draw_fixed_points(FIXED, axes, name=name),
    "draw_phase_diagram": lambda axes, name: pictures.draw_phase_diagram([0.1, 0.3, 1], [1.2, 1.4, 1.9], axes, tied=GROWTHS, name=name),
    "draw_sweep": lambda axes, name: pictures.draw_sweep(SWEEP, axes, name=name),
    "draw_horizons": lambda axes, name: pictures.draw_horizons([0, 1, 3], [1.5, 3, INF], axes, errors=[0.1, 0.2, 0.1], name=name),
}  # fmt: skip


def test_every_public_picture_is_tried_here():
    assert set(PICTURES) == set(pictures.__all__)


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_picture_is_drawn_on_the_given_axes_with_a_title_and_labels(draw):
    axes = Figure().add_subplot()
    assert draw(axes, "my_cell") is axes
    assert axes.get_title(loc="left").startswith("my_cell: ")
    assert axes.get_xlabel() and axes.get_ylabel()
    assert draw(None, "").figure is not axes.figure
    assert not draw(None, "").get_title(loc="left").startswith(":")


@pytest.mark.parametrize("name, x, y", [
    ("draw_exponents", "i / N", "(nats per step)"),
    ("draw_convergence", "steps", "(nats per step)"),
    ("draw_fan", "(steps)", "(nats)"),
    ("draw_paths", "(steps)", "(nats)"),
    ("draw_flow", "(steps)", "_2$"),
    ("draw_bias", "(steps)", "relative bias"),
    ("draw_horizons", "forget bias", "(steps)"),
])  # fmt: skip
def test_labels_say_units(name, x, y):
    axes = PICTURES[name](None, "c")
    assert x in axes.get_xlabel() and y in axes.get_ylabel()


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
@pytest.mark.thinned(11)
def test_same_data_give_the_same_bytes_and_leave_settings_alone(draw):
    before = dict(matplotlib.rcParams)
    assert png(draw(None, "cell")) == png(draw(None, "cell"))
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("panels", [1, 3])
@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
@pytest.mark.thinned(13, 2)
def test_title_legend_and_data_do_not_cover_each_other(draw, panels):
    figure = Figure(figsize=(3.5, 2.8) if panels == 1 else (10.5, 2.8), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0, 0]
    draw(axes, "cell")
    figure.draw_without_rendering()
    height = axes.get_window_extent().y1
    if (legend := axes.get_legend()) is not None:
        box = legend.get_window_extent()
        assert box.y0 >= height - 0.5
        assert box.x1 <= figure.bbox.x1 / panels
        height = box.y1
    assert axes._left_title.get_window_extent().y0 >= height - 1


@pytest.mark.long
def test_pyplot_is_never_imported():
    check = (
        "import sys, numpy as np\nfrom symbptt.stability import pictures\nassert 'matplotlib' not in sys.modules\n"
        "pictures.draw_eigenvalues([0.5, 2]).figure.savefig('/dev/null', format='png')\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", check], check=True)


def test_missing_matplotlib_names_the_extra(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SymbpttError, match=r"pip install matplotlib, or in the checkout .* -e '\.\[plot\]'"):
        pictures.draw_eigenvalues([1.0])


def test_exponents_stand_at_their_rank_within_their_interval():
    found = lyapunov_spectrum(tanh_network, TANH, None, START, steps=400)
    axes = pictures.draw_exponents(found)
    x, y = line(axes, r"$\lambda_i$")
    np.testing.assert_array_equal(x, np.arange(1, 6) / 5)
    np.testing.assert_array_equal(y, found.exponents)
    bands = ((found.local.low, found.local.high), (y - found.half_width, y + found.half_width))
    for drawn, (low, high) in zip(axes.collections, bands, strict=True):
        corners = {tuple(corner) for corner in drawn.get_paths()[0].vertices}
        assert {*zip(x, low, strict=True), *zip(x, high, strict=True)} <= corners
    assert f"windows of {found.local.length} steps" in labels_of(axes)
    assert "95 % interval" in labels_of(axes) and not any("samples" in label for label in labels_of(axes))


def shown(axis) -> list[str]:
    """The numbers along an axis within its range."""
    low, high = sorted(axis.get_view_interval())
    axis.axes.figure.draw_without_rendering()
    return [tick.label1.get_text() for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]


@pytest.mark.parametrize("middle", [0.0, 0.5, -3e5, 12345.678])
@pytest.mark.parametrize("size", [1e-16, 1e-12, 1e-7, 1e-3, 1.0, 1e8])
@pytest.mark.thinned(13, 3)
def test_no_power_of_ten_stands_apart_and_every_number_is_that_of_its_tick(size, middle):
    axes = pictures.draw_exponents(spectrum(middle + size * np.array([1, 0.5, -1]), error=0))
    for axis in (axes.xaxis, axes.yaxis):
        texts = shown(axis)
        assert axis.get_offset_text().get_text() == ""
        assert 2 <= len(texts) == len(set(texts)) <= 8
        assert all(texts)
    ticks = [t for t in axes.get_yticks() if axes.get_ylim()[0] <= t <= axes.get_ylim()[1]]
    numbers = [float(text.replace("−", "-")) for text in shown(axes.yaxis)]
    np.testing.assert_allclose(numbers, ticks, atol=0.02 * np.diff(ticks).min())
    assert np.ptp(axes.get_ylim()) > 1e-9  # rounding is no picture


@pytest.mark.parametrize(
    "low, high", [(1, 1.05), (0.3, 6), (2, 15), (1e-9, 3e-8), (0.5, 90), (1e-3, 1e4), (1e-80, 1e90)]
)
@pytest.mark.thinned(7)
def test_numbers_of_a_histogram_stand_apart(low, high):
    axes = pictures.draw_gradient_norms(np.geomspace(low, high, 40), band=(low, 10 * low), threshold=high)
    assert axes.xaxis.get_minor_formatter()(1.0, 0) == "" or axes.get_xscale() == "linear"
    axes.figure.draw_without_rendering()
    boxes = [t.label1.get_window_extent() for t in axes.xaxis.get_major_ticks()
             if axes.get_xlim()[0] <= t.get_loc() <= axes.get_xlim()[1] and t.label1.get_text()]  # fmt: skip
    assert len(boxes) >= 2
    for a, b in zip(sorted(boxes, key=lambda box: box.x0)[:-1], sorted(boxes, key=lambda box: box.x0)[1:], strict=True):
        assert a.x1 < b.x0


def test_report_has_its_verdict_over_the_pictures():
    report = sb.analyze(independent, {"a": np.array([0.9, 0.5])}, {"x": np.zeros((60, 2))})
    figure = report.plot()
    text = " ".join(figure.get_suptitle().split())
    assert text.startswith("independent: vanishing (over 99.9 %), λ₁ = −0.105") and "60 steps of 1 sample" in text
    assert not any(axes.get_title(loc="left").startswith("independent") for axes in figure.axes)
    figure.draw_without_rendering()
    top = figure._suptitle.get_window_extent()
    assert all(axes.get_tightbbox().y1 <= top.y0 + 1 for axes in figure.axes) and top.x1 <= figure.bbox.x1


def test_exponents_of_a_batch_show_the_spread_between_samples():
    axes = pictures.draw_exponents(spectrum([1, 0, -1], between=np.array([0.1, 0.2, 0.3])))
    upper = line(axes, "± sd")[1]
    np.testing.assert_allclose(upper, [1.1, 0.2, -0.7])


def test_lost_and_missing_exponents_have_no_place_but_a_mark():
    axes = pictures.draw_exponents(spectrum([0.5, np.nan, -INF, -INF]))
    np.testing.assert_array_equal(line(axes, r"$\lambda_i$")[1], [0.5, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(line(axes, r"$-\infty$")[0], [0.75, 1.0])
    assert r"$-\infty$: 2 of 4" in labels_of(axes)


def test_partial_spectrum_is_drawn_against_the_rank():
    found = lyapunov_spectrum(tanh_network, TANH, None, START, steps=100, count=2)
    axes = pictures.draw_exponents(found)
    np.testing.assert_array_equal(line(axes, r"$\lambda_i$")[0], [1, 2])
    assert axes.get_xlabel() == "i"


def test_run_that_has_not_converged_says_so():
    axes = pictures.draw_exponents(replace(spectrum([1.0]), converged=False))
    assert "not converged" in axes.get_title(loc="left")


def test_convergence_ends_at_the_exponents():
    found = lyapunov_spectrum(tanh_network, TANH, None, START, steps=400)
    axes = pictures.draw_convergence(found)
    curves = [item for item in axes.lines if len(item.get_xdata()) == len(found.history_steps)]
    np.testing.assert_array_equal([item.get_ydata() for item in curves], found.history.T)
    assert all(list(item.get_xdata()) == list(found.history_steps) for item in curves)
    np.testing.assert_allclose([item.get_ydata()[-1] for item in curves], found.exponents, atol=1e-12)
    assert {text.get_text() for text in axes.texts} <= {r"$\lambda_{1}$", r"$\lambda_{3}$", r"$\lambda_{5}$"}
    assert len(axes.texts) >= 2


def test_many_exponents_are_thinned_with_the_ends_kept_and_counted():
    found = spectrum(np.linspace(1, -3, 200))
    axes = pictures.draw_convergence(found)
    curves = [item for item in axes.lines if len(item.get_xdata()) == 50]
    assert len(curves) == 64 and "64 of 200 exponents" in labels_of(axes)
    np.testing.assert_array_equal(curves[0].get_ydata(), found.history[:, 0])
    np.testing.assert_array_equal(curves[-1].get_ydata(), found.history[:, -1])


def test_fan_holds_the_singular_values_and_slopes_through_the_origin():
    found = product_spectrum(tanh_network, TANH, None, START, steps=30, lags=[1, 2, 5, 20])
    exponents = spectrum([0.5, -1, -INF])
    axes = pictures.draw_fan(found, spectrum=exponents)
    curves = [item for item in axes.lines if len(item.get_xdata()) == 4]
    np.testing.assert_array_equal([item.get_ydata() for item in curves], found.log_singular_values.T)
    slopes = [item for item in axes.lines if list(item.get_xdata()) == [0, 20] and item.get_linestyle() != "-"]
    np.testing.assert_allclose([item.get_ydata() for item in slopes], [[0, 10], [0, -20]])


def test_fan_marks_singular_values_of_zero():
    dead = product_spectrum(independent, {"a": np.array([0.5, 0.0])}, {"x": np.zeros((8, 2))}, lags=[1, 4, 8])
    axes = pictures.draw_fan(dead)
    np.testing.assert_array_equal(line(axes, "some")[0], [1, 4, 8])


def test_paths_are_those_of_the_product():
    params = lstm.init({"m": 2, "n": 3}, seed=0)
    found = product_spectrum(lstm, params, {"x": np.ones((20, 2))}, lags=[1, 5, 20])
    axes = pictures.draw_paths(found)
    for state in ("h", "c"):
        for kind, values in ((f"within {state}", found.paths.direct), (f"{state} by others", found.paths.through)):
            shown = np.where(np.isfinite(values[state]), values[state], np.nan)
            np.testing.assert_array_equal(line(axes, kind)[1], shown)


def test_flow_is_logarithmic_and_marks_horizons():
    found = gradient_flow(independent, {"a": np.full(3, 0.9)}, {"x": np.zeros((100, 3))})
    axes = pictures.draw_flow(found)
    assert axes.get_yscale() == "log"
    np.testing.assert_array_equal(line(axes, "whole")[1], found.norms)
    assert {"to 1/e: 10 steps", "to 0.001: 66 steps"} <= set(labels_of(axes))
    marks = [item for item in axes.lines if item.get_marker() == "o"]
    assert [item.get_xdata()[0] for item in marks] == [10, 66]
    np.testing.assert_allclose([item.get_ydata()[0] for item in marks], found.norms[0] * np.array([1 / np.e, 1e-3]))


def test_flow_shows_each_state_and_says_where_no_horizon_is():
    axes = pictures.draw_flow(flow(np.ones(9), c=2 * np.ones(9)))
    np.testing.assert_array_equal(line(axes, "c")[1], 2 * np.ones(9))
    assert "to 1/e: not in 8 steps" in labels_of(axes)


def test_zero_and_overflow_of_a_gradient_are_marked():
    axes = pictures.draw_flow(flow([1.0, 0.1, 0, INF, np.nan]))
    np.testing.assert_array_equal(line(axes, "whole")[1], [1, 0.1, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(line(axes, "zero")[0], [2])
    np.testing.assert_array_equal(line(axes, "overflow")[0], [3, 4])


def test_eigenvalues_are_told_apart_by_the_unit_circle():
    values = np.array([[0.5, 1j], [0.8 - 1j, np.nan]])
    axes = pictures.draw_eigenvalues(values)
    assert list(zip(*line(axes, "inside"), strict=True)) == [(0.5, 0), (0, 1)]
    assert list(zip(*line(axes, "outside"), strict=True)) == [(0.8, -1)]
    np.testing.assert_allclose(np.hypot(*line(axes, "unit circle")), 1)
    assert "not finite: 1" in labels_of(axes) and axes.get_aspect() == 1


@pytest.mark.parametrize("bound, tolerance, window", [
    ([0.5, 0.1, 0.01, 0.001], 0.01, 3), ([0.5, 0.001, 0.1, 0.001], 0.01, 4), ([0.1, 0.1], 0.01, None),
    ([0.001], 0.01, 1), ([np.inf, np.nan], 0.01, None), ([np.nan, 0.001], 0.01, 2), ([], 0.01, None),
])  # fmt: skip
def test_least_window_stays_within_the_tolerance(bound, tolerance, window):
    assert least_window(bound, tolerance) == window


def test_bias_names_the_window_of_each_bound():
    bounds = {"certified": np.full(9, INF), "empirical": 0.1 ** np.arange(1, 10), "exact": np.zeros(9)}
    axes = pictures.draw_bias(bounds, tolerance=1.01e-3)
    assert labels_of(axes) == ["certified: no window", "empirical: 3 steps", "exact: 1 step", "tolerance 0.00101"]
    x, y = line(axes, "empirical")
    np.testing.assert_array_equal(x, np.arange(1, 10))
    np.testing.assert_array_equal(y, bounds["empirical"])
    assert axes.get_yscale() == "log"


def test_histogram_counts_every_norm_once_and_the_band_is_pascanus():
    norms = np.exp(np.random.default_rng(0).standard_normal(300))
    axes = pictures.draw_gradient_norms([*norms, 0.0, INF, np.nan], threshold=2.5)
    assert axes.get_xscale() == "log"
    assert sum(bar.get_height() for bar in axes.containers[0]) == 300
    inside = sum(bar.get_height() for bar in axes.containers[0] if bar.get_x() + bar.get_width() <= np.median(norms))
    assert abs(inside - 150) < 40
    mean = norms.sum() / 301
    (band,) = [patch for patch in axes.patches if str(patch.get_label()).startswith("clip band")]
    np.testing.assert_allclose((band.get_x(), band.get_width()), (0.5 * mean, 9.5 * mean))
    assert line(axes, "mean")[0][0] == pytest.approx(mean) and line(axes, "clip at")[0][0] == 2.5
    assert {"zero: 1", "overflow: 2"} <= set(labels_of(axes))


def test_given_band_replaces_pascanus():
    axes = pictures.draw_gradient_norms([1.0, 1.1], band=(0.5, 4))
    (band,) = [patch for patch in axes.patches if str(patch.get_label()).startswith("clip band")]
    assert (band.get_x(), band.get_width()) == (0.5, 3.5) and axes.get_xscale() == "linear"


def test_fixed_points_are_told_apart_by_stability():
    axes = pictures.draw_fixed_points(FIXED)
    assert axes.name == "3d" and "%" in axes.get_zlabel()
    assert labels_of(axes) == ["stable: 1", "marginal: 1", "unstable: 1", "slow: 1"]


def test_distances_in_a_three_dimensional_state_survive_the_components():
    states = np.random.default_rng(0).standard_normal((6, 3))
    axes = pictures.draw_fixed_points(FixedPoints(points(states, np.zeros((6, 3))), none_of(3), 6, 0))
    shown = np.array(axes.lines[0].get_data_3d()).T
    gaps = [np.linalg.norm(a[:, None] - a, axis=-1) for a in (states, shown)]
    np.testing.assert_allclose(*gaps, atol=1e-12)
    spread = shown.var(0)
    assert spread[0] >= spread[1] >= spread[2]


def test_components_are_those_of_the_trajectories():
    runs = np.zeros((50, 2, 4))
    runs[..., 2] = np.linspace(-1, 1, 100).reshape(50, 2)
    states = np.array([[5.0, 0, 0.5, 0]])
    found = FixedPoints(points(states, np.zeros((1, 4))), none_of(4), 1, 0)
    axes = pictures.draw_fixed_points(found, trajectories=runs)
    assert axes.get_xlabel() == "PC 1 (100%)"
    (mark,) = [item for item in axes.lines if str(item.get_label()).startswith("stable")]
    assert np.array(mark.get_data_3d())[0, 0] == pytest.approx(0.5)
    trails = [np.array(item.get_data_3d())[0] for item in axes.lines if len(np.array(item.get_data_3d())[0]) == 50]
    np.testing.assert_allclose(np.array(trails), runs[..., 2].T, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.thinned(5, 2)
def test_few_points_of_few_dimensions_are_drawn(n, count, flat):
    found = FixedPoints(points(np.ones((count, n)), np.zeros((count, n))), none_of(n), 1, 0)
    axes = pictures.draw_fixed_points(found, Figure().add_subplot() if flat else None)
    assert png(axes) and len(labels_of(axes)) == (count > 0)


def test_real_fixed_points_are_drawn_with_runs():
    run = sb.compile(tanh_network).forward(TANH, {}, {"h": np.ones((2, 5))}, steps=30)
    found = fixed_points(tanh_network, TANH, None, run.states, seeds=8)
    assert len(found.points)
    assert png(pictures.draw_fixed_points(found, trajectories=run.states["h"]))


@pytest.mark.long
def test_phase_diagram_holds_the_critical_line_and_each_simulation_once():
    b = np.array([0.1, 0.3])
    w = critical_line("tanh", sigma_b=b)
    axes = pictures.draw_phase_diagram(b, w, tied=GROWTHS)
    np.testing.assert_allclose(line(axes, "critical")[1], [1.193401, 1.395584], atol=1e-5)
    for text, at in (("tied: stable", 1.0), ("tied: chaotic", 2.0), ("tied: undecided", 1.4)):
        assert [float(v[0]) for v in line(axes, text)] == [0.3, at]


@pytest.mark.parametrize("growth, phase", [
    (Growth(-0.1, 0.01), "stable"), (Growth(0.1, 0.01), "chaotic"), (Growth(0.1, 0.06), "undecided"),
    (Growth(np.nan, 0.1), "undecided"), (Growth(0.1, np.nan), "undecided"), (Growth(0.0, 0.0), "undecided"),
])  # fmt: skip
def test_phase_needs_two_standard_errors(growth, phase):
    assert phase_of(growth) == phase


def test_phase_diagram_leaves_out_where_there_is_no_line():
    axes = pictures.draw_phase_diagram([0.0, 1.0], [np.nan, np.nan])
    assert np.isnan(line(axes, "critical")[1]).all() and png(axes)


@pytest.mark.parametrize("bias, horizon", [(0, 1.4427), (1, 3.1922), (3, 20.5815)])
def test_theory_of_the_forget_gate_has_its_published_values(bias, horizon):
    assert forget_horizon(bias) == pytest.approx(horizon, abs=1e-4)
    axes = pictures.draw_horizons([bias], [horizon])
    x, y = line(axes, r"$-1/\ln")
    assert np.exp(np.interp(bias, x, np.log(y))) == pytest.approx(horizon, rel=1e-3)


def test_horizons_are_drawn_where_finite_and_marked_where_not():
    axes = pictures.draw_horizons([0, 1, 2], [1.5, INF, np.nan], errors=[0.1, 0.1, np.nan])
    (bars,) = axes.containers
    np.testing.assert_array_equal(bars.lines[0].get_ydata(), [1.5, np.nan, np.nan])
    np.testing.assert_array_equal(line(axes, "no finite horizon")[0], [1, 2])


ODD = [[0.5], [-INF], [np.nan], [0.1, -INF], [1e300, -1e300], np.zeros(3)]


@pytest.mark.parametrize("exponents", ODD, ids=str)
@pytest.mark.parametrize("size", [1, 50])
@pytest.mark.parametrize("draw", [pictures.draw_exponents, pictures.draw_convergence])
@pytest.mark.thinned(11, 5)
def test_odd_spectra_are_drawn(draw, exponents, size):
    with np.errstate(invalid="ignore", over="ignore"):
        assert png(draw(spectrum(exponents, error=np.nan if size == 1 else 0.1, points=size)))


@pytest.mark.parametrize("T", [1, 2])
@pytest.mark.thinned(2)
def test_short_runs_are_drawn(T):
    a, x = {"a": np.array([0.5])}, {"x": np.ones((T, 1))}
    found, products = lyapunov_spectrum(independent, a, x), product_spectrum(independent, a, x)
    for axes in (
        pictures.draw_exponents(found), pictures.draw_convergence(found), pictures.draw_fan(products, spectrum=found),
        pictures.draw_paths(products), pictures.draw_flow(gradient_flow(independent, a, x)),
    ):  # fmt: skip
        assert png(axes)


numbers = st.floats(-10, 1e6) | st.sampled_from([0.0, -0.0, INF, -INF, np.nan, 5e-324, 1.7e308])


@given(st.lists(numbers, max_size=5))
@settings(max_examples=8)
def test_any_numbers_are_drawn(values):
    with np.errstate(all="ignore"):
        for axes in (
            pictures.draw_flow(flow([1.0, *values])), pictures.draw_flow(flow([*values, 0.0])),
            pictures.draw_bias({"a": values}), pictures.draw_gradient_norms(values),
        ):  # fmt: skip
            assert axes.get_title(loc="left")


@pytest.mark.parametrize("values", [[], [0.0, 0.0], [3.0, 3.0], [1e-300, 1e300], [np.nan]],
                         ids=str)  # fmt: skip
@pytest.mark.thinned(7)
def test_odd_norms_are_drawn(values):
    assert png(pictures.draw_gradient_norms(values))
    assert png(pictures.draw_bias({"a": values}))
    assert png(pictures.draw_eigenvalues([v for v in values if not v > 1e300]))
    assert png(pictures.draw_horizons([-1000, 0, 1000], [*values, 1, 1, 1][:3]))
