"""Weights in and out: the layouts of torch, Keras, Flax and ONNX, to and from the parameters of the zoo's cells.

Arrays are NumPy's; tensors of the frameworks are read as such. No framework is imported. What a framework cannot hold
is refused with the reason.
"""

from symbptt.interop.flax import from_flax, to_flax
from symbptt.interop.keras import from_keras, to_keras
from symbptt.interop.onnx import from_onnx, to_onnx
from symbptt.interop.pytorch import from_torch, to_torch

__all__ = ["from_flax", "from_keras", "from_onnx", "from_torch", "to_flax", "to_keras", "to_onnx", "to_torch"]
