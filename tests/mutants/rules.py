"""Mutants of the rules that write backward passes: `python -m tests.mutants.rules FILE [--count 300]`.

One node of a function of `symbptt/autodiff`, of `codegen/passes`, `codegen/lower`, or of `symbptt/ops.py` is changed, in a process
of its own: the code of that function, wherever it is held, is exchanged for the changed one. Then a fixed set of small cells is
derived, compiled and proved, with options and as loops behind the passes, and the table of functions is checked. A mutant is caught
where one of these fails; of one that is not, it is told whether some module has another text than without it (a choice of speed, say,
whose results are proved) or none. Results are lines of JSON; a run that is stopped goes on where it was.
"""

import argparse
import ast
import gc
import importlib
import json
import os
import random
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any
from unittest import mock

import numpy as np

import symbptt as sb
from symbptt import Index, Input, Param, State, ops
from symbptt.autodiff.bptt import derive
from symbptt.codegen.kernel import compile as compile_cell
from symbptt.codegen.passes import PASSES
from symbptt.codegen.program.program import program_of
from symbptt.codegen.program.regions import place
from symbptt.verification import checks
from symbptt.verification.proof import rules, subjects
from symbptt.verification.proof.cases import Cases
from symbptt.verification.proof.general_loss import general_loss
from symbptt.verification.proof.loops import lowered
from symbptt.verification.proof.prove import line_of
from symbptt.verification.proof.settings import LOOPS, MASKED, PLAIN
from symbptt.verification.regimes import REGIMES
from symbptt.verification.requests import NOTHING
from tests.cells import odd, vanilla
from tests.mutants.edits import Edit, _edits, _put
from tests.properties.cases import case_of, functions_of

ROOT = Path(sb.__file__).parents[1]
FILES = [*sorted(ROOT.glob("symbptt/autodiff/*.py")), *sorted(ROOT.glob("codegen/passes/*.py")), *sorted(ROOT.glob("codegen/lower/*.py")), ROOT / "symbptt/ops.py"]  # fmt: skip
PATIENCE = 120
"""Seconds of processor time after which a mutant counts as caught: it does not end."""
SEEDS = (3, 7)
"""Random cells of `tests/properties/grammar.py`."""


@sb.cell
def looked_up(i: Index["v"], x: Input["n"], h: State["n"], E: Param["v n"], U: Param["n n"]):
    return {"h": np.tanh(U @ h + E[i] * x), "y": np.cumsum(h) * np.max(x) + sb.layer_norm(E[i] * x)}


@sb.cell
def kinked(x: Input["n"], h: State["n"], c: State["n"], w: Param["n"]):
    y = sb.relu(w * h + x) + np.abs(c) * np.sign(x) + np.clip(h, -1, 2) + np.hypot(h, x) + sb.erf(h) * np.arctan(c)
    return np.where(x > h, np.maximum(y, c), np.minimum(x, w * c)), np.mod(c, 2.0) * sb.norm(h) + np.log(np.exp(x) + 1)


@sb.cell
def forgets(x: Input["n"], h: State["n"], c: State["n"], w: Param["n"], a: Param["n"]):
    h = w * x
    return {"h": h, "c": sb.sigmoid(a) * c + x, "y": 2 * h * c[::-1]}


def quick_cells() -> list[sb.Cell]:
    """The cells of the quick set."""
    zoo = sb.zoo
    found = [
        vanilla,
        zoo.gru,
        zoo.min_gru,
        looked_up,
        kinked,
        forgets,
        zoo.lstm,
        odd,
        zoo.selective_ssm,
        zoo.attention,
        zoo.stack_rnn,
        zoo.mlstm,
    ]
    return [*found, *(functions_of(case_of(seed))[0] for seed in SEEDS)]


@dataclass(frozen=True)
class Mutant:
    """A file with one edit: where, and the words before and after; `number` tells it from the others of the file."""

    file: str
    number: int
    function: str
    line: int
    kind: str
    before: str
    after: str


def text_of(mutant: Mutant) -> str:
    """Return the text of the file with the edit."""
    tree = ast.parse((ROOT / mutant.file).read_text("utf-8"))
    return next(
        ast.unparse(ast.fix_missing_locations(tree)) for found in mutants(ROOT / mutant.file, tree) if found == mutant
    )


