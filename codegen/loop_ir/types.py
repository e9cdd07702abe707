"""The type of what an elementwise body computes: complex where an operand or a number is, unless a function makes it real."""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp

from symbptt import ops
from symbptt.codegen.loop_ir.nodes import Operand, View
from symbptt.ir.scalar import Call, Num, Ref, Tree, parts_of

REAL_VALUED = tuple(ops.PRIMITIVES[function].name for function in ops.REAL_VALUED)
MADE_COMPLEX = ("conj", "as_complex")


def type_of(tree: Tree, args: Sequence[Operand]) -> str:
    """Return the type of numbers that a body is, "float" or "complex"; a condition counts as numbers."""
    return "complex" if _is_complex(tree, args) else "float"


def _is_complex(tree: Tree, args: Sequence[Operand]) -> bool:
    match tree:
        case Ref(index):
            arg = args[index]
            return isinstance(arg, View) and arg.buffer.dtype == "complex"
        case Num(value):
            return bool(value.has(sp.I))
        case Call(name, parts):
            if name in REAL_VALUED or getattr(ops.BY_NAME[name].body, "boolean", False):
                return False
            return name in MADE_COMPLEX or any(_is_complex(part, args) for part in parts[name == "where" :])
    return any(_is_complex(part, args) for part in parts_of(tree))
