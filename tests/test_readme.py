"""What README.md shows runs as it stands, its blocks one after the other."""

import re
from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).parents[1] / "README.md"


def test_python_blocks_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    text = README.read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {"__name__": "readme"}
    ran = 0
    for number, block in enumerate(blocks):
        if re.search(r"^ *\.\.\.$", block, re.MULTILINE):
            continue  # lines of a module, with gaps
        file = tmp_path / f"block{number}.py"
        file.write_text(block, "utf-8")
        exec(compile(block, str(file), "exec"), names)
        ran += 1
    assert ran == 5
    shown = re.search(r"```text\n(Forward.*?)```", text, re.DOTALL)
    out = capsys.readouterr().out
    assert shown is not None and shown[1].strip() in out
    routes = re.search(r"```text\n(∂c_t/.*?)```", text, re.DOTALL)
    assert routes is not None and routes[1].strip() in out
    peak = re.search(r"`(kernel\.plan\.peak\([^`]*\))`", text)
    assert peak is not None and eval(peak[1], {**names, "T": 100, "B": 8}) > 8 * 100 * 8
    clip = re.search(r"`(sb\.compile\(model, clip_adjoint=[^`]*\))`", text)
    assert clip is not None
    clipped = eval(clip[1], names)
    given = names["weights"], {"x": names["x"]}, {"y": names["y"]}
    assert clipped.value_and_grad(*given, monitor=True)[1].flow["h"].max() <= 1 + 1e-12
    assert names["grads"].params["Uz"].shape == (16, 16) and (tmp_path / "vanilla_bptt.py").exists()


def test_every_room_stands_in_the_architecture() -> None:
    root = README.parent
    text = (root / "docs" / "architecture.md").read_text("utf-8")
    rooms = {file.parent for folder in ("symbptt", "codegen") for file in (root / folder).rglob("__init__.py")}
    names = {room.name for room in rooms} - {"symbptt"}
    assert len(names) > 40
    assert [name for name in sorted(names) if not re.search(rf"\b{name}/", text)] == []
