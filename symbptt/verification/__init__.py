"""Generated modules compared with the user's own function."""
