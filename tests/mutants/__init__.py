"""Mutants of generated modules and of the rules that write them, and what catches them."""
