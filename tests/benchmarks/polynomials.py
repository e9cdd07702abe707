"""The coefficients of the polynomials of `codegen/targets/c99/sbrt.h`, by interpolation at Chebyshev's points in 60 digits, which
is within a few per cent of the best polynomial of its degree. Prints each polynomial with the largest relative error found.

`python -m tests.benchmarks.polynomials`
"""

from collections.abc import Callable
from typing import Any

import mpmath as mp

Function = Callable[[Any], Any]

CASES: dict[str, tuple[Function, tuple[float, float], int, int]] = {
    "(exp(r) - 1 - r)/r² for r": (lambda r: mp.hyp1f1(1, 3, r) / 2, (-0.3467, 0.3467), 5, 10),
    "(log((1 + s)/(1 - s)) - 2 s)/s³ for s²": (
        lambda z: (2 * mp.atanh(mp.sqrt(z)) - 2 * mp.sqrt(z)) / mp.sqrt(z) ** 3, (0.0, 0.0295), 2, 6,
    ),
    "erf(x)/x for x² ≤ 1": (lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z), (0.0, 1.0), 6, 12),
    "exp(x²) erfc(x) for 1/(x + 2), x ≥ 1": (lambda u: mp.exp((1 / u - 2) ** 2) * mp.erfc(1 / u - 2), (0.12, 0.33334), 7, 15),
}  # fmt: skip
"""What is approximated, over which interval, and the degrees for float and double."""


def polynomial(f: Function, interval: tuple[float, float], degree: int) -> list[Any]:
    """Return the coefficients, from that of the highest power on, of the polynomial that meets f at Chebyshev's points."""
    low, high = map(mp.mpf, interval)
    points = [
        (low + high) / 2 + (high - low) / 2 * mp.cos(mp.pi * (2 * i + 1) / (2 * degree + 2)) for i in range(degree + 1)
    ]
    powers = mp.matrix([[x**k for k in range(degree, -1, -1)] for x in points])
    return list(mp.lu_solve(powers, mp.matrix([f(x) for x in points])))


def error(f: Function, coefficients: list[Any], interval: tuple[float, float]) -> Any:
    """Return the largest relative error at 998 points."""
    low, high = map(mp.mpf, interval)
    points = [low + (high - low) * (i + mp.mpf(1) / 2) / 998 for i in range(998)]
    return max(abs(mp.polyval(coefficients, x) / f(x) - 1) for x in points)


def main() -> None:
    mp.mp.dps = 60
    for words, (f, interval, *degrees) in CASES.items():
        for degree, digits in zip(degrees, (9, 17), strict=True):
            found = polynomial(f, interval, degree)
            print(words, "degree", degree, "relative error", mp.nstr(error(f, found, interval), 2))
            print("   ", ", ".join(mp.nstr(c, digits) for c in found))


if __name__ == "__main__":
    main()
