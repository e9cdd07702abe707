"""Parameters as one vector, for optimisers that know only vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from symbptt.checks import as_array, check_mapping, named
from symbptt.codegen.kernel import Kernel
from symbptt.errors import ArgumentError


@dataclass(frozen=True)
class Flat:
    """Where each parameter of a kernel stands in a vector: name, first place and shape of each, in the order of the arguments."""

    kernel: Kernel
    slots: tuple[tuple[str, int, tuple[int, ...]], ...]

    @property
    def size(self) -> int:
        """The length of the vector."""
        return sum(prod(shape) for _, _, shape in self.slots)

    def pack(self, params: Mapping[str, Any], dtype: Any = None) -> Any:
        """Return parameters, or their gradients, as a new vector, of their own type where `dtype` is none.

        Shapes: (size,).
        Raises: ArgumentError for names and shapes that are not those of the kernel.

        Example: `scipy.optimize.minimize(flat.objective(...), flat.pack(params, float), jac=True)`.
        """
        check_mapping("params", params, 'flat.pack({"W": W, ...})')
        params = named(params)
        names = [name for name, _, _ in self.slots]
        if set(params) != set(names):
            raise ArgumentError(f"params: {', '.join(names)} are expected, got {', '.join(params) or 'none'}")
        arrays = [_array(name, params[name], shape) for name, _, shape in self.slots]
        kind = np.dtype(dtype) if dtype is not None else np.result_type(*arrays) if arrays else np.dtype(float)
        return np.concatenate([np.empty(0, kind), *(np.ravel(a) for a in arrays)], dtype=kind)

    def unpack(self, vector: Any) -> dict[str, Any]:
        """Return the parameters by name, as views of the vector: a change of one is a change of the other.

        Shapes: (size,).
        Raises: ArgumentError for another length.
        """
        vector = as_array("vector", vector)
        if vector.shape != (self.size,):
            raise ArgumentError(f"a vector of {self.size} numbers is expected, got shape {vector.shape}")
        return {name: vector[start : start + prod(shape)].reshape(shape) for name, start, shape in self.slots}

    def objective(
        self,
        inputs: Mapping[str, Any] | None = None,
        targets: Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
        *,
        steps: int | None = None,
        lengths: Any = None,
        reset: Any = None,
        mask: Any = None,
        ignore_index: int | None = None,
    ) -> Callable[[Any], tuple[float, Any]]:
        """Return a function of the vector that gives the loss and its gradient, as `scipy.optimize.minimize(..., jac=True)` takes it;
        the arguments are those of `value_and_grad`.

        The kernel computes in the type of the data; loss and gradient come back in the type of the vector.

        Raises: ArgumentError where the kernel is that of a cell without a loss; when called, as `value_and_grad` does.
        """
        if not hasattr(self.kernel.module, "value_and_grad"):
            name = self.kernel.target.name
            raise ArgumentError(f"{name} has no loss\n  compile sb.model({name}, loss)")
        groups = {"inputs": inputs, "targets": targets, "state": state}
        given = {name: group for name, group in groups.items() if group is not None}
        for name, group in given.items():
            check_mapping(name, group, f'{name}={{"NAME": array}}')
        dtype = _dtype([as_array(name, array) for group in given.values() for name, array in group.items()])
        options: dict[str, Any] = {"steps": steps, "lengths": lengths, "reset": reset}
        options |= {"mask": mask, "ignore_index": ignore_index}

        def value_and_gradient(vector: Any) -> tuple[float, Any]:
            params = self.unpack(np.asarray(vector, dtype))
            value, grads = self.kernel.value_and_grad(params, inputs, targets, state, **options)
            return float(value), self.pack(grads.params, np.asarray(vector).dtype)

        return value_and_gradient


def flat(kernel: Kernel, sizes: Mapping[str, int]) -> Flat:
    """Return where each parameter of a kernel stands in one vector.

    `sizes` are those that `init` takes, {"m": 3, "n": 16}.

    Raises: ArgumentError for what is no kernel or one without some gradients (`wrt`), and for sizes as `init` does.
    """
    if not isinstance(kernel, Kernel):
        raise ArgumentError(
            f"flat takes a kernel, got {type(kernel).__name__}\n  write sb.flat(sb.compile(cell), sizes)"
        )
    left = [k for k in kernel.module.PARAMS if kernel.wanted is not None and k not in kernel.wanted]
    if left:
        raise ArgumentError(
            f"flat: the kernel of {kernel.target.name} has no gradient of {', '.join(left)}, and a vector has all parameters\n"
            '  compile it without wrt, or with wrt="params"'
        )
    slots: list[tuple[str, int, tuple[int, ...]]] = []
    start = 0
    first = kernel.target.init(sizes, seed=0)
    for name in kernel.module.PARAMS:
        slots.append((name, start, first[name].shape))
        start += first[name].size
    return Flat(kernel, tuple(slots))


def _array(name: str, value: Any, shape: tuple[int, ...]) -> Any:
    array = as_array(name, value)
    if array.dtype.kind not in "iuf":
        raise ArgumentError(f"{name}: real numbers are expected, got {array.dtype}")
    if array.shape != shape:
        raise ArgumentError(f"{name}: shape {shape} is expected, got {array.shape}")
    return array


def _dtype(arrays: list[Any]) -> Any:
    """Return the type of the first array of floats; float64 where there is none."""
    return next((array.dtype for array in arrays if array.dtype.kind == "f"), np.dtype(np.float64))
