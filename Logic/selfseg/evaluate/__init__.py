"""Scores of label maps against references (import from the modules)."""
