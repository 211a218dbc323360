"""Plan to U-Net: plain and residual encoders, 2D and 3D (import from the modules)."""
