"""A cell on its data: given or drawn, run and linearised; its gates and its gain."""
