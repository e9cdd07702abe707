"""What modules carry of the runtime: one namespace, what is called and no more, plain Python without types."""

import ast
import builtins
import inspect
import textwrap
from collections import Counter
from types import ModuleType

import numpy as np
import pytest

import symbptt as sb
from symbptt import Chunked, Window, ops, zoo
from symbptt.codegen import runtime
from symbptt.codegen.runtime import (
    alone,
    checked_loss,
    checked_reach,
    chunked,
    driver,
    every,
    full,
    last,
    limit,
    located,
    part,
    pieces,
    reach,
    real_types,
    root,
    rows,
    shared,
    told_every,
    told_last,
    types,
    watch,
    watch_chunk,
    whole,
    window,
)
from symbptt.codegen.targets.numpy.embed import OWN, RUNTIME, defined, definition, embedded, names_of
from symbptt.codegen.targets.python import copied
from tests.kernels import kernel_of
from tests.test_truncation import MODELS

CHOICES = (
    {whole, pieces, reach, rows},
    {alone, shared},
    {root, limit},
    {chunked, full, window},
    {every, last},
    {told_every, told_last},
    {watch, watch_chunk},
    {checked_loss, checked_reach},
    {located, part},
    {types, real_types},
)
"""Files of which a module carries one."""
OPTIONS = [
    {}, {"memory": "sqrt"}, {"memory": 10**9}, {"truncation": Window(2)}, {"truncation": Chunked(2, 3)}, {"clip_adjoint": 1.0},
]  # fmt: skip


def one_of_each(names: list[tuple[str, ModuleType]]) -> list[tuple[str, ModuleType]]:
    """Names, of choices those of one file."""
    gone = {file for group in CHOICES for file in sorted(group, key=lambda f: f.__name__)[1:]}
    return [(name, file) for name, file in names if file not in gone]


def test_no_name_is_defined_twice_but_in_files_of_which_a_module_carries_one() -> None:
    names = [(name, file) for file in RUNTIME for name in names_of(file)]
    counts = Counter(name for name, _ in one_of_each(names))
    assert len(counts) > 90
    assert [name for name, count in counts.items() if count > 1] == []
    for group in CHOICES:
        for file in group:
            others = {name for name, other in names if other not in group}
            assert not others & {name for name, own in names if own is file}


def test_every_file_is_listed() -> None:
    files = {name for name, value in vars(runtime).items() if inspect.ismodule(value)}
    assert {file.__name__.rpartition(".")[2] for file in (*RUNTIME, *OWN)} - {"special"} == files


def free_names(text: str) -> set[str]:
    """The names that a module reads and neither defines, binds nor takes from Python."""
    tree = ast.parse(text)
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    bound = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    bound |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)} | {
        "np",
        "__name__",
        "__file__",
        "hashlib",
        "sys",
    }
    bound |= {
        n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.ExceptHandler) and n.name
    }
    return {node.id for node in names} - bound - set(dir(builtins))


def top_names(text: str) -> list[str]:
    return [name for node in ast.parse(text).body for name in copied.names_defined(node)]


TARGETS = [zoo.lstm, zoo.min_gru, *MODELS.values()]


