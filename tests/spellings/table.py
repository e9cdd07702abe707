"""NumPy as authors of cells write it: one line an idiom, in the words of NumPy, SciPy and Python.

Each line is the body of a cell, its last part the value; statements before it are separated by semicolons. The letters are
`x` (m), `h` and `p` (n; p between 0.2 and 0.9), `q` (n), `W` (n m), `U` (n n), `A` (3 4), `S` (3 3), `C` (2 3 4), `v` (5), `w` (3), `s` a number,
`i` an Index of n values, `j` three of them, LINKS a sparse array (5 5), with n = 5 and m = 3. Behind `!` stands what the refusal says to write instead; `?` marks what is refused
or works.
"""

ELEMENTWISE = """
np.add(h, q)
np.subtract(h, q)
np.multiply(h, q)
np.divide(h, p)
np.true_divide(h, p)
np.floor_divide(h, p)
h // p
np.remainder(h, p)
h % p
np.fmod(h, p)
divmod(h, p)[1]
np.divmod(h, p)[0]
np.power(p, q)
p ** q
2.0 ** h
np.float_power(p, 2)
np.negative(h)
-h + +q
np.abs(h)
abs(h)
np.fabs(h)
np.sign(h)
np.sqrt(p)
np.cbrt(h)
np.square(h)
np.reciprocal(p)
np.exp(h)
np.exp2(h)
np.expm1(h)
np.log(p)
np.log2(p)
np.log10(p)
np.log1p(p)
np.logaddexp(h, q)
np.logaddexp2(h, q)
np.sin(h) + np.cos(q)
np.tan(p)
np.arcsin(p)
np.arccos(p)
np.arctan(h)
np.arctan2(h, p)
np.hypot(h, q)
np.sinh(h) + np.cosh(q)
np.tanh(h)
np.arcsinh(h)
np.arccosh(1 + p)
np.arctanh(p)
np.sinc(h)
np.deg2rad(h) + np.radians(q)
np.rad2deg(h) + np.degrees(q)
np.floor(h)
np.ceil(h)
np.trunc(h)
np.rint(h)
np.round(h)
np.round(q, 1)
np.around(h)
np.fix(h)
np.modf(h)[0]
np.maximum(h, q) + np.minimum(h, 0.3)
np.fmax(h, q) + np.fmin(h, q)
np.clip(h, -1, 1)
np.clip(h, -p, p)
h.clip(0.0)
np.clip(h, None, 0.5)
np.clip(h, a_min=-1, a_max=None)
np.heaviside(h, 0.5)
np.copysign(p, h) ! np.where
np.nan_to_num(h) ! isnan
np.where(h > 0, h, 0.1 * h)
np.where(h > 0, 1, 0)
np.where(np.isnan(h), 0.0, h)
np.where(np.isfinite(h), h, 0.0)
np.isinf(h) * 1.0
np.isclose(h, q) * h
np.select([h > 1, h > 0], [q, h], 0.0)
np.piecewise(h, [h < 0, h >= 0], [0.0, np.square])
np.interp(h, [-1.0, 0.0, 1.0], [0.0, 2.0, 3.0])
np.gradient(v)
np.real(h)
h.imag
np.conj(h)
np.i0(h) ! sb.function
np.polyval([1.0, 2.0, 3.0], h)
np.unwrap(h) ! arctan2
np.frexp(h)[0] ! sb.function
np.nextafter(h, q) ! sb.function
np.vectorize(lambda a: a * a)(h) ! np.asarray
"""

