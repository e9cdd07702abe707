"""The unrolled graph: a copy of the step for every step, and of the derived recursion backward."""

import inspect
import json
import re
import shutil
import subprocess

import networkx as nx
import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Index, Input, Param, State, Target, ops, zoo
from symbptt.autodiff.local_derivative import _between, tangent
from symbptt.derivations.derivation import derive
from symbptt.drawing.exchange import graph_dot, graph_json
from symbptt.drawing.unrolled import unroll
from symbptt.ir import build
from symbptt.ir.shape import names_in
from tests.evaluate import leaf, number_of, one
from tests.test_fixed_point import coupled, once


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


@sb.cell
def passed_on(x: Input["n"], h: State["n"], w: Param["n"]):
    return {"h": np.tanh(w * h), "y": x, "z": w}


@sb.cell
def gated(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], V: Param["n n"]):
    u = W @ x + V @ h

    def body(z):
        inner = 0.3 * U @ z + u
        return np.sin(inner)

    z = sb.fixed_point(body, np.zeros_like(h))
    return (1 - z) * h + z


@sb.cell
def half_read(x: Input["n"], h: State["n"], U: Param["n n"]):
    """Two values that settle together, of which the step reads one: the other is read by it, and by the backward pass."""
    return sb.fixed_point(lambda z: (np.tanh(0.1 * U @ z[1] + x), 0.5 * np.sin(z[0])), (h, h))[1]


CELLS = [rnn, gru, lstm, leaky, delayed, clash, passed_on, half_read]
each_cell = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)


@each_cell
@pytest.mark.parametrize("steps", [0, 1, 2, 5])
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.thinned(7)
def test_graph_is_acyclic_and_every_node_is_described(cell, steps, backward):
    graph = unroll(cell, steps=steps, backward=backward)
    assert nx.is_directed_acyclic_graph(graph)
    for node, attributes in graph.nodes(data=True):
        assert {"expression", "shape", "role", "latex", "symbol", "rule"} <= set(attributes), node
        assert all(isinstance(value, str) for value in attributes.values()), node
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
                     "w": "param", "dt": "const", "W2": "value", "y": "output", "again": "output", "L": "loss"}  # fmt: skip


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
    expression = expression.replace("Δt", "dt")
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
        if "Σ" not in attributes["expression"] and node != ("L", None) and graph.in_degree(node):
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
    with pytest.raises(sb.ArgumentError, match="takes a cell or a model"):
        unroll(np.tanh, steps=1)  # type: ignore[arg-type]


@sb.loss
def squared(h: State["n"], y: Target["k"], V: Param["k n"]):
    e = V @ h - y
    return sb.sum(e * e) / 2


@sb.loss
def tied(h: State["n"], y: Target["n"], U: Param["n n"]):
    x = U @ h - y
    return sb.sum(x * x) / 2


def models():
    return [sb.model(rnn, squared, at=at, reduction=how) for at in ("every", "last") for how in ("sum", "mean")]


ALL = {**zoo.CELLS, **{cell.name: cell for cell in CELLS}}


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("target", [*CELLS, gated, *models()], ids=lambda target: target.name)
@pytest.mark.thinned(3)
def test_networkx_writes_and_reads_the_graph_in_each_format(target, steps, tmp_path):
    graph = unroll(target, steps, backward=True)
    nx.write_graphml(graph, tmp_path / "g.graphml")
    nx.write_gml(graph, tmp_path / "g.gml")
    nx.write_gexf(graph, tmp_path / "g.gexf")
    again = [
        nx.read_graphml(tmp_path / "g.graphml"),
        nx.read_gexf(tmp_path / "g.gexf"),
        nx.read_gml(tmp_path / "g.gml"),
    ]
    again.append(nx.node_link_graph(json.loads(json.dumps(nx.node_link_data(graph)))))
    for other in again:
        assert (len(other), other.number_of_edges()) == (len(graph), graph.number_of_edges())
        expressions = sorted(text for _, text in other.nodes(data="expression"))
        assert expressions == sorted(text for _, text in graph.nodes(data="expression"))
        assert sorted(local for *_, local in other.edges(data="local")) == sorted(
            local for *_, local in graph.edges(data="local")
        )