@pytest.mark.parametrize("options", OPTIONS, ids=repr)
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.name} {getattr(target, 'at', '')}")
@pytest.mark.thinned(79, 7)
def test_module_carries_what_it_reads_and_no_more(target: sb.Cell | sb.Model, options: dict[str, object]) -> None:
    text = kernel_of(target, **options).source
    assert free_names(text) == set()
    names = top_names(text)
    quiet = [
        f"_{sweep}"
        for sweep in ("forward", "pull", "backward", "once", "step", "loss")
        if f"\n_{sweep} = _quiet(_{sweep}, " in text
    ]
    assert sorted(name for name, count in Counter(names).items() if count > 1) == sorted(quiet)
    read = {
        node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    # The check of a module by itself calls its public functions but this one.
    assert set(names) - read == {"init"}
    assert {"forward", "backward", *["value_and_grad"] * isinstance(target, sb.Model)} <= set(names)


def test_no_file_of_the_runtime_defines_what_modules_have_of_their_own() -> None:
    own, carried = ({name for file in files for name in names_of(file)} for files in (OWN, RUNTIME))
    assert own & carried == set()


def test_missing_definition_is_seen() -> None:
    text = kernel_of(zoo.lstm).source
    assert free_names(text.replace("def _kept(", "def _kept_(")) == {"_kept"}


def test_module_of_a_cell_alone_has_no_loss_and_one_without_options_no_checkpoints_or_scan() -> None:
    text = kernel_of(zoo.lstm).source
    for name in (
        *("_Loss", "_schedule", "_scan", "_clip", "_collected", "REDUCTION", "MEMORY", "TIMED"),
        *("COMPLEX", "STARTS", "_begin", "_add_starts", "_check_indices"),
    ):
        assert f"{name}(" not in text and f"\n{name} =" not in text, name


def test_module_of_starts_complex_numbers_or_indices_has_what_these_need() -> None:
    @sb.cell
    def begun(x: sb.Input["n"], h: sb.State["n"] = 0.5):  # type: ignore[assignment]
        return np.tanh(h) + x

    @sb.cell
    def turned(x: sb.Input["n"], h: sb.State["n"], W: sb.Param["n", complex]):
        return np.real(W) * h + x

    @sb.cell
    def chosen(i: sb.Index["7"], h: sb.State["n"], W: sb.Param["7 n"]):
        return h + W[i]

    text = sb.compile(begun).source
    assert '\nSTARTS = {"h": 0.5}' in text and "\n    _begin(" in text and "\n    _note_start(" in text
    text = sb.compile(turned).source
    assert "\nCOMPLEX = (" in text and "\ndef _complex(" in text and "STARTS" not in text
    text = sb.compile(chosen).source
    assert "\n    _check_indices(" in text and "STARTS" not in text and "COMPLEX" not in text


def test_statement_that_calls_what_is_absent_is_left_out() -> None:
    source = copied.parsed("def f(x: int = 2**3) -> int:\n    x += 1\n    note(x)\n    return x\n")
    kept = "def f(x=2**3):\n    x += 1\n    note(x)\n    return x"
    assert [copied.plain(source, "f", frozenset(names)) for names in ((), ("note",), ())] == [
        kept, kept.replace("    note(x)\n", ""), kept,
    ]  # fmt: skip


def test_choice_is_from_the_file_that_is_said() -> None:
    texts = {file: embedded("", ["_Loss"], {"_Loss": file})[0] for file in (every, last)}
    assert "def ends(" in texts[last] and "def ends(" not in texts[every]


def test_names_of_its_own_are_told() -> None:
    text, own = embedded("y = _kept(active, x)\nz = _sizes(of) + REDUCTION\n")
    assert own == {"_sizes", "REDUCTION"} and top_names(text) == ["_where", "_kept"]


def test_roots_that_a_text_reads_are_carried_in_the_order_of_the_files() -> None:
    text, own = embedded("_watch(flow, t, adjoints); _clip(adjoints, 1.0)")
    assert top_names(text) == ["_watch", "_reals", "_norms", "_norm", "_clip"] and own == {"STATES"}


def all_plain(text: str) -> str:
    """The definitions of a text without types."""
    source = copied.parsed(textwrap.dedent(text))
    return "\n\n\n".join(copied.plain(source, name) for name in source.nodes if name != "Number")


def test_text_is_the_file_without_types() -> None:
    source = textwrap.dedent('''
        from typing import Any, TypeAlias

        Number: TypeAlias = float
        """It is dropped."""
        LIMIT: float = 2  # é stands before what is cut
        TWO: int = 2


        def long(
            first: dict[str, Any],
            *rest: int,
            Σ: float = 1.0,
            **others: Any,
        ) -> tuple[int, ...]:
            """Say what it is."""
            found: list[int] = []  # type: ignore[x]
            σ = "é"; more: Any = rest  # noqa: E702

            def inner(x: int = 3) -> int:
                return x + TWO  # a comment that stays

            return (inner(), *found, *more)


        class Kind:
            def method(self, x: Number) -> "Kind":
                self.x: Number = x
                return self
    ''')
    plain = all_plain(source)
    assert "LIMIT = 2  # é stands before what is cut" in plain
    assert 'def long(first, *rest, Σ=1.0, **others):\n    """Say what it is."""\n    found = []\n' in plain
    assert '    σ = "é"; more = rest\n' in plain
    assert "    def inner(x=3):\n        return x + TWO  # a comment that stays\n" in plain
    assert "    def method(self, x):\n        self.x = x\n" in plain
    assert "Number" not in plain
    names: dict[str, object] = {}
    exec(plain, names)
    assert names["long"]({}, 4) == (5, 4)  # type: ignore[operator]


def test_long_header_stands_on_lines_of_its_own() -> None:
    names = ", ".join(f"parameter_{i}: int = 0" for i in range(9))
    plain = all_plain(f"def f({names}) -> None:\n    return None\n")
    lines = plain.splitlines()
    assert lines[0] == "def f(" and lines[3] == "):" and all(line.startswith("    parameter") for line in lines[1:3])
    assert max(map(len, lines)) <= 120


def test_declaration_without_a_value_is_refused() -> None:
    with pytest.raises(AssertionError, match="x is declared and has no value"):
        all_plain("x: int\n")


class Untyped(ast.NodeTransformer):
    """Leaves out types."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(node.arg)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.returns = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if isinstance(node.annotation, ast.Name) and node.annotation.id == "TypeAlias":
            return None
        assert node.value is not None
        return ast.Assign([node.target], node.value)


def untyped(text: str) -> ast.AST:
    return ast.fix_missing_locations(Untyped().visit(ast.parse(text)))


def test_public_names_keep_types_that_modules_know() -> None:
    text = """
    def f(a: Arrays, b: Array | list[int] | None = None, *, c: Any = 2, d: int = 2**3) -> tuple[Number, "Kind"]:
        x: int = 3
        return x

    def g(a: Any, b: Any) -> Any:
        return a
    """
    source = copied.parsed(textwrap.dedent(text))
    assert copied.plain(source, "f", hinted=True).splitlines() == [
        "def f(a: dict[str, np.ndarray], b: np.ndarray | list[int] | None = None, *, c=2, d: int = 2**3) -> tuple[np.floating, 'Kind']:",
        "    x = 3", "    return x",
    ]  # fmt: skip
    assert copied.plain(source, "g", hinted=True).splitlines()[0] == "def g(a, b):"


@pytest.mark.parametrize("file", RUNTIME, ids=lambda file: file.__name__)
def test_every_file_does_the_same_without_types(file: ModuleType) -> None:
    """The statements of a file and of its text are the same, but for types."""
    wanted = [Untyped().visit(node) for node in ast.parse(inspect.getsource(file)).body if copied.names_defined(node)]
    found = [definition(file, name) for name in names_of(file)]
    written = [ast.unparse(ast.fix_missing_locations(node)) for node in wanted if node is not None]
    assert written == [ast.unparse(untyped(d.text)) for d in found]
    assert all(len(line) <= 140 for d in found for line in d.text.splitlines())
    names = {name for other in (*RUNTIME, *OWN) for name in names_of(other)}
    for d in found:  # what the compiler knows of a definition is what stands there
        read = {node.id for node in ast.walk(untyped(d.text)) if isinstance(node, ast.Name)} - own_names(d.text)
        assert d.reads & names - {"_Call"} == read & names - {"_Call"} - {d.name}, d.name


def own_names(text: str) -> set[str]:
    """The names that a definition binds itself."""
    nodes = [*ast.walk(ast.parse(text))]
    bound = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return bound | {node.arg for node in nodes if isinstance(node, ast.arg)}


def test_files_of_the_runtime_import_numpy_and_each_other() -> None:
    for file in (*RUNTIME, *OWN):
        tree = ast.parse(inspect.getsource(file))
        # What a module does that is run as a program, and no import of it, needs two of Python's own: test_codegen.py names them.
        tree.body = [x for x in tree.body if not (isinstance(x, ast.FunctionDef) and x.name == "_run_selfcheck")]
        for node in ast.walk(tree):
            named = [node.module] if isinstance(node, ast.ImportFrom) else []
            named += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in named:
                assert name in ("numpy", "typing", "collections.abc") or f"{name}".startswith(
                    "symbptt.codegen.runtime."
                )


def test_names_of_the_runtime_are_no_variables_of_a_user() -> None:
    names = defined()
    assert {
        "_scan",
        "_quiet",
        "REDUCTION",
        "_forward",
        "Run",
        "_Loss",
        "erf",
        *(f"_{k}" for k in ops.REMAINING),
    } <= names
    assert not names & {"Array", "Arrays", "Sizes", "Mask", "Rows"}  # types are not carried

    @sb.cell
    def clashing(x: sb.Input["n"], h: sb.State["n"], MARK: sb.Param["n"], _kept: sb.Param["n"], REDUCTION: sb.Param):
        SPAN = MARK * h + x
        return np.tanh(SPAN + _kept) * REDUCTION

    assert sb.verify(clashing).passed


def test_files_are_modules_that_run_by_themselves() -> None:
    assert driver.forward({"w": np.full(1, 0.5), "v": 1.0}, {"x": np.ones((2, 1))}).states["h"].tolist() == [
        [1.0],
        [1.5],
    ]
