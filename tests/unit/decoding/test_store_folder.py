"""Tests of the folders of stores: their keys, what is kept there, who can use it; and how they are kept up."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from filelock import FileLock

from harness.dataset import ImageDataset, open_dataset
from harness.decoding import decoders
from harness.decoding.decoders import crop_image
from harness.decoding.folder import Description
from harness.decoding.store import Store, describe
from harness.decoding.upkeep import StoreInfo, list_stores, prune, verify
from harness.errors import StoreError
from harness.options import Decoder
from harness.preset import Geometry
from tests.archives import write_files
from tests.unit.decoding.conftest import GEOMETRY, Opened

pytestmark = pytest.mark.usefixtures("in_this_process")


def key_of(dataset: ImageDataset, geometry: Geometry = GEOMETRY, decoder: str = "pillow") -> str:
    """Return what the store is kept under."""
    return describe(dataset, geometry, Decoder(decoder, "cuda:0" if decoder == "nvjpeg" else None)).key


def ignore(_done: int, _images: int) -> None:
    """Show no progress."""


def test_the_key_holds_the_geometry_and_the_decoder(dataset: ImageDataset) -> None:
    """Anything that changes the crop is another store."""
    keys = [
        key_of(dataset),
        key_of(dataset, replace(GEOMETRY, resize=33)),
        key_of(dataset, replace(GEOMETRY, crop=27)),
        key_of(dataset, replace(GEOMETRY, interpolation="bicubic")),
        key_of(dataset, decoder="torchvision"),
    ]

    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("name", "decoder"),
    [
        ("harness.decoding.decoders.pillow_version", "pillow"),
        ("harness.decoding.decoders.libjpeg_turbo_version", "pillow"),
        ("torchvision.__version__", "torchvision"),
        ("torch.__version__", "torchvision"),
        ("torch.backends.cpu.get_cpu_capability", "torchvision"),
        ("torch.cuda.get_device_name", "nvjpeg"),
        ("torch.version.cuda", "nvjpeg"),
    ],
)
def test_the_key_holds_the_versions(
    dataset: ImageDataset, name: str, decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new version of anything that makes pixels builds a new store, so that the old one hides no regression."""
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: f"GPU of {device}")
    before = key_of(dataset, decoder=decoder)
    other: Any = "other" if name.endswith(("__version__", "version.cuda")) else lambda *_: "other"
    monkeypatch.setattr(name, other)

    assert key_of(dataset, decoder=decoder) != before


def install(root: Path, monkeypatch: pytest.MonkeyPatch, changed: str | None = None) -> None:
    """Use a Pillow that has libraries of its own, a torchvision, and decoders of the harness, all in this folder."""
    pillow = ["PIL/__init__.py", "PIL/Image.py", "PIL/_imaging.so", "pillow.libs/libjpeg.so"]
    parts = ["transforms/functional.py", "image.so", "transforms/v2/functional/_geometry.py"]
    write_files(root, *pillow, *(f"torchvision/{part}" for part in parts), "decoders.py")
    if changed is not None:
        write_files(root, changed, data=b"as it was built again")
    monkeypatch.setattr("PIL.__file__", str(root / "PIL/__init__.py"))
    monkeypatch.setattr("torchvision.__file__", str(root / "torchvision/__init__.py"))
    monkeypatch.setattr(decoders, "__file__", str(root / "decoders.py"))


@pytest.mark.parametrize(
    ("changed", "decoder", "is_held"),
    [
        ("decoders.py", "pillow", True),
        ("PIL/Image.py", "pillow", True),
        ("PIL/_imaging.so", "pillow", True),
        ("pillow.libs/libjpeg.so", "pillow", True),
        ("PIL/__pycache__/Image.pyc", "pillow", False),
        ("torchvision/transforms/functional.py", "pillow", False),
        ("torchvision/transforms/functional.py", "torchvision", True),
        ("torchvision/image.so", "torchvision", True),
        ("torchvision/transforms/v2/functional/_geometry.py", "torchvision", True),
    ],
)
def test_the_key_holds_the_code_that_the_decoder_runs(
    dataset: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str, decoder: str, *, is_held: bool
) -> None:
    """Built or edited again under the same version, it has a new store; with Pillow, torchvision's does not matter."""
    keys = []
    for folder, change in (("one", None), ("same", None), ("other", changed)):
        install(tmp_path / folder, monkeypatch, change)
        keys.append(key_of(dataset, decoder=decoder))

    assert keys[0] == keys[1]
    assert (keys[2] != keys[0]) == is_held


