"""What torch and JAX call the functions that a program needs: two tables, read by one printer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SAME = ("exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tan", "arctan", "tanh", "sinh", "cosh", "abs", "sign", "floor", "square",
        "maximum", "minimum", "hypot", "arctan2", "fmod", "floor_divide", "logical_and", "logical_or", "logical_not",
        "where")  # fmt: skip
"""Elementwise functions that have our name in both."""
SIGNS = {"greater": ">", "greater_equal": ">=", "less": "<", "less_equal": "<=", "equal": "==", "not_equal": "!="}
LOGIC = ("logical_and", "logical_or", "logical_not")
OF_ARRAYS = ("maximum", "minimum", "hypot", "arctan2", "mod", "fmod", "floor_divide")
"""Functions of two arguments that take no number in the place of an array in torch."""


@dataclass(frozen=True)
class Table:
    """The calls of one framework, as texts with numbered places for their arguments.

    `functions` are elementwise, by our names; `array` makes an array of numbers in the type of the data, `cast` brings truths to that
    type, and so on: each field says what it writes. `recurrence` is what runs all steps in modules; those of a cell carry
    definitions of the files `of_cell`, those of a model of `of_model`. `algebra` are functions of matrices.
    """

    name: str
    module: str
    recurrence: str
    of_cell: tuple[str, ...]
    of_model: tuple[str, ...]
    imports: tuple[str, ...]
    functions: Mapping[str, str]
    array: str
    cast: str
    eye: str
    zeros: str
    zeros_like: str
    concatenate: str
    transpose: str
    broadcast: str
    cumsum: str
    flip: str
    sum: str
    max: str
    einsum: str
    moved: str
    algebra: Mapping[str, str]


TORCH = Table(
    name="torch",
    module="torch",
    recurrence="_Recurrence",
    of_cell=("torch_weights.py", "torch_cell.py", "torch_parts.py"),
    of_model=("model.py", "torch_weights.py", "torch_model.py", "torch_parts.py"),
    imports=("from functools import partial, reduce", "", "import torch"),
    functions={name: f"torch.{name}" for name in SAME}
    | {
        "sigmoid": "torch.sigmoid",
        "softplus": "_softplus",  # that of torch is the identity from 20 on
        "relu": "torch.relu",
        "erf": "torch.erf",
        "mod": "torch.remainder",
        "stop_gradient": "torch.detach",
    },
    array="torch.tensor({0}, dtype=like.dtype, device=like.device)",
    cast="{0}.to(like.dtype)",
    eye="torch.eye({0}, dtype=like.dtype, device=like.device)",
    zeros="like.new_zeros({0})",
    zeros_like="torch.zeros_like({0})",
    concatenate="torch.cat({0}, {1})",
    transpose="{0}.permute({1})",
    broadcast="{0}.expand({1})",
    cumsum="torch.cumsum({0}, {1})",
    flip="torch.flip({0}, {1})",
    sum="{0}.sum({1})",
    max="torch.amax({0}, {1})",
    einsum="torch.einsum({0}, {1}, {2})",
    moved="torch.movedim({0}, {1}, {2})",
    algebra={
        "solve": "torch.linalg.solve({0}, {1})",
        "cholesky": "torch.linalg.cholesky({0})",
        "expm": "torch.linalg.matrix_exp({0})",
        "det": "torch.linalg.det({0})",
        "logdet": "torch.linalg.slogdet({0})[1]",
        "detsign": "torch.linalg.slogdet({0})[0]",
        "tril": "torch.tril({0})",
        "halved": "_halved({0})",
        "diag": "torch.diag_embed({0})",
        "diagonal": "torch.diagonal({0}, dim1=-2, dim2=-1)",
    },
)

JAX = Table(
    name="jax",
    module="jnp",
    recurrence="_recurrence",
    of_cell=("jax_parts.py",),
    of_model=("model.py", "jax_parts.py", "jax_model.py"),
    imports=("from functools import partial", "", "import jax", "import jax.numpy as jnp"),
    functions={name: f"jnp.{name}" for name in SAME}
    | {
        "sigmoid": "jax.nn.sigmoid",
        "softplus": "jax.nn.softplus",
        "relu": "jax.nn.relu",
        "erf": "jax.scipy.special.erf",
        "mod": "jnp.remainder",
        "stop_gradient": "jax.lax.stop_gradient",
    },
    array="jnp.asarray({0}, like.dtype)",
    cast="{0}.astype(like.dtype)",
    eye="jnp.eye({0}, dtype=like.dtype)",
    zeros="jnp.zeros({0}, like.dtype)",
    zeros_like="jnp.zeros_like({0})",
    concatenate="jnp.concatenate({0}, {1})",
    transpose="{0}.transpose({1})",
    broadcast="jnp.broadcast_to({0}, {1})",
    cumsum="jnp.cumsum({0}, {1})",
    flip="jnp.flip({0}, {1})",
    sum="{0}.sum({1})",
    max="jnp.max({0}, {1})",
    einsum="jnp.einsum({0}, {1}, {2})",
    moved="jnp.moveaxis({0}, {1}, {2})",
    algebra={
        "solve": "jnp.linalg.solve({0}, {1})",
        "cholesky": "jnp.linalg.cholesky({0})",
        "expm": "jax.scipy.linalg.expm({0})",
        "det": "jnp.linalg.det({0})",
        "logdet": "jnp.linalg.slogdet({0})[1]",
        "detsign": "jnp.linalg.slogdet({0})[0]",
        "tril": "jnp.tril({0})",
        "halved": "_halved({0})",
        "diag": "_spread({0})",
        "diagonal": "jnp.diagonal({0}, axis1=-2, axis2=-1)",
    },
)

TABLES = {table.name: table for table in (TORCH, JAX)}
