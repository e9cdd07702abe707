"""Stability in the course of a training: exponents, gradients and verdict, measured at every so many calls."""

from __future__ import annotations

import json
import os
import textwrap
import warnings
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from symbptt.checks import check_count, check_path, check_seed, named
from symbptt.clipping import joint_norm
from symbptt.codegen.kernel import Kernel
from symbptt.codegen.kernel import compile as compile_target
from symbptt.errors import ArgumentError, StabilityWarning, TargetError, instead_of_cell, three_lines
from symbptt.files import check_own, write_text
from symbptt.language.cell import Cell
from symbptt.language.each_step import with_inputs
from symbptt.language.model import Model
from symbptt.stability.pictures.training import draw_watch
from symbptt.stability.report.analysis import along
from symbptt.stability.report.history import (
    History,
    Measurement,
    change,
    changes_of,
    csv_of,
    history_of,
    last_decided,
    lines_of,
    numbers_of,
)
from symbptt.stability.report.verdict import error_of, verdict
from symbptt.stability.runs.default_sizes import check_mapping
from symbptt.stability.runs.setting import STEPS, TAIL, Setting, setting
from symbptt.stability.spectra.lyapunov import spectrum_of

Arrays = Mapping[str, Any]
LAGS = 12
"""Lags over 0 at which gradients are recorded."""


