"""Cells for native targets: each has operations of its own, and sizes that are all different."""

from typing import Any

import numpy as np
import sympy as sp

import symbptt as sb
from symbptt import Const, Index, Input, Output, Param, State, Target
from symbptt.ir.shape import named_size, names_in
from symbptt.language.init import concrete

SIZES = {"m": 3, "n": 4, "k": 5, "v": 6, "s": 2}


@sb.cell
def plain(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"]):
    return np.tanh(W @ x + U @ h + b)


@sb.cell
def gated(x: Input["m"], h: State["n"], c: State["k"], Wf: Param["k m"], Wi: Param["k m"], Uf: Param["k n"], Ui: Param["k n"],
          V: Param["n k"], bf: Param["k"]):  # fmt: skip
    """Two packed gates, two states of different sizes, an output and a view of an argument."""
    f = sb.sigmoid(Wf @ x + Uf @ h + bf)
    i = np.tanh(Wi @ x + Ui @ h)
    c2 = f * c + (1 - f) * i
    return {"h": V @ c2 + 0.5 * h, "c": c2, "y": sb.softplus(c2).sum() * x[::-1]}


@sb.cell
def tables(token: Index["v"], h: State["n"], E: Param["v n"], R: Param["n v"], U: Param["n n"]):
    """Rows and columns of tables."""
    return {"h": np.tanh(E[token] + U @ h), "y": R[:, token] * h}


@sb.cell
def memory(x: Input["n"], S: State["k n"], q: Input["n"], A: Param["k n"], scale: Const = 0.7):
    """A matrix as state, a softmax, an outer product, a running sum, a maximum, concatenated parts."""
    weights = sb.softmax(S @ x * scale)
    S2 = 0.9 * S + sb.outer(weights, np.cumsum(x)[::-1]) * A
    read = S2.T @ weights
    return {"S": S2, "y": sb.concatenate([read[1:], q[:2], np.max(S2, axis=0, keepdims=True)[0]])}


@sb.cell
def branches(x: Input["n"], h: State["n"], w: Param["n"], last: State["n"]):
    """Choices, comparisons as numbers, powers, a constant array, a state that is another one a step before."""
    a = np.where(h > 0, np.sqrt(1 + h * h), w * x) + (x > 0.1)
    near = np.maximum(a - last, np.minimum(w, 0.3)) * np.abs(last) / (2 + a**2)
    return {"h": np.sin(near) * np.array([1.0, -0.5, 2.0, 0.25])[0] + np.arctan2(a, 1 + w * w), "last": h}


@sb.cell
def late(x: Input["m"], h: State["n"], W: Param["n m"], w: Param["n"], D: Const["n"]):
    """An affine state, an output that reads the state before a step, a constant that a call gives, a shared start."""
    a = sb.sigmoid(W @ x)
    return {"h": a * h + (1 - a) * D, "y": np.exp(-w * h) + sb.norm(x)}


@sb.cell
def alone(h: State["n"], A: Param["n n"], h_first: Param["n"]):
    """No input."""
    return h + 0.1 * np.tanh(A @ h) + h_first


@sb.cell
def equations(x: Input["n"], P: State["n n"], Q: Param["n n"]):
    """A solve of linear equations."""
    K = sb.solve(P @ P.T + np.eye(P.shape[0]) + 0.1 * Q @ Q.T, sb.outer(x, x))
    return 0.5 * P + K


@sb.cell
def copied(x: Input["n"], h: State["n"], g: State["n"], s: State[""], b: Param["n"], w: Param[""]):
    """Two states that become one value, a scalar state, outputs that are an argument, a state or a number of a parameter, a truth."""
    z = np.tanh(w * h + g * s + x)
    return {"h": z, "g": z, "s": (z * b).mean(), "y": b, "u": h, "o": z, "q": 1.5 * w, "t": x, "r": x > 0}


@sb.cell
def begun(x: Input["n"], h: State["n"] = Param, g: State["k"] = 0.5, A: Param["k n"] = None):
    """States with starts of their own, in two places of memory that a step exchanges."""
    return {"h": np.tanh(x * h), "g": np.tanh(A @ h + g[::-1])}


spike = sb.function("spike", lambda v: sp.Heaviside(v, 0), derivative=lambda v: 1 / (1 + v**2))


@sb.cell
def spiking(x: Input["n"], v: State["n"], U: Param["n n"], leak: Param[""]):
    """A function with a declared slope, which is an output."""
    z = spike(v - 0.3)
    return {"v": sb.sigmoid(leak) * v + U @ z + x, "z": z}


@sb.cell
def selective(
    x: Input["m"], h: State["n"], s: State["n"], A: Param["n m"], W: Param["n m"], C: Param["k n"], r: Param["n"]
):
    """Affine in two states, each by itself, with a gate of the input and with one that is the same at all steps."""
    a = sb.sigmoid(A @ x)
    h2 = a * h + (1 - a) * (W @ x)
    s2 = np.exp(-np.exp(r)) * s - 0.3 * x.sum()
    return {"h": h2, "s": s2, "y": C @ np.tanh(h2 + s2)}


@sb.loss
def squares(h: State["n"], goal: Target["k"], V: Param["k n"], c: Param["k"], U: Param["n n"], D: Const["k"]):
    """A weight that the cell has too, and a constant that a call gives."""
    e = D * (V @ h) + c - goal
    return sb.sum(e * e) / 2 + 0.03 * np.sum(U * U)


@sb.loss
def labelled(
    y: Output["2*n+1"], S: State["k n"], label: Index["n"], goal: Target["k"], w: Param["n"], scale: Const = 0.7
):
    """A label, an output and a matrix as state, of which the output is not finite for a loss where nothing counts."""
    z = sb.log_softmax(scale * y[: S.shape[1]] + S.T @ goal)
    return {"loss": -z[label] * np.sqrt(np.sum(w * w)), "logits": scale * y}


@sb.loss
def spikes(z: Output["n"], v: State["n"], rate: Target[""], w: Param["n"]):
    """A declared slope in a loss, and a loss that is an exponential, which its derivative reads."""
    return np.exp(-0.1 * (w @ spike(v + z) - rate) ** 2)


MODELS = tuple(
    sb.model(cell, loss, at=at, reduction=reduction)
    for cell, loss in ((plain, squares), (memory, labelled), (spiking, spikes))
    for at, reduction in (("every", "sum"), ("every", "mean"), ("last", "sum"), ("last", "mean"))
)

CELLS = (plain, gated, tables, memory, branches, late, alone, equations, copied, begun, spiking, selective)


def arguments(cell: sb.Cell, T: int, B: int, seed: int = 0, sizes: dict[str, int] = SIZES) -> tuple[Any, Any, Any, Any]:
    """Random parameters, inputs, states and options of a call."""
    random = np.random.default_rng(seed)
    named = {named_size(name): length for name, length in sizes.items()}
    shape = {a.name: concrete(a.shape, named) for a in cell.arguments}
    draw = {a.name: 0.7 * random.standard_normal((*{"input": (T, B), "state": (B,), "context": (B,)}.get(a.role, ()), *shape[a.name]))
            for a in cell.arguments if a.role not in ("index", "const") or a.default is None}  # fmt: skip
    draw |= {a.name: random.integers(0, sizes[str(a.limit)], (T, B)) for a in cell.arguments if a.role == "index"}
    params, inputs, state = (
        {a.name: draw[a.name] for a in cell.arguments if a.role in roles and a.name in draw}
        for roles in (("param", "const"), ("input", "index", "context"), ("state",))
    )
    own = any(a.role in ("input", "index") for a in cell.arguments)
    return params, inputs, state, {} if own else {"steps": T}


def model_arguments(model: sb.Model, T: int, B: int, seed: int = 0) -> tuple[Any, Any, Any, Any]:
    """Random parameters, inputs, targets and states of a call."""
    random = np.random.default_rng(seed + 7)
    params, inputs, state, _ = arguments(model.cell, T, B, seed)
    named = {named_size(name): length for name, length in SIZES.items()}
    lead = (T, B) if model.at == "every" else (B,)
    targets = {}
    for a in model.arguments[len(model.cell.arguments) :]:
        if a.limit is not None:
            targets[a.name] = random.integers(0, SIZES[str(a.limit)], lead)
        elif a.role == "target":
            targets[a.name] = random.standard_normal((*lead, *concrete(a.shape, named)))
        elif a.default is None:
            params[a.name] = random.standard_normal(concrete(a.shape, named))
    return params, inputs, targets, state


def masks(T: int, B: int, seed: int = 1) -> dict[str, Any]:
    """Lengths from 0 to T, and resets at some steps."""
    random = np.random.default_rng(seed)
    return {"lengths": np.linspace(T, 0, B).astype(int), "reset": random.random((T, B)) < 0.4}


def sizes_of(cell: sb.Cell | sb.Model) -> dict[str, int]:
    """The sizes that a cell has."""
    names = {name for a in cell.arguments for name in names_in((*a.shape, *([] if a.limit is None else [a.limit])))}
    return {name: length for name, length in SIZES.items() if name in names}
