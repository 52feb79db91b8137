"""Decoders, and the store of decoded images."""
