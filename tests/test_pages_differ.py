"""The page determines the cell: cells and models that differ in one thing have different pages, in each form."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Chunked, Input, Param, State, Target, Window, zoo

Body = Callable[[Any, Any, Any, Any], Any]

PAIRS: dict[str, tuple[Body, Body]] = {
    "axis of a sum": (lambda x, h, S, w: S.sum(axis=0) + h, lambda x, h, S, w: S.sum(axis=1) + h),
    "axis of a softmax": (lambda x, h, S, w: sb.softmax(S, axis=0) @ h, lambda x, h, S, w: sb.softmax(S, axis=1) @ h),
    "axis of a cumsum": (lambda x, h, S, w: np.cumsum(S, axis=0) @ h, lambda x, h, S, w: np.cumsum(S, axis=1) @ h),
    "axis of a roll": (lambda x, h, S, w: np.roll(S, 1, axis=0) @ h, lambda x, h, S, w: np.roll(S, 1, axis=1) @ h),
    "order of a reshape": (lambda x, h, S, w: S.reshape(-1).reshape(3, 3) @ h,
                           lambda x, h, S, w: S.reshape(-1, order="F").reshape(3, 3) @ h),
    "last digit": (lambda x, h, S, w: np.tanh(0.30000000000000004 * h), lambda x, h, S, w: np.tanh(0.3 * h)),
    "digit of an array": (lambda x, h, S, w: h * np.array([1.0, 2.0, 3.0]), lambda x, h, S, w: h * np.array([1, 2, 3.0000001])),
    "float32": (lambda x, h, S, w: h * float(np.float32(0.1)), lambda x, h, S, w: h * 0.1),
    "default of eps": (lambda x, h, S, w: sb.layer_norm(h), lambda x, h, S, w: sb.layer_norm(h, eps=1e-6)),
    "bound of a clip": (lambda x, h, S, w: np.clip(h, -1, 1), lambda x, h, S, w: np.clip(h, -1, 1.5)),
    "stopped factor": (lambda x, h, S, w: np.tanh(sb.stop_gradient(w) * h), lambda x, h, S, w: np.tanh(w * sb.stop_gradient(h))),
    "strict": (lambda x, h, S, w: np.where(h > w, h, x), lambda x, h, S, w: np.where(h >= w, h, x)),
    "keepdims": (lambda x, h, S, w: (S - S.mean(axis=1, keepdims=True)) @ h, lambda x, h, S, w: (S - S.mean(axis=1)) @ h),
    "ddof": (lambda x, h, S, w: h / (np.std(h) + 1), lambda x, h, S, w: h / (np.std(h, ddof=1) + 1)),
    "mod and fmod": (lambda x, h, S, w: np.mod(h, 1.5), lambda x, h, S, w: np.fmod(h, 1.5)),
    "repeat and tile": (lambda x, h, S, w: np.repeat(h[:1], 3) + np.tile(h[:3], 1), lambda x, h, S, w: np.tile(h[:1], 3) + h),
    "parts": (lambda x, h, S, w: np.concatenate([h[1:], h[:1]]), lambda x, h, S, w: np.concatenate([h[-1:], h[:-1]])),
    "rounds": (lambda x, h, S, w: sb.repeat(lambda z: np.tanh(S @ z), h, 3), lambda x, h, S, w: sb.repeat(lambda z: np.tanh(S @ z), h, 4)),
    "tolerance": (lambda x, h, S, w: sb.fixed_point(lambda z: 0.1 * np.tanh(S @ z) + h, h, tolerance=1e-9),
                  lambda x, h, S, w: sb.fixed_point(lambda z: 0.1 * np.tanh(S @ z) + h, h, tolerance=1e-8)),
}  # fmt: skip


def cell_of(body: Body) -> sb.Cell:
    def cell(x: Input["3"], h: State["3"], S: Param["3 3"], w: Param["3"]):
        return body(x, h, S, w)

    return sb.cell(cell)


def forms(target: sb.Cell | sb.Model, **setting: Any) -> dict[str, str]:
    d = sb.derive(target, **setting)
    found = {"ascii": d.text(ascii=True), "spelt": d.as_spelt()}
    for style in ("textbook", "loop"):
        found |= {f"{form}, {style}": getattr(d, form)(style) for form in ("text", "latex", "mathml")}
    return found


@pytest.mark.filterwarnings("ignore:.*is never used")
@pytest.mark.parametrize("what", PAIRS)
@pytest.mark.thinned(7)
def test_cells_that_differ_in_one_thing_have_different_pages(what: str) -> None:
    first, second = (forms(cell_of(body)) for body in PAIRS[what])
    alike = [form for form in first if first[form] == second[form] and form != "spelt"]
    assert not alike, f"{what}: {alike}"


@sb.loss
def squared(h: State["n"], y: Target["n"]):
    return sb.sum((h - y) ** 2) / 2


def test_models_and_settings_that_differ_in_one_thing_have_different_pages() -> None:
    seen: dict[tuple[str, str], str] = {}
    settings: list[dict[str, Any]] = [
        {}, {"lengths": True}, {"reset": True}, {"lengths": True, "reset": True}, {"truncation": Window(2)},
        {"truncation": Window(3)}, {"truncation": Chunked(2, 3)}, {"truncation": Chunked(2, 4)}, {"truncation": Chunked(3, 3)},
    ]  # fmt: skip
    models = [sb.model(zoo.rnn, squared, at=at, reduction=r) for at in ("every", "last") for r in ("sum", "mean")]
    for i, model in enumerate(models):
        for setting in settings if i in (0, 3) else settings[:1]:
            for form, page in forms(model, **setting).items():
                told = f"{i} {setting}"
                assert seen.setdefault((form, page), told) == told, f"{form}: {told} and {seen[form, page]}"


@pytest.mark.filterwarnings("ignore:.*is never used")
def test_pages_that_are_alike_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted mistake: of two axes the page knows one."""
    monkeypatch.setitem(PAIRS, "axis of a sum", (PAIRS["axis of a sum"][0],) * 2)
    with pytest.raises(AssertionError, match="text, textbook"):
        test_cells_that_differ_in_one_thing_have_different_pages("axis of a sum")
