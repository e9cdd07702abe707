"""Functions that a generated module carries where it calls them."""

from __future__ import annotations

import inspect

from symbptt import special
from symbptt.codegen import scanning
from symbptt.codegen.text import copied

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
    """Return the sum over all samples of zeros with x at the sample's integer along an axis."""
    out = np.zeros(shape, x.dtype)
    np.add.at(np.moveaxis(out, axis, 0), index, x)
    return out
''',
    "_scan": copied(scanning),
}
"""Their texts by name."""


def erf_source() -> str:
    """Return the text of the error function, without what only this library's own checks read."""
    text = inspect.getsource(special.erf)
    return text.replace("(x: Any) -> Any", "(x)").replace("  # fmt: skip", "")
