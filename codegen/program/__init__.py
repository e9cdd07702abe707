"""Programs: the recursion of a step with the place of every value."""
