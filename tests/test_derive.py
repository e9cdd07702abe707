"""Derived equations: a textbook's, in the user's names, and right as they stand."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State, zoo
from symbptt.autodiff.bptt import Recursion, derive
from symbptt.ir.scalar import Call, Power, Prod, Ref, Sum, Tree, tree_of
from symbptt.zoo import CELLS, gru, lstm, rnn
from tests import oracle
from tests.cells import odd, vanilla
from tests.readback import assert_read

EVERY_CELL = pytest.mark.parametrize("cell", CELLS.values(), ids=list(CELLS))
GOLDEN_CELLS = pytest.mark.parametrize("cell", [rnn, lstm, gru, odd], ids=lambda cell: cell.name)


def lines(equations: tuple[sb.Equation, ...]) -> list[str]:
    return [str(equation) for equation in equations]


def test_vanilla_cell_gives_the_five_lines_of_the_textbook() -> None:
    d = sb.derive(vanilla)
    assert lines(d.forward) == ["h_t = tanh(W x_t + U h_{t-1} + b)"]
    assert lines(d.backward) == ["da_t = dh_t ⊙ (1 - h_t²)", "dh_{t-1} = dL/dh_{t-1} + Uᵀ da_t"]
    assert lines(d.gradients) == ["dW = Σ_t da_t x_tᵀ", "dU = Σ_t da_t h_{t-1}ᵀ", "db = Σ_t da_t"]


@GOLDEN_CELLS
def test_text_is_the_golden_one(cell: sb.Cell, golden: Callable[[str, str], None]) -> None:
    golden(f"equations/{cell.name}.txt", sb.derive(cell).text() + "\n")


@GOLDEN_CELLS
def test_loop_is_the_golden_one(cell: sb.Cell, golden: Callable[[str, str], None]) -> None:
    golden(f"equations/{cell.name}_loop.txt", sb.derive(cell).text(style="loop") + "\n")


@GOLDEN_CELLS
def test_latex_is_the_golden_one(cell: sb.Cell, golden: Callable[[str, str], None]) -> None:
    golden(f"equations/{cell.name}.tex", sb.derive(cell).latex() + "\n")


@EVERY_CELL
@pytest.mark.thinned(7, 2)
def test_latex_is_well_formed(cell: sb.Cell) -> None:
    latex = sb.derive(cell).latex()
    depth = 0
    for sign in re.findall(r"\\.|[{}]", latex, re.DOTALL):
        depth += {"{": 1, "}": -1}.get(sign, 0)
        assert depth >= 0
    assert depth == 0
    assert latex.count(r"\left") - latex.count(r"\leftarrow") == latex.count(r"\right") - latex.count(r"\rightarrow")
    stack = []
    for kind, name in re.findall(r"\\(begin|end)\{([\w*]+)\}", latex):
        if kind == "begin":
            stack.append(name)
        else:
            assert stack.pop() == name
    assert not stack
    assert not re.search(r"_\{[^{}]*\}_|\^\{[^{}]*\}\^", latex), "a double subscript"
    for row in re.findall(r"^  (.*?)(?: \\\\)?$", without_cases(latex), re.MULTILINE):
        assert row.count("&") == 1, row


def without_cases(latex: str) -> str:
    """LaTeX with a letter in the place of each choice, innermost first: their lines have signs of their own."""
    while r"\begin{cases}" in latex:
        latex = re.sub(r"\\begin\{cases\}((?!\\begin\{cases\}).)*?\\end\{cases\}", "c", latex, flags=re.DOTALL)
    return latex


@pytest.mark.parametrize(
    "cell",
    [*CELLS.values()],
    ids=list(CELLS),
)
@pytest.mark.thinned(7)
def test_latex_is_ascii(cell: sb.Cell) -> None:
    assert sb.derive(cell).latex().isascii()


@pytest.mark.parametrize("cell", [
    pytest.param(cell, marks=() if cell in (rnn, lstm, gru, odd) else pytest.mark.long)
    for cell in (*CELLS.values(), odd)
], ids=lambda cell: cell.name)  # fmt: skip
@pytest.mark.thinned(1, 19)
def test_each_equation_is_drawn_by_mathtext(cell: sb.Cell) -> None:
    mathtext = pytest.importorskip("matplotlib.mathtext")
    parser = mathtext.MathTextParser("path")
    d = sb.derive(cell)
    known = {r"\mathrel{+}": "+", r"\bmod": r"\,\mathrm{mod}\,"}
    for equation in (*d.forward, *d.backward, *d.gradients, *d.input_gradients):
        latex = re.sub(r"\\text\{[^}]*\}", "e", without_cases(equation.latex))
        for command, plain in known.items():  # what LaTeX has and mathtext has not
            latex = latex.replace(command, plain)
        parser.parse(f"${latex}$")


def test_notebook_shows_latex_and_text() -> None:
    d = sb.derive(rnn)
    bundle = d._repr_mimebundle_()
    assert bundle["text/plain"] == d.text()
    assert bundle["text/latex"] == d._repr_latex_()
    assert repr(d) == "<derivation of rnn: 1 forward, 2 backward equations>"


def test_equations_say_where_they_hold() -> None:
    d = sb.derive(lstm)
    assert {e.where for e in d.forward} == {"t = 1, …, T"}
    assert {e.where for e in d.backward} == {"t = T, …, 1"}
    assert {e.where for e in d.gradients} == {"once"}
    assert [e.lhs for e in d.gradients] == [f"d{name}" for name in oracle.names_of(lstm, "param")]


def test_value_named_by_the_user_has_no_other_name() -> None:
    @sb.cell
    def step(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], V: Param["n n"]):
        pre = W @ x + U @ h
        gate = sb.sigmoid(pre)
        inner = V @ (gate * h)
        candidate = np.tanh(inner)
        return gate * candidate

    d = sb.derive(step)
    names = {e.lhs for e in (*d.forward, *d.backward)}
    assert names == {f"{d}{v}_t" for d in ("", "d") for v in ("pre", "gate", "inner", "candidate")} | {
        "h_t",
        "dh_{t-1}",
    }


@pytest.mark.parametrize("cell", [rnn, lstm, gru, zoo.mgu, zoo.lstm_peephole, zoo.cornn], ids=lambda cell: cell.name)
def test_every_name_comes_from_the_user(cell: sb.Cell) -> None:
    """But for the preactivations, a_z, of which the user gave the value's name z."""
    d = sb.derive(cell)
    given = {*(a.name for a in cell.arguments), *cell.step.graph.names.values()}
    for equation in (*d.forward, *d.backward, *d.gradients, *d.input_gradients):
        name = equation.lhs.replace("_{", "_").replace(",t}", "").replace("t-1}", "").replace("_t", "").rstrip("_")
        plain = name.removeprefix("d") if name.removeprefix("d") in given or name not in given else name
        assert plain in given or plain == "a" or plain.removeprefix("a_") in given, equation


