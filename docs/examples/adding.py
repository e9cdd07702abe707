"""The adding problem: a gated cell learns what lies a hundred steps apart, an ungated one does not.

    python docs/examples/adding.py

Each step brings a random number in [0, 1) and a mark; two steps of the hundred are marked, one in each half, and the
sum of their numbers is wanted after the last. To answer 1 always has the mean squared error 1/6. In about half a minute
a GRU should get to about a hundredth of that, while the vanilla network, trained alike, stays near the baseline.
adding.png shows why: the norm of the adjoint, the gradient of the loss by the state, against the lag to the end.
Needs matplotlib: `pip install 'symbptt[examples]'`.

Source: Hochreiter, Schmidhuber 1997, "Long short-term memory", section 5.4; in the form of Le, Jaitly, Hinton 2015, "A
simple way to initialize recurrent networks of rectified linear units", section 4.1.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the products are small: threads would wait for each other

import numpy as np
from matplotlib.figure import Figure
from rich import print

import symbptt as sb
from symbptt import Param, State, Target
from symbptt.zoo import gru, rnn

STEPS, BATCH, UNITS, RATE, CLIP = 100, 32, 32, 3e-3, 1.0
BASELINE = 1 / 6  # the variance of the sum of two uniform numbers
COLOURS = {"gru": "#0072b2", "rnn": "#d55e00"}


@sb.loss
def squared_error(h: State["n"], y: Target["1"], V: Param["1 n"], c: Param["1"]):
    e = V @ h + c - y
    return sb.sum(e * e)


def examples(random, count):
    """Return sequences of numbers and marks, and the sums of the two marked numbers of each."""
    x = np.zeros((STEPS, count, 2), np.float32)
    x[:, :, 0] = random.random((STEPS, count))
    for first, last in ((0, STEPS // 2), (STEPS // 2, STEPS)):
        x[random.integers(first, last, count), np.arange(count), 1] = 1
    return x, np.sum(x[:, :, :1] * x[:, :, 1:], axis=0)


def train(cell, updates):
    """Return the loss of every update, the norms of the adjoints before and after, and the error on new examples."""
    model = sb.model(cell, squared_error, at="last", reduction="mean")
    kernel = sb.compile(model)
    params = model.init({"m": 2, "n": UNITS}, seed=0, dtype=np.float32)
    x_test, y_test = examples(np.random.default_rng(1), 1000)
    random, adam, losses, norms = np.random.default_rng(0), sb.Adam(RATE, clip=CLIP), [], []
    watch = sb.Watch(model, {"x": x_test[:, :4]}, targets={"y": y_test[:4]}, every=max(updates // 5, 1), count=1)
    for update in range(1, updates + 1):
        if update == 1:
            norms.append(kernel.value_and_grad(params, {"x": x_test}, {"y": y_test}, monitor=True)[1].flow["h"])
        x, y = examples(random, BATCH)
        loss, grads = kernel.value_and_grad(params, {"x": x}, {"y": y})
        params = adam.step(params, grads.params)
        watch(params)  # warns where the verdict on its gradients changes
        losses.append(float(loss))
        if update % max(updates // 10, 1) == 0:
            print(f"{cell.name}  update {update:5}  mean squared error {np.mean(losses[-50:]):.4f}")
    print(f"\n{watch.text()}")
    error, grads = kernel.value_and_grad(params, {"x": x_test}, {"y": y_test}, monitor=True)
    return losses, [*norms, grads.flow["h"]], float(error)


def draw(results, where):
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.axhline(BASELINE, color="#40586b", ls=":", lw=1.2)
    left.annotate("always 1", (0.99, BASELINE), (0, -12), xycoords=left.get_yaxis_transform(), textcoords="offset points",
                  ha="right", color="#40586b")  # fmt: skip
    for name, (losses, norms, _) in results.items():
        smooth = [np.mean(losses[max(i - 24, 0) : i + 25]) for i in range(len(losses))]
        left.semilogy(smooth, color=COLOURS[name], label=name)
        for norm, style, when in zip(norms, (":", "-"), ("before", "after"), strict=True):
            right.semilogy(norm[::-1] / norm[-1], style, color=COLOURS[name], label=f"{name}, {when} training")
    left.set(xlabel="update", ylabel="mean squared error")
    left.set_title("What they learn", loc="left")
    right.set(xlabel="lag: steps before the end", ylabel="norm of the adjoint, relative to the last step")
    right.set_title("What reaches back", loc="left")
    for axes in (left, right):
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(where / "adding.png", dpi=150)


def main(out, quick):
    results = {cell.name: train(cell, 20 if quick else 1500) for cell in (rnn, gru)}
    print(f"\nmean squared error on 1000 new sequences; the adjoint {STEPS - 1} steps back")
    print(f"  always 1   {BASELINE:.4f}")
    for name, (_, norms, error) in results.items():
        print(f"  {name:10} {error:.4f}   {norms[-1][0] / norms[-1][-1]:.1e} of that at the end")
    draw(results, out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train a gated and an ungated cell on the adding problem.")
    parser.add_argument("--out", type=Path, default=Path(), help="the folder of the plot")
    parser.add_argument("--quick", action="store_true", help="only see that it runs")
    options = parser.parse_args()
    main(options.out, options.quick)
