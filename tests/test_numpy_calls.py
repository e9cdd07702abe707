"""Every function and option of NumPy that a cell may call: the kernel has NumPy's value, or the cell is refused in words."""

import inspect
import itertools
import operator
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import erfc

import symbptt as sb
from symbptt import Const, Index, Input, Param, State, ops
from symbptt.language.numpy_signatures import DEFAULTS, SIGNATURES
from tests.evaluate import one

pytestmark = pytest.mark.filterwarnings("ignore")
ROLES: dict[str, Any] = {
    "h": State["3"], "H": State["2 3"], "T": State["2 3 4"], "s": State, "g": Param["3"], "M": Param["3 3"], "x": Input["3"],
    "i": Index["5"], "one": Param["1"], "N": Param["1 3"], "hn": State["n"], "Wn": Param["n n"], "X": Param["3 4"],
}  # fmt: skip
SHAPES: dict[str, tuple[int, ...]] = {
    "h": (3,), "H": (2, 3), "T": (2, 3, 4), "s": (), "g": (3,), "M": (3, 3), "x": (3,), "one": (1,), "N": (1, 3), "X": (3, 4),
}  # fmt: skip
AGREE = (
    'h.real',
    'np.imag(h)',
    'np.angle(h)',
    'i // 2',
    'i % 2',
    'h // 2',
    'h % 2',
    'h // g',
    'np.floor_divide(h, 2)',
    'np.remainder(h, 2)',
    'np.mod(h, 2)',
    '2 % h',
    'np.hypot(h, g)',
    'np.arctan2(h, -2)',
    'np.fmod(h, g)',
    'i % 2 + i // 3',
    'np.mod(h, H)',
    '5 // h',
    'np.mod(2, h)',
    'np.logaddexp(0.5*s, -1e30)',
    'np.logaddexp(0.5, -1e30+0*h)',
    'np.take(H, 1)',
    'np.take(H, 1, axis=1)',
    'np.take(h, -1)',
    'np.vdot(H, H)',
    'np.vdot(h, h)',
    'np.vdot(H, X[:2, :3])',
    'np.concatenate([H, H], axis=None)',
    'np.concatenate((h, h), -1)',
    'np.concatenate([h, [1.0]])',
    'np.concatenate([h[:1], one], axis=None)',
    '(h > 0) + (g > 0)',
    '(h > 0) * (g > 0)',
    '~(h > 0)',
    '(h > 0) & True',
    '(M > 0) @ (h > 0)',
    '(h > 0) @ (h > 0)',
    'np.dot(h > 0, h > 0)',
    'np.outer(h > 0, h > 0) + np.outer(h>0, h>0)',
    'np.einsum("ij,j->i", M > 0, h > 0)',
    'np.sum(h > -9)',
    'np.mean(h > 0)',
    'np.max(h > 0) + np.max(h > 0)',
    'np.cumsum(h > -9)',
    'np.square(h > 0)+np.square(h>-9)',
    'np.abs(h > 0) + np.abs(h > -9)',
    '(h > 0) ** 2',
    '(h > -9) / 3',
    '(h > -9) / (g > -9)',
    '(h > -9) * 2',
    '(h > -9) + 1',
    'np.where(h > 0, g > -9, x > -9) + (h > -9)',
    'np.maximum(h > 0, g > 0) + (h > -9)',
    'np.floor(h > 0)',
    '(h > -9).sum(axis=0)',
    '(h > -9) < (g > -9)',
    '(h > -9) == (g > -9)',
    'np.logical_and(h, g) + np.logical_or(h, g)',
    'np.roll(h, 2)',
    'np.roll(h, 3)',
    'np.roll(h, 5)',
    'np.roll(h, -4)',
    'np.roll(h, 0)',
    'np.roll(H, 7)',
    'np.roll(H, 4, axis=1)',
    'np.roll(H, (1, 2), axis=(0, 1))',
    'np.roll(H, 1, axis=(0, 1))',
    'np.roll(hn, 2)',
    'np.roll(hn, 1)',
    'np.roll(hn, -2)',
    'np.roll(hn, hn.shape[0])',
    'np.roll(hn, 2 * hn.shape[0])',
    'np.roll(hn, hn.shape[0] - 1)',
    'np.roll(hn, hn.shape[0] + 1)',
    'np.roll(hn, -hn.shape[0] - 2)',
    'np.roll(one, 3)',
    'h ** 0',
    'h ** 0.0',
    'h ** 1',
    'h ** False',
    's ** 0',
    '0 ** h',
    '0.0 ** abs(h)',
    '1 ** h',
    '2 ** h',
    '(-2.0) ** 2 * h',
    'h ** (0 * g)',
    '(0*h) ** 0',
    '(h-h) ** 0',
    'h - h',
    'h * 0',
    '0 * h',
    'h / h',
    'h + 0',
    '0 - h',
    'h ** -1',
    'h ** -2',
    'i ** 2',
    'i / 2',
    'i * h',
    'i - 7',
    '-i',
    'i > 2',
    '(i > 2) * h',
    'np.where(i > 2, h, g)',
    'np.where(True, h, g)',
    'np.where(False, h, g)',
    'np.where([True, False, True], h, g)',
    'np.where(np.array([1, 0, 2]), h, g)',
    'np.where(True, s, h)',
    'np.where(1, 2.0, h)',
    'np.where(h, g, x)',
    'np.where(h > 0, 1, 0)',
    'np.where(h > 0, True, False)',
    'np.where(h > 0, 1.0, h)',
    'np.sum(H, 0, None, None, True)',
    'np.sum(H, axis=0, dtype=None, out=None, keepdims=True)',
    'np.sum(H, axis=0, where=True)',
    'np.sum(H, axis=())',
    'np.sum(T, axis=(0, 2))',
    'np.sum(T, axis=(-1, 0), keepdims=True)',
    'np.sum(s)',
    'sum([s, s])',
    'sum(h)',
    'np.mean(H, 0, None)',
    'np.mean(H, axis=())',
    'np.mean(T, axis=(0, 1), keepdims=True)',
    'np.mean(s)',
    'np.max(T, (0, 1))',
    'np.max(T, axis=0, keepdims=True)',
    'np.max(H, 0, None, True)',
    'np.min(T, axis=(1, 2))',
    'np.min(H, axis=-1, keepdims=True)',
    'np.amin(H)',
    'np.amax(H, 1)',
    'np.max(s)',
    'np.min(h > 0)',
    'np.min(H > 0, axis=0) + (h > 0)',
    'np.var(H)',
    'np.var(H, axis=0, ddof=0)',
    'np.var(H, axis=0, keepdims=True)',
    'np.std(H, axis=(0, 1))',
    'np.std(T, 2, keepdims=True)',
    'H.std(axis=0)',
    'H.sum(0)',
    'H.sum(0, None, None, True)',
    'H.mean(-1, keepdims=True)',
    'H.max(1)',
    'H.min()',
    'H.cumsum()',
    'H.cumsum(0)',
    'np.cumsum(H)',
    'np.cumsum(H, axis=-2)',
    'np.cumsum(s)',
    'sb.cumsum(H)',
    'h.clip(0, 1)',
    'h.clip(min=0)',
    'h.clip(max=0.2)',
    'h.clip(None, 0.2)',
    'h.clip(0.5, -0.5)',
    'np.clip(h, 0, None)',
    'np.clip(h, None, None)',
    'np.clip(h)',
    'np.clip(h, min=-0.1, max=0.1)',
    'np.clip(h, a_min=-0.1, a_max=0.1)',
    'np.clip(h, g, x)',
    'np.clip(H, g, 0.5)',
    'np.clip(0.3, h, g)',
    'sb.clip(h, -0.1, 0.1)',
    'np.linalg.norm(h)',
    'np.linalg.norm(H)',
    'np.linalg.norm(T)',
    'np.linalg.norm(H, axis=0)',
    'np.linalg.norm(H, axis=(0, 1))',
    'np.linalg.norm(H, "fro")',
    'np.linalg.norm(h, 2)',
    'np.linalg.norm(h, 2.0)',
    'np.linalg.norm(H, 2, axis=-1)',
    'np.linalg.norm(T, axis=(0, 2), keepdims=True)',
    'np.linalg.norm(s)',
    'np.linalg.outer(h, g)',
    'np.linalg.matmul(M, h[:, None])',
    'np.linalg.tensordot(M, h, axes=1)',
    'np.linalg.matrix_transpose(H)',
    'np.linalg.inv(M)',
    'np.linalg.solve(M, h)',
    'np.linalg.solve(M, M)',
    'np.linalg.det(M)',
    'np.linalg.slogdet(M)[0]',
    'np.linalg.slogdet(M).logabsdet',
    'np.linalg.matrix_power(M, 0)',
    'np.linalg.matrix_power(M, 5)',
    'np.linalg.matrix_power(M, -2)',
    'np.linalg.cholesky(M @ M.T)',
    'np.linalg.cholesky(M @ M.T, upper=True)',
    'np.linalg.trace(M)',
    'np.trace(M)',
    'np.trace(H)',
    'np.diag(h)',
    'np.diag(H)',
    'np.diagonal(M)',
    'np.matmul(M, h)',
    'np.matmul(h, M)',
    'np.matmul(T, X.T[:, :2])',
    'np.matmul(M, h, out=None)',
    'np.matmul(T[:1], T.mT)',
    'np.matmul(N, M)',
    'T @ X[0]',
    'X[0] @ T.mT',
    'h @ T',
    'np.dot(s, h)',
    'np.dot(2.0, h)',
    'np.dot(M, M)',
    'np.dot(T, X.T)',
    'np.dot(T, X[0])',
    'np.dot(h, T)',
    'np.dot(M, T)',
    'h.dot(g)',
    'M.dot(h)',
    'M.dot(M)',
    'np.inner(h, g)',
    'np.inner(H, M)',
    'np.inner(T, X)',
    'np.vdot(T, T)',
    'np.vdot(s, s)',
    'np.vdot(h, N)',
    'np.tensordot(H, M, 1)',
    'np.tensordot(H, M, axes=([1], [0]))',
    'np.tensordot(H, M, axes=(1, 0))',
    'np.tensordot(H, M, axes=[1, 0])',
    'np.tensordot(h, g, 0)',
    'np.tensordot(T, X, axes=((1, 2), (0, 1)))',
    'np.tensordot(T, X, axes=((-1, 1), (1, 0)))',
    'np.tensordot(H, H)',
    'np.tensordot(H, H, axes=2)',
    'np.tensordot(s, h, 0)',
    'np.outer(H, g)',
    'np.outer(s, h)',
    'np.outer(h, 2.0)',
    'np.einsum("ij,j", H, h)',
    'np.einsum("ij,j->i", H, h, optimize=True)',
    'np.einsum("ij,j->i", H, h, out=None)',
    'np.einsum("ij->ji", H)',
    'np.einsum("ij", H)',
    'np.einsum("ji", H)',
    'np.einsum("ij,ij->", H, H)',
    'np.einsum("...j,j->...", T[..., :3], h)',
    'np.einsum("...j,...j", H, H)',
    'np.einsum("i...->...", T)',
    'np.einsum("i,j", h, g)',
    'np.einsum("b,a", h, g)',
    'np.einsum("aB,Bc", M, M)',
    'np.einsum("i,i,i->i", h, g, x)',
    'np.einsum("i,i,j->j", h, g, x)',
    'np.einsum("i->", h)',
    'np.einsum(",i->i", s, h)',
    'np.einsum("ij , j -> i", H, h)',
    'np.einsum("ijk->k", T)',
    'np.einsum("ijk->kji", T)',
    'np.einsum("ij,jk,kl->il", M, M, M)',
    'np.ndim(H) * h',
    'np.shape(H)[1] * h',
    'np.size(H) * h',
    'np.size(H, 1) * h',
    'np.reshape(H, 6)',
    'np.reshape(H, (-1,))',
    'np.reshape(H, [3, 2])',
    'np.reshape(H, (3, -1))',
    'np.reshape(H, (3, 2), "C")',
    'np.reshape(H, (3, 2), copy=True)',
    'H.reshape(-1)',
    'H.reshape((3, 2))',
    'H.reshape([3, 2])',
    'H.reshape(3, 2, copy=False)',
    's.reshape(1)',
    'np.reshape(s, ())',
    'np.reshape(one, ())',
    'sb.reshape(H, (3, 2))',
    'sb.reshape(H, 3, 2)',
    'np.ravel(H)',
    'H.ravel("C")',
    'H.flatten()',
    's.ravel()',
    'np.ravel(s)',
    'np.transpose(T)',
    'np.transpose(T, (2, 0, 1))',
    'np.transpose(T, [2, 0, 1])',
    'np.transpose(T, (-1, 0, 1))',
    'np.transpose(T, axes=(1, 0, 2))',
    'np.transpose(h)',
    'np.transpose(s)',
    'T.transpose(2, 0, 1)',
    'T.transpose((2, 0, 1))',
    'T.transpose()',
    'T.transpose(None)',
    'T.T',
    'T.mT',
    'sb.transpose(T, 2, 0, 1)',
    'sb.transpose(T)',
    'np.permute_dims(T, (1, 0, 2))',
    'np.matrix_transpose(T)',
    'np.swapaxes(T, 0, -1)',
    'T.swapaxes(1, 2)',
    'np.moveaxis(T, 0, -1)',
    'np.moveaxis(T, [0, 1], [-1, 0])',
    'np.moveaxis(T, -1, 0)',
    'np.broadcast_to(h, (2, 3))',
    'np.broadcast_to(h, 3)',
    'np.broadcast_to(s, (2,))',
    'np.broadcast_to(h, (2, 3), subok=True)',
    'np.full_like(h, 2)',
    'np.full_like(h, g)',
    'np.full_like(H, h)',
    'np.full_like(h > 0, 0.5) + h',
    'np.full_like(h > 0, 2.0) + (h > 0)',
    'np.ones_like(h > 0) + (h > -9)',
    'np.zeros_like(h > 0) + (h > -9)',
    'np.ones_like(i) * h',
    'np.zeros_like(h)',
    'np.ones_like(h, order="F")',
    'np.expand_dims(h, 0)',
    'np.expand_dims(h, -1)',
    'np.expand_dims(h, (0, 2))',
    'np.expand_dims(s, 0)',
    'np.squeeze(N)',
    'np.squeeze(N, 0)',
    'np.squeeze(N, -2)',
    'np.squeeze(one)',
    'np.squeeze(np.expand_dims(h, (0, 2)), (0, 2))',
    'np.squeeze(s)',
    'N.squeeze()',
    'N.squeeze(0)',
    'N.squeeze((0,))',
    'np.concatenate([H, N])',
    'np.concatenate([H, N], axis=-2)',
    'np.concatenate([H, H], 1)',
    'np.concatenate([h, g, x])',
    'np.concatenate([H, h], axis=None)',
    'np.concatenate([s, h], axis=None)',
    'np.concatenate([h])',
    'np.concatenate(H)',
    'np.concatenate([h > 0, g > 0]) + np.concatenate([h > -9, g > -9])',
    'np.concatenate([h > 0, g])',
    'np.concat([h, g])',
    'np.stack([h, g])',
    'np.stack([h, g], 1)',
    'np.stack([h, g], axis=-1)',
    'np.stack([H, H], axis=-2)',
    'np.stack([s, s])',
    'np.stack(H)',
    'np.stack([h, [1.0, 2.0, 3.0]])',
    'np.hstack([h, g])',
    'np.hstack([H, H])',
    'np.split(h, 3)[1]',
    'np.split(h, [1])[1]',
    'np.split(h, [1, 2])[2]',
    'np.split(h, [2, 1])[1]',
    'np.split(h, [5])[0]',
    'np.split(h, [-1])[1]',
    'np.split(H, 3, axis=1)[1]',
    'np.split(H, 3, -1)[2]',
    'np.split(H, 2)[1]',
    'np.split(H, np.array([1]))[0]',
    'np.flip(H)',
    'np.flip(H, 0)',
    'np.flip(H, (0, 1))',
    'np.flip(H, axis=-1)',
    'np.flip(s)',
    'np.roll(H, 1)',
    'np.roll(H, (1, 2))',
    'np.roll(H, (1, 2), (0, 1))',
    'np.roll(H, (1, 2), axis=1)',
    'np.roll(H, -1, axis=-1)',
    'np.roll(T, 5, axis=(0, 2))',
    'np.roll(s, 1)',
    'np.roll(h, True)',
    'np.roll(hn, -3)',
    'np.roll(hn, -hn.shape[0])',
    'np.roll(Wn, 2, axis=0)',
    'np.roll(Wn, 1)',
    'np.roll(Wn, 2)',
    'np.take(h, 1)',
    'np.take(H, 4)',
    'np.take(H, -1)',
    'np.take(H, 1, 0)',
    'np.take(H, -1, -1)',
    'np.take(np.concatenate([h, g]), i)',
    'np.take(np.concatenate([M, M]), i, axis=0)',
    'np.take(np.concatenate([M, M]), i)',
    'h.take(1)',
    'np.copy(h)',
    'np.copy(h, order="C")',
    'h.copy()',
    'h.copy("F")',
    'np.conj(h)',
    'h.conj()',
    'h[None]',
    'h[..., None]',
    'h[:, None]',
    'h[::2]',
    'h[::-1]',
    'h[::-2]',
    'h[-1:]',
    'h[5:]',
    'h[1:-5]',
    'H[1, 2]',
    'H[-1]',
    'H[..., -1]',
    'H[1][2]',
    'H[None, 1, None]',
    'H[1, ..., None]',
    'H[:, ::-1]',
    'T[1, :, None, 2]',
    'h[np.int64(1)]',
    'hn[-1]',
    'hn[0]',
    'hn[1:]',
    'hn[:-1]',
    'hn[:1]',
    'np.ones_like(i) * h',
    'np.zeros_like(i) + h',
    '2 ** i',
    '2.0 ** -i',
    'i ** i',
    'np.reciprocal(h)',
    'h @ (g > 0)',
    'np.where([True, False, True], h, g) * np.where(np.array([0, 1, 1]), 2.0, x)',
    'np.logaddexp(h, g)',
    'np.logaddexp(0, h)',
    'np.logaddexp(h, 0.0)',
    'np.logaddexp(1e30, h)',
    'np.logaddexp(h, -np.inf)',
    'np.add(h, g, out=None)',
    'np.float_power(h * h, 0.5)',
    'np.maximum(h, [0.0, 1.0, 2.0])',
    'h ** np.array([0, 1, 2])',
    'H ** h',
    'np.reshape(H, (3, 2), order="F")',
    'H.reshape(3, 2, order="F")',
    'np.take(H, [1, 0], axis=1)',
    'divmod(h, 2)',
    'np.sum(H, 0, float)',
    'np.sum(H, axis=0, where=H > 0)',
    'np.sum(H, axis=0, initial=1.0)',
    'np.mean(H, 0, float)',
    'np.max(H, initial=5.0)',
    'np.var(H, ddof=1)',
    'np.var(H, 1, None, None, 1)',
    'np.var(H, correction=1)',
    'H.var(ddof=1)',
    'H.cumsum(axis=1, dtype=float)',
    'H.prod()',
    'np.prod(H)',
    'np.linalg.norm(h, 1)',
    'np.linalg.norm(h, np.inf)',
    'np.linalg.vecdot(h, g)',
    'np.vecdot(h, g)',
    'np.matvec(M, h)',
    'np.einsum("ii", M)',
    'np.einsum("ii->i", M)',
    'np.einsum(H, [0, 1], h, [1])',
    'sb.reshape(H, (3, 2), order="F")',
    'np.ravel(H, "F")',
    'H.flatten("F")',
    'np.rollaxis(T, 2)',
    'np.broadcast_arrays(h, H)[0]',
    'np.full_like(h, 2.0, dtype=float)',
    'np.zeros_like(h, float)',
    'np.concatenate((H, H), dtype=float)',
    'np.stack((h, g), dtype=float)',
    'np.hstack([s, s])',
    'np.hstack([s, h])',
    'np.hstack([h, 1.0])',
    'np.vstack([h, g])',
    'np.dstack([h, g])',
    'np.column_stack([h, g])',
    'np.array_split(h, 2)[0]',
    'np.hsplit(H, 3)[0]',
    'np.fliplr(H)',
    'np.roll(hn, 5)',
    'h[np.array([True, False, True])]',
    'h[[0, 1]]',
    'np.add.reduce(h)',
    'np.multiply.outer(h, g)',
    '(h > 0) ^ (g > 0)',
    'h.astype(float)',
    'h.repeat(2)',
    'hn[2:]',
    'hn[-2:]',
)  # fmt: skip
REFUSED = (
    'np.take(h, 7, mode="wrap")',
    'np.concatenate([h, s])',
    '(h > 0) - (g > 0)',
    '-(h > 0)',
    '+(h > 0)',
    '~h',
    'h & g',
    '(h > 0) & g',
    '(h > 0) & 1',
    '(h>0) | 2',
    'np.exp(h > 0)',
    'np.sqrt(h > 0)',
    'np.tanh(h > 0)',
    'np.sign(h > 0)',
    'i ** -1',
    'np.where(h)',
    'np.sum(T, axis=(0, 0))',
    'np.sum(T, axis=[0, 1])',
    'np.sum(H, axis=True)',
    'np.sum(H, axis=1.0)',
    'np.sum(H, axis=2)',
    'np.sum(s, axis=0)',
    'np.sum([h, g])',
    'np.sum([h, g], axis=0)',
    'np.sum([s, 1.0])',
    'np.mean([h, g], axis=0)',
    'np.var(H, axis=1, mean=np.mean(H, axis=1, keepdims=True))',
    'np.clip(h, 0, 1, dtype=float)',
    'np.linalg.norm(h, "fro")',
    'np.linalg.norm(H, 2)',
    'np.linalg.norm(H, 2, axis=(0, 1))',
    'np.linalg.norm(H, "fro", axis=0)',
    'np.linalg.norm(T, axis=(0, 1, 2))',
    'np.linalg.norm(T, 2)',
    'np.linalg.norm(h, 0)',
    'np.linalg.norm(H, "nuc")',
    'np.linalg.outer(H, g)',
    'np.linalg.inv(H)',
    'np.linalg.solve(H, h)',
    'np.linalg.solve(M, H)',
    'np.linalg.det(h)',
    'np.linalg.matrix_power(M, 0.5)',
    'np.linalg.trace(T)',
    'np.linalg.eigh(M)',
    'np.linalg.pinv(M)',
    'np.diag(M, 1)',
    'np.diagonal(T)',
    'np.matmul(s, h)',
    'np.inner(s, h)',
    'np.inner(2.0, h)',
    'np.einsum("ij,ij->ij", N, H)',
    'np.einsum("...i->i", T)',
    'np.reshape(H, (4, -1))',
    'np.reshape(H, (-1, -1))',
    'np.reshape(a=H, shape=(3, 2))',
    'np.reshape([h, g], 6)',
    'np.ravel(H.T, order="K")',
    'np.transpose(T, (0, 1))',
    'np.transpose(T, (0, 0, 1))',
    'h.mT',
    'np.swapaxes(T, 0, 3)',
    'np.moveaxis(T, (0, 1), (2,))',
    'np.moveaxis(T, (0, 0), (1, 2))',
    'np.broadcast_to(h, (3, 2))',
    'np.broadcast_to(H, (3,))',
    'np.full_like(i, 0.5) * h',
    'np.zeros_like(h, shape=(2,))',
    'np.expand_dims(h, 2)',
    'np.squeeze(N, axis=1)',
    'np.concatenate([H, N], 1)',
    'np.concatenate([])',
    'np.concatenate([h, H], 0)',
    'np.stack([h, g], axis=2)',
    'np.stack([h, s])',
    'np.split(h, 2)[0]',
    'np.roll(h, 1.0)',
    'np.take(H, 6)',
    'h[True]',
    'h[h > 0]',
    'h[3]',
    'h[-4]',
    'h[1.0]',
    'np.transpose([h, g])',
    '2 ** -i',
    'np.reciprocal(i)',
    'np.add(h, g, where=h > 0)',
    'np.add(h, g, dtype=float)',
    'np.tanh(h, dtype=float)',
    'h.item()',
    'np.choose([0, 1, 0], [h, g, h])',
)  # fmt: skip


