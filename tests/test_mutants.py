"""Mutants of generated modules: each that changes a result of a call is caught by `sb.verify`."""

import ast
import random
from functools import cache

import pytest

import symbptt as sb
from symbptt.codegen.kernel import Kernel
from tests.cells import odd, vanilla
from tests.kernels import kernel_of
from tests.mutants import rules
from tests.mutants.calls import Battery
from tests.mutants.edits import Mutant, mutants, texts_of
from tests.mutants.levels import HEALTHY, SATURATED, Levels, with_text
from tests.mutants.run import MEMORY, EndlessError, within

pytestmark = pytest.mark.proof


@cache
def all_of(kernel: Kernel) -> list[Mutant]:
    return list(mutants(kernel.source))


def survivors(kernel: Kernel, chosen: list[Mutant]) -> tuple[list[str], int]:
    """The mutants that change a result of a call and that no level catches, and how many change one."""
    levels, battery = Levels(kernel), Battery(kernel, ("healthy",))
    alive, counted = [], 0
    for mutant in chosen:
        other = with_text(kernel, mutant.text)
        found = within(8, lambda other=other: {"changes": battery.changed_by(other)}, {"changes": "raises"})["changes"]
        if found and not found.startswith("raises"):
            counted += 1
            if not levels.proof(other) and not levels.numeric(other, HEALTHY + SATURATED):
                alive.append(f"{mutant}: {found}")
    return alive, counted


@pytest.mark.long
def test_no_mutant_of_a_sample_survives() -> None:
    alive, counted = survivors(kernel_of(vanilla), random.Random(1).sample(all_of(kernel_of(vanilla)), 32))
    assert not alive and counted > 4


@pytest.mark.long
@pytest.mark.thinned(1, 5)
@pytest.mark.parametrize("name, options", [
    ("lstm", {}), ("min_gru", {}), ("retnet", {}), ("lstm", {"memory": "sqrt"}), ("min_gru", {"truncation": sb.Chunked(3, 2)}), ("odd", {}),
])  # fmt: skip
def test_no_mutant_of_a_larger_sample_survives(name: str, options: dict) -> None:
    kernel = kernel_of(odd if name == "odd" else getattr(sb.zoo, name), **options)
    alive, counted = survivors(kernel, random.Random(2).sample(all_of(kernel), 40))
    assert not alive and counted > 2


@pytest.mark.long
def test_an_edit_is_one_and_of_a_function_that_computes() -> None:
    kernel = kernel_of(vanilla)
    found = all_of(kernel)
    kinds = {mutant.kind for mutant in found}
    assert kinds >= {"a dropped term", "a sign", "another operand", "another gate", "a shift by a step", "a transposition", "another buffer",
                     "a dropped statement", "a dropped mask", "a condition", "bounds of a block", "a constant", "order of statements"}  # fmt: skip
    assert len({mutant.text for mutant in found}) == len(found) > 500
    for mutant in found[::40]:
        ast.parse(mutant.text)
        assert mutant.text != kernel.source and not mutant.function.startswith("_check")
    assert not list(mutants(kernel.source, texts_of(kernel.source)))


def test_a_battery_sees_what_changes_and_nothing_else() -> None:
    kernel = kernel_of(vanilla)
    battery = Battery(kernel, ("healthy",))
    assert not battery.changed_by(with_text(kernel, kernel.source + "\n# the same\n"))
    assert "dU" in battery.changed_by(with_text(kernel, kernel.source.replace('"U": dU', '"U": 1.0001 * dU')))
    assert battery.changed_by(with_text(kernel, kernel.source.replace("def _backward(", "def _backwards("))).startswith(
        "raises"
    )
    # What one module writes into its arguments does not reach the next call.
    wild = with_text(kernel, kernel.source.replace("    U, W, b, h,", "    tape[0][...] = 0\n    U, W, b, h,"))
    assert battery.changed_by(wild)
    assert not battery.changed_by(kernel)


def test_what_does_not_end_is_stopped() -> None:
    def forever() -> dict:
        while True:
            pass

    assert within(0.05, forever, {"healthy": "stopped"}) == {"healthy": "stopped"}
    assert issubclass(EndlessError, BaseException) and not issubclass(EndlessError, Exception)


def test_what_takes_all_memory_is_stopped() -> None:
    with pytest.raises(MemoryError):
        within(8, lambda: {"x": bytearray(2 * MEMORY)}, {})


def test_the_code_of_a_rule_is_exchanged_in_a_process_of_its_own() -> None:
    path = rules.ROOT / "symbptt" / "autodiff" / "partials.py"
    mutant = next(m for m in rules.mutants(path) if m.function == "_decimal" and m.kind == "a constant")
    assert rules.forked(lambda: str(len(rules.exchange(path, mutant)))) == "1"
    assert rules.forked(lambda: str(1 / 0)).startswith("caught: ZeroDivisionError")
