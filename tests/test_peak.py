"""Peaks of memory as predicted, against what is measured; and the budgets of modules, against peaks."""

import itertools
import linecache
import re
import tracemalloc
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import sympy as sp

import symbptt as sb
from symbptt import State, Target, zoo
from symbptt.codegen.loop_ir.nodes import BATCH as SAMPLES
from symbptt.codegen.loop_ir.nodes import STEPS as ALL_STEPS
from symbptt.codegen.loop_ir.nodes import Buffer, Map
from symbptt.codegen.loop_ir.views import permuted, repeated, whole
from symbptt.codegen.memory.account import BUFFER, ITEM, LARGE, Account, Scale, Sizes, Sum, greatest, is_less
from symbptt.codegen.memory.driver import Driver
from symbptt.codegen.memory.expressions import Expressions, Folded
from symbptt.codegen.memory.needed import peak
from symbptt.codegen.memory.runs import PIECE, Call, Functions
from symbptt.codegen.memory.sweeps import Pool, Sweep
from symbptt.ir.scalar import Call as Call_
from symbptt.ir.scalar import Num, Power, Prod, Ref, Tree
from symbptt.ir.scalar import Sum as Sum_
from symbptt.ir.shape import named_size
from tests import brute, unseen
from tests.kernels import own_kernel_of, saturating

CELLS = {**zoo.CELLS, **unseen.CELLS}
STEPS, BATCH = 200, 8
SIZES = {**unseen.SIZES, "m": 8, "n": 32, "v": 8, "k": 8, "d": 8}
MASKS: dict[str, tuple[str, ...]] = {
    "whole": (),
    "resets": ("reset",),
    "lengths": ("lengths",),
    "both": ("lengths", "reset"),
}
KINDS = ("every", "last", "cell")


def error_of(cell: sb.Cell, at: str) -> sb.Model:
    """A model of a cell whose loss is the squared error of all states."""
    states = {a.name: " ".join(map(str, a.shape)) for a in cell.step.of_role("state")}
    arguments = ", ".join(f'{k}: State["{v}"], {k}_y: Target["{v}"]' for k, v in states.items())
    text = (
        f"def error({arguments}):\n    return ({' + '.join(f'sb.sum(sb.square({k} - {k}_y))' for k in states)}) / 2\n"
    )
    place, names = f"<{cell.name}: {text}>", {"sb": sb, "State": State, "Target": Target}
    linecache.cache[place] = (len(text), None, text.splitlines(True), place)
    exec(compile(text, place, "exec"), names)
    return sb.model(cell, sb.loss(names["error"]), at=at)


@cache
def kernel_of(name: str, kind: str, memory: Any) -> sb.Kernel:
    return own_kernel_of(CELLS[name] if kind == "cell" else error_of(CELLS[name], kind), memory=memory)


def sizes_of(name: str, sizes: dict[str, int] | None = None) -> dict[str, int]:
    given = {**SIZES, **(sizes or {})}
    return {size: given[size] for size in kernel_of(name, "cell", "all").plan.written.names}


def masks_of(kind: str, T: int, B: int) -> dict[str, Any]:
    """Masks; samples that lie one behind another in rows take the most where no two lie in one. One sample of T steps has none."""
    least = T // 2 if kind == "both" else max(T - T // B, 0)
    lengths = np.array([T if B > 1 else max(T - 1, 0), *np.random.default_rng(0).integers(least, T + 1, B - 1)])
    masks = {"lengths": lengths, "reset": np.arange(T * B).reshape(T, B) % 17 == 0}
    return {name: masks[name] for name in MASKS[kind]}


def measured(kernel: sb.Kernel, T: int, B: int, sizes: dict[str, int], dtype: Any, masks: dict[str, Any]) -> int:
    """The bytes that a call takes at the most beside its arguments: training, or a run and the way back."""
    data = brute.data_of(kernel.target, T, B, sizes)
    groups = [
        {k: v.astype(dtype) if v.dtype.kind == "f" else v for k, v in group.items()}
        for group in (data.params, data.inputs, data.targets, data.state)
    ]
    module, kinds = kernel.module, {"steps": T, **masks}
    if isinstance(kernel.target, sb.Model):
        return taken(module, lambda: module.value_and_grad(*groups, **kinds))
    params, inputs, _, state = groups
    with np.errstate(all="ignore"):
        run = module.forward(params, inputs, state, **kinds)
    sent = {k: np.ones_like(v) for k, v in (run.states | run.outputs).items()}
    del run

    def there_and_back() -> Any:
        run = module.forward(params, inputs, state, **kinds)
        return module.backward(run, sent)

    return taken(module, there_and_back)


