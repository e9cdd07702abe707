"""Backward passes written by hand, as people write them, of cells that are not in the zoo; each with mistakes that can be put in by name.

The mistakes are made in the text of the backward pass itself: nothing here knows how symbptt looks for them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

import symbptt as sb
from symbptt import Index, Input, Param, State


@sb.cell
def elman(
    x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"], V: Param["k n"], d: Param["k"]
):
    a = W @ x + U @ h + b
    h2 = np.tanh(a)
    return {"h": h2, "y": V @ h2 + d}


def elman_backward(params: Any, inputs: Any, state: Any, cotangents: Any, wrong: str = "") -> dict[str, Any]:
    W, U, b, V, d = (params[k] for k in ("W", "U", "b", "V", "d"))
    x, h0 = inputs["x"], state["h"]
    T, B = x.shape[:2]
    dy, dh_out = cotangents.get("y"), cotangents.get("h")
    dy = np.zeros((T, B, len(d))) if dy is None else dy
    dh_out = np.zeros((T, B, len(b))) if dh_out is None else dh_out
    if dh_out.ndim == 2:
        full = np.zeros((T, B, len(b)))
        if T:
            full[-1] = dh_out
        start = dh_out if not T else np.zeros_like(h0)
        dh_out = full
    else:
        start = np.zeros_like(h0)
    hs, pre = [h0], []
    for t in range(T):
        pre.append(x[t] @ W.T + hs[-1] @ U.T + b)
        hs.append(np.tanh(pre[-1]))
    g = {k: np.zeros_like(v) for k, v in params.items()}
    dx, dh = np.zeros_like(x), start
    das = np.zeros((T, B, len(b)))
    first = 1 if wrong == "loop leaves out the first step" else 0
    last = T - 1 if wrong == "loop leaves out the last step" else T
    for t in reversed(range(first, last)):
        h, h_prev = hs[t + 1], hs[t]
        if wrong == "cut after 2 steps" and (T - t) > 2:
            break
        if wrong == "chunks of 2" and (t + 1) % 2 == 0:
            dh = np.zeros_like(dh)
        if wrong == "carry missing":
            dh = np.zeros_like(dh)
        dy_t = dy[t]
        if wrong == "output missing":
            dy_t = 0 * dy_t
        out = dh_out[t]
        if wrong == "only last cotangent" and t != T - 1:
            out, dy_t = 0 * out, 0 * dy_t
        if wrong == "cotangent one step late":
            out = dh_out[t + 1] if t + 1 < T else 0 * out
        if wrong == "cotangent from the front":
            out = dh_out[t - 1]
        if wrong == "direct cotangent missing":
            out = 0 * out
        if wrong == "direct cotangent twice":
            out = 2 * out
        dh_t = dh + out + (dy_t @ V if wrong != "sign of V" else -dy_t @ V)
        if wrong == "clip total value":
            dh_t = np.clip(dh_t, -0.5, 0.5)
        if wrong == "h for h squared":
            da = dh_t * (1 - h)
        elif wrong == "no slope":
            da = dh_t
        elif wrong == "slope at the value":
            da = dh_t * (1 - np.tanh(h) ** 2)
        elif wrong == "slope at the argument":
            da = dh_t * (1 - pre[t] ** 2)
        elif wrong == "slope of sigmoid":
            da = dh_t * h * (1 - h)
        else:
            da = dh_t * (1 - h**2)
        das[t] = da
        if not (wrong == "no last step in dU" and t == T - 1) and not (wrong == "no first step in dU" and t == 0):
            used = h if wrong == "dU reads the next state" else h_prev
            if wrong == "dU reads two before":
                used = hs[t - 1]
            if wrong == "dU begins with zeros" and t == 0:
                used = 0 * h_prev
            if wrong == "dU begins with the last" and t == 0:
                used = hs[-1]
            add = da.T @ used
            if wrong == "dU last sample":
                add = np.outer(da[-1], used[-1])
            if wrong == "dU first sample":
                add = np.outer(da[0], used[0])
            g["U"] += add
        if wrong == "dW overwritten":
            g["W"] = da.T @ x[t]
        elif wrong == "dW reads the next input":
            g["W"] += da.T @ x[min(t + 1, T - 1)]
        else:
            g["W"] += da.T @ x[t]
        g["b"] += da.mean(0) if wrong == "db is a mean" else da.sum(0)
        g["V"] += dy_t.T @ (h_prev if wrong == "dV reads the state before" else h)
        g["d"] += dy_t.sum(0)
        dx[t] = da @ W
        dh = da @ U.T if wrong == "U transposed" else da @ U
        if wrong == "carry has the wrong sign":
            dh = -dh
        if wrong == "carry twice":
            dh = 2 * dh
        if wrong == "chunks from the last" and (T - t) % 2 == 0:
            dh = 0 * dh
        if wrong == "clip carry value":
            dh = np.clip(dh, -0.25, 0.25)
        if wrong == "clip carry norm":
            norm = np.linalg.norm(dh, axis=1, keepdims=True)
            dh = dh * np.minimum(1, 0.3 / norm)
    if wrong == "dU transposed":
        g["U"] = g["U"].T
    if wrong == "dU sign":
        g["U"] = -g["U"]
    if wrong == "dW twice":
        g["W"] = 2 * g["W"]
    if wrong == "dh0 missing":
        dh = 0 * dh
    if wrong == "db not summed":
        g["b"] = das.sum(0)
    if wrong == "db not summed over steps":
        g["b"] = das.sum(1)
    if wrong == "dh0 summed over the batch":
        dh = dh.sum(0)
    result = {**g, "x": dx, "h": dh}
    if wrong == "divided by B":
        result = {k: v / B for k, v in result.items()}
    if wrong == "parameters divided by B":
        result |= {k: v / B for k, v in g.items()}
    if wrong == "divided by T":
        result = {k: v / max(T, 1) for k, v in result.items()}
    if wrong == "parameters divided by T B":
        result |= {k: v / (max(T, 1) * B) for k, v in g.items()}
    if wrong == "dU times B":
        result["U"] = result["U"] * B
    if wrong == "clip all by value":
        result = {k: np.clip(v, -0.4, 0.4) for k, v in result.items()}
    if wrong == "clip parameters by joint norm":
        norm = np.sqrt(sum(np.sum(v**2) for v in g.values()))
        result |= {k: v * min(1.0, 1.0 / norm) if norm else v for k, v in g.items()}
    if wrong == "clip each by norm":
        result = {k: v * min(1.0, 1.0 / np.linalg.norm(v)) if np.any(v) else v for k, v in result.items()}
    if wrong == "a number more":
        result["b"] = result["b"] + 0.01
    if wrong == "dx as a list":
        result["x"] = list(dx)
    if wrong == "NaN":
        result["U"] = result["U"] * np.nan
    return result


@sb.cell
def leaky_gate(
    x: Input["m"],
    h: State["n"],
    Wu: Param["n m"],
    Uu: Param["n n"],
    bu: Param["n"],
    Wg: Param["n m"],
    Ug: Param["n n"],
    bg: Param["n"],
):
    u = sb.sigmoid(Wu @ x + Uu @ h + bu)
    r = Ug @ h
    g = np.tanh(Wg @ x + u * r + bg)
    return h + u * (g - h)


def leaky_gate_backward(params: Any, inputs: Any, state: Any, cotangents: Any, wrong: str = "") -> dict[str, Any]:
    x, dh_out = inputs["x"], cotangents["h"]
    T, B = x.shape[:2]
    p = params
    hs, saved = [state["h"]], []
    for t in range(T):
        h = hs[-1]
        u = 1 / (1 + np.exp(-(x[t] @ p["Wu"].T + h @ p["Uu"].T + p["bu"])))
        r = h @ p["Ug"].T
        g = np.tanh(x[t] @ p["Wg"].T + u * r + p["bg"])
        saved.append((u, r, g))
        hs.append(h + u * (g - h))
    grads = {k: np.zeros_like(v) for k, v in p.items()}
    dx, dh = np.zeros_like(x), np.zeros_like(state["h"])
    if dh_out.ndim == 2:
        dh_out = np.concatenate([np.zeros((max(T - 1, 0), *dh_out.shape)), dh_out[None]])[:T] if T else dh_out
        dh = cotangents["h"] if not T else dh
    for t in reversed(range(T)):
        u, r, g = saved[t]
        h_prev = hs[t]
        dh = dh + dh_out[t]
        dg = dh * u
        du = dh * (g - h_prev)
        if wrong == "sign in du":
            du = dh * (g + h_prev)
        if wrong == "h forgotten in du":
            du = dh * g
        dag = dg * (1 - g * g)
        if wrong == "no slope of tanh":
            dag = dg
        if wrong != "r path of du missing":
            du = du + dag * r
        if wrong == "r path of du twice":
            du = du + dag * r
        dau = du * u * (1 - u)
        if wrong == "no u in slope":
            dau = du * (1 - u)
        dr = dag * (g if wrong == "dr reads g" else u)
        if wrong == "u of the next step" and t + 1 < T:
            dr = dag * saved[t + 1][0]
        grads["Wu"] += dau.T @ x[t]
        grads["Uu"] += dau.T @ h_prev
        grads["bu"] += dau.sum(0)
        grads["Wg"] += dag.T @ x[t]
        grads["Ug"] += dr.T @ h_prev
        grads["bg"] += dag.sum(0)
        dx[t] = dau @ p["Wu"] + (0 if wrong == "path to x missing" else dag @ p["Wg"])
        new = dh * (1 - u)
        if wrong == "leak path missing":
            new = 0 * dh
        if wrong == "leak forgets u":
            new = dh
        if wrong != "path through u missing":
            new = new + dau @ p["Uu"]
        new = new + dr @ (p["Ug"].T if wrong == "Ug transposed" else p["Ug"])
        if wrong == "two mistakes":
            new = new + dag @ p["Ug"] * 0
        dh = new
    if wrong == "two mistakes of sums":
        grads["bu"] = grads["bu"] / B
        grads["Wg"] = -grads["Wg"]
    return {**grads, "x": dx, "h": dh}


@sb.cell
def two_states(
    x: Input["m"],
    c: State["n"],
    h: State["n"],
    A: Param["n m"],
    U: Param["n n"],
    O: Param["n m"],
    a: Param["n"],
    p: Param["n"],
):
    z = np.tanh(A @ x + U @ h)
    c2 = a * c + z
    o = sb.sigmoid(O @ x + p * c2)
    return c2, o * c2


def two_states_backward(params: Any, inputs: Any, state: Any, cotangents: Any, wrong: str = "") -> dict[str, Any]:
    x = inputs["x"]
    T = len(x)
    q = params

    def each(name: str) -> Any:
        sent = cotangents.get(name, np.zeros_like(state[name]))
        if sent.ndim > 2:
            return sent
        full = np.zeros((T, *sent.shape))
        if T:
            full[-1] = sent
        return full

    dc_out, dh_out = each("c"), each("h")
    cs, hs, saved = [state["c"]], [state["h"]], []
    for t in range(T):
        z = np.tanh(x[t] @ q["A"].T + hs[-1] @ q["U"].T)
        c = q["a"] * cs[-1] + z
        o = 1 / (1 + np.exp(-(x[t] @ q["O"].T + q["p"] * c)))
        cs.append(c)
        hs.append(o * c)
        saved.append((z, o))
    g = {k: np.zeros_like(v) for k, v in q.items()}
    dx = np.zeros_like(x)
    start = {
        k: cotangents[k] if not T and k in cotangents and cotangents[k].ndim == 2 else np.zeros_like(v)
        for k, v in state.items()
    }
    dc, dh = start["c"], start["h"]
    for t in reversed(range(T)):
        z, o = saved[t]
        c, c_prev = cs[t + 1], cs[t]
        dh = dh + dh_out[t]
        dc = dc + (0 if wrong == "dc not read" else dc_out[t])
        dao = dh * c * o * (1 - o)
        if wrong != "path through o c missing":
            dc = dc + dh * o
        if wrong != "peephole path missing":
            dc = dc + dao * q["p"]
        g["O"] += dao.T @ x[t]
        g["p"] += (dao * (c_prev if wrong == "peephole reads the cell before" else c)).sum(0)
        daz = dc * (1 - z * z)
        g["A"] += daz.T @ x[t]
        g["U"] += daz.T @ hs[t]
        g["a"] += (dc * (c if wrong == "da reads c after" else c_prev)).sum(0)
        dx[t] = daz @ q["A"] + dao @ q["O"]
        dh = daz @ q["U"]
        dc = dc * (1 if wrong == "a forgotten in the carry" else q["a"])
        if wrong == "carry of h missing" or (wrong == "h cut after 3 steps" and T - t >= 3):
            dh = 0 * dh
        if wrong == "carry of c missing":
            dc = 0 * dc
    return {**g, "x": dx, "c": dc, "h": dh}


@sb.cell
def slots(
    x: Input["m"], M: State["s d"], Q: Param["d m"], K: Param["d m"], E: Param["s m"], f: Param[""], V: Param["k d"]
):
    q = Q @ x
    w = sb.softmax(M @ q)
    r = w @ M
    e = sb.sigmoid(E @ x)
    return {"M": f * M + np.outer(e * w, K @ x), "y": V @ r}


def slots_backward(params: Any, inputs: Any, state: Any, cotangents: Any, wrong: str = "") -> dict[str, Any]:
    x = inputs["x"]
    T, B = x.shape[:2]
    p = params
    s, d = state["M"].shape[1:]
    dM_out = cotangents.get("M", np.zeros((T, B, s, d)))
    start = np.zeros((B, s, d))
    if dM_out.ndim == 3:
        full = np.zeros((T, B, s, d))
        if T:
            full[-1] = dM_out
        start = dM_out if not T else start
        dM_out = full
    dy = cotangents.get("y", np.zeros((T, B, len(p["V"]))))
    Ms, saved = [state["M"]], []
    for t in range(T):
        M = Ms[-1]
        q = x[t] @ p["Q"].T
        a = np.einsum("bsd,bd->bs", M, q)
        w = np.exp(a - a.max(1, keepdims=True))
        w /= w.sum(1, keepdims=True)
        r = np.einsum("bs,bsd->bd", w, M)
        e = 1 / (1 + np.exp(-x[t] @ p["E"].T))
        k = x[t] @ p["K"].T
        Ms.append(p["f"] * M + np.einsum("bs,bd->bsd", e * w, k))
        saved.append((q, w, r, e, k))
    g = {name: np.zeros_like(v) for name, v in p.items()}
    dx, dM = np.zeros_like(x), start
    for t in reversed(range(T)):
        M, (q, w, r, e, k) = Ms[t], saved[t]
        dM = dM + dM_out[t]
        g["f"] = g["f"] + np.sum(dM * M)
        dew = np.einsum("bsd,bd->bs", dM, k)
        dk = np.einsum("bsd,bs->bd", dM, e * w)
        dw, de = dew * e, dew * w
        g["V"] += dy[t].T @ r
        dr = dy[t] @ p["V"]
        if wrong != "path of the read to w missing":
            dw = dw + np.einsum("bd,bsd->bs", dr, M)
        inner = 0 if wrong == "softmax without its sum" else np.sum(dw * w, 1, keepdims=True)
        da = w * (dw - inner)
        if wrong == "softmax as identity":
            da = dw
        dae = de * e * (1 - e)
        if wrong == "no slope of e":
            dae = de
        dq = np.einsum("bs,bsd->bd", da, M)
        new = (1 if wrong == "f forgotten" else p["f"]) * dM
        if wrong != "path of the read missing":
            new = new + np.einsum("bs,bd->bsd", w, dr)
        if wrong != "path of the scores missing":
            new = new + np.einsum("bs,bd->bsd", da, q)
        g["Q"] += dq.T @ x[t]
        g["K"] += dk.T @ x[t]
        g["E"] += dae.T @ x[t]
        dx[t] = dq @ p["Q"] + dk @ p["K"] + dae @ p["E"]
        dM = new
    return {**g, "x": dx, "M": dM}


@sb.cell
def tokens(i: Index["s"], h: State["n"], E: Param["s n"], U: Param["n n"], V: Param["k n"]):
    """Rows of a table, a softmax that is an output."""
    h2 = sb.relu(E[i] + U @ h)
    return {"h": h2, "p": sb.softmax(V @ h2)}


def tokens_backward(params: Any, inputs: Any, state: Any, cotangents: Any, wrong: str = "") -> dict[str, Any]:
    i, E, U, V = inputs["i"], params["E"], params["U"], params["V"]
    T, B = i.shape
    hs, ps = [state["h"]], []
    for t in range(T):
        hs.append(np.maximum(E[i[t]] + hs[-1] @ U.T, 0))
        e = np.exp(hs[-1] @ V.T)
        ps.append(e / e.sum(1, keepdims=True))
    sent = {}
    for name, shape in (("h", (T, B, len(U))), ("p", (T, B, len(V)))):
        sent[name] = np.zeros(shape)
        given = cotangents.get(name, sent[name])
        if T:
            sent[name][-1 if given.ndim == 2 else slice(None)] = given
    g = {k: np.zeros_like(v) for k, v in params.items()}
    dh = (
        cotangents["h"]
        if not T and cotangents.get("h", i).ndim == 2 and "h" in cotangents
        else np.zeros_like(state["h"])
    )
    for t in reversed(range(T)):
        p, dp = ps[t], sent["p"][t]
        dl = p * (1 - p) * dp if wrong == "softmax by its diagonal" else p * (dp - (p * dp).sum(1, keepdims=True))
        g["V"] += dl.T @ hs[t + 1]
        dh = dh + sent["h"][t] + dl @ V
        da = dh * (hs[t + 1] > 0)
        if wrong == "rows are added once":
            g["E"][i[t]] += da
        elif wrong == "rows are assigned":
            g["E"][i[t]] = da
        else:
            np.add.at(g["E"], i[t], da)
        g["U"] += (dh if wrong == "dU before the slope" else da).T @ hs[t]
        dh = da @ U
        if wrong == "chunks without a start" and t % 2 == 0:
            dh = 0 * dh
        if wrong == "cut after 3 steps" and T - t == 3:
            break
    return {**g, "h": dh}


@sb.cell
def bounded(x: Input["m"], h: State["n"], s: State["n"], W: Param["n m"], U: Param["n n"], k: Param):
    """A product that has no name, a clip, a number for all entries, a gate between two states."""
    g = sb.sigmoid(W @ x + s)
    h2 = np.clip(U @ (g * h) + k * s, -0.9, 0.9)
    return h2, (1 - g) * s + g * h2


def bounded_backward(params: Any, inputs: Any, state: Any, cotangents: Any, wrong: str = "") -> dict[str, Any]:
    x, W, U, k = inputs["x"], params["W"], params["U"], params["k"]
    T, B = x.shape[:2]
    n = len(U)
    sent, start = {}, {}
    for name, like in state.items():
        given = cotangents.get(name, np.zeros((T, B, n)))
        start[name] = given if given.ndim == 2 and not T else np.zeros_like(like)
        sent[name] = given if given.ndim == 3 else np.concatenate([np.zeros((max(T - 1, 0), B, n)), given[None]])[:T]
    hs, ss, saved = [state["h"]], [state["s"]], []
    for t in range(T):
        g = 1 / (1 + np.exp(-(x[t] @ W.T + ss[-1])))
        a = (g * hs[-1]) @ U.T + k * ss[-1]
        saved.append((g, a))
        hs.append(np.clip(a, -0.9, 0.9))
        ss.append((1 - g) * ss[-1] + g * hs[-1])
    grads = {name: np.zeros_like(np.asarray(v)) for name, v in params.items()}
    dx, dh, ds = np.zeros_like(x), start["h"], start["s"]
    for t in reversed(range(T)):
        g, a = saved[t]
        ds = ds + sent["s"][t]
        dh = dh + sent["h"][t] + ds * (1 - g if wrong == "other share" else g)
        slope = np.abs(saved[t - 1][1] if wrong == "clip of the step before" else a) < 0.9
        da = dh if wrong == "no slope of clip" else dh * slope
        grads["U"] += da.T @ (g * hs[t + 1 if wrong == "dU reads the next state" else t])
        dk = da * ss[t]
        grads["k"] = grads["k"] + (dk.mean() if wrong == "dk is a mean over all" else dk.sum())
        dgh = da @ U
        dg = ds * (hs[t + 1] - ss[t]) + (0 if wrong == "path through the gate missing" else dgh * hs[t])
        daz = dg if wrong == "no slope of the gate" else dg * g * (1 - g)
        grads["W"] += daz.T @ x[t]
        dx[t] = daz @ W
        dh, ds = dgh * g, ds * (1 - g) + k * da + daz
    if wrong == "states exchanged":
        dh, ds = ds, dh
    return {**grads, "x": dx, "h": dh, "s": ds}


class Several(str):
    """Several mistakes in the place of one: equal to the name of each."""

    def __new__(cls, *names: str) -> "Several":
        made = super().__new__(cls, " and ".join(names))
        made.names = names
        return made

    names: tuple[str, ...]

    def __eq__(self, other: object) -> bool:
        return other in self.names

    def __ne__(self, other: object) -> bool:
        return other not in self.names

    __hash__ = str.__hash__


def with_mistake(backward: Callable[..., Any], wrong: str) -> Callable[..., Any]:
    """The backward pass with one of its mistakes."""
    return lambda params, inputs, state, cotangents: backward(params, inputs, state, cotangents, wrong)
