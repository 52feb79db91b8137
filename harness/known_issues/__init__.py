"""Failures that are expected: ``--known-issues``."""
