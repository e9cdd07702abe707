"""Pictures of spectra: Lyapunov exponents, their convergence, singular values of products, eigenvalues, paths."""

from __future__ import annotations

from typing import Any

import numpy as np

from symbptt.drawing.style import (
    BLUE,
    DARK,
    GREY,
    MOST_LINES,
    ORANGE,
    RED,
    at_edge,
    axes_or_new,
    chosen,
    finish,
    finite,
    note,
    plural,
    viridis,
)
from symbptt.stability.spectra.lyapunov import LocalExponents, LyapunovSpectrum
from symbptt.stability.spectra.products import ProductSpectrum

SLOPES = 5
FEW = 40
"""Up to so many points each has a marker."""


def draw_exponents(spectrum: LyapunovSpectrum, axes: Any = None, *, name: str = "") -> Any:
    """Draw the exponents λ_i, nats per step, against i/N with their 95 % intervals; return the axes.

    The narrow band is the error within the run, the wide one spans nine tenths of the exponents over windows of time, the dashed
    lines are the standard deviation between samples. Exponents of −∞ are marked at the lower edge. Of a partial spectrum, whose
    N is not known, against i.
    """
    axes = axes_or_new(axes)
    values, half = finite(spectrum.exponents), finite(spectrum.half_width)
    # A partial spectrum has no sum rule, and its N is not known here.
    whole = not np.isnan(spectrum.sum_rule_defect)
    x = np.arange(1, len(values) + 1) / (len(values) if whole else 1)
    axes.axhline(0, color=DARK, linewidth=0.8)
    _draw_local(axes, x, spectrum.local)
    # A band over one point has no width and would not be seen.
    if len(values) == 1:
        axes.errorbar(x, values, half, fmt="none", ecolor=BLUE, capsize=3, label="95 % interval")
    else:
        axes.fill_between(x, values - half, values + half, color=BLUE, alpha=0.3, linewidth=0, label="95 % interval")
    axes.plot(x, values, ".-" if len(x) <= FEW else "-", color=BLUE, linewidth=1.4, label=r"$\lambda_i$")
    if spectrum.between is not None:
        for sign in (-1, 1):
            axes.plot(x, values + sign * finite(spectrum.between), "--", color=ORANGE, linewidth=0.9, zorder=1.9,
                      label="± sd of samples" if sign == 1 else None)  # fmt: skip
    lost = np.isneginf(spectrum.exponents)
    at_edge(axes, x[lost], rf"$-\infty$: {lost.sum()} of {len(x)}")
    axes.set_xlim(0, x[-1] + x[0] / 2)
    title = "Lyapunov exponents" + ("" if spectrum.converged else " (not converged)")
    return finish(axes, title, name, "i / N" if whole else "i", r"$\lambda_i$ (nats per step)")


def _draw_local(axes: Any, x: Any, local: LocalExponents) -> None:
    """The exponents over windows of time, as a band, or at one exponent as a bar; nothing where there is one window."""
    if len(local.edges) < 3:
        return
    low, high = finite(local.low), finite(local.high)
    label = f"windows of {plural(local.length, 'step')}"
    if len(x) == 1:
        axes.vlines(x, low, high, color=GREY, alpha=0.4, linewidth=9, label=label)
    else:
        axes.fill_between(
            x, low, high, facecolor="none", edgecolor=GREY, alpha=0.7, hatch="////", linewidth=0.4, label=label
        )


def draw_convergence(spectrum: LyapunovSpectrum, axes: Any = None, *, name: str = "") -> Any:
    """Draw the running estimates of the exponents against the measured steps; return the axes.

    The bars at the end are 95 % intervals. The vertical range is that of the estimates after the first fiftieth of the run.
    """
    axes = axes_or_new(axes)
    steps, history, count = np.asarray(spectrum.history_steps), finite(spectrum.history), len(spectrum.exponents)
    shown = chosen(count, MOST_LINES)
    axes.axhline(0, color=DARK, linewidth=0.8)
    for i in shown:
        axes.plot(steps, history[:, i], "-" if len(steps) > FEW else ".-", color=viridis(i, count), linewidth=0.9)
    for i in chosen(count, 3):
        axes.errorbar(
            steps[-1:], history[-1:, i], finite(spectrum.half_width)[i : i + 1], color=viridis(i, count), capsize=2
        )
    if steps[-1] >= FEW * steps[0]:
        axes.set_xscale("log")
    _limit(axes, history[steps >= steps[-1] / 50][:, shown])
    _name_ends(axes, steps[-1], history[-1], count)
    if len(shown) < count:
        note(axes, f"{len(shown)} of {count} exponents")
    lost = int(np.isneginf(spectrum.exponents).sum())
    if lost:
        note(axes, rf"$-\infty$: {lost} of {count}")
    return finish(axes, "running Lyapunov exponents", name, "steps", r"running $\lambda_i$ (nats per step)")


def _limit(axes: Any, values: Any) -> None:
    """Set the vertical range to that of the values, where any is finite."""
    seen = values[np.isfinite(values)]
    if len(seen):
        room = 0.08 * (np.ptp(seen) or max(1e-3, abs(seen[0])))
        axes.set_ylim(seen.min() - room, seen.max() + room)


