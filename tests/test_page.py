"""The printed page, read back: every line evaluates to what the kernel computes."""

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Output, Param, State, Target, zoo
from tests import unseen
from tests.properties.wild import case_of, functions_of
from tests.readback import assert_model_read, assert_read, sizes_of


@sb.loss
def read_out(h: State["n"], target: Target["k"], Vout: Param["k n"], cout: Param["k"]):
    return -np.sum(target * sb.log_softmax(np.tanh(Vout @ h + cout)))


@sb.loss
def of_output(y: Output["m"], target: Target["m"]):
    return np.sum((y - target) ** 2) / 2


CELLS = {**zoo.CELLS, **unseen.CELLS}


@pytest.mark.parametrize("name", CELLS)
def test_page_of_a_cell_reads_as_the_kernel_computes(name: str) -> None:
    assert_read(CELLS[name], sizes_of(CELLS[name]))


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "attention", "selective_ssm"])
def test_page_of_a_model_reads_as_the_kernel_computes(name: str, at: str, reduction: str) -> None:
    cell = zoo.CELLS[name]
    assert_model_read(
        sb.model(cell, read_out if "y" not in cell.step.outputs else of_output, at=at, reduction=reduction),
        sizes_of(cell) | {"k": 2},
    )


@pytest.mark.filterwarnings("ignore:.*is never used")
@pytest.mark.parametrize("seed", range(20))
def test_page_of_a_random_cell_reads_as_the_kernel_computes(seed: int) -> None:
    assert_random_read(seed)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*is never used")
@pytest.mark.parametrize("first", range(20, 320, 50))
def test_pages_of_many_random_cells_read_as_the_kernel_computes(first: int) -> None:
    for seed in range(first, first + 50):
        assert_random_read(seed)


def assert_random_read(seed: int) -> None:
    cell, loss = functions_of(case_of(seed))
    at, reduction = ("every", "last")[seed % 2], ("sum", "mean")[seed // 2 % 2]
    model = sb.model(cell, loss, at=at, reduction=reduction)
    with np.errstate(all="ignore"):
        assert_read(cell, sizes_of(cell))
        assert_model_read(model, sizes_of(model))


# What was wrong on pages, each as its shortest cell.


@sb.cell
def summed(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], c: Param):
    s = np.sum(W @ x + U @ h + c)
    return np.tanh(s * h)


@sb.cell
def repeated(x: Input["m"], h: State["n"], W: Param["n m"], c: Param):
    return np.tanh(W @ x + h + np.sum(c * np.ones_like(h)))


@sb.cell
def rows(x: Input["m"], H: State["k n"], U: Param["n n"], W: Param["k m"], b: Param["k"]):
    return np.tanh(H @ U.T + (W @ x)[:, None] + b[:, None])


@sb.cell
def flattened(x: Input["m"], H: State["k n"], A: Param["n k"], g: Param["n"]):
    return H * (x @ x) + (A * g[:, None]).reshape(-1).reshape(H.shape) + A.T * g


@sb.cell
def constants(x: Input["3"], h: State["3"]):
    return np.array([[1.0, 2.0, 0.9999999], [0.1, np.pi, 0.3], [1 / 3, 2 * np.pi / 3, 1e-7]]) @ h + x


@pytest.mark.parametrize("cell", [summed, repeated, rows, flattened, constants], ids=lambda cell: cell.name)
def test_shapes_and_numbers_stand_on_the_page(cell: sb.Cell) -> None:
    assert_read(cell, sizes_of(cell))


def test_lines_are_as_they_are_written() -> None:
    page = sb.derive(summed).text()
    assert "dW = Σ_t ds_t 1_n x_tᵀ" in page and "dc = Σ_t n · ds_t" in page and "dx_t = Wᵀ ds_t 1_n" in page


def test_reader_catches_a_line_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    text = sb.Derivation.text
    monkeypatch.setattr(sb.Derivation, "text", lambda self: text(self).replace("n · ds_t", "ds_t"))
    with pytest.raises(AssertionError, match="gradient of c"):
        assert_read(summed, sizes_of(summed))


def test_axes_and_orders_make_different_pages() -> None:
    @sb.cell
    def down(x: Input["n"], H: State["n n"]):
        return np.cumsum(H, axis=0)

    @sb.cell
    def across(x: Input["n"], H: State["n n"]):
        return np.cumsum(H, axis=1)

    assert sb.derive(down).text() != sb.derive(across).text()


def test_names_that_latex_writes_alike_stand_as_they_are_spelt() -> None:
    @sb.cell
    def alike(x: Input["n"], h: State["n"], Wf: Param["n"], W_f: Param["n"]):
        return np.tanh(Wf * h + W_f * x)

    left = [line.latex.partition("=")[0] for line in sb.derive(alike).gradients]
    assert len(set(left)) == len(left) == 2


def test_greek_letters_are_letters_in_latex() -> None:
    @sb.cell
    def greek(x: Input["n"], h: State["n"], α: Param["n"], Gamma: Param["n"]):
        return np.tanh(α * h + Gamma * x)

    latex = sb.derive(greek).latex()
    assert latex.isascii() and r"\alpha" in latex and r"\Gamma" in latex
