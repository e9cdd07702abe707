"""The functions that a batched step calls, in torch and in JAX: each as a user of that library writes it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

SAME = ("exp", "expm1", "log", "log1p", "sin", "cos", "tan", "arctan", "tanh", "sinh", "cosh", "sqrt", "abs", "sign",
        "floor", "hypot", "arctan2", "fmod", "floor_divide",
        "einsum", "sum", "cumsum", "flip", "moveaxis", "broadcast_to", "where", "arange", "greater",
        "greater_equal", "less", "less_equal", "equal", "not_equal", "logical_and", "logical_or",
        "logical_not")  # fmt: skip
"""Functions of NumPy's name and meaning in both."""


def torch_namespace(dtype: str) -> SimpleNamespace:
    """Return torch's functions under the names of a batched step; new tensors are of `dtype`."""
    import torch

    kind = getattr(torch, dtype)
    same = {name: getattr(torch, name) for name in SAME if hasattr(torch, name)}
    return SimpleNamespace(
        **same
        | _of_numbers_too(torch, kind)
        | {
            "sigmoid": torch.sigmoid,
            "softplus": torch.nn.functional.softplus,
            "relu": torch.relu,
            "erf": torch.erf,
            "max": torch.amax,
            "permute": torch.permute,
            "concatenate": torch.cat,
            "stop_gradient": torch.Tensor.detach,
            "real": lambda x: x.to(kind),
            "array": lambda x: torch.as_tensor(x, dtype=kind),
        }
    )


def _of_numbers_too(torch: Any, kind: Any) -> dict[str, Any]:
    """Return functions that torch has for tensors, made to take a number in the place of one."""

    def bound(pair: Any, one: Any) -> Any:
        def function(a: Any, b: Any) -> Any:
            if not isinstance(b, torch.Tensor):
                return one(a, b)
            # maximum and minimum are commutative, so that a number on the left may change places.
            return pair(a, b) if isinstance(a, torch.Tensor) else one(b, a)

        return function

    def truth(function: Any) -> Any:
        return lambda a, b: function(a, b) if isinstance(a, torch.Tensor) else function(torch.tensor(a, dtype=kind), b)

    def where(c: Any, a: Any, b: Any) -> Any:
        # torch.where of two Python numbers gives the default type, float32, whatever the case's type is.
        numbers = not (isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor))
        return torch.where(c, a, b).to(kind) if numbers else torch.where(c, a, b)

    return {
        "equal": truth(torch.eq),
        "not_equal": truth(torch.ne),
        "greater": truth(torch.gt),
        "less": truth(torch.lt),
        "greater_equal": truth(torch.ge),
        "less_equal": truth(torch.le),
        "maximum": bound(torch.maximum, torch.clamp_min),
        "minimum": bound(torch.minimum, torch.clamp_max),
        "where": where,
    }


def jax_namespace(dtype: str) -> SimpleNamespace:
    """Return JAX's functions under the names of a batched step; new arrays are of `dtype`."""
    import jax
    import jax.numpy as jnp

    def where(c: Any, a: Any, b: Any) -> Any:
        return jnp.where(c, a, b).astype(dtype)

    names: dict[str, Any] = {name: getattr(jnp, name) for name in SAME}
    return SimpleNamespace(
        **names
        | {
            "sigmoid": jax.nn.sigmoid,
            "softplus": jax.nn.softplus,
            "relu": jax.nn.relu,
            "erf": jax.scipy.special.erf,
            "maximum": jnp.maximum,
            "minimum": jnp.minimum,
            "where": where,
            "max": jnp.max,
            "permute": jnp.transpose,
            "concatenate": jnp.concatenate,
            "stop_gradient": jax.lax.stop_gradient,
            "real": lambda x: x.astype(dtype),
            "array": lambda x: jnp.asarray(x, dtype),
        }
    )
