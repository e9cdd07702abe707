"""What is checked of a random cell: the module with the options of its case, alone and under a loss, against three oracles that share
no code with the derivation, and the loops behind the passes.

* The tape, entry by entry (`bench.py`).
* A complex step along a random direction through the user's function.
* The proof over a field of residues, as `sb.verify` has it.
"""

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Any

import numpy as np

import symbptt as sb
from symbptt.autodiff.bptt import derive
from symbptt.codegen.load import load
from symbptt.codegen.passes import PASSES
from symbptt.codegen.program.program import program_of
from symbptt.codegen.program.regions import place
from symbptt.errors import SymbpttError
from symbptt.ir.shape import named_size
from symbptt.language.init import concrete
from symbptt.verification import oracle
from symbptt.verification.objective import value_of
from symbptt.verification.proof.cases import PATIENCE, SPELLED, Cases
from symbptt.verification.proof.draws import NO_DRAW
from symbptt.verification.proof.prove import FLOATS, line_of
from symbptt.verification.proof.settings import BYTES, FEW, LOOPS, PLAIN, Setting, settings_of
from symbptt.verification.proof.settings import Options as Compiled
from symbptt.verification.proof.subjects import Subject, of_kernel, of_loops
from symbptt.verification.regimes import Blocks
from symbptt.verification.requests import NOTHING
from tests import brute
from tests.oracle import Arrays
from tests.properties.bench import (
    Bench,
    Untamed,
    assert_grads,
    assert_same_bytes,
    bench_of,
    near,
    rounding,
    slopes,
    tame,
)
from tests.properties.cases import Case, Options, case_of

# Kernels.


def least_of(bench: Bench, call: Callable[[Any], Any], target: Any, **options: Any) -> int:
    """The least budget that a refusal names."""
    try:
        call(bench.compiled(target, memory=1, **options))
    except sb.ArgumentError as error:
        found = re.search(r"take ([\d,]+) bytes at the least", str(error))
        assert found, str(error)
        return int(found[1].replace(",", ""))
    raise AssertionError("one byte was enough")


def compiled(bench: Bench, target: Any, call: Callable[[Any], Any]) -> Any:
    """The kernel of a cell or a model with the options of its case."""
    options = bench.case.options
    given: dict[str, Any] = {"truncation": options.cut} if options.cut else {}
    given |= {"clip_adjoint": 1e12} if options.clip else {}
    if options.memory in ("least", "more"):
        given["memory"] = int((1 if options.memory == "least" else 1.2) * least_of(bench, call, target, **given))
    elif options.memory == "sqrt":
        given["memory"] = "sqrt"
    kernel = bench.compiled(target, **given)
    # A budget counts on its own blocks.
    return short(kernel, options) if options.block and options.memory in ("all", "sqrt") else kernel


def short(kernel: Any, options: Options, source: str = "") -> Any:
    """A module of short blocks, whose scans take a few steps together or none."""
    module = load(source or kernel.source, f"<{kernel.target.name} in short blocks>")
    module._steps = lambda T, B, size, rows=0: options.block
    if hasattr(module, "_window"):
        module._window = lambda T, states, least: min(options.window, 1 << T.bit_length() - 1) if T else 0
    return module


# Checks.


def check_tape(bench: Bench) -> None:
    """Values and gradients of the module with its options."""
    options = bench.case.options
    assert bench.values  # that is, they are tame
    kernel = compiled(bench, bench.cell, bench.run)
    bench.assert_kernel(kernel, f"options {options}", bench.wanted_with(options.cut))


