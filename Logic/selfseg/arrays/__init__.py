"""NumPy and SciPy kernels: boxes, resampling, tiles, metrics; no I/O, no torch."""
