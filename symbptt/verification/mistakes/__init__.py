"""Mistakes that a backward pass written by hand may have, each made in the derivation itself, and compared with what was given."""
