"""Derive, prove, analyse and generate backpropagation through time for recurrent cells written as NumPy-style Python.

Public names only. Each is imported when it is first used, so that `symbptt --help` need not import SymPy.
"""

import sys as _sys
from importlib import import_module as _import_module
from types import ModuleType as _ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a cell computes with its arguments as arrays, so that to a type checker a role is Any
    from collections.abc import Callable
    from typing import Any
    from typing import Any as Const
    from typing import Any as Index
    from typing import Any as Input
    from typing import Any as Output
    from typing import Any as Param
    from typing import Any as State
    from typing import Any as Target

    from symbptt import zoo as zoo
    from symbptt.cell import Cell, cell
    from symbptt.clip import clip_by_norm, clip_by_value
    from symbptt.codegen.loading import Kernel, compile
    from symbptt.compare.comparison import Comparison, compare_designs
    from symbptt.compare.grid import Grid
    from symbptt.compose import stack
    from symbptt.declare import function
    from symbptt.derivation import Derivation, Equation, derive
    from symbptt.differences import CellComparison, compare
    from symbptt.errors import ArgumentError, CellError, ShapeError, SymbpttError, TargetError, TheoremError
    from symbptt.errors import StabilityWarning as StabilityWarning
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
        sum,
        transpose,
    )
    from symbptt.model import Loss, Model, loss, model
    from symbptt.stability.analysis import StabilityReport, analyze
    from symbptt.stability.certified import certified_rate
    from symbptt.stability.covariant import covariant_vectors
    from symbptt.stability.design import Initialisation, init_for_horizon
    from symbptt.stability.field import critical_line, mean_field
    from symbptt.stability.fixed import fixed_points
    from symbptt.stability.flossing import exponent_gradient
    from symbptt.stability.flow import gradient_flow
    from symbptt.stability.gain import recurrent_weights, with_gain
    from symbptt.stability.kantorovich import kantorovich
    from symbptt.stability.lyapunov import lyapunov_spectrum
    from symbptt.stability.population import gaussian_weights, population
    from symbptt.stability.product import product_spectrum
    from symbptt.stability.suprema import sup_derivative
    from symbptt.stability.sweep import Sweep, sweep
    from symbptt.stability.transient import transient_growth
    from symbptt.stability.vanishing import vanishing_condition
    from symbptt.stability.watch import Watch
    from symbptt.truncation import Chunked, Window
    from symbptt.unrolling import unroll
    from symbptt.verification import check_backward, verify

    tanh: Callable[..., Any]
    sigmoid: Callable[..., Any]
    relu: Callable[..., Any]
    leaky_relu: Callable[..., Any]
    elu: Callable[..., Any]
    selu: Callable[..., Any]
    gelu: Callable[..., Any]
    silu: Callable[..., Any]
    mish: Callable[..., Any]
    softplus: Callable[..., Any]
    softsign: Callable[..., Any]
    hard_sigmoid: Callable[..., Any]
    hard_tanh: Callable[..., Any]
    exp: Callable[..., Any]
    expm1: Callable[..., Any]
    log: Callable[..., Any]
    log1p: Callable[..., Any]
    sqrt: Callable[..., Any]
    square: Callable[..., Any]
    abs: Callable[..., Any]
    sign: Callable[..., Any]
    sin: Callable[..., Any]
    cos: Callable[..., Any]
    tan: Callable[..., Any]
    arctan: Callable[..., Any]
    erf: Callable[..., Any]
    maximum: Callable[..., Any]
    minimum: Callable[..., Any]
    clip: Callable[..., Any]
    where: Callable[..., Any]
    stop_gradient: Callable[..., Any]

__version__ = "0.1.0"

