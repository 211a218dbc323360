"""Writing segmentations to files of other programs."""
