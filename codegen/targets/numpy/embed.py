"""The part of the runtime that a generated module contains: the definitions that it calls, and what these call in turn.

A definition is copied as it stands, without its types: the modules are plain Python. What callers of a module use keeps them, written with
NumPy's own names. Names that several files of the
runtime define are choices (`forward` by pieces or whole); the module says from which file each is taken.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from functools import cache
from types import FunctionType, ModuleType

from symbptt import ops, special
from symbptt.codegen.load import names_of_code, names_read
from symbptt.codegen.runtime import (
    algebra,
    alone,
    arguments,
    call,
    cell,
    checked_loss,
    checked_reach,
    checkpoints,
    chunked,
    contexts,
    driver,
    errors,
    evaluation,
    every,
    forms,
    full,
    gather,
    initial,
    labelled,
    last,
    limit,
    located,
    losses,
    masks,
    norms,
    part,
    parts,
    pieces,
    quiet,
    reach,
    real_types,
    resets,
    results,
    root,
    rows,
    saturation,
    scan,
    selfcheck,
    settling,
    shared,
    starts,
    stepping,
    sweeps,
    told_every,
    told_last,
    types,
    watch,
    watch_chunk,
    whole,
    window,
    workspace,
)
from symbptt.codegen.targets.python.copied import FILE, Definition, Source, joined, needed, parsed, plain

RUNTIME: tuple[ModuleType, ...] = (
    initial, driver, stepping, whole, rows, pieces, reach, evaluation, root, limit, chunked, window, told_every, told_last, labelled, every,
    last, losses, parts, part, located, call, checkpoints, gather, algebra, settling, scan, quiet, saturation, special, alone, shared,
    masks, watch, watch_chunk, norms, resets, arguments, starts, contexts, types, real_types, results, workspace, errors, full, selfcheck,
    forms,
    checked_loss, checked_reach,
)  # fmt: skip
"""The files of the runtime in the order in which a module contains them, from callers to callees."""
OWN = (cell, sweeps)
"""The files that declare what each module defines itself under these names."""


def embedded(
    text: str,
    roots: Iterable[str] = (),
    files: Mapping[str, ModuleType] | None = None,
    absent: frozenset[str] = frozenset(),
) -> tuple[str, set[str]]:
    """Return the definitions that a module contains: those that its text reads and `roots`, in the order of the files;
    and the names among these that the module itself must define. `files` tells the files of names that are choices; a statement that
    calls an `absent` function, which has nothing to do in this module, is left out."""
    # A module carries what it calls and nothing else: a cell without masks or checkpoints needs none of their
    # functions, and its reader does not have to pass over them.
    known, own = {**_first(), **(files or {})}, set[str]()

    def told(name: str) -> Definition | None:
        if name in _own_names():
            own.add(name)
            return None
        return definition(known[name], name, absent) if name in known else None

    found = needed([*roots, *sorted(names_read(text, FILE))], told)
    return joined(sorted(found.values(), key=lambda d: _places()[d.file, d.name])), own


def defined() -> set[str]:
    """Return all names that modules may define for the runtime, or contain of it."""
    return {name for file in (*RUNTIME, *OWN) for name in names_of(file)} | _remaining().keys()


@cache
def _own_names() -> frozenset[str]:
    return frozenset(name for file in OWN for name in names_of(file))


def names_of(file: ModuleType) -> tuple[str, ...]:
    """Return the names that a file defines, in their order: functions, classes, and constants, which are annotated.

    The loaded file tells them: to parse all files would take longer than to write a module.
    """
    noted = {name for name in file.__annotations__ if name.isupper()}
    return tuple(
        name for name, value in vars(file).items() if name in noted or getattr(value, "__module__", "") == file.__name__
    )


@cache
def _first() -> dict[str, ModuleType]:
    """Return the first file that defines each name; those written from records belong to the file of their caller."""
    found = {name: file for file in RUNTIME[::-1] for name in names_of(file)}
    return found | dict.fromkeys(_remaining(), saturation)


@cache
def _remaining() -> dict[str, Definition]:
    """Return the remainders of functions near one where they saturate, each written from its record."""
    found = {}
    for name, remainder in ops.REMAINING.items():
        words = f"Return {remainder.text} of a large a, by e = exp(-|a|)."
        lines = [f"def _{name}(e):", f'    """{words}"""', f"    return {remainder.code}"]
        found[f"_{name}"] = Definition(saturation.__name__, f"_{name}", "\n".join(lines), frozenset())
    return found


@cache
def _places() -> dict[tuple[str, str], int]:
    """Return the position of each definition, by file and line; those written from records come after their caller."""
    order = [
        (file.__name__, name)
        for file in RUNTIME
        for name in (*names_of(file), *(_remaining() if file is saturation else ()))
    ]
    return {place: i for i, place in enumerate(order)}


@cache
def definition(file: ModuleType, name: str, absent: frozenset[str] = frozenset()) -> Definition:
    """Return what a file defines under a name, without statements that call an absent function, and without types where it is private."""
    if name in _remaining():
        return _remaining()[name]
    text, value = plain(_source(file), name, absent, hinted=not name.startswith("_")), vars(file)[name]
    # The code of a function is there already; of its defaults and decorators none reads a name.
    read = names_of_code(value.__code__) if isinstance(value, FunctionType) else names_read(text, FILE)
    return Definition(file.__name__, name, text, frozenset(read - {name} - absent))


@cache
def _source(file: ModuleType) -> Source:
    return parsed(inspect.getsource(file))
