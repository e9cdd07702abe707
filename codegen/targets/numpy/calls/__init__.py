"""The statements of loops as calls of NumPy that write into preallocated arrays."""