class Watch:
    """Measures the stability of a cell or a model in a training: call it with the parameters once in each iteration.

    The first call and every `every`-th after it measure, on the inputs that were given once: the first `count` Lyapunov
    exponents, the gradient against the lag and the verdict, as `sb.lyapunov_spectrum`, `sb.gradient_flow` and `sb.analyze`
    find them. Such a call returns a `Measurement`, every other one None, at the cost of a comparison. Where the verdict is
    another than the one before, it warns (`sb.StabilityWarning`), once for each change; "undecided" is no verdict, and changes none.

    A measurement runs the inputs three times forward and once backward and multiplies their Jacobians by `count` directions;
    where gradients grow, 200 to 4000 steps more tell chaos from explosion. docs/stability.md says what that costs beside a
    training step. Parameters are only read; the same parameters give the same numbers. A watch can be pickled, with its history.

    Shapes: inputs (T, B, ...) or (T, ...), state (B, ...) or (...), targets as `kernel.value_and_grad`; what is missing is drawn
    by `seed` as in `sb.analyze`. A cell without inputs takes `steps`.

    Raises: ArgumentError for what is neither a cell nor a model, for `every` and `count` under 1; in a call for parameters that
    do not fit or are not finite, as `sb.analyze` does.

    Example:
        >>> import numpy as np
        >>> import symbptt as sb
        >>> from symbptt.zoo import rnn
        >>> params, x = rnn.init({"m": 1, "n": 4}, seed=0), np.zeros((50, 1, 1))
        >>> watch = sb.Watch(rnn, {"x": x}, every=10)
        >>> for i in range(20):
        ...     found = watch({**params, "U": 0.5 * params["U"]})
        >>> watch.history.calls.tolist(), watch.history.verdicts
        ([0, 10], ('vanishing', 'vanishing'))
    """

    def __init__(
        self, target: Cell | Model, inputs: Arrays | None = None, state: Arrays | None = None, targets: Arrays | None = None,
        *, every: int = 100, count: int = 3, steps: int | None = None, seed: int = 0,
    ) -> None:  # fmt: skip
        if not isinstance(target, Cell | Model):
            raise ArgumentError(three_lines(f"a watch takes a cell or a model, got {type(target).__name__}", "in sb.Watch",
                                            instead_of_cell(target)))  # fmt: skip
        (target if isinstance(target, Cell) else target.cell).check_real()
        check_count("every", every, 1)
        check_count("count", count, 1)
        check_seed(seed)
        given = {"inputs": inputs, "state": state, "targets": targets}
        for kind, arrays in given.items():
            check_mapping(kind, arrays, f"in a watch of {target.name}")
        self.target, self.every, self.count, self.steps, self.seed = target, int(every), int(count), steps, seed
        # Copies: a training loop may reuse its buffers, and a watch must measure on the same data at every call.
        self._given = {
            kind: None if arrays is None else {k: np.array(v) for k, v in named(arrays).items()}
            for kind, arrays in given.items()
        }
        self._calls, self._records, self._lags = 0, list[Measurement](), np.zeros(0, int)

    def __repr__(self) -> str:
        return f"<watch of {self.target.name}: {len(self._records)} measurements in {self._calls} calls>"

    def __getstate__(self) -> dict[str, Any]:
        # The kernel is a cache: it is compiled again at the next measurement.
        return {name: value for name, value in vars(self).items() if name != "_kernel"}

    def __call__(self, params: Arrays) -> Measurement | None:
        """Count a call; measure where it is due, and return the measurement."""
        call = self._calls
        self._calls += 1
        if call % self.every:
            return None
        before, found = last_decided(self._records), self._measured(params, call)
        self._records.append(found)
        if before is not None and found.verdict not in ("undecided", before.verdict):
            warnings.warn(change(self.target.name, before, found), StabilityWarning, stacklevel=2)
        return found

    step = __call__

    @property
    def calls(self) -> int:
        """The number of calls so far."""
        return self._calls

    @property
    def records(self) -> tuple[Measurement, ...]:
        """The measurements, in order."""
        return tuple(self._records)

    @property
    def history(self) -> History:
        """The measurements, as arrays."""
        return history_of(self._records, self._lags)

    def text(self) -> str:
        """Return the history in words: a line for each measurement, and each change of the verdict."""
        head = f"{self.target.name}: {len(self._records)} measurements in {self._calls} calls, one in {self.every}"
        if not self._records:
            return f"{head}\n"
        note = "A column lag k is the norm of the gradient k steps back, relative to that at the loss."
        changes = [_sentence(text) for text in changes_of(self.target.name, self._records)]
        return "\n".join([head, "", *lines_of(self._records, self._lags), "", note, *changes]) + "\n"

    __str__ = text

    def numbers(self) -> dict[str, Any]:
        """Return the history as lists, numbers and texts; None for numbers that are not finite."""
        return {"name": self.target.name, "every": self.every, **numbers_of(self.history)}

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the history to a file, all of it or nothing: a row for each measurement where its name ends with .csv, the
        numbers where it ends with .json. A file that symbptt wrote is replaced, another one with `force`.

        Raises: ArgumentError for another ending; TargetError where the file cannot be written, or symbptt did not write the
        one that is there.
        """
        check_path(path, "stability.csv")
        path, where = Path(path), f"in the watch of {self.target.name}"
        kind = path.suffix.lower()
        if kind not in (".csv", ".json"):
            raise ArgumentError(three_lines(f"a history is written as .csv or .json, got {path.name!r}", where,
                                            'write watch.save("stability.csv")'))  # fmt: skip
        if not path.parent.is_dir():
            raise TargetError(f"cannot write {path}: there is no folder {path.parent}")
        check_own([path], force, "replace it with force=True, or choose another path")
        numbers = {"written_by": "symbptt", **self.numbers()}
        write_text(
            path, csv_of(self.history) if kind == ".csv" else json.dumps(numbers, ensure_ascii=False, indent=1) + "\n"
        )

    def plot(self, figure: Any = None) -> Any:
        """Return a figure of the exponents and of the gradient at some lags against the call, the changes of the verdict marked.

        Raises: ArgumentError where nothing was measured; SymbpttError without matplotlib.
        """
        if not self._records:
            raise ArgumentError(three_lines("there is nothing to draw: no call has been made", f"in the watch of {self.target.name}",
                                            "call watch(params) in the training loop first"))  # fmt: skip
        return draw_watch(self.history, figure, name=self.target.name)

    @cached_property
    def _kernel(self) -> Kernel:
        """The kernel of the gradient: of a model, with the loss at the last step alone."""
        # With a loss at every step the cotangent at a lag would sum gradients of many lags.
        t = with_inputs(self.target)
        return compile_target(t if isinstance(t, Cell) else Model(t.cell, t.loss, "last", t.reduction))

    @np.errstate(all="ignore")
    def _measured(self, params: Arrays, call: int) -> Measurement:
        where = f"in the watch of {self.target.name}"
        if not isinstance(params, Mapping):
            raise ArgumentError(three_lines(f"params: a dict by name is expected, got {type(params).__name__}", where,
                                            "call watch(params) with the parameters of the training"))  # fmt: skip
        g = self._given
        of = setting(self.target, params, g["inputs"], g["state"], g["targets"], self.steps, self.seed)
        spectrum = spectrum_of(of.run, count=min(self.count, of.run.dimension), seed=self.seed)
        if self._records and len(spectrum.exponents) != len(self._records[0].exponents):
            raise ArgumentError(three_lines(f"the state has {of.run.dimension} elements, and had others before", where,
                                            "make a new watch for a cell of another size"))  # fmt: skip
        found = verdict(of.run, spectrum, of.left)
        norms = self._norms(of)
        # Chosen at the first measurement, so that all rows have the same columns.
        if not len(self._lags):
            self._lags = np.unique([0, *np.geomspace(1, self._length(), LAGS).round().astype(int)])
        gradients = np.array([norms[lag] if lag < len(norms) else np.nan for lag in self._lags])
        errors = np.array([error_of(spectrum), *spectrum.error[1:]])
        return Measurement(call, spectrum.exponents, errors, gradients, found.kind, found.confidence, found.reason,
                           found.exponent, found.error)  # fmt: skip

    def _length(self) -> int:
        """The steps over which gradients are followed, of a run that stays in its range."""
        timed = {a.name for a in self.target.arguments if a.role in ("input", "index")}
        given = next((v for k, v in (self._given["inputs"] or {}).items() if k in timed), None)
        return min(TAIL, len(given) if given is not None else self.steps or STEPS)

    def _norms(self, of: Setting) -> Any:
        """The norms of ∂ℓ_T/∂s_{T−k} for all lags k over the tail of the run, in one sweep. Shapes: (T + 1,)."""
        inputs, state = along(of.tail)
        with np.errstate(over="ignore", invalid="ignore"):
            if isinstance(self.target, Cell):
                run = self._kernel.forward(of.own, inputs, state, steps=of.tail.steps)
                random = np.random.default_rng(self.seed)
                sent = {k: random.standard_normal(v[-1].shape).astype(v.dtype) for k, v in run.states.items()}
                grads = self._kernel.backward(run, sent, monitor=True)
            else:
                wanted = {
                    k: np.asarray(v)[-1] if self.target.at == "every" else v for k, v in (of.targets or {}).items()
                }
                grads = self._kernel.value_and_grad(
                    of.params, inputs, wanted, state, steps=of.tail.steps, monitor=True
                )[1]
            # `flow` has the gradients of the states after each step; that of the initial state comes last.
            first = joint_norm(grads.state.values())
            return np.append(np.hypot.reduce(list(grads.flow.values()))[::-1], first)


def _sentence(text: str) -> str:
    return textwrap.fill(text[:1].upper() + text[1:] + ".", 100, break_on_hyphens=False)
