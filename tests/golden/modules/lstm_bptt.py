"""Backpropagation through time for the cell lstm, written by symbptt 0.1.0.

Long short-term memory: a cell state that gates write, keep and read, the classic cure of vanishing gradients.

Source: Hochreiter, Schmidhuber 1997, "Long short-term memory"; the forget gate: Gers, Schmidhuber, Cummins 2000,
"Learning to forget"; the equations of torch.nn.LSTM, its two biases summed.

Shapes
  x        input  (m,)
  h        state  (n,)
  c        state  (n,)
  Wi       param  (n, m)
  Ui       param  (n, n)
  bi       param  (n,)
  Wf       param  (n, m)
  Uf       param  (n, n)
  bf       param  (n,)
  Wg       param  (n, m)
  Ug       param  (n, n)
  bg       param  (n,)
  Wo       param  (n, m)
  Uo       param  (n, n)
  bo       param  (n,)

Forward, t = 1, …, T
  i_t = σ(Wi x_t + Ui h_{t-1} + bi)
  f_t = σ(Wf x_t + Uf h_{t-1} + bf)
  g_t = tanh(Wg x_t + Ug h_{t-1} + bg)
  o_t = σ(Wo x_t + Uo h_{t-1} + bo)
  c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t
  h_t = o_t ⊙ tanh(c_t)

Backward, t = T, …, 1
  do_t      = dh_t ⊙ tanh(c_t)
  dc_t     += dh_t ⊙ o_t ⊙ (1 - tanh(c_t)²)
  df_t      = dc_t ⊙ c_{t-1}
  di_t      = dc_t ⊙ g_t
  dg_t      = dc_t ⊙ i_t
  da_{o,t}  = do_t ⊙ o_t ⊙ (1 - o_t)
  da_{g,t}  = dg_t ⊙ (1 - g_t²)
  da_{f,t}  = df_t ⊙ f_t ⊙ (1 - f_t)
  da_{i,t}  = di_t ⊙ i_t ⊙ (1 - i_t)
  dh_{t-1}  = dL/dh_{t-1} + Uiᵀ da_{i,t} + Ufᵀ da_{f,t} + Ugᵀ da_{g,t} + Uoᵀ da_{o,t}
  dc_{t-1}  = dL/dc_{t-1} + dc_t ⊙ f_t

Gradients of the parameters
  dWi = Σ_t da_{i,t} x_tᵀ
  dUi = Σ_t da_{i,t} h_{t-1}ᵀ
  dbi = Σ_t da_{i,t}
  dWf = Σ_t da_{f,t} x_tᵀ
  dUf = Σ_t da_{f,t} h_{t-1}ᵀ
  dbf = Σ_t da_{f,t}
  dWg = Σ_t da_{g,t} x_tᵀ
  dUg = Σ_t da_{g,t} h_{t-1}ᵀ
  dbg = Σ_t da_{g,t}
  dWo = Σ_t da_{o,t} x_tᵀ
  dUo = Σ_t da_{o,t} h_{t-1}ᵀ
  dbo = Σ_t da_{o,t}

Gradients of the inputs
  dx_t = Wiᵀ da_{i,t} + Wfᵀ da_{f,t} + Wgᵀ da_{g,t} + Woᵀ da_{o,t}
"""

import numpy as np

PARAMS = ("Wi", "Ui", "bi", "Wf", "Uf", "bf", "Wg", "Ug", "bg", "Wo", "Uo", "bo")
INPUTS = ("x",)
STATES = ("h", "c")
TARGETS = ()
LEAD = {"x": 2, "h": 1, "c": 1}
SHAPES = (
    {"x": "m", "h": "n", "c": "n", "Wi": "n m", "Ui": "n n", "bi": "n", "Wf": "n m", "Uf": "n n", "bf": "n",
    "Wg": "n m", "Ug": "n n", "bg": "n", "Wo": "n m", "Uo": "n n", "bo": "n"}
)
INDICES = {}


def _sizes(of):
    """Return the named sizes, each read from an argument and an axis."""
    n = of("Wi", 0)
    m = of("Wi", 1)
    return {"m": m, "n": n}


def _shapes(m, n):
    """Return the shape of every argument of one sample and step."""
    return (
        {"x": (m,), "h": (n,), "c": (n,), "Wi": (n, m), "Ui": (n, n), "bi": (n,), "Wf": (n, m), "Uf": (n, n),
        "bf": (n,), "Wg": (n, m), "Ug": (n, n), "bg": (n,), "Wo": (n, m), "Uo": (n, n), "bo": (n,)}
    )

