"""Random changes to training samples, in the loader or on the device that trains.

What is done to a sample is drawn first (`draws`), the same for both families.
"""

from .policy import FULL, MILD, MIRROR_ONLY, POLICIES, Augmentation

__all__ = ["FULL", "MILD", "MIRROR_ONLY", "POLICIES", "Augmentation"]
