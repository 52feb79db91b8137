"""Tests of the folder of a store: its key, what is kept there, and who can use it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from harness.dataset import ImageDataset, open_dataset
from harness.decoding import decoders
from harness.decoding.decoders import crop_image
from harness.decoding.folder import Description
from harness.decoding.store import DecodedImages, Store, describe
from harness.errors import StoreError
from harness.options import Decoder
from harness.preset import Geometry
from tests.archives import write_files

GEOMETRY = Geometry(resize=32, crop=28, interpolation="bilinear")
Opened = Callable[..., DecodedImages]

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


def test_a_pillow_without_libraries_of_its_own_has_a_key(
    dataset: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as that of a Linux distribution."""
    install(tmp_path, monkeypatch)
    shutil.rmtree(tmp_path / "pillow.libs")

    assert key_of(dataset)


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
    """The folder has its key as name, a description, and the ids of its rows; it is usable by hand."""
    opened().finish()

    about = msgspec.json.decode((key / "store.json").read_bytes(), type=Description)
    pixels = np.memmap(key / "pixels", np.uint8, "r", shape=(37, 28, 28, 3))
    assert [about.key] == [path.name for path in key.parent.iterdir() if path.is_dir()]
    assert (about.dataset, about.dataset_format, about.images) == ("images", dataset.format, 37)
    assert (about.root, about.fingerprint) == (str(dataset.root), dataset.fingerprint)
    assert json.loads((key / "ids.json").read_text()) == list(dataset.ids)
    assert np.array_equal(pixels[20], crop_image(dataset.sources[20].read(), GEOMETRY))


@pytest.mark.parametrize("damage", ["{", "[]", '{"dataset": "images"}', None])
def test_a_description_that_is_damaged_is_written_again(opened: Opened, key: Path, damage: str | None) -> None:
    """A store that runs use is listed, too; None stands for lost ids."""
    opened().finish()
    before = (key / "ids.json").read_bytes(), (key / "store.json").read_bytes()
    if damage is None:
        (key / "ids.json").unlink()
    else:
        (key / "store.json").write_text(damage)

    opened().finish()

    assert before == ((key / "ids.json").read_bytes(), (key / "store.json").read_bytes())


def test_the_last_use_is_noted(opened: Opened, key: Path) -> None:
    """The time of the description is that of the last use, by which stores are pruned."""
    for _ in range(2):
        opened().finish()
        used, now = (key / "store.json").stat().st_mtime, time.time()
        os.utime(key / "store.json", (0, 0))

        assert now - 60 < used <= now + 1


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
