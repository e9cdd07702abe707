"""The unrolled graph: a copy of the step for every step, and of the derived recursion backward."""

import re

import networkx as nx
import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Index, Input, Param, State
from symbptt.derivation import derive
from symbptt.unrolling import unroll


@sb.cell
def rnn(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"]):
    return np.tanh(W @ x + U @ h + b)


@sb.cell
def gru(x: Input["m"], h: State["n"], Wz: Param["n m"], Uz: Param["n n"], Wc: Param["n m"], Uc: Param["n n"]):
    z = sb.sigmoid(Wz @ x + Uz @ h)
    c = np.tanh(Wc @ x + Uc @ (z * h))
    return (1 - z) * h + z * c


@sb.cell
def lstm(
    x: Input["m"], h: State["n"], c: State["n"], Wi: Param["n m"], Ui: Param["n n"], Wf: Param["n m"], Uf: Param["n n"]
):
    i = sb.sigmoid(Wi @ x + Ui @ h)
    f = sb.sigmoid(Wf @ x + Uf @ h)
    c = f * c + i * np.tanh(Wi @ x)
    return f * np.tanh(c), c


@sb.cell
def leaky(
    x: Input["m"], k: Index["v"], h: State["n"], s: State, E: Param["n v"], U: Param["n n"], V: Param["k n"],
    w: Param, dt: Const = 0.1,
):  # fmt: skip
    W2 = U @ U
    h2 = h + dt * np.tanh(W2 @ h + w * s + E[:, k])
    return {"h": h2, "s": s * w + sb.sum(x), "y": V @ h2, "again": h2}


@sb.cell
def delayed(x: Input["n"], h: State["n"], before: State["n"]):
    return x * h + before, h


@sb.cell
def clash(x: Input["n"], h: State["n"], dh: Param["n"], U: Param["n n"]):
    dU = np.tanh(U @ h + dh)
    return dU * x


CELLS = [rnn, gru, lstm, leaky, delayed, clash]
each_cell = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)


@each_cell
@pytest.mark.parametrize("steps", [0, 1, 2, 5])
@pytest.mark.parametrize("backward", [False, True])
def test_graph_is_acyclic_and_every_node_is_described(cell, steps, backward):
    graph = unroll(cell, steps=steps, backward=backward)
    assert nx.is_directed_acyclic_graph(graph)
    for node, attributes in graph.nodes(data=True):
        assert {"expression", "shape", "role", "latex"} <= set(attributes), node
        assert isinstance(attributes["shape"], tuple)
        assert all(mark not in attributes["expression"] + attributes["latex"] for mark in "\ue000\ue001\ue002")


@each_cell
@pytest.mark.parametrize("backward", [False, True])
def test_size_grows_linearly_with_steps(cell, backward):
    sizes = []
    for steps in (3, 4, 5, 9):
        graph = unroll(cell, steps=steps, backward=backward)
        sizes.append((len(graph), graph.number_of_edges()))
    (n3, e3), (n4, e4), (n5, e5), (n9, e9) = sizes
    assert (n5 - n4, e5 - e4) == (n4 - n3, e4 - e3)
    assert (n9 - n5, e9 - e5) == (4 * (n4 - n3), 4 * (e4 - e3))


def test_last_state_depends_on_every_input_and_parameter():
    graph = unroll(lstm, steps=4)
    above = nx.ancestors(graph, ("h", 4))
    assert {("x", t) for t in (1, 2, 3, 4)} <= above
    assert {(name, None) for name in ("Wi", "Ui", "Wf", "Uf")} <= above
    assert {("h", 0), ("c", 0)} <= above


def test_parameters_and_constants_are_shared_and_states_are_not():
    graph = unroll(leaky, steps=3)
    keys = {name: sorted((t for n, t in graph if n == name), key=str) for name in ("U", "dt", "W2", "x", "h", "y")}
    assert keys == {"U": [None], "dt": [None], "W2": [None], "x": [1, 2, 3], "h": [0, 1, 2, 3], "y": [1, 2, 3]}
    roles = {name: graph.nodes[node]["role"] for name, node in {n: (n, t) for n, t in graph}.items()}
    assert roles == {"x": "input", "k": "index", "h": "state", "s": "state", "E": "param", "U": "param", "V": "param",
                     "w": "param", "dt": "const", "W2": "value", "y": "output", "again": "output"}  # fmt: skip


def test_without_steps_the_graph_holds_initial_states_and_parameters():
    graph = unroll(rnn, steps=0, backward=True)
    assert set(graph) >= {("h", 0), ("W", None), ("U", None), ("b", None), ("dh", 0), ("dW", None)}
    assert ("x", 1) not in graph and ("h", 1) not in graph
    assert graph.nodes["dh", 0]["expression"] == "0"
    assert graph.number_of_edges() == 0


