"""Tests of what is read, left out, rejected or kept in an index, in folders, archives and shards alike."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest

from harness.cli.main import main
from harness.dataset import open_dataset
from harness.formats import listings
from tests.archives import write_files, write_parquet, write_tar
from tests.images import noise, save
from tests.unit.formats.conftest import error_of

WNID = "n01440764"
KINDS = ["folder", "tar", "WebDataset", "Parquet"]
ARCHIVES, SHARDS = KINDS[1:], KINDS[2:]


def write(root: Path, kind: str, *paths: str, name: str = "mine") -> Path:
    """Write images of class 0 at these paths of a folder, an archive or a shard, and return what is to be opened."""
    if kind == "folder":
        return write_files(root, *paths)
    if kind == "tar":
        return write_tar(root / f"{name}.tar", {path: path.encode() for path in paths})
    if kind == "WebDataset":
        members: dict[str, bytes] = {}
        for path in paths:
            members |= {path: path.encode(), f"{path.rpartition('.')[0]}.cls": b"0"}
        return write_tar(root / f"{name}.tar", members)
    return write_parquet(root / f"{name}.parquet", [(path.encode(), path, 0) for path in paths])


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_read_in_other_processes_and_named_in_messages(tmp_path: Path, kind: str) -> None:
    """A worker gets what was sent; the name is the path of the file, and that in the archive."""
    path = write(tmp_path / "set", kind, f"{WNID}/a.JPEG")
    dataset = open_dataset(path)

    [source] = pickle.loads(pickle.dumps(dataset.sources))

    assert source == dataset.sources[0]
    assert source.read() == f"{WNID}/a.JPEG".encode()
    assert str(source).startswith(f"{path}/{WNID}/a.JPEG" if kind == "folder" else f"{path}: ")
    assert "a.JPEG" in str(source)


@pytest.mark.parametrize("kind", KINDS)
def test_a_dataset_that_is_moved_keeps_its_fingerprint(tmp_path: Path, kind: str) -> None:
    """So it finds its decoded images; one whose files were written anew does not."""
    write(tmp_path / "set", kind, f"{WNID}/a.JPEG")
    before = open_dataset(tmp_path / "set")
    moved = open_dataset((tmp_path / "set").rename(tmp_path / "moved"))
    write(tmp_path / "moved", kind, f"{WNID}/a.JPEG")

    written_anew = open_dataset(tmp_path / "moved")

    assert before.fingerprint == moved.fingerprint
    assert moved.fingerprint != written_anew.fingerprint


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("more", "later"), [(b"x", 0), (b"", 1)], ids=["size", "time"])
def test_a_file_that_changes_is_not_read(tmp_path: Path, kind: str, more: bytes, later: int) -> None:
    """Its pixels would be kept under a false name."""
    path = write(tmp_path, kind, f"{WNID}/a.JPEG")
    dataset = open_dataset(path)
    file = path / WNID / "a.JPEG" if kind == "folder" else path
    before = file.stat()
    file.write_bytes(file.read_bytes() + more)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + later))

    with pytest.raises(OSError, match="it has changed since the dataset was opened"):
        dataset.sources[0].read()


def test_what_is_no_file_any_more_is_not_read(tmp_path: Path) -> None:
    """A dangling link is found when it is read; a pipe would be waited for."""
    root = write_files(tmp_path, f"{WNID}/b.JPEG")
    (root / WNID / "a.JPEG").symlink_to("nowhere")
    dataset = open_dataset(root)
    (root / WNID / "b.JPEG").unlink()
    os.mkfifo(root / WNID / "b.JPEG")

    with pytest.raises(FileNotFoundError):
        dataset.sources[0].read()
    with pytest.raises(OSError, match="not a regular file"):
        dataset.sources[1].read()


@pytest.mark.parametrize("kind", KINDS)
def test_names_that_occur_twice_are_distinguished(tmp_path: Path, kind: str) -> None:
    """Ids are unique even where file names are not: by the folder, or in a table by the row."""
    path = write(tmp_path, kind, f"{WNID}/1.JPEG", "n01443537/1.JPEG")

    folders = ("mine/00000000", "mine/00000001") if kind == "Parquet" else (WNID, "n01443537")
    assert open_dataset(path).ids == tuple(f"{folder}/1.JPEG" for folder in folders)


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


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["train-0", "val-0", "val-1"], ["val-0", "val-1"]),
        (["imagenet1k-train-0000", "imagenet1k-validation-00"], ["imagenet1k-validation-00"]),
        (["test-0", "validation-0", "other"], ["validation-0"]),
        (["00000", "00001"], ["00000", "00001"]),
        (["evaluation", "trainer"], ["evaluation", "trainer"]),
        (["val-00000-of-00002", "val-00001-of-00002"], ["val-00000-of-00002", "val-00001-of-00002"]),
        (["val-00001-of-00002", "val-00002-of-00002"], ["val-00001-of-00002", "val-00002-of-00002"]),
    ],
)
@pytest.mark.parametrize("kind", SHARDS)
def test_shards_of_the_validation_set_are_chosen(
    tmp_path: Path, kind: str, names: list[str], chosen: list[str]
) -> None:
    """Those named so, or all where no name says anything; they may be counted from 0 or from 1."""
    for name in names:
        write(tmp_path, kind, f"{name}.jpg", name=name)

    dataset = open_dataset(tmp_path)

    assert (dataset.ids, dataset.caveat) == (tuple(f"{name}.jpg" for name in chosen), "")


@pytest.mark.parametrize(("shards", "caveat"), [(1, ""), (2, "it is one shard of 2")])
@pytest.mark.parametrize("kind", SHARDS)
def test_a_single_shard_is_read(tmp_path: Path, kind: str, shards: int, caveat: str) -> None:
    """It can be evaluated, and is not taken for the whole."""
    dataset = open_dataset(write(tmp_path, kind, "v.jpg", name=f"val-00000-of-{shards:05}"))

    assert (dataset.ids, dataset.caveat) == (("v.jpg",), caveat)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("val-00001-of-00002",), "expected 2 shards, as the names val-*-of-* say, found 1, and no number 0"),
        (("val-0-of-3", "val-2-of-3"), "expected 3 shards, as the names val-*-of-* say, found 2, and no number 1"),
        (("val-0-of-1", "val-0-of-999999999"), "expected 999,999,999 shards"),
    ],
)
@pytest.mark.parametrize("kind", SHARDS)
def test_a_missing_shard_is_an_error(tmp_path: Path, kind: str, names: tuple[str, ...], message: str) -> None:
    """The names tell how many there are."""
    for name in names:
        write(tmp_path, kind, f"{name}.jpg", name=name)

    assert message in error_of(tmp_path)


@pytest.mark.parametrize(
    ("pipe", "given", "message"),
    [
        *[(name, "", f"PATH/{name}: expected a regular file, ") for name in (f"{WNID}/a.JPEG", "v.tar", "v.parquet")],
        ("pipe", "pipe", "no images in PATH: found a pipe; looked for "),
    ],
)
def test_a_pipe_is_an_error(tmp_path: Path, pipe: str, given: str, message: str) -> None:
    """It is named, and not opened, which would wait for ever."""
    (tmp_path / pipe).parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / pipe)

    assert error_of(tmp_path / given).startswith(message)


@pytest.mark.parametrize("below", [".", "datasets--org--mine", "datasets--org--mine/snapshots/" + "a" * 40])
def test_a_hubs_cache_is_read_and_called_by_the_dataset(tmp_path: Path, below: str) -> None:
    """Its root, the dataset's folder and the snapshot are the same dataset."""
    folder = tmp_path / "datasets--org--mine"
    write_files(folder, f"snapshots/{'a' * 40}/{WNID}/v.JPEG", f"snapshots/{'b' * 40}/{WNID}/old.JPEG")
    write_files(folder, "refs/main", data=b"a" * 40)

    dataset = open_dataset(tmp_path / below)

    assert (dataset.name, dataset.ids) == ("mine", ("v.JPEG",))


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

    found, missing = (main(["dataset", str(path), "--workers=1"]) for path in (root, root / "missing\x1b"))

    out, err = capsys.readouterr()
    assert (1, 2) == (found, missing)
    assert "\x1b" not in out + err
    assert "\x9b" not in out + err
    assert f"    {WNID}/\\x1b[2J.txt" in out.splitlines()


