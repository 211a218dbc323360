"""What reviewers decide about segmentations: the list, the log, and what can be trained on.

Needs the standard library alone, so that Slicer's own process can use it.
"""
