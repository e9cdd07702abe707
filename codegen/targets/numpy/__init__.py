"""Kernels as NumPy modules."""
