"""Tests of harness.formats.parquet and of the source that it makes."""

from __future__ import annotations

import importlib.util
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from harness.errors import DatasetError
from harness.formats import sources as sources_module
from harness.formats.parquet import read
from harness.formats.sources import FileSource, ParquetSource
from tests.archives import write_parquet

pyarrow = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
parquet = pytest.importorskip("pyarrow.parquet", reason="the extra parquet is not installed")

ONE, TWO, THREE = (f"ILSVRC2012_val_{number:08}.JPEG" for number in (1, 2, 3))
ROWS = [
    (b"three", "ILSVRC2012_val_00000003_n02105855.JPEG", 230),
    (b"one", "ILSVRC2012_val_00000001_n01751748.JPEG", 65),
    (b"two", "data/ILSVRC2012_val_00000002.jpeg", 970),
]


def error_of(path: Path) -> str:
    """Return the error's message."""
    with pytest.raises(DatasetError) as raised:
        read(path)
    return str(raised.value)


def write_table(path: Path, **columns: Any) -> Path:
    """Write any columns."""
    parquet.write_table(pyarrow.table(columns), path)
    return path


@pytest.mark.parametrize("compression", ["snappy", "none"])
@pytest.mark.parametrize("rows_per_group", [1, 2, 10])
def test_rows_are_images(tmp_path: Path, compression: str, rows_per_group: int) -> None:
    """Ids without the appended wnid, labels and bytes come out of every row group, also in another process."""
    path = tmp_path / "validation-00000-of-00001.parquet"
    write_parquet(path, ROWS, rows_per_group=rows_per_group, compression=compression)

    dataset = read(path)

    assert dataset is not None
    assert (dataset.ids, dataset.targets.tolist()) == ((ONE, TWO, THREE), [65, 970, 230])
    sources = pickle.loads(pickle.dumps(dataset.sources))
    assert [source.read() for source in sources] == [b"one", b"two", b"three"]
    assert (dataset.name, dataset.format) == ("validation-00000-of-00001", "Parquet shards")


@pytest.mark.parametrize("given", ["mine", "mine/data"])
def test_shards_of_the_validation_set_are_read(tmp_path: Path, given: str) -> None:
    """All of them, in the folder or in its data/, and none of another split."""
    for name, row in zip(["train-0", "validation-0", "validation-1", "test-0"], [*ROWS, ROWS[0]], strict=True):
        write_parquet(tmp_path / "mine" / "data" / f"{name}.parquet", [row])

    dataset = read(tmp_path / given)

    assert dataset is not None
    assert (dataset.ids, dataset.targets.tolist(), dataset.name) == ((ONE, TWO), [65, 970], "mine")


@pytest.mark.parametrize("name", ["train-00000-of-00294", "test-00000-of-00028"])
def test_shards_of_another_split_are_errors(tmp_path: Path, name: str) -> None:
    """Neither a folder of them nor one of them is a validation set."""
    path = write_parquet(tmp_path / f"{name}.parquet", ROWS)

    assert error_of(tmp_path) == error_of(path)
    assert "expected shards of the validation set" in error_of(path)


def test_an_appended_wnid_is_that_of_the_label(tmp_path: Path) -> None:
    """As Hugging Face appends it, whatever the name before it."""
    path = write_parquet(tmp_path / "val.parquet", [(b"cat", "cat_n01440764.JPEG", 0), (b"dog", "dog_n01440764", 1)])

    assert error_of(path) == (
        f"{path}: dog_n01440764 (row group 0, row 1): its name says n01440764, but its label 1 is n01443537; the image "
        "was renamed, or the labels are in another order than ILSVRC2012's"
    )


def test_rows_without_names_are_called_by_their_place(tmp_path: Path) -> None:
    """Without paths the shard's name and the row's number are the id."""
    write_parquet(tmp_path / "val-0.parquet", [(b"a", None, 5), (b"b", None, 3), (b"c", None, 4)])

    dataset = read(tmp_path)

    assert dataset is not None
    assert dataset.ids == ("val-0:00000000", "val-0:00000001", "val-0:00000002")
    assert dataset.targets.tolist() == [5, 3, 4]


def test_a_column_without_paths_is_read(tmp_path: Path) -> None:
    """The path may be missing from the column as well."""
    image = pyarrow.array([{"bytes": b"a"}], pyarrow.struct([("bytes", pyarrow.binary())]))
    write_table(tmp_path / "val.parquet", image=image, label=[7])

    dataset = read(tmp_path)

    assert dataset is not None
    assert (dataset.ids, dataset.targets.tolist(), dataset.sources[0].read()) == (("val:00000000",), [7], b"a")