def test_edges_carry_the_local_derivative():
    edges = unroll(lstm, 2, backward=True).edges
    expected = {
        (("c", 1), ("c", 2)): ("f_2 ⊙", "elementwise", False),
        (("dc", 2), ("dc", 1)): ("f_2 ⊙", "elementwise", False),
        (("da_f", 2), ("dh", 1)): ("Ufᵀ", "matrix", False),
        (("h", 1), ("f", 2)): ("f_2 ⊙ (1 - f_2) ⊙ (Uf □)", "matrix", False),
        (("da_f", 2), ("dUf", None)): ("□ h_1ᵀ", "matrix", False),
        (("c", 0), ("df", 1)): ("dc_1 ⊙", "elementwise", True),
        (("dL/dh", 2), ("dh", 2)): ("1", "identity", False),
        (("h", 2), ("L", None)): ("dL/dh_2", "linear", False),
    }
    for edge, (local, kind, saved) in expected.items():
        assert edges[edge] == {"local": local, "kind": kind, "saved": saved}, edge


def test_nodes_carry_the_rule_and_the_line_of_the_user():
    nodes = unroll(lstm, 1, backward=True).nodes
    start = inspect.getsourcelines(lstm.function)[1]
    lines = {name: nodes[name, 1].get("line") for name in ("i", "f", "c", "h", "df", "da_f", "dc", "x")}
    at = {name: f"test_unroll.py:{start + shift}" for name, shift in {"i": 4, "f": 5, "c": 6, "h": 7}.items()}
    assert lines == {**at, "df": at["f"], "da_f": at["f"], "dc": at["c"], "x": None}
    rules = {name: nodes[name, t]["rule"] for name, t in (("f", 1), ("c", 1), ("da_f", 1), ("dUf", None), ("x", 1))}
    assert rules == {
        "f": "sigmoid", "c": "sum", "da_f": "chain rule through sigmoid", "x": "given",
        "dUf": "sum over steps, chain rule through matrix product",
    }  # fmt: skip


def test_paths_to_the_loss_can_be_asked():
    graph = unroll(rnn, 3)
    paths = sorted(nx.all_simple_paths(graph, ("h", 1), ("L", None)), key=len)
    assert paths == [[("h", 1), ("L", None)], [("h", 1), ("h", 2), ("L", None)],
                     [("h", 1), ("h", 2), ("h", 3), ("L", None)]]  # fmt: skip
    last = unroll(sb.model(rnn, squared, at="last"), 3)
    assert [path[-3:] for path in nx.all_simple_paths(last, ("h", 1), ("L", None))] == [
        [("e", 3), ("loss", 3), ("L", None)]
    ]


@sb.cell
def named_like_the_loss(x: Input["n"], L: State["n"], U: Param["n n"]):
    return np.tanh(U @ L + x)


def test_loss_keeps_apart_from_a_state_of_its_name():
    graph = unroll(named_like_the_loss, 2)
    assert graph.nodes["L", 2]["role"] == "state" and graph.nodes["L_1", None]["role"] == "loss"


@pytest.mark.parametrize("steps", [0, 1, 2, 4])
@pytest.mark.parametrize("model", models(), ids=lambda model: f"{model.at}-{model.reduction}")
def test_loss_of_a_model_stands_at_its_steps(model, steps):
    graph = unroll(model, steps, backward=True)
    times = list(range(1, steps + 1))[0 if model.at == "every" else -1 :]
    assert sorted(t for name, t in graph if name == "loss") == times
    assert set(graph.predecessors(("L", None))) == {("loss", t) for t in times}
    assert {t for name, t in graph if name == "y"} == set(times)
    for t in range(1, steps + 1):
        given = graph.nodes["dL/dh", t]["expression"]
        error = "e" if model.reduction == "sum" else "de"
        assert given == (f"Vᵀ {error}_{t}" if t in times else "0")
    read = set(graph.predecessors(("dV", None)))
    assert {t for _, t in read} == set(times) and {name for name, _ in read} <= {"e", "de", "h"}


def test_parameter_of_cell_and_loss_has_one_gradient_of_both():
    graph = unroll(sb.model(rnn, tied), 2, backward=True)
    assert graph.nodes["dU", None]["expression"] == "Σ_t da_t h_{t-1}ᵀ + Σ_t x̃_t h_tᵀ"
    assert {("x_tilde", 2), ("da", 2), ("h", 0), ("h", 2)} <= set(graph.predecessors(("dU", None)))
    assert graph.nodes["x", 1]["role"] == "input" and graph.nodes["x_tilde", 1]["role"] == "value"


