"""Arrays that are changed in place: what is written is seen through every name and every view that NumPy shows it by, and through no copy."""

from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Index, Input, Param, State
from symbptt.language.array import Array
from tests.kernels import kernel_of
from tests.spellings.run import Idiom, misfit

pytestmark = pytest.mark.filterwarnings("ignore:.*never used")

BODIES = """
y = h * 1; z = y; y += q; z
y = h * 1; z = y[1:]; y[0] = s; z
y = h * 1; z = y[1:]; z += 1; y
y = h * 1; z = y[1:]; z[0] = s; y * z[0]
y = h * 1; a, b = y[:2], y[1:]; a += 1; b *= 2; y
y = h * 1; a, b = y[:2], y[1:]; a += 1; b
a, b = np.split(v * 1, [2]); a += 1.0; b *= s; np.concatenate([b, a])
y = A * 1; z = y.T; z[0] = w; y
y = A * 1; z = y.reshape(2, 6)[1]; z *= 2; y
y = A * 1; z = np.swapaxes(y, 0, 1)[None, 1:]; z -= s; y
y = C * 1; z = y[1, :, ::2]; z[0] = s; y
y = A * 1; y[1:, ::2] = 0.0; y
y = A * 1; y[-1] += y[0]; y
y = A * 1; y[1, 2] = s; y[:, 0] = w; y
y = h + 0; y[:] = q; y
y = h + 0; y[...] = 1; y
y = v * 1; y[1:-1] = y[2:] - y[:-2]; y
y = U * 1; y[i] *= 2; y[:, i] -= h; y
y = C * 1; y[1, 1:, 2] *= s; y
y = v * 1; y[::-1] = v * s; y
y = v * 1; y[3:0:-1] = w; y
y = v * 1; y[[True, False, True, False, False]] = 0.5; y
y = v * 1; y[[0, 0, 2]] = w; y
y = A * 1; y[[0, 2], [1, 1]] = 5.0; y
y = A * 1; y[:, [0, 2]] = S[:, :2]; y
y = A * 1; y[[2, 0]] = A[:2] * s; y
y = v * 1; y[i] = s; y
y = U * 1; y[i] += h; y
y = U * 1; y[:, i] = h; y
y = v * 1; y[np.argmax(v)] = 0.0; y
y = h * 1; y[y > 0] *= 2; y ! where
y = h * 1; y[y > 0] = q; y ! np.where
y = A * 1; y[w > 0] = 0.0; y
y = v * 1; f = y.ravel(); f[2] = s; y
y = A * 1; f = y.ravel(); f[2] = s; y
y = A * 1; f = y.flatten(); f[2] = s; y
y = A * 1; y.flat[1] = s; y
y = v * 1; c = y.copy(); y[0] = 9.0; c
y = v * 1; c = np.copy(y); c += 9.0; y
y = A * 1; r = np.take(y, 0, axis=0); r += 1.0; y
y = A * 1; r = y[[0]]; r += 1; y
y = A * 1; r = np.roll(y, 0); r += 1; y
y = A * 1; r = np.concatenate([y]); r += 1; y
y = A * 1; r = y[0] + 0; r += 1; y
t = np.sum(h); u = t; u += 1.0; t * h
y = h * 1; t = y[0]; t += 1.0; y
k = h > 0; k[0] = True; k * q
k = h > 0; k &= q > 0; k * q
y = h * 1; y **= 2; y /= p; y //= 1; y + h
y = h * 1; np.add(h, q, out=y); y
y = S * 1; y @= S; y
y = np.zeros_like(U); y[0] = h; y[1:] = 2 * U[:-1]; y @ h
y = np.zeros_like(v); np.add.at(y, [0, 1, 1], w); np.add.at(y, 2, s); y
y = np.zeros_like(h); np.add.at(y, [0, 1, -1], w); y
y = np.zeros_like(h); np.add.at(y, i, s); y
y = [row * 1 for row in A]; y[0] += w[0]; y[0] * y[1]
y = h * 1; h += q; y * h
y = U * 1; r = y[i]; r += h; y
y = U * 1; r = y[:, i]; y[0] = h; r
z = h; h += q; z
y = np.zeros(5); y += v; y
y = np.array([0.0, 1, 2, 3, 4]); y[0] = s; y * v
y = np.zeros((3, 3)); y[np.triu_indices(3, 1)] = w; y -= y.T; y @ w
y = np.zeros((3, 3)); z = y.T; y[0][1] = s; z[0] = w; y[0, 0] = 2; y + z[1]
y = np.eye(3); np.linalg.eigh(y + 1)[0] * y.dtype.itemsize @ w + y.copy().sum()
y = np.ones((2, 2)); k = y > 0; y[1] = y[0] * s; y[k & (y > 0.5)] = 0; y
y = np.zeros(5); y[[1, 3, 4]] += w; z = np.zeros_like(y); z[range(2)] = y[[3, 4]]; z
y = np.zeros((2, 3)); f = y.reshape(6); g = np.ravel(y); y[0] = w; f[4] = s; f + g
y = np.zeros((2, 3)); f = np.flip(y)[0]; g = np.reshape(y, 6, order="F"); y[1] = w; f[0] = s; f @ y.T + g[:2]
y = np.zeros((3, 3)); f = np.squeeze(y[None]).T.flat; y[0] = w; f[3] = s; f
y = np.zeros((3, 3)); f = np.diagonal(y); z = np.asarray(y); z[0] = w; f + y.real[0]
y = np.zeros((3, 3)); f = np.array(y); g = np.array([y, y])[1]; y[0] = w; f + g
y = np.zeros((3, 3)); z = y[:2, :2]; np.fill_diagonal(z, w[:2]); y.T[2, 0] = s; y
y = np.zeros(3); f = y[::-1]; y[2] = 7.0; a = f * w; y[0] = s; a + f
y = S * 1; d = np.einsum("ii->i", y); y[0] = w; d
y = S * 1; d = np.einsum("ii->i", y); d += 1.0; y ! np.fill_diagonal
y = h * 1; c, d = y.conj(), np.conj(y); y[0] = s; c * h + d
y = S * 1; d, f, z = np.diagonal(y), np.broadcast_to(y[0], (3, 3)), y.real; z[0] = w; d + f
y = h * 1; a, b, c = np.tile(y, 2), np.repeat(y, 2), np.meshgrid(y, q)[0]; y[0] = s; b[0] = s; a + b + c.sum()
y = h * 1; z = np.asarray(y, dtype=float); z[0] = s; y
y = h * 1; a, b = copy.copy(y), copy.deepcopy([y]); y[0] = s; b[0][1] = s; a + b[0]
y = np.zeros(3); a, b = copy.copy(y), copy.deepcopy([y]); y[0] = s; b[0][1] = s; a + b[0]
""".strip().splitlines()
REFUSED = {
    "h[0] = 1.0; h": "h = h.copy()",
    "z = h[1:]; z[0] = 1.0; z": "h = h.copy()",
    "q += 1; q": "name of its own",
    "r = U[0]; r += h; r": "U = U.copy()",
    "r = U[i]; r += h; r": "U = U.copy()",
    "U.T[0] = h; U": "U = U.copy()",
    "y = h * 1; y += U; y": "a = a + b",
    "y = h > 0; y += q; y": "array of numbers",
    "y = np.zeros_like(i); y[...] = s; y * h": "array of numbers",
    "y = h > 0; y[0] = 0.5; y * h": "array of numbers",
    "y = v * 1; y[5] = 0.0; y": "certain",
    "y = v * 1; y[[0, 7]] = 0.0; y": "axis of size",
    "y = v * 1; y[:2] = w; y": "check the shapes",
    "y = np.zeros((2, 3)); f = np.split(y, 2); y[0] = w; f[0] + w": "take the view behind",
    "y = h * 1; z = np.broadcast_to(y, (2, *y.shape)); z[0] = q; y": "y.copy()",
    "y = np.zeros(3); w + sb.repeat(lambda z: z + np.add(y, 1.0, out=y), w, 2)": "read-only",
    **{
        f"y = {made}; w * sb.{body}": "make the array in the body"
        for made in ("np.zeros(3)", "w * 1", "np.zeros((2, 3))[0]")
        for body in (
            "repeat(lambda z: [y.__iadd__(1.0), z + y][1], w, 2)",
            "fixed_point(lambda z: [y.__setitem__(0, z[0] / 2), z / 2 + y][1], w)",
            "grad(lambda z: [y.__setitem__(0, z[0]), np.sum(y * z)][1])(w)",
        )
    },
}


