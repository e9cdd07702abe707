"""What the reports and theorems say, read sentence by sentence: of batches that mix samples, of numbers near 1 and 0, of names."""

from typing import Any

import numpy as np
import pytest
import sympy as sp

import symbptt as sb
from symbptt import Const, Index, Input, Param, State
from symbptt.stability.design import horizon
from symbptt.stability.proofs import gram, statement
from symbptt.stability.report import wording
from symbptt.stability.runs.setting import setting
from symbptt.zoo import CELLS

pytestmark = pytest.mark.filterwarnings("ignore:.*is never used", "ignore:.*encountered in")


def normal_noise(shape: tuple[int, ...]) -> Any:
    """The same numbers whatever other tests have drawn before."""
    return np.random.default_rng(0).standard_normal(shape)


def said(report: Any) -> str:
    return " ".join(report.text().split())


@sb.cell
def scaled(x: Input["n"], h: State["n"]):
    """λ₁ is the largest mean of ln |x|."""
    return x * h


@sb.cell
def network(x: Input["n"], h: State["n"], U: Param["n n"]):
    return np.tanh(U @ h + x)


def rates(*each: float) -> dict[str, Any]:
    """Inputs of 300 steps with which sample b has the exponent each[b], but for a little noise."""
    return {"x": np.exp(np.array(each)[:, None] + 0.1 * normal_noise((300, len(each), 2)))}


def test_growing_sample_among_vanishing_ones_is_mixed() -> None:
    found = sb.analyze(scaled, {}, rates(-0.5, 0.3, -0.4, -0.6), {"h": np.ones((4, 2))})
    assert found.verdict.kind == "mixed" and [s.kind for s in found.samples] == [
        "vanishing",
        "growing",
        *["vanishing"] * 2,
    ]
    assert "those of sample 1 grow, those of samples 0, 2, 3 vanish" in said(found)
    assert found.samples[1].exponent == pytest.approx(0.3, abs=0.05) and found.horizon is None
    assert (
        found.advice[1].text == "no finite window is safe." and "of some samples do not decay" in found.advice[1].reason
    )


def test_marginal_sample_among_vanishing_ones_is_mixed() -> None:
    x = rates(-0.5, 0.0, -0.4)
    x["x"][:, 1] = 1.0
    found = sb.analyze(scaled, {}, x, {"h": np.ones((3, 2))})
    assert found.verdict.kind == "mixed" and [s.kind for s in found.samples] == ["vanishing", "marginal", "vanishing"]
    assert "those of sample 1 keep their size, those of samples 0, 2 vanish" in said(found)


@pytest.mark.long
def test_inputs_of_very_different_size_make_samples_differ() -> None:
    """Chaos without inputs, and gradients that a large input, which saturates all units, cuts off."""
    U = 3 * np.random.default_rng(4).standard_normal((12, 12)) / np.sqrt(12)
    x = normal_noise((1200, 3, 12)) * np.array([0.3, 10.0, 30.0])[:, None]
    found = sb.analyze(network, {"U": U}, {"x": x}, {"h": 0.1 * normal_noise((3, 12))})
    assert found.verdict.kind == "mixed" and [s.kind for s in found.samples] == ["growing", "vanishing", "vanishing"]
    alone = sb.lyapunov_spectrum(network, {"U": U}, {"x": x[:, 1]})
    assert found.samples[1].exponent == pytest.approx(alone.exponents[0], abs=0.2)


def test_sample_whose_gradients_end_at_zero_does_not_speak_for_the_others() -> None:
    x = rates(-0.5, -0.2, -0.4)
    x["x"][150, 2] = 0.0
    found = sb.analyze(scaled, {}, x, {"h": np.ones((3, 2))})
    assert np.isneginf(found.samples[2].exponent) and found.verdict.kind == "vanishing"
    assert found.verdict.exponent == found.samples[1].exponent == pytest.approx(-0.2, abs=0.03)
    assert found.horizon == pytest.approx(5, abs=1) and "those of sample 2 end at exactly zero" in said(found)
    x["x"][150] = 0.0
    assert np.isneginf(sb.analyze(scaled, {}, x, {"h": np.ones((3, 2))}).verdict.exponent)


