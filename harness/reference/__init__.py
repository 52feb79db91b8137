"""Comparing a case with the same model on another device, in float32 or float64."""
