"""From training cases to the fingerprint: all that planning sees of them."""
