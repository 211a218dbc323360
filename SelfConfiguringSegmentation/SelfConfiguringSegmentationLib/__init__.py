"""What the Slicer module is made of; imports nothing, so that Slicer starts without delay."""
