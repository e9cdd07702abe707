"""The command line. Heavy modules are imported by the commands that need them, so that `--help` answers at once."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import os
import sys
import tokenize
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from symbptt import __version__
from symbptt.errors import ArgumentError, SymbpttError, TargetError, one_line

FAILED, USER_ERROR, INTERRUPTED = 1, 2, 130
"""Exit codes: a verification that did not pass; a mistake in what the user gave."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich",
                  help="Backpropagation through time of any recurrent cell: derived, verified, as NumPy.")  # fmt: skip

Target = Annotated[
    str,
    typer.Argument(
        show_default=False,
        metavar="TARGET",
        help="A cell of the zoo, or path/to/cells.py:name (a model too, but for graph and build).",
    ),
]
Out = Annotated[Path | None, typer.Option("-o", "--output", show_default=False, help="File to write.")]


def main() -> None:
    """Run the command line of this process."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that lacks a letter shows a question mark
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; a user's mistake is one line on stderr."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *rest: say(f"warning: {one_line(message)}")
            return int(app(args=arguments or ["--help"], prog_name="symbptt", standalone_mode=False) or 0)
    except SymbpttError as error:
        return fail(error)
    except OSError as error:
        return fail(f"{error.strerror or error}" + (f": {error.filename}" if error.filename else ""))
    except MemoryError as error:
        return fail(f"not enough memory: {error}")
    except typer.Abort:
        say("interrupted")
        return INTERRUPTED
    except Exception as error:
        if not hasattr(error, "format_message"):  # what typer raises for a wrong command line has it, in each version
            raise
        return fail(f"{error.format_message()} (symbptt --help)")


def fail(message: object) -> int:
    """Print an error in one line and return the exit code for it."""
    say(f"error: {one_line(message)}")
    return USER_ERROR


def say(line: str) -> None:
    """Print a line on stderr."""
    print(line, file=sys.stderr)


def load(module: str) -> Any:
    """Return a module of symbptt: the one place where the command line imports what is heavy."""
    return importlib.import_module(f"symbptt.{module}")


@app.callback(invoke_without_command=True)
def options(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Run before each command."""
    if version:
        print(f"symbptt {__version__}")
        raise typer.Exit


@app.command()
def derive(target: Target, latex: Annotated[bool, typer.Option("--latex", help="As LaTeX.")] = False) -> None:
    """Print the equations of a cell, forward and backward in time."""
    derivation = load("derivation").derive(load_target(target, models=True))
    print(derivation.latex() if latex else derivation.text())


@app.command()
def graph(
    target: Target,
    steps: Annotated[int, typer.Option(help="How many steps to unroll.")] = 2,
    backward: Annotated[bool, typer.Option("--backward", help="With the adjoints.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", show_default=False, help=".svg, .png, .pdf, .json or .dot.")
    ] = None,
) -> None:
    """Print the unrolled computation as a table, or write it to a file."""
    unrolled = load("unrolling").unroll(load_target(target), steps=steps, backward=backward)
    if output is None:
        console().print(node_table(unrolled))
    elif output.suffix in (".json", ".dot"):
        text = load("report").graph_json(unrolled) if output.suffix == ".json" else load("report").graph_dot(unrolled)
        load("codegen.loading").write_text(output, text)
    else:
        load("plots").draw_unrolled(unrolled, output)


@app.command()
def generate(target: Target, output: Out = None) -> None:
    """Write the forward and the backward pass of a cell as a NumPy module."""
    kernel = load("codegen.loading").compile(load_target(target, models=True))
    if output is None:
        print(kernel.source, end="")
    else:
        kernel.save(output)


@app.command()
def verify(target: Target) -> int:
    """Check the generated module against the cell itself; exit code 1 where it is wrong."""
    cell = load_target(target, models=True)
    with stage() as tell:
        tell("verifying")
        report = load("verification").verify(cell)
    print(report)
    return 0 if report.passed else FAILED


