"""Hugging Face's Parquet shards: ``data/validation-00000-of-00014.parquet``, with columns ``image`` and ``label``."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.data import imagenet
from harness.data.forms.class_folders import ids_of, name_of
from harness.data.forms.index import indexed
from harness.data.forms.shards import choose_validation
from harness.data.source import FileSource, ParquetSource
from harness.data.split import Row, Split
from harness.errors import SplitError

if TYPE_CHECKING:
    from collections.abc import Iterator

EXPECTS = "Parquet shards, such as validation-00000-of-00014.parquet, in it or in data/"

# Hugging Face appends the wnid: ILSVRC2012_val_00000293_n01440764.JPEG.
_APPENDED_WNID = re.compile(r"(.+)_(n[0-9]{8})(\.[A-Za-z]+)?")


class Record(NamedTuple):
    """A row of a shard.

    Attributes:
        group: index of the row group.
        row: index in the row group.
        name: what the image is called.
        target: class index.
    """

    group: int
    row: int
    name: str
    target: int


def read_parquet(where: Path) -> Split | None:
    """Read one shard, or a folder of them; only names and labels are read, not the images.

    Raises:
        SplitError: pyarrow is not installed, a shard is damaged or of another split, or a label is no class index.
    """
    shards = _find_shards(where)
    if not shards:
        return None
    chosen = choose_validation(shards)
    if importlib.util.find_spec("pyarrow") is None:
        raise SplitError(f"{chosen[0]}: Parquet needs pyarrow, which is not installed: pip install -e '.[parquet]'")
    found = []
    for shard in chosen:
        file = FileSource.of(shard)
        found += [(file, record) for record in indexed(file, "parquet", Record, _find_records)]
    if not found:
        raise SplitError(f"{where}: expected images, found no rows in {len(chosen)} Parquet files")
    ids = ids_of([record.name for _, record in found])
    return Split.of_rows(
        (
            Row(identity, ParquetSource(file, record.group, record.row, record.name), record.target)
            for identity, (file, record) in zip(ids, found, strict=True)
        ),
        name=name_of(where.parent if where.name == "data" else where) if where.is_dir() else where.stem,
        form="Parquet shards",
        root=where,
        classes=imagenet.wnids(),
    )


def _find_shards(where: Path) -> list[Path]:
    if not where.is_dir():
        return [where] if where.suffix == ".parquet" and where.is_file() else []
    for folder in (where, where / "data"):
        if shards := sorted(path for path in folder.glob("*.parquet") if path.is_file()):
            return shards
    return []


def _find_records(file: FileSource) -> list[Record]:
    import pyarrow
    from pyarrow import parquet

    records = []
    try:
        with parquet.ParquetFile(file.path) as table:
            _check_columns(table.schema_arrow, file)
            for group in range(table.num_row_groups):
                rows = table.read_row_group(group, columns=["image.path", "label"])
                for row, (path, label) in enumerate(_paths_and_labels(rows)):
                    records.append((group, row, path, label))
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise SplitError(f"{file} cannot be read as Parquet: {error}; download it again") from None
    named = [path is not None for _, _, path, _ in records]
    if any(named) and not all(named):
        raise SplitError(f"{file}: row {named.index(False)} has no image.path, but others have; make the shard again")
    return [
        Record(group, row, *_name_and_target(path, label, number, file))
        for number, (group, row, path, label) in enumerate(records)
    ]


def _check_columns(schema: Any, file: FileSource) -> None:
    from pyarrow import types

    label = schema.field("label").type if "label" in schema.names else None
    image = schema.field("image").type if "image" in schema.names else None
    parts = {field.name: field.type for field in image} if image is not None and types.is_struct(image) else {}
    encoded = parts.get("bytes")
    if (
        label is None
        or not types.is_integer(label)
        or encoded is None
        or not (types.is_binary(encoded) or types.is_large_binary(encoded))
        or not ("path" not in parts or types.is_string(parts["path"]) or types.is_large_string(parts["path"]))
    ):
        found = ", ".join(f"{name} {kind}" for name, kind in zip(schema.names, schema.types, strict=True))
        raise SplitError(
            f"{file}: expected the columns image struct<bytes: binary, path: string> and label int64, found {found}"
        )


def _paths_and_labels(rows: Any) -> Iterator[tuple[str | None, int | None]]:
    labels = rows.column("label").to_pylist()
    if "image" not in rows.column_names:
        return zip([None] * len(labels), labels, strict=True)
    images = rows.column("image").to_pylist()
    return zip([None if image is None else image["path"] for image in images], labels, strict=True)


def _name_and_target(path: str | None, label: int | None, number: int, file: FileSource) -> tuple[str, int]:
    if label is None or not 0 <= label < len(imagenet.wnids()):
        raise SplitError(
            f"{file}: row {number}: expected a label from 0 to {len(imagenet.wnids()) - 1}, found {label!r}"
            + ("; the shard is of a test set, whose labels are not published" if label == -1 else "")
        )
    if path is None:
        return f"{Path(file.path).stem}:{number:08}", label
    name = path.rpartition("/")[2]
    appended = _APPENDED_WNID.fullmatch(name)
    if appended is None:
        return name, label
    if appended[2] != imagenet.wnids()[label]:
        raise SplitError(
            f"{file}: row {number}: {name!r} is of class {appended[2]}, but its label {label} is "
            f"{imagenet.wnids()[label]}: the labels are in another order than ILSVRC2012's"
        )
    return appended[1] + (appended[3] or ""), label
