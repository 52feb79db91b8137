"""The commands of ``imagenet-gate``, one module each: ``add`` declares its options, the rest carries it out.

Here is what several commands share; no torch.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TypeAlias

from harness.errors import ResultsError
from harness.options import available_cores, positive
from harness.records.accuracy_file import default_file
from harness.records.run_folder import write_whole

PYTEST_OPTIONS = "All other options, and everything after --, are passed to pytest."
"""Of ``ab``, ``bisect`` and ``nightly``: ``takes_more`` says so to ``main``, which gives them as ``more``."""
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_dataset(command: argparse.ArgumentParser) -> None:
    """Declare the dataset, and the number of processes that decode it."""
    command.add_argument("dataset", metavar="DATASET", help="folder or archive of the dataset, or 'synthetic'")
    workers = "decoding processes (default: one per available CPU core, %(default)s here)"
    command.add_argument("--workers", metavar="N", type=positive, default=available_cores(), help=workers)


def add_models(command: argparse.ArgumentParser) -> None:
    """Declare the models, and the file that lists them."""
    models = "names, globs or ids of models, comma-separated, or 'all' (default: %(default)s)"
    command.add_argument("--models", metavar="LIST", default="core", help=models)
    expected = "file of expected accuracies (default: %(default)s)"
    command.add_argument("--expected", metavar="FILE", type=Path, default=default_file(Path()), help=expected)


def require_writable(option: str, path: Path) -> None:
    """Raise the ResultsError of ``write_text`` early, before what takes long."""
    if path.exists() and not path.is_file():
        raise ResultsError(f"{option} {path}: cannot be written: something other than a file is there")
    write_text(option, probe := path.with_name(f"{path.name}.probe-{os.getpid()}"), "")
    probe.unlink()


def write_or_print(output: Path | None, text: str) -> None:
    """Write the file that ``--output`` names; without one, print the text."""
    if output is None:
        print(text, end="")
    else:
        write_text("--output", output, text)
        print(f"written: {output}")


def write_text(option: str, path: Path, text: str) -> None:
    """Write the file that an option names, whole or not at all; a ResultsError says why it cannot be written."""
    try:
        write_whole(path, text.encode(errors="backslashreplace"))  # a path may not be UTF-8
    except OSError as error:
        raise ResultsError(f"{option} {path}: cannot be written: {error.strerror or error}") from error