MARK = 'lstm 2249c68c'


def _forward(a, start, sizes, T, B, dtype, active, reset):
    x, h_0, c_0, Wi, Ui, bi, Wf, Uf, bf, Wg, Ug, bg, Wo, Uo, bo = (
        (a[k] for k in ("x", "h", "c", "Wi", "Ui", "bi", "Wf", "Uf", "bf", "Wg", "Ug", "bg", "Wo", "Uo", "bo"))
    )
    m, n = (sizes[k] for k in ("m", "n"))
    # before the loop: what needs no state
    UiT = np.ascontiguousarray(Ui.T)                            # Uiᵀ
    UfT = np.ascontiguousarray(Uf.T)                            # Ufᵀ
    UgT = np.ascontiguousarray(Ug.T)                            # Ugᵀ
    UoT = np.ascontiguousarray(Uo.T)                            # Uoᵀ
    a_i_in = (x.reshape(T * B, m) @ Wi.T).reshape(T, B, n) + bi  # Wi x_t + bi
    a_f_in = (x.reshape(T * B, m) @ Wf.T).reshape(T, B, n) + bf  # Wf x_t + bf
    a_g_in = (x.reshape(T * B, m) @ Wg.T).reshape(T, B, n) + bg  # Wg x_t + bg
    a_o_in = (x.reshape(T * B, m) @ Wo.T).reshape(T, B, n) + bo  # Wo x_t + bo
    h_buffer = np.empty((T + 1, B, n), dtype)
    h_buffer[0], h_prev, h = start["h"], h_buffer[:-1], h_buffer[1:]
    c_buffer = np.empty((T + 1, B, n), dtype)
    c_buffer[0], c_prev, c = start["c"], c_buffer[:-1], c_buffer[1:]
    i = np.empty((T, B, n), dtype)
    f = np.empty((T, B, n), dtype)
    g = np.empty((T, B, n), dtype)
    o = np.empty((T, B, n), dtype)
    tanh_c = np.empty((T, B, n), dtype)
    masked = active is not None or reset is not None
    if masked:
        h_prev = np.empty_like(h)
        c_prev = np.empty_like(c)
    for t in range(T):
        if masked:
            h_prev[t] = _entering(t, h_0, h_buffer, h_prev, active, reset)
            c_prev[t] = _entering(t, c_0, c_buffer, c_prev, active, reset)
        i[t] = 1 / (1 + np.exp(-(a_i_in[t] + h_prev[t] @ UiT)))     # i_t = σ(Wi x_t + bi + Ui h_{t-1})
        f[t] = 1 / (1 + np.exp(-(a_f_in[t] + h_prev[t] @ UfT)))     # f_t = σ(Wf x_t + bf + Uf h_{t-1})
        g[t] = np.tanh(a_g_in[t] + h_prev[t] @ UgT)                 # g_t = tanh(Wg x_t + bg + Ug h_{t-1})
        o[t] = 1 / (1 + np.exp(-(a_o_in[t] + h_prev[t] @ UoT)))     # o_t = σ(Wo x_t + bo + Uo h_{t-1})
        c[t] = f[t] * c_prev[t] + i[t] * g[t]                       # c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t
        tanh_c[t] = np.tanh(c[t])                                   # tanh(c_t)
        h[t] = o[t] * tanh_c[t]                                     # h_t = o_t ⊙ tanh(c_t)
    return {"h": h, "c": c}, {}, (Uf, Ug, Ui, Uo, Wf, Wg, Wi, Wo, c_prev, f, g, h_prev, i, o, tanh_c, x)