def cell_and_values(*texts: str, n: int = 4) -> tuple[sb.Cell, dict[str, Any], Any]:
    """The cell whose outputs y0, y1, ... are expressions of NumPy, arguments for it, and the function itself."""
    used = {name for text in texts for name in compile(text, "a table", "eval").co_names}
    names = [name for name in ROLES if name in used]
    names += [] if {"h", "H", "T", "s", "hn"} & {*names} else ["s"]
    random = np.random.default_rng(0)
    shapes = SHAPES | {"hn": (n,), "Wn": (n, n)}
    values = {k: np.int64(3) if k == "i" else np.float64(random.standard_normal(shapes[k])) for k in names}

    def plain(**given: Any) -> Any:
        return {f"y{i}": eval(text, {"np": np, "sb": sb, **given}) for i, text in enumerate(texts)}

    def step(**given: Any) -> dict[str, Any]:
        return {**{k: given[k] for k in names if k in ("h", "H", "T", "s", "hn")}, **plain(**given)}

    signature = [inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY, annotation=ROLES[k]) for k in names]
    step.__signature__ = inspect.Signature(signature)  # type: ignore[attr-defined]
    return sb.cell(step), values, plain


def outputs(*texts: str, dtype: Any = np.float64, n: int = 4) -> list[tuple[str, Any, Any]]:
    """Each text, the output of the kernel, whose backward runs too, and the value of NumPy."""
    cell, values, plain = cell_and_values(*texts, n=n)
    kernel = sb.compile(cell)
    roles = {a.name: a.role for a in cell.arguments}
    given = {k: v if k == "i" else np.asarray(v, dtype) for k, v in values.items()}
    params = {k: v for k, v in given.items() if roles[k] == "param"}
    inputs = {k: np.asarray(v)[None, None] for k, v in given.items() if roles[k] in ("input", "index")}
    run = kernel.forward(params, inputs, {k: v[None] for k, v in given.items() if roles[k] == "state"}, steps=1)
    kernel.backward(run, {k: np.ones_like(v) for k, v in run.outputs.items()})
    with np.errstate(all="ignore"):
        wanted = plain(**values)
    return [(text, run.outputs[f"y{i}"][0, 0], np.asarray(wanted[f"y{i}"])) for i, text in enumerate(texts)]


