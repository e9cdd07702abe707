"""The remainders of functions near one, where they saturate."""

from collections.abc import Callable

import numpy as np

from symbptt.codegen.runtime.cell import Array

LEAST: dict[int, float] = {4: 3e-5, 8: 8e-6}
"""By bytes of a number: the remainder above which that of a value errs by less than 0.2 %, or 2e-11."""


# Near one a value of tanh or of the sigmoid has spent its digits on the leading nines; the exponential of the
# argument has all of them. The least element tells cheaply whether any needs it.
def _sharpened(rest: Array, of: Callable[[Array], Array], argument: Callable[[], Array]) -> Array:
    """Compute what a function near one leaves of one, `rest`, by its argument where it is so small that the value of the
    function has no digits of it."""
    least = LEAST[rest.dtype.itemsize]
    if float(np.minimum.reduce(rest, axis=None, initial=1)) < least:
        tiny = rest < least
        e = np.broadcast_to(argument(), rest.shape)[tiny]
        np.exp(np.negative(np.abs(e, out=e), out=e), out=e)
        rest[tiny] = of(e)
    return rest
