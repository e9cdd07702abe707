"""Derivation: scalar partials by SymPy, one reverse sweep over a step, the recursion in time."""
