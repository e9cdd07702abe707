"""Backpropagation through time for the cell gru, written by symbptt 0.1.0.

The gated recurrent unit: two gates and one state, the usual alternative to the LSTM.

Source: Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder for statistical machine
translation", equations 5 to 8; the reset after the product and the exchanged roles of z and 1 - z are
torch.nn.GRU's, which adds two biases in r and z (here one) and keeps two in n (here bn and cn).

Shapes
  x        input  (m,)
  h        state  (n,)
  Wr       param  (n, m)
  Ur       param  (n, n)
  br       param  (n,)
  Wz       param  (n, m)
  Uz       param  (n, n)
  bz       param  (n,)
  Wn       param  (n, m)
  Un       param  (n, n)
  bn       param  (n,)
  cn       param  (n,)

Forward, t = 1, …, T
  r_t = σ(Wr x_t + Ur h_{t-1} + br)
  z_t = σ(Wz x_t + Uz h_{t-1} + bz)
  n_t = tanh(Wn x_t + bn + r_t ⊙ (Un h_{t-1} + cn))
  h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_{t-1}

Backward, t = T, …, 1
  dz_t     = dh_t ⊙ (h_{t-1} - n_t)
  dn_t     = dh_t ⊙ (1 - z_t)
  da_{n,t} = dn_t ⊙ (1 - n_t²)
  dr_t     = da_{n,t} ⊙ (Un h_{t-1} + cn)
  da_{z,t} = dz_t ⊙ z_t ⊙ (1 - z_t)
  da_{r,t} = dr_t ⊙ r_t ⊙ (1 - r_t)
  dh_{t-1} = dL/dh_{t-1} + Urᵀ da_{r,t} + Uzᵀ da_{z,t} + Unᵀ (da_{n,t} ⊙ r_t) + dh_t ⊙ z_t

Gradients of the parameters
  dWr = Σ_t da_{r,t} x_tᵀ
  dUr = Σ_t da_{r,t} h_{t-1}ᵀ
  dbr = Σ_t da_{r,t}
  dWz = Σ_t da_{z,t} x_tᵀ
  dUz = Σ_t da_{z,t} h_{t-1}ᵀ
  dbz = Σ_t da_{z,t}
  dWn = Σ_t da_{n,t} x_tᵀ
  dUn = Σ_t (da_{n,t} ⊙ r_t) h_{t-1}ᵀ
  dbn = Σ_t da_{n,t}
  dcn = Σ_t da_{n,t} ⊙ r_t

Gradients of the inputs
  dx_t = Wrᵀ da_{r,t} + Wzᵀ da_{z,t} + Wnᵀ da_{n,t}
"""

# made of {"cell": "gru", "digest": "183572bec026a7ff"}
# certificate: not verified: symbptt verify FILE compares this file with its cell, python FILE --selfcheck with itself

# mypy: ignore-errors
# pyright: basic
# pyright: reportArgumentType=false
# pyright: reportAssignmentType=false
# pyright: reportCallIssue=false
# pyright: reportGeneralTypeIssues=false
# pyright: reportOptionalCall=false
# pyright: reportOptionalMemberAccess=false
# pyright: reportOptionalSubscript=false

from __future__ import annotations

import numpy as np

PARAMS = ("Wr", "Ur", "br", "Wz", "Uz", "bz", "Wn", "Un", "bn", "cn")
INPUTS = ("x",)
CONTEXTS = ()
STATES = ("h",)
TARGETS = ()
ARGUMENTS = ("x", "h", "Wr", "Ur", "br", "Wz", "Uz", "bz", "Wn", "Un", "bn", "cn")
LEAD = {"x": 2, "h": 1}
SHAPES = {"x": "m", "h": "n", "Wr": "n m", "Ur": "n n", "br": "n", "Wz": "n m", "Uz": "n n", "bz": "n", "Wn": "n m",
    "Un": "n n", "bn": "n", "cn": "n"}
INDICES = {}
FIRST = {"Wr": "uniform", "Ur": "orthogonal", "br": 0.0, "Wz": "uniform", "Uz": "orthogonal", "bz": 0.0,
    "Wn": "uniform", "Un": "orthogonal", "bn": 0.0, "cn": 0.0}


def _sizes(of):
    """Return the named sizes, each read from an argument and an axis."""
    n = of("Wr", 0)
    m = of("Wr", 1)
    return {"m": m, "n": n}


def _shapes(m, n):
    """Return the shape of every argument of one sample and step."""
    return {"x": (m,), "h": (n,), "Wr": (n, m), "Ur": (n, n), "br": (n,), "Wz": (n, m), "Uz": (n, n), "bz": (n,),
        "Wn": (n, m), "Un": (n, n), "bn": (n,), "cn": (n,)}


ACCURATE = 3  # remainders of functions near one that are computed again from their arguments
FIXED = ()  # arguments without a gradient
DECLARED = ()  # functions whose derivative is declared, which no forward pass shows
SHOWN = ("h",)  # states that nothing reaches through one of these in a step
HELD = 2**28  # bytes at most of arrays that are kept for the next call

MARK = 'gru 70dbd221'


def _forward(a, start, sizes, T, B, dtype, active, reset, ws):
    x, h_0, Wr, Ur, br, Wz, Uz, bz, Wn, Un, bn, cn = (a[k] for k in ARGUMENTS)
    m, n = (sizes[k] for k in ("m", "n"))
    # before the loop: what needs no state
    U_gates = np.ascontiguousarray(np.stack([-Ur.T, -Uz.T]))    # -Ur; -Uz
    W_gates = np.ascontiguousarray(np.stack([-Wr.T, -Wz.T]))    # -Wr; -Wz
    b_gates = np.stack([-br, -bz])                              # -br; -bz
    UnT = np.ascontiguousarray(Un.T)                            # Unᵀ
    masked = active is not None or reset is not None
    h_buffer, h_prev, h = _buffers(start["h"], T, masked)
    WnT = np.ascontiguousarray(Wn.T)
    K = _steps(T, B, 3*n, 512)                                  # steps in a block: what it computes stays in the cache
    UnT_h, n_1 = (ws.room((T, B, n), dtype) for _ in range(2))
    gates_in, gates, a_n_in = (ws.room(v, dtype) for v in ((2, K, B, n), (T, 2, B, n), (K, B, n)))
    s = np.empty((B, n), dtype)
    b_gates_1 = b_gates[:, None, None]
    gates_in_1 = gates_in.swapaxes(0, 1)
    one = np.array(1, dtype)
    r, z = (gates[:, v] for v in (0, 1))
    for lo in range(0, T, K):
        hi = min(lo + K, T)
        K = hi - lo
        x_b = x[lo:hi]
        gates_in_b = gates_in[:, :K]
        a_n_in_b = a_n_in[:K]
        x_b_1 = x_b.reshape(K * B, m)
        np.matmul(x_b_1, W_gates, out=gates_in_b.reshape(2, K * B, n))
        np.add(gates_in_b, b_gates_1, out=gates_in_b)           # -(Wr x_t + br); -(Wz x_t + bz)
        np.matmul(x_b_1, WnT, out=a_n_in_b.reshape(K * B, n))
        np.add(a_n_in_b, bn, out=a_n_in_b)                      # Wn x_t + bn
        for t, h_prev_t, gates_t, UnT_h_t, n_1_t, r_t, z_t, h_t, gates_in_1_t, a_n_in_t in zip(
                range(lo, hi), *(v[lo:hi] for v in (h_prev, gates, UnT_h, n_1, r, z, h)), *(v[:K] for v in (gates_in_1,
                a_n_in))):
            if masked:
                _enter(t, ((h_0, h_buffer, h_prev),), active, reset)
            np.matmul(h_prev_t, U_gates, out=gates_t)
            np.add(gates_t, gates_in_1_t, out=gates_t)
            np.exp(gates_t, out=gates_t)
            np.add(one, gates_t, out=gates_t)
            np.divide(one, gates_t, out=gates_t)  # r_t = σ(Wr x_t + br + Ur h_{t-1}); z_t = σ(Wz x_t + bz + Uz h_{t-1})
            np.matmul(h_prev_t, UnT, out=UnT_h_t)               # Un h_{t-1}
            np.add(UnT_h_t, cn, out=n_1_t)
            np.multiply(r_t, n_1_t, out=n_1_t)
            np.add(a_n_in_t, n_1_t, out=n_1_t)
            np.tanh(n_1_t, out=n_1_t)                           # n_t = tanh(Wn x_t + bn + r_t ⊙ (Un h_{t-1} + cn))
            np.subtract(one, z_t, out=s)
            np.multiply(s, n_1_t, out=s)
            np.multiply(z_t, h_prev_t, out=h_t)
            np.add(s, h_t, out=h_t)                             # h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_{t-1}
    ws.give((gates_in, a_n_in))
    return {"h": h}, {}, (Un, UnT_h, Ur, Uz, Wn, Wr, Wz, bn, br, bz, cn, gates, h_prev, n_1, x, (gates, UnT_h, n_1))


