"""Equations as text, LaTeX and MathML."""