LOGIC = """
(h > 0) * q
(h > 0) & (q > 0)
(h > 0) | (q > 0)
~(h > 0)
(h > 0) ^ (q > 0)
np.logical_and(h > 0, q > 0) * h
np.logical_or(h > 0, q > 0) * h
np.logical_not(h > 0) * h
np.logical_xor(h > 0, q > 0) * h
np.greater(h, q) + 0.0
np.greater_equal(h, 0) * h
np.less_equal(h, 0) * h + np.less(h, 1) * q
np.not_equal(h, 0) * h
np.equal(i, 2) * h
(h > 0) + (q > 0)
(h > 0) * (q > 0)
(h > 0).sum() * h
np.any(h > 0) * h
(h > 0).any() * h
np.all(h > -9) * h
(U > 0).all(axis=1) * h
np.count_nonzero(h > 0) * h
(h > 0).astype(float) * q
(h > 0).astype(np.float64)
np.float64(2) * h
np.float32(0.5) * h
float(2) * h + int(3) * q + bool(1) * p
h.astype(np.float64)
h.astype(float).copy()
h.astype(h.dtype) * (h.dtype.kind == "f")
np.zeros((3,), dtype=h.dtype) + w
(h if h.dtype == np.float32 else q) ! .dtype.kind
h / (np.sum(h * h) + np.finfo(h.dtype).eps) ! Const
np.issubdtype(h.dtype, np.floating) * h ! .dtype.kind
h.dtype.itemsize * h ! Const
np.isscalar(s) * h
np.sum((h > 0), dtype=float) * h
np.asarray(h) * 2
np.array(h) + 1
np.array([h[0], h[1]])
np.array([[np.cos(s), -np.sin(s)], [np.sin(s), np.cos(s)]]) @ w[:2]
np.array([w, [0.5] * 3])
np.array([1.0, 2.0, 3.0]) * w
np.asarray([1, 2, 3]) * w
np.ascontiguousarray(h)
np.bitwise_and(h > 0, q > 0)
-(h > 0) ! ~
(h > 0) - (q > 0) ! where
np.bitwise_xor(h > 0, q > 0)
(h if h[0] > 0 else q) ! sb.where
max(h, q) ! sb.where
math.tanh(s) ! math
math.sqrt(h.shape[0]) * h + math.log(2)
h / math.pow(h.shape[0] / 2, 0.5)
-h.shape[0] * math.log(h.shape[0], 2) * math.erf(h.shape[0]) * h
math.gamma(h.shape[0]) * h ! functions of NumPy
float(h.shape[0]) * h ! leave float()
max(w) * h ! np.max
f"{float(s):.2f}" and h ! not of math
bool(np.all(h > 0)) * h ! sb.where
float(s) * h ! not of math
int(s) * h ! Index
"""

