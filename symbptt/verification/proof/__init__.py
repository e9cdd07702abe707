"""Exact proofs: generated backward passes against the derivative of the user's function, over a field without rounding."""
