"""Values of options that the gate and the commands share; no torch."""

from __future__ import annotations

import argparse
from pathlib import Path


def positive(text: str) -> int:
    """Return a whole number above 0."""
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, found {text!r}")
    return number


def positives(text: str) -> tuple[int, ...]:
    """Return whole numbers above 0, comma-separated, each once."""
    return tuple(dict.fromkeys(positive(part.strip()) for part in text.split(",")))


def folder(text: str) -> Path:
    """Return a folder, with ``~`` as the user's home."""
    if not text:
        raise argparse.ArgumentTypeError("expected a folder, found nothing")
    return Path(text).expanduser()
