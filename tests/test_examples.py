"""The examples of docs/examples: their heads, and that they run."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))


def test_there_are_four_examples() -> None:
    assert [path.name for path in EXAMPLES] == ["adding.py", "characters.py", "design_a_cell.py", "sunspots.py"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_says_its_command_in_its_head(path: Path) -> None:
    head = ast.get_docstring(ast.parse(path.read_text("utf-8"), str(path)))
    assert head is not None
    assert head.splitlines()[2] == f"    python docs/examples/{path.name}"


@pytest.mark.long
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs_and_saves_its_plot(path: Path, tmp_path: Path) -> None:
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, path, "--quick", "--out", tmp_path],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert [found.name for found in tmp_path.iterdir()] == [f"{path.stem}.png"]
