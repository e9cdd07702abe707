"""Rules from a step to its derivatives: adjoints, backpropagation through time, Jacobians, unrolled graphs."""
