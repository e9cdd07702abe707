"""The same cell in torch and in JAX: forward and backward with every gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbptt.bench.case import Arrays, Case

Step = Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], dict[str, Any]]
"""One step over a batch: (states, inputs, parameters) to next states, by name."""


@dataclass(frozen=True)
class Runner:
    """Something to time: `run` computes and waits for the result, `values` are the last states and all gradients."""

    name: str
    run: Callable[[], Any]
    values: Callable[[], Arrays]


def torch_loop(case: Case, step: Step) -> Runner:
    """Return the loop over the steps in torch, differentiated by its tape."""
    import torch

    leaves = {k: torch.from_numpy(v) for k, v in (case.params | case.inputs | case.state).items()}
    for leaf in leaves.values():
        leaf.requires_grad_(leaf.is_floating_point())
    for name in case.constants:
        leaves[name].requires_grad_(False)
    params, inputs, state = ({k: leaves[k] for k in part} for part in (case.params, case.inputs, case.state))
    cotangents = {k: torch.from_numpy(v) for k, v in case.cotangents.items()}
    wanted = [k for k, leaf in leaves.items() if leaf.requires_grad]

    def run() -> Any:
        now, steps = state, []
        for t in range(case.T):
            now = step(now, {k: v[t] for k, v in inputs.items()}, params)
            steps.append(now)
        outputs = [torch.stack([s[k] for s in steps]) for k in cotangents]
        # autograd.grad refuses outputs that depend on no leaf with a gradient.
        pairs = [(y, c) for y, c in zip(outputs, cotangents.values(), strict=True) if y.requires_grad]
        flowing, given = zip(*pairs, strict=True)
        # autograd.grad returns gradients without accumulating into .grad, which would have to be cleared between calls.
        found = torch.autograd.grad(flowing, [leaves[k] for k in wanted], given, allow_unused=True)
        return now, found

    def values() -> Arrays:
        now, found = run()
        zeros = ((k, leaves[k] * 0 if g is None else g) for k, g in zip(wanted, found, strict=True))
        return _named(case, {k: v.detach().numpy() for k, v in now.items()}, {k: v.detach().numpy() for k, v in zeros})

    return Runner("torch loop", run, values)


def jax_scan(case: Case, step: Step) -> Runner:
    """Return the compiled scan over the steps in JAX with its reverse derivative."""
    import jax
    import jax.numpy as jnp

    # JAX computes in float32 unless told otherwise, whatever the type of its arguments is.
    jax.config.update("jax_enable_x64", any(v.dtype == np.float64 for v in case.state.values()))
    args = tuple({k: jnp.asarray(v) for k, v in part.items()} for part in (case.params, case.inputs, case.state))
    cotangents = {k: jnp.asarray(v) for k, v in case.cotangents.items()}

    def states(params: Any, inputs: Any, state: Any) -> Any:
        def body(now: Any, x: Any) -> Any:
            after = step(now, x, params)
            return after, {k: after[k] for k in cotangents}

        last, seen = jax.lax.scan(body, state, inputs, case.T)
        return seen, last

    @jax.jit
    def compute(params: Any, inputs: Any, state: Any, cotangents: Any) -> Any:
        fixed = {k: v for k, v in inputs.items() if not jnp.issubdtype(v.dtype, jnp.floating)}
        real = {k: v for k, v in inputs.items() if k not in fixed}
        given = {k: v for k, v in params.items() if k in case.constants}
        trained = {k: v for k, v in params.items() if k not in given}
        _, back, last = jax.vjp(lambda p, x, s: states(p | given, x | fixed, s), trained, real, state, has_aux=True)
        return last, back(cotangents)

    def run() -> Any:
        # JAX dispatches asynchronously: without waiting, only the dispatch would be timed.
        return jax.block_until_ready(compute(*args, cotangents))

    def values() -> Arrays:
        last, (dp, dx, ds) = run()
        return _named(case, _arrays(last), _arrays(dp | dx | ds))

    return Runner("jax scan", run, values)


def _arrays(values: Mapping[str, Any]) -> Arrays:
    return {k: np.asarray(v) for k, v in values.items()}


def _named(case: Case, last: Arrays, found: Arrays) -> Arrays:
    return {f"last {k}": v for k, v in last.items()} | {
        f"d{k}_0" if k in case.state else f"d{k}": v for k, v in found.items()
    }
