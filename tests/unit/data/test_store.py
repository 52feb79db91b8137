"""Tests of harness.data.store: what a store is kept under, and what is kept."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.data.decode import crop_image, versions
from harness.data.decoder import Decoder
from harness.data.layouts import open_split
from harness.data.preset import Geometry
from harness.data.split import Split
from harness.data.store import Store, describe, key_of
from harness.errors import StoreError

GEOMETRY = Geometry(resize=32, crop=28, interpolation="bilinear")


def ignore(_done: int, _images: int) -> None:
    """Show no progress."""


def key(split: Split, geometry: Geometry = GEOMETRY, decoder: str = "pillow") -> str:
    """Return what the store is kept under."""
    return key_of(describe(split, geometry, Decoder(decoder)))


def test_the_key_holds_the_geometry_and_the_decoder(split: Split) -> None:
    """Anything that changes the crop is another store."""
    keys = [
        key(split),
        key(split, replace(GEOMETRY, resize=33)),
        key(split, replace(GEOMETRY, crop=27)),
        key(split, replace(GEOMETRY, interpolation="bicubic")),
        key(split, decoder="torchvision"),
    ]

    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("module", "name", "decoder"),
    [
        ("harness.data.decode", "pillow_version", "pillow"),
        ("harness.data.decode", "libjpeg_turbo_version", "pillow"),
        ("torchvision", "__version__", "pillow"),
        ("torchvision", "__version__", "torchvision"),
        ("torch", "__version__", "torchvision"),
        ("torch.backends.cpu", "get_cpu_capability", "torchvision"),
    ],
)
def test_the_key_holds_the_versions(
    split: Split, module: str, name: str, decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new version of anything that makes pixels builds a new store, so that the old one hides no regression."""
    before = key(split, decoder=decoder)
    other: Any = "other" if name == "__version__" else lambda: "other"
    monkeypatch.setattr(f"{module}.{name}", other)

    assert key(split, decoder=decoder) != before


def change_time(root: Path) -> None:
    """Touch an image."""
    path = next(root.rglob("*.JPEG"))
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def change_size(root: Path) -> None:
    """Lengthen an image, with its time as before."""
    path = next(root.rglob("*.JPEG"))
    before = path.stat().st_mtime_ns
    path.write_bytes(path.read_bytes() + b"\0")
    os.utime(path, ns=(0, before))


def rename(root: Path) -> None:
    """Call an image by another name."""
    path = next(root.rglob("*.JPEG"))
    path.rename(path.with_name("other.JPEG"))


def remove(root: Path) -> None:
    """Remove an image."""
    next(root.rglob("*.JPEG")).unlink()


@pytest.mark.parametrize("change", [change_time, change_size, rename, remove])
def test_the_key_holds_every_image(split: Split, change: Callable[[Path], None]) -> None:
    """Another time, size, name or number of files is another store."""
    change(split.root)

    assert key(open_split(str(split.root))) != key(split)


def test_the_key_does_not_hold_the_place(split: Split) -> None:
    """A set that is moved as it is, or looked at in part, finds its store again."""
    moved = split.root.rename(split.root.with_name("elsewhere"))

    assert key(open_split(str(moved))) == key(split)
    assert key(split.subset(5)) == key(split)


