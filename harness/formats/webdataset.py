"""WebDataset's shards: tar archives with ``KEY.jpg`` and ``KEY.cls`` or ``KEY.json`` for each image."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any, BinaryIO

from harness.dataset import ImageDataset
from harness.errors import DatasetError
from harness.formats import imagenet
from harness.formats.folders import is_system
from harness.formats.listings import read_shards, require_class_index
from harness.formats.sources import ArchiveSource, FileSource
from harness.formats.tar import LABELS, is_archive, list_members, split_key


def read(path: Path) -> ImageDataset | None:
    """Read one shard, or a folder of them."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    archives = [file for file in files if is_archive(file) and file.name != imagenet.DEVKIT]
    if not archives:
        return None
    # Compressed archives cannot be read; they matter only if there is nothing else.
    shards = [file for file in archives if file.suffix == ".tar"] or archives
    expects = "KEY.jpg with KEY.cls or KEY.json"
    return read_shards(path, shards, "WebDataset", ArchiveSource, _find_samples, expects=expects)


def _find_samples(archive: FileSource) -> list[tuple[Any, ...]]:
    """Return each image's name, class index and path, and its member's name, offset and size."""
    left_out: list[tuple[Any, ...]] = []
    parts: defaultdict[str, dict[str, ArchiveSource]] = defaultdict(dict)
    for member in list_members(archive):
        key, suffix = split_key(member.name)
        if any(map(is_system, key.split("/")[:-1])):
            # Listed for its path only, by which it is left out.
            left_out.append((member.name, 0, member.name, member.name, member.offset, member.size))
            continue
        kind = "image" if suffix in ("jpg", "jpeg", "png") else suffix
        if kind != "image" and kind not in LABELS:
            continue
        if (first := parts[key].setdefault(kind, member)) is not member:
            raise DatasetError(f"{archive}: {first.name!r} and {member.name!r} have the same key; recreate the shard")
    with Path(archive.path).open("rb") as file:
        return [_sample(f"{archive}: key {key!r}", members, file) for key, members in parts.items()] + left_out


def _sample(key: str, members: dict[str, ArchiveSource], file: BinaryIO) -> tuple[Any, ...]:
    if "image" not in members:
        raise DatasetError(f"{key} has a label but no image; recreate the shard")
    image, labels = members["image"], []
    folder, _, file_name = image.name.rpartition("/")
    name = image.name
    if len(members) == 1:
        todo = "recreate the shard"
        if re.match(r"n[0-9]{8}_[0-9]+\.", file_name) or Path(image.archive.path).stem in imagenet.class_indices():
            todo = "archives of one class each are the training set's; point --imagenet at the validation set"
        raise DatasetError(f"{key} has an image but no .cls or .json; {todo}")
    if "cls" in members:
        text = _read(members["cls"], file).decode(errors="replace").strip()
        if not re.fullmatch(r"-?[0-9]{1,9}", text):
            raise DatasetError(f"{members['cls']}: expected a class index as text, found {text[:40]!r}")
        labels.append(require_class_index(int(text), str(members["cls"])))
    if "json" in members:
        where, fields = str(members["json"]), _read_json(members["json"], file)
        labels += [require_class_index(fields[field], where) for field in ("label", "cls") if field in fields]
        if not labels:
            raise DatasetError(f"{where}: expected a field 'label' or 'cls', found neither")
        name = fields.get("filename", name)
        if not isinstance(name, str) or not name.rpartition("/")[2]:
            raise DatasetError(f"{where}: expected the image's file name as 'filename', found {name!r}")
    if len(set(labels)) > 1:
        raise DatasetError(f"{key} has labels that differ: {labels}; recreate the shard")
    return name, labels[0], f"{folder}/{name}", image.name, image.offset, image.size


def _read_json(label: ArchiveSource, file: BinaryIO) -> dict[str, Any]:
    try:
        fields = json.loads(_read(label, file).decode())
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{label} cannot be read as JSON: {error}") from None
    if not isinstance(fields, dict):
        raise DatasetError(f"{label}: expected a JSON object, found {type(fields).__name__}")
    return fields


def _read(label: ArchiveSource, file: BinaryIO) -> bytes:
    """Return a label's bytes from the open archive: to open it for each of 50,000 would take a second."""
    if label.size > 2**20:  # a label takes a few bytes; more would be something else, or made to fill the memory
        raise DatasetError(f"{label}: expected a label, found {label.size:,} bytes")
    file.seek(label.offset)
    return file.read(label.size)
