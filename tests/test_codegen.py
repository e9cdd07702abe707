"""Generated modules: plain NumPy, the same bytes every time, in time a loop, and safe from any name or text."""

import ast
import inspect
import re
import subprocess
import sys
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Input, Param, State, Target
from symbptt.autodiff.bptt import derive
from symbptt.codegen.kernel import Kernel
from symbptt.codegen.passes import PASSES
from symbptt.codegen.program.program import Program, program_of
from symbptt.codegen.program.regions import place
from symbptt.codegen.targets.numpy.module import source
from symbptt.codegen.targets.numpy.names import RESERVED
from symbptt.ir import laws
from symbptt.zoo import CELLS, gru, lstm, min_gru, mlstm, rnn
from tests import oracle
from tests.cells import odd, vanilla
from tests.kernels import kernel_of

EVERY_CELL = pytest.mark.parametrize("cell", [*CELLS.values(), odd], ids=lambda cell: cell.name)
SIZES = {"m": 2, "n": 3, "k": 4, "d": 2, "v": 4, "a": 2}


@pytest.mark.parametrize("cell", [lstm, gru], ids=lambda cell: cell.name)
def test_module_is_the_golden_one(cell: sb.Cell, golden: Callable[[str, str], None]) -> None:
    golden(f"modules/{cell.name}_bptt.py", sb.compile(cell).source)


def test_both_sweeps_of_an_lstm_stand_on_two_screens() -> None:
    text = kernel_of(lstm).source
    sweeps = text[text.index("\ndef _forward(") : text.index("\ndef _once(")]
    assert len([line for line in sweeps.splitlines() if line]) <= 132


@EVERY_CELL
@pytest.mark.thinned(97, 7)
def test_module_imports_numpy_and_nothing_else_and_runs_on_python_3_9(cell: sb.Cell) -> None:
    tree = ast.parse(kernel_of(cell).source)
    main = tree.body.pop()
    assert ast.unparse(main).startswith("if __name__ == '__main__':\n    _run_selfcheck(")
    # What is run as a program, to check itself, and nothing else, may ask Python's own library for its arguments, its
    # text and a digest.
    [run] = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "_run_selfcheck"]
    tree.body.remove(run)
    assert "_run_selfcheck" not in {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert [ast.unparse(node) for node in run.body if isinstance(node, ast.Import)] == ["import hashlib", "import sys"]
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imports] == ["from __future__ import annotations", "import numpy as np"]
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not called & {"eval", "exec", "compile", "open", "__import__", "globals"}
    assert newer_than_python_3_9(kernel_of(cell).source) == []


NEWER = {"zip": "strict", "isinstance": "|", "issubclass": "|"}
"""Calls that Python 3.9 has otherwise: with this keyword, or with kinds joined by this sign."""


def newer_than_python_3_9(text: str) -> list[str]:
    """What in a module Python 3.9 does not run, as far as its text tells: its grammar, and calls that came later."""
    try:
        tree = ast.parse(text, feature_version=(3, 9))
    except SyntaxError as error:
        return [error.msg]
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in NEWER
    ]
    kinds = [
        {*(a.arg for a in node.keywords), *("|" for a in node.args[1:] if isinstance(a, ast.BinOp))} for node in found
    ]
    return [ast.unparse(node) for node, used in zip(found, kinds, strict=True) if NEWER[node.func.id] in used]


def test_what_modules_carry_runs_on_python_3_9() -> None:
    """Types, which newer Python writes in other ways, are left out of modules."""
    for path in [
        *Path(sb.__file__).parent.glob("codegen/runtime/*.py"),
        *Path(sb.__file__).parent.glob("codegen/frameworks/*_parts.py"),
    ]:
        assert newer_than_python_3_9(path.read_text(encoding="utf-8")) == [], path


@pytest.mark.parametrize(
    "text", ["zip(a, b, strict=True)", "isinstance(x, int | float)", "match x:\n    case 1:\n        pass"]
)
def test_what_is_newer_than_python_3_9_is_seen(text: str) -> None:
    assert newer_than_python_3_9(text) and newer_than_python_3_9("isinstance(x, (int, float)), zip(a, b), a | b") == []


@EVERY_CELL
@pytest.mark.thinned(103, 11)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_init_of_a_module_is_that_of_its_cell(cell: sb.Cell, dtype: type) -> None:
    module = kernel_of(cell).module
    for size in (1, 5):
        sizes = dict.fromkeys(inspect.signature(module._shapes).parameters, size)
        found, wanted = (init(sizes, seed=3, dtype=dtype) for init in (module.init, cell.init))
        assert list(found) == list(wanted)
        for name, array in wanted.items():
            assert found[name].dtype == array.dtype and np.array_equal(found[name], array), name


