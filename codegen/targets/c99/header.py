"""The header: sizes, structs of arrays, each with its shape, and the functions."""

from __future__ import annotations

from collections.abc import Sequence

from symbptt.codegen.targets.c99.interface import Field, Interface, shape_code
from symbptt.codegen.targets.c99.names import STATUS
from symbptt.codegen.targets.c99.printer import safe

ABOUT = {
    "given": "what both sweeps read",
    "run": "what the forward sweep writes and the backward sweep reads",
    "cotangents": "derivatives of a loss L after each step, from which the backward sweep starts; NULL counts as zero",
    "gradients": "what the backward sweep writes",
}


def header(i: Interface, title: str) -> str:
    """Return the text of the header."""
    parts = [
        _head(i, title),
        _type(i),
        _sizes(i),
        *(_struct(i, name, fields) for name, fields in i.structs()),
        _functions(i),
        "#ifdef __cplusplus\n}\n#endif\n#endif",
    ]
    return "\n\n".join(parts) + "\n"


def _head(i: Interface, title: str) -> str:
    return f"""/* {safe(title)}
 *
 * The caller hands over all arrays: row-major, without gaps, none overlapping another. No function allocates memory or
 * keeps anything between calls. Compile with -D{i.macro}_DOUBLE for double in the place of float.
 */
#ifndef {i.macro}_H
#define {i.macro}_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {{
#endif"""


def _type(i: Interface) -> str:
    return f"""#ifdef {i.macro}_DOUBLE
typedef double {i.name}_real;
#else
typedef float {i.name}_real;
#endif"""


def _sizes(i: Interface) -> str:
    names = [name for name in i.sizes.values() if name not in ("T", "B")]
    lines = ["    size_t T;  /* steps, 0 or more */", "    size_t B;  /* samples, 1 or more */"]
    lines += [f"    size_t {', '.join(names)};  /* 1 or more each */"] * bool(names)
    return "\n".join(["typedef struct {", *lines, f"}} {i.name}_sizes;"])


def _struct(i: Interface, name: str, fields: Sequence[Field]) -> str:
    const = "const " if name in ("given", "cotangents") else ""
    lines = [_field(i, field, const) for field in fields]
    if name == "run":
        lines.append(_row(f"    {i.name}_real *tape;", "", f"{i.name}_tape_bytes(), which the backward sweep reads"))
    lines = lines or ["    char none;  /* there is none */"]
    return "\n".join([f"typedef struct {{  /* {ABOUT[name]} */", *lines, f"}} {i.name}_{name};"])


def _field(i: Interface, field: Field, const: str) -> str:
    kind = "size_t" if field.buffer.dtype == "index" else f"{i.name}_real"
    code = f"    {const}{kind} *{field.name};"
    null = "; NULL: zero" if field.buffer in i.optional and field in i.given else ""
    return _row(code, shape_code(field.buffer, i), f"{safe(field.words)}{null}")


def _row(code: str, shape: str, words: str) -> str:
    return f"{code:<32} /* {shape:<14} {words} */"


def _functions(i: Interface) -> str:
    codes = ", ".join(f"{i.macro}_{code}" for code in STATUS)
    n = i.name
    return f"""/* What the sweeps return; but for {i.macro}_DONE they have written nothing. */
enum {{ {codes} }};

/* The bytes of the tape and of the workspace at these sizes; SIZE_MAX, which malloc refuses, where a size is 0 (but for T)
 * or does not go with the others, or where all arrays together are larger than memory can be. */
size_t {n}_tape_bytes(const {n}_sizes *sizes);
size_t {n}_workspace_bytes(const {n}_sizes *sizes);

/* Run the cell over all steps. */
int {n}_forward(const {n}_sizes *sizes, const {n}_given *given, const {n}_run *run, {n}_real *workspace);

/* Write the gradients of L for the cotangents of a run; what the run was given must be as it was. */
int {n}_backward(const {n}_sizes *sizes, const {n}_given *given, const {n}_run *run,
                 const {n}_cotangents *cotangents, const {n}_gradients *gradients, {n}_real *workspace);"""