def test_a_device_is_part_of_the_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nvJPEG makes may depend on the GPU and on CUDA."""
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: f"GPU of {device}")

    found = versions(Decoder("nvjpeg", "cuda:0"))

    assert found["gpu"] == "GPU of cuda:0"
    assert "cuda" in found


def test_a_store_says_what_it_is_for(split: Split, tmp_path: Path) -> None:
    """The folder has its key as name, a description, and the ids of its rows; it is usable by hand."""
    with Store(split, Decoder(), tmp_path / "store", workers=1) as store:
        store.decoded(GEOMETRY, ignore).finish()

    [folder] = [path for path in (tmp_path / "store").iterdir() if path.is_dir()]
    about = json.loads((folder / "store.json").read_text())
    pixels = np.memmap(folder / "pixels", np.uint8, "r", shape=(37, 28, 28, 3))
    assert folder.name == key(split) == key_of(about)
    assert about["split"] == {
        "name": "images",
        "root": str(split.root),
        "form": "class folders",
        "images": 37,
        "fingerprint": split.fingerprint,
    }
    assert json.loads((folder / "ids.json").read_text()) == list(split.ids)
    assert np.array_equal(pixels[20], crop_image(split.sources[20].read(), GEOMETRY))


@pytest.mark.parametrize("damage", ["{", "[]", '{"split": {"fingerprint": ""}}', None])
def test_a_description_that_is_damaged_is_written_again(split: Split, tmp_path: Path, damage: str | None) -> None:
    """A store that runs use is listed, too; None stands for lost ids."""
    for _ in range(2):
        with Store(split, Decoder(), tmp_path / "store", workers=1) as store:
            store.decoded(GEOMETRY, ignore).finish()
        [folder] = [path for path in (tmp_path / "store").iterdir() if path.is_dir()]
        assert json.loads((folder / "ids.json").read_text()) == list(split.ids)
        assert key_of(json.loads((folder / "store.json").read_text())) == folder.name
        if damage is None:
            (folder / "ids.json").unlink()
        else:
            (folder / "store.json").write_text(damage)


def test_the_last_use_is_noted(split: Split, tmp_path: Path) -> None:
    """The time of the description is that of the last use, by which stores are pruned."""
    for _ in range(2):
        with Store(split, Decoder(), tmp_path / "store", workers=1) as store:
            store.decoded(GEOMETRY, ignore).finish()
        [about] = (tmp_path / "store").glob("*/store.json")
        used, now = about.stat().st_mtime, time.time()
        os.utime(about, (0, 0))

        assert now - 60 < used <= now + 1


def test_models_of_one_geometry_share_one_decoded_split(split: Split, tmp_path: Path) -> None:
    """The second request for a geometry is the first; another geometry closes it, and both are kept."""
    with Store(split, Decoder(), tmp_path / "store", workers=1) as store:
        first = store.decoded(GEOMETRY, ignore)
        pixels = first.read(slice(0, 37))
        second = store.decoded(Geometry(32, 28, "bilinear"), ignore)
        other = store.decoded(Geometry(30, 28, "bilinear"), ignore)

        assert second is first
        assert other is not first
        assert not np.array_equal(other.read(slice(0, 37)), pixels)
    assert len(list((tmp_path / "store").glob("*/pixels"))) == 2


def test_who_asks_for_images_is_told_of_them(split: Split, tmp_path: Path) -> None:
    """A model that finds its geometry opened by one that came to nothing is told of the decoding that is left."""
    told: list[tuple[int, int]] = []
    with Store(split, Decoder(), tmp_path / "store", 1) as store:
        store.decoded(GEOMETRY, ignore)

        store.decoded(GEOMETRY, lambda *numbers: told.append(numbers)).finish()

    assert (len(split), len(split)) == told[-1]


def test_nothing_is_kept_without_a_folder(split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One geometry at a time lies in the temporary folder, and nothing after that."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))

    with Store(split, Decoder(), None, workers=1) as store:
        store.decoded(GEOMETRY, ignore).finish()
        store.decoded(Geometry(30, 28, "bilinear"), ignore).finish()
        folders = list((tmp_path / "tmp").iterdir())

    assert len(folders) == 1
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(split: Split, tmp_path: Path) -> None:
    """The sentence says where, why, and what to do."""
    (tmp_path / "store").write_text("in the way")

    message = (
        r"^decoded images cannot be kept in .*store: .*; point --store at a folder that can be written, or give --no"
    )
    with Store(split, Decoder(), tmp_path / "store", workers=1) as store, pytest.raises(StoreError, match=message):
        store.decoded(GEOMETRY, ignore)


def test_a_store_without_write_permission_serves_who_needs_nothing_new(split: Split) -> None:
    """Another user can read a store that is not theirs; what is missing there cannot be kept, and that is said."""
    if os.geteuid():
        pytest.skip("only root can become another user")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with Store(split.subset(36), Decoder(), Path(folder) / "store", workers=1) as store:
            before = store.decoded(GEOMETRY, ignore).read(slice(0, 36))
        os.seteuid(65534)
        try:
            with Store(split.subset(36), Decoder(), Path(folder) / "store", workers=1) as store:
                after = store.decoded(GEOMETRY, ignore).read(slice(0, 36))
            with Store(split, Decoder(), Path(folder) / "store", workers=1) as store:
                message = r"^decoded images cannot be kept in .*: Permission denied; point --store at a folder that can"
                with pytest.raises(StoreError, match=message):
                    store.decoded(GEOMETRY, ignore).finish()
        finally:
            os.seteuid(0)

    assert np.array_equal(before, after)


def test_a_read_only_file_system_serves_who_needs_nothing_new(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last use cannot be noted there, which is no reason to refuse."""
    with Store(split, Decoder(), tmp_path / "store", workers=1) as store:
        before = store.decoded(GEOMETRY, ignore).read(slice(0, 37))

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    with Store(split, Decoder(), tmp_path / "store", workers=1) as store:
        assert np.array_equal(before, store.decoded(GEOMETRY, ignore).read(slice(0, 37)))


def test_the_embedded_split_is_known_by_its_contents() -> None:
    """Its files differ in time from machine to machine, and are checked by digest: that is its fingerprint."""
    from harness.data import embedded

    assert open_split("embedded").fingerprint == embedded.DIGEST
