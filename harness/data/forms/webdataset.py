"""WebDataset's shards: tar archives with ``KEY.jpg`` and ``KEY.cls`` or ``KEY.json`` for each image."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from harness.data import imagenet
from harness.data.forms import devkit
from harness.data.forms.archive import Member, is_archive, list_members
from harness.data.forms.class_folders import ids_of, name_of
from harness.data.forms.index import indexed
from harness.data.forms.shards import choose_validation
from harness.data.source import ArchiveSource, FileSource
from harness.data.split import Row, Split
from harness.errors import SplitError

EXPECTS = "WebDataset shards, .tar files that hold KEY.jpg with KEY.cls or KEY.json"

_IMAGES = ("jpg", "jpeg", "png")
_LABELS = ("cls", "json")
# A label takes a few bytes; more would be something else, or made to fill the memory.
_LABEL_LIMIT = 2**20


class Sample(NamedTuple):
    """An image of a shard with its label.

    Attributes:
        path: what the image is called: its file name as the JSON has it, else the member's path.
        target: class index.
        member: the image's member.
        offset: of the image's first byte in the shard.
        size: bytes.
    """

    path: str
    target: int
    member: str
    offset: int
    size: int


def read_webdataset(where: Path) -> Split | None:
    """Read one shard, or a folder of them.

    Raises:
        SplitError: an image has no label or a label no image, a label is no class index, or a shard is damaged.
    """
    if where.is_dir():
        shards = sorted(path for path in where.iterdir() if is_archive(path) and path.name != devkit.ARCHIVE)
        shards = [path for path in shards if path.suffix == ".tar"] or shards
    else:
        shards = [where] if is_archive(where) else []
    if not shards:
        return None
    found = []
    for shard in choose_validation(shards):
        archive = FileSource.of(shard)
        found += [(archive, sample) for sample in indexed(archive, "webdataset", Sample, _find_samples)]
    if not found:
        raise SplitError(f"{where}: expected KEY.jpg with KEY.cls or KEY.json, found none in {len(shards)} .tar files")
    ids = ids_of([sample.path for _, sample in found])
    return Split.of_rows(
        (
            Row(identity, ArchiveSource(archive, sample.member, sample.offset, sample.size), sample.target)
            for identity, (archive, sample) in zip(ids, found, strict=True)
        ),
        name=name_of(where) if where.is_dir() else where.stem,
        form="WebDataset shards",
        root=where,
        classes=imagenet.wnids(),
    )


def is_shard(members: Iterable[Member]) -> bool:
    """Tell whether an archive with these members holds labels beside its images."""
    return any(_key_and_suffix(member.name)[1] in _LABELS for member in members)


def _find_samples(archive: FileSource) -> list[Sample]:
    parts: defaultdict[str, dict[str, Member]] = defaultdict(dict)
    for member in list_members(archive):
        key, suffix = _key_and_suffix(member.name)
        kind = "image" if suffix in _IMAGES else suffix
        if kind != "image" and kind not in _LABELS:
            continue
        if kind in parts[key]:
            raise SplitError(
                f"{archive}: key {key!r} has two members that are its {kind}: "
                f"{parts[key][kind].name!r} and {member.name!r}; make the shard again"
            )
        parts[key][kind] = member
    with Path(archive.path).open("rb") as file:
        return [_sample(key, members, archive, file) for key, members in parts.items()]


def _key_and_suffix(path: str) -> tuple[str, str]:
    """Split a path at the first dot of its file name, as WebDataset does; a hidden file has no suffix."""
    folder, slash, name = path.rpartition("/")
    key, _, suffix = name.partition(".")
    return (folder + slash + key, suffix.lower()) if key else (path, "")


def _sample(key: str, members: dict[str, Member], archive: FileSource, file: BinaryIO) -> Sample:
    if "image" not in members:
        raise SplitError(f"{archive}: key {key!r} has a label but no image; make the shard again")
    if len(members) == 1:
        raise SplitError(
            f"{archive}: key {key!r} has an image but no label, neither .cls nor .json; make the shard again"
        )
    image = members["image"]
    path, labels = image.name, []
    if "cls" in members:
        labels.append(_parse_cls(_read(members["cls"], archive, file), f"{archive}: {members['cls'].name}"))
    if "json" in members:
        place = f"{archive}: {members['json'].name}"
        fields = _parse_json(_read(members["json"], archive, file), place)
        labels += [_class_index(fields[name], place) for name in ("label", "cls") if name in fields]
        if "filename" in fields:
            if not isinstance(fields["filename"], str) or not fields["filename"].rpartition("/")[2]:
                raise SplitError(f"{place}: expected the image's file name as 'filename', found {fields['filename']!r}")
            path = fields["filename"]
    if not labels:
        raise SplitError(f"{archive}: {members['json'].name}: expected a field 'label' or 'cls', found neither")
    if len(set(labels)) > 1:
        raise SplitError(
            f"{archive}: key {key!r} has labels that contradict each other: {labels}; make the shard again"
        )
    return Sample(path, labels[0], *image)


def _read(member: Member, archive: FileSource, file: BinaryIO) -> bytes:
    if member.size > _LABEL_LIMIT:
        raise SplitError(f"{archive}: {member.name}: expected a label, found {member.size:,} bytes")
    file.seek(member.offset)
    return file.read(member.size)


def _parse_cls(data: bytes, place: str) -> int:
    text = data.decode(errors="replace").strip()
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise SplitError(f"{place}: expected a class index as text, found {text[:40]!r}")
    return _class_index(int(text), place)


def _parse_json(data: bytes, place: str) -> dict[str, object]:
    try:
        fields = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise SplitError(f"{place} cannot be read as JSON: {error}") from None
    if not isinstance(fields, dict):
        raise SplitError(f"{place}: expected a JSON object, found {type(fields).__name__}")
    return fields


def _class_index(found: object, place: str) -> int:
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < len(imagenet.wnids()):
        raise SplitError(f"{place}: expected a class index from 0 to {len(imagenet.wnids()) - 1}, found {found!r}")
    return found