def test_alike_samples_are_not_mixed() -> None:
    found = sb.analyze(scaled, {}, rates(-0.5, -0.4, -0.6), {"h": np.ones((3, 2))})
    assert found.verdict.kind == "vanishing" and {s.kind for s in found.samples} == {"vanishing"}
    assert found.horizon is not None and found.advice[1].value is not None


def test_undecided_verdicts_have_no_confidence_and_cautious_advice() -> None:
    slow = np.repeat(np.exp(normal_noise((4, 1, 2)) - 0.1), 50, axis=0)
    found = sb.analyze(scaled, {}, {"x": slow}, {"h": np.ones((1, 2))})
    assert found.verdict.kind == "undecided" and found.spectrum.slow
    assert "Verdict: undecided. λ₁ =" in said(found) and "may be biased" in said(found)
    assert "Growth or inputs vary as slowly as the run is long" in said(found)


@pytest.mark.parametrize(
    ("p", "text"), [(0.9951, "99.5 %"), (0.9989, "99.9 %"), (0.9999, "over 99.9 %"), (0.93, "93 %")]
)
def test_no_confidence_is_a_hundred_percent(p: float, text: str) -> None:
    assert wording.confidence(p) == text


@pytest.mark.parametrize(("rate", "text"), [(0.99999, "(1 − 1e-05)"), (0.9996, "0.9996"), (1.0, "1"), (0.5, "0.5")])
def test_rates_next_to_one_are_told_by_what_they_lack(rate: float, text: str) -> None:
    """And never rounded down."""
    assert wording._rate(rate) == text
    shown = eval(text.replace("−", "-"))
    assert rate <= shown <= rate + 1e-4


@pytest.mark.parametrize(
    ("count", "of", "text"),
    [(1, 10, "1 of 10 values is small"), (0, 10, "none of the 10 values are small"), (10, 10, "all of the 10 values are small"),
     (2, 10, "2 of 10 values are small"), (1, 1, "the one value is small"), (0, 1, "the one value is not small")],
)  # fmt: skip
def test_counts_agree_with_their_verbs(count: int, of: int, text: str) -> None:
    assert wording._some(count, of, "values", "small") == text


@sb.cell
def summed(x: Input["n"], h: State["n"]):
    return h + x


def test_rounding_is_no_exponent_and_no_error() -> None:
    found = sb.analyze(summed, {}, {"x": normal_noise((100, 2, 3))})
    assert "λ₁ = 0 (no error but rounding; all samples alike)" in said(found)
    assert "there is nothing to clip. There are no parameters." in said(found)
    assert "no parameter was found that sets the memory" in said(found) and "call sb.init_for_horizon" not in said(
        found
    )
    with pytest.raises(sb.ArgumentError, match="no bias of a gate and no gain of its recurrence was found"):
        sb.init_for_horizon(summed, 10, {}, {"x": normal_noise((100, 2, 3))})


@sb.cell
def leaking(x: Input["n"], h: State["n"], a: Param["n"]):
    return a * h + x


def test_proof_decides_where_the_run_does_not() -> None:
    """A factor of 0.998 is one within 150 steps, and still the gradients are known to vanish."""
    found = sb.analyze(leaking, {"a": np.full(2, 0.998)}, {"x": normal_noise((200, 1, 2))})
    assert found.verdict.kind == "marginal" and found.windows.certified == pytest.approx(
        np.log(0.01) / np.log(0.998), abs=1
    )
    assert found.advice[1].value == found.windows.certified and "by proof" in found.advice[1].reason
    assert found.advice[0].value == pytest.approx(-1 / np.log(0.998), rel=1e-2)


@pytest.mark.long
def test_factor_that_two_states_share_is_told_once() -> None:
    text = said(sb.analyze(CELLS["lru"], CELLS["lru"].init({"m": 2, "n": 3, "k": 2}), steps=60))
    assert text.count("alone it would give") == 1


