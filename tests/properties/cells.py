"""Random cells: programs of a small grammar, as the text of a Python function, so that they shrink and print well.

The text runs twice: traced, and on NumPy arrays.
"""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

import symbptt as sb
from symbptt import ops
from symbptt.language.functions import ELEMENTWISE

Dims = tuple[str, ...]

GROWING = ("exp", "expm1", "sinh", "cosh", "square", "tan")
FLAT = ("positive", "negative", "floor", "sign", "stop_gradient", "logical_not", "softsign")
SMOOTH = sorted(op.name for op in ops.OPS if op.arity == 1 and op.name not in FLAT and not op.kinks)
"""The smooth elementwise functions of the table."""


def applied(name: str, to: str) -> str:
    """A smooth function of something, brought into its domain, or kept from growing."""
    op = ops.BY_NAME[name]
    if op.domain[0] > -1.5 and name != "tan":
        low = max(op.domain[0], -0.5)
        to = f"{low + 0.2:g} + sb.sigmoid({to})"
    elif name in GROWING:
        to = f"np.tanh({to})"
    return f"F[{name!r}]({to})" if not hasattr(sb, name) else f"sb.{name}({to})"


@dataclass
class Program:
    """A cell under construction: its arguments by role, its statements, the values so far by shape."""

    arguments: dict[str, tuple[str, Dims]]
    statements: list[str] = field(default_factory=list)
    values: dict[str, Dims] = field(default_factory=dict)
    result: str = ""

    def param(self, shape: Dims) -> str:
        """A new parameter."""
        name = f"p{sum(role == 'Param' for role, _ in self.arguments.values())}"
        self.arguments[name] = ("Param", shape)
        return name

    def let(self, expression: str, shape: Dims) -> str:
        """A new local variable."""
        name = f"v{len(self.statements)}"
        self.statements.append(f"{name} = {expression}")
        self.values[name] = shape
        return name

    @property
    def text(self) -> str:
        """The function as Python."""
        signature = ", ".join(f'{k}: {role}["{" ".join(dims)}"]' for k, (role, dims) in self.arguments.items())
        body = "\n".join([*self.statements, f"return {self.result}"])
        return f"def step({signature}, dt: Const = 0.3):\n{textwrap.indent(body, '    ')}\n"

    @property
    def states(self) -> list[str]:
        return [name for name, (role, _) in self.arguments.items() if role == "State"]


def relax(v: Any, U: Any, times: int, np: Any) -> Any:
    """A nested helper with a loop."""
    for _ in range(times):
        v = v + 0.5 * np.tanh(U @ v)
    return v


def mix(gate: Any, a: Any, b: Any) -> Any:
    return gate * a + (1 - gate) * b


def scope(np: Any, sb: Any, F: Any, roles: dict[str, Any]) -> dict[str, Any]:
    """The globals of a cell's text."""
    return {"np": np, "sb": sb, "F": F, "mix": mix, "relax": lambda v, U, times: relax(v, U, times, np), **roles}


def function_of(text: str, names: dict[str, Any]) -> Callable[..., Any]:
    exec(compile(text, "<a random cell>", "exec"), names)
    found: Callable[..., Any] = names["step"]
    return found


def cell_of(text: str) -> sb.Cell:
    """The cell of a text."""
    roles = {name: getattr(sb, name) for name in ("Input", "State", "Param", "Const")}
    return sb.cell(function_of(text, scope(np, sb, ELEMENTWISE, roles)))


# The grammar: each production takes a program and a way to draw, and adds one value.

Draw = Callable[[Sequence[Any]], Any]
"""Chooses one of some things: hypothesis does, or a generator with a seed."""


def pick(p: Program, draw: Draw, fits: Callable[[Dims], bool] = lambda shape: True) -> tuple[str, Dims] | None:
    """A value of a fitting shape, the newest first."""
    found = [(name, shape) for name, shape in reversed(p.values.items()) if fits(shape)]
    return draw(found) if found else None


def is_vector(shape: Dims) -> bool:
    return len(shape) == 1


def is_matrix(shape: Dims) -> bool:
    return len(shape) == 2


def _function(p: Program, draw: Draw) -> None:
    name, shape = pick(p, draw) or ("dt", ())
    p.let(applied(draw(SMOOTH), name), shape)


