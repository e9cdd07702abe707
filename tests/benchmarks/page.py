"""The page of the committed benchmark, from the measured rows."""

import importlib.metadata
import math
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from symbptt.bench.measure import Row, best_peer
from symbptt.bench.rows import markdown, ratio_figure
from symbptt.drawing.figures import save

LIBRARIES = ("symbptt", "numpy", "torch", "jax", "jaxlib")


@dataclass(frozen=True)
class Measured:
    """Rows of the workers: cases on one thread, on default threads, growth, products; and what failed."""

    cases: list[dict]
    default: list[dict]
    growth: list[dict]
    products: list[dict]
    failures: list[str]
    bare: list[dict] = field(default_factory=list)


def row_of(data: dict) -> Row:
    return Row(**{k: v for k, v in data.items() if k != "setting"})


def draw(found: Measured, path: Path) -> None:
    """Draw the widths that were measured with at least 32 samples, float32, one thread."""
    rows = [row_of(data) for data in found.cases if data["dtype"] == "float32" and data["B"] == 32]
    save(ratio_figure(rows, "Forward and backward pass over bare matrix products: B = 32, float32, one thread"), path)


def page(found: Measured, command: str) -> str:
    """Return the page as Markdown."""
    rows = [row_of(data) for data in found.cases]
    default = [row_of(data) for data in found.default]
    parts = [
        "# Benchmarks",
        INTRODUCTION,
        f"```sh\npip install -e '.[bench,peers]'\n{command}\n```",
        machine(found.products),
        "![time over that of the bare matrix products, against n](benchmarks.png)",
        "## Geometric means",
        means(rows),
    ]
    for dtype in dict.fromkeys(row.dtype for row in rows):
        parts += [f"## One thread, {dtype}", table([row for row in rows if row.dtype == dtype])]
    if default:
        parts += ["## As many threads as each library takes", DEFAULT, table(default)]
    if found.bare:
        parts += ["## The bare product in each library", BARE, bare(found.bare)]
    parts += ["## Growth", growth(found.growth), "## Kernels of OpenBLAS", CORETYPE, products(found.products)]
    if found.failures:
        parts += ["## Not measured", "\n".join(f"* {failure}" for failure in found.failures)]
    return "\n\n".join(part for part in parts if part) + "\n"


INTRODUCTION = """Ratios of times of one forward and backward pass with the gradients of all parameters, inputs and first
states, for a loss that reads `h` at every step: symbptt's generated module over others on the same data, below 1 where symbptt is faster. The *floor* is the
bare matrix products that the two sweeps cannot do without, in NumPy, packed and moved out of the loop where that can
be; a ratio of 1 to it would mean that all else costs nothing. *torch module* is `nn.RNN`, `nn.LSTM`, `nn.GRU`; *torch loop*
is the cell in a Python loop over steps; *jax scan* is `jax.jit` of `lax.scan` with its reverse derivative. The cells are
`rnn`, `lstm`, `gru` and five that nothing in the library knows (`tests/benchmarks/cells.py`); T steps, B samples, n inputs
and n units. All run in one process in turns, in an
order that is drawn anew in each round (the seed is fixed); a ratio is the median over the rounds of the ratios within a round.
*In a row*: each is called again and again, as a loop of training calls it, and a ratio is that of the medians. Time is the
processor's, on one thread, except where the page says otherwise. States and gradients are compared before they are timed."""

BARE = """Milliseconds of T products (B, n) by (n, n), one after the other, and NumPy's time over each of the others': what of a
ratio above is the library's product alone."""

DEFAULT = """By the clock. With other programs on the machine these vary more than the rows of one thread."""

CORETYPE = """OpenBLAS, which NumPy's wheels contain, chooses its kernels by the processor's model. The environment
variable `OPENBLAS_CORETYPE`, set before Python starts, overrides that choice; some machines come with it set. Below are the times on this
processor with the choice of OpenBLAS itself and with settings that the processor's instructions allow. It is a finding about
this processor and this version of OpenBLAS, no general advice: measure before you set it. A setting whose instructions
a processor lacks ends the program. All other tables of this page were measured without it."""


