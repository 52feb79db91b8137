"""Tests of harness.decoding.upkeep: stores are listed, verified and pruned."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from harness.dataset import ImageDataset
from harness.decoding.store import DecodedImages
from harness.decoding.upkeep import StoreInfo, list_stores, prune, verify
from harness.errors import StoreError
from harness.preset import Geometry

WHOLE = 37 * 28 * 28 * 3
Opened = Callable[..., DecodedImages]


def ignore(_done: int, _images: int) -> None:
    """Show no progress."""


@pytest.fixture
def folder(dataset: ImageDataset, opened: Opened, tmp_path: Path, in_this_process: None) -> Path:  # noqa: ARG001
    """Three stores, last used 3, 2 and 1 hours ago, the last of them a part."""
    for hours, resize, images in ((3, 32, 37), (2, 33, 37), (1, 34, 10)):
        opened(dataset.subset(images), geometry=Geometry(resize, 28, "bilinear")).finish()
        [about] = [path for path in tmp_path.glob("store/*/store.json") if path.stat().st_mtime > time.time() - 3000]
        os.utime(about, (0, time.time() - 3600 * hours))
    return tmp_path / "store"


def geometries(stores: list[StoreInfo]) -> list[str]:
    """Return what tells the stores apart."""
    return [str(store.description.geometry) for store in stores]


def removed(stores: list[StoreInfo], older_than: float | None = None, max_size: int | None = None) -> list[str]:
    """Prune, and return why each store that was to go was kept; an empty text for each that is gone."""
    return [kept for _, kept in prune(stores, older_than=older_than, max_size=max_size)]


def test_stores_are_listed_the_last_used_first(dataset: ImageDataset, folder: Path) -> None:
    """Each with what it is for, how many images it holds, its size on the disk, and its last use; no other folders."""
    (folder / "notes.txt").write_text("no store")
    (folder / "empty").mkdir()

    stores = list_stores(folder)

    assert geometries(stores) == ["34/28 bilinear", "33/28 bilinear", "32/28 bilinear"]
    assert [(store.decoded, store.description.images) for store in stores] == [(10, 37), (37, 37), (37, 37)]
    assert {(store.description.dataset, store.description.root) for store in stores} == {("images", str(dataset.root))}
    assert all(store.description.decoder == "pillow" for store in stores)
    assert all("libjpeg-turbo" in store.description.versions for store in stores)
    assert all(WHOLE <= store.size <= WHOLE + 6 * 4096 for store in stores[1:])
    assert stores[0].size < WHOLE
    assert [round((time.time() - store.used) / 3600) for store in stores] == [1, 2, 3]


def test_a_store_of_an_older_version_is_listed_and_pruned(folder: Path) -> None:
    """No run reads it any more, so that it would stay for ever."""
    old = list_stores(folder)[0].folder
    text = (old / "store.json").read_text()
    (old / "store.json").write_text(text.replace('"format": 3', '"format": 2'))

    [store] = [store for store in list_stores(folder) if store.folder == old]

    assert store.decoded == 0
    with pytest.raises(StoreError, match=r" cannot be verified: it is of an older version; remove that folder$"):
        verify(store, ignore)
    assert removed([store], max_size=0) == [""]


def test_no_folder_holds_no_stores(tmp_path: Path) -> None:
    """Before the first run there is nothing, which is no error."""
    assert list_stores(tmp_path / "missing") == []


def test_a_damaged_image_is_named_and_forgotten(folder: Path) -> None:
    """Every decoded image is read; it is named by its id, once, and is to be decoded again."""
    store = list_stores(folder)[1]
    with (store.folder / "pixels").open("r+b") as file:
        file.seek(7 * 28 * 28 * 3)
        file.write(b"\x01\x02\x03\x04\x05")
    seen: list[tuple[int, int]] = []

    first, second = verify(store, ignore), verify(store, lambda *numbers: seen.append(numbers))

    assert (first, second) == (["07.JPEG"], [])
    assert seen[-1] == (36, 36)  # a missing row is no damage
    assert list_stores(folder)[1].decoded == 36


def replaced(old: str, new: str) -> Callable[[Path], object]:
    """Return what writes the sound description, but for this."""
    return lambda path: path.write_text(path.with_name("was.json").read_text().replace(old, new))


DAMAGED: dict[str, Callable[[Path], object]] = {
    "deep": lambda path: path.write_text('{"x":' * 200_000),
    "digits": lambda path: path.write_text(f'{{"images": {"9" * 5000}}}'),
    "odd types": lambda path: path.write_text('{"dataset": [], "images": 1e400, "geometry": 7}'),
    "no text": lambda path: path.write_bytes(bytes(range(256))),
    "huge": lambda path: path.write_bytes(b"[" + b"0," * 10**6),
    "looped": lambda path: path.symlink_to(path),
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "minus": replaced(" 37,", " -37,"),
    "many": replaced(" 37,", f" {'9' * 30},"),
    "large": replaced(" 28,", f" {'9' * 30},"),
    "escape": replaced("pillow", "\\u001b[2J"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_store_is_named_and_the_others_are_listed(folder: Path, damage: str) -> None:
    """Whatever its description is; what is not in a store's place has no description, and is not named."""
    (folder / "foreign").mkdir()
    sound = list_stores(folder)
    about = sound[1].folder / "store.json"
    about.rename(about.with_name("was.json"))
    DAMAGED[damage](about)
    named: list[str] = []

    left = list_stores(folder, named.append)

    assert [store.folder for store in left] == [sound[0].folder, sound[2].folder]
    assert [line.partition(" (")[0] for line in named] == [f"{about} is not a store's description"]
    assert len(named[0]) < 1000


