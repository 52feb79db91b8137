"""Tests of harness.formats.webdataset."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.dataset import open_dataset
from tests.archives import write_tar
from tests.unit.formats.conftest import ONE, TWO, error_of


def test_labels_lie_beside_the_images(tmp_path: Path) -> None:
    """A key's .cls or .json is its label, and the JSON's filename its id; a compressed archive beside is left alone."""
    first = {"k1.cls": b"65\n", "k1.jpg": b"one", "k1.json": b'{"filename": "val/%s", "label": 65}' % ONE.encode()}
    second = {TWO: b"two", TWO.replace("JPEG", "json"): b'{"cls": 970}', "x/c.png": b"c", "x/c.cls": b"3"}
    write_tar(tmp_path / "mine" / "0.tar", first)
    write_tar(tmp_path / "mine" / "1.tar", {**second, "x/c.txt": b"a caption", "._k.jpg": b""})
    write_tar(tmp_path / "mine" / "old.tar.gz", {"t.jpg": b""}, mode="w:gz")

    dataset = open_dataset(tmp_path / "mine")

    assert list(zip(dataset.ids, dataset.targets.tolist(), strict=True)) == [(ONE, 65), (TWO, 970), ("c.png", 3)]
    assert [source.read() for source in dataset.sources] == [b"one", b"two", b"c"]
    assert (dataset.name, dataset.format) == ("mine", "WebDataset shards")


def test_keys_that_repeat_are_distinguished_by_shard_and_row(tmp_path: Path) -> None:
    """Shards may each begin at the same key."""
    for name in ("0", "1"):
        write_tar(tmp_path / f"{name}.tar", {"sample000000.jpg": name.encode(), "sample000000.cls": b"7"})

    dataset = open_dataset(tmp_path)

    assert dataset.ids == ("0/00000000/sample000000.jpg", "1/00000000/sample000000.jpg")
    assert [source.read() for source in dataset.sources] == [b"0", b"1"]


TEXT, INDEX = "k.cls: expected a class index as text, found", "expected a class index from 0 to 999, found"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({}, "key 'k' has an image but no .cls or .json; recreate the shard"),
        ({"k.cls": b"0", "l.cls": b"0"}, "key 'l' has a label but no image; recreate the shard"),
        ({"k.png": b"", "k.cls": b"0"}, "'k.jpg' and 'k.png' have the same key; recreate the shard"),
        ({"k.cls": b"fox"}, f"{TEXT} 'fox'"),
        ({"k.cls": b"\xff\xfe"}, f"{TEXT} '\ufffd\ufffd'"),
        ({"k.cls": b"1" * 5000}, f"{TEXT} '{'1' * 40}'"),
        ({"k.cls": b"-1"}, f"k.cls: {INDEX} -1; test sets have no published labels"),
        ({"k.cls": b" " * 2**21}, "k.cls: expected a label, found 2,097,152 bytes"),
        ({"k.json": b"[1]"}, "k.json: expected a JSON object, found list"),
        ({"k.json": b"{}"}, "k.json: expected a field 'label' or 'cls', found neither"),
        ({"k.json": b'{"label": "65"}'}, f"k.json: {INDEX} '65'"),
        ({"k.json": b'{"label": true}'}, f"k.json: {INDEX} True"),
        ({"k.json": b'{"label": 1, "filename": 5}'}, "k.json: expected the image's file name as 'filename', found 5"),
        ({"k.cls": b"1", "k.json": b'{"label": 2}'}, "key 'k' has labels that differ: [1, 2]; recreate the shard"),
    ],
)
def test_a_label_that_does_not_serve_is_an_error(tmp_path: Path, labels: dict[str, bytes], message: str) -> None:
    """The sentence names the shard, and the key or member."""
    path = write_tar(tmp_path / "x.tar", {"good.jpg": b"", "good.cls": b"0", "k.jpg": b"", **labels})

    assert error_of(path) == f"PATH: {message}"


@pytest.mark.parametrize("data", [b"\xff", b"{", b"[" * 100_000, b'{"label": ' + b"1" * 5000 + b"}"])
def test_what_is_no_json_is_an_error(tmp_path: Path, data: bytes) -> None:
    """Bytes that are no text, half an object, and what is made to exhaust the parser are named."""
    path = write_tar(tmp_path / "x.tar", {"k.jpg": b"", "k.json": data})

    assert error_of(path).startswith("PATH: k.json cannot be read as JSON: ")


SHARD = {"k.jpg": b"", "k.cls": b"0"}


@pytest.mark.parametrize(
    ("shards", "message"),
    [
        (
            {"train-0.tar": SHARD, "test-1.tar": SHARD},
            "PATH: expected shards of the validation set, such as validation-00000*, found only those of another "
            "split, such as 'test-1.tar'; download the validation set",
        ),
        ({"0.tar": SHARD, "1.tar": SHARD}, "PATH/1.tar is a copy of PATH/0.tar; delete one of them"),
        (
            {"0.tar": {"a.txt": b""}, "1.tar": {"b.txt": b""}},
            "PATH: expected KEY.jpg with KEY.cls or KEY.json, found none in 2 WebDataset shards",
        ),
        (
            {"n01440764.tar": {"n01440764_0.JPEG": b""}, "n01443537.tar": {"n01443537_1.JPEG": b""}},
            "PATH/n01440764.tar: key 'n01440764_0' has an image but no .cls or .json; archives of one class each are "
            "the training set's; point --imagenet at the validation set",
        ),
        ({"x.tar.gz": SHARD}, "PATH/x.tar.gz: expected an uncompressed archive, found gzip; unpack it by gunzip"),
    ],
)
def test_shards_that_do_not_serve_are_an_error(
    tmp_path: Path, shards: dict[str, dict[str, bytes]], message: str
) -> None:
    """Images are not counted twice, archives of something else are no shards, and compressed ones are not unpacked."""
    for name, members in shards.items():
        write_tar(tmp_path / name, members, mode="w:gz" if name.endswith(".gz") else "w:")

    assert error_of(tmp_path) == message
