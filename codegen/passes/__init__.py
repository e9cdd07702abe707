"""Passes from program to program, one a file: pure, idempotent, without options."""
