"""The graph of one step: nodes, shapes, laws, a text dump."""
