"""Random cells from a seed for tests of pages, drawings and theorems, whose readers know what is written here: tables read by Index, states
that forget, affine recurrences, outputs, losses. Kernels and proofs are tried on more of the language, by `cases.py`.

The grammar of `cells.py` is a part of this one.
"""

import linecache
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import numpy as np
import sympy as sp

import symbptt as sb
from symbptt.language.functions import ELEMENTWISE
from tests.properties import cells
from tests.properties.cells import Dims, Draw, Program, is_matrix, is_vector, pick
from tests.tape import Tape, elementwise

SIZES = ("m", "n", "k", "v")
VECTORS: tuple[Dims, ...] = (("n",), ("n",), ("k",), ("m+n",), ("n+1",), ("2*n",))
STATES: tuple[Dims, ...] = (*VECTORS, ("n",), ("n",), (), ("k", "n"), ("n", "n"), ("2", "n"))


@dataclass
class Wild(Program):
    """A cell under construction that may read tables, use a parameter twice, and knows what no state has a part in."""

    draw: Draw = field(kw_only=True)
    indices: dict[str, str] = field(default_factory=dict)

    def param(self, shape: Dims) -> str:
        """A parameter, at times one that is there."""
        there = [name for name, (role, s) in self.arguments.items() if role == "Param" and s == shape]
        return self.draw(there) if there and not self.draw(range(3)) else super().param(shape)

    def fixed(self, shape: Dims) -> list[str]:
        """Values of a shape that no state has a part in."""
        moving = {name for name, (role, _) in self.arguments.items() if role == "State"}
        for statement in self.statements:
            name, _, text = statement.partition(" = ")
            if moving & set(re.findall(r"\w+", text)):
                moving.add(name)
        return [name for name, s in self.values.items() if s == shape and name not in moving]

    def index(self, draw: Draw) -> tuple[str, str]:
        """An index with its limit, one that is there or a new one."""
        if self.indices and draw((False, True)):
            return draw(sorted(self.indices.items()))
        name, limit = f"i{len(self.indices)}", draw(("v", "v", "v", "n", "n+1"))
        self.arguments[name], self.indices[name] = ("Index", (limit,)), limit
        return name, limit


def vector(p: Program, draw: Draw) -> tuple[str, Dims]:
    """A value of one axis."""
    return pick(p, draw, is_vector) or (p.param(("n",)), ("n",))


def same(p: Program, draw: Draw, shape: Dims) -> str:
    """A value of a shape, or a new parameter."""
    found = pick(p, draw, lambda s: s == shape)
    return found[0] if found and draw((False, True, True)) else p.param(shape)


# Productions.


def read(p: Wild, draw: Draw, shape: Dims) -> str:
    """Something of a shape that is read from a table, or from a value, by an index."""
    i, limit = p.index(draw)
    computed = [name for name, s in p.values.items() if s == (limit, *shape)]
    ways = ["{E}[{i}]", "{E}[{i}]", "np.tanh({E})[{i}]", "np.take({E}, {i}, axis=0)", "(0.5 * {E} + {E} * {E})[{i}]"]
    if computed:
        ways += [f"{draw(computed)}[{{i}}]"] * 2
    if is_vector(shape):
        ways += ["{C}[:, {i}]", "({E} @ {S})[{i}]", "{S} @ {E}[{i}]", "{C}.T[{i}]", "{F}[{i}, 1]"]
    if not shape:
        j, other = p.index(draw)
        ways += [f"{{E}}[{{i}}] * {p.param((other,))}[{j}]", f"{p.param((limit, other))}[{{i}}, {j}]"]
    way = draw(ways)
    made = {"i": i}
    for key, of in {
        "E": (limit, *shape),
        "C": (*shape, limit),
        "S": (*shape, *shape),
        "F": (limit, "2", *shape),
    }.items():
        if "{" + key + "}" in way:
            made[key] = p.param(of)
    text = way.format(**made)
    return f"({text})" if " " in text and "(" not in text[0] else text


