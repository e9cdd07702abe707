"""Cells in C99: compiled with the compiler of the machine without a warning, they compute what the NumPy kernels do."""

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Index, Input, Param, State, ops
from symbptt.codegen.loop_ir.nodes import STEPS, Buffer, If, Map, index_symbol
from symbptt.codegen.loop_ir.views import whole
from symbptt.codegen.targets.c99 import blocks, function, functions, fuse, module
from symbptt.codegen.targets.c99.loops import CHOSEN, Assign, Element, For, loops
from symbptt.commands.main import run as run_command
from symbptt.ir.scalar import Num, Ref
from symbptt.language.functions import ELEMENTWISE
from symbptt.zoo import CELLS, delay_rnn, gru, lstm, rnn, stack_rnn
from tests import oracle
from tests.ccode import CC, WARNINGS, Caller, build, double, harness
from tests.kernels import kernel_of
from tests.test_zoo import sizes_of

pytestmark = pytest.mark.skipif(not CC, reason="no C compiler, cc, on this machine")

SIZES = {"m": 3, "n": 4, "k": 5, "d": 2, "v": 6, "a": 7}
KINDS = {"d": np.float64, "f": np.float32}
SHAPES = [(0, 1), (1, 3), (2, 1), (5, 3)]


def cast(groups: Any, dtype: Any) -> Any:
    """Groups of arrays in a type; indices stay as they are."""
    return tuple(
        {k: np.asarray(v).astype(dtype) if np.asarray(v).dtype.kind == "f" else np.asarray(v) for k, v in group.items()}
        for group in groups
    )


def by_numpy(cell: sb.Cell, groups: Any, steps: int, seed: int = 3) -> tuple[Any, Any, Any]:
    """States and outputs, cotangents of them, and gradients of the NumPy kernel."""
    kernel = kernel_of(cell)
    run = kernel.forward(*groups) if groups[1] else kernel.forward(*groups, steps=steps)
    values = {**run.states, **run.outputs}
    random = np.random.default_rng(seed)
    cotangents = {name: random.standard_normal(v.shape).astype(v.dtype) for name, v in values.items()}
    return values, cotangents, oracle.flat(kernel.backward(run, cotangents))


def worst(got: Any, wanted: Any, floor: float = 0.0) -> float:
    """The largest error, each array to its own largest entry, or to a floor where all entries are smaller."""
    assert set(got) == set(wanted)
    errors = [0.0]
    for name, reference in wanted.items():
        assert got[name].shape == np.shape(reference), name
        scale = max(float(np.max(np.abs(reference), initial=0)), floor, 1e-200)
        errors.append(float(np.max(np.abs(got[name] - reference), initial=0)) / scale)
    return float("nan") if np.isnan(errors).any() else max(errors)


def compare(cell: sb.Cell, caller: Caller, groups: Any, steps: int, small: float = 1e-9) -> float:
    """The error of values and gradients; in float32 those of blocks that cancel count by the largest gradient, in float64 those of
    blocks that are `small` beside it."""
    values, cotangents, grads = by_numpy(cell, groups, steps)
    got, got_grads = caller.run(*groups, cotangents)
    largest = max([float(np.max(np.abs(v), initial=0)) for v in grads.values()])
    floor = (0.1 if caller.dtype == np.float32 else small) * largest
    return float(np.max([worst(got, values), worst(got_grads, grads, floor)]))  # NaN where one is NaN


TOLERANCE = {"d": 1e-11, "f": 5e-5}


