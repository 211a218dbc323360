"""Segmenting volumes of the scene with a trained model."""