def _table(p: Wild, draw: Draw) -> None:
    shape = draw([("n",), ("n",), ("k",), (), ("k", "n"), ("n+1",), *p.values.values()])
    text = read(p, draw, shape)
    other = pick(p, draw, lambda s: s == shape)
    if other:
        text = draw(["{a}", "{a} + {b}", "{b} - {a}", "{a} * {b}", "np.tanh({b}) + {a}"]).format(a=text, b=other[0])
    p.let(text, shape)


def _sizes(p: Wild, draw: Draw) -> None:
    """What reads a size: means, lengths, norms over axes whose size is a sum or a product."""
    name, shape = pick(p, draw, lambda s: len(s) > 0) or vector(p, draw)
    wide = p.param(draw([("m+n",), ("2*n", "m"), ("n+1",), ("k", "n+m"), ("2*n",)]))
    own = draw(list(p.values))
    text, out = draw([
        (f"{own} * (np.mean({wide}) + {own})", p.values[own]), (f"{name} / {name}.shape[0]", shape),
        (f"np.mean({wide}) - {own}", p.values[own]), (f"{own} * ({wide}.shape[0] - {own})", p.values[own]),
        (f"{name} - np.mean({name}, axis=0)", shape), (f"{name} * ({wide}.shape[0] + 1) / {wide}.size", shape),
        (f"np.var({name}, axis=-1, keepdims=True) * {name}", shape), (f"np.std({wide}) * {name}", shape),
        (f"np.sum({wide}, axis=0).mean() * {name}", shape), (f"{name} / {name}.shape[-1] ** 0.5", shape),
    ])  # fmt: skip
    p.let(text, out)


def _joined(p: Wild, draw: Draw) -> None:
    """Concatenations of other sizes, and what is cut from them again."""
    a, b, x = same(p, draw, ("n",)), same(p, draw, ("n",)), same(p, draw, ("m",))
    both = draw([f"np.concatenate([{a}, {b}])", f"np.stack([{a}, {b}]).reshape(-1)", f"np.hstack(({a}, {b}))"])
    W = p.param(("2*n", "m"))
    text, out = draw([
        (both, ("2*n",)), (f"np.concatenate([{x}, {a}])", ("m+n",)), (f"np.concatenate([{a}, np.ones(1)])", ("n+1",)),
        (f"np.split({W} @ {x}, 2)[1]", ("n",)), (f"({W} @ {x})[:{a}.shape[0]]", ("n",)),
        (f"({W} @ {x}).reshape(2, -1)", ("2", "n")), (f"np.tanh({p.param(('n', 'm+n'))} @ np.concatenate(({x}, {a})))", ("n",)),
        (f"np.concatenate([{a}, {x}])[{a}.shape[0]:]", ("m",)), (f"sb.split({both}, 2)[0]", ("n",)),
        (f"np.concatenate([0.5 * {a}[:1], {a}])", ("n+1",)),
    ])  # fmt: skip
    p.let(text, out)


def _rearranged(p: Wild, draw: Draw) -> None:
    name, shape = vector(p, draw)
    p.let(draw([f"np.roll({name}, 1)", f"np.flip({name})", f"{name}[::-1]", f"{name}[None, :][0]", f"np.cumsum({name})",
                f"sb.roll({name}, 1)" if hasattr(sb, "roll") else f"np.roll({name}, -1)"]), shape)  # fmt: skip