__all__ = [
    "ArgumentError", "Cell", "CellComparison", "CellError", "Chunked", "Comparison", "Const", "Derivation", "Equation", "Grid", "Index",
    "Initialisation", "Input", "Kernel", "Loss", "Model", "Output", "Param", "ShapeError", "StabilityReport",
    "StabilityWarning", "State", "Sweep", "SymbpttError", "Target", "TargetError", "TheoremError", "Watch", "Window",
    "abs", "analyze", "arctan", "cell", "certified_rate", "check_backward", "clip", "clip_by_norm", "clip_by_value",
    "compare", "compare_designs", "compile", "concatenate", "cos", "covariant_vectors", "critical_line", "cumsum", "derive",
    "dot", "einsum", "elu", "erf", "exp", "expm1", "exponent_gradient", "fixed_points", "function",
    "gaussian_weights", "gelu", "gradient_flow", "hard_sigmoid", "hard_tanh", "init_for_horizon", "kantorovich",
    "layer_norm", "leaky_relu", "log", "log1p", "log_softmax", "logsumexp", "loss", "lyapunov_spectrum", "matmul",
    "max", "maximum", "mean", "mean_field", "min", "minimum", "mish", "model", "norm", "outer", "population",
    "product_spectrum", "recurrent_weights", "relu", "reshape", "selu", "sigmoid", "sign", "silu", "sin", "softmax",
    "softplus", "softsign", "split", "sqrt", "square", "stack", "stop_gradient", "sum", "sup_derivative", "sweep",
    "tan", "tanh", "transient_growth", "transpose", "unroll", "vanishing_condition", "verify", "where", "with_gain",
]  # fmt: skip

_HOME = {
    name: module
    for module, names in {
        "symbptt.cell": "Cell cell",
        "symbptt.clip": "clip_by_norm clip_by_value",
        "symbptt.codegen.loading": "Kernel compile",
        "symbptt.compare.grid": "Grid",
        "symbptt.compare.comparison": "Comparison compare_designs",
        "symbptt.compose": "stack",
        "symbptt.declare": "function",
        "symbptt.derivation": "Derivation Equation derive",
        "symbptt.differences": "CellComparison compare",
        "symbptt.errors": "ArgumentError CellError ShapeError StabilityWarning SymbpttError TargetError TheoremError",
        "symbptt.model": "Loss Model loss model",
        "symbptt.roles": "Const Index Input Output Param State Target",
        "symbptt.stability.gain": "recurrent_weights with_gain",
        "symbptt.stability.certified": "certified_rate",
        "symbptt.stability.covariant": "covariant_vectors",
        "symbptt.stability.analysis": "StabilityReport analyze",
        "symbptt.stability.design": "Initialisation init_for_horizon",
        "symbptt.stability.field": "critical_line mean_field",
        "symbptt.stability.fixed": "fixed_points",
        "symbptt.stability.flossing": "exponent_gradient",
        "symbptt.stability.kantorovich": "kantorovich",
        "symbptt.stability.flow": "gradient_flow",
        "symbptt.stability.lyapunov": "lyapunov_spectrum",
        "symbptt.stability.population": "gaussian_weights population",
        "symbptt.stability.product": "product_spectrum",
        "symbptt.stability.suprema": "sup_derivative",
        "symbptt.stability.sweep": "Sweep sweep",
        "symbptt.stability.transient": "transient_growth",
        "symbptt.stability.vanishing": "vanishing_condition",
        "symbptt.stability.watch": "Watch",
        "symbptt.truncation": "Chunked Window",
        "symbptt.unrolling": "unroll",
        "symbptt.verification": "check_backward verify",
    }.items()
    for name in names.split()
}
"""The module of each public name; symbptt.functions has the others."""

MODULES = ("zoo",)
"""Modules that are found as attributes of the package without an import of their own."""


class _Package(_ModuleType):
    """This package, with its public names found on first use."""

    def __getattr__(self, name: str) -> object:
        if name in MODULES:
            return _import_module(f"symbptt.{name}")
        if name not in __all__:
            raise AttributeError(f"module 'symbptt' has no attribute {name!r}")
        functions = _import_module("symbptt.functions")  # always: it tells traces what NumPy's functions mean
        if name in _HOME:
            self.__dict__[name] = getattr(_import_module(_HOME[name]), name)
        else:
            self.__dict__[name] = functions.ELEMENTWISE.get(name) or getattr(functions, name)
        return self.__dict__[name]

    def __setattr__(self, name: str, value: object) -> None:
        """Keep the functions cell, derive and verify where the import of a module of that name would replace them."""
        if not (name in __all__ and isinstance(value, _ModuleType)):
            super().__setattr__(name, value)

    def __reduce__(self) -> tuple[object, ...]:
        """Be pickled by name, as other modules are."""
        return _import_module, (self.__name__,)

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *__all__, *MODULES})


if not TYPE_CHECKING:
    _sys.modules[__name__].__class__ = _Package