def _name_ends(axes: Any, x: Any, ends: Any, count: int) -> None:
    """Write λ_1, the middle and λ_N at the ends of their lines, those that do not overlap."""
    low, high = axes.get_ylim()
    last = np.inf
    for i in chosen(count, 3):
        if np.isfinite(ends[i]) and last - ends[i] > 0.07 * (high - low):
            axes.annotate(rf"$\lambda_{{{i + 1}}}$", (x, ends[i]), (4, 0), textcoords="offset points", va="center", fontsize=7.5,
                          annotation_clip=False)  # fmt: skip
            last = ends[i]


def draw_fan(
    product: ProductSpectrum, axes: Any = None, *, spectrum: LyapunovSpectrum | None = None, name: str = ""
) -> Any:
    """Draw the logarithms of the singular values of products against the lag, in nats; return the axes.

    With the spectrum of the same cell, the slopes λ_i of some of them are drawn over it. Zeros are marked at the lower edge.
    """
    axes = axes_or_new(axes)
    lags, values = np.asarray(product.lags), finite(product.log_singular_values)
    count = values.shape[1]
    shown = chosen(count, MOST_LINES)
    axes.axhline(0, color=DARK, linewidth=0.8)
    for i in shown:
        label = r"$\ln\,\sigma_i(k)$" + (f", {len(shown)} of {count}" if len(shown) < count else "") if i == 0 else None
        axes.plot(lags, values[:, i], ".-" if len(lags) <= FEW else "-", color=viridis(i, count), linewidth=1.0, markersize=3.5,
                  label=label)  # fmt: skip
    if spectrum is not None:
        _draw_slopes(axes, spectrum, lags[-1])
    zero = np.isneginf(product.log_singular_values).any(1)
    at_edge(axes, lags[zero], r"some $\sigma_i = 0$")
    return finish(axes, "singular values of products", name, "lag k (steps)", r"$\ln\,\sigma_i(k)$ (nats)")


def _draw_slopes(axes: Any, spectrum: LyapunovSpectrum, end: Any) -> None:
    exponents = np.asarray(spectrum.exponents)
    exponents = exponents[np.isfinite(exponents)]
    for i in chosen(len(exponents), SLOPES) if len(exponents) else ():
        axes.plot([0, end], [0, exponents[i] * end], color="black", linestyle=(0, (4, 2)), linewidth=1.0,
                  label=r"slopes $\lambda_i$" if i == 0 else None)  # fmt: skip


def draw_eigenvalues(eigenvalues: Any, axes: Any = None, *, name: str = "", of: str = "J") -> Any:
    """Draw eigenvalues in the complex plane with the unit circle, those outside it as red triangles; return the axes.

    Shapes: eigenvalues of any shape, as those of `Points.eigenvalues`; `of` says in the title whose they are.
    """
    axes = axes_or_new(axes)
    given = np.ravel(np.asarray(eigenvalues, complex))
    values = given[np.isfinite(given)]
    angle = np.linspace(0, 2 * np.pi, 361)
    axes.plot(np.cos(angle), np.sin(angle), color=DARK, linewidth=1.0, label="unit circle")
    alpha = float(np.clip(60 / max(1, len(values)), 0.25, 1))
    outside = np.abs(values) > 1
    for part, mark, colour, text in ((~outside, "o", BLUE, "inside"), (outside, "^", RED, "outside")):
        if part.any():
            axes.plot(values[part].real, values[part].imag, mark, color=colour, markersize=4, alpha=alpha, markeredgewidth=0,
                      label=f"{text}: {part.sum()}")  # fmt: skip
    if len(values) < len(given):
        note(axes, f"not finite: {len(given) - len(values)}")
    axes.set_aspect("equal", adjustable="datalim")
    return finish(axes, f"eigenvalues of {of}", name, "real part", "imaginary part")


def draw_paths(product: ProductSpectrum, axes: Any = None, *, name: str = "") -> Any:
    """Draw, for each state, how its perturbation after k steps comes through it alone and through others; return the axes.

    Logarithms of spectral norms, in nats: solid what never leaves the state, dashed the rest of ∂s_t/∂s_{t−k}.
    """
    axes = axes_or_new(axes)
    lags = np.asarray(product.lags)
    colours = (BLUE, RED, GREY, ORANGE)
    axes.axhline(0, color=DARK, linewidth=0.8)
    for i, state in enumerate(product.paths.direct):
        for values, line, text in (
            (product.paths.direct, "-", "within {}"),
            (product.paths.through, "--", "{} by others"),
        ):
            if not np.isfinite(values[state]).any():
                note(axes, f"{text.format(state)}: nothing")
                continue
            axes.plot(lags, finite(values[state]), line, marker="osD^"[i % 4] if len(lags) <= FEW else "", markersize=2.5,
                      color=colours[i % len(colours)], linewidth=1.3, label=text.format(state))  # fmt: skip
    return finish(axes, "paths of a perturbation", name, "lag k (steps)", "ln of the norm (nats)")
