"""What the default checks of other libraries catch of the mutants that `sb.verify` is tried on: `python -m tests.mutants.peers [--count 30]`.

Mutants of `_backward` of three modules, drawn by a seed, those that change a gradient of one plain call by more than rounding:
eight steps of two samples, four units, three inputs, a random weight on each entry of the states after the last step. The same
call, with the same backward pass, is handed to each library with the settings that it has by default, wrapped as its manual says:

* torch: `torch.autograd.Function`, `torch.autograd.gradcheck(f, inputs)`, float64, and `fast_mode=True`;
* JAX: `jax.custom_vjp` with `jax.pure_callback`, `jax.test_util.check_grads(f, args, order=1, modes=["rev"])`, with 64 bits;
* SciPy: `scipy.optimize.check_grad` of all arguments in one vector, which returns an error and no verdict: under 1e-5 passes;
* a Taylor test as of pyadjoint: a step of 0.01 in a random direction, halved three times, passes where the rate is 1.9 or more.

Weights are random with the matrices times 0.3 (contractive, as of a network that begins to be trained), or with all biases at -12.
Then two mistakes that such checks are known to pass, in a tanh cell over thirty steps: gradients that end ten steps before the last,
and no gradient of the initial state.
"""

import argparse
import random
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import symbptt as sb
from symbptt.codegen.kernel import Kernel
from symbptt.verification.regimes import REGIMES
from tests.cells import vanilla
from tests.mutants.edits import Mutant, mutants
from tests.mutants.levels import Levels, with_text

T, B, SIZES = 8, 2, {"m": 3, "n": 4}
CELLS = {"vanilla": vanilla, "gru": sb.zoo.gru, "lstm": sb.zoo.lstm}
REGIMES_ALL = tuple(regime.name for regime in REGIMES)
Arrays = list[Any]


class Call:
    """The call that all libraries check: a function of a list of arrays to the states after the last step, and its backward pass."""

    def __init__(self, kernel: Kernel, matrices: float, bias: float | None, steps: int = T) -> None:
        self.kernel = kernel
        draw = np.random.default_rng(1)
        self.names: list[tuple[str, str]] = []
        self.arrays: Arrays = []
        for a in kernel.cell.arguments:
            lead = {"input": (steps, B), "state": (B,)}.get(a.role, ())
            shape = tuple(SIZES[str(s)] for s in a.shape)
            value = draw.standard_normal(lead + shape) * {"input": 1.0, "state": 0.5}.get(a.role, 1.0)
            if a.role == "param":
                value = matrices * value / np.sqrt(shape[-1]) if len(shape) == 2 else 0.1 * value
                value = np.full(shape, bias) + value if bias is not None and len(shape) == 1 else value
            self.names.append((a.role, a.name))
            self.arrays.append(value)
        self.weights = [draw.standard_normal((B, SIZES["n"])) for _ in kernel.cell.step.next]

    def run(self, arrays: Arrays, kernel: Kernel | None = None) -> Any:
        groups: dict[str, dict[str, Any]] = {"param": {}, "input": {}, "state": {}}
        for (role, name), array in zip(self.names, arrays, strict=True):
            groups[role][name] = np.asarray(array)
        return (kernel or self.kernel).forward(groups["param"], groups["input"], groups["state"])

    def states(self, arrays: Arrays) -> Arrays:
        """Return the states after the last step, by the module without an edit."""
        return [np.array(v[-1]) for v in self.run(arrays).states.values()]

    def pulled(self, kernel: Kernel, arrays: Arrays, sent: Arrays) -> Arrays:
        """Return the gradients of all arrays by a module."""
        run = self.run(arrays, kernel)
        found = kernel.backward(run, {k: np.asarray(v) for k, v in zip(run.states, sent, strict=True)})
        groups = {"param": found.params, "input": found.inputs, "state": found.state}
        return [np.array(groups[role][name]) for role, name in self.names]

    def scalar(self, arrays: Arrays) -> float:
        return float(sum(np.sum(w * v) for w, v in zip(self.weights, self.states(arrays), strict=True)))