IDS = ("a.JPEG", "\xe4.JPEG")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive of two images."""
    return write(tmp_path, "tar", *(f"{WNID}/{name}" for name in IDS))


def garble(archive: Path, *, more: int = 0, later: int = 0) -> None:
    """Overwrite an archive, so that it cannot be listed, with its size and time as they were or so much more."""
    before = archive.stat()
    archive.write_bytes(b"?" * (before.st_size + more))
    os.utime(archive, ns=(before.st_atime_ns, before.st_mtime_ns + later))


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Afterwards neither its members nor their labels are read, wherever a run is started."""
    path = write(tmp_path, kind, f"{WNID}/a.JPEG")
    first = open_dataset(path)
    garble(path)
    monkeypatch.chdir(tmp_path)

    for second in (open_dataset(path), open_dataset(path.name)):
        assert (first.ids, first.fingerprint, first.digest) == (second.ids, second.fingerprint, second.digest)


@pytest.mark.parametrize(("more", "later", "version"), [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_an_archive_of_another_size_or_time_is_listed_again(
    archive: Path, monkeypatch: pytest.MonkeyPatch, more: int, later: int, version: int
) -> None:
    """Neither hides the other; nor is an index of another version of the module used."""
    open_dataset(archive)
    garble(archive, more=more, later=later)
    monkeypatch.setattr(listings, "FORMAT", listings.FORMAT + version)

    assert error_of(archive).startswith("PATH cannot be read as a tar archive: ")


@pytest.mark.parametrize(
    "damage", [lambda right: right[:-5], lambda right: right.replace(b"512", b"513"), lambda _right: b""]
)
def test_a_damaged_index_is_made_anew(archive: Path, cache: Path, damage: Callable[[bytes], bytes]) -> None:
    """Whatever is wrong with it, the archive is listed again and a right index takes its place."""
    first = open_dataset(archive)
    [index] = (cache / "indexes").iterdir()
    right = index.read_bytes()
    index.write_bytes(damage(right))

    second = open_dataset(archive)

    assert first.sources == second.sources
    assert index.read_bytes() == right


def test_an_index_that_cannot_be_kept_costs_only_time(
    archive: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file where the folder should be, or a full disk, on which nothing is left behind."""
    (cache / "indexes").write_text("in the way")
    in_the_way = open_dataset(archive).ids
    (cache / "indexes").unlink()
    monkeypatch.setattr(Path, "replace", Mock(side_effect=OSError(28, "No space left on device")))

    assert in_the_way == open_dataset(archive).ids == IDS
    assert list((cache / "indexes").iterdir()) == []
