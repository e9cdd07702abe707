"""The distribution of gradient norms: one sample at a time, from windows of a run."""

from __future__ import annotations

from typing import Any

import numpy as np

from symbptt.clipping import joint_norm
from symbptt.codegen.kernel import kernel_of
from symbptt.language.model import Model
from symbptt.stability.runs.setting import Setting

DRAWS = 48
WINDOW = 100
"""Steps of a window at the most."""


def gradient_norms(of: Setting, seed: int) -> Any:
    """Return norms (draws,) of the joint gradient of all parameters, each of one sample in a window of at most 100 steps, of a quarter
    of that where a step goes through the rounds to a fixed point, which are tens forward and as many backward.

    For a model the loss of the window; for a cell a random loss of its last state, whose gradient there has length 1.
    """
    random, run = np.random.default_rng([seed, 2]), of.tail
    # With few samples the draws must differ in time: windows then take half of the run at the most.
    most = WINDOW // 4 if run.of.cell.tolerances else WINDOW
    length = max(1, min(most, run.steps if run.batch >= DRAWS else run.steps // 2))
    states = np.concatenate([run.start[None], run.of.run(run.inputs, run.of.by_name(run.start), run.steps)])
    kernel = kernel_of(of.target)
    norms = []
    for _ in range(DRAWS):
        b, first = int(random.integers(run.batch)), int(random.integers(run.steps - length + 1))
        inputs = {k: v[first : first + length, b : b + 1] for k, v in run.inputs.items()}
        state = run.of.by_name(states[first, b : b + 1])
        with np.errstate(all="ignore"):
            norms.append(joint_norm(_gradient(of, kernel, inputs, state, (first, b), length, random).values()))
    return np.array(norms)


def _gradient(
    of: Setting, kernel: Any, inputs: Any, state: Any, place: tuple[int, int], length: int, random: Any
) -> Any:
    steps = None if inputs else length
    if isinstance(of.target, Model):
        targets = _targets(of, place, length)
        return kernel.value_and_grad(of.params, inputs, targets, state, steps=steps)[1].params
    run = kernel.forward(of.own, inputs, state, steps=steps)
    sent = random.standard_normal(of.run.dimension).astype(of.run.of.dtype)
    return kernel.backward(run, of.run.of.by_name(sent[None] / np.linalg.norm(sent))).params


def _targets(of: Setting, place: tuple[int, int], length: int) -> dict[str, Any]:
    first, b = place
    first += of.run.steps - of.tail.steps
    every = isinstance(of.target, Model) and of.target.at == "every"
    return {k: v[first : first + length, b : b + 1] if every else v[b : b + 1] for k, v in (of.targets or {}).items()}