def _backward(tape, full, last, flow, sizes, T, B, dtype, active, reset):
    Uf, Ug, Ui, Uo, Wf, Wg, Wi, Wo, c_prev, f, g, h_prev, i, o, tanh_c, x = tape
    m, n = (sizes[k] for k in ("m", "n"))
    # before the loop: what needs no adjoint of a state
    full = {k: None if v is None else _kept(active, v) for k, v in full.items()}
    dh = np.zeros((B, n), dtype) if last["h"] is None else last["h"]
    dh_0 = np.zeros((B, n), dtype)
    dc = np.zeros((B, n), dtype) if last["c"] is None else last["c"]
    dc_0 = np.zeros((B, n), dtype)
    da_o = np.empty((T, B, n), dtype)
    da_g = np.empty((T, B, n), dtype)
    da_f = np.empty((T, B, n), dtype)
    da_i = np.empty((T, B, n), dtype)
    for t in range(T - 1, -1, -1):
        if full["h"] is not None:
            dh = dh + full["h"][t]
        if full["c"] is not None:
            dc = dc + full["c"][t]
        if active is not None:
            idle = [_kept(~active[t], d) for d in (dh, dc,)]
            dh, dc = (_kept(active[t], d) for d in (dh, dc,))
        do = dh * tanh_c[t]                                         # do_t = dh_t ⊙ tanh(c_t)
        dc = dc + dh * o[t] * (1 - tanh_c[t] * tanh_c[t])           # dc_t = dc_t + dh_t ⊙ o_t ⊙ (1 - tanh(c_t)²)
        df = dc * c_prev[t]                                         # df_t = dc_t ⊙ c_{t-1}
        di = dc * g[t]                                              # di_t = dc_t ⊙ g_t
        dg = dc * i[t]                                              # dg_t = dc_t ⊙ i_t
        da_o[t] = do * o[t] * (1 - o[t])                            # da_{o,t} = do_t ⊙ o_t ⊙ (1 - o_t)
        da_g[t] = dg * (1 - g[t] * g[t])                            # da_{g,t} = dg_t ⊙ (1 - g_t²)
        da_f[t] = df * f[t] * (1 - f[t])                            # da_{f,t} = df_t ⊙ f_t ⊙ (1 - f_t)
        da_i[t] = di * i[t] * (1 - i[t])                            # da_{i,t} = di_t ⊙ i_t ⊙ (1 - i_t)
        if flow is not None:
            flow["h"][t] = np.sqrt(np.sum(np.square(dh)))
            flow["c"][t] = np.sqrt(np.sum(np.square(dc)))
        # dh_{t-1} = Uiᵀ da_{i,t} + Ufᵀ da_{f,t} + Ugᵀ da_{g,t} + Uoᵀ da_{o,t}; dc_{t-1} = dc_t ⊙ f_t
        dh, dc = da_i[t] @ Ui + da_f[t] @ Uf + da_g[t] @ Ug + da_o[t] @ Uo, dc * f[t]
        if active is not None:
            dh, dc = (d + i for d, i in zip((dh, dc,), idle))
        if reset is not None:
            dh_0 = dh_0 + _kept(reset[t], dh)
            dc_0 = dc_0 + _kept(reset[t], dc)
            dh, dc = (_kept(~reset[t], d) for d in (dh, dc,))
    # after the loop: sums over all steps and samples
    dWi = da_i.reshape(T * B, n).T @ x.reshape(T * B, m)        # dWi = Σ_t da_{i,t} x_tᵀ
    dUi = da_i.reshape(T * B, n).T @ h_prev.reshape(T * B, n)   # dUi = Σ_t da_{i,t} h_{t-1}ᵀ
    dbi = da_i.sum((0, 1))                                      # dbi = Σ_t da_{i,t}
    dWf = da_f.reshape(T * B, n).T @ x.reshape(T * B, m)        # dWf = Σ_t da_{f,t} x_tᵀ
    dUf = da_f.reshape(T * B, n).T @ h_prev.reshape(T * B, n)   # dUf = Σ_t da_{f,t} h_{t-1}ᵀ
    dbf = da_f.sum((0, 1))                                      # dbf = Σ_t da_{f,t}
    dWg = da_g.reshape(T * B, n).T @ x.reshape(T * B, m)        # dWg = Σ_t da_{g,t} x_tᵀ
    dUg = da_g.reshape(T * B, n).T @ h_prev.reshape(T * B, n)   # dUg = Σ_t da_{g,t} h_{t-1}ᵀ
    dbg = da_g.sum((0, 1))                                      # dbg = Σ_t da_{g,t}
    dWo = da_o.reshape(T * B, n).T @ x.reshape(T * B, m)        # dWo = Σ_t da_{o,t} x_tᵀ
    dUo = da_o.reshape(T * B, n).T @ h_prev.reshape(T * B, n)   # dUo = Σ_t da_{o,t} h_{t-1}ᵀ
    dbo = da_o.sum((0, 1))                                      # dbo = Σ_t da_{o,t}
    # dx_t = Wiᵀ da_{i,t} + Wfᵀ da_{f,t} + Wgᵀ da_{g,t} + Woᵀ da_{o,t}
    dx = (
        (da_i.reshape(T * B, n) @ Wi).reshape(T, B, m) + (da_f.reshape(T * B, n) @ Wf).reshape(T, B, m)
        + (da_g.reshape(T * B, n) @ Wg).reshape(T, B, m) + (da_o.reshape(T * B, n) @ Wo).reshape(T, B, m)
    )
    return (
        {"Wi": dWi, "Ui": dUi, "bi": dbi, "Wf": dWf, "Uf": dUf, "bf": dbf, "Wg": dWg, "Ug": dUg, "bg": dbg, "Wo": dWo,
        "Uo": dUo, "bo": dbo}, {"x": dx}, {"h": dh, "c": dc}, {"h": dh_0, "c": dc_0}
    )


