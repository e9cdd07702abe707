"""Checks of what public functions are given beside arrays: each says what was expected and what came."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from symbptt.errors import ArgumentError
from symbptt.syntax import as_read


def check_mapping(what: str, value: Any, example: str) -> None:
    """Raises: ArgumentError where a value is no dict by name."""
    if not isinstance(value, Mapping):
        raise ArgumentError(f"{what}: a dict by name is expected, got {_kind(value)}\n  write {example}")
    for name in value:
        if not isinstance(name, str):
            raise ArgumentError(f"{what}: names are expected as keys, got {name!r}\n  write {example}")


def as_array(what: str, value: Any) -> Any:
    """Return a value as an array.

    Raises: ArgumentError for rows of several lengths, and for a tensor with a gradient or on a device.
    """
    try:
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ArgumentError(f"{what}: not an array of numbers ({error})") from None


def named(given: Any) -> Any:
    """Return a dict whose names are as Python reads those of a cell: an accent and its letter are one sign (NFKC); what is no
    dict as it is.

    Raises: ArgumentError where two names are then one.
    """
    if not isinstance(given, Mapping):
        return given
    for name in given:  # a loop, for kernels are called with small arrays too
        if not (isinstance(name, str) and name.isascii()):
            break
    else:
        return given
    found: dict[Any, Any] = {}
    for name, value in given.items():
        read = as_read(name)
        if read in found:
            raise ArgumentError(f"{read!r} is given twice, with its accents written in two ways\n  give it once")
        found[read] = value
    return found


def check_constant(name: str, of: str, value: Any) -> None:
    """Raises: ArgumentError where the value of a constant is none, a float that is not finite, or has rows of several lengths."""
    if isinstance(value, list | tuple) and any(isinstance(x, list | tuple) for x in np.asarray(value, object).ravel()):
        raise ArgumentError(
            f"the constant {name!r} of {of} has rows of several lengths, got {value}\n  write rows of one length, [[1, 2], [3, 4]]"
        )
    if value is None or (isinstance(value, float | np.floating) and not np.isfinite(value)):
        raise ArgumentError(
            f"the constant {name!r} of {of} needs a finite number, got {value}\n  write consts={{{name!r}: 0.1}}"
        )


def check_function(what: str, value: Any, example: str, count: int | None = None) -> None:
    """Raises: ArgumentError where a value is no function written in Python, or does not take `count` arguments."""
    code = callable(value) and not isinstance(value, type) and hasattr(inspect.unwrap(value), "__code__")
    if not code:
        raise ArgumentError(f"{what} takes a function, got {_kind(value)}\n  write {example}")
    if count is not None:
        check_call(what, value, example, count)


def check_call(what: str, value: Any, example: str, count: int) -> None:
    """Raises: ArgumentError where a value cannot be called with `count` arguments: a function, an object, a partial one."""
    if not callable(value) or isinstance(value, type):
        raise ArgumentError(f"{what} takes a function, got {_kind(value)}\n  write {example}")
    try:
        inspect.signature(value).bind(*[None] * count)
    except TypeError as error:
        raise ArgumentError(f"{what} takes a function of {count} arguments ({error})\n  write {example}") from None


def check_seed(value: Any) -> None:
    """Raises: ArgumentError where a value is no integer of at least 0."""
    if not _is_integer(value) or value < 0:
        raise ArgumentError(f"seed: an integer of at least 0 is expected, got {_kind(value)}\n  write seed=0")


def check_count(what: str, value: Any, least: int = 0) -> None:
    """Raises: ArgumentError where a value is no integer of at least `least`."""
    if not _is_integer(value) or value < least:
        raise ArgumentError(f"{what} must be an integer of at least {least}, got {_kind(value)}")


def check_dtype(value: Any) -> None:
    """Raises: ArgumentError where a value names neither float32 nor float64."""
    try:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of a name that is refused anyhow
            known = np.dtype(value) in (np.float32, np.float64)
    except (TypeError, ValueError):
        known = False
    if not known:
        raise ArgumentError(f"dtype: float32 or float64 is expected, got {_kind(value)}\n  write dtype=np.float64")


def check_path(value: Any, example: str) -> None:
    """Raises: ArgumentError where a value is no path of a file; `example` is one."""
    if not isinstance(value, str | os.PathLike) or "\0" in str(value):
        raise ArgumentError(f'a path is expected, got {_kind(value)}\n  write save("{example}")')


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    """The value where it is short, else its type."""
    plain = isinstance(value, int | float | str | None | np.number) and len(repr(value)) < 40
    return repr(value) if plain else value.__name__ if isinstance(value, type) else type(value).__name__