def test_report_takes_the_quadratic_metric_where_it_is_tighter() -> None:
    params = {"A": np.array([[0.9, 1.0], [0.0, 0.8]])}

    @sb.cell
    def linear(x: Input["n"], h: State["n"], A: Param["n n"]):
        return A @ h + x

    found = sb.analyze(linear, params, {"x": normal_noise((100, 1, 2))})
    assert 0.9 <= found.theorem.rate <= 0.92 and found.theorem.constant > 1
    assert "in the 2-norm (without the constant in the norm √(sᵀPs)" in said(found)
    J = np.linalg.matrix_power(params["A"], 5)
    assert np.linalg.norm(J, 2) <= found.theorem.constant * found.theorem.rate**5
    assert found.numbers()["proven"]["constant"] == found.theorem.constant


# Theorems.


@sb.cell
def residual(x: Input["n"], h: State["n"], U: Param["n n"]):
    return h + 0.1 * np.tanh(U @ h + x)


@sb.cell
def gate(x: Input["n"], h: State["n"], W: Param["n n"], U: Param["n n"]):
    z = sb.sigmoid(W @ x)
    return z * h + (1 - z) * np.tanh(U @ h + x)


@pytest.mark.long
def test_gates_are_named_only_where_there_are_gates() -> None:
    for cell in (residual, CELLS["antisymmetric"], CELLS["alif"]):
        text = sb.vanishing_condition(cell).text()
        assert "η ≥ 1 for all parameters" in text and "gates" not in text and "Sufficient" not in text
    text = sb.vanishing_condition(gate).text()
    assert "Where large inputs reach the gates" in text and "Sufficient for vanishing: η < 1." in text
    assert r"\eta \geq 1 \quad \text{for all parameters" in sb.vanishing_condition(residual).latex()


def test_bound_that_is_never_under_one_is_so_with_parameters_of_zero() -> None:
    for cell in (residual, CELLS["antisymmetric"]):
        params = {k: np.zeros((3, 3) if k in "UW" else 3) for k in ("U", "W", "b") if k in cell.step.leaves}
        assert sb.vanishing_condition(cell).rate(params) >= 1


@sb.cell
def called_s(x: Input["n"], s: State["n"], v: State["n"]):
    return 0.5 * v + x, np.tanh(s)


@sb.cell
def transposed(x: Input["n"], h: State["n"], U: Param["n n"]):
    return np.tanh(U.T @ h + x)


@sb.cell
def masked(x: Input["n"], h: State["3 n"], U: Param["3 n 3 n"]):
    return np.tanh(np.einsum("ij,ikjl,jl->ik", np.triu(np.ones((3, 3))), U, h) + x)


@sb.cell
def per_head(x: Input["n"], S: State["3 n"], g: Param["3"]):
    return g[:, None] * S + x


@sb.cell
def with_tanh_gate(x: Input["n"], h: State["n"], c: State["n"], W: Param["n n"]):
    g = np.tanh(W @ x)
    return g * h + (1 - g) * c, np.tanh(c)


@pytest.mark.long
def test_letters_and_signs_of_theorems() -> None:
    assert (
        "of y = (s, v)" in sb.vanishing_condition(called_s).text()
        and "∂y_t/∂y_k" in sb.vanishing_condition(called_s).text()
    )
    text = said(sb.analyze(called_s, {}, {"x": normal_noise((60, 1, 2))}))
    assert "∂y_t/∂y_k" in text or "no gradient grows" in text
    for norm in ("2", "max"):
        assert "ᵀ)ᵀ" not in sb.vanishing_condition(CELLS["attention"], norm=norm).text()
        assert (
            "einsum"
            not in sb.vanishing_condition(masked, norm=norm).text() + sb.vanishing_condition(masked, norm=norm).latex()
        )
        assert "max |g|" in sb.vanishing_condition(per_head, norm=norm).text()
    assert "σ_max(U) < 1/γ" in sb.vanishing_condition(transposed, norm="2").text()
    assert "(-0.9, 0.9)" in sb.vanishing_condition(with_tanh_gate, norm="max").text()
    assert "(sup ‖k_t‖₂)²" in sb.vanishing_condition(CELLS["delta_rule"], norm="2").text()


@sb.cell
def mean_of_many(x: Input["n"], h: State["n"]):
    """The norm is n / 8: at most 1 for up to 8 elements."""
    return np.ones_like(h) * sb.sum(h) / 8 + x


