"""What random cells are made of: for each shape the expressions that have it, and a writer that draws among them.

A row is a text and the shapes of its parts, by letters: `a` and `c` are the axes of the result, `s` is its whole shape, and other
letters are any size. Where every part has its shape, the whole has: no drawn cell is refused for a shape.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.properties.terms import Argument, Dims, Statement, Term, Tree

Row = tuple[str, ...]

# Of any shape.

SMOOTH = """np.tanh({0}) np.tanh({0}) sb.sigmoid({0}) sb.sigmoid({0}) np.sin({0}) np.cos({0}) sb.softplus({0}) sb.gelu({0}) sb.silu({0})
sb.mish({0}) np.arctan({0}) sb.erf({0}) sb.softsign({0}) np.exp(np.tanh({0})) np.exp(-({0}**2)) np.square({0}) np.log1p({0}**2)
np.expm1(np.sin({0})) np.cosh(np.tanh({0})) np.sinh(np.sin({0})) np.reciprocal(2+np.sin({0})) np.log(2+np.tanh({0}))""".split()
KINKED = """sb.relu({0}) np.abs({0}) sb.leaky_relu({0}) sb.elu({0}) sb.selu({0}) sb.hard_sigmoid({0}) sb.hard_tanh({0})
np.maximum({0},0.1) np.minimum({0},0.4) np.clip({0},-0.5,0.6) np.maximum(0,{0}) sb.stop_gradient({0})""".split()


def spaced(text: str) -> str:
    """A text as a formatter would write it."""
    for sign in ("**", "+"):
        text = text.replace(sign, f" {sign} ") if sign != "**" or "-(" not in text else text
    return text.replace(",", ", ")


ELEMENTWISE: list[Row] = [
    *((spaced(text), "s") for text in [*SMOOTH, *SMOOTH, *KINKED]),
    ("-{0}", "s"), ("{0} ** 2", "s"), ("0.1 * {0} ** 3", "s"), ("1 / (1 + {0} ** 2)", "s"), ("(1 + {0} ** 2) ** -0.5", "s"),
    ("np.sqrt(0.1 + {0} * {0})", "s"), ("1 - {0}", "s"), ("0.5 * {0}", "s"), ("{0} / 3", "s"), ("swish({0})", "s"), ("spike({0})", "s"),
    ("+{0}", "s"), ("2 * {0} - 0.3", "s"), ("np.copy({0})", "s"),
]  # fmt: skip
ARITHMETIC: list[Row] = [
    *[("{0} + {1}", "s", "s"), ("{0} - {1}", "s", "s"), ("{0} * {1}", "s", "s")] * 4, ("{0} / (2 + np.sin({1}))", "s", "s"),
    *[("{0} * {1}", "", "s"), ("{0} + {1}", "s", ""), ("{0} - {1} * {2}", "s", "", "s"), ("{0} * {1} + {2}", "s", "s", "s")] * 2,
    ("mix(sb.sigmoid({0}), {1}, {2})", "s", "s", "s"), ("mix({0}, {1}, np.tanh({2}))", "s", "s", "s"), ("leak({0}, {1})", "s", "s"),
    ("leak({0}, np.tanh({1}), rate={2})", "s", "s", ""), ("blend({0}, {1})", "s", "s"), ("np.multiply({0}, {1})", "s", "s"),
    ("(1.5 + np.sin({0} + {1})) ** {1}", "s", "s"), ("np.hypot({0}, 1 + {1} ** 2)", "s", "s"), ("np.logaddexp({0}, {1})", "s", "s"),
    ("(1 - {0}) * {1} + {0} * {2}", "s", "s", "s"), ("{0} * {0} - {1} * {1}", "s", "s"), ("{0} - {0} * {1}", "s", "s"),
    ("np.arctan2({0}, 2 + {1} ** 2)", "s", "s"), ("sum([{0}, {1}, {2}])", "s", "s", "s"), ("np.add({0}, {1}) / 2", "s", "s"),
]  # fmt: skip
CHOICES: list[Row] = [
    ("np.where({0} > 0.1, {1}, {0} * {1})", "s", "s"), ("np.where({0} * {1} < dt, {1}, 0.3 * {0})", "s", "s"),
    ("np.maximum({0}, {1})", "s", "s"), ("np.minimum({0}, {1})", "s", "s"), ("{0} * ({1} > 0.2)", "s", "s"),
    ("np.where({0} > 0, np.log1p(np.abs({0})), {1})", "s", "s"), ("np.where(dt > 0.1, {0}, {1})", "s", "s"),
    ("{0} * np.sign({1})", "s", "s"), ("np.where(({0} > -1) & ({1} < 1), {0}, {1})", "s", "s"), ("np.clip({0}, -1, {1} ** 2)", "s", "s"),
    ("np.where({0} >= {1}, {0} - {1}, {2})", "s", "s", "s"), ("np.where({0} > 0, {1}, {2})", "", "s", "s"),
    ("np.where(({0} < 0) | ({1} < 0), 0.5 * {0}, {1})", "s", "s"), ("np.where(np.abs({0}) < 1, {0}, np.sign({0}))", "s"),
    ("({0} < {1}) * {2}", "s", "s", "s"), ("np.maximum({0}, 0) + 0.2 * np.minimum({0}, 0)", "s"), ("sb.where({0} != 0, {0}, {1})", "s", "s"),
]  # fmt: skip

# Of one axis or more.

ALONG: list[Row] = [
    ("sb.softmax({0})", "s"), ("sb.log_softmax({0})", "s"), ("np.cumsum({0}, axis=-1)", "s"), *[("np.cumsum({0}, axis=0)", "s"), ("sb.cumsum({0})", "s")] * 2,
    ("sb.layer_norm({0}, eps=1e-2)", "s"), ("{0} - np.mean({0}, axis=-1, keepdims=True)", "s"), ("{0} / (1 + np.sum({0} ** 2))", "s"),
    ("{0} - np.max({0})", "s"), ("{0} * sb.logsumexp({0}, axis=-1, keepdims=True)", "s"), ("{0} + np.min({0}, axis=0)", "s"),
    ("{0} / np.sqrt(np.mean({0} ** 2) + 1e-2)", "s"), ("{0} / (1 + np.linalg.norm({0}))", "s"), ("{0} * np.var({0}, axis=-1, keepdims=True)", "s"),
    ("np.exp({0} - {0}.max()) / np.sum(np.exp({0} - {0}.max()))", "s"), ("sb.cumsum(sb.softmax({0}))", "s"), ("{0} - {0}.mean(0)", "s"), ("{0}[::-1] * {1}", "s", "s"),
    ("np.roll({0}, 1, axis=0)", "s"), ("np.roll({0}, -1, axis=-1)", "s"), ("np.flip({0}, axis=0)", "s"), ("{0}[::-1]", "s"), ("{0}[..., ::-1]", "s"),
    ("np.concatenate([{0}[:1], {0}[1:]])", "s"), ("np.concatenate([{0}[-1:], {1}[:-1]])", "s", "s"), ("{0} * {0}.shape[0]", "s"),
    ("{0} / {0}.shape[-1] ** 0.5", "s"), ("{0} * {1}.size / ({1}.shape[0] + 1)", "s", "s"), ("np.ones_like({0}) - {0}", "s"), ("{0}[None][0]", "s"),
    ("np.stack([{0}, {1}])[1] - {0}", "s", "s"), ("np.stack([{0}, {1}]).sum(axis=0)", "s", "s"), ("np.mean(np.stack([{0}, {1}, {0}]), 0)", "s", "s"),
    ("np.sum(np.stack([{0}, {1}], axis=-1), axis=-1)", "s", "s"), ("np.max(np.stack([{0}, {1}]), axis=0)", "s", "s"),
    ("np.reshape({0}.reshape(-1), {0}.shape)", "s"), ("np.where({0} > {0}.mean(), {0}, {1})", "s", "s"), ("{0} + np.zeros_like({0})", "s"),
    ("np.array([0.3, -0.7])[0] * {0}", "s"), ("np.tensordot(np.array([0.5, -1.5]), np.stack([{0}, {1}]), 1)", "s", "s"),
    ("np.squeeze({0}[None], axis=0)", "s"), ("np.expand_dims({0}, 0)[0]", "s"), ("standard({0})", "s"),
]  # fmt: skip

# By the number of axes.

VECTOR: dict[str, list[Row]] = {
    "products": [
        *[("{0} @ {1}", "a b", "b")] * 6, ("np.dot({0}, {1})", "a b", "b"), ("np.matmul({0}, {1})", "a b", "b"), ("{0} @ {1}", "b", "b a"),
        ("np.einsum('ij,j->i', {0}, {1})", "a b", "b"), ("np.einsum('ij,j', {0}, {1})", "a b", "b"), ("np.tensordot({0}, {1}, 1)", "a b", "b"),
        ("np.tensordot({0}, {1}, axes=([0], [0]))", "b a", "b"), ("np.inner({0}, {1})", "a b", "b"), ("{0}.T @ {1}", "b a", "b"),
        ("np.einsum('i,ij,j->j', {0}, {1}, {2})", "b", "b a", "a"), ("np.einsum('ij,ij->j', {0}, {1})", "b a", "b a"), ("{0} @ {1} + {2}", "a b", "b", "a"),
        ("np.einsum('ijk,j,k->i', {0}, {1}, {2})", "a b d", "b", "d"), ("({0} @ {1}) @ {2}", "a b d", "d", "b"), ("sb.dot({0}, {1})", "a b", "b"),
        ("{0} @ ({1} @ {2})", "a b", "b d", "d"), ("sb.dot({0}, {1})", "b", "b a"), ("np.einsum('i,i->i', {0}, {1})", "a", "a"),
        ("attend({0}, {1})", "b a", "a"), ("relax({0}, {1}, 2)", "a", "a a"), ("np.sum({0} * {1}, axis=1)", "a b", "b"), ("{0} * ({1} @ {2})", "a", "b", "b"),
        ("np.einsum('...j,j->...', {0}, {1})", "a b", "b"), ("np.einsum('ij->i', {0} * {1}[:, None])", "a b", "a"),
        ("sb.softmax({0} @ {1}) @ {2}", "b a", "a", "b a"), ("np.tanh({0} @ {1} + {2} @ {3} + {4})", "a b", "b", "a d", "d", "a"),
    ],
    "reductions": [
        ("np.sum({0}, axis=0)", "b a"), ("np.sum({0}, axis=-1)", "a b"), ("np.mean({0}, axis=1)", "a b"), ("{0}.sum(0)", "b a"), ("np.max({0}, axis=0)", "b a"),
        ("np.min({0}, axis=1)", "a b"), ("sb.logsumexp({0}, axis=1)", "a b"), ("np.linalg.norm({0} + 2, axis=0)", "b a"), ("np.std({0}, axis=0)", "b a"),
        ("np.mean({0} * {1}[:, None], axis=0)", "b a", "b"), ("np.sum({0}, axis=(0, 2))", "b a 2"), ("np.var({0}, axis=-1)", "a b"), ("np.einsum('ij->j', {0})", "b a"),
        ("np.sum({0}, axis=1, keepdims=True)[:, 0]", "a b"), ("np.cumsum({0}, axis=0)[-1]", "b a"), ("sb.mean({0} ** 2, axis=0)", "b a"),
    ],
    "views": [
        ("np.concatenate([{0}, {1}])[{1}.shape[0]:][:{1}.shape[0]]", "a", "a"), ("np.concatenate([{0}, {1}])[{0}.shape[0]:]", "b", "a"), ("{0}[0]", "b a"), ("{0}[:, -1]", "a b"), ("{0}.T[0]", "a b"),
        ("np.concatenate([{0}, {1}])[: {0}.shape[0]]", "a", "b"), ("{0}[:, 0]", "a b"), ("{0}[-1]", "b a"), ("{0}[1]", "2 a"), ("np.hstack(({0}, {1}))[-{1}.shape[0]:]", "b", "a"),
        ("np.split({0}, 2)[1]", "2*a"), ("sb.split({0}, 2)[0]", "2*a"), ("{0}[::2]", "2*a"), ("{0}[1::2]", "2*a"), ("{0}[::-2]", "2*a"), ("{0}[{1}.shape[0]:]", "2*a", "a"),
        ("{0}[1:]", "a+1"), ("{0}[:-1]", "a+1"), ("{0}[:0:-1]", "a+1"), ("{0}[-2::-1]", "a+1"), ("{0}[1:] - {0}[:-1]", "a+1"), ("{0}.reshape(2, -1)[0]", "2*a"),
        ("{0}.reshape({1}.shape[0], 2)[:, 1]", "2*a", "a"), ("np.take({0}, 0, axis=1)", "a b"), ("np.broadcast_to(np.sum({0}), {1}.shape) * {1}", "b", "a"), ("{0} * np.ones_like({1})", "", "a"),
        ("{0} * {1}[0]", "a", "b"), ("{0} + {1}[-1]", "a", "b"), ("np.swapaxes({0}, 0, 1)[0]", "a b"), ("np.ravel({0}[:1])", "b a"), ("{0}[:, None][:, 0]", "a"), ("{0}[0, :, 0]", "b a 2"),
    ],
}  # fmt: skip
MATRIX: dict[str, list[Row]] = {
    "products": [
        *[("{0} @ {1}", "a b", "b c"), ("np.outer({0}, {1})", "a", "c"), ("{0}[:, None] * {1}", "a", "c")] * 2, ("{0} @ {1}.T", "a b", "c b"), ("np.matmul({0}, {1})", "a b", "b c"),
        ("np.dot({0}, {1})", "a b", "b c"), ("np.einsum('ij,jk->ik', {0}, {1})", "a b", "b c"), ("np.einsum('i,j->ij', {0}, {1})", "a", "c"), ("np.tensordot({0}, {1}, axes=([1], [0]))", "a b", "b c"),
        ("np.inner({0}, {1})", "a b", "c b"), ("{0}.T @ {1}", "b a", "b c"), ("sb.outer({0}, {1})", "a", "c"), ("np.tensordot({0}, {1}, 0)", "a", "c"), ("np.einsum('ijk,k->ij', {0}, {1})", "a c b", "b"),
        ("{0} @ {1}", "a c b", "b"), ("np.einsum('ij,j->ij', {0}, {1})", "a c", "c"), ("np.einsum('ij,kj->ik', {0}, {1})", "a b", "c b"), ("np.einsum('ij,i->ij', {0}, {1})", "a c", "a"),
        ("{0} + np.outer({1}, {2})", "a c", "a", "c"), ("{0}[:, None] - {1}", "a", "c"), ("np.einsum('ij,jk,k->ik', {0}, {1}, {2})", "a b", "b c", "c"), ("{0}[:, None] + {1}[None, :]", "a", "c"),
        ("np.einsum('ji,jk->ik', {0}, {1})", "b a", "b c"), ("np.einsum('ij,k->ki', {0}, {1})", "c b", "a"), ("np.swapaxes({0}, -1, -2) @ {1}", "b a", "b c"),
    ],
    "reductions": [
        ("np.sum({0}, axis=0)", "b a c"), ("np.mean({0}, axis=-1)", "a c b"), ("np.max({0}, axis=1)", "a b c"), ("np.sum({0} * {1}, axis=0)", "b a c", "a c"), ("np.einsum('ijk->jk', {0})", "b a c"),
    ],
    "views": [
        *[("{0}.T", "c a")] * 3, ("np.transpose({0})", "c a"), ("np.swapaxes({0}, 0, 1)", "c a"), ("{0}[0]", "2 a c"), ("{0}[:, 1]", "a 2 c"), ("{0}[..., -1]", "a c 2"), ("np.moveaxis({0}, 0, 1)", "c a"),
        ("{0} * {1}[:, None]", "a c", "a"), ("{0} + {1}", "a c", "c"), ("{0} * np.sum({1}, axis=1, keepdims=True)", "a c", "a b"), ("{0} - np.mean({1}, axis=0, keepdims=True)", "a c", "b c"),
        ("np.concatenate([{0}, {1}], axis=1)[:, {0}.shape[1]:]", "a b", "a c"), ("np.concatenate([{0}, {1}])[: {0}.shape[0]]", "a c", "b c"), ("{0}[1:]", "a+1 c"), ("{0}[:, :-1]", "a c+1"),
        ("{0}[:, ::2]", "a 2*c"), ("np.split({0}, 2, axis=0)[1]", "2*a c"), ("{0}[:, ::-1]", "a c"), ("{0}.reshape({1}.shape[0], -1)", "a*c", "a"), ("np.reshape({0}, {1}.shape)", "a*c", "a c"),
        ("np.transpose({0}, (1, 0, 2))[0]", "a b c"), ("np.broadcast_to({0}, {1}.shape) + {1}", "c", "a c"), ("{0}.reshape(-1, {1}.shape[0])", "a*c", "c"),
    ],
}  # fmt: skip
SCALAR: dict[str, list[Row]] = {
    "products": [
        *[("{0} @ {1}", "b", "b")] * 4, ("np.dot({0}, {1})", "b", "b"), ("np.vdot({0}, {1})", "b d", "b d"), ("np.inner({0}, {1})", "b", "b"), ("np.einsum('i,i->', {0}, {1})", "b", "b"),
        ("np.einsum('ij,i,j->', {0}, {1}, {2})", "b d", "b", "d"), ("{0} @ {1} @ {2}", "b", "b d", "d"), ("np.tensordot({0}, {1}, 2)", "b d", "b d"), ("np.sum({0} * {1})", "b d", "d"), ("np.vdot({0}, {1})", "b", "b"),
        ("np.einsum('i,i', {0}, {1})", "b", "b"), ("np.tensordot({0}, {1}, axes=([0, 1], [1, 0]))", "b d", "d b"), ("np.einsum('ij,ij->', {0}, {1})", "b d", "b d"),
    ],
    "reductions": [
        ("np.sum({0})", "b"), ("np.mean({0})", "b d"), ("np.max({0})", "b"), ("np.min({0})", "b d"), ("sb.logsumexp({0})", "b"), ("np.linalg.norm({0})", "b"), ("np.var({0})", "b"), ("np.std({0} + np.ones_like({0}))", "b d"),
        ("{0}.mean()", "b"), ("{0}.sum()", "b d"), ("np.mean({0}) * {1}", "b+d", ""), ("np.mean({0} ** 2)", "2*b"), ("sb.norm({0}) - {1}", "b d", ""), ("{0} / {1}.size", "", "b d"), ("{0} * {1}.shape[0]", "", "b+1"),
        ("np.sum({0}, axis=0).mean()", "b d"), ("np.sum(np.where({0} > 0, {0}, 0.1))", "b"), ("np.mean(np.abs({0} - {1}))", "b", "b"), ("np.sum(np.tanh({0}) ** 2)", "b d"),
    ],
    "views": [
        ("{0}[0]", "b"), ("{0}[-1]", "b"), ("{0}[0, -1]", "b d"), ("{0}[1]", "2"), ("{0}[1]", "b+1"), ("np.concatenate([{0}, {1}])[-1]", "b", "d"), ("np.stack([{0}, {1}])[0]", "", ""), ("{0}[:1].sum()", "b"), ("{0}[0][0]", "b d"),
        ("np.reshape({0}, (-1,))[0]", "b d"), ("np.stack([{0}, {1}]) @ np.array([0.3, -0.7])", "", ""), ("np.squeeze({0}[-1:])", "b"),
    ],
}  # fmt: skip
BY_RANK: tuple[dict[str, list[Row]], ...] = (SCALAR, VECTOR, MATRIX, {})

# Of sizes that are written as sums and products.

COMPOUND: dict[str, list[Row]] = {
    "m+n": [("np.concatenate([{0}, {1}])", "m", "n"), ("np.hstack([{0}, {1}])", "m", "n"), ("sb.concatenate(({0}, np.tanh({1})))", "m", "n")],
    "2*n": [("np.concatenate([{0}, {1}])", "n", "n"), ("np.stack([{0}, {1}]).reshape(-1)", "n", "n"), ("np.stack([{0}, {1}], axis=1).ravel()", "n", "n"), ("np.ravel({0})", "2 n")],
    "n+1": [("np.concatenate([{0}, np.ones(1)])", "n"), ("np.concatenate([0.5 * {0}[:1], {0}])", "n"), ("np.concatenate([np.zeros(1), {0}])", "n"), ("np.hstack(({0}, {1}))", "n", "1")],
    "n*k": [("{0}.reshape(-1)", "n k"), ("np.outer({0}, {1}).reshape(-1)", "n", "k"), ("np.ravel({0})", "n k"), ("{0}.T.ravel()", "k n")],
}  # fmt: skip

# What is read from a table by an index {i} below the size `v`.

READ: list[Row] = [
    *[("{0}[{i}]", "v s")] * 3, ("np.take({0}, {i}, axis=0)", "v s"), ("np.tanh({0})[{i}]", "v s"), ("(0.5 * {0} + {0} * {1})[{i}]", "v s", "v s"), ("{0}[{i}] * {1}", "v s", "s"),
    ("{0}[{i}] - {1}[{i}]", "v s", "v s"), ("({0} + {1})[{i}]", "v s", "s"),
]  # fmt: skip
READ_ONE: list[Row] = [("{0}[:, {i}]", "s v"), ("({0} @ {1})[{i}]", "v s", "s s"), ("{0} @ {1}[{i}]", "s s", "v s"), ("{0}.T[{i}]", "s v"), ("{0}[{i}, 1]", "v 2 s"), ("{0}[0, {i}]", "2 v s"), ("{0}[{i}, ::-1]", "v s")]  # fmt: skip
READ_NONE: list[Row] = [
    ("{0}[{i}] * {1}[{j}]", "v", "w"),
    ("{0}[{i}, {j}]", "v w"),
    ("sb.log_softmax({0})[{i}]", "v"),
    ("{0}[{i}, 0] * {1}", "v 2", ""),
]

NAMES = ("m", "n", "k", "v")
FRESH = ("n", "n", "n", "k", "m", "2", "m+n", "n+1", "2*n")
"""Sizes of axes that are summed."""
VECTORS: tuple[Dims, ...] = (("n",), ("n",), ("n",), ("k",), ("m+n",), ("n+1",), ("2*n",))
STATES: tuple[Dims, ...] = (*VECTORS, ("n",), ("n",), (), (), ("k", "n"), ("k", "n"), ("n", "n"), ("2", "n"), ("n*k",))


@dataclass
class Writer:
    """A cell under construction: its arguments, its statements, and what of each shape may be read."""

    random: Random
    arguments: dict[str, Argument] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)
    scope: dict[str, Dims] = field(default_factory=dict)
    gated: dict[Dims, list[Term]] = field(default_factory=dict)

    def draw(self, options: Sequence[Any]) -> Any:
        return options[self.random.randrange(len(options))]

    def chance(self, one_in: int) -> bool:
        return not self.random.randrange(one_in)

    def argument(self, prefix: str, role: str, shape: Dims, default: str = "") -> str:
        """A new argument."""
        name = f"{prefix}{sum(a.startswith(prefix) and a[len(prefix) :].isdigit() for a in self.arguments)}"
        self.arguments[name] = Argument(name, role, shape, default)
        if role != "Index":
            self.scope[name] = shape
        return name

    def leaf(self, shape: Dims) -> Term:
        """A value that is there, the newest more often, or a new parameter."""
        there = [name for name, s in self.scope.items() if s == shape]
        if not shape and self.chance(6):
            return Term((), self.draw(("0.5", "dt", "2.0", "0.1")))
        moving = [
            name for name in there if name not in self.arguments or self.arguments[name].role in ("State", "Input")
        ]
        if there and not self.chance(5):
            return Term(shape, self.draw(there + 3 * moving + 2 * moving[-2:]))
        return self.param(shape)

    def param(self, shape: Dims) -> Term:
        """A parameter, at times one that is there, or a constant."""
        there = [a.name for a in self.arguments.values() if a.role == "Param" and a.shape == shape]
        if there and self.chance(3):
            return Term(shape, self.draw(there))
        if self.chance(12):
            return Term(shape, self.argument("c", "Const", shape, "0.4" if self.chance(2) else ""))
        return Term(shape, self.argument("p", "Param", shape, self.draw(("1.0", "0.1")) if self.chance(10) else ""))

    def index(self) -> tuple[str, str]:
        """An index with its limit, one that is there or a new one."""
        there = [(a.name, a.shape[0]) for a in self.arguments.values() if a.role == "Index"]
        if there and not self.chance(3):
            return self.draw(there)
        limit = self.draw(("v", "v", "v", "n", "n+1"))
        return self.argument("i", "Index", (limit,)), limit

    def term(self, shape: Dims, depth: int) -> Term:
        """An expression of a shape."""
        if depth <= 0:
            return self.leaf(shape)
        for _ in range(8):
            found = self._of_row(self._row(shape), shape, depth)
            if found is not None:
                return found
        return self.leaf(shape)

    def _row(self, shape: Dims) -> Row:
        kinds: list[Any] = [ELEMENTWISE] * 4 + [ARITHMETIC] * 5 + [CHOICES] + [self._table(len(shape))] * 2
        kinds += [ALONG] * 2 if shape else []
        of_rank = BY_RANK[len(shape)]
        kinds += [
            of_rank[kind]
            for kind, times in (("products", 5), ("reductions", 1), ("views", 2))
            if kind in of_rank
            for _ in range(times)
        ]
        if len(shape) == 1 and shape[0] in COMPOUND:
            kinds += [COMPOUND[shape[0]]] * 5
        return self.draw(self.draw(kinds))

    def _table(self, rank: int) -> list[Row]:
        return READ + (READ_ONE * 2 if rank == 1 else READ_NONE * 2 if rank == 0 else [])

    def _of_row(self, row: Row, shape: Dims, depth: int) -> Term | None:
        """The expression of a row; None where a size cannot be written."""
        text, *parts = row
        sizes = dict(zip("ac", shape, strict=False)) | {"b": self.draw(FRESH), "d": self.draw(FRESH)}
        for letter, name in (("i", "v"), ("j", "w")):
            if "{" + letter + "}" in text:
                index, sizes[name] = self.index()
                text = text.replace("{" + letter + "}", index)
        shapes = [_shape(part, shape, sizes) for part in parts]
        if None in shapes or any(len(s) > 3 for s in shapes if s is not None):
            return None
        small = self.random.randrange(len(shapes)) if shapes else 0
        # One part is as deep as it may be, the others less.
        terms = [
            self.term(s, depth - 1 if i == small else self.random.randrange(max(depth - 1, 1)))
            for i, s in enumerate(shapes)
            if s is not None
        ]
        return Term(shape, text, tuple(terms))

    def let(self, term: Term, rounds: int = 0, body: Term | None = None, name: str = "") -> Term:
        name = name or f"v{len(self.statements)}"
        self.statements.append(Statement(name, term, rounds, body))
        self.scope[name] = term.shape
        return Term(term.shape, name)

    def statement(self) -> None:
        """A local variable, at times one that a loop makes."""
        if self.chance(5):
            self.gates()
            return
        shape = self.draw([*VECTORS, (), ("k", "n"), *self.scope.values()])
        shape = shape if len(shape) < 3 else ("n",)
        value = self.term(shape, self.draw((1, 1, 2, 2, 3)))
        if len(shape) != 1 or not self.chance(8):
            self.let(value)
            return
        name, (size,) = f"v{len(self.statements)}", shape
        rounds, own, g = self.draw((1, 2, 3)), Term(shape, name), self.leaf(shape)
        W, several = self.param((size, size)), self.param((str(rounds), size))
        body = self.draw([
            Term(shape, "np.tanh({0} @ {1} + i * {2})", (W, own, g)), Term(shape, "{0} + dt * ({1} - {0})", (own, g)),
            Term(shape, "mix(sb.sigmoid({0}), {1}, {2} @ {1})", (g, own, W)), Term(shape, "{0} + 0.5 * np.sin({1}[i])", (own, several)),
        ])  # fmt: skip
        self.let(value, rounds, body)

    def gates(self) -> None:
        """Gates of the same operands, whose products a kernel may take together."""
        shape = self.draw(
            [("n",), *(a.shape for a in self.arguments.values() if a.role == "State" and len(a.shape) == 1)]
        )
        vectors = [
            (name, s)
            for name, s in self.scope.items()
            if len(s) == 1 and (name not in self.arguments or self.arguments[name].role in ("State", "Input"))
        ]
        found: list[Term] = []
        operands = self.random.sample(vectors, min(len(vectors), self.draw((1, 2, 2))))
        texts = self.draw(
            (
                ("sb.sigmoid({0})",),
                ("sb.sigmoid({0})", "np.tanh({0})"),
                ("{0}",),
                ("sb.sigmoid({0})", "sb.sigmoid({0})", "np.tanh({0})", "np.sin({0})"),
            )
        )
        for _ in range(self.draw((2, 3, 4))):
            products = [
                Term(
                    shape,
                    self.draw(("{0} @ {1}",) * 3 + ("np.dot({0}, {1})",)),
                    (self.param((*shape, *s)), Term(s, name)),
                )
                for name, s in operands
            ]
            parts = [*products, *([self.param(shape)] if not products or self.chance(2) else [])]
            total = (
                parts[0]
                if len(parts) == 1
                else Term(shape, " + ".join(f"{{{i}}}" for i in range(len(parts))), tuple(parts))
            )
            found.append(self.let(Term(shape, self.draw(texts), (total,))))
        self.gated[shape] = found

    # What states become.

    def following(self, state: str) -> Term:
        """A state's next value: nonlinear, affine in it, or without regard to it."""
        shape = self.arguments[state].shape
        own = Term(shape, state)
        if shape in self.gated and not self.chance(4):
            gates = self.gated.pop(shape)
            text = "{0}" + "".join(self.draw((" * {%s}", " + {%s}", " - {%s}")) % (i + 1) for i in range(len(gates)))
            return Term(shape, self.draw(("np.tanh(%s)", "%s", "%s")) % text, (own, *gates))
        kind = self.draw((*["nonlinear"] * 5, *["affine"] * 5, *["forgets"] * 2, "read", *["any"] * 3, "passes"))
        if kind == "passes":
            same = [a.name for a in self.arguments.values() if a.role in ("State", "Input") and a.shape == shape]
            return Term(shape, self.draw(same))
        if kind == "any":
            return self.term(shape, 2)
        if kind == "read":
            read = self._of_row(self.draw(self._table(len(shape))), shape, 1) or self.leaf(shape)
            return Term(shape, self.draw(["{1}", "0.5 * {0} + {1}", "np.tanh({0} * {1})", "{1} * {0}"]), (own, read))
        value = self.term(shape, self.draw((1, 2)))
        if kind == "nonlinear":
            text = self.draw(["np.tanh({1})", "np.tanh({1})", "0.5 * {0} + 0.5 * np.sin({1})", "sb.sigmoid({1} - {0})", "mix(sb.sigmoid({1}), {0}, np.tanh({2}))",
                              "leak({0}, np.tanh({1}))", "(1 - sb.sigmoid({1})) * {0} + sb.sigmoid({1}) * np.tanh({2})"])  # fmt: skip
            return Term(shape, text, (own, value, self.leaf(shape)))
        fixed = self.without_states(shape)
        if kind == "forgets":
            text = self.draw(["{0}", "np.tanh({0})", "{0} * {1}", "{1} - {0}"])
            return Term(shape, text, (fixed, self.param(shape)))
        return self.affine(own, value, fixed)

    def affine(self, own: Term, value: Term, fixed: Term) -> Term:
        """A recurrence that is affine in the state itself, so that its steps may be taken together."""
        shape, weight = own.shape, self.param(own.shape)
        rows: list[tuple[str, tuple[Term, ...]]] = [
            ("{1} * {0} + {2}", (own, weight, value)), ("np.tanh({1}) * {0} + {2}", (own, weight, value)), ("sb.sigmoid({1}) * {0} - np.sin({2})", (own, weight, value)),
            ("0.7 * {0} + {1}", (own, value)), ("{0} + dt * (np.tanh({1}) - {0})", (own, value)), ("sb.sigmoid({1}) * {0} + {2}", (own, fixed, value)),
            ("np.exp(-np.exp({1}) * sb.softplus({2})) * {0} + {2}", (own, weight, fixed)), ("sb.sigmoid({1}) * {0} + (1 - sb.sigmoid({1})) * {2}", (own, fixed, value)),
            ("{0} - dt * {0} + {1}", (own, value)), ("{0} + {1}", (own, value)),
        ]  # fmt: skip
        if len(shape) == 1:
            square = self.param((*shape, *shape))
            rows += [
                ("0.5 * {1} @ {0} + {2}", (own, square, value)),
                ("({1} @ {0}) * 0.3 + {2}", (own, square, fixed)),
                ("np.roll({0}, 1) * 0.9 + {1}", (own, value)),
            ]
        if len(shape) == 2:
            a, c = shape
            rows += [("0.5 * {0} + np.outer({1}, {2})", (own, self.leaf((a,)), self.leaf((c,)))), ("{1}[:, None] * {0} + {2}", (own, self.leaf((a,)), value)),
                     ("0.4 * {1} @ {0} + {2}", (own, self.param((a, a)), value))]  # fmt: skip
        others = [
            name
            for name, a in self.arguments.items()
            if a.role == "State" and a.shape in (shape, ()) and name != own.text
        ]
        if others:
            other = self.draw(others)
            rows += [("0.5 * {0} + {1} * {2}", (own, weight, Term(self.arguments[other].shape, other)))] * 2
        text, parts = self.draw(rows)
        return Term(shape, text, parts)

    def without_states(self, shape: Dims) -> Term:
        """An expression that no state has a part in."""
        scope, moving = self.scope, {name for name, a in self.arguments.items() if a.role == "State"}
        for statement in self.statements:
            moving |= {statement.name} if statement.names & moving else set()
        self.scope = {name: s for name, s in scope.items() if name not in moving}
        known = set(self.scope)
        found = self.term(shape, self.draw((0, 1, 1, 2)))
        self.scope = scope | {name: s for name, s in self.scope.items() if name not in known}
        return found


