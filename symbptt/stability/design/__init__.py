"""Parameters for a horizon that is asked for."""
