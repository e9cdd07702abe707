"""What native modules for torch and JAX carry beside the sweeps of their cell, read as text, and NumPy kernels inside of these."""
