"""Data tables, and the folder that `symbptt build` writes."""

import re
import runpy

import numpy as np
import pytest

import symbptt as sb
from symbptt import Index, Input, Param, State
from symbptt.commands.build import _names, adjoint_flow, build, decay, summary_markdown
from symbptt.data.csv_table import bind, hidden_sizes, read_table
from symbptt.derivations.files import equations_markdown
from symbptt.equations.page.equations import equation
from symbptt.errors import ArgumentError, TargetError
from symbptt.zoo import lstm, rnn

pytest.importorskip("matplotlib")

FILES = ["adjoint_norm.svg", "certificate.json", "equations.md", "equations.tex", "report.html", "rnn_bptt.py", "stability.json", "stability.svg", "stability.txt",
         "summary.md", "unrolled.svg", "verification.txt"]  # fmt: skip


@sb.cell
def mixed(x: Input["m"], u: Input, k: Index["v"], h: State["n"], E: Param["n v"], W: Param["n m"]):
    return np.tanh(W @ x + E[:, k] + u * h)


@sb.cell
def doubled(x: Input["2*m"], h: State["m"], W: Param["m 2*m"]):
    return np.tanh(W @ x) * h


@sb.cell
def closed(h: State["n"], U: Param["n n"]):
    return np.tanh(U @ h)


