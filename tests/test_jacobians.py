"""Jacobians on the page: read back, compared with the user's function, and as a reviewer writes them."""

import pickle
import re
from functools import partial
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State, zoo
from symbptt.equations.algebra.entries import EntryMaker
from symbptt.equations.page import chains
from symbptt.zoo import gru, hopfield, lif, lstm, mlstm, rnn
from tests import test_page, unseen
from tests.entries import derivative
from tests.jacobian_page import JacobianPage, assert_jacobians_read, by_complex_step, by_tape, page_of
from tests.properties.cases import case_of, functions_of
from tests.readback import sizes_of


def deviation(x: Any, axis: int | None = None) -> Any:
    """np.std, which takes no complex step."""
    centred = x - np.mean(x, axis, keepdims=True)
    return np.sqrt(np.mean(centred * centred, axis))


SIZES = {"m": 3, "n": 4, "k": 2, "d": 5, "v": 6, "a": 7}
"""Pairwise different, and small."""


def small(cell: sb.Cell) -> dict[str, int]:
    return {name: SIZES.get(name, 3) for name in sizes_of(cell)}


@sb.cell
def leaky(x: Input, h: State, w: Param, r: Param):
    return r * h + w * x


@sb.cell
def legendre(
    x: Input["m"], h: State["n"], mem: State["d"], A: Param["d d"], B: Param["d"], e_h: Param["n"], W: Param["n d"]
):
    u = e_h @ h + x[0]
    mem = A @ mem + B * u
    return np.tanh(W @ mem), mem


@sb.cell
def duo(x: Input["n"], h: State["n"], U: Param["n n"], mem: Param["n"], phi: Param["n"]):
    f = sb.sigmoid(U @ h)
    return f * h - f * mem + phi * h + x


@sb.cell
def several(x: Input["m"], h: State["n"], c: State["n"], W: Param["n m"], U: Param["n n"], V: Param["k n"]):
    """Two states of which one is handed on, and one under two names."""
    now = np.tanh(W @ x + U @ h + c)
    return {"h": now, "c": h, "y": now, "z": V @ now}


@sb.cell
def parts(x: Input["m"], h: State["n"], W: Param["2*n m"], U: Param["2*n n"]):
    z, r = np.split(sb.sigmoid(W @ x + U @ h), 2)
    return z * h + (1 - z) * np.tanh(np.cumsum(r * h)) + np.max(h) * r


OWN = (leaky, legendre, duo, several, parts, test_page.summed, test_page.repeated, test_page.rows, test_page.flattened)


def of_size(body: Any) -> sb.Cell:
    @sb.cell
    def sized(x: Input["n"], h: State["n"], W: Param["n n"]):
        return body(W @ h + x, h)

    return sized


SPREAD = {
    "squash": lambda y, h: y / (1 + sb.norm(y)),
    "norm": lambda y, h: sb.norm(h) * h + y,
    "root of squares": lambda y, h: np.sqrt(np.sum(h * h)) * h + y,
    "root of a product": lambda y, h: np.sqrt(h @ h) * y,
    "square of a norm": lambda y, h: sb.norm(h) ** 2 * h + y,
    "function of a norm": lambda y, h: np.tanh(sb.norm(y)) * h,
    "deviation": lambda y, h: deviation(h) * y,
    "normalised": lambda y, h: (y - np.mean(y)) / (deviation(y) + 1e-3),
    "norm of rows": lambda y, h: sb.norm(np.outer(y, h), axis=1),
    "deviation of columns": lambda y, h: deviation(np.outer(y, h), axis=0),
    "largest": lambda y, h: np.max(y) * h + np.min(h) * y,
    "softmax of rows": lambda y, h: sb.softmax(np.outer(y, h), axis=1) @ h,
    "unit": lambda y, h: y / sb.norm(y),
    "log": lambda y, h: sb.log_softmax(y) + sb.logsumexp(h) * y,
}
"""Cells of functions that a page shows whole, in the places where they may stand."""
QUICK = ("rnn", "lif", "indrnn", "hopfield", "gru", "delay_rnn", "second_order")


@pytest.mark.parametrize("cell", [*OWN, *(zoo.CELLS[name] for name in QUICK)], ids=lambda cell: cell.name)
@pytest.mark.thinned(3)
def test_printed_states_are_what_the_function_does(cell: sb.Cell) -> None:
    assert_jacobians_read(cell, small(cell), ("state",))


