"""A character model of the first volume of "Pride and Prejudice": truncated BPTT on streams, with resets and clipping.

    python docs/examples/characters.py

An LSTM reads chapters 1 to 20 as sixteen parallel streams, 64 characters a call, and carries its states on to the next
call; they are reset where a chapter begins. `sb.Chunked(32, 64)` sends the losses of each 32 characters back through at
most 64. In about a minute it should guess chapters 21 to 23 with about 2.2 bits a character, where a model of single
characters needs 4.4 and one of pairs 3.4. Then it writes a few lines. characters.png shows the learning curve and the
norms of the adjoints. Needs matplotlib: `pip install 'symbptt[examples]'`. The text: docs/data/README.md.
"""

import argparse
import os
import re
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the products are small: threads would wait for each other

import numpy as np
from matplotlib.figure import Figure
from rich import print

import symbptt as sb
from symbptt import Index, Input, Param, State

UNITS, STREAMS, STEPS, EPOCHS, RATE, CLIP = 128, 16, 64, 7, 8e-3, 0.5
DATA = Path(__file__).parents[1] / "data" / "pride_and_prejudice_1.txt"


@sb.cell
def reader(x: Index["v"], keep: Input[""], h: State["n"], c: State["n"],
           E: Param["v 4*n"], U: Param["4*n n"], b: Param["4*n"]):  # fmt: skip
    """An LSTM over characters; where `keep` is 0, a document begins and the past is forgotten."""
    i, f, g, o = sb.split(E[x] + U @ (keep * h) + b, 4)
    c_new = sb.sigmoid(f) * (keep * c) + sb.sigmoid(i) * np.tanh(g)
    return sb.sigmoid(o) * np.tanh(c_new), c_new


@sb.loss
def surprise(h: State["n"], y: Index["v"], V: Param["v n"], d: Param["v"]):
    """The cross-entropy of the next character, in nats."""
    return -sb.log_softmax(V @ h + d)[y]


model = sb.model(reader, surprise, reduction="mean")
kernel = sb.compile(model, truncation=sb.Chunked(32, 64))

# inside every chapter one character is read and the next one guessed; `keep` is 0 where a chapter begins
text = DATA.read_text("utf-8")
chapters = [" ".join(part.split()) for part in re.split(r"^Chapter \d+$", text, flags=re.MULTILINE)[1:]]
alphabet = sorted(set("".join(chapters)))
codes = [np.array([alphabet.index(letter) for letter in chapter]) for chapter in chapters]


def sequence(codes):
    x, y = (np.concatenate([code[part] for code in codes]) for part in (slice(None, -1), slice(1, None)))
    keep = np.ones(len(x), np.float32)
    keep[np.cumsum([0] + [len(code) - 1 for code in codes[:-1]])] = 0
    return x, y, keep


def as_streams(values):
    length = len(values) // STREAMS
    return values[: length * STREAMS].reshape(STREAMS, length).T


def baselines(train, test):
    """Return the bits a character of models of single characters and of pairs, every count raised by a half."""
    (x, y, _), (x_test, y_test, _) = train, test
    pairs = np.full((len(alphabet), len(alphabet)), 0.5)
    np.add.at(pairs, (x, y), 1)
    single, double = pairs.sum(0) / pairs.sum(), pairs / pairs.sum(1, keepdims=True)
    return -np.log2(single[y_test]).mean(), -np.log2(double[x_test, y_test]).mean()


def bits(params, x, y, keep):
    """Return the bits a character that the network needs for a sequence, in one forward sweep."""
    h = kernel.forward(params, {"x": x, "keep": keep}).states["h"]
    guesses = sb.log_softmax(h @ params["V"].T + params["d"])
    return -float(np.mean(guesses[np.arange(len(y)), y])) / np.log(2)