def taken(module: Any, call: Callable[[], Any]) -> int:
    """The bytes that a call takes at the most; arrays that are held between calls are counted as it makes them."""
    with np.errstate(all="ignore"):
        call()
        module.WORKSPACE.rooms.clear()
        tracemalloc.start()
        call()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return most


def predicted(kernel: sb.Kernel, T: int, B: int, sizes: dict[str, int], dtype: Any, kind: str) -> int:
    return kernel.plan.peak(T, B, dtype=dtype, **dict.fromkeys(MASKS[kind], True), **sizes)


def assert_as_predicted(
    name: str, kind: str, memory: Any, masks: str, dtype: Any, T: int = STEPS, B: int = BATCH
) -> None:
    kernel, sizes = kernel_of(name, kind, memory), sizes_of(name)
    most, found = (
        predicted(kernel, T, B, sizes, dtype, masks),
        measured(kernel, T, B, sizes, dtype, masks_of(masks, T, B)),
    )
    if most > found + max(0.05 * found, 24_000):  # the prediction is of functions that saturate, all of them
        whole = measured(saturating(kernel, "np.inf"), T, B, sizes, dtype, masks_of(masks, T, B))
        assert found <= whole
        found = whole
    assert abs(most - found) <= max(0.05 * found, 24_000), (name, kind, memory, masks, most, found)
    assert isinstance(memory, str) or (most <= memory and found <= memory + 24_000)  # and Python's free lists


def budget_of(name: str, kind: str, masks: str, dtype: Any, B: int) -> int:
    """A budget between what the square root takes, and what all steps take at once."""
    few, all_steps = (
        predicted(kernel_of(name, kind, m), STEPS, B, sizes_of(name), dtype, masks) for m in ("sqrt", "all")
    )
    return few + (all_steps - few) // 4


FEW = ["lstm", "relational_memory", "attention", "min_gru", "s4d", "embedding_cell"]


@pytest.mark.parametrize("name", FEW)
@pytest.mark.thinned(11, 2)
def test_peak_is_as_predicted(name: str) -> None:
    found = zip(KINDS, itertools.cycle(("all", "sqrt")), ("whole", "both", "lengths"), strict=False)
    for kind, memory, masks in found:
        assert_as_predicted(name, kind, memory, masks, np.float64)


@pytest.mark.parametrize("name", FEW)
@pytest.mark.thinned(11, 2)
def test_budget_that_is_accepted_is_kept(name: str) -> None:
    budget = budget_of(name, "last", "whole", np.float64, B=32)
    assert_as_predicted(name, "last", budget, "whole", np.float64, B=32)


@pytest.mark.long
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.thinned(1, 37)
def test_peaks_of_all_cells_are_as_predicted(name: str) -> None:
    cases = itertools.product(KINDS, ("all", "sqrt", "bytes"))
    kinds = itertools.product(MASKS, (np.float64, np.float32))
    turned = itertools.islice(itertools.cycle(kinds), len(name), None)  # others for each cell
    for (kind, memory), (masks, dtype) in zip(cases, turned, strict=False):
        memory = budget_of(name, kind, masks, dtype, B=32) if memory == "bytes" else memory
        assert_as_predicted(name, kind, memory, masks, dtype, B=BATCH if isinstance(memory, str) else 32)


TRUNCATED = {
    "chunks": (sb.Chunked(16, 40), "every", "whole"),
    "short chunks": (sb.Chunked(20, 20), "cell", "resets"),
    "long chunks": (sb.Chunked(50, 20), "every", "both"),
    "windows": (sb.Window(12), "every", "both"),
    "windows of a cell": (sb.Window(12), "cell", "lengths"),
    "a window of all steps": (sb.Window(300), "every", "whole"),
}


@cache
def truncated(name: str, kind: str, truncation: Any) -> sb.Kernel:
    return sb.compile(CELLS[name] if kind == "cell" else error_of(CELLS[name], kind), truncation=truncation)


