"""A dataset and models that need no download: rendered images, and seeded weights with shipped heads."""