Pull = Callable[[Arrays, Arrays], Arrays]
"""(arrays, cotangents of the states after the last step) -> gradients."""


def by_torch(call: Call, pull: Pull, fast: bool = False) -> bool:
    """Answer whether torch's check passes."""
    import torch

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *given: Any) -> Any:
            ctx.save_for_backward(*given)
            return tuple(torch.from_numpy(v) for v in call.states([g.detach().numpy() for g in given]))

        @staticmethod
        def backward(ctx: Any, *sent: Any) -> Any:
            arrays = [g.detach().numpy() for g in ctx.saved_tensors]
            return tuple(torch.from_numpy(v) for v in pull(arrays, [s.numpy() for s in sent]))

    inputs = tuple(torch.tensor(v, requires_grad=True) for v in call.arrays)
    try:
        return bool(torch.autograd.gradcheck(Function.apply, inputs, fast_mode=fast))
    except RuntimeError:
        return False


def by_jax(call: Call, pull: Pull) -> bool:
    """Answer whether JAX's check passes."""
    import jax
    from jax import numpy as jnp
    from jax.test_util import check_grads

    jax.config.update("jax_enable_x64", True)
    shapes = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in call.states(call.arrays)]
    of_arrays = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in call.arrays]

    @jax.custom_vjp
    def function(*given: Any) -> Any:
        return jax.pure_callback(lambda *a: call.states(list(a)), shapes, *given)

    def forward(*given: Any) -> Any:
        return function(*given), given

    def backward(given: Any, sent: Any) -> Any:
        return tuple(jax.pure_callback(lambda a, s: pull(list(a), list(s)), of_arrays, given, sent))

    function.defvjp(forward, backward)
    try:
        check_grads(function, tuple(jnp.asarray(v) for v in call.arrays), order=1, modes=["rev"])
    except AssertionError:
        return False
    return True


def _split(call: Call, vector: Any) -> Arrays:
    ends = np.cumsum([v.size for v in call.arrays])
    return [part.reshape(v.shape) for part, v in zip(np.split(vector, ends[:-1]), call.arrays, strict=True)]


def by_scipy(call: Call, pull: Pull) -> bool:
    """Answer whether the error that SciPy tells is under 1e-5."""
    from scipy.optimize import check_grad

    def gradient(vector: Any) -> Any:
        return np.concatenate([v.ravel() for v in pull(_split(call, vector), call.weights)])

    start = np.concatenate([v.ravel() for v in call.arrays])
    return bool(check_grad(lambda v: call.scalar(_split(call, v)), gradient, start) < 1e-5)


def by_taylor(call: Call, pull: Pull) -> bool:
    """Answer whether what a first-order expansion leaves falls with the square of the step."""
    draw = np.random.default_rng(2)
    along = [draw.standard_normal(v.shape) for v in call.arrays]
    slope = sum(float(np.sum(g * d)) for g, d in zip(pull(call.arrays, call.weights), along, strict=True))
    here, rest = call.scalar(call.arrays), []
    for step in 0.01 / 2.0 ** np.arange(4):
        there = call.scalar([v + step * d for v, d in zip(call.arrays, along, strict=True)])
        rest.append(abs(there - here - step * slope))
    return bool(np.min(np.log2(np.divide(rest[:-1], rest[1:]))) >= 1.9)


CHECKS: dict[str, Callable[[Call, Pull], bool]] = {
    "torch gradcheck": by_torch,
    "torch gradcheck, fast_mode": lambda call, pull: by_torch(call, pull, True),
    "JAX check_grads": by_jax,
    "SciPy check_grad": by_scipy,
    "Taylor test": by_taylor,
}


def changes(call: Call, kernel: Kernel) -> bool:
    """Answer whether a module gives other gradients of the call, relative to each block; raising an error does not count."""
    wanted = call.pulled(call.kernel, call.arrays, call.weights)
    try:
        given = call.pulled(kernel, call.arrays, call.weights)
    except Exception:  # whatever an edit leads to
        return False
    for (role, _), one, two in zip(call.names, wanted, given, strict=True):
        if one.shape != two.shape:
            return False
        axes = tuple(range(1, one.ndim)) if role == "input" else None
        scale = np.max(np.abs(one), axes, keepdims=True)
        if not np.all(np.abs(one - two) <= 1e-9 * scale):
            return True
    return False


