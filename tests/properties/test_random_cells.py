"""Random cells over the whole language, on the whole road and under random options, against the tape, a complex step and the proof.

A failure prints the cell, made small, and the call that runs it again. `python -m tests.properties.explore --seeds 0:10000` tries as
many as told. What was found is in `FOUND`.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import symbptt as sb
from symbptt.autodiff import vjp
from symbptt.codegen.lower import masks, sweep
from symbptt.codegen.lower.families import total
from symbptt.codegen.passes.pack_gates import pack
from symbptt.codegen.passes.split_coefficients import split
from tests.properties import explore
from tests.properties.cases import Options, case_of, case_of_text
from tests.properties.checks import CHECKS, Count, Difference, assert_case, bench_of, failures, short
from tests.properties.shrink import shrunk, written
from tests.properties.terms import Term

pytestmark = pytest.mark.filterwarnings("ignore:.*is never used")
FEW, MANY, ALL, CHUNK = 4, 400, 10_000, 40
"""Cells by default, under the mark `long`, with those of the mark `exhaustive`, and in one test of these."""


@pytest.mark.parametrize("first", range(0, FEW, 4))
def test_road_of_a_cell_is_right(first: int) -> None:
    assert_right(range(first, first + 4))


@pytest.mark.parametrize("first", [
    pytest.param(first, marks=pytest.mark.long if first < FEW + MANY else pytest.mark.exhaustive)
    for first in range(FEW, FEW + ALL, CHUNK)
])  # fmt: skip
def test_road_of_many_cells_is_right(first: int) -> None:
    count = assert_right(range(first, first + CHUNK))
    assert count.held > 2 * CHUNK


def assert_right(seeds: range) -> Count:
    count = Count()
    found, compared = failures(seeds, count=count)
    assert not found, "\n\n".join(
        [f"{len(found)} of {len(seeds)} cells differ", *(str(shrunk(d, 100)) for d in found[:3])]
    )
    assert compared > 0.9 * len(seeds)
    return count


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.thinned(3)
def test_every_check_is_made(name: str) -> None:
    assert any(assert_case(case_of(seed), [name]) for seed in (1001, 1002, 1003))


# The generator.


def test_seed_gives_the_same_bytes_each_time() -> None:
    assert [repr(case_of(seed)) for seed in range(20)] == [repr(case_of(seed)) for seed in range(20)]
    assert len({case_of(seed).file for seed in range(50)}) == 50


def test_grammar_writes_what_it_is_for() -> None:
    """Of 400 cells, how many have a thing."""
    texts = [repr(case_of(seed)) for seed in range(400)]
    for pattern, least in {
        r"Index\[": 100, r"\w+\[i\d\]": 75, r"\[:, i\d\]|\.T\[i\d\]": 4, r": State.*: State": 150, r'Param\["[^"]*[+*]': 100, r'State\["[^"]*[+*]': 80,
        r"c\d: Const": 60, r"Const.* = 0.4": 20, r'Param[^ ]* = ': 30, r"np\.mean\(": 40, r"for i in range": 20, r"Output": 100, r"np\.where\(|np\.maximum\(|sb\.relu": 60,
        r"sb\.layer_norm|sb\.norm|np\.linalg\.norm|standard": 12, r"np\.concatenate|np\.stack|np\.hstack": 80, r"(swish|spike|blend)\(": 25, r"(mix|relax|leak|attend)\(": 60,
        r"membrane_potential": 20, r"\[::-?2\]|\[1::2\]": 6, r"\[:0:-1\]|\[-2::-1\]|\[::-1\]": 10, r" @ ": 200, r"np\.dot\(": 20, r"np\.einsum\(": 80, r"np\.matmul\(": 8, r"np\.outer\(": 15,
        r"np\.vdot\(": 4, r"np\.inner\(": 15, r"np\.tensordot\(": 20, r"np\.cumsum|sb\.cumsum": 8, r"softmax": 40, r"keepdims": 10, r"reshape|ravel": 25, r"np\.roll": 8, r"stop_gradient": 2,
        r"memory=": 35, r"Window|Chunked": 60, r"masks=": 80, r"monitor": 40, r"clip=": 5, r"at='last'": 50,
    }.items():  # fmt: skip
        count = sum(re.search(pattern, text) is not None for text in texts)
        assert count >= least, f"{count} of 400 cells have {pattern}"


def test_term_is_written_with_the_parentheses_that_it_needs() -> None:
    a, b = Term(("n",), "a"), Term(("n",), "b")
    both, power = Term(("n",), "{0} + {1}", (a, b)), Term(("n",), "{0} ** 2", (Term(("n",), "-{0}", (a,)),))
    assert str(Term(("n",), "{0} * {1}", (both, power))) == "(a + b) * ((-a) ** 2)"
    assert str(Term((), "np.dot({0}, {1})", (both, both))) == "np.dot(a + b, a + b)"
    assert str(Term(("n",), "{0}[1:] - {1}.T", (both, a))) == "(a + b)[1:] - a.T"


# Planted mistakes: in rules of the derivation, of passes, of lowering, and in the text of a module.


own_view = vjp.RULES["view"]


def _put_back(context: Any, node: Any, bar: int) -> Any:
    """The adjoint of a slice, put at the beginning wherever it was."""
    if node.attrs.kind != "slice":
        return own_view(context, node, bar)
    spans = [(0, length, 1) for _, length, _ in node.attrs.data]
    return [(node.args[0], vjp.build.pad(context.graph, bar, spans, context.graph.shape(node.args[0])))]


coefficient_of, pick_of, leave_of = (sys.modules[f.__module__] for f in (split, pack, masks.leave))
own_coefficient, own_leave = coefficient_of._coefficient, masks.leave
MISTAKES: dict[str, tuple[Callable[[Any], None], range]] = {
    "a part put back at the wrong place": (lambda m: m.setitem(vjp.RULES, "view", _put_back), range(20)),
    "a table without a gradient": (lambda m: m.setitem(vjp.RULES, "gather", lambda *_: []), range(20)),
    "a coefficient with the wrong sign": (
        lambda m: m.setattr(coefficient_of, "_coefficient", lambda made, node, mover, factor: own_coefficient(made, node, mover, -factor)), range(20)
    ),
    "gates cut at the first gate": (
        lambda m: m.setattr(pick_of, "_pick", lambda g, x, i: vjp.build.reshape(g, vjp.build.cut(g, x, [(0, 1, 1), *((0, s, 1) for s in g.shape(x)[1:])]), g.shape(x)[1:])), range(20)
    ),
    "a sum that forgets the blocks before": (lambda m: m.setattr(sweep, "total", lambda s, node, out, add: total(s, node, out, False)), range(20)),
    "an adjoint that crosses a reset": (lambda m: m.setattr(masks, "leave", lambda *args: own_leave(*args)[:1]), range(20)),
}  # fmt: skip
"""How each is planted, and among which cells it is looked for."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * (i > 0)) for i, name in enumerate(MISTAKES)]
)
def test_planted_mistake_in_a_rule_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, seeds = MISTAKES[name]
    plant(monkeypatch)
    for seed in seeds:
        try:
            assert_case(case_of(seed))
        except Difference as difference:
            assert isinstance(difference.error, AssertionError)
            return
    raise AssertionError(f"{name}: none of the cells {seeds} catches it")


