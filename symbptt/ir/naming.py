"""Names that are not taken."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from itertools import chain, count


def unique(name: str, used: Container[str]) -> str:
    """Return `name`, with the first free number behind it where it is used."""
    if name not in used:
        return name
    number = 1
    while f"{name}_{number}" in used:
        number += 1
    return f"{name}_{number}"


def beside(name: str, used: Container[str]) -> str:
    """Return `name`, where it is used with a tilde, i_tilde for i and W_tilde_q for W_q, and else with a number."""
    head, _, rest = name.partition("_")
    tilde = "_".join([f"{head}_tilde", *[rest] * bool(rest)])
    return tilde if head and name in used and tilde not in used else unique(name, used)


def next_number(name: str, used: Container[str]) -> str:
    """Return `name`, where it is used with the first free number behind it, or after the number that it has: q_2 for q_1."""
    stem, _, number = name.rpartition("_")
    if name not in used or not stem or not number.isdecimal():
        return unique(name, used)
    return next(new for n in count(int(number) + 1) if (new := f"{stem}_{n}") not in used)


def free_letters(preferred: Sequence[str], taken: Container[str]) -> Iterator[str]:
    """Yield the names of some that are not taken, in their order, and then the first of them with numbers behind it, without end."""
    numbered = (f"{preferred[0]}_{number}" for number in count(1))
    return (name for name in chain(preferred, numbered) if name not in taken)
