"""What a kernel computes where, what it stores and what that costs, as tables."""
