"""Tables that are read by an index, states that forget, and recursions in windows: gradients of random data against complex
steps of the plain function, however steps are cut into blocks and windows; sums of rows that are read very often."""

import re
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Chunked, Index, Input, Param, State, Target, Window
from symbptt.codegen.load import load
from symbptt.codegen.runtime.gather import _collected as collected
from tests import brute, oracle
from tests.kernels import kernel_of

pytestmark = pytest.mark.filterwarnings("ignore:.*is never used")

SIZES = {"m": 2, "n": 3, "v": 4, "w": 3, "k": 5, "d": 2, "e": 4}


@sb.cell
def bent(i: Index["v"], h: State["n"], E: Param["v n"]):
    """The cotangent of the state itself is collected."""
    return np.tanh(h) + E[i]


@sb.cell
def damped(i: Index["v"], h: State["n"], E: Param["v n"]):
    """The same, in windows of a scan."""
    return 0.5 * h + E[i]


@sb.cell
def columns(i: Index["v"], h: State["n"], E: Param["n v"], U: Param["n n"]):
    return U @ np.tanh(h) + E[:, i]


@sb.cell
def remembering(i: Index["v"], h: State["n"], last: State["n"], E: Param["v n"]):
    """One state is a row of the table, the other reads what it was."""
    return {"h": 0.5 * h + last, "last": E[i], "y": E[i] * h}


@sb.cell
def two_rows(i: Index["v"], j: Index["v"], x: Input["n"], h: State["n"], E: Param["v n"]):
    return 0.9 * h + E[i] * x + E[j]


@sb.cell
def nested(i: Index["v"], j: Index["w"], h: State["n"], D: Param["w v n"], b: Param["v"]):
    """A gather of a gather, and a number of a vector."""
    return np.tanh(h) + D[j][i] + D[j, i] * b[i]


@sb.cell
def middle(i: Index["v"], h: State["n"], D: Param["n v n"]):
    """The index stands between other axes."""
    return np.tanh(D[:, i] @ h) + D[:, i][:, 0]


@sb.cell
def computed(i: Index["v"], h: State["n"], E: Param["v n"], U: Param["n n"], a: Param["n"]):
    """Rows of tables that are computed."""
    return 0.5 * h + (E @ U)[i] + np.tanh(a * E)[i] + E.T[:, i][::-1]


@sb.cell
def put_together(i: Index["v"], k: Index["w"], h: State["n"], E: Param["v n"], G: Param["w n"]):
    """The rows of two tables are those of one; so are the columns."""
    return np.tanh(h) + np.concatenate([E, G])[i] + np.concatenate([E.T, G.T], 1)[:, k]


@sb.cell
def wide(i: Index["n"], D: Param["n v+w"], h: State["v+w"], b: Param["v"]):
    """Rows of as many numbers as a sum of sizes."""
    return 0.5 * h + D[i] + b[0]


@sb.cell
def own_tables(x: Input["m"], i: Index["m"], h: State["n"], E: Param["m n"], w: Param["n"]):
    """Each sample has a table beside the one of all; both get the same cotangent."""
    return 0.5 * h + E[i] + np.outer(x, w)[i]


@sb.cell
def given_tables(X: Input["v n"], i: Index["v"], h: State["n"], E: Param["v n"]):
    return np.tanh(h) + E[i] + X[i]


@sb.cell
def forgetful(x: Input["n"], h: State["n"], w: Param["n"]):
    h = w * x
    return {"h": h, "y": h}


@sb.cell
def forgetful_twice(x: Input["n"], h: State["n"], c: State["n"], w: Param["n"], a: Param["n"]):
    """One of two states forgets; two outputs read it."""
    h = w * x
    c = a * c + h
    return {"h": h, "c": c, "y": h, "z": a * h + c}


@sb.cell
def forgetful_table(i: Index["v"], h: State["n"], c: State["n"], E: Param["v n"], w: Param["n"]):
    """Both states forget."""
    return {"h": E[i], "c": w * E[i], "y": 2 * E[i], "z": sb.sum(w * E[i])}


@sb.cell
def handed_on(x: Input["n"], h: State["n"], c: State["n"], q: State["n"], w: Param["n"]):
    """What forgets becomes another state at the step after."""
    return {"h": w * x, "c": h, "q": 0.5 * q + c, "y": w * x, "z": h}


