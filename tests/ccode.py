"""Generated C: compiled with the compiler of the machine, and called with NumPy arrays through ctypes."""

import ctypes
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from symbptt.codegen.csource import CSource
from symbptt.codegen.loop_ir.interpret import evaluated
from symbptt.codegen.loop_ir.nodes import BATCH, STEPS, Buffer
from symbptt.codegen.targets.c99.interface import Field, Interface

CC = shutil.which("cc") or ""
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")
Arrays = dict[str, Any]


def double(c: CSource) -> str:
    """The option with which a source is compiled for double."""
    return f"-D{c.parts.interface.macro}_DOUBLE"


def build(sources: Sequence[CSource], folder: Path, *options: str, kind: str = "d") -> ctypes.CDLL:
    """One library of all sources, for float64 ("d") or float32 ("f")."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{c.name}.c" for c in sources]
    for c, path in zip(sources, paths, strict=True):
        c.save(path)
    defines = [double(c) for c in sources] if kind == "d" else []
    library = folder / f"lib{kind}.so"
    command = [CC, *WARNINGS, "-O1", *options, "-fPIC", "-shared", *defines, "-o", library, *paths, "-lm"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr[:3000]
    return ctypes.CDLL(str(library))


@dataclass
class Caller:
    """Calls the functions of a source in a library, with arrays of one type and sizes by name."""

    source: CSource
    library: ctypes.CDLL
    dtype: Any
    sizes: Mapping[str, int]
    T: int
    B: int

    @property
    def interface(self) -> Interface:
        return self.source.parts.interface

    def size(self, n: Any) -> int:
        known = {symbol: self.sizes[symbol.name] for symbol in [*self.interface.sizes][2:]}
        return evaluated(n, {**known, STEPS: self.T, BATCH: self.B})

    def shape(self, buffer: Buffer) -> tuple[int, ...]:
        return tuple(self.size(n) for n in buffer.shape)

    def size_struct(self) -> Any:
        names = list(self.interface.sizes.values())
        kind = type("Sizes", (ctypes.Structure,), {"_fields_": [(name, ctypes.c_size_t) for name in names]})
        known = [self.T, self.B, *(self.sizes[s.name] for s in list(self.interface.sizes)[2:])]
        return kind(*known)

    def empty(self, fields: Sequence[Field]) -> Arrays:
        """Arrays that the functions fill, without a number in them."""
        return {x.of: np.full(self.shape(x.buffer), np.nan, self.dtype) for x in fields}

    def struct(self, fields: Sequence[Field], arrays: Mapping[str, Any], *more: str) -> Any:
        """A struct of pointers; what is not given is NULL."""
        names = [*(x.of for x in fields), *more]
        fields_of = [(f"field_{number}", ctypes.c_void_p) for number in range(len(names))]
        kind = type("Arrays", (ctypes.Structure,), {"_fields_": fields_of})
        for x in fields:
            if arrays.get(x.of) is not None:
                assert arrays[x.of].shape == self.shape(x.buffer), (x.of, arrays[x.of].shape)
                assert arrays[x.of].flags.c_contiguous
        pointers = [arrays[name].ctypes.data if arrays.get(name) is not None else None for name in names]
        return kind(*pointers)

    def bytes(self, name: str) -> int:
        function = getattr(self.library, f"{self.interface.name}_{name}_bytes")
        function.restype = ctypes.c_size_t
        return int(function(ctypes.byref(self.size_struct())))

    def array(self, name: str) -> Any:
        """The tape or the workspace; it is never NULL, also where it is empty."""
        return np.full(self.bytes(name) // np.dtype(self.dtype).itemsize + 1, np.nan, self.dtype)

    def call(self, name: str, *structs: Any, workspace: Any) -> int:
        function = getattr(self.library, f"{self.interface.name}_{name}")
        sizes = self.size_struct()
        return int(function(ctypes.byref(sizes), *map(ctypes.byref, structs), ctypes.c_void_p(workspace.ctypes.data)))

    def given(self, *groups: Mapping[str, Any]) -> Arrays:
        """The arguments as arrays of the type of the call."""
        arrays = {name: value for group in groups for name, value in group.items()}
        fields = {x.of: x for x in self.interface.given}
        return {
            name: np.ascontiguousarray(value, np.uintp if fields[name].limit is not None else self.dtype).reshape(np.shape(value))
            for name, value in arrays.items()
        }  # fmt: skip

    def run(self, params: Arrays, inputs: Arrays, state: Arrays, cotangents: Arrays) -> tuple[Arrays, Arrays]:
        """States and outputs after every step, (T, B, ...), and the gradients by name of parameter, input or state."""
        i = self.interface
        given = self.given(params, inputs, state)
        run, grads = self.empty(i.run), self.empty(i.gradients)
        tape, workspace = self.array("tape"), self.array("workspace")
        arguments = self.struct(i.given, given)
        tapes = self.struct(i.run, {**run, "tape": tape}, "tape")
        assert self.call("forward", arguments, tapes, workspace=workspace) == 0
        sent = {name: np.ascontiguousarray(value, self.dtype) for name, value in cotangents.items()}
        workspace.fill(np.nan)
        code = self.call("backward", arguments, tapes, self.struct(i.cotangents, sent), self.struct(i.gradients, grads),
                         workspace=workspace)  # fmt: skip
        assert code == 0
        assert np.isnan(tape[-1]) and np.isnan(workspace[-1])
        states = {x.of for x in i.cotangents} & {x.of for x in i.given}
        return {name: value[1:] if name in states else value for name, value in run.items()}, grads


def harness(source: CSource, sizes: Mapping[str, int], T: int, B: int) -> str:
    """A program that runs both functions once, each array alone on the heap."""
    caller = Caller(source, None, np.float64, sizes, T, B)
    name, lines = source.parts.interface.name, list[str]()
    known = [T, B, *(sizes[s.name] for s in [*source.parts.interface.sizes][2:])]
    lines.append(f"    const {name}_sizes sizes = {{{', '.join(map(str, known))}}};")
    for struct, fields in source.parts.interface.structs():
        parts = []
        for x in fields:
            count = int(np.prod(caller.shape(x.buffer)))
            kind = "size_t" if x.limit is not None else f"{name}_real"
            lines.append(f"    {kind} *{struct}_{x.name} = malloc({count}*sizeof({kind}) + !{count});")
            value = f"i % {caller.size(x.limit)}" if x.limit is not None else f"({name}_real)(i % 7)/7"
            lines.append(f"    for (size_t i = 0; i < {count}; i++) {struct}_{x.name}[i] = {value};" if count else "")
            parts.append(f".{x.name} = {struct}_{x.name}")
        if struct == "run":
            lines.append(f"    {name}_real *tape = malloc({name}_tape_bytes(&sizes) + 1);")
            parts.append(".tape = tape")
        lines.append(f"    const {name}_{struct} {struct} = {{{', '.join(parts) or '0'}}};")
    lines += [
        f"    {name}_real *workspace = malloc({name}_workspace_bytes(&sizes) + 1);",
        f"    if ({name}_forward(&sizes, &given, &run, workspace)) return 1;",
        f"    if ({name}_backward(&sizes, &given, &run, &cotangents, &gradients, workspace)) return 1;",
        *(f"    free({struct}_{x.name});" for struct, fields in source.parts.interface.structs() for x in fields),
        "    free(tape); free(workspace);",
    ]
    body = "\n".join(lines)
    return f"#include <stdlib.h>\n{source.single}\nint main(void) {{\n{body}\n    return 0;\n}}\n"
