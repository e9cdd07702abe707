"""Exact proofs over a field: what is right is proved on every path, and mistakes of every kind are found, each on one path at least."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy as sp

import symbptt as sb
from symbptt import Const, Index, Input, Param, State, Target, ops
from symbptt.autodiff.bptt import derive
from symbptt.codegen.kernel import Kernel
from symbptt.codegen.program.program import program_of
from symbptt.codegen.program.regions import place
from symbptt.verification.proof import draws, norms, rules, subjects
from symbptt.verification.proof.atoms import Atoms, NoRootError
from symbptt.verification.proof.cases import Cases
from symbptt.verification.proof.constants import Numbers, element, fraction
from symbptt.verification.proof.degrees import chance_of, degree
from symbptt.verification.proof.field import P, character, inverse, power, product, root, times
from symbptt.verification.proof.loops import lowered
from symbptt.verification.proof.opaque import Opaque
from symbptt.verification.proof.prove import line_of, proof_of
from symbptt.verification.proof.residues import elements, functions_of, residues
from symbptt.verification.proof.results import Line, Proof
from symbptt.verification.proof.settings import FEW, LOOPS, MASKED, PLAIN
from symbptt.verification.proof.subjects import subjects_of
from symbptt.verification.proof.symbolic import symbolic
from symbptt.verification.requests import NOTHING
from symbptt.zoo import gru, lstm, min_gru
from tests.public_cells import CELLS

pytestmark = [pytest.mark.proof, pytest.mark.filterwarnings("ignore:.*is never used")]
ZOO = {name: cell for name, cell in vars(sb.zoo).items() if isinstance(cell, sb.Cell)}


@sb.cell
def scanned(x: Input["m"], h: State["n"], Wz: Param["n m"], Wc: Param["n m"]):
    z = sb.sigmoid(Wz @ x)
    return (1 - z) * h + z * (Wc @ x)


@sb.loss
def squared(h: State["n"], y: Target["k"], V: Param["k n"]):
    e = V @ h - y
    return sb.sum(e * e) / 2


@sb.cell
def every_function(x: Input["n"], h: State["n"], w: Param["n"], p: Param["n"] = 2.5):
    """Elementwise functions with identities that generated code may use."""
    a = w * h + x
    y = (
        np.log1p(np.exp(a))
        + sb.softplus(x - h)
        + np.logaddexp(a, x)
        + 1.7**a
        + np.expm1(w) * np.log(a)
        + np.sin(a) * np.cos(a)
    )
    y = y + np.tan(x) + np.arctan(a) + sb.erf(a) + np.sinh(a) * np.cosh(x) + np.arctan2(a, x) + np.log2(a) + np.log10(x)
    y = (
        y
        + sb.relu(a)
        + np.abs(x) * np.sign(a)
        + np.maximum(a, x)
        + np.minimum(a, 0.5)
        + np.clip(a, -1, 2)
        + np.mod(a, x)
    )
    y = (
        y
        + np.exp(x) ** 2 / a
        + a**-3
        + x**p
        + sb.gelu(a)
        + sb.silu(x)
        + sb.mish(a)
        + sb.selu(x)
        + sb.elu(a)
        + np.floor(a)
    )
    return sb.where(x > a, np.tanh(y), sb.softmax(y) + sb.log_softmax(a) + sb.logsumexp(x))


@sb.cell
def looked_up(i: Index["v"], x: Input["n"], h: State["n"], E: Param["v n"], U: Param["n n"], keep: Const["n"]):
    return {"h": np.tanh(U @ h + E[i] * x) * keep, "y": np.cumsum(h) * np.max(x) + sb.layer_norm(E[i] * x)}


def proof_without_notes(target: Any) -> Proof:
    """The proof of a cell, which leaves nothing open but sizes that cannot all be 1."""
    found = proof_of(target, 0)
    assert not found.wrong and not found.unproved, str(found)
    assert {line.note for line in found.lines} <= {"", "named sizes cannot all be 1"}, str(found)
    return found


# What is right is proved.


@pytest.mark.long
@pytest.mark.thinned(1, 17)
@pytest.mark.parametrize("name", ZOO)
def test_a_cell_of_the_zoo_is_proved_on_every_path(name: str) -> None:
    proof_without_notes(ZOO[name])


@pytest.mark.long
@pytest.mark.thinned(1, 29)
@pytest.mark.parametrize("name", CELLS)
def test_a_public_cell_has_no_wrong_block(name: str) -> None:
    found = proof_of(CELLS[name], 0)
    assert not found.wrong and not found.unproved, str(found)


@pytest.mark.parametrize(
    "cell", [pytest.param(every_function, marks=pytest.mark.long), looked_up], ids=lambda c: c.name
)
def test_functions_and_families_are_proved(cell: sb.Cell) -> None:
    kernel = sb.compile(cell)
    for subject, settings in subjects_of(kernel):
        for setting in settings[:3]:
            line = line_of(subject, setting, Cases(0, NOTHING))
            assert not line.note and not line.wrong, line


def test_a_model_is_proved_with_its_own_loss() -> None:
    found = proof_of(sb.compile(sb.model(gru, squared, at="last", reduction="mean")), 3)
    assert not found.wrong and "dV" not in found.unproved
    assert any(line.path == MASKED.path and "dV" in line.compared for line in found.lines)


@pytest.mark.long
def test_the_report_lists_the_paths() -> None:
    report = sb.verify(min_gru)
    assert report.passed and report.proof is not None and not report.proof.unproved
    assert {line.note for line in report.proof.lines} == {""}
    text = " ".join(str(report).split())
    for words in ("three blocks, the last one short", "lengths and resets", "monitor=True", "cotangents of states at the last step",
                  "clip_adjoint and truncation", 'memory="sqrt"', "memory in bytes", "Window(2)", "Chunked(2, 3)",
                  "clip_adjoint", "loss at the last step, mean", "pack, join, tidy", "behind all passes", "Chance: ", f"modulo {P}"):  # fmt: skip
        assert words in text, words
    assert sb.verify(min_gru, proof=False).proof is None


def test_what_has_no_version_over_a_field_is_not_proved() -> None:
    @sb.cell
    def parted_by_numpy(x: Input["n"], h: State["n"], w: Param["n"]):
        return np.tanh(w * h + (np.partition(x, 0) if isinstance(x, np.ndarray) else x))

    found = proof_of(parted_by_numpy, 0)
    assert set(found.unproved) == {"dh_0", "dw", "dx"} and not found.wrong
    text = " ".join(str(found).split())
    assert "np.partition has no version over a field" in text and "proved nowhere: dx, dh_0, dw" in text


def test_norms_are_compared_of_states_that_nothing_else_in_the_step_reads() -> None:
    lines = {line.path: line for line in proof_of(GATED, 0).lines}
    masked = [block for block in lines[MASKED.path].blocks if block.startswith("norm")]
    assert masked == ["norm of dh"] and "norm of dh" not in lines[PLAIN[0].path].blocks


def test_norms_are_compared_where_no_output_has_a_cotangent() -> None:
    @sb.cell
    def told(x: Input["n"], h: State["n"], w: Param["n"]):
        new = np.tanh(w * h + x)
        return {"h": new, "y": w * w}

    subject, _ = next(iter(subjects_of(sb.compile(told))))
    given = next(setting for setting in PLAIN if setting.only == "states")
    line = line_of(subject, replace(given, monitor=True), Cases(0, NOTHING))
    assert "norm of dh" in line.blocks and not line.wrong and not line.note


@pytest.mark.parametrize("truncation", [None, pytest.param(sb.Window(2), marks=pytest.mark.long)])
def test_norms_are_those_of_copies_that_move_entry_by_entry(monkeypatch: Any, truncation: Any) -> None:
    """What the loops hand back is believed where the user's function agrees, and a wrong guess is not."""
    case, judged = Cases(0, NOTHING).at(lstm, MASKED), list[bool]()
    assert not isinstance(case, str)
    guessed, is_right = norms._guessed, norms._is_right

    def found(change: int) -> Any:
        def guess(*args: Any) -> Any:
            handed = guessed(*args)
            for of_span in handed:
                of_span["c"][0, 2, 1] += change
            return handed

        def judge(*args: Any) -> bool:
            judged.append(is_right(*args))
            return judged[-1]

        monkeypatch.setattr(norms, "_guessed", guess)
        monkeypatch.setattr(norms, "_is_right", judge)
        with functions_of(case.atoms):
            given = (lstm, case.point, case.wanted, case.sent, truncation, np.random.default_rng(0))
            return norms.squares(*given)["norm of dh"]

    right, wrong = found(0), found(1)
    assert np.array_equal(right, wrong) and np.all(right[:-1] != 0)
    assert all(judged[: len(judged) // 2]) and not any(judged[len(judged) // 2 :])


def test_a_cell_that_runs_over_the_field_with_few_numbers_alone_is_proved_nowhere() -> None:
    @sb.cell
    def partly(x: Input["n"], h: State["n"], w: Param["n"]):
        if isinstance(x, np.ndarray) and x.shape[-1] > 1 and type(x) not in (np.ndarray,):
            raise TypeError("no dual numbers")
        return np.tanh(w * h + x)

    found = proof_of(sb.compile(partly), 0)
    assert any(not line.note for line in found.lines) and set(found.unproved) == {"dx", "dh_0", "dw"}


@pytest.mark.parametrize("proof", ["no", 0, None])
def test_proof_is_asked_for_by_a_truth(proof: Any) -> None:
    with pytest.raises(sb.ArgumentError, match="proof is True or False, got"):
        sb.verify(min_gru, proof=proof)


# Mistakes are found.


@sb.cell
def telling(x: Input["n"], h: State["n"], U: Param["n n"]):
    """A state, and an output beside it."""
    h = np.tanh(U @ h + x)
    return {"h": h, "y": h * x}


GATED, SCANNED, TELLING = sb.compile(lstm), sb.compile(scanned), sb.compile(telling)
MODEL = sb.compile(sb.model(gru, squared))
FAULTS: list[tuple[str, Kernel, str, str]] = [
    ("a term that is dropped", GATED, "np.add(dc, s_1, out=dc)", "np.add(dc, 0, out=dc)"),
    ("a sign", GATED, "np.subtract(1, i_b, out=s_b)", "np.add(1, i_b, out=s_b)"),
    ("the forgetting of a gate", GATED, "np.multiply(dc, f_t, out=dc)", "np.multiply(dc, 1, out=dc)"),
    ("another gate", GATED, "np.multiply(dc, da_i_dc_t, out=da_i_t)", "np.multiply(dc, da_f_dc_t, out=da_i_t)"),
    ("a shift by one step", GATED, "np.multiply(c_prev[lo:hi], f_b, ", "np.multiply(c[lo:hi], f_b, "),
    ("a transposition", GATED, "np.concatenate([Ui, Uf, Ug, Uo])", "np.concatenate([Ui.T, Uf, Ug, Uo])"),
    ("an initial state without a gradient", GATED, "dict(zip(STATES, adjoints)),\n", "{k: 0 * v for k, v in zip(STATES, adjoints)},\n"),
    ("the sum over blocks", GATED, "np.add(dU_gates, s_3, out=dU_gates)", "np.multiply(1, s_3, out=dU_gates)"),
    ("the bounds of a block", GATED, "for hi in range(T, 0, -K):", "for hi in range(T, 1, -K):"),
    ("a line of lengths", GATED, "                _wait(active[t], adjoints, waiting)", "                pass"),
    ("a line of resets", GATED, "            total += _kept(reset[t], d)", "            total += 0 * _kept(reset[t], d)"),
    ("the cotangent behind an end", GATED, "last[name] = _after_end(active, full[name])", "last[name] = None"),
    ("the cotangent behind an end, beside a loss", MODEL, "last[name] = _after_end(active, full[name])", "last[name] = None"),
    ("a buffer of another step", GATED, "f[lo:hi][::-1])", "f[lo:hi])"),
    ("an accurate slope of another argument", GATED, "x_b.reshape(K * B, m) @ Wf.T", "x_b.reshape(K * B, m) @ Wi.T"),
    ("a window of a scan", SCANNED, "spans = _spans(s, m, back)", "spans = _spans(s, m, False)"),
    ("the step of a norm", GATED, "flow[k][t] = _norm(d)", "flow[k][t - 1] = _norm(d)"),
    ("samples in a norm", GATED, "flow[k][t] = _norm(d)", "flow[k][t] = _norm(d[:1])"),
    ("a parameter of a loss", MODEL, "else v for k, v in own.items()}", "else 0 * v for k, v in own.items()}"),
    ("no steps at all", GATED, "v + resets[k] for k, v in state", "v + resets[k] + (k == 'c' and empty) for k, v in state"),
    ("states of a ragged batch in rows", TELLING, "else rows.sent(v) for k, v in full", "else rows.sent(v * (k == 'y')) for k, v in full"),
    ("the mean of a loss", MODEL, "REDUCTION = 'sum'", "REDUCTION = 'mean'"),
]  # fmt: skip


def spoiled(kernel: Kernel, old: str, new: str) -> Kernel:
    """The kernel with a mistake in its module."""
    assert old in kernel.source, old
    source = kernel.source.replace(old, new)
    return Kernel(kernel.target, kernel.program, source, kernel.truncation, kernel.clip_adjoint, kernel.memory)


def found_by(kernel: Kernel) -> tuple[str, ...]:
    """The blocks that the proof of a module calls wrong, or a note that it does not run."""
    cases = Cases(0, NOTHING)
    found: list[str] = []
    for subject, settings in subjects_of(kernel):
        for setting in settings:
            line = line_of(subject, setting, cases)
            found += [*line.wrong]
            if line.wrong:
                return tuple(found)
    return tuple(found)


@pytest.mark.parametrize("words, kernel, old, new", FAULTS, ids=[fault[0] for fault in FAULTS])
@pytest.mark.thinned(59, 3)
def test_a_planted_mistake_is_found(words: str, kernel: Kernel, old: str, new: str) -> None:
    assert not found_by(kernel) if words == FAULTS[0][0] else True
    assert found_by(spoiled(kernel, old, new)), words


@pytest.mark.parametrize("name", ["dWz", "dWc"])
def test_the_wrong_block_alone_is_named(name: str) -> None:
    kernel = spoiled(SCANNED, f'"{name[1:]}": {name}', f'"{name[1:]}": 2 * {name}')
    assert set(found_by(kernel)) == {name}


def test_a_gradient_of_another_shape_is_wrong() -> None:
    wrong = spoiled(GATED, '"Wg": dW_gates[2*n:3*n]', '"Wg": dW_gates[3*n:3*n]')
    assert found_by(wrong) == ("dWg",)


def test_a_path_that_raises_an_error_in_floats_too_is_wrong() -> None:
    wrong = spoiled(GATED, "total += _kept(reset[t], d)", "total += _kept(resets[t], d)")
    (subject, settings), *_ = subjects_of(wrong)
    lines = {setting.path: line_of(subject, setting, Cases(0, NOTHING)) for setting in settings}
    assert {path for path, line in lines.items() if line.wrong} == {
        MASKED.path,
        "resets; cotangents of states at the last step",
    }
    assert {*lines[MASKED.path].wrong} >= {"h", "dUg", "dx[t=0]"} and not any(line.note for line in lines.values())


def test_pieces_by_bytes_are_proved_on_a_kernel() -> None:
    kernel = sb.compile(scanned, memory=2**40)
    assert not found_by(kernel)
    assert found_by(spoiled(kernel, "v[lo - 1] if lo else begun[k]", "v[lo] if lo else begun[k]"))


def test_slices_along_two_axes_are_not_taken_for_a_tiling() -> None:
    """A mutant of `autodiff/vjp.py` that no other cell caught: slices of both axes are joined along one."""

    @sb.cell
    def corners(x: Input["n"], S: State["n n"]):
        return np.outer(x, x) * np.sum(np.tanh(S[:1, :1])) + np.sum(np.sin(S[1:, 1:]))

    kernel = sb.compile(corners)
    (subject, settings), *_ = subjects_of(kernel)
    line = line_of(subject, settings[1], Cases(0, NOTHING))
    assert "dS_0" in line.compared and not line.wrong and not line.note


def test_a_wrong_pass_is_found_in_the_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    def doubles(program: Any) -> Any:
        return replace(
            program, params={k: program.params[b] for k, b in zip(program.params, [*program.params][::-1], strict=True)}
        )

    doubles.__name__ = "doubles"
    monkeypatch.setattr(subjects, "PASSES", (*subjects.PASSES[:-1], doubles, subjects.PASSES[-1]))
    square = [s for s in subjects.loops_of(hopping) if "doubles" in s[0].words]
    assert square
    assert all(line_of(subject, LOOPS[1], Cases(0, NOTHING)).wrong for subject, _ in square)


@sb.cell
def hopping(x: Input["n"], h: State["n"], U: Param["n n"], V: Param["n n"]):
    return np.tanh(U @ h) + V @ x


# The field, and numbers and functions in it.


def test_arithmetic_is_that_of_whole_numbers() -> None:
    random = np.random.default_rng(0)
    a, b = (random.integers(0, P, (3, 70)).astype(float) for _ in range(2))
    whole = [[int(x) for x in row] for row in a], [[int(x) for x in row] for row in b]
    assert times(a, b).tolist() == [
        [x * y % P for x, y in zip(*rows, strict=True)] for rows in zip(*whole, strict=True)
    ]
    wanted = [[sum(x * y for x, y in zip(r, s, strict=True)) % P for s in whole[1]] for r in whole[0]]
    assert product(a, b.T).tolist() == wanted
    assert product(a[:, :5], b.T[:5]).tolist() == [[sum(x * y for x, y in zip(r[:5], s, strict=False)) % P for s in whole[1]] for r in whole[0]]  # fmt: skip
    assert np.all(times(a, inverse(a)) == 1)
    assert power(a, 5).tolist() == [[pow(x, 5, P) for x in row] for row in whole[0]]
    assert np.isnan(times(a, np.where(b == b[0, 0], np.nan, b))).sum() == 1


def test_signs_are_multiplicative_and_small_numbers_positive() -> None:
    assert sp.isprime(P) and P % 4 == 3
    a, b = (np.random.default_rng(i).integers(1, P, 200).astype(float) for i in (1, 2))
    assert np.all(character(times(a, b)) == character(a) * character(b))
    assert np.all(character(P - a) == -character(a)) and np.all(character(times(a, a)) == 1)
    assert np.all(character(np.arange(1.0, 79.0)) == 1)
    assert all(root(n) ** 2 % P == n and pow(root(n), (P - 1) // 2, P) == 1 for n in range(1, 79))


@pytest.mark.parametrize(
    "value, wanted",
    [(0.1, Fraction(1, 10)), (0.1 * 3, Fraction(3, 10)), (-1e-8, Fraction(-1, 10**8)), (1 / 3, Fraction(1, 3)), (2.0**40, Fraction(2**40)),
     (0.044715, Fraction(44715, 10**6)), (1.2345678901, Fraction(12345678901, 10**10)),
     (float(np.float32(0.1)), Fraction(13421773, 2**27)), (1 / float(np.float32(0.1)), Fraction(2**27, 13421773)),
     (float(np.float32(0.1)) - 1, Fraction(13421773 - 2**27, 2**27))],
)  # fmt: skip
def test_a_float_stands_for_the_number_that_was_meant(value: float, wanted: Fraction) -> None:
    assert element(value) == fraction(wanted)


SUMMED = np.random.default_rng(3).standard_normal(4).astype(np.float32)


@sb.cell
def of_sizes(x: Input["n"], h: State["n"], W: Param["n n"]):
    """Constants that are made of a size, and added by the module before it runs."""
    i = np.arange(h.shape[0])
    return np.tanh(W @ x) + np.exp(-i / h.shape[0]) * h + np.cos(2 * np.pi * i / h.shape[0]) * h


@sb.cell
def of_numbers(x: Input["n"], h: State["n"], w: Param["n"]):
    """Numbers that a module multiplies and adds before it runs, some of them sums of float32."""
    return (h * 0.7310585786300049 + w * x) * 0.1 + 0.7 * h - np.float32(1.91) * h + SUMMED.sum() * h


@pytest.mark.parametrize("cell", [of_sizes, of_numbers])
def test_constants_that_a_module_makes_of_those_of_the_function_are_proved(cell: sb.Cell) -> None:
    kernel = sb.compile(cell)
    ((subject, _),) = subjects_of(kernel)
    found = line_of(subject, FEW[0], Cases(0, NOTHING))
    assert not found.note and not found.wrong and "dh_0" in found.blocks


def test_a_planted_mistake_in_a_constant_that_a_module_makes_is_wrong() -> None:
    kernel = sb.compile(of_numbers)
    (made,) = re.findall(r"number = np.array\((\d\.\d+),", kernel.source)
    text = kernel.source.replace(made, repr(float(made) * (1 + 1e-6)))
    ((subject, _),) = subjects_of(Kernel(of_numbers, kernel.program, text))
    assert text != kernel.source and "dh_0" in line_of(subject, FEW[0], Cases(0, NOTHING)).wrong


def test_a_float_is_the_shortest_sum_of_the_numbers_that_are_known() -> None:
    numbers = Numbers()
    a, b = (numbers.note(x) for x in (0.7310585786300049, 0.5772156649015329))
    assert numbers.made(0.7310585786300049 + 0.5772156649015329) == (a + b) % P
    assert numbers.made(0.1 * 0.7310585786300049) == float(fraction(Fraction(1, 10)) * int(a) % P)
    assert numbers.made(1 - 0.7310585786300049 * 0.5772156649015329) == (1 - int(a) * int(b)) % P
    assert numbers.made(0.8234567890123457) == element(0.8234567890123457)


def test_roots_and_powers_of_pi_multiply() -> None:
    def times_(*values: float) -> int:
        return math.prod(int(element(value)) for value in values) % P

    assert times_(0.5**0.5, 0.5**0.5) == fraction(Fraction(1, 2))
    assert times_(2 / np.pi**0.5, np.pi**0.5) == 2
    assert times_((2 / np.pi) ** 0.5, 1 / (2 * np.pi) ** 0.5) == times_(1 / np.pi)
    assert times_(np.log(2), 1 / np.log(2)) == 1


def test_functions_keep_their_identities() -> None:
    a, b = (residues(np.random.default_rng(i).integers(1, P, 5).astype(float)) for i in (1, 2))
    with functions_of(Atoms(0)):
        laws: list[tuple[Any, Any]] = [
            (np.exp(a) * np.exp(b), np.exp(a + b)), (np.exp(-a) * np.exp(a), 1 + 0 * a), (np.log(np.exp(a)), a), (np.exp(np.log(a)), a),
            (np.exp(3 * a), np.exp(a) ** 3), (np.log(a * np.exp(b)), np.log(a) + b), (np.log1p(np.exp(a)) - np.log1p(np.exp(-a)), a),
            (np.tanh(a), 2 / (1 + np.exp(-2 * a)) - 1), (np.sin(a) ** 2 + np.cos(a) ** 2, 1 + 0 * a), (np.sin(-a), -np.sin(a)),
            (sb.sigmoid(a), np.exp(a) / (1 + np.exp(a))), (sb.softplus(a), np.log(1 + np.exp(a))), (np.expm1(-sb.softplus(a)), -sb.sigmoid(a)),
            (a**0.3 * a**0.7, a), (a**-0.3 * a**0.3, 1 + 0 * a), (np.logaddexp(a, b), np.logaddexp(b, a)), (np.sqrt(a * a), np.abs(a)),
            (np.max(np.stack([a, b]), 0), np.maximum(a, b)), (-np.max(-a), np.min(a)), (np.tan(a) * np.cos(a), np.sin(a)),
        ]  # fmt: skip
        assert all(np.array_equal(elements(x), elements(y)) for x, y in laws), [
            i for i, (x, y) in enumerate(laws) if np.any(elements(x) != elements(y))
        ]


def test_a_root_that_does_not_exist_is_refused_while_arguments_are_drawn() -> None:
    atoms = Atoms(0)
    atoms.strict = True
    with pytest.raises(NoRootError):
        atoms.sqrt(P - 4)
    assert atoms.sqrt(4) == 2


@pytest.mark.parametrize("rows, few", [(3, 400), (11, 25)])
@pytest.mark.thinned(2)
def test_a_search_for_roots_that_needs_more_draws_than_are_left_ends_soon(
    monkeypatch: Any, rows: int, few: int
) -> None:
    @sb.cell
    def rooted(x: Input[f"{rows}"], h: State[f"{rows}"]):  # type: ignore[no-untyped-def]
        return h * np.sqrt(x + h * h)

    def tries() -> tuple[str, int]:
        counted = [0]

        def run(self: Any, point: Any) -> Any:
            counted[0] += 1
            return before(self, point)

        before = draws._Search.run
        with monkeypatch.context() as patch:
            patch.setattr(draws._Search, "run", run)
            case = Cases(0, NOTHING).at(rooted, PLAIN[0], rooted=True)
        return case if isinstance(case, str) else "", counted[0]

    note, count = tries()
    assert (note == "") == (rows == 3) and count < few, (note, count)
    if rows > 3:  # all draws are tried where nobody asks how many are needed
        monkeypatch.setattr(draws, "LOOKS", 10**9)
        assert tries()[1] > 1_000


@pytest.mark.parametrize("call", [
    lambda x: (x**2 + 1) / (x - 3), lambda x: x**-3 + 1 / x, lambda x: np.sum(np.outer(x, x) @ x) * x, lambda x: np.einsum("i,ij->j", x, np.outer(x, x)),
    lambda x: np.cumsum(x) * np.concatenate([x[1:], x[:1]]), lambda x: np.mean(x * x) + x.var() * x, lambda x: np.tensordot(x, np.outer(x, x), 1),
])  # fmt: skip
def test_dual_numbers_differentiate_as_fractions_do(call: Callable[[Any], Any]) -> None:
    """Of a rational function in exact fractions: a difference quotient of a polynomial or a rational function is its slope in the limit,
    which SymPy takes."""
    t = sp.Symbol("t", real=True)
    point, direction = [2, 5, 7], [1, -3, 4]
    moved = np.array([sp.Integer(p) + t * d for p, d in zip(point, direction, strict=True)], object)
    wanted = [sp.nsimplify(sp.diff(sp.sympify(v), t).subs(t, 0)) for v in np.ravel(call(moved))]
    found = np.ravel(elements(call(residues(np.array(point, float) + 0j) + 1j * residues(np.array(direction, float)))))
    assert [int(v) for v in found.imag] == [fraction(Fraction(int(w.p), int(w.q))) for w in wanted]


def test_settings_are_many_and_small() -> None:
    assert {(s.lengths, s.reset) for s in PLAIN} >= {(True, True), (True, False), (False, True), (False, False)}
    assert all(s.size.steps <= 9 for s in (*PLAIN, *FEW, *LOOPS))


# The rules of the table.


@pytest.mark.parametrize("name", [op.name for op in ops.OPS if op.name not in rules.ALONE])
def test_a_derivative_of_the_table_holds_at_50_digits_and_for_sympy(name: str) -> None:
    assert rules.rules_of(name) and all(rule.holds for rule in rules.rules_of(name))
    assert name not in rules.SMOOTH or all(rule.by_sympy for rule in rules.rules_of(name))


def test_primitive_without_its_value_at_50_digits_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(rules.NUMBERS, "sigmoid")
    with pytest.raises(
        AssertionError, match="sigmoid is a primitive, and its value at 50 digits is not among the NUMBERS"
    ):
        rules._named(ops.BY_NAME["sigmoid"])


@pytest.mark.parametrize("function", ops.REMAINDERS, ids=lambda f: f.__name__)
def test_remainders_are_the_same_from_value_and_argument(function: Any) -> None:
    """What a function that saturates leaves of one, from its value and from its argument, at 50 digits."""
    rest, e, a = ops.REMAINDERS[function][1], sp.Symbol("e"), sp.Symbol("a", positive=True)
    forms = [rest.body(function(a)), rest.alone(a), sp.sympify(rest.code, {"e": e}).subs(e, sp.exp(-a))]
    calls = [sp.lambdify(a, form, modules=[rules.NUMBERS, "mpmath"]) for form in forms]
    with mpmath.mp.workdps(rules.DIGITS):
        for part in (0.7, 3.1, 9.7):
            found = [call(mpmath.mp.mpf(part)) for call in calls]
            assert max(abs(x - found[0]) for x in found) <= mpmath.mp.mpf(10) ** -rules.AGREED * abs(found[0])


@pytest.mark.parametrize(
    "name, wrong",
    [("sigmoid", lambda x, y: y * (1 + y)), ("softplus", lambda x, y: 1 - y), ("relu", lambda x, y: ops.greater(x, 1))],
)
def test_a_wrong_derivative_in_the_table_is_found(name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops.BY_NAME[name].body, "fdiff", lambda self, argindex=1: sp.sympify(wrong(*self.args, self)))
    rules.rules_of.cache_clear()
    assert rules.wrong_rules([name]) == (name,)
    assert f"WRONG: {name}" in rules.line_of_rules([name])
    monkeypatch.undo()
    rules.rules_of.cache_clear()
    assert not rules.wrong_rules([name])


# The symbolic proof.


@pytest.mark.parametrize("name, least", [("rnn", 6), ("min_gru", 6), pytest.param("lstm", 4, marks=pytest.mark.long)])
def test_the_difference_is_the_polynomial_zero(name: str, least: int) -> None:
    found = symbolic(ZOO[name], NOTHING, 20 if least == 6 else 2)
    assert len(found.zero) >= least and not found.other, str(found)


@pytest.mark.long
@pytest.mark.thinned(1, 11)
@pytest.mark.parametrize("name", ["lstm", "gru", "mgu", "cifg", "sru", "ugrnn", "lstm_peephole", "minimal_rnn"])
def test_gates_are_proved_at_two_steps_within_a_minute(name: str) -> None:
    found = symbolic(ZOO[name], NOTHING, 60)
    assert "(2,1,2)" in found.zero and not found.other, str(found)


def test_where_the_symbolic_proof_ends_is_said() -> None:
    found = symbolic(lstm, NOTHING, 0.05)
    assert "was not reached within 0.05 s of processor time" in str(found)


def test_a_wrong_derivative_is_no_polynomial_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Opaque, "tanh", lambda self: self._odd("tanh", lambda y: 1 + self._square(y)))
    found = symbolic(ZOO["rnn"], NOTHING, 5)
    assert not found.zero and found.other


# How sure it is.


def test_degrees_are_counted() -> None:
    """Of h' = w h x over T steps: the derivative by w has degree T - 1 in w, T in x, 1 in h, and one in u and in v each."""

    @sb.cell
    def linear(x: Input["n"], h: State["n"], w: Param["n"]):
        return w * h * x

    found = lowered(program_of(derive(linear.step)), (place,), True)
    case = Cases(0, NOTHING).at(linear, FEW[0])
    assert not isinstance(case, str) and degree(found, linear, case.point, case.sent) == (5 - 1) + 5 + 1 + 1 + 1
    assert "1 / 2017348511" in chance_of(12) and "at most 2e-08 (degree 24)" in chance_of(12)
    assert "no bound" in chance_of(10**9)


@sb.cell
def rooted(x: Input["n"], h: State["n"], w: Param["6 n"]):
    return np.tanh(h + x) * np.sum(np.sqrt(np.abs(w) @ (h * h) + 1 + x[0] * x[0]))


@sb.cell
def layers(x: Input["3 n"], h: State["4 n"], U: Param["n n"]):
    """More roots a step than arguments can be found for at which all exist."""
    s = h
    for _ in range(3):
        s = s + np.tanh(sb.layer_norm(s) @ U) + np.mean(sb.layer_norm(x @ U), 0)
    return s


@sb.cell
def normed(x: Input["n"], h: State["n"], U: Param["n n"]):
    """Roots of the state alone, which the step before decides."""
    return sb.layer_norm(U @ h) * sb.norm(h) + x


@pytest.mark.parametrize("cell", [rooted, normed], ids=lambda c: c.name)
def test_arguments_are_drawn_at_which_all_roots_exist(cell: sb.Cell) -> None:
    drawn = Cases(0, NOTHING)
    (subject, settings), *_ = subjects_of(sb.compile(cell))
    for setting in (settings[1], MASKED):
        line = line_of(subject, setting, drawn)
        assert not line.note and not line.wrong, line


def of_module(kernel: Kernel, cases: Cases) -> Line:
    (subject, _), *_ = subjects_of(kernel)
    return line_of(subject, FEW[0], cases)


def test_roots_that_no_arguments_have_are_proved_by_their_derivatives() -> None:
    kernel, drawn = sb.compile(layers), Cases(0, NOTHING)
    line, case = of_module(kernel, drawn), drawn.at(layers, FEW[0])
    assert not isinstance(case, str) and case.free
    assert not line.note and not line.wrong and "dU" in line.compared, line


@pytest.mark.long
def test_a_mistake_in_the_slope_of_a_root_that_no_arguments_have_is_found() -> None:
    wrong = spoiled(sb.compile(layers), "np.divide(0.5 / n, deviation_3_b", "np.divide(1 / n, deviation_3_b")
    assert "dU" in of_module(wrong, Cases(0, NOTHING)).wrong


def test_what_takes_the_square_of_a_root_for_its_argument_is_proved_where_roots_exist() -> None:
    """x / √x is √x for those roots alone whose square is known."""
    drawn, old = Cases(0, NOTHING), "np.sqrt(s_1, out=deviation_t)"
    line = of_module(spoiled(sb.compile(normed), old, "np.divide(s_1, np.sqrt(s_1), out=deviation_t)"), drawn)
    assert not line.note and not line.wrong and "dU" in line.compared, line
    assert {rooted for _, _, rooted in drawn.known} == {False, True} and drawn.needs_roots(normed)
    wrong = of_module(spoiled(sb.compile(normed), old, "np.multiply(2, np.sqrt(s_1), out=deviation_t)"), drawn)
    assert "dU" in wrong.wrong, wrong


def test_a_declared_derivative_is_that_of_letters_too() -> None:
    spike = sb.function("spike_of_letters", lambda v: sp.Heaviside(v, 0), lambda v: 1 / (1 + v**2) ** 2)

    @sb.cell
    def spiking(x: Input["n"], h: State["n"], w: Param["n"]):
        return w * h * (1 - spike(h)) + x

    found = symbolic(spiking, NOTHING, 10)
    assert len(found.zero) == 6 and not found.other, str(found)
    assert not proof_of(sb.compile(spiking), 0).wrong