@sb.cell
def one_apart(x: Input["n"], h: State["n"], U: Param["n n"]):
    p = np.tanh(U @ h + x)
    return np.log(2 - p) * h + sb.sigmoid(3 * p)


@pytest.mark.parametrize("cell", [one_apart, lif, mlstm], ids=lambda cell: cell.name)
def test_jacobians_read_no_name_that_the_page_has_put_in(cell: sb.Cell) -> None:
    """The page writes log(2 - p_t), and has no line of 2 - p_t: nothing beside it may read one."""
    assert sb.derive(cell)._textbook.put_in  # else the test would check nothing
    assert_jacobians_read(cell, small(cell), ("state",))


def test_routes_read_no_name_that_the_page_has_put_in() -> None:
    assert "diag(log(2 - p_t))" in sb.derive(one_apart).paths("h", "h").text()


@pytest.mark.parametrize("name", SPREAD)
@pytest.mark.thinned(7, 2)
def test_functions_of_arrays_have_their_derivatives_everywhere(name: str) -> None:
    cell = of_size(SPREAD[name])
    assert_jacobians_read(cell, small(cell), ("state",))


@pytest.mark.parametrize("cell", [leaky, duo, rnn], ids=lambda cell: cell.name)
def test_printed_inputs_and_parameters_are_what_the_function_does(cell: sb.Cell) -> None:
    assert_jacobians_read(cell, small(cell), ("input", "param"))


@pytest.mark.long
@pytest.mark.parametrize("cell", [*OWN, *zoo.CELLS.values()], ids=lambda cell: cell.name)
@pytest.mark.thinned(1, 17)
def test_every_printed_block_is_what_the_function_does(cell: sb.Cell) -> None:
    assert_jacobians_read(cell, small(cell))


@pytest.mark.long
@pytest.mark.parametrize("name", unseen.CELLS)
@pytest.mark.thinned(1, 7)
def test_printed_states_of_unseen_cells_are_what_the_function_does(name: str) -> None:
    assert_jacobians_read(unseen.CELLS[name], small(unseen.CELLS[name]), ("state",))


@pytest.mark.filterwarnings("ignore:.*is never used")
@pytest.mark.parametrize("seed", [3])
def test_printed_states_of_a_random_cell(seed: int) -> None:
    assert_random(seed)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*is never used")
@pytest.mark.parametrize("first", range(0, 100, 20))
@pytest.mark.thinned(1, 5)
def test_printed_states_of_random_cells(first: int) -> None:
    for seed in range(first, first + 20):
        assert_random(seed)


def assert_random(seed: int) -> None:
    cell = functions_of(case_of(seed))[0]
    with np.errstate(all="ignore"):
        assert_jacobians_read(cell, small(cell), ("state",), oracle=partial(by_tape, sizes=small(cell)))


# States that are put together of others, and read in parts.


@sb.cell
def together(x: Input["m"], s: State["n+k"], W: Param["n n+k"], V: Param["k n+k"], B: Param["n m"]):
    h = np.tanh(W @ s + B @ x)
    c = sb.sigmoid(V @ s)
    return np.concatenate([h, c])


@sb.cell
def shifted(x: Input["m"], s: State["n+k"], W: Param["n n+k"], B: Param["k m"]):
    c, h = np.tanh(B @ x), np.tanh(W @ s)
    return np.concatenate([c, h])


@sb.cell
def delayed(x: Input["n"], s: State["2*n"], W: Param["n n"]):
    first = s[: x.shape[0]]
    h = np.tanh(W @ first + x)
    return {"s": np.concatenate([h, first]), "y": h * s[x.shape[0] :]}


@sb.cell
def delayed_rows(x: Input["n"], S: State["2*n n"], W: Param["n n"]):
    A = S[: x.shape[0]]
    return np.concatenate([np.tanh(W @ A), A * x])


@pytest.mark.parametrize("cell", [together, shifted, delayed, delayed_rows], ids=lambda cell: cell.name)
def test_states_of_parts_are_what_the_function_does(cell: sb.Cell) -> None:
    """What reads the first part of a state has no derivative in the others: W_ij has no column beyond its own."""
    assert_jacobians_read(cell, small(cell), ("state", "input"))


