"""The page about a cell: complete, linked, self-contained, and as a browser shows it."""

import re
import xml.etree.ElementTree as ET
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pytest

import symbptt as sb
from symbptt import Context, Input, Param, State, Target, zoo
from symbptt.codegen.kernel import compile as compile_cell
from symbptt.commands.main import run
from symbptt.derivations.derivation import derive
from symbptt.drawing.unrolled import unroll
from symbptt.equations.notation.mathml import mathml_of
from symbptt.equations.page.layout import line_in_mathml
from symbptt.files import check_own
from symbptt.language.each_step import with_inputs
from symbptt.verification.checks import Verification
from symbptt.verification.report import Row
from symbptt.webpage.contents import contents, measured, repeat
from symbptt.webpage.font import LETTERS
from symbptt.webpage.links import bare, code_groups, links_of, links_of_lines
from symbptt.webpage.page import page_of
from tests.browser import CHROMIUM, browser

MOST = 400_000
FONTED = ["lstm", "lif", "quoted", "model"]
"""Pages whose letters the default run looks up in the font; the long tests look up those of all."""


@sb.loss
def squared(h: State["n"], y: Target["k"], V: Param["k n"]):
    e = V @ h - y
    return sb.sum(e * e) / 2


@sb.cell
def quoted(x: Input["n"], h: State["n"], w: Param["n"]):
    """A cell with <b>signs</b> & "quotes" in its words."""
    return np_tanh(w * h + x)


def np_tanh(x):
    return sb.tanh(x)


