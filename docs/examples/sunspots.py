"""Sunspots one year ahead: a minimal gated unit trained by L-BFGS on `value_and_grad`.

    python docs/examples/sunspots.py

In about half a minute it fits four small networks to the years 1700 to 1950 and forecasts each year of 1951 to 2008
from those before. The root mean square error should end near 16 sunspots: half of persistence (32.8: next year is like
this one), below a linear autoregression on nine years by least squares (AR(9), 18.7), and no worse than that regression
on the square roots that the network is given too (16.3). The curves go to sunspots.png.
Needs matplotlib and SciPy: `pip install 'symbptt[examples]'`.

The cell, its size and the decay were chosen by the error in the years 1901 to 1950, after training on those before. These
years also say when to stop; then each network is fitted anew, that long, to all years until 1950.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the products are small: threads would wait for each other

import numpy as np
from matplotlib.figure import Figure
from rich import print
from scipy.optimize import minimize

import symbptt as sb
from symbptt import Param, State, Target
from symbptt.zoo import mgu

SIZES, DECAY, LAGS = {"m": 1, "n": 8}, 1e-4, 9
DATA = Path(__file__).parents[1] / "data" / "sunspots.csv"


@sb.loss
def squared_error(h: State["n"], y: Target["1"], V: Param["1 n"], c: Param["1"]):
    e = V @ h + c - y
    return sb.sum(e * e)


model = sb.model(mgu, squared_error, reduction="mean")
kernel = sb.compile(model)
layout = sb.flat(kernel, SIZES)

# x is a year, y the next one; square roots make the noise of high and low years alike, as for any count
year, spots = np.loadtxt(DATA, delimiter=",", skiprows=1, unpack=True)
series = np.sqrt(spots) / 10
x, y, year, truth = series[:-1, None], series[1:, None], year[1:], spots[1:]
early, valid, test = year <= 1900, (year > 1900) & (year <= 1950), year > 1950


def as_spots(z):
    return 100 * np.maximum(z, 0) ** 2


def error(forecast, years):
    return np.sqrt(np.mean((forecast - truth)[years] ** 2))


def forecast(params):
    h = kernel.forward(params, {"x": x}).states["h"]
    return as_spots(h @ params["V"][0] + params["c"])


def fit(years, seed, iterations):
    """Return the forecasts after every iteration of L-BFGS on some years."""
    mean_error, found = layout.objective({"x": x[years]}, {"y": y[years]}), []

    def objective(vector):
        loss, slope = mean_error(vector)
        return loss + DECAY * vector @ vector, slope + 2 * DECAY * vector

    def remember(vector):
        found.append(forecast(layout.unpack(vector)))

    start = layout.pack(model.init(SIZES, seed=seed))
    minimize(objective, start, jac=True, method="L-BFGS-B", callback=remember, options={"maxiter": iterations})
    return found


def autoregression(values, years):
    """Return forecasts of a linear regression on the last years, fitted by least squares."""
    known = np.array([[1, *values[t - LAGS : t]] for t in range(LAGS, len(values))])
    fitted = years[LAGS - 1 :]
    weights, *_ = np.linalg.lstsq(known[fitted], values[LAGS:][fitted], rcond=None)
    return np.concatenate([np.full(LAGS - 1, np.nan), known @ weights])


def draw(network, linear, where):
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    shown = year > 1930
    axes.axvspan(1950.5, 2008.5, color="#f2f4f5")
    axes.text(1951, 205, "test years", color="#40586b")
    axes.plot(year[shown], truth[shown], "k.-", lw=0.8, label="observed")
    for forecast, name, style in ((linear, "AR(9)", "#e69f00"), (network, "network", "#0072b2")):
        axes.plot(year[shown], forecast[shown], color=style, label=f"{name}, error {error(forecast, test):.1f}")
    axes.set(xlabel="year", ylabel="sunspot number", xlim=(1930, 2008.5), ylim=(0, 215))
    axes.set_title("Sunspots forecast one year ahead", loc="left")
    axes.legend(ncols=3, frameon=False, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(where / "sunspots.png", dpi=150)


def main(out, quick):
    seeds, iterations = (1, 20) if quick else (4, 200)
    forecasts = []
    for seed in range(seeds):
        found = fit(early, seed, iterations)
        errors = [error(f, valid) for f in found]
        best = int(np.argmin(errors))
        forecasts.append(fit(early | valid, seed, best + 1)[-1])
        print(f"network {seed + 1} of {seeds}: best after {best + 1} iterations, error in 1901-1950 {errors[best]:.2f}")
    network = np.mean(forecasts, axis=0)
    linear, root = autoregression(spots, ~test), as_spots(autoregression(series, ~test))
    print("\nroot mean square error in the test years 1951-2008, in sunspots")
    print(f"  persistence                 {error(spots[:-1], test):6.2f}")
    print(f"  AR(9)                       {error(linear, test):6.2f}")
    print(f"  AR(9) on the square roots   {error(root, test):6.2f}")
    print(f"  recurrent network           {error(network, test):6.2f}")
    draw(network, linear, out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Forecast sunspots with a recurrent network and L-BFGS.")
    parser.add_argument("--out", type=Path, default=Path(), help="the folder of the plot")
    parser.add_argument("--quick", action="store_true", help="only see that it runs")
    options = parser.parse_args()
    main(options.out, options.quick)
