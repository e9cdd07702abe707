"""Text is parsed by one thread at a time, for CPython counts the depth of the trees of all threads together."""

import ast
import gc
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest

import symbptt
from symbptt import codegen, syntax

TEXT = "\n".join(f"def f{i}(a, b):\n    return a + b * ({i} + a[{i}:b])" for i in range(200))


class Yielding:
    """A cycle whose end lets another thread run: what a collection meets in the middle of a parse."""

    def __init__(self) -> None:
        self.own = self

    def __del__(self) -> None:
        time.sleep(0.0005)


@pytest.fixture
def many_collections() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(50)
    yield
    gc.set_threshold(*before)


def parsed_at_once(parse: Callable[[str], object]) -> None:
    def one(_: int) -> object:
        for _ in range(20):
            Yielding()
        return parse(TEXT)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(40)))


@pytest.mark.long
def test_threads_may_parse_at_once(many_collections: None) -> None:
    parsed_at_once(syntax.parse)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="CPython counts for each thread alone")
@pytest.mark.long
def test_parser_without_the_lock_is_caught(many_collections: None) -> None:
    with pytest.raises(SystemError, match="recursion depth mismatch"):
        for _ in range(
            50
        ):  # whether two threads meet in the parser is chance; on a busy machine they may miss each other
            parsed_at_once(ast.parse)


def parsing_itself(folder: Path) -> list[str]:
    """The files that call CPython's parser without the lock."""
    return [x.name for x in sorted(folder.rglob("*.py")) if "ast.parse(" in x.read_text("utf-8")]


@pytest.mark.parametrize("package, own", [(symbptt, ["syntax.py"]), (codegen, [])], ids=["symbptt", "codegen"])
def test_no_other_file_calls_the_parser_itself(package: ModuleType, own: list[str]) -> None:
    (folder,) = {*package.__path__}
    assert [x for x in parsing_itself(Path(folder)) if x not in own] == []


def test_file_that_calls_the_parser_itself_is_caught(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("import ast\nTREE = ast.parse('a')\n")
    assert parsing_itself(tmp_path) == ["own.py"]