def test_a_listing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time no shard is opened."""
    path = write_parquet(tmp_path / "val.parquet", ROWS)
    first = read(path)
    monkeypatch.delattr(parquet, "ParquetFile")

    second = read(path)

    assert first is not None
    assert second is not None
    assert (first.ids, first.sources, first.digest) == (second.ids, second.sources, second.digest)


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says what to install."""
    path = write_parquet(tmp_path / "val.parquet", ROWS)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    assert error_of(path) == (f"{path}: Parquet needs pyarrow, which is not installed: pip install -e '.[parquet]'")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((b"", "a.JPEG", 1000), "row 3: expected a class index from 0 to 999, found 1000"),
        ((b"", "a.JPEG", None), "row 3: expected a class index from 0 to 999, found None"),
        (
            (b"", "a.JPEG", -1),
            "row 3: expected a class index from 0 to 999, found -1; test sets have no published labels",
        ),
    ],
)
def test_a_row_that_does_not_serve_is_an_error(
    tmp_path: Path, row: tuple[bytes, str | None, int | None], message: str
) -> None:
    """The sentence names the shard, and the row by its number in the whole shard."""
    path = write_parquet(tmp_path / "val.parquet", [*ROWS, row])

    assert error_of(path) == f"{path}: {message}"


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"pixel": [1]}, "pixel int64"),
        ({"image": [b"a"], "label": [1]}, "image binary, label int64"),
        ({"image": [{"bytes": b"a"}], "label": ["fox"]}, "image struct<bytes: binary>, label string"),
        ({"image": [{"bytes": "a"}], "label": [1]}, "image struct<bytes: string>, label int64"),
        ({"image": [{"path": "a"}], "label": [1]}, "image struct<path: string>, label int64"),
        (
            {"image": [{"bytes": b"a", "path": 1}], "label": [1]},
            "image struct<bytes: binary, path: int64>, label int64",
        ),
        ({"image": [{"bytes": b"a"}]}, "image struct<bytes: binary>"),
    ],
)
def test_other_columns_are_errors(tmp_path: Path, columns: dict[str, list[Any]], found: str) -> None:
    """The sentence names the columns that are expected and those that are there."""
    path = write_table(tmp_path / "val.parquet", **columns)

    assert error_of(path) == (
        f"{path}: expected the columns image struct<bytes: binary, path: string> and label int64, found {found}"
    )


@pytest.mark.parametrize("damage", ["empty", "cut", "other", "pages", "names", "columns"])
def test_a_damaged_shard_is_an_error(tmp_path: Path, damage: str) -> None:
    """The sentence names the file."""
    path = write_parquet(tmp_path / "val.parquet", ROWS, compression="none")
    right = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "cut": right[: len(right) // 2],
            "other": b"no table" * 100,
            "pages": b"PAR1" + b"\xff" * (len(right) // 2) + right[4 + len(right) // 2 :],
            "names": right.replace(b"ILSVRC2012", b"ILSVRC201\xff"),
            "columns": right.replace(b"label", b"\xffabel"),
        }[damage]
    )

    message = error_of(path)

    assert message.startswith(f"{path} cannot be read as Parquet: ")
    assert message.endswith("; download it again")


def test_a_shard_without_rows_is_an_error(tmp_path: Path) -> None:
    """A table of nothing is no dataset."""
    path = write_parquet(tmp_path / "val.parquet", [])

    assert error_of(path) == f"{path}: expected rows with images, found none in 1 Parquet shards"


def test_a_shard_that_changed_is_not_read(tmp_path: Path) -> None:
    """Other bytes must not pass for those that were listed."""
    dataset = read(write_parquet(tmp_path / "val.parquet", ROWS))
    os.utime(tmp_path / "val.parquet", ns=(1, 1))

    assert dataset is not None
    with pytest.raises(OSError, match="it has changed since the dataset was opened"):
        dataset.sources[0].read()


def test_a_row_without_bytes_cannot_be_read(tmp_path: Path) -> None:
    """Hugging Face's tables may refer to files instead of holding them."""
    image = pyarrow.array(
        [{"bytes": None, "path": "a.JPEG"}], pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    )
    dataset = read(write_table(tmp_path / "val.parquet", image=image, label=[0]))

    assert dataset is not None
    with pytest.raises(OSError, match="the row holds no bytes"):
        dataset.sources[0].read()


@pytest.mark.parametrize(
    ("damage", "message"), [("columns", "codec can't decode"), ("pages", "deserialize|Unexpected")]
)
def test_a_damaged_shard_cannot_be_read(tmp_path: Path, damage: str, message: str) -> None:
    """A file whose size and time stayed as they were is an error of reading, not a traceback."""
    path = write_parquet(tmp_path / "val.parquet", ROWS, rows_per_group=10)
    dataset = read(path)
    found = path.stat()
    right = path.read_bytes()
    middle = 4 + len(right) // 2
    broken = {"columns": right.replace(b"bytes", b"\xffytes"), "pages": b"PAR1".ljust(middle, b"\xff") + right[middle:]}
    path.write_bytes(broken[damage])
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    sources_module._row_group.cache_clear()

    assert dataset is not None
    with pytest.raises(OSError, match=message):
        dataset.sources[0].read()


def test_a_row_behind_the_last_cannot_be_read(tmp_path: Path) -> None:
    """So is a row group that has fewer rows than were listed."""
    path = write_parquet(tmp_path / "val.parquet", ROWS, rows_per_group=2)

    with pytest.raises(OSError, match="row group 1 ends after 1 rows"):
        ParquetSource(FileSource.of(path), 1, 1, "a").read()
