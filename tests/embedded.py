"""Files in C for one set of sizes: compiled, and their arenas as NumPy arrays."""

import ctypes
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from symbptt.codegen.embedded import EmbeddedSource
from symbptt.codegen.targets.c99.arena import Member, Struct
from tests.ccode import CC, WARNINGS

Arrays = dict[str, Any]
REALS = {"d": np.float64, "f": np.float32}


def places(s: Struct, real: int, at: int = 0, path: str = "") -> Iterator[tuple[str, int, Member]]:
    """Where the members of a struct begin, in bytes, as C lays them out, by their paths."""
    end = at
    for x in s.members:
        unit = x.unit(real)
        begin = at if s.is_union else -(-end // unit) * unit
        end = begin + x.bytes(real)
        if isinstance(x, Struct):
            yield from places(x, real, begin, f"{path}{x.name}.")
        else:
            yield f"{path}{x.name}", begin, x


def arrays(s: Struct, address: int, kind: str) -> Arrays:
    """The members of a struct at an address as arrays, by their paths."""
    real, found = np.dtype(REALS[kind]), {}
    for path, begin, x in places(s, real.itemsize):
        dtype = np.dtype(np.uint32) if x.dtype == "index" else real
        memory = (ctypes.c_char * (x.count * dtype.itemsize)).from_address(address + begin)
        found[path] = np.frombuffer(memory, dtype)[: int(np.prod(x.shape))].reshape(x.shape)
    return found


def compiled(c: EmbeddedSource, folder: Path, kind: str = "d", text: str | None = None) -> ctypes.CDLL:
    """A library of a file, or of a text in its place."""
    folder.mkdir(exist_ok=True)
    path, library = folder / f"{c.parts.name}.c", folder / f"{c.parts.name}_{kind}.so"
    path.write_text(c.single if text is None else text, encoding="utf-8")
    double = [f"-D{c.parts.name.upper()}_DOUBLE"] if kind == "d" else []
    strict = WARNINGS if text is None else ("-std=c99",)
    command = [CC, *strict, "-O1", "-fPIC", "-shared", *double, "-o", str(library), str(path), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and (text is not None or not done.stderr), done.stderr[:3000]
    return ctypes.CDLL(str(library))


class Board:
    """A file in C that runs: its arena and its parameters as arrays."""

    def __init__(self, c: EmbeddedSource, folder: Path, kind: str = "d", text: str | None = None) -> None:
        self.c, self.library = c, compiled(c, folder, kind, text)
        whole = c.parts.arena
        size = max(whole.bytes(np.dtype(REALS[kind]).itemsize), 1)
        memory = (ctypes.c_char * size).in_dll(self.library, whole.name)
        self.arena = arrays(whole, ctypes.addressof(memory), kind)
        self.memory = np.zeros(max(c.parts.params.bytes(8), 1), np.uint8)
        self.params = arrays(c.parts.params, self.memory.ctypes.data, kind)

    def write(self, params: Mapping[str, Any], **structs: Mapping[str, Any]) -> None:
        for name, value in params.items():
            where = self.params.get(name)
            (self.arena[f"consts.{name}"] if where is None else where)[...] = value
        for struct, values in structs.items():
            for name, value in values.items():
                self.arena[f"{struct}.{name}"][...] = value

    def call(self, name: str) -> int:
        return int(getattr(self.library, f"{self.c.parts.name}_{name}")(ctypes.c_void_p(self.memory.ctypes.data)))

    def read(self, struct: str) -> Arrays:
        return {path[len(struct) + 1 :]: v.copy() for path, v in self.arena.items() if path.startswith(f"{struct}.")}
