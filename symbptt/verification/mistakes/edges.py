"""Mistakes on one edge of a derivation: its term missing, twice, of the wrong sign, without a factor, transposed.

For example the edge from h = tanh(a) to a gives a the term dh ⊙ (1 − h²). Mistakes there: no term, 2 dh ⊙ (1 − h²), its negative,
dh, and those of its formula (bodies.py): dh ⊙ (1 − h), dh ⊙ (1 − tanh(h)²).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from symbptt.autodiff.bptt import Recursion
from symbptt.ir.node import Node, Product, View
from symbptt.verification.adjoints.sweep import EdgeFault
from symbptt.verification.adjoints.tape import Edge, Tape
from symbptt.verification.mistakes.bodies import other_bodies
from symbptt.verification.mistakes.mistake import Mistake
from symbptt.verification.mistakes.part import Part, depending, made, said

SCALES = {0.0: "missing", 2.0: "doubled", -1.0: "sign", 0.5: "halved"}
SAID = {
    0.0: "{bar} lacks the term {term}",
    2.0: "{bar} has the term {term} twice",
    -1.0: "{bar} has the term {term} with the wrong sign",
    0.5: "{bar} has half of the term {term}",
}


def edge_mistakes(part: Part) -> Iterator[Mistake]:
    """Yield the mistakes on single edges, but those that read a value of another step."""
    skipped = chained(part.tape, part.recursion)
    for edge in part.tape.edges:
        if edge.number not in skipped:
            yield from _scaled(part, edge)
        if edge.given != edge.bar and part.recursion.graph.shape(edge.value) == part.recursion.graph.shape(edge.target):
            words = partial(passed, part, edge, edge.value)
            yield made(part, edge, "factor", words, EdgeFault(passes=True), rank=2)
        for node in edge.nodes:
            if node.family == "map":
                yield from other_bodies(part, edge, node)
            elif node.family in ("contract", "view"):
                yield from _transposed(part, edge, node)
            elif node.family == "reduce":
                yield from _other_axes(part, edge, node)


def chained(tape: Tape, recursion: Recursion) -> set[int]:
    """Return the edges in whose place the next one may be looked at: its end has no other term, and gives to one value alone."""
    alone = sole(tape, recursion)
    return {edge.number for edge in tape.edges if edge.target in alone}


def sole(tape: Tape, recursion: Recursion) -> set[int]:
    """Return the values that one edge leads to and one edge leaves, which are no results."""
    into: dict[int, int] = {}
    for edge in tape.edges:
        into[edge.target] = into.get(edge.target, 0) + 1
    results = {*recursion.step.next.values(), *recursion.step.outputs.values()}
    return {
        id for id, count in into.items() if count == 1 and id not in results and len(tape.from_value.get(id, ())) == 1
    }


def _scaled(part: Part, edge: Edge) -> Iterator[Mistake]:
    for scale, kind in SCALES.items():
        words = partial(said, part, edge, SAID[scale])
        yield made(part, edge, kind, words, EdgeFault(scale), rank=int(scale == 0.5))


def passed(part: Part, edge: Edge, value: int) -> str:
    """Tell that the end of an edge has the cotangent of a value as it is."""
    bar, of = part.words.bar(edge.target), part.words.bar(value)
    return f"{bar} has {of} as it is, in the place of the term {part.words.term(edge)}"


def _transposed(part: Part, edge: Edge, node: Node) -> Iterator[Mistake]:
    """Yield products with two axes of one operand or of the result exchanged, where both have one length, and transposes left out."""
    tape, at = part.tape, node.attrs
    if node.family == "view":
        if at.kind == "transpose" and tape.shape(node.id) == tape.shape(node.args[0]):
            plain = View("transpose", tuple(range(len(node.shape))))
            yield made(
                part,
                edge,
                "transposed",
                partial(said, part, edge, "{bar}: the term {term} is transposed"),
                EdgeFault(nodes={node.id: replace(node, attrs=plain)}),
            )
        return
    moving = depending(edge)
    for number, labels in enumerate((at.a, at.b, at.out)):
        operand = (*node.args, node.id)[number]
        # The axes of a cotangent are not exchanged: that is the same as in the other operand, or the result, but for vectors.
        is_own = number == 2 or operand not in moving or max(len(at.a), len(at.b)) > max(len(at.out), 1) == 1
        for i in range(len(labels)) if is_own else ():
            for j in range(i):
                if tape.shape(operand)[i] != tape.shape(operand)[j] or tape.shape(operand)[i] == 1:
                    continue
                swapped = list(labels)
                swapped[i], swapped[j] = swapped[j], swapped[i]
                parts: list[Sequence[int]] = [at.a, at.b, at.out]
                parts[number] = tuple(swapped)
                fault = EdgeFault(nodes={node.id: replace(node, attrs=Product(*map(tuple, parts)))})
                yield made(
                    part, edge, "transposed", partial(_of_product, part, edge, None if number == 2 else operand), fault
                )
    for i, own in enumerate(at.out):
        for other in sorted({*at.a, *at.b} - {*at.out}):
            if _length(tape, node, own) == _length(tape, node, other) > 1:
                out = tuple(other if k == i else label for k, label in enumerate(at.out))
                fault = EdgeFault(nodes={node.id: replace(node, attrs=Product(at.a, at.b, out))})
                words = partial(said, part, edge, "in the term {term} of {bar}, the sum goes over another axis")
                yield made(part, edge, "transposed", words, fault)


def _other_axes(part: Part, edge: Edge, node: Node) -> Iterator[Mistake]:
    """Yield sums over another axis of the same length."""
    shape = part.tape.shape(node.args[0])
    for own in node.attrs.axes:
        for other in (i for i in range(len(shape)) if i not in node.attrs.axes):
            if shape[own] == shape[other] > 1:
                axes = tuple(sorted({*node.attrs.axes, other} - {own}))
                fault = EdgeFault(nodes={node.id: replace(node, attrs=replace(node.attrs, axes=axes))})
                words = partial(said, part, edge, "in the term {term} of {bar}, the sum goes over another axis")
                yield made(part, edge, "transposed", words, fault)


def _length(tape: Tape, node: Node, label: int) -> int:
    """Return the length of the axis of a product with a label."""
    for arg, labels in zip(node.args, (node.attrs.a, node.attrs.b), strict=True):
        if label in labels:
            return tape.shape(arg)[labels.index(label)]
    raise AssertionError(f"no label {label} in {node}")


def _of_product(part: Part, edge: Edge, operand: int | None) -> str:
    if operand is None:
        return said(part, edge, "{bar}: the term {term} is transposed")
    known = operand in part.recursion.forward_ids
    what = part.words.value(operand) if known else part.words.bar(edge.value) if operand == edge.bar else "an operand"
    rank = len(part.tape.shape(operand))
    exchanged = f"{what} and its transpose are exchanged" if rank == 2 else f"two axes of {what} are exchanged"
    return said(part, edge, "in the term {term} of {bar}, ") + exchanged
