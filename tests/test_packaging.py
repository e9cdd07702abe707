"""The wheel of this checkout, installed in an environment of its own."""

import shutil
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False)


def pip(*arguments: str | Path, cwd: Path) -> None:
    done = run(sys.executable, "-m", "pip", *arguments, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr


def copy_sources(target: Path) -> None:
    """What a build reads, without what earlier builds left behind."""
    target.mkdir()
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, target)
    for name in ("symbptt", "codegen"):
        shutil.copytree(ROOT / name, target / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    copy_sources(folder / "checkout")
    pip("wheel", "--no-deps", "--wheel-dir", folder, folder / "checkout", cwd=folder)
    (built,) = folder.glob("symbptt-*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment that holds the wheel and borrows the dependencies of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)
    pip("--python", folder, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    # A folder named in a .pth file comes last on the path and its own .pth files (editable installs) are not read.
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text("\n".join(site.getsitepackages()))
    return folder


def test_wheel_holds_every_module_once(wheel: Path) -> None:
    library = {path.relative_to(ROOT) for path in (ROOT / "symbptt").rglob("*.py")}
    generator = {"symbptt" / path.relative_to(ROOT) for path in (ROOT / "codegen").rglob("*.py")}
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    data = {
        Path("symbptt") / path
        for path in (
            "py.typed",
            "webpage/math.woff2",
            "webpage/MATH-FONT.txt",
            "codegen/targets/c99/finite.c",
            "codegen/targets/c99/sbrt.h",
            "codegen/targets/c99/selfcheck.h",
        )
    }
    assert sorted(names) == sorted(path.as_posix() for path in library | generator | data)


def test_generator_is_imported_as_part_of_symbptt_only(environment: Path) -> None:
    python = environment / "bin" / "python"
    inside = run(python, "-c", "import symbptt.codegen.passes as p; print(p.__file__)", cwd=environment)
    assert inside.stdout.startswith(str(environment)), inside.stderr
    bare = run(python, "-c", "import codegen", cwd=environment)
    assert "No module named 'codegen'" in bare.stderr


def test_command_answers_help(environment: Path) -> None:
    done = run(environment / "bin" / "symbptt", "--help", cwd=environment)
    assert done.returncode == 0, done.stderr
    assert "derive" in done.stdout


def test_users_script_is_clean_under_strict_type_checkers(environment: Path) -> None:
    """Of a plain install; cells, a model, a kernel, a verification, an analysis. Pyright is asked where it is installed."""
    script = environment / "script.py"
    shutil.copy(ROOT / "tests" / "editors" / "script.py", script)
    python = environment / "bin" / "python"
    strict = run(sys.executable, "-m", "mypy", "--strict", "--python-executable", python, script, cwd=environment)
    assert strict.returncode == 0, strict.stdout + strict.stderr
    broken = script.with_name("broken.py")
    broken.write_text(
        script.read_text("utf-8").replace('at="last"', 'at="end"').replace("grads.params", "grads.parameters"), "utf-8"
    )
    told = run(sys.executable, "-m", "mypy", "--strict", "--python-executable", python, broken, cwd=environment).stdout
    assert 'has no attribute "parameters"' in told and "incompatible type" in told, told
    pyright = shutil.which("pyright")
    if pyright:
        basic = run(pyright, "--pythonpath", python, script, cwd=environment)
        assert basic.returncode == 0, basic.stdout


def test_editable_install_is_a_path_that_type_checkers_read(tmp_path: Path) -> None:
    """An import hook, which setuptools writes where packages lie elsewhere, is known to Python alone."""
    copy_sources(tmp_path / "checkout")
    venv.create(tmp_path / "environment")
    pip("--python", tmp_path / "environment", "install", "--no-deps", "-e", tmp_path / "checkout", cwd=tmp_path)
    (file,) = tmp_path.glob("environment/lib/python*/site-packages/__editable__.symbptt-*.pth")
    assert Path(file.read_text("utf-8").strip()) == tmp_path / "checkout"
