"""Values of options that the gate and the commands share; no torch."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from harness.data.files import write_whole
from harness.errors import ResultsError
from harness.reporting.section import Section, as_markdown


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


def write_text(option: str, path: Path, text: str) -> None:
    """Write the file that an option names, whole or not at all.

    Raises:
        ResultsError: it cannot be written.
    """
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise ResultsError(f"{option} {path}: cannot be written: {error.strerror or error}") from error


def write_markdown(path: Path, sections: Sequence[Section]) -> None:
    """Write the file of ``--markdown``.

    Raises:
        ResultsError: it cannot be written.
    """
    write_text("--markdown", path, "\n".join(as_markdown(sections)) + "\n")
