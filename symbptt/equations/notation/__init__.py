"""How expressions are written: signs, names and brackets in text, LaTeX and MathML."""
