"""Rounding: a module in floats against numbers of 50 digits, in units of rounding."""
