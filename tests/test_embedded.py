"""C for one set of sizes: values and gradients are those of the NumPy kernel, in an arena of as many bytes as is told."""

import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Index, Input, Param, State, Target
from symbptt.codegen.embedded import embedded_source, functions_of
from symbptt.codegen.kernel import head_of, passed
from symbptt.codegen.loop_ir.laws import check, check_run
from symbptt.codegen.passes import PLAIN
from symbptt.codegen.targets.c99.names import FIELDS, named
from symbptt.commands.main import run as run_command
from symbptt.verification.finite_differences import is_declared
from symbptt.zoo import CELLS, gru, lstm, mesa_net, rnn, stack_rnn
from tests import oracle
from tests.c_mutants import mutants
from tests.ccode import CC, double, harness
from tests.embedded import Board
from tests.kernels import kernel_of
from tests.test_c99 import SIBLINGS, SIZES, TOLERANCE, constant_cell, token_cell, worst
from tests.test_zoo import sizes_of

pytestmark = pytest.mark.skipif(not CC, reason="no C compiler, cc, on this machine")


def assert_cell(cell: sb.Cell, sizes: dict[str, int], T: int, B: int, kind: str, folder: Path) -> None:
    """Values and gradients of a cell are those of its NumPy kernel."""
    kernel, random = kernel_of(cell), np.random.default_rng(1)
    dtype = np.float64 if kind == "d" else np.float32
    params, inputs, state = (
        {k: v if np.asarray(v).dtype.kind in "iu" else np.asarray(v, dtype) for k, v in group.items()}
        for group in oracle.draw(cell, T, B, sizes)
    )
    run = kernel.forward(params, inputs, state, **({} if inputs else {"steps": T}))
    wanted = {**run.states, **run.outputs}
    cotangents = {k: random.standard_normal(v.shape).astype(dtype) for k, v in wanted.items()}
    grads = kernel.backward(run, cotangents)
    board = Board(embedded_source(cell, sizes={**sizes, "B": B}, steps=T), folder, kind)
    names = board_names(cell)
    board.write(
        {names[k]: v for k, v in params.items()},
        inputs={names[k]: v for k, v in inputs.items()},
        start={names[k]: v for k, v in state.items()},
    )
    for _ in range(2):  # what an earlier run left behind changes nothing
        assert board.call("forward") == 0
        board.write(
            {}, cotangents={k: v for k, v in _named(cotangents, names).items() if f"cotangents.{k}" in board.arena}
        )
        assert board.call("backward") == 0
    got = {k: v[1:] for k, v in board.read("states").items()} | board.read("outputs")
    largest = max([float(np.max(np.abs(v), initial=0)) for v in oracle.flat(grads).values()])
    assert worst(got, _named(wanted, names)) < TOLERANCE[kind]
    for struct, group in (("params", grads.params), ("inputs", grads.inputs), ("start", grads.state)):
        found = board.read(f"gradients.{struct}")
        assert found.keys() == {names[k] for k in group}
        assert worst(found, _named(group, names), (0.1 if kind == "f" else 1e-4) * largest) < TOLERANCE[kind]


