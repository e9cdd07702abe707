"""Checks of the generated module against the user's own function."""
