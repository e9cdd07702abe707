"""The step graph: made once, legal, and the same text in every run."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import sympy as sp

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.autodiff.bptt import derive
from symbptt.errors import ShapeError
from symbptt.ir import build, laws
from symbptt.ir.dump import dump
from symbptt.ir.graph import Graph
from symbptt.ir.node import Body, Cumulation, Gather, Leaf, Product, Reduction, Total, View, placeholder
from symbptt.ir.shape import named_size
from symbptt.zoo import CELLS, lstm, rnn

n, m = named_size("n"), named_size("m")
ROOT = Path(__file__).parents[1]
EVERY_CELL = pytest.mark.parametrize("cell", CELLS.values(), ids=list(CELLS))


def graph() -> tuple[Graph, int, int]:
    """A graph with a matrix and a vector."""
    g = Graph()
    return g, build.leaf(g, "param", "W", (n, m)), build.leaf(g, "input", "x", (m,))


def network(g: Graph) -> nx.MultiDiGraph:
    """A graph from arguments to values, each edge keyed by the argument's position."""
    network = nx.MultiDiGraph()
    network.add_nodes_from(node.id for node in g)
    network.add_edges_from((arg, node.id, i) for node in g for i, arg in enumerate(node.args))
    return network


def test_same_node_is_made_once() -> None:
    g, W, x = graph()
    matvec = Product((0, 1), (1,), (0,))
    assert build.contract(g, W, x, matvec) == build.contract(g, W, x, Product((5, 7), (7,), (5,)))
    assert build.map_(g, sp.tanh(placeholder(0)), (x,)) == build.map_(g, sp.tanh(placeholder(0)), (x,))
    assert build.number(g, 2.0) == build.number(g, 2.0)
    assert build.leaf(g, "param", "W", (n, m)) == W


def test_numbers_of_other_types_are_other_nodes() -> None:
    g = Graph()
    assert len({build.number(g, 1), build.number(g, 1.0), build.number(g, True)}) == 3


def test_repeated_expression_of_a_cell_is_one_node() -> None:
    @sb.cell
    def twice(x: Input["m"], h: State["n"], W: Param["n m"]):
        a = np.tanh(W @ x)
        b = np.tanh(W @ x)
        return h * a + b

    families = [node.family for node in twice.step.graph]
    assert families.count("contract") == 1
    assert sum("tanh" in str(node.attrs) for node in twice.step.graph) == 1


def test_what_changes_nothing_makes_no_node() -> None:
    g, W, x = graph()
    before = len(g)
    assert build.transpose(g, W, (0, 1)) == W
    assert build.reshape(g, x, (m,)) == x
    assert build.expand(g, x, (m,)) == x
    assert build.cut(g, x, [(0, m, 1)]) == x
    assert build.concatenate(g, [x], 0) == x
    assert build.map_(g, placeholder(0), (x,)) == x
    assert build.reduce(g, "sum", x, ()) == x
    assert len(g) == before
    assert build.transpose(g, build.transpose(g, W, (1, 0)), (1, 0)) == W


@EVERY_CELL
def test_graph_is_acyclic_with_edges_keyed_by_position(cell: sb.Cell) -> None:
    g = cell.step.graph
    assert nx.is_directed_acyclic_graph(network(g))
    for node in g:
        edges = sorted((key, source) for source, _, key in network(g).in_edges(node.id, keys=True))
        assert edges == list(enumerate(node.args))


@EVERY_CELL
@pytest.mark.thinned(7)
def test_forward_and_derived_graphs_are_legal(cell: sb.Cell) -> None:
    laws.check(cell.step.graph)
    before = dump(cell.step.graph)
    recursion = derive(cell.step)
    laws.check(recursion.graph)
    assert dump(cell.step.graph) == before, "derivation leaves the step as it was"
    assert dump(recursion.graph, range(len(cell.step.graph))).splitlines() == before.splitlines()


def square(g: Graph) -> int:
    return build.leaf(g, "param", "U", (n, n))


