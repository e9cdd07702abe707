"""Targets: from the loop IR to the text of a language, one room each."""
