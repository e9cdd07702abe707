"""Walks of the loop IR that share or count memory."""
