"""What a user writes, under strict type checkers."""

from typing import Annotated, Any

import numpy as np

import symbptt as sb
from symbptt import Const, Index, Input, Param, State, Target


@sb.cell
def vanilla(
    x: Annotated[Any, Input, "m"],
    h: Annotated[Any, State, "n"],
    W: Annotated[Any, Param, "n m"],
    U: Annotated[Any, Param, "n n"],
    b: Annotated[Any, Param, "n"],
) -> Any:
    return np.tanh(W @ x + U @ h + b)


@sb.cell
def leaky(
    x: Annotated[Any, Input, "m"],
    h: Annotated[Any, State, "n"],
    W: Annotated[Any, Param, "n m"],
    dt: Annotated[Any, Const] = 0.1,
) -> Any:
    return {"h": h + dt * (sb.tanh(W @ x) - h), "y": sb.sum(h)}


@sb.cell
def words(
    i: Annotated[Any, Index, "v"],
    h: Annotated[Any, State, "n"],
    E: Annotated[Any, Param, "v n"],
    U: Annotated[Any, Param, "n n"],
) -> Any:
    z = sb.sigmoid(U @ h)
    return (1 - z) * h + z * E[i]


@sb.loss
def squared(h: Annotated[Any, State, "n"], y: Annotated[Any, Target, "k"], V: Annotated[Any, Param, "k n"]) -> Any:
    return sb.sum((V @ h - y) ** 2)


def trained(kernel: sb.Kernel, params: dict[str, Any], x: Any) -> sb.LossGrads:
    _, grads = kernel.value_and_grad(params, {"x": x}, {"y": np.zeros((2, 1))}, monitor=True)
    return grads


model = sb.model(vanilla, squared, at="last", reduction="mean")
kernel = sb.compile(model, truncation=None, memory="all")
params = model.init({"m": 2, "n": 3, "k": 1}, seed=0)
x = np.zeros((5, 2, 2))
grads = trained(kernel, params, x)
update = params["W"] - 0.1 * grads.params["W"]
run: sb.Run = sb.compile(leaky).forward(leaky.init({"m": 2, "n": 3}), {"x": x})
back: sb.Grads = sb.compile(leaky).backward(run, {"h": np.ones((2, 3))})
report = sb.verify(words, proof=False)
print(
    report.passed,
    report.wrong,
    str(report),
    update.shape,
    run.states["h"][-1].shape,
    back.inputs["x"].shape,
    grads.flow["h"],
)
stability = sb.analyze(vanilla, vanilla.init({"m": 2, "n": 3}), {"x": x[:, 0]}, {"h": np.zeros(3)})
print(
    stability.text(), stability.verdict, sb.derive(vanilla).text(style="loop"), sb.zoo.lstm.name, sb.interop.from_torch
)
print(vanilla(np.zeros(2), np.zeros(3), **vanilla.init({"m": 2, "n": 3})))