def test_init_of_a_module_has_defaults_starts_complex_numbers_and_parameters_of_the_loss() -> None:
    @sb.cell
    def begun(
        x: Input["m"],
        W: Param["n m", complex],
        h: State["n"] = Param,
        U: Param["n n"] = 2.0,
        a: Param["2"] = (1.0, 3.0),
    ):  # type: ignore[assignment]
        return np.tanh(U @ h + np.real(W @ x)) * a[0]

    @sb.loss
    def read(h: State["n"], y: Target["k"], V: Param["k n"]):
        return sb.sum((V @ h - y) ** 2)

    model, sizes = sb.model(begun, read), {"m": 2, "n": 3, "k": 4}
    found, wanted = kernel_of(model).module.init(sizes), model.init(sizes)
    assert list(found) == list(wanted) and np.iscomplexobj(found["W"]) and found["V"].shape == (4, 3)
    assert all(np.array_equal(found[name], array) for name, array in wanted.items())


@pytest.mark.parametrize(("sizes", "words"), [
    ({"m": 2}, '{"m": 8, "n": 8} is expected'), ({"m": 2, "n": 0}, "n is a positive integer, got 0"), (3, "got 3"),
    ({"m": 2, "n": 3, "k": 1}, "is expected, got"), ({"m": True, "n": 3}, "m is a positive integer, got True"),
])  # fmt: skip
def test_init_of_a_module_refuses_sizes_that_it_does_not_have(sizes: Any, words: str) -> None:
    module = kernel_of(rnn).module
    with pytest.raises(module.ArgumentError, match=words):
        module.init(sizes)
    with pytest.raises(module.ArgumentError, match="float32 or float64 is expected, got int64"):
        module.init({"m": 2, "n": 3}, dtype=np.int64)
    with pytest.raises(module.ArgumentError, match="float32 or float64 is expected, got floating"):
        module.init({"m": 2, "n": 3}, dtype="floating")
    for seed in (None, -1, "a", True):
        with pytest.raises(module.ArgumentError, match=f"seed: an integer of at least 0 is expected, got {seed!r}"):
            module.init({"m": 2, "n": 3}, seed)


@pytest.mark.parametrize("model", [False, True])
def test_callers_of_a_module_find_types(model: bool) -> None:
    """Each public function has a type of each argument and of what it returns, which Python can read."""

    @sb.loss
    def squared(h: State["n"]):
        return {"loss": sb.sum(h * h), "double": 2 * h}

    module = kernel_of(sb.model(rnn, squared) if model else rnn).module
    public = ["init", "forward", "backward", "stepper", *["value_and_grad", "value", "predict"] * model]
    for name in public:
        function = getattr(module, name)
        hints = typing.get_type_hints(function, vars(module))
        assert {*hints} == {*inspect.signature(function).parameters, "return"}, name
    assert typing.get_type_hints(module.forward)["inputs"] == dict[str, np.ndarray] | None
    assert typing.get_type_hints(module.Stepper.__call__, vars(module))["state"] == dict[str, np.ndarray] | None
    assert typing.get_type_hints(module.Grads.__init__, vars(module))["params"] == dict[str, np.ndarray]


@EVERY_CELL
@pytest.mark.thinned(13, 5)
def test_module_is_made_to_be_read(cell: sb.Cell) -> None:
    text = kernel_of(cell).source
    lines = text.splitlines()
    assert not any(line != line.rstrip() for line in lines) and text.endswith("\n") and "\t" not in text
    head = ast.get_docstring(ast.parse(text)) or ""
    assert f"for the cell {cell.name}" in head
    assert all(f"  {a.name} " in head and a.role in head for a in cell.arguments)
    assert all(line in head for line in sb.derive(cell).as_spelt().splitlines()[:6])


@pytest.mark.xfail(strict=True, reason="a docstring of 121 columns; long tuples of names in lstm_peephole and zoneout")
def test_lines_of_code_are_short() -> None:
    for cell in CELLS.values():
        lines = kernel_of(cell).source.splitlines()
        assert not [line for line in lines[lines.index("import numpy as np") :] if len(line) > 120], cell.name


def test_compiling_again_gives_the_same_text() -> None:
    assert len({sb.compile(sb.cell(odd.function)).source for _ in range(3)}) == 1


