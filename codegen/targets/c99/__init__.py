"""C99: the sweeps of a cell as one readable file of plain loops, with a header."""