def idiom(line: str) -> Idiom:
    return Idiom(*f"{line} ! ".split(" ! ")[:2])


@pytest.mark.parametrize("line", BODIES)
@pytest.mark.thinned(11)
def test_change_is_seen_where_numpy_shows_it(line: str) -> None:
    if idiom(line).cure:
        with pytest.raises(sb.CellError, match=idiom(line).cure):
            misfit(idiom(line))
    else:
        assert misfit(idiom(line)) == ""


@pytest.mark.parametrize("line", REFUSED)
@pytest.mark.thinned(5)
def test_change_that_lasts_or_does_not_fit_is_refused(line: str) -> None:
    with pytest.raises(sb.CellError) as caught:
        misfit(Idiom(line, ""))
    assert REFUSED[line] in str(caught.value)
    assert "at <string>" in str(caught.value)


def test_planted_alias_that_keeps_its_old_value_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted mistake: a change that the array of which it is a view does not show."""
    monkeypatch.setattr(Array, "become", lambda self, id: setattr(self, "_id", id))
    assert misfit(idiom("y = h * 1; z = y[1:]; z += 1; y")) != ""


@sb.cell
def shifted(x: Input["m"], i: Index["4"], h: State["n"], S: State["4 n"], W: Param["n m"], E: Param["4 n"]):
    """A queue, a table that is written, and gates that are views of one array."""
    a = np.concatenate([W @ x, h])
    u, v = np.split(a, 2)
    u += v
    v *= 0.5
    S = S.copy()
    S[1:] = S[:-1]
    S[0] = u
    S[i] += E[i]
    return {"h": np.tanh(u + S[2]), "S": np.tanh(S), "y": a}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("sizes", [{"m": 2, "n": 3}, {"m": 1, "n": 1}])
def test_module_with_changed_arrays_is_the_users_function(sizes: dict[str, int], dtype: Any) -> None:
    random = np.random.default_rng(0)
    params = {k: v.astype(dtype) for k, v in shifted.init(sizes, 0).items()}
    x, i = random.standard_normal((5, 2, sizes["m"])).astype(dtype), random.integers(0, 4, (5, 2))
    run = kernel_of(shifted).forward(params, {"x": x, "i": i})
    for b in range(2):
        h, S = np.zeros(sizes["n"], dtype), np.zeros((4, sizes["n"]), dtype)
        for t in range(5):
            made = shifted(x[t, b], i[t, b], h, S, **params)
            h, S = made["h"], made["S"]
            np.testing.assert_allclose(run.states["S"][t, b], S, rtol=1e-5 if dtype == np.float32 else 1e-12, atol=1e-7)
            np.testing.assert_allclose(
                run.outputs["y"][t, b], made["y"], rtol=1e-5 if dtype == np.float32 else 1e-12, atol=1e-7
            )


def test_changed_arrays_are_verified() -> None:
    report = sb.verify(shifted)
    assert report.passed, str(report)