def train(x, y, keep, test, epochs):
    """Return the trained parameters, the bits a character in training and test, and the mean norms of the adjoints."""
    forget = np.repeat([0.0, 1.0, 0.0, 0.0], UNITS)  # the forget gates begin open
    params = model.init({"v": len(alphabet), "n": UNITS}, seed=0, dtype=np.float32, b=forget)
    calls, adam, curve, norms = len(x) // STEPS, sb.Adam(RATE, clip=CLIP), [], []
    for epoch in range(epochs):
        state, losses, flows, clipped = None, [], [], 0
        for call in range(calls):
            part = slice(call * STEPS, (call + 1) * STEPS)
            inputs = {"x": x[part], "keep": keep[part]}
            loss, grads = kernel.value_and_grad(params, inputs, {"y": y[part]}, state, monitor=True)
            state = grads.final  # a `reset=` of the kernel would return to the states that this call began with
            losses.append(float(loss) / np.log(2))
            flows.append(grads.flow["c"])
            clipped += np.sqrt(sum(np.sum(g * g) for g in grads.params.values())) > CLIP
            adam.lr = RATE * (1 - (epoch * calls + call + 1) / (epochs * calls + 1))
            params = adam.step(params, grads.params)
        curve.append((np.mean(losses), bits(params, *test)))
        norms.append(np.mean(flows, axis=0))
        print(f"epoch {epoch + 1:2}: {curve[-1][0]:.3f} bits, test {curve[-1][1]:.3f}; "
              f"largest adjoint {np.max(flows):.4f}, clipped {clipped / calls:.0%}")  # fmt: skip
    return params, np.array(curve), norms


def write(params, count, seed=0):
    """Return characters drawn from the network: its cell is an ordinary function of NumPy arrays."""
    random, code = np.random.default_rng(seed), alphabet.index("I")
    h, c, letters = np.zeros(UNITS), np.zeros(UNITS), []
    for _ in range(count):
        letters.append(alphabet[code])
        h, c = reader(code, 1.0, h, c, params["E"], params["U"], params["b"])
        code = random.choice(len(alphabet), p=sb.softmax((params["V"] @ h + params["d"]) / 0.7))
    return "".join(letters)


def draw(curve, norms, single, double, where):
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = np.arange(1, len(curve) + 1)
    for level, name in ((single, "single characters"), (double, "pairs of characters")):
        left.axhline(level, color="#40586b", ls=":", lw=1.2)
        left.annotate(name, (len(curve), level), (0, 4), textcoords="offset points", ha="right", color="#40586b")
    left.plot(epochs, curve[:, 0], "o-", ms=4, color="#56b4e9", label="LSTM, chapters it learns from")
    left.plot(epochs, curve[:, 1], "o-", ms=4, color="#0072b2", label="LSTM, chapters 21 to 23")
    left.set(xlabel="epoch", ylabel="bits a character", ylim=(1.5, 4.6))
    for shade, epoch in zip((0.35, 0.65, 1), sorted({0, len(norms) // 2, len(norms) - 1}), strict=False):
        right.plot(np.arange(1, STEPS + 1), norms[epoch], color="#d55e00", alpha=shade, label=f"epoch {epoch + 1}")
    right.set(xlabel="step in the call", ylabel="norm of the adjoint of c, mean over calls", ylim=(0, None))
    left.set_title("What it learns", loc="left")
    right.set_title("What flows back, in chunks of 32 steps", loc="left")
    for axes in (left, right):
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(where / "characters.png", dpi=150)


def main(out, quick):
    learned, test = sequence(codes[:2] if quick else codes[:20]), sequence(codes[22:] if quick else codes[20:])
    single, double = baselines(learned, test)
    params, curve, norms = train(*map(as_streams, learned), test, 1 if quick else EPOCHS)
    print(f"\n{write(params, 300)}\n")
    print("bits a character in chapters 21 to 23, which it did not learn from")
    print(
        f"  single characters   {single:.3f}\n  pairs of characters {double:.3f}\n  the LSTM            {curve[-1][1]:.3f}"
    )
    draw(curve, norms, single, double, out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train a character model on half a novel.")
    parser.add_argument("--out", type=Path, default=Path(), help="the folder of the plot")
    parser.add_argument("--quick", action="store_true", help="only see that it runs")
    options = parser.parse_args()
    main(options.out, options.quick)
