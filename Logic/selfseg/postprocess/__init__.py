"""What is done to a label map after prediction, as a model says (import from the modules)."""