@pytest.mark.parametrize("name", ["pixels", "hashes", "ids.json"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda _path: None], ids=["pipe", "nothing"])
def test_a_damaged_file_is_named_and_the_store_is_listed(
    folder: Path, name: str, make: Callable[[Path], object]
) -> None:
    """Where it is gone, or a pipe, which nobody writes to."""
    store = list_stores(folder)[1]
    (store.folder / name).unlink()
    make(store.folder / name)

    assert len(list_stores(folder)) == 3
    with pytest.raises(StoreError, match=rf"^the store {store.folder} cannot be verified: .*{name}.*; remove that fol"):
        verify(store, ignore)


def test_a_store_in_the_place_of_another_is_not_verified(folder: Path) -> None:
    """The folder of one under the name of another; and with the other's own description."""
    one, other, _ = (store.folder for store in list_stores(folder))
    described = (other / "store.json").read_bytes()
    shutil.rmtree(other)
    shutil.copytree(one, other)

    for what in ("store.json", "hashes"):
        [moved] = [store for store in list_stores(folder) if store.folder == other]
        with pytest.raises(StoreError, match=rf"^the store {other} cannot be verified: {what} is of another store; "):
            verify(moved, ignore)
        (other / "store.json").write_bytes(described)
        (other / "pixels").write_bytes(bytes(WHOLE))


@pytest.mark.parametrize(
    ("hours", "firsts", "left"),
    [(2.5, None, 2), (0.5, None, 0), (4, None, 3), (None, 0, 0), (None, 1, 1), (None, 9, 3), (2.5, 1, 1)],
)
def test_old_stores_and_those_beyond_a_size_are_removed(
    folder: Path, hours: float | None, firsts: int | None, left: int
) -> None:
    """By age, or from the least recently used on until the rest is small enough; with all that belongs to it."""
    stores = list_stores(folder)
    size = None if firsts is None else firsts * stores[0].size

    gone = list(prune(stores, older_than=hours and hours * 3600, max_size=size))

    assert geometries(list_stores(folder)) == geometries(stores)[:left]
    assert gone == [(store, "") for store in stores[left:][::-1]]
    assert len(list(folder.iterdir())) == 2 * left


@pytest.mark.parametrize("largest", [0, 1, 2])
def test_the_least_recently_used_go_first_whatever_their_size(folder: Path, largest: int) -> None:
    """A small old store does not stay in the place of a large recent one; nor is one old that was just used."""
    stores = [store._replace(size=100 if rank == largest else 1) for rank, store in enumerate(list_stores(folder))]

    gone = list(prune(stores, older_than=None, max_size=101))

    assert [(stores[2].folder, "")] == [(store.folder, kept) for store, kept in gone]
    assert removed([stores[0]._replace(used=time.time())], older_than=60) == []


def test_a_store_that_cannot_be_removed_is_named_and_the_others_go(folder: Path) -> None:
    """One that another process is writing, and a link to a store elsewhere, which is not ours to remove."""
    stores = list_stores(folder)
    moved = stores[1].folder.rename(folder.with_name("elsewhere"))
    stores[1].folder.symlink_to(moved)

    with FileLock(f"{stores[2].folder}.lock"):
        kept = removed(list_stores(folder), max_size=0)

    assert kept == ["being built", "Cannot call rmtree on a symbolic link", ""]
    assert geometries(list_stores(folder)) == geometries(stores)[1:]


def test_no_torch_is_needed() -> None:
    """Looking at what is in store takes no seconds of imports."""
    code = "import sys, harness.decoding.folder, harness.options; print('torch' in sys.modules)"

    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
