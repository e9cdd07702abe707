"""One row of a comparison: what determines it, what was measured, or what failed."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

from symbptt.language.digest import digest_of_text

LAGS = (1, 10, 100)
"""The lags, in steps, of the columns gradient_k and isometry_k."""


@dataclass(frozen=True)
class Row:
    """One cell of one size with one gain and one draw of its parameters; a number that was not measured is None.

    `size` is None where a cell has no size that the data leave open, `gain` where no parameter multiplies a state. `scaled`
    names the parameters that the gain multiplies. `dimension` is N, the elements of the whole state, `parameters` counts the
    trained numbers. `lyapunov` is λ₁ in nats per step, `error` its error within the run; `horizon` is −1/λ₁ in steps,
    inf where the verdict is not vanishing; `verdict` with its `confidence` is
    that of `sb.analyze`. `sum_rule_defect`, `kaplan_yorke` and `entropy` are those
    of `sb.lyapunov_spectrum`. `gradient_k` is the natural logarithm of the norm of the gradient k steps before the loss,
    divided by that at the loss; `isometry_k` the largest |ln singular value| of the product of the last k Jacobians.
    `failure` says why nothing was measured, else it is empty. `key` identifies the row: the digest of version, cell, data,
    size, gain and seed.
    """

    key: str
    cell: str
    size: int | None
    gain: float | None
    seed: int
    scaled: str = ""
    steps: int | None = None
    dimension: int | None = None
    parameters: int | None = None
    verdict: str = ""
    confidence: float | None = None
    lyapunov: float | None = None
    error: float | None = None
    converged: bool | None = None
    horizon: float | None = None
    sum_rule_defect: float | None = None
    kaplan_yorke: float | None = None
    entropy: float | None = None
    gradient_1: float | None = None
    gradient_10: float | None = None
    gradient_100: float | None = None
    isometry_1: float | None = None
    isometry_10: float | None = None
    isometry_100: float | None = None
    failure: str = ""
    cell_digest: str = ""
    data_digest: str = ""
    version: str = ""


KINDS = {item.name: str(item.type).split(" ")[0] for item in fields(Row)}
"""The type of each column, by name: str, int, float or bool."""


def key_of(cell: str, size: int | None, gain: float | None, seed: int, digests: tuple[str, str, str]) -> str:
    """Return the key of a row; `digests` are those of the cell and of the data, and the version of symbptt."""
    # JSON of a list is unambiguous, where joined texts could collide: ("a b", "c") and ("a", "b c").
    text = json.dumps([cell, size, None if gain is None else repr(float(gain)), seed, *digests])
    return digest_of_text(text)


def own_key(row: Row) -> str:
    """Return the key that a row must have."""
    return key_of(row.cell, row.size, row.gain, row.seed, (row.cell_digest, row.data_digest, row.version))


def order(row: Row) -> tuple[Any, ...]:
    """Return what rows are sorted by: cell, size, gain, seed."""
    return row.cell, row.size or 0, float("-inf") if row.gain is None else row.gain, row.seed, row.key
