"""About as many pieces as a piece has steps."""

from symbptt.codegen.runtime.call import _Call
from symbptt.codegen.runtime.checkpoints import _root


def _pieces(call: _Call, end: int, trains: bool) -> tuple[int, int]:
    """Return the steps of a piece and the slots; the longest sample ends after `end` steps."""
    return _root(end)