@pytest.mark.thinned(197, 11)
@pytest.mark.parametrize("cell", CELLS.values(), ids=list(CELLS))
def test_zoo_agrees_with_numpy(cell: sb.Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With blocks of 2, 2 and 1 steps at the last of the shapes."""
    monkeypatch.setattr(module, "ROWS", 6)
    if any(node.family == "algebra" for node in cell.step.graph):
        with pytest.raises(sb.CellError, match=f"{cell.name} needs functions of whole matrices"):
            sb.c_source(cell)
        return
    source = sb.c_source(cell)
    for kind, dtype in KINDS.items():
        library = build([source], tmp_path, kind=kind)
        sizes = sizes_of(cell, SIZES)
        for named in (sizes, {**dict.fromkeys(sizes, 1), [*sizes][-1]: 3}):
            for T, B in SHAPES:
                groups = cast(oracle.draw(cell, T, B, named), dtype)
                # A few units of rounding of the largest gradient are 1e-11 of a ten thousandth of it.
                found = compare(cell, Caller(source, library, dtype, named, T, B), groups, T, small=1e-4)
                assert found < TOLERANCE[kind], (kind, T, B, named, found)


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Any]:
    """A few cells, and their library for float64."""
    sources = {cell.name: sb.c_source(cell) for cell in (gru, lstm, stack_rnn)}
    return sources, build([*sources.values()], tmp_path_factory.mktemp("c"))


def saturated(cell: sb.Cell, sizes: dict[str, int]) -> Any:
    """Arguments of gates around 22, where 1 - tanh² of the value has no digits, and 1 - σ has six."""
    params, inputs, state = oracle.draw(cell, 5, 3, sizes, scale=0.3)
    return {name: v + 22.0 * name.startswith("b") for name, v in params.items()}, inputs, state


@pytest.mark.thinned(2)
@pytest.mark.parametrize("cell", [gru, lstm], ids=["gru", "lstm"])
def test_saturated_gates_keep_their_digits(cell: sb.Cell, some: Any) -> None:
    """The gradients come from the argument of the function."""
    sizes, (sources, library) = sizes_of(cell, SIZES), some
    groups = saturated(cell, sizes)
    found = compare(cell, Caller(sources[cell.name], library, np.float64, sizes, 5, 3), groups, 5)
    assert found < 1e-9


@pytest.mark.parametrize(("right", "wrong"), [("< TINY", "< -1"), ("return found != 0", "return 0")])
@pytest.mark.thinned(2)
def test_without_the_argument_the_digits_are_lost(right: str, wrong: str, tmp_path: Path) -> None:
    source = sb.c_source(lstm)
    library = build_text(source, source.single.replace(right, wrong), tmp_path)
    sizes = sizes_of(lstm, SIZES)
    groups = saturated(lstm, sizes)
    found = compare(lstm, Caller(source, library, np.float64, sizes, 5, 3), groups, 5)
    assert not found < 1e-9


@pytest.mark.thinned(4)
@pytest.mark.parametrize("zero", ["all", "params", "inputs", "state"])
def test_exact_zeros(zero: str, some: Any) -> None:
    sources, library = some
    for cell in (gru, lstm, stack_rnn):
        sizes = sizes_of(cell, SIZES)
        groups = list(oracle.draw(cell, 4, 2, sizes))
        for i, name in enumerate(("params", "inputs", "state")):
            if zero in ("all", name):
                groups[i] = {k: 0.0 * v for k, v in groups[i].items()}
        assert compare(cell, Caller(sources[cell.name], library, np.float64, sizes, 4, 2), groups, 4) < 1e-11


def test_what_is_absent_counts_as_zero(some: Any) -> None:
    sources, library = some
    sizes = sizes_of(lstm, SIZES)
    params, inputs, state = oracle.draw(lstm, 4, 2, sizes)
    caller = Caller(sources["lstm"], library, np.float64, sizes, 4, 2)
    zero = {name: 0 * v for name, v in state.items()}
    dh = np.random.default_rng(1).standard_normal((4, 2, sizes["n"]))
    with_zeros = caller.run(params, inputs, zero, {"h": dh, "c": 0 * dh})
    without = caller.run(params, inputs, {}, {"h": dh})
    for a, b in zip(with_zeros, without, strict=True):
        assert worst(a, b) == 0.0


def build_text(source: sb.CSource, text: str, folder: Path) -> Any:
    """A library of a text in the place of that of a source."""
    assert text != source.single, "nothing was planted"
    (folder / "planted.c").write_text(text, encoding="utf-8")
    subprocess.run(
        [
            CC,
            "-std=c99",
            "-O1",
            "-fPIC",
            "-shared",
            double(source),
            "-o",
            folder / "planted.so",
            folder / "planted.c",
            "-lm",
        ],
        check=True,
    )
    return ctypes.CDLL(str(folder / "planted.so"))


@pytest.mark.thinned(23)
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("Ur[0], 1, n, Ur_panels", "Ur[0], n, 1, Ur_panels"),  # a weight transposed
        ("h[t][0], n, 1, Ur_panels", "h[0][0], n, 1, Ur_panels"),  # the initial state at every step
        ("h[from][0], n, dU_gates[0]", "h[from + 1][0], n, dU_gates[0]"),  # the states after the step
        (
            "for (size_t t = from + steps; t-- > from;)",
            "for (size_t t = from; t < from + steps; t++)",
        ),  # the backward sweep forward
        ("dgates_1[j] +=", "dgates_1[j] ="),  # the last step alone
        ("+= dh_in[t][b][i]", "+= dh_in[T - 1][b][i]"),
    ],
)
def test_planted_mistake_is_caught(right: str, wrong: str, tmp_path: Path) -> None:
    source = sb.c_source(gru)
    library = build_text(source, source.single.replace(right, wrong), tmp_path)
    sizes = sizes_of(gru, SIZES)
    found = compare(gru, Caller(source, library, np.float64, sizes, 3, 2), oracle.draw(gru, 3, 2, sizes), 3)
    assert not found < 1e-6


def test_fusing_what_may_not_be_fused_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuse, "_in_conflict", lambda *lines: False)
    source = sb.c_source(gru)
    monkeypatch.undo()
    library, sizes = build([source], tmp_path), sizes_of(gru, SIZES)
    found = compare(gru, Caller(source, library, np.float64, sizes, 3, 2), oracle.draw(gru, 3, 2, sizes), 3)
    assert not found < 1e-6


@sb.cell
def hoisted(x: Input["m"], h: State["n"], w: Param["m"], W: Param["n m"], U: Param["n n"], b: Param["n"]):
    """A product of a block that needs what is elementwise before it, and gradients that do."""
    y = np.tanh(w * x)
    return np.tanh(W @ y + U @ h + b) + 0.1 * h


@pytest.mark.long
def test_what_products_of_a_block_need_stays_before_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 2, 2 and 1 steps; where all that is elementwise goes into the loop over steps, it is caught."""
    monkeypatch.setattr(module, "ROWS", 6)
    sizes, groups = {"m": 3, "n": 4}, oracle.draw(hoisted, 5, 3, {"m": 3, "n": 4})

    def error(name: str) -> float:
        source = sb.c_source(hoisted)
        assert "y[t - from]" not in source.source.partition("int hoisted_backward")[0] or name == "wrong"
        caller = Caller(source, build([source], tmp_path / name), np.float64, sizes, 5, 3)
        return compare(hoisted, caller, groups, 5)

    assert error("right") < 1e-11
    monkeypatch.setattr(blocks, "_may_go", lambda *statements: True)
    assert not error("wrong") < 1e-6


def test_iterations_that_need_each_other_are_not_called_independent() -> None:
    t, j = index_symbol("t"), index_symbol("j")
    a, b, s = Buffer("a", (STEPS, 4), "argument"), Buffer("b", (STEPS, 4), "temporary"), Buffer("s", (), "temporary")

    def independent(*body: Assign) -> bool:
        line = For(j, 4, body)
        return fuse.is_independent(line, fuse.numbers_of([line]))

    here, total = Element(a, (t, j)), Element(s, ())
    assert independent(Assign(Element(b, (t, j)), Ref(0), (here,)))
    assert independent(Assign(Element(a, (t + 1, j)), Ref(0), (here,)))
    assert independent(Assign(total, Ref(0), (here,)), Assign(here, Ref(0), (total,)))
    assert not independent(Assign(total, Ref(0), (here,), add=True))
    assert not independent(Assign(here, Ref(0), (Element(a, (t, j - 1)),)))
    assert not independent(Assign(here, Ref(0), (Element(a, (t, j + 3)),)))
    assert independent(Assign(here, Ref(0), (Element(a, (t, j + 4)),)))
    assert not independent(Assign(Element(a, (t, 2 * j)), Ref(0), (Element(a, (t, 2 * j + 4)),)))
    assert not independent(Assign(Element(a, (t, 0)), Ref(0), (here,)))
    assert not independent(Assign(Element(b, (t, CHOSEN), here), Ref(0), (here,), add=True))


def test_lstm_reads_as_its_equations() -> None:
    c = sb.c_source(lstm)
    for line in (
        "c[t + 1][b][j] = f[t][b][j]*c[t][b][j] + i[t][b][j]*g[t][b][j];  // c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t",
        "product(B, n, n, h[t][0], n, 1, Uf_panels, 0, s[0], n);  // Uf h_{t-1}",
        "gradient(4*n, n, B*steps, dgates[0][0], 4*n, h[from][0], n, dU_gates[0], n, room);",
        "dUf[j][k] = dU_gates[n + j][k];                         // dUf = Σ_t da_{f,t} h_{t-1}ᵀ",
    ):
        assert line in c.source
    assert "= dL/dh_{t-1} + Uiᵀ da_{i,t}" in c.source  # the equations in the comment at its head
    assert (
        len(c.source.partition("int lstm_forward(")[2].splitlines()) < 300
        and max(map(len, c.source.splitlines())) <= 120
    )
    assert "const lstm_real *Wi;         /* (n, m)         parameter */" in c.header


def test_text_is_the_same_each_time() -> None:
    assert sb.c_source(rnn).single == sb.c_source(rnn).single


# What a caller may do wrong.


def statuses(caller: Caller, **changes: Any) -> tuple[int, int]:
    """What both functions return where some arrays are absent or others."""
    i = caller.interface
    params, inputs, state = oracle.draw(CELLS[caller.source.name], caller.T, caller.B, caller.sizes)
    arrays = {"given": caller.given(params, inputs, state), "run": {**caller.empty(i.run), "tape": caller.array("tape")},
              "cotangents": {}, "gradients": caller.empty(i.gradients)}  # fmt: skip
    for name, value in changes.items():
        struct, _, field = name.partition("_")
        arrays[struct][field] = value
    given, run, cotangents, gradients = (
        caller.struct(fields, arrays[name], *["tape"] * (name == "run")) for name, fields in i.structs()
    )
    workspace = caller.array("workspace")
    return (caller.call("forward", given, run, workspace=workspace),
            caller.call("backward", given, run, cotangents, gradients, workspace=workspace))  # fmt: skip


def test_arrays_that_lack_are_refused(some: Any) -> None:
    sources, library = some
    caller = Caller(sources["gru"], library, np.float64, sizes_of(gru, SIZES), 3, 2)
    assert statuses(caller) == (0, 0)
    assert statuses(caller, given_Wr=None) == (2, 2)
    assert statuses(caller, run_tape=None) == (2, 2)
    assert statuses(caller, gradients_bn=None) == (0, 2)
    assert statuses(caller, given_h=None) == (0, 0)


@pytest.mark.parametrize("change", [{"B": 0}, {"n": 0}, {"T": 2**61}, {"n": 2**33}, {"m": 2**64 - 1}, {"B": 2**62}])
def test_sizes_with_which_nothing_can_be_computed_are_refused(change: dict[str, int], some: Any) -> None:
    sources, library = some
    sizes = {**sizes_of(gru, SIZES), "T": 3, "B": 2, **change}
    caller = Caller(sources["gru"], library, np.float64, sizes, sizes["T"], sizes["B"])
    assert caller.bytes("tape") == caller.bytes("workspace") == 2 ** (8 * ctypes.sizeof(ctypes.c_size_t)) - 1
    workspace, i = np.zeros(1), caller.interface
    arguments, run, cotangents, gradients = (
        caller.struct(fields, {}, *["tape"] * (name == "run")) for name, fields in i.structs()
    )
    assert caller.call("forward", arguments, run, workspace=workspace) == 1
    assert caller.call("backward", arguments, run, cotangents, gradients, workspace=workspace) == 1


@sb.cell
def token_cell(x: Index["v"], h: State["n"], E: Param["v n"], U: Param["n n"]):
    return np.tanh(E[x] + U @ h)


def test_indices_outside_their_values_are_refused(tmp_path: Path) -> None:
    source = sb.c_source(token_cell)
    library = build([source], tmp_path)
    sizes = {"v": 5, "n": 3}
    groups = oracle.draw(token_cell, 4, 2, sizes)
    caller = Caller(source, library, np.float64, sizes, 4, 2)
    assert compare(token_cell, caller, groups, 4) < 1e-11
    x = np.zeros((4, 2), np.uintp)
    x[-1, -1] = 5
    i = caller.interface
    given = caller.given(groups[0], {}, groups[2]) | {"x": x}
    run = {**caller.empty(i.run), "tape": caller.array("tape")}
    structs = caller.struct(i.given, given), caller.struct(i.run, run, "tape")
    assert caller.call("forward", *structs, workspace=caller.array("workspace")) == 3
    assert np.isnan(run["h"]).all()


@sb.cell
def constant_cell(x: Input["n"], h: State["n"], w: Param["n"], a: Const["n"] = (0.1, 0.2, 0.3), dt: Const = 0.1,
                  grid: Const["2 n"] = ((1.5, 0, -2), (-2.5, 1, 3)), level: Const["n"] = 0.7,
                  on: Const["n"] = (True, False, True)):  # fmt: skip
    return h + dt * (np.tanh(w * x) - a * h * level) * grid[0] + np.sum(grid[1] * h) * 1e-20 + 0.1 * on * h


def test_constants_stand_in_the_text_and_fix_sizes(tmp_path: Path) -> None:
    source = sb.c_source(constant_cell)
    library = build([source], tmp_path)
    caller = Caller(source, library, np.float64, {"n": 3}, 4, 2)
    assert compare(constant_cell, caller, oracle.draw(constant_cell, 4, 2, {"n": 3}), 4) < 1e-11
    wrong = Caller(source, library, np.float64, {"n": 4}, 4, 2)
    assert wrong.bytes("tape") == 2 ** (8 * ctypes.sizeof(ctypes.c_size_t)) - 1
    assert "0.25" in sb.c_source(constant_cell, consts={"dt": 0.25}).source


# Siblings: cells that the zoo does not have.


@sb.cell
def hostile(double: Input["T"], I: State["T"], b: State["T"], t: Param["T B"], tape: Param["B T"], NULL: Param["T"],
            exp: Param["T"], λ: Param["T"], ĥ: Param["T"], int_1: Param["T"]):  # fmt: skip
    """A comment that */ ends, a /* and a \\ at the end of a line \\
    and ??/ more."""
    sizes = np.tanh(t @ (tape @ I) + double * exp + NULL)
    workspace = sb.sigmoid(λ * b + ĥ)
    real = sizes * workspace + int_1
    return real, b - 0.5 * sizes + 0.1 * real * workspace


@sb.cell
def cut_cell(x: Input["n"], h: State["n"], w: Param["n"], U: Param["n n"]):
    """Differences along an axis, which has no element where n is 1; a running sum from both ends; a maximum."""
    steps = h[1:] - h[:-1]
    back = sb.cumsum(h[::-1])[::-1]
    top = sb.max(U * h, axis=1)
    return {"h": np.tanh(x + w * back + top),
            "gaps": sb.sum(steps * steps), "outer": np.outer(h, x), "joined": np.concatenate([steps, w])}  # fmt: skip


@sb.cell
def powers(x: Input["n"], h: State["n"], w: Param["n"], n_steps: Param = 2.0):
    half = (1 + h * h) ** 0.5
    return np.where(x > 0, x**3 / 2 + 3 / half / 2, 1 / half) * w - (x > w) * (h < 0.1) + n_steps ** (-2) * x.shape[0]


@sb.cell
def u(x: Input["U_DONE"], h: State["U_DONE"], U_H: Param["U_DONE"], U_DOUBLE: Param["U_DONE"], u_real: Param["U_DONE"],
      u_forward: Param, U_WRONG_SIZES: Param):  # fmt: skip
    """Names that the header has itself."""
    u_run = np.tanh(U_H * h + U_DOUBLE * x + u_real)
    return u_run * u_forward + U_WRONG_SIZES


@sb.cell
def of_products(pack: Input["steps"], bits: State["K"], product: Param["K steps"], W: Param["K K"], W_panels: Param["K"],
                aligned: Param["K"], BIAS: Param["K"], INDEPENDENT: Param["K"]):  # fmt: skip
    """Names of the functions and macros that a source has a copy of."""
    room = np.tanh(W @ bits + product @ pack + W_panels)
    vector = sb.sigmoid(aligned * room + BIAS)
    return vector * room + INDEPENDENT * bits


@sb.cell
def of_parts(x: Input["m"], h: State["n"], W: Param["n m"], angle: Param["n//2"]):
    a, b = h[::2], h[1::2]
    turned = np.stack([a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)], -1)
    return np.tanh(W @ x + turned.reshape(-1) + np.concatenate([h[h.shape[0] // 2 :], angle]))


@sb.cell
def of_sizes(x: Input["n"], h: State["n"], U: Param["n n"]):
    i = np.arange(h.shape[0])
    A = np.tril(U, -1) - 0.1 * np.eye(h.shape[0]) + np.where(i[:, None] > i, 0.2, 0.0)
    return np.tanh(A @ h + x * np.linspace(0.5, 1, h.shape[0]))


SIBLINGS = {"of parts": (of_parts, {"n": 4, "m": 3}), "of sizes": (of_sizes, {"n": 4}), "hostile": (hostile, {"T": 3, "B": 4}), "of the header": (u, {"U_DONE": 3}), "of products": (of_products, {"steps": 5, "K": 7}), "cut": (cut_cell, {"n": 4}), "cut to nothing": (cut_cell, {"n": 1}),
            "powers": (powers, {"n": 5})}  # fmt: skip


@pytest.mark.thinned(17, 5)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("cell", "sizes"), SIBLINGS.values(), ids=list(SIBLINGS))
def test_siblings_agree_with_numpy(cell: sb.Cell, sizes: dict[str, int], kind: str, tmp_path: Path) -> None:
    source = sb.c_source(cell)
    library = build([source], tmp_path, kind=kind)
    for T, B in SHAPES:
        groups = cast(oracle.draw(cell, T, B, sizes), KINDS[kind])
        assert compare(cell, Caller(source, library, KINDS[kind], sizes, T, B), groups, T) < TOLERANCE[kind]


# Functions of the table of ops.

CALLED = {
    op.name: ELEMENTWISE.get(op.name) or getattr(np, (op.numpy or ("",))[0], None)
    for op in ops.OPS
    if op.name not in ("stop_gradient", "logical_and", "logical_or", "logical_not", "where")
}


def test_every_function_of_the_table_is_known() -> None:
    of_complex_numbers = {
        "real",
        "imag",
        "conj",
        "modulus",
        "angle",
        "as_complex",
    }  # cells with these are refused as a whole
    for op in ops.PRIMITIVES.values():
        assert functions.is_known(op.name) == (op.name not in of_complex_numbers), op.name
    assert all(functions.is_known(name) for name in ops.REMAINING)


@sb.cell
def every_function(x: Input["n"], p: Input["n"], q: Input["n"], h: State["n"], w: Param["n"]):
    """All functions at once, of numbers where they have derivatives: q is positive."""
    one = {name: f for name, f in CALLED.items() if f is not None and ops.BY_NAME[name].arity == 1}
    two = {name: f for name, f in CALLED.items() if f is not None and ops.BY_NAME[name].arity == 2}
    positive = {name for name in CALLED if ops.BY_NAME[name].domain[0] > -1}
    found = {f"y_{name}": f(w * (q if name in positive else x)) for name, f in one.items()}
    found |= {f"y_{name}": f(w * q, q * q) if name in positive else f(w * x, p) for name, f in two.items()}
    found |= {"y_where": np.where(x > p, w * x, p), "y_logic": np.where((x > 0) & ~(p > 0) | (q > 1), w, x)}
    return {"h": h * w, **{name: 1.0 * y for name, y in found.items()}}


@pytest.mark.thinned(2)
@pytest.mark.parametrize("kind", KINDS)
def test_every_function_agrees_with_numpy(kind: str, tmp_path: Path) -> None:
    source = sb.c_source(every_function)
    library = build([source], tmp_path, kind=kind)
    random = np.random.default_rng(0)
    inputs = {name: random.uniform(-0.9, 0.9, (2, 3, 7)) for name in "xp"} | {"q": random.uniform(0.1, 2, (2, 3, 7))}
    groups = cast(({"w": random.uniform(0.5, 0.9, 7)}, inputs, {"h": random.standard_normal((3, 7))}), KINDS[kind])
    found = compare(every_function, Caller(source, library, KINDS[kind], {"n": 7}, 2, 3), groups, 2)
    assert found < TOLERANCE[kind]


@sb.cell
def at_the_edges(x: Input["n"], p: Input["n"], h: State["n"]):
    """Functions that C lacks, and those that treat signs and NaN their own way."""
    one = {name: CALLED[name] for name in ("sigmoid", "softplus", "relu", "sign", "abs", "tanh", "expm1", "floor")}
    two = {name: CALLED[name] for name in ("maximum", "minimum", "mod", "fmod", "floor_divide", "arctan2", "hypot")}
    found = {f"y_{name}": f(x) for name, f in one.items()} | {f"y_{name}": f(x, p) for name, f in two.items()}
    return {"h": h, **{name: 1.0 * y for name, y in found.items()}}


@pytest.mark.thinned(2)
@pytest.mark.parametrize("kind", KINDS)
def test_functions_at_the_edges(kind: str, tmp_path: Path) -> None:
    source = sb.c_source(at_the_edges)
    library = build([source], tmp_path, kind=kind)
    numbers = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 7.0, 50.0, -50.0, 1000.0, -1000.0, 1e-30, np.inf, -np.inf, np.nan]
    x, p = (a.ravel().astype(KINDS[kind]) for a in np.meshgrid(numbers, numbers))
    caller = Caller(source, library, KINDS[kind], {"n": x.size}, 1, 1)
    got, _ = caller.run({}, {"x": x[None, None], "p": p[None, None]}, {}, {})
    for name, values in got.items():
        if name == "h":
            continue
        op = ops.BY_NAME[name.removeprefix("y_")]
        with np.errstate(all="ignore"):
            wanted = op.evaluate(*(x, p)[: op.arity])
        np.testing.assert_allclose(values[0, 0], wanted, rtol=TOLERANCE[kind] / 10, atol=1e-37, err_msg=name)


# Refusals.


def test_models_are_refused() -> None:
    @sb.loss
    def half_square(h: State["n"]):
        return sb.sum(h * h) / 2

    with pytest.raises(sb.ArgumentError, match="is a model, the C target has cells alone"):
        sb.c_source(sb.model(rnn, half_square))
    with pytest.raises(sb.ArgumentError, match="c_source takes a cell, got function"):
        sb.c_source(lambda x: x)


def test_what_c_lacks_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(function, "is_known", lambda name: name != "tanh")
    with pytest.raises(sb.CellError, match="rnn has the function tanh, which the C target does not have yet"):
        sb.c_source(rnn)
    flag, out = whole(Buffer("on", (), "argument", "bool")), whole(Buffer("y", (), "result"))
    with pytest.raises(sb.CellError, match="mine needs masks, which the C target does not have yet"):
        loops("mine", [If(flag, (Map(out, Num(ops.sp.S.Zero), ()),))])


# Files, the command line, the page.


def test_files_are_written_and_replaced_only_where_symbptt_wrote_them(tmp_path: Path) -> None:
    c = sb.c_source(rnn)
    with pytest.raises(sb.ArgumentError, match=r'a path is expected, got 3\n  write save\("cell.c"\)'):
        c.save(3)  # type: ignore[arg-type]
    c.save(tmp_path / "mine.c")
    assert '#include "mine.h"' in (tmp_path / "mine.c").read_text(encoding="utf-8")
    assert (tmp_path / "mine.h").read_text(encoding="utf-8") == c.header
    c.save(tmp_path / "mine.c")
    (tmp_path / "mine.h").write_text("mine", encoding="utf-8")
    with pytest.raises(sb.TargetError, match="was not written by symbptt"):
        c.save(tmp_path / "mine.c")
    c.save(tmp_path / "mine.c", force=True)
    with pytest.raises(sb.TargetError, match="does not end with .c"):
        c.save(tmp_path / "mine.py")
    with pytest.raises(sb.TargetError, match="no #include can name"):
        c.save(tmp_path / 'a"b.c')


@pytest.mark.parametrize("option", [{"truncation": sb.Window(3)}, {"truncation": sb.Chunked(2, 4)}, {"memory": "sqrt"},
                                    {"memory": 10**6}, {"clip_adjoint": 1.0}], ids=str)  # fmt: skip
def test_options_that_c_does_not_have_are_refused_by_name(option: dict[str, Any]) -> None:
    (name,) = option
    with pytest.raises(sb.ArgumentError, match=f"does not have {name} yet, got {name}=.*\n.*sb.compile\\(rnn, {name}="):
        sb.c_source(rnn, **option)
    assert sb.c_source(rnn, truncation=None, clip_adjoint=None, memory="all").source == sb.c_source(rnn).source


def test_command_line_writes_and_prints_c(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["generate", "rnn", "--target", "c", "-o", str(tmp_path / "rnn.c")]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"rnn.c", "rnn.h"}
    assert run_command(["generate", "rnn", "--target", "c"]) == 0
    (tmp_path / "one.c").write_text(capsys.readouterr().out, encoding="utf-8")
    subprocess.run([CC, *WARNINGS, "-fsyntax-only", "one.c"], cwd=tmp_path, check=True)
    assert run_command(["generate", "rnn", "--target", "c", "-o", str(tmp_path / "rnn.txt")]) == 2
    assert run_command(["generate", "rnn", "--target", "fortran"]) == 2
    assert "--target is numpy, c, torch or jax" in capsys.readouterr().err


def test_program_of_the_page_runs(tmp_path: Path) -> None:
    page = (Path(sb.__file__).parents[1] / "docs" / "c99.md").read_text(encoding="utf-8")
    (tmp_path / "main.c").write_text(page.split("```c\n")[1].split("```")[0], encoding="utf-8")
    source = sb.c_source(gru)
    source.save(tmp_path / "gru.c")
    subprocess.run(
        [CC, *WARNINGS, "-O2", "-DGRU_DOUBLE", "main.c", "gru.c", "-lm", "-o", "main"], cwd=tmp_path, check=True
    )
    done = subprocess.run(["./main"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("dL/dUn[0][1]: ")
    for line in ("c[t + 1][b][j] = f[t][b][j]*c[t][b][j]", "tanh_c[t][b][j] = TANH", "h[t + 1][b][j] = o[t][b][j]"):
        assert line in page and line in sb.c_source(lstm).source


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler, c++, on this machine")
def test_header_is_read_by_cpp(tmp_path: Path) -> None:
    (tmp_path / "all.cpp").write_text(f"{sb.c_source(hostile).header}\n{sb.c_source(gru).header}", encoding="utf-8")
    subprocess.run(["c++", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "all.cpp"], cwd=tmp_path, check=True)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", [lstm, delay_rnn, stack_rnn, cut_cell, token_cell], ids=lambda cell: cell.name)
@pytest.mark.thinned(1, 7)
def test_sanitizers_find_nothing(cell: sb.Cell, kind: str, tmp_path: Path) -> None:
    """No access outside the arrays, each of which lies alone on the heap, and nothing undefined."""
    source = sb.c_source(cell)
    sizes = sizes_of(cell, SIZES)
    for steps, samples, named in ((0, 1, sizes), (3, 2, sizes), (2, 1, dict.fromkeys(sizes, 1))):
        done = sanitized(harness(source, named, steps, samples), tmp_path, *[double(source)] * (kind == "d"))
        assert done.returncode == 0, done.stderr[:2000]


@pytest.mark.long
def test_sanitizers_find_what_is_planted(tmp_path: Path) -> None:
    source = sb.c_source(gru)
    text = harness(source, sizes_of(gru, SIZES), 3, 2)
    assert sanitized(text, tmp_path, double(source)).returncode == 0
    done = sanitized(text.replace("b < B;", "b <= B;"), tmp_path, double(source))
    assert done.returncode != 0 and "Sanitizer" in done.stderr


def sanitized(text: str, folder: Path, *options: str) -> Any:
    """A program that was compiled with sanitizers, and has run."""
    (folder / "main.c").write_text(text, encoding="utf-8")
    flags = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", *options]
    subprocess.run([CC, "-std=c99", *flags, "main.c", "-lm", "-o", "main"], cwd=folder, check=True)
    return subprocess.run(["./main"], cwd=folder, capture_output=True, text=True)


@pytest.mark.long
@pytest.mark.skipif("Free Software" not in subprocess.run([CC or "true", "--version"], capture_output=True, text=True).stdout,
                    reason="the compiler is not GCC")  # fmt: skip
@pytest.mark.parametrize("cell", [lstm, gru], ids=lambda cell: cell.name)
@pytest.mark.thinned(1, 2)
def test_what_is_elementwise_is_vectorised(cell: sb.Cell, tmp_path: Path) -> None:
    source = sb.c_source(cell)
    source.save(tmp_path / "cell.c")
    flags = ["-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fopt-info-vec"]
    command = [CC, "-std=c99", *flags, "-c", "cell.c", "-o", "cell.o"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    found = {int(line.split(":")[1]) for line in done.stderr.splitlines() if "loop vectorized" in line}
    lines = (tmp_path / "cell.c").read_text(encoding="utf-8").splitlines()
    wanted = {i for i, line in enumerate(lines, 1) if line.strip().startswith("INDEPENDENT for") and line.endswith("{")}
    assert len(wanted) >= 3 and wanted <= found, sorted(wanted - found)
