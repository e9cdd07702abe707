"""The derivative of one value in another one, with the structure that it has."""

from __future__ import annotations

from dataclasses import dataclass

from symbptt.autodiff.guard import FREE, Flow

KINDS = ("zero", "identity", "scalar", "diagonal", "dense")


@dataclass(frozen=True)
class Block:
    """The derivative of a value v with respect to a leaf s.

    `kind` is "zero"; "identity"; "scalar" (`id` times the identity); "diagonal" (`id`, of the shape of s: each entry of
    v depends on its own entry of s only); or "dense" (`id`, of shape v.shape + s.shape). `flow` is what is known of it.
    """

    kind: str
    id: int = -1
    flow: Flow = FREE


ZERO, IDENTITY = Block("zero"), Block("identity")