@pytest.mark.parametrize("first", range(0, len(AGREE), 20))
@pytest.mark.thinned(37, 2)
def test_value_is_that_of_numpy(first: int) -> None:
    for text, got, wanted in outputs(*AGREE[first : first + 20]):
        assert got.shape == wanted.shape, text
        np.testing.assert_allclose(got, wanted.astype(float), rtol=1e-12, atol=1e-13, err_msg=text)


@pytest.mark.parametrize("text", REFUSED)
def test_what_differs_from_numpy_is_refused_in_words(text: str) -> None:
    cell, _, _ = cell_and_values(text)
    with pytest.raises(sb.CellError) as caught:
        assert cell.step
    assert len(str(caught.value).splitlines()) >= 2  # what, and where


@pytest.mark.parametrize("first", range(0, len(AGREE), 100))
@pytest.mark.thinned(5)
def test_value_in_float32_is_float32(first: int) -> None:
    for text, got, wanted in outputs(*AGREE[first : first + 20], dtype=np.float32):
        assert got.dtype == np.float32, text
        np.testing.assert_allclose(got, wanted.astype(float), rtol=1e-4, atol=1e-5, err_msg=text)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_roll_of_a_named_size_is_right_for_every_size(n: int) -> None:
    texts = [f"np.roll(hn, {shift})" for shift in (-3, -1, 0, 2, 4)] + ["np.roll(Wn, 2)", "np.roll(Wn, 2, axis=1)"]
    for text, got, wanted in outputs(*texts, n=n):
        np.testing.assert_array_equal(got, wanted, err_msg=text)


