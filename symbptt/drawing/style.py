"""The common style of all pictures: axes, labels, a legend above the data, marks for numbers off the axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from symbptt.drawing.figures import need_matplotlib, new_figure

SIZE = (3.5, 2.8)
"""One column of a journal, in inches."""
TITLE, LABEL, SMALL = 9.0, 8.5, 7.5
"""Points."""
BLUE, RED, GREEN, PINK, ORANGE, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
"""Colours that colour-blind people can tell apart; no picture needs them to. Source: Okabe, Ito 2008."""
GREY, DARK = "#8a949c", "#40586b"
HANDLE = 0.42
"""The width of a line in a legend with its gaps, in inches."""
HUGE = 1e150
"""Larger numbers count as overflow: a logarithmic axis needs room above them."""
ROUNDING = 1e-9
"""Values that differ by less are drawn as equal: their differences are rounding."""
LEVEL = 0.05
"""Half the vertical range of values that are all equal, relative to them or to 1."""
MOST_TICKS = 7
"""Numbers along an axis at the most."""
MOST_LINES = 64
"""Lines of one kind at the most: of more, evenly chosen ones are drawn."""


def axes_or_new(axes: Any, projection: str | None = None) -> Any:
    """Return the axes, or those of a new figure of one column.

    Raises: SymbpttError where a figure is to be made and matplotlib is not installed.
    """
    if axes is not None:
        return axes
    return new_figure(*SIZE, layout="constrained").add_subplot(projection=projection)


def finish(axes: Any, title: str, name: str, xlabel: str, ylabel: str) -> Any:
    """Set title, labels and legend in the sizes of one column, and return the axes."""
    axes.set_xlabel(xlabel, fontsize=LABEL)
    axes.set_ylabel(ylabel, fontsize=LABEL)
    axes.tick_params(labelsize=SMALL)
    axes.tick_params(which="minor", labelsize=SMALL)
    if axes.name != "3d":
        axes.grid(True, which="major", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        for axis in (axes.xaxis, axes.yaxis):
            _name_ticks(axis)
    rows = _legend_over(axes)
    text = f"{name}: {title}" if name else title
    # The legend stands between title and data: the title moves up by its rows.
    axes.set_title(text, fontsize=TITLE, loc="left", pad=5 + 1.35 * SMALL * rows)
    return axes


def _name_ticks(axis: Any) -> None:
    """Give every tick its whole number, and no more ticks than have room: no power of ten stands apart, at the end of the axis,
    where the legend is, and no number between powers of ten stands on its neighbour."""
    ticker = need_matplotlib().ticker
    if isinstance(axis.get_major_locator(), ticker.FixedLocator):  # names that the caller has put there
        return
    if axis.get_scale() == "linear":
        _widen(axis)
        axis.set_major_locator(ticker.MaxNLocator(MOST_TICKS, steps=[1, 2, 5, 10]))
        axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: number(value, _step(axis))))
        return
    axis.set_minor_formatter(ticker.NullFormatter())
    low, high = np.log10(axis.get_view_interval())
    if high - low >= 2:
        return
    axis.set_major_locator(
        ticker.LogLocator(subs=(1, 2, 5))
        if high - low >= 1
        else ticker.MaxNLocator(MOST_TICKS - 1, steps=[1, 2, 5, 10])
    )
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: number(value) if value > 0 else ""))


def _widen(axis: Any) -> None:
    """Let a vertical range that is all rounding, of values that are equal, not look like a picture of something."""
    low, high = axis.get_view_interval()
    # Relative to the values, but to 1 for values near zero.
    size = max(1.0, abs(low + high) / 2)
    if axis.axis_name == "y" and high - low < 2 * ROUNDING * size:
        axis.axes.set_ylim((low + high) / 2 - LEVEL * size, (low + high) / 2 + LEVEL * size)


def _step(axis: Any) -> float:
    ticks = np.asarray(axis.get_majorticklocs(), float)
    return float(np.diff(ticks).min()) if len(ticks) > 1 else 0.0


def number(value: float, step: float = 0.0) -> str:
    """Return a number with the digits in which ticks a step apart differ, three without a step; its minus is a true one."""
    if abs(value) < max(step / 1e3, 1e-300):
        return "0"
    digits = (
        # The factor keeps log10 of a value such as 999.9999999 from falling below the power of ten that it stands for.
        max(1, round(np.floor(np.log10(abs(value) * 1.000001)) - np.floor(np.log10(step * 1.000001))) + 1)
        if step
        else 3
    )
    if 1e-4 <= abs(value) < 1e6:
        text = f"{float(f'{value:.{digits}g}'):.12g}"
    else:
        mantissa, power = f"{value:.{digits - 1}e}".split("e")
        text = f"{float(mantissa):.12g}e{int(power)}"
    return text.replace("-", "−")


def _legend_over(axes: Any) -> int:
    """Put the legend between title and data, and return its rows."""
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return 0
    width = 1.1 * axes.get_position().width * axes.figure.get_figwidth()  # a layout widens axes
    columns = _columns(labels, width)
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, frameon=False, fontsize=SMALL, borderaxespad=0.1,
        borderpad=0.1, handlelength=2.0, handletextpad=0.5, columnspacing=1.2, labelspacing=0.25,
    )  # fmt: skip
    return -(-len(labels) // columns)


def _columns(labels: list[str], width: float) -> int:
    """Return the most columns in which labels fit a width in inches; a legend is filled column by column."""
    matplotlib = need_matplotlib()
    font, measure = matplotlib.font_manager.FontProperties(size=SMALL), matplotlib.textpath.text_to_path
    widths = [HANDLE + measure.get_text_width_height_descent(text, font, "$" in text)[0] / 72 for text in labels]
    # Column by column: each column is as wide as its widest label.
    for columns in range(len(widths), 1, -1):
        if sum(max(part) for part in np.array_split(widths, columns)) <= width:
            return columns
    return 1


def finite(values: Any) -> Any:
    """Return values as floats, nan where they are not finite: matplotlib leaves a gap there."""
    values = np.asarray(values, float)
    return np.where(np.isfinite(values), values, np.nan)


def positive(values: Any) -> Any:
    """Return values as floats, nan where a logarithmic axis has no place for them."""
    values = np.asarray(values, float)
    return np.where((values > 0) & (values < HUGE), values, np.nan)


def is_spread(values: Any, ratio: float) -> bool:
    """Return whether the positive ones among the values differ by a factor, and there are any."""
    logs = np.log(values[values > 0])
    return len(logs) > 0 and bool(np.ptp(logs) >= np.log(ratio))


def logarithmic(axes: Any, values: Any) -> None:
    """Make the vertical axis logarithmic where any of the values has a place there."""
    shown = positive(values)
    shown = shown[np.isfinite(shown)]
    if len(shown):
        # matplotlib would give equal values a range of less than a decade, without a labelled tick.
        if shown.min() == shown.max():
            axes.set_ylim(shown[0] / 10, shown[0] * 10)
        axes.set_yscale("log")


def at_edge(axes: Any, x: Any, label: str, top: bool = False) -> None:
    """Mark at the lower or upper edge, with a legend, where along x values are too small or too large to be drawn."""
    if np.size(x):
        axes.plot(x, np.full(np.size(x), 0.975 if top else 0.025), "^" if top else "v", transform=axes.get_xaxis_transform(),
                  color=RED, markersize=4, linestyle="", label=label, clip_on=False)  # fmt: skip


def note(axes: Any, text: str) -> None:
    """Add a line to the legend that has no mark in the picture."""
    axes.plot([], [], linestyle="", label=text)


def chosen(count: int, most: int) -> Any:
    """Return at most `most` of the indices under `count`, evenly spaced, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def viridis(index: Any, count: int) -> Any:
    """Return the colour of one of `count` ordered lines, from dark to light, none as light as the page."""
    return need_matplotlib().colormaps["viridis"](0.9 * np.asarray(index) / max(1, count - 1))


def plural(count: int, noun: str) -> str:
    """Return a count with its noun."""
    return f"{count} {noun}" + ("" if count == 1 else "s")