BLOCKED = """
import sys
for name in ("sympy", "networkx", "symbptt", "typer", "rich", "scipy", "matplotlib", "mpmath"):
    sys.modules[name] = None
import numpy as np
import cell_bptt as module
given = np.load("given.npz")
of = lambda prefix: {k.removeprefix(prefix): v for k, v in given.items() if k.startswith(prefix)}
run = module.forward(of("param_"), of("input_"), of("state_"))
grads = module.backward(run, of("cotangent_"), monitor=True)
found = {**grads.params, **grads.inputs, **grads.state}
np.savez("found.npz", **run.states, **{f"d{k}": v for k, v in found.items()})
print(sorted(m for m in sys.modules if m.split(".")[0] in ("sympy", "networkx", "symbptt") and sys.modules[m]))
"""


@pytest.mark.parametrize("cell", [lstm, odd], ids=lambda cell: cell.name)
@pytest.mark.thinned(2)
def test_saved_module_runs_where_there_is_only_numpy(cell: sb.Cell, tmp_path: Path) -> None:
    kernel = sb.compile(cell)
    kernel.save(tmp_path / "cell_bptt.py")
    assert (tmp_path / "cell_bptt.py").read_text("utf-8") == kernel.source
    groups = oracle.draw(cell, 3, 2, SIZES)
    cotangents = oracle.cotangents_of(cell, groups, 3)
    of_role = {"param": groups[0], "input": groups[1], "state": groups[2], "cotangent": cotangents}
    given = {f"{role}_{k}": v for role, group in of_role.items() for k, v in group.items()}
    np.savez(tmp_path / "given.npz", **given)
    done = subprocess.run([sys.executable, "-c", BLOCKED], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
    found = np.load(tmp_path / "found.npz")
    run = kernel.forward(*groups)
    for name, value in run.states.items():
        np.testing.assert_array_equal(found[name], value)
    for name, value in oracle.flat(kernel.backward(run, cotangents)).items():
        np.testing.assert_array_equal(found[f"d{name}"], value)


def test_module_is_saved_whole_or_not_at_all(tmp_path: Path) -> None:
    kernel = sb.compile(rnn)
    with pytest.raises(sb.TargetError, match="cannot write"):
        kernel.save(tmp_path / "missing" / "rnn.py")
    (tmp_path / "folder").mkdir()
    with pytest.raises(sb.TargetError, match="is a folder"):
        kernel.save(tmp_path / "folder")
    kernel.save(tmp_path / "rnn.py")
    kernel.save(str(tmp_path / "rnn.py"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "rnn.py"]


# Where things are computed.


def function(text: str, name: str) -> ast.FunctionDef:
    return next(node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name == name)


def loops_over_time(f: ast.FunctionDef) -> list[ast.For]:
    """The loops whose steps are steps in time, or blocks of these."""
    return [node for node in f.body if isinstance(node, ast.For) and "T" in names_in([node.iter])]


def steps_of(loop: ast.For) -> ast.For:
    """The loop over single steps: the loop itself, or the one inside a loop over blocks."""
    return next((node for node in loop.body if isinstance(node, ast.For)), loop)


def names_in(nodes: Iterable[ast.AST]) -> set[str]:
    return {n.id for node in nodes for n in ast.walk(node) if isinstance(n, ast.Name)}


def assigned_in(nodes: Iterable[ast.AST]) -> set[str]:
    return {n.id for node in nodes for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


@pytest.mark.parametrize("cell", [rnn, lstm, gru], ids=lambda cell: cell.name)
def test_time_is_one_loop_each_way(cell: sb.Cell) -> None:
    text = sb.compile(cell).source
    assert len(loops_over_time(function(text, "_forward"))) == 1
    assert len(loops_over_time(function(text, "_backward"))) == 1


@pytest.mark.parametrize("cell", [rnn, lstm, gru], ids=lambda cell: cell.name)
def test_input_products_are_made_before_the_loop_for_all_steps(cell: sb.Cell) -> None:
    forward = function(kernel_of(cell).source, "_forward")
    (loop,) = loops_over_time(forward)
    weights = {name for name in oracle.names_of(cell, "param") if name.startswith(("W", "b"))}
    steps = steps_of(loop)
    assert not names_in(steps.body) & (weights | {"x"})
    before = [*forward.body[: forward.body.index(loop)], *loop.body[: loop.body.index(steps)]]
    assert weights | {"x"} <= names_in(before)


@pytest.mark.parametrize("cell", [rnn, lstm, gru], ids=lambda cell: cell.name)
def test_weight_gradients_are_one_product_each_behind_the_steps(cell: sb.Cell) -> None:
    backward = function(kernel_of(cell).source, "_backward")
    (loop,) = loops_over_time(backward)
    steps, params = steps_of(loop), oracle.names_of(cell, "param")
    assert not names_in(steps.body) & {f"d{name}" for name in [*params, "x"]}
    assert not names_in(steps.body) & {"x", *(name for name in params if name[0] in "Wb")}
    behind = loop.body[loop.body.index(steps) + 1 :]
    (given,) = (s.value for s in backward.body if isinstance(s, ast.Return))
    assert isinstance(given, ast.Tuple) and isinstance(given.elts[0], ast.Dict)
    pairs = zip(given.elts[0].keys, given.elts[0].values, strict=True)
    sums = {ast.literal_eval(key): names_in([value]) - {"m", "n"} for key, value in pairs if key is not None}

    def products(total: str) -> int:
        """Products of matrices that are added to a sum behind each block of steps."""
        added = [call for call in behind if ast.unparse(call).endswith(f", out={total})")]
        rooms = {ast.unparse(call.value.args[1]) for call in added if isinstance(call, ast.Expr)}
        written = [ast.unparse(call) for call in behind if ast.unparse(call).startswith("np.matmul")]
        return sum(line.endswith(f"out={room})") for line in written for room in rooms)

    for name in params:
        (total,) = sums[name]
        assert products(total) == (1 if name[0] in "WU" else 0), name


def test_value_that_no_later_step_needs_is_computed_after_the_loop() -> None:
    @sb.cell
    def step(x: Input["m"], h: State["n"], W: Param["n m"], V: Param["k n"], g: Param["n"]):
        scale = np.exp(g)
        h_new = np.tanh(W @ x + scale * h)
        return {"h": h_new, "y": V @ h_new}

    text = sb.compile(step).source
    forward = function(text, "_forward")
    (loop,) = loops_over_time(forward)
    assert not names_in(steps_of(loop).body) & {"V", "W", "x", "y", "g"}
    at = forward.body.index(loop)
    assert "V" in names_in(forward.body[at + 1 :])
    assert "np.exp(g)" in ast.unparse(ast.Module(forward.body[:at], []))


def test_source_does_not_grow_with_sizes_or_steps() -> None:
    kernel = sb.compile(lstm)
    text = kernel.source
    kernel.forward(*oracle.draw(lstm, 50, 2, SIZES))
    assert kernel.source == text


# Passes.


def built(cell: sb.Cell, passes: Iterable[Callable[[Program], Program]]) -> Kernel:
    """A kernel by these passes, the graph legal after each."""
    program = program_of(derive(cell.step))
    for step in passes:
        program = step(program)
        laws.check(program.graph)
    return Kernel(cell, program, source(program, "0", ""))


def results(kernel: Kernel, groups: Any, cotangents: Any, steps: int) -> dict[str, Any]:
    run = kernel.forward(*groups, steps=None if groups[1] else steps)
    return {
        **run.states,
        **run.outputs,
        **{f"d{k}": v for k, v in oracle.flat(kernel.backward(run, cotangents)).items()},
    }


def assert_passes_keep(cell: sb.Cell, ways: Iterable[Iterable[Callable[[Program], Program]]]) -> None:
    groups = oracle.draw(cell, 3, 2, SIZES, scale=0.3)
    cotangents = oracle.cotangents_of(cell, groups, 3)
    plain = built(cell, (place,))
    wanted, seen = results(plain, groups, cotangents, 3), {plain.source}
    for kernel in (built(cell, passes) for passes in ways):
        if kernel.source not in seen:
            oracle.assert_blocks_close(results(kernel, groups, cotangents, 3), wanted, 1e-10)
        seen.add(kernel.source)


@EVERY_CELL
@pytest.mark.thinned(29, 11)
def test_passes_keep_the_values_and_the_laws(cell: sb.Cell) -> None:
    assert_passes_keep(cell, [PASSES])


CHANGED = (lstm, min_gru, mlstm, odd)
"""Cells of which each pass changes one, but for those that need others before them."""


@pytest.mark.parametrize(
    "cell",
    [cell if cell in CHANGED else pytest.param(cell, marks=pytest.mark.long) for cell in [*CELLS.values(), odd]],
    ids=lambda cell: cell.name,
)
@pytest.mark.thinned(1, 19)
def test_each_pass_alone_keeps_the_values_and_the_laws(cell: sb.Cell) -> None:
    assert_passes_keep(cell, [(step, place) for step in PASSES])


@pytest.mark.long
@EVERY_CELL
@pytest.mark.parametrize("step", PASSES, ids=lambda step: step.__name__)
@pytest.mark.thinned(1, 79)
def test_pass_is_idempotent_and_leaves_its_program_alone(cell: sb.Cell, step: Callable[[Program], Program]) -> None:
    program = program_of(derive(cell.step))
    before = source(place(program), "0", "")
    once = step(program)
    assert source(place(step(once)), "0", "") == source(place(once), "0", "")
    assert source(place(program), "0", "") == before


def test_last_pass_places_every_value() -> None:
    program = program_of(derive(lstm.step))
    for step in PASSES:
        program = step(program)
    needed = program.graph.ancestors([*program.forward_roots, *program.backward_roots])
    assert set(needed) <= set(program.places)
    assert {p.split()[0] for p in program.places.values()} == {"forward", "backward"}


# Names and texts of the user's.

RISKY = "np t T B K a n h_0 h_prev dh dh_all dW active range _where SHAPES".split()
MORE = """k d m dh_0 UT sizes full sum lambda_ _sizes Run i v h_buffer h_all dx W_T x_in a_in dtype reset tape flow last given idle start run params state zip print
_kept _padded _arguments forward backward erf dW_sum h_in a_z len max abs float dict tuple slice _forward _backward
_array _names _axes _shapes _masks _cotangents _frozen _gathered _scattered _collected _grads _held _plain Grads
ArgumentError PARAMS INPUTS STATES INDICES LEAD TARGETS MARK inputs steps lengths monitor batched masks tanh exp dL of
limit self T_ np_ t_ h_t z dz one dtype_ found out value index axis shape x_ np_1 T_1 h_1 da a_1 cotangents error
array""".split()

XHWU = 'x: I["m"], h: S["n"], W: P["n m"], U: P["n n"]'
PLACES = {
    "parameter": f'step({XHWU}, NAME: P["n"]): return WITH(x, h, W, U, NAME)',
    "input": f'step({XHWU}, NAME: I["n"]): return WITH(x, h, W, U, NAME)',
    "scalar constant": f"step({XHWU}, NAME: C = 0.7): return WITH(x, h, W, U, NAME)",
    "array constant": f'step({XHWU}, NAME: C["n"] = K): return WITH(x, h, W, U, NAME)',
    "given constant": f'step({XHWU}, NAME: C["n"]): return WITH(x, h, W, U, NAME)',
    "local": f'step({XHWU}, b: P["n"]):\n    NAME = WITH(x, h, W, U, b)\n    return NAME * h + NAME',
    "state": f'step({XHWU}, b: P["n"]): return WITH(x, h, W, U, b)'.replace("h", "NAME").replace("WITNAME", "WITH"),
    "second state": f'step({XHWU}, NAME: S["n"]): return WITH(x, h, W, U, NAME), NAME * h + h',
    "output": f'step({XHWU}, b: P["n"]):\n    y = WITH(x, h, W, U, b)\n    return {{"h": y, "NAME": y * b}}',
    "size": f'step({XHWU}, b: P["n"]): return WITH(x, h, W, U, b) / h.shape[0]'.replace('"n', '"NAME').replace(
        ' n"', ' NAME"'
    ),
}


def mixture(x: Any, h: Any, W: Any, U: Any, b: Any) -> Any:
    gate = sb.sigmoid(W @ x + U @ h + b)
    other = sb.sigmoid(W @ x + U.T @ h)  # a second gate: products are packed, adjoints joined
    value = np.tanh(U @ (gate * h) * b)
    return gate * other * h + (1 - gate) * value


def failure(where: str, name: str) -> str:
    """What goes wrong with a name in a place, or nothing."""
    text = PLACES[where].replace("NAME", name).replace("WITH", "mixture")
    scope: dict[str, Any] = {
        "I": Input,
        "S": State,
        "P": Param,
        "C": Const,
        "K": np.array([0.1, 0.2, 0.3]),
        "mixture": mixture,
    }
    try:
        exec(compile(f"def {text}", "cells.py", "exec"), scope)
        cell = sb.cell(scope["step"])
    except SyntaxError:  # two arguments of one name
        return ""
    lengths, reset = np.array([2, 3]), np.array([[0, 0], [1, 0], [0, 1]], bool)
    try:
        groups = oracle.draw(cell, 3, 2, {"m": 2, "n": 3, name: 2 if name == "m" else 3})
        cotangents = oracle.cotangents_of(cell, groups, 3)
        kernel = sb.compile(cell)
        for masks in ({}, {"lengths": lengths, "reset": reset}):
            run = kernel.forward(*groups, **masks)
            oracle.assert_blocks_close({**run.states, **run.outputs}, oracle.run(cell, *groups, 3, **masks), 1e-12)
            wanted = oracle.gradients(cell, *groups, cotangents, 3, **masks)
            oracle.assert_blocks_close(oracle.flat(kernel.backward(run, cotangents, monitor=True)), wanted, 1e-10)
    except Exception as error:
        return f"{name}: {type(error).__name__}: {error}".splitlines()[0]
    return ""


def failures(where: str, names: Iterable[str]) -> list[str]:
    return [found for name in names if (found := failure(where, name))]


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.thinned(11, 3)
def test_any_name_is_safe(where: str) -> None:
    assert not failures(where, RISKY)


@pytest.mark.exhaustive
@pytest.mark.parametrize("where", PLACES)
@pytest.mark.thinned(1, 17)
def test_any_other_name_is_safe(where: str) -> None:
    assert not failures(where, MORE)


TEXTS = [
    '"""\nimport os\nos.abort()\n"""',
    "'''\nraise SystemExit\n'''",
    'ends with a quote"',
    'ends with two quotes""',
    'ends with three quotes"""',
    "ends with a backslash\\",
    'a backslash and quotes \\"""\nraise SystemExit\n',
    "\\\\ \\n \\u0041 \\x41 \\N{BULLET}",
    "a tab\tand a\rcarriage return\r\n and \x0c form feed",
    "null \0 byte",
    "Σ ⊙ σ \U0001f600 \u2028 line separator \ufeff",
    "{braces} %s %(percent)s {0}",
    "lone surrogate \ud800",
    "lines of a head\n# certificate: text 0123\n# made of {}",
]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
@pytest.mark.thinned(3)
def test_docstring_cannot_inject_code(text: str, tmp_path: Path) -> None:
    def step(h: State["n"], dt: Const = 0.5):
        return h * dt

    step.__doc__ = text
    kernel = sb.compile(sb.cell(step))
    tree = ast.parse(kernel.source)
    kinds = [
        type(node).__name__ for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Assign)
    ]
    assert kinds == ["Expr", "ImportFrom", "Import", "If"]
    assert kernel.forward({}, {}, {"h": np.ones(2)}, steps=1).states["h"].tolist() == [[0.5, 0.5]]
    kernel.save(tmp_path / "module.py")
    ast.parse((tmp_path / "module.py").read_bytes())


def test_docstring_is_kept_as_it_is() -> None:
    def step(h: State["n"]):
        r"""Decay, with \alpha and a \n that is no line end."""
        return h / 2

    assert r"with \alpha and a \n that" in (ast.get_docstring(ast.parse(sb.compile(sb.cell(step)).source)) or "")


@pytest.mark.parametrize("name", ['x"""\nimport os\n', "a b", "lambda", "<lambda>", "x'", "\\"])
def test_name_of_the_function_cannot_inject_code(name: str) -> None:
    def step(h: State["n"]):
        return h / 2

    step.__name__ = name
    kernel = sb.compile(sb.cell(step))
    kinds = {type(node).__name__ for node in ast.parse(kernel.source).body}
    assert kinds <= {"Expr", "ImportFrom", "Import", "FunctionDef", "ClassDef", "Assign", "If"}
    assert kernel.forward({}, {}, {"h": np.ones(2)}, steps=1).states["h"].tolist() == [[0.5, 0.5]]


NUMBERS = [
    0.1 + 0.2,
    1 / 3,
    np.pi,
    1e-308,
    5e-324,
    1.7e308,
    -0.0,
    2**53 + 1,
    -7,
    1e16,
    123456789.123456789,
    np.float32(0.1),
]


@pytest.mark.parametrize("value", [*NUMBERS, np.inf], ids=repr)
@pytest.mark.parametrize("where", ["literal", "literal array", "constant", "array constant"])
@pytest.mark.filterwarnings("ignore:.*never used")
@pytest.mark.thinned(7, 2)
def test_number_of_the_user_reaches_the_module_exactly(value: Any, where: str) -> None:
    array = np.array([value, value], float)

    def step(h: State["2"], c: Const = value, v: Const["2"] = array):
        factor = {"literal": value, "literal array": array, "constant": c, "array constant": v}[where]
        return np.minimum(factor, h) if np.isinf(value) else factor * h

    kernel = sb.compile(sb.cell(step))
    h = np.array([1.0, -1.0])
    got = kernel.forward({}, {}, {"h": h}, steps=1).states["h"][0]
    assert got.tobytes() == np.asarray(step(h), float).tobytes()


@sb.cell
def delay_line(x: Input["n"], d: State["4 n"]):
    return np.concatenate([x[None, :], np.tanh(d[:-1])])


@sb.cell
def shifted(x: Input["n"], y: Input["n"], d: State["4 n"]):
    return np.concatenate([(x + y)[None, :], 0.5 * d[:-1]])


@pytest.mark.parametrize("cell", [delay_line, shifted], ids=lambda cell: cell.name)
def test_gradients_of_inputs_are_arrays_of_their_own_and_are_written_once(cell: sb.Cell) -> None:
    kernel = kernel_of(cell)
    run = kernel.forward(*oracle.draw(cell, 3, 2, SIZES, seed=1))
    ones = {"d": np.ones((3, 2, 4, 3))}
    first = kernel.backward(run, ones).inputs
    before = {name: value.copy() for name, value in first.items()}
    others = kernel.backward(run, {"d": 2 * ones["d"]}).inputs
    arrays = [*first.values(), *others.values()]
    assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])
    assert all(np.array_equal(first[name], before[name]) for name in first)
    assert "dx = np.array(" not in kernel.source and kernel.source.count("# dx_t = ") == 1


