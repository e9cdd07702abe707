"""Which values of a program have a place of their own, and how long: a function of the program, that knows no target."""

import ast
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

import symbptt as sb
from symbptt.autodiff.bptt import derive
from symbptt.codegen.lower.cell import lower
from symbptt.codegen.passes import PASSES
from symbptt.codegen.program import values
from symbptt.codegen.program.names import Named, named
from symbptt.codegen.program.program import Program, program_of
from symbptt.codegen.program.remainders import arguments_again
from symbptt.codegen.program.values import Part, values_of
from symbptt.codegen.targets.numpy.names import RESERVED
from symbptt.ir.shape import named_size
from symbptt.zoo import CELLS
from tests import unseen

ROOT = Path(__file__).parent.parent / "codegen"
CELLS_OF_OTHERS = [value for value in vars(unseen).values() if isinstance(value, sb.Cell)][::4]


@sb.cell
def tanh_cell(x: sb.Input["m"], h: sb.State["n"], W: sb.Param["n m"], U: sb.Param["n n"]):
    """The plain recurrence, by hand below."""
    h = sb.tanh(W @ x + U @ h)
    return {"h": h}


@sb.cell
def awkward(a: sb.Input["n"], sizes: sb.State["n"], full: sb.Param["n"], T: sb.Param["n"], w: sb.Param["n"]):
    """Names that a NumPy module uses itself, and one that the loop IR does."""
    return {"sizes": sb.tanh(full * sizes + T * a + w)}


def placed(cell: sb.Cell) -> Program:
    """The program of a cell behind the passes for NumPy."""
    p = program_of(derive(cell.step))
    for step in PASSES:
        p = step(p)
    return p


def places(n: Named, ids: Iterable[int]) -> dict[str, str]:
    """The regions of some values by name."""
    return {n.variables[id]: n.place(id) for id in ids}


def test_values_of_a_plain_recurrence_are_those_told_by_hand() -> None:
    """W x is computed for a block before its loop, h for all steps; the coefficient 1 - h² for a block before the loop
    back, da in it for the steps of a block, behind which the gradients are summed."""
    n = named(placed(tanh_cell))
    assert places(n, n.own) == {
        "x": "forward block", "h": "forward loop", "W": "forward once", "U": "forward once", "W_x": "forward block",
        "UT": "forward once", "dh": "backward loop", "da_dh": "backward block", "da": "backward loop",
        "dU": "backward tail", "dx": "backward tail", "dW": "backward tail",
    }  # fmt: skip
    assert {n.variables[id] for id in n.stored} == {"h", "dx"}
    assert {n.variables[id] for id in n.held} == {"da"}
    assert not n.collected and not n.parts and not n.static


def test_gates_are_points_of_one_value_and_adjoints_of_gates_are_spans_of_another() -> None:
    n = named(placed(CELLS["lstm"]))
    size = named_size("n")
    found = {n.variables[id]: (n.variables[part.whole], replace(part, whole=0)) for id, part in n.parts.items()}
    gates = {g: ("gates", Part(0, i, 1, True)) for i, g in enumerate("ifo")}
    assert found == gates | {f"da_{g}": ("dgates", Part(0, i * size, size)) for i, g in enumerate("ifgo")}


def test_names_are_those_of_the_user_but_where_a_target_needs_them_itself() -> None:
    """`sizes` is a variable of NumPy modules, and no word of the loop IR, which has T."""
    p = placed(awkward)
    neutral = {port.view.buffer.name for port in lower(p).forward.arguments}
    assert neutral == {"a", "full", "T_", "w", "sizes_0"}
    assert {named(p, RESERVED).of_argument(name) for name in ("a", "full", "T", "sizes")} == {
        "a_",
        "full_",
        "T_",
        "sizes_",
    }


@pytest.mark.long
def test_every_value_that_a_program_computes_has_a_place_or_one_reader_in_its_region() -> None:
    """What has no place is written into its readers: all of them stand in its own region, but for what is free to take
    again (views, numbers), and for what only the argument of a remainder reads."""
    for cell in [*CELLS.values(), *CELLS_OF_OTHERS]:
        p = placed(cell)
        v, again = values_of(p), arguments_again(p)
        for id in set(p.places) - v.own - again - v.static:
            node = p.graph[id]
            readers = [reader for reader in p.graph.readers(id) if reader in p.places and reader not in again]
            if node.family not in ("leaf", "number", "view"):
                assert {v.place(reader) for reader in readers} <= {v.place(id)}, (cell.name, id)


def test_planted_value_without_a_place_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a place for what another region reads the coefficients would be computed at each step."""
    plain = values.chosen
    monkeypatch.setattr(values, "chosen", lambda p: [id for id in plain(p) if "block" not in p.places[id]])
    with pytest.raises(AssertionError):
        test_every_value_that_a_program_computes_has_a_place_or_one_reader_in_its_region()


def test_lowering_imports_nothing_of_targets() -> None:
    for path in sorted((*(ROOT / "lower").glob("*.py"), *(ROOT / "program").glob("*.py"))):
        names = [
            node.module or "" for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)
        ]
        assert not [name for name in names if name.startswith("symbptt.codegen.targets")], path