def forward(params, inputs=None, state=None, *, steps=None, lengths=None, reset=None):
    """Run the cell over time: inputs (T, B, ...) or (T, ...), state (B, ...) or (...), zero where omitted."""
    a, sizes, T, B, dtype, batched = _arguments(params, inputs, state, steps)
    masks = _masks(lengths, reset, T, B)
    _check_data(a, masks[0], sizes)
    with np.errstate(over="ignore"):
        states, outputs, tape = _forward(a, a, sizes, T, B, dtype, *masks)
    states, outputs = _stopped(states, a, masks[0]), {k: _kept(masks[0], v) for k, v in outputs.items()}
    tape = (tape, sizes, T, B, dtype, *masks)
    return Run(_frozen(states, batched), _frozen(outputs, batched), tape, batched, dtype)


def backward(run, cotangents, *, monitor=False):
    """Return the gradients of sum(cotangent * value) over all states and outputs named; (B, ...) means the last step."""
    full, last = _cotangents(run, cotangents)
    tape, sizes, T, B, dtype, active, reset = run.tape
    flow = {k: np.zeros(T, dtype) for k in STATES} if monitor else None
    with np.errstate(over="ignore"):
        found = _backward(tape, full, last, flow, sizes, T, B, dtype, active, reset)
    return _grads(*found, flow, run.batched)


class ArgumentError(ValueError):
    """An argument is not what the cell takes."""


class Run:
    """What forward returns: states and outputs by name, (T, B, ...), and the tape that backward reads."""

    def __init__(self, states, outputs, tape, batched, dtype):
        self.states, self.outputs, self.tape, self.batched, self.dtype = states, outputs, tape, batched, dtype
        self.mark = MARK


class Grads:
    """What backward returns: gradients by name, and with monitor the norms of the adjoints at every step, (T,)."""

    def __init__(self, params, inputs, state, flow):
        self.params, self.inputs, self.state, self.flow = params, inputs, state, flow


def _plain(name, value):
    """Return a plain array of a value, in the machine's byte order."""
    if isinstance(value, (np.ma.MaskedArray, np.matrix)):
        raise ArgumentError(f"{name}: a plain array is expected, got {type(value).__name__}; write np.asarray(...)")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ArgumentError(f"{name}: not an array of numbers ({error})") from None
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _array(name, value, rank, lead):
    """Return one argument as an array whose axes are as many as `rank`, or `lead` more at the most."""
    array = _plain(name, value)
    if name in INDICES:
        if array.dtype.kind not in "iu":
            raise ArgumentError(f"{name}: integers are expected, got {array.dtype}")
    elif array.dtype not in (np.float32, np.float64):
        raise ArgumentError(f"{name}: float32 or float64 is expected, got {array.dtype}; write .astype(np.float64)")
    if not max(rank, rank + lead - 1) <= array.ndim <= rank + lead:
        raise ArgumentError(f"{name}: {_axes(name, lead)} is expected, got shape {array.shape}")
    return array


def _axes(name, lead):
    inner = SHAPES[name].split()
    return "(" + ", ".join(["T", "B"][2 - lead :] + inner) + ")" if inner or lead else "a scalar"


def _names(what, given, known, needed):
    if not hasattr(given, "items"):
        group = {"parameter": "params", "state or output": "cotangents", "state": "state"}.get(what, f"{what}s")
        raise ArgumentError(f"{group}: a dict by name is expected, got {type(given).__name__}")
    for name in given:
        if name not in known:
            raise ArgumentError(f"{what} {name!r} is not known; expected {', '.join(known) or 'none'}")
    for name in needed:
        if name not in given:
            raise ArgumentError(f"{what} {name!r} is missing")


