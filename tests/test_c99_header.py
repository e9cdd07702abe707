"""sbrt.h, which generated C has a copy of: its functions are a few units of rounding off, its products are those of NumPy."""

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest

from symbptt import ops
from symbptt.codegen.targets.c99 import functions
from tests.ccode import CC, WARNINGS

pytestmark = pytest.mark.skipif(not CC, reason="no C compiler, cc, on this machine")

HEADER = files("symbptt.codegen.targets.c99").joinpath("sbrt.h")
KINDS = {"f": np.float32, "d": np.float64}
FAST = ("-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math")
Long = np.longdouble


def erf(x: Any) -> Any:
    with mpmath.workdps(40):
        values = [Long(mpmath.nstr(mpmath.erf(mpmath.mpf(float(v))), 30)) for v in x]
    return np.copysign(np.array(values), x)


REFERENCES: dict[str, tuple[Callable[[Any], Any], float, float]] = {
    "exp": (np.exp, -1.01, 1.01),
    "expm1": (np.expm1, -0.5, 1.01),
    "tanh": (np.tanh, -0.05, 0.05),
    "tanh_rest": (lambda a: 4 / (np.exp(a) + np.exp(-a)) ** 2, -0.51, 0.51),
    "sigmoid": (lambda a: 1 / (1 + np.exp(-a)), -1.01, 0.1),
    "sigmoid_rest": (lambda a: 1 / (1 + np.exp(a)), -0.1, 1.01),
    "log": (np.log, 0, 1),
    "log1p": (np.log1p, -0.0015, 1),
    "softplus": (lambda a: np.logaddexp(Long(0), a), -1.01, 1),
    "erf": (erf, -0.01, 0.01),
}
"""The functions with polynomials of their own, a reference with more digits, and the range in parts of the argument of the largest
exponential, of which functions saturate behind it."""


