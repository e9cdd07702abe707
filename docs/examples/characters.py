"""A character model of the first volume of "Pride and Prejudice": truncated BPTT on streams, with resets and clipping.

    python docs/examples/characters.py

An LSTM reads chapters 1 to 20 as sixteen parallel streams, 64 characters a call, and carries its states to the next call;
they are reset where a chapter begins. `sb.Chunked(32, 64)` sends the losses of each 32 characters back through at most 64.
In about a minute it should predict chapters 21 to 23 with about 2.4 bits a character, where single characters take 4.3 and
a bigram model 3.5. Then it writes a few lines. characters.png shows the learning curve and the norms of the adjoints.
Needs matplotlib: `pip install 'symbptt[examples]'`. The text: see docs/data/README.md.
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

UNITS, STREAMS, STEPS, EPOCHS, RATE, CLIP = 128, 16, 64, 10, 4e-3, 0.5
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

# one character is read, the next to be guessed, inside every chapter; `keep` is 0 where a chapter begins
text = DATA.read_text("utf-8")
chapters = [" ".join(part.split()) for part in re.split(r"^Chapter \d+$", text, flags=re.MULTILINE)[1:]]
alphabet = sorted({*text} - {"\n"})
codes = [np.array([alphabet.index(letter) for letter in chapter]) for chapter in chapters]
read, guess = (np.concatenate([code[part] for code in codes]) for part in (slice(0, -1), slice(1, None)))
