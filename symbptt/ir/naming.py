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


def free_letters(preferred: Sequence[str], taken: Container[str]) -> Iterator[str]:
    """Yield the names of some that are not taken, in their order, and then the first of them with numbers behind it, without end."""
    numbered = (f"{preferred[0]}_{number}" for number in count(1))
    return (name for name in chain(preferred, numbered) if name not in taken)