def _affine(p: Program, draw: Draw) -> None:
    name, (size,) = pick(p, draw, is_vector) or ("", ("",))
    out = draw(["n", "k"])
    bias = f" + {p.param((out,))}" if draw((False, True)) else ""
    p.let(f"{p.param((out, size))} @ {name}{bias}", (out,))


def _gate(p: Program, draw: Draw) -> None:
    name, (size,) = pick(p, draw, is_vector) or ("", ("",))
    a, shape = pick(p, draw, is_vector) or ("", ("",))
    b, _ = pick(p, draw, lambda s: s == shape) or ("", ())
    p.let(f"mix(sb.sigmoid({p.param((*shape, size))} @ {name}), {a}, {b})", shape)


def _arithmetic(p: Program, draw: Draw) -> None:
    a, shape = pick(p, draw) or ("", ())
    b, other = pick(p, draw, lambda s: s in (shape, ()) or shape == () or s == shape[-1:] or s[-1:] == shape) or (
        "",
        (),
    )
    pattern = draw([
        "{a} * {b}", "{a} + {b}", "{a} - {b}", "{a} / (2 + np.sin({b}))", "dt * {a} - {b} * 0.5", "{a} * {b} + {a}",
        "-{a} * {b}",        "({a} * {a} + 1) ** 0.5 * {b}", "({b} * {b} + 1) ** -1 + {a}", "{a} ** 2 - {b} ** 3 * 0.1",
        "(1.5 + np.sin({a})) ** {b}",
    ])  # fmt: skip
    p.let(pattern.format(a=a, b=b), max(shape, other, key=len))


def _share(p: Program, draw: Draw) -> None:
    name, shape = pick(p, draw, lambda s: len(s) > 0) or ("", ())
    axis = draw(range(-len(shape), len(shape)))
    which = draw(["softmax", "log_softmax", "cumsum", "layer_norm"])
    option = f"axis={axis}" if which != "cumsum" else f"{axis}"
    p.let(f"sb.{which}({name}, {option})", shape)


def _reduce(p: Program, draw: Draw) -> None:
    name, shape = pick(p, draw, lambda s: len(s) > 0) or ("", ())
    which = draw(["sum", "mean", "logsumexp"])
    axis = draw(range(0, len(shape)))
    rest = shape[:axis] + shape[axis + 1 :]
    if draw((False, True)):
        p.let(f"{name} - sb.{which}({name}, axis={axis}, keepdims=True)", shape)
    else:
        p.let(f"sb.{which}({name}, axis={axis})", rest)


def _outer(p: Program, draw: Draw) -> None:
    a, shape = pick(p, draw, is_vector) or ("", ())
    b, other = pick(p, draw, is_vector) or ("", ())
    p.let(draw([
        f"sb.outer({a}, {b})", f"{a}[:, None] * {b}[None, :]", f"np.einsum('i,j->ij', {a}, {b})", f"{a}[:, None] - {b}",
    ]), (*shape, *other))  # fmt: skip


def _product(p: Program, draw: Draw) -> None:
    m, shape = pick(p, draw, is_matrix) or ("", ())
    if not m:
        return _outer(p, draw)
    v, _ = pick(p, draw, lambda s: s == shape[1:]) or (p.param(shape[1:]), ())
    w, _ = pick(p, draw, lambda s: s == shape[:1]) or (p.param(shape[:1]), ())
    text, out = draw([
        (f"{m} @ {v}", shape[:1]), (f"{w} @ {m}", shape[1:]), (f"{m}.T @ {w}", shape[1:]),
        (f"{m} @ {m}.T", (shape[0], shape[0])),
        (f"np.einsum('ij,j->i', {m}, {v})", shape[:1]), (f"np.einsum('ij,i,j->', {m}, {w}, {v})", ()),
        (f"np.einsum('ij,j->ji', {m}, {v})", shape[::-1]), (f"{w} @ {m} @ {v}", ()),
        (f"np.einsum('ij,ij->j', {m}, {m})", shape[1:]),
    ])  # fmt: skip
    return _keep(p.let(text, out))


def _keep(_: str) -> None:
    return None


def _inner(p: Program, draw: Draw) -> None:
    a, shape = pick(p, draw, is_vector) or ("", ())
    b, _ = pick(p, draw, lambda s: s == shape) or ("", ())
    p.let(f"{a} @ {b}", ())