REDUCTIONS = """
np.sum(h)
h.sum()
np.sum(W, axis=0)
np.sum(W, 1)
W.sum(axis=-1, keepdims=True)
np.sum(C, axis=(0, 2))
np.sum(W, axis=None)
sum([h, q, p])
sum(h[k] for k in range(3))
np.mean(h)
W.mean(axis=1)
np.average(W, axis=0)
np.average(h, weights=p)
np.average(A, axis=1, weights=[1.0, 2.0, 3.0, 4.0])
np.max(h)
W.max(axis=0, keepdims=True)
np.amax(h) - np.amin(h)
np.min(W, axis=1)
max(s, 0.0) ! sb.where
np.ptp(h)
np.ptp(W, axis=1)
np.var(h)
h.std()
np.std(W, axis=1, keepdims=True)
np.var(v, ddof=1)
np.std(W, axis=0, ddof=1)
np.prod(v)
v.prod()
np.prod(C, axis=1, keepdims=True)
np.prod(A, axis=(0, 1))
np.cumsum(h)
np.cumsum(W)
np.cumsum(W, axis=1)
h.cumsum()
np.cumprod(v)
np.cumprod(A, axis=1)
np.diff(h)
np.diff(W, axis=0)
np.diff(v, n=2)
np.diff(h, prepend=0.0)
np.ediff1d(h)
np.trapezoid(h)
np.trapezoid(h, dx=0.1)
np.add.reduce(h)
np.add.reduce(W, axis=1)
np.maximum.reduce([h, q, p]) ! np.stack
np.maximum.reduce(np.stack([h, q, p]))
np.maximum.reduce(W, axis=0)
np.minimum.reduce(h)
np.multiply.reduce(v)
np.logical_and.reduce(np.stack([h > 0, q > 0])) * h
np.add.accumulate(h)
np.multiply.accumulate(v)
np.maximum.accumulate(v)
np.subtract.outer(h, q)
np.multiply.outer(h, x)
np.nansum(h)
np.logaddexp.reduce(h) ! sb.logsumexp
np.add.reduceat(v, [0, 2]) ! sb.segment_sum
np.nanmax(h)
np.linalg.norm(h)
np.linalg.norm(W)
np.linalg.norm(W, axis=1)
np.linalg.norm(h, ord=1)
np.linalg.norm(h, 2)
np.linalg.norm(h, np.inf)
np.linalg.norm(W, axis=1, keepdims=True)
np.linalg.norm(W, "fro")
np.linalg.norm(h, 3)
np.linalg.norm(U, 1) * h
np.linalg.norm(C, np.inf, axis=(1, 2), keepdims=True)
np.linalg.norm(U, 2) ! singular
np.argmax(h)
h.argmax()
np.argmin(h)
np.argmax(W, axis=1)
(np.arange(5) == np.argmax(v)) * v
np.sort(h)
np.sort(W, axis=0)
np.sort(h)[::-1]
np.argsort(h)
np.argsort(-v)[:2]
v[np.argsort(v)]
np.partition(v, 2)[2] ! np.sort
np.median(v)
np.median(W, axis=0) ! number
np.median(A, axis=1)
np.sum(W, dtype=np.float64)
np.sum(h, where=h > 0)
np.max(h, initial=0.0)
np.sum(h, initial=1.0)
np.mean(h, where=h > -9)
np.quantile(v, 0.5) ! np.sort
np.bincount(i) ! sb.
np.unique(h) ! sb.
np.nonzero(h) ! where
np.where(h > 0) ! where
np.searchsorted(v, h) ! sb.
"""

PRODUCTS = """
W @ x
U @ h + W @ x
h @ U
h @ q
np.dot(W, x)
np.dot(h, q)
h.dot(q)
np.matmul(U, h)
np.inner(h, q)
np.inner(U, h)
np.outer(h, x)
np.vdot(h, q)
np.vdot(U, U)
np.vecdot(U, U)
np.matvec(U, h)
np.vecmat(h, U)
np.einsum("ij,j->i", W, x)
np.einsum("ij,j", W, x)
np.einsum("i,j->ij", h, x)
np.einsum("i,i->", h, q)
np.einsum("ij->ji", W)
np.einsum("ii->i", U)
np.einsum("ii", U)
np.einsum("ii->", S)
np.einsum("ij,ij->i", U, U)
np.einsum("ijk,k->ij", C, np.ones(4))
np.einsum("...j,j->...", C, A[0])
np.einsum("i,ij,j->", h, U, q)
np.einsum(W, [0, 1], x, [1], [0])
np.einsum("ij,j->i", W, x, optimize=True)
np.tensordot(W, x, 1)
np.tensordot(W, x, axes=1)
np.tensordot(U, U, axes=([0], [1]))
np.tensordot(h, x, axes=0)
np.kron(w, x)
np.kron(S, A)
np.cross(w, S[0])
np.linalg.multi_dot([U, U, h])
np.linalg.outer(h, q)
np.linalg.vecdot(h, q)
np.linalg.matmul(U, U)
np.linalg.matrix_power(S, 2) ?
np.trace(U) ?
U.trace() ?
np.linalg.trace(S) ?
np.diag(U) ?
np.diag(h) ?
np.diag(U, 1) ?
np.diagonal(S) ?
S.diagonal() ?
np.diagflat(w) ?
np.linalg.inv(S + 9 * np.eye(3)) @ w ?
np.linalg.solve(S + 9 * np.eye(3), w) ?
np.linalg.det(S) ?
np.linalg.slogdet(S @ S.T + np.eye(3))[1] ?
np.linalg.cholesky(S @ S.T + np.eye(3)) ?
np.linalg.eigh(S)[0] ?
np.fft.fft(h) ! np.fft.fft(np.eye(8))
np.diag(h, -1) ! np.eye
np.linalg.svd(S)[1] ?
np.linalg.pinv(S) ?
np.convolve(v, w)
np.convolve(v, w, "valid")
np.convolve(v, w, mode="same")
np.correlate(v, w)
np.tril(U) @ h ?
np.triu(S, 1) ?
np.eye(3) @ w
np.identity(3) @ w
"""

