"""Cells whose sizes are sums, differences and products of sums: as divisor, as factor, as axis of what is reshaped."""

from typing import Any

import numpy as np

import symbptt as sb
from symbptt import Const, Index, Input, Output, Param, State, Target


@sb.cell
def mean_of_a_parameter(h: State["n"], s: Param, p: Param["m+n"], q: Param["m"]):
    """The mean over an axis of size m + n, as a factor and inside a sum."""
    return 0.5 * h + s * (np.mean(p) + s) - np.mean(q)


@sb.cell
def mean_beside_a_state(h: State["n"], s: Param, p: Param["m+n"], q: Param["m"]):
    """The same where a state is a factor."""
    return np.tanh(h) * s * (np.mean(p) + s) - h * np.sum(q) / p.shape[0]


@sb.cell
def mean_below(x: Input["n+1"], h: State["n"], s: Param):
    """Means of an input and of a state behind a minus, a division and a power."""
    return np.tanh(s * h) - (s - np.mean(x)) / (2 + np.mean(h) ** 2) - h / (1 + x.shape[0])


@sb.cell
def number_of_units(x: Input["m-1"], h: State["2*n+1"], s: Param):
    """Sizes themselves in arithmetic: as divisors, factors, exponents, behind a minus."""
    k, j = h.shape[0], x.shape[0]
    return s / k * h - h / (k * j) + (s - j) * np.tanh(h) / (k + 1) + (j - k) * np.mean(x) * s / 9


@sb.cell
def outer_of_a_longer_state(h: State["n+1"], u: Param["m"], v: Param["m"], E: Param["n+1 n+1"]):
    """An outer product with an axis of size n + 1, summed again."""
    return np.tanh(np.outer(h, u) @ v + E @ h)


@sb.cell
def reshaped(x: Input["2*n+2"], h: State["2 n+1"], A: Param["n+1 n+1"], b: Param["2*n+2"]):
    """Rows of n + 1 elements, made flat and back."""
    flat = np.tanh(h @ A).reshape(-1) + b * x
    return np.tanh(flat.reshape(h.shape) - h)


@sb.cell
def einsum_of_sums(x: Input["m"], h: State["n+1 m+1"], A: Param["m n+1 m+1"], C: Param["n+1 m+1 n+1 m+1"]):
    """Products over two axes, both of which are sums."""
    return np.tanh(np.einsum("i,ijk->jk", x, A) + np.einsum("jk,jkab->ab", h, C))


@sb.cell
def parts(x: Input["n-1"], h: State["2*n"], W: Param["2*n n+1"], g: Param["n+1"]):
    """Slices and concatenations whose borders are sums and differences."""
    n = h.shape[0] // 2 if isinstance(h, np.ndarray) else h.shape[0] - (x.shape[0] + 1)
    first, second = h[: n + 1], h[n + 1 :]
    joined = np.concatenate([second * x, g * first])
    return np.tanh(joined + W @ (first * g) + joined[::-1])


@sb.cell
def two_states(x: Input["n"], h: State["n+1"], c: State["n"], U: Param["2*n+1 n+1"], W: Param["2*n+1 n"]):
    """Two states of unlike sizes, cut from one array."""
    a = np.tanh(U @ h + W @ x)
    k = h.shape[0]
    return a[:k] * 0.5 + h * 0.1, np.concatenate([c[1:], c[:1]]) * a[k:]


@sb.cell
def unlike_rows(x: Input["m"], h: State["n+1"], c: State["n"], W: Param["n+1 m"], V: Param["n m"], b: Param["n+1"],
                e: Param["n"]):  # fmt: skip
    """Two products of one input with n + 1 and with n rows, whose gradients lie in one array of 2 n + 1 rows."""
    return np.tanh(W @ x + b + 0.1 * h), np.tanh(V @ x + e + 0.1 * c)