def _kinked(p: Wild, draw: Draw) -> None:
    a, shape = pick(p, draw) or vector(p, draw)
    b = same(p, draw, shape)
    p.let(draw([
        "np.where({a} > 0.1, {b}, {a} * {b})", "np.where({a} * {b} < dt, {b}, 0.3 * {a})", "np.maximum({a}, {b})",
        "np.minimum({a}, 0.4)", "np.clip({a}, -0.5, 0.6)", "np.abs({a}) * {b}", "sb.relu({a}) - {b}", "{a} * ({b} > 0.2)",
        "sb.leaky_relu({a}) + sb.elu({b})", "np.where(dt > 0.1, {a}, {b})", "sb.hard_sigmoid({a}) * {b}",
        "np.where({a} > 0, np.log1p(np.abs({a})), {b})", "sb.hard_tanh({a} - {b})", "{b} * np.sign({a})",
        "np.where(({a} > -1) & ({b} < 1), {a}, {b})", "sb.stop_gradient({a}) * {b}",
    ]).format(a=a, b=b), shape)  # fmt: skip


def _normed(p: Wild, draw: Draw) -> None:
    v, shape = vector(p, draw)
    p.let(draw([
        "{v} / (np.sqrt(np.sum({v} * {v})) + 0.1)", "({v} - {v}.mean()) / np.sqrt({v}.var() + 1e-3)", "{v} / (1 + np.linalg.norm({v}))",
        "sb.layer_norm({v}, eps=1e-2)", "{v} * sb.norm({v})", "{v} / np.sqrt(np.mean({v} ** 2) + 1e-2)", "{v} - np.max({v})",
        "np.exp({v} - {v}.max()) / np.sum(np.exp({v} - {v}.max()))", "sb.softmax({v})", "{v} / np.max(np.abs({v}) + 1)",
        "{v} + np.min({v})", "np.cumsum(sb.softmax({v}))", "{v} * sb.logsumexp({v})",
    ]).format(v=v), shape)  # fmt: skip


def _own(p: Wild, draw: Draw) -> None:
    a, shape = pick(p, draw) or vector(p, draw)
    p.let(draw(["swish({a})", "spike({a})", "blend({a}, {b})"]).format(a=a, b=same(p, draw, shape)), shape)


def _loop(p: Wild, draw: Draw) -> None:
    v, (size,) = vector(p, draw)
    W, g = p.param((size, size)), p.param((size,))
    name = p.let(v, (size,))
    p.statements.append(f"for i in range({draw((1, 2, 3))}):\n    {name} = " + draw([
        f"np.tanh({W} @ {name} + i * {g})", f"{name} + dt * ({g} - {name})", f"mix(sb.sigmoid({g}), {name}, {W} @ {name})",
    ]))  # fmt: skip


def _attention(p: Wild, draw: Draw) -> None:
    matrix, shape = pick(p, draw, is_matrix) or (p.param(("k", "n")), ("k", "n"))
    q = same(p, draw, shape[1:])
    p.let(draw([f"sb.softmax({matrix} @ {q}) @ {matrix}", f"np.einsum('i,ij,j->j', sb.softmax({matrix} @ {q}), {matrix}, {q})"]),
          shape[1:])  # fmt: skip


def _constant(p: Wild, draw: Draw) -> None:
    name = f"c{sum(role == 'Const' for role, _ in p.arguments.values())}"
    v, shape = pick(p, draw) or vector(p, draw)
    p.arguments[name] = ("Const", shape)
    p.let(
        draw([f"{name} * {v}", f"{v} - {name}", f"np.tanh({name} + {v})", f"np.where({name} > 0, {v}, 0.5 * {v})"]),
        shape,
    )


def _literal(p: Wild, draw: Draw) -> None:
    a, shape = vector(p, draw)
    both = f"np.stack([{a}, {same(p, draw, shape)}])"
    p.let(
        *draw(
            [
                (f"np.array([0.3, -0.7]) @ {both}", shape),
                (f"np.array([[0.2, 1.0], [0.5, -0.3]]) @ {both}", ("2", *shape)),
                (f"{both} * np.array([[1.5], [-0.5]])", ("2", *shape)),
                (f"np.tensordot(np.eye(2), {both}, 1)[0]", shape),
            ]
        )
    )


OWN: tuple[Callable[..., None], ...] = (
    *[_table] * 5, _sizes, _joined, _rearranged, _kinked, _normed, _own, _loop, _attention, _constant, _literal,
)  # fmt: skip
PRODUCTIONS = (*OWN, *cells.PRODUCTIONS)