def test_a_state_of_parts_has_their_blocks_one_under_the_other() -> None:
    assert sb.derive(together).jacobian().text() == "∂s_t/∂s_{t-1} = [diag(1 - h_t²) W; diag(c_t ⊙ (1 - c_t)) V]"
    assert sb.derive(shifted).jacobian("s", "s").text() == "∂s_t/∂s_{t-1} = [0_{k×k+n}; diag(1 - h_t²) W]"


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("cell", [duo, parts, hopfield], ids=lambda cell: cell.name)
@pytest.mark.thinned(5)
def test_axes_of_size_one_and_two(cell: sb.Cell, size: int) -> None:
    """The page is of any size, also where vectors are numbers: evaluated alone, since a reader cannot tell 1 from n there."""
    sizes = dict.fromkeys(sizes_of(cell), size)
    _, data = page_of(cell, sizes) if size > 1 else (None, page_of(cell, sizes)[1])
    given = (data.params, {k: v[0, 0] for k, v in data.inputs.items()}, {k: v[0] for k, v in data.state.items()})
    for (to, of), value in by_complex_step(cell, data).items():
        np.testing.assert_allclose(sb.derive(cell).jacobian(to, of).evaluate(*given), value, rtol=1e-10, atol=1e-12)


def test_lines_are_those_of_a_textbook() -> None:
    def line(cell: sb.Cell, to: str, of: str) -> str:
        return sb.derive(cell).jacobian(to, of).text()

    assert line(lstm, "c", "c") == "∂c_t/∂c_{t-1} = diag(f_t)"
    assert line(lstm, "h", "c") == "∂h_t/∂c_{t-1} = diag(o_t ⊙ (1 - tanh(c_t)²) ⊙ f_t)"
    assert line(rnn, "h", "h") == "∂h_t/∂h_{t-1} = diag(1 - h_t²) U"
    assert line(mlstm, "C", "C") == "∂C_t/∂C_{t-1} = keep_t I"
    assert line(mlstm, "n", "C") == "∂n_t/∂C_{t-1} = 0"
    assert line(legendre, "mem", "h") == "∂mem_t/∂h_{t-1} = B e_hᵀ"
    assert line(leaky, "h", "h") == "∂h_t/∂h_{t-1} = r"
    assert line(duo, "h", "h").count(" U") == 1  # like terms are one
    assert line(several, "c", "h") == "∂c_t/∂h_{t-1} = I"
    assert line(several, "y", "c") == line(several, "h", "c").replace("h_t", "y_t", 1).replace("h_t²", "h_t²")
    assert line(hopfield, "h", "h").endswith("Mᵀ (diag(p_t) - p_t p_tᵀ) M")
    assert line(lif, "v", "v").endswith(" I") and "·" not in line(lif, "v", "v")
    assert line(rnn, "h", "W") == "∂(h_t)_i/∂W_{jk} = δ_{ij} (1 - (h_t)_i²) (x_t)_k"


def test_a_value_that_is_a_quotient_stands_for_it_and_sums_have_their_terms() -> None:
    @sb.cell
    def shares(h: State["n"], W: Param["n n"]):
        e = np.exp(W @ h)
        s = 1 + np.sum(e)
        y = e / s
        return y * h

    @sb.cell
    def summed(h: State["n"], w: Param["n"]):
        return w * h + np.sum(w * h**2)

    found = sb.derive(shares).jacobian("h", "h").text()
    assert found == "∂h_t/∂h_{t-1} = diag(h_{t-1}) (diag(y_t) - y_t y_tᵀ) W + diag(y_t)"
    assert sb.derive(summed).jacobian("h", "w").text() == "∂h_t/∂w = diag(h_{t-1}) + 1_n (h_{t-1}²)ᵀ"


def test_what_all_terms_share_stands_outside_of_the_sum() -> None:
    @sb.cell
    def tempered(h: State["n"], M: Param["k n"], tau: Param):
        return M.T @ sb.softmax(M @ h / tau)

    @sb.cell
    def normed(h: State["n"], U: Param["n n"]):
        return sb.layer_norm(U @ h)

    one = sb.derive(tempered).jacobian("h", "h").text().splitlines()
    assert one == [
        "∂h_t/∂h_{t-1} = Mᵀ (diag(u_{1,t}) - u_{1,t} u_{1,t}ᵀ) M / τ",
        "with",
        "  u_{1,t} = softmax(M h_{t-1} / τ)",  # printed three times without a name
    ]
    two = sb.derive(normed).jacobian("h", "h").text()
    assert two == "∂h_t/∂h_{t-1} = (I - 1_n 1_nᵀ / n - h_t h_tᵀ / n) U / √(var(a_t) + 10⁻⁵)"
    entries = sb.derive(normed).jacobian("h", "U").text()
    assert entries.endswith("(δ_{ij} - 1 / n - (h_t)_j (h_t)_i / n) / √(var(a_t) + 10⁻⁵)")


