"""Pictures of stability, in matplotlib (the extra `plot`): each draws a result on given axes, or on those of a new figure
of one column where there are none, and returns the axes. `name` is the cell's name, for the title.

    from symbptt.stability import pictures
    pictures.draw_exponents(sb.lyapunov_spectrum(cell, params, inputs), name=cell.name).figure.savefig("exponents.png")
"""

from symbptt.stability.dynamics.sweep_figure import draw_sweep
from symbptt.stability.pictures.field import draw_horizons, draw_phase_diagram
from symbptt.stability.pictures.gradients import draw_bias, draw_flow, draw_gradient_norms
from symbptt.stability.pictures.points import draw_fixed_points
from symbptt.stability.pictures.spectra import (
    draw_convergence,
    draw_eigenvalues,
    draw_exponents,
    draw_fan,
    draw_paths,
)

__all__ = [
    "draw_bias", "draw_convergence", "draw_eigenvalues", "draw_exponents", "draw_fan", "draw_fixed_points", "draw_flow",
    "draw_gradient_norms", "draw_horizons", "draw_paths", "draw_phase_diagram",
    "draw_sweep",
]  # fmt: skip