@EVERY_CELL
@pytest.mark.thinned(23, 5)
def test_numbers_are_put_together_when_the_module_is_written(cell: sb.Cell) -> None:
    assert not re.search(
        r"np\.(add|subtract|multiply|divide)\(\(?-?[\d.]+\)?, \(?-?[\d.]+\)?[,)]", kernel_of(cell).source
    )


@sb.cell
def unit_norm(x: Input["n"], h: State["n"], U: Param["n n"]):
    e = U @ h + x
    return e / np.sqrt(np.sum(e * e) + 1) / np.sqrt(np.mean(e * e) + 1)


def test_a_number_that_sizes_have_a_part_in_is_an_expression() -> None:
    text = kernel_of(unit_norm).source
    assert "np.divide(0.5 / n, " in text and "np.divide(0.5, " in text


@sb.cell
def kinks(x: Input["n"], h: State["n"], c: Param["n"], U: Param["n n"]):
    a, b = U @ h + x, U @ h * x
    up = np.where(a > 0, a * c, np.sin(a) * 0.3)
    down = np.where(b > 0.1, up * b, c * a)
    return 0.5 * np.where(a > 0, down * c, up) + np.where(b > 0.1, 0.2 * h, down)


@sb.cell
def leaky(x: Input["n"], h: State["n"], c: Param["n"], U: Param["n n"]):
    a = U @ h + x
    return np.where(a > 0, a * c, np.abs(a) * 0.3)