def check_complex_step(bench: Bench) -> None:
    """The derivative along a random direction, of a cell and of its model."""
    options, random = bench.case.options, np.random.default_rng(bench.case.seed + 3)
    for model in (None, bench.model):
        target: Any = bench.cell if model is None else model
        data = bench.data if model is None else with_targets(bench, model)
        assert bench.values
        run = partial(trained, bench=bench, data=data) if model else bench.run
        kernel = compiled(bench, target, run)
        got = brute.by_group(
            trained(kernel, bench, data)[1] if model else kernel.backward(bench.run(kernel), bench.cotangents)
        )
        moving = {
            (group, k): random.standard_normal(np.shape(v)) for group, arrays in got.items() for k, v in arrays.items()
        }
        known = {named_size(k): v for k, v in bench.case.sizes.items()}
        point = oracle.Point(
            data.params, data.inputs, data.state, data.steps, data.batch, data.targets, data.lengths, data.reset, known
        )
        moved: dict[str, Arrays] = {group: dict(getattr(point, group)) for group in got}
        for (group, k), v in moving.items():
            moved[group][k] = moved[group][k] + oracle.STEP * 1j * v
        slope = np.imag(value_of(target, bench.cotangents, point, options.cut)(replace(point, **moved))) / oracle.STEP
        terms = [np.sum(got[group][k] * v) for (group, k), v in moving.items()]
        largest = max((float(np.sum(np.abs(got[group][k] * v))) for (group, k), v in moving.items()), default=0.0)
        if not largest < 1e6:
            raise Untamed
        assert abs(sum(terms) - slope) <= 1e-9 * max(largest, 1.0), (
            f"{'model' if model else 'cell'}: the complex step says {slope}, the gradients {sum(terms)}"
        )


def trained(kernel: Any, bench: Bench, data: brute.Data) -> Any:
    return kernel.value_and_grad(
        bench.given(data),
        data.inputs,
        data.targets,
        data.state,
        steps=None if data.inputs else data.steps,
        **data.masks,
    )


def check_model(bench: Bench) -> None:
    """The loss of a model and its gradients, with the options."""
    options = bench.case.options
    model = bench.model
    data = with_targets(bench, model)
    assert bench.values
    call = partial(trained, bench=bench, data=data)
    kernel = compiled(bench, model, call)
    what = f"model, options {options}"
    value, got = call(kernel)
    assert_same_bytes(call(kernel)[1], got, what)
    score = brute.loss_score(model, data)
    total = sum(brute.sample(model.cell, score, data, data, b, None, []) for b in range(data.batch))
    near(value, np.asarray(total, float), 1.0, rounding, f"{what}: the loss")
    constants = [a.name for a in model.loss.arguments if a.role == "const"]
    wanted = tame(slopes(model.cell, score, data, options.cut))
    wanted["params"] = {k: v for k, v in wanted["params"].items() if k not in constants}
    assert_grads(got, wanted, what)


def with_targets(bench: Bench, model: sb.Model) -> brute.Data:
    random, case, data = np.random.default_rng(bench.case.seed + 2), bench.case, bench.data
    params, targets = dict(data.params), {}
    known = {named_size(k): v for k, v in case.sizes.items()}
    lead = (case.steps, case.batch) if model.at == "every" else (case.batch,)
    for a in model.loss.arguments:
        if a.role == "param" and a.name not in params:
            params[a.name] = 0.6 * random.standard_normal(concrete(a.shape, known))
        if a.role == "target":
            targets[a.name] = random.standard_normal((*lead, *concrete(a.shape, known)))
        if a.role == "index":
            targets[a.name] = random.integers(0, concrete((a.limit,), known)[0], lead)
    return replace(data, params=params, targets=targets)


def check_alone(bench: Bench) -> None:
    """Without a batch axis: the first sample."""
    data = bench.data
    masks = {k: None if v is None else v[:1] if k == "lengths" else v[:, :1] for k, v in data.masks.items()}
    alone = replace(bench, data=replace(
        data, inputs={k: v[:, :1] for k, v in data.inputs.items()}, state={k: v[:1] for k, v in data.state.items()}, batch=1, **masks,
    ))  # fmt: skip
    kernel = bench.compiled(bench.cell)
    one = alone.data
    run = kernel.forward(bench.given(one), {k: v[:, 0] for k, v in one.inputs.items()}, {k: v[0] for k, v in one.state.items()},
                         steps=None if one.inputs else one.steps, **masks)  # fmt: skip
    for name, value in alone.values.items():
        near({**run.states, **run.outputs}[name], value[:, 0], 1.0, rounding, f"unbatched: {name}")
    given = {k: v[:, 0] if v.ndim == alone.values[k].ndim else v[0] for k, v in alone.cotangents.items()}
    wanted = alone.wanted
    wanted = {group: {k: v if group == "params" else v[:, 0] if group == "inputs" else v[0] for k, v in arrays.items()}
              for group, arrays in wanted.items()}  # fmt: skip
    assert_grads(kernel.backward(run, given), wanted, "unbatched")


