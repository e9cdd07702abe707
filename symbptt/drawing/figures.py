"""Figures of matplotlib, an optional package: imported here, made here and written here, the same bytes at each run."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from symbptt.errors import ArgumentError, SymbpttError
from symbptt.extras import cure
from symbptt.files import write_bytes

LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Colours that colour-blind people can tell apart. Source: Okabe, Ito 2008, "Color universal design"."""
MARKS = ("-", "--", "-.", ":")
METADATA: dict[str, dict[str, str | None]] = {
    "svg": {"Creator": "symbptt", "Date": None}, "pdf": {"Creator": "symbptt", "CreationDate": None},
    "png": {"Software": "symbptt"}, "eps": {"Creator": "symbptt"}, "ps": {"Creator": "symbptt"},
}  # fmt: skip
"""The statement of origin in a file, by which `origin` recognises it; it contains no time."""


def need_matplotlib() -> Any:
    """Return matplotlib, imported with what is used of it.

    Raises: SymbpttError where it is not installed.
    """
    try:
        import matplotlib
        import matplotlib.figure
        import matplotlib.font_manager
        import matplotlib.lines
        import matplotlib.patches
        import matplotlib.path
        import matplotlib.textpath
        import matplotlib.ticker
    except ImportError as error:
        raise SymbpttError(
            f"drawings need matplotlib, which is not installed\n  {cure('matplotlib', 'plot')}"
        ) from error
    return matplotlib


def new_figure(width: float, height: float, layout: str | None = None) -> Any:
    """Return an empty figure, its size in inches, which pyplot knows nothing of."""
    # pyplot would keep a reference to each of its figures, and choose a backend.
    return need_matplotlib().figure.Figure(figsize=(width, height), layout=layout)


def save(figure: Any, path: str | Path, *, tight: bool = True) -> None:
    """Write a figure into a file of the type that its name ends with; an SVG is the same bytes at each run. `tight` cuts off
    what is empty around it.

    Raises: ArgumentError for another ending; TargetError where the file cannot be written.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    known = figure.canvas.get_supported_filetypes()
    if kind not in known:
        raise ArgumentError(f"no drawing can be written as {path.name!r}\n  endings: {', '.join(sorted(known))}")
    metadata = METADATA.get(kind)
    drawn = io.BytesIO()
    # Without a fixed salt the ids in an SVG are random, and equal drawings would differ in bytes.
    with need_matplotlib().rc_context({"svg.hashsalt": "symbptt"}):
        figure.savefig(
            drawn,
            format=kind,
            metadata=metadata,
            dpi=150,
            **({"bbox_inches": "tight", "pad_inches": 0.12} if tight else {}),
        )
    write_bytes(path, drawn.getvalue())