# States, outputs, losses.


def fitted(p: Wild, draw: Draw, shape: Dims) -> str:
    """A value of a shape, made of another one where there is none."""
    found = [name for name, s in p.values.items() if s == shape]
    if found and draw((False, True, True, True)):
        return draw(found[-4:])
    value, other = pick(p, draw) or vector(p, draw)
    return f"({cells._fitted(p, value, other, shape)})"


KINDS = (*["nonlinear"] * 4, *["affine"] * 4, *["forgets"] * 2, *["gather"] * 2, *["gathered"] * 4, "passes")


def next_state(p: Wild, draw: Draw, state: str) -> str:
    """What a state becomes: by a nonlinear function, an affine one, or without regard to what it was."""
    shape = p.arguments[state][1]
    inputs = [name for name, (role, s) in p.arguments.items() if role == "Input" and s == shape]
    kind = draw(KINDS)
    if kind == "passes":
        others = [name for name in p.states if p.arguments[name][1] == shape]
        return draw([*others, *inputs, state])
    if kind == "gather":
        return read(p, draw, shape)
    if kind == "gathered":
        table = read(p, draw, shape)
        return draw(
            [
                f"np.tanh({state}) + {table}",
                f"0.5 * {state} + {table}",
                f"{table} * {state}",
                f"np.tanh({table} - {state})",
            ]
        )
    own, bias = p.param(shape), draw([*inputs, p.param(shape), fitted(p, draw, shape)])
    if kind == "forgets":
        new = draw([*inputs, *(name for name, s in p.values.items() if s == shape and name not in p.states)] or [bias])
        return draw([f"{own} * {new}", f"np.tanh({own} + {new})", new, f"{own} - {new}"])
    value = fitted(p, draw, shape)
    if kind == "nonlinear":
        return draw(["np.tanh({v})", "0.5 * {s} + 0.5 * np.sin({v})", "sb.sigmoid({v} - {s})",
                     "mix(sb.sigmoid({o} * {v}), {s}, np.tanh({b}))"]).format(v=value, s=state, o=own, b=bias)  # fmt: skip
    ways = ["{o} * {s} + {b}", "np.tanh({o}) * {s} + {b}", "sb.sigmoid({o}) * {s} - np.sin({v})", "0.7 * {s} + {b}", "{s} - dt * {s} + {b}",
            "{s} + dt * (np.tanh({v}) - {s})"]  # fmt: skip
    for fixed in p.fixed(shape)[-2:]:
        ways += [
            f"sb.sigmoid({fixed}) * {{s}} + {{b}}",
            f"np.exp(-np.exp({{o}}) * sb.softplus({fixed})) * {{s}} + {fixed}",
        ]
    if is_vector(shape):
        ways += [f"0.5 * {p.param((*shape, *shape))} @ {{s}} + {{b}}"] * 2
    if len(p.states) > 1:
        other = draw([name for name in p.states if p.arguments[name][1] in (shape, ())])
        ways += [f"0.5 * {{s}} + {{o}} * {other}", f"0.5 * {{s}} + 0.4 * {other} + {{b}}"]
    return draw(ways).format(o=own, s=state, b=bias, v=value)


def outputs(p: Wild, draw: Draw, following: dict[str, str]) -> dict[str, str]:
    """What a cell puts out beside its states: new values, old ones, constants, what is read."""
    found = {}
    for name in ("y", "z")[: draw((0, 0, 1, 1, 2))]:
        state = draw(p.states)
        found[name] = draw([
            f"{following[state]}", following[state], state, draw(list(p.values)), f"0.5 * {following[state]} + {state}", "1.5", "dt",
            "np.ones(3)", p.param(("n",)), read(p, draw, ("n",)), f"{state} - {state}", f"np.tanh({following[state]})",
        ])  # fmt: skip
    return found


