"""What deriving, compiling and unrolling cost, as ratios to importing SymPy, networkx and NumPy in the same run.

Not part of the default run: `python -m pytest tests/benchmarks -m benchmark -s`. The ratios are printed beside the
goals; what is asserted is 1.5 times the goals, since machines are noisy.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SLACK = 1.5
REPEAT = 5

pytestmark = pytest.mark.benchmark

TIMED = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"
UNIT = "import sympy, networkx, numpy"
LOADED = "import symbptt as sb; from symbptt.zoo import lstm; sb.{}; start = time.perf_counter()"
GOALS: dict[str, tuple[float, str]] = {
    "import symbptt": (1.3, "import symbptt as sb; sb.cell, sb.derive, sb.compile, sb.verify"),
    "derive an LSTM": (0.7, f"{LOADED.format('derive')}; sb.derive(lstm).text()"),
    "compile an LSTM": (1.0, f"{LOADED.format('compile')}; sb.compile(lstm).module"),
    "unroll 2,000 steps": (3.0, f"{LOADED.format('unroll')}; sb.unroll(lstm, steps=2000, backward=True)"),
}


def seconds(statement: str) -> float:
    """The time that a statement says it takes in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", TIMED.format(statement)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def command() -> float:
    """The time of `symbptt derive lstm` as a process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "symbptt", "derive", "lstm"], cwd=ROOT, capture_output=True, check=True)
    return time.perf_counter() - start


def ratio(measure: Callable[[], float]) -> float:
    """The best of several times, over the best of the unit's, measured in turns."""
    pairs = [(seconds(UNIT), measure()) for _ in range(REPEAT)]
    return min(own for _, own in pairs) / min(unit for unit, _ in pairs)


def report(what: str, value: float, goal: float) -> None:
    print(f"\n{what:<24} {value:5.2f} (goal {goal:.2f}) {'' if value <= goal else 'MISSED'}")
    assert value <= SLACK * goal


@pytest.mark.parametrize("what", GOALS)
def test_cost_is_a_small_multiple_of_the_imports(what: str) -> None:
    goal, statement = GOALS[what]
    report(what, ratio(lambda: seconds(statement)), goal)


def test_command_costs_little_more_than_its_imports() -> None:
    report("symbptt derive lstm", ratio(command), 3.0)


HELP = """
import sys
import symbptt.commands.main
sys.argv = ["symbptt", "--help"]
try:
    symbptt.commands.main.main()
except SystemExit:
    pass
assert "sympy" not in sys.modules
"""


def test_help_imports_no_sympy() -> None:
    subprocess.run([sys.executable, "-c", HELP], cwd=ROOT, capture_output=True, check=True)


def test_unrolling_is_linear_in_the_number_of_steps() -> None:
    statement = f"{LOADED.format('unroll')}; sb.unroll(lstm, steps={{}}, backward=True)"
    few, many = (min(seconds(statement.format(steps)) for _ in range(3)) for steps in (500, 2000))
    print(f"\n500 steps {few:.3f} s, 2,000 steps {many:.3f} s")
    assert many / few < 4 * SLACK
