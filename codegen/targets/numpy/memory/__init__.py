"""The memory of modules, read by running them on arrays without elements."""