RING = np.array([[0.0, 1.5, 0.0], [0.0, 0.0, -0.5], [2.0, 0.0, 0.0]])


@sb.cell
def ringed(x: Input["3"], h: State["3"], W: Param["3 3"]):
    return np.tanh(RING @ h + W @ x)


def test_constant_arrays_have_the_names_that_the_page_gives_them() -> None:
    found, shown = sb.derive(ringed), "M = [0, 1.5, 0; 0, 0, -0.5; 2, 0, 0]"
    assert f"  {shown}" in found.text().splitlines()
    forms = {"block": found.jacobian("h", "h"), "states": found.jacobian(), "routes": found.paths("h", "h", 2),
             "closed": found.unrolled()}  # fmt: skip
    for name, form in forms.items():
        assert form.text().count("1.5") == 1 and shown in form.text().splitlines(), name
        assert form.latex().count("1.5") == 1, name
    assert found.jacobian("h", "h").text().splitlines()[0] == "∂h_t/∂h_{t-1} = diag(1 - h_t²) M"
    assert "dh_{t-1} gains Mᵀ da_t" in found.explain().text() and found.explain().text().count("1.5") == 1


@pytest.mark.long
@pytest.mark.parametrize("name", ["retnet", "titans", "mamba2"])
def test_no_line_of_any_block_is_long(name: str) -> None:
    cell = zoo.CELLS[name] if name in zoo.CELLS else unseen.CELLS[name]
    found = sb.derive(cell)
    of = [a.name for a in cell.arguments if a.role in ("state", "input", "param")]
    texts = [found.jacobian(to, x).text() for to in (*cell.step.next, *cell.step.outputs) for x in of]
    assert max(len(line) for text in texts for line in text.splitlines()) <= 200


def test_long_lines_have_parts_with_names() -> None:
    first, head, *rest = sb.derive(lstm).jacobian("h", "h").text().splitlines()
    assert head == "with" and first.endswith("∂c_t/∂h_{t-1}") and rest[0].startswith("  ∂c_t/∂h_{t-1} = ")


FORBIDDEN = ("None", "einsum", "reshape", "axis=", "join(", "expand(", "1 ·", "[:, None]")


@pytest.mark.parametrize("cell", zoo.CELLS.values(), ids=list(zoo.CELLS))
@pytest.mark.thinned(7, 2)
def test_no_python_and_no_long_line_on_a_page(cell: sb.Cell) -> None:
    text = sb.derive(cell).jacobian().text()
    assert not [word for word in FORBIDDEN if word in text]
    assert max(map(len, text.splitlines())) <= 200
    assert text == sb.derive(cell).jacobian().text()


def test_reader_catches_a_line_that_is_wrong() -> None:
    page, data = page_of(gru, small(gru))
    value = by_complex_step(gru, data)["h", "h"]
    text = sb.derive(gru).jacobian("h", "h").text()
    np.testing.assert_allclose(page.block(text, value.shape), value, rtol=1e-10)
    for right, wrong in ((") Uz", ") Uzᵀ"), ("(h_{t-1} - n_t)", "(n_t - h_{t-1})"), (" + diag(z_t)", "")):
        assert right in text
        assert np.max(np.abs(page.block(text.replace(right, wrong, 1), value.shape) - value)) > 1e-3


def test_indices_that_are_swapped_are_caught() -> None:
    page, data = page_of(rnn, small(rnn))
    value = by_complex_step(rnn, data)["h", "U"]
    text = sb.derive(rnn).jacobian("h", "U").text()
    np.testing.assert_allclose(page.block(text, value.shape), value, rtol=1e-10)
    assert np.max(np.abs(page.block(text.replace("δ_{ij}", "δ_{ik}"), value.shape) - value)) > 1e-3


# The whole state.


