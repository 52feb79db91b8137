"""Comparing two runs: a library without output."""