def _named(arrays: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {names[k]: v for k, v in arrays.items()}


def board_names(cell: sb.Cell) -> dict[str, str]:
    """The names of a cell's arrays in C."""
    own = {f"{cell.name.upper()}_H", f"{cell.name.upper()}_DOUBLE"}
    return dict(named([*(a.name for a in cell.arguments), *cell.looped.outputs], FIELDS | own))


@pytest.mark.thinned(97, 11)
@pytest.mark.parametrize("cell", CELLS.values(), ids=list(CELLS))
def test_zoo_agrees_with_numpy(cell: sb.Cell, tmp_path: Path) -> None:
    if any(node.family == "algebra" for node in cell.step.graph):
        return
    sizes = sizes_of(cell, SIZES)
    assert_cell(cell, sizes, 5, 2, "d", tmp_path)


@pytest.mark.parametrize("kind", "df")
@pytest.mark.parametrize(
    ("cell", "sizes"), [(token_cell, {"v": 5, "n": 3}), *SIBLINGS.values()], ids=["token", *SIBLINGS]
)
@pytest.mark.thinned(11, 3)
def test_siblings_agree_with_numpy(cell: sb.Cell, sizes: dict[str, int], kind: str, tmp_path: Path) -> None:
    if "B" in sizes:
        with pytest.raises(sb.ArgumentError, match="B is a size of"):
            embedded_source(cell, sizes=sizes, steps=2)
        return
    assert_cell(cell, sizes, 3, 2, kind, tmp_path)


@pytest.mark.thinned(17, 7)
@pytest.mark.parametrize(("T", "B"), [(2, 1), (1, 1), (3, 4), (16, 16)])
@pytest.mark.parametrize("cell", [stack_rnn, gru, lstm, rnn], ids=lambda cell: cell.name)
def test_sizes_at_the_edges(cell: sb.Cell, T: int, B: int, tmp_path: Path) -> None:
    sizes = sizes_of(cell, SIZES)
    for number, some in enumerate((sizes, dict.fromkeys(sizes, 1), dict.fromkeys(sizes, 16))):
        assert_cell(cell, some, T, B, "d", tmp_path / str(number))


@sb.cell
def shown(
    x: Input["m"], k: Index["v"], h: State["n"], g: State["n"], W: Param["n m"], U: Param["n n"], E: Param["v n"]
):
    """Two states of which a loss reads one, an index, and two outputs of which it reads one."""
    return {"h": np.tanh(W @ x + U @ g + E[k]), "g": 0.5 * g + h, "y": W @ x + g, "unread": h * g}


@sb.loss
def shared(
    h: State["n"], y: sb.Output["n"], x: Input["m"], label: Index["n"], z: Target["m"], W: Param["n m"], V: Param["m n"]
):
    """A loss of a state, an output and an input, with a parameter of the cell's and one of its own."""
    logits = V.T @ x + h + 0.1 * W @ x
    return {"loss": sb.logsumexp(logits) - logits[label] + sb.sum((V @ y - z) ** 2) / 2, "logits": logits}


SHOWN = {"m": 2, "n": 3, "v": 4}


def assert_model(
    model: sb.Model, sizes: dict[str, int], T: int, B: int, kind: str, folder: Path, text: str | None = None
) -> float:
    """The largest difference of losses, predictions and gradients of a model from those of its NumPy kernel."""
    dtype, random = np.float64 if kind == "d" else np.float32, np.random.default_rng(5)
    params, inputs, state = oracle.draw(model.cell, T, B, sizes)
    own = {
        a.name: random.standard_normal([sizes[str(n)] for n in a.shape])
        for a in model.loss.arguments
        if a.role == "param"
    }
    params = {k: np.asarray(v, dtype) for k, v in ({**own, **params}).items()}
    inputs, state = (
        {k: v if k == "k" else np.asarray(v, dtype) for k, v in group.items()} for group in (inputs, state)
    )
    lead = (T, B) if model.at == "every" else (B,)
    targets: dict[str, Any] = {
        "z": random.standard_normal((*lead, sizes["m"])).astype(dtype),
        "label": random.integers(0, sizes["n"], lead),
    }
    kernel = kernel_of(model)
    value, grads = kernel.value_and_grad(params, inputs, targets, state)
    c = embedded_source(model, sizes={**sizes, "B": B}, steps=T)
    board = Board(c, folder, kind, text)
    board.write(params, inputs=inputs, targets=targets, start=state)
    assert [board.call("value_and_grad") for _ in range(2)] == [0, 0]
    found = [(board.read("gradients.params"), grads.params), (board.read("gradients.inputs"), grads.inputs)]
    found += [(board.read("gradients.start"), grads.state), ({"": board.arena["loss"].copy()}, {"": np.asarray(value)})]
    board.arena["loss"][...] = 0
    assert board.call("value") == board.call("predict") == 0
    found += [
        ({"": board.arena["loss"]}, {"": np.asarray(value)}),
        (board.read("predicted"), kernel.predict(params, inputs, state)),
    ]
    assert all(got.keys() == set(wanted) for got, wanted in found)
    return max(worst(got, wanted, 1e-3) for got, wanted in found)


@pytest.mark.parametrize("kind", "df")
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.parametrize(("T", "B"), [(4, 3), (1, 1)])
@pytest.mark.thinned(37, 5)
def test_models_agree_with_numpy(at: Any, reduction: Any, T: int, B: int, kind: str, tmp_path: Path) -> None:
    assert (
        assert_model(sb.model(shown, shared, at=at, reduction=reduction), SHOWN, T, B, kind, tmp_path) < TOLERANCE[kind]
    )


def test_inference_keeps_the_states_alone(tmp_path: Path) -> None:
    model = sb.model(shown, shared, at="last")
    for target in (gru, model):
        dims = SHOWN if target is model else {"m": 2, "n": 3}
        whole, alone = (embedded_source(target, sizes=dims, steps=9, backward=b) for b in (True, False))
        cell = target if isinstance(target, sb.Cell) else target.cell
        params, inputs, state = oracle.draw(cell, 9, 1, dims)
        board = Board(alone, tmp_path / target.name)
        board.write(params, inputs=inputs, start=state)
        assert board.call("forward") == 0
        wanted = kernel_of(cell).forward(params, inputs, state).states
        assert worst({k: v[1:] for k, v in board.read("states").items()}, wanted) < 1e-12
        assert not any(path.startswith(("tape.", "gradients.", "cotangents.", "last.")) for path in board.arena)
        # Of what a step needs for a moment there is one row, and no row of all steps but of what a caller has.
        assert all(
            v.size <= 2 * max(dims.values()) for path, v in board.arena.items() if path.startswith("room.forward")
        )
        assert alone.arena["float32"] < 0.6 * whole.arena["float32"]
        assert "backward" not in alone.single and not hasattr(board.library, f"{alone.parts.name}_value_and_grad")


def test_arena_has_as_many_bytes_as_is_told(tmp_path: Path) -> None:
    c = embedded_source(sb.model(shown, shared), sizes={**SHOWN, "B": 3}, steps=5)
    assert c.arena["float64"] > c.arena["float32"] > 5 * 3 * 4
    right = f"sizeof(shown_shared_arrays) <= (sizeof(real) == 4 ? {c.arena['float32']} : {c.arena['float64']})"
    assert right in c.single
    for kind, name in (("f", "float32"), ("d", "float64")):
        Board(c, tmp_path / "right", kind)
        with pytest.raises(AssertionError, match="arena_is_as_told"):
            Board(
                c,
                tmp_path / "wrong",
                kind,
                c.single.replace(f" {c.arena[name]} ", f" {c.arena[name] - 8} ").replace(
                    f" {c.arena[name]})", f" {c.arena[name] - 8})"
                ),
            )


@pytest.mark.parametrize("kind", "df")
@pytest.mark.thinned(2)
def test_indices_outside_their_tables_are_refused(kind: str, tmp_path: Path) -> None:
    board = Board(embedded_source(sb.model(shown, shared), sizes=SHOWN, steps=3), tmp_path, kind)
    assert board.call("value_and_grad") == 0
    for path, most in (("inputs.k", 4), ("targets.label", 3)):
        board.arena[path][-1, 0] = most
        assert board.call("value_and_grad") == board.call("value") == 1
        assert board.call("predict") == (1 if path == "inputs.k" else 0)
        board.arena[path][-1, 0] = most - 1
        assert board.call("value_and_grad") == 0


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"sizes": {"m": 3}}, "lstm has n too, got m"),
    ({"sizes": {"m": 3, "n": 4, "k": 1}}, "lstm has no size 'k'"),
    ({"sizes": {"m": 3, "n": 4.5}}, "the size 'n' must be a positive integer, got 4.5"),
    ({"sizes": {"m": 3, "n": 0}}, "the size 'n' must be a positive integer, got 0"),
    ({"sizes": {"m": 3, "n": 4, "B": True}}, "the size 'B' must be a positive integer, got True"),
    ({"sizes": [3, 4]}, 'sizes={"B": 1, "m": 3, "n": 16}'),
    ({"steps": 0}, "steps must be a positive integer, got 0"),
    ({"steps": 2.0}, "steps must be a positive integer, got 2.0"),
    ({"backward": 1}, "backward is True or False"),
    ({"truncation": sb.Window(2)}, "does not have truncation yet"),
    ({"memory": "sqrt"}, "does not have memory yet"),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_sizes_are_refused_with_what_to_write(change: dict[str, Any], message: str) -> None:
    with pytest.raises(sb.ArgumentError, match=re.escape(message)):
        embedded_source(lstm, **{"sizes": {"m": 3, "n": 4}, "steps": 5, **change})


