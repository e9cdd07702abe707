"""Expressions of a page as data, and the values of a graph as such expressions."""
