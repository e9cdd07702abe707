"""Windows along axes, and what is summed over them: convolutions and correlations."""

from __future__ import annotations

from typing import Any

import numpy as np

from symbptt.errors import ShapeError
from symbptt.ir.node import Convolution, Windowed
from symbptt.language.array import Array, as_array
from symbptt.language.user_frames import cell_error


def sliding_window_view(x: Any, window_shape: Any, axis: Any = None) -> Any:
    """Return the windows of an array along axes: those axes count windows, new ones behind all others count inside a window."""
    widths = window_shape if isinstance(window_shape, tuple | list) else (window_shape,)
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple | list) else (axis,)
    if len(widths) != len(axes := [k % x.ndim for k in axes]):
        raise cell_error(
            f"windows of {len(widths)} widths along {len(axes)} axes",
            "give one width for each axis, or axis=",
            ShapeError,
        )
    for at, width in zip(axes, widths, strict=True):
        x = windows(x, at, width)
    return x


def windows(x: Any, axis: int, width: Any, step: int = 1, spread: int = 1) -> Any:
    """Return windows along an axis, one in `step`, their entries `spread` apart; the last axis counts inside a window."""
    if not isinstance(width, int):
        raise cell_error(
            f"a window of {width} entries, a size without a number",
            "give the window's axis a number as its size",
            ShapeError,
        )
    reach = (width - 1) * spread
    length = x.shape[axis]
    if isinstance(length, int) and length <= reach:
        raise cell_error(
            f"a window over {reach + 1} entries of an axis of size {length}",
            "pad the array, or take a smaller window",
            ShapeError,
        )
    before = (slice(None),) * axis
    # Entry k of all windows is a slice: from k on, as far as the last window's entry k.
    parts = [x[(*before, slice(k * spread, length - reach + k * spread, step))] for k in range(width)]
    return np.stack(parts, axis=-1)


def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """Return Σ_k a_{i-k} v_k: of all i with a summand, of as many as the longer one has, or of those with all summands."""
    return _summed(a, v, mode, "convolve")


def correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    """Return Σ_k a_{i+k} v_k, of complex numbers with the conjugates of v."""
    return _summed(a, np.conj(v)[::-1], mode, "correlate", is_turned=True)