PLANTED_CELL = """
def step(x: Input["n"], i0: Index["v"], s0: State["n"], s1: State["n"], p0: Param["v n"], p1: Param["n n"], p2: Param["n"]):
    v0 = np.tanh(p1 @ s0 + p0[i0] * x)
    return {"s0": v0, "s1": p2 * s1 + x, "y": v0 * x}
def error(s0: State["n"]):
    return s0 @ s0
"""
PLANTED = {
    "nothing": (r"import numpy", "import numpy"),
    "a row of another index": (r"np\.take\(p0, (\w+)", r"np.take(p0, 0 * \1"),
    "a sum that forgets the blocks before": (r"np\.add\(dp1, (\w+), out=dp1\)", r"np.copyto(dp1, \1)"),
    "another derivative of tanh": (r"np\.square\((s0_b), out=(\w+)\)", r"np.abs(\1, out=\2)"),
    "an adjoint that ends at the border of a block": (
        r"(\n +)lo = max\(hi - K, 0\)",
        r"\1lo = max(hi - K, 0)\1ds0[...] = 0",
    ),
    "the cotangent of an output twice": (r"dy = (.*)", r"dy = 2 * (\1)"),
    "a state that is not copied": (
        r"np\.multiply\(ds1_all_t, p2, out=ds1\)",
        r"np.multiply(ds1_all_t, p2 + 1e-6, out=ds1)",
    ),
}


