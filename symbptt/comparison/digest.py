"""Digests of data by their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from symbptt.language.digest import digest_of_text, line_of_array


def digest_of_arrays(arrays: Mapping[str, Any], steps: int) -> str:
    """Return 16 hexadecimal digits that change with names, order, types, shapes and numbers of arrays, and with the steps."""
    return digest_of_text(
        "\n".join([f"steps {steps}", *(f"{name} {line_of_array(value)}" for name, value in arrays.items())])
    )