@sb.cell
def begun(x: Input["n"], h: State["n"] = 1.0):
    return 0.5 * h + x


def test_cells_that_c_cannot_have_are_refused() -> None:
    with pytest.raises(sb.CellError, match="the state 'h' of begun begins with what its default says"):
        embedded_source(begun, sizes={"n": 2}, steps=2)
    with pytest.raises(sb.CellError, match="needs functions of whole matrices"):
        embedded_source(mesa_net, sizes={"m": 1, "d": 2, "n": 2}, steps=2)
    with pytest.raises(sb.ArgumentError, match="embedded_source takes a cell or a model, got int"):
        embedded_source(3, sizes={}, steps=2)  # type: ignore[arg-type]
    with pytest.raises(sb.ArgumentError, match="the default of 'a' has 3 along axis 0"):
        embedded_source(constant_cell, sizes={"n": 4}, steps=2)


def test_command_line_writes_tells_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where, command = tmp_path / "lstm.c", ["generate", "lstm", "--target", "c"]
    sizes = ["--sizes", "B=1,m=3,n=16", "--steps", "50"]
    assert run_command([*command, *sizes, "-o", str(where), "--arena"]) == 0
    c = embedded_source(lstm, sizes={"B": 1, "m": 3, "n": 16}, steps=50)
    assert (where.read_text("utf-8"), where.with_suffix(".h").read_text("utf-8")) == (c.source, c.header)
    assert f"float32: {c.arena['float32']} bytes of arena, 5120 of parameters\n" in capsys.readouterr().out
    assert run_command([*command, *sizes, "--no-backward"]) == 0
    assert capsys.readouterr().out == embedded_source(lstm, sizes={"m": 3, "n": 16}, steps=50, backward=False).single
    for more, message in (
        (["--sizes", "m=3,n=16"], "--sizes and --steps go together"),
        (["--sizes", "m", "--steps", "5"], "no size with its value in 'm'"),
        (["--sizes", "m=3,m=3", "--steps", "5"], "'m' has two values"),
        (["--sizes", "m=3,n=x", "--steps", "5"], "the size 'n' must be a positive integer, got 'x'"),
        (["--no-backward"], "--no-backward is for C at one set of sizes"),
        (["--arena"], "--arena is for C at one set of sizes"),
        ([*sizes, "--target", "numpy"], "--sizes and --steps are for --target c"),
    ):
        assert run_command([*command, *more]) == 2
        assert message in capsys.readouterr().err