POOL: dict[str, Callable[[Any], Any]] = {
    "h": lambda v: v["h"], "H": lambda v: v["H"], "N": lambda v: v["N"], "s": lambda v: v["s"], "i": lambda v: v["i"],
    "h > 0": lambda v: v["h"] > 0, "i > 2": lambda v: v["i"] > 2, "2": lambda v: 2, "-1": lambda v: -1, "0": lambda v: 0,
    "True": lambda v: True, "0.5": lambda v: 0.5, "integers": lambda v: np.array([2, -1, 3]),
    "truths": lambda v: np.array([True, False, True]),
}  # fmt: skip
"""Real numbers, integers and truth values, of every rank."""
SHORT = ("h", "N", "i", "h > 0", "2", "-1", "True", "integers")
SYMBOLIC = ("h", "H", "N", "s", "i", "h > 0", "i > 2")
VALUES = {"h": np.array([0.5, -1.5, 2.0]), "H": np.array([[1.0, -0.5, 0.25], [2.0, 0.5, -1.0]]), "s": np.float64(0.75),
          "N": np.array([[0.5, -2.0, 1.0]]), "i": np.int64(3)}  # fmt: skip
OPERATORS = ("add", "sub", "mul", "truediv", "pow", "and_", "or_", "lt", "ge", "eq", "ne")
BINARY: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name, op in ops.BY_NUMPY.items() if op.arity == 2 and hasattr(np, name)},
    **{f"operator {name}": getattr(operator, name) for name in OPERATORS},
}
UNARY: dict[str, Callable[..., Any]] = {
    name: getattr(np, name) for name, op in ops.BY_NUMPY.items() if op.arity == 1 and hasattr(np, name)
}