def _backward(tape, full, last, flow, sizes, T, B, dtype, active, reset, ws):
    Un, UnT_h, Ur, Uz, Wn, Wr, Wz, bn, br, bz, cn, gates, h_prev, n_1, x, _ = tape
    m, n = (sizes[k] for k in ("m", "n"))
    # before the loop: what needs no adjoint of a state
    U_rows = np.concatenate([Ur, Uz, Un])                       # Ur; Uz; Un
    W_rows = np.concatenate([Wn, Wr, Wz])                       # Wn; Wr; Wz
    adjoints, resets, waiting = _adjoints(last, sizes, B, dtype)
    (dh,) = adjoints
    sent = _sent(full, adjoints, active)
    dgates_1, dU_gates, dW_gates = (np.zeros(v, dtype) for v in ((4*n,), (3*n, n), (3*n, m)))
    K = _steps(T, B, m+n, 512)                                  # steps in a block: what it computes stays in the cache
    sigmoid_rest_z, da_n_dh, da_r_da_n, da_z_dh, s_5 = (ws.room((K, B, n), dtype) for _ in range(5))
    dgates, s_1, s_2, s_3 = (ws.room(v, dtype) for v in ((K, B, 4*n), (4*n,), (3*n, n), (3*n, m)))
    dx, s = (np.empty(v, dtype) for v in ((T, B, m), (B, n)))
    z, r = (gates[:, v] for v in (1, 0))
    dgates_2, dgates_3, da_n, da_r, da_z, v_dgates = (dgates[..., lo:hi] for lo, hi in ((n, None), (0, 3*n), (0, n), (n,
        2*n), (2*n, 3*n), (3*n, None)))
    for hi in range(T, 0, -K):
        lo = max(hi - K, 0)
        K = hi - lo
        da_r_da_n_b, da_z_dh_b, dgates_3_b, s_5_b, sigmoid_rest_z_b = (v[:K] for v in (da_r_da_n, da_z_dh, dgates_3,
            s_5, sigmoid_rest_z))
        UnT_h_b, h_prev_b, n_1_b, r_b, x_b, z_b = (v[lo:hi] for v in (UnT_h, h_prev, n_1, r, x, z))
        np.subtract(1, z_b, out=sigmoid_rest_z_b)
        # 1 - z_t
        _sharpened(sigmoid_rest_z_b, _sigmoid_rest, lambda: ((x_b.reshape(K * B, m) @ Wz.T).reshape(K, B, n) + bz
            + (h_prev_b.reshape(K * B, n) @ Uz.T).reshape(K, B, n)))
        np.square(n_1_b, out=s_5_b)
        np.subtract(1, s_5_b, out=s_5_b)
        _sharpened(s_5_b, _tanh_rest, lambda: ((x_b.reshape(K * B, m) @ Wn.T).reshape(K, B, n) + bn + r_b * (UnT_h_b
            + cn)))
        np.multiply(sigmoid_rest_z_b, s_5_b, out=da_n_dh[:K])   # da_{n_dh,t} = (1 - z_t) ⊙ (1 - n_t²)
        np.subtract(1, r_b, out=s_5_b)
        _sharpened(s_5_b, _sigmoid_rest, lambda: ((x_b.reshape(K * B, m) @ Wr.T).reshape(K, B, n) + br
            + (h_prev_b.reshape(K * B, n) @ Ur.T).reshape(K, B, n)))
        np.add(cn, UnT_h_b, out=da_r_da_n_b)
        np.multiply(da_r_da_n_b, r_b, out=da_r_da_n_b)
        np.multiply(da_r_da_n_b, s_5_b, out=da_r_da_n_b)        # da_{r_da_n,t} = (cn + Un h_{t-1}) ⊙ r_t ⊙ (1 - r_t)
        np.subtract(h_prev_b, n_1_b, out=da_z_dh_b)
        np.multiply(da_z_dh_b, z_b, out=da_z_dh_b)
        np.multiply(da_z_dh_b, sigmoid_rest_z_b, out=da_z_dh_b)  # da_{z_dh,t} = (h_{t-1} - n_t) ⊙ z_t ⊙ (1 - z_t)
        for t, da_n_t, da_n_dh_t, da_r_t, da_r_da_n_t, da_z_t, da_z_dh_t, v_dgates_t, dgates_2_t, r_t, z_t in zip(
                range(hi - 1, lo - 1, -1), *(v[:K][::-1] for v in (da_n, da_n_dh, da_r, da_r_da_n, da_z, da_z_dh,
                v_dgates, dgates_2)), *(v[lo:hi][::-1] for v in (r, z))):
            for adjoint, given in sent:
                np.add(adjoint, given[t], out=adjoint)  # + dL/dh_t
            if active is not None:
                _wait(active[t], adjoints, waiting)
            np.multiply(dh, da_n_dh_t, out=da_n_t)              # dn_t = dh_t ⊙ (1 - z_t); da_{n,t} = dn_t ⊙ (1 - n_t²)
            # dr_t = da_{n,t} ⊙ (Un h_{t-1} + cn); da_{r,t} = dr_t ⊙ r_t ⊙ (1 - r_t)
            np.multiply(da_n_t, da_r_da_n_t, out=da_r_t)
            np.multiply(dh, da_z_dh_t, out=da_z_t)  # dz_t = dh_t ⊙ (h_{t-1} - n_t); da_{z,t} = dz_t ⊙ z_t ⊙ (1 - z_t)
            np.multiply(da_n_t, r_t, out=v_dgates_t)            # da_{n,t} ⊙ r_t
            if flow is not None:
                _watch(flow, t, (dh,))
            np.matmul(dgates_2_t, U_rows, out=s)
            np.multiply(dh, z_t, out=dh)
            np.add(s, dh, out=dh)  # dh_{t-1} = Urᵀ da_{r,t} + Uzᵀ da_{z,t} + Unᵀ (da_{n,t} ⊙ r_t) + dh_t ⊙ z_t
            if active is not None or reset is not None:
                _leave(t, adjoints, waiting, resets, active, reset)
        np.add.reduce(dgates[:K].reshape(K * B, 4*n), axis=0, out=s_1)
        # dcn = Σ_t da_{n,t} ⊙ r_t; dbn = Σ_t da_{n,t}; dbz = Σ_t da_{z,t}; dbr = Σ_t da_{r,t}
        np.add(dgates_1, s_1, out=dgates_1)
        np.matmul(dgates_2[:K].reshape(K * B, 3*n).T, h_prev_b.reshape(K * B, n), out=s_2)
        # dUn = Σ_t (da_{n,t} ⊙ r_t) h_{t-1}ᵀ; dUz = Σ_t da_{z,t} h_{t-1}ᵀ; dUr = Σ_t da_{r,t} h_{t-1}ᵀ
        np.add(dU_gates, s_2, out=dU_gates)
        np.matmul(dgates_3_b.reshape(K * B, 3*n).T, x_b.reshape(K * B, m), out=s_3)
        np.add(dW_gates, s_3, out=dW_gates)  # dWn = Σ_t da_{n,t} x_tᵀ; dWz = Σ_t da_{z,t} x_tᵀ; dWr = Σ_t da_{r,t} x_tᵀ
        # dx_t = Wrᵀ da_{r,t} + Wzᵀ da_{z,t} + Wnᵀ da_{n,t}
        np.matmul(dgates_3_b.reshape(K * B, 3*n), W_rows, out=dx[lo:hi].reshape(K * B, m))
    ws.give((dgates, sigmoid_rest_z, da_n_dh, da_r_da_n, da_z_dh, s_5, s_1, s_2, s_3))
    return {"Wr": dW_gates[n:2*n], "Ur": dU_gates[:n], "br": dgates_1[n:2*n], "Wz": dW_gates[2*n:],
        "Uz": dU_gates[n:2*n], "bz": dgates_1[2*n:3*n], "Wn": dW_gates[:n], "Un": dU_gates[2*n:], "bn": dgates_1[:n],
        "cn": dgates_1[3*n:]}, {"x": dx}, dict(zip(STATES, adjoints)), dict(zip(STATES, resets))


def _once(a, sizes, B, dtype):
    Wr, Ur, br, Wz, Uz, bz, Wn, Un, bn, cn = (a[k] for k in ("Wr", "Ur", "br", "Wz", "Uz", "bz", "Wn", "Un", "bn",
        "cn"))
    n = sizes["n"]
    U_gates = np.ascontiguousarray(np.stack([-Ur.T, -Uz.T]))    # -Ur; -Uz
    W_gates = np.ascontiguousarray(np.stack([-Wr.T, -Wz.T]))    # -Wr; -Wz
    b_gates = np.stack([-br, -bz])                              # -br; -bz
    UnT = np.array(Un.T, order="C")                             # Unᵀ
    return (Wn, bn, cn, U_gates, W_gates, b_gates, UnT)


def _step(tape, given, sizes, B, dtype):
    Wn, bn, cn, U_gates, W_gates, b_gates, UnT = tape
    n = sizes["n"]
    x, h = given
    # r_t = σ(Wr x_t + br + Ur h_{t-1}); z_t = σ(Wz x_t + bz + Uz h_{t-1})
    gates = 1 / (1 + np.exp(h @ U_gates + x @ W_gates + b_gates[:, None]))
    # h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_{t-1}
    h_1 = (1 - gates[1]) * np.tanh(x @ Wn.T + bn + gates[0] * (h @ UnT + cn)) + gates[1] * h
    return {"h": h_1}, {}


def init(sizes: dict[str, int], seed: int = 0, dtype: type = np.float64) -> dict[str, np.ndarray]:
    """Return first values of the parameters by name: those that the cell gives, else matrices that are Glorot uniform, or orthogonal
    where both axes are one of a state, and zeros. `sizes` are all named sizes; `dtype` is np.float32 or np.float64."""
    shapes = _shapes_of(sizes)
    if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool) or seed < 0:
        raise ArgumentError(f"seed: an integer of at least 0 is expected, got {seed!r}")
    # NumPy compares its types with names of types, and with what names none.
    if dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ArgumentError(f"dtype: float32 or float64 is expected, got {getattr(dtype, '__name__', dtype)}")
    random = np.random.default_rng(seed)
    found = {k: _first_value(FIRST[k], shapes[k], random, _is_complex(k)) for k in PARAMS}
    return {k: np.array(v, _type_of(k, dtype), order="C") for k, v in found.items()}


def _shapes_of(sizes):
    """Return the shape of every argument, where sizes are there and go together."""
    names = _shapes.__code__.co_varnames[: _shapes.__code__.co_argcount]
    if not hasattr(sizes, "keys") or {*sizes.keys()} != {*names}:
        example = ", ".join(f'"{k}": 8' for k in names)
        raise ArgumentError(f"sizes: {{{example}}} is expected, got {sizes!r}")
    for k, n in sizes.items():
        if not isinstance(n, (int, np.integer)) or isinstance(n, bool) or n < 1:
            raise ArgumentError(f"sizes: {k} is a positive integer, got {n!r}")
    shapes = _shapes(**{k: int(n) for k, n in sizes.items()})
    for k, shape in shapes.items():
        if min(shape, default=1) < 1:
            raise ArgumentError(f"sizes: the shape of {k} would be {shape}; sizes are positive")
    wrong = {k: n for k, n in _sizes(lambda k, axis: shapes[k][axis]).items() if n != sizes[k]}
    if wrong:
        raise ArgumentError(f"sizes: constants of the module tell {wrong}, got {sizes!r}")
    return shapes


def _first_value(first, shape, random, is_complex):
    """Return a first value: the numbers that a cell gives, an orthogonal matrix, or a uniform one between Glorot's limits."""
    if first == "orthogonal":
        q, r = np.linalg.qr(_drawn(random.standard_normal, shape, is_complex))
        return q * np.sign(np.diagonal(r, axis1=-2, axis2=-1))[..., None, :]
    if first == "uniform":
        limit = np.sqrt(6 / (shape[-1] + shape[-2]))
        return _drawn(lambda shape: random.uniform(-limit, limit, shape), shape, is_complex)
    return np.broadcast_to(first, shape)


def _drawn(draw, shape, is_complex):
    """Return random numbers; of complex ones each part has half of the variance."""
    return np.sqrt(0.5) * (draw(shape) + 1j * draw(shape)) if is_complex else draw(shape)


