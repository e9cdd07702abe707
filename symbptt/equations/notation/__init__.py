"""The writing of expressions: signs, names and brackets in text, LaTeX and MathML."""
