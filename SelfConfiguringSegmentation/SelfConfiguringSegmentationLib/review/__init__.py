"""The page on which people look through segmentations, correct them and decide."""