def forward(
    params: dict[str, np.ndarray],
    inputs: dict[str, np.ndarray] | None = None,
    state: dict[str, np.ndarray] | None = None,
    *,
    steps: int | None = None,
    lengths: np.ndarray | list[int] | None = None,
    reset: np.ndarray | None = None,
    reset_to: str = "initial",
    workspace: Workspace | None = None,
) -> Run:
    """Run the cell over time, and return `.states` and `.outputs` by name after every step, (T, B, ...), for `backward`.

    inputs (T, B, ...), state (B, ...), or both without B for one sample, a context among the inputs (B, ...), or without B for all; a
    state that is not given is what it begins with, zero as a rule. Without inputs `steps` says T. From `lengths`, (B,) integers, on a
    sample keeps its last state and its outputs are zero. Where `reset`, (T, B) bool, is true, the state is the initial one again before
    that step; with `reset_to="start"` what the cell begins with, zero as a rule, whatever `state` is. The run refers to what it was given:
    change arrays in place after `backward` only. `workspace`, a Workspace(limit=bytes), keeps memory between calls; the module has its own.
    """
    call, batched = _called(params, inputs, None, state, steps, lengths, reset, reset_to, workspace)
    plan = _prepared(call, False)
    states, outputs, tape = _ran(call, plan)
    kept = (tape, call.sizes, call.T, call.B, call.dtype, call.active, call.reset)
    run = Run(
        _frozen(states, batched),
        _frozen(outputs, batched),
        kept,
        batched,
        call.dtype,
        call.ws,
        tape[-1],
    )
    run.reset_to = reset_to
    return run


def backward(
    run: Run,
    cotangents: dict[str, np.ndarray],
    *,
    monitor: bool = False,
    workspace: Workspace | None = None,
) -> Grads:
    """Return the gradients of sum(cotangent * value) over all states and outputs named: `.params`, `.inputs`, `.contexts`, `.state`, each
    by name and of the shape of its argument; with `monitor` `.flow`, the norm of each state's adjoint after every step, (T,).

    cotangents (T, B, ...), or (B, ...) of the last step alone; what is not named has none. From the length of a sample on its states
    are those of its last step, and its outputs are zero.
    """
    _check_monitor(monitor)
    full, last = _cotangents(run, cotangents)
    ws = run.workspace if workspace is None else _workspace(workspace)
    tape, sizes, T, B, dtype, active, reset = run.tape
    call = _Call({}, sizes, T, B, dtype, active, reset, ws)
    flow = {k: np.zeros(T, dtype) for k in STATES} if monitor else None
    found = _aimed(_flowed_back(call, tape, full, last, flow), run.reset_to)
    grads = _grads(*found, flow, run.batched, empty=not T)
    return grads


def _called(params, inputs, targets, state, steps, lengths, reset, reset_to, workspace):
    """Return a call whose arguments are checked, and whether they have a batch axis."""
    ws = _workspace(workspace)
    _check_reset_to(reset_to)
    a, sizes, T, B, dtype, batched = _arguments(params, inputs, state, steps, targets)
    active, reset = _masks(lengths, reset, T, B)
    call = _Call(a, sizes, T, B, dtype, active, reset, ws)
    _aim(call, reset_to)
    return call, batched


