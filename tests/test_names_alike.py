"""Names that are nearly alike, as τ and tau: each is told apart in each form of a page, and none is shown by its code point."""

import re
import unicodedata
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Input, Param, State
from symbptt.autodiff.labels import Label
from symbptt.derivations.files import page_as
from symbptt.drawing.exchange import graph_dot
from symbptt.equations.notation import names as names_module
from symbptt.equations.notation.mathml import mathml_of
from symbptt.equations.notation.names import Names, Used, in_ascii, latex_of_spelling, names_of_page
from tests import tex
from tests.readback import as_latex, as_latex_textbook, as_text, assert_read
from tests.test_mathml import as_mathml, as_mathml_textbook

GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon phi chi psi omega"
).split()
SIZES = {"n": 3, "m": 2, "k̂": 3, "é": 2, "ν": 3, "theta": 4}


def letter(word: str) -> str:
    kind = "CAPITAL" if word[0].isupper() else "SMALL"
    return unicodedata.lookup(f"GREEK {kind} LETTER {word.upper().replace('LAMBDA', 'LAMDA')}")


def forms(names: Names) -> dict[str, dict[str, str]]:
    latex = {name: repr(latex_of_spelling(s)) for name, s in names.spelling.items()}
    return {"text": dict(names.text), "ascii": dict(names.ascii), "latex": latex}


def assert_told_apart(names: Names) -> dict[str, dict[str, str]]:
    found = forms(names)
    for form, written in found.items():
        assert len(set(written.values())) == len(written), f"{form}: {written}"
        assert "U+" not in "".join(written.values())
    assert all(x.isascii() for form in ("ascii", "latex") for x in found[form].values())
    return found


@pytest.mark.parametrize(
    "roles", [("once", "once"), ("state", "once"), ("once", "state"), ("value", "state")], ids=" ".join
)
def test_each_greek_letter_beside_its_word(roles: tuple[str, str]) -> None:
    for word in [*GREEK, *map(str.capitalize, GREEK)]:
        spelt = word + "_" * (word == "lambda")
        names = assert_told_apart(names_of_page([Used(letter(word), roles[0]), Used(spelt, roles[1])]))
        if letter(word) not in "πΣ" or roles[0] != "once":  # π and Σ are signs of the page
            assert names["text"][letter(word)] == letter(word)
        if word not in ("omicron", "pi", *map(str.capitalize, GREEK)):
            assert names["latex"][letter(word)] == repr((rf"\{word}", [], ""))


@pytest.mark.parametrize("reserved", [(), ("σ", "n", "ν")], ids=str)
def test_all_greek_letters_beside_all_words(reserved: tuple[str, ...]) -> None:
    words = [
        *GREEK,
        *map(str.capitalize, GREEK),
        "varepsilon",
        "vartheta",
        "varsigma",
        "varphi",
        "lambda_",
        "lamda",
        "ς",
    ]
    used = [Used(name, "once") for word in words for name in {word, letter(word) if word.lower() in GREEK else word}]
    found = assert_told_apart(names_of_page(used, reserved))
    for form, sign in (("text", str), ("ascii", in_ascii)):
        assert not {sign(x) for x in (*reserved, "π", "t", "T", "L")} & set(found[form].values())


ALIKE = [
    ["é", "e_acute", "è", "ê", "ë", "ě", "ĕ", "ė", "ẹ", "ę", "e", "e_hat"],
    ["W_é", "W_e_acute", "Wé", "W_e", "We", "W_é_"],
    ["ç", "c_cedilla", "c", "č", "c_check", "c_caron"],
    ["ø", "o_stroke", "ö", "o_ddot", "o", "ő", "œ", "æ", "ash"],
    ["ß", "eszett", "s", "ss", "ŝ", "s_hat", "shat"],
    ["réseau", "reseau", "re_acute_seau", "resau"],
    ["b̂", "b_hat", "bhat", "b_prime", "b"],
    ["θ̂", "theta_hat", "thetahat", "θ_hat", "theta"],
    ["gatê", "gate_hat", "gate", "gatehat"],
    ["in_", "in", "int_", "int", "or_", "exp", "exp_", "T", "T_", "L", "L_", "σ", "sigma", "sigma_", "Σ"],
    ["а", "a", "あ", "ア", "a_", "a__"],
    ["名", "前", "名前", "x"],
]


