"""What a NumPy module allocates and calls, read by running its text on arrays without elements."""
