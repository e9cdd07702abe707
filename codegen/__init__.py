"""From the adjoint graph to a NumPy module: place, pack, buffers, emit, load."""
