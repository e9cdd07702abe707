"""Plain NumPy Python that generated modules carry: each takes what it calls, and what that calls in turn."""