def of_graph(function: Callable[..., Any], keys: tuple[str, ...]) -> Any:
    """The value of a traced call, node by node, or None where it is refused."""
    names = list(dict.fromkeys(["h", *(k.split()[0] for k in keys if k in SYMBOLIC)]))

    def step(**v: Any) -> dict[str, Any]:
        return {"h": v["h"], "y": function(*(POOL[k](v) for k in keys))}

    signature = [inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY, annotation=ROLES[k]) for k in names]
    step.__signature__ = inspect.Signature(signature)  # type: ignore[attr-defined]
    try:
        traced = sb.cell(step).step
    except sb.CellError as error:
        assert " raised " not in str(error), error
        return None
    found: list[Any] = []
    for node in traced.graph:
        is_leaf = node.family == "leaf"
        args = [found[arg] for arg in node.args]
        found.append(np.asarray(VALUES[node.attrs.name], float) if is_leaf else one(node, args, {}))
    return found[traced.outputs["y"]]


@pytest.mark.parametrize("name", [*UNARY, *BINARY])
@pytest.mark.thinned(7, 2)
def test_elementwise_function_of_any_kinds_of_numbers_is_that_of_numpy(name: str) -> None:
    function, count = (UNARY[name], 1) if name in UNARY else (BINARY[name], 2)
    accepted = 0
    for keys in itertools.product(POOL if count == 1 else SHORT, repeat=count):
        if not {*keys} & {*SYMBOLIC}:
            continue
        with np.errstate(all="ignore"):
            got = of_graph(function, keys)
            if got is None:
                continue
            wanted = np.asarray(function(*(POOL[k](VALUES) for k in keys)))
        assert np.shape(got) == wanted.shape, keys
        np.testing.assert_allclose(got, wanted.astype(float), rtol=1e-12, err_msg=str(keys))
        accepted += 1
    assert accepted


