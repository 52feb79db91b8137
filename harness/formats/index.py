"""A cache of archive listings, since listing 50,000 members takes seconds.

An index is used only for the same archive, size and time; one that is damaged or of another version is replaced.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import platformdirs

from harness.formats.sources import FileSource
from harness.records import write_whole

Rows = Sequence[Sequence[Any]]

# Raise it with every change of what is kept, or of what a reader's entries mean.
FORMAT = 2


def indexed(archive: FileSource, kind: str, find: Callable[[FileSource], Rows]) -> Rows:
    """Return the rows of text and numbers that ``find`` lists in an archive, from its index of this kind if valid."""
    path = str(Path(archive.path).absolute())
    name = hashlib.sha256(f"{kind}\0{path}".encode(errors="surrogateescape")).hexdigest()
    index = platformdirs.user_cache_path("imagenet-gate") / "indexes" / f"{name}.json"
    state = {"format": FORMAT, "kind": kind, "archive": path, "size": archive.size, "modified": archive.modified}
    with contextlib.suppress(OSError, ValueError, RecursionError):
        head, _, body = index.read_bytes().partition(b"\n")
        if head == _head(state, body):
            kept: Rows = json.loads(body)
            return kept
    rows = find(archive)
    # A cache that cannot be written costs time, nothing else.
    with contextlib.suppress(OSError):
        index.parent.mkdir(parents=True, exist_ok=True)
        body = json.dumps(rows, separators=(",", ":")).encode()
        write_whole(index, _head(state, body) + b"\n" + body)
    return rows


def _head(state: dict[str, object], body: bytes) -> bytes:
    return json.dumps({**state, "sha256": hashlib.sha256(body).hexdigest()}).encode()
