"""Runners of the eight cells in torch and JAX, and torch's own modules; all compared with ours before they are timed."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from symbptt.bench.case import Arrays, Case
from symbptt.bench.peers import Runner, jax_scan, torch_loop
from tests.benchmarks.batched import BATCHED


class Torch:
    """What `batched` asks of its namespace, in torch."""

    tanh, sigmoid, exp, sqrt, einsum = torch.tanh, torch.sigmoid, torch.exp, torch.sqrt, torch.einsum
    concatenate, softplus = torch.cat, torch.nn.functional.softplus

    @staticmethod
    def layer_norm(x: Any) -> Any:
        return torch.nn.functional.layer_norm(x, x.shape[-1:])


class Jax:
    """The same in JAX."""

    tanh, sigmoid, exp, sqrt, einsum = jnp.tanh, jax.nn.sigmoid, jnp.exp, jnp.sqrt, jnp.einsum
    concatenate, softplus = jnp.concatenate, jax.nn.softplus

    @staticmethod
    def layer_norm(x: Any) -> Any:
        return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)


MODULES = {"rnn": ("RNN", ("",)), "lstm": ("LSTM", tuple("ifgo")), "gru": ("GRU", tuple("rzn"))}


def peers_of(case: Case) -> list[Runner]:
    """Return the runners of a case: a torch module where there is one, a torch loop, a JAX scan."""
    function = BATCHED[case.cell.name]
    found = [torch_module(case)] if case.cell.name in MODULES else []
    for make, namespace in ((torch_loop, Torch), (jax_scan, Jax)):
        found.append(make(case, partial(_step, function, namespace)))
    return found


def _step(function: Any, namespace: Any, state: Any, inputs: Any, params: Any) -> Any:
    return function(namespace, state, inputs["x"], params)


def torch_module(case: Case) -> Runner:
    """Return torch's own module with the weights of a case; its second bias is zero, or GRU's inner one."""
    kind, gates = MODULES[case.cell.name]
    dtype = torch.from_numpy(case.inputs["x"]).dtype
    module = getattr(torch.nn, kind)(case.sizes["m"], case.sizes["n"], dtype=dtype)
    second = {gate: np.zeros_like(case.params[f"b{gate}"]) for gate in gates}
    second |= {"n": case.params["cn"]} if kind == "GRU" else {}
    with torch.no_grad():
        for name, of in (("weight_ih_l0", "W"), ("weight_hh_l0", "U"), ("bias_ih_l0", "b")):
            getattr(module, name).copy_(torch.from_numpy(np.concatenate([case.params[of + gate] for gate in gates])))
        module.bias_hh_l0.copy_(torch.from_numpy(np.concatenate([second[gate] for gate in gates])))
    x = torch.from_numpy(case.inputs["x"]).requires_grad_()
    first = {k: torch.from_numpy(v)[None].clone().requires_grad_() for k, v in case.state.items()}
    state = tuple(first.values()) if kind == "LSTM" else first["h"]
    cotangent = torch.from_numpy(case.cotangents["h"])
    leaves = [x, *first.values(), *module.parameters()]

    def run() -> Any:
        outputs, _ = module(x, state)
        return outputs, torch.autograd.grad(outputs, leaves, cotangent)

    def values() -> Arrays:
        outputs, found = run()
        dx, rest = found[0], found[1:]
        states, (dW, dU, db, db2) = rest[: len(first)], rest[len(first) :]
        packs = {"W": dW, "U": dU, "b": db}
        blocks = {f"d{of}{g}": v for of, d in packs.items() for g, v in zip(gates, d.chunk(len(gates)), strict=True)}
        blocks |= {"dcn": db2.chunk(3)[2]} if kind == "GRU" else {}
        starts = {f"d{k}_0": v[0] for k, v in zip(first, states, strict=True)}
        return {k: v.detach().numpy() for k, v in ({"last h": outputs[-1], "dx": dx} | blocks | starts).items()}

    return Runner("torch module", run, values)
