"""The source of a NumPy module for a placed program."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from types import ModuleType

import sympy as sp

from symbptt import ops
from symbptt.codegen.loop_ir.nodes import STEPS
from symbptt.codegen.memory.runs import lies_in_rows
from symbptt.codegen.program.head import Head
from symbptt.codegen.program.program import Program
from symbptt.codegen.program.values import is_baked, parts_of_number, size_names
from symbptt.codegen.runtime import (
    alone,
    checked_loss,
    checked_reach,
    chunked,
    contexts,
    every,
    forms,
    full,
    last,
    limit,
    located,
    part,
    pieces,
    reach,
    real_types,
    root,
    rows,
    shared,
    starts,
    told_every,
    told_last,
    watch,
    watch_chunk,
    whole,
    window,
)
from symbptt.codegen.runtime.forms import _forms_in
from symbptt.codegen.targets.numpy import cells
from symbptt.codegen.targets.numpy.embed import embedded, names_of
from symbptt.codegen.targets.numpy.needed import functions_of, needed_text
from symbptt.codegen.targets.numpy.stepping import Steppings, stepping
from symbptt.codegen.targets.python.header import UNVERIFIED, arguments_of, docstring, tables
from symbptt.codegen.targets.python.text import name_tuple, tuple_text
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node
from symbptt.ir.range import NONE, OVERFLOW, SCALE, Hazards, Ranges
from symbptt.ir.rounds import graph_of, with_bodies
from symbptt.language.truncation import Chunked, Window

PUBLIC = ("init", "forward", "backward", "stepper", "value_and_grad", "value", "predict")
TYPED = "from __future__ import annotations"
"""The line by which types are text: those of newer Python too."""
UNREPORTED = (
    "ArgumentType",
    "AssignmentType",
    "CallIssue",
    "GeneralTypeIssues",
    "OptionalCall",
    "OptionalMemberAccess",
    "OptionalSubscript",
)
CHECKERS = "\n".join(
    ["# mypy: ignore-errors", "# pyright: basic", *(f"# pyright: report{kind}=false" for kind in UNREPORTED)]
)
"""Lines for type checkers, which read what callers use: the rest of a module has no types."""
WORDS = {
    "ACCURATE": "remainders of functions near one that are computed again from their arguments",
    "FIXED": "arguments without a gradient",
    "DECLARED": "functions whose derivative is declared, which no forward pass shows",
    "SHOWN": "states that nothing reaches through one of these in a step",
    "REDUCTION": "of the loss over all steps and samples that count",
    "TIMED": "which values of the tape have an axis of steps",
    "CHUNK": "steps whose losses flow back together",
    "REACH": "steps that they flow back through",
    "SPAN": "steps that each loss flows back through",
    "MEMORY": "the bytes that a call may hold beside its arguments",
    "PARTS": "the real numbers of a number",
    "KINDS": "of calls that hold memory: whether it is training",
    "HELD": "bytes at most of arrays that are kept for the next call",
}
"""The meanings of the constants of a module, its tables aside, in the order in which they stand there."""


def source(
    p: Program,
    version: str,
    equations: str,
    head: Head | None = None,
    truncation: Window | Chunked | None = None,
    memory: str | int = "all",
    parts: cells.Printed | None = None,
    origin: str = "",
    steppings: Steppings | None = None,
) -> str:
    """Return the text of the module for a placed program, printed from the loop IR; `origin` is a line of its head, `parts` and
    `steppings` are its functions where they are there already.

    Raises: CellError where no argument tells a size.
    """
    pulled = isinstance(truncation, Window)
    parts = cells.printed(p, None, pulled) if parts is None else parts
    steppings = stepping(p) if steppings is None else steppings
    found, sweeps = parts.sweeps, [*parts.texts, *steppings.texts]
    tape = found.tape
    constants = {c.buffer.name: c.values for c in found.storage.constants if not c.buffer.shape} | steppings.constants
    if head is not None:
        for text, more in cells.loss_texts(head, "T" in _lead(head, truncation), _size_names(p, head)):
            sweeps.append(text)
            constants |= more
    accurate = _forms_in([line for text in sweeps for line in text.splitlines()])
    quiet = _quiet(p, head, pulled)
    public = PUBLIC[: 4 if head is None else 6 if head.predicted is None else 7]
    told = "_of_values" if head is None else "_of_values, _of_loss"
    selfcheck = f'if __name__ == "__main__":\n    _run_selfcheck(__file__, globals(), {told})'
    carried, read = embedded(
        "\n".join([*sweeps, quiet, selfcheck]),
        public,
        _files(p, head, truncation, memory, lies_in_rows(found.forward, found.back)),
        _absent(p, head, accurate > 0),
    )
    texts, ending = [*sweeps, carried], [*[quiet] * bool(quiet), selfcheck]
    timed = tuple_text([*(str(b.shape[:1] == (STEPS,)) for b in tape), "False"])
    given = (
        _settings(head, truncation, memory)
        | {
            "ACCURATE": repr(accurate),
            "TIMED": timed,
            "PARTS": repr(parts_of_number([p] if head is None else [p, head.program])),
        }
        | _told(p, head)
    )
    lines = [f"{name} = {given[name]}  # {words}" for name, words in WORDS.items() if name in read]
    top = [
        docstring(p, version, equations, head),
        "\n".join([*[origin] * bool(origin), UNVERIFIED]),
        CHECKERS,
        f"{TYPED}\n\nimport numpy as np",
        tables(p, head, constants, read),
        "\n" + "\n".join(lines),
    ]
    if isinstance(memory, int):
        at_every = head is not None and head.at == "every"
        texts.append(needed_text(functions_of(found, head, at_every), _size_names(p, head)))
    return _composed(p, top, [*texts, *ending])


def _size_names(p: Program, head: Head | None) -> list[str]:
    """Return the named sizes of a module, including those of a loss."""
    programs = [p] if head is None else [p, head.program]
    return sorted({name for program in programs for name in size_names(program)})


def _files(
    p: Program, head: Head | None, truncation: Window | Chunked | None, memory: str | int, may_lie_in_rows: bool
) -> dict[str, ModuleType]:
    """Return the files of the runtime that define the functions in which modules differ."""
    tells_places = any(node.family in ("algebra", "settled") for node in with_bodies(p.graph))
    # Pieces and windows are of the steps of all samples.
    in_rows = memory == "all" and truncation is None and may_lie_in_rows
    run = rows if in_rows else whole if memory == "all" else pieces
    found = {
        "_prepared": pieces if run is pieces else whole,
        "_ran": run,
        "_flowed_back": run,
        "_trained": run,
        "_reaches": full,
        "_watch": watch,
    }
    found |= dict.fromkeys(("_enter", "_leave"), shared if in_rows else alone)
    found |= dict.fromkeys(names_of(checked_loss), checked_reach if truncation else checked_loss)
    found["_part"] = located if tells_places else part
    if truncation is not None:
        blocks = window if isinstance(truncation, Window) else chunked
        found |= {
            "_flowed_back": reach,
            "_trained": reach,
            **dict.fromkeys(("_blocks", "_first", "_reaches", "_block_back"), blocks),
            "_watch": watch_chunk if isinstance(truncation, Chunked) else watch,
        }
    if not any(a.complex for a in arguments_of(p, head)):
        found |= dict.fromkeys(names_of(real_types), real_types)
    at_last = head is not None and head.at == "last"
    return (
        found
        | {"_pieces": limit if isinstance(memory, int) else root}
        | dict.fromkeys(names_of(every), last if at_last else every)
        | dict.fromkeys(names_of(told_every), told_last if at_last else told_every)
    )


def _absent(p: Program, head: Head | None, is_accurate: bool) -> frozenset[str]:
    """Return the functions of the runtime that have nothing to do in a module: it has no state that begins with something else than
    zero, no context, no index, no accurate form, or no loss that predicts."""
    every = arguments_of(p, head)
    begins, counts = (
        any(x is not None for x in found) for found in zip(*[(a.start, a.limit) for a in every], strict=True)
    )
    predicts = head is not None and head.predicted is not None
    return frozenset(
        [*names_of(starts)] * (not begins)
        + [*names_of(contexts)] * (not any(a.role == "context" for a in every))
        + ["_check_indices"] * (not counts)
        + [*names_of(forms)] * (not is_accurate)
        + ["_tell"] * (not predicts)
    )


def _told(p: Program, head: Head | None) -> dict[str, str]:
    """Return the constants that tell a check of the module by itself what no forward pass shows."""
    programs = [p] if head is None else [p, head.program]
    fixed = [a.name for part in programs for a in part.arguments if a.role == "const" and not is_baked(a)]
    declared = sorted({name for part in programs for node in with_bodies(part.graph) for name in _declared(node)})
    read = {k: with_bodies(p.graph[i] for i in p.graph.ancestors([id])) for k, id in p.next.items()}
    shown = [k for k, nodes in read.items() if not any(map(_declared, nodes))]
    rest = [a.name for part in programs for a in part.of_role("param", "input") if not part.wants(a.name)]
    return {
        "FIXED": name_tuple(dict.fromkeys([*fixed, *rest])),
        "DECLARED": name_tuple(declared),
        "SHOWN": name_tuple(shown),
    }


def _declared(node: Node) -> set[str]:
    """Return the names of the functions in a value whose derivative is declared."""
    functions = {f.func for f in node.attrs.expr.atoms(sp.Function)} if node.family == "map" else set()
    return {f.__name__ for f in functions if getattr(f, "declared", False) and f is not ops.shift}


def _settings(head: Head | None, truncation: Window | Chunked | None, memory: str | int) -> dict[str, str]:
    """Return the constants that tell the options of a module; one that spares memory keeps no workspace between calls."""
    k1, k2 = (truncation.k1, truncation.k2) if isinstance(truncation, Chunked) else (0, 0)
    return {
        "REDUCTION": repr(None if head is None else head.reduction),
        "CHUNK": repr(k1),
        "REACH": repr(k2),
        "SPAN": repr(truncation.k if isinstance(truncation, Window) else 0),
        "MEMORY": repr(memory),
        "KINDS": "(False,)" if head is None else "(True, False)",
        "HELD": "2**28" if memory == "all" else "0",
    }


def _composed(p: Program, top: list[str], texts: list[str]) -> str:
    """Return the text of a module, whose mark tells its runs from those of others."""
    body = "\n\n".join(text.strip("\n") + "\n" for text in texts)
    # The checksum tells a module from another version of the same cell.
    mark = f"{p.name} {zlib.crc32(body.encode('utf-8', 'replace')):08x}"
    return "\n\n".join([*top, f"MARK = {mark!r}"]) + f"\n\n\n{body}"


def _lead(head: Head, truncation: Window | Chunked | None) -> tuple[str, ...]:
    """Return the sample axes of a loss: a truncated one is taken at every step."""
    return ("T", "B") if head.at == "every" or truncation else ("B",)


def _quiet(p: Program, head: Head | None, pulled: bool) -> str:
    """Return the lines that make sweeps pass over errors which are expected and come to nothing; they are the last of a
    module, for they call what it defines."""
    forward = _hidden(p, "forward")
    kinds = {
        "_forward": forward,
        "_once": forward,
        "_step": forward,
        "_pull" if pulled else "_backward": _hidden(p, "backward"),
    }
    if head is not None:
        kinds["_loss"] = max((_hidden(head.program, sweep) for sweep in ("forward", "backward")), key=len)
    lines = [f"{sweep} = _quiet({', '.join([sweep, *found])})" for sweep, found in kinds.items() if found]
    return "\n".join(["# errors that come to nothing are no news", *lines]) if lines else ""


def _hidden(p: Program, sweep: str) -> tuple[str, ...]:
    """Return the kinds of floating-point errors that a sweep may meet where its results are finite, as texts.

    The sigmoid overflows to its right limit, and so may a divisor; a branch that is not chosen may have any value.
    """
    nodes = [node for node in p.graph if p.places.get(node.id, "").startswith(sweep)]
    absorbed = NONE.union(*_absorbed(p.graph, nodes))
    if (sweep == "backward" and p.guarded) or absorbed - {OVERFLOW, SCALE}:
        return '"divide"', '"over"', '"invalid"'
    overflows = absorbed or any(
        node.family == "map" and node.attrs.expr.has(ops.sigmoid) for node in with_bodies(nodes)
    )
    return ('"over"',) if overflows else ()


def _absorbed(g: Graph, nodes: Iterable[Node]) -> Iterator[Hazards]:
    """Yield why what values read may be no finite number where they are, in the bodies of loops also."""
    ranges = Ranges(g)
    for node in nodes:
        yield ranges.absorbed(node)
        if node.family in ("rounds", "settled"):
            yield from _absorbed(graph_of(node.attrs.inner), node.attrs.inner.nodes)