def points(name: str, dtype: Any, count: int) -> Any:
    """Points of a function: over its range, around zero, and with exponents of all sizes."""
    info, random = np.finfo(dtype), np.random.default_rng(1)
    most = float(np.log(info.max))
    _, low, high = REFERENCES[name]
    tiny = np.exp(random.uniform(-most, 0, count // 4)) * random.choice([-1.0, 1.0], count // 4)
    x = np.concatenate([random.uniform(low, high, count // 2) * most, random.uniform(-1, 1, count // 4), tiny]).astype(
        dtype
    )
    return np.abs(x) if name == "log" else x[x > -1] if name == "log1p" else x


def compiled(folder: Path, text: str, kind: str, *options: str) -> ctypes.CDLL:
    """A library of functions that call sbrt.h, without a warning."""
    folder.mkdir(exist_ok=True)
    (folder / "code.c").write_text(text, encoding="utf-8")
    library = folder / f"lib{kind}.so"
    define = ["-DSBRT_DOUBLE"] if kind == "d" else []
    command = [
        CC,
        *WARNINGS,
        "-Wno-unused-function",
        *options,
        *define,
        "-fPIC",
        "-shared",
        "-o",
        library,
        folder / "code.c",
        "-lm",
    ]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr[:2000]
    return ctypes.CDLL(str(library))


def over_arrays(header: str) -> str:
    """Each function over an array."""
    loop = "{{ INDEPENDENT for (size_t i = 0; i < n; i++) y[i] = {0}(x[i]); }}"
    head = "void over_{1}(size_t n, const real *restrict x, real *restrict y) "
    return header + "\n".join((head + loop).format(name.upper(), name) for name in REFERENCES)


def called(library: ctypes.CDLL, name: str, x: Any) -> Any:
    y = np.empty_like(x)
    function = getattr(library, f"over_{name}")
    function(ctypes.c_size_t(x.size), ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data))
    return y


def units_off(name: str, x: Any, y: Any) -> float:
    """The largest error in units of rounding of the result."""
    with np.errstate(all="ignore"):
        wanted = REFERENCES[name][0](x.astype(Long))
        rounded = wanted.astype(x.dtype)
        assert (np.isfinite(y) == np.isfinite(rounded)).all()
        found = np.isfinite(rounded)
        errors = np.abs(y.astype(Long) - wanted)[found] / np.spacing(np.abs(rounded[found])).astype(Long)
    return float(errors.max())


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ctypes.CDLL]:
    """All functions over arrays, for float and double, with fused multiplications and additions."""
    text, folder = over_arrays(HEADER.read_text(encoding="utf-8")), tmp_path_factory.mktemp("c")
    return {kind: compiled(folder, text, kind, *FAST) for kind in KINDS}


def least_accurate(library: ctypes.CDLL, dtype: Any, count: int) -> float:
    """The largest error of all functions, in units of rounding; erf has a slow reference."""
    cases = {name: points(name, dtype, min(count, 20_000) if name == "erf" else count) for name in REFERENCES}
    return max(units_off(name, x, called(library, name, x)) for name, x in cases.items())


@pytest.mark.parametrize("count", [4_000, pytest.param(1_000_000, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("kind", KINDS)
def test_functions_are_a_few_units_of_rounding_off(kind: str, count: int, libraries: dict[str, ctypes.CDLL]) -> None:
    assert least_accurate(libraries[kind], KINDS[kind], count) <= 2.5


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_functions_that_are_not_fused_are_as_accurate(kind: str, tmp_path: Path) -> None:
    library = compiled(tmp_path, over_arrays(HEADER.read_text(encoding="utf-8")), kind, "-O1")
    assert least_accurate(library, KINDS[kind], 100_000) <= 2.5


@pytest.mark.parametrize("kind", KINDS)
def test_functions_at_the_edges_are_those_of_numpy(kind: str, libraries: dict[str, ctypes.CDLL]) -> None:
    """NaN, infinities, signs of zero, numbers under the least normal one, and large ones."""
    info = np.finfo(KINDS[kind])
    numbers = [0, info.smallest_subnormal, info.tiny / 3, info.tiny, 1, 90, 1e4, info.max, np.inf]
    x = np.array([*numbers, *(-float(v) for v in numbers), np.nan, np.log(info.max)], KINDS[kind])
    for name in REFERENCES:
        with np.errstate(all="ignore"):
            found = called(libraries[kind], name, x)
            known = name in ops.BY_NAME
            wanted = ops.BY_NAME[name].evaluate(x) if known else REFERENCES[name][0](x.astype(Long)).astype(x.dtype)
        np.testing.assert_allclose(found, wanted, rtol=8 * info.eps, atol=0, err_msg=name)
        assert (np.signbit(found) == np.signbit(wanted))[~np.isnan(wanted)].all(), name


def test_a_wrong_coefficient_is_caught(tmp_path: Path) -> None:
    right = HEADER.read_text(encoding="utf-8")
    wrong = right.replace("0.0416664647F", "0.0417F")
    assert right != wrong
    x = points("expm1", np.float32, 4_000)
    assert units_off("expm1", x, called(compiled(tmp_path, over_arrays(wrong), "f"), "expm1", x)) > 2.5


@pytest.mark.skipif("Free Software" not in subprocess.run([CC or "true", "--version"], capture_output=True, text=True).stdout,
                    reason="the compiler is not GCC")  # fmt: skip
def test_functions_are_vectorised(tmp_path: Path) -> None:
    (tmp_path / "code.c").write_text(over_arrays(HEADER.read_text(encoding="utf-8")), encoding="utf-8")
    command = [CC, "-std=c99", *FAST, "-fopt-info-vec", "-c", "code.c", "-o", "code.o"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    places = {line.split(": ")[0] for line in done.stderr.splitlines() if "loop vectorized" in line}
    assert len(places) == len(REFERENCES), done.stderr


PRODUCTS = """
void run_pack(size_t K, size_t N, const real *W, size_t row, size_t column, real *P) { pack(K, N, W, row, column, P); }
void run_product(size_t M, size_t N, size_t K, const real *A, size_t row, size_t column, const real *P, int add, real *C, size_t next) {
    product(M, N, K, A, row, column, P, add, C, next);
}
void run_gradient(size_t M, size_t N, size_t K, const real *A, size_t a, const real *B, size_t b, real *C, size_t next, real *room) {
    gradient(M, N, K, A, a, B, b, C, next, room);
}
"""
BLAS = """
void sbrt_product(size_t M, size_t N, size_t K, const real *A, size_t row, size_t column, const real *W, int add, real *C, size_t next) {
    for (size_t r = 0; r < M; r++)
        for (size_t j = 0; j < N; j++) {
            real sum = add ? C[r*next + j] : 0;
            for (size_t k = 0; k < K; k++) sum += A[r*row + k*column]*W[k*N + j];
            C[r*next + j] = sum;
        }
}
void sbrt_gradient(size_t M, size_t N, size_t K, const real *A, size_t a, const real *B, size_t b, real *C, size_t next) {
    for (size_t k = 0; k < K; k++)
        for (size_t r = 0; r < M; r++)
            for (size_t j = 0; j < N; j++) C[r*next + j] += A[k*a + r]*B[k*b + j];
}
"""
LIMITS = [
    (1, 1, 1),
    (3, 5, 0),
    (0, 4, 3),
    (1, 50, 130),
    (7, 33, 10),
    (13, 130, 300),
    (6, 64, 1),
    (32, 70, 257),
    (5, 513, 140),
]


def run(library: ctypes.CDLL, name: str, *arguments: Any) -> None:
    """Call a function with arrays as pointers and other numbers as size_t."""
    pointers = [ctypes.c_void_p(x.ctypes.data) if isinstance(x, np.ndarray) else ctypes.c_size_t(x) for x in arguments]
    getattr(library, f"run_{name}")(*pointers)


def products(library: ctypes.CDLL, dtype: Any) -> float:
    """The largest error of products and gradients over NumPy's, in parts of what rounding may make of sums of so many terms."""
    random, worst = np.random.default_rng(2), 0.0
    for M, N, K in LIMITS:
        room = np.full(max(K, 128) * (N + 64), np.nan, dtype)
        c = random.standard_normal((M, N + 3)).astype(dtype)
        a, w = random.standard_normal((M, 2 * K)).astype(dtype)[:, ::2], random.standard_normal((N, K)).astype(dtype)
        at, b = random.standard_normal((K, M)).astype(dtype), random.standard_normal((K, N)).astype(dtype)
        for add in (0, 1, 2):
            wanted = c.astype(float)
            if add == 2:
                wanted[:, :N] += at.astype(float).T @ b
                run(library, "gradient", M, N, K, at, M, b, N, c, N + 3, room)
            else:
                wanted[:, :N] = a.astype(float) @ w.T + add * wanted[:, :N]
                run(library, "pack", K, N, w, 1, K, room)
                run(library, "product", M, N, K, a.base, 2 * K, 2, room, add, c, N + 3)
            bound = np.finfo(dtype).eps * (K + 2) * 8
            worst = float(np.maximum(worst, np.max(np.abs(c - wanted), initial=0) / bound))  # NaN where one is NaN
    return worst


@pytest.mark.thinned(4)
@pytest.mark.parametrize("vectors", ["vectors", "plain", "blas"])
@pytest.mark.parametrize("kind", KINDS)
def test_products_are_those_of_numpy(kind: str, vectors: str, tmp_path: Path) -> None:
    options = ["-O2", *["-DSBRT_PLAIN"] * (vectors == "plain"), *["-DSBRT_BLAS"] * (vectors == "blas")]
    text = HEADER.read_text(encoding="utf-8") + PRODUCTS + BLAS * (vectors == "blas")
    library = compiled(tmp_path, text, kind, *options)
    assert products(library, KINDS[kind]) < 1


@pytest.mark.thinned(2)
@pytest.mark.parametrize(
    ("right", "wrong"),
    [("panels += depth*width;", "panels += K*width;"), ("const int more = add || k > 0;", "const int more = add;")],
)
def test_a_planted_mistake_in_products_is_caught(right: str, wrong: str, tmp_path: Path) -> None:
    text = HEADER.read_text(encoding="utf-8").replace(right, wrong)
    assert text != HEADER.read_text(encoding="utf-8")
    assert not products(compiled(tmp_path, text + PRODUCTS, "d", "-O1"), np.float64) < 1


def test_a_source_has_a_copy_of_what_it_needs_alone() -> None:
    text = "\n".join(functions.definitions(["TANH"]))
    assert "real TANH(" in text and "exp_rest(" in text and "ERF" not in text and "product" not in text
    assert "\n".join(functions.definitions([])).count("static") == 0
    everything = "\n".join(functions.definitions([*functions.defined()]))
    for paragraph in functions.paragraphs():
        assert paragraph.text in everything


@pytest.mark.skipif(shutil.which("clang") is None, reason="no clang on this machine")
def test_clang_has_no_warning(tmp_path: Path) -> None:
    (tmp_path / "code.c").write_text(HEADER.read_text(encoding="utf-8"), encoding="utf-8")
    subprocess.run(["clang", *WARNINGS, "-Wno-unused-function", "-fsyntax-only", "code.c"], cwd=tmp_path, check=True)
