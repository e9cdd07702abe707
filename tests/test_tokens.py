"""Arrays of integers at each step, `Index["v", "k"]`: rows of tables that they read and what is added up at them, against complex steps
of the plain function, in blocks, windows, masks, C, bounds and Jacobians; what is refused says what to write instead."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Chunked, Index, Input, Param, State, Window
from symbptt.codegen.runtime.gather import _rows_added
from symbptt.data.csv_table import Table, bind
from symbptt.zoo import rnn
from tests import brute, oracle
from tests.ccode import CC, Caller, build
from tests.kernels import kernel_of
from tests.readback import assert_read
from tests.test_gather import SIZES, assert_right, case_of, in_pieces


@sb.cell
def bag(tokens: Index["v", "k"], h: State["n"], E: Param["v n"], U: Param["n n"]):
    """A bag of tokens a step."""
    return np.tanh(U @ h + E[tokens].sum(0))


@sb.cell
def n_gram(tokens: Index["v", "3"], h: State["n"], E: Param["v d"], W: Param["n 3*d"]):
    """Three tokens in their order, of which the last is read once more."""
    return np.tanh(0.5 * h + W @ E[tokens].reshape(-1)) + E[tokens[-1]].sum()


@sb.cell
def columns(tokens: Index["v", "k"], h: State["n"], E: Param["n v"], w: Param["k"]):
    """Columns of a table, and arithmetic with the tokens."""
    return 0.5 * h + E[:, tokens] @ np.tanh(w * (1 + tokens) / 3) + np.where(tokens == 1, w, 0.0).sum()


@sb.cell
def of_two_axes(places: Index["v", "2 k"], h: State["n"], E: Param["v n"]):
    """A matrix of tokens a step; one row of it chooses by itself."""
    return (
        np.tanh(h) + E[places].mean((0, 1)) + np.take(E, places[0], axis=0)[1] * np.sum(sb.one_hot(places[:, 0], 3)[0])
    )


@sb.cell
def edges(src: Index["n", "e"], dst: Index["n", "e"], x: Input["n d"], h: State["n d"], W: Param["d d"]):
    """A graph whose edges come with each step: what they read moves with the state."""
    return np.tanh(sb.segment_sum(h[src] @ W, dst, h.shape[0]) + 0.3 * h + x)


@sb.cell
def added(src: Index["n", "e"], dst: Index["n", "e"], x: Input["n"], h: State["n"], w: Param["e"], a: Param["n"]):
    """The same as NumPy writes it; each sample has a table of its own, and its gradient too."""
    y = w[0] * a * h
    np.add.at(y, dst, w * np.tanh(a * h)[src])
    return 0.5 * y + np.outer(x, a)[src].sum(0)


@sb.cell
def one_token(tokens: Index["v", "1"], h: State["n"], E: Param["v n"]):
    return np.tanh(h) + E[tokens][0]


CELLS = [bag, n_gram, columns, of_two_axes, edges, added, one_token]
EVERY_CELL = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)


@EVERY_CELL
def test_gradients_are_those_of_the_plain_function(cell: sb.Cell) -> None:
    data, cotangents, wanted = case_of(cell, 5, 2)
    for block, window in ((1, 0), (2, 0), (4, 2)):
        assert_right(in_pieces(kernel_of(cell).source, block, window), data, cotangents, wanted)
    assert_right(kernel_of(cell), *case_of(cell, 4, 2, lengths=np.array([4, 2]), reset=np.eye(4, 2, -1, dtype=bool)))
    for steps, batch in ((0, 2), (1, 1), (2, 3)):
        assert_right(kernel_of(cell), *case_of(cell, steps, batch))


@pytest.mark.long
@pytest.mark.parametrize("options", [{"memory": "sqrt"}, {"memory": 10**6}, {"truncation": Window(2)}, {"truncation": Chunked(2, 3)}],
                         ids=str)  # fmt: skip
@EVERY_CELL
@pytest.mark.thinned(1, 3)
def test_gradients_are_right_with_checkpoints_and_truncation(cell: sb.Cell, options: Any) -> None:
    assert_right(kernel_of(cell, **options), *case_of(cell, 9, 2, options.get("truncation")))


@EVERY_CELL
def test_single_precision_gives_the_same(cell: sb.Cell) -> None:
    groups = oracle.draw(cell, 3, 2, SIZES)
    sent = oracle.cotangents_of(cell, groups, 3)
    own = [{k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in group.items()} for group in groups]
    found = oracle.flat(
        kernel_of(cell).backward(kernel_of(cell).forward(*own), {k: v.astype(np.float32) for k, v in sent.items()})
    )
    assert all(v.dtype == np.float32 for v in found.values())
    oracle.assert_blocks_close(found, oracle.gradients(cell, *groups, sent, 3), 1e-4)


@pytest.mark.parametrize("own", [(), (2,)])
@pytest.mark.parametrize("lead", [(), (4,), (3, 2)])
def test_rows_are_added_up_for_each_sample(lead: tuple[int, ...], own: tuple[int, ...]) -> None:
    """By hand; planted: written instead of added, rows that are chosen twice count once."""
    random = np.random.default_rng(0)
    index, x = random.integers(0, 3, (*lead, *own, 7)), random.standard_normal((*lead, *own, 7, 2))
    wanted, once = np.zeros((*lead, 3, 2)), np.zeros((*lead, 3, 2))
    for place in np.ndindex(*index.shape):
        wanted[(*place[: len(lead)], index[place])] += x[place]
        once[(*place[: len(lead)], index[place])] = x[place]
    got = _rows_added(x, index, wanted.shape)
    np.testing.assert_allclose(got, wanted, rtol=1e-14)
    assert not np.allclose(got, once)


@pytest.mark.long
@pytest.mark.skipif(not CC, reason="no C compiler, cc, on this machine")
def test_c_gives_the_same(tmp_path: Path) -> None:
    sources = [sb.c_source(cell) for cell in CELLS]
    library = build(sources, tmp_path)
    for cell, source in zip(CELLS, sources, strict=True):
        groups = oracle.draw(cell, 3, 2, SIZES)
        run = kernel_of(cell).forward(*groups)
        sent = oracle.cotangents_of(cell, groups, 3)
        values, grads = Caller(source, library, np.float64, SIZES, 3, 2).run(*groups, sent)
        oracle.assert_blocks_close(values, {**run.states, **run.outputs}, 1e-12)
        oracle.assert_blocks_close(grads, oracle.flat(kernel_of(cell).backward(run, sent)), 1e-11)


@pytest.mark.parametrize("cell", [edges, added], ids=lambda cell: cell.name)
def test_the_jacobian_is_that_of_complex_steps(cell: sb.Cell) -> None:
    params, inputs, state = oracle.draw(cell, 1, 1, SIZES)
    one = {k: v[0, 0] for k, v in inputs.items()}
    (name,) = state
    found = sb.derive(cell).jacobian(name, name).evaluate(params, one, {name: state[name][0]})
    h = state[name][0]
    for place in np.ndindex(h.shape):
        moved = h.astype(complex)
        moved[place] += 1e-30j
        wanted = np.imag(cell(**params, **one, **{name: moved})) / 1e-30
        np.testing.assert_allclose(found[(..., *place)], wanted, rtol=1e-10, atol=1e-13)


def test_pages_show_which_row_is_read_and_where_it_is_added() -> None:
    text = sb.derive(bag).text()
    assert "a_t = U h_{t-1} + (Σ_j E_{(tokens_t)_j,i})_i" in text
    assert "dE_{ij} = Σ_t Σ_{l: (tokens_t)_l = i} (da_t)_j,  i < v" in text
    assert_read(bag, SIZES)
    assert "tokens (k)" in text and "tokens: whole numbers from 0 up to, and without, v" in text
    assert "δ_{i,(dst_t)_p} δ_{(src_t)_p,k} W_{lj}" in sb.derive(edges).jacobian().text()


@sb.loss
def labelled(h: State["n"], labels: Index["n", "2"], V: Param["n n"]):
    """Two labels a step."""
    return -sb.sum(sb.log_softmax(V @ h)[labels])


@pytest.mark.parametrize("at", ["every", "last"])
def test_a_model_takes_labels(at: str) -> None:
    model = sb.model(bag, labelled, at=at)
    data = brute.data_of(model, 3, 2, SIZES, lengths=np.array([3, 2]))
    assert data.targets["labels"].shape[-1] == 2
    brute.assert_same(
        brute.by_group(brute.value_and_grad(kernel_of(model), data)[1]), brute.model_gradients(model, data)
    )


@pytest.mark.proof
@pytest.mark.long
@EVERY_CELL
@pytest.mark.thinned(1, 5)
def test_verify_passes_with_its_proof(cell: sb.Cell) -> None:
    report = sb.verify(cell)
    assert report.passed and "exact: module" in str(report), str(report)


@pytest.mark.long
def test_edges_are_analysed() -> None:
    params, inputs, state = oracle.draw(edges, 20, 2, SIZES)
    text = sb.analyze(edges, params, inputs, state).text()
    assert "gradients grow at most as" in text and "Verdict" in text


@pytest.mark.parametrize("norm", ["2", "max"])
def test_theorems_bound_edges_that_are_all_one(norm: Any) -> None:
    """e edges between the same nodes add up, the most that they can: a bound that forgets e, as that of a single index, is below."""
    params = oracle.draw(edges, 1, 1, SIZES)[0]
    one = {"src": np.zeros(4, int), "dst": np.zeros(4, int), "x": np.zeros((3, 2))}
    jacobian = sb.derive(edges).jacobian("h", "h").evaluate(params, one, {"h": np.zeros((3, 2))}).reshape(6, 6)
    found = sb.vanishing_condition(edges, norm=norm).rate(params, {"src": (np.zeros(4), np.full(4, 2.0))})
    wanted = np.linalg.norm(jacobian, 2 if norm == "2" else np.inf)
    single = 0.3 + np.linalg.norm(params["W"].T, 2 if norm == "2" else np.inf)
    assert single < wanted <= found * (1 + 1e-12) and found < 1.2 * wanted


def test_a_token_that_is_out_of_range_is_named() -> None:
    params, inputs, state = oracle.draw(bag, 3, 2, SIZES)
    inputs["tokens"][2, 1, 4] = 4
    with pytest.raises(
        sb.ArgumentError,
        match=r"tokens: integers from 0 to 3 are expected, got 4 at step 2, sample 1 \(index \(2, 1, 4\)\)",
    ):
        kernel_of(bag).forward(params, inputs, state)
    inputs["tokens"][2, 1, 4] = -1
    with pytest.raises(sb.ArgumentError, match="got -1 at step 2, sample 1"):
        kernel_of(bag).forward(params, inputs, state)
    with pytest.raises(sb.ArgumentError, match=r"tokens: \(T, B, k\) is expected"):
        kernel_of(bag).forward(params, {"tokens": np.zeros((3, 2, 5, 1), int)}, state)
    with pytest.raises(sb.ArgumentError, match="tokens: integers are expected"):
        kernel_of(bag).forward(params, {"tokens": np.zeros((3, 2, 5))}, state)


def test_columns_of_a_file_are_tokens() -> None:
    columns = {f"w{i}": np.array([0.0, 3.0, i]) for i in range(3)}
    bound_ = bind(bag, Table(Path("w.csv"), columns))
    assert bound_.dims == {"k": 3, "v": 4} and bound_.inputs["tokens"].tolist() == [[0, 0, 0], [3, 3, 3], [0, 1, 2]]
    with pytest.raises(sb.ArgumentError, match="'w0' has others"):
        bind(bag, Table(Path("w.csv"), {"w0": np.array([0.5]), "w1": np.array([1.0])}))


def of_another_axis(t: Index["v", "k"], h: State["n"], E: Param["w n"]):  # type: ignore[no-untyped-def]
    return h + E[t].sum(0)


def added_too_far(t: Index["v", "n"], h: State["n"]):  # type: ignore[no-untyped-def]
    return sb.segment_sum(h, t, h.shape[0])


def in_pairs(t: Index["n", "k"], s: Index["n", "k"], h: State["n n"]):  # type: ignore[no-untyped-def]
    return h + h[t, s].sum()


def written(t: Index["n", "k"], h: State["n"]):  # type: ignore[no-untyped-def]
    y = h * 1.0
    y[t] = 0.0
    return y


def of_places_computed(t: Index["v", "k"], h: State["n"], E: Param["v n"]):  # type: ignore[no-untyped-def]
    return h + E[2 * t].sum(0)


def in_a_loop(t: Index["v", "k"], h: State["n"], E: Param["v n"]):  # type: ignore[no-untyped-def]
    return sb.repeat(lambda z, j: z + E[t[j]], h, t.shape[0])


@pytest.mark.parametrize(("function", "words"), [
    (of_another_axis, r"'t' has v values, and chooses from an axis of size w(.|\n)*annotate it as Index\[\"w\"\]"),
    (added_too_far, "'t' has v values, and adds up in an axis of size n"),
    (in_pairs, r"an array of integers and by others at once(.|\n)*one axis after the other"),
    (written, "written at several places that are no constants"),
    (of_places_computed, "indexed by a value that is no Index"),
    (in_a_loop, r"no Index(.|\n)*rows\[k\] of rows = table\[tokens\]"),
], ids=lambda x: getattr(x, "__name__", ""))  # fmt: skip
def test_what_does_not_work_is_refused_with_what_to_write(function: Any, words: str) -> None:
    with pytest.raises(sb.SymbpttError, match=words):
        sb.compile(sb.cell(function))


@pytest.mark.parametrize(("dims", "words"), [
    ((5,), "as strings"), (("v", "k", "j"), "as strings"), (("v", 2), "as strings"), (("v w", "k"), "takes the number of values"),
    (("", "k"), "takes the number of values"), (("v", "k!"), "k!"),
])  # fmt: skip
def test_other_annotations_are_refused(dims: Any, words: str) -> None:
    with pytest.raises(sb.CellError, match=words):

        def cell(i, h):  # type: ignore[no-untyped-def]
            return h

        cell.__annotations__ = {"i": Index[dims], "h": State["n"]}
        sb.cell(cell)


def test_annotations_may_be_strings_and_cells_be_stacked() -> None:
    def words(tokens, h, E):  # type: ignore[no-untyped-def]
        return 0.5 * h + E[tokens].sum(0)

    words.__annotations__ = {"tokens": 'Index["v", "k"]', "h": 'State["n"]', "E": 'Param["v n"]'}
    cell = sb.cell(words)
    assert repr(cell).startswith("<cell words(tokens: Index(k,)")
    stacked = sb.stack(cell, rnn)
    assert [a.shape for a in stacked.arguments if a.role == "index"] == [
        a.shape for a in cell.arguments if a.role == "index"
    ]
    kernel_of(stacked).forward(*oracle.draw(stacked, 2, 1, SIZES | {"n_1": 3, "n_2": 2}))