CELLS = [
    bent,
    damped,
    columns,
    remembering,
    two_rows,
    nested,
    middle,
    computed,
    put_together,
    wide,
    own_tables,
    given_tables,
    forgetful,
    forgetful_twice,
    forgetful_table,
    handed_on,
]
EVERY_CELL = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
MASKS: dict[str, Any] = {
    "lengths": {"lengths": np.array([5, 2])},
    "both": {"lengths": np.array([0, 4]), "reset": np.eye(5, 2, -1, dtype=bool)},
}


def in_pieces(source: str, block: int, window: int) -> Any:
    """A module with blocks of so many steps, scanned in windows of so many, or step by step with 0."""
    module = load(source, f"<blocks of {block}, windows of {window}>")
    module._steps = lambda T, B, size, rows=0: max(min(T, block), 1)
    module._window = lambda T, states, least: window if T > 1 else 0
    return module


def assert_right(module: Any, data: brute.Data, cotangents: oracle.Arrays, wanted: Any) -> None:
    run = module.forward(data.params, data.inputs, data.state, **data.masks)
    brute.assert_same(brute.by_group(module.backward(run, cotangents)), wanted)


def case_of(cell: sb.Cell, steps: int, batch: int, truncation: Any = None, **masks: Any) -> tuple[Any, Any, Any]:
    """Data, cotangents of everything, and the derivatives of the plain function."""
    data = brute.data_of(cell, steps, batch, SIZES, **masks)
    run = kernel_of(cell).forward(data.params, data.inputs, data.state, **data.masks)
    random = np.random.default_rng(steps)
    cotangents = {k: random.standard_normal(v.shape) for k, v in {**run.states, **run.outputs}.items()}
    return data, cotangents, brute.gradients(cell, brute.cotangent_score(cotangents), data, truncation)


def assert_right_in_pieces(cell: sb.Cell, source: str, steps: int = 9) -> None:
    data, cotangents, wanted = case_of(cell, steps, 2)
    for block, window in ((1, 0), (2, 0), (4, 2), (3, 4), (100, 4)):
        assert_right(in_pieces(source, block, window), data, cotangents, wanted)


@EVERY_CELL
@pytest.mark.thinned(17, 2)
def test_gradients_are_those_of_the_plain_function_in_blocks_and_windows(cell: sb.Cell) -> None:
    assert_right_in_pieces(cell, kernel_of(cell).source)


@EVERY_CELL
@pytest.mark.thinned(7, 2)
def test_gradients_are_right_for_few_steps_and_at_the_least_window(cell: sb.Cell) -> None:
    for steps, batch in ((0, 2), (1, 1), (2, 3), (7, 1), (8, 1), (17, 2)):
        assert_right(kernel_of(cell), *case_of(cell, steps, batch))


@EVERY_CELL
@pytest.mark.parametrize("options", [{"memory": "sqrt"}, {"memory": 10**6}], ids=str)
@pytest.mark.thinned(29, 2)
def test_gradients_are_right_with_checkpoints(cell: sb.Cell, options: Any) -> None:
    kernel, case = kernel_of(cell, **options), case_of(cell, 9, 2)
    assert_right(kernel, *case)
    assert_right(in_pieces(kernel.source, 2, 2), *case)


@EVERY_CELL
@pytest.mark.parametrize("truncation", [Window(2), Window(9), Chunked(2, 3), Chunked(3, 2)], ids=repr)
@pytest.mark.thinned(13, 7)
def test_gradients_are_right_where_they_are_truncated(cell: sb.Cell, truncation: Any) -> None:
    kernel, case = kernel_of(cell, truncation=truncation), case_of(cell, 5, 2, truncation)
    assert_right(kernel, *case)
    assert_right(in_pieces(kernel.source, 2, 2), *case)


@EVERY_CELL
@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.thinned(7, 2)
def test_gradients_are_right_with_lengths_and_resets(cell: sb.Cell, masks: str) -> None:
    case = case_of(cell, 5, 2, **MASKS[masks])
    assert_right(kernel_of(cell), *case)
    assert_right(in_pieces(kernel_of(cell).source, 2, 0), *case)


@sb.loss
def of_a_row(h: State["n"], y: Target["n"], k: Index["v"], E: Param["v n"]):
    """The loss has a gather of its own, of the table of the cell."""
    return sb.sum((h - y) ** 2) / 2 + sb.sum(E[k] * h)