def _cut(p: Program, draw: Draw) -> None:
    a, shape = pick(p, draw, is_vector) or ("", ())
    b, other = pick(p, draw, is_vector) or ("", ())
    text, out = draw([
        (f"np.concatenate([{a}, {b}])[{a}.shape[0]:]", other), (f"np.concatenate([{a}, {b}])[:{a}.shape[0]]", shape),
        (f"np.stack([{a}, {a} * {a}])[1]", shape), (f"np.stack([{a}, dt * {a}], axis=1).T", ("2", *shape)),
        (f"np.concatenate([{a}[:1], {a}[1:]])", shape), (f"np.concatenate([{a}[-1:], {a}[:-1]])", shape),
        (f"{a} * {b}[0]", shape), (f"{a}[None] * {b}[:, None]", (*other, *shape)),
        (f"np.reshape({a}[:, None] * {b}, (-1,))[:1] + {a}", shape),
    ])  # fmt: skip
    p.let(text, out)


def _helper(p: Program, draw: Draw) -> None:
    name, (size,) = pick(p, draw, is_vector) or ("", ("",))
    p.let(f"relax({name}, {p.param((size, size))}, {draw(range(0, 4))})", (size,))


PRODUCTIONS = (_affine, _function, _arithmetic, _gate, _inner, _outer, _product, _cut, _reduce, _share, _helper)


@st.composite
def programs(choose: Callable[[st.SearchStrategy[Any]], Any], longest: int = 8) -> Program:
    """A random cell of one to three states, inputs, parameters, and perhaps an output."""

    def draw(options: Sequence[Any]) -> Any:
        return choose(st.sampled_from(options))

    shapes: list[Dims] = [("n",), ("k",), (), ("k", "n")]
    extra = [draw(shapes) for _ in range(draw((0, 1, 2)))]
    p = Program({"x": ("Input", ("m",))})
    for i, shape in enumerate([("n",), *extra]):
        p.arguments[f"s{i}"] = ("State", shape)
    if draw((False, True)):
        p.arguments["u"] = ("Input", ())
    p.values = {name: shape for name, (_, shape) in p.arguments.items()}
    for _ in range(draw(range(1, longest + 1))):
        draw(PRODUCTIONS)(p, draw)
    following = {name: _next_state(p, draw, name) for name in p.states}
    if draw((False, True)):
        following["y"] = pick(p, draw)[0]  # type: ignore[index]
    elif draw((False, True)):
        p.result = ", ".join(following.values())
        return p
    p.result = "{" + ", ".join(f'"{name}": {value}' for name, value in following.items()) + "}"
    return p


def _next_state(p: Program, draw: Draw, state: str) -> str:
    """A bounded value of the state's shape, made of the newest values."""
    shape = p.arguments[state][1]
    value, found = pick(p, draw) or (state, shape)
    if found != shape:
        value = _fitted(p, value, found, shape)
    return draw([f"np.tanh({value})", f"0.5 * {state} + 0.5 * np.sin({value})", f"sb.sigmoid({value} - {state})"])


def _fitted(p: Program, value: str, found: Dims, shape: Dims) -> str:
    """Something of a shape that depends on a value of another."""
    total = f"sb.sum(np.sin({value}))" if found else value
    if is_vector(found) and is_vector(shape):
        return f"{p.param((*shape, *found))} @ {value}"
    return f"{p.param(shape)} * {total}" if shape else total


@dataclass(frozen=True)
class Case:
    """A program with sizes, numbers of steps and samples, and a seed for its numbers."""

    text: str
    sizes: dict[str, int]
    steps: int
    batch: int
    seed: int

    def __repr__(self) -> str:
        return f"{self.text}# {self.sizes}, T={self.steps}, B={self.batch}, seed={self.seed}"


@st.composite
def cases(draw: Callable[[st.SearchStrategy[Any]], Any], longest: int = 8) -> Case:
    """A random cell with where to look at it."""
    sizes = {name: draw(st.integers(1, 3)) for name in ("m", "n", "k")}
    return Case(
        draw(programs(longest)).text, sizes, draw(st.integers(0, 3)), draw(st.integers(1, 2)), draw(st.integers(0, 3))
    )
