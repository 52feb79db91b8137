"""Files that options of several commands name; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.errors import ResultsError
from harness.records import write_whole
from harness.report.sections import Section, as_markdown


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
