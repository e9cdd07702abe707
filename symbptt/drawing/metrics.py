"""Widths of text without a font at hand: the widest of the usual serif and sans-serif fonts, letter by letter."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from symbptt.drawing.names import Run

WIDTHS = {
    letter: width
    for width, letters in {
        0.25: "′", 0.3: "'", 0.35: " ,./:;\\ijl|·ıȷ", 0.4: "()-I[]fΙι", 0.45: "!Jtℓᵀ₀₁₂", 0.5: '"*_`r', 0.55: "?szεζ∂",
        0.6: "cvxyγξς", 0.65: "$0123456789abdeghknopqu{}βδηθλμνορτυχ√ϱ", 0.7: "FLPSTYZΓΖΡΤΥακπσφħ",
        0.75: "ABEKVXΑΒΔΕΚΛΞΣΧϑ∑", 0.8: "CGRψ", 0.85: "#+<=>DOQU^~ΘΟΦΩω→←⊙∞−×ϖ", 0.9: "&HNwΗΝΠΨ∈", 0.95: "%",
        1.0: "@m…", 1.05: "MWΜ",
    }.items()
    for letter in letters
}  # fmt: skip
"""In units of the size of type. Source: the advances of DejaVu Serif and DejaVu Sans, upright and slanted, the widest of
the four; Times, Latin Modern and STIX are narrower."""
OTHER = 1.05
"""The width of a letter that is in no table."""


def text_width(text: str, size: float) -> float:
    """Return the width of a line of text, in the unit of `size`; accents take no room."""
    # NFD separates accents from their letters: the letter counts, the combining accent does not.
    return size * sum(_width(letter) for letter in unicodedata.normalize("NFD", text))


def _width(letter: str) -> float:
    return 0.0 if unicodedata.combining(letter) else WIDTHS.get(letter, OTHER)


def runs_width(runs: Iterable[Run], size: float, low: float) -> float:
    """Return the width of runs of letters, those that are lowered or raised in the size `low`."""
    return sum(text_width(run.text, low if run.level else size) for run in runs)
