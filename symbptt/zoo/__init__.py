"""Recurrent cells, each a few lines of user-level code with its paper."""