@pytest.mark.parametrize("cell", [lstm, several, leaky, mlstm], ids=lambda cell: cell.name)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.thinned(37)
def test_whole_state_is_its_blocks(cell: sb.Cell, dtype: type) -> None:
    _, data = page_of(cell, small(cell))
    given = [{k: np.asarray(v, dtype) for k, v in group.items()} for group in (
        data.params, {k: v[0, 0] for k, v in data.inputs.items()}, {k: v[0] for k, v in data.state.items()})]  # fmt: skip
    whole, states = sb.derive(cell).jacobian().evaluate(*given), list(cell.step.next)
    assert whole.dtype == dtype
    sizes = [int(np.size(given[2][name])) for name in states]
    ends = np.cumsum([0, *sizes])
    exact = by_complex_step(cell, data)
    for i, to in enumerate(states):
        for j, of in enumerate(states):
            block = whole[ends[i] : ends[i + 1], ends[j] : ends[j + 1]]
            np.testing.assert_allclose(
                block, exact[to, of].reshape(block.shape), rtol=1e-10 if dtype == np.float64 else 1e-3, atol=1e-5 if dtype == np.float32 else 1e-12
            )  # fmt: skip
    assert (
        sb.derive(cell).jacobian().structure[states[0], states[0]]
        == sb.derive(cell).jacobian(states[0], states[0]).structure
    )


def test_whole_state_shows_a_matrix_and_the_line_of_each_block() -> None:
    text = sb.derive(mlstm).jacobian().text()
    assert text.splitlines()[1].split("[")[1].split()[0] == "0" and "s = (C; n; m)" in text
    assert text.count("∂n_t/∂n_{t-1} = keep_t I") == 1
    assert sb.derive(rnn).jacobian().text() == sb.derive(rnn).jacobian("h", "h").text()
    latex = sb.derive(several).jacobian().latex()
    assert latex.count("\\\\") >= 2 and r"\begin{bmatrix}" in latex and latex.isascii()


def test_scalar_states_have_a_jacobian() -> None:
    given = ({"w": 1.0, "r": 0.5}, {"x": 1.0}, {"h": 0.25})
    for of, value in {"h": 0.5, "x": 1.0, "w": 1.0, "r": 0.25}.items():
        found = sb.derive(leaky).jacobian("h", of).evaluate(*given)
        assert isinstance(found, np.ndarray) and found.shape == () and found == value
    assert sb.derive(leaky).jacobian().evaluate(*given).tolist() == [[0.5]]


def test_jacobians_are_pickled_and_shown() -> None:
    for found in (sb.derive(lstm).jacobian(), sb.derive(lstm).jacobian("h", "c")):
        again = pickle.loads(pickle.dumps(found))
        assert str(again) == again.text() == found.text() and found._repr_latex_().startswith("$")
    assert sb.derive(lstm).jacobian()["h", "c"].structure == "diagonal"


@pytest.mark.parametrize("names", [("h",), ("h", "q"), ("q", "h"), (1, "h"), ("h", None)])
def test_names_that_are_not_there_are_told(names: tuple[object, ...]) -> None:
    with pytest.raises(sb.ArgumentError):
        sb.derive(lstm).jacobian(*names)  # type: ignore[call-overload]


def test_terms_hold_entry_by_entry() -> None:
    """The sums of entries behind the page, evaluated without it."""
    from symbptt.autodiff.chain import chain
    from symbptt.autodiff.entrywise import Calculus
    from symbptt.autodiff.term import Entry

    g, step = gru.step.graph.copy(), gru.step
    calculus = Calculus(g, tuple(step.next.values()), frozenset(g.names) | frozenset(step.leaves.values()))
    found = chain(calculus, step.leaves["h"], step.next.values())
    page, data = page_of(gru, small(gru))
    values = {id: page.page.value(_symbol(g, id, step)) for id in g.names if id not in step.leaves.values()}
    values |= {step.leaves[k]: np.asarray(v) for k, v in data.params.items()}
    values |= {step.leaves["h"]: data.state["h"][0], step.leaves["x"]: data.inputs["x"][0, 0]}
    read = {f.id for terms in found.of.values() for t in terms for f, _ in t.factors if isinstance(f, Entry)}
    for id in sorted(g.ancestors(read)):
        if id not in values:
            values[id] = _computed(g[id], values)
    got = derivative(found, step.next["h"], values, small(gru))
    np.testing.assert_allclose(got, by_complex_step(gru, data)["h", "h"], rtol=1e-10)


def _symbol(g, id, step):  # type: ignore[no-untyped-def]
    from tests.page import Symbol

    return Symbol(g.names[id], 0)


def _computed(node, values):  # type: ignore[no-untyped-def]
    """A value of a gate cell from those before it."""
    if node.family == "number":
        return np.asarray(float(node.attrs.value))
    if node.family == "contract":
        return values[node.args[0]] @ values[node.args[1]]
    import sympy as sp

    symbols = [sp.Symbol(f"_{i}", real=True) for i in range(len(node.args))]
    modules = [{"sigmoid": lambda x: 1 / (1 + np.exp(-x))}, "numpy"]
    return np.asarray(sp.lambdify(symbols, node.attrs.expr, modules)(*(values[arg] for arg in node.args)))