def lengthen(path: Path) -> None:
    """Change the size of a file, and not its time."""
    before = path.stat().st_mtime_ns
    path.write_bytes(path.read_bytes() + b"\0")
    os.utime(path, ns=(0, before))


@pytest.mark.parametrize(
    "change",
    [lengthen, lambda path: os.utime(path, ns=(0, 1)), lambda path: path.rename(path.with_name("x.jpg")), Path.unlink],
    ids=["size", "time", "name", "number"],
)
def test_the_key_holds_every_image(dataset: ImageDataset, change: Callable[[Path], object]) -> None:
    """Another time, size, name or number of files is another store."""
    change(next(dataset.root.rglob("*.JPEG")))

    assert key_of(open_dataset(dataset.root)) != key_of(dataset)


def test_the_key_does_not_hold_the_path(dataset: ImageDataset) -> None:
    """A dataset that is moved as it is, or of which a part is used, finds its store again."""
    moved = dataset.root.rename(dataset.root.with_name("elsewhere"))

    assert key_of(open_dataset(moved)) == key_of(dataset)
    assert key_of(dataset.subset(5)) == key_of(dataset)


def test_a_store_says_what_it_is_for(dataset: ImageDataset, opened: Opened, key: Path) -> None:
    """The folder has its key as name, a description, and the ids of its rows; it is usable by hand.

    The time of the description is that of the last use, by which stores are pruned.
    """
    opened().finish()

    about = msgspec.json.decode((key / "store.json").read_bytes(), type=Description)
    pixels = np.memmap(key / "pixels", np.uint8, "r", shape=(37, 28, 28, 3))
    assert [about.key] == [path.name for path in key.parent.iterdir() if path.is_dir()]
    assert (about.dataset, about.dataset_format, about.images) == ("images", dataset.format, 37)
    assert (about.root, about.fingerprint) == (str(dataset.root), dataset.fingerprint)
    assert json.loads((key / "ids.json").read_text()) == list(dataset.ids)
    assert np.array_equal(pixels[20], crop_image(dataset.sources[20].read(), GEOMETRY))
    os.utime(key / "store.json", (0, 0))
    opened().finish()
    assert time.time() - 60 < (key / "store.json").stat().st_mtime <= time.time() + 1


@pytest.mark.parametrize(
    ("name", "damage"), [("store.json", lambda path: path.write_text("{")), ("ids.json", Path.unlink)]
)
def test_a_damaged_description_is_written_again(
    opened: Opened, key: Path, name: str, damage: Callable[[Path], object]
) -> None:
    """A store that runs use is listed, too."""
    opened().finish()
    before = (key / name).read_bytes()
    damage(key / name)

    opened().finish()

    assert before == (key / name).read_bytes()


def test_models_of_one_geometry_share_the_decoded_images(dataset: ImageDataset, tmp_path: Path) -> None:
    """The second request for a geometry is the first, with its own progress; another one closes it; both are kept."""
    shown: list[tuple[int, int]] = []
    with Store(dataset, Decoder(), tmp_path / "store", workers=1) as store:
        first = store.decoded(GEOMETRY, ignore)
        second = store.decoded(Geometry(32, 28, "bilinear"), lambda *numbers: shown.append(numbers))
        pixels = second.read(slice(0, 37))
        other = store.decoded(Geometry(30, 28, "bilinear"), ignore)

        assert second is first
        assert (37, 37) == shown[-1]
        assert other is not first
        assert not np.array_equal(other.read(slice(0, 37)), pixels)
    assert len(list((tmp_path / "store").glob("*/pixels"))) == 2