@pytest.mark.parametrize("name", SIGNATURES)
def test_parameters_stand_in_the_order_of_numpy(name: str) -> None:
    function = getattr(np, name, None) or getattr(np.linalg, name, None)
    if function is None or isinstance(function, np.ufunc):
        return
    there = list(inspect.signature(function).parameters)
    ours = [word.lstrip("-?") for word in SIGNATURES[name].split()]
    # `arange` and `piecewise` have no names there for what they take, `np.astype` fewer than the method, `pad` its values in `kwargs`.
    if name not in ("shape", "copy", "arange", "piecewise", "astype", "pad"):
        assert ours == [name for name in there if name in ours]
    assert set(there) - {*ours} <= {"kwargs", "copy", "device", "args", "kw", "x", "start_or_stop", "ndmax"}


REFUSED_OPTIONS = [(name, word[1:]) for name, words in SIGNATURES.items() for word in words.split() if word[0] == "-"]


UNLIKE = {("sort", "order"), ("argsort", "order")}
"""The order of sorts is that of fields of records."""
FIRST = {"matmul": "M, h", "dot": "h, h", "outer": "h, h", "take": "h, 1", "full_like": "h, 2.0", "reshape": "H, (3, 2)",
         "clip": "h, 0, 1", "compress": "[True, False, True], h", "cross": "h, g",
         "interp": "h, [0.0, 1.0], [0.0, 2.0]", "isclose": "h, g", "linspace": "s, 2.0, 3",
         **dict.fromkeys(("concatenate", "concat", "stack", "hstack"), "[h, h]")}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    sorted({name for name, _ in REFUSED_OPTIONS if hasattr(np, name) and name not in ("put", "astype", "choose")}),
)
@pytest.mark.thinned(3)
def test_option_without_a_meaning_is_refused_and_its_default_is_not(name: str) -> None:
    options = [option for of, option in REFUSED_OPTIONS if of == name and (of, option) not in UNLIKE]
    for option in options:
        cell, _, _ = cell_and_values(f"np.{name}({FIRST.get(name, 'H')}, {option}=7)")
        with pytest.raises(sb.CellError):
            assert cell.step
    allowed = [o for o in options if o not in ("initial", "mean", "correction")]
    given = "".join(f", {option}={DEFAULTS.get(option)!r}" for option in allowed)
    for _, got, wanted in outputs(f"np.{name}({FIRST.get(name, 'H')}{given})"):
        np.testing.assert_allclose(got, wanted, rtol=1e-13)


