"""Functions of whole matrices as calls of the runtime, or of NumPy."""

from __future__ import annotations

from symbptt.codegen.loop_ir.nodes import Algebra
from symbptt.codegen.loop_ir.order import in_order
from symbptt.codegen.targets.numpy.operands import Operands
from symbptt.codegen.targets.numpy.views import Scope

CALLS = {
    "solve": "_solved({args}, {subject!r}, {first})",
    "cholesky": "_factored({args}, {subject!r}, {first})",
    "expm": "expm({args})",
    "det": "np.linalg.det({args})",
    "logdet": "np.linalg.slogdet({args})[1]",
    "detsign": "np.linalg.slogdet({args})[0]",
    "halved": "_halved({args})",
    "tril": "np.tril({args})",
    "diag": "_spread({args})",
    "diagonal": "_diagonal({args})",
}
"""The call of each function."""


def algebra(o: Operands, scope: Scope, s: Algebra) -> str:
    """Return a function of matrices as an expression, its axes in their own order."""
    args = ", ".join(o.text(scope, view, tuple((i,) for i in range(len(view.axes)))) for view in s.args)
    return CALLS[s.name].format(args=args, subject=s.subject, first=o.part(scope, s.first)[0])


def in_memory(o: Operands, scope: Scope, s: Algebra) -> str:
    """Return it as an array that lies in memory as its buffer does."""
    order = in_order(s.out)
    text = algebra(o, scope, s)
    if list(order) == [*range(len(order))]:
        return text
    return f"np.ascontiguousarray({text}.transpose({', '.join(map(str, order))}))"


def written(o: Operands, scope: Scope, s: Algebra) -> str:
    """Return the call that writes it into an array which is there."""
    out = o.text(scope, s.out, tuple((i,) for i in range(len(s.out.axes))))
    return f"np.copyto({out}, {algebra(o, scope, s)})"
