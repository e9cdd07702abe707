"""First values of the parameters, by the rules and the draws of `Cell.init`."""

from typing import Any

import numpy as np

from symbptt.codegen.runtime.cell import FIRST, PARAMS, Array, Arrays, _shapes, _sizes
from symbptt.codegen.runtime.errors import ArgumentError
from symbptt.codegen.runtime.types import _is_complex, _type_of


def init(sizes: dict[str, int], seed: int = 0, dtype: type = np.float64) -> Arrays:
    """Return first values of the parameters by name: those that the cell gives, else matrices that are Glorot uniform, or orthogonal
    where both axes are one of a state, and zeros. `sizes` are all named sizes; `dtype` is np.float32 or np.float64."""
    shapes = _shapes_of(sizes)
    if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool) or seed < 0:
        raise ArgumentError(f"seed: an integer of at least 0 is expected, got {seed!r}")
    # NumPy compares its types with names of types, and with what names none.
    if dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ArgumentError(f"dtype: float32 or float64 is expected, got {getattr(dtype, '__name__', dtype)}")
    random = np.random.default_rng(seed)
    found = {k: _first_value(FIRST[k], shapes[k], random, _is_complex(k)) for k in PARAMS}
    return {k: np.array(v, _type_of(k, dtype), order="C") for k, v in found.items()}


def _shapes_of(sizes: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every argument, where sizes are there and go together."""
    names = _shapes.__code__.co_varnames[: _shapes.__code__.co_argcount]
    if not hasattr(sizes, "keys") or {*sizes.keys()} != {*names}:
        example = ", ".join(f'"{k}": 8' for k in names)
        raise ArgumentError(f"sizes: {{{example}}} is expected, got {sizes!r}")
    for k, n in sizes.items():
        if not isinstance(n, (int, np.integer)) or isinstance(n, bool) or n < 1:
            raise ArgumentError(f"sizes: {k} is a positive integer, got {n!r}")
    shapes = _shapes(**{k: int(n) for k, n in sizes.items()})
    for k, shape in shapes.items():
        if min(shape, default=1) < 1:
            raise ArgumentError(f"sizes: the shape of {k} would be {shape}; sizes are positive")
    wrong = {k: n for k, n in _sizes(lambda k, axis: shapes[k][axis]).items() if n != sizes[k]}
    if wrong:
        raise ArgumentError(f"sizes: constants of the module tell {wrong}, got {sizes!r}")
    return shapes


def _first_value(first: Any, shape: tuple[int, ...], random: Any, is_complex: bool) -> Array:
    """Return a first value: the numbers that a cell gives, an orthogonal matrix, or a uniform one between Glorot's limits."""
    if first == "orthogonal":
        q, r = np.linalg.qr(_drawn(random.standard_normal, shape, is_complex))
        return q * np.sign(np.diagonal(r, axis1=-2, axis2=-1))[..., None, :]
    if first == "uniform":
        limit = np.sqrt(6 / (shape[-1] + shape[-2]))
        return _drawn(lambda shape: random.uniform(-limit, limit, shape), shape, is_complex)
    return np.broadcast_to(first, shape)


def _drawn(draw: Any, shape: tuple[int, ...], is_complex: bool) -> Array:
    """Return random numbers; of complex ones each part has half of the variance."""
    return np.sqrt(0.5) * (draw(shape) + 1j * draw(shape)) if is_complex else draw(shape)