CONDITIONS = {
    "np.where": lambda dt, h, a: np.where(dt > 0.1, h * a, a),
    "a factor": lambda dt, h, a: h * a * (dt > 0.1),
    "a term": lambda dt, h, a: h * a + (dt < 0.1),
    "beside a value": lambda dt, h, a: np.where((dt > 0.1) & (h > 0), h * a, a),
    "not": lambda dt, h, a: np.where(~((dt > 0.1) & (h > 0)), h * a, a),
    "counted as Python does": lambda dt, h, a: h * a * ((dt > 0.01) + (dt < 0.5) - (dt > 0.1)) + -(dt > 0.1) * a,
    "or beside an array": lambda dt, h, a: h * ((dt > 0.1) + (h > -9)) + a * np.add(dt > 0.01, dt < 0.5),
    "or, read twice": lambda dt, h, a: np.where((dt > 0.3) | (dt < 0.1), h, a) + a * ((dt > 0.3) | (dt < 0.1)),
    "an exponent": lambda dt, h, a: h * a ** (dt > 0.1),
    "a bound": lambda dt, h, a: np.maximum(h * a, dt > 0.1),
    "where of a literal": lambda dt, h, a: np.where(True, h * a, a * dt),
    "where of another": lambda dt, h, a: np.where(False, dt, h * a),
    "where of literals": lambda dt, h, a: np.where([True, False], h * a, a * dt),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CONDITIONS)
