"""Lists archives, and reads the datasets that are made of shards, as Parquet's and WebDataset's.

Listing 50,000 members takes seconds, so lists are kept in an index, which is used only for the same archive, size and
time; one that is damaged or of another version is replaced.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import platformdirs

from harness.dataset import ImageDataset, Row
from harness.errors import DatasetError
from harness.formats import imagenet
from harness.formats.folders import dataset_of
from harness.formats.sources import FileSource, Source
from harness.records.run_folder import write_whole

Rows = Sequence[Sequence[Any]]

# Version of the index: raise it with every change of what is kept, or of what a reader's entries mean.
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


def read_shards(
    path: Path,
    shards: Sequence[Path],
    kind: str,
    source: Callable[..., Source],
    find: Callable[[FileSource], Rows],
    *,
    expects: str,
    name: str | None = None,
) -> ImageDataset:
    """Read those of the shards at a path that are of the validation set.

    ``find`` lists a shard: each image's name, class index, and the arguments of its source after the file. ``expects``
    says what the shards should hold. The default name is that of ``path``.
    """
    rows = []
    for shard in choose_validation(shards):
        file = FileSource.of(shard)
        for image, target, *where in indexed(file, kind.lower(), find):
            rows.append(Row(image, source(file, *where), target))
    if not rows:
        raise DatasetError(f"{path}: expected {expects}, found none in {len(shards)} {kind} shards")
    return dataset_of(rows, path, f"{kind} shards", name=name)


def choose_validation(shards: Sequence[Path]) -> list[Path]:
    """Return the shards that are named as a validation set's, or all if their names do not say."""
    words = {shard: set(re.split(r"[^a-z]+", shard.name.lower())) for shard in shards}
    if validation := [shard for shard in shards if words[shard] & {"val", "valid", "validation"}]:
        return validation
    if others := [shard for shard in shards if words[shard] & {"train", "training", "test"}]:
        raise DatasetError(
            f"{others[0].absolute().parent}: expected shards of the validation set, such as validation-00000*, found "
            f"only those of another split, such as {others[0].name!r}; download the validation set"
        )
    return list(shards)


def require_class_index(found: object, where: str) -> int:
    """Return ``found``, which must be a class index of ILSVRC2012; else an error begins with ``where``."""
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < len(imagenet.wnids()):
        hint = "; test sets have no published labels" if found == -1 else ""
        raise DatasetError(f"{where}: expected a class index from 0 to 999, found {found!r}{hint}")
    return found
