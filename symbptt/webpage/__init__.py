"""One page about a cell, for a browser without a network: equations, code, graph, proof and stability, linked with each other."""