def applications(r: Recursion, ids: list[int]) -> set[tuple[str, tuple[Any, ...]]]:
    """All functions in the bodies of maps, with what they are applied to."""
    found: set[tuple[str, tuple[Any, ...]]] = set()

    def bound(tree: Tree, args: tuple[int, ...]) -> Any:
        match tree:
            case Ref(index):
                return args[index]
            case Sum(terms):
                return tuple((sign, bound(term, args)) for sign, term in terms)
            case Prod(factors, divisors):
                return tuple(bound(f, args) for f in factors), tuple(bound(f, args) for f in divisors)
            case Power(base, exponent):
                inside = (bound(base, args), bound(exponent, args))
                if not str(getattr(exponent, "value", "")).isdigit():
                    found.add(("power", inside))
                return inside
            case Call(name, parts):
                inside = tuple(bound(part, args) for part in parts)
                found.add((name, inside))
                return name, inside
        return tree

    for id in ids:
        node = r.graph[id]
        if node.family == "map":
            bound(tree_of(node.attrs.expr), node.args)
    return found


CHEAP = {"greater", "greater_equal", "less", "less_equal", "equal", "not_equal", "sign", "where"}


@pytest.mark.parametrize("cell", [*CELLS.values(), odd], ids=lambda cell: cell.name)
@pytest.mark.thinned(11, 2)
def test_no_function_is_evaluated_again_in_the_backward_pass(cell: sb.Cell) -> None:
    r = derive(cell.step)
    forward = r.graph.ancestors(r.forward_roots)
    backward = [id for id in r.graph.ancestors(r.backward_roots) if id not in forward]
    twice = {a for a in applications(r, backward) & applications(r, forward) if a[0] not in CHEAP}
    assert not twice


@pytest.mark.parametrize(("function", "backward"), [
    (np.tanh, "da_t = dh_t ⊙ (1 - h_t²)"),
    (sb.sigmoid, "da_t = dh_t ⊙ h_t ⊙ (1 - h_t)"),
    (np.exp, "da_t = dh_t ⊙ h_t"),
    (np.sqrt, "da_t = dh_t / (2 h_t)"),
    (sb.softplus, "da_t = dh_t ⊙ σ(a_t)"),
    (np.log, "da_t = dh_t / a_t"),
    (sb.relu, "da_t = dh_t ⊙ [a_t > 0]"),
])  # fmt: skip
def test_derivative_is_written_in_the_saved_value(function: Callable[..., Any], backward: str) -> None:
    @sb.cell
    def step(x: Input["n"], h: State["n"], w: Param["n"]):
        return function(w * x + h)

    got = str(sb.derive(step).backward[0])
    assert got == backward


