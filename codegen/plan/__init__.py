"""Plans: the work of a kernel by region, what it stores and what that costs, as tables."""
