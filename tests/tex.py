"""pdflatex over pages of equations: what does not compile, and what is wider than the text."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PDFLATEX = shutil.which("pdflatex")
"""Debian's texlive-latex-base has it; where it lacks, the reader of LaTeX alone says whether pages are right."""


@dataclass(frozen=True)
class Found:
    """What TeX says: errors and boxes that are too wide (with by how many points), each with the page where it was; and how
    many sheets of paper there are."""

    errors: tuple[tuple[str, str], ...]
    wide: tuple[tuple[str, float], ...]
    high: tuple[tuple[str, float], ...]
    sheets: int


def document(pages: Mapping[str, str], width: float) -> str:
    """An article of 10 pt that loads amsmath and nothing else."""
    body = "\n".join(rf"\typeout{{PAGE {name}}}Before." + "\n" + page + "\nAfter.\n" for name, page in pages.items())
    return (
        rf"\documentclass[10pt]{{article}}\usepackage{{amsmath}}\textwidth={width}pt\textheight=550pt\hfuzz=0.5pt"
        + "\n"
        r"\begin{document}" + "\n" + body + "\n" + r"\end{document}" + "\n"
    )


def compiled(pages: Mapping[str, str], folder: Path, width: float = 345) -> Found:
    """Run pdflatex on pages, one after another."""
    source = folder / "pages.tex"
    source.write_text(document(pages, width), "utf-8")
    command = [str(PDFLATEX), "-interaction=nonstopmode", "-no-shell-escape", source.name]
    environment = {
        "PATH": str(Path(str(PDFLATEX)).parent) + ":/usr/bin:/bin",
        "HOME": str(folder),
        "max_print_line": "2000",
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=300, check=False)
    log = done.stdout.decode("utf-8", "replace")
    page, errors, wide, high = "", [], [], []
    for line in log.splitlines():
        if line.startswith("PAGE "):
            page = line.removeprefix("PAGE ").split()[0]
        elif line.startswith("! "):
            errors.append((page, line))
        elif match := re.match(r"Overfull \\hbox \(([\d.]+)pt too wide\)", line):
            wide.append((page, float(match[1])))
        elif match := re.match(r"Overfull \\vbox \(([\d.]+)pt too high\)", line):
            high.append((page, float(match[1])))
    sheets = re.search(r"\((\d+) pages?,", log)
    return Found(tuple(errors), tuple(wide), tuple(high), int(sheets[1]) if sheets else 0)
