"""Bounds, certificates and theorems, proven by intervals."""