@pytest.mark.long
def test_what_holds_for_small_sizes_is_not_said_of_all() -> None:
    assert "For all parameters: no gradient grows" not in sb.vanishing_condition(mean_of_many).text()
    for name in ("lru", "s4d"):
        assert "For all parameters: no gradient grows, ‖∂s_t/∂s_" in sb.vanishing_condition(CELLS[name]).text()
    assert "no gradient grows" not in sb.vanishing_condition(CELLS["rnn"]).text()


def test_planted_sizes_that_are_too_small_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statement, "LARGE", 8)
    with pytest.raises(AssertionError):
        test_what_holds_for_small_sizes_is_not_said_of_all()


@sb.cell
def counted(x: Input["n"], h: State["n"], t: State, a: Const = 0.5):
    return np.where(t % 2 == 0, np.tanh(x + a * h), a * h), t + 1


@sb.cell
def looked_up(v: Index["k"], h: State["n"], A: Param["k n"]):
    return sb.sigmoid(A[v]) * h


@pytest.mark.long
def test_clocks_and_indices_are_told() -> None:
    text = said(sb.analyze(counted, {}, {"x": normal_noise((80, 1, 2))}))
    assert "t is a clock" in text and "says nothing of the gradients of the other states" in text
    assert "is a clock" not in said(sb.analyze(summed, {}, {"x": normal_noise((60, 1, 3))}))
    assert (
        setting(looked_up, looked_up.init({"k": 5, "n": 3}), None, None, None, 20, 0).words == "random indices (seed 0)"
    )


# What stands between elements, in short runs, behind indices, and where a first step passes nothing.


@sb.cell
def rolled(x: Input["n"], h: State["n"]):
    return 0.9 * np.roll(h, 1) + x


@sb.cell
def averaged(x: Input["n"], h: State["n"]):
    return 0.5 * np.mean(h) + x


@pytest.mark.long
def test_paths_without_products_are_not_said_to_be_products() -> None:
    for cell, way in ((rolled, "from element to element"), (averaged, "through sums"), (network, "through products")):
        params = {"U": 0.5 * np.eye(3)[::-1]} if cell is network else {}
        text = said(sb.analyze(cell, params, {"x": normal_noise((60, 1, 3))}))
        assert f"100 % goes h → h {way} (" in text and "1 times as fast" not in text
    assert "by λ₁ the run's shrink about as fast" in said(sb.analyze(rolled, {}, {"x": normal_noise((60, 1, 3))}))


def test_one_step_says_no_more_than_it_shows() -> None:
    """λ₁ within ±1 counts as zero after one step: below zero it is not said to be above, nor gradients to last."""
    shrinking = sb.analyze(network, {"U": -1.2 * np.eye(2)}, {"x": np.ones((1, 1, 2))})
    growing = sb.analyze(scaled, {}, {"x": np.full((1, 1, 2), 1.5)}, {"h": np.ones((1, 2))})
    assert shrinking.verdict.exponent == pytest.approx(np.log(1.2 / np.cosh(1) ** 2)) and shrinking.theorem.rate >= 1
    for report in (shrinking, growing):
        text = said(report)
        assert " 1 steps" not in text and "all 1" not in text and report.verdict.kind == "marginal"
        assert "λ₁ is not below zero" not in text and "is not told from zero" in text
        assert ("Every truncation is biased" in text) == (report is growing)


@sb.cell
def spelled(k: Index["v"], h: State["n"], U: Param["v n"], E: Param["v n"]):
    f = sb.sigmoid(U[k])
    return f * h + (1 - f) * np.tanh(E[k] + np.roll(h, 1))


@sb.cell
def half_moved(x: Input["n"], h: State["n"]):
    """The diagonal has 0.2 from the slice: the factor is not the 0.5 alone."""
    return 0.5 * h + np.concatenate([0.2 * h[:1], h[1:] * 0.1])


@pytest.mark.long
def test_gates_read_by_an_index_have_their_name_and_move() -> None:
    params = spelled.init({"v": 5, "n": 4})
    report = sb.analyze(spelled, params, steps=80)
    text = said(report)
    assert "through the factor f_t" in text and "f_t is 0." in text and report.tunable
    assert "elementwise factor" not in text and "call sb.init_for_horizon" in text
    found = sb.init_for_horizon(spelled, 10, params)
    assert found.kind == "bias" and found.changed == ("U",) and found.reached
    assert np.ptp(found.params["U"] - params["U"]) <= 1e-12  # each row, not those alone that one step reads


