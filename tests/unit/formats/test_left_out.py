"""Tests of what is left out of a dataset or refused, in folders, archives and shards alike."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.dataset import open_dataset
from harness.errors import DatasetError
from tests.archives import write_files, write_parquet, write_tar
from tests.images import noise, save

WNID = "n01440764"
KINDS = ["folder", "tar", "WebDataset", "Parquet"]
ARCHIVES, SHARDS = KINDS[1:], KINDS[2:]


def write(root: Path, kind: str, *paths: str) -> Path:
    """Write images of class 0 at these paths of a folder, an archive or a shard, and return what is to be opened."""
    if kind == "folder":
        return write_files(root, *paths)
    if kind == "tar":
        return write_tar(root / "mine.tar", {path: path.encode() for path in paths})
    if kind == "WebDataset":
        members: dict[str, bytes] = {}
        for path in paths:
            members |= {path: path.encode(), f"{path.rpartition('.')[0]}.cls": b"0"}
        return write_tar(root / "mine.tar", members)
    pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    return write_parquet(root / "mine.parquet", [(path.encode(), path, 0) for path in paths])


def error_of(path: Path) -> str:
    """Return the error's message."""
    with pytest.raises(DatasetError) as raised:
        open_dataset(path)
    return str(raised.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("train", ["train", "ILSVRC2012_img_train", "test"])
def test_only_the_validation_part_is_read(tmp_path: Path, kind: str, train: str) -> None:
    """Training images beside the validation images are no part of the dataset."""
    path = write(tmp_path, kind, f"{train}/{WNID}/t.JPEG", f"val/{WNID}/v.JPEG")

    dataset = open_dataset(path)

    assert dataset.ids == ("v.JPEG",)
    assert dataset.ignored == (() if kind == "folder" else (f"{train}/",))


@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_training_part_alone_is_an_error(tmp_path: Path, kind: str) -> None:
    """The sentence says which split it is of."""
    message = error_of(write(tmp_path, kind, f"x/train/{WNID}/t.JPEG"))

    assert "expected images of the validation set, found only those of another split, such as in 'x/train/'" in message


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "system", [".ipynb_checkpoints", "@eaDir", "lost+found", "__MACOSX", ".snapshot", "#recycle", "$RECYCLE.BIN"]
)
def test_a_systems_folders_are_left_out_and_listed(tmp_path: Path, kind: str, system: str) -> None:
    """Copies and thumbnails are no images, beside class folders and in them."""
    path = write(tmp_path, kind, f"{WNID}/v.JPEG", f"{system}/v-checkpoint.JPEG", f"{WNID}/{system}/v-checkpoint.JPEG")

    dataset = open_dataset(path)

    assert dataset.ids == ("v.JPEG",)
    assert sorted(dataset.ignored) == sorted([f"{system}/", f"{WNID}/{system}/"])


@pytest.mark.parametrize("name", ["ILSVRC2012_val_00000001.JPEG", "65/a.JPEG"], ids=["flat", "by index"])
def test_a_systems_folder_beside_images_of_other_formats_is_listed(tmp_path: Path, name: str) -> None:
    """Formats that are folders have one rule."""
    write_files(tmp_path, name, "@eaDir/b.JPEG", "lost+found/x")

    dataset = open_dataset(tmp_path)

    assert len(dataset) == 1
    assert sorted(dataset.ignored) == ["@eaDir/", "lost+found/"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("val-00000-of-00002",), "expected 2 shards, as the names val-*-of-* say, found 1, and no number 1"),
        (("val-00001-of-00002",), "expected 2 shards, as the names val-*-of-* say, found 1, and no number 0"),
        (("val-0-of-3", "val-2-of-3"), "expected 3 shards, as the names val-*-of-* say, found 2, and no number 1"),
        (("val-0-of-1", "val-0-of-999999999"), "expected 999,999,999 shards"),
    ],
)
@pytest.mark.parametrize("kind", SHARDS)
def test_a_missing_shard_is_an_error(tmp_path: Path, kind: str, names: tuple[str, ...], message: str) -> None:
    """The names tell how many there are."""
    for name in names:
        path = write(tmp_path / "written", kind, f"{name}.jpg")
        path.rename(tmp_path / f"{name}{path.suffix}")

    assert message in error_of(tmp_path)