@pytest.mark.thinned(13, 5)
def test_condition_on_a_constant_runs_in_every_kernel(name: str, dtype: Any) -> None:
    body: Any = CONDITIONS[name]

    @sb.cell
    def step(h: State["2"], a: Param["2"], dt: Const = 0.2):
        return {"h": body(dt, h, a), "y": np.where(dt > 0.1, 1.0, 0.0), "z": dt > 0.1}

    for value in (0.2, 0.05):
        cell = step.with_consts({"dt": value})
        kernel = sb.compile(cell)
        h, a = np.array([0.5, -0.3], dtype), np.array([0.7, 1.5], dtype)
        run = kernel.forward({"a": a}, {}, {"h": h}, steps=3)
        wanted = h.astype(float)
        for _ in range(3):
            wanted = body(value, wanted, a.astype(float))
        np.testing.assert_allclose(run.states["h"][-1], wanted, rtol=1e-5)
        assert run.states["h"].dtype == dtype
        grads = kernel.backward(run, {"h": np.ones(2, dtype)})
        assert grads.params["a"].dtype == dtype
    assert name != "beside a value" or sb.verify(step).passed
    jacobian = sb.derive(step).jacobian("h", "h")
    start = np.array([0.5, -0.3])
    by_hand = [np.imag(body(0.2, start + 1e-30j * unit, a.astype(float))) / 1e-30 for unit in np.eye(2)]
    dense = np.asarray(jacobian.evaluate({"a": a.astype(float)}, {}, {"h": start}))
    if name not in ("beside a value", "a bound", "not", "or beside an array"):  # NumPy orders complex numbers
        np.testing.assert_allclose(dense, np.transpose(by_hand), atol=1e-12)
    assert jacobian.text()


def test_opposite_that_python_would_make_of_a_plain_number_is_refused() -> None:
    @sb.cell
    def step(h: State["2"], dt: Const = 0.2):
        return np.where(~(dt > 0.1), h, 0.5 * h)  # -2 in Python, which counts as true

    with pytest.raises(sb.CellError, match="the opposite comparison"):
        assert step.step


@pytest.mark.parametrize("body", [
    lambda h, b: b - b, lambda h, b: 0 * b, lambda h, b: h - h, lambda h, b: h**0, lambda h, b: b**0, lambda h, b: b / b,
    lambda h, b: np.zeros_like(b), lambda h, b: b * 1, lambda h, b: sb.stop_gradient(b), lambda h, b: b - b + 0 * h,
])  # fmt: skip
@pytest.mark.thinned(17, 3)
def test_result_that_simplifies_to_nothing_is_a_result(body: Any) -> None:
    @sb.cell
    def step(h: State["n"], b: Param["n"]):
        return {"h": body(h, b), "y": body(h, b), "one": 1}

    @sb.loss
    def squares(h: State["n"]):
        return sb.sum(h * h)

    h, b = np.array([[0.5, -2.0]]), np.array([3.0, 4.0])
    for options in ({}, {"memory": "sqrt"}, {"truncation": sb.Window(2)}, {"truncation": sb.Chunked(2, 3)}):
        kernel = sb.compile(sb.model(step, squares), **options)
        loss, _ = kernel.value_and_grad({"b": b}, {}, {}, {"h": h}, steps=5)
        value, wanted = h[0], 0.0
        for _ in range(5):
            value = np.broadcast_to(body(value, b), 2)
            wanted += np.sum(value**2)
        assert loss == pytest.approx(wanted)
    assert sb.derive(step).text() and sb.analyze(step, {"b": b}, None, {"h": h}, steps=5).text()


def test_planted_counting_of_truth_values_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symbptt.language.products._counted", lambda x, operands: x)
    [(_, got, wanted)] = outputs("(M > -9) @ (h > -9)")
    assert not np.allclose(got, wanted.astype(float))


INSTEAD: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {
    "np.sum(edges <= x[..., None], axis=-1)": (
        lambda x, h: np.digitize(x, [-0.5, 0.5]),
        lambda x, h: sb.sum(np.array([-0.5, 0.5]) <= x[..., None], axis=-1),
    ),
    "np.where(b < 0, -np.abs(a), np.abs(a))": (
        lambda x, h: np.copysign(x, h),
        lambda x, h: np.where(h < 0, -np.abs(x), np.abs(x)),
    ),
    "write 1 - sb.erf(x)": (lambda x, h: erfc(x), lambda x, h: 1 - sb.erf(x)),
}


@pytest.mark.parametrize("words", INSTEAD)
def test_what_is_advised_instead_has_the_value_of_numpy(words: str) -> None:
    asked, advised = INSTEAD[words]

    @sb.cell
    def refused(x: Input["n"], h: State["n"]):
        return 0.5 * h + asked(x, h)

    @sb.cell
    def taken(x: Input["n"], h: State["n"]):
        return 0.5 * h + advised(x, h)

    with pytest.raises(sb.CellError, match=re.escape(words)):
        sb.derive(refused)
    for x in ([0.3, -0.7, 1.0], [2.0, 3.0, 4.0], [-1.0, -1.0, -1.0]):
        given = np.array(x), np.array([0.2, -0.7, -1.5])
        found = sb.compile(taken).forward({}, {"x": given[0][None, None]}, {"h": given[1][None]}).states["h"]
        np.testing.assert_allclose(found[0, 0], 0.5 * given[1] + asked(*given), rtol=1e-15)
