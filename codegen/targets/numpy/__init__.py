"""The NumPy target: programs as modules of three-address calls on preallocated arrays."""
