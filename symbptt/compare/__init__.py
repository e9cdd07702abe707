"""Designs compared: a grid of cells, sizes, gains and seeds, measured row by row, resumable, on any number of workers."""
