"""State spaces: cells that are linear in their state."""

import numpy as np

import symbptt as sb
from symbptt import Input, Param, State


@sb.cell
def lru(x: Input["m"], re: State["n"], im: State["n"],
        B_re: Param["n m"], B_im: Param["n m"], C_re: Param["k n"], C_im: Param["k n"], D: Param["k m"],
        nu: Param["n"] = -2.0, theta: Param["n"] = 0.0):  # fmt: skip
    """The linear recurrent unit: a complex diagonal recurrence inside the unit circle, as two real states; output y.

    The eigenvalues are exp(-exp(nu) ± i exp(theta)), the input is scaled by sqrt(1 - |eigenvalue|²).

    Source: Orvieto et al. 2023, "Resurrecting recurrent neural networks for long sequences", section 3.
    """
    modulus, phase = np.exp(-np.exp(nu)), np.exp(theta)
    a, b = modulus * np.cos(phase), modulus * np.sin(phase)
    gain = np.sqrt(-np.expm1(-2 * np.exp(nu)))
    re_new = a * re - b * im + gain * (B_re @ x)
    im_new = a * im + b * re + gain * (B_im @ x)
    return {"re": re_new, "im": im_new, "y": C_re @ re_new - C_im @ im_new + D @ x}


@sb.cell
def s4d(x: Input["m"], re: State["m n"], im: State["m n"],
        omega: Param["m n"], C_re: Param["m n"], C_im: Param["m n"],
        decay: Param["m n"] = -0.7, log_dt: Param["m"] = -2.0, D: Param["m"] = 1.0):  # fmt: skip
    """A diagonal state space: n complex modes for each input channel, discretised by a hold of zero order; output y.

    The modes are -exp(decay) + i omega; the paper's S4D-Lin starts with omega = π (0, 1, …, n-1).

    Source: Gu, Goel, Gupta, Ré 2022, "On the parameterization and initialization of diagonal state space models",
    with B = 1.
    """
    dt, rate = np.exp(log_dt)[:, None], np.exp(decay)
    modulus = np.exp(-dt * rate)
    a, b = modulus * np.cos(dt * omega), modulus * np.sin(dt * omega)
    size = rate**2 + omega**2
    g_re = (rate * (1 - a) + omega * b) / size
    g_im = (omega * (1 - a) - rate * b) / size
    re_new = a * re - b * im + g_re * x[:, None]
    im_new = a * im + b * re + g_im * x[:, None]
    y = 2 * np.sum(C_re * re_new - C_im * im_new, axis=1) + D * x
    return {"re": re_new, "im": im_new, "y": y}


@sb.cell
def s5(u: Input["m"], re: State["n"], im: State["n"], omega: Param["n"], B_re: Param["n m"], B_im: Param["n m"],
       C_re: Param["m n"], C_im: Param["m n"], decay: Param["n"] = -0.7, log_step: Param["n"] = -2.0, D: Param["m"] = 1.0):  # fmt: skip
    """One diagonal state space of n complex modes for all inputs together, each mode with a time step of its own; output y.

    The modes are -exp(decay) + i omega and their conjugates, of whose pairs one half is kept.

    Source: Smith, Warrington, Linderman 2023, "Simplified state space layers for sequence modeling", equations 2, 4 and 6, and
    appendix A for the conjugate pairs.
    """
    step, rate = np.exp(log_step), np.exp(decay)
    modulus = np.exp(-step * rate)
    a, b = modulus * np.cos(step * omega), modulus * np.sin(step * omega)
    size = rate**2 + omega**2
    g_re, g_im = (rate * (1 - a) + omega * b) / size, (omega * (1 - a) - rate * b) / size
    v_re, v_im = B_re @ u, B_im @ u
    re_new = a * re - b * im + g_re * v_re - g_im * v_im
    im_new = a * im + b * re + g_re * v_im + g_im * v_re
    return {"re": re_new, "im": im_new, "y": 2 * (C_re @ re_new - C_im @ im_new) + D * u}


@sb.cell
def selective_ssm(x: Input["m"], h: State["m n"],
                  Wb: Param["n m"], Wc: Param["n m"], Wd: Param["m m"], log_a: Param["m n"],
                  bd: Param["m"] = -2.0, D: Param["m"] = 1.0):  # fmt: skip
    """A state space that chooses what to keep: its time step, input and readout follow from the input; output y.

    Source: Gu, Dao 2023, "Mamba: linear-time sequence modeling with selective state spaces", algorithm 2, with the
    simplified discretisation of its code, a full matrix for the time step and one scan a channel.
    """
    dt = sb.softplus(Wd @ x + bd)
    decay = np.exp(-dt[:, None] * np.exp(log_a))
    now = decay * h + (dt * x)[:, None] * (Wb @ x)
    return {"h": now, "y": now @ (Wc @ x) + D * x}


@sb.cell
def linoss(u: Input["m"], y: State["n"], z: State["n"], B: Param["n m"], C: Param["k n"], D: Param["k m"],
           A_hat: Param["n"] = 0.5, step: Param["n"] = 0.0):  # fmt: skip
    """Linear oscillators with a position y and a velocity z, in implicit steps that never grow; output x.

    The squared frequencies are relu(A_hat), the time steps sigmoid(step).

    Source: Rusch, Rus 2025, "Oscillatory state-space models", equations 1 and 3 to 5: the implicit scheme LinOSS-IM.
    """
    A, dt = sb.relu(A_hat), sb.sigmoid(step)
    S = 1 / (1 + dt**2 * A)
    z_new = S * (z + dt * (-A * y + B @ u))
    y_new = S * (y + dt * z + dt**2 * (B @ u))
    return {"y": y_new, "z": z_new, "x": C @ y_new + D @ u}