@sb.cell
def stacked(x: Input["n+1"], h: State["n+1"], A: Param["2 n+1 n+1"], g: Param["2 n+1"]):
    """Two gates side by side, their axis of size n + 1."""
    z, r = sb.split(sb.stack([sb.sigmoid(A[0] @ h + g[0]), np.tanh(A[1] @ x + g[1] * h)]), 2)
    return (z * h + (1 - z) * r).reshape(h.shape)


@sb.cell
def normalised(x: Input["m+n"], h: State["m+n"], U: Param["m+n m+n"], g: Param["m+n"], b: Param["m+n"], k: Param["m"]):
    """Norms and a softmax over an axis of size m + n."""
    a = sb.layer_norm(U @ h + x) * g + b * np.mean(k)
    return sb.softmax(a) + sb.norm(h) / (3 + np.mean(a)) * np.tanh(x) - np.mean(h * h, axis=-1, keepdims=True)


@sb.cell
def running(x: Input["n+2"], h: State["n+2"], U: Param["n+2 n+2"]):
    """A cumulative sum over an axis that is a sum."""
    return np.tanh(sb.cumsum(U @ h) / h.shape[0] - x / (h.shape[0] - 1))


@sb.cell
def product_of_sums(x: Input["m+1"], h: State["n-1"], W: Param["(m+1)*(n-1)"], c: Const["n-1"], s: Param):
    """A parameter with an axis of (m + 1)(n - 1) elements, whose mean is taken."""
    return np.tanh(W.reshape(-1, x.shape[0]) @ x) * s - h * np.mean(W) / (s + np.mean(W)) + c * np.mean(c)


@sb.cell
def difference_of_two(x: Input["m"], h: State["m-n"], W: Param["m-n m"], k: Param["n"], s: Param):
    """A state of m - n elements, whose number is a divisor and a factor."""
    j = h.shape[0]
    return np.tanh(W @ x / j - s * (j - 1) * h) - np.mean(h) * s / (s - j) + np.mean(k) * (s + np.mean(W))


@sb.cell
def affine(x: Input["n+1"], h: State["n+1"], c: State["m+n"], a: Param["n+1"], s: Param):
    """Two affine recurrences of unlike sizes, with a mean in one of the terms."""
    return {"h": a * h + x * s * (np.mean(x) + s), "c": s * c + np.mean(a), "y": h * np.mean(x)}


@sb.cell
def looked_up(i: Index["v+1"], h: State["n+1"], E: Param["v+1 n+1"], U: Param["n+1 n+1"]):
    """A table of v + 1 rows of n + 1 elements."""
    return np.tanh(U @ h + E[i] - np.mean(E[i]))


@sb.loss
def mean_error(h: State["m+n"], y: Target["m+n"], s: Param):
    """A mean over the axis of a state, and its number of elements as a divisor and a factor."""
    return np.mean((h - y) ** 2) * s * (np.mean(h) + s) - s / h.shape[0] * np.sum(h)


@sb.loss
def mean_of_an_output(y: Output["n+1"], t: Target["n+1"], V: Param["n+1 n+1"]):
    """A mean of squares of what an output gives."""
    e = V @ y - t
    return (1 - np.mean(e)) * np.mean(e * e) / t.shape[0]


SIZES: dict[str, int] = {"m": 4, "n": 2, "v": 3}
CELLS: tuple[Any, ...] = (
    mean_of_a_parameter, mean_beside_a_state, mean_below, number_of_units, outer_of_a_longer_state, reshaped, einsum_of_sums, parts, two_states,
    unlike_rows, stacked, normalised, running, product_of_sums, difference_of_two, affine, looked_up,
)  # fmt: skip
MODELS: tuple[Any, ...] = tuple(
    sb.model(cell, loss, at=at, reduction=reduction)
    for cell, loss in ((normalised, mean_error), (affine, mean_of_an_output))
    for at, reduction in (("every", "mean"), ("last", "sum"))
)