class Stepper:
    """Runs a cell step by step: `state, outputs = stepper(inputs, state)`. It holds copies of parameters and contexts: what they alone
    determine, packed and turned weights among it, is made once."""

    def __init__(self, params, contexts) -> None:
        params = {} if params is None and not PARAMS else params
        _names("parameter", params, PARAMS, PARAMS)
        self.params = {k: _own(k, params[k]) for k in PARAMS}
        contexts = {} if contexts is None else contexts
        _names("context", contexts, CONTEXTS, CONTEXTS)
        self.contexts = {k: _array(k, contexts[k], len(SHAPES[k].split()), 1).copy() for k in CONTEXTS}
        self.forms = None
        self.left = None
        self.known = None

    def __call__(
        self,
        inputs: dict[str, np.ndarray] | None = None,
        state: dict[str, np.ndarray] | None = None,
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return the states after one step and its outputs, with what a loss predicts there, by name: inputs (B, ...) or (...), state
        likewise; an omitted one is what it begins with, zero as a rule."""
        inputs, state = {} if inputs is None else inputs, {} if state is None else state
        given = self._alike(inputs, state)
        given = self._checked(inputs, state) if given is None else given
        states, outputs = _step(self.tape, given, self.sizes, self.B, self.dtype)
        if not self.batched:
            states, outputs = ({k: v[0, ...] for k, v in group.items()} for group in (states, outputs))
        self.left = states
        return states, outputs

    # All checks of a call take longer than a small step: a call like the one before needs few of them.
    def _alike(self, inputs, state) -> list[np.ndarray] | None:
        """Return inputs and states, with a batch axis, where their shapes and types are those of the call before, else None."""
        # An array in the place of a dict has no names: the checks say so.
        if self.forms is None or type(inputs) is not dict or type(state) is not dict:
            return None
        if len(inputs) != len(INPUTS) or len(state) != len(STATES):
            return None
        given = []
        for name, shape, dtype, limit in self.forms:
            group = inputs if name in INPUTS else state
            v = group.get(name)
            if type(v) is not np.ndarray or v.shape != shape or v.dtype != dtype:
                return None
            if limit is not None and v.size and not (v.min() >= 0 and v.max() < limit):
                return None
            # An own state need not be finite, as within a long call.
            if limit is None and group is not self.left and not np.isfinite(v).all():
                return None
            given.append(v if self.batched else v[None])
        return given

    def _checked(self, inputs, state) -> list[np.ndarray]:
        """Return inputs and states of a call whose arguments are checked, and note their shapes for the calls to come."""
        _names("input", inputs, INPUTS, INPUTS)
        _names("state", state, STATES, ())
        given = {k: _array(k, v, len(SHAPES[k].split()), 1) for k, v in {**inputs, **state}.items()}
        _batched(given | self.contexts, 1)
        one = {k: given[k][None] for k in inputs}
        a, sizes, _, B, dtype, batched = _arguments(self.params, one | self.contexts, state, None if INPUTS else 1)
        _check_data(a, None, sizes)
        if self.known != (sizes, B, dtype):
            self.a, self.sizes, self.B, self.dtype, self.known = a, sizes, B, dtype, (sizes, B, dtype)
            self.tape = _once(a, sizes, B, dtype)
        self.batched = batched
        moving = {k: a[k][0] for k in INPUTS} | {k: a[k] for k in STATES}
        self.forms = [(k, v.shape[0 if batched else 1 :], v.dtype, self._limit(k)) for k, v in moving.items()]
        return [*moving.values()]

    def _limit(self, name: str):
        """Return the number below which an index must be, None of other arguments."""
        if name not in INDICES:
            return None
        size = INDICES[name]
        return _shapes(**self.sizes)[size][0] if size else np.inf


def stepper(params: dict[str, np.ndarray], contexts: dict[str, np.ndarray] | None = None) -> Stepper:
    """Return what runs the cell with these parameters and contexts step by step: `state, outputs = stepper(inputs, state)`."""
    return Stepper(params, contexts)


def _own(name, value):
    """Return a copy of a parameter; a plain number stays one."""
    if type(value) in (int, float, complex) and not SHAPES[name]:
        return value
    return _array(name, value, len(SHAPES[name].split()), 0).copy()


def _prepared(call, trains):
    """Check the data of a call."""
    _check_data(call.a, call.active, call.sizes)


def _ran(call, plan):
    """Return the states and outputs of a run, and its tape behind how a ragged batch lies in rows."""
    states, outputs, tape = _swept(call)
    states = _stopped(states, call.start, call.active) if tape[0] is None else states
    return states, {k: _kept(call.active, v) for k, v in outputs.items()}, tape


def _swept(call):
    """Return the states and outputs of a sweep, and its tape behind how a ragged batch lies in rows; what lies behind the end of a sample
    is of no meaning, and finite where all of the sample is."""
    if call.active is None or call.reset is not None or not call.active.any():
        states, outputs, tape = _forward(call.a, call.start, *call.of(0, call.T))
        return states, outputs, (None, tape, tape[-1])
    rows = _Rows(call.active)
    a = call.a | {k: rows.laid(call.a[k]) for k in INPUTS}
    start = {k: v[rows.first] for k, v in call.start.items()}
    states, outputs, tape = _forward(a, start, *_of(call, rows, rows))
    states, outputs = rows.stopped(states, call.start), rows.stopped(outputs, {})
    return states, outputs, (rows, tape, tape[-1])


def _of(call, rows, turns):
    """Return what a sweep over rows takes beside arrays."""
    return call.sizes, rows.T, rows.rows, call.dtype, None, turns, call.ws


def _flowed_back(call, tape, full, last, flow):
    """Return the gradients of a run."""
    rows, inner, _ = tape
    if rows is None:
        return _backward(inner, full, last, flow, *call.of(0, call.T))
    given = {k: None if v is None else rows.sent(v) for k, v in full.items()}
    behind = {k: None if v is None else rows.behind(v) for k, v in last.items()}
    norms = {k: np.zeros(rows.sources.shape, v.dtype) for k, v in (flow or {}).items()}
    first = _firsts(call, rows, last)
    params, inputs, state, _ = _backward(
        inner, given, behind, norms or None, *_of(call, rows, _RowsBack(rows, last, first))
    )
    del given  # for the memory that it holds
    for k, found in zip(STATES, first):
        found[rows.first] = state[k]
    for k in flow or ():
        flow[k][...] = np.ldexp(*_norms([rows.taken(norms[k])]))
    state = dict(zip(STATES, first))
    return params, {k: rows.taken(v) for k, v in inputs.items()}, state, dict.fromkeys(STATES, 0)


def _firsts(call, rows, last):
    """Return room for the adjoints of the initial states, with those of samples that have no step."""
    shapes, empty = _shapes(**call.sizes), rows.begin == rows.end
    found = [np.zeros((call.B, *shapes[k]), _type_of(k, call.dtype)) for k in STATES]
    for k, v in zip(STATES, found):
        if last[k] is not None:
            v[empty] = last[k][empty]
    return found


def _data(call, names, lo, hi):
    """Return the data of steps lo to hi; behind a sample's end its last step is held."""
    a, active = call.a, call.active
    return {k: a[k][lo:hi] if active is None else _held(a[k][lo:hi], active[lo:hi].sum(0)) for k in names}


def _part(call, start, lo, hi):
    """Run the steps lo to hi from the states before them; return what `_forward` does."""
    return _forward(call.a | _data(call, INPUTS, lo, hi), start, *call.of(lo, hi))


def _cut(mask, lo, hi):
    """Return a mask of steps lo to hi, or none."""
    return None if mask is None else mask[lo:hi]


class _Call:
    """Arguments by name, the sizes, steps and samples, the type, who is active, who is reset, and the workspace; the states before
    the first step, where resets go to others than these; which losses count beside those of who is active, None: all."""

    def __init__(self, a, sizes, T, B, dtype, active, reset, ws):
        self.a, self.sizes, self.T, self.B, self.dtype = a, sizes, T, B, dtype
        self.active, self.reset, self.ws = active, reset, ws
        self.counts = None
        self.start = {k: a[k] for k in STATES if k in a}

    def of(self, lo, hi):
        """Return what a sweep over steps lo to hi takes beside arrays, without masks that change nothing there."""
        active, reset = _cut(self.active, lo, hi), _cut(self.reset, lo, hi)
        active = None if active is None or active.all() else active
        reset = None if reset is None or not reset.any() else reset
        return self.sizes, hi - lo, self.B, self.dtype, active, reset, self.ws


ERRORS = {"divide": "divide by zero", "over": "overflow", "invalid": "invalid value"}


class _Hidden:
    """Notes whether an error of some kinds was hidden; others go to the function or the log that the caller has set."""

    def __init__(self, errors):
        self.errors, self.seen = errors, False
        self.told = np.geterrcall()

    def __call__(self, error, flag):
        if error in self.errors:
            self.seen = True
        else:
            self.told(error, flag)

    def write(self, text):
        self.told.write(text)


def _quiet(sweep, *kinds):
    """Return a sweep that says nothing of errors of some kinds while all that it returns is finite: a sigmoid overflows to
    its limit, a branch that is not chosen may have any value. Else it is run again, and NumPy says of them what the caller
    has set."""

    errors = [ERRORS[kind] for kind in kinds]
    calls = dict.fromkeys(kinds, "call")

    def quiet(*given):
        hidden = _Hidden(errors)
        with np.errstate(call=hidden, **calls):
            found = sweep(*given)
        told = np.geterr() if hidden.seen else {}
        if any(told.get(kind, "ignore") != "ignore" for kind in kinds) and not _are_finite(found):
            del found  # for the memory that it holds
            others = {kind: "ignore" for kind in told if kind not in kinds}
            with np.errstate(**others):
                found = sweep(*given)
        return found

    return quiet


def _are_finite(found):
    """Return whether all arrays that a sweep returns are finite; its tape, a tuple, is not what callers get."""
    groups = [[*part.values()] if isinstance(part, dict) else [part] for part in found]
    return all(np.isfinite(v).all() for group in groups for v in group if v is not None and not isinstance(v, tuple))


LEAST = {4: 3e-5, 8: 8e-6}


def _sharpened(rest, of, argument):
    """Compute what a function near one leaves of one, `rest`, by its argument where it is so small that the value of the
    function has no digits of it."""
    least = LEAST[rest.dtype.itemsize]
    if float(np.minimum.reduce(rest, axis=None, initial=1)) < least:
        tiny = rest < least
        e = np.broadcast_to(argument(), rest.shape)[tiny]
        np.exp(np.negative(np.abs(e, out=e), out=e), out=e)
        rest[tiny] = of(e)
    return rest


def _tanh_rest(e):
    """Return 1 - tanh(a)² of a large a, by e = exp(-|a|)."""
    return (2 * e / (1 + e * e)) ** 2


def _sigmoid_rest(e):
    """Return 1 - σ(a) of a large a, by e = exp(-|a|)."""
    return e / (1 + e)


class _Rows:
    """Where the samples of a ragged batch lie. Of all steps and samples, and of all places in rows, in a row each: `used` are those
    of the batch that are any, `places` where they lie; `sources` tells what lies at each place. `begun` and `ended` are the rows
    that turn at a step: which sample begins and where it is continued from, and which one ends and whether it goes on elsewhere."""

    def __init__(self, active):
        lengths = active.sum(0)
        self.shape, self.T = active.shape, int(lengths.max())
        self.end = np.cumsum(lengths)
        self.begin = self.end - lengths
        self.border = (self.end - 1) // self.T * self.T  # where the row begins in which a sample ends
        self.over = np.where(
            self.border > self.begin, self.end - self.border, 0
        )  # its steps there, where it begins in another
        whole = int(self.end[-1])
        self.rows = -(-whole // self.T)
        self.left = whole - (self.rows - 1) * self.T  # steps of the last row
        step, sample = active.nonzero()
        self.used, self.places = step * self.shape[1] + sample, self.place(step, sample)
        self.sources = np.zeros((self.T, self.rows), np.intp)
        self.sources.reshape(self.T * self.rows)[self.places] = self.used
        self.sources[self.left :, -1] = self.sources[self.left - 1, -1]
        self.first, self.last = self.sources[0] % self.shape[1], self.sources[-1] % self.shape[1]  # samples
        self.begun = {}
        self.ended = {}
        for b, (begin, end, over) in enumerate(zip(self.begin.tolist(), self.end.tolist(), self.over.tolist())):
            row, t = divmod(begin, self.T)
            if t and end > begin:
                self.begun.setdefault(t, []).append((row, b, (over, row + 1) if over else None))
            row, t = divmod(end, self.T)
            if t and end > begin:
                self.ended.setdefault(t, []).append((row, b, over > 0))

    def place(self, step, sample):
        """Return the places where steps of samples lie."""
        over = self.over[sample]
        at = np.where(step < over, self.border[sample] + step, self.begin[sample] + step - over)
        return at % self.T * self.rows + at // self.T

    def enter(self, t, states):
        """Write the states before step t."""
        for initial, after, before in states:
            before[t] = after[t]
            if t in self.begun:
                for row, b, source in self.begun[t]:
                    before[t, row] = initial[b] if source is None else after[source]
            if t >= self.left:
                before[t, -1] = before[t - 1, -1]

    def laid(self, x):
        """Return data of steps and samples in rows."""
        return _flat(x)[self.sources]

    def sent(self, x):
        """Return cotangents of steps and samples in rows, zero behind the end of the last one."""
        found = self.laid(x)
        found[self.left :, -1] = 0
        return found

    def behind(self, last):
        """Return the adjoints behind the rows: those behind the samples at their end."""
        found = last[self.last]
        if self.left < self.T:
            found[-1] = 0
        return found

    def taken(self, x):
        """Return values in rows by steps and samples, zero behind the end of each."""
        found = np.zeros((*self.shape, *x.shape[2:]), x.dtype)
        _flat(found)[self.used] = _flat(x)[self.places]
        return found

    def stopped(self, values, initial):
        """Return values in rows by steps and samples, behind the end of each those at its end; of a sample without a step initial ones,
        or, where there are none, others that are there."""
        lengths = self.end - self.begin
        empty = (lengths == 0).nonzero()[0]
        steps = np.minimum(np.arange(self.shape[0])[:, None], np.maximum(lengths - 1, 0))
        at = self.place(steps, np.arange(len(lengths)))
        at[:, empty] = 0
        values = {k: _flat(v)[at] for k, v in values.items()}
        for k in initial:
            values[k][:, empty] = initial[k][empty]
        return values


def _flat(x):
    """Return an array whose first two axes are one."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


class _RowsBack:
    """Rows on the way back: the adjoints behind the end of each sample, and those before the first of its steps so far."""

    def __init__(self, rows, last, first):
        self.rows, self.last, self.first = rows, last, first

    def leaving(self, t, adjoints):
        """Behind step t take the adjoints of samples that begin there, and put those in their place that end before."""
        if t not in self.rows.ended:
            return
        for k, d, first in zip(STATES, adjoints, self.first):
            for row, b, _ in self.rows.begun.get(t, ()):
                first[b] = d[row]
            for row, b, goes_on in self.rows.ended[t]:
                d[row] = first[b] if goes_on else 0 if self.last[k] is None else self.last[k][b]


def _enter(t, states, active, reset):
    """Write the states before step t; of each: the initial one, those after each step from that on, those before."""
    if isinstance(reset, _Rows):
        reset.enter(t, states)
        return
    for initial, after, before in states:
        before[t] = _entering(t, initial, after, before, active, reset)


def _leave(t, adjoints, waiting, resets, active, reset):
    """Put the adjoints of other samples back behind a step; where a state was reset, its adjoint goes to the initial one."""
    if isinstance(reset, _RowsBack):
        reset.leaving(t, adjoints)
    else:
        _left(t, adjoints, waiting, resets, active, reset)


def _where(mask, a, b):
    """Choose between a and b by a mask that may lack their last axes."""
    return np.where(mask.reshape(mask.shape + (1,) * (np.ndim(a) - mask.ndim)), a, b)


def _kept(mask, x):
    """Return x where a mask is true, else zero; all of it without a mask."""
    return x if mask is None else _where(mask, x, 0)


def _after_end(active, x):
    """Return the sum of x over the steps from the end of each sample on."""
    return np.sum(x, 0, where=~active.reshape(active.shape + (1,) * (x.ndim - 2)))


def _present(lengths):
    """Return the number of each sample, or that of the longest where a sample has no step."""
    return np.where(lengths > 0, np.arange(len(lengths)), lengths.argmax() if len(lengths) else 0)


def _held(x, lengths):
    """Return data whose steps from a sample's end on repeat its last; an empty sample repeats the longest's first."""
    if not lengths.any():
        return np.zeros_like(x)
    return x[np.minimum(np.arange(len(x))[:, None], np.maximum(lengths - 1, 0)), _present(lengths)]


def _entering(t, initial, after, before, active, reset):
    """Return the state before step t. From its end on a sample repeats its last step: nothing is computed there but
    what was finite before, and what steps backward read of it goes together."""
    x = after[t] if reset is None else _where(reset[t], initial, after[t])
    if active is None:
        return x
    return _where(active[t], x, before[t - 1]) if t else x[_present(active.sum(0))]


def _buffers(start, T, masked):
    """Return a state after each step from the initial one on, before each step and after each: views of the first, but
    where masks change what a step begins with."""
    buffer = np.empty((T + 1, *start.shape), start.dtype)
    buffer[0] = start
    return buffer, np.empty_like(buffer[1:]) if masked else buffer[:-1], buffer[1:]


def _stopped(states, initial, active):
    """Return the states after every step, from each sample's end on those at its end."""
    if active is None:
        return states
    end, empty = np.minimum(np.arange(len(active))[:, None], np.maximum(active.sum(0) - 1, 0)), ~active.any(0)
    states = {k: v[end, np.arange(len(empty))] for k, v in states.items()}
    for k, v in states.items():
        v[:, empty] = initial[k][empty]
    return states


def _adjoints(last, sizes, B, dtype):
    """Return the adjoints of the states after the last step, and zeros: for what resets send to the initial states, and for
    the adjoints of samples that have ended."""
    shapes = _shapes(**sizes)
    found = [np.zeros((B, *shapes[k]), _type_of(k, dtype)) if last[k] is None else last[k].copy() for k in STATES]
    return found, [np.zeros_like(d) for d in found], [np.zeros_like(d) for d in found]


def _sent(full, adjoints, active):
    """Return what the loss says of the states of all steps, with the adjoints that it is added to."""
    return [(d, _kept(active, full[k])) for k, d in zip(STATES, adjoints) if full[k] is not None]


def _wait(active, adjoints, waiting):
    """Set the adjoints of samples that have ended aside."""
    for d, aside in zip(adjoints, waiting):
        aside[...] = _kept(~active, d)
        d[...] = _kept(active, d)


def _left(t, adjoints, waiting, resets, active, reset):
    """Put those adjoints back behind a step; where a state was reset, its adjoint goes to the initial one."""
    if active is not None:
        for d, aside in zip(adjoints, waiting):
            d += aside
    if reset is not None:
        for d, total in zip(adjoints, resets):
            total += _kept(reset[t], d)
            d[...] = _kept(~reset[t], d)


def _watch(flow, t, adjoints):
    """Note the norms of the adjoints of the states after step t."""
    for k, d in zip(STATES, adjoints):
        # of rows, where samples lie one behind another, for each row
        flow[k][t] = _norm(d) if flow[k].ndim == 1 else np.ldexp(*_norms([d]))


def _reals(rows):
    """Return rows of complex numbers as rows of their real and imaginary parts, others as they are."""
    return np.ascontiguousarray(rows).view(rows.real.dtype) if rows.dtype.kind == "c" else rows


def _norms(arrays):
    """Return the joint norm of arrays for each entry of their first axis, as numbers m and powers p: m * 2**p.

    The power of the greatest magnitude is divided out before anything is squared: no square overflows or vanishes.
    """
    rows = [_reals(a.reshape(len(a), a[:1].size)) for a in arrays]
    greatest = total = rows[0].dtype.type(0)
    for a in rows:
        greatest = np.maximum(greatest, np.max(np.abs(a), 1, initial=0))
    power = np.frexp(greatest)[1] - 1
    size = np.ldexp(rows[0].dtype.type(1), power)[:, None]
    for a in rows:
        a = a / size  # one array beside those given, as memory is counted
        total = total + np.multiply(a, a, out=a).sum(1)
    return np.sqrt(total), power


def _norm(x):
    """Return the norm of all entries together."""
    return np.ldexp(*_norms([x.reshape(1, -1)]))[0]


def _check_reset_to(reset_to):
    if reset_to not in ("initial", "start"):
        raise ArgumentError(
            f"reset_to: 'initial', the states of the call, or 'start', what the cell begins with, is expected, got {reset_to!r}"
        )


def _aim(call, reset_to):
    """Let resets go to what the cell begins with, zero as a rule, where that is asked for."""
    if reset_to == "start":
        for k in STATES:
            _check_finite(k, call.a[k], 1)
        call.a = {k: v for k, v in call.a.items() if k not in STATES}
        _fill(call.a, _shapes(**call.sizes), call.B, call.dtype)


def _aimed(found, reset_to):
    """Return gradients with what resets send to the initial states; that of resets to the start is one of the parameters in which
    states begin."""
    params, inputs, state, resets = found
    if reset_to == "start":
        return params, inputs, state, dict.fromkeys(STATES, 0)
    return found


OUTSIDE = (*INPUTS, *CONTEXTS)


def _plain(name, value):
    """Return a plain array of a value, in the machine's byte order."""
    if isinstance(value, (np.ma.MaskedArray, np.matrix)):
        raise ArgumentError(f"{name}: a plain array is expected, got {type(value).__name__}; write np.asarray(...)")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists; tensors with a gradient or on a device
        cure = "; write .detach().cpu().numpy()" if hasattr(value, "detach") else ""
        raise ArgumentError(f"{name}: not an array of numbers ({error}){cure}") from None
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _array(name, value, rank, lead):
    """Return one argument as an array whose axes are as many as `rank`, or `lead` more at the most."""
    array = _plain(name, value)
    if name in INDICES:
        if array.dtype.kind not in "iu":
            whole = array.dtype.kind == "f" and bool((array == np.floor(array)).all())
            cure = "; write .astype(int)" if whole else ""
            raise ArgumentError(f"{name}: integers are expected, got {array.dtype}{cure}")
    elif array.dtype not in [_type_of(name, known) for known in (np.float32, np.float64)]:
        wanted = ("complex64", "complex128") if _is_complex(name) else ("float32", "float64")
        cure = f"; write .astype(np.{wanted[1]})" if array.dtype.kind in "biuf" else ""
        came = array.dtype if cure or isinstance(value, (np.ndarray, np.generic)) else type(value).__name__
        raise ArgumentError(f"{name}: {' or '.join(wanted)} is expected, got {came}{cure}")
    if not max(rank, rank + lead - 1) <= array.ndim <= rank + lead:
        raise ArgumentError(f"{name}: {_axes(name, lead)} is expected, got shape {array.shape}")
    return array


def _axes(name, lead):
    inner = SHAPES[name].split()
    return "(" + ", ".join(["T", "B"][2 - lead :] + inner) + ")" if inner or lead else "a scalar"


def _names(what, given, known, needed):
    group = {"parameter": "params", "state or output": "cotangents", "state": "state"}.get(what, f"{what}s")
    if isinstance(given, type) or not hasattr(given, "items"):
        cure = f'; write {group}={{"{known[0]}": array}}' if known else ""
        raise ArgumentError(f"{group}: a dict by name is expected, got {type(given).__name__}{cure}")
    for name in given:
        if name not in known:
            raise ArgumentError(f"{what} {name!r} is not known; expected {', '.join(known) or 'none'}")
    for name in needed:
        if name not in given:
            cure = f"pass {group}={{{name!r}: ...}}, {_axes(name, LEAD.get(name, 0))}"
            raise ArgumentError(f"{what} {name!r} is missing; {cure}")


def _check_shape(name, array, wanted, T):
    if array.shape != wanted:
        lead = LEAD.get(name, 0)
        swapped = array.shape[:2] == wanted[1::-1] if lead == 2 else lead == 1 and array.shape[0] == T
        # As many steps as samples: what is wrong is another axis.
        hint = "; time comes first: (T, B, ...)" if swapped and array.shape[0] != wanted[0] else ""
        raise ArgumentError(f"{name}: {_axes(name, lead)} = {wanted} is expected, got {array.shape}{hint}")


def _place(where, lead, first=0):
    """Return in words where an entry is: at which step and sample, as far as it has these."""
    where = tuple(int(i) for i in where)
    where = (where[0] + first, *where[1:]) if lead == 2 else where
    places = [f"{axis} {i}" for axis, i in zip(("step", "sample")[2 - lead :], where)]
    return f" at {', '.join(places)} (index {where})" if places else f" at index {where}" if where else ""


def _filled(name):
    """Return what to write where data of steps, or of a whole sequence, is not finite."""
    if name in STATES or name not in LEAD:
        return ""
    other = "or end the sample before it by lengths=" if LEAD[name] == 2 else "also where a mask hides it"
    return f"; fill the gap, as np.nan_to_num does, {other}"


def _check_finite(name, array, lead, first=0):
    """Say where an array is not finite; `lead` of its axes are those of steps, from `first` on, and samples."""
    if np.isfinite(array.sum()) or np.isfinite(array).all():  # a finite sum saves an array of bools
        return
    bad = ~np.isfinite(array)
    if not bad.any():
        return
    where = tuple(np.argwhere(bad)[0])
    raise ArgumentError(
        f"{name}: {array[where]}{_place(where, lead, first)}; finite numbers are expected{_filled(name)}"
    )


def _check_data(arrays, active, sizes, first=0):
    """Say where numbers that are read are not finite, or no index; behind a sample's end its last step is held.
    The arrays of steps begin with step `first`."""
    for k in [k for k in arrays if LEAD.get(k) == 2 and active is not None]:
        arrays[k] = _held(arrays[k], active.sum(0))
    with np.errstate(over="ignore", invalid="ignore"):
        for k in [k for k in arrays if k not in INDICES]:
            _check_finite(k, arrays[k], LEAD.get(k, 0), first)


def _length(arrays, name, axis):
    """Return the length of an axis; where its argument is not given, from one with the same size, else not a number."""
    if name in arrays:
        return arrays[name].shape[LEAD.get(name, 0) + axis]
    size = SHAPES[name].split()[axis]
    same = [
        a.shape[LEAD.get(k, 0) + SHAPES[k].split().index(size)] for k, a in arrays.items() if size in SHAPES[k].split()
    ]
    return same[0] if same else np.nan


def _given(params, inputs, state, targets):
    """Return all arguments by name, and the names of plain numbers, which take the type of the arrays."""
    params = {} if params is None and not PARAMS else params
    inputs, state = ({} if v is None else v for v in (inputs, state))
    _names("parameter", params, PARAMS, PARAMS)
    _names("input", inputs, OUTSIDE, OUTSIDE)
    _names("state", state, STATES, ())
    if targets is not None or TARGETS:
        _names("target", {} if targets is None else targets, TARGETS, () if targets is None else TARGETS)
    given = {k: v for group in (params, inputs, state, targets or {}) for k, v in group.items()}
    weak = {k for k, v in given.items() if type(v) in (int, float, complex) and k in PARAMS and not SHAPES[k]}
    return {k: _weak(k, v) if k in weak else v for k, v in given.items()}, weak


def _weak(name, value):
    """Return a plain number as one of an array; a complex one stays that, and is refused where real ones are expected."""
    return np.complex128(value) if _is_complex(name) or isinstance(value, complex) else np.float64(value)


def _dtype(arrays, weak):
    """Return the one type of the arrays of floats."""
    floats = {k: a.dtype for k, a in arrays.items() if k not in INDICES and k not in weak}
    dtype = next((np.empty(0, found).real.dtype for found in floats.values()), np.dtype(np.float64))
    for k, found in floats.items():
        if found != _type_of(k, dtype):
            raise ArgumentError(
                f"{k}: {found} among arrays of {next(iter(floats.values()))} ({next(iter(floats))}); convert one of them"
            )
    return dtype


def _batched(arrays, most=2):
    """Return whether the arrays have a batch axis: all that may have one do, or none does; of one step they have `most` one axis
    before their own."""
    lead = {k: min(LEAD[k], most) for k in arrays if k in LEAD}
    single = {k: arrays[k].ndim < len(SHAPES[k].split()) + lead[k] for k in lead}
    first = next(iter(single), "")
    for k in single:
        if single[k] != single[first]:
            one, other = (k, first) if single[k] else (first, k)
            raise ArgumentError(f"{k}: {_one_batched(arrays, one, other, k, lead)}")
    return not any(single.values())


def _one_batched(arrays, single, other, name, lead):
    """Return what is wrong where one of two arguments, of which `name` is told, has a batch axis and the other has none."""
    batch, wanted = arrays[other].shape[lead[other] - 1], _axes(single, lead[single])
    cure = f"where it is the same for all samples write np.stack([{single}] * {batch}, axis={lead[single] - 1})"
    return (
        f"shape {arrays[name].shape} does not go with {other if name == single else single}: a batch axis is on one only; "
        f"{single}: {wanted} is expected, got {arrays[single].shape}; {cure}"
    )


def _count(arrays, steps):
    """Return the number of steps: that of the inputs, else what is said."""
    number = isinstance(steps, (int, np.integer)) and not isinstance(steps, bool)
    if steps is not None and not (number and steps >= 0):
        raise ArgumentError(f"steps: a number of steps is expected, got {steps!r}")
    T = next((arrays[k].shape[0] for k in INPUTS), steps)
    if T is None:
        raise ArgumentError("the cell has no inputs: say how many steps, steps=")
    if steps not in (None, T):
        raise ArgumentError(f"steps: {steps} is given, the inputs have T = {T}")
    return T


def _measured(arrays, T, B, batched):
    """Return the sizes by name; the shapes of all arrays go with them."""
    sizes = _sizes(lambda name, axis: _length(arrays, name, axis))
    shapes = _shapes(**sizes)
    for k in [k for k in STATES if k not in arrays and any(s != s for s in shapes[k])]:
        lack = " and ".join(repr(name) for name, s in sizes.items() if s != s)
        cure = f"pass state={{{k!r}: np.zeros({_axes(k, int(batched))})}}"
        raise ArgumentError(f"{k}: nothing that is given tells the size {lack}; {cure}")
    for k, a in arrays.items():
        _check_shape(k, a, ((T, B)[2 - LEAD[k] :] if k in LEAD else ()) + shapes[k], T)
    if min([*sizes.values(), 1]) < 1:
        raise ArgumentError(f"sizes are positive, got {sizes}")
    return sizes


def _arguments(params, inputs, state, steps, targets=None):
    """Return the arguments as arrays of one type, with a batch axis, the sizes, and whether there was a batch axis."""
    given, weak = _given(params, inputs, state, targets)
    arrays = {k: _array(k, v, len(SHAPES[k].split()), LEAD.get(k, 0)) for k, v in given.items()}
    dtype, batched = _dtype(arrays, weak), _batched(arrays)
    if not batched:
        arrays = {k: np.expand_dims(a, LEAD[k] - 1) if k in LEAD else a for k, a in arrays.items()}
    T = _count(arrays, steps)
    B = next((arrays[k].shape[LEAD[k] - 1] for k in (*INPUTS, *arrays) if k in LEAD and k in arrays), 1)
    sizes = _measured(arrays, T, B, batched)
    shapes = _shapes(**sizes)
    _fill(arrays, shapes, B, dtype)
    arrays = {k: a if k in INDICES else a.astype(_type_of(k, dtype), copy=False) for k, a in arrays.items()}
    return arrays, sizes, T, B, dtype, batched


def _fill(arrays, shapes, B, dtype):
    """Add what the states begin with that are not given."""
    arrays |= {k: np.zeros((B, *shapes[k]), _type_of(k, dtype)) for k in STATES if k not in arrays}


def _masks(lengths, reset, T, B):
    """Return who is active and who is reset at each step, (T, B) bool each, or None: all and nobody."""
    active = None
    if lengths is not None:
        lengths = np.atleast_1d(_plain("lengths", lengths))
        if lengths.shape != (B,) or lengths.dtype.kind not in "iu" or (lengths < 0).any() or (lengths > T).any():
            hint = "; time comes first: (T, B, ...)" if lengths.shape == (T,) != (B,) else ""
            hint = "; write .astype(int)" if lengths.dtype.kind == "f" and lengths.shape == (B,) else hint
            raise ArgumentError(f"lengths: ({B},) integers from 0 to {T} are expected, got {_shown(lengths)}{hint}")
        active = np.arange(T)[:, None] < lengths if (lengths < T).any() else None
    if reset is not None:
        reset = _plain("reset", reset)
        reset = reset[:, None] if reset.ndim == 1 and B == 1 else reset
        if reset.shape != (T, B) or reset.dtype != bool:
            cure = "; write .astype(bool)" if reset.shape == (T, B) and reset.dtype.kind in "iuf" else ""
            raise ArgumentError(f"reset: a bool array of shape ({T}, {B}) is expected, got {_shown(reset)}{cure}")
        reset = reset if active is None else reset & active
        reset = reset if reset.any() else None
    return active, reset


def _shown(array):
    """Return an array in words: its numbers where they are few, else its type and shape."""
    few = array.ndim == 1 and array.size <= 8 and array.dtype.kind in "iuf"
    return f"{array.tolist()}" if few else f"{array.dtype} of shape {array.shape}"


def _check_monitor(monitor):
    if not isinstance(monitor, (bool, np.bool_)):
        raise ArgumentError(f"monitor is True or False, got {monitor!r}")


def _cotangents(run, given):
    """Return the cotangents of every step and those of the last step by name, None where nothing is given. Behind the
    end of a sample a state is the last one of the sample, which gets the cotangents there; an output is zero."""
    if getattr(run, "mark", None) != MARK:
        came = "the run of another module" if isinstance(getattr(run, "mark", None), str) else type(run).__name__
        cure = "write run = forward(...), then backward(run, ...)"
        raise ArgumentError(f"run: what forward of this module returns is expected, got {came}; {cure}")
    full = dict.fromkeys([*run.states, *run.outputs])
    last = dict.fromkeys(run.states)
    _names("state or output", given, list(full), ())
    for name, value in given.items():
        wanted, dtype = (run.states | run.outputs)[name].shape, (run.states | run.outputs)[name].dtype
        array = _plain(name, value)
        if array.dtype != dtype:
            raise ArgumentError(f"{name}: a cotangent of {dtype} is expected, got {array.dtype}")
        if array.shape == wanted:
            full[name] = array if run.batched else np.expand_dims(array, 1)
        elif array.shape == wanted[1:] and name in last:
            last[name] = array if run.batched else array[None]
        elif array.shape == wanted[1:] and wanted[0]:
            full[name] = np.zeros((wanted[0], *array.shape), dtype)
            full[name][-1] = array
            full[name] = full[name] if run.batched else np.expand_dims(full[name], 1)
        else:
            raise ArgumentError(
                f"{name}: shape {wanted}, or {wanted[1:]} for the last step, is expected, got {array.shape}"
            )
        active = run.tape[-2]
        with np.errstate(over="ignore", invalid="ignore"):
            if full[name] is None:
                _check_finite(name, last[name], 1)
            else:
                _check_finite(name, full[name] if name in last else _kept(active, full[name]), 2)
        if active is not None and name in last and full[name] is not None:
            last[name] = _after_end(active, full[name])
    return full, last


def _is_complex(name):
    return False


def _type_of(name, dtype):
    """Return the type of an argument, where real ones are of this type."""
    return dtype


class Run:
    """What forward returns: `states` and `outputs` by name, (T, B, ...), read-only, and the tape that backward reads."""

    def __init__(
        self,
        states: dict[str, np.ndarray],
        outputs: dict[str, np.ndarray],
        tape,
        batched: bool,
        dtype,
        workspace,
        rooms=(),
    ) -> None:
        self.states, self.outputs, self.tape, self.batched, self.dtype = states, outputs, tape, batched, dtype
        self.workspace, self.rooms = workspace, rooms
        self.reset_to = "initial"
        self.mark = MARK

    def __repr__(self) -> str:
        return f"<run: {_listed(states=self.states, outputs=self.outputs)}>"

    def __del__(self) -> None:
        self.workspace.give(self.rooms)

    def __copy__(self) -> 'Run':
        return self

    def __getstate__(self):
        """All but the rooms, which stay with the run that took them."""
        return {**self.__dict__, "rooms": ()}


class Grads:
    """Gradients by name: `params`, `inputs`, `contexts` and `state`, each of the shape of its argument; `flow`, the norms of the adjoints
    of states at every step, (T,), else None; `final`, of a loss, the states at the end of each sample, else None."""

    def __init__(
        self,
        params: dict[str, np.ndarray],
        inputs: dict[str, np.ndarray],
        state: dict[str, np.ndarray],
        flow: dict[str, np.ndarray] | None,
        final: dict[str, np.ndarray] | None = None,
    ) -> None:
        self.params, self.inputs, self.state, self.flow, self.final = params, inputs, state, flow, final
        self.contexts = {}

    def __repr__(self) -> str:
        return f"<gradients: {_listed(**self.__dict__)}>"


def _listed(**groups):
    """Return what groups of arrays hold, with the shapes."""
    texts = {
        group: ", ".join(f"{k} {np.shape(v)}" for k, v in (arrays or {}).items()) for group, arrays in groups.items()
    }
    return "; ".join(f"{group} {text}" for group, text in texts.items() if text) or "none"


def _grads(params, inputs, state, resets, flow, batched, final=None, empty=False):
    """Return gradients, all of them arrays, without the batch axis where none was given; resets send theirs to the initial state
    too. Over no steps a gradient of a parameter is zero, also where its derivative is infinite."""
    params = {k: np.zeros_like(v) if empty else np.asarray(v) for k, v in params.items()}
    state = {k: v + resets[k] for k, v in state.items()}
    if not batched:
        inputs, state = {k: v[:, 0] for k, v in inputs.items()}, {k: v[0, ...] for k, v in state.items()}
        final = final and {k: v[0, ...] for k, v in final.items()}
    return Grads(params, inputs, state, flow, final)


def _frozen(arrays, batched):
    """Return arrays without the batch axis where none was given, and read-only: backward still needs them."""
    arrays = {k: (a if batched else a[:, 0])[...] for k, a in arrays.items()}
    for a in arrays.values():
        a.flags.writeable = False
    return arrays


LATELY = 64  # times that arrays are given back until one of a size that nobody asked for is let go of
OLD = 8  # those until an array also serves what needs less: a call by itself has one array for each size
ROOMY = 1.25  # how many times as large as what is needed such an array may be


class Workspace:
    """Arrays that nothing reads any more, at most `limit` bytes of them, for calls to come: memory that the process has."""

    def __init__(self, limit: float = 2**28) -> None:
        number = isinstance(limit, (int, float, np.integer, np.floating)) and not isinstance(limit, bool)
        if not (number and limit >= 0):
            raise ArgumentError(f"limit: a number of bytes is expected, got {limit!r}; write Workspace(limit=2**28)")
        self.limit = limit
        self.rooms = {}  # by their bytes
        self.born = {}  # when each of these sizes came
        self.used = {}  # when it was given back the last time
        self.time = 0

    def __repr__(self) -> str:
        return f"<workspace: {self.nbytes:,} of {self.limit:,} bytes>"

    def __reduce__(self):
        return Workspace, (self.limit,)

    @property
    def nbytes(self) -> int:
        """The bytes that it holds."""
        return sum(size * len(free) for size, free in list(self.rooms.items()))

    def room(self, shape: tuple[int, ...], dtype) -> np.ndarray:
        """Return an array to write into: one that was given back, of as many bytes or a part of a larger one, or a new one."""
        needed = np.dtype(dtype).itemsize
        for n in shape:
            needed *= n
        found = self._taken(needed)
        if found is None and self.time > OLD:
            larger = (size for size in list(self.rooms) if needed < size <= ROOMY * needed and self._is_old(size))
            found = next((x for x in map(self._taken, sorted(larger)) if x is not None), None)
        return np.empty(shape, dtype) if found is None else np.ndarray(shape, dtype, found)

    def _taken(self, size: int) -> np.ndarray | None:
        """Return an array of so many bytes, if there is one."""
        try:
            return self.rooms[size].pop()
        except (KeyError, IndexError):  # asked, not looked up first: another thread may take the last one
            return None

    def _is_old(self, size: int) -> bool:
        return self.time - self.born.get(size, self.time) > OLD

    def give(self, rooms) -> None:
        """Take back arrays that nothing reads any more, and let go of what is too much, and of sizes not used lately."""
        self.time += 1
        for room in rooms:
            room = room if room.base is None else room.base
            if room.nbytes not in self.rooms:
                self.born[room.nbytes] = self.time
            self.rooms.setdefault(room.nbytes, []).append(room)
            self.used[room.nbytes] = self.time
        for size in list(self.rooms):
            if self.time - self.used.get(size, self.time) > LATELY:
                self._let_go(size)
        if self.nbytes > self.limit:
            for size in sorted(self.rooms, key=lambda size: self.used.get(size, 0)):
                if self.nbytes > self.limit:
                    self._let_go(size)

    def _let_go(self, size: int) -> None:
        for found in (self.rooms, self.born, self.used):
            found.pop(size, None)


WORKSPACE = Workspace(HELD)  # of calls that are not given another


def _workspace(given):
    """Return the workspace of a call: the one that is given, else the module's."""
    usable = all(callable(getattr(given, name, None)) for name in ("room", "give"))
    if given is not None and (isinstance(given, type) or not usable):
        came = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
        raise ArgumentError(f"workspace: a Workspace of this module is expected, got {came}; write Workspace()")
    return WORKSPACE if given is None else given


def _steps(T, B, size, rows=0):
    """Return the number of steps of a block with values of that size: they fit in the cache, or are as many rows."""
    return max(min(T, max(rows // max(B, 1), 2**15 // max(B * size, 1))), 1)


class ArgumentError(ValueError):
    """An argument is not what the cell takes."""


def _reaches(T):
    """Return steps lo to hi whose losses flow back to the same step, and that step."""
    return [(0, T, 0)]


CASES = (
    {"T": 0, "B": 2}, {"T": 1, "B": 1}, {"T": 2, "B": 2, "last": 1}, {"T": 2, "B": 1, "ones": 1}, {"T": 4, "B": 2},
    {"T": 5, "B": 3, "block": 2}, {"T": 9, "B": 2, "block": 9}, {"T": 5, "B": 4, "block": 2, "lengths": 1},
    {"T": 5, "B": 3, "block": 2, "reset": 1}, {"T": 5, "B": 4, "block": 3, "lengths": 1, "reset": 1, "monitor": 1},
    {"T": 3, "B": 2, "block": 2, "absent": 1}, {"T": 3, "B": 2, "block": 2, "near": 1},
)
PLAIN = {"T": 4, "B": 2}
COVERED = "T = 0 to 9; 1 to 3 blocks; lengths, resets; cotangents at all, last, no steps; no batch axis; monitor"
ALLOWED = {"complex step": (1e-9, 1e-4), "differences": (1e-6, 1e-2)}
CERTIFICATE = "# certificate:"  # so begin the lines of a certificate, which its own digest leaves out


class _Draw:
    """Random arguments of one case, and the run there; `kind` 1 has all numbers between 0.1 and 0.9."""

    def __init__(self, case, seed, kind):
        self.random, self.T, self.B, self.last = np.random.default_rng(seed), case["T"], case["B"], "last" in case
        self.monitor = "monitor" in case
        random, T, B, self.sizes = self.random, self.T, self.B, _some_sizes(self.random, "ones" in case)
        self.a = {}
        shapes = _shapes(**self.sizes)
        for k in SHAPES:
            shape, limit = ((T, B)[2 - LEAD[k] :] if k in LEAD else ()) + shapes[k], INDICES.get(k)
            numbers = random.uniform(0.1, 0.9, shape) if kind else 0.6 * random.standard_normal(shape)
            self.a[k] = random.integers(0, shapes[limit][0] if limit else 2, shape) if k in INDICES else numbers
        self.ends = np.array([T, 0, T // 2, 1])[:B] if "lengths" in case else np.full(B, T)
        reset = random.random((T, B)) < 0.4 if "reset" in case else None
        self.masks = {"lengths": self.ends if "lengths" in case else None, "reset": reset}
        self.whole = "lengths" not in case and reset is None
        self.run = forward(*map(self.of, (PARAMS, OUTSIDE, STATES)), steps=T, **self.masks)
        self.sent = {k: random.standard_normal(v.shape) for k, v in (self.run.states | self.run.outputs).items()}
        for v in self.sent.values() if self.last else ():
            v[:-1] = 0
        self.only = SHOWN[case["only"]] if "only" in case else ""
        # of two draws one leaves out every second cotangent, the other the rest: each is absent once
        self.absent = [*self.sent][seed % 2 :: 2] if "absent" in case else []
        for v in [v for k, v in self.sent.items() if self.only not in ("", k) or k in self.absent]:
            v[...] = 0

    def alone(self):
        """Return the same of its one sample, without the axis of samples."""
        found = object.__new__(_Draw)
        found.__dict__ |= self.__dict__
        found.a = {k: v.take(0, LEAD[k] - 1) if k in LEAD else v for k, v in self.a.items()}
        found.run = forward(*map(found.of, (PARAMS, OUTSIDE, STATES)), steps=self.T)
        found.sent, found.ends = {k: v[:, 0] for k, v in self.sent.items()}, np.zeros(0, int)
        return found

    def of(self, names):
        """Return the arguments of some names."""
        return {k: self.a[k] for k in names}

    def call(self, a, dtype):
        """Return a call with these arguments."""
        return _Call(a, self.sizes, self.T, self.B, dtype, *_masks(**self.masks, T=self.T, B=self.B), Workspace(0))

    def objective(self, score, changed):
        """Return the sum of scores over all steps by the sweep forward, with some arguments changed."""
        dtype = np.result_type(float, *changed.values())
        a = {k: v if k in INDICES else v.astype(dtype) for k, v in (self.a | changed).items()}
        call = self.call(a, dtype)
        total = dtype.type(0)
        for lo, hi, first in _reaches(self.T):
            start = {k: self.run.states[k][first - 1].astype(dtype) if first else a[k] for k in STATES}
            states, outputs, _ = _part(call, start, first, hi)
            states = _stopped(states, start, _cut(call.active, first, hi))
            total += score(call, {k: v[lo - first :] for k, v in (states | outputs).items()}, lo, hi)
        return total

    def slope(self, score, k, along, method, scale):
        """Return the derivative of the objective along a direction of one argument; NaN where there is none."""
        try:
            if method == "complex step":
                return np.imag(self.objective(score, {k: self.a[k] + 1e-30j * along})) / 1e-30
        except TypeError:  # a function without a complex version
            return np.nan
        f = [self.objective(score, {k: self.a[k] + s * 1e-6 * along}) for s in (-3, -1, 1, 3)]
        narrow, wide = (f[2] - f[1]) / 2e-6, (f[3] - f[0]) / 6e-6  # they differ where a kink or a jump lies between
        return (9 * narrow - wide) / 8 if abs(wide - narrow) <= ALLOWED[method][0] * scale else np.nan


def _some_sizes(random, ones):
    """Return numbers for the named sizes that go together, ones where these do."""
    names = _shapes.__code__.co_varnames[: _shapes.__code__.co_argcount]
    for trial in range(4000):
        # of two entries the order backward is that from one to the next: mistakes there show from three on
        drawn = random.permutation(len(names)) + 3 if trial < 9 else random.integers(1, 3 + trial // 99, len(names))
        sizes = dict(zip(names, [1] * len(names) if ones and not trial else drawn.tolist()))
        for _ in range(2):  # constants tell their sizes, whatever is drawn
            before, sizes = sizes, _told_sizes(sizes)
        if before == sizes and len(sizes) == len(names):
            return sizes
    raise ArgumentError("no sizes are found that go together")


def _told_sizes(sizes):
    """Return the sizes that arguments of some sizes tell; none where they do not go together."""
    shapes = _shapes(**sizes) if sizes else {"": (0,)}
    try:
        return _sizes(lambda name, axis: shapes[name][axis]) if min([1, *sum(shapes.values(), ())]) > 0 else {}
    except ArgumentError:
        return {}


def _of_values(draw):
    """Return the gradients of Σ cotangent · value, the arguments that have one, the score of some steps, and the cotangents."""
    sent = {k: v[-1] if draw.last and k in STATES else v for k, v in draw.sent.items() if k not in draw.absent}
    moved = {k: v.copy() for k, v in draw.sent.items()}
    for k, b in [(k, b) for k in STATES for b in draw.ends.nonzero()[0]]:
        end = draw.ends[b]
        moved[k][end - 1, b] += moved[k][end:, b].sum(0)  # behind its end a sample repeats its last state

    def score(call, values, lo, hi):
        active, idle = _cut(call.active, lo, hi), draw.ends == 0
        rest = sum(np.sum(moved[k][:, idle] * call.a[k][idle]) for k in STATES) if hi == draw.T else 0
        return rest + sum(np.sum(_kept(active, moved[k][lo:hi] * v)) for k, v in values.items())

    return backward(draw.run, sent, monitor=draw.monitor), ARGUMENTS, score, sent


def _other_forms(draw, found, sent, what):
    """Return what is wrong in other forms of the call: norms of adjoints, which `found` has of all cotangents together, single steps, and
    one sample without its axis, which has what `found` has."""
    wrong = dict.fromkeys(_wrong_norms(draw, found.flow, sent) if draw.monitor else [], "norms of monitor=True")
    wrong |= dict.fromkeys(_wrong_steps(draw) if draw.T and draw.whole else [], "one step at a time")
    if draw.B == 1:
        alone = draw.alone()
        one, told = what(alone)[0], alone.run.states | alone.run.outputs
        pairs = {k: (told[k], v[:, 0]) for k, v in (draw.run.states | draw.run.outputs).items()}
        pairs |= {f"d{k}": (one.params[k], v) for k, v in found.params.items()}
        pairs |= {f"d{k}": (one.inputs[k], v[:, 0]) for k, v in found.inputs.items()}
        pairs |= {f"d{k}": (one.contexts[k], v[0]) for k, v in found.contexts.items()}
        pairs |= {f"d{k}_0": (one.state[k], v[0]) for k, v in found.state.items()}
        wrong |= {k: "one sample without an axis of samples" for k, pair in pairs.items() if not _is_same(*pair)}
    return {k: (np.inf, words) for k, words in wrong.items()}


def _wrong_norms(draw, given, all_sent):
    """Return the states whose norms are wrong where a step of one state alone has a cotangent: there its norm, and zero behind; or whose
    `given` norms are not those of all cotangents."""
    whole = backward(draw.run, all_sent, monitor=True).flow
    wrong = [f"flow of {k}" for k in STATES if not _is_same(given[k], whole[k])]
    counts = [t for lo, hi, _ in _reaches(draw.T) for t in range(lo, hi)]
    for k, t in [(k, t) for k in STATES for t in counts]:
        sent = np.zeros_like(draw.sent[k])
        sent[t, draw.ends > t] = draw.random.standard_normal(sent[t, draw.ends > t].shape)
        flow = backward(draw.run, {k: sent}, monitor=True).flow
        if not _is_same(flow[k][t], np.linalg.norm(sent[t])) or any(v[t + 1 :].any() for v in flow.values()):
            wrong.append(f"flow of {k}")
    return wrong


def _wrong_steps(draw):
    """Return the states and outputs that a stepper gives wrong."""
    step, state, rows = stepper(draw.of(PARAMS), draw.of(CONTEXTS)), draw.of(STATES), []
    for t in range(draw.T):
        state, outputs = step({k: draw.a[k][t] for k in INPUTS}, state)
        rows.append(state | outputs)
    told = draw.run.states | draw.run.outputs
    return [k for k, v in told.items() if not _is_same(np.stack([row[k] for row in rows]), v)]


def _is_same(found, wanted):
    """Answer whether numbers are those that are wanted, but for rounding."""
    near = 1e-9 * np.max(np.abs(wanted), initial=0, where=np.isfinite(wanted))
    return np.shape(found) == np.shape(wanted) and np.allclose(found, wanted, 0, near, equal_nan=True)


def _blocks_of(names):
    """Return the arguments of some names that have a gradient, by the names of their blocks."""
    return {f"d{k}_0" if k in STATES else f"d{k}": k for k in names if k not in (*FIXED, *INDICES, *TARGETS)}


def _errors(draw, found, names, score, sent):
    """Return the error of each block along a random direction, and how that was found; none where the forward pass has no
    finite value or derivative."""
    given = found.params | found.inputs | found.contexts | found.state
    signs = {
        k: draw.random.choice([-1, 1], v.shape) * draw.random.uniform(0.5, 1.5, v.shape) for k, v in draw.a.items()
    }
    given = {k: v * signs[k] for k, v in given.items() if np.shape(v) == signs[k].shape}
    sizes = {k: np.sum(np.abs(v), where=np.isfinite(v)) for k, v in given.items()}
    errors = {}
    for block, k in _blocks_of(names).items() if np.isfinite(draw.objective(score, {})) else ():
        if draw.only and k in sizes and not sizes[k]:
            continue  # nothing flows there, of which no error would tell
        errors[block], before = (np.inf, "no gradient of its shape"), np.nan
        for method in ALLOWED if k in given else ():
            scale = max(sizes[k], ALLOWED[method][1] * max(sizes.values()), 1e-300)
            slope = draw.slope(score, k, signs[k], method, scale)
            if abs(slope - before) <= ALLOWED[method][0] * scale:
                break  # differences tell what the complex step does, whose error has more digits
            before = slope
            error = float(abs(slope - np.sum(given[k])) / scale)
            errors[block] = error if error == error or slope != slope else np.inf, method
            if _is_right(errors[block]):
                break
    return {block: row for block, row in errors.items() if row[0] == row[0]}


def _of_case(case, seed, what, module):
    """Return the errors of one case; for it the module takes few steps in a block, a window and a piece."""
    small = {
        "_steps": lambda T, B, size, rows=0: max(min(T, case.get("block", 99)), 1),
        "_loss_steps": lambda T, B, size: max(min(T, case.get("block", 99)), 1),
        "_window": lambda T, states, least: min(2, T) if "block" in case else 0,
        "_pieces": lambda call, end, trains: (max(min(2, end), 1), 1),
        "_clip": lambda adjoints, limit: None,  # a clipped gradient is that of no function
        # remainders of functions near one are taken from the argument wherever that formula holds, not near one alone
        "LEAST": dict.fromkeys((4, 8), 0.5) if "near" in case else module.get("LEAST"),
    }
    own = {k: module[k] for k in small if k in module}
    errors = {}
    for kind in (seed % 2, 1 - seed % 2):
        try:
            module.update({k: small[k] for k in own})
            draw = _Draw(case, seed, kind)
            parts = what(draw)
            others = _other_forms(draw, parts[0], parts[3], what)
            # The other side takes one step after the other: a scan is part of what is checked.
            module.update(own | {k: lambda T, states, least: 0 for k in own if k == "_window"})
            errors = _errors(draw, *parts)
        except Exception as error:  # whatever an edit has broken
            return {f"raised {type(error).__name__}: {error}": (np.inf, "")}
        finally:
            module.update(own)
        if errors:
            return errors | others
    return errors


def _run_selfcheck(file, module, *told):
    """Check the file of the module, which runs as a program, and end with 0 where every block is right, else with 1."""
    # Of Python's own library, and nowhere else: what is imported needs NumPy alone.
    import hashlib
    import sys

    if sys.argv[1:] != ["--selfcheck"]:
        sys.exit(f"python {sys.argv[0]} --selfcheck compares the backward pass of this file with its forward pass")
    with open(file, encoding="utf-8") as opened:
        lines = opened.readlines()
    sys.exit(_selfchecked(lines, hashlib.sha256, module, *told))


def _selfchecked(lines, sha256, module, *told):
    """Print what a check of a file of these lines finds, and return 0 where every block is right, else 1."""
    rows = {block: [] for block in _blocks_of(SHAPES)}
    # Where a derivative is declared, one step shows those states that nothing reaches through it.
    plain = set()
    cases = [*CASES, *[{"T": 1, "B": 2, "only": i} for i in range(len(SHOWN) if DECLARED else 0)]]
    with np.errstate(all="ignore"):
        for case, what in [(x, what) for x in cases for what in told[: 1 if "only" in x else None]]:
            found = [row for seed in range(2) for row in _of_case(case, seed, what, module).items()]
            found = [(k, row if "only" not in case or _is_right(row) else (np.inf, row[1])) for k, row in found]
            plain |= {block for block, row in found if case == PLAIN and not _is_right(row)}
            for block, row in found:
                # gradients over no steps, or of nothing, are zeros: that they are right proves little
                proves = case["T"] and "absent" not in case
                rows.setdefault(block, []).extend([row] if proves or not _is_right(row) else [])
            rows |= {} if found else {" ".join(f"{k}={v}" for k, v in case.items()): []}
    _check_forms(rows, lines)
    if DECLARED == ("stop_gradient",):
        # what is held flows at any step: a block that plain runs have right is not wrong by it elsewhere
        stays = rows.keys() - plain
        rows |= {k: [row if _is_right(row) else (np.inf, row[1]) for row in rows[k]] for k in stays}
    verdicts = {block: _verdict(found) for block, found in rows.items()}
    wrong = any(v.startswith("WRONG") for v in verdicts.values())
    others = [v for v in verdicts.values() if not v.startswith((*ALLOWED,))]
    print(f"selfcheck {'FAILED' if wrong else 'NOT VERIFIED' if others else 'passed'}")
    print(f"{'block':<12}{'comparisons':>12}{'largest error':>15}  by")
    for block, found in rows.items():
        seen = [row for row in found if _is_right(row)] if DECLARED and not wrong else found
        print(f"{block:<12}{len(seen):>12}{max([row[0] for row in seen], default=0):>15.0e}  {verdicts[block]}")
    print(f"covered: {COVERED}\ntext: {_text_of(lines, sha256)}")
    print("not told here: whether the forward pass is that of your cell; symbptt verify FILE compares it with that")
    return int(bool(others))


def _verdict(found):
    """Return how a block was compared, or what is wrong."""
    if not found:
        return "compared nowhere: no finite value or derivative was met"
    error, method = max(found, key=lambda row: (not _is_right(row), row[0]))
    if _is_right((error, method)):
        return method
    if DECLARED and error < np.inf:
        right = [method for error, method in found if _is_right((error, method))]
        what = f"no forward pass shows the derivative declared of {', '.join(DECLARED)}"
        return f"{right[0]}, but for what flows through it: {what}" if right else f"not compared: {what}"
    return f"WRONG: {method}, {ALLOWED[method][0]:.0e} is allowed" if method in ALLOWED else f"WRONG: {method}"


def _is_right(row):
    return row[0] <= ALLOWED.get(row[1], (-1,))[0]


def _digest(lines, sha256):
    """Return the digest of a module without the lines of its certificate."""
    text = "".join(line for line in lines if not line.startswith(CERTIFICATE))
    return str(sha256(text.encode()).hexdigest())[:32]


def _text_of(lines, sha256):
    """Return in words whether a file is still the one that was certified."""
    own = _digest(lines, sha256)
    known = [line.split()[-1] for line in lines if line.startswith(f"{CERTIFICATE} text")]
    if not known:
        return f"not verified, there is no certificate; SHA-256 {own}"
    return f"{'as certified' if known == [own] else 'edited after the certificate'}; SHA-256 {own}"


LOST = {np.float32: 3e-5, np.float64: 8e-6}


def _forms_in(lines):
    """Return how many remainders are computed again from the argument in some lines."""
    return sum(line.lstrip().startswith("_sharpened(") for line in lines)


def _check_forms(rows, lines):
    """Add what is wrong with the accurate forms to the rows of a check: at usual data no gradient shows that one is missing."""
    there = _forms_in(lines)
    wrong = [f"{there} of {ACCURATE} are there"] * (there != ACCURATE)
    for kind, least in LOST.items():
        a = np.array([-30, 3, 20, -2, 11, -14], kind)
        wanted = np.exp(-np.abs(a))
        found = _sharpened(np.where(wanted < least, kind(1.001), kind(1)) * wanted, lambda e: e, a.copy)
        wrong += [f"digits are lost in {kind.__name__}"] * (not np.allclose(found, wanted, 1e-5, 0))
    rows |= {"accurate forms": [(np.inf, words) for words in wrong]} if wrong else {}


# errors that come to nothing are no news
_forward = _quiet(_forward, "over")
_once = _quiet(_once, "over")
_step = _quiet(_step, "over")


if __name__ == "__main__":
    _run_selfcheck(__file__, globals(), _of_values)
