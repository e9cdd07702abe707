"""NumPy functions that NumPy does not have; generated modules carry their source where they are used."""

from typing import Any

import numpy as np


def erf(x: Any) -> Any:
    """Return the error function of x, real or complex near the real axis, to a few units of rounding.

    Source: Maclaurin series below 1/2; beyond it erfc(z) = t exp(-z² + P(t)), t = 2 / (2 + z), with P the Chebyshev
    series of log(erfc(z) / t) + z² (the form of Numerical Recipes, section 6.2.2; coefficients computed to 60 digits).
    """
    p = (-0.6513268598908547, 0.6419697923564902, 0.019476473204185836, -0.009561514786808632, -0.0009465953444820369,
         0.00036683949785276145, 4.252332480690777e-05, -2.0278578112534242e-05, -1.6242900046470256e-06,
         1.3036558355805232e-06, 1.5626441722066142e-08, -8.523809591492654e-08, 6.5290544390988515e-09,
         5.059343495551469e-09, -9.91364156493033e-10, -2.273651222931836e-10, 9.646791102015527e-11,
         2.3940380830391146e-12, -6.886027526497553e-12, 8.944879273090725e-13, 3.130921399342958e-13,
         -1.1270822361367252e-13, 3.810905255189232e-16, 7.106097613609237e-15, -1.5230282014571043e-15,
         -9.457494571291233e-17, 1.210237189224279e-16, -2.816663087747177e-17)  # fmt: skip
    q = (1.1283791670955126, -0.37612638903183754, 0.11283791670955126, -0.026866170645131252, 0.005223977625442188,
         -0.0008548327023450853, 0.00012055332981789664, -1.492565035840625e-05, 1.6462114365889248e-06,
         -1.6365844691234924e-07, 1.4807192815879218e-08, -1.2290555301717928e-09)  # fmt: skip
    right = np.real(x) >= 0
    z = np.where(right, x, -x)
    z = np.where(np.real(z) > 30, 30, z)  # NaN stays
    t = 2 / (2 + z)
    s, b, b1 = 4 * t - 2, 0 * z, 0 * z
    for coefficient in p[:0:-1]:
        b, b1 = s * b - b1 + coefficient, b
    large = 1 - t * np.exp(-z * z + p[0] + (s * b - 2 * b1) / 2)
    near = np.where(np.real(z) < 0.5, z, 0 * z)
    small = 0 * z
    for coefficient in q[::-1]:
        small = small * near * near + coefficient
    value = np.where(np.real(z) < 0.5, near * small, large)
    return np.where(right, value, -value)


def expm(a: Any) -> Any:
    """Return the exponential of stacked matrices, real or complex near the real axis, by scaling and squaring of a Padé approximant.

    Source: Higham 2005, "The scaling and squaring method for the matrix exponential revisited", algorithm 2.3 with the degree 13.
    """
    c = (64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0, 129060195264000.0, 10559470521600.0,
         670442572800.0, 33522128640.0, 1323241920.0, 40840800.0, 960960.0, 16380.0, 182.0, 1.0)  # fmt: skip
    a = np.asarray(a)
    kind = np.result_type(a.dtype, np.float32)
    one = np.eye(a.shape[-1])
    # In double precision throughout: the squarings lose digits.
    a = a.astype(np.result_type(kind, np.float64), copy=False)
    size = np.max(np.abs(a).sum(-2), initial=0.0)
    if not size < np.inf:
        return np.full_like(a, np.nan).astype(kind)
    count = int(np.ceil(np.log2(size / 4.25))) if size > 4.25 else 0
    a = a * 0.5**count
    a2 = a @ a
    a4 = a2 @ a2
    a6 = a2 @ a4
    u = a @ (a6 @ (c[13] * a6 + c[11] * a4 + c[9] * a2) + c[7] * a6 + c[5] * a4 + c[3] * a2 + c[1] * one)
    v = a6 @ (c[12] * a6 + c[10] * a4 + c[8] * a2) + c[6] * a6 + c[4] * a4 + c[2] * a2 + c[0] * one
    found = np.linalg.solve(v - u, v + u)
    for _ in range(count):
        found = found @ found
    return found.astype(kind, copy=False)
