"""Optional packages, imported where they are used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from symbptt.errors import SymbpttError


def cure(package: str, extra: str) -> str:
    """Return what installs an optional package: symbptt itself is on no index."""
    return f"pip install {package}, or in the checkout of symbptt: python -m pip install -e '.[{extra}]'"


def need(module: str, extra: str) -> Any:
    """Return an optional module.

    Raises: SymbpttError, with the extra that installs it, where it is not there.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise SymbpttError(f"{package} is needed, which is not installed\n  {cure(package, extra)}") from error