@pytest.mark.parametrize("group", ALIKE, ids=" ".join)
@pytest.mark.parametrize("role", ["once", "state", "value"])
def test_names_that_are_nearly_alike(group: list[str], role: str) -> None:
    assert_told_apart(names_of_page([Used(name, role) for name in group], ["σ", "n"]))
    for pair in combinations(group, 2):
        assert_told_apart(names_of_page([Used(pair[0], role), Used(pair[1], "once")], ["σ"]))


@pytest.mark.parametrize(
    "name, text, latex, ascii",
    [
        ("W_é", "W_é", r"W_{\acute{e}}", "W_e_acute"),
        ("b_ñ", "b_ñ", r"b_{\tilde{n}}", "b_n_tilde"),
        ("Ŵf", "Ŵf", r"\hat{W}_{f}", "W_hat_f"),
        ("š", "š", r"\check{s}", "s_caron"),
        ("å", "å", r"\mathring{a}", "a_ring"),
        ("ế", "ế", r"\acute{\hat{e}}", "e_hat_acute"),
        ("ά", "ά", r"\acute{\alpha}", "alpha_acute"),
        ("réseau", "réseau", r"\mathrm{r\acute{e}seau}", "re_acute_seau"),
        ("ø", "ø", r"o_{\mathrm{stroke}}", "o_stroke"),
        ("ß", "ß", r"\mathrm{eszett}", "eszett"),
        ("ς", "ς", r"\varsigma", "varsigma"),
        ("gatê", "gatê", r"\mathrm{gat\hat{e}}", "gate_hat"),
        ("int_", "int_", r"\mathrm{int}", "int_"),
        ("lambda_", "λ", r"\lambda", "lambda"),
    ],
)
@pytest.mark.parametrize("normal", ["NFC", "NFD"])
def test_an_accented_name_alone(name: str, text: str, latex: str, ascii: str, normal: Any) -> None:
    name = unicodedata.normalize(normal, name)
    names = names_of_page([Used(name, "once")])
    head, below, prime = latex_of_spelling(names.spelling[name])
    assert head + (f"_{{{','.join(below)}}}" if below else "") + prime == latex
    assert (names.text[name], names.ascii[name]) == (unicodedata.normalize("NFC", text), ascii)


@sb.cell
def twins(x: Input["m"], τ: State["n"], ŷ: State["n"], gate_hat: State["n"], tau: Param["n"], β: Param["n"], beta: Param["n"],
          W_é: Param["n m"], W_e_acute: Param["n m"], Ω: Param["n n"], omega: Param["n"], σ: Param["n"],
          lambda_: Const = 0.5):  # fmt: skip
    ĉ = np.tanh(β * τ + beta * tau + W_é @ x + W_e_acute @ x)
    u_š = sb.sigmoid(Ω @ ŷ + omega * σ + lambda_ * gate_hat)
    return {"τ": ĉ * u_š, "ŷ": u_š + ĉ, "gate_hat": np.sin(ĉ + gate_hat), "ô": ĉ * ŷ}


@sb.cell
def wörter(x: Input["m"], in_: State["n"], naïve: State["n"], int_: Param["n"], or_: Param["n"], ß: Param["n"], exp: Param["n"],
           T: Param["n"], ö: Param["n m"], Ŵf: Param["n n"], L: Param["n"], größe: Param["n"]):  # fmt: skip
    lösung = np.tanh(ö @ x + Ŵf @ in_ + int_ * or_ + ß * naïve)
    return lösung * exp + T * in_, np.sin(naïve * L) + größe * lösung


@sb.cell
def decomposed(x: Input["k̂"], b̂: State["k̂"], ĥ: State["k̂"], q̃: Param["k̂"], n̂: Param["k̂ k̂"], θ̂_1: Param["k̂"]):
    m̃ = np.tanh(n̂ @ ĥ + q̃ * x)
    w̃ = sb.sigmoid(m̃ * b̂)
    return w̃ + b̂, m̃ * θ̂_1


@sb.cell
def sized(x: Input["é"], h: State["ν"], nu: Param["ν ν"], W: Param["ν é"], ν_é: Param["ν"], b: Param["2*ν"], Θ: Param["theta ν"],
          θ: Param["theta"]):  # fmt: skip
    n = h.shape[0]
    return np.tanh(nu @ h + W @ x + ν_é * b[:n] + b[n:] + Θ.T @ θ) + np.mean(h)


