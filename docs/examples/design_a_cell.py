"""Design a cell: a gated unit of one's own, from exploding gradients to a memory of 100 steps, by the tool's advice.

    python docs/examples/design_a_cell.py

The ledger enters what it reads on top of what it keeps. As invented, its gradients grow by a fifth at each step. The
report says which path is responsible, the theorem that the recurrent weights alone use up what it allows, and
`sb.init_for_horizon` where to set the gates once they are halved: a run with fresh data should measure a horizon of about
100 steps. Then both are trained alike. Clipping tames the exploding one, from a loss of 1e33, on the 200 years until 1900;
on the 250 until 1950 its first gradient is beyond float32, and training ends. The designed one learns on both: in about
half a minute the root mean square error of its forecasts one year ahead, 1951 to 2008, should end at 16 to 19 sunspots,
near half of that of persistence (32.8: next year is like this one); rounding decides which. design_a_cell.png shows
singular values of products, gradients against lag, training and forecast, before and after.
Needs matplotlib: `pip install 'symbptt[examples]'`.

Updates are Adam's, clipped as the report of the designed ledger advises. The errors in the years 1901 to 1950, after
training on those before, say when to stop; then training starts anew and takes that long, on all years until 1950.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the products are small: threads would wait for each other

import numpy as np
from matplotlib.figure import Figure

import symbptt as sb
from symbptt import Input, Param, State, Target
from symbptt.stability import pictures

UNITS, RATE, HORIZON, ROOM = 16, 0.01, 100, 0.5
COLOURS = {"as invented": "#d55e00", "designed": "#0072b2"}
DATA = Path(__file__).parents[1] / "data" / "sunspots.csv"


@sb.cell
def ledger(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"],
           Wk: Param["n m"], We: Param["n m"], be: Param["n"], bk: Param["n"] = 1.0):  # fmt: skip
    k = sb.sigmoid(Wk @ x + bk)  # how much of each account is kept
    e = sb.sigmoid(We @ x + be)  # how much of the year is entered; unlike in a GRU, not the complement of k
    return k * h + e * (W @ x + U @ h + b)


@sb.loss
def squared_error(h: State["n"], y: Target["1"], V: Param["1 n"], c: Param["1"]):
    e = V @ h + c - y
    return sb.sum(e * e)


model = sb.model(ledger, squared_error, reduction="mean")
kernel = sb.compile(model)

# x is a year, y the next one; square roots make the noise of high and low years alike, as for any count
year, spots = np.loadtxt(DATA, delimiter=",", skiprows=1, unpack=True)
series = np.sqrt(spots).astype(np.float32)
early, valid, test = year[1:] <= 1900, (year[1:] > 1900) & (year[1:] <= 1950), year[1:] > 1950
mean, spread = series[:-1][early].mean(), series[:-1][early].std()
series = (series - mean) / spread
x, y, truth = series[:-1, None], series[1:, None], spots[1:]
DATA_OF = {"inputs": {"x": x[early]}, "targets": {"y": y[early]}}


def forecast(params):
    """Return the sunspots that each year's state foretells for the next."""
    h = kernel.forward(params, {"x": x}).states["h"]
    return np.maximum((h @ params["V"][0] + params["c"]) * spread + mean, 0) ** 2


def error(forecast, years):
    return np.sqrt(np.mean((forecast - truth)[years] ** 2))


def design(params):
    """Return parameters with the horizon wanted: U made small, as the theorem asks, and the gate set by a solver."""
    own = {k: params[k] for k in params if k not in ("V", "c")}
    own["U"] = ROOM * own["U"]
    found = sb.init_for_horizon(ledger, HORIZON, own, {"x": x[early]})
    print(f"for a horizon of {HORIZON} steps, U times {ROOM}, and {found}\n")
    return {**params, **found.params}


