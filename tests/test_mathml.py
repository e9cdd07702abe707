"""MathML pages: XML, and read back to what the kernel computes."""

import re
from xml.etree import ElementTree

import pytest

import symbptt as sb
from symbptt import zoo
from symbptt.equations.notation.mathml import mathml_of
from tests import mathml_page, unseen
from tests.page import column
from tests.readback import Read, Spelt, assert_model_read, assert_read, sizes_of
from tests.test_latex import OWN, TEN, model_of

CELLS = {**zoo.CELLS, **unseen.CELLS, **OWN}
KNOWN = {
    "math",
    "mtable",
    "mtr",
    "mtd",
    "mrow",
    "mi",
    "mn",
    "mo",
    "mtext",
    "mspace",
    "msub",
    "msup",
    "msubsup",
    "mfrac",
    "msqrt",
    "munder",
    "mover",
}


def plain(xml: str) -> str:
    """An element as it stands on the page, without the prefix of its namespace."""
    return re.sub(r'ns0:| xmlns:ns0="[^"]*"', "", xml)


def as_mathml(d: sb.Derivation, style: str = "loop") -> Read:
    n, page = mathml_of(d.names), d.mathml(style)
    given = {named.name: n.symbol(named.label) for named in d.symbols}
    shown_of = mathml_page.constants_of(page)  # those of the user have their values already
    constants = {shown: value for shown, value in shown_of.items() if plain(shown) not in given.values()}
    given |= {f"constant{i}": shown for i, shown in enumerate(constants)}
    given |= {f"{x}_": n.size(x) for x in sizes_of(d.target) if "sans-serif" in n.size(x)}
    names = mathml_page.names_of(given, d.mark)
    found = {f"constant{i}": column(value) for i, value in enumerate(constants.values())}
    return mathml_page.sections_of(page, names), Spelt(), {}, found


def as_mathml_textbook(d: sb.Derivation) -> Read:
    return as_mathml(d, "textbook")


@pytest.mark.parametrize("name", [name if name in OWN or name in ("lstm", "gru", "clockwork", "mlstm") else
                                  pytest.param(name, marks=pytest.mark.long) for name in CELLS])  # fmt: skip
@pytest.mark.thinned(3)
def test_mathml_of_a_cell_reads_as_the_kernel_computes(name: str) -> None:
    for page in (as_mathml, as_mathml_textbook):
        assert_read(CELLS[name], sizes_of(CELLS[name]), printed=page)


@pytest.mark.parametrize(
    "name, at, reduction", [TEN[2], *(pytest.param(*ten, marks=pytest.mark.long) for ten in TEN if ten != TEN[2])]
)
def test_mathml_of_a_model_reads_as_the_kernel_computes(name: str, at: str, reduction: str) -> None:
    model = model_of(name, at, reduction)
    for page in (as_mathml, as_mathml_textbook):
        assert_model_read(model, sizes_of(model), printed=page)


def test_mathml_is_one_element_of_known_ones() -> None:
    for cell in (zoo.lstm, zoo.mlstm, zoo.clockwork, zoo.second_order):
        root = ElementTree.fromstring(sb.derive(cell).mathml())
        kinds = {e.tag.removeprefix(mathml_page.SPACE) for e in root.iter()}
        assert root.tag == mathml_page.SPACE + "math" and kinds <= KNOWN
        children = {"mfrac": 2, "msub": 2, "msup": 2, "munder": 2, "mover": 2, "msubsup": 3}
        assert all(len(e) == children.get(e.tag.removeprefix(mathml_page.SPACE), len(e)) for e in root.iter())


@pytest.mark.parametrize(
    "right, wrong", [("<mi>f</mi><mo separator", "<mi>i</mi><mo separator"), ("⊙", "+"), ("<mi>T</mi>", "<mi>t</mi>")]
)
def test_reader_catches_a_page_of_a_textbook_that_is_wrong(monkeypatch, right: str, wrong: str) -> None:
    mathml = sb.Derivation.mathml
    monkeypatch.setattr(sb.Derivation, "mathml", lambda self, *style: mathml(self, *style).replace(right, wrong))
    with pytest.raises((AssertionError, ValueError, KeyError)):
        assert_read(zoo.lstm, sizes_of(zoo.lstm), printed=as_mathml_textbook)


@pytest.mark.parametrize("right, wrong", [("<mo>⊤</mo>", "<mo>†</mo>"), ("⊙", "+"), ("tanh", "sin")])
def test_reader_catches_a_page_that_is_wrong(monkeypatch, right: str, wrong: str) -> None:
    mathml = sb.Derivation.mathml
    monkeypatch.setattr(sb.Derivation, "mathml", lambda self, *style: mathml(self, *style).replace(right, wrong))
    with pytest.raises((AssertionError, ValueError, KeyError)):
        assert_read(zoo.lstm, sizes_of(zoo.lstm), printed=as_mathml)
