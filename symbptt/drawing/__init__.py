"""Unrolled graphs as pictures and files: where boxes and lines stand, and the writers of SVG, DOT, GraphML, GML and JSON."""
