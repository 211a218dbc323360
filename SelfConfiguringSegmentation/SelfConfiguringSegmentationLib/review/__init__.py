"""Looking at predicted segmentations, worst first, and deciding about each."""
