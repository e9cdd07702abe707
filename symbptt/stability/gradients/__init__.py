"""Norms of gradients against lag, and gradients of exponents."""
