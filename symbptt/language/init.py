"""First values of parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import sympy as sp

from symbptt.checks import check_dtype, check_mapping, check_seed, named
from symbptt.errors import ArgumentError, three_lines
from symbptt.ir.needs import unmet
from symbptt.ir.shape import Shape, named_size, names_in, show
from symbptt.ir.sizes import axes_of, misfit, solved
from symbptt.ir.step import Argument


def initial(cell: Any, dims: Mapping[str, int], seed: int, dtype: Any, override: Mapping[str, Any]) -> dict[str, Any]:
    """Return first values by the rules of `Cell.init`."""
    check_mapping("the sizes", dims, f'{cell.name}.init({{"n": 8, ...}})')
    check_seed(seed)
    check_dtype(dtype)
    dims, override = named(dims), named(override)
    wanted = [a for a in cell.arguments if a.role == "param" or (a.role == "const" and a.default is None)]
    sizes = _sizes(cell, dims, override)
    for name in override:
        if name not in [a.name for a in wanted]:
            raise ArgumentError(
                f"{name!r} is no parameter of {cell.name}\n  known: {', '.join(a.name for a in wanted)}"
            )
    state_sizes = {item for a in cell.arguments if a.role == "state" for item in a.shape}
    random = np.random.default_rng(seed)
    result = {}
    for a in wanted:
        shape = concrete(a.shape, sizes)
        if a.name in [b.start for b in cell.arguments if b.role == "state" and isinstance(b.start, str)]:
            a = replace(a, default=0.0)  # a start that is trained begins as one that is not
        given = a.default is not None and a.name in override
        value = (
            None if given else _first(a, shape, state_sizes, random)
        )  # drawn even then, so that others stay the same
        result[a.name] = np.ascontiguousarray(
            _given(cell, a, shape, override) if a.name in override else value, dtype=type_of(a, dtype)
        )
        result[a.name] = result[a.name].reshape(shape)
    return result


def _given(cell: Any, a: Argument, shape: tuple[int, ...], override: Mapping[str, Any]) -> Any:
    try:
        value = np.asarray(override[a.name])
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists, and tensors that have a gradient
        raise ArgumentError(f"{a.name!r} of {cell.name} takes an array of numbers ({error})") from None
    if value.dtype.kind not in ("biufc" if a.complex else "biuf"):
        raise ArgumentError(
            f"{a.name!r} of {cell.name} takes {'' if a.complex else 'real '}numbers, got {type(override[a.name]).__name__}"
        )
    if value.shape not in ((), shape):
        raise ArgumentError(f"{a.name!r} of {cell.name} has shape {show(shape)}, got {show(value.shape)}")
    return np.broadcast_to(value, shape)


def type_of(a: Argument, dtype: Any) -> Any:
    """Return the type of an argument's entries where those of the data are of a real type: complex64 beside float32."""
    return np.result_type(dtype, np.complex64) if a.complex else dtype


def _sizes(cell: Any, dims: Mapping[str, int], override: Mapping[str, Any]) -> dict[sp.Symbol, int]:
    needed = sorted({name for a in cell.arguments for name in names_in(a.shape)})
    check_sizes(dims)
    # A default that is overridden says nothing about sizes.
    fixed = axes_of([a for a in cell.arguments if a.name not in override])
    dims = solved(fixed, {name: int(value) for name, value in dims.items()})
    wrong = misfit(fixed, dims)
    if wrong is not None:
        raise ArgumentError(
            f"the default of {wrong.argument!r} of {cell.name} has {wrong.length} along axis {wrong.number}, where "
            f"{wrong.size} = {concrete((wrong.size,), {named_size(k): v for k, v in dims.items()})[0]} is due\n"
            "  give its sizes, or another value"
        )
    for name in needed:
        if name not in dims and any(
            name in names_in(a.shape) for a in cell.arguments if a.role in ("param", "const", "state")
        ):
            raise ArgumentError(
                f"{cell.name}.init needs the size {name!r}\n  known: {', '.join(map(str, dims)) or 'none'}"
            )
    for name in dims:
        index_sizes = {s for a in cell.arguments if a.limit is not None for s in names_in((a.limit,))}
        if name not in needed and name not in index_sizes:
            raise ArgumentError(f"{cell.name} has no size {name!r}\n  it has {', '.join(needed)}")
    lack = unmet(cell.needs, dims)
    if lack is not None:
        raise ArgumentError(three_lines(*lack.parts(dims)))
    return {named_size(name): int(value) for name, value in dims.items()}


def check_sizes(dims: Mapping[str, Any]) -> None:
    """Raises: ArgumentError where a size is no positive integer."""
    for name, value in dims.items():
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
            raise ArgumentError(f"the size {name!r} must be a positive integer, got {value!r}")


def concrete(shape: Shape, sizes: Mapping[sp.Symbol, int]) -> tuple[int, ...]:
    """Return a shape in numbers.

    Raises: ArgumentError where a size would not be positive.
    """
    found = [item if isinstance(item, int) else item.subs(sizes) for item in shape]
    if any(not isinstance(item, int) and not item.is_Integer for item in found):
        raise ArgumentError(f"the shape {show(shape)} would be {show(found)}; sizes are whole numbers")
    numbers = tuple(map(int, found))
    if any(item < 1 for item in numbers):
        raise ArgumentError(f"the shape {show(shape)} would be {show(numbers)}; sizes are positive")
    return numbers


def _first(a: Argument, shape: tuple[int, ...], state_sizes: set[Any], random: np.random.Generator) -> Any:
    if a.default is not None:
        return np.broadcast_to(a.default, shape)
    if len(shape) < 2:
        return np.zeros(shape)
    # Orthogonal recurrent weights keep norms: by themselves they make gradients neither vanish nor explode.
    if a.shape[-1] == a.shape[-2] and a.shape[-1] in state_sizes:
        return orthogonal(shape, random, a.complex)
    # A uniform variable on ±limit has the variance limit² / 3 = 2 / (fan_in + fan_out), as Glorot asks.
    limit = np.sqrt(6 / (shape[-1] + shape[-2]))
    return _drawn(lambda: random.uniform(-limit, limit, shape), a.complex)


def _drawn(draw: Callable[[], Any], is_complex: bool) -> Any:
    """Return random numbers; of complex ones the two parts are independent, and each has half of the variance."""
    return np.sqrt(0.5) * (draw() + 1j * draw()) if is_complex else draw()


def orthogonal(shape: tuple[int, ...], random: np.random.Generator, is_complex: bool = False) -> Any:
    """Return random orthogonal matrices, or unitary ones, uniform in the Haar measure.

    Shapes: (..., n, n).
    Source: Mezzadri 2007, "How to generate random matrices from the classical compact groups", section 5.
    """
    q, r = np.linalg.qr(_drawn(lambda: random.standard_normal(shape), is_complex))
    # QR is unique only for a positive diagonal of R; LAPACK's signs would bias Q away from the Haar measure.
    return q * np.sign(np.diagonal(r, axis1=-2, axis2=-1))[..., None, :]
