"""What `sb.derive` returns and answers: equations, Jacobians, paths, explanations, comparisons, files."""
