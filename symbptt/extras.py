"""Optional packages, imported where they are used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from symbptt.errors import SymbpttError


def need(module: str, extra: str) -> Any:
    """Return an optional module.

    Raises: SymbpttError, with the extra that installs it, where it is not there.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise SymbpttError(f"{package} is needed, which is not installed\n  pip install 'symbptt[{extra}]'") from error
