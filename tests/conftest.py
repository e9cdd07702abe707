"""Hypothesis profiles, and golden files with --update-golden."""

import difflib
import gc
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

GOLDEN = Path(__file__).parent / "golden"

# Derandomised: a test that turns red does so because of a change. `explore` looks for new examples, by hand.
settings.register_profile("default", max_examples=12, deadline=None, derandomize=True, database=None)
settings.register_profile("ci", max_examples=40, deadline=None, derandomize=True, database=None, print_blob=True)
settings.register_profile("explore", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile("default")


def pytest_configure() -> None:
    """Tests make much that lives long, so the collector of cycles, which looks at all that lives, need not run so often. Processes that
    tests start find the library compiled, even where this one shall leave no bytecode."""
    gc.set_threshold(20_000, 20, 20)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """All tests run in a process for each core, where pytest-xdist is there and no -n says otherwise; tests that are chosen, or
    print with -s, run in one, which starts sooner."""
    are_all = config.args == config.getini("testpaths") and not config.option.keyword and config.option.capture != "no"
    if are_all and config.getoption("numprocesses", 0) is None and not hasattr(config, "workerinput"):
        config.option.numprocesses, config.option.maxprocesses, config.option.dist = "auto", 8, "worksteal"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test with the mark `thinned(n)` every n-th case is run by default; the others are `long`. With `thinned(n, m)`
    every m-th case is `long`, if it is not run by default, and the others `exhaustive`. With n and m prime to the lengths
    of the grid's axes each value of each axis is still met. What is `long` or `exhaustive` itself never becomes a default case."""
    seen: Counter[str] = Counter()
    for item in items:
        mark = item.get_closest_marker("thinned")
        if mark is not None:
            test = item.nodeid.partition("[")[0]
            every, some = (*mark.args, 1)[:2]
            is_chosen = item.get_closest_marker("exhaustive") is None
            if is_chosen and (seen[test] % every or item.get_closest_marker("long")):
                item.own_markers = [own for own in item.own_markers if own.name != "long"]
                item.add_marker(pytest.mark.exhaustive if seen[test] % some else pytest.mark.long)
            seen[test] += 1


def pytest_collection_finish() -> None:
    """What modules hold by now is never garbage."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden with what the tests produce")


@pytest.fixture(autouse=True)
def numeric_levels_alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sb.verify` leaves its proof and rounding out, but in tests with the mark `proof`: these take seconds, and have tests of their
    own."""
    if request.node.get_closest_marker("proof") is None:
        for level in ("proof_of", "rounding_of"):
            monkeypatch.setattr(f"symbptt.verification.checks.{level}", lambda *_: None)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """golden(name, text) fails unless tests/golden/name holds exactly the text; --update-golden writes it there."""

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="")
        expected = _read(path)
        if text != expected:
            cure = f"python -m pytest '{request.node.nodeid}' --update-golden"
            pytest.fail(f"{_difference(name, expected, text)}\nIf the new text is right: {cure}", pytrace=False)

    return check


def _read(path: Path) -> str:
    """The text of a file byte for byte; empty if there is no file."""
    return path.read_bytes().decode("utf-8") if path.exists() else ""


def _difference(name: str, expected: str, got: str) -> str:
    lines = expected.splitlines(), got.splitlines()
    shown = "\n".join(difflib.unified_diff(*lines, f"tests/golden/{name}", "this run", lineterm=""))
    return shown or f"tests/golden/{name} is missing, or differs in line ends only"