@pytest.mark.parametrize("options", [{}, {"memory": "sqrt"}, {"memory": 10**6}, {"truncation": Chunked(2, 3)},
                                     {"truncation": Window(3)}], ids=str)  # fmt: skip
@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.parametrize("cell", [bent, damped, remembering, two_rows], ids=lambda cell: cell.name)
@pytest.mark.thinned(23, 7)
def test_gradients_of_models_are_right(cell: sb.Cell, at: str, options: Any) -> None:
    model = sb.model(cell, of_a_row, at=at)
    kernel = kernel_of(model, **options)
    for masks in ({}, {"lengths": np.array([6, 3])}):
        data = brute.data_of(model, 6, 2, SIZES, **masks)
        wanted = brute.model_gradients(model, data, options.get("truncation"))
        for module in (kernel, in_pieces(kernel.source, 2, 0), in_pieces(kernel.source, 4, 2)):
            brute.assert_same(brute.by_group(brute.value_and_grad(module, data)[1]), wanted)


# By hand.


@pytest.mark.parametrize(("T", "B"), [(64, 16), (2, 500), (300, 3)])
def test_table_of_a_damped_sum_has_the_gradient_of_a_geometric_series(T: int, B: int) -> None:
    """h_t = h_{t-1}/2 + E[i_t]: what a row adds at step t counts 1 + 1/2 + ... + 2^(t-T) times."""
    n, i = 64, np.random.default_rng(0).integers(0, 5, (T, B))
    for dtype in (np.float64, np.float32):
        run = kernel_of(damped).forward({"E": np.ones((5, n), dtype)}, {"i": i})
        found = kernel_of(damped).backward(run, {"h": np.ones((T, B, n), dtype)}).params["E"]
        series = np.broadcast_to(2 - 0.5 ** np.arange(T - 1, -1, -1)[:, None], (T, B))
        wanted = np.bincount(i.ravel(), series.ravel(), 5)
        np.testing.assert_allclose(found, np.repeat(wanted[:, None], n, 1), rtol=np.finfo(dtype).eps * 8)


@pytest.mark.parametrize("T", [0, 1, 2, 7, 8, 9, 100])
def test_state_that_forgets_has_each_output_once(T: int) -> None:
    """h = w x and y = h: the derivative of Σ_t y_t by w is Σ_t x_t."""
    kernel = kernel_of(forgetful)
    run = kernel.forward({"w": np.ones(1)}, {"x": np.ones((T, 1, 1))})
    assert kernel.backward(run, {"y": np.ones((T, 1, 1))}).params["w"] == [T]
    assert kernel.backward(run, {"y": np.ones((T, 1, 1)), "h": np.ones((T, 1, 1))}).params["w"] == [2 * T]


# Rows that are read very often, and tables of many rows.


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8, np.uint64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(7,), (1, 1), (7, 3), (200, 40), (2, 200, 3), (3, 5, 2, 4)])
@pytest.mark.thinned(11, 2)
def test_what_is_collected_is_a_sum_of_scattered_rows(shape: tuple[int, ...], dtype: Any, kind: Any) -> None:
    random = np.random.default_rng(0)
    for axis in range(len(shape)):
        for lead in ((0, 2), (1, 1), (3, 2), (70, 9), (5,)):
            index = random.integers(0, shape[axis], lead).astype(kind)
            x = random.standard_normal((*lead, *shape[:axis], *shape[axis + 1 :])).astype(dtype)
            wanted = np.zeros(shape)
            for position in np.ndindex(*lead):
                np.moveaxis(wanted, axis, 0)[int(index[position])] += x[position]
            for given in (x, np.asfortranarray(x)):
                got = collected(given, index, axis, shape)
                assert got.dtype == dtype and got.flags.c_contiguous
                np.testing.assert_allclose(got, wanted, rtol=4 * np.finfo(dtype).eps, atol=1e-6 * (dtype == np.float32))


