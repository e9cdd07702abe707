"""Theorems on vanishing gradients: never violated, tight within a stated factor, and what they say."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import symbptt as sb
from symbptt.ir.shape import names_in
from symbptt.stability.linear import linearize
from symbptt.zoo import CELLS
from tests.properties.cells import cell_of, programs

SIZES = {"m": 2, "n": 3, "k": 2, "d": 2, "a": 2, "v": 3}
pytestmark = pytest.mark.filterwarnings("ignore:.*is never used")
WHOLE = {"2": 2, "max": np.inf}


def parameters(cell: Any, scale: float, seed: int = 0) -> dict[str, Any]:
    """Random parameters of a cell, of all signs."""
    random = np.random.default_rng(seed)
    dims = {s for a in cell.arguments for s in names_in(a.shape)} | {
        str(a.limit) for a in cell.arguments if a.limit is not None
    }
    first = cell.init({k: SIZES[k] for k in dims}, seed=seed)
    return {k: scale * (v + 0.5 * random.standard_normal(v.shape)) for k, v in first.items()}


def shape(a: Any) -> tuple[int, ...]:
    return tuple(
        item if isinstance(item, int) else int(item.subs({s: SIZES[s.name] for s in item.free_symbols}))
        for item in a.shape
    )


def drawn(cell: Any, role: str, size: float, random: Any, lead: tuple[int, ...] = ()) -> dict[str, Any]:
    """Values between -size and size, many of them at the ends."""
    found = {}
    for a in cell.arguments:
        if a.role == role:
            value = random.uniform(-size, size, (*lead, *shape(a)))
            found[a.name] = np.where(random.random(value.shape) < 0.5, size * np.sign(value), value)
        elif a.role == "index" and role == "input":
            found[a.name] = random.integers(0, SIZES[str(a.limit)], lead)
    return found


def products(cell: Any, params: Any, inputs: Any, state: Any, steps: int) -> tuple[Any, list[Any]]:
    """The trajectory and J_t … J_1 for t = 1, …, steps of one sample."""
    with np.errstate(all="ignore"):
        run = linearize(cell, params, inputs, state, steps=None if inputs else steps)
        found = [run.jacobians[0, 0]]
        for step in run.jacobians[1:, 0]:
            found.append(step @ found[-1])
    return run, found


def weights(run: Any, scaling: dict[str, float]) -> Any:
    found = np.ones(run.states.shape[-1])
    for name, part in run.names.items():
        found[part] = scaling[name]
    return found


def is_violated(found: list[Any], rate: float, norm: str, w: Any) -> bool:
    """Whether a product of Jacobians is larger than the power of a rate, in the norm of s / w."""
    for lag, product in enumerate(found, 1):
        size = np.linalg.norm(product * w / w[:, None], WHOLE[norm])
        if np.isfinite(size) and size > rate**lag * (1 + 1e-9 * lag) + 1e-280:
            return True
    return False


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(programs(), st.integers(0, 10**6), st.sampled_from([0.05, 0.3, 1.0]), st.sampled_from([0.1, 1.0, 30.0]))
def test_theorems_hold_on_random_cells(program: Any, seed: int, scale: float, size: float) -> None:
    cell = cell_of(program.text)
    check_theorem(cell, scale, size, seed)
    check_certificate(cell, scale, size, seed)


def check_theorem(cell: Any, scale: float, size: float, seed: int) -> float:
    """Check the theorem of a cell in both norms on one trajectory; return the larger of the ratios of bound and truth."""
    random, params = np.random.default_rng(seed), parameters(cell, scale, seed)
    for norm in ("2", "max"):
        theorem = sb.vanishing_condition(cell, norm=norm)
        wide = {
            a.name: (-np.inf * np.ones(shape(a)), np.inf * np.ones(shape(a)))
            for a in cell.arguments
            if a.role == "state" and a.name not in theorem.bounded
        }
        rate = theorem.rate(params, wide)
        assert rate >= 0
        if np.isfinite(rate):
            inputs = drawn(cell, "input", size, random, (12, 1))
            state = drawn(cell, "state", 1.0, random, (1,))
            run, found = products(cell, params, inputs, state, 12)
            assert not is_violated(found, rate, norm, np.ones(run.states.shape[-1])), (rate, norm)
    return rate


def check_certificate(cell: Any, scale: float, size: float, seed: int) -> Any:
    """Check the certificate of a cell on one trajectory in its box."""
    random, params = np.random.default_rng(seed), parameters(cell, scale, seed)
    box = {a.name: (-size * np.ones(shape(a)), size * np.ones(shape(a))) for a in cell.arguments if a.role == "input"}
    box |= {a.name: (-0.5 * np.ones(shape(a)), 0.5 * np.ones(shape(a))) for a in cell.arguments if a.role == "state"}
    found = sb.certified_rate(cell, params, box)
    inputs = drawn(cell, "input", size, random, (12, 1))
    state = drawn(cell, "state", 0.5, random, (1,))
    run, chain = products(cell, params, inputs, state, 12)
    for name, part in run.names.items():
        lo, hi = (np.ravel(end) for end in found.box[name])
        states = run.states[:, 0, part]
        assert np.all((states >= lo) & (states <= hi) | np.isnan(states)), name
    if np.isfinite(found.rate):
        w = weights(run, found.scaling)
        assert not is_violated(chain, found.rate, found.norm, w), (found.rate, found.norm)
        assert found.constant == pytest.approx(w.max() / w.min())
    return found


@pytest.mark.parametrize("name", CELLS)
def test_theorems_hold_on_the_zoo(name: str) -> None:
    for seed, (scale, size) in enumerate([(0.1, 1.0), (0.5, 30.0), (1.5, 1.0)]):
        check_theorem(CELLS[name], scale, size, seed)
        check_certificate(CELLS[name], scale, size, seed)
