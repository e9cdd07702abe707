"""Faults put back into a copy of symbptt itself: `symbptt verify` of that copy sees each, and names what is wrong."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import symbptt

PACKAGE = Path(symbptt.__file__).parent

CELLS = """
import numpy as np, symbptt as sb
from symbptt import Index, Input, Param, State


@sb.cell
def bag(i: Index["v"], h: State["n"], E: Param["v n"]):
    return 0.5 * h + E[i]


@sb.cell
def bent_bag(i: Index["v"], h: State["n"], E: Param["v n"]):
    return np.tanh(h) + E[i]


@sb.cell
def forgets(x: Input["n"], h: State["n"], w: Param["n"]):
    h = w * x
    return {"h": h, "y": h}


@sb.cell
def forgets_of_two(x: Input["n"], h: State["n"], c: State["n"], w: Param["n"], a: Param["n"]):
    h = w * x
    return {"h": h, "c": sb.sigmoid(a) * c + x, "y": 2 * h}


@sb.cell
def plain(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"]):
    return np.tanh(W @ x + U @ h)


@sb.cell
def scanned(x: Input["n"], h: State["n"], w: Param["n"], a: Param["n"]):
    return sb.sigmoid(a + x) * h + w * x


@sb.cell
def means(x: Input["m"], q: Input["n"], s: State, p: Param["m+n"]):
    return 0.1 * s * (np.mean(p) + s) + np.sum(x) * np.sum(q)


@sb.cell
def differences(x: Input["n"], q: Input["m"], h: State["n"], W: Param["n+m n"], v: Param["n+m"]):
    return 0.1 * h - np.mean(W @ x) + np.mean(v) * np.mean(q)
"""

FAULTS = {
    # Item 1: what is collected for a table has a room for one block of steps, or none.
    "room of a block": ("codegen/lower/frame.py", 'T if stored.steps == "all" else size(T - first)', "size(T - first)", "bag"),
    "room of a bent block": ("codegen/lower/frame.py", 'T if stored.steps == "all" else size(T - first)', "size(T - first)", "bent_bag"),
    "part of a room": ("codegen/lower/frame.py", 'LO if stored.steps == "all" else 0', "0", "bag"),
    # Item 2: the scan runs over the whole adjoint of a state that forgets.
    "counted twice": ("codegen/passes/affine_recurrence.py", "        and p.whole[name] in handed_on\n", "", "forgets"),
    "counted twice of two": ("codegen/passes/affine_recurrence.py", "        and p.whole[name] in handed_on\n", "", "forgets_of_two"),
    # Item 5: cotangents behind the end of a sample.
    "behind the end": ("codegen/runtime/arguments.py", "if active is not None and name in last and full[name] is not None:", "if False:", "plain"),
    "behind the end of a scan": ("codegen/runtime/arguments.py", "if active is not None and name in last and full[name] is not None:", "if False:", "scanned"),
    # Item 7: a size that is a sum is written without brackets.
    "no brackets": ("codegen/targets/numpy/index.py", "return text, tightness(text)", "return text, ATOM", "means"),
    "no brackets in a mean": ("codegen/targets/numpy/index.py", "return text, tightness(text)", "return text, ATOM", "differences"),
    # Borders of blocks and of windows.
    "first block": ("codegen/targets/numpy/printer.py", "for hi in range(T, 0, -K):", "for hi in range(T, T % K if T > K else 0, -K):", "plain"),
    "last block": ("codegen/targets/numpy/printer.py", "for lo in range(0, T, K):", "for lo in range(0, max(T - T % K, 1), K):", "plain"),
    "end of a block": ("codegen/targets/numpy/printer.py", "lo = max(hi - K, 0)", "lo = max(hi - K, 1) if hi < T else max(hi - K, 0)", "plain"),
    "begin of a block": ("codegen/targets/numpy/printer.py", "hi = min(lo + K, T)", "hi = min(lo + K, T - 1) if lo else min(lo + K, T)", "plain"),
    "end of a window": ("codegen/runtime/scan.py", "np.add(end, 0 if own is None else own[-1], out=v[-1])", "np.copyto(v[-1], end)", "scanned"),
    "length of a window": ("codegen/runtime/scan.py", "for k in range(0, m, s)]", "for k in range(0, m - m % s, s)]", "scanned"),
}  # fmt: skip


def copied(folder: Path, file: str = "", old: str = "", new: str = "") -> Path:
    """A copy of the package, with one text of a file in the place of another; `codegen/` stands in it as installed.

    The files keep their times, so what is compiled beside them is still read, but for the file with the fault."""
    root = folder / "copy"
    shutil.copytree(PACKAGE, root / "symbptt")
    if file:
        path = root / "symbptt" / file
        text = path.read_text()
        assert old in text, f"{file} has no {old}"
        path.write_text(text.replace(old, new))
    (folder / "cells.py").write_text(CELLS)
    return root


def verified(root: Path, cell: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-m", "symbptt", "verify", f"{root.parent / 'cells.py'}:{cell}"]
    here = os.environ | {"PYTHONPATH": str(root)}
    return subprocess.run(command, cwd=root.parent, env=here, capture_output=True, text=True, timeout=300)


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS)
def test_fault_in_a_copy_is_seen_by_verify_alone(fault: str, tmp_path: Path) -> None:
    *edit, cell = FAULTS[fault]
    found = verified(copied(tmp_path, *edit), cell)
    assert found.returncode == 1 and "FAILED" in found.stdout and "\nwrong: " in found.stdout, (
        found.stdout + found.stderr
    )


@pytest.mark.long
def test_copy_without_a_fault_passes(tmp_path: Path) -> None:
    root = copied(tmp_path)
    for cell in sorted({cell for *_, cell in FAULTS.values()}):
        found = verified(root, cell)
        assert found.returncode == 0 and "passed" in found.stdout, found.stdout + found.stderr