SQUARE, V, TWICE = placeholder(0) ** 2, Leaf("param", "v"), Product((0, 0), (1,), (0, 1))
PLANTED: dict[str, tuple[str, Callable[[Graph, int, int], object]]] = {
    "foreign attributes": ("foreign", lambda g, W, x: g.add("map", (x,), (m,), Leaf("input", "y"))),
    "an argument that comes later": ("comes later", lambda g, W, x: g.add("map", (7,), (m,), Body(SQUARE))),
    "a shape of a map": ("follow", lambda g, W, x: g.add("map", (x,), (n,), Body(placeholder(0) ** 2))),
    "a free symbol": ("free symbol", lambda g, W, x: g.add("map", (x,), (m,), Body(placeholder(0) * sp.Symbol("w")))),
    "a placeholder without argument": ("free symbol", lambda g, W, x: g.add("map", (x,), (m,), Body(placeholder(1)))),
    "a size that is a SymPy number": ("normal form", lambda g, W, x: g.add("leaf", (), (sp.Integer(2),), V)),
    "a shape of a product": ("follow", lambda g, W, x: g.add("contract", (W, x), (m,), Product((0, 1), (1,), (0,)))),
    "a label twice": ("twice", lambda g, W, x: g.add("contract", (square(g), x), (n, m), TWICE)),
    "an axis summed alone": ("alone", lambda g, W, x: g.add("contract", (W, x), (m,), Product((0, 1), (1,), (1,)))),
    "a reduction of nothing": ("no axis", lambda g, W, x: g.add("reduce", (x,), (m,), Reduction("sum", ()))),
    "a shape of a reduction": ("follow", lambda g, W, x: g.add("reduce", (W,), (n,), Reduction("sum", (0,)))),
    "a shape of a transpose": ("follow", lambda g, W, x: g.add("view", (W,), (n, m), View("transpose", (1, 0)))),
    "elements lost": ("elements lost", lambda g, W, x: g.add("view", (W,), (n,), View("reshape"))),
    "a shape of an expansion": ("broadcast", lambda g, W, x: g.add("view", (W,), (n,), View("expand"))),
    "a shape of a slice": ("follow", lambda g, W, x: g.add("view", (x,), (m,), View("slice", ((0, 2, 1),)))),
    "a shape of a padding": ("follow", lambda g, W, x: g.add("view", (x,), (9,), View("pad", ((0, 2, 1),)))),
    "a name without a node": ("without a node", lambda g, W, x: g.names.update({99: "v"})),
    "a name used twice": ("used twice", lambda g, W, x: g.names.update({W: "v", x: "v"})),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_planted_violation_is_caught(name: str) -> None:
    words, plant = PLANTED[name]
    g, W, x = graph()
    laws.check(g)
    plant(g, W, x)
    with pytest.raises((AssertionError, ShapeError), match=words):
        laws.check(g)


def test_node_made_behind_the_graphs_back_is_caught() -> None:
    g, _, x = graph()
    build.map_(g, sp.tanh(placeholder(0)), (x,))
    g._ids.clear()
    build.map_(g, sp.tanh(placeholder(0)), (x,))
    with pytest.raises(AssertionError, match="made twice"):
        laws.check(g)


WITHOUT_LAW: dict[str, Callable[[Graph, int, int], object]] = {
    "concatenate": lambda g, W, x: g.add("view", (x, x), (m,), View("concatenate", (0,))),
    "gather": lambda g, W, x: g.add("gather", (W, build.leaf(g, "index", "i", ())), (n,), Gather("gather", 0)),
    "cumulate": lambda g, W, x: g.add("cumulate", (x,), (n,), Cumulation(0, False)),
    "total": lambda g, W, x: g.add("total", (x,), (n,), Total()),
}


@pytest.mark.parametrize("family", WITHOUT_LAW)
def test_planted_shape_of_any_family_is_caught(family: str) -> None:
    g, W, x = graph()
    WITHOUT_LAW[family](g, W, x)
    with pytest.raises(AssertionError, match="follow"):
        laws.check(g)


def test_copy_of_a_graph_grows_alone() -> None:
    g, W, _ = graph()
    other = g.copy()
    build.transpose(other, W, (1, 0))
    other.names[W] = "W"
    assert (len(g), len(other)) == (2, 3) and not g.names
    assert network(g).number_of_nodes() == 2


def test_ancestors_come_before_what_reads_them() -> None:
    step = lstm.step
    g = step.graph
    found = g.ancestors([step.next["h"]])
    assert found == sorted(found)
    assert set(found) == {*nx.ancestors(network(g), step.next["h"]), step.next["h"]}


@pytest.mark.parametrize("name", ["lstm", "mlstm"])
def test_descendants_are_all_that_is_computed_from_the_roots(name: str) -> None:
    recursion = derive(CELLS[name].step)
    g, roots = recursion.graph, [*recursion.step.leaves.values(), *recursion.carry.values()]
    for root in roots:
        assert g.descendants([root]) == {root, *nx.descendants(network(g), root)}
    assert g.descendants(iter(roots)) == set().union(*(g.descendants([root]) for root in roots))
    assert g.descendants([]) == set() and Graph().descendants([]) == set()


def test_consumers_count_each_reading() -> None:
    g, _, x = graph()
    square = build.map_(g, placeholder(0) * placeholder(1), (x, x))
    assert g.consumers([x, square]) == {x: [square, square], square: []}


@EVERY_CELL
def test_dump_has_one_line_a_node(cell: sb.Cell) -> None:
    g = cell.step.graph
    lines = dump(g).splitlines()
    assert len(lines) == len(g)
    for node, line in zip(g, lines, strict=True):
        assert line.split()[0] == f"%{node.id}" and node.family in line
        assert g.names.get(node.id, "") in line


def test_dump_says_name_shape_and_place() -> None:
    line = next(line for line in dump(rnn.step.graph).splitlines() if "tanh" in line)
    assert "(n,)" in line and "map" in line and line.endswith(f"simple.py:{_line_of_tanh()}")


def _line_of_tanh() -> int:
    code = rnn.function.__code__
    return next(line for _, _, line in code.co_lines() if line and line > code.co_firstlineno + 5)


SCRIPT = """
import symbptt as sb
from symbptt.autodiff.bptt import derive
from symbptt.ir.dump import dump
from symbptt.zoo import lstm, mlstm, retnet
for cell in (lstm, mlstm, retnet):
    print(dump(derive(cell.step).graph))
    print(sb.derive(cell).text(), sb.derive(cell).latex())
    print(sb.compile(cell).source)
"""


@pytest.mark.long
def test_graph_equations_and_module_are_the_same_for_every_hash_seed() -> None:
    def printed(seed: str) -> str:
        environment = {"PYTHONHASHSEED": seed, "PATH": "", "PYTHONIOENCODING": "utf-8"}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment, capture_output=True, check=True
        )
        return done.stdout.decode("utf-8")

    first = printed("0")
    assert len(first) > 10_000
    assert printed("1") == first
    assert printed("4242") == first
