"""Which cases a model learns from and which judge it."""