def train(name, params, years, limit, updates):
    """Return the loss at each update, as far as gradients are finite, and the forecast after it."""
    adam, losses, found = sb.Adam(RATE, clip=limit), [], []
    for update in range(1, updates + 1):
        loss, grads = kernel.value_and_grad(params, {"x": x[years]}, {"y": y[years]})
        if not all(np.isfinite(g).all() for g in (loss, *grads.params.values())):
            print(f"{name}: update {update:4}  the gradient is not finite, training ends")
            break
        params = adam.step(params, grads.params)
        losses.append(float(loss))
        found.append(forecast(params))
        if update % max(updates // 6, 1) == 0:
            print(f"{name}: update {update:4}  loss {loss:9.3g}  error in 1901-1950 {error(found[-1], valid):9.3g}")
    return losses, found


def fit(name, params, limit, updates):
    """Return the losses of training until 1900, and the forecast after training until 1950 for as many updates as were best
    for the years 1901 to 1950; None where a gradient is not finite."""
    losses, found = train(name, params, early, limit, updates)
    errors = [error(f, valid) if np.isfinite(f).all() else np.inf for f in found]
    if not errors:
        return losses, None
    best = int(np.argmin(errors)) + 1
    again = train(f"{name}, until 1950", params, early | valid, limit, best)[1]
    return losses, again[-1] if len(again) == best else None


def draw(reports, results, where):
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    rows = figure.subplots(2, 3)
    for (name, report), axes in zip(reports.items(), rows, strict=True):
        pictures.draw_fan(report.products, axes[0], spectrum=report.spectrum, name=name)
        pictures.draw_flow(report.flow, axes[1], name=name)
    top, bottom = rows[:, 2]
    for (name, (losses, _)), style in zip(results.items(), ("--", "-"), strict=True):
        colour = COLOURS[name]
        top.plot(range(1, len(losses) + 1), losses, style, color=colour, lw=1.8, label=name)
    top.set(xlabel="update", ylabel="mean squared error", yscale="log", title="training until 1900")
    shown = year[1:] > 1930
    bottom.axvspan(1950.5, 2008.5, color="#f2f4f5")
    bottom.plot(year[1:][shown], truth[shown], "k.-", lw=0.8, ms=3.5, label="observed")
    for name, (_, found) in results.items():
        if found is not None:
            label = f"{name}, error {error(found, test):.1f}"
            bottom.plot(year[1:][shown], found[shown], color=COLOURS[name], label=label)
    bottom.set(xlabel="year", ylabel="sunspot number", xlim=(1930, 2008.5), ylim=(0, 250))
    bottom.set_title("forecast one year ahead; test years shaded")
    for axes in (top, bottom):
        axes.set_title(axes.get_title(), fontsize=9, loc="left")
        axes.set_title("")
        axes.tick_params(labelsize=7.5)
        axes.xaxis.label.set_fontsize(8.5)
        axes.yaxis.label.set_fontsize(8.5)
        axes.legend(frameon=False, fontsize=7.5, loc="upper right" if axes is bottom else "center right", ncols=2)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(where / "design_a_cell.png", dpi=150)


@np.errstate(all="ignore")  # the ledger as invented overflows: that is what is to be seen
def main(out, quick):
    updates = 40 if quick else 800
    invented = model.init({"m": 1, "n": UNITS}, seed=0, dtype=np.float32)
    before = sb.analyze(model, invented, **DATA_OF)
    print(before.text())
    print(sb.vanishing_condition(ledger).text(), "\n")
    designed = design(invented)
    after = sb.analyze(model, designed, **DATA_OF)
    print(after.text())
    results = {
        "as invented": fit("as invented", invented, after.clip.threshold, updates),
        "designed": fit("designed", designed, after.clip.threshold, updates),
    }
    print("\nroot mean square error in the test years 1951-2008, in sunspots")
    print(f"  persistence            {error(spots[:-1], test):6.2f}")
    for name, (_, found) in results.items():
        print(f"  ledger, {name:14} {'  none' if found is None else f'{error(found, test):6.2f}'}")
    draw({"as invented": before, "designed": after}, results, out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Design a gated cell for a horizon of 100 steps.")
    parser.add_argument("--out", type=Path, default=Path(), help="the folder of the plot")
    parser.add_argument("--quick", action="store_true", help="only see that it runs")
    options = parser.parse_args()
    main(options.out, options.quick)
