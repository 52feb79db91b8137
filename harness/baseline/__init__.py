"""Comparison with an earlier run: pairing image by image, the noise floor, and the diagnosis."""
