"""Hugging Face's Parquet shards: ``data/validation-00000-of-00014.parquet``, with columns ``image`` and ``label``."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from harness.dataset import ImageDataset
from harness.errors import DatasetError
from harness.formats.folders import dataset_name
from harness.formats.listings import read_shards, require_class_index
from harness.formats.sources import FileSource, ParquetSource


def read(path: Path) -> ImageDataset | None:
    """Read one shard, or a folder of them; only names and labels are read, not the images."""
    if not (shards := _find_shards(path)):
        return None
    if importlib.util.find_spec("pyarrow") is None:
        raise DatasetError(f"{shards[0]}: Parquet needs pyarrow, which is not installed: pip install -e '.[parquet]'")
    name = dataset_name(path.parent if path.name == "data" else path)
    return read_shards(path, shards, "Parquet", ParquetSource, _find_rows, expects="rows with images", name=name)


def _find_shards(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path] if path.suffix == ".parquet" else []
    for folder in (path, path / "data"):
        if shards := sorted(file for file in folder.glob("[!.]*.parquet") if not file.is_dir()):
            return shards
    return []


def _find_rows(file: FileSource) -> list[tuple[Any, ...]]:
    """Return each row's name, class index and path, and its row group, index in that and name, for the source."""
    import pyarrow
    from pyarrow import parquet

    entries: list[tuple[Any, ...]] = []
    try:
        with parquet.ParquetFile(file.path) as table:
            _check_columns(table.schema_arrow, file)
            for group in range(table.num_row_groups):
                rows = table.read_row_group(group, columns=["image.path", "label"])
                labels = rows["label"].to_pylist()
                images = rows["image"].to_pylist() if "image" in rows.column_names else [None] * len(labels)
                for row, (image, label) in enumerate(zip(images, labels, strict=True)):
                    target = require_class_index(label, f"{file}: row {len(entries)}")
                    path = "" if image is None else image["path"] or ""
                    name = path.rpartition("/")[2] or f"{Path(file.path).stem}:{len(entries):08}"
                    entries.append((name, target, path, group, row, name))
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())  # some of pyarrow's have several lines
        raise DatasetError(f"{file} cannot be read as Parquet: {reason}; download it again") from None
    return entries


def _check_columns(schema: Any, file: FileSource) -> None:
    from pyarrow import types

    columns = dict(zip(schema.names, schema.types, strict=True))
    label, image = columns.get("label"), columns.get("image")
    parts = {field.name: field.type for field in image} if image is not None and types.is_struct(image) else {}
    encoded, path = parts.get("bytes"), parts.get("path")
    are_images = encoded is not None and (types.is_binary(encoded) or types.is_large_binary(encoded))
    are_named = path is None or types.is_string(path) or types.is_large_string(path)
    are_single = len(columns) == len(schema.names) and (image is None or len(parts) == image.num_fields)
    if label is None or not (types.is_integer(label) and are_images and are_named and are_single):
        found = ", ".join(f"{name} {kind}" for name, kind in zip(schema.names, schema.types, strict=True))
        raise DatasetError(
            f"{file}: expected the columns image struct<bytes: binary, path: string> and label int64, found {found}"
        )
