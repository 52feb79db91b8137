"""Tests of harness.formats.webdataset."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from harness.errors import DatasetError
from harness.formats import tar, webdataset
from tests.archives import write_tar

ONE, TWO = "ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000002.JPEG"


def test_labels_lie_beside_the_images(tmp_path: Path) -> None:
    """A key's .cls or .json is its label, and the JSON's filename its id, in any order of the members."""
    first = {"k1.cls": b"65\n", "k1.jpg": b"one", "k1.json": b'{"filename": "val/%s", "label": 65}' % ONE.encode()}
    second = {"ILSVRC2012_val_00000002.JPEG": b"two", "ILSVRC2012_val_00000002.json": b'{"cls": 970}', "x/c.png": b"c"}
    write_tar(tmp_path / "mine" / "0.tar", first)
    write_tar(tmp_path / "mine" / "1.tar", {**second, "x/c.cls": b"3", "x/c.txt": b"a caption", "._k.jpg": b""})

    dataset = webdataset.read(tmp_path / "mine")

    assert dataset is not None
    assert list(zip(dataset.ids, dataset.targets.tolist(), strict=True)) == [(ONE, 65), (TWO, 970), ("c.png", 3)]
    assert [source.read() for source in dataset.sources] == [b"one", b"two", b"c"]
    assert (dataset.name, dataset.format) == ("mine", "WebDataset shards")


def test_one_shard_is_a_split(tmp_path: Path) -> None:
    """A file is called by its stem."""
    path = write_tar(tmp_path / "some.tar", {"a.jpeg": b"a", "a.cls": b"0"})

    dataset = webdataset.read(path)

    assert dataset is not None
    assert (dataset.ids, dataset.name) == (("a.jpeg",), "some")


def test_only_shards_of_the_validation_set_are_read(tmp_path: Path) -> None:
    """Where names tell, the training set's shards are left alone."""
    write_tar(tmp_path / "imagenet1k-train-0000.tar", {"t.jpg": b"t", "t.cls": b"0"})
    write_tar(tmp_path / "imagenet1k-validation-00.tar", {"v.jpg": b"v", "v.cls": b"0"})

    dataset = webdataset.read(tmp_path)

    assert dataset is not None
    assert dataset.ids == ("v.jpg",)


