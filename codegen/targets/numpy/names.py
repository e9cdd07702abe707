"""The variables of a NumPy module: the named values of a program, and how they are written at each place."""

from __future__ import annotations

import builtins
import keyword
from dataclasses import dataclass, field

from symbptt.codegen.program.names import Named, named
from symbptt.codegen.program.program import Program
from symbptt.codegen.program.values import Part
from symbptt.codegen.targets.numpy.embed import defined
from symbptt.codegen.targets.numpy.text import size_text
from symbptt.ir.shape import size

RESERVED = {
    *keyword.kwlist, *keyword.softkwlist, *dir(builtins), "np", "t", "T", "B", "a", "sizes", "dtype", "active", "reset",
    "tape", "flow", "given", "last", "full", "forward", "backward", "value_and_grad", "erf", "params", "inputs",
    "state", "run", "start", "carry", "sums", "read", "of", "masked", "scanned", "window", "plans", "K", "lo", "hi", "v",
    "final", "adjoint", "adjoints", "resets", "waiting", "sent", "ws", "workspace", "_", *defined(),
}  # fmt: skip
"""Names that a module uses itself."""


@dataclass(frozen=True)
class Module(Named):
    """The data that the writers of both sweeps share. `aliases` are the values that are parts of another's array, with
    that value and the index."""

    aliases: dict[int, tuple[int, str]] = field(default_factory=dict)
    lead: tuple[str, ...] = ("T", "B")


def module_of(p: Program, lead: tuple[str, ...] = ("T", "B")) -> Module:
    """Return the variables of a placed program."""
    n = named(p, RESERVED)
    aliases = {id: (part.whole, _index(n, part)) for id, part in n.parts.items()}
    return Module(**vars(n), aliases=aliases, lead=lead)


def _index(n: Named, part: Part) -> str:
    """Return the index of a part in the array of the whole value, whose axis of gates stands behind that of steps."""
    start = size_text(part.start, n.sizes)
    span = start if part.is_point else f"{start}:{size_text(size(part.start + part.length), n.sizes)}"
    return f"[:, {span}]" if part.whole in n.program.front else f"[..., {span}]"
