"""The command line. Heavy modules are imported by the commands that need them, so that `--help` answers at once."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from symbptt.commands.analyze import analyze
from symbptt.commands.check import Domain, More, check
from symbptt.commands.compile_options import ClipAdjoint, Consts, Memory, Truncation, compile_options
from symbptt.commands.generate import generate
from symbptt.commands.load_target import load, load_target
from symbptt.commands.terminal import FAILED, INTERRUPTED, USER_ERROR, Force, console, say, stage
from symbptt.commands.trace import trace
from symbptt.errors import ArgumentError, SymbpttError, TargetError, one_line
from symbptt.files import check_own
from symbptt.version import VERSION

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich",
                  help="Backpropagation through time of any recurrent cell: derived, verified, as NumPy.")  # fmt: skip

Target = Annotated[
    str,
    typer.Argument(
        show_default=False,
        metavar="TARGET",
        help="A cell of the zoo, or a cell or a model as path/to/cells.py:name.",
    ),
]
CellTarget = Annotated[
    str,
    typer.Argument(show_default=False, metavar="TARGET", help="A cell of the zoo, or path/to/cells.py:name; no model."),
]


def main() -> None:
    """Run the command line of this process."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that lacks a letter shows a question mark
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError as error:  # what was printed is not where it should be: a full disk, a closed pipe
        code = fail(f"cannot write the output: {error.strerror or error}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would try it again at its end
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; a user's mistake is one line on stderr."""
    try:
        with warnings.catch_warnings():
            # A warning of the library is one line for a user of the command line, without a source line of ours.
            warnings.showwarning = lambda message, *rest: say(f"warning: {one_line(message)}")
            code = int(app(args=arguments or ["--help"], prog_name="symbptt", standalone_mode=False) or 0)
            return code if code != INTERRUPTED else interrupted()
    except SymbpttError as error:
        return fail(error)
    except OSError as error:
        return fail(f"{error.strerror or error}" + (f": {error.filename}" if error.filename else ""))
    except MemoryError as error:
        return fail(f"not enough memory: {error}")
    except (typer.Abort, KeyboardInterrupt):  # versions of typer differ in what becomes of Ctrl-C
        return interrupted()
    except Exception as error:
        if not hasattr(error, "format_message"):  # what typer raises for a wrong command line has it, in each version
            raise
        return fail(f"{error.format_message()} (symbptt --help)")


def interrupted() -> int:
    """Tell of Ctrl-C and return the exit code for it."""
    say("interrupted")
    return INTERRUPTED


def fail(message: object) -> int:
    """Print an error in one line and return the exit code for it."""
    say(f"error: {one_line(message)}")
    return USER_ERROR


@app.callback(invoke_without_command=True)
def options(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Run before each command."""
    if version:
        print(f"symbptt {VERSION}")
        raise typer.Exit


@app.command()
def derive(
    target: Target,
    other: Annotated[
        str, typer.Argument(show_default=False, help="A second cell: what changes from one to the other.")
    ] = "",
    latex: Annotated[bool, typer.Option("--latex", help="As LaTeX.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", show_default=False, help="File to write: .tex, .md, .html or .mathml."),
    ] = None,
    force: Force = False,
) -> None:
    """Print the equations of a cell, forward and backward in time, or write them to a file; of two cells what changes."""
    if other:
        if latex or output is not None:
            raise ArgumentError("what changes between two cells is printed as text\n  leave out --latex and -o")
        print(load("derivations.cell_comparison").compare(load_target(target), load_target(other)).text())
        return
    if output is not None:
        load("derivations.files").check_ending(output)
        check_own([output], force)
    derivation = load("derivations.derivation").derive(load_target(target, models=True))
    if output is not None:
        load("files").write_text(output, load("derivations.files").page_as(derivation, output))
    else:
        print(derivation.latex() if latex else derivation.text())


@app.command()
def graph(
    target: Target,
    steps: Annotated[int, typer.Option(help="How many steps to unroll.")] = 2,
    backward: Annotated[bool, typer.Option("--backward", help="With the adjoints.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", show_default=False, help=".svg, .png, .pdf, .eps; .json, .dot, .graphml, .gml."),
    ] = None,
    saved: Annotated[
        bool, typer.Option("--saved/--no-saved", help="With the lines of what is kept for the backward pass.")
    ] = True,
    width: Annotated[str, typer.Option(help="Of a drawing: double, or single for one column of a page.")] = "double",
    force: Force = False,
) -> None:
    """Print the unrolled computation as a table, or write it to a file."""
    if steps == 0:
        raise TargetError("nothing happens in 0 steps\n  --steps 1 or more")
    check_own([output] if output else [], force)
    unrolled = load("drawing.unrolled").unroll(load_target(target, models=True), steps=steps, backward=backward)
    if output is None:
        console().print(node_table(unrolled))
    else:
        load("drawing.graph").write_unrolled(unrolled, output, saved=saved, width=width)


app.command()(generate)


@app.command()
def plan(
    target: Target,
    sizes: Annotated[
        str, typer.Option(show_default=False, help="T,B,n or T,B,m=8,n=64: steps, samples, and the sizes of the cell.")
    ] = "",
    truncation: Truncation = "",
    memory: Memory = "all",
    clip_adjoint: ClipAdjoint = None,
    const: Consts = None,
    float64: Annotated[bool, typer.Option("--float64", help="In float64 instead of float32.")] = False,
) -> None:
    """Print where each product of the module runs, how often, what is kept, and what share of time that takes.

    In symbols; in numbers for each of the sizes that are given.
    """
    cell = load_target(target, models=True)
    asked = load("bench.sizes").sizes_of(sizes, cell) if sizes else ()
    options = compile_options(truncation, memory, clip_adjoint, const)
    found = load("codegen.kernel").compile(cell, **options).plan
    dtype = "float64" if float64 else "float32"
    texts = [found.table(one.T, one.B, dtype=dtype, **one.dims) for one in asked] or [str(found)]
    print("\n\n".join(texts))


@app.command()
def verify(
    target: Annotated[
        str,
        typer.Argument(
            show_default=False,
            metavar="TARGET",
            help="A cell of the zoo, or a cell or a model as path/to/cells.py:name; or a module that symbptt wrote, path/to/gru_bptt.py.",
        ),
    ],
    more: More = None,
    domain: Domain = None,
    cell: Annotated[
        str, typer.Option(show_default=False, help="Of a module: where its cell or model is, path/to/cells.py:name.")
    ] = "",
    proof: Annotated[
        bool, typer.Option("--proof/--no-proof", help="Prove it over a field, and measure its rounding too.")
    ] = True,
    language: Annotated[
        str, typer.Option("--target", help="numpy: the module; c: the kernel whose sweeps are in C.")
    ] = "numpy",
) -> int:
    """Check the generated module, or one in a file as it stands, or the kernel in C, against the cell itself; exit code 1 where it is
    wrong, or a block was compared nowhere."""
    path = Path(target)
    module = path if cell or (path.is_file() and load("files").is_module(path)) else None
    saved = load("verification.saved").read_module(module) if module is not None else None
    compared = load("commands.saved_target").target_of(saved, cell) if saved else load_target(target, models=True)
    where = load("verification.domains").domain_of([*(domain or []), *(more or [])])
    with stage() as tell:
        tell("verifying")
        report = load("verification.checks").verify(compared, domain=where, proof=proof, module=module, target=language)
    print(report)
    return 0 if report.passed else FAILED


@app.command()
def build(
    target: CellTarget,
    data: Annotated[
        Path | None, typer.Option(show_default=False, help="CSV whose columns are the inputs; random ones without.")
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder to write into, made where it is not there.")
    ] = Path("out"),
    hidden: Annotated[int, typer.Option(help="Each size that the data do not say.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Of the parameters.")] = 0,
    force: Force = False,
) -> int:
    """Write equations, module, verification and drawings of a cell into a folder, and print a summary.

    Files of an earlier build are replaced, all others in the folder are left alone.
    """
    cell = load_target(target)
    where = ["--data", str(data)] if data is not None else []
    sizes = ["--hidden", str(hidden), "--seed", str(seed)]
    command = shlex.join(["symbptt", "build", target, *where, "-o", str(output), *sizes])
    with stage() as tell:
        table = load("data.csv_table").read_table(data) if data is not None else None
        build_folder = load("commands.build").build
        summary = build_folder(cell, table, output, hidden=hidden, seed=seed, force=force, tell=tell, command=command)
    console().print(summary_table(summary.rows))
    return 0 if summary.passed else FAILED


@app.command()
def bench(
    target: CellTarget,
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
    force: Force = False,
) -> None:
    """Time forward and backward pass beside the bare matrix products, torch and JAX, in turns, on one thread.

    Peers run the same cell, traced and written over a batch: a loop in torch, jax.jit of a scan. Their results are
    compared with ours first; a peer that is not installed, cannot run the cell or computes otherwise is told in the notes.
    """
    cell = load_target(target)
    threads = contextlib.nullcontext() if default_threads else load("bench.threads").one_thread()
    command = load("commands.bench")
    files = command.check_files(output or [], force)
    with threads, stage() as tell:
        rows = command.rows_of(cell, sizes, "float64" if float64 else "float32", seconds, default_threads, tell)
    table = load("bench.rows")
    shown = Table(*table.columns(rows))
    for line in table.texts(rows):
        shown.add_row(*map(Text, line))
    console().print(shown)
    command.write(rows, files)


app.command()(analyze)
app.command()(check)
app.command()(trace)


@app.command()
def report(
    target: Target,
    output: Annotated[Path, typer.Option("-o", "--output", help="The page to write, .html.")] = Path("report.html"),
    seed: Annotated[int, typer.Option(min=0, help="Of the parameters and the inputs.")] = 0,
    force: Force = False,
) -> int:
    """Write one page about a cell: equations, graph, Jacobian, plan, proof, stability and code, for a browser without a network."""
    check_own([output], force)
    cell = load_target(target, models=True)
    with stage() as tell:
        found = load("webpage.contents").write_report(cell, output, target, seed=seed, tell=tell)
    print(f"{output}: {found.verdict}, {len(found.rows)} comparisons")
    return 0 if found.passed else FAILED


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


def summary_table(rows: Any) -> Table:
    """Return pairs as a table."""
    table = Table(show_header=False)
    for name, value in rows:
        table.add_row(Text(name, style="bold"), Text(value))
    return table


def node_table(unrolled: Any) -> Table:
    """Return the nodes of an unrolled graph as a table, step by step."""
    table = Table("step", "node", "role", "shape", "expression", "reads")
    last: int | None = -1
    for node in load("drawing.exchange").sorted_nodes(unrolled):
        data, t = unrolled.nodes[node], node[1]
        reads = ", ".join(unrolled.nodes[read]["symbol"] for read in unrolled.predecessors(node))
        step = "" if t == last else "all" if t is None else str(t)
        table.add_row(*map(Text, (step, data["symbol"], data["role"], data["shape"], data["expression"], reads)))
        last = t
    return table