def test_labels_are_kept_in_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time no label is read."""
    path = write_tar(tmp_path / "some.tar", {"a.jpeg": b"a", "a.cls": b"7"})
    first = webdataset.read(path)
    monkeypatch.delattr("harness.formats.webdataset._read")
    monkeypatch.delattr(tar, "tarfile")

    second = webdataset.read(path)

    assert first is not None
    assert second is not None
    assert (first.ids, first.sources, first.digest) == (second.ids, second.sources, second.digest)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"k.jpg": b""}, "x.tar: key 'k' has an image but no .cls or .json; recreate the shard"),
        ({"k.cls": b"0"}, "x.tar: key 'k' has a label but no image; recreate the shard"),
        (
            {"k.jpg": b"", "k.png": b"", "k.cls": b"0"},
            "x.tar: 'k.jpg' and 'k.png' have the same key; recreate the shard",
        ),
        ({"k.jpg": b"", "k.cls": b"fox"}, "x.tar: k.cls: expected a class index as text, found 'fox'"),
        ({"k.jpg": b"", "k.cls": b"\xff\xfe"}, "x.tar: k.cls: expected a class index as text, found '\ufffd\ufffd'"),
        ({"k.jpg": b"", "k.cls": b""}, "x.tar: k.cls: expected a class index as text, found ''"),
        ({"k.jpg": b"", "k.cls": b"1" * 5000}, f"x.tar: k.cls: expected a class index as text, found '{'1' * 40}'"),
        (
            {"k.jpg": b"", "k.cls": b"-1"},
            "x.tar: k.cls: expected a class index from 0 to 999, found -1; test sets have no published labels",
        ),
        ({"k.jpg": b"", "k.cls": b"1000"}, "x.tar: k.cls: expected a class index from 0 to 999, found 1000"),
        ({"k.jpg": b"", "k.cls": b" " * 2**21}, "x.tar: k.cls: expected a label, found 2,097,152 bytes"),
        ({"k.jpg": b"", "k.json": b"[1]"}, "x.tar: k.json: expected a JSON object, found list"),
        ({"k.jpg": b"", "k.json": b"{}"}, "x.tar: k.json: expected a field 'label' or 'cls', found neither"),
        (
            {"k.jpg": b"", "k.json": b'{"label": "65"}'},
            "x.tar: k.json: expected a class index from 0 to 999, found '65'",
        ),
        (
            {"k.jpg": b"", "k.json": b'{"label": true}'},
            "x.tar: k.json: expected a class index from 0 to 999, found True",
        ),
        (
            {"k.jpg": b"", "k.json": b'{"label": 1, "filename": 5}'},
            "x.tar: k.json: expected the image's file name as 'filename', found 5",
        ),
        (
            {"k.jpg": b"", "k.cls": b"1", "k.json": b'{"label": 2}'},
            "x.tar: key 'k' has labels that differ: [1, 2]; recreate the shard",
        ),
    ],
)
def test_a_shard_that_does_not_serve_is_an_error(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    """The sentence names the shard, and the key or member."""
    path = write_tar(tmp_path / "x.tar", {"good.jpg": b"", "good.cls": b"0", **members})

    with pytest.raises(DatasetError) as raised:
        webdataset.read(path)

    assert str(raised.value) == f"{tmp_path}/{message}"


@pytest.mark.parametrize("data", [b"\xff", b"{", b"[" * 100_000, b'{"label": ' + b"1" * 5000 + b"}"])
def test_what_is_no_json_is_an_error(tmp_path: Path, data: bytes) -> None:
    """Bytes that are no text, half an object, and what is made to exhaust the parser are named."""
    path = write_tar(tmp_path / "x.tar", {"k.jpg": b"", "k.json": data})

    with pytest.raises(DatasetError, match=r"x.tar: k.json(: expected a class index| cannot be read as JSON: .)"):
        webdataset.read(path)


def test_a_copy_of_a_shard_is_an_error(tmp_path: Path) -> None:
    """Images are not counted twice."""
    for name in ("0.tar", "1.tar"):
        write_tar(tmp_path / name, {"k.jpg": b"", "k.cls": b"0"})

    with pytest.raises(DatasetError, match=r"1.tar is a copy of .*0.tar; delete one of them"):
        webdataset.read(tmp_path)


def test_keys_that_repeat_are_distinguished_by_shard_and_row(tmp_path: Path) -> None:
    """Shards may each begin at the same key."""
    for name in ("0", "1"):
        write_tar(tmp_path / f"{name}.tar", {"sample000000.jpg": name.encode(), "sample000000.cls": b"7"})

    dataset = webdataset.read(tmp_path)

    assert dataset is not None
    assert dataset.ids == ("0/00000000/sample000000.jpg", "1/00000000/sample000000.jpg")
    assert [source.read() for source in dataset.sources] == [b"0", b"1"]


def test_archives_without_images_are_errors(tmp_path: Path) -> None:
    """Archives of something else are no shards."""
    write_tar(tmp_path / "0.tar", {"a.txt": b""})
    write_tar(tmp_path / "1.tar", {"b.txt": b""})

    with pytest.raises(DatasetError, match=r": expected KEY.jpg with KEY.cls or KEY.json, found none in 2 WebD"):
        webdataset.read(tmp_path)


def test_a_compressed_shard_is_an_error(tmp_path: Path) -> None:
    """It is named with the program that unpacks it."""
    path = write_tar(tmp_path / "x.tar", {"k.jpg": b"", "k.json": json.dumps({"label": 0}).encode()})
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()

    with pytest.raises(DatasetError, match=r"x.tar.gz: expected an uncompressed archive, found gzip"):
        webdataset.read(tmp_path)