def table(rows: Sequence[Row]) -> str:
    others = [
        name for name in ("floor", "torch module", "torch loop", "jax scan") if any(name in r.ratios for r in rows)
    ]
    head = ["cell", "T, B, n", "ours (ms)", *(f"/ {name}" for name in others), "/ fastest peer", "the same, in a row"]
    body = [
        [row.cell, row.sizes, f"{row.milliseconds['ours']:.3g}"]
        + [ratio(row.ratios.get(name)) for name in others]
        + [ratio(best_peer(row)), ratio(max((v for k, v in row.in_a_row.items() if k != "floor"), default=None))]
        for row in rows
    ]
    notes = [f"* {row.cell}, {row.sizes}, {row.dtype}: {note}" for row in rows for note in row.notes]
    return markdown(head, body) + ("\n\n" + "\n".join(notes) if notes else "")


def ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


GROUPS: tuple[tuple[str, Callable[[Row], bool], Callable[[Row], float | None]], ...] = (
    ("over the fastest peer, n ≥ 64 and B ≥ 32", lambda r: r.width >= 64 and r.B >= 32, best_peer),
    ("over the floor, n ≥ 128", lambda r: r.width >= 128, lambda r: r.ratios.get("floor")),
    ("over the torch loop, five custom cells", lambda r: r.cell not in ("rnn", "lstm", "gru"), lambda r: r.ratios.get("torch loop")),
    ("over the torch loop, all", lambda r: True, lambda r: r.ratios.get("torch loop")),
    ("over the JAX scan, all", lambda r: True, lambda r: r.ratios.get("jax scan")),
)  # fmt: skip


def means(rows: Sequence[Row]) -> str:
    """Geometric mean and largest ratio of each group of rows, by type."""
    head, body = ["ratio", "dtype", "cases", "geometric mean", "largest", "where"], []
    for what, wanted, value in GROUPS:
        for dtype in dict.fromkeys(row.dtype for row in rows):
            found = [(v, row) for row in rows if row.dtype == dtype and wanted(row) and (v := value(row)) is not None]
            if found:
                top, row = max(found, key=lambda pair: pair[0])
                mean = math.exp(sum(math.log(v) for v, _ in found) / len(found))
                body.append([what, dtype, str(len(found)), f"{mean:.2f}", f"{top:.2f}", f"{row.cell}, {row.sizes}"])
    return markdown(head, body)


def bare(rows: Sequence[dict]) -> str:
    """The time of the bare product in each library."""
    names = list(dict.fromkeys(name for row in rows for name in row["milliseconds"]))
    others = [name for name in names if name != "NumPy"]
    head = ["T, B, n", *(f"{name} (ms)" for name in names), *(f"NumPy / {name}" for name in others)]
    body = []
    for row in rows:
        ms = row["milliseconds"]
        body.append([row["sizes"], *(f"{ms[name]:.3g}" if name in ms else "-" for name in names)]
                    + [ratio(ms["NumPy"] / ms[name] if name in ms else None) for name in others])  # fmt: skip
    return markdown(head, body)


def growth(rows: Iterable[dict]) -> str:
    """Our time at growing T, B and n, each over the line before."""
    head, body, before = ["cell", "T, B, n", "ours (ms)", "over the line before"], [], None
    for row in rows:
        same = before is not None and sum(a != b for a, b in zip(_sizes(before), _sizes(row), strict=True)) == 1
        grown = f"{row['milliseconds'] / before['milliseconds']:.2f}" if same and before else "-"
        body.append([row["cell"], ", ".join(_sizes(row)), f"{row['milliseconds']:.3g}", grown])
        before = row
    return markdown(head, body)


def _sizes(row: dict) -> list[str]:
    return row["sizes"].split(",")


def products(rows: Sequence[dict]) -> str:
    head = ["cell", "T, B, n", "OPENBLAS_CORETYPE", "library and kernels", "floor (ms)", "ours (ms)"]
    ordered = sorted(rows, key=lambda row: (row["cell"], row["sizes"]))
    return markdown(
        head,
        (
            [row["cell"], row["sizes"], row["setting"] or "not set", row["library"]]
            + [f"{row['milliseconds'][name]:.3g}" for name in ("floor", "ours")]
            for row in ordered
        ),
    )


def machine(products: Sequence[dict]) -> str:
    """What the ratios depend on: processor, cores, libraries; no name or path of the machine."""
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    blas = next((row["library"] for row in products if not row["setting"]), "unknown")
    return (
        f"Processor: {processor()}, {os.cpu_count()} logical cores. {platform.system()}, "
        f"Python {platform.python_version()}; {versions}; NumPy's products: {blas}."
    )


def version(name: str) -> str:
    """The version of an installed library; of symbptt the checkout's."""
    if name == "symbptt":
        import symbptt

        return symbptt.__version__
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.machine()
