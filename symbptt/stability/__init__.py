"""Stability of a recurrence: spectra, fixed points, mean field, theorems."""
