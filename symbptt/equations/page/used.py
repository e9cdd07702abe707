"""The names and signs that a recursion has on its page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from symbptt.autodiff.bptt import Recursion
from symbptt.autodiff.labels import Label
from symbptt.equations.notation.names import Used
from symbptt.ir.node import Body
from symbptt.ir.scalar import functions_in
from symbptt.ir.shape import names_in
from symbptt.ops import sigmoid

ROLES = {"state": "state", "input": "input", "index": "input", "target": "input"}


def used_names(r: Recursion, labels: Iterable[Label]) -> Iterator[Used]:
    """Yield the names of values and of arguments, each with what its time is."""
    arguments = {a.name for a in r.step.arguments}
    for label in labels:
        if label.name not in arguments:
            yield Used(label.name, "identity" if label.is_identity else "made" if label.time is None else "value")
    for a in r.step.arguments:
        yield Used(a.name, ROLES.get(a.role, "once"))


def sizes_of(r: Recursion) -> Iterator[str]:
    """Yield the names of sizes that a recursion has on its page."""
    for a in r.step.arguments:
        yield from names_in(a.shape)


def signs_of(r: Recursion, mark: str) -> Iterator[str]:
    """Yield the signs that the page of a recursion has: the mark of adjoints, and the sign of the logistic function."""
    if mark != "d":
        yield mark
    bodies = (node.attrs.expr for node in r.graph if isinstance(node.attrs, Body))
    if any(function is sigmoid for body in bodies for function, _ in functions_in(body)):
        yield "σ"