def check_float32(bench: Bench) -> None:
    """Everything is float32, and as near to float64 as the tape is in float32."""

    def narrow(arrays: Arrays) -> Arrays:
        return {k: np.asarray(v, np.float32) if np.asarray(v).dtype.kind == "f" else v for k, v in arrays.items()}

    data = replace(bench.data, **{g: narrow(getattr(bench.data, g)) for g in ("params", "inputs", "state")})
    assert bench.values
    cut = bench.case.options.cut
    kernel = bench.compiled(bench.cell, truncation=cut)
    run = bench.run(kernel, data)
    got = kernel.backward(run, narrow(bench.cotangents))
    for name, value in {**run.states, **run.outputs, **got.params, **got.inputs, **got.state}.items():
        assert np.asarray(value).dtype == np.float32, f"float32: {name} is {np.asarray(value).dtype}"
    wanted, rough = bench.wanted_with(cut), bench.wanted_with(cut, data)
    lost = max(
        (np.max(np.abs(v - wanted[g][k]), initial=0.0) for g, a in rough.items() for k, v in a.items()), default=0.0
    )
    assert_grads(got, wanted, "float32", lambda own, scale: 1e-4 * max(own, 0.1 * scale, 0.1) + 50 * lost)


def check_texts(bench: Bench) -> None:
    """The module, the plan and the page are written."""
    kernel = bench.compiled(
        bench.cell, memory={"least": 10**6, "more": 10**6}.get(bench.case.options.memory, bench.case.options.memory)
    )
    compile(kernel.source, "<a module>", "exec")
    known = {name: size for name, size in bench.case.sizes.items() if name in kernel.plan.written.names}
    assert str(kernel.plan)
    assert kernel.plan.table(bench.case.steps, bench.case.batch, **known)
    derivation = sb.derive(bench.cell)
    assert derivation.text() and derivation.latex()


# The proof.


def exact(subject: Subject, setting: Setting, cases: Cases) -> None:
    """Hold a line of a proof; what it cannot tell is noted."""
    line = line_of(subject, setting, cases)
    if line.note:
        known = [reason for reason in (SPELLED, NO_DRAW, FLOATS) if line.note.startswith(reason)]
        assert known, f"proof: {subject.words}, {setting.path}: {line.note}"
        UNPROVED[line.note if known[0] == SPELLED else known[0]] += 1
        raise Unproved(line.note)
    PROVED["lines"] += 1
    assert not line.wrong, f"proof: {subject.words}, {setting.path}: {', '.join(line.wrong)} differ"


class Unproved(Exception):
    """A line that a proof cannot tell."""


UNPROVED: Counter[str] = Counter()
"""How many lines were not proved, by their reason."""
PROVED: Counter[str] = Counter()


def few(case: Case) -> Cases:
    """The cases of a proof that soon gives up where square roots must be looked for."""
    found = Cases(case.seed, NOTHING)
    found.missing = PATIENCE
    return found


def _of_options(bench: Bench, target: Any) -> Subject:
    options = bench.case.options
    memory = {"sqrt": "sqrt", "least": BYTES, "more": BYTES}.get(options.memory, "all")
    given = Compiled(
        str(options), memory, options.cut, 1e30 if options.clip else None, (2, 1) if memory == BYTES else None
    )
    kernel = bench.compiled(target, memory=memory, truncation=options.cut, clip_adjoint=given.clip_adjoint)
    return of_kernel(f"module with options {options}", kernel, given)


