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
    for name in ("pyproject.toml", "README.md", "LICENSE"):
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
    data = {Path("symbptt") / path for path in ("py.typed", "webpage/math.woff2", "webpage/MATH-FONT.txt")}
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