def cell_text(draw: Draw, longest: int) -> Wild:
    p = Wild({}, draw=draw)
    for i, shape in enumerate([draw(STATES) for _ in range(draw((1, 1, 2, 2, 3)))]):
        p.arguments[f"s{i}"] = ("State", shape)
    if draw(range(6)):
        p.arguments["x"] = ("Input", draw((("m",), ("m",), p.arguments["s0"][1])))
    if not draw(range(3)):
        p.arguments["u"] = ("Input", draw(((), *VECTORS)))
    p.values = {name: shape for name, (_, shape) in p.arguments.items()}
    if not any(map(is_vector, p.values.values())):
        p.values[p.param(("n",))] = ("n",)
    if draw((False, True)):
        p.index(draw)
    for _ in range(draw(range(longest + 1))):
        draw(PRODUCTIONS)(p, draw)
    following = {}
    for name in p.states:
        following[name] = p.let(next_state(p, draw, name), p.arguments[name][1])
    beside = outputs(p, draw, following)
    p.result = ", ".join(following.values())
    if beside or draw((False, True)):
        p.result = "{" + ", ".join(f'"{name}": {value}' for name, value in (following | beside).items()) + "}"
    body = "\n".join([*p.statements, p.result])
    p.arguments = {
        k: (role, s) for k, (role, s) in p.arguments.items() if role == "State" or re.search(rf"\b{k}\b", body)
    }
    tell_sizes(p)
    return p


def tell_sizes(p: Program) -> None:
    """Write m+n as n+1 where neither m nor n is the size of an axis, so that nothing tells them apart."""
    if not {dim for _, shape in p.arguments.values() for dim in shape} & {"m", "n"}:
        other = {"m+n": "n+1", "n+m": "n+1"}
        p.arguments = {k: (role, tuple(other.get(d, d) for d in shape)) for k, (role, shape) in p.arguments.items()}
        p.values = {k: tuple(other.get(d, d) for d in shape) for k, shape in p.values.items()}


def loss_text(p: Wild, draw: Draw, beside: dict[str, Dims]) -> str:
    """A loss that reads states, outputs, targets and an index."""
    states = {name: p.arguments[name][1] for name in p.states}
    reads = draw(list(states))
    arguments = [f'{reads}: State["{" ".join(states[reads])}"]']
    if is_vector(states[reads]):
        label, body = draw([
            ('y_: Target["k"]', "np.sum((V @ {s} - y_) ** 2) / 2"), ('label: Index["k"]', "-sb.log_softmax(V @ {s})[label]"),
            ('label: Index["k"]', "np.tanh(V[label] @ {s})"), ('label: Index["k"]', "np.sum(V[label] * {s} * {s})"),
        ])  # fmt: skip
        arguments += [f'V: Param["k {states[reads][0]}"]', label]
        body = body.format(s=reads)
    else:
        arguments.append(f'y_: Target["{" ".join(states[reads])}"]')
        body = f"np.mean(y_ * {reads}) + np.sum(np.sin({reads}))"
    for name, shape in beside.items():
        if draw((False, True, True)):
            arguments += [f'{name}: Output["{" ".join(shape)}"]', f'd{name}: Target["{" ".join(shape)}"]']
            body += f" + np.sum(d{name} * {name})" + draw(["", f" + np.sum(np.tanh({name}))"])
    shared = [(name, shape) for name, (role, shape) in p.arguments.items() if role == "Param"]
    if shared and draw((False, False, True)):
        name, shape = draw(shared)
        arguments.append(f'{name}: Param["{" ".join(shape)}"]')
        body += f" + 0.1 * np.sum({name} * {name})"
    return f"def error({', '.join(arguments)}):\n    return {body}\n"


