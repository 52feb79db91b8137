"""Lists archives, and reads the datasets that are made of shards, as Parquet's and WebDataset's.

Listing 50,000 members takes seconds, so lists are kept in an index, which is used only for the same archive, size and
time; one that is damaged or of another version is replaced.
"""

from __future__ import annotations

import contextlib
import filecmp
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

import platformdirs

from harness.dataset import ImageDataset, Row
from harness.errors import DatasetError
from harness.formats import imagenet
from harness.formats.folders import dataset_of, is_system
from harness.formats.sources import FileSource, Source
from harness.records.run_folder import write_whole

Rows = Sequence[Sequence[Any]]

# Version of the index: raise it with every change of what is kept, or of what a reader's entries mean.
FORMAT = 4
_NUMBERED = re.compile(r"(.*?)([0-9]{1,9})[-_]of[-_]([0-9]{1,9})(?:[^0-9].*)?")
_SPLITS = {"val": {"val", "valid", "validation"}, "train": {"train", "training"}, "test": {"test"}}


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

    ``find`` lists a shard: each image's name, class index, its path in the shard, and the arguments of its source after
    the file. ``expects`` says what the shards should hold. The default name is that of ``path``.
    """
    chosen = choose_validation(shards)
    if not path.is_file():
        _require_all_shards(chosen)
    single = _NUMBERED.fullmatch(path.name) if path.is_file() else None
    found = []
    for shard in chosen:
        file = FileSource.of(shard)
        for number, (image, target, inside, *where) in enumerate(indexed(file, kind.lower(), find)):
            found.append((inside, Row(image, source(file, *where), target), f"{shard.stem}/{number:08}"))
    kept, ignored = choose_members(path, [inside for inside, _, _ in found])
    images = [found[index][1:] for index in kept]
    if not images:
        raise DatasetError(f"{path}: expected {expects}, found none in {len(shards)} {kind} shards")
    rows = [row for row, _ in images]
    if len({row.id for row in rows}) < len(rows):  # such as sample000000 in each shard
        rows = [row._replace(id=f"{shard}/{row.id.rpartition('/')[2]}") for row, shard in images]
    dataset = dataset_of(rows, path, f"{kind} shards", name=name, ignored=ignored)
    return replace(dataset, caveat=f"it is one shard of {int(single[3])}") if single and int(single[3]) > 1 else dataset


def _require_all_shards(shards: Sequence[Path]) -> None:
    """Require all shards of the number that their names tell, as ``-00000-of-00014`` does, and none that is a copy."""
    numbers: defaultdict[tuple[str, int], set[int]] = defaultdict(set)
    sizes: defaultdict[int, list[Path]] = defaultdict(list)
    for shard in shards:
        if named := _NUMBERED.fullmatch(shard.name):
            numbers[named[1], int(named[3])].add(int(named[2]))
        for other in sizes[size := shard.stat().st_size]:
            if filecmp.cmp(shard, other, shallow=False):
                raise DatasetError(f"{shard} is a copy of {other}; delete one of them")
        sizes[size].append(shard)
    for (prefix, total), there in numbers.items():
        first = 1 if total in there else 0
        # A loop over the total would take for ever where a name says that there are a thousand million.
        if len(there) != total or not all(first <= number < first + total for number in there):
            missing = next(number for number in count(first) if number not in there)
            raise DatasetError(
                f"{shards[0].absolute().parent}: expected {total:,} shards, as the names {prefix}*-of-* say, found "
                f"{len(there):,}, and no number {missing}; download it"
            )


def choose_members(path: Path, members: Sequence[str]) -> tuple[list[int], list[str]]:
    """Return the indices of the members of an archive that are the validation set's, and the folders left out."""
    splits, ignored = defaultdict(list), set()
    for index, member in enumerate(members):
        split, top = _split_of(member.rpartition("/")[0])
        if split == "system":
            ignored.add(top)
        else:
            splits[split].append((index, top))
    others = splits["train"] + splits["test"]
    if others and not splits["val"]:
        raise DatasetError(
            f"{path}: expected images of the validation set, found only those of another split, such as in "
            f"{others[0][1]!r}; point --imagenet at the validation set"
        )
    ignored |= {top for _, top in others}
    return sorted(index for index, _ in splits["val"] + splits[""]), sorted(ignored)


@lru_cache(maxsize=4096)  # folders are few, members are many
def _split_of(folder: str) -> tuple[str, str]:
    """Return the split that a folder's path names, ``system`` for a system's folder, and the path up to there."""
    split = top = path = ""
    for part in folder.split("/"):
        path += f"{part}/"
        if is_system(part):
            return "system", path
        words = set(re.split(r"[^a-z]+", part.lower()))
        named = next((name for name, spelled in _SPLITS.items() if words & spelled), "")
        if named and not split:
            split, top = named, path
    return split, top


def choose_validation(shards: Sequence[Path]) -> list[Path]:
    """Return the shards that are named as a validation set's, or all if their names do not say."""
    words = {shard: set(re.split(r"[^a-z]+", shard.name.lower())) for shard in shards}
    if validation := [shard for shard in shards if words[shard] & _SPLITS["val"]]:
        return validation
    if others := [shard for shard in shards if words[shard] & (_SPLITS["train"] | _SPLITS["test"])]:
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
