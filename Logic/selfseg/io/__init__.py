"""Everything that touches the disk: images, data set folders, versioned JSON, weights."""
