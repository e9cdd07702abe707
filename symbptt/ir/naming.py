"""Names that are not taken."""

from __future__ import annotations

from collections.abc import Container


def unique(name: str, used: Container[str]) -> str:
    """Return `name`, with the first free number behind it where it is used."""
    if name not in used:
        return name
    number = 1
    while f"{name}_{number}" in used:
        number += 1
    return f"{name}_{number}"