def test_factor_that_is_part_of_more_is_not_named_after_its_part() -> None:
    report = sb.analyze(half_moved, {}, {"x": normal_noise((60, 1, 3))})
    assert report.gates[0].low == pytest.approx(0.6) and report.gates[0].high == pytest.approx(0.7)
    assert "The factor of h is" in said(report) and "through the factor" not in said(report)


def test_parts_of_paths_that_cancel_have_two_digits() -> None:
    assert [wording._part(p) for p in (1.001, 1.34, 0.97, 0.052, -0.3)] == ["100 %", "134 %", "97 %", "5.2 %", "-30 %"]


bell = sb.function("bell_step", lambda v: sp.sign(v), lambda v: 1 / (1 + (sp.pi * v) ** 2))


@sb.cell
def firing(x: Input["n"], v: State["n"]):
    return 0.9 * v + x - bell(v - 1)


def test_surrogates_are_written_as_on_the_page() -> None:
    text = said(sb.analyze(firing, {}, {"x": normal_noise((60, 1, 3))}))
    assert "bell_step′(v) = 1 / (1 + " in text and "π" in text and "pi" not in text.split("bell_step′")[1].split(",")[0]


@sb.cell
def squared(x: Input, h: State, a: Param, b: Param):
    return np.tanh(a * h**2 + b * x) / (1 + x**2)


def test_first_step_that_passes_nothing_does_not_lose_the_path() -> None:
    report = sb.analyze(squared, {"a": 0.5, "b": 1.0}, {"x": normal_noise((100, 2))})
    assert np.isfinite(report.verdict.exponent) and [s.part for s in report.shares] == pytest.approx([1.0])
    assert "No path carries" not in said(report) and "N = 1 number of state, h; 100 steps" in said(report)
    assert "−∞" not in said(report)


def test_path_that_ends_within_the_run_is_lost() -> None:
    x = np.ones((100, 1, 2))
    x[50] = 0
    report = sb.analyze(scaled, {}, {"x": x}, {"h": np.ones((1, 2))})
    assert not report.shares and "No path carries" in said(report)


@sb.cell
def normed(x: Input["n"], h: State["n"], U: Param["n n"]):
    z = U @ h + x
    c = z - np.mean(z)
    return np.tanh(c / np.sqrt(np.mean(c**2) + 1e-5))


@pytest.mark.long
def test_search_for_turns_stops_where_its_intervals_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 s for a bound of 1e9 before the monomials whose intervals are taken counted."""
    seen, plain = [0], gram._range

    def counted_range(algebra: Any, p: Any, powers: Any) -> Any:
        seen[0] += len(p.terms)
        return plain(algebra, p, powers)

    monkeypatch.setattr(gram, "_range", counted_range)
    sb.analyze(normed, {"U": normal_noise((6, 6)) / np.sqrt(6)}, {"x": normal_noise((30, 1, 6))})
    assert seen[0] * gram.RANGED <= gram.BUDGET


@pytest.mark.long
def test_slowest_direction_lasts_as_long_as_it_was_measured_to() -> None:
    @sb.cell
    def kept(h: State["n"], a: Param["n"]):
        return a * h

    found = sb.init_for_horizon(kept, 20, {"a": np.array([0.5, 0.3])})
    assert found.reached and found.alive == 1
    runs = horizon.Runs(kept, None, {"n": 3}, np.dtype(float), (0,), "exponent")
    params = {"a": np.exp(-1 / np.array([19.0, 17.0, 30.0]))}
    assert runs.alive(params, 20.0, 0.1) == (2, 3) and runs.alive(params, 20.0) == (1, 3)


@sb.cell
def square(x: Input["n"], y: State["n"]):
    return y**2 + x


def test_bounds_that_are_not_there_are_not_printed_as_infinite() -> None:
    theorem = sb.vanishing_condition(square).text()
    assert "no bound was found on |y_{t-1}|." in theorem
    assert "inf" not in sb.certified_rate(square, {}, {"x": (-np.ones(2), np.ones(2))}).text()
    assert "inf^" not in said(sb.analyze(square, {}, {"x": 0.1 * normal_noise((60, 1, 3))}))
