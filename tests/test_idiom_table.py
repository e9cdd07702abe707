"""NumPy as authors of cells write it: every line of the table has NumPy's value and gradient, or a refusal with a cure."""

from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt.errors import SymbpttError
from symbptt.language import composed
from symbptt.language.numpy_dispatch import NUMPY_FUNCTIONS
from tests.spellings.run import Idiom, idioms, misfit

pytestmark = pytest.mark.filterwarnings("ignore:.*never used", "ignore::RuntimeWarning")
ALL = idioms()
EVERY = pytest.mark.parametrize("idiom", ALL, ids=lambda idiom: idiom.text)


@EVERY
@pytest.mark.thinned(11)
def test_idiom_has_the_value_of_numpy_or_a_cure(idiom: Idiom) -> None:
    try:
        assert misfit(idiom) == ""
        refusal = ""
    except SymbpttError as error:
        refusal = str(error)
    if not idiom.cure:
        assert not refusal
        return
    if refusal or idiom.cure != "?":
        what, *rest = refusal.splitlines()
        assert what and rest, refusal
        assert "  at <string>:" in refusal
        assert idiom.cure == "?" or idiom.cure in refusal


def test_most_idioms_work() -> None:
    assert len(ALL) == len({idiom.text for idiom in ALL}) >= 252
    decided = [idiom for idiom in ALL if idiom.cure != "?"]
    assert sum(not idiom.cure for idiom in decided) >= 0.88 * len(decided)


WHOLE_ROAD = (
    "np.rint(h)", "np.arcsin(p)", "np.interp(h, [-1.0, 0.0, 1.0], [0.0, 2.0, 3.0])", "np.diff(v, n=2)", "np.cumprod(v)", "np.sort(h)",
    "v[[2, 0, 0, 1]]", "A[[0, 1], [2, 3]]", "U[np.argmax(h)]", 'np.pad(v, 2, mode="reflect")', "np.convolve(v, w)",
    'np.einsum("ii->i", U)', "y = np.zeros_like(A); y[:, -1] = w; y[0, 0] += s; y", "special.expit(h)", "np.median(v)",
    "np.take_along_axis(A, np.argsort(A, axis=1), axis=1)",
)  # fmt: skip


@pytest.mark.parametrize("idiom", [idiom for idiom in ALL if idiom.text in WHOLE_ROAD], ids=lambda idiom: idiom.text)
@pytest.mark.thinned(17, 3)
def test_idiom_takes_the_whole_road(idiom: Idiom) -> None:
    report = sb.verify(idiom.cell)
    assert report.passed, str(report)
    d = sb.derive(idiom.cell)
    assert d.text() and d.latex() and d.mathml() and d.text(style="loop")


@pytest.mark.parametrize("text", ["np.ceil(h)", "np.argsort(h)", "np.diff(h)", "y = h * 1; y -= q; y *= 2; y"])
def test_planted_mistake_is_seen(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted mistakes: a floor in the place of a ceiling, equal ranks for all, differences of the wrong sign, a lost change."""
    from symbptt.language import array

    (idiom,) = [idiom for idiom in ALL if idiom.text == text]
    monkeypatch.setitem(NUMPY_FUNCTIONS, "ceil", np.floor)
    monkeypatch.setitem(NUMPY_FUNCTIONS, "argsort", NUMPY_FUNCTIONS["argmax"])
    monkeypatch.setitem(NUMPY_FUNCTIONS, "diff", lambda x: -composed.diff(x))
    monkeypatch.setattr(array, "changed", lambda name, x, other: x)

    def differs(other: Any) -> bool:
        return misfit(other) != ""

    assert differs(Idiom(idiom.text, idiom.cure))
