"""Derive, prove, analyse and generate backpropagation through time for recurrent cells written as NumPy-style Python.

Public names only. Each is imported when it is first used, so that `symbptt --help` need not import SymPy.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

from symbptt.version import VERSION as _VERSION

if TYPE_CHECKING:  # a cell computes with its arguments as arrays, so that to a type checker a role is Any
    from collections.abc import Callable
    from typing import Any
    from typing import Any as Const
    from typing import Any as Context
    from typing import Any as Index
    from typing import Any as Input
    from typing import Any as Output
    from typing import Any as Param
    from typing import Any as State
    from typing import Any as Target

    from symbptt import interop as interop
    from symbptt import zoo as zoo
    from symbptt.clipping import clip_by_norm, clip_by_value
    from symbptt.codegen.csource import CSource, c_source
    from symbptt.codegen.embedded import EmbeddedSource, embedded_source
    from symbptt.codegen.kernel import Kernel
    from symbptt.codegen.kernel import compile as compile
    from symbptt.codegen.native import jax as jax
    from symbptt.codegen.native import jax_source, torch_source
    from symbptt.codegen.native import torch as torch
    from symbptt.codegen.results import Grads, LossGrads, Run
    from symbptt.comparison.comparison import Comparison, compare_designs
    from symbptt.comparison.grid import Grid
    from symbptt.data.dropout import dropout_mask
    from symbptt.derivations.cell_comparison import CellComparison, compare
    from symbptt.derivations.derivation import Derivation, Equation, derive
    from symbptt.drawing.unrolled import unroll
    from symbptt.errors import ArgumentError, CellError, ShapeError, SymbpttError, TargetError, TheoremError
    from symbptt.errors import StabilityWarning as StabilityWarning
    from symbptt.language.cell import Cell, cell
    from symbptt.language.custom_function import function
    from symbptt.language.functions import (
        arange,
        cholesky,
        concatenate,
        conv,
        cumsum,
        det,
        diag,
        diagonal,
        dot,
        einsum,
        expm,
        eye,
        full,
        inv,
        layer_norm,
        linspace,
        log_softmax,
        logsumexp,
        matmul,
        matrix_power,
        mean,
        norm,
        one_hot,
        ones,
        outer,
        reshape,
        segment_sum,
        slogdet,
        softmax,
        solve,
        solve_triangular,
        split,
        trace,
        transpose,
        tril,
        triu,
        zeros,
    )
    from symbptt.language.functions import max as max
    from symbptt.language.functions import min as min
    from symbptt.language.functions import sum as sum
    from symbptt.language.gradient import grad, value_and_grad
    from symbptt.language.loops import fixed_point, repeat
    from symbptt.language.model import Loss, Model, loss, model
    from symbptt.language.pairs import real_pairs
    from symbptt.language.stacking import stack
    from symbptt.language.truncation import Chunked, Window
    from symbptt.stability.activations.mean_field import critical_line, mean_field
    from symbptt.stability.activations.suprema import sup_derivative
    from symbptt.stability.design.initialisation import Initialisation, init_for_horizon
    from symbptt.stability.dynamics.fixed_points import fixed_points
    from symbptt.stability.dynamics.kantorovich import kantorovich
    from symbptt.stability.dynamics.population import gaussian_weights, population
    from symbptt.stability.dynamics.sweep import Sweep, sweep
    from symbptt.stability.gradients.flossing import exponent_gradient
    from symbptt.stability.gradients.flow import gradient_flow
    from symbptt.stability.proofs.certified import certified_rate
    from symbptt.stability.proofs.vanishing import vanishing_condition
    from symbptt.stability.report.analysis import StabilityReport, analyze
    from symbptt.stability.report.watch import Watch
    from symbptt.stability.runs.gain import recurrent_weights, with_gain
    from symbptt.stability.spectra.covariant import covariant_vectors
    from symbptt.stability.spectra.lyapunov import lyapunov_spectrum
    from symbptt.stability.spectra.products import product_spectrum
    from symbptt.stability.spectra.transient import transient_growth
    from symbptt.training.adam import Adam
    from symbptt.training.batches import last, pad, unpad
    from symbptt.training.bidirectional import Bidirectional, bidirectional
    from symbptt.training.encoder_decoder import EncoderDecoder, encoder_decoder
    from symbptt.training.flat import Flat, flat
    from symbptt.verification.checks import check_backward, verify
    from symbptt.verification.gradient_trace import GradientTrace, trace_gradient

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


__version__ = _VERSION

__all__ = [
    "Adam", "ArgumentError", "Bidirectional", "CSource", "Cell", "CellComparison", "CellError", "Chunked",
    "Comparison", "Const", "Context", "Derivation", "EmbeddedSource", "EncoderDecoder", "Equation", "Flat",
    "GradientTrace", "Grads", "Grid",
    "Index", "Initialisation", "Input", "Kernel", "Loss", "LossGrads", "Model", "Output", "Param", "Run",
    "ShapeError", "StabilityReport", "StabilityWarning", "State", "Sweep", "SymbpttError", "Target", "TargetError",
    "TheoremError", "Watch", "Window", "analyze", "arange", "arctan", "bidirectional", "c_source", "cell",
    "certified_rate", "check_backward", "cholesky", "clip", "clip_by_norm", "clip_by_value", "compare",
    "compare_designs", "concatenate", "conv", "cos", "covariant_vectors", "critical_line", "cumsum", "derive",
    "det", "diag", "diagonal", "dot", "dropout_mask", "einsum", "elu", "embedded_source", "encoder_decoder", "erf", "exp", "expm",
    "expm1", "exponent_gradient", "eye", "fixed_point", "fixed_points", "flat", "full", "function",
    "gaussian_weights", "gelu", "grad", "gradient_flow", "hard_sigmoid", "hard_tanh", "init_for_horizon", "inv",
    "jax_source", "kantorovich", "last", "layer_norm", "leaky_relu", "linspace", "log", "log1p", "log_softmax",
    "logsumexp", "loss", "lyapunov_spectrum", "matmul", "matrix_power", "maximum", "mean", "mean_field", "minimum",
    "mish", "model", "norm", "one_hot", "ones", "outer", "pad", "population", "product_spectrum", "real_pairs",
    "recurrent_weights", "relu", "repeat", "reshape", "segment_sum", "selu", "sigmoid", "sign", "silu", "sin",
    "slogdet", "softmax", "softplus", "softsign", "solve", "solve_triangular", "split", "sqrt", "square", "stack",
    "stop_gradient", "sup_derivative", "sweep", "tan", "tanh", "torch_source", "trace", "trace_gradient",
    "transient_growth", "transpose", "tril", "triu", "unpad", "unroll", "value_and_grad", "vanishing_condition",
    "verify", "where", "with_gain", "zeros",
]  # fmt: skip

_HOME = {
    name: module
    for module, names in {
        "symbptt.language.cell": "Cell cell",
        "symbptt.clipping": "clip_by_norm clip_by_value",
        "symbptt.codegen.kernel": "Kernel compile",
        "symbptt.codegen.csource": "CSource c_source",
        "symbptt.codegen.embedded": "EmbeddedSource embedded_source",
        "symbptt.codegen.results": "Grads LossGrads Run",
        "symbptt.codegen.native": "jax jax_source torch torch_source",
        "symbptt.comparison.grid": "Grid",
        "symbptt.data.dropout": "dropout_mask",
        "symbptt.comparison.comparison": "Comparison compare_designs",
        "symbptt.language.stacking": "stack",
        "symbptt.language.custom_function": "function",
        "symbptt.language.gradient": "grad value_and_grad",
        "symbptt.derivations.derivation": "Derivation Equation derive",
        "symbptt.derivations.cell_comparison": "CellComparison compare",
        "symbptt.errors": "ArgumentError CellError ShapeError StabilityWarning SymbpttError TargetError TheoremError",
        "symbptt.language.loops": "fixed_point repeat",
        "symbptt.language.model": "Loss Model loss model",
        "symbptt.language.pairs": "real_pairs",
        "symbptt.language.roles": "Const Context Index Input Output Param State Target",
        "symbptt.stability.runs.gain": "recurrent_weights with_gain",
        "symbptt.stability.proofs.certified": "certified_rate",
        "symbptt.stability.spectra.covariant": "covariant_vectors",
        "symbptt.stability.report.analysis": "StabilityReport analyze",
        "symbptt.stability.design.initialisation": "Initialisation init_for_horizon",
        "symbptt.stability.activations.mean_field": "critical_line mean_field",
        "symbptt.stability.dynamics.fixed_points": "fixed_points",
        "symbptt.stability.gradients.flossing": "exponent_gradient",
        "symbptt.stability.dynamics.kantorovich": "kantorovich",
        "symbptt.stability.gradients.flow": "gradient_flow",
        "symbptt.stability.spectra.lyapunov": "lyapunov_spectrum",
        "symbptt.stability.dynamics.population": "gaussian_weights population",
        "symbptt.stability.spectra.products": "product_spectrum",
        "symbptt.stability.activations.suprema": "sup_derivative",
        "symbptt.stability.dynamics.sweep": "Sweep sweep",
        "symbptt.stability.spectra.transient": "transient_growth",
        "symbptt.stability.proofs.vanishing": "vanishing_condition",
        "symbptt.stability.report.watch": "Watch",
        "symbptt.language.truncation": "Chunked Window",
        "symbptt.drawing.unrolled": "unroll",
        "symbptt.training.adam": "Adam",
        "symbptt.training.batches": "last pad unpad",
        "symbptt.training.bidirectional": "Bidirectional bidirectional",
        "symbptt.training.encoder_decoder": "EncoderDecoder encoder_decoder",
        "symbptt.training.flat": "Flat flat",
        "symbptt.verification.checks": "check_backward verify",
        "symbptt.verification.gradient_trace": "GradientTrace trace_gradient",
    }.items()
    for name in names.split()
}
"""The module of each public name; symbptt.language.functions has the others."""

APART = ("abs", "compile", "jax", "max", "min", "sum", "torch")
"""Public names that `from symbptt import *` leaves alone: Python has functions of these names, or its caller has modules of them."""
MODULES = ("interop", "zoo")
"""Modules that are found as attributes of the package without an import of their own."""


def __getattr__(name: str) -> object:
    """Find a public name when it is first used. No module of the package's own folder has the name of a public function."""
    if name in MODULES:
        return _import_module(f"symbptt.{name}")
    if name not in __all__ and name not in APART:
        raise AttributeError(f"module 'symbptt' has no attribute {name!r}")
    functions = _import_module("symbptt.language.functions")  # always: it tells traces what NumPy's functions mean
    home = vars(_import_module(_HOME[name])) if name in _HOME else vars(functions) | functions.ELEMENTWISE
    globals()[name] = home[name]
    return home[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *APART, *MODULES})