@pytest.fixture
def table_of(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "data.csv"
        path.write_bytes(text.encode(encoding))
        return read_table(path)

    return write


SERIES = "year,a\n" + "".join(f"{1900 + i},{(i * 7) % 5 + 0.5}\n" for i in range(12))


def test_columns_are_read_and_the_index_is_put_aside(table_of):
    table = table_of("\ufeffyear,a,b\r\n1700,1,2.5\r\n1701,-3,4e1\r\n\r\n")
    assert table.index_name == "year" and table.index == (1700, 1701)
    assert {name: column.tolist() for name, column in table.columns.items()} == {"a": [1, -3], "b": [2.5, 40]}


@pytest.mark.parametrize("name, cells, found", [
    ("t", ("0.5", "1.5"), (0.5, 1.5)),
    ("Date", ("2020-01-01", "2020-02-01"), 2),
    ("year", ("1701", "1700"), ()),
    ("speed", ("1", "2"), ()),
])  # fmt: skip
def test_only_what_increases_under_a_name_of_time_is_an_index(table_of, name, cells, found):
    table = table_of(f"{name},a\n{cells[0]},1\n{cells[1]},2\n")
    assert len(table.index) == found if isinstance(found, int) else table.index == found
    assert (name in table.columns) == (table.index == ())


@pytest.mark.parametrize("text, message", [
    ("", "has no rows"),
    ("a,b\n", "has no rows"),
    ("1,2\n3,4\n", "line 1: numbers where the names"),
    ("a,a\n1,2\n", "line 1: two columns are called 'a'"),
    ("a,\n1,2\n", "line 1: column 2 has no name"),
    ("a,b\n1,2\n3\n", "line 3: 1 cells, the header has 2"),
    ("a,b\n1,2\n\n3,x\n", "line 4: 'x' in 'b' is no finite number"),
    ("a,b\n1,2\n3,\n", "line 3: the cell of 'b' is empty"),
    ("a\n1\nnan\n", "line 3: 'nan' in 'a' is no finite number"),
    ("a\n1\ninf\n", "line 3: 'inf' in 'a' is no finite number"),
    ("year\n1\n2\n", "has the index 'year' alone"),
    ("date,a\nyesterday,1\ntoday,2\n", "line 2: 'yesterday' in 'date'"),
])  # fmt: skip
def test_bad_tables_are_refused_with_the_line(table_of, text, message):
    with pytest.raises(TargetError, match=re.escape(message)):
        table_of(text)


def test_files_that_cannot_be_read_are_refused(tmp_path, table_of):
    with pytest.raises(TargetError, match="No such file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(TargetError, match="cannot read"):
        read_table(tmp_path)
    with pytest.raises(TargetError, match="not UTF-8"):
        table_of("\u00e4,b\n1,2\n", "latin-1")


def test_semicolons_and_quotes_are_read(table_of):
    assert list(table_of('"a, b";c\n1;2\n').columns) == ["a, b", "c"]


def test_inputs_are_standardised_and_sizes_follow(table_of):
    bound = bind(rnn, table_of("a,b,c\n1,5,0\n2,5,1\n6,5,0\n"))
    x = bound.inputs["x"]
    assert x.shape == (3, 3) and bound.dims == {"m": 3}
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-15)
    np.testing.assert_allclose(x.std(0), [1, 0, 1])  # a constant column has nothing to scale
    assert hidden_sizes(rnn, bound.dims, 8) == {"m": 3, "n": 8}


def test_several_inputs_take_the_columns_of_their_names(table_of):
    bound = bind(mixed, table_of("u,x_left,x_right,k\n1,2,3,0\n2,4,1,2\n"))
    assert {name: value.shape for name, value in bound.inputs.items()} == {"x": (2, 2), "u": (2,), "k": (2,)}
    assert bound.inputs["k"].tolist() == [0, 2] and bound.dims == {"m": 2, "v": 3}
    bound = bind(mixed, table_of("speed,u,k\n1,2,3\n2,4,1\n"))  # the one without columns of its name takes the rest
    assert bound.words == ("x = speed", "u = u", "k = k (integers)")


@pytest.mark.parametrize("cell, text, message", [
    (mixed, "a,b\n1,2\n", "not clear which columns"),
    (mixed, "x,u,u_2,k\n1,2,3,4\n", "u of mixed is a scalar"),
    (mixed, "x,u,k\n1,2,0.5\n", "takes integers from 0"),
    (mixed, "x,u,k\n1,2,-1\n", "takes integers from 0"),
    (doubled, "a,b,c\n1,2,3\n", r"shape (2*m,), the data have 3 columns"),
    (closed, "a\n1\n", "no input that data could fill"),
])  # fmt: skip
def test_columns_that_do_not_fit_are_refused(table_of, cell, text, message):
    with pytest.raises(ArgumentError, match=re.escape(message)):
        bind(cell, table_of(text))


def test_sizes_inside_a_dimension_are_solved_for(table_of):
    assert bind(doubled, table_of("a,b,c,d\n1,2,3,4\n")).dims == {"m": 2}


@pytest.mark.long
def test_build_writes_every_file_and_runs_again(tmp_path, table_of):
    table, folder = table_of(SERIES), tmp_path / "deep" / "out"
    stages: list[str] = []
    summary = build(rnn, table, folder, hidden=3, tell=stages.append)
    assert summary.passed and len(stages) == 9
    assert sorted(path.name for path in folder.iterdir()) == FILES
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "notes.txt").write_text("mine")
    build(rnn, table, folder, hidden=3)
    assert first == {name: (folder / name).read_bytes() for name in first}  # the same bytes
    assert (folder / "notes.txt").read_text() == "mine"
    rows = dict(summary.rows)
    assert rows["steps"] == "12, year 1900 to 1911" and rows["sizes"] == "m = 1, n = 3"
    assert rows["parameters"] == "15 numbers in 3 arrays"


def test_built_module_stands_alone_and_gives_the_gradients(tmp_path, table_of):
    build(rnn, table_of(SERIES), tmp_path / "out", hidden=3)
    module = runpy.run_path(str(tmp_path / "out" / "rnn_bptt.py"))
    params, x = rnn.init({"m": 1, "n": 3}, seed=0), np.ones((4, 1))
    run = module["forward"](params, {"x": x})
    grads = module["backward"](run, {"h": np.ones(3)})
    assert set(grads.params) == {"W", "U", "b"} and grads.inputs["x"].shape == (4, 1)


@pytest.mark.long
def test_files_of_other_origin_are_replaced_by_force_alone(tmp_path, table_of):
    table, folder = table_of(SERIES), tmp_path / "out"
    folder.mkdir()
    (folder / "summary.md").write_text("my own summary")
    with pytest.raises(TargetError, match="not written by symbptt"):
        build(rnn, table, folder, hidden=2)
    assert [path.name for path in folder.iterdir()] == ["summary.md"]
    build(rnn, table, folder, hidden=2, force=True)
    assert "Built by symbptt" in (folder / "summary.md").read_text(encoding="utf-8")


