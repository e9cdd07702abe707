"""A module checked by itself: its backward pass against the complex step of its own forward pass, with NumPy alone."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from symbptt.codegen.runtime.arguments import OUTSIDE, _masks
from symbptt.codegen.runtime.call import _Call, _cut
from symbptt.codegen.runtime.cell import (
    ARGUMENTS,
    CONTEXTS,
    DECLARED,
    FIXED,
    INDICES,
    INPUTS,
    LEAD,
    PARAMS,
    SHAPES,
    SHOWN,
    STATES,
    TARGETS,
    Array,
    Arrays,
    Sizes,
    _shapes,
    _sizes,
)
from symbptt.codegen.runtime.driver import backward, forward
from symbptt.codegen.runtime.errors import ArgumentError
from symbptt.codegen.runtime.forms import _check_forms
from symbptt.codegen.runtime.full import _reaches
from symbptt.codegen.runtime.masks import _kept, _stopped
from symbptt.codegen.runtime.part import _part
from symbptt.codegen.runtime.stepping import stepper
from symbptt.codegen.runtime.workspace import Workspace

CASES: tuple[dict[str, int], ...] = (
    {"T": 0, "B": 2}, {"T": 1, "B": 1}, {"T": 2, "B": 2, "last": 1}, {"T": 2, "B": 1, "ones": 1}, {"T": 4, "B": 2},
    {"T": 5, "B": 3, "block": 2}, {"T": 9, "B": 2, "block": 9}, {"T": 5, "B": 4, "block": 2, "lengths": 1},
    {"T": 5, "B": 3, "block": 2, "reset": 1}, {"T": 5, "B": 4, "block": 3, "lengths": 1, "reset": 1, "monitor": 1},
    {"T": 3, "B": 2, "block": 2, "absent": 1}, {"T": 3, "B": 2, "block": 2, "near": 1},
)  # fmt: skip
PLAIN: dict[str, int] = {"T": 4, "B": 2}
COVERED: str = "T = 0 to 9; 1 to 3 blocks; lengths, resets; cotangents at all, last, no steps; no batch axis; monitor"
# errors that a block may have, and the least share of the largest block that it counts as
ALLOWED: dict[str, tuple[float, float]] = {"complex step": (1e-9, 1e-4), "differences": (1e-6, 1e-2)}
CERTIFICATE: str = "# certificate:"  # so begin the lines of a certificate, which its own digest leaves out


class _Draw:
    """Random arguments of one case, and the run there; `kind` 1 has all numbers between 0.1 and 0.9."""

    def __init__(self, case: Mapping[str, int], seed: int, kind: int) -> None:
        self.random, self.T, self.B, self.last = np.random.default_rng(seed), case["T"], case["B"], "last" in case
        self.monitor = "monitor" in case
        random, T, B, self.sizes = self.random, self.T, self.B, _some_sizes(self.random, "ones" in case)
        self.a: Arrays = {}
        shapes = _shapes(**self.sizes)
        for k in SHAPES:
            shape, limit = ((T, B)[2 - LEAD[k] :] if k in LEAD else ()) + shapes[k], INDICES.get(k)
            numbers = random.uniform(0.1, 0.9, shape) if kind else 0.6 * random.standard_normal(shape)
            self.a[k] = random.integers(0, shapes[limit][0] if limit else 2, shape) if k in INDICES else numbers
        self.ends = np.array([T, 0, T // 2, 1])[:B] if "lengths" in case else np.full(B, T)
        reset = random.random((T, B)) < 0.4 if "reset" in case else None
        self.masks: dict[str, Any] = {"lengths": self.ends if "lengths" in case else None, "reset": reset}
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

    def alone(self) -> Any:
        """Return the same of its one sample, without the axis of samples."""
        found = object.__new__(_Draw)
        found.__dict__ |= self.__dict__
        found.a = {k: v.take(0, LEAD[k] - 1) if k in LEAD else v for k, v in self.a.items()}
        found.run = forward(*map(found.of, (PARAMS, OUTSIDE, STATES)), steps=self.T)
        found.sent, found.ends = {k: v[:, 0] for k, v in self.sent.items()}, np.zeros(0, int)
        return found

    def of(self, names: Any) -> Arrays:
        """Return the arguments of some names."""
        return {k: self.a[k] for k in names}

    def call(self, a: Arrays, dtype: Any) -> _Call:
        """Return a call with these arguments."""
        return _Call(a, self.sizes, self.T, self.B, dtype, *_masks(**self.masks, T=self.T, B=self.B), Workspace(0))

    def objective(self, score: Callable[..., Any], changed: Arrays) -> Any:
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

    def slope(self, score: Callable[..., Any], k: str, along: Array, method: str, scale: float) -> Any:
        """Return the derivative of the objective along a direction of one argument; NaN where there is none."""
        try:
            if method == "complex step":
                return np.imag(self.objective(score, {k: self.a[k] + 1e-30j * along})) / 1e-30
        except TypeError:  # a function without a complex version
            return np.nan
        f = [self.objective(score, {k: self.a[k] + s * 1e-6 * along}) for s in (-3, -1, 1, 3)]
        narrow, wide = (f[2] - f[1]) / 2e-6, (f[3] - f[0]) / 6e-6  # they differ where a kink or a jump lies between
        return (9 * narrow - wide) / 8 if abs(wide - narrow) <= ALLOWED[method][0] * scale else np.nan


def _some_sizes(random: Any, ones: bool) -> Sizes:
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


def _told_sizes(sizes: Sizes) -> Sizes:
    """Return the sizes that arguments of some sizes tell; none where they do not go together."""
    shapes = _shapes(**sizes) if sizes else {"": (0,)}
    try:
        return _sizes(lambda name, axis: shapes[name][axis]) if min([1, *sum(shapes.values(), ())]) > 0 else {}
    except ArgumentError:
        return {}


def _of_values(draw: _Draw) -> Any:
    """Return the gradients of Σ cotangent · value, the arguments that have one, the score of some steps, and the cotangents."""
    sent = {k: v[-1] if draw.last and k in STATES else v for k, v in draw.sent.items() if k not in draw.absent}
    moved = {k: v.copy() for k, v in draw.sent.items()}
    for k, b in [(k, b) for k in STATES for b in draw.ends.nonzero()[0]]:
        end = draw.ends[b]
        moved[k][end - 1, b] += moved[k][end:, b].sum(0)  # behind its end a sample repeats its last state

    def score(call: _Call, values: Arrays, lo: int, hi: int) -> Any:
        active, idle = _cut(call.active, lo, hi), draw.ends == 0
        rest = sum(np.sum(moved[k][:, idle] * call.a[k][idle]) for k in STATES) if hi == draw.T else 0
        return rest + sum(np.sum(_kept(active, moved[k][lo:hi] * v)) for k, v in values.items())

    return backward(draw.run, sent, monitor=draw.monitor), ARGUMENTS, score, sent


def _other_forms(draw: _Draw, found: Any, sent: Arrays, what: Callable[..., Any]) -> dict[str, tuple[float, str]]:
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


def _wrong_norms(draw: _Draw, given: Arrays, all_sent: Arrays) -> list[str]:
    """Return the states whose norms are wrong where a step of one state alone has a cotangent: there its norm, and zero behind; or whose
    `given` norms are not those of all cotangents."""
    whole: Any = backward(draw.run, all_sent, monitor=True).flow
    wrong = [f"flow of {k}" for k in STATES if not _is_same(given[k], whole[k])]
    counts = [t for lo, hi, _ in _reaches(draw.T) for t in range(lo, hi)]
    for k, t in [(k, t) for k in STATES for t in counts]:
        sent = np.zeros_like(draw.sent[k])
        sent[t, draw.ends > t] = draw.random.standard_normal(sent[t, draw.ends > t].shape)
        flow: Any = backward(draw.run, {k: sent}, monitor=True).flow
        if not _is_same(flow[k][t], np.linalg.norm(sent[t])) or any(v[t + 1 :].any() for v in flow.values()):
            wrong.append(f"flow of {k}")
    return wrong


def _wrong_steps(draw: _Draw) -> list[str]:
    """Return the states and outputs that a stepper gives wrong."""
    step, state, rows = stepper(draw.of(PARAMS), draw.of(CONTEXTS)), draw.of(STATES), []
    for t in range(draw.T):
        state, outputs = step({k: draw.a[k][t] for k in INPUTS}, state)
        rows.append(state | outputs)
    told = draw.run.states | draw.run.outputs
    return [k for k, v in told.items() if not _is_same(np.stack([row[k] for row in rows]), v)]


def _is_same(found: Array, wanted: Array) -> bool:
    """Answer whether numbers are those that are wanted, but for rounding."""
    near = 1e-9 * np.max(np.abs(wanted), initial=0, where=np.isfinite(wanted))
    return np.shape(found) == np.shape(wanted) and np.allclose(found, wanted, 0, near, equal_nan=True)


def _blocks_of(names: Any) -> dict[str, str]:
    """Return the arguments of some names that have a gradient, by the names of their blocks."""
    return {f"d{k}_0" if k in STATES else f"d{k}": k for k in names if k not in (*FIXED, *INDICES, *TARGETS)}


def _errors(
    draw: _Draw, found: Any, names: Any, score: Callable[..., Any], sent: Arrays
) -> dict[str, tuple[float, str]]:
    """Return the error of each block along a random direction, and how that was found; none where the forward pass has no
    finite value or derivative."""
    given: Arrays = found.params | found.inputs | found.contexts | found.state
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


def _of_case(case: Mapping[str, int], seed: int, what: Callable[..., Any], module: dict[str, Any]) -> Any:
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
    errors: dict[str, tuple[float, str]] = {}
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


def _run_selfcheck(file: str, module: dict[str, Any], *told: Callable[..., Any]) -> None:
    """Check the file of the module, which runs as a program, and end with 0 where every block is right, else with 1."""
    # Of Python's own library, and nowhere else: what is imported needs NumPy alone.
    import hashlib
    import sys

    if sys.argv[1:] != ["--selfcheck"]:
        sys.exit(f"python {sys.argv[0]} --selfcheck compares the backward pass of this file with its forward pass")
    with open(file, encoding="utf-8") as opened:
        lines = opened.readlines()
    sys.exit(_selfchecked(lines, hashlib.sha256, module, *told))


def _selfchecked(
    lines: list[str], sha256: Callable[[bytes], Any], module: dict[str, Any], *told: Callable[..., Any]
) -> int:
    """Print what a check of a file of these lines finds, and return 0 where every block is right, else 1."""
    rows: dict[str, list[tuple[float, str]]] = {block: [] for block in _blocks_of(SHAPES)}
    # Where a derivative is declared, one step shows those states that nothing reaches through it.
    plain: set[str] = set()
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


def _verdict(found: list[tuple[float, str]]) -> str:
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


def _is_right(row: tuple[float, str]) -> bool:
    return row[0] <= ALLOWED.get(row[1], (-1,))[0]


def _digest(lines: list[str], sha256: Callable[[bytes], Any]) -> str:
    """Return the digest of a module without the lines of its certificate."""
    text = "".join(line for line in lines if not line.startswith(CERTIFICATE))
    return str(sha256(text.encode()).hexdigest())[:32]


def _text_of(lines: list[str], sha256: Callable[[bytes], Any]) -> str:
    """Return in words whether a file is still the one that was certified."""
    own = _digest(lines, sha256)
    known = [line.split()[-1] for line in lines if line.startswith(f"{CERTIFICATE} text")]
    if not known:
        return f"not verified, there is no certificate; SHA-256 {own}"
    return f"{'as certified' if known == [own] else 'edited after the certificate'}; SHA-256 {own}"