def chosen(name: str, count: int) -> list[Mutant]:
    """Return mutants of `_backward` that change a gradient of the call where weights are those of a network that begins."""
    kernel = sb.compile(CELLS[name])
    found = [mutant for mutant in mutants(kernel.source) if mutant.function == "_backward"]
    random.Random(2026).shuffle(found)
    calls = [Call(kernel, 0.3, None), Call(kernel, 0.3, -12.0)]
    kept = []
    for mutant in found:
        if all(changes(call, with_text(kernel, mutant.text)) for call in calls):
            kept.append(mutant)
        if len(kept) == count:
            break
    return kept


def passing(calls: list[Call], kernel: Kernel) -> dict[str, list[bool]]:
    """Return by check which calls pass with the backward pass of a module."""
    return {words: [check(call, partial(call.pulled, kernel)) for call in calls] for words, check in CHECKS.items()}


BLIND = {
    "truncated after ten steps": ("            np.matmul(da_t, U, out=dh)", "            np.matmul(da_t, U, out=dh)\n            dh *= t > T - 10"),
    "no gradient of the initial state": ("    state = {k: v + resets[k] for", "    state = {k: 0 * (v + resets[k]) for"),
}  # fmt: skip


def blind_spots() -> dict[str, dict[str, bool]]:
    """Return by mistake which checks catch it."""
    kernel = sb.compile(vanilla)
    call = Call(kernel, 0.3, None, 30)
    found: dict[str, dict[str, bool]] = {}
    for words, (old, new) in BLIND.items():
        assert old in kernel.source, old
        other = with_text(kernel, kernel.source.replace(old, new))
        found[words] = {name: not fine[0] for name, fine in passing([call], other).items()}
        found[words] |= of_verify(Levels(kernel), other)
    return found


def of_verify(levels: Levels, kernel: Kernel) -> dict[str, bool]:
    """Return by level of `sb.verify` whether it catches a module."""
    by_proof, by_numbers = bool(levels.proof(kernel)), bool(levels.numeric(kernel, REGIMES_ALL))
    return {"sb.verify, numeric levels": by_numbers, "sb.verify, proof": by_proof, "sb.verify": by_proof or by_numbers}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=30, help="mutants of each of the three modules")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    right: dict[str, list[bool]] = {words: [True, True] for words in CHECKS}
    caught: dict[str, list[int]] = {}
    total = 0
    for name, cell in CELLS.items():
        kernel = sb.compile(cell)
        levels, calls = Levels(kernel), [Call(kernel, 0.3, None), Call(kernel, 0.3, -12.0)]
        for words, fine in passing(
            calls, kernel
        ).items():  # where the module without an edit fails, nothing follows from others
            right[words] = [one and two for one, two in zip(right[words], fine, strict=True)]
        for mutant in chosen(name, given.count):
            other = with_text(kernel, mutant.text)
            total += 1
            rows = {words: [not passes for passes in found] for words, found in passing(calls, other).items()}
            rows |= {words: [is_caught] * 2 for words, is_caught in of_verify(levels, other).items()}
            for words, found in rows.items():
                counts = caught.setdefault(words, [0, 0])
                counts[0], counts[1] = counts[0] + found[0], counts[1] + found[1]
        print(name, total, caught, flush=True)
    spots = blind_spots()
    print(f"| check | small weights | biases at -12 | {' | '.join(spots)} |\n|---|---|---|---|---|")
    for words, counts in caught.items():
        cells = [
            f"{n} of {total}" if fine else "fails right ones too"
            for n, fine in zip(counts, right.get(words, [True, True]), strict=True)
        ]
        cells += ["caught" if found[words] else "passes" for found in spots.values()]
        print(f"| {words} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
