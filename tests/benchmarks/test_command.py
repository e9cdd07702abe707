"""The one command of the committed benchmark, in its quick form: `python -m pytest tests/benchmarks -m benchmark`."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.benchmark
def test_quick_benchmark_writes_page_and_drawing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.benchmarks", "--quick", "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert "Not measured" not in text and "not timed" not in text and str(ROOT) not in text
    assert (tmp_path / "benchmarks.png").stat().st_size > 10_000