def _setting(bench: Bench, target: Any) -> Setting:
    """One of the paths of a module, in the blocks and the windows of the case."""
    options, random = bench.case.options, Random(bench.case.seed)
    plain = options.memory == "all" and not options.truncation
    chosen = random.choice([*settings_of(target, PLAIN if plain else FEW)])
    blocks = Blocks(options.block or 2, options.window) if random.random() < 0.5 else chosen.blocks
    return replace(chosen, blocks=blocks, monitor=options.monitor)


def check_proof(bench: Bench) -> None:
    """The module with its options over a field."""
    exact(_of_options(bench, bench.cell), _setting(bench, bench.cell), few(bench.case))


def check_proof_of_a_model(bench: Bench) -> None:
    """The module of a model with its options over a field."""
    exact(_of_options(bench, bench.model), _setting(bench, bench.model), few(bench.case))


def check_passes(bench: Bench) -> None:
    """The loops behind a pass alone, behind the first passes of the whole, and behind all: each over a field."""
    program, cases, random = program_of(derive(bench.cell.step)), few(bench.case), Random(bench.case.seed)
    setting = random.choice(LOOPS)
    alone, last = random.choice(PASSES[:-1]), random.randrange(len(PASSES))
    first = tuple(p for p in PASSES[:last] if p is not place)
    chosen = {
        "as derived": (place,),
        f"behind the pass {alone.__name__}": (alone, place),
        f"behind the passes before {PASSES[last].__name__}": (*first, place),
        "behind all passes": PASSES,
    }
    for words in random.sample(sorted(chosen), 2):
        exact(of_loops(f"loops {words}", bench.cell, program, chosen[words]), setting, cases)


CHECKS: dict[str, Callable[[Bench], None]] = {
    name.removeprefix("check_"): function for name, function in list(globals().items()) if name.startswith("check_")
}
ALWAYS = ("proof", "passes")
OFTEN = ("tape", "tape", "model", "proof_of_a_model", "proof_of_a_model", "complex_step")
SELDOM = ("alone", "float32", "texts", "complex_step", "model", "tape")


def chosen_of(case: Case) -> list[str]:
    """The checks that a seed chooses."""
    random = Random(-case.seed)
    return list(dict.fromkeys([*ALWAYS, random.choice(OFTEN), random.choice(SELDOM)]))


class Difference(AssertionError):
    """What differs, with the cell's text."""

    def __init__(self, case: Case, check: str, error: BaseException) -> None:
        self.case, self.check, self.error = case, check, error
        again = f"# again: assert_case(case_of({case.seed}), [{check!r}])"
        super().__init__(f"{check}: {type(error).__name__}: {error}\n\n{case!r}\n{again}")


@dataclass
class Count:
    """What became of the cells that were tried: how many checks held, were refused, had numbers too large, or told nothing."""

    held: int = 0
    untamed: int = 0
    unproved: int = 0
    refused: Counter[str] = field(default_factory=Counter)


def assert_case(case: Case, names: Any = None, count: Count | None = None) -> bool:
    """Check a case in some ways, those that its seed chooses unless told; whether any of them could compare.

    Raises: Difference where it fails.
    """
    held, count, bench = 0, count or Count(), None
    for name in chosen_of(case) if names is None else names:
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                bench = bench or bench_of(case)
                CHECKS[name](bench)
            held += 1
        except Untamed:
            count.untamed += 1
        except Unproved:
            count.unproved += 1
        except SymbpttError as error:
            count.refused[f"{type(error).__name__}: {str(error).splitlines()[0]}"] += 1
            raise Difference(case, name, error) from error
        except Exception as error:
            raise Difference(case, name, error) from error
    count.held += held
    return held > 0


def assert_seed(seed: int) -> bool:
    return assert_case(case_of(seed))


def failures(seeds: Iterable[int], names: Any = None, count: Count | None = None) -> tuple[list[Difference], int]:
    """What differs in the cells of some seeds, and how many could be compared."""
    found, compared = [], 0
    for seed in seeds:
        try:
            compared += assert_case(case_of(seed), names, count)
        except Difference as difference:
            found.append(difference)
            compared += 1
    return found, compared