def _summed(a: Any, v: Any, mode: str, name: str, is_turned: bool = False) -> Any:
    if mode not in ("full", "same", "valid"):
        raise cell_error(f"np.{name} with mode={mode!r}", 'the modes are "full", "same" and "valid"')
    if np.ndim(a) != 1 or np.ndim(v) != 1:
        raise cell_error(f"np.{name} takes two vectors", "write sb.conv(x, w) for arrays of channels", ShapeError)
    sizes = np.shape(a)[0], np.shape(v)[0]
    # The window is the shorter one, which must have a number; both are exchanged freely, as products are.
    if not isinstance(sizes[1], int) or (isinstance(sizes[0], int) and sizes[0] < sizes[1]):
        if is_turned:
            raise cell_error(
                f"np.{name} with a second vector that is not the shorter one",
                "exchange the two, and reverse the result",
            )
        a, v, sizes = v, a, sizes[::-1]
    width = sizes[1]
    if not isinstance(width, int):
        raise cell_error(
            f"np.{name} of vectors of sizes {sizes[1]} and {sizes[0]}, neither with a number",
            "give the window a number as its size",
            ShapeError,
        )
    if mode != "full" and not isinstance(sizes[0], int):
        # NumPy exchanges the two where the first is shorter: to read this entry refuses such sizes where they are bound.
        _ = a[width - 1]
    low, high = {"full": (width - 1, width - 1), "valid": (0, 0)}.get(mode, (width // 2, (width - 1) // 2))
    seen, turned = windows(np.pad(a, (low, high)), 0, width), v[::-1]
    value = seen @ turned
    _mark(value, turned, a, Convolution("z", False, (1,), (1,), ((low, high),)))
    return value


def conv(x: Any, w: Any, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> Any:
    """Return the correlation of x with the filters w, as layers of networks compute it: a sum over channels and windows.

    Along each of the one or two axes of space, entry i is Σ_k w_k x_{i·stride + k·dilation} of x with zeros around it.

    Shapes: x (c, t) and w (o, c, k) give (o, t'); x (c, r, s) and w (o, c, k, l) give (o, r', s'); without channels x (t) and w (k),
    or x (r, s) and w (k, l). With `padding` p on both sides t' = (t + 2 p - dilation (k - 1) - 1) // stride + 1.
    The sizes of windows are numbers. `stride`, `padding` and `dilation` are numbers, or one for each axis of space;
    `padding` may be "same" (with a stride of 1) or "valid".
    Raises: ShapeError where shapes do not fit, and where a window or a stride needs a number of a named size.
    Source: Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", relationships 6 and 15.
    """
    has_channels = np.ndim(w) == np.ndim(x) + 1
    rank = np.ndim(w) - (2 if has_channels else 0)
    if (not has_channels and np.ndim(w) != np.ndim(x)) or rank not in (1, 2):
        raise cell_error(
            f"conv of an array of {np.ndim(x)} axes with filters of {np.ndim(w)} axes",
            "write x (c, t) with w (o, c, k), x (c, r, s) with w (o, c, k, l), or both without channels", ShapeError)  # fmt: skip
    widths = np.shape(w)[-rank:]
    steps, spreads = (_numbers(what, value, rank) for what, value in (("stride", stride), ("dilation", dilation)))
    pads = _paddings(padding, widths, steps, spreads)
    found = Convolution("z", has_channels, steps, spreads, pads)
    value = convolved(w, x, found)
    _mark(value, w, x, found)
    return value


def convolved(w: Any, x: Any, of: Convolution) -> Any:
    """Return a convolution as what it is composed of: zeros around x, its windows, and their product with the filters."""
    lead = 1 if of.has_channels else 0
    if any(pair != (0, 0) for pair in of.pads):
        x = np.pad(x, ((0, 0),) * lead + of.pads)
    for k in range(of.rank):
        x = windows(x, lead + k, np.shape(w)[2 * lead + k], of.steps[k], of.spreads[k])
    inside = [*range(lead + of.rank, lead + 2 * of.rank)]
    summed = ([1, *range(2, 2 + of.rank)], [0, *inside]) if of.has_channels else ([*range(of.rank)], inside)
    return np.tensordot(w, x, axes=summed)


def _mark(value: Any, w: Any, x: Any, convolution: Convolution) -> None:
    """Say in the graph that a value is a convolution, which a page shows whole; of arrays of NumPy alone there is none."""
    if not isinstance(value, Array):
        return
    ids = tuple(part.id if isinstance(part, Array) else as_array(value.graph, part).id for part in (w, x))
    # A value with a smaller id than an argument is an older node: the mark would be that of another value.
    if all(id < value.id for id in ids):
        value.graph.marks.setdefault(value.id, Windowed(ids, convolution))


def _numbers(what: str, value: Any, rank: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, tuple | list) else (value,) * rank
    if len(values) != rank or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in values):
        raise cell_error(
            f"{what}={value!r} of a convolution along {rank} axes",
            f"write {what}=1, or a whole number for each axis",
            ShapeError,
        )
    return values


def _paddings(padding: Any, widths: Any, steps: Any, spreads: Any) -> tuple[tuple[int, int], ...]:
    if padding == "valid":
        return ((0, 0),) * len(widths)
    if padding == "same":
        if any(step != 1 for step in steps):
            raise cell_error('padding="same" with a stride', "write the padding as a number", ShapeError)
        reach = [(width - 1) * spread for width, spread in zip(widths, spreads, strict=True)]
        return tuple((n // 2, n - n // 2) for n in reach)
    values = tuple(padding) if isinstance(padding, tuple | list) else (padding,) * len(widths)
    if len(values) != len(widths) or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in values):
        raise cell_error(
            f"padding={padding!r} of a convolution along {len(widths)} axes",
            'write padding="same", a whole number, or one for each axis', ShapeError)  # fmt: skip
    return tuple((n, n) for n in values)
