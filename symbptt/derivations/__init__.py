"""The result of `sb.derive` and its answers: equations, Jacobians, paths, explanations, comparisons, files."""
