"""The mathematics font that a page brings for machines that have none: without one, Chromium sets sums and brackets too small and
indices apart from their letters."""

from __future__ import annotations

from base64 import b64encode
from importlib.resources import files

FILE = "math.woff2"
FAMILY = "symbptt Math"
INSTALLED = ("Latin Modern Math", "STIX Two Math", "Cambria Math", "Libertinus Math", "DejaVu Math TeX Gyre")
"""Fonts that are taken in its place where a machine has one of them."""


def _run(first: int, last: int) -> str:
    return "".join(map(chr, range(first, last + 1)))


# U+03A2 is unassigned.
GREEK = _run(0x391, 0x3A1) + _run(0x3A3, 0x3A9) + _run(0x3B1, 0x3C9) + "ϑϕϖϰϱϵ"
# U+1D455 is reserved: the italic h is U+210E, the sign of Planck's constant.
ITALIC = _run(0x1D434, 0x1D454) + "ℎ" + _run(0x1D456, 0x1D467) + _run(0x1D6E2, 0x1D71B)
"""The letter that MathML shows for one letter alone."""
SIGNS = "±·×−∂∇∑∏√∞∈∧∨¬≤≥≠⊙⊤→⟨⟩⌊⌋‖…′ℓℏ∘⊇½²³¯˙¨ˆ˜´ˇ˘˚∗⋆⋯↦"
LETTERS = _run(0x20, 0x7E) + GREEK + ITALIC + SIGNS
"""The letters of the file: a subset of Latin Modern Math by B. Jackowski, P. Strzelczyk and P. Pianowski, under another name, as its
licence asks; `tests/math_font.py` makes it."""


def font_face() -> str:
    """Return the rule of a style sheet that gives the font: one that is installed, or else the one in the rule itself."""
    data = b64encode(files("symbptt.webpage").joinpath(FILE).read_bytes()).decode()
    installed = ",".join(f'local("{name}")' for name in INSTALLED)
    return f'@font-face{{font-family:"{FAMILY}";src:{installed},url(data:font/woff2;base64,{data}) format("woff2")}}'
