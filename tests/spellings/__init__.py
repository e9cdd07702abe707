"""The LSTM and the GRU as several people would write them, with the parameters of each made of the same numbers."""

from typing import Any

import numpy as np

import symbptt as sb
from symbptt import Input, Param, State

GATES = ("i", "f", "g", "o")
N, M = 3, 2


def finish(a: Any, c: Any) -> dict[str, Any]:
    """The state of an LSTM after its sums i, f, g, o."""
    i, f, g, o = sb.sigmoid(a[0]), sb.sigmoid(a[1]), np.tanh(a[2]), sb.sigmoid(a[3])
    c = f * c + i * g
    return {"h": o * np.tanh(c), "c": c}


@sb.cell
def lstm_plain(x: Input["m"], h: State["n"], c: State["n"], Wi: Param["n m"], Wf: Param["n m"], Wg: Param["n m"],
               Wo: Param["n m"], Ui: Param["n n"], Uf: Param["n n"], Ug: Param["n n"], Uo: Param["n n"],
               bi: Param["n"], bf: Param["n"], bg: Param["n"], bo: Param["n"]):  # fmt: skip
    gates = ((Wi, Ui, bi), (Wf, Uf, bf), (Wg, Ug, bg), (Wo, Uo, bo))
    return finish([W @ x + U @ h + b for W, U, b in gates], c)


@sb.cell
def lstm_dot(x: Input["m"], h: State["n"], c: State["n"], Wi: Param["m n"], Wf: Param["m n"], Wg: Param["m n"],
             Wo: Param["m n"], Ui: Param["n n"], Uf: Param["n n"], Ug: Param["n n"], Uo: Param["n n"],
             bi: Param["n"], bf: Param["n"], bg: Param["n"], bo: Param["n"]):  # fmt: skip
    gates = ((Wi, Ui, bi), (Wf, Uf, bf), (Wg, Ug, bg), (Wo, Uo, bo))
    return finish([np.dot(h, U) + b + np.dot(x, W) for W, U, b in gates], c)


@sb.cell
def lstm_einsum(x: Input["m"], h: State["n"], c: State["n"], Wi: Param["n m"], Wf: Param["m n"], Wg: Param["n m"],
                Wo: Param["m n"], Ui: Param["n n"], Uf: Param["n n"], Ug: Param["n n"], Uo: Param["n n"],
                bi: Param["n"], bf: Param["n"], bg: Param["n"], bo: Param["n"]):  # fmt: skip
    i = np.einsum("ij,j->i", Wi, x) + np.einsum("j,ij->i", h, Ui) + bi
    f = bf + np.einsum("ji,j->i", Wf, x) + np.einsum("k,ki->i", h, Uf)
    g = np.matmul(Wg, x) + Ug.T @ h + bg
    o = x @ Wo + bo + h @ Uo.T
    return finish([i, f, g, o], c)


@sb.cell
def lstm_joined(x: Input["m"], h: State["n"], c: State["n"], Wi: Param["n n+m"], Wf: Param["n n+m"],
                Wg: Param["n n+m"], Wo: Param["n n+m"], bi: Param["n"], bf: Param["n"], bg: Param["n"],
                bo: Param["n"]):  # fmt: skip
    v = np.concatenate([h, x])
    return finish([W @ v + b for W, b in ((Wi, bi), (Wf, bf), (Wg, bg), (Wo, bo))], c)


@sb.cell
def lstm_packed(x: Input["m"], h: State["n"], c: State["n"], W: Param["4*n m"], U: Param["4*n n"], b: Param["4*n"]):
    return finish(np.split(W @ x + U @ h + b, 4), c)


@sb.cell
def lstm_one_weight(x: Input["m"], h: State["n"], c: State["n"], W: Param["m+n 4*n"], b: Param["4*n"]):
    a = np.concatenate([x, h]) @ W + b
    n = h.shape[0]
    return finish([a[k * n : (k + 1) * n] for k in range(4)], c)


def lstm_layouts(W: Any, U: Any, b: Any) -> dict[str, dict[str, Any]]:
    """The arrays (4, n, m), (4, n, n), (4, n) of the gates as each spelling holds them."""
    names = [[f"{letter}{k}" for k in GATES] for letter in "WUb"]
    w, u, bias = (dict(zip(keys, part, strict=True)) for keys, part in zip(names, (W, U, b), strict=True))
    tw, tu = ({k: v.T for k, v in part.items()} for part in (w, u))
    some = {k: tw[k] for k in ("Wf", "Wo")} | {k: tu[k] for k in ("Uf", "Ug")}
    return {
        "lstm_plain": w | u | bias,
        "lstm_dot": tw | tu | bias,
        "lstm_einsum": w | u | bias | some,
        "lstm_joined": {k: np.hstack([v, x]) for k, v, x in zip(w, U, W, strict=True)} | bias,
        "lstm_packed": {"W": np.vstack(W), "U": np.vstack(U), "b": np.hstack(b)},
        "lstm_one_weight": {"W": np.vstack([np.vstack(W).T, np.vstack(U).T]), "b": np.hstack(b)},
    }