def test_same_cell_gives_the_same_text_again() -> None:
    texts = {sb.derive(sb.cell(lstm.function)).text() for _ in range(3)}
    assert len(texts) == 1


# The equations as they stand, read by a machine: vectors are columns, a space is a product of matrices.


class Column:
    """A number, a column or a matrix, with the product of matrices under ** (which binds tighter than *)."""

    def __init__(self, value: Any) -> None:
        self.value = np.asarray(value, float)

    @property
    def T(self) -> "Column":
        return Column(self.value.T)

    def __pow__(self, other: "Column") -> "Column":
        one = self.value.ndim == 0 or other.value.ndim == 0
        return Column(self.value * other.value if one else self.value @ other.value)

    def __neg__(self) -> "Column":
        return Column(-self.value)


def _operator(name: str) -> None:
    function = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.divide}[name]

    def plain(value: Any) -> Any:
        return value.value if isinstance(value, Column) else value

    setattr(Column, f"__{name}__", lambda a, b: Column(function(a.value, plain(b))))
    setattr(Column, f"__r{name}__", lambda a, b: Column(function(plain(b), a.value)))


for _name in ("add", "sub", "mul", "truediv"):
    _operator(_name)

FUNCTIONS: dict[str, Callable[[Column], Column]] = {
    "tanh": lambda v: Column(np.tanh(v.value)),
    "σ": lambda v: Column(1 / (1 + np.exp(-v.value))),
    "relu": lambda v: Column(np.maximum(v.value, 0)),
    "exp": lambda v: Column(np.exp(v.value)),
    "softplus": lambda v: Column(np.log1p(np.exp(v.value))),
    "square": lambda v: Column(v.value**2),
}


def python_of(text: str) -> str:
    """An equation's side as Python."""
    text = text.replace("Δt", "dt").replace("ε", "epsilon").replace("γ", "gamma").replace("α", "alpha")
    text = re.sub(r"dL/d(\w+(\{[^}]*\})?)", r"dL_d\1", text)
    text = re.sub(r"_\{([^}]*)\}", lambda m: "_" + m[1].replace(",", "_").replace("t-1", "before"), text)
    text = re.sub(r"\[(\w+) > 0\]", r"positive(\1)", text)
    text = re.sub(r"(?<=[\w)ᵀ]) (?=[\w(])", " ** ", text)
    while "²" in text:
        text = _squared(text, text.index("²"))
    return text.replace("ᵀ", ".T").replace("⊙", "*").replace("·", "*")


def _squared(text: str, at: int) -> str:
    """The text with square(...) in the place of the first ²."""
    start = at
    if text[at - 1] == ")":
        start = next(i for i in reversed(range(at)) if text[i:at].count("(") == text[i:at].count(")") > 0)
    start -= len(re.search(r"\w*$", text[:start])[0])  # type: ignore[index]
    return f"{text[:start]}square({text[start:at]}){text[at + 1 :]}"


def read_equations(cell: sb.Cell, groups: tuple[Any, Any, Any], cotangents: Any, steps: int) -> oracle.Arrays:
    """The gradients that a reader of the equations computes, for one sample."""
    d = sb.derive(cell)

    def column(value: Any) -> Column:
        return Column(value[:, None] if np.ndim(value) == 1 else value)

    def evaluate(text: str, env: dict[str, Any]) -> Any:
        return eval(python_of(text), {}, env | FUNCTIONS | {"positive": lambda v: Column(v.value > 0)})

    consts = {a.name: a.default for a in cell.arguments if a.role == "const"}
    shared = {k: column(v) for k, v in (consts | groups[0]).items()}
    states = oracle.names_of(cell, "state")
    now = {k: column(v[0]) for k, v in groups[2].items()}
    steps_env = []
    for t in range(steps):
        env = (
            shared
            | {f"{k}_before": v for k, v in now.items()}
            | {f"{k}_t": column(v[t, 0]) for k, v in groups[1].items()}
        )
        for equation in d.forward:
            env[python_of(equation.lhs)] = evaluate(equation.rhs, env)
        now = {k: env[f"{k}_t"] for k in states}
        steps_env.append(env)
    carry = {k: column(cotangents[k][-1, 0]) for k in states}
    for t in reversed(range(steps)):
        env = steps_env[t]
        env |= {f"d{k}_t": v for k, v in carry.items()}
        env |= {f"dL_d{k}_before": column(cotangents[k][t - 1, 0] if t else 0 * cotangents[k][0, 0]) for k in states}
        for equation in (*d.backward, *d.input_gradients):
            value, name = evaluate(equation.rhs, env), python_of(equation.lhs)
            env[name] = env[name] + value if equation.relation == "+=" else value
        carry = {k: env[f"d{k}_before"] for k in states}
    found = {k: v.value for k, v in carry.items()}
    found |= {k: np.stack([env[f"d{k}_t"].value for env in steps_env]) for k in groups[1]}
    for equation in d.gradients:
        assert equation.rhs.startswith("Σ_t ")
        found[equation.lhs[1:]] = sum(evaluate(equation.rhs[4:], env).value for env in steps_env)
    return found


