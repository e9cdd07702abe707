"""The variables of a NumPy module: the named values of a program, and how they are written at each place."""

from __future__ import annotations

import builtins
import keyword
from dataclasses import dataclass, field

from symbptt.codegen.program.names import Named, named
from symbptt.codegen.program.program import Program
from symbptt.codegen.program.regions import LOOP
from symbptt.codegen.program.values import Part, is_baked
from symbptt.codegen.targets.numpy.embed import defined
from symbptt.codegen.targets.numpy.expressions import Scope
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
    that value and the index; writing adds to `used`."""

    aliases: dict[int, tuple[int, str]] = field(default_factory=dict)
    lead: tuple[str, ...] = ("T", "B")
    used: set[str] = field(default_factory=set)

    def scope(self, region: str) -> Scope:
        """Return how values are written in a region of either sweep."""
        lead = ("B",) if region == LOOP else self.lead
        return Scope(
            self.program.graph,
            self.varying,
            self.static,
            lead,
            lambda id: self.refer(id, region),
            self.sizes,
        )

    def refer(self, id: int, region: str) -> str | None:
        """Return the text of a value that has a variable, in a region."""
        name = self.previous.get(id) or self.variables.get(id)
        if name is None:
            return None
        self.used.add(name)
        if id not in self.varying:
            return name
        if self.is_carry(id):
            return name if region == LOOP else self.kept_carry(name)
        # A value of the loop that is not stored has one step only, and no index.
        array = self.program.graph[id].family == "leaf" or id in self.stored or not self.place(id).endswith(LOOP)
        if id in self.program.front:
            # A gate-major array of all steps has the axes (T, g, B, n).
            name = f"{name}.swapaxes(1, 2)"
        return f"{name}[t]" if region == LOOP and array else name

    def root(self, id: int) -> str:
        """Return the variable of the array whose memory a value has."""
        return self.variables[self.whole(id)]

    def kept_carry(self, name: str) -> str:
        """Return the array that has an adjoint at every step."""
        self.used.add(f"{name}_all")
        return f"{name}_all"

    def steps_of_carry(self, id: int) -> str:
        """Return the number of steps of the array that has an adjoint at every step."""
        return "T" if id in self.collected else "K"


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


def constants_of(m: Module) -> dict[str, float]:
    """Return the constants that are one number, by variable."""
    return {m.of_argument(a.name): a.default for a in m.program.arguments if is_baked(a) and not a.shape}