def _shape(part: str, whole: Dims, sizes: dict[str, str]) -> Dims | None:
    """The shape of a part of a row; None where a sum of sums would have to be written."""
    found: list[str] = []
    for dim in part.split():
        if dim == "s":
            found += whole
            continue
        letters = [c for c in dim if c in sizes]
        if len(dim) > 1 and not all(sizes[c].isidentifier() for c in letters):
            return None
        written = "".join(sizes.get(c, c) for c in dim)
        if len(dim) > 1 and len(letters) == 2 and len({sizes[c] for c in letters}) == 1:
            return None  # n+n and n*n are not what a person writes
        found.append({"n+m": "m+n", "k*n": "n*k"}.get(written, written))
    return tuple(found)


# The whole cell.


def tree_of(random: Random, longest: int = 6) -> Tree:
    """A random cell with a loss."""
    w = Writer(random)
    w.arguments["dt"] = Argument("dt", "Const", (), "0.3")
    for _ in range(w.draw((1, 1, 2, 2, 3))):
        w.argument("s", "State", w.draw(STATES))
    if not w.chance(6):
        w.arguments["x"] = Argument("x", "Input", w.draw((("m",), ("m",), w.arguments["s0"].shape)))
        w.scope["x"] = w.arguments["x"].shape
    if w.chance(3):
        w.argument("u", "Input", w.draw(((), *VECTORS)))
    if w.chance(3):
        w.index()
    for _ in range(w.random.randrange(longest + 1)):
        w.statement()
    states = [name for name, a in w.arguments.items() if a.role == "State"]
    following = _bound(w, states)
    outputs = _outputs(w, following)
    arguments, loss = _loss(w, states, outputs)
    w.arguments = {"dt": w.arguments.pop("dt")} | w.arguments
    found = Tree(
        tuple(w.arguments.values()),
        tuple(w.statements),
        tuple(following.items()),
        tuple(outputs.items()),
        w.chance(2),
        tuple(arguments),
        loss,
    )
    return _told(found)


