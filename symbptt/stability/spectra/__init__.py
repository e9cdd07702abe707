"""Exponents, singular values and directions of products of Jacobians."""
