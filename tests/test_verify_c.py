"""`sb.verify(cell, target="c")`: the kernel in C goes through all levels, and mistakes in its text, and in its loops, are caught."""

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt.codegen import compiler, in_c
from symbptt.codegen.loop_ir.nodes import Contract, Loop
from symbptt.codegen.lower.driven import Pair
from symbptt.commands.main import run as run_command
from symbptt.verification.checks import rows
from symbptt.verification.proof import subjects
from symbptt.verification.proof.prove import proof_of
from symbptt.zoo import gru, rnn
from tests import oracle
from tests.c_mutants import mutants
from tests.ccode import CC
from tests.kernels import kernel_of

pytestmark = [pytest.mark.skipif(not CC, reason="no C compiler, cc, on this machine"), pytest.mark.proof]


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(compiler, "WISHED", ("-O1",))
        yield


@sb.cell
def leaky(x: sb.Input["n"], h: sb.State["n"], w: sb.Param["n"]):
    return np.tanh(w * h + x)


@pytest.mark.long
def test_report_says_what_is_compared_in_c() -> None:
    report = sb.verify(leaky, target="c", proof=False)
    assert report.passed and not report.text and report.settings == sb.verify(leaky, proof=False).settings
    assert "the text of C itself is compared, not proved" in str(report)


@pytest.mark.long
def test_report_says_what_is_proved_on_what() -> None:
    report = sb.verify(leaky, target="c")
    assert report.passed and report.proof is not None and report.rounding is not None
    assert "exact: loops that its C is printed from" in str(report) and "exact: its module in NumPy" in str(report)


def test_what_goes_not_together_is_refused() -> None:
    with pytest.raises(sb.ArgumentError, match='a kernel has its own target, got target="c" beside one'):
        sb.verify(kernel_of(rnn), target="c")
    with pytest.raises(sb.ArgumentError, match="a module in a file is one in NumPy"):
        sb.verify(rnn, target="c", module="rnn.py")
    with pytest.raises(
        sb.ArgumentError, match='target is "numpy" or "c", got "fortran"'.replace('"fortran"', "'fortran'")
    ):
        sb.verify(rnn, target="fortran")  # type: ignore[arg-type]


@pytest.mark.long
def test_command_line_verifies_in_c(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["verify", "rnn", "--target", "c", "--no-proof"]) == 0
    assert "rnn: passed" in capsys.readouterr().out


def test_loops_of_c_with_a_mistake_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = kernel_of(rnn, asked="c")
    right = subjects.loops_of_c

    def without_a_product(p: Any) -> Pair:
        """The sweep backward without its last product."""
        pair = right(p)
        *_, loop = [s for s in pair.backward.body if isinstance(s, Loop)]
        assert isinstance(loop, Loop) and any(isinstance(s, Contract) for s in loop.body)
        last = [i for i, s in enumerate(loop.body) if isinstance(s, Contract)][-1]
        changed = replace(loop, body=(*loop.body[:last], *loop.body[last + 1 :]))
        body = tuple(changed if s is loop else s for s in pair.backward.body)
        return Pair(pair.forward, replace(pair.backward, body=body))

    monkeypatch.setattr(subjects, "loops_of_c", without_a_product)
    wrong = [line for line in proof_of(kernel, 0).lines if line.wrong]
    assert wrong and all(line.subject == "loops that its C is printed from" for line in wrong)


def results(kernel: sb.Kernel, groups: Any, **call: Any) -> dict[str, Any]:
    """States and gradients of a kernel."""
    run = kernel.forward(*groups, **call)
    return run.states | oracle.flat(kernel.backward(run, {k: np.cos(v) for k, v in run.states.items()}))


def found_by_rows(kernel: sb.Kernel) -> bool:
    return any(not row.passed for row in rows(kernel, 0))


def with_text(right: str, wrong: str, patch: pytest.MonkeyPatch) -> None:
    """Let libraries be made of texts with another piece."""
    made = in_c.library

    def library(text: str, *macros: Any) -> Any:
        return made(text.replace(right, wrong, 1), *macros)

    patch.setattr(in_c, "library", library)


def survivors(cell: sb.Cell, count: int, seed: int) -> tuple[list[str], int]:
    """The mistakes in the text of C that change a result and that no level in floats finds, and how many change one."""
    plain = kernel_of(cell, asked="c")
    text, groups = plain.c_source, oracle.draw(cell, 5, 2, {"m": 3, "n": 4})
    wanted = results(plain, groups)
    begin = f"void {cell.name}_forward(const"
    found = [*mutants(text + "/* end */", begin, "/* end */")]
    alive, counted = list[str](), 0
    for m in random.Random(seed).sample(found, count):
        with pytest.MonkeyPatch.context() as patch:
            other = sb.compile(cell, target="c")
            with_text(text, m.text.removesuffix("/* end */"), patch)
            try:
                got = results(other, groups)
            except sb.TargetError:  # it is no C any more
                continue
            if all(np.allclose(got[k], v, rtol=1e-12, atol=0) for k, v in wanted.items()):
                continue
            counted += 1
            if not found_by_rows(other):
                alive.append(f"{m.kind}: {m.before} -> {m.line}")
    return alive, counted


def test_a_mistake_in_the_text_is_found() -> None:
    alive, counted = survivors(rnn, 3, 1)
    assert not alive and counted > 0


@pytest.mark.long
def test_mistakes_in_the_text_are_found() -> None:
    alive, counted = survivors(gru, 26, 2)
    assert not alive and counted >= 15


def test_a_dropped_mask_is_found() -> None:
    """Of the text of calls with masks: who has a step, and whose state goes back."""
    for mask in ("active", "reset"):
        kernel = sb.compile(rnn, target="c")
        assert kernel.in_c is not None
        text = kernel.in_c.variant(True, False).text
        line = next(x for x in text.splitlines() if f"({mask}[" in x and "?" in x)
        at = line.index(f"({mask}[")
        condition = line[at + 1 : line.index("?", at)].strip()
        with pytest.MonkeyPatch.context() as patch:
            with_text(line, line.replace(condition, "1" if mask == "active" else "0", 1), patch)
            assert found_by_rows(kernel), line
