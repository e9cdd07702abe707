"""Memory that calls of a module keep for each other, and how many steps fit in the cache."""

from typing import Any

import numpy as np

from symbptt.codegen.runtime.cell import HELD, Array
from symbptt.codegen.runtime.errors import ArgumentError


class Workspace:
    """Arrays that nothing reads any more, at most `limit` bytes of them, for calls to come: memory that the process has."""

    def __init__(self, limit: float = 2**28) -> None:
        number = isinstance(limit, (int, float, np.integer, np.floating)) and not isinstance(limit, bool)
        if not (number and limit >= 0):
            raise ArgumentError(f"limit: a number of bytes is expected, got {limit!r}; write Workspace(limit=2**28)")
        self.limit = limit
        self.rooms: dict[Any, list[Array]] = {}

    def __repr__(self) -> str:
        return f"<workspace: {self.nbytes:,} of {self.limit:,} bytes>"

    def __reduce__(self) -> Any:
        return Workspace, (self.limit,)

    @property
    def nbytes(self) -> int:
        """The bytes that it holds."""
        return sum(room.nbytes for free in list(self.rooms.values()) for room in free)

    def room(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an array to write into, one that was given back or a new one."""
        try:
            return self.rooms[shape, dtype].pop()
        except (KeyError, IndexError):  # asked, not looked up first: another thread may take the last one
            return np.empty(shape, dtype)

    def give(self, rooms: Any) -> None:
        """Take back arrays that nothing reads any more."""
        for room in rooms:
            self.rooms.setdefault((room.shape, room.dtype), []).append(room)
        if self.nbytes > self.limit:
            self.rooms.clear()


# The operating system zeroes each page that a process touches first. A training loop calls with the same sizes again
# and again, so that arrays of the call before serve the next one.
WORKSPACE = Workspace(HELD)  # of calls that are not given another


def _workspace(given: Any) -> Any:
    """Return the workspace of a call: the one that is given, else the module's."""
    usable = all(callable(getattr(given, name, None)) for name in ("room", "give"))
    if given is not None and (isinstance(given, type) or not usable):
        came = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
        raise ArgumentError(f"workspace: a Workspace of this module is expected, got {came}; write Workspace()")
    return WORKSPACE if given is None else given


def _steps(T: int, B: int, size: int, rows: int = 0) -> int:
    """Return the number of steps of a block with values of that size: they fit in the cache, or are as many rows."""
    return max(min(T, max(rows // max(B, 1), 2**15 // max(B * size, 1))), 1)