CELLS = [twins, wörter, decomposed, sized]
PRINTED = {"text": None, "text loop": as_text("loop"), "latex": as_latex_textbook, "latex loop": as_latex, "mathml": as_mathml_textbook,
           "mathml loop": as_mathml}  # fmt: skip


@pytest.mark.parametrize("form", PRINTED)
@pytest.mark.parametrize("cell", CELLS[:-1], ids=lambda cell: cell.name)
@pytest.mark.thinned(5, 7)
def test_pages_of_such_names_read_back(cell: sb.Cell, form: str) -> None:
    assert_read(cell, SIZES, printed=PRINTED[form])


@pytest.mark.parametrize("form", ["text", "text loop"])
def test_pages_of_such_sizes_read_back(form: str) -> None:
    assert_read(sized, SIZES, printed=PRINTED[form])


def everything(cell: sb.Cell) -> dict[str, str]:
    """All that is printed of a cell."""
    d, state = sb.derive(cell), next(iter(cell.step.next))
    files = {ending: page_as(d, Path(f"page{ending}")) for ending in (".tex", ".md", ".html", ".mathml")}
    parts: dict[str, Any] = {"page": d, "jacobian": d.jacobian(), "paths": d.paths(state, state), "unrolled": d.unrolled(),
                             "explain": d.explain()}  # fmt: skip
    texts = {f"{name} as text": part.text() for name, part in parts.items()}
    ascii = {f"{name} in ascii": part.text(ascii=True) for name, part in parts.items()}
    latex = {f"{name} as latex": part.latex() for name, part in parts.items()}
    theorem = sb.vanishing_condition(cell)
    return {**files, **texts, **ascii, **latex, "module": sb.compile(cell).source, "c": sb.c_source(cell).source + sb.c_source(cell).header,
            "svg": sb.unroll(cell, steps=2).svg(), "dot": graph_dot(sb.unroll(cell, steps=1)),
            "theorem": theorem.text(), "theorem as latex": theorem.latex()}  # fmt: skip


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.thinned(4)
def test_no_form_shows_a_code_point(cell: sb.Cell) -> None:
    for form, said in everything(cell).items():
        assert re.search(r"[Uu]\+?[0-9A-Fa-f]{4}|\\u[0-9a-f]{4}", said.replace("&#x", "")) is None, form
        if "ascii" in form or "as latex" in form or form == ".tex":
            assert said.isascii(), f"{form}: {[x for x in said if not x.isascii()]}"


@pytest.mark.parametrize("style", ["textbook", "loop"])
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_left_sides_are_pairwise_different(cell: sb.Cell, style: str) -> None:
    d = sb.derive(cell)
    for ascii in (False, True):
        lines = [line.strip() for line in d.text(style, ascii=ascii).partition("Legend")[0].splitlines()]
        left = [line.partition(" = ")[0].strip() for line in lines if " = " in line]
        assert len(left) == len(set(left)), sorted(left)


SIZES_ALIKE = [("ν", "nu"), ("alpha", "α"), ("n1", "n_1"), ("é", "e_acute"), ("Wz", "W_z"), ("k̂", "k_hat"), ("а", "a"), ("φ", "varphi"),
               ("pi", "p"), ("lambda_", "lamda")]  # fmt: skip


def with_sizes(a: str, b: str) -> sb.Cell:
    """A cell with two sizes, and parameters that have their names."""

    def cell(x: Any, h: Any, W: Any, U: Any, p: Any, q: Any) -> Any:
        return np.tanh(W @ x + U @ h + p + np.mean(h) + np.mean(x)) * q

    # Python's way to write a function whose arguments have names that are given.
    code = cell.__code__.replace(co_varnames=("x", "h", "W", "U", a, b))
    shapes = {"W": Param[f"{a} {b}"], "U": Param[f"{a} {a}"], a: Param[a], b: Param[a]}
    made = type(cell)(code, {"np": np}, "with_sizes")
    made.__annotations__ = {"x": Input[b], "h": State[a], **shapes}
    return sb.cell(made)