def assert_truncated_as_predicted(name: str, case: str, dtype: Any, T: int = STEPS, B: int = 32) -> None:
    truncation, kind, masks = TRUNCATED[case]
    kernel, sizes = truncated(name, kind, truncation), sizes_of(name)
    found, given = predicted(kernel, T, B, sizes, dtype, masks), masks_of(masks, T, B)
    most = measured(kernel, T, B, sizes, dtype, given)
    if found > most + max(0.05 * most, 24_000):  # the prediction is of functions that saturate, all of them
        most = max(most, measured(saturating(kernel, "np.inf"), T, B, sizes, dtype, given))
    assert abs(most - found) <= max(0.05 * most, 24_000), (name, case, most, found)


TOO_MUCH = pytest.mark.xfail(reason="one array of all steps is predicted beside a table that is read, 6 % too much")


@pytest.mark.long
@pytest.mark.parametrize("case, name", [
    pytest.param(case, name, marks=[TOO_MUCH] * ((case, name) == ("a window of all steps", "embedding_cell")))
    for case in TRUNCATED for name in ("rnn", "min_gru", "embedding_cell")
])  # fmt: skip
@pytest.mark.thinned(1, 11)
def test_peaks_with_truncation_are_as_predicted(case: str, name: str) -> None:
    assert_truncated_as_predicted(name, case, np.float64)
    assert_truncated_as_predicted(name, case, np.float32)


@pytest.mark.parametrize("case", ["chunks", pytest.param("windows", marks=pytest.mark.long)])
def test_peak_of_a_truncated_lstm_is_as_predicted(case: str) -> None:
    assert_truncated_as_predicted("lstm", case, np.float64)
    truncation, kind, masks = TRUNCATED[case]
    kernel, sizes = truncated("lstm", kind, truncation), sizes_of("lstm")
    for T in (0, 1, 2):
        most = measured(kernel, T, 1, sizes, np.float64, masks_of(masks, T, 1))
        assert -24_000 < predicted(kernel, T, 1, sizes, np.float64, masks) - most < 64_000


@pytest.mark.long
def test_peak_of_windows_is_as_predicted_where_products_are_turned() -> None:
    kernel, sizes = truncated("attention", "every", sb.Window(12)), sizes_of("attention")
    most = measured(kernel, STEPS, 32, sizes, np.float64, {})
    assert abs(predicted(kernel, STEPS, 32, sizes, np.float64, "whole") - most) <= 0.03 * most


