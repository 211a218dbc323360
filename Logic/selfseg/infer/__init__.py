"""Sliding window, backends, and the way back to the native grid (import from the modules)."""
