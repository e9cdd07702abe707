"""Gradients of Lyapunov exponents with respect to parameters: the reverse mode over the QR recursion and over the run.

For example one state, J_t = a_t: R_t = |a_t|, λ = mean ln |a_t| and the cotangent of each Jacobian is 1 / (T a_t). With more
states the frame Q' turns with J as well, and a later growth depends on it: `bar` carries that dependence from the last step back,
as a cotangent of Q', and each step adds the slope of its own ln R_ii.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symbptt.checks import check_seed
from symbptt.errors import ArgumentError, three_lines
from symbptt.language.cell import Cell
from symbptt.language.model import Model
from symbptt.stability.algebra.linearity import is_affine
from symbptt.stability.gradients.jacobian_cell import Tangent, tangent
from symbptt.stability.proofs.invariant_box import local_of
from symbptt.stability.runs.trajectory import Trajectory, linearised, pieces, trajectory
from symbptt.stability.spectra.graded_qr import carried, is_plain
from symbptt.stability.spectra.lyapunov import checked_counts, first_frame, march

Arrays = Mapping[str, Any]
Weights = Callable[[Any], Any] | Iterable[Any] | None
NATS = 3.0
"""Growth of a perturbation over a run, as a logarithm, from which on the run counts as one whose gradients explode."""


@dataclass(frozen=True)
class ExponentGradient:
    """The largest finite-time Lyapunov exponents of a run, and the gradient of Σ weights · exponents.

    `exponents` are those of `sb.lyapunov_spectrum` with the same options: means over samples, in descending order, in nats per
    step. `params` holds gradients by parameter, `state` those with respect to the initial states, `inputs` to the inputs. With
    weights of several rows each gradient has an axis for rows before its own.

    Shapes: exponents (k,); weights (k,) or (rows, k); params, state, inputs as the arguments that they belong to.
    """

    exponents: Any
    weights: Any
    params: dict[str, Any] = field(repr=False)
    state: dict[str, Any] = field(repr=False)
    inputs: dict[str, Any] = field(repr=False)
    steps: int
    transient: int


@np.errstate(all="ignore")  # what leaves the range is told in words or is infinite in the result
def exponent_gradient(
    cell: Cell, params: Arrays, inputs: Arrays | None = None, state: Arrays | None = None, count: int | None = None, *,
    weights: Weights = None, steps: int | None = None, transient: int | None = None, seed: int = 0,
) -> ExponentGradient:  # fmt: skip
    """Return the first `count` Lyapunov exponents of a run with the gradient of their weighted sum (gradient flossing).

    It is the derivative of the numbers that `sb.lyapunov_spectrum` returns for the same `transient` and `seed`: through the
    Jacobian of every step, which depends on the parameters and on the states, through these states, and through the frames of
    the QR recursion. Derivatives of Jacobians are derived from the graph of the cell; a surrogate counts as declared.

    `weights` says of which function: None for the sum, numbers for Σ wᵢ λᵢ, rows of numbers for several gradients at once
    (`np.eye(count)`: one for each exponent), or a function that makes these of the exponents: `lambda e: 2 * e` gives the
    gradient of Σ λᵢ², the loss of flossing.

    Exponents that are equal, as those of a rotation, have a gradient each, which depends on the frame that `seed` draws; that
    of their sum does not.

    Shapes: inputs (T, B, ...) or (T, ...), state (B, ...) or (...); a cell without inputs takes `steps`. Gradients are shaped as
    what they belong to, in the type of the parameters.

    Raises: ArgumentError where perturbations grow by more than e³ over the run and the Jacobian depends on the states, as in
    chaos: the gradient then grows without bound with the length of the run; where an exponent is -inf; for weights that do not
    fit; and as `sb.lyapunov_spectrum` does.

    Source: Engelken 2023, "Gradient flossing: improving gradient descent through dynamic control of Jacobians", section 3; the
    adjoint of QR: Walter, Lehmann 2018, "Algorithmic differentiation of linear algebra functions with application in optimum
    experimental design", section 3; Liao, Liu, Wang, Xiang 2019, "Differentiable programming tensor networks", equation 8.

    Example:
        >>> import numpy as np
        >>> import symbptt as sb
        >>> from symbptt.zoo import rnn
        >>> params = rnn.init({"m": 1, "n": 1}, seed=0) | {"U": np.array([[0.5]])}
        >>> found = sb.exponent_gradient(rnn, params, {"x": np.zeros((20, 1))})  # tanh(u h) at its fixed point 0
        >>> found.exponents.round(4), found.params["U"]  # ln u and 1/u
        (array([-0.6931]), array([[2.]]))
    """
    _check_cell(cell)
    check_seed(seed)
    cell.check_contexts()
    run = trajectory(cell, params, inputs, state, steps)
    count, transient = checked_counts(run, count, transient)
    parts, frames, grown = _forward(run, count, seed)
    exponents, samples, order = _exponents(grown, transient)
    _check(run, samples, grown)
    rows = _rows(weights, exponents, run)
    unsorted = np.empty((len(np.atleast_2d(rows)), count))
    # Weights belong to exponents in descending order, the recursion to columns of the frame, which are nearly in that
    # order.
    unsorted[:, order] = np.atleast_2d(rows)
    unsorted /= (run.steps - transient) * run.batch
    batched = bool(run.of.kernel.read(params, inputs, state, steps)[5])
    found = _backward(run, parts, frames, unsorted, transient)
    lead = () if rows.ndim == 1 else (len(rows),)
    return ExponentGradient(exponents, rows, *_shaped(run, found, lead, batched), run.steps - transient, transient)


def _check_cell(cell: Any) -> None:
    if not isinstance(cell, Cell):
        given = f"the model {cell.name}" if isinstance(cell, Model) else type(cell).__name__
        raise ArgumentError(three_lines(f"exponents are those of a cell, got {given}", "in sb.exponent_gradient",
                                        "give model.cell, with the parameters of the cell"))  # fmt: skip


def _forward(run: Trajectory, count: int, seed: int) -> tuple[list[Trajectory], list[Any], Any]:
    """The run in parts, the frame that each starts from, and the logarithms of growth at each step (T, B, count)."""
    parts, frames, grown, frame = list(pieces(run)), [], [], first_frame(run, count, seed)
    for _, jacobians in linearised(run):
        frames.append(frame)
        frame, log = march(jacobians, frame)
        grown.append(log)
    return parts, frames, np.concatenate(grown)


def _exponents(grown: Any, transient: int) -> tuple[Any, Any, Any]:
    """The exponents in descending order, those of each sample, and the directions of the frame that they are of."""
    samples = grown[transient:].mean(0)
    order = np.argsort(-samples.mean(0), kind="stable")
    return samples.mean(0)[order], samples[:, order], order


def _check(run: Trajectory, samples: Any, grown: Any) -> None:
    """Raises: ArgumentError where a gradient would not be finite, or of no use."""
    where = f"in the gradient of exponents of {run.of.cell.name}"
    lost = np.isneginf(grown).any((0, 1))
    if lost.any():
        alive = int(np.argmax(lost))
        cure = f"ask for count={alive}" if alive else "give a cell whose steps keep a direction of the state"
        raise ArgumentError(three_lines(f"{int(lost.sum())} of {len(lost)} exponents are -inf: a step loses their directions, "
                                        "and ln 0 has no derivative", where, cure))  # fmt: skip
    largest = float(samples.max())
    if largest * run.steps > NATS and not is_affine(local_of(run.of.cell)):
        most = max(1, int(NATS / largest))
        raise ArgumentError(three_lines(
            f"the largest exponent is {largest:.3g}: over {run.steps} steps a perturbation grows by e^{largest * run.steps:.3g}, and "
            "with it the gradient of every exponent, which has no limit in chaos", where,
            f"take runs of at most {most} steps, or parameters with a smaller exponent"))  # fmt: skip


def _rows(weights: Weights, exponents: Any, run: Trajectory) -> Any:
    """The weights as an array, (k,) or (rows, k)."""
    given = weights(exponents.copy()) if callable(weights) else np.ones(len(exponents)) if weights is None else weights
    array, size = _array(given), len(exponents)
    if array is None or array.ndim not in (1, 2) or array.shape[-1] != size or not array.size:
        what = type(given).__name__ if array is None else f"shape {array.shape}"
    elif not np.isfinite(array).all():
        what = "some that are not finite"
    else:
        return array.astype(np.float64)
    raise ArgumentError(three_lines(f"weights: numbers of shape ({size},) or (rows, {size}) are expected, got {what}",
                                    f"in the gradient of exponents of {run.of.cell.name}",
                                    "give one for each exponent, or a function of the exponents"))  # fmt: skip


def _array(given: Any) -> Any:
    """Return a value as an array of numbers; None for any other value."""
    try:
        array = np.asarray(given)
    except (ValueError, TypeError, RuntimeError):  # ragged lists, and tensors that have a gradient
        return None
    return array if array.dtype.kind in "iuf" else None


def _backward(
    run: Trajectory, parts: list[Trajectory], frames: list[Any], weights: Any, transient: int
) -> list[tuple[dict[str, Any], Any, dict[str, Any]]]:
    """The gradients of each row of weights: of parameters, of the initial whole state, and of inputs."""
    of, kernel = run.of, tangent(run.of.cell)
    bars = [np.zeros_like(frames[0]) for _ in weights]
    carries: list[Any] = [np.zeros_like(run.start) for _ in weights]
    params: list[dict[str, Any]] = [{} for _ in weights]
    inputs: list[list[dict[str, Any]]] = [[] for _ in weights]
    last = run.steps
    for part, frame in zip(reversed(parts), reversed(frames), strict=True):
        ((_, jacobians),) = linearised(part)
        first, factors = last - part.steps, _factors(jacobians, frame)
        counted = np.arange(first, last) >= transient
        # Each part is run again just before its backward pass, so that memory does not grow with the length of the
        # run.
        taken = kernel.kernel.forward(of.params, part.inputs, of.by_name(part.start), steps=part.steps)
        for i, row in enumerate(weights):
            bar, bars[i] = _jacobian_bar(jacobians, factors, bars[i], row * counted[:, None])
            grads = _pulled(run, kernel, taken, bar, carries[i])
            carries[i] = of.flat(grads.state)
            params[i] = {k: params[i].get(k, 0) + np.asarray(v, np.float64) for k, v in grads.params.items()}
            inputs[i].insert(0, grads.inputs)
        last = first
    joined = [{k: np.concatenate([one[k] for one in each]) for k in each[0]} for each in inputs]
    return list(zip(params, carries, joined, strict=True))


def _factors(jacobians: Any, frame: Any) -> tuple[Any, Any]:
    """The frame before each step and after the last, and the triangular factors. Shapes: (T + 1, B, N, k), (T, B, k, k)."""
    plain, frames, triangles = is_plain(jacobians), [frame], []
    for t, step in enumerate(jacobians):
        frame, r = np.linalg.qr(step @ frame) if plain[t] or len(step[0]) == 1 else carried(step, frame)
        frames.append(frame)
        triangles.append(r)
    return np.array(frames), np.array(triangles)


def _jacobian_bar(jacobians: Any, factors: tuple[Any, Any], bar: Any, weights: Any) -> tuple[Any, Any]:
    """The cotangents of the Jacobians, and that of the first frame from that of the last.

    At a step J Q = Q' R with the loss Σ wᵢ ln|Rᵢᵢ| + ⟨bar, Q'⟩ the cotangent of J Q is (bar + Q' S) R⁻ᵀ, where S is symmetric with
    the lower triangle of diag(w) − barᵀ Q'.

    Shapes: jacobians (T, B, N, N), bar (B, N, k), weights (T, k).
    """
    frames, triangles = factors
    found = np.empty_like(jacobians)
    for t in reversed(range(len(jacobians))):
        # Q'ᵀQ' = 1 leaves Q' an antisymmetric change within its span, and R stays upper triangular: of barᵀQ' only
        # the lower triangle has an effect.
        low = np.tril(-_turned(bar) @ frames[t + 1])
        low[..., range(len(weights[t])), range(len(weights[t]))] += weights[t]
        symmetric = low + _turned(np.tril(low, -1))
        # M R⁻ᵀ without an inverse: solving R X = Mᵀ gives X = R⁻¹ Mᵀ, whose transpose is M R⁻ᵀ.
        product = _turned(np.linalg.solve(triangles[t], _turned(bar + frames[t + 1] @ symmetric)))
        found[t] = product @ _turned(frames[t])
        bar = _turned(jacobians[t]) @ product
    return found, bar


def _turned(x: Any) -> Any:
    return np.swapaxes(x, -1, -2)


def _pulled(run: Trajectory, kernel: Tangent, taken: Any, bar: Any, carry: Any) -> Any:
    """The gradients of a part of the run for cotangents of its Jacobians and of its last state."""
    of = run.of
    sent = kernel.cotangents(bar, of.names, of.shapes) | of.by_name(carry)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        grads = kernel.kernel.backward(taken, {k: np.ascontiguousarray(v, of.dtype) for k, v in sent.items()})
    for name, value in (grads.params | grads.state).items():
        if not np.isfinite(value).all():
            raise ArgumentError(three_lines(f"the gradient of {name!r} is not finite", f"in the gradient of exponents of {of.cell.name}",
                                            "the Jacobian has no finite derivative there: change the inputs or the states"))  # fmt: skip
    return grads


def _shaped(run: Trajectory, found: list[Any], lead: tuple[int, ...], batched: bool) -> tuple[Any, Any, Any]:
    """Gradients by name with an axis for rows of weights where there are rows, and one for samples where these have one."""
    dtype, of = run.of.dtype, run.of
    params = {k: np.array([row[0][k] for row in found]).astype(dtype) for k in found[0][0]}
    states = [of.by_name(row[1]) for row in found]
    state = {k: np.array([row[k] for row in states]) for k in of.names}
    inputs = {k: np.array([row[2][k] for row in found]) for k in found[0][2]}
    if not batched:
        state, inputs = {k: v[:, 0] for k, v in state.items()}, {k: v[:, :, 0] for k, v in inputs.items()}
    groups = params, state, inputs
    params, state, inputs = ({k: v if lead else np.asarray(v[0]) for k, v in group.items()} for group in groups)
    return params, state, inputs
