"""Conjugates and real parts in adjoints: what the rules of real numbers lack where numbers are complex.

The cotangent of z is dz = ∂L/∂Re z + i ∂L/∂Im z. With dL = Re(conj(dy) · δy) for all changes δy it follows that

    w = f(z) holomorphic   δw = f'(z) δz      dz = conj(f'(z)) dw
    y = A z                δy = A δz          dz = Aᴴ dy, dA = dy zᴴ
    w of a real x          δw = f'(x) δx      dx = Re(conj(f'(x)) dw)
    a real function        δy = Re(conj(g) δz)    dz = g dy, g = ∂y/∂Re z + i ∂y/∂Im z: 1 for Re z, i for Im z, z/|z| for |z|,
                                              i z/|z|² for arg z
    w = conj(z)            δw = conj(δz)      dz = conj(dw)

Source: Kreutz-Delgado 2009, "The complex gradient operator and the CR-calculus", sections 4 and 5.
"""

from __future__ import annotations

from collections.abc import Collection

import sympy as sp

from symbptt import ops
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, placeholder


def conjugate(g: Graph, x: int) -> int:
    """Return the conjugate of a value: of a real one it is the value, of a conjugate what it is of."""
    if not g.is_complex(x):
        return x
    node = g[x]
    if node.family == "map" and node.attrs.expr == ops.conj(placeholder(0)):
        return node.args[0]
    return build.map_(g, ops.conj(placeholder(0)), (x,))


def real_part(g: Graph, x: int) -> int:
    """Return the real part of a value: of a real one it is the value."""
    return build.map_(g, ops.real_part(placeholder(0)), (x,)) if g.is_complex(x) else x


def like(g: Graph, given: int, value: int) -> int:
    """Return what is given to the adjoint of a value: a real value has a real adjoint."""
    return given if g.is_complex(value) else real_part(g, given)


def as_complex(g: Graph, given: int, value: int) -> int:
    """Return an adjoint as complex numbers where its value is an array of these."""
    if g.is_complex(value) and not g.is_complex(given):
        return build.map_(g, ops.as_complex(placeholder(0)), (given,))
    return given


def conjugated(expr: sp.Expr, of: Collection[sp.Expr]) -> sp.Expr:
    """Return the conjugate of an expression in which the symbols `of` are complex: f(z̄) for f(z).

    All functions of bodies are real for real arguments, so that the conjugate of a value is the value of the conjugate.
    """
    if expr in of:
        return ops.conj(expr)
    if not expr.args:
        return -expr if expr is sp.I else expr
    return expr.func(*[conjugated(part, of) for part in expr.args])


def adjoint_of_part(g: Graph, node: Node, bar: int) -> int | None:
    """Return the adjoint that a function of a complex number hands to it, where that is no holomorphic one; else None."""
    function, z = node.attrs.expr.func, node.args[0]
    if function not in ops.OF_COMPLEX or not g.is_complex(z):
        return None
    if function is ops.conj:
        return conjugate(g, bar)
    if function is ops.real_part:
        return bar
    if function is ops.imaginary_part:
        return build.map_(g, sp.I * placeholder(0), (bar,))
    if function is ops.modulus:
        return build.map_(g, placeholder(0) * ops.modulus.fdiff(ops.modulus(placeholder(1)), 1).xreplace(
            {ops.modulus(placeholder(1)): placeholder(2)}), (bar, z, node.id))  # fmt: skip
    size = build.map_(g, ops.modulus(placeholder(0)), (z,))
    slope = ops.angle(placeholder(1)).fdiff(1).xreplace({ops.modulus(placeholder(1)): placeholder(2)})
    return build.map_(g, placeholder(0) * slope, (bar, z, size))