@dataclass(frozen=True)
class Case:
    """A cell and a loss as texts, with sizes, numbers of steps and samples, and the seed that all comes from."""

    seed: int
    text: str
    loss: str
    sizes: dict[str, int]
    steps: int
    batch: int

    def __repr__(self) -> str:
        sizes = ", ".join(f"{k}={v}" for k, v in self.sizes.items())
        return f"# seed {self.seed}: {sizes}, T={self.steps}, B={self.batch}\n{self.text}\n{self.loss}"

    def size(self, dims: Dims) -> tuple[int, ...]:
        """A shape in numbers."""
        return tuple(int(eval(dim, {}, self.sizes)) for dim in dims)


LONG_NAMES = {
    "s0": "membrane_potential_of_cells",
    "p0": "recurrent_weights_of_the_layer",
    "x": "observation_before_the_step",
}
"""Lines of generated modules that must be broken."""


def case_of(seed: int, longest: int = 6) -> Case:
    """The case of a seed."""
    random = Random(seed)

    def draw(options: Sequence[Any]) -> Any:
        return options[random.randrange(len(options))]

    p = cell_text(draw, longest)
    sizes = {name: draw((1, 2, 2, 3, 4)) for name in SIZES}
    case = Case(seed, p.text, "", sizes, draw((0, 1, 2, 5, 5, 8, 8, 20)), draw((1, 2, 2, 5)))
    loss = loss_text(p, draw, output_dims(p, case))
    if not draw(range(10)):
        case, loss = replace(case, text=renamed(case.text)), renamed(loss)
    return replace(case, loss=loss)


def renamed(text: str) -> str:
    for short, name in LONG_NAMES.items():
        text = re.sub(rf"\b{short}\b", name, text)
    return text


def output_dims(p: Wild, case: Case) -> dict[str, Dims]:
    """The outputs of a cell whose dimensions are known by name."""
    found = re.findall(r'"([yz])": (\w+)[,}]', p.result)
    known = p.values | {k: s for k, (role, s) in p.arguments.items() if role in ("Param", "Const")}
    return {name: known[value] for name, value in found if value in known and value != "dt"}


# Functions of the user's own, each with what the tape takes for it, written by hand.


def either(library: Callable[..., Any], own: Callable[..., Any]) -> Callable[..., Any]:
    def function(*args: Any) -> Any:
        return (own if any(isinstance(a, Tape) for a in args) else library)(*args)

    return function


def _sigmoid(v: Any) -> Any:
    return 1 / (1 + np.exp(-v))


swish = either(
    sb.function("swish", lambda v: v / (1 + sp.exp(-3 * v))),
    elementwise(lambda v: v * _sigmoid(3 * v), lambda v: _sigmoid(3 * v) * (1 + 3 * v * (1 - _sigmoid(3 * v)))),
)
spike = either(
    sb.function("spike", lambda v: sp.Heaviside(v), lambda v: 1 / (1 + 2 * sp.Abs(v)) ** 2),
    elementwise(lambda v: (v > 0) * np.ones_like(v), lambda v: 1 / (1 + 2 * np.abs(v)) ** 2),
)
blend = either(
    sb.function("blend", lambda a, b: sp.sin(a) * b + sp.exp(-(b**2))),
    elementwise(
        lambda a, b: np.sin(a) * b + np.exp(-b * b),
        lambda a, b: np.cos(a) * b,
        lambda a, b: np.sin(a) - 2 * b * np.exp(-b * b),
    ),
)


def scope() -> dict[str, Any]:
    roles = {name: getattr(sb, name) for name in ("Input", "State", "Param", "Const", "Index", "Target", "Output")}
    return cells.scope(np, sb, ELEMENTWISE, roles) | {"swish": swish, "spike": spike, "blend": blend}


def functions_of(case: Case) -> tuple[sb.Cell, sb.Loss]:
    """The cell and the loss of a case; tracebacks show their lines."""
    names = scope()
    for text, file in ((case.text, f"<cell {case.seed}>"), (case.loss, f"<loss {case.seed}>")):
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        exec(compile(text, file, "exec"), names)
    return sb.cell(names["step"]), sb.loss(names["error"])