def test_a_condition_is_found_once_and_again_where_its_room_was_taken() -> None:
    text = kernel_of(leaky).source
    sweep = text[text.index("def _backward(") : text.index("\ndef forward(")]
    assert sweep.count("np.not_equal(") == 1
    kernel, groups = kernel_of(kinks), oracle.draw(kinks, 4, 3, SIZES, seed=4)
    run = kernel.forward(*groups)
    oracle.assert_blocks_close({**run.states}, oracle.run(kinks, *groups, 4), 1e-12)
    cotangents = oracle.cotangents_of(kinks, groups, 4)
    wanted = oracle.gradients(kinks, *groups, cotangents, 4)
    oracle.assert_blocks_close(oracle.flat(kernel.backward(run, cotangents)), wanted, 1e-12)


def test_generated_lines_name_their_equations() -> None:
    text = sb.compile(vanilla).source
    assert re.search(r"np\.tanh\(.*out=h_t\) +# h_t = tanh\(", text)
    assert re.search(r"out=da_t\) +# da_t = dh_t ⊙ \(1 - h_t²\)", text)
    assert re.search(r"np\.add\(dW, .*out=dW\) +# dW = Σ_t da_t x_tᵀ", text)


def test_traceback_shows_the_generated_line() -> None:
    kernel = sb.compile(vanilla)
    groups = oracle.draw(vanilla, 2, 2, SIZES)
    run = kernel.forward(*groups)
    with pytest.raises(TypeError) as caught:
        kernel.module._backward(None, {}, {}, None, *run.tape[1:], None)
    line = str(caught.traceback[-1].statement)
    assert line.strip().endswith("= tape") and line.strip() in kernel.source