READABLE = ["rnn", "lstm", "gru", "lstm_peephole", "mgu", "cornn", "cifg", "ugrnn", "mgu2", "indrnn"]


@pytest.mark.parametrize("name", READABLE)
def test_equations_as_they_stand_are_the_gradients(name: str) -> None:
    cell, steps = CELLS[name], 3
    groups = oracle.draw(cell, steps, 1, {"m": 2, "n": 3}, seed=2)
    cotangents = oracle.cotangents_of(cell, groups, steps)
    wanted = oracle.gradients(cell, *groups, cotangents, steps)
    got = read_equations(cell, groups, cotangents, steps)
    oracle.assert_blocks_close({k: np.reshape(v, np.shape(wanted[k])) for k, v in got.items()}, wanted, 1e-12)


@sb.cell
def with_parts(x: Input["n"], h: State["n"], U: Param["n n"], mu: Param["n"]):
    e = sb.layer_norm(U @ h + x) * mu
    return sb.softmax(e)


def test_layer_norm_and_softmax_stand_whole_beside_names_of_the_user():
    lines = [str(equation) for equation in sb.derive(with_parts).forward]
    assert lines == ["a_t = U h_{t-1} + x_t", "e_t = LN(a_t, 10⁻⁵) ⊙ μ", "h_t = softmax(e_t)"]


@pytest.mark.long
def test_layer_norm_and_softmax_beside_names_of_the_user_are_verified():
    assert sb.verify(with_parts).passed


SLICES = [
    "::-1",
    "::2",
    "1::2",
    "1:3",
    "4:1:-1",
    "3::-1",
    "5:0:-2",
    "::-3",
    "2:6",
    "0",
    "5",
    "-1",
    "1:2",
    "::-5",
    ":4:3",
]


def written_as(expression: str, name: str) -> list[str]:
    """The indices by which a value is written in a formula."""
    return re.findall(re.escape(name) + r"\[([^\]]*)\]", expression)


@pytest.mark.parametrize("chosen", SLICES)
def test_slice_is_written_as_numpy_reads_it(chosen: str) -> None:
    """Forward and, by its pad, backward: the entries that the printed slices choose are those that the user's slice chose."""

    @sb.cell
    def cut(x: Input["6"], h: State["6"]):
        return np.sum(eval(f"h[{chosen}]")) * x

    d, known = sb.derive(cut), {"numbers": np.arange(6)}
    (index,) = written_as(d.text(), "h_{t-1}")[:1]
    np.testing.assert_array_equal(eval(f"numbers[{index}]", known), eval(f"numbers[{chosen}]", known))
    assert_read(cut, {})


def test_reversal_of_an_axis_of_any_size_is_written_in_both_directions() -> None:
    @sb.cell
    def mirror(x: Input["n"], h: State["n"]):
        return np.tanh(h[::-1] + x)

    d = sb.derive(mirror)
    assert lines(d.forward) == ["h_t = tanh(h_{t-1}[::-1] + x_t)"]
    assert lines(d.backward) == ["da_t = dh_t ⊙ (1 - h_t²)", "dh_{t-1} = dL/dh_{t-1} + da_t[::-1]"]


@pytest.mark.parametrize("value, text", [(1e-5, "10^{-5}"), (1e-7, "10^{-7}"), (2.5e10, r"2.5 \cdot 10^{10}"), (0.25, "0.25"),
                                         (-3e-6, r"3 \cdot 10^{-6}")])  # fmt: skip
def test_latex_writes_powers_of_ten(value: float, text: str) -> None:
    @sb.cell
    def scaled(x: Input["n"], h: State["n"]):
        return np.tanh(h * value + x)

    latex = sb.derive(scaled).latex()
    assert text in latex and not re.search(r"\de[-+]?\d", latex)


def test_power_of_ten_as_a_base_is_in_brackets() -> None:
    @sb.cell
    def scaled(x: Input["n"], h: State["n"]):
        return (2.5e10) ** h + x

    assert r"(2.5 \cdot 10^{10})^{h_{t-1}}" in sb.derive(scaled).latex()
