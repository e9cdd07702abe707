"""The types of arrays: those of complex numbers are made of two numbers of the type of all others."""

from typing import Any

import numpy as np

from symbptt.codegen.runtime.cell import COMPLEX


def _is_complex(name: str) -> bool:
    return name in COMPLEX


def _complex(dtype: Any) -> Any:
    """Return the type of complex numbers beside real ones of a type: complex64 beside float32."""
    return np.result_type(dtype, np.complex64)


def _type_of(name: str, dtype: Any) -> Any:
    """Return the type of an argument, where real ones are of this type."""
    return _complex(dtype) if _is_complex(name) else dtype
