"""Independent checks: the user's own function on NumPy arrays against the generated module."""