# A file that checks itself.


def ran(
    text: str, folder: Path, *options: str, compiler: str = CC, run: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """A program as it ended: compiled without a warning as C99, and run."""
    folder.mkdir(exist_ok=True)
    (folder / "check.c").write_text(text, encoding="utf-8")
    flags = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O1", *options]
    done = subprocess.run(
        [compiler, *flags, "-o", "check", "check.c", "-lm"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0 and not done.stderr, done.stderr[:2000]
    return subprocess.run([*run, "./check"], cwd=folder, capture_output=True, text=True)


def checked(text: str, folder: Path, *options: str, **how: Any) -> subprocess.CompletedProcess[str]:
    """The check of a file by itself, as it ended."""
    return ran(text, folder, "-DSELFCHECK", *options, **how)


@pytest.mark.thinned(47, 11)
@pytest.mark.parametrize(
    "cell", [c for c in CELLS.values() if c.name not in ("kalman", "mesa_net")], ids=lambda c: c.name
)
def test_files_check_themselves(cell: sb.Cell, tmp_path: Path) -> None:
    c = embedded_source(cell, sizes={**sizes_of(cell, SIZES), "B": 2}, steps=6)
    if "is declared, differences tell another" in c.single:
        assert is_declared(cell)
        return
    done = checked(c.single, tmp_path)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.endswith(", 0 wrong\n"), done.stdout


@sb.cell
def rooted(x: Input["n"], h: State["n"], w: Param["n"]):
    return np.sqrt(w + x) * 0.1 + 0.5 * h


@sb.cell
def sized(
    x: Input["D"],
    h: State["H"],
    c: State["DONE"],
    U: Param["H H"],
    W: Param["H D"],
    V: Param["DONE H"],
    b: Param["DOUBLE"],
):
    new = np.tanh(U @ h + W @ x + sb.mean(b))
    return new, 0.5 * c + V @ new


def test_sizes_may_be_called_as_macros_end(tmp_path: Path) -> None:
    text = embedded_source(sized, sizes={"D": 2, "H": 3, "DONE": 2, "DOUBLE": 4}, steps=3).single
    assert checked(text, tmp_path).returncode == 0


def test_numbers_of_a_check_may_be_chosen(tmp_path: Path) -> None:
    text = embedded_source(rooted, sizes={"n": 3}, steps=4).single
    done = checked(text, tmp_path)
    assert done.returncode == 1 and "-DSELFCHECK_FROM=0.5 -DSELFCHECK_TO=1.5" in done.stdout
    assert checked(text, tmp_path, "-DSELFCHECK_FROM=0.5", "-DSELFCHECK_TO=1.5").returncode == 0


def outcome(text: str, folder: Path) -> tuple[int, str] | None:
    """How the check of a file ended, and the numbers that it told; None of what is no C any more."""
    folder.mkdir(exist_ok=True)
    (folder / "check.c").write_text(text, encoding="utf-8")
    command = [CC, "-std=c99", "-w", "-O1", "-DSELFCHECK", "-o", "check", "check.c", "-lm"]
    if subprocess.run(command, cwd=folder, capture_output=True).returncode:
        return None
    done = subprocess.run(["./check"], cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout


def survivors(text: str, begin: str, count: int, seed: int, folder: Path) -> tuple[list[str], set[str], int]:
    """The mistakes that change a number and that the check does not find, the kinds that were tried, and how many changed one."""
    right = outcome(text, folder)
    assert right is not None and right[0] == 0
    alive, kinds, counted = list[str](), set[str](), 0
    for m in random.Random(seed).sample([*mutants(text, begin, "#ifdef SELFCHECK")], count):
        found = outcome(m.text, folder)
        if found is not None and found[1] != right[1]:
            counted += 1
            kinds.add(m.kind)
            if found[0] == 0:
                alive.append(f"{m.kind}: {m.before} -> {m.line}")
    return alive, kinds, counted


def test_a_file_with_a_mistake_finds_it(tmp_path: Path) -> None:
    text = embedded_source(gru, sizes={"m": 2, "n": 3}, steps=4).single
    alive, _, counted = survivors(text, "int gru_forward(const gru_params *params) {", 4, 1, tmp_path)
    assert not alive and counted > 1


@pytest.mark.long
@pytest.mark.parametrize("target", [lstm, sb.model(shown, shared)], ids=["lstm", "a model"])
def test_files_with_mistakes_find_them(target: Any, tmp_path: Path) -> None:
    dims = SHOWN if isinstance(target, sb.Model) else {"m": 2, "n": 3}
    text = embedded_source(target, sizes={**dims, "B": 2}, steps=4).single
    begin = f"{'' if target is lstm else 'static '}int {target.name}_forward{'' if target is lstm else '_of'}(const {target.name}_params *params) {{"
    alive, kinds, counted = survivors(text, begin, 30, 2, tmp_path)
    assert not alive and counted > 15 and len(kinds) > 4


# Other machines, and tools that watch memory.

DOCS = Path(sb.__file__).parents[1] / "docs"
ARM = {"arm-linux-gnueabihf-gcc": "qemu-arm", "aarch64-linux-gnu-gcc": "qemu-aarch64"}
"""The compilers of Debian for ARM of 32 and of 64 bits, each with what runs their programs."""
NO_ARM = "no compilers for ARM, or no qemu: apt-get install gcc-arm-linux-gnueabihf gcc-aarch64-linux-gnu qemu-user"
on_arm = pytest.mark.skipif(not all(shutil.which(x) for pair in ARM.items() for x in pair), reason=NO_ARM)


def trained(folder: Path, *options: str, compiler: str = CC, run: tuple[str, ...] = ()) -> str:
    """What the example prints, which trains on the sunspots."""
    example = DOCS / "examples" / "embedded"
    command = ["generate", f"{example / 'model.py'}:model", "--target", "c", "--sizes", "m=1,n=8", "--steps", "250"]
    assert run_command([*command, "-o", str(folder / "sunspots.c"), "--force"]) == 0
    flags = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O2", *options]
    sources = [str(example / "main.c"), "sunspots.c", "-I.", "-lm", "-o", "sunspots"]
    subprocess.run([compiler, *flags, *sources], cwd=folder, check=True)
    done = subprocess.run(
        [*run, "./sunspots", str(DOCS / "data" / "sunspots.csv")], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.long
def test_example_trains(tmp_path: Path) -> None:
    losses = [float(line.split()[-1]) for line in trained(tmp_path).splitlines()[1:-1]]
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.01 < 0.4 < losses[0]


@on_arm
@pytest.mark.long
@pytest.mark.parametrize("compiler", ARM)
def test_arm_has_the_same_results(compiler: str, tmp_path: Path) -> None:
    for target, dims in ((lstm, {"m": 2, "n": 5}), (sb.model(shown, shared, at="last"), SHOWN)):
        text = embedded_source(target, sizes={**dims, "B": 2}, steps=4).single
        here = checked(text, tmp_path)
        there = checked(text, tmp_path, "-static", compiler=compiler, run=(ARM[compiler],))
        assert (there.returncode, there.stdout) == (0, here.stdout)
    assert trained(tmp_path, "-static", compiler=compiler, run=(ARM[compiler],)) == trained(tmp_path)


SANITIZERS = ("-g", "-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.mark.long
@pytest.mark.parametrize("n", [1, 5, 10, 33, 50, 70, 130])
@pytest.mark.thinned(1, 5)
def test_sanitizers_find_nothing_at_any_size(n: int, tmp_path: Path) -> None:
    """Of files for one set of sizes, and of products and loops of any, whose vectors have tails."""
    draw = random.Random(n)
    T, B, m = draw.choice([1, 2, 5]), draw.choice([1, 2, 7]), draw.choice([1, 3, 17])
    done = checked(embedded_source(gru, sizes={"m": m, "n": n, "B": B}, steps=T).single, tmp_path, *SANITIZERS)
    assert done.returncode == 0 and not done.stderr, done.stderr[:2000]
    source = sb.c_source(gru)
    done = ran(harness(source, {"m": m, "n": n}, T, B), tmp_path, *SANITIZERS, *[double(source)] * draw.randrange(2))
    assert done.returncode == 0 and not done.stderr, done.stderr[:2000]


@pytest.mark.long
def test_sanitizers_find_an_index_beyond_a_row(tmp_path: Path) -> None:
    text = embedded_source(gru, sizes={"m": 2, "n": 3}, steps=4).single
    wrong = text.replace(" < 2; ", " < 3; ")  # over the inputs, of which there are two
    done = checked(wrong, tmp_path, *SANITIZERS)
    assert done.returncode != 0 and "index 2 out of bounds" in done.stderr


@pytest.mark.parametrize("at", ["every", "last"])
def test_functions_keep_the_laws_of_loops(at: Any) -> None:
    """Sanitizers do not see an index that leaves an array for another one of the arena; the laws of the loop IR do."""
    for target in (sb.model(shown, shared, at=at, reduction="mean"), shown):
        cell, head = (target.cell, head_of(target)) if isinstance(target, sb.Model) else (target, None)
        for backward in (True, False):
            functions, _ = functions_of(passed(cell, None, PLAIN), head, 3, 2, backward)
            for f in functions.values():
                check(f)
                check_run(f, SHOWN, 3, 2)


@sb.cell
def linear(x: Input["n"], h: State["n"], w: Param["n"]):
    return w * h + x


def test_what_both_passes_have_wrong_alike_shows_in_the_value(tmp_path: Path) -> None:
    """A number that is added to a state changes no difference of values."""
    text = embedded_source(linear, sizes={"n": 3}, steps=1).single
    state = next(line for line in text.splitlines() if line.strip().startswith("h[1][0][i] = "))
    at = state.index(";")
    found = outcome(text.replace(state, f"{state[:at]} + (real)0.1{state[at:]}"), tmp_path)
    assert found is not None and found[0] == 1 and found[1].count("WRONG") == 1
    assert found[1].startswith("the value            WRONG")


def test_a_file_needs_nothing_but_math() -> None:
    """Of the headers that it includes, two have types alone."""
    text, check, _ = embedded_source(lstm, sizes={"m": 2, "n": 3}, steps=2).single.partition("\n#ifdef SELFCHECK\n")
    included = {line.split()[1] for line in text.splitlines() if line.startswith("#include")}
    assert check and included == {"<math.h>", "<stddef.h>", "<stdint.h>"}
