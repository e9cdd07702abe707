"""Values as calls with `out=`: NumPy functions that write into buffers made before the loop."""