@sb.cell
def settled(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"]):
    """A state at equilibrium with its input."""
    return sb.fixed_point(lambda z: 0.5 * sb.tanh(U @ z + W @ x) + 0.1 * h, h)


@sb.cell
def rounds(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"]):
    """As many rounds as the state has units."""
    return sb.repeat(lambda z: 0.5 * z + 0.5 * sb.tanh(U @ z + W @ x), h, h.shape[0])


@sb.cell
def oscillator(x: Input["m"], h: State["n", complex], w: Param["n"], B: Param["n m", complex]):
    """Complex numbers: its drawing, Jacobian and stability are those of their parts."""
    return {"h": np.exp(1j * w - 0.1) * h + B @ x}


@sb.cell
def reader(x: Input["m"], h: State["n"], memory: Context["s n"], W: Param["n m"], U: Param["n n"]):
    """A query of rows that a sequence is given once."""
    p = sb.softmax(memory @ (W @ x + U @ h))
    return np.tanh(p @ memory)


TARGETS = {
    "oscillator": oscillator,
    "reader": reader,
    **zoo.CELLS,
    "quoted": quoted,
    "settled": settled,
    "rounds": rounds,
    "model": sb.model(zoo.gru, squared, at="last", reduction="mean"),
}


@cache
def page(name):
    """The page without what takes long: the comparisons and the run are stand-ins."""
    target = TARGETS[name]
    report = Verification(target.name, (Row("healthy", "T=3 B=2", "dW", 1e-16, 1e-10, "complex step"),))
    found = contents(
        target, derive(target), compile_cell(target), report, [("run", "none")], repeat("symbptt report x", 0)
    )
    return page_of(found)


class Reader(HTMLParser):
    """Ids, links and sources of a page; each element closed in turn."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.sources, self.tags = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append(tag)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if "href" in found else []
        self.sources += [found["src"]] if "src" in found else []
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def assert_sound(text):
    reader = Reader()
    reader.feed(text)
    assert not reader.open
    assert len(set(reader.ids)) == len(reader.ids)
    assert all(link == "data:," or link[1:] in reader.ids for link in reader.links)
    assert not reader.sources and "script" not in reader.tags
    assert not re.findall(r"url\((?!data:)|@import|https?://(?!www\.w3\.org|purl\.org|creativecommons\.org)", text)
    assert len(text.encode()) < MOST
    assert "Label(" not in text and "Symbol(" not in text, "an expression that is not written"
    for formula in re.findall(r"<math>.*?</math>", text):
        ET.fromstring(formula)


@pytest.mark.parametrize("name", ["lstm", "quoted", "settled", "model"])
@pytest.mark.thinned(7)
def test_page_is_whole_and_needs_nothing_else(name):
    assert_sound(page(name))


def test_page_of_complex_numbers_has_the_parts_where_all_else_is_real():
    text = page("oscillator")
    assert_sound(text)
    assert text.count("sb.real_pairs") == 3 and 'id="graph"' in text
    assert "sb.real_pairs" not in page("quoted")
    # No zero times w, from the real part of 1j.
    (block,) = re.findall(r'id="jacobian".*?title="([^"]*)"', text, re.S)
    assert "cos(w_j)" in block and "0 w" not in block, block


def test_page_of_a_cell_with_contexts_has_the_derivatives_of_a_step():
    text = page("reader")
    assert_sound(text)
    assert text.count("given memory at each step, the same at all") == 3 and 'id="graph"' in text
    kernel, (run, rows) = compile_cell(reader), measured(with_inputs(reader), 0, ("memory",))
    assert (run.inputs["memory"] == run.inputs["memory"][0]).all() and rows[1][0] == "largest exponent"
    once = kernel.forward(run.params, {**run.inputs, "memory": run.inputs["memory"][0]})
    J = derive(with_inputs(reader)).jacobian("h", "h")
    given = {k: v[0] for k, v in run.inputs.items()}
    moved = [np.imag(reader(given["x"], 1e-30j * e, given["memory"], **run.params)) / 1e-30 for e in np.eye(8)]
    np.testing.assert_allclose(J.evaluate(run.params, given), np.transpose(moved), atol=1e-13)
    assert once.states["h"].shape == (100, 8)


def test_words_of_others_are_text_on_the_page():
    assert "&lt;b&gt;signs&lt;/b&gt; &amp; &quot;quotes&quot;" in page("quoted") and "<b>" not in page("quoted")


def test_page_holds_every_equation_the_module_the_proof_and_how_to_repeat():
    text, d = page("lstm"), derive(zoo.lstm)
    n = mathml_of(d.names)
    assert all(line_in_mathml(line, n) in text for style in ("textbook", "loop") for section in d.page(style).sections
               for line in section.lines)  # fmt: skip
    source = compile_cell(zoo.lstm).source
    assert text.count("<i") - text.count("<i>") == sum(
        bool(g) for g in code_groups(source, links_of(unroll(zoo.lstm, 1, backward=True)))
    )
    assert "passed: 1 comparisons" in text and "symbptt report x" in text and f"symbptt {sb.__version__}" in text
    assert 'class="unrolled"' in text


def test_lines_that_belong_together_are_in_one_group():
    links = links_of(unroll(zoo.lstm, 1, backward=True))
    assert links.groups == ("i", "f", "g", "o", "c", "h")
    for lhs in ("f_t", "df_t", "da_{f,t}", "a_{f,t}", "dWf", "dUf", "dbf"):
        assert links.of_line(lhs) == ("f",), lhs
    assert links.of_line("dx_t") == ("i", "f", "g", "o") and links.of_line("x_t") == ()
    source = compile_cell(zoo.lstm).source
    lines = dict(zip(source.splitlines(), code_groups(source, links), strict=False))
    marked = {line.strip(): groups for line, groups in lines.items() if groups}
    (adjoint,) = [groups for line, groups in marked.items() if "df_t = " in line]
    states = [groups for line, groups in marked.items() if "# c_t = f_t" in line]
    # The sweep has such a line, and the function of a single step.
    assert adjoint == ("f",) and states == [("c",)] * 2


def test_lines_of_a_cell_without_a_graph_are_linked_as_those_of_one_with_a_graph():
    forward, *others = derive(zoo.lstm).page("loop").sections
    backward = [line for section in others for line in section.lines]
    known, found = links_of(unroll(zoo.lstm, 1, backward=True)), links_of_lines(forward.lines, backward)
    for lhs in ("f_t", "df_t", "da_{f,t}", "dWf", "dUf", "dbf", "dc_t", "dx_t"):
        assert sorted(found.of_line(lhs)) == sorted(known.of_line(lhs)) != [], lhs
    assert 'id="graph"' not in page("rounds") and 'id="jacobian"' in page("rounds")
    text = page("settled")
    assert 'id="graph"' in text and 'id="jacobian"' in text
    lines = dict(re.findall(r'<span class="([^"]*)" tabindex="0" title="(\S+) = ', text)[::-1])
    assert all(classes == "eq k0" for classes in lines) and {"λ_t", "dU"} <= {*re.findall(r'title="(\S+) = ', text)}


@pytest.mark.parametrize(
    "lhs, name",
    [
        ("h_t", "h"),
        ("dh_{t-1}", "dh"),
        ("da_{f,t}", "daf"),
        ("dW_f", "dWf"),
        ("dWf", "dWf"),
        ("loss_T", "loss"),
        ("T_t", "T"),
    ],
)
def test_left_sides_lose_their_time(lhs, name):
    assert bare(lhs) == name


def test_lines_with_greek_names_have_their_groups():
    formula = re.search(r'<span class="([^"]*)"[^>]*title="dτ [^"]*"', page("ctrnn"))
    assert formula is not None and formula[1] == "eq k0"


def test_functions_and_jacobians_are_mathematics_on_the_page():
    text = page("lif")
    assert "is replaced by" in text and "<msup><mi>spike</mi><mo>′</mo></msup>" in text
    assert "<mfrac><mrow><mo>∂</mo>" in page("lstm").partition('id="jacobian"')[2].partition("</section>")[0]


def test_report_is_written_and_refused_in_words(tmp_path, capsys):
    target = tmp_path / "r.html"
    assert run(["report", "rnn", "-o", str(target), "--seed", "3"]) == 0
    assert "passed" in capsys.readouterr().out
    text = target.read_text(encoding="utf-8")
    assert_sound(text)
    assert f"symbptt report rnn -o {target} --seed 3" in text and "λ₁ = " in text
    check_own([target], force=False)  # its own file is replaced
    assert run(["report", "rnn", "-o", str(tmp_path / "r.pdf")]) == 2
    assert "one HTML page" in capsys.readouterr().err
    (tmp_path / "other.html").write_text("<p>mine</p>", encoding="utf-8")
    assert run(["report", "rnn", "-o", str(tmp_path / "other.html")]) == 2
    assert "was not written by symbptt" in capsys.readouterr().err


seen = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def tab():
    with browser() as found:
        yield found


OVER = """[...document.querySelectorAll('body *')].filter(e => {
  if (e.getBoundingClientRect().right <= innerWidth + 1) return false;
  for (let q = e.parentElement; q; q = q.parentElement) if (getComputedStyle(q).overflowX != 'visible') return false;
  return true}).map(e => e.outerHTML.slice(0, 80))"""
FLAT = """[...document.querySelectorAll('math')].filter(e => {const r = e.getBoundingClientRect(); return r.height < 5 || r.width < 2}).length"""
FRACTION = """[...document.querySelectorAll('mfrac')].every(e =>
  e.children[0].getBoundingClientRect().bottom <= e.children[1].getBoundingClientRect().top + 1)"""
OUTSIDE = """[...document.querySelectorAll('svg.unrolled g.node[data-name]')].filter(g => {
  const r = g.querySelector('rect'); if (!r) return false; const b = r.getBBox();
  return [...g.querySelectorAll('text')].some(t => {const a = t.getBBox();
    return a.x < b.x || a.x + a.width > b.x + b.width || a.y < b.y - 2 || a.y + a.height > b.y + b.height + 2})}).map(g => g.dataset.name)"""
MARKED = (
    """[...document.querySelectorAll('main .k1')].map(e => getComputedStyle(e).backgroundColor != 'rgba(0, 0, 0, 0)')"""
)


def letters_of(text):
    """The letters of the formulas of a page; a letter alone as MathML sets it, slanted."""
    for formula in re.findall(r"<math>.*?</math>", text):
        for element in ET.fromstring(formula).iter():
            word = (element.text or "").strip()
            is_slanted = element.tag == "mi" and len(word) == 1 and "mathvariant" not in element.attrib
            yield from (slanted(word) if is_slanted else word)


def slanted(letter):
    if letter.isascii() and letter.isalpha():
        return "ℎ" if letter == "h" else chr((0x1D434 if letter.isupper() else 0x1D44E - 32) + ord(letter) - 65)
    if "α" <= letter <= "ω" or "Α" <= letter <= "Ω":
        return chr((0x1D6FC - 0x3B1 if letter >= "α" else 0x1D6E2 - 0x391) + ord(letter))
    return letter


INVISIBLE = "\u2061\u2062"


@pytest.mark.parametrize("name", FONTED)
def test_font_has_all_letters_of_a_page(name):
    assert {*letters_of(page(name))} <= {*LETTERS, *INVISIBLE}


@seen
def test_font_of_the_page_is_used_where_the_machine_has_none(tab, tmp_path):
    own = re.sub(r'local\("[^"]*"\),', "", page("lstm"))
    bare = re.sub(r"@font-face\{[^}]*\}", "", own).replace('"symbptt Math",math', '"DejaVu Sans"')
    tall = []
    for i, text in enumerate((own, bare)):
        (tmp_path / f"{i}.html").write_text(text, encoding="utf-8")
        tab.open(tmp_path / f"{i}.html", 1280)
        tab.call("Runtime.evaluate", expression="document.fonts.ready", awaitPromise=True)
        tall.append(tab.ask("document.querySelector('munder > mo').getBoundingClientRect().height"))
        assert tab.ask("[...document.fonts].map(f => f.status)") == ["loaded"] * (1 - i)
        assert tab.complaints() == []
    assert tall[0] > 1.2 * tall[1]  # a sum as large as a display has it


def assert_shown(tab, path, *sizes):
    """What is open in windows of some widths, light or dark."""
    for i, (width, dark) in enumerate(sizes):
        if i == 0:
            tab.open(path, width, dark=dark)
        else:
            tab.resize(width, dark=dark)
        assert tab.complaints() == []
        assert tab.ask("[innerWidth, document.documentElement.scrollWidth <= innerWidth]") == [width, True], "too wide"
        assert tab.ask(OVER) == []
        assert tab.ask("document.querySelectorAll('math').length") > 5 and tab.ask(FLAT) == 0
        assert tab.ask(FRACTION)
    assert tab.ask(OUTSIDE) == []


@seen
def test_browser_shows_the_page_without_a_complaint_narrow_and_wide_light_and_dark(tab, tmp_path):
    for name in ("lstm", "model"):
        path = tmp_path / f"{name}.html"
        path.write_text(page(name), encoding="utf-8")
        assert_shown(tab, path, (400, False), (1280, True))
    papers = [tab.ask("getComputedStyle(document.body).backgroundColor")]
    tab.open(path, 1280)
    assert papers != [tab.ask("getComputedStyle(document.body).backgroundColor")]


@seen
def test_pointing_at_a_line_marks_its_adjoints_gradients_and_code(tab, tmp_path):
    path = tmp_path / "lstm.html"
    path.write_text(page("lstm"), encoding="utf-8")
    tab.open(path, 1280, height=7000)
    assert not any(tab.ask(MARKED))
    x, y = tab.ask(
        "(() => {const r = document.querySelector('.eq.k1:not(.k0)').getBoundingClientRect(); return [r.x + 20, r.y + 8]})()"
    )
    tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    marked = tab.ask(MARKED)
    assert len(marked) >= 8 and all(marked)
    family = 'document.querySelector(".eq.k0.k1.k2.k3")'  # dW_k of all gates at once
    assert "k ∈" in tab.ask(f"{family}.title") and tab.ask(f"getComputedStyle({family}).backgroundColor").startswith(
        "rgb("
    )
    assert not tab.ask("getComputedStyle(document.querySelector('.eq.k0:not(.k1)')).backgroundColor").startswith("rgb(")
    for link in ("code", "graph", "verification"):
        tab.ask(f"document.querySelector('nav a[href=\"#{link}\"]').click()")
        assert tab.ask("location.hash") == f"#{link}" and tab.ask(f"!!document.getElementById('{link}')")


@seen
def test_page_of_the_lstm_prints_on_a_few_sheets_of_a4(tab, tmp_path):
    path = tmp_path / "lstm.html"
    path.write_text(page("lstm"), encoding="utf-8")
    tab.open(path, 1280)
    pdf = tab.pdf()
    sheets = re.findall(rb"/Type /Page\b(?!s)", pdf)
    assert 1 <= len(sheets) <= 5
    boxes = {tuple(round(float(part)) for part in box.split()) for box in re.findall(rb"/MediaBox \[([^\]]*)\]", pdf)}
    assert boxes == {(0, 0, 595, 842)}


@pytest.mark.long
@pytest.mark.parametrize("part", range(4))
def test_pages_of_all_cells_are_whole_and_shown(part, request, tmp_path):
    for name in sorted(TARGETS)[part::4]:
        assert_sound(page(name))
        assert {*letters_of(page(name))} <= {*LETTERS, *INVISIBLE}
        if CHROMIUM is not None:
            path = tmp_path / f"{name}.html"
            path.write_text(page(name), encoding="utf-8")
            assert_shown(request.getfixturevalue("tab"), path, (400, False), (1280, False))


@seen
def test_planted_overflow_and_script_error_are_seen(tab, tmp_path):
    path = tmp_path / "bad.html"
    path.write_text(
        page("lstm").replace("<main>", '<main><p style="width:900px;background:red">x</p><script>throw 1</script>'),
        encoding="utf-8",
    )
    tab.open(path, 400)
    assert tab.complaints() and tab.ask(OVER)


def test_routes_of_the_jacobian_have_the_norms_of_the_run():
    data, _ = measured(zoo.lstm, 0)
    report = Verification("lstm", (Row("healthy", "T=3 B=2", "dW", 1e-16, 1e-10, "complex step"),))
    found = contents(zoo.lstm, derive(zoo.lstm), compile_cell(zoo.lstm), report, [], [], data)
    blocks = {block.words.partition(":")[0]: block for block in found.jacobian}
    p, h, c, largest = data.params, np.zeros(8), np.zeros(8), []
    for x in data.inputs["x"]:  # the cell by hand
        i, f, o = (1 / (1 + np.exp(-p[f"W{k}"] @ x - p[f"U{k}"] @ h - p[f"b{k}"])) for k in "ifo")
        g = np.tanh(p["Wg"] @ x + p["Ug"] @ h + p["bg"])
        c = f * c + i * g
        h = o * np.tanh(c)
        largest.append(f.max())
    assert blocks["c by c"].words == f"c by c: diagonal; its norm is {np.mean(largest):.2g} on average in the run"
    assert len(blocks["h by h"].routes) == 4 and all(float(route.norm) > 0 for route in blocks["h by h"].routes)
    text = page_of(found)
    assert "<mi>h</mi><mo>→</mo><mi>o</mi><mo>→</mo><mi>h</mi>" in text and "mean norm" in text
    assert "mean norm" not in page("lstm") and "derivative along it" in page("lstm")


def test_block_with_many_routes_says_how_many(monkeypatch):
    monkeypatch.setattr("symbptt.webpage.contents.MOST_ROUTES", 3)
    report = Verification("lstm", (Row("healthy", "T=3 B=2", "dW", 1e-16, 1e-10, "complex step"),))
    found = contents(zoo.lstm, derive(zoo.lstm), compile_cell(zoo.lstm), report, [], []).jacobian
    assert not found[0].routes and found[0].words.startswith("h by h: dense; 4 routes lead from h to h in 1 step")
    assert len(found[2].routes) == 3 and found[2].words == "c by h: dense"


def test_remarks_of_the_equations_stand_on_the_page():
    # Shapes are in the table above.
    assert "Shapes: " not in page("model") and page("model").count("vectors are columns") == 1
    assert "a bracket with the index 1/2 is one half where both sides are equal." in page("mlstm")
    assert "how many samples that have a last step there are" in page("model")


def test_report_of_a_file_says_what_to_type(tmp_path):
    file = tmp_path / "own cells.py"
    file.write_text(
        "import numpy as np\nfrom symbptt import Input, Param, State, cell\n"
        "@cell\ndef mine(x: Input['n'], h: State['n'], U: Param['n n']):\n    return np.tanh(U @ h + x)\n",
        encoding="utf-8",
    )
    target = tmp_path / "r.html"
    assert run(["report", f"{file}:mine", "-o", str(target)]) == 0
    assert f"symbptt analyze &#x27;{file}:mine&#x27;" in target.read_text(encoding="utf-8")