@pytest.mark.parametrize("mistake", PLANTED)
@pytest.mark.thinned(3)
def test_planted_mistake_in_a_module_is_caught(mistake: str) -> None:
    bench = bench_of(case_of_text(PLANTED_CELL, {"m": 1, "n": 3, "k": 2, "v": 2}, 8, 2, Options(block=3), seed=4))
    kernel = sb.compile(bench.cell)
    source, count = re.subn(*PLANTED[mistake], kernel.source)
    assert count >= 1
    module = short(kernel, bench.case.options, source)
    if mistake == "nothing":
        bench.assert_kernel(module, mistake)
    else:
        with pytest.raises(AssertionError, match="differs by"):
            bench.assert_kernel(module, mistake)


# Failures.


def test_failure_is_made_small_and_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A check that fails wherever a product over axes is left has no more than that in the end."""

    def wrong(bench: Any) -> None:
        assert "np.einsum(" not in bench.case.file, "differs"

    monkeypatch.setitem(CHECKS, "passes", wrong)
    seed = next(seed for seed in range(100) if "np.einsum(" in case_of(seed).file)
    with pytest.raises(Difference) as caught:
        assert_case(case_of(seed), ["passes"])
    assert "def step(" in str(caught.value) and f"assert_case(case_of({seed}), ['passes'])" in str(caught.value)
    small = shrunk(caught.value)
    assert (
        len(small.case.file) < 0.5 * len(caught.value.case.file)
        and small.case.steps == 0
        and small.case.options == Options()
    )
    path = written(small, tmp_path)
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# seed {seed}, check passes\n# sizes ") and "\n# AssertionError: differs\n" in text
    assert sb.commands.load_target.load_target(f"{path}:step").name == "step"


def test_range_of_seeds_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    tried: list[int] = []

    def noted(case: Any, count: Any = None) -> bool:
        tried.append(case.seed)
        return True

    monkeypatch.setattr(explore, "assert_case", noted)
    explore.explore(3, 7, tmp_path, 0.0)
    assert tried == [3] and "1 of 4: 0 failed" in capsys.readouterr().out
    assert explore.explore(3, 7, tmp_path, 9.0)["cells"] == 4 and tried == [3, 4, 5, 6]


# What random cells have found, each as its shortest cell.

FOUND = {
    "a number of sizes that both sweeps read": """
def step(h: State["n+1"], w: Param["n"], U: Param["n+1 n+1"]):
    v = np.concatenate([w / w.shape[-1] ** 0.5, np.ones(1)])
    return v + 0.5 * np.tanh(U @ v)
""",
    "a weight that is read along rows and columns": """
def step(h: State["n+1"], U: Param["n n+1"], b: Param["1"], c: Const["2*n n+1"] = 0.4):
    return sb.softmax(c @ np.hstack((U @ h, b))) @ c
""",
    "a part of a constant of one number": """
def step(h: State["n"], b: Param["n"], c: Const["n+1"] = 0.4):
    return np.tanh(h + b) * (np.cos(c)[1:] - 0.5 * np.sin(c)[:-1])
""",
    "an adjoint whose terms cancel": """
def step(h: State["n"], w: Param["n"]):
    p = w + h
    return sb.sigmoid(p - h)
""",
    "a gradient of an input whose terms cancel": """
def step(x: Input["n"], h: State["n"], w: Param["n"]):
    p = x + h
    return {"h": np.tanh(p - x) * w, "y": p - h}
""",
    "a parameter that the sweep backward alone reads": """
def step(h: State["n"], b: Param["n"], w: Param["n"]):
    v = np.tanh(h + 0 * b)
    u = np.concatenate([h, v])[:h.shape[0]]
    return w * h - np.sin(u)
""",
    "the adjoint of a new state beside that of a function, in one product": """
def step(h: State["n"], W: Param["n n"], P: Param["n n"]):
    h = W @ h + np.tanh(P @ h)
    return {"h": h, "y": h}
""",
    "the same of two states, one of them with an output of what it was": """
