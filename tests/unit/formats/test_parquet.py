"""Tests of harness.formats.parquet and of the source that it makes."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.dataset import open_dataset
from harness.formats.sources import FileSource, ParquetSource
from tests.archives import write_parquet
from tests.unit.formats.conftest import ONE, THREE, TWO, error_of

pyarrow = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
parquet = pytest.importorskip("pyarrow.parquet", reason="the extra parquet is not installed")

ROWS = [
    (b"three", "ILSVRC2012_val_00000003_n02105855.JPEG", 230),
    (b"one", "ILSVRC2012_val_00000001_n01751748.JPEG", 65),
    (b"two", "data/ILSVRC2012_val_00000002.jpeg", 970),
]


def write_table(path: Path, *columns: tuple[str, list[Any]]) -> Path:
    """Write any columns."""
    names, values = zip(*columns, strict=True)
    parquet.write_table(pyarrow.Table.from_arrays([pyarrow.array(each) for each in values], names), path)
    return path


@pytest.mark.parametrize("rows_per_group", [1, 2, 10])
@pytest.mark.parametrize(
    ("given", "name"), [("mine", "mine"), ("mine/data", "mine"), ("mine/data/validation-0.parquet", "validation-0")]
)
def test_rows_are_images(tmp_path: Path, rows_per_group: int, given: str, name: str) -> None:
    """Ids without the appended wnid, labels and bytes, out of every row group of a shard in a folder or its data/."""
    write_parquet(tmp_path / "mine/data/validation-0.parquet", ROWS, rows_per_group=rows_per_group)
    (tmp_path / "mine/data/val.parquet").mkdir()

    dataset = open_dataset(tmp_path / given)

    assert (dataset.ids, dataset.targets.tolist()) == ((ONE, TWO, THREE), [65, 970, 230])
    assert [source.read() for source in dataset.sources] == [b"one", b"two", b"three"]
    assert (dataset.name, dataset.format) == (name, "Parquet shards")


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        ([None, None], ("val-0:00000000", "val-0:00000001")),
        (["", "a.JPEG"], ("a.JPEG", "val-0:00000000")),
        (["a/x.JPEG", "a/x.JPEG"], ("val-0/00000000/x.JPEG", "val-0/00000001/x.JPEG")),
    ],
)
def test_rows_without_names_of_their_own_are_called_by_their_position(
    tmp_path: Path, names: list[str | None], ids: tuple[str, ...]
) -> None:
    """Missing, empty and equal paths are no reason to reject a table."""
    write_parquet(tmp_path / "val-0.parquet", [(b"%d" % row, name, row) for row, name in enumerate(names)])

    dataset = open_dataset(tmp_path)

    assert dataset.ids == ids
    assert [source.read() for source in dataset.sources] == [b"%d" % target for target in dataset.targets]
    assert sorted(dataset.targets) == list(range(len(names)))


def test_a_column_without_paths_is_read(tmp_path: Path) -> None:
    """The path may be missing from the column as well."""
    dataset = open_dataset(write_table(tmp_path / "val.parquet", ("image", [{"bytes": b"a"}]), ("label", [7])))

    assert (dataset.ids, dataset.targets.tolist(), dataset.sources[0].read()) == (("val:00000000",), [7], b"a")


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says what to install."""
    path = write_parquet(tmp_path / "val.parquet", ROWS)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    assert error_of(path) == "PATH: Parquet needs pyarrow, which is not installed: pip install -e '.[parquet]'"


INDEX = "PATH: row 3: expected a class index from 0 to 999, found"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "PATH: expected rows with images, found none in 1 Parquet shards"),
        ([*ROWS, (b"", "a.JPEG", 1000)], f"{INDEX} 1000"),
        ([*ROWS, (b"", "a.JPEG", None)], f"{INDEX} None"),
        ([*ROWS, (b"", "a.JPEG", -1)], f"{INDEX} -1; test sets have no published labels"),
        (
            [*ROWS, (b"", "dog_n01440764", 1)],  # appended as by Hugging Face, whatever the name before it
            "PATH: dog_n01440764 (row group 1, row 1): its name says n01440764, but its label 1 is n01443537; the "
            "image was renamed, or the labels are in another order than ILSVRC2012's",
        ),
    ],
)
def test_rows_that_do_not_serve_are_an_error(
    tmp_path: Path, rows: list[tuple[bytes, str, int | None]], message: str
) -> None:
    """The sentence names the shard, and a row by its number in the whole shard."""
    assert error_of(write_parquet(tmp_path / "val.parquet", rows)) == message


ENCODED, LABEL = ("image", [{"bytes": b"a"}]), ("label", [1])


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ([ENCODED], "image struct<bytes: binary>"),
        ([ENCODED, ("label", ["fox"])], "image struct<bytes: binary>, label string"),
        ([ENCODED, LABEL, LABEL], "image struct<bytes: binary>, label int64, label int64"),
        ([("image", [b"a"]), LABEL], "image binary, label int64"),
        ([("image", [{"bytes": "a"}]), LABEL], "image struct<bytes: string>, label int64"),
        ([("image", [{"path": "a"}]), LABEL], "image struct<path: string>, label int64"),
        ([("image", [{"bytes": b"", "path": 1}]), LABEL], "image struct<bytes: binary, path: int64>, label int64"),
    ],
)
def test_other_columns_are_errors(tmp_path: Path, columns: list[tuple[str, list[Any]]], found: str) -> None:
    """The sentence names the columns that are expected and those that are there."""
    assert error_of(write_table(tmp_path / "val.parquet", *columns)) == (
        f"PATH: expected the columns image struct<bytes: binary, path: string> and label int64, found {found}"
    )


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda right: right[: len(right) // 2],
    "pages": lambda right: b"PAR1".ljust(len(right) // 2, b"\xff") + right[len(right) // 2 :],
    "names": lambda right: right.replace(b"ILSVRC2012", b"ILSVRC201\xff"),
    "columns": lambda right: right.replace(b"label", b"\xffabel").replace(b"bytes", b"\xffytes"),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_a_damaged_shard_is_an_error(tmp_path: Path, damage: str) -> None:
    """The sentence names the file."""
    path = write_parquet(tmp_path / "val.parquet", ROWS, compression="none")
    path.write_bytes(BROKEN[damage](path.read_bytes()))

    message = error_of(path)

    assert message.startswith("PATH cannot be read as Parquet: ")
    assert message.endswith("; download it again")


@pytest.mark.parametrize(
    ("damage", "message"), [("columns", "codec can't decode"), ("pages", "deserialize|Unexpected")]
)
def test_a_damaged_shard_cannot_be_read(tmp_path: Path, damage: str, message: str) -> None:
    """A file whose size and time stayed as they were is an error of reading, not a traceback."""
    path = write_parquet(tmp_path / "val.parquet", ROWS, rows_per_group=10)
    dataset = open_dataset(path)
    found = path.stat()
    path.write_bytes(BROKEN[damage](path.read_bytes()))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))

    with pytest.raises(OSError, match=message):
        dataset.sources[0].read()


def test_a_row_that_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    """Hugging Face's tables may refer to files instead of holding them; a row group may have fewer rows than listed."""
    path = write_parquet(tmp_path / "val.parquet", [(None, "a.JPEG", 0), *ROWS])  # type: ignore[list-item]

    with pytest.raises(OSError, match="the row holds no bytes"):
        open_dataset(path).sources[-1].read()
    with pytest.raises(OSError, match="row group 1 ends after 2 rows"):
        ParquetSource(FileSource.of(path), 1, 2, "a").read()
