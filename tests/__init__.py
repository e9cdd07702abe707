"""Tests of symbptt."""
