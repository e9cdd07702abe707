"""Adam, whose state is a dict of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symbptt.checks import check_mapping
from symbptt.clipping import clip_by_norm
from symbptt.errors import ArgumentError

FIRST, SECOND, COUNT = "m.", "v.", "t"
"""How the state names the moments of a parameter, and the number of updates."""


@dataclass
class Adam:
    """Updates by running means of gradients and of their squares.

    `lr` is the rate, which may be set anew between updates. With `clip` the gradients are first scaled so that their joint norm
    is at most that. A complex number is updated as its two parts. `state` has "t", the number of updates, and "m.W" and "v.W"
    for each parameter W: `np.savez(file, **adam.state)` keeps it, `sb.Adam(lr, state=dict(np.load(file)))` goes on with it.

    Raises: ArgumentError for rates that are not positive.
    Source: Kingma, Ba 2015, "Adam: a method for stochastic optimization", algorithm 1.

    >>> adam = Adam(0.1)
    >>> adam.step({"w": np.array([1.0, 1.0])}, {"w": np.array([4.0, -0.5])})["w"].round(6).tolist()
    [0.9, 1.1]
    """

    lr: float = 1e-3
    clip: float | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    state: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_positive("lr", self.lr)
        _check_positive("eps", self.eps)
        if self.clip is not None:
            _check_positive("clip", self.clip)
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ArgumentError(f"betas: two numbers from 0 to below 1 are expected, got {self.betas!r}")
        check_mapping("state", self.state, "sb.Adam(1e-3, state=dict(np.load(file)))")

    def step(self, params: Mapping[str, Any], grads: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters after one update, as new arrays; the state is changed.

        Raises: ArgumentError where names or shapes of parameters, gradients and state differ, and for gradients that are not
        finite: then nothing is changed.
        """
        given, slopes = _checked(params, grads)
        arrays, slopes = _in_parts(given), _in_parts(slopes)
        state = self._moments(arrays)
        if self.clip is not None:
            slopes = clip_by_norm(slopes, self.clip)
        state[COUNT] = np.asarray(state[COUNT]) + 1
        first, second = self.betas
        count = int(state[COUNT])
        # Both means began at zero; divided by 1 - beta^t, they are means again. Here that is a factor of the rate and of eps.
        rescale = (1 - second**count) ** 0.5
        rate, eps = self.lr * rescale / (1 - first**count), self.eps * rescale
        result = {}
        for name, slope in slopes.items():
            mean, square = state[FIRST + name], state[SECOND + name]
            mean += (1 - first) * (slope - mean)
            square += (1 - second) * (slope * slope - square)
            result[name] = arrays[name] - rate * mean / (np.sqrt(square) + eps)
        self.state = state
        return {name: _whole(a, given[name]) for name, a in result.items()}

    def _moments(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Return the state, with zeros where nothing was updated yet.

        Raises: ArgumentError where it is that of other parameters.
        """
        if not self.state:
            zeros = {part + name: np.zeros_like(a) for part in (FIRST, SECOND) for name, a in arrays.items()}
            return {COUNT: np.asarray(0), **zeros}
        wanted = {COUNT: (), **{part + name: a.shape for part in (FIRST, SECOND) for name, a in arrays.items()}}
        found = {name: np.shape(value) for name, value in self.state.items()}
        for name in sorted({*wanted, *found}):
            if wanted.get(name) != found.get(name):
                raise ArgumentError(
                    f"state: {name} of shape {wanted.get(name, 'none')} is expected, got {found.get(name, 'none')}\n"
                    "  a state belongs to the parameters that it was made with; sb.Adam(lr) begins anew"
                )
        return {name: np.asarray(value) for name, value in self.state.items()}


def _checked(params: Mapping[str, Any], grads: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return parameters and gradients as arrays of floats by name, in the order of the gradients."""
    check_mapping("params", params, "adam.step(params, grads.params)")
    check_mapping("grads", grads, "adam.step(params, grads.params)")
    if set(params) != set(grads):
        raise ArgumentError(f"grads: {', '.join(params)} are expected, got {', '.join(grads) or 'none'}")
    arrays = {name: np.asarray(params[name]) for name in grads}
    slopes = {name: np.asarray(slope) for name, slope in grads.items()}
    for name, slope in slopes.items():
        if arrays[name].dtype.kind not in "fc" or slope.dtype.kind != arrays[name].dtype.kind:
            raise ArgumentError(
                f"{name}: floats are expected, or complex numbers, got {arrays[name].dtype} and a gradient of {slope.dtype}"
            )
        if slope.shape != arrays[name].shape:
            raise ArgumentError(f"{name}: a gradient of shape {arrays[name].shape} is expected, got {slope.shape}")
        if not np.isfinite(slope).all():
            raise ArgumentError(
                f"{name}: its gradient is not finite\n  sb.trace_gradient(kernel, run, cotangents) tells where that begins"
            )
    return arrays, slopes


def _in_parts(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Return arrays with the real and the imaginary parts of complex numbers side by side: each is a parameter by itself."""
    return {name: np.stack([a.real, a.imag], -1) if np.iscomplexobj(a) else a for name, a in arrays.items()}


def _whole(array: Any, like: Any) -> Any:
    """Return an array, of parts where `like` is complex, as one of the numbers of `like`."""
    return array[..., 0] + np.asarray(1j, like.dtype) * array[..., 1] if np.iscomplexobj(like) else array


def _check_positive(name: str, value: Any) -> None:
    if not isinstance(value, int | float | np.number) or isinstance(value, bool) or not 0 < value < np.inf:
        raise ArgumentError(f"{name}: a positive number is expected, got {value!r}")