def test_forward_edges_are_the_dependencies_of_the_cell_itself():
    """A perturbed node changes the states after it exactly where the graph has a path, seen on the user's function."""
    rng = np.random.default_rng(0)
    params = [rng.standard_normal(s) for s in ((3, 2), (3, 3), (3, 2), (3, 3))]
    graph = unroll(lstm, steps=3)

    def run(x, h, c):
        seen = {("h", 0): h, ("c", 0): c}
        for t in (1, 2, 3):
            h, c = lstm(x[t - 1], h, c, *params)
            seen |= {("h", t): h, ("c", t): c}
        return seen

    x, zero = rng.standard_normal((3, 2)), np.full(3, 0.1)
    plain = run(x, zero, zero)
    for s in (1, 2, 3):
        nudged = x.copy()
        nudged[s - 1] += 0.1
        after = run(nudged, zero, zero)
        changed = {node for node in plain if not np.array_equal(plain[node], after[node])}
        assert changed == {node for node in nx.descendants(graph, ("x", s)) if node in plain}


def _mentioned(expression, graph):
    """The nodes that a formula names, read from its text."""
    names = {n for n, _ in graph}
    found: set[tuple[str, int | None]] = set()
    expression = re.sub(r"_\{:,(\w+)\}", r" \1", expression)  # a column of a table
    for token in re.findall(r"(?a:dL/d\w+|\w+?_\{[^}]*\}|\w+)", expression):
        plain = re.sub(r"_\{(.*)\}$", lambda m: "_" + m[1].replace(",", "_"), token)
        head, _, time = plain.rpartition("_")
        if head in names and time.isdigit():
            found.add((head, int(time)))
        elif plain in names:
            found.add((plain, None))
    return found


@pytest.mark.parametrize("cell", [rnn, gru, lstm, leaky, delayed], ids=lambda cell: cell.name)
def test_edges_are_what_formulas_name(cell):
    graph = unroll(cell, steps=3, backward=True)
    for node, attributes in graph.nodes(data=True):
        if "Σ" not in attributes["expression"] and graph.in_degree(node):
            assert set(graph.predecessors(node)) == _mentioned(attributes["expression"], graph), node


@pytest.mark.parametrize("cell", [rnn, gru, lstm, leaky, delayed], ids=lambda cell: cell.name)
def test_formulas_of_an_inner_step_are_the_derived_equations(cell):
    graph = unroll(cell, steps=4, backward=True)
    texts = {attributes["expression"] for _, attributes in graph.nodes(data=True)}
    derivation = derive(cell)

    def at(text, t):
        text = re.sub(r"t-1\}", f"{t - 1}}}", text)
        return re.sub(r"_\{(\d+)\}", r"_\1", re.sub(r"([_,])t\b", rf"\g<1>{t}", text, flags=re.ASCII))

    for equation in (*derivation.forward, *derivation.input_gradients):
        assert at(equation.rhs, 2) in texts
    carried = {f"d{name}_t" for name in derivation.recursion.carry | derivation.recursion.cotangent}
    for equation in derivation.backward:
        if equation.lhs not in carried and "t-1" not in equation.lhs:
            assert at(equation.rhs, 2) in texts
    for equation in derivation.gradients:
        assert equation.rhs in texts


def test_adjoint_of_a_state_has_the_loss_the_next_step_and_what_its_own_step_adds():
    graph = unroll(lstm, steps=2, backward=True)
    expression = {t: graph.nodes["dc", t]["expression"] for t in (0, 1, 2)}
    assert expression == {
        2: "dL/dc_2 + dh_2 ⊙ f_2 ⊙ (1 - tanh(c_2)²)",
        1: "dL/dc_1 + dc_2 ⊙ f_2 + dh_1 ⊙ f_1 ⊙ (1 - tanh(c_1)²)",
        0: "dc_1 ⊙ f_1",
    }
    assert set(graph.predecessors(("dc", 1))) == {
        ("dL/dc", 1),
        *((n, 2) for n in ("dc", "f")),
        *((n, 1) for n in ("dh", "f", "c")),
    }
    assert graph.nodes["dc", 1]["of"] == graph.nodes["dL/dc", 1]["of"] == "c"


def test_parameter_gradients_read_every_step():
    graph = unroll(rnn, steps=3, backward=True)
    assert set(graph.predecessors(("dU", None))) == {("da", t) for t in (1, 2, 3)} | {("h", t) for t in (0, 1, 2)}
    assert graph.nodes["dU", None]["expression"] == "Σ_t da_t h_{t-1}ᵀ"
    assert graph.nodes["dU", None]["role"] == "gradient"


def test_adjoints_keep_apart_from_the_users_names():
    graph = unroll(clash, steps=2, backward=True)
    assert graph.nodes["dh", None]["role"] == "param"
    assert graph.nodes["dh_1", 1]["of"] == "h" and graph.nodes["dh_1", 1]["role"] == "adjoint"
    assert graph.nodes["dU_1", None]["of"] == "U"


@pytest.mark.parametrize("steps", [-1, 1.0, True, "3"])
def test_steps_that_are_no_count_are_refused(steps):
    with pytest.raises(sb.ArgumentError, match="steps must be an integer"):
        unroll(rnn, steps=steps)


def test_what_is_no_cell_is_refused():
    with pytest.raises(sb.ArgumentError, match="takes a cell"):
        unroll(np.tanh, steps=1)  # type: ignore[arg-type]
