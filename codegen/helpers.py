"""Functions that a generated module carries where it calls them."""

from __future__ import annotations

import inspect

from symbptt import ops, special
from symbptt.codegen import scanning
from symbptt.codegen.targets.numpy.text import copied

HELPERS: dict[str, str] = {
    "_padded": '''def _padded(x, shape, index):
    """Return zeros with x at an index."""
    out = np.zeros(shape, x.dtype)
    out[index] = x
    return out
''',
    "_gathered": '''def _gathered(table, index, axis, own):
    """Return the slice of a table at the integer of each sample; `own`: each sample has a table of its own."""
    table = np.moveaxis(table, axis + index.ndim * own, index.ndim * own)
    if not own:
        return table[index]
    return np.take_along_axis(table, index.reshape(index.shape + (1,) * (table.ndim - index.ndim)), index.ndim).squeeze(index.ndim)
''',
    "_scattered": '''def _scattered(x, index, axis, shape):
    """Return zeros for each sample with x at its integer along an axis."""
    out = np.zeros(shape, x.dtype)
    at = np.expand_dims(index, tuple(range(index.ndim, len(shape))))
    np.put_along_axis(out, at, np.expand_dims(x, index.ndim + axis), index.ndim + axis)
    return out
''',
    "_collected": '''def _collected(x, index, axis, shape):
    """Return the sum over all samples of zeros with x at the sample's integer along an axis.

    One row may be that of most samples: sums are in float64, of some columns of the table at once. Where samples are
    fewer than rows, so are the sums: each sample adds to that of the last one with the same integer.
    """
    out = np.zeros(shape, x.dtype)
    if 0 < axis < len(shape) - 1:  # columns of this table are no axis of a view
        for i in range(shape[0]):
            out[i] = _collected(x[(slice(None),) * index.ndim + (i,)], index, axis - 1, shape[1:])
        return out
    rows, is_sparse = shape[axis], index.size < shape[axis]
    at = index = index.astype(np.int64, copy=False)
    table = np.moveaxis(out, axis, 0)
    count = table[0].size
    table = table.reshape(rows, count)
    if is_sparse:
        own = np.empty(rows, np.int64)
        own[index] = np.arange(index.size).reshape(index.shape)
        at, rows = own[index], index.size
    some = _steps(count, rows, 1, 8 * rows)
    steps = _steps(len(index), index[:1].size, 4 * some)
    for first in range(0, count, some):
        last = min(first + some, count)
        sums, starts = np.zeros(rows * (last - first)), np.arange(last - first) * rows
        for lo in range(0, len(index), steps):
            here = at[lo : lo + steps]
            part = x[lo : lo + steps].reshape(here.size, count)[:, first:last]
            np.add.at(sums, (here.reshape(-1, 1) + starts).reshape(-1), part.astype(np.float64).reshape(-1))
        sums = sums.reshape(last - first, rows).T
        if is_sparse:
            table[index.reshape(-1), first:last] = sums[at.reshape(-1)]
        else:
            table[:, first:last] = sums
    return out
''',
    "_sharpened": '''def _sharpened(rest, of, argument):
    """Compute what a function near one leaves of one, `rest`, by its argument where it is so small that the value of the
    function has no digits of it."""
    least = 3e-5 if rest.dtype.itemsize == 4 else 8e-6  # above, the value errs by less than 0.2 %, or 2e-11
    if float(np.minimum.reduce(rest, axis=None, initial=1)) < least:
        tiny = rest < least
        e = np.broadcast_to(argument(), rest.shape)[tiny]
        np.exp(np.negative(np.abs(e, out=e), out=e), out=e)
        rest[tiny] = of(e)
    return rest
''',
    **{
        f"_{name}": f'''def _{name}(e):
    """Return {remainder.text} of a large a, by e = exp(-|a|)."""
    return {remainder.code}
'''
        for name, remainder in ops.REMAINING.items()
    },
    "_scan": copied(scanning),
}
"""Their texts by name."""


def erf_source() -> str:
    """Return the text of the error function, without what only this library's own checks read."""
    text = inspect.getsource(special.erf)
    return text.replace("(x: Any) -> Any", "(x)").replace("  # fmt: skip", "")
