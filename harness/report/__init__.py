"""Runs as tables for a terminal, as Markdown, and as a page."""
