"""What archives hold, kept from one run to the next: listing 50,000 members takes seconds.

An index lies in the user's cache folder and belongs to one archive as it was, with its size and time. One that is
damaged, of another archive or of another version of this module is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import platformdirs

from harness.data.files import write_whole
from harness.data.source import FileSource

# To be raised with every change of what is kept, also of what a reader's entries mean.
FORMAT = 1

Entry = TypeVar("Entry", bound="tuple[object, ...]")


def indexed(
    archive: FileSource, kind: str, entry: Callable[..., Entry], find: Callable[[FileSource], list[Entry]]
) -> list[Entry]:
    """Return what ``find`` finds in an archive, from its index if that is still right.

    Args:
        archive: the archive as it is now.
        kind: what is listed; two kinds of listing of one archive do not meet.
        entry: the named tuple, of text and numbers, that ``find`` returns a list of.
        find: lists the archive.
    """
    path = str(Path(archive.path).absolute())
    name = hashlib.sha256(f"{kind}\0{path}".encode(errors="surrogateescape")).hexdigest()
    index = platformdirs.user_cache_path("imagenet-gate") / "indexes" / f"{name}.json"
    state = {"format": FORMAT, "kind": kind, "archive": path, "size": archive.size, "modified": archive.modified}
    kept = _load(index, state)
    if kept is not None:
        return [entry(*row) for row in kept]
    entries = find(archive)
    # A cache that cannot be written costs time, nothing else.
    with contextlib.suppress(OSError):
        _keep(index, state, entries)
    return entries


def _load(index: Path, state: dict[str, object]) -> list[list[object]] | None:
    try:
        head, _, body = index.read_bytes().partition(b"\n")
        if json.loads(head) != {**state, "sha256": hashlib.sha256(body).hexdigest()}:
            return None
        rows: list[list[object]] = json.loads(body)
    except (OSError, ValueError, RecursionError):
        return None
    return rows


def _keep(index: Path, state: dict[str, object], entries: list[Entry]) -> None:
    body = json.dumps(entries, separators=(",", ":")).encode()
    head = json.dumps({**state, "sha256": hashlib.sha256(body).hexdigest()}).encode()
    index.parent.mkdir(parents=True, exist_ok=True)
    write_whole(index, head + b"\n" + body)
