"""Values as calls with `out=`: NumPy functions that write into rooms made before the loop."""