@pytest.mark.parametrize("cell", [bent, damped], ids=lambda cell: cell.name)
def test_row_that_is_read_very_often_keeps_the_digits_of_float32(cell: sb.Cell) -> None:
    T, B = 500, 400
    random = np.random.default_rng(0)
    given = random.uniform(0, 0.2, (T, B, 1)).astype(np.float32)
    found = []
    for dtype in (np.float32, np.float64):
        run = kernel_of(cell).forward({"E": np.zeros((3, 1), dtype)}, {"i": np.ones((T, B), int)})
        found.append(kernel_of(cell).backward(run, {"h": given.astype(dtype)}).params["E"])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)


# Twice the same.


@EVERY_CELL
@pytest.mark.thinned(5)
def test_second_backward_of_a_run_gives_the_same_bytes(cell: sb.Cell) -> None:
    for steps, batch in ((9, 2), (40, 33)):
        data = brute.data_of(cell, steps, batch, SIZES)
        for dtype in (np.float64, np.float32):
            groups = [{k: v.astype(dtype) if v.dtype.kind == "f" else v for k, v in g.items()}
                      for g in (data.params, data.inputs, data.state)]  # fmt: skip
            run = kernel_of(cell).forward(*groups)
            cotangents = {k: np.ones_like(v) for k, v in {**run.states, **run.outputs}.items()}
            first, *others = (oracle.flat(kernel_of(cell).backward(run, cotangents)) for _ in range(3))
            for other in others:
                assert {k: v.tobytes() for k, v in first.items()} == {k: v.tobytes() for k, v in other.items()}


# An index that is too great for its table.


def at_end(i: Index["w"], h: State["n"], E: Param["v n"]):  # type: ignore[no-untyped-def]
    return np.tanh(h) + E[i]


def beside(i: Index["4"], h: State["n"], E: Param["3 n"]):  # type: ignore[no-untyped-def]
    return np.tanh(h) + E[i]


def across(i: Index["v"], h: State["n"], E: Param["v n"]):  # type: ignore[no-untyped-def]
    return np.tanh(h) + np.take(E, i, axis=1)[0]


def behind(i: Index["v"], h: State["n"], E: Param["v n"]):  # type: ignore[no-untyped-def]
    return np.tanh(h) + E[1:][i]


@pytest.mark.parametrize("function", [at_end, beside, across, behind])
def test_index_with_more_values_than_its_table_has_is_refused_by_name(function: Any) -> None:
    with pytest.raises(sb.ShapeError, match=r"(?s)'i' has . values, and chooses from an axis of size .*test_gather.py"):
        sb.compile(sb.cell(function))


def test_index_with_more_values_than_its_table_has_is_refused_in_a_loss() -> None:
    @sb.loss
    def nats(h: State["n"], k: Index["v"], V: Param["w n"]):
        return -sb.log_softmax(V @ h)[k]

    with pytest.raises(sb.ShapeError, match=r"(?s)'k' has v values, and chooses from an axis of size w.*in nats"):
        sb.compile(sb.model(bent, nats))


@sb.cell
def with_room(i: Index["v"], h: State["n"], E: Param["v+1 n"], F: Param["2*v n"]):
    """A table may have more rows than are ever read."""
    return np.tanh(h) + E[i] * E[1:][i] + F[i]


def test_table_may_have_more_entries_than_its_index_has_values() -> None:
    assert sb.verify(with_room).passed


# Mistakes that must be seen.

PLANTED: dict[str, tuple[sb.Cell, str, str]] = {
    "a block of steps for what is collected of all": (bent, r"\(T, B, n\), \(K, B, n\)", "(K, B, n), (K, B, n)"),
    "a cotangent that is not kept": (bent, r"np\.copyto\(dh_all_t, dh\)", "pass"),
    "the first steps of all for those of a block": (damped, r"dh_all\[lo:hi\],\)", "dh_all[: hi - lo],)"),
    "an output that counts twice": (
        forgetful,
        r'\(\(None if full\["h"\] is None else full\["h"\]\[lo:hi\],\),\)',
        '((None if full["h"] is None else full["h"][lo:hi], dy[lo:hi]),)',
    ),
    "one cotangent of a row for all": (columns, r"np\.add\.at\(sums,", "np.put(sums,"),
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_planted_mistake_is_seen(mistake: str) -> None:
    cell, text, wrong = PLANTED[mistake]
    source, count = re.subn(text, wrong, kernel_of(cell).source)
    assert count >= 1
    with pytest.raises((AssertionError, ValueError, IndexError)):
        assert_right_in_pieces(cell, source)
