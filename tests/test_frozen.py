"""Results of every cell of the zoo in every setting, as numbers that stay whatever is rebuilt in the code generator.

A number is a sum over all elements of what a call gives, with weights that are never zero, so that no element is left out.
The file is written by `python -m pytest tests/test_frozen.py -m "long or not long" -n0 --update-golden`, which is right only
where a cell of the zoo itself has changed.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import zoo
from tests import brute
from tests.kernels import kernel_of
from tests.readback import sizes_of

FILE = Path(__file__).parent / "golden" / "results.json"
STEPS, BATCH = 9, 3
SETTINGS: dict[str, dict[str, Any]] = {
    "whole": {},
    "checkpoints": {"memory": "sqrt"},
    "window 2": {"truncation": sb.Window(2)},
    "chunked 3 4": {"truncation": sb.Chunked(3, 4)},
}
RESET = np.array(
    [[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 0], [1, 0, 1], [0, 0, 0], [0, 1, 0]], bool
)
MASKS: dict[str, dict[str, Any]] = {
    "none": {},
    "lengths": {"lengths": np.array([9, 0, 5])},
    "resets": {"reset": RESET},
    "both": {"lengths": np.array([7, 2, 4]), "reset": RESET},
}


def measured(*groups: dict[str, Any]) -> tuple[float, float]:
    """The weighted sum of all elements, and the sum of their sizes."""
    flat = [np.ravel(value) for group in groups for _, value in sorted(group.items())]
    values = np.concatenate([np.zeros(0), *flat])
    assert np.isfinite(values).all()
    return float(values @ (1.5 + np.cos(np.arange(len(values))))), float(np.abs(values).sum())


def results(kernel: sb.Kernel, masks: dict[str, Any]) -> list[tuple[float, float]]:
    """What both sweeps give, measured."""
    data = brute.data_of(kernel.target, STEPS, BATCH, sizes_of(kernel.target), **masks)
    run = kernel.forward(data.params, data.inputs, data.state, **data.masks)
    random = np.random.default_rng(1)
    shown = {**run.states, **run.outputs}
    grads = kernel.backward(run, {name: random.standard_normal(shown[name].shape) for name in sorted(shown)})
    return [measured(run.states, run.outputs), measured(grads.params, grads.inputs, grads.state)]


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", zoo.CELLS)
@pytest.mark.thinned(47, 23)
def test_results_are_those_of_before(name: str, setting: str, request: pytest.FixtureRequest) -> None:
    kernel = kernel_of(zoo.CELLS[name], **SETTINGS[setting])
    found = {masks: results(kernel, MASKS[masks]) for masks in MASKS}
    key = f"{name}, {setting}"
    frozen = json.loads(FILE.read_text()) if FILE.exists() else {}
    if request.config.getoption("--update-golden"):
        frozen[key] = {masks: [float(f"{total:.11e}") for total, _ in pair] for masks, pair in found.items()}
        lines = [f"{json.dumps(k)}: {json.dumps(frozen[k])}" for k in sorted(frozen)]
        FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    for masks, pair in found.items():
        for (total, size), wanted in zip(pair, frozen[key][masks], strict=True):
            assert abs(total - wanted) <= 1e-10 * size + 1e-300, (key, masks)


def test_every_setting_is_frozen() -> None:
    assert set(json.loads(FILE.read_text())) == {f"{name}, {setting}" for name in zoo.CELLS for setting in SETTINGS}


def test_a_small_change_of_one_element_is_seen() -> None:
    """One weight of the LSTM that is another by a millionth changes what is measured by more than the tolerance."""
    kernel = kernel_of(zoo.lstm)
    data = brute.data_of(zoo.lstm, STEPS, BATCH, sizes_of(zoo.lstm))
    totals = []
    for factor in (1.0, 1.0 + 1e-6):
        data.params["Uf"][0, 0] *= factor
        run = kernel.forward(data.params, data.inputs, data.state)
        totals.append(measured(run.states))
    assert abs(totals[1][0] - totals[0][0]) > 1e-10 * totals[0][1]