@sb.cell
def powers(x: Input["n"], h: State["n"], c: State["n"], w: Param["n"]):
    g = np.tanh(w * h + x)
    return {"h": g**3 - 0.1 * (h - x) ** 5 / 9 + (w * c) ** 4 / 50, "c": c**7 / 99 + g**16 + w**3 * np.sin(h) ** 6}


@sb.loss
def powers_of_the_distance(h: State["n"], y: Target["n"]):
    return sb.sum((h - y) ** 4 + (h * y) ** 3 / 5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.thinned(2)
def test_whole_powers_are_products(dtype: Any) -> None:
    kernel, model = sb.compile(powers), sb.compile(sb.model(powers, powers_of_the_distance))
    assert "np.power" not in kernel.source + model.source
    assert not re.search(r"\*\* (?!2\b)", re.sub(r'""".*?"""', "", kernel.source, flags=re.DOTALL))
    assert sb.verify(kernel).passed
    params, inputs, state = ({k: v.astype(dtype) for k, v in g.items()} for g in oracle.draw(powers, 1, 6, {"n": 4}))
    run, few = kernel.forward(params, inputs, state), 50 * np.finfo(dtype).eps
    wanted = [powers(x, h, c, params["w"]) for x, h, c in zip(inputs["x"][0], state["h"], state["c"], strict=True)]
    for name, values in run.states.items():
        np.testing.assert_allclose(values[0], [step[name] for step in wanted], rtol=few, atol=few)


def test_powers_that_are_not_whole_are_powers() -> None:
    @sb.cell
    def step(x: Input["n"], h: State["n"], w: Param["n"]):
        return np.abs(w * h) ** 2.5 + x

    assert "np.power" in sb.compile(step).source and sb.verify(step).passed


def test_lines_of_the_readme_are_those_of_the_module() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    block = next(text for text in readme.split("```python\n") if text.startswith("UT = np.ascont")).partition("```")[0]
    lines = [" ".join(line.split()) for line in block.splitlines() if line.strip() != "..."]
    source = [" ".join(line.split()) for line in sb.compile(vanilla).source.splitlines()]
    assert len(lines) > 15 and [line for line in lines if line not in source] == []


@sb.loss
def to_ones(h: State["n"]):
    return sb.sum((h - 1) ** 2)


def top_names(source: str) -> set[str]:
    """The names that a module gives to its functions, classes and constants."""
    found: set[str] = set()
    for node in ast.parse(source).body:
        found |= {node.name} if isinstance(node, ast.FunctionDef | ast.ClassDef) else set()
        found |= {ast.unparse(target) for target in node.targets} if isinstance(node, ast.Assign) else set()
    return found


@pytest.mark.parametrize("options", [{}, {"memory": "sqrt"}, {"memory": 10**6}, {"truncation": sb.Window(2)},
                                     {"truncation": sb.Chunked(2, 3)}, {"clip_adjoint": 1.0}], ids=str)  # fmt: skip
@pytest.mark.parametrize(
    "target", [min_gru, sb.model(rnn, to_ones), sb.model(rnn, to_ones, at="last")], ids=["scan", "every", "last"]
)
@pytest.mark.thinned(11)
def test_all_names_of_a_module_are_reserved(target: Any, options: dict[str, Any]) -> None:
    names = top_names(sb.compile(target, **options).source)
    assert len(names) > 40 and names <= RESERVED


def test_constant_with_the_name_of_one_of_the_modules_own_is_safe() -> None:
    @sb.cell
    def step(x: Input["n"], h: State["n"], ROUNDINGS: Const = 0.5, SLOT: Const = 0.1, WINDOW: Const = 0.2):
        return ROUNDINGS * h + SLOT * x + WINDOW

    assert sb.verify(step).passed
    kernel = sb.compile(step)
    x = np.random.default_rng(0).standard_normal((4000, 1, 2)).astype(np.float32)
    h, wanted = np.zeros((1, 2)), []
    for row in x.astype(np.float64):
        h = step(row[0], h[0])[None]
        wanted.append(h)
    np.testing.assert_allclose(kernel.forward({}, {"x": x}).states["h"], wanted, rtol=1e-5, atol=1e-6)
