"""Outside of loops: the base of an odd power that calls a function gets a line of its own, for NumPy's `power` takes as long as
logarithms do.

Example: `c = w * sin(h)**3` becomes `s = sin(h); c = w * s**3`, of which the power is printed as `s * s * s`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from symbptt.codegen.loop_ir.nodes import Buffer, Function, Map, View
from symbptt.codegen.loop_ir.operators import has_call
from symbptt.codegen.loop_ir.rewrite import with_buffers
from symbptt.codegen.loop_ir.types import type_of
from symbptt.codegen.lower.bodies import replaced
from symbptt.codegen.targets.numpy.passes.temporaries import Temporaries
from symbptt.ir.scalar import Power, Ref, Tree, indices, parts_of, whole_power, with_parts


def own_bases(f: Function) -> Function:
    """Return a function in whose statements outside of loops no odd power has a base that calls a function."""
    made = Temporaries(f)
    body = [new for s in f.body for new in (_Bases(made, s).statements() if isinstance(s, Map) else [s])]
    # What lasts is never a part of the expression that reads it.
    lasting: dict[Buffer, Buffer] = {b: replace(b, space="residual") for b in made.new}
    return with_buffers(replace(f, body=tuple(body), buffers=made.all), lasting)


@dataclass
class _Bases:
    """A map, and the statements that compute the bases of its powers."""

    made: Temporaries
    s: Map
    args: list[View] = field(default_factory=list)

    def statements(self) -> Iterator[Map]:
        """Yield the bases, then the map that reads them."""
        found: dict[Tree, View] = {}
        for base in _bases(self.s.body):
            read = list(dict.fromkeys(indices(base)))
            own = replaced(base, lambda i, read=read: Ref(read.index(i)))  # type: ignore[misc]
            args = tuple(self.s.args[i] for i in read)
            found[base] = self.made.like(self.s.out, dtype=type_of(own, args))
            yield Map(found[base], own, args)
        at = {base: len(self.s.args) + i for i, base in enumerate(found)}
        yield replace(self.s, body=_instead(self.s.body, at), args=(*self.s.args, *found.values())) if found else self.s


def _bases(tree: Tree) -> dict[Tree, None]:
    """Return the outermost bases of odd powers that call a function."""
    count = whole_power(tree)
    while count and count % 2 == 0:
        count //= 2
    if isinstance(tree, Power) and count > 2 and has_call(tree.base):
        return {tree.base: None}
    return dict.fromkeys(base for part in parts_of(tree) for base in _bases(part))


def _instead(tree: Tree, at: dict[Tree, int]) -> Tree:
    return Ref(at[tree]) if tree in at else with_parts(tree, (_instead(part, at) for part in parts_of(tree)))
