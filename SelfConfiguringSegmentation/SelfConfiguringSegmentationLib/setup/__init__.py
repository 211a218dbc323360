"""The box below the pages: what is not installed yet, and what lies on the disk."""