@pytest.mark.parametrize("pair", SIZES_ALIKE, ids=" ".join)
def test_sizes_that_are_nearly_alike(pair: tuple[str, str]) -> None:
    cell = with_sizes(*(unicodedata.normalize("NFKC", size) for size in pair))
    b, a = [str(argument.shape[0]) for argument in cell.step.of_role("state", "input")]
    d = sb.derive(cell)
    forms = {"text": (d.in_text, d.text()), "ascii": (d.pen(ascii=True).notation, d.text(ascii=True)),
             "latex": (d.in_latex, d.latex()), "mathml": (mathml_of(d.names), d.mathml()),
             "jacobian": (d.latex_pen.notation, "")}  # fmt: skip
    for form, (n, page) in forms.items():
        sizes = [n.size(a), n.size(b)]
        names = [n.symbol(Label(name, None)) for name in cell.step.leaves]
        assert len({*sizes, *names}) == 2 + len(names), f"{form}: {sizes} {names}"
        assert not page or all(size in page for size in sizes), form


def test_two_sizes_that_latex_would_print_alike_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted mistake: each size is spelt as if it were alone."""
    monkeypatch.setattr(Names, "sizes_spelt", {})
    with pytest.raises(AssertionError, match="latex"):
        test_sizes_that_are_nearly_alike(("ν", "nu"))


def test_an_accent_is_no_index() -> None:
    text = sb.derive(twins).text(ascii=True)
    assert "y_hat_t" in text and "y_hat_{t-1}" in text and "gate_hat_t" in text and "u_{s_caron,t}" in text
    assert "{hat" not in text and "{acute" not in text
    assert "gate_hat_t" in sb.derive(twins).text()


def test_a_letter_and_its_word_side_by_side() -> None:
    text, latex, ascii = (f(sb.derive(twins)) for f in (
        lambda d: d.text(), lambda d: d.latex(), lambda d: d.text(ascii=True)))  # fmt: skip
    assert "β ⊙ τ_{t-1} + beta ⊙ tau + W_é x_t + W_e_acute x_t" in text
    assert r"\beta \odot \tau_{t-1} + \mathsf{beta} \odot \mathsf{tau} + W_{\acute{e}} x_{t}" in latex
    assert r"W_{e,\mathrm{acute}} x_{t}" in latex
    assert "beta_ (.) tau_{t-1} + beta (.) tau_ + W_e_acute_ x_t + W_e_acute x_t" in ascii


def test_a_theorem_tells_a_letter_from_its_word() -> None:
    @sb.cell
    def both(x: Input["m"], τ: State["n"], tau: Param["n n"], Τ: Param["n n"], W_é: Param["n m"], η: Param["n n"]):
        return np.tanh(tau @ τ + Τ @ τ + W_é @ x + η @ τ)

    latex = sb.vanishing_condition(both).latex()
    assert r"\frac{\partial \tau_{t}}{\partial \tau_{k}}" in latex
    norms = re.findall(r"\\sigma_\{\\max\}\((.*?)\)", latex)
    assert len(norms) == len(set(norms)) == 3 and r"\mathsf{tau}" in norms and not {r"\tau", r"\eta"} & set(norms)


@pytest.mark.skipif(tex.PDFLATEX is None, reason="pdflatex is not installed")
def test_pages_of_such_names_compile(tmp_path: Path) -> None:
    pages = {cell.name.encode("ascii", "ignore").decode(): sb.derive(cell).latex() for cell in CELLS}
    found = tex.compiled(pages, tmp_path)
    assert not found.errors and not found.wide
    for cell in CELLS:
        (tmp_path / "whole").mkdir(exist_ok=True)
        whole = page_as(sb.derive(cell), Path("page.tex"))
        inner = whole.partition(r"\begin{document}")[2].partition(r"\end{document}")[0]
        assert not tex.compiled({"whole": inner}, tmp_path / "whole").errors


def test_a_name_that_gives_way_to_its_word_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted mistake: of τ and tau both move on, so that nothing has the letter."""
    monkeypatch.setattr(names_module, "_keeper", lambda *_: None)
    with pytest.raises(AssertionError):
        test_each_greek_letter_beside_its_word(("once", "once"))


def test_a_code_point_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names_module, "_with_marks", lambda base: tuple(f"U+{ord(x):04X}" for x in "éè"))
    with pytest.raises(AssertionError):
        test_names_that_are_nearly_alike(ALIKE[-2], "once")