def _bound(w: Writer, states: list[str]) -> dict[str, Term]:
    """What states become, at times by the name of the state itself, as people write it, or by a name of its own."""
    found = {}
    values = {name: w.following(name) for name in states}
    for name, value in values.items():
        found[name] = w.let(value, name=f"new{name[1:]}") if w.chance(2) else value
    return found


def _outputs(w: Writer, following: dict[str, Term]) -> dict[str, Term]:
    """What a cell puts out beside its states: new values, old ones, constants, what is read, what is made of these."""
    found = {}
    for name in ("y", "z")[: w.draw((0, 0, 1, 1, 2))]:
        state = w.draw([*following])
        new, old = following[state], Term(following[state].shape, state)
        local = w.draw([name for name, s in w.scope.items() if len(s) < 3])
        found[name] = w.draw([
            new, new, old, Term(w.scope[local], local), Term(old.shape, "0.5 * {0} + {1}", (new, old)), Term(old.shape, "np.tanh({0})", (new,)), Term((), "dt"), Term((), "1.5"),
            Term(("3",), "np.ones(3)"), w.param(("n",)), w.term(("k",), 2), w.term((), 2), Term(old.shape, "{0} - {0}", (old,)), Term(("k",), "{0} @ {1}", (w.param(("k", *old.shape)), new)) if len(old.shape) == 1 else new,
            Term((), "np.sum({0} ** 2)", (new,)) if old.shape else new, w.term(("k", "n"), 1),
        ])  # fmt: skip
    return found


