"""The reverse sweep of a derivation on numbers: value by value, step by step, as it stands on the page."""