def test_page_of_jacobians_reads_what_it_is_given() -> None:
    page, _ = page_of(rnn, small(rnn))
    assert isinstance(page, JacobianPage)
    with pytest.raises(AssertionError, match="what do these read"):
        page.read("∂h_t/∂h_{t-1} = J_1 U")


def test_functions_without_a_rule_follow_from_their_adjoints(monkeypatch: pytest.MonkeyPatch) -> None:
    from symbptt.autodiff import entrywise as terms

    wanted = [sb.derive(cell).jacobian().text() for cell in (hopfield, parts)]
    monkeypatch.delitem(terms.LOCAL, "reduce")
    assert [sb.derive(cell).jacobian().text() for cell in (hopfield, parts)] == wanted


@pytest.mark.parametrize("name", ["fast_weights", "stack_rnn", "attention"])
def test_names_of_the_whole_page_stand_for_one_value(name: str) -> None:
    """Derivatives of values without a name have a letter each, over all columns, and the whole state none that a value has."""
    text = sb.derive(zoo.CELLS[name]).jacobian().text()
    left = re.findall(r"^\(?(J_\d+)", text, re.MULTILINE)
    assert left and len(set(left)) == len(left)
    (own,) = re.findall(r"(\w+) = \(", text.splitlines()[0])
    assert own not in {a.name for a in zoo.CELLS[name].arguments} and f" {own}_t" not in text.partition("\n")[2]


def of_wholes() -> sb.Cell:
    @sb.cell
    def wholes(x: Input["m"], h: State["n"], W: Param["n n"], E: Param["n m"], A: Param["n m"], g: Param["n"]):
        u = W @ h + E @ x
        s = g * np.tanh(u) / (1 + np.linalg.norm(u)) + np.max(u) * np.mean(x)
        return (
            s * np.linalg.norm(A) + u * sb.logsumexp(u) * np.mean(h * h) / (1 + np.sum(u * u)) + A @ x / np.mean(u * u)
        )

    return wholes


def assert_no_function_of_all_entries(cell: sb.Cell) -> None:
    for of in "xhWEAg":
        block = sb.derive(cell).jacobian("h", of)
        for text in (block.text(), block.latex()):
            assert re.search(r"(norm|max|mean|var|lse|std)(\\?})?_", text) is None, text


@pytest.mark.long
def test_a_number_made_of_an_array_is_written_whole_among_entries() -> None:
    assert_no_function_of_all_entries(of_wholes())
    cell = of_wholes()
    page, data = page_of(cell, {"m": 2, "n": 3})
    given = (data.params, {k: v[0, 0] for k, v in data.inputs.items()}, {k: v[0] for k, v in data.state.items()})
    for of in "xhWEAg":  # a norm takes no complex step
        block = sb.derive(cell).jacobian("h", of)
        wanted = block.evaluate(*given)
        assert np.allclose(page.block(block.text(), wanted.shape), wanted, rtol=1e-12, atol=1e-14), block.text()
    assert "‖u_t‖" in sb.derive(of_wholes()).jacobian("h", "W").text()


def test_a_number_that_is_written_by_its_entries_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        chains, "entry_of", lambda of, id, at, names: EntryMaker(of.graph, of.labels, names).value(id, at)
    )
    with pytest.raises(AssertionError):
        assert_no_function_of_all_entries(of_wholes())


def test_a_joined_array_is_read_by_its_parts() -> None:
    @sb.cell
    def joined(x: Input["m"], h: State["n"], c: State["k"], Wh: Param["n n+m+k"], Wc: Param["k n+m+k"]):
        z = np.concatenate([h, x, c])
        return np.tanh(Wh @ z), np.tanh(Wc @ z)

    d = sb.derive(joined)
    assert d.jacobian("h", "h").text() == "∂h_t/∂h_{t-1} = diag(1 - h_t²) Wh[:, 0:n]"
    assert d.jacobian("h", "x").text() == "∂h_t/∂x_t = diag(1 - h_t²) Wh[:, n:m+n]"
    assert d.jacobian("c", "c").text() == "∂c_t/∂c_{t-1} = diag(1 - c_t²) Wc[:, m+n:k+m+n]"
    assert_jacobians_read(joined, {"n": 3, "m": 2, "k": 4})