SHAPES = """
W.T
W.transpose()
np.transpose(C, (1, 0, 2))
C.mT
np.matrix_transpose(C)
np.reshape(A, (2, 6))
A.reshape(2, -1)
A.reshape((4, 3))
A.reshape(4, 3, order="F")
np.reshape(A, -1, order="F")
np.ravel(A)
A.ravel(order="F")
A.flatten()
A.flat[3]
h.reshape(1, -1)
h[:, None]
h[None, :]
h[np.newaxis]
h[..., None]
np.expand_dims(h, 0)
np.expand_dims(h, (0, 2))
np.squeeze(h[:, None])
h[:, None].squeeze(1)
np.atleast_1d(s)
np.atleast_2d(h)
np.atleast_3d(h)
np.swapaxes(C, 0, 2)
C.swapaxes(0, 1)
np.moveaxis(C, 0, -1)
np.rollaxis(C, 2)
np.rot90(A)
np.flip(h)
np.flip(A, axis=1)
np.fliplr(A)
np.flipud(A)
h[::-1]
np.roll(h, 1)
np.roll(v, 2)
np.roll(h, -1)
np.roll(A, 1, axis=1)
np.concatenate([h, x])
np.concatenate((W, U), axis=1)
np.concat([h, q])
np.hstack([h, x, s])
np.hstack((W, U))
np.vstack([h, q])
np.vstack((W.T, U))
np.dstack([A, A])
np.column_stack([h, q])
np.column_stack((U, h))
np.stack([h, q], axis=-1)
np.block([[S, w[:, None]], [w, s]])
np.append(h, x)
np.insert(v, 1, 2.0)
np.delete(v, 0)
np.r_[h, x]
np.r_[h, 0.5, 1:3, [s, 2.0]]
np.c_[h, q]
np.c_[U, h, p]
np.r_[U, W.T]
np.r_["1,2", h, q] ! np.concatenate
np.tile(h, 2)
np.tile(w, (2, 1))
np.repeat(w, 2)
np.repeat(A, 2, axis=0)
h.repeat(2)
np.broadcast_to(h, (3, h.shape[0]))
np.broadcast_arrays(w, S)[0]
np.split(v, [2, 3])[1]
np.split(A, 2, axis=1)[0]
np.array_split(v, 2)[0]
np.hsplit(A, 2)[1]
np.vsplit(A, 3)[0]
np.unstack(A)[1]
np.pad(h, 1)
np.pad(h, (1, 0))
np.pad(v, (0, 2), constant_values=1.0)
np.pad(A, ((0, 1), (2, 0)))
np.pad(v, 1, mode="edge")
np.pad(v, 2, mode="reflect")
np.pad(v, 1, mode="wrap")
np.meshgrid(w, v)[0]
np.meshgrid(w, v, indexing="ij")[1]
np.zeros_like(h) + h
np.ones_like(W) * x
np.full_like(h, 0.5) * h
y = np.empty_like(h); y[:] = q; y
h.conj() * q
h.conjugate() * q
v[::2][1:]
v[::-1][:3]
A[:, ::-1][:, :2]
A[::-1][1:, ::2]
v[1:][::-1][::2]
y = h * 1; c = y.conj(); y[0] = s; c
y = S * 1; d = np.einsum("ii->i", y); y[0] = w; d
y = np.zeros((3, 3)); np.fill_diagonal(y, w); y @ w
y = np.zeros(3); a, b = y[:1], y[1:]; b[:] = w[:2]; a -= b[0]; y
y = np.ones(3); y[w > 0] = s; y * w
y = [s, 2.0, w[0]]; y[1] = w[1]; np.array(y)
y = np.zeros((2, 3)); y[0] = w; y[1] = y[0][::-1]; y.sum(axis=0)
y = np.zeros(3); y += w; y * s
np.array([[s, 1.0], [0.0, s]]) @ w[:2]
np.linalg.norm(v, 3) * v
np.linalg.norm(A, 1) * s
np.zeros(3, dtype=h.dtype) + w
np.prod(v) * v
np.zeros(3) + w
np.ones((3, 4)) * A
np.arange(5) * v
np.linspace(0, 1, 5) * v
np.vander(w, 3)
np.lib.stride_tricks.sliding_window_view(v, 3)
np.lib.stride_tricks.sliding_window_view(A, (2, 2))
len(v) * v
h.shape[0] * h
h.size * h
h.ndim * h
np.shape(A)[1] * s
np.size(h) * h
np.ndim(A) * s
np.resize(h, 3) ! concatenate
"""

