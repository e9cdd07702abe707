"""Public recurrent cells, rebuilt from papers of 1972 to 2025, none of them in the zoo or among tests/unseen.py."""

import symbptt as sb
from tests import public_dynamics, public_gated, public_linear

CELLS: dict[str, sb.Cell] = {**public_gated.CELLS, **public_linear.CELLS, **public_dynamics.CELLS}

SIZES = {
    "m": 2,
    "n": 3,
    "p": 2,
    "d": 2,
    "k": 2,
    "v": 4,
    "a": 2,
    "r": 2,
    "e": 2,
    "z": 2,
    "c": 2,
    "f": 2,
    "u": 2,
    "s": 3,
    "h": 3,
}
"""Small, and not all alike."""