def test_nothing_is_kept_without_a_folder(
    dataset: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One geometry at a time is in the temporary folder, its pixels no longer files once they are decoded."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("harness.decoding.store.temporary_folder", lambda: tmp_path / "tmp")

    with Store(dataset, Decoder(), None, workers=1) as store:
        store.decoded(Geometry(30, 28, "bilinear"), ignore).finish()
        decoded = store.decoded(GEOMETRY, ignore)
        decoded.finish()
        [folder] = (tmp_path / "tmp").iterdir()
        files = {path.name for path in folder.rglob("*") if path.is_file()}
        image = decoded.read(slice(20, 21))[0]

    assert not files & {"pixels", "hashes"}
    assert np.array_equal(image, crop_image(dataset.sources[20].read(), GEOMETRY))
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_store_without_write_permission_serves_who_needs_nothing_new(dataset: ImageDataset, opened: Opened) -> None:
    """Another user can read a store that is not theirs; what is missing there cannot be kept, which is an error."""
    if os.geteuid():
        pytest.skip("only root can become another user")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        dataset = open_dataset(shutil.copytree(dataset.root, folder / "images"))
        before = opened(dataset.subset(36), folder=folder / "store").read(slice(0, 36))
        os.seteuid(65534)
        try:
            after = opened(dataset.subset(36), folder=folder / "store").read(slice(0, 36))
            message = r"^decoded images cannot be kept in .*: Permission denied: .*; point --store at a folder that "
            with pytest.raises(StoreError, match=message):
                opened(dataset, folder=folder / "store").finish()
        finally:
            os.seteuid(0)

    assert np.array_equal(before, after)


def test_a_read_only_file_system_serves_who_needs_nothing_new(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are opened for reading; the last use cannot be noted there, which is no error."""
    before = opened().read(slice(0, 37))
    plain = os.open

    def read_only(path: Path, flags: int = os.O_RDWR, *mode: int, **_: object) -> int:
        if flags & os.O_RDWR:
            raise OSError(30, "Read-only file system")
        return plain(path, flags, *mode)

    monkeypatch.setattr(os, "open", read_only)
    monkeypatch.setattr(os, "utime", read_only)

    assert np.array_equal(before, opened().read(slice(0, 37)))


WHOLE = 37 * 28 * 28 * 3


@pytest.fixture
def folder(dataset: ImageDataset, opened: Opened, tmp_path: Path) -> Path:
    """Three stores, last used 3, 2 and 1 hours ago, the second of them a part."""
    for hours, resize, images in ((3, 32, 37), (2, 33, 10), (1, 34, 37)):
        opened(dataset.subset(images), geometry=Geometry(resize, 28, "bilinear")).finish()
        [about] = [path for path in tmp_path.glob("store/*/store.json") if path.stat().st_mtime > time.time() - 3000]
        os.utime(about, (0, time.time() - 3600 * hours))
    return tmp_path / "store"


def geometries(stores: list[StoreInfo]) -> list[str]:
    """Return what tells the stores apart."""
    return [str(store.description.geometry) for store in stores]


def test_stores_are_listed_the_last_used_first(folder: Path) -> None:
    """Each with what it is for, how many images it holds, its size on the disk, and its last use; no other folders."""
    (folder / "notes.txt").write_text("no store")
    (folder / "empty").mkdir()

    stores = list_stores(folder)

    assert geometries(stores) == ["34/28 bilinear", "33/28 bilinear", "32/28 bilinear"]
    assert [(store.decoded, store.description.images) for store in stores] == [(37, 37), (10, 37), (37, 37)]
    assert all("libjpeg-turbo" in store.description.versions for store in stores)
    assert all(WHOLE <= store.size <= WHOLE + 6 * 4096 for store in stores[::2])
    assert stores[1].size < WHOLE
    assert [round((time.time() - store.used) / 3600) for store in stores] == [1, 2, 3]
    assert list_stores(folder / "missing") == []  # as before the first run


def test_a_store_of_an_older_version_is_listed_and_pruned(folder: Path) -> None:
    """No run reads it any more, so that it would stay for ever."""
    old = list_stores(folder)[0].folder
    text = (old / "store.json").read_text()
    (old / "store.json").write_text(text.replace('"format": 3', '"format": 2'))

    [store] = [store for store in list_stores(folder) if store.folder == old]

    assert store.decoded == 0
    with pytest.raises(StoreError, match=r" cannot be verified: it is of an older version; remove that folder$"):
        verify(store, ignore)
    assert [kept for _, kept in prune([store], older_than=None, max_size=0)] == [""]


def test_a_damaged_image_is_named_and_forgotten(folder: Path) -> None:
    """Every decoded image is read; it is named by its id, once, and is to be decoded again."""
    store = list_stores(folder)[0]
    with (store.folder / "pixels").open("r+b") as file:
        file.seek(7 * 28 * 28 * 3)
        file.write(b"\x01\x02\x03\x04\x05")
    seen: list[tuple[int, int]] = []

    first, second = verify(store, ignore), verify(store, lambda *numbers: seen.append(numbers))

    assert (first, second) == (["07.JPEG"], [])
    assert seen[-1] == (36, 36)  # a missing row is no damage
    assert list_stores(folder)[0].decoded == 36


def replaced(old: str, new: str) -> Callable[[Path], object]:
    """Return what writes the sound description, but for this."""
    return lambda path: path.write_text(path.with_name("was.json").read_text().replace(old, new))


DAMAGED: dict[str, Callable[[Path], object]] = {
    "deep": lambda path: path.write_text('{"x":' * 200_000),
    "huge": lambda path: path.write_bytes(b"[" + b"0," * 10**6),
    "looped": lambda path: path.symlink_to(path),
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "pipe": os.mkfifo,
    "minus": replaced(" 37,", " -37,"),
    "large": replaced(" 28,", f" {'9' * 30},"),
    "escape": replaced("pillow", "\\u001b[2J"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_store_is_named_and_the_others_are_listed(folder: Path, damage: str) -> None:
    """Whatever its description is; what is not in a store's folder has no description, and is not named."""
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
    [(2.5, None, 2), (0.5, None, 0), (4, None, 3), (None, 0, 0), (None, 1, 1), (None, 2, 2), (None, 3, 3), (2.5, 1, 1)],
)
def test_old_stores_and_those_beyond_a_size_are_removed(
    folder: Path, hours: float | None, firsts: int | None, left: int
) -> None:
    """By age, or from the least recently used on, small or large, until the rest is small enough; with their locks."""
    stores = list_stores(folder)
    size = None if firsts is None else sum(store.size for store in stores[:firsts])

    gone = list(prune(stores, older_than=hours and hours * 3600, max_size=size))

    assert geometries(list_stores(folder)) == geometries(stores)[:left]
    assert gone == [(store, "") for store in stores[left:][::-1]]
    assert len(list(folder.iterdir())) == 2 * left


def test_a_store_that_cannot_be_removed_is_named_and_the_others_go(folder: Path) -> None:
    """One that another process is writing, and a link to a store elsewhere, which is not ours to remove."""
    stores = list_stores(folder)
    moved = stores[1].folder.rename(folder.with_name("elsewhere"))
    stores[1].folder.symlink_to(moved)

    with FileLock(f"{stores[2].folder}.lock"):
        gone = list(prune(list_stores(folder), older_than=None, max_size=0))

    assert [bool(kept) for _, kept in gone] == [True, True, False]
    assert gone[0][1] == "being built"
    assert geometries(list_stores(folder)) == geometries(stores)[1:]


def test_no_torch_is_needed() -> None:
    """Looking at what is in store takes no seconds of imports."""
    code = "import sys, harness.decoding.folder, harness.options; print('torch' in sys.modules)"

    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
