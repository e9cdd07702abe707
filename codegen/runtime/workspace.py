"""Memory that calls of a module keep for each other, and how many steps fit in the cache."""

from typing import Any

import numpy as np

from symbptt.codegen.runtime.cell import HELD, Array
from symbptt.codegen.runtime.errors import ArgumentError

LATELY: int = 64  # times that arrays are given back until one of a size that nobody asked for is let go of
OLD: int = 8  # those until an array also serves what needs less: a call by itself has one array for each size
ROOMY: float = 1.25  # how many times as large as what is needed such an array may be


class Workspace:
    """Arrays that nothing reads any more, at most `limit` bytes of them, for calls to come: memory that the process has."""

    def __init__(self, limit: float = 2**28) -> None:
        number = isinstance(limit, (int, float, np.integer, np.floating)) and not isinstance(limit, bool)
        if not (number and limit >= 0):
            raise ArgumentError(f"limit: a number of bytes is expected, got {limit!r}; write Workspace(limit=2**28)")
        self.limit = limit
        self.rooms: dict[int, list[Array]] = {}  # by their bytes
        self.born: dict[int, int] = {}  # when each of these sizes came
        self.used: dict[int, int] = {}  # when it was given back the last time
        self.time = 0

    def __repr__(self) -> str:
        return f"<workspace: {self.nbytes:,} of {self.limit:,} bytes>"

    def __reduce__(self) -> Any:
        return Workspace, (self.limit,)

    @property
    def nbytes(self) -> int:
        """The bytes that it holds."""
        return sum(size * len(free) for size, free in list(self.rooms.items()))

    def room(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an array to write into: one that was given back, of as many bytes or a part of a larger one, or a new one."""
        needed = np.dtype(dtype).itemsize
        for n in shape:
            needed *= n
        found = self._taken(needed)
        if found is None and self.time > OLD:
            larger = (size for size in list(self.rooms) if needed < size <= ROOMY * needed and self._is_old(size))
            found = next((x for x in map(self._taken, sorted(larger)) if x is not None), None)
        return np.empty(shape, dtype) if found is None else np.ndarray(shape, dtype, found)

    def _taken(self, size: int) -> Array | None:
        """Return an array of so many bytes, if there is one."""
        try:
            return self.rooms[size].pop()
        except (KeyError, IndexError):  # asked, not looked up first: another thread may take the last one
            return None

    def _is_old(self, size: int) -> bool:
        return self.time - self.born.get(size, self.time) > OLD

    def give(self, rooms: Any) -> None:
        """Take back arrays that nothing reads any more, and let go of what is too much, and of sizes not used lately."""
        self.time += 1
        for room in rooms:
            room = room if room.base is None else room.base
            if room.nbytes not in self.rooms:
                self.born[room.nbytes] = self.time
            self.rooms.setdefault(room.nbytes, []).append(room)
            self.used[room.nbytes] = self.time
        for size in list(self.rooms):
            if self.time - self.used.get(size, self.time) > LATELY:
                self._let_go(size)
        if self.nbytes > self.limit:
            for size in sorted(self.rooms, key=lambda size: self.used.get(size, 0)):
                if self.nbytes > self.limit:
                    self._let_go(size)

    def _let_go(self, size: int) -> None:
        for found in (self.rooms, self.born, self.used):
            found.pop(size, None)


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


def _loss_steps(T: int, B: int, size: int) -> int:
    """Return the number of steps whose loss is computed at once, the largest array of which has that size: all of them where they are
    few, else as many rows as keep a product fast."""
    return max(min(T, max(2**8 // max(B, 1), 2**19 // max(B * size, 1))), 1)
