"""The package's public names: found on first use, and the same whatever was imported before."""

import ast
import builtins
import html
import inspect
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import symbptt as sb
from symbptt.notebook import preformatted
from symbptt.verification.checks import Verification
from symbptt.verification.report import Row
from tests.kernels import kernel_of

SOURCE = Path(sb.__file__)
ORDERS = [
    "import symbptt.language.cell, symbptt.language.model, symbptt.autodiff.bptt, symbptt.verification.checks",
    "from symbptt.derivations.derivation import derive",
    "from symbptt import verify, cell, derive; import symbptt.drawing.unrolled, symbptt.autodiff.unroll",
    "import symbptt; symbptt.verify; import symbptt.stability.dynamics.sweep",
]


def test_every_public_name_is_found():
    assert set(sb.__all__) <= set(dir(sb))
    for name in sb.__all__:
        assert getattr(sb, name) is not None
        assert getattr(sb, name) is getattr(sb, name)


def test_star_import_shadows_no_builtin():
    found = {}
    exec("from symbptt import *", found)
    assert {"cell", "Input", "tanh"} <= set(found) and not set(found) & set(dir(builtins)) - {"__builtins__"}
    assert all(callable(getattr(sb, name)) for name in sb.APART)


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(sb, "nothing")  # noqa: B009


def test_type_checkers_see_the_same_names():
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname or alias.name for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    seen |= {ast.unparse(node.target) for node in checked.body if isinstance(node, ast.AnnAssign)}
    assert seen - {"Any", "Callable"} - set(sb.MODULES) == {*sb.__all__, *sb.APART}


def test_no_module_has_the_name_of_a_public_function():
    """An import of such a module would replace the function as an attribute of the package."""
    modules = {path.name.removesuffix(".py") for path in SOURCE.parent.iterdir() if path.name != "py.typed"}
    assert {"language", "codegen", "ops"} <= modules
    assert modules & set(sb.__all__) == set()


@pytest.mark.parametrize("imports", ORDERS)
@pytest.mark.thinned(4, 3)
def test_modules_do_not_hide_functions_of_their_name(imports):
    check = (
        "import types, symbptt as sb\n"
        "assert not any(isinstance(getattr(sb, name), types.ModuleType) for name in sb.__all__)\n"
        "from symbptt import cell, derive, verify\n"
        "assert (cell, derive, verify) == (sb.cell, sb.derive, sb.verify)"
    )
    subprocess.run([sys.executable, "-c", f"{imports}\n{check}"], check=True, cwd=SOURCE.parents[1])


def test_importing_the_package_imports_nothing_heavy():
    check = "import sys, symbptt; assert not {'sympy', 'numpy', 'networkx'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=SOURCE.parents[1])


@pytest.mark.long
def test_equations_are_derived_without_the_code_generator():
    """What only numbers and drawings need is not imported before they are asked for; of the library, only the rooms of equations."""
    check = (
        "import sys, numpy as np, symbptt as sb; from symbptt.zoo import lstm; d = sb.derive(lstm)\n"
        "d.text(), d.latex(), d.jacobian().text(), d.paths('h', 'c').text()\n"
        "print(*sorted({name.split('.')[1] for name in sys.modules if name.startswith('symbptt.')}))\n"
        "assert not {'networkx', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "d.jacobian().evaluate(dict(lstm.init({'n': 2, 'm': 2})), {'x': np.ones(2)}); assert 'symbptt.codegen' in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], check=True, cwd=SOURCE.parents[1], capture_output=True, text=True
    )
    rooms = {"autodiff", "derivations", "equations", "ir", "language", "zoo"}
    files = {
        "checks",
        "dense",
        "errors",
        "extras",
        "files",
        "notebook",
        "ops",
        "settling",
        "special",
        "syntax",
        "version",
    }
    assert rooms <= set(done.stdout.split()) <= rooms | files


def test_zoo_and_interop_are_found_as_attributes_when_they_are_first_used():
    check = (
        "import sys, symbptt as sb; assert not {'symbptt.zoo', 'symbptt.interop'} & set(sys.modules)\n"
        "assert sb.zoo.lstm.name == 'lstm' and callable(sb.interop.from_torch); dir(sb).index('zoo')"
    )
    subprocess.run([sys.executable, "-c", check], check=True, cwd=SOURCE.parents[1])


def test_index_of_names_is_whole_and_has_each_name_once():
    text = (SOURCE.parents[1] / "docs" / "names.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    names = [word for row in rows for word in row.split("`")[1::2]]
    assert sorted(names) == sorted({*sb.__all__, *sb.APART, *sb.MODULES})


def test_help_shows_what_the_user_wrote():
    @sb.cell
    def decaying(x: sb.Input["n"], h: sb.State["n"], w: sb.Param["n"]):
        """Decay, and what comes."""
        return w * h + x

    text = pydoc.plain(pydoc.render_doc(decaying))
    assert "decaying(x: Input(n,), h: State(n,), w: Param(n,))" in text and "Decay, and what comes." in text

    @sb.cell
    def bare(x: sb.Input["n"], h: sb.State["n"]):
        return h + x

    assert "bare(x: Input(n,), h: State(n,))" in pydoc.plain(pydoc.render_doc(bare))
    assert list(inspect.signature(decaying).parameters) == ["x", "h", "w"]


def test_notebooks_show_the_text_of_reports_plans_and_kernels():
    kernel = kernel_of(sb.zoo.rnn)
    report = Verification("rnn", (Row("healthy", "T=1", "d<U>", 0.0, 1e-10, "complex step"),))
    for shown in (kernel.plan, report, sb.compare(sb.zoo.lstm, sb.zoo.gru)):
        assert html.unescape(shown._repr_html_()).partition(">")[2].removesuffix("</pre>") == str(shown)
    for shown in (kernel, sb.c_source(sb.zoo.rnn)):
        assert repr(shown) in html.unescape(shown._repr_html_()) and shown.source in html.unescape(shown._repr_html_())
    assert "<b>" not in preformatted("<b>&")