def blend(z: Any, h: Any, candidate: Any) -> Any:
    return (1 - z) * h + z * candidate


@sb.cell
def gru_plain(x: Input["m"], h: State["n"], Wz: Param["n m"], Wr: Param["n m"], Wc: Param["n m"], Uz: Param["n n"],
              Ur: Param["n n"], Uc: Param["n n"], bz: Param["n"], br: Param["n"], bc: Param["n"]):  # fmt: skip
    z, r = sb.sigmoid(Wz @ x + Uz @ h + bz), sb.sigmoid(Wr @ x + Ur @ h + br)
    return blend(z, h, np.tanh(Wc @ x + Uc @ (r * h) + bc))


@sb.cell
def gru_dot(x: Input["m"], h: State["n"], Wz: Param["m n"], Wr: Param["m n"], Wc: Param["m n"], Uz: Param["n n"],
            Ur: Param["n n"], Uc: Param["n n"], bz: Param["n"], br: Param["n"], bc: Param["n"]):  # fmt: skip
    z, r = sb.sigmoid(bz + np.dot(x, Wz) + np.dot(h, Uz)), sb.sigmoid(br + np.dot(x, Wr) + np.dot(h, Ur))
    return blend(z, h, np.tanh(np.dot(r * h, Uc) + np.dot(x, Wc) + bc))


@sb.cell
def gru_einsum(x: Input["m"], h: State["n"], Wz: Param["n m"], Wr: Param["m n"], Wc: Param["n m"], Uz: Param["n n"],
               Ur: Param["n n"], Uc: Param["n n"], bz: Param["n"], br: Param["n"], bc: Param["n"]):  # fmt: skip
    z = sb.sigmoid(np.einsum("ij,j->i", Wz, x) + np.einsum("j,ji->i", h, Uz) + bz)
    r = sb.sigmoid(np.einsum("j,ji->i", x, Wr) + Ur.T @ h + br)
    return blend(z, h, np.tanh(np.matmul(Wc, x) + np.einsum("ij,j->i", Uc, r * h) + bc))


@sb.cell
def gru_joined(x: Input["m"], h: State["n"], Wz: Param["n m+n"], Wr: Param["n m+n"], Wc: Param["n m+n"],
               bz: Param["n"], br: Param["n"], bc: Param["n"]):  # fmt: skip
    v = np.concatenate([x, h])
    z, r = sb.sigmoid(Wz @ v + bz), sb.sigmoid(Wr @ v + br)
    return blend(z, h, np.tanh(Wc @ np.concatenate([x, r * h]) + bc))


@sb.cell
def gru_packed(x: Input["m"], h: State["n"], W: Param["3*n m"], U: Param["2*n n"], Uc: Param["n n"], b: Param["3*n"]):
    n = h.shape[0]
    a = W @ x + b
    gates = sb.sigmoid(a[: 2 * n] + U @ h)
    z, r = gates[:n], gates[n:]
    return blend(z, h, np.tanh(a[2 * n :] + Uc @ (r * h)))


@sb.cell
def gru_one_weight(x: Input["m"], h: State["n"], W: Param["m+n 2*n"], Wc: Param["m+n n"], b: Param["2*n"],
                   bc: Param["n"]):  # fmt: skip
    z, r = np.split(sb.sigmoid(np.concatenate([x, h]) @ W + b), 2)
    return blend(z, h, np.tanh(np.concatenate([x, r * h]) @ Wc + bc))


def gru_layouts(W: Any, U: Any, b: Any) -> dict[str, dict[str, Any]]:
    """The arrays (3, n, m), (3, n, n), (3, n) of the gates as each spelling holds them."""
    names = [[f"{letter}{k}" for k in "zrc"] for letter in "WUb"]
    w, u, bias = (dict(zip(keys, part, strict=True)) for keys, part in zip(names, (W, U, b), strict=True))
    both = [np.hstack([x, v]) for x, v in zip(W, U, strict=True)]
    return {
        "gru_plain": w | u | bias,
        "gru_dot": {k: v.T for k, v in (w | u).items()} | bias,
        "gru_einsum": w | u | bias | {"Wr": W[1].T, "Uz": U[0].T, "Ur": U[1].T},
        "gru_joined": dict(zip(w, both, strict=True)) | bias,
        "gru_packed": {"W": np.vstack(W), "U": np.vstack(U[:2]), "Uc": U[2], "b": np.hstack(b)},
        "gru_one_weight": {"W": np.vstack(both[:2]).T, "Wc": both[2].T, "b": np.hstack(b[:2]), "bc": b[2]},
    }


LAYOUTS = {"lstm": lstm_layouts, "gru": gru_layouts}
ORDER = {"lstm": GATES, "gru": ("z", "r", "c")}
