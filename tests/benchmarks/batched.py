"""The eight cells as a user of torch or JAX writes them: over a batch, samples first, `np` being torch or jax.numpy.

Each takes (np, s, x, p): the namespace, the states by name (B, ...), the input (B, m), the parameters by name. They
return the next states by name. `peers.check` compares them with the cells of `cells.py` before anything is timed.
"""

from typing import Any


def rnn(np: Any, s: Any, x: Any, p: Any) -> Any:
    return {"h": np.tanh(x @ p["W"].T + s["h"] @ p["U"].T + p["b"])}


def lstm(np: Any, s: Any, x: Any, p: Any) -> Any:
    i = np.sigmoid(x @ p["Wi"].T + s["h"] @ p["Ui"].T + p["bi"])
    f = np.sigmoid(x @ p["Wf"].T + s["h"] @ p["Uf"].T + p["bf"])
    g = np.tanh(x @ p["Wg"].T + s["h"] @ p["Ug"].T + p["bg"])
    o = np.sigmoid(x @ p["Wo"].T + s["h"] @ p["Uo"].T + p["bo"])
    c = f * s["c"] + i * g
    return {"h": o * np.tanh(c), "c": c}


def gru(np: Any, s: Any, x: Any, p: Any) -> Any:
    r = np.sigmoid(x @ p["Wr"].T + s["h"] @ p["Ur"].T + p["br"])
    z = np.sigmoid(x @ p["Wz"].T + s["h"] @ p["Uz"].T + p["bz"])
    n = np.tanh(x @ p["Wn"].T + p["bn"] + r * (s["h"] @ p["Un"].T + p["cn"]))
    return {"h": (1 - z) * n + z * s["h"]}


def packed(np: Any, s: Any, x: Any, p: Any) -> Any:
    n = s["h"].shape[-1]
    a, u = x @ p["W"].T + p["b"], s["h"] @ p["U"].T
    z = np.sigmoid(a[:, :n] + u[:, :n])
    r = np.sigmoid(a[:, n : 2 * n] + u[:, n : 2 * n])
    c = np.tanh(a[:, 2 * n :] + r * u[:, 2 * n :])
    return {"h": z * s["h"] + (1 - z) * c}


def joined(np: Any, s: Any, x: Any, p: Any) -> Any:
    v = np.concatenate([s["h"], x], -1)
    f = np.sigmoid(v @ p["Wf"].T + p["bf"])
    g = np.tanh(v @ p["Wg"].T + p["bg"])
    o = np.sigmoid(v @ p["Wo"].T + p["bo"])
    c = f * s["c"] + (1 - f) * g
    return {"h": o * np.tanh(c), "c": c}


def normed(np: Any, s: Any, x: Any, p: Any) -> Any:
    f = np.sigmoid(p["sf"] * np.layer_norm(x @ p["Wf"].T + s["h"] @ p["Uf"].T) + p["bf"])
    c = np.tanh(x @ p["Wc"].T + (f * s["h"]) @ p["Uc"].T + p["bc"])
    return {"h": (1 - f) * s["h"] + f * c}


def heads(np: Any, s: Any, x: Any, p: Any) -> Any:
    B, a = s["S"].shape[:2]
    q = (x @ p["Wq"].T).reshape(B, a, 16)
    k = np.tanh(x @ p["Wk"].T).reshape(B, a, 16)
    v = (x @ p["Wv"].T + s["h"] @ p["Uv"].T).reshape(B, a, 16)
    d = np.sigmoid(x @ p["Wd"].T + p["bd"])
    S = d[:, :, None, None] * s["S"] + np.einsum("Bai,Baj->Baij", v, k)
    return {"S": S, "h": np.tanh(np.einsum("Baij,Baj->Bai", S, q).reshape(B, 16 * a))}


def diagonal(np: Any, s: Any, x: Any, p: Any) -> Any:
    a = np.exp(-np.softplus(p["rate"]) * np.sigmoid(x @ p["Wa"].T + p["ba"]))
    v = np.sigmoid(x @ p["Wi"].T) * (x @ p["Wv"].T)
    return {"h": a * s["h"] + np.sqrt(1 - a * a) * v}


BATCHED = {f.__name__: f for f in (rnn, lstm, gru, packed, joined, normed, heads, diagonal)}
