"""Tests of harness.data.inventory: what is kept, whether it is sound, and what goes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from harness.data.decoder import Decoder
from harness.data.inventory import Kept, damaged_images, kept_in, prune
from harness.data.preset import Geometry
from harness.data.split import Split
from harness.data.store import Store
from harness.errors import StoreError


def ignore(_done: int, _images: int) -> None:
    """Show no progress."""


@pytest.fixture
def folder(split: Split, tmp_path: Path) -> Path:
    """Three stores, last used 3, 2 and 1 hours ago, the last of them a part."""
    root = tmp_path / "store"
    for hours, resize, images in ((3, 32, 37), (2, 33, 37), (1, 34, 10)):
        with Store(split.subset(images), Decoder(), root, workers=2) as store:
            store.decoded(Geometry(resize, 28, "bilinear"), ignore).finish()
        [about] = [path for path in root.glob("*/store.json") if path.stat().st_mtime > time.time() - 3000]
        os.utime(about, (0, time.time() - 3600 * hours))
    return root


def test_stores_are_listed_the_last_used_first(split: Split, folder: Path) -> None:
    """Each with what it is for, how much of it is there, its size on the disk, and its last use."""
    (folder / "notes.txt").write_text("no store")
    (folder / "empty").mkdir()
    (folder / "broken").mkdir()
    (folder / "broken/store.json").write_text("{")

    stores = kept_in(folder)

    assert [(kept.geometry, kept.there, kept.images) for kept in stores] == [
        ("34/28 bilinear", 10, 37),
        ("33/28 bilinear", 37, 37),
        ("32/28 bilinear", 37, 37),
    ]
    assert {(kept.split, kept.root, kept.side) for kept in stores} == {("images", str(split.root), 28)}
    assert all(kept.decoder.startswith("pillow (pillow ") for kept in stores)
    assert all(37 * 28 * 28 * 3 <= kept.size <= 37 * 28 * 28 * 3 + 6 * 4096 for kept in stores[1:])
    assert stores[0].size < 37 * 28 * 28 * 3
    assert [round((time.time() - kept.used) / 3600) for kept in stores] == [1, 2, 3]


def test_no_folder_holds_no_stores(tmp_path: Path) -> None:
    """Before the first run there is nothing, which is no error."""
    assert kept_in(tmp_path / "missing") == []


def test_a_sound_store_is_verified(folder: Path) -> None:
    """Every image that is there is looked at."""
    seen: list[tuple[int, int]] = []

    assert damaged_images(kept_in(folder)[0], lambda *numbers: seen.append(numbers)) == []
    assert seen[-1] == (10, 10)


def test_a_damaged_image_is_named_and_forgotten(folder: Path) -> None:
    """It is told by its id, once, and is to be decoded again; a row that is not there is no damage."""
    kept = kept_in(folder)[1]
    with (kept.folder / "pixels").open("r+b") as file:
        file.seek(7 * 28 * 28 * 3)
        file.write(b"\x01\x02\x03\x04\x05")

    first, second = damaged_images(kept, ignore), damaged_images(kept, ignore)

    assert (first, second) == (["07.JPEG"], [])
    assert kept_in(folder)[1].there == 36


@pytest.mark.parametrize("file", ["ids.json", "pixels"])
def test_a_store_that_cannot_be_verified_is_named(folder: Path, file: str) -> None:
    """A store that lacks a file is an error in a sentence."""
    kept = kept_in(folder)[0]
    (kept.folder / file).unlink()

    with pytest.raises(StoreError, match=rf"^the store {kept.folder} cannot be verified: .*; remove that folder$"):
        damaged_images(kept, ignore)


def geometries(stores: list[Kept]) -> list[str]:
    """Return what tells the stores apart."""
    return [kept.geometry for kept in stores]


@pytest.mark.parametrize(
    ("hours", "firsts", "left"),
    [
        (2.5, None, ["34/28 bilinear", "33/28 bilinear"]),
        (0.5, None, []),
        (4, None, ["34/28 bilinear", "33/28 bilinear", "32/28 bilinear"]),
        (None, 0, []),
        (None, 1, ["34/28 bilinear"]),
        (None, 9, ["34/28 bilinear", "33/28 bilinear", "32/28 bilinear"]),
        (2.5, 1, ["34/28 bilinear"]),
    ],
)
def test_what_is_old_or_too_much_goes(folder: Path, hours: float | None, firsts: int | None, left: list[str]) -> None:
    """By age, or from the least recently used on until the rest is small enough; with all that belongs to it."""
    stores = kept_in(folder)
    size = None if firsts is None else firsts * stores[0].size

    gone = list(prune(stores, older_than=hours and hours * 3600, max_size=size))

    assert geometries(kept_in(folder)) == left
    assert geometries([kept for kept, removed in gone if removed]) == geometries(stores)[len(left) :]
    assert len(list(folder.iterdir())) == 2 * len(left)


def test_a_small_old_store_is_not_kept_for_its_size(folder: Path) -> None:
    """Once the recent ones fill the size, everything older goes, however small."""
    small_and_old = sorted(kept_in(folder), key=lambda kept: -kept.size)

    gone = list(prune(small_and_old, older_than=None, max_size=small_and_old[0].size + 1))

    assert [kept.folder for kept, _ in gone] == [kept.folder for kept in small_and_old[1:]]


def test_a_store_that_is_being_built_stays(folder: Path) -> None:
    """What another process is writing is told, and not taken away from it."""
    stores = kept_in(folder)

    with FileLock(f"{stores[2].folder}.lock"):
        gone = list(prune(stores, older_than=None, max_size=0))

    assert [removed for _, removed in gone] == [True, True, False]
    assert geometries(kept_in(folder)) == ["32/28 bilinear"]


def test_a_store_that_cannot_be_removed_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal of the system is an error in a sentence."""

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("shutil.rmtree", refuse)

    with pytest.raises(StoreError, match=r"^the store .* cannot be removed: Permission denied: "):
        list(prune(kept_in(folder), older_than=None, max_size=0))


def test_no_torch_is_needed() -> None:
    """Looking at what is kept takes no seconds of imports."""
    code = "import sys, harness.data.inventory, harness.commands.store; print('torch' in sys.modules)"

    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


def test_ages_are_those_of_the_last_use(folder: Path) -> None:
    """A store is as old as its last use, not as its first."""
    used = replace(kept_in(folder)[2], used=time.time())

    assert list(prune([used], older_than=60, max_size=None)) == []
