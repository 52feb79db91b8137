"""Images on disk -> a split -> uint8 crops, decoded once."""