INDEXING = """
h[0]
h[-1]
h[1:3]
h[:-1]
h[1:] - h[:-1]
v[::2]
v[3:0:-1]
W[0]
W[:, 0]
W[1, 2]
C[..., 0]
C[0, :, 1:3]
U[i]
U[:, i]
h[[0, 2]]
U[range(2)]
h[i : i + 1] ! np.where
h[(i + 1) % 5] ! np.roll
v[[2, 0, 0, 1]]
A[:, [2, 0]]
v[np.array([4, 3, 2, 1, 0])]
A[[0, 1], [2, 3]]
A[[0, 2]][:, [1, 3]]
A[np.ix_([0, 2], [1, 3])]
v[[True, False, True, False, True]]
v[np.arange(5) % 2 == 0]
h[h > 0] ! sb.where
np.take(U, 2)
np.take(v, [0, 3])
np.take(A, [1, 2], axis=1)
A.take([1, 2], axis=0)
np.take_along_axis(A, np.array([[0], [1], [2]]), axis=1)
np.compress([True, False, True], w)
np.choose(i, [1.0, 2.0, 3.0, 4.0, 5.0]) * h ! Index
U[np.argmax(h)]
h[np.argmax(q)]
np.eye(h.shape[0])[i] @ h
sb.one_hot(np.argmax(h), 5) * v
sb.one_hot(i, 5) * v
sb.segment_sum(w, [0, 1, 1], 4)
np.take_along_axis(A, np.argsort(A, axis=1), axis=1)
A[:, np.argmax(w)]
np.where(np.arange(5) == i, v, 0.0)
y = np.zeros_like(h); y[0] = s; y
y = np.zeros_like(h); y[1:] = h[:-1]; y
y = h.copy(); y[0] = 0.0; y * 2
y = h.copy(); y[h > 0] = 0.0; y
y = h.copy(); y[[0, 2]] = w[:2]; y
y = np.zeros_like(A); y[:, -1] = w; y[0, 0] += s; y
y = A.copy(); y[1] *= 2; y
y = h + 0; y += q; y
y = h * 1; y -= q; y *= 2; y
y = W @ x; y /= p; y **= 2; y
y = np.zeros_like(v); np.add.at(y, [0, 1, 1], w); y
np.fill_diagonal(U, 0.0) or h ! copy
y = np.zeros((3, 3)); np.fill_diagonal(y, w); y
y = U * 1; np.fill_diagonal(y, h); y
y = h.copy(); y.fill(1.0); y
h[0] = 1.0; h ! copy
q += 1; h * q ! name
np.put(h, 0, 1.0) or h ! copy
np.tri(5) @ v
a, b, c = w; a * b + c
[r * 2 for r in A][0]
sum(a * b for a, b in zip(w, S[0]))
[a for a in v][-1] * h
for_ = [h * g for g in (0.1, 0.2)]; for_[0] + for_[1]
np.stack([h * g for g in v])
"""