def _check_shape(name, array, wanted, T):
    if array.shape != wanted:
        lead = LEAD.get(name, 0)
        swapped = array.shape[:2] == wanted[1::-1] if lead == 2 else lead == 1 and array.shape[0] == T
        hint = "; time comes first: (T, B, ...)" if swapped else ""
        raise ArgumentError(f"{name}: {_axes(name, lead)} = {wanted} is expected, got {array.shape}{hint}")


def _present(lengths):
    """Return the number of each sample, or that of the longest where a sample has no step."""
    return np.where(lengths > 0, np.arange(len(lengths)), lengths.argmax())


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


def _stopped(states, initial, active):
    """Return the states after every step, from each sample's end on those at its end."""
    if active is None:
        return states
    end, empty = np.minimum(np.arange(len(active))[:, None], np.maximum(active.sum(0) - 1, 0)), ~active.any(0)
    states = {k: v[end, np.arange(len(empty))] for k, v in states.items()}
    for k, v in states.items():
        v[:, empty] = initial[k][empty]
    return states


def _check_finite(name, array, lead):
    """Say where an array is not finite; `lead` of its axes are those of steps and samples."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = array.sum()  # finite for nearly all that is, and no array of bools is made
    if np.isfinite(total) or np.isfinite(array).all():
        return
    where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
    places = [f"{axis} {i}" for axis, i in zip(("step", "sample")[2 - lead :], where, strict=False)]
    place = f" at {', '.join(places)} (index {where})" if places else f" at index {where}" if where else ""
    raise ArgumentError(f"{name}: {array[where]}{place}; finite numbers are expected")


def _check_data(arrays, active, sizes):
    """Say where numbers that are read are not finite, or no index; behind a sample's end its last step is held."""
    shapes = _shapes(**sizes)
    for k in [k for k in arrays if LEAD.get(k) == 2 and active is not None]:
        arrays[k] = _held(arrays[k], active.sum(0))
    for k in [k for k in INDICES if k in arrays]:
        limit = shapes[INDICES[k]][0] if INDICES[k] else np.inf
        if arrays[k].size and not (arrays[k].min() >= 0 and arrays[k].max() < limit):
            raise ArgumentError(f"{k}: integers from 0 to {limit - 1} are expected")
    for k in [k for k in arrays if k not in INDICES]:
        _check_finite(k, arrays[k], LEAD.get(k, 0))


def _arguments(params, inputs, state, steps, targets=None):
    """Return the arguments as arrays of one type, with a batch axis, the sizes, and whether there was a batch axis."""
    params, inputs, state = ({} if v is None else v for v in (params, inputs, state))
    _names("parameter", params, PARAMS, PARAMS)
    _names("input", inputs, INPUTS, INPUTS)
    _names("state", state, STATES, ())
    if targets is not None or TARGETS:
        _names("target", targets or {}, TARGETS, () if targets is None else TARGETS)
    given = {k: v for group in (params, inputs, state, targets or {}) for k, v in group.items()}
    weak = {k for k, v in given.items() if type(v) in (int, float) and k in PARAMS and not SHAPES[k]}
    given = {k: np.float64(v) if k in weak else v for k, v in given.items()}
    arrays = {k: _array(k, v, len(SHAPES[k].split()), LEAD.get(k, 0)) for k, v in given.items()}
    floats = {k: a.dtype for k, a in arrays.items() if k not in INDICES and k not in weak}
    dtype = next(iter(floats.values()), np.dtype(np.float64))
    for k, found in floats.items():
        if found != dtype:
            raise ArgumentError(f"{k}: {found} among arrays of {dtype} ({next(iter(floats))}); convert one of them")
    single = {k: a.ndim < len(SHAPES[k].split()) + LEAD[k] for k, a in arrays.items() if k in LEAD}
    batched = not any(single.values())
    if len(set(single.values())) > 1:
        odd = [k for k in single if single[k] != single[next(iter(single))]][0]
        raise ArgumentError(
            f"{odd}: shape {arrays[odd].shape} does not go with {next(iter(single))}: a batch axis is on one only"
        )
    if not batched:
        arrays = {k: np.expand_dims(a, LEAD[k] - 1) if k in LEAD else a for k, a in arrays.items()}
    if steps is not None and not (isinstance(steps, (int, np.integer)) and steps >= 0):
        raise ArgumentError(f"steps: a number of steps is expected, got {steps!r}")
    T = next((arrays[k].shape[0] for k in INPUTS), steps)
    if T is None:
        raise ArgumentError("the cell has no inputs: say how many steps, steps=")
    if steps not in (None, T):
        raise ArgumentError(f"steps: {steps} is given, the inputs have {T} steps")
    B = next((arrays[k].shape[LEAD[k] - 1] for k in (*INPUTS, *arrays) if k in LEAD and k in arrays), 1)
    sizes = _sizes(lambda name, axis: arrays[name].shape[LEAD.get(name, 0) + axis] if name in arrays else None)
    shapes = _shapes(**sizes)
    for k, a in arrays.items():
        _check_shape(k, a, ((T, B)[2 - LEAD[k] :] if k in LEAD else ()) + shapes[k], T)
    if min([*sizes.values(), 1]) < 1:
        raise ArgumentError(f"sizes are positive, got {sizes}")
    for k in STATES:
        arrays.setdefault(k, np.zeros((B, *shapes[k]), dtype))
    return (
        {k: a if k in INDICES else a.astype(dtype, copy=False) for k, a in arrays.items()},
        sizes,
        T,
        B,
        dtype,
        batched,
    )


