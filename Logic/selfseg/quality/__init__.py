"""How good a segmentation probably is, told without a reference (import from the modules)."""
