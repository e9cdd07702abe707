"""The languages in which kernels are written."""
