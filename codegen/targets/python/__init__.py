"""How Python is written: the parts that modules of all targets in Python share."""
