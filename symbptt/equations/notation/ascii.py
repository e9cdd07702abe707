"""A page of text in ASCII alone: the same lines with words for the signs that ASCII lacks."""

from __future__ import annotations

from symbptt.equations.notation.names import in_ascii as name_in_ascii

_WORDS = {
    "∗": "conv", "⋆": "corr",
    "⊙": "(.)", "·": ".", "⁻ᵀ": "^-T", "ᵀ": "^T", "ᴴ": "^H",
    "²": "^2", "³": "^3", "Σ": "sum", "Π": "prod", "σ": "sigma", "…": "...", "⋯": "...",
    "∂": "d",
    "≥": ">=", "≤": "<=", "≠": "!=", "∧": "and", "∨": "or", "¬": "not ", "√π": "sqrt(pi)", "√": "sqrt", "π": "pi", "∞": "inf", "×": "x",
    "∈": "in", "⌊": "floor(", "⌋": ")", "‖": "||", "δ": "delta_", "∇_": "grad_", "∇": "grad ",
    "−": "-", "→": "->", "↦": "->", "⁻¹": "^-1", "′": "'",
    "⊇": "contains", "⟨": "<", "⟩": ">", "₂": "_2", "⁺": "^+", "ℓ": "l", "φ": "phi", "θ": "theta", "ε": "eps", "λ": "lambda",
}  # fmt: skip


_LOW = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")


def in_ascii(text: str) -> str:
    """Return a line of text with words for its signs: sum_t for Σ_t, sigma for σ, (.) for ⊙, ^T for ᵀ.

    The names in it are ASCII already. Source: the table of this module.
    """
    # In the order of the table: "√π" is replaced as a whole before "√" and "π" alone.
    for sign, word in _WORDS.items():
        text = text.replace(sign, word)
    text = text.translate(_LOW)
    return "".join(letter if letter.isascii() else name_in_ascii(letter) for letter in text)
