"""What Parquet and WebDataset shards have in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.dataset import ImageDataset, Row
from harness.errors import DatasetError
from harness.formats import imagenet
from harness.formats.folders import dataset_of
from harness.formats.index import indexed
from harness.formats.sources import FileSource, Source


def read_shards(
    path: Path,
    shards: Sequence[Path],
    kind: str,
    source: Callable[..., Source],
    find: Callable[[FileSource], list[tuple[Any, ...]]],
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
