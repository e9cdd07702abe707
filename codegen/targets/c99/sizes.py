"""Sizes and indices as C expressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sympy as sp

from symbptt.codegen.loop_ir.nodes import BLOCK
from symbptt.ir.shape import Size

Names = Mapping[sp.Symbol, str]
BLOCK_NAME = "K"
"""What C calls the number of steps of a block, which no caller chooses."""


def with_block(names: Names) -> Names:
    """Return the names of sizes with that of the number of steps of a block."""
    return {**names, BLOCK: BLOCK_NAME}


def size_code(value: Size, names: Names) -> str:
    """Return a polynomial as text, what is taken away behind what it is taken from, as numbers without signs need."""
    if isinstance(value, int):
        return str(value)
    terms = sorted(_terms(value, names), key=lambda term: (bool(term[0] < 0), not term[1], -len(term[1])))
    # Parts of sizes are whole numbers: only behind all factors is the quotient of integers exact.
    text = "".join(
        f" {'-' if factor < 0 else '+'} {_product(abs(factor.p), symbols)}{f'/{factor.q}' if factor.q != 1 else ''}"
        for factor, symbols in terms
    )
    return text[3:] if text.startswith(" + ") else f"0{text}"


def factor_code(value: Size, names: Names) -> str:
    """Return a size as a factor of a product."""
    text = size_code(value, names)
    return text if isinstance(value, int) or not (value.is_Add or "/" in text) else f"({text})"


def _terms(value: sp.Expr, names: Names) -> list[tuple[sp.Rational, tuple[str, ...]]]:
    symbols = sorted(value.free_symbols, key=lambda symbol: list(names).index(symbol))
    rows = sp.Poly(value, *symbols).terms()
    return [
        (factor, tuple(names[x] for x, power in zip(symbols, powers, strict=True) for _ in range(power)))
        for powers, factor in rows
    ]


def _product(factor: int, symbols: Sequence[str]) -> str:
    return "*".join([*([str(factor)] if factor != 1 or not symbols else []), *symbols])