def assert_local_derivatives(name):
    """Each local derivative against a difference quotient of the value, its named arguments moved one at a time."""
    derivation = derive(ALL[name])
    g, labels = derivation.recursion.graph, derivation.labels
    sizes = {str(size): 2 + i for i, size in enumerate(sorted(names_in(sum((n.shape for n in g), ()))))}
    rng = np.random.default_rng(0)
    drawn = {id: leaf_values(g[id], sizes, rng) for id in labels if g[id].family == "leaf"}
    checked = 0
    for target in [id for id in sorted(labels) if g[id].family not in ("leaf", "number", "total")]:
        dots = {}
        for source in [id for id in boundary(g, target, labels) if g[id].family != "number"]:
            dot = build.leaf(g, "adjoint", "□", g.shape(source))
            change = tangent(g, target, [source], dot, labels)
            start = named_values(g, labels, sizes, drawn)
            direction = rng.standard_normal(np.shape(start[source]))
            h = 1e-6
            if g[source].family == "leaf" and g[source].attrs.role == "index":
                assert change.kind == "none"
                continue
            held = {id: evaluated(g, id, start, sizes) for id in stops(g, target, labels)}
            ends = [
                evaluated(g, target, {**start, **held, source: start[source] + s * h * direction}, sizes)
                for s in (1, -1)
            ]
            quotient = (ends[0] - ends[1]) / (2 * h)
            found = 0.0 if change.kind == "none" else evaluated(g, change.id, {**start, dot: direction}, sizes)
            scale = max(1.0, np.abs(quotient).max(initial=0.0))
            np.testing.assert_allclose(
                np.broadcast_to(found, np.shape(quotient)) / scale, quotient / scale, atol=2e-6,
                err_msg=f"{labels[source]} in {labels[target]}",
            )  # fmt: skip
            if change.kind == "identity":
                np.testing.assert_array_equal(found, direction)
            dots[source] = change
            checked += 1
    assert checked


def boundary(g, target, labels):
    """The named values that the formula of a value reads."""
    found, open_ = {}, list(g[target].args)
    while open_:
        id = open_.pop()
        if id in labels:
            found[id] = None
        else:
            open_.extend(g[id].args)
    return list(found)


def stops(g, target, labels):
    """The unnamed values under `stop_gradient` that a value is computed from: no change passes them."""
    return [
        id
        for id in _between(g, target, labels)
        if getattr(getattr(g[id].attrs, "expr", None), "func", None) is ops.stop_gradient
    ]


def leaf_values(node, sizes, rng):
    shape = tuple(number_of(size, sizes) for size in node.shape)
    if node.attrs.role == "index":
        return np.array(1)
    return rng.uniform(0.2, 0.9, shape)


def named_values(g, labels, sizes, drawn):
    """The value of each named node, from those before it."""
    values = dict(drawn)
    for id in sorted(labels):
        if id not in values:
            values[id] = evaluated(g, id, values, sizes)
    return values


def evaluated(g, target, given, sizes):
    """A node of a graph, from the values of some others; itself is computed though it be given."""
    values, ids = {}, {target}
    open_ = [target]
    while open_:
        for arg in g[open_.pop()].args:
            if arg not in ids and arg not in given:
                ids.add(arg)
                open_.append(arg)
    for id in sorted(ids):
        node = g[id]
        if node.family == "leaf":
            values[id] = given[id] if id in given else leaf(node, sizes, False)[0]
            continue
        args = [given[arg] if arg in given else values[arg] for arg in node.args]
        values[id] = args[0] if node.family == "total" else one(node, args, sizes)
    return np.asarray(values[target])


@pytest.mark.parametrize("name", ["lstm", "attention", "leaky", "second_order"])
def test_local_derivatives_are_those_of_difference_quotients(name):
    assert_local_derivatives(name)


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(ALL.keys() - {"lif", "alif"}))  # whose derivative is a declared one
@pytest.mark.thinned(1, 3)
def test_local_derivatives_of_all_cells_are_those_of_difference_quotients(name):
    assert_local_derivatives(name)