@pytest.mark.parametrize("first", [0, 1])
def test_shards_that_are_all_there_are_read(tmp_path: Path, first: int) -> None:
    """They may be counted from 0 or from 1."""
    for number in range(first, first + 2):
        write(tmp_path, "WebDataset", f"{number}.jpg").rename(tmp_path / f"val-{number:05}-of-00002.tar")

    assert len(open_dataset(tmp_path)) == 2


@pytest.mark.parametrize(("total", "caveat"), [("00001", ""), ("00002", "it is one shard of 2")])
@pytest.mark.parametrize("kind", SHARDS)
def test_a_single_shard_of_several_is_called_one(tmp_path: Path, kind: str, total: str, caveat: str) -> None:
    """It can be evaluated, and is not taken for the whole."""
    path = write(tmp_path / "written", kind, "a.jpg")

    dataset = open_dataset(path.rename(tmp_path / f"val-00000-of-{total}{path.suffix}"))

    assert caveat == dataset.caveat


@pytest.mark.parametrize(
    ("pipe", "message"),
    [
        (f"{WNID}/a.JPEG", "{pipe}: expected a regular file, found a pipe; remove it"),
        ("val.tar", "{pipe}: expected a regular file, found a pipe; remove it"),
        ("val.parquet", "{pipe}: expected a regular file, found a pipe; remove it"),
        ("pipe", "no images in {pipe}: found a pipe; looked for "),
    ],
)
def test_a_pipe_is_an_error(tmp_path: Path, pipe: str, message: str) -> None:
    """It is named, and not opened, which would wait for ever."""
    path = tmp_path / pipe
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)

    assert error_of(path if pipe == "pipe" else tmp_path).startswith(message.format(pipe=path))


@pytest.mark.parametrize("below", [".", "datasets--org--mine", "datasets--org--mine/snapshots/" + "a" * 40])
def test_a_hubs_cache_is_read_and_called_by_the_dataset(tmp_path: Path, below: str) -> None:
    """Its root, the dataset's folder and the snapshot are the same dataset."""
    folder = tmp_path / "datasets--org--mine"
    write_files(folder, f"snapshots/{'a' * 40}/{WNID}/v.JPEG", f"snapshots/{'b' * 40}/{WNID}/old.JPEG")
    write_files(folder, "refs/main", data=b"a" * 40)

    dataset = open_dataset(tmp_path / below)

    assert (dataset.name, dataset.ids) == ("mine", ("v.JPEG",))


def test_several_snapshots_are_an_error(tmp_path: Path) -> None:
    """Without a main one nobody knows which is meant."""
    root = tmp_path / "datasets--org--mine"
    write_files(root, f"snapshots/a/{WNID}/v.JPEG", f"snapshots/b/{WNID}/v.JPEG")

    assert error_of(root) == f"{root}: expected one snapshot, found 2; point --imagenet at one of them"


def test_a_whole_variant_of_the_format_val_archives_is_sound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command says why it is not judged by published values; exit status 0."""
    image = save(noise(1, width=8, height=8), tmp_path / "image.JPEG")
    for index in range(1000):
        folder = tmp_path / "imagenetv2-topimages-format-val" / str(index)
        folder.mkdir(parents=True)
        for number in range(10):
            os.link(image, folder / f"{index}_{number}.jpeg")

    status = main(["dataset", str(tmp_path / "imagenetv2-topimages-format-val"), "--workers=1"])

    assert capsys.readouterr().out.splitlines()[-1].startswith("It is imagenetv2-topimages-format-val: the images of ")
    assert status == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_with_an_escape_sequence_is_an_error(tmp_path: Path, kind: str) -> None:
    """It would reach the terminal wherever an image is named."""
    message = error_of(write(tmp_path, kind, f"{WNID}/a\x1b[31m.JPEG"))

    assert "the name 'a\\x1b[31m.JPEG' has control characters; rename the image" in message


def test_other_names_with_escape_sequences_are_shown_escaped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So are the names of folders, and of files that are no images."""
    root = tmp_path / "\x1b[31mred"
    save(noise(1, width=8, height=8), root / WNID / "a.JPEG")
    write_files(root, f"{WNID}/\x1b[2J.txt", f"{WNID}/\x9bm/bad.JPEG")

    main(["dataset", str(root), "--workers=1"])
    main(["dataset", str(root / "missing\x1b"), "--workers=1"])

    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert "\x9b" not in out + err
    assert f"    {WNID}/\\x1b[2J.txt" in out.splitlines()