def test_folder_that_cannot_be_written_is_refused(tmp_path, table_of):
    (tmp_path / "file").write_text("")
    with pytest.raises(TargetError, match="cannot write into"):
        build(rnn, table_of(SERIES), tmp_path / "file" / "out")
    (tmp_path / "out" / "unrolled.svg").mkdir(parents=True)
    with pytest.raises(TargetError, match="is a folder"):
        build(rnn, table_of(SERIES), tmp_path / "out")


@pytest.mark.parametrize("cell", [closed, mixed], ids=lambda cell: cell.name)
@pytest.mark.thinned(2)
def test_build_without_data_takes_random_inputs(tmp_path, cell):
    summary = build(cell, None, tmp_path / "out", hidden=2)
    assert summary.passed and dict(summary.rows)["steps"] == "100"


def test_a_build_has_no_drawing_of_rounds_that_nobody_knows(tmp_path):
    @sb.cell
    def settled(h: State["n"], U: Param["n n"]):
        return sb.fixed_point(lambda z: 0.4 * np.tanh(U @ z) + 0.1 * h, h)

    @sb.cell
    def layered(h: State["n"], U: Param["n n"]):
        return sb.repeat(lambda z: 0.4 * np.tanh(U @ z) + 0.1 * h, h, h.shape[0])

    assert "unrolled" in _names(settled)  # a fixed point is one value
    names = _names(layered)
    assert "unrolled" not in names and {*_names(rnn)} - {*names} == {"unrolled"}
    flow = adjoint_flow(sb.compile(layered), layered.init({"n": 2}, seed=0), {})
    text = summary_markdown(layered, [], flow, {kind: tmp_path / name for kind, name in names.items()})
    assert "unrolled" not in text and names["page"] in text


def test_adjoint_flow_ends_with_the_cotangent_and_follows_the_recursion():
    params, x = rnn.init({"m": 1, "n": 3}, seed=1), np.linspace(-1, 1, 6)[:, None]
    kernel = sb.compile(rnn)
    flow = adjoint_flow(kernel, params, {"x": x})
    states = kernel.forward(params, {"x": x}).states["h"]
    adjoint, norms = np.ones(3), []
    for h in states[::-1]:
        norms.append(np.linalg.norm(adjoint))
        adjoint = params["U"].T @ (adjoint * (1 - h**2))
    np.testing.assert_allclose(flow.norms["h"], norms[::-1], rtol=1e-12)
    assert flow.finite and flow.of == "h"


@pytest.mark.parametrize("norms, text", [
    ([1e-3, 1e-2, 1e-1, 1.0], "1 at step 4, 0.001 at step 1"),
    (10.0 ** np.arange(-20, 1), "falls tenfold in 1 steps back"),
    (10.0 ** -np.arange(0, 21), "grows tenfold in 1 steps back"),
    ([0.0, 0.0, 2.0], "0 before step 3"),
    ([0.0, 0.0], "0 everywhere"),
    ([np.nan, 1.0], "not finite"),
])  # fmt: skip
def test_decay_says_how_the_norm_changes(norms, text):
    assert text in decay(norms)


def test_markdown_holds_each_equation_once_in_one_display_a_section():
    derivation = sb.derive(lstm)
    text = equations_markdown(derivation)
    sections = derivation.page().sections
    assert text.count("$$") == 2 * text.count(r"\begin{aligned}") == 2 * len(sections)
    lines = [equation(line, derivation.in_text, derivation.in_latex) for section in sections for line in section.lines]
    body = " ".join(text.replace("&", "").replace("\\\\", "").replace(r"\quad {}", "").split())
    assert all(body.count(" ".join(line.latex.split())) == 1 for line in lines)
    assert all(title.partition(",")[0] in text for title in (section.title for section in sections))