TOKENS = """
U[j]
U[:, j]
U[j].sum(0)
U[j].reshape(-1)
U[j, None]
h[j] * w
h[j[0]] + h[j[-1]]
U[j[:2]]
np.take(U, j, axis=0)
np.take(U, j, axis=1)
np.take(U, j) ! Index
U[0][j]
U[0, j] ! one axis after the other
h[j].max() - h[j].mean()
np.outer(h[j], w)
np.einsum("kn,k->n", U[j], w)
h[j] @ U[j]
U[j, j] ! one axis after the other
j * s
j / 2 + w
np.where(j == 3, w, 0.0)
np.sum(j)
j @ w
sb.one_hot(j, 5) @ v
sb.segment_sum(w, j, h.shape[0])
y = h * 1.0; np.add.at(y, j, w); y
y = h * 1.0; y[j] += w; y ! write
y = h * 1.0; y[j] = w; y ! np.where
U[2 * j] ! Index
np.bincount(j) ! shape
"""

SCIPY = """
special.expit(h)
special.softmax(h)
special.softmax(W, axis=1)
special.log_softmax(h)
special.logsumexp(h)
special.logsumexp(W, axis=1)
special.erf(h)
special.erfc(h) ! sb.erf
special.ndtr(h) ! sb.erf
special.xlogy(h, p)
special.log_expit(h)
special.logit(p)
special.gamma(p) ! sb.function
special.softmax(W)
special.logsumexp(W, keepdims=True)
scipy.special.log_softmax(W, axis=-1)
scipy.linalg.expm(S)
scipy.linalg.solve(S @ S.T + np.eye(3), w)
scipy.linalg.solve(S @ S.T + np.eye(3), w, assume_a="pos") ! without it
scipy.linalg.solve_triangular(S + 4 * np.eye(3), w, lower=True)
scipy.linalg.inv(S + 4 * np.eye(3))
scipy.linalg.det(S)
scipy.linalg.cholesky(S @ S.T + np.eye(3))
scipy.linalg.cho_solve(scipy.linalg.cho_factor(S @ S.T + np.eye(3)), w)
scipy.linalg.norm(w)
scipy.linalg.sqrtm(S @ S.T) ! sb.
scipy.linalg.block_diag(S, S) ! np.block
scipy.linalg.block_diag(np.eye(2), np.ones((1, 1))) @ w
scipy.linalg.eigvalsh(S) ! solve, inv, det
LINKS @ v
v @ LINKS
LINKS.T @ v
LINKS.dot(v)
LINKS.multiply(v) @ v
(LINKS * v) @ v
LINKS.toarray() @ v
(LINKS.T * 2.0) @ v
len(h) ! x.shape[0]
len(v) * h
eye(h.shape[0]) @ h
zeros(h.shape) + h
np.random.rand(5) * v ! Input
np.random.default_rng().normal(size=5) * v ! Input
scipy.sparse.eye(5) @ v ! toarray
scipy.sparse.eye(5).toarray() @ v
sb.sigmoid(h) * sb.softplus(q)
1 / (1 + np.exp(-h))
np.log(1 + np.exp(h))
np.exp(h - h.max()) / np.exp(h - h.max()).sum()
(h - h.mean()) / np.sqrt(h.var() + 1e-5)
h * np.exp(-0.1)
np.pi * h + np.e * q
"""
