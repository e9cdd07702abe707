"""One report of a cell's stability, in words, figures and numbers."""
