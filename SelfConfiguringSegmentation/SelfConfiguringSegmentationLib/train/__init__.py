"""Training a model on segmentations of the scene or of a collection."""