LOSS_STATE: list[Row] = [
    ("np.sum(({V} @ {s} - {t}) ** 2) / 2", "Target"), ("-sb.log_softmax({V} @ {s})[{t}]", "Index"), ("np.tanh({V}[{t}] @ {s})", "Index"), ("np.sum({V}[{t}] * {s} * {s})", "Index"),
    ("sb.logsumexp({V} @ {s}) - ({V} @ {s})[{t}]", "Index"), ("np.mean(np.maximum({V} @ {s} - {t}, 0))", "Target"), ("np.sum(np.where({V} @ {s} > {t}, {V} @ {s}, 0.1 * {t}))", "Target"),
]  # fmt: skip


def _loss(w: Writer, states: list[str], outputs: dict[str, Term]) -> tuple[list[Argument], Term]:
    """A loss that reads states, outputs, targets, an index, and parameters of its own and of the cell."""
    arguments: list[Argument] = []
    terms: list[Term] = []
    for state in w.random.sample(states, w.draw((1, 1, len(states)))):
        shape = w.arguments[state].shape
        arguments.append(Argument(state, "State", shape))
        if len(shape) == 1:
            text, kind = w.draw(LOSS_STATE)
            V, t = f"V{state[1:]}", f"g{state[1:]}"
            arguments += [Argument(V, "Param", ("k", *shape)), Argument(t, kind, ("k",))]
            terms.append(Term((), text.format(V=V, s=state, t=t)))
        else:
            arguments.append(Argument(f"g{state[1:]}", "Target", shape))
            terms.append(
                Term(
                    (),
                    w.draw(["np.mean({t} * {s}) + np.sum(np.sin({s}))", "np.sum(({s} - {t}) ** 2)"]).format(
                        s=state, t=f"g{state[1:]}"
                    ),
                )
            )
    for name, value in outputs.items():
        if not w.chance(3):
            arguments += [Argument(name, "Output", value.shape), Argument(f"d{name}", "Target", value.shape)]
            terms.append(
                Term(
                    (),
                    w.draw(["np.sum(d{0} * {0})", "np.sum(d{0} * np.tanh({0}))", "np.mean((d{0} - {0}) ** 2)"]).format(
                        name
                    ),
                )
            )
    shared = [a for a in w.arguments.values() if a.role == "Param" and not a.default]
    if shared and w.chance(3):
        a = w.draw(shared)
        arguments.append(a)
        terms.append(Term((), f"0.1 * np.sum({a.name} * {a.name})"))
    total = Term((), " + ".join(f"{{{i}}}" for i in range(len(terms))), tuple(terms)) if len(terms) > 1 else terms[0]
    return arguments, total


