"""The package's public names: found on first use, and the same whatever was imported before."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import symbptt as sb

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
    assert seen - {"Any", "Callable"} - set(sb.MODULES) - set(sb.APART) == set(sb.__all__)


def test_no_module_has_the_name_of_a_public_function():
    """An import of such a module would replace the function as an attribute of the package."""
    modules = {path.name.removesuffix(".py") for path in SOURCE.parent.iterdir() if path.name != "py.typed"}
    assert {"language", "codegen", "ops"} <= modules
    assert modules & set(sb.__all__) == set()


@pytest.mark.parametrize("imports", ORDERS)
@pytest.mark.thinned(4)
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
    files = {"checks", "dense", "errors", "extras", "files", "ops", "settling", "special", "syntax", "version"}
    assert rooms <= set(done.stdout.split()) <= rooms | files


def test_zoo_is_found_as_an_attribute_when_it_is_first_used():
    check = "import sys, symbptt as sb; assert 'symbptt.zoo' not in sys.modules; assert sb.zoo.lstm.name == 'lstm'; dir(sb).index('zoo')"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=SOURCE.parents[1])