def test_a_fixed_point_is_one_node_of_what_its_equation_reads_and_so_is_its_adjoint():
    graph = unroll(gated, 2, backward=True)
    assert nx.is_directed_acyclic_graph(graph)
    assert set(graph.predecessors(("z", 2))) == {("u", 2), ("U", None)}
    assert set(graph.predecessors(("lambda", 2))) == {("dz", 2), ("U", None), ("inner", 2)}
    # What stands in the equation reads the point: its way back to the point is the equation.
    assert set(graph.predecessors(("inner", 2))) == {("z", 2), ("u", 2), ("U", None)}
    assert set(graph.predecessors(("du", 2))) == {("lambda", 2), ("inner", 2)}
    edges = {(a, b): data["local"] for (a, s), (b, t), data in graph.edges(data=True) if {s, t} <= {2, None}}
    assert edges["u", "z"] == "(I - ∂f/∂z_2)⁻¹ (cos(inner_2) ⊙ □)"
    assert edges["dz", "lambda"] == "(I - (∂f/∂z_2)ᵀ)⁻¹"
    node = graph.nodes["lambda", 2]
    assert (node["symbol"], node["expression"]) == ("λ_2", "dz_2 + 0.3 Uᵀ du_2")
    assert (node["of"], node["role"], node["rule"]) == ("z", "adjoint", "implicit function theorem")
    assert graph.nodes["z", 2]["rule"] == "fixed point" and graph.nodes["z", 2]["expression"] == "sin(inner_2)"
    # The values that settle together each read what the equations of both do.
    together = unroll(coupled, 1, backward=True)
    assert together.edges[("x", 1), ("v", 1)]["local"] == "row v_1 of (I - ∂f/∂(v_1; p_1))⁻¹ (0; (1 - p_1²) ⊙ □)"
    # A value that the step does not read settles with the others, for the backward pass.
    half = unroll(half_read, 1, backward=True)
    assert [half.nodes[name, 1]["rule"] for name in ("z0", "h")] == ["fixed point", "fixed point"]
    assert set(half.predecessors(("z0", 1))) == {("x", 1), ("U", None)}
    # A fixed point of parameters alone, and its adjoint, are shared by all steps.
    assert unroll(once, 2, backward=True).nodes["lambda_p", None]["expression"] == "dp + 0.3 Aᵀ da_p"


def test_local_derivatives_of_a_fixed_point_are_those_of_what_the_function_returns():
    """Those above, worked through by hand and against complex steps of the user's function."""
    rng = np.random.default_rng(0)
    U, u, v = 0.5 * rng.standard_normal((3, 3)), rng.standard_normal(3), rng.standard_normal(3)

    def point(u, count=200):
        z = 0 * u
        for _ in range(count):
            z = np.sin(0.3 * U @ z + u)
        return z

    slope = np.diag(np.cos(0.3 * U @ point(u) + u))
    inverse = np.linalg.inv(np.eye(3) - 0.3 * slope @ U)
    columns = [np.imag(point(u + 1e-30j * e)) / 1e-30 for e in np.eye(3)]
    np.testing.assert_allclose(inverse @ slope, np.transpose(columns), rtol=1e-12)
    # λ = dz + 0.3 Uᵀ du with du = λ ⊙ cos(inner).
    adjoint = np.linalg.inv(np.eye(3) - (0.3 * slope @ U).T) @ v
    np.testing.assert_allclose(adjoint, v + 0.3 * U.T @ (slope @ adjoint), rtol=1e-12)
    np.testing.assert_allclose(slope @ adjoint, np.array(columns) @ v, rtol=1e-12)


def test_json_comes_back_as_the_same_graph():
    graph = unroll(lstm, steps=2, backward=True)
    data = json.loads(graph_json(graph))
    again = nx.node_link_graph(data, edges="edges")
    assert dict(again.nodes(data=True)) == dict(graph.nodes(data=True))
    assert {(a, b): d for a, b, d in again.edges(data=True)} == {(a, b): d for a, b, d in graph.edges(data=True)}


def test_dot_has_a_column_for_each_step_colours_and_dashed_lines():
    graph = unroll(lstm, steps=2, backward=True)
    text = graph_dot(graph)
    lines = text.splitlines()
    assert sum("fillcolor=" in line for line in lines) == len(graph)
    assert text.count(" -> ") == graph.number_of_edges()
    assert text.count('style="dashed"') == sum(saved for *_, saved in graph.edges(data="saved"))
    assert [line.split('"')[1] for line in lines if "label=" in line and "fillcolor" not in line] == [
        "before",
        "step 1",
        "step 2",
    ]
    columns = text.split("subgraph ")[1:]
    for t, column in enumerate(columns):
        inside = column.split("  }")[0]
        assert inside.count("fillcolor=") == sum(node[1] == t for node in graph)
    assert 'label="W_i"' in text and 'label="da_{f,1}"' in text
    assert text.startswith('// written by symbptt\ndigraph "lstm" {') and text.endswith("}\n")


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_reads_what_is_written_for_it():
    done = subprocess.run(
        ["dot", "-Tsvg"], input=graph_dot(unroll(lstm, 2, backward=True)), capture_output=True, text=True
    )
    assert (
        done.returncode == 0
        and not done.stderr
        and done.stdout.count('class="node') == len(unroll(lstm, 2, backward=True))
    )