def _told(tree: Tree) -> Tree:
    """The tree with the mean of a vector in one state for each size that stands in sums and products alone, so that it can be told."""
    # A constant that is one number for a whole array tells no size, and the cell alone must be told its own.
    telling = {
        dim for a in tree.signature for dim in a.shape if a.role != "Index" and not (a.role == "Const" and a.default)
    }
    of_loss = {dim for a in tree.loss_signature if a.role in ("Param", "Target") for dim in a.shape} - {
        d for a in tree.signature for d in a.shape
    }
    # The cell is compiled by itself too: what a loss alone tells does not count for it.
    lacking = _lacking(tree.signature, telling) | _lacking(tree.loss_signature, telling | of_loss)
    for name in sorted(lacking):
        of = f"b{name}"
        (state, value), *rest = tree.following
        told = Term(value.shape, "{0} + np.mean({1})", (value, Term((name,), of)))
        tree = Tree(
            (*tree.arguments, Argument(of, "Param", (name,))),
            tree.statements,
            ((state, told), *rest),
            tree.outputs,
            tree.as_dict,
            tree.loss_arguments,
            tree.loss,
        )
    return tree


def _lacking(arguments: Iterable[Argument], telling: set[str]) -> set[str]:
    """The sizes in the shapes of arguments that none of some dimensions tells."""
    named = {c for a in arguments for dim in a.shape for c in dim if c in NAMES}
    return {name for name in named if not telling & {name, f"{name}+1", f"2*{name}"}}