def mutants(path: Path, tree: ast.Module | None = None) -> Iterator[Mutant]:
    """Yield the mutants of the functions of a file, each while its edit is in the tree; what stands at its top level is left."""
    tree = tree or ast.parse(path.read_text("utf-8"))
    number = 0
    functions = [f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.Lambda)]
    inside = {
        id(n) for f in functions for n in ast.walk(f) if n is not f and isinstance(n, ast.FunctionDef | ast.Lambda)
    }
    for function in (f for f in functions if id(f) not in inside):
        names = sorted(
            {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            | {a.arg for a in function.args.args}
        )
        name = getattr(function, "name", "lambda")
        for parent, field, index, node in _nodes(function):
            for edit in [*_edits(node, names, [], parent), *_more(node)]:
                number += 1
                words = ast.unparse(node)[:100], ast.unparse(edit.node)[:100]
                _put(parent, field, index, edit.node)
                yield Mutant(
                    str(path.relative_to(ROOT)),
                    number,
                    name,
                    getattr(node, "lineno", function.lineno),
                    edit.kind,
                    *words,
                )
                _put(parent, field, index, node)


def _more(node: ast.AST) -> Iterator[Edit]:
    """Edits that rules have and modules do not: an early return, a set that is empty, all for any."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("all", "any"):
        yield Edit(
            "a condition",
            ast.Call(ast.Name("any" if node.func.id == "all" else "all", ast.Load()), node.args, node.keywords),
        )
    if isinstance(node, ast.comprehension) and node.ifs:
        yield Edit("a condition", ast.comprehension(node.target, node.iter, node.ifs[1:], node.is_async))


def _nodes(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    for field, value in ast.iter_fields(tree):
        if isinstance(tree, ast.FunctionDef | ast.Lambda) and field in ("args", "decorator_list", "returns"):
            continue
        if field == "annotation":
            continue
        for index, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            is_doc = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if (
                isinstance(node, ast.AST)
                and not is_doc
                and not isinstance(node, ast.Raise | ast.expr_context | ast.JoinedStr | ast.Assert)
            ):
                yield tree, field, index, node
                yield from _nodes(node)


def exchange(path: Path, mutant: Mutant) -> set[str]:
    """Put the changed code into all functions that have the old one, and return their places."""
    pristine = compile(ast.unparse(ast.parse(path.read_text("utf-8"))), "a", "exec")
    changed = compile(text_of(mutant), "a", "exec")
    live = compile(path.read_text("utf-8"), str(path), "exec")
    wanted: dict[CodeType, CodeType] = {}
    _differing(pristine, changed, live, wanted)
    places: set[str] = set()
    gc.unfreeze()  # of a test run, whose functions are set aside
    for found in gc.get_objects():
        if (
            isinstance(found, FunctionType)
            and found.__code__ in wanted
            and found.__code__.co_filename.endswith(path.name)
        ):
            places.add(_place(found.__code__))
            found.__code__ = wanted[found.__code__]
    return places


def _differing(one: CodeType, two: CodeType, live: CodeType, wanted: dict[CodeType, CodeType]) -> None:
    parts = [[c for c in code.co_consts if isinstance(c, CodeType)] for code in (one, two, live)]
    for a, b, c in zip(*parts, strict=True):
        if a.co_name in ("<module>",) or _is_class(a):
            _differing(a, b, c, wanted)
        elif a != b:
            wanted[c] = b


def _is_class(code: CodeType) -> bool:
    return "__qualname__" in code.co_names and "__module__" in code.co_names


Check = tuple[str, Callable[[], tuple[str, Callable[[], str]]]]
"""A name, and what makes a text of what is generated and a call that tells what is wrong with it, or nothing."""


def checks_of(cells: list[sb.Cell]) -> Iterator[Check]:
    """Yield the checks of modules and loops, of options, models and numbers."""
    cases = Cases(0, NOTHING)
    settings = [PLAIN[1], MASKED]

    def of_kernel(target: Any, settings: Any, **options: Any) -> tuple[str, Callable[[], str]]:
        kernel = compile_cell(target, **options)
        return kernel.source, lambda: _line(subjects.of_kernel(target.name, kernel), settings, cases)

    def of_loops(cell: sb.Cell, passes: Any) -> tuple[str, Callable[[], str]]:
        program = program_of(derive(cell.step))
        return repr(lowered(program, passes, True).sweeps), lambda: _line(
            subjects.of_loops("", cell, program, passes), [LOOPS[1]], cases
        )

    def of_numbers(cell: sb.Cell) -> tuple[str, Callable[[], str]]:
        kernel = compile_cell(cell)

        def wrong() -> str:
            with mock.patch.object(checks, "REGIMES", [r for r in REGIMES if r.name == "saturated"]):
                return next((f"numeric: {row.block}" for row in checks.rows(kernel, 0) if not row.passed), "")

        return kernel.source, wrong

    for number, cell in enumerate(cells):
        yield f"module {number} {cell.name}", partial(of_kernel, cell, settings)
        yield f"loops {number} {cell.name}", partial(of_loops, cell, (place,))
        yield f"all passes {number} {cell.name}", partial(of_loops, cell, PASSES)
    yield "sqrt", partial(of_kernel, vanilla, settings[:1], memory="sqrt")
    yield "sqrt of a scan", partial(of_kernel, sb.zoo.min_gru, settings[:1], memory="sqrt")
    yield "window", partial(of_kernel, sb.zoo.gru, settings[:1], truncation=sb.Window(2))
    yield (
        "model",
        partial(of_kernel, sb.model(sb.zoo.min_gru, general_loss(sb.zoo.min_gru), reduction="mean"), settings),
    )
    yield "numbers", partial(of_numbers, sb.zoo.gru)


def reached(work: Callable[[], Any]) -> tuple[Any, set[str]]:
    """Return what a call returns, and which functions of the project it calls, by file and line."""
    seen: set[str] = set()

    def note(frame: Any, event: str, _: Any) -> None:
        if event == "call":
            seen.add(_place(frame.f_code))

    sys.setprofile(note)
    try:
        return work(), seen
    finally:
        sys.setprofile(None)


def _place(code: CodeType) -> str:
    return f"{Path(code.co_filename).name}:{code.co_firstlineno}"


def _line(subject: Any, settings: Any, cases: Cases) -> str:
    for setting in settings:
        line = line_of(subject, setting, cases)
        if line.wrong or line.note:
            return f"{setting.path}: {line.wrong or line.note}"
    return ""


def pages(cells: list[sb.Cell]) -> str:
    """Return what pages and graphs show of the cells, which the golden files of the tests hold for many more."""
    found = []
    for cell in cells:
        d, graph = sb.derive(cell), sb.unroll(cell, steps=2)
        shown = [*map(str, graph.nodes(data=True)), *map(str, graph.edges(data=True))]
        state, output = next(iter(cell.step.next)), [*cell.step.outputs, *cell.step.next][0]
        found += [
            d.text(),
            str(d.jacobian()),
            str(d.explain()),
            str(d.linearity(output)),
            str(d.paths(state, state, 2)),
            *sorted(shown),
        ]
    return "\n".join(found)


def of_table() -> str:
    """Return what is wrong with the derivatives of the table."""
    return ", ".join(rules.wrong_rules([op.name for op in ops.OPS if op.name not in rules.ALONE]))


def forked(work: Callable[[], str]) -> str:
    """Return the text that a call gives in a process of its own."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        signal.setitimer(signal.ITIMER_PROF, PATIENCE)
        # A process that waits for a lock of its parent, of JAX's threads for one, takes no processor time.
        signal.setitimer(signal.ITIMER_REAL, 10 * PATIENCE)
        try:
            text = work()
        except BaseException as error:
            text = f"caught: {type(error).__name__}: {str(error)[:80]}"
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        text = file.read()
    os.waitpid(child, 0)
    return text or "caught: does not end"


def outcome(mutant: Mutant, known: dict[str, tuple[str, list[str]]]) -> str:
    """Return in words what comes of a mutant; of the checks those that call the function, without an edit."""
    places = exchange(ROOT / mutant.file, mutant)
    if not places:
        return "not there: no function has this code"
    of_ops = mutant.file.endswith("ops.py")
    if of_ops and (wrong := of_table()):
        return f"caught: the table: {wrong}"
    text, seen = known["pages"]
    is_reached = of_ops
    if places & {*seen}:
        is_reached = True
        if pages(quick_cells()) != text:
            return "caught: a page differs"
    same = True
    for name, make in checks_of(quick_cells()):
        text, seen = known[name]
        # What a function of the table computes is asked for by what is proved and compared, not by what is made.
        if not places & {*seen} and not (of_ops and ("kinked" in name or name == "numbers")):
            continue
        is_reached = True
        made, wrong = make()
        if of_ops or made != text:
            problem = wrong()
            if problem:
                return f"caught: {name}: {problem}"[:150]
        same = same and made == text
    if not is_reached:
        return "not reached by the quick set"
    return "survives: the same texts" if same else "survives: other texts, proved"


def pristine_pages() -> str:
    """Return what pages show without an edit, and which functions that calls."""
    text, seen = reached(lambda: pages(quick_cells()))
    return json.dumps({"pages": (text, sorted(seen))})


def pristine() -> str:
    """Return what all other checks make without an edit, and which functions they call."""
    found: dict[str, Any] = {}
    for name, make in checks_of(quick_cells()):
        (made, wrong), seen = reached(make)
        assert not wrong(), name
        found[name] = made, sorted(seen)
    return json.dumps(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--count", type=int, default=300)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    for path in FILES:  # what is imported late must be there to be changed
        importlib.import_module(
            ".".join(path.relative_to(ROOT).with_suffix("").parts)
            .replace("codegen.", "symbptt.codegen.", 1)
            .removesuffix(".__init__")
        )
    found = [mutant for path in FILES for mutant in mutants(path)]
    random.Random(2026).shuffle(found)
    print(f"{len(found)} mutants in {len(FILES)} files", flush=True)
    start = time.perf_counter()
    # Each in a process of its own: what one has derived the other would not derive again.
    known = json.loads(forked(pristine_pages)) | json.loads(forked(pristine))
    print(f"without a mutant: {time.perf_counter() - start:.0f} s", flush=True)
    done = len(given.file.read_text().splitlines()) if given.file.exists() else 0
    with given.file.open("a") as file:
        for mutant in found[done : given.count]:
            said = forked(partial(outcome, mutant, known))
            row = {k: getattr(mutant, k) for k in ("file", "function", "line", "kind", "before", "after")} | {
                "outcome": said
            }
            print(json.dumps(row), file=file, flush=True)


if __name__ == "__main__":
    main()