def _masks(lengths, reset, T, B):
    """Return who is active and who is reset at each step, (T, B) bool each, or None."""
    active = None
    if lengths is not None:
        lengths = np.atleast_1d(lengths)
        if lengths.shape != (B,) or lengths.dtype.kind not in "iu" or (lengths < 0).any() or (lengths > T).any():
            hint = "; time comes first: (T, B, ...)" if lengths.shape == (T,) else ""
            raise ArgumentError(f"lengths: ({B},) integers from 0 to {T} are expected{hint}")
        active = np.arange(T)[:, None] < lengths
    if reset is not None:
        reset = np.asarray(reset)
        reset = reset[:, None] if reset.ndim == 1 and B == 1 else reset
        if reset.shape != (T, B) or reset.dtype != bool:
            raise ArgumentError(f"reset: a bool array of shape ({T}, {B}) is expected")
        reset = reset if active is None else reset & active
    return active, reset


def _where(mask, a, b):
    """Choose between a and b by a mask that may lack their last axes."""
    return np.where(mask.reshape(mask.shape + (1,) * (np.ndim(a) - mask.ndim)), a, b)


def _kept(mask, x):
    """Return x where a mask is true, else zero; all of it without a mask."""
    return x if mask is None else _where(mask, x, 0)


def _grads(params, inputs, state, resets, flow, batched):
    """Return gradients, without the batch axis where none was given; resets send theirs to the initial state too."""
    state = {k: v + resets[k] for k, v in state.items()}
    if not batched:
        inputs, state = {k: v[:, 0] for k, v in inputs.items()}, {k: v[0] for k, v in state.items()}
    return Grads(params, inputs, state, flow)


def _cotangents(run, given):
    """Return the cotangents of every step and those of the last step by name, None where nothing is given."""
    if getattr(run, "mark", None) is not MARK:
        raise ArgumentError("the run is not one of this module's forward")
    full, last = dict.fromkeys([*run.states, *run.outputs]), dict.fromkeys(run.states)
    _names("state or output", given, list(full), ())
    for name, value in given.items():
        wanted = (run.states | run.outputs)[name].shape
        array = _plain(name, value)
        if array.dtype != run.dtype:
            raise ArgumentError(f"{name}: a cotangent of {run.dtype} is expected, got {array.dtype}")
        if array.shape == wanted:
            full[name] = array if run.batched else np.expand_dims(array, 1)
        elif array.shape == wanted[1:] and name in last:
            last[name] = array if run.batched else array[None]
        elif array.shape == wanted[1:] and wanted[0]:
            full[name] = np.zeros((wanted[0], *array.shape), run.dtype)
            full[name][-1] = array
            full[name] = full[name] if run.batched else np.expand_dims(full[name], 1)
        else:
            raise ArgumentError(
                f"{name}: shape {wanted}, or {wanted[1:]} for the last step, is expected, got {array.shape}"
            )
        if full[name] is None:
            _check_finite(name, last[name], 1)
        else:
            _check_finite(name, _kept(run.tape[-2], full[name]), 2)  # of samples that go on
    return full, last


def _frozen(arrays, batched):
    """Return arrays without the batch axis where none was given, and read-only: backward still needs them."""
    arrays = {k: (a if batched else a[:, 0])[...] for k, a in arrays.items()}
    for a in arrays.values():
        a.flags.writeable = False
    return arrays
