"""Derive, prove, analyse and generate backpropagation through time for recurrent cells written as NumPy-style Python."""

from typing import TYPE_CHECKING

from symbptt import functions as _functions
from symbptt.cell import Cell, cell
from symbptt.derivation import Derivation, Equation, derive
from symbptt.errors import ArgumentError, CellError, ShapeError, SymbpttError, TargetError
from symbptt.functions import (
    concatenate,
    cumsum,
    dot,
    einsum,
    layer_norm,
    log_softmax,
    logsumexp,
    matmul,
    max,
    mean,
    min,
    norm,
    outer,
    reshape,
    softmax,
    split,
    stack,
    sum,
    transpose,
)

if TYPE_CHECKING:  # a cell computes with its arguments as arrays, so that to a type checker a role is Any
    from typing import Any as Const
    from typing import Any as Index
    from typing import Any as Input
    from typing import Any as Output
    from typing import Any as Param
    from typing import Any as State
    from typing import Any as Target
else:
    from symbptt.roles import Const, Index, Input, Output, Param, State, Target

__version__ = "0.1.0"

tanh = _functions.ELEMENTWISE["tanh"]
sigmoid = _functions.ELEMENTWISE["sigmoid"]
relu = _functions.ELEMENTWISE["relu"]
leaky_relu = _functions.ELEMENTWISE["leaky_relu"]
elu = _functions.ELEMENTWISE["elu"]
selu = _functions.ELEMENTWISE["selu"]
gelu = _functions.ELEMENTWISE["gelu"]
silu = _functions.ELEMENTWISE["silu"]
mish = _functions.ELEMENTWISE["mish"]
softplus = _functions.ELEMENTWISE["softplus"]
softsign = _functions.ELEMENTWISE["softsign"]
hard_sigmoid = _functions.ELEMENTWISE["hard_sigmoid"]
hard_tanh = _functions.ELEMENTWISE["hard_tanh"]
exp = _functions.ELEMENTWISE["exp"]
expm1 = _functions.ELEMENTWISE["expm1"]
log = _functions.ELEMENTWISE["log"]
log1p = _functions.ELEMENTWISE["log1p"]
sqrt = _functions.ELEMENTWISE["sqrt"]
square = _functions.ELEMENTWISE["square"]
abs = _functions.ELEMENTWISE["abs"]
sign = _functions.ELEMENTWISE["sign"]
sin = _functions.ELEMENTWISE["sin"]
cos = _functions.ELEMENTWISE["cos"]
tan = _functions.ELEMENTWISE["tan"]
arctan = _functions.ELEMENTWISE["arctan"]
erf = _functions.ELEMENTWISE["erf"]
maximum = _functions.ELEMENTWISE["maximum"]
minimum = _functions.ELEMENTWISE["minimum"]
clip = _functions.ELEMENTWISE["clip"]
where = _functions.ELEMENTWISE["where"]
stop_gradient = _functions.ELEMENTWISE["stop_gradient"]

__all__ = [
    "ArgumentError", "Cell", "CellError", "Const", "Derivation", "Equation", "Index", "Input", "Output", "Param", "ShapeError",
    "State", "SymbpttError", "Target", "TargetError", "abs", "arctan", "cell", "clip", "concatenate", "cos", "cumsum",
    "derive", "dot", "einsum", "elu", "erf", "exp", "expm1", "gelu", "hard_sigmoid", "hard_tanh", "layer_norm",
    "leaky_relu", "log", "log1p", "log_softmax", "logsumexp", "matmul", "max", "maximum", "mean", "min", "minimum", "mish",
    "norm", "outer", "relu", "reshape", "selu", "sigmoid", "sign", "silu", "sin", "softmax", "softplus", "softsign", "split",
    "sqrt", "square", "stack", "stop_gradient", "sum", "tan", "tanh", "transpose", "where",
]  # fmt: skip
