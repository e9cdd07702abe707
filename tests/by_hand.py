"""Modules of the cell that the runtime's own files describe, h_t = w ⊙ h_{t-1} + x_t, y_t = h_t², loss Σ (v h_t - goal)² / 2;
and what they must give, by loops over samples and steps."""

from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from symbptt.codegen.runtime import (
    chunked,
    every,
    last,
    limit,
    pieces,
    reach,
    root,
    told_every,
    told_last,
    watch_chunk,
    whole,
    window,
)
from symbptt.codegen.targets.numpy.embed import OWN, definition, embedded, names_of
from symbptt.codegen.targets.numpy.module import TYPED

PUBLIC = ("init", "forward", "backward", "stepper", "value_and_grad", "value", "predict")
RUNS = {
    "whole": dict.fromkeys(("_prepared", "_ran", "_flowed_back", "_trained"), whole),
    "root": {**dict.fromkeys(("_prepared", "_ran", "_flowed_back", "_trained"), pieces), "_pieces": root},
    "limit": {**dict.fromkeys(("_prepared", "_ran", "_flowed_back", "_trained"), pieces), "_pieces": limit},
    "chunked": {
        "_flowed_back": reach,
        "_trained": reach,
        **dict.fromkeys(("_blocks", "_first", "_block_back"), chunked),
        "_watch": watch_chunk,
    },
    "window": {"_flowed_back": reach, "_trained": reach, **dict.fromkeys(("_blocks", "_first", "_block_back"), window)},
}
"""The files of which modules carry one, by how they run."""


@cache
def source(run: str = "whole", at: str = "every") -> str:
    """The text of such a module."""
    files: dict[str, ModuleType] = {
        **RUNS[run],
        **dict.fromkeys(names_of(every), last if at == "last" else every),
        **dict.fromkeys(names_of(told_every), told_last if at == "last" else told_every),
    }
    own = "\n\n\n".join(definition(file, name).text for file in OWN for name in names_of(file))
    return f"{TYPED}\n\nimport numpy as np\n{own}\n\n\n{embedded(own, PUBLIC, files)[0]}"


def module(run: str = "whole", at: str = "every", planted: tuple[str, str] | None = None, **settings: Any) -> Any:
    """Such a module, with other constants, or with a mistake: what is written for what."""
    text = source(run, at)
    if planted is not None:
        assert text.count(planted[0]) == 1, (planted, text.count(planted[0]))
        text = text.replace(*planted)
    found: Any = ModuleType(f"by_hand_{run}_{at}")
    exec(compile(text, f"<by hand, {run}, {at}>", "exec"), vars(found))
    found.LEAD["goal"] = 2 if at == "every" else 1
    vars(found).update(settings)
    return found


def guesses(given: Any, at: str, lengths: Any = None, reset: Any = None) -> Any:
    """What the loss returns beside its value, sample by sample and step by step."""
    params, inputs, _, state = given
    T, B, n = inputs["x"].shape
    found = np.zeros((T, B, n) if at == "every" else (B, n))
    for b in range(B):
        end = T if lengths is None else int(lengths[b])
        rows = states(params["w"], inputs["x"][:end, b], state["h"][b], None if reset is None else reset[:, b])
        if at == "every":
            found[:end, b] = np.reshape([params["v"] * row for row in rows], (end, n))
        elif end:
            found[b] = params["v"] * rows[-1]
    return found


def data(T: int = 5, B: int = 2, n: int = 2, at: str = "every", dtype: Any = np.float64, seed: int = 0) -> Any:
    """Parameters, inputs, targets and states at random."""
    r = np.random.default_rng(seed)
    goal = r.standard_normal((T, B, n) if at == "every" else (B, n))
    params = {"w": r.uniform(0.5, 1.5, n).astype(dtype), "v": np.array(r.standard_normal(), dtype)}
    state = {"h": r.standard_normal((B, n)).astype(dtype)}
    return params, {"x": r.standard_normal((T, B, n)).astype(dtype)}, {"goal": goal.astype(dtype)}, state


def states(w: Any, x: Any, h0: Any, reset: Any = None) -> list[Any]:
    """The states of one sample after each step."""
    h, found = h0, []
    for t, row in enumerate(x):
        h = w * (h0 if reset is not None and reset[t] else h) + row
        found.append(h)
    return found


def value(given: Any, at: str, mean: bool = False, lengths: Any = None, reset: Any = None) -> Any:
    """The loss, sample by sample and step by step."""
    params, inputs, targets, state = given
    T, B, _ = inputs["x"].shape
    total, count = 0.0, 0
    for b in range(B):
        end = T if lengths is None else int(lengths[b])
        found = states(params["w"], inputs["x"][:end, b], state["h"][b], None if reset is None else reset[:, b])
        for t in range(end) if at == "every" else [end - 1] * (end > 0):
            error = params["v"] * found[t] - (targets["goal"][t, b] if at == "every" else targets["goal"][b])
            total, count = total + (error * error).sum() / 2, count + 1
    return total / max(count, 1) if mean else total


def derivatives(of: Any, given: Any) -> dict[str, Any]:
    """The derivatives of a number by each entry of parameters, inputs and states, by complex steps."""
    groups = [{k: v.astype(complex) for k, v in group.items()} for group in given]
    found = {}
    for group in (groups[0], groups[1], groups[3]):
        for name, array in group.items():
            result = np.zeros(array.shape)
            for i in np.ndindex(array.shape):
                array[i] += 1e-30j
                result[i] = of(groups).imag / 1e-30
                array[i] = array[i].real
            found[name] = result
    return found


def by_name(grads: Any) -> dict[str, Any]:
    """All gradients in one dict."""
    return {**grads.params, **grads.inputs, **grads.state}


def assert_close(found: dict[str, Any], wanted: dict[str, Any], rtol: float = 1e-11) -> None:
    """Check gradients, each against its own size."""
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert np.shape(found[name]) == np.shape(array), name
        np.testing.assert_allclose(
            found[name], array, rtol=rtol, atol=rtol * max(np.abs(array).max(initial=0), 1), err_msg=name
        )
