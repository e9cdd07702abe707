"""The header of a file for one set of sizes: sizes, the structs of the parameters and of the arena, and the functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from symbptt.codegen.targets.c99.arena import INDEX, Member, Struct
from symbptt.codegen.targets.c99.printer import safe

ABOUT = {
    "forward": "Run the cell over all steps, from the states `start`.",
    "backward": "Write the gradients of L for the cotangents; what the forward pass read and wrote must be as it was.",
    "predict": "Run the cell, and write what the loss returns beside its value.",
    "value": "Run the cell, and write the loss.",
    "value_and_grad": "Run the cell, and write the loss and all gradients of it.",
}
"""What the functions do, in their order."""
WIDTH = 40
"""The column behind which words about a member begin."""


@dataclass(frozen=True)
class Names:
    """The name of a file in C, its title, its sizes, and its functions by their keys."""

    name: str
    title: str
    sizes: Mapping[str, int]
    calls: tuple[str, ...]

    @property
    def macro(self) -> str:
        """The beginning of the names of macros and numbers."""
        return self.name.upper()


def header_of(n: Names, params: Struct, arena: Struct) -> str:
    """Return the text of the header."""
    named = {x.type: x for x in _structs(arena) if x.type and x.type not in (params.type, arena.type)}
    types = [*[params] * bool(params.members), *named.values(), arena]
    given = f"const {params.type} *params" if params.members else "void"
    parts = [
        _head(n, params, arena),
        f"#if defined({n.macro}_DOUBLE)\ntypedef double {n.name}_real;\n#else\ntypedef float {n.name}_real;\n#endif",
        "enum { " + ", ".join(f"{n.macro}_{k} = {v}" for k, v in n.sizes.items()) + " };",
        *("\n".join(_typedef(x, n)) for x in types),
        f"extern {arena.type} {arena.name};",
        f"/* What the functions return: all is done, or an index has no row in its table. */\n"
        f"enum {{ {n.macro}_DONE, {n.macro}_WRONG_INDEX }};",
        *(f"/* {ABOUT[key]} */\nint {n.name}_{key}({given});" for key in ABOUT if key in n.calls),
        "#ifdef __cplusplus\n}\n#endif\n#endif",
    ]
    return "\n\n".join(parts) + "\n"


def arena_line(name: str, arena: Struct) -> str:
    """Return the definition of the arena, after a check that it takes no more bytes than were told."""
    least, most = (arena.bytes(real) for real in (4, 8))
    check = f"typedef char {name}_arena_is_as_told[sizeof({arena.type}) <= (sizeof(real) == 4 ? {least} : {most}) ? 1 : -1];"
    return f"{check}\n{arena.type} {arena.name};"


def _head(n: Names, params: Struct, arena: Struct) -> str:
    (least, most), (own, double) = ((x.bytes(4), x.bytes(8)) for x in (arena, params))
    given = (
        f" Parameters take {own} more,\n * {double} of double, wherever the caller has them." if params.members else ""
    )
    return f"""/* {safe(n.title)}
 *
 * All arrays but the parameters lie in the arena, {least} bytes, or {most} of double.{given}
 * No function allocates memory, and there is one arena: no two calls may run at the same time. Compile with
 * -D{n.macro}_DOUBLE for double in the place of float; with -DSELFCHECK the source is a program that checks itself.
 */
#ifndef {n.macro}_H
#define {n.macro}_H

#include <stdint.h>

#if defined(SELFCHECK) && !defined({n.macro}_DOUBLE)
#define {n.macro}_DOUBLE
#endif

#ifdef __cplusplus
extern "C" {{
#endif"""


def _structs(s: Struct) -> Iterator[Struct]:
    for x in s.members:
        if isinstance(x, Struct):
            yield from _structs(x)
    yield s


def _typedef(s: Struct, n: Names) -> list[str]:
    words = f"  /* {s.words} */" if s.words else ""
    return [f"typedef struct {{{words}", *_members(s, n, 1), f"}} {s.type};"]


def _members(s: Struct, n: Names, depth: int) -> Iterator[str]:
    for x in s.members:
        yield from _member(x, n, depth) if isinstance(x, Member) else _inner(x, n, depth)


def _inner(s: Struct, n: Names, depth: int) -> Iterator[str]:
    start, words = "    " * depth, f"  /* {s.words} */" if s.words else ""
    if s.type:
        yield f"{start}{s.type} {s.name};{words}"
        return
    yield f"{start}{'union' if s.is_union else 'struct'} {{{words}"
    yield from _members(s, n, depth + 1)
    yield f"{start}}} {s.name};"


def _member(x: Member, n: Names, depth: int) -> Iterator[str]:
    kind = INDEX if x.dtype == "index" else f"{n.name}_real"
    shape = "".join(f"[{max(length, 1)}]" for length in x.shape)
    code = f"{'    ' * depth}{kind} {x.name}{shape};"
    yield f"{code:<{WIDTH}}  /* {safe(x.words)} */" if x.words else code
