"""The run that nights are compared with: only a person replaces it.

``pinned/current`` is a link to the run; beside it lies the run that was pinned before.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from filelock import FileLock, Timeout

from harness.errors import ResultsError
from harness.parallel.merge import merge
from harness.records.run_folder import RECORD, NewRun, Run, read_run


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """Hold the lock of a folder of nightly runs; a ResultsError says that another process has it, or why not."""
    if (state / RECORD).exists():
        raise ResultsError(f"{state}: expected a folder of nightly runs, found a run; name another folder")
    try:
        state.mkdir(parents=True, exist_ok=True)
        lock = FileLock(state / "lock").acquire(timeout=0)
    except Timeout:
        raise ResultsError(f"another nightly run is using {state}; wait for it, or name another folder") from None
    except OSError as error:
        raise ResultsError(f"{state} cannot be written: {error.strerror}") from error
    with lock:
        yield


def pinned_run(state: Path) -> Run | None:
    """Return the pinned run of a folder of nights, or None; a RecordError says that it is damaged."""
    link = state / "pinned" / "current"
    return read_run(link.resolve()) if os.path.lexists(link) else None


def pin(run: Run, state: Path) -> Path:
    """Pin a copy of a run in place of the earlier one, which is kept, and return its folder.

    A RecordError or ResultsError says why it cannot be copied; the earlier one is still pinned.
    """
    folder, link = state / "pinned", state / "pinned" / "current"
    new = NewRun(folder / f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}")
    try:
        merge([run], new.staging)  # which reads all of it
        new.finish(run.record)
    finally:
        new.discard()
    assert new.folder is not None
    temporary = folder / f"{new.folder.name}.link"
    temporary.symlink_to(new.folder.name)
    before = link.resolve()
    temporary.replace(link)
    for older in folder.glob("????????T??????Z-????"):
        if older not in (before, new.folder):
            shutil.rmtree(older, ignore_errors=True)
    return new.folder