@pytest.mark.parametrize("mistake", [pytest.param("_forget", marks=pytest.mark.long), "_set"])
def test_planted_mistake_in_the_memory_of_truncation_is_seen(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tapes that no loss reaches are held; so is what the block before left in variables."""
    monkeypatch.setattr(f"symbptt.codegen.memory.truncated.Truncated.{mistake}", lambda *_: [])
    with pytest.raises(AssertionError):
        assert_truncated_as_predicted("rnn", "chunks", np.float64)


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize(("T", "B"), [(0, 1), (1, 1), (2, 1), (3, 2), (41, 1)])
@pytest.mark.thinned(79, 3)
def test_peaks_of_small_problems_are_near(T: int, B: int, masks: str) -> None:
    for kind in KINDS:
        assert_as_predicted("gru", kind, "all", masks, np.float64, T, B)
        assert_as_predicted("gru", kind, "sqrt", masks, np.float64, T, B)


# Budgets: what a module says that it needs, against the peak in numbers.


def needed(kernel: sb.Kernel, call: Call, piece: int, T: int, B: int, dtype: Any, sizes: dict[str, int]) -> int:
    """What the module says."""
    masks = 2 if call.lengths else int(call.reset)
    return int(kernel.module._needed(piece, T, B, np.dtype(dtype).itemsize, sizes, call.trains, masks))


def peak_of(f: Functions, call: Call, piece: int, T: int, B: int, dtype: Any, sizes: dict[str, int]) -> int:
    """What the walk in numbers says."""
    numbers = {named_size(name): size for name, size in sizes.items()}
    numbers |= {ALL_STEPS: T, SAMPLES: B, PIECE: piece, ITEM: np.dtype(dtype).itemsize}
    return peak(f, call, numbers)


@pytest.mark.parametrize("name", ["lstm", "relational_memory", "lru", "min_gru", "embedding_cell"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.thinned(17, 3)
def test_module_needs_no_less_than_the_peak_and_little_more(name: str, kind: str) -> None:
    kernel, random = kernel_of(name, kind, 10**9), np.random.default_rng(1)
    for masks in itertools.product((False, True), repeat=2):
        piece, B = int(random.integers(2, 300)), int(random.choice([1, 4, 32]))
        sizes = {size: int(random.choice([1, 4, 24])) for size in sizes_of(name)}
        count, dtype = int(random.integers(2, 5)), random.choice([np.float32, np.float64])
        call, T = Call(kind != "cell", *masks, pieces=count), count * piece
        found = peak_of(kernel.plan.whole.functions, call, piece, T, B, dtype, sizes)
        more = needed(kernel, call, piece, T, B, dtype, sizes) - found
        assert -0.02 * found - 4_000 <= more <= 0.1 * found + 64_000, (masks, piece, T, B, sizes, dtype, found, more)


def test_needs_do_not_fall_as_pieces_grow_but_where_results_are_written_in_place() -> None:
    kernel, sizes = kernel_of("lstm", "every", 10**9), {"m": 4, "n": 16}
    found = [needed(kernel, Call(True, False, False), piece, 1000, 4, np.float64, sizes) for piece in range(1, 1000)]
    falls = [b - a for a, b in itertools.pairwise(found) if b < a]
    assert len(falls) <= 2 and min(falls, default=0) >= -LARGE


def test_greatest_sums_are_none_of_the_others_less() -> None:
    sums: list[Sum] = [{"a": 1}, {"a": 2}, {"b": 1}, {"a": 1, "b": 1}, {"a": 2, "b": 0}]
    assert greatest(sums) == ({"a": 2}, {"a": 1, "b": 1})
    assert is_less({"a": 1}, {"a": 2, "b": 1}) and not is_less({"a": 2}, {"a": 1, "b": 9})


# Expressions outside of loops, by hand, and planted mistakes.


def account_of(body: Tree, *shapes: tuple[int, ...], out: tuple[int, ...] = (600, 90), double: bool = True) -> int:
    """The bytes that an expression over arrays of some shapes takes at the most, its result among them."""
    views = [repeated(whole(Buffer(f"x{i}", shape, "argument")), out) for i, shape in enumerate(shapes)]
    s = Map(whole(Buffer("out", out, "temporary")), body, tuple(views))
    account = Account()
    scale = Scale(Sizes(values={ITEM: 8 if double else 4}), ALL_STEPS)
    Expressions(account, scale, {}).made(s)
    account.note()
    return max(factor for now in account.found[None] for _, factor in now)


X, Y = Ref(0), Ref(1)
ONE_ARRAY = 600 * 90 * 8


def sum_over_product(is_turned: bool) -> int:
    """The bytes that a + b b + a takes at the most, its result among them; `is_turned`: the axes of b b are exchanged."""
    shape = (90, 600) if is_turned else (600, 90)
    part, (a, b) = Buffer("s", shape, "temporary"), (Buffer("a", (600, 90), "argument"), Buffer("b", shape, "argument"))
    product = Map(whole(part), Prod((X, X)), (whole(b),))
    read = permuted(whole(part), (1, 0)) if is_turned else whole(part)
    s = Map(whole(Buffer("out", (600, 90), "temporary")), Sum_(((1, X), (1, Y), (1, X))), (whole(a), read))
    account = Account()
    Expressions(account, Scale(Sizes(values={ITEM: 8}), ALL_STEPS), {part: Folded(product, {})}).made(s)
    account.note()
    return max(factor for now in account.found[None] for _, factor in now)


def sum_in_numpy(is_turned: bool) -> int:
    a, b = np.ones((600, 90)), np.ones((90, 600) if is_turned else (600, 90))
    tracemalloc.start()
    _ = a + (b * b).T + a if is_turned else a + b * b + a
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


@pytest.mark.parametrize("is_turned", [False, True])
def test_numpy_writes_no_sum_over_a_part_whose_axes_are_exchanged(is_turned: bool) -> None:
    assert abs(sum_over_product(is_turned) - sum_in_numpy(is_turned)) < 4_000


def test_planted_mistake_of_a_part_that_is_written_over_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symbptt.codegen.memory.expressions.is_whole", lambda _: True)
    assert sum_over_product(True) < sum_in_numpy(True) - ONE_ARRAY // 2


BODIES: list[tuple[str, Tree, int]] = [
    ("a * b * b", Prod((X, Y, Y)), 1),  # the second product is written over the first
    (
        "1 - a * b",
        Sum_(((1, Num(sp.Integer(1))), (-1, Prod((X, Y))))),
        2,
    ),  # a difference goes into its first operand alone
    ("a * b - a", Sum_(((1, Prod((X, Y))), (-1, X))), 1),
    ("tanh(a * b)", Call_("tanh", (Prod((X, Y)),)), 2),  # a function makes a new array
    ("(a * b) ** 2", Power(Prod((X, Y)), Num(sp.Integer(2))), 1),
    ("tanh(tanh(a)) * b", Prod((Call_("tanh", (Call_("tanh", (X,)),)), Y)), 2),
    ("sigmoid(a)", Call_("sigmoid", (X,)), 2),
]


@pytest.mark.parametrize(("text", "body", "arrays"), BODIES, ids=[text for text, _, _ in BODIES])
def test_expression_holds_what_numpy_holds(text: str, body: Tree, arrays: int) -> None:
    """By hand, and measured."""
    assert account_of(body, (600, 90), *[(600, 90)] * ("b" in text)) == arrays * ONE_ARRAY
    names: dict[str, Any] = {"tanh": np.tanh, "sigmoid": lambda x: 1 / (1 + np.exp(-x))}
    exec(f"def run(a, b):\n    return {text}\n", names)
    a, b = np.full((600, 90), 2.0), np.full((600, 90), 3.0)
    names["run"](a, b)
    tracemalloc.start()
    names["run"](a, b)
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert abs(found - arrays * ONE_ARRAY) <= 2_500


def test_operand_that_repeats_is_passed_through_a_buffer() -> None:
    assert account_of(Prod((X, Y)), (600, 90), (90,)) == ONE_ARRAY + 8 * BUFFER
    # In single precision a number of Python is a double, which no operand takes.
    assert (
        account_of(Sum_(((1, Num(sp.Integer(1))), (1, Prod((X, Y))))), (600, 90), (600, 90), double=False) == ONE_ARRAY
    )


PLANTED: dict[str, Callable[[Any], None]] = {
    "residuals are let go of": lambda patch: patch.setattr(Pool, "take", lambda self, amount: {}),
    "no step computes anything beside": lambda patch: patch.setattr(Sweep, "step", lambda self, s: None),
    "data behind the ends is not copied": lambda patch: patch.setattr(Driver, "_data", lambda self, ports: []),
    "nothing is ever let go of": lambda patch: patch.setattr(Account, "free", lambda self, *amounts: None),
}


def test_argument_that_no_expression_computes_has_arrays_of_its_own() -> None:
    assert_as_predicted("rotations", "cell", "all", "whole", np.float64, T=20)


@pytest.mark.parametrize(
    ("name", "kind", "T", "decision", "answer"),
    [("gru", "every", 0, "Sweep._joined", None), ("rotations", "cell", 20, "is_one_expression", True)],
)
def test_planted_mistake_in_the_form_of_a_statement_is_seen(
    name: str, kind: str, T: int, decision: str, answer: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"symbptt.codegen.memory.sweeps.{decision}", lambda *_: answer)
    with pytest.raises(AssertionError):
        assert_as_predicted(name, kind, "all", "whole", np.float64, T=T, B=BATCH if T else 1)


@pytest.mark.parametrize("mistake", PLANTED)
def test_planted_mistake_is_seen(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTED[mistake](monkeypatch)
    with pytest.raises(AssertionError):
        for name in ("gru", "embedding_cell"):
            assert_as_predicted(name, "every", "all", "lengths", np.float64)


# What is refused.


def test_size_that_the_plan_does_not_have_is_refused_by_name() -> None:
    plan = kernel_of("gru", "cell", "all").plan
    calls = [plan.peak, plan.bytes, plan.recomputed, plan.schedule, plan.work_of, plan.table]
    for call in calls:
        with pytest.raises(sb.ArgumentError, match="the plan of gru has no size q\n  its sizes are: m, n"):
            call(3, 2, m=2, n=3, q=3)


@pytest.mark.parametrize("name", ["kalman_cell", "gru_layer_norm", "fast_weights"])
@pytest.mark.thinned(2)
def test_numbers_of_float32_are_no_doubles(name: str) -> None:
    """A number that NumPy computes is a double, and so would be all that it meets."""
    assert not re.search(r"= np\.\w+\([\d.]+, [\d.]+\)", kernel_of(name, "cell", "sqrt").source)
