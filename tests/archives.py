"""Archives for tests, made when they are needed."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest


def tar_header(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    """Return a member of an archive that is only a header."""
    header = tarfile.TarInfo(name)
    header.type = kind
    for field, value in fields.items():
        setattr(header, field, value)
    return header


def write_tar(path: Path, members: Mapping[str, bytes], *more: tarfile.TarInfo, **options: Any) -> Path:
    """Write regular files, then members that are only a header, and the folders that ``path`` needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, **{"mode": "w:", **options}) as archive:
        for name, data in members.items():
            archive.addfile(tar_header(name, size=len(data)), io.BytesIO(data))
        for header in more:
            archive.addfile(header)
    return path


def write_parquet(
    path: Path,
    rows: Sequence[tuple[bytes, str | None, int | None]],
    *,
    rows_per_group: int = 2,
    compression: str = "snappy",
) -> Path:
    """Write rows of encoded image, path and label as Hugging Face's datasets do."""
    pyarrow = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    table = pyarrow.table(
        {
            "image": pyarrow.array([{"bytes": data, "path": name} for data, name, _ in rows], image),
            "label": pyarrow.array([label for _, _, label in rows], pyarrow.int64()),
        }
    )
    parquet.write_table(table, path, row_group_size=rows_per_group, compression=compression)
    return path


def write_files(root: Path, *names: str, data: bytes | None = None) -> Path:
    """Write small files below ``root``, each with its own name as its bytes if ``data`` is not given."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode() if data is None else data)
    return root