@app.command()
def build(
    target: Target,
    data: Annotated[
        Path | None, typer.Option(show_default=False, help="CSV whose columns are the inputs; random ones without.")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write into.")] = Path("out"),
    hidden: Annotated[int, typer.Option(help="Each size that the data do not say.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Of the parameters.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace files that symbptt did not write.")] = False,
) -> int:
    """Write equations, module, verification and drawings of a cell into a folder, and print a summary.

    Files of an earlier build are replaced, all others in the folder are left alone.
    """
    cell = load_target(target)
    with stage() as tell:
        table = load("table").read_table(data) if data is not None else None
        summary = load("report").build(cell, table, output, hidden=hidden, seed=seed, force=force, tell=tell)
    console().print(summary_table(summary.rows))
    return 0 if summary.passed else FAILED


@app.command()
def bench(
    target: Target,
    sizes: Annotated[
        str, typer.Option(help="T,B,n;... or T,B,m=8,n=64;...: steps, samples, and the sizes of the cell.")
    ] = "100,1,16; 100,32,64; 50,32,128; 50,64,256",
    float64: Annotated[bool, typer.Option("--float64", help="In float64 instead of float32.")] = False,
    seconds: Annotated[float, typer.Option(min=0, help="Least time for each of the sizes.")] = 2.0,
    default_threads: Annotated[
        bool, typer.Option("--default-threads", help="As many threads as each library takes, by the clock.")
    ] = False,
    output: Annotated[
        list[Path] | None,
        typer.Option("-o", "--output", show_default=False, help=".csv, or .png, .svg, .pdf; may be repeated."),
    ] = None,
) -> None:
    """Time forward and backward pass beside the bare matrix products, torch and JAX, in turns, on one thread.

    Peers run the same cell, traced and written over a batch: a loop in torch, jax.jit of a scan. Their results are
    compared with ours first; a peer that is not installed, cannot run the cell or computes otherwise is told in the notes.
    """
    cell = load_target(target)
    threads = contextlib.nullcontext() if default_threads else load("bench.threads").one_thread()
    command = load("bench.command")
    files = command.check_files(output or [])
    with threads, stage() as tell:
        rows = command.rows_of(cell, sizes, "float64" if float64 else "float32", seconds, default_threads, tell)
    table = load("bench.rows")
    shown = Table(*table.columns(rows))
    for line in table.texts(rows):
        shown.add_row(*map(Text, line))
    console().print(shown)
    command.write(rows, files)


@app.command()
def analyze(
    targets: Annotated[
        list[str],
        typer.Argument(show_default=False, metavar="TARGET...", help="Cells, as for build; several are compared."),
    ],
    data: Annotated[
        Path | None, typer.Option(show_default=False, help="CSV whose columns are the inputs; random ones without.")
    ] = None,
    hidden: Annotated[
        int | None, typer.Option(min=1, show_default=False, help="Each size that the data do not say: 32, or as fits.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="One cell: of all that is drawn.")] = 0,
    horizon: Annotated[
        float | None, typer.Option(min=1, show_default=False, help="One cell: an initialisation for so many steps.")
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option(show_default=False, help="Of each dimension that the data do not say, with commas: 32."),
    ] = None,
    gains: Annotated[
        str | None, typer.Option(show_default=False, help="Factors on the recurrent weights, with commas: 1.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, show_default=False, help="How many draws of the parameters: 3.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, show_default=False, help="Of runs without data: 200 for one cell, else 1000.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", show_default=False, help="One cell: folder to write into; several: .csv or .parquet."
        ),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(show_default=False, help="File of the figure: .svg, .png, .pdf.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Processes at work at once; -1 for one on each core.")] = 1,
    scheduler: Annotated[
        str | None, typer.Option(show_default=False, metavar="ADDRESS", help="Of a Dask cluster that does the work.")
    ] = None,
) -> int:
    """Report the stability of a cell or a model; compare it for several cells, or over sizes, gains and seeds.

    One target: verdict, reasons, advice; with -o written as stability.txt, .json and .svg. Several, or with --sizes, --gains
    or --seeds: a table; exit code 1 where a row failed. Rows that its file has already are not measured again.
    """
    several = len(targets) > 1 or any(option is not None for option in (sizes, gains, seeds, scheduler)) or jobs != 1
    if not several and (output is None or not output.suffix):
        return report(targets[0], data, hidden, seed, horizon, steps, output, figure)
    check_unused({"--horizon": horizon is not None, "--seed": seed != 0}, "a comparison; --seeds draws its cells")
    found_sizes, found_gains = (
        numbers("--sizes", str(hidden or 32) if sizes is None else sizes, int),
        numbers("--gains", "1" if gains is None else gains, float),
    )
    grid = load("compare.grid").Grid(found_sizes, found_gains, seeds or 3, steps)
    cells = {label: load_target(target) for label, target in labels(targets).items()}
    found = load("compare.comparison").compare_designs(cells, data, grid, output=output, jobs=jobs, scheduler=scheduler)
    wide, table = console(), load("compare.table")
    wide.width = max(wide.width, table.WIDTH)  # on a narrower terminal its lines are broken, not its numbers
    wide.print(table.comparison_table(found.rows))
    if figure is not None:
        load("figures").save(found.plot(), figure)
    return FAILED if found.failed else 0


def report(
    name: str, data: Path | None, hidden: int | None, seed: int, horizon: float | None, steps: int | None, output: Path | None,
    figure: Path | None,
) -> int:  # fmt: skip
    """Print the stability report of one target, and write it where that is asked for."""
    target, written = load_target(name, models=True), load("stability.written")
    with stage() as tell:
        table = load("table").read_table(data) if data is not None else None
        found = written.analysed(target, table, hidden, steps, horizon, seed, tell)
        for path in written.write_report(found, output, figure):
            say(f"wrote {path}")
    print(found.text(), end="")
    return 0


def check_unused(given: dict[str, bool], where: str) -> None:
    """Refuse options that would be ignored. Raises: ArgumentError."""
    for option, there in given.items():
        if there:
            raise ArgumentError(f"{option} is not an option for {where}")


def numbers(option: str, text: str, kind: type) -> list[Any]:
    """Return the numbers of an option that takes several."""
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise ArgumentError(f"{option}: numbers with commas between them, got {text!r}") from None


def labels(targets: list[str]) -> dict[str, str]:
    """Return targets by what they are called: their names, or in full where two have the same."""
    names = [target.rpartition(":")[2] for target in targets]
    return {name if names.count(name) == 1 else target: target for name, target in zip(names, targets, strict=True)}


@app.command()
def zoo() -> None:
    """List the cells of the zoo: states, inputs, how many numbers are trained, character."""
    table = Table("cell", "states", "inputs", "parameters", "character")
    shape = load("ir.shape")
    for name, cell in load("zoo").CELLS.items():
        of = {role: [a for a in cell.arguments if a.role == role] for role in ("state", "input", "index", "param")}
        states = ", ".join(f"{a.name} {shape.show(a.shape)}" for a in of["state"])
        inputs = ", ".join(f"{a.name} {shape.show(a.shape)}" for a in of["input"] + of["index"])
        character = (cell.__doc__ or "").strip().splitlines()[0]
        count = shape.size_text(shape.size(sum(shape.prod(a.shape) for a in of["param"])))
        table.add_row(*map(Text, (name, states, inputs, count, character)))
    console().print(table)


@contextlib.contextmanager
def stage() -> Iterator[Any]:
    """Show on a terminal what is being done; elsewhere nothing."""
    with Console(stderr=True).status("") as status:
        yield lambda text: status.update(Text(text))


def console() -> Console:
    """Return where tables are printed: the terminal, or 120 columns where there is none."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if known else 120)


def summary_table(rows: Any) -> Table:
    """Return pairs as a table."""
    table = Table(show_header=False)
    for name, value in rows:
        table.add_row(Text(name, style="bold"), Text(value))
    return table


def node_table(unrolled: Any) -> Table:
    """Return the nodes of an unrolled graph as a table."""
    table = Table("node", "role", "shape", "expression")
    show = load("ir.shape").show
    for (name, t), data in unrolled.nodes(data=True):
        cells = (name if t is None else f"{name} {t}", data["role"], show(data["shape"]), data["expression"])
        table.add_row(*map(Text, cells))
    return table


def load_target(target: str, models: bool = False) -> Any:
    """Return the cell that a target names, or where `models` are allowed the model.

    Raises: TargetError where there is none; CellError where its file defines a cell wrongly.
    """
    file, colon, name = target.rpartition(":")
    if colon and (file.endswith(".py") or Path(file).exists() or os.sep in file):
        return _member(_from_file(Path(file)), name, f"{file} has no cell {name!r}", models)
    if target.endswith(".py") or Path(target).is_file():
        cells = ", ".join(_cells(_from_file(Path(target)))) or "none"
        raise TargetError(f"which cell of {target}? write {target}:NAME\n  it has {cells}")
    return _member(load("zoo").CELLS, target, f"the zoo has no cell {target!r}")


def _cells(members: dict[str, Any], models: bool = False) -> list[str]:
    kinds = (load("cell").Cell, *([load("model").Model] if models else []))
    return [name for name, value in members.items() if isinstance(value, kinds)]


def _member(members: dict[str, Any], name: str, missing: str, models: bool = False) -> Any:
    cells = _cells(members, models)
    if name in cells:
        return members[name]
    if name in members:
        kind = type(members[name]).__name__
        if kind == "Model":
            raise TargetError(f"{name} is a model, a cell is expected here\n  give the name of the cell in it")
        raise TargetError(f"{name} is no cell but a {kind}\n  decorate the function with @sb.cell")
    near = difflib.get_close_matches(name, cells, 1)
    raise TargetError(
        missing + (f"\n  did you mean {near[0]}?" if near else f"\n  it has {', '.join(cells) or 'none'}")
    )


def _from_file(path: Path) -> dict[str, Any]:
    """The names that a Python file defines; its folder can be imported from meanwhile, as for a script."""
    _check_source(path)
    load("functions")
    spec = importlib.util.spec_from_file_location(f"symbptt_target_{path.stem}", path.resolve())
    if spec is None or spec.loader is None:
        raise TargetError(f"{path} is no Python file\n  its name must end with .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except SymbpttError:
        raise
    except (Exception, SystemExit) as error:
        what = error.msg if isinstance(error, SyntaxError) else error
        raise TargetError(f"{path} raised {type(error).__name__}{_line(error, path)}: {what}") from error
    finally:
        sys.path.remove(str(path.resolve().parent))
    return vars(module)


def _check_source(path: Path) -> None:
    if path.is_dir():
        raise TargetError(f"{path} is a folder, a Python file is expected")
    try:
        with tokenize.open(path) as file:
            file.read()
    except FileNotFoundError:
        raise TargetError(f"there is no file {path}") from None
    except (SyntaxError, UnicodeDecodeError):
        raise TargetError(f"{path} is not UTF-8") from None
    except OSError as error:
        raise TargetError(f"cannot read {path}: {error.strerror or error}") from None


def _line(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError) and error.lineno:
        return f" at line {error.lineno}"
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path.resolve())
    ]
    return f" at line {lines[-1]}" if lines else ""
