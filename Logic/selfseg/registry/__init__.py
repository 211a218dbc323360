"""Trained models: the library they are kept in, and how models of other programs come in."""