def step(h: State["n"], c: State["n"], W: Param["n n"], P: Param["n n"], Q: Param["n n"]):
    new = 0.5 * W @ h + np.tanh(P @ h + Q @ c)
    return {"h": new, "c": Q @ c + new, "y": 0.5 * new + h, "z": c}
""",
    "a slice that goes down to the first entry, and one that ends before it": """
def step(h: State["n+1"], w: Param["n+1"]):
    v = w * h
    return {"h": np.tanh(h + np.sum(v[:0:-1])), "y": v[:0:-1], "z": v[-2::-1]}
""",
    "every second entry of an axis of even size": """
def step(h: State["2*n"], w: Param["2*n"]):
    v = w * h
    return {"h": np.concatenate([v[::2] * v[1::2], np.tanh(v[::-2])]), "y": v[-2::-2]}
""",
    "a function of a number, which the loops must not be said to have wrong": """
blend = sb.function("blend", lambda a, b: sp.sin(a) * b + sp.exp(-(b**2)))
def step(h: State["n"], p: Param["n"], q: Param):
    return p + blend(2.0, q) * np.tanh(h)
""",
    "a product whose result is the same along axes of a parameter": """
def step(h: State, w: Param["k"], p: Param["n n k"]):
    return np.einsum('ijk,k->ij', p, w).sum() + 0 * h
""",
    "sums of what has cancelled": """
def step(h: State["n"], p: Param["k n"]):
    s = h - h
    return np.sum(p * p - p * p, axis=0) + np.mean(s) * np.max(s - s) + h / (1 + np.sum(s * s)) - sb.softmax(p @ h - p @ h) @ p
""",
    "a gate near one, at a place of an array in which a number stands for a whole axis": """
def step(h: State, i0: Index["v"], p: Param["v"]):
    g = sb.sigmoid(30 + sb.log_softmax(p)[i0])
    return g * np.tanh(h) + (1 - g) * h
""",
    "an argument that is computed again from what nothing else of the sweep back reads": """
def step(h: State["n"], p: Param["n"]):
    v = h - np.mean(h, axis=-1, keepdims=True)
    g = sb.sigmoid(sb.selu(v - v))
    return g * h + (1 - g) * np.tanh(p)
""",
    "a function without a name in NumPy of a number of the signature": """
def step(h: State["n"], p: Param["n"], c: Const = 0.4):
    return p * h - sb.gelu(c) * p
""",
    "a maximum whose values are equal from the second step on": """
def step(h: State["k n"], p: Param["n n"], q: Param["k"]):
    return {"h": np.maximum(np.einsum('ij,k->ki', p, q), h), "y": np.max(np.stack([h, h]), axis=0), "z": np.maximum(np.maximum(h, 0.3), 0.3)}
""",
    "a row of a vector that is seen as rows, in a sum outside of the loop": """
def step(h: State["2*n"], A: Param["2*n n"], p: Param["n"]):
    return np.tanh(h) + np.stack([p, p]).reshape(-1) + A @ p
""",
    "a column of which samples and rows are one axis of a product": """
def step(h: State["n"], A: Param["n n n"], v: Param["n"], p: Param["n n"]):
    return np.mean(p * np.einsum('ijk,j,k->i', A, h, v)[:, None], axis=0)
""",
    "a size that only the zeros of a cotangent that is not given have": """
def step(s: State["k n"], p: Param["n"], h: State["n"]):
    new = np.tanh(s)
    return {"s": new, "h": p * h, "y": (new + s) / 2}
""",
}


@pytest.mark.parametrize("name", FOUND)
@pytest.mark.thinned(79, 3)
def test_cell_that_was_found_is_right_in_every_way(name: str) -> None:
    text = FOUND[name] + 'def error(h: State["{}"]):\n    return np.sum(h * h)\n'.format(
        re.search(r'\bh: State(?:\["(.*?)"\])?', FOUND[name])[1] or ""
    )  # type: ignore[index]
    window = Options(truncation="Window(2)", cotangents="states", masks="both")
    last = Options(memory="sqrt", at="last", masks="lengths")
    for options, checks in ((Options(block=2), CHECKS), (window, ("tape", "proof")), (last, ("model", "proof"))):
        assert assert_case(case_of_text(text, {"m": 2, "n": 3, "k": 2, "v": 2}, 5, 2, options, seed=4), checks)
