"""Tests of harness.decoding.store.Store: the key of a store, and what is kept under it."""

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
from harness.decoding.store import Store, describe
from harness.errors import StoreError
from harness.options import Decoder
from harness.preset import Geometry

GEOMETRY = Geometry(resize=32, crop=28, interpolation="bilinear")


def ignore(_done: int, _images: int) -> None:
    """Show no progress."""


def key(dataset: ImageDataset, geometry: Geometry = GEOMETRY, decoder: str = "pillow") -> str:
    """Return what the store is kept under."""
    return describe(dataset, geometry, Decoder(decoder)).key


def test_the_key_holds_the_geometry_and_the_decoder(dataset: ImageDataset) -> None:
    """Anything that changes the crop is another store."""
    keys = [
        key(dataset),
        key(dataset, replace(GEOMETRY, resize=33)),
        key(dataset, replace(GEOMETRY, crop=27)),
        key(dataset, replace(GEOMETRY, interpolation="bicubic")),
        key(dataset, decoder="torchvision"),
    ]

    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("module", "name", "decoder"),
    [
        ("harness.decoding.decoders", "pillow_version", "pillow"),
        ("harness.decoding.decoders", "libjpeg_turbo_version", "pillow"),
        ("torchvision", "__version__", "torchvision"),
        ("torch", "__version__", "torchvision"),
        ("torch.backends.cpu", "get_cpu_capability", "torchvision"),
    ],
)
def test_the_key_holds_the_versions(
    dataset: ImageDataset, module: str, name: str, decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new version of anything that makes pixels builds a new store, so that the old one hides no regression."""
    before = key(dataset, decoder=decoder)
    other: Any = "other" if name == "__version__" else lambda: "other"
    monkeypatch.setattr(f"{module}.{name}", other)

    assert key(dataset, decoder=decoder) != before


@pytest.fixture
def pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages with a Pillow that has libraries of its own."""
    for name in ("PIL/__init__.py", "PIL/Image.py", "PIL/_imaging.so", "pillow.libs/libjpeg.so"):
        (tmp_path / "packages" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "packages" / name).write_bytes(b"as it was built first")
    monkeypatch.setattr("PIL.__file__", str(tmp_path / "packages/PIL/__init__.py"))
    return tmp_path / "packages"


@pytest.mark.parametrize("name", ["PIL/Image.py", "PIL/_imaging.so", "pillow.libs/libjpeg.so"])
def test_the_key_holds_the_content_of_pillow(dataset: ImageDataset, pillow: Path, name: str) -> None:
    """A Pillow that was built again under the same version builds a new store; one as before finds the old."""
    before, same = key(dataset), key(dataset)
    (pillow / name).write_bytes(b"as it was built again")
    decoders._digest_of.cache_clear()  # of a process, which reads the files once
    (pillow / "PIL/__pycache__").mkdir()

    assert before == same != key(dataset)


def test_a_pillow_without_libraries_of_its_own_has_a_key(dataset: ImageDataset, pillow: Path) -> None:
    """Such as that of a Linux distribution."""
    before = key(dataset)
    shutil.rmtree(pillow / "pillow.libs")

    assert key(dataset) != before


@pytest.mark.parametrize(
    ("name", "decoder", "is_held"),
    [
        ("transforms/functional.py", "pillow", False),
        ("transforms/functional.py", "torchvision", True),
        ("image.so", "torchvision", True),
        ("transforms/v2/functional/_geometry.py", "torchvision", True),
    ],
)
def test_the_key_holds_the_code_of_torchvision_that_the_decoder_runs(
    dataset: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, decoder: str, *, is_held: bool
) -> None:
    """With Pillow as decoder that is nothing, so that stores serve several versions of torch and torchvision."""
    package = tmp_path / "torchvision"
    (package / name).parent.mkdir(parents=True)
    (package / name).write_text("as it was")
    monkeypatch.setattr("torchvision.__file__", str(package / "__init__.py"))
    before = key(dataset, decoder=decoder)
    (package / name).write_text("as it is")
    decoders._digest_of.cache_clear()

    assert (key(dataset, decoder=decoder) != before) == is_held


def test_the_key_holds_the_code_of_the_decoders(
    dataset: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of the harness itself that changes pixels finds no store of the old code."""
    before = key(dataset)
    (tmp_path / "decoders.py").write_text(Path(decoders.__file__).read_text().replace("round(", "int("))
    monkeypatch.setattr(decoders, "__file__", str(tmp_path / "decoders.py"))

    assert key(dataset) != before


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
def test_the_key_holds_every_image(dataset: ImageDataset, change: Callable[[Path], None]) -> None:
    """Another time, size, name or number of files is another store."""
    change(dataset.root)

    assert key(open_dataset(str(dataset.root))) != key(dataset)


def test_the_key_does_not_hold_the_path(dataset: ImageDataset) -> None:
    """A dataset that is moved as it is, or of which a part is used, finds its store again."""
    moved = dataset.root.rename(dataset.root.with_name("elsewhere"))

    assert key(open_dataset(str(moved))) == key(dataset)
    assert key(dataset.subset(5)) == key(dataset)


def test_a_store_says_what_it_is_for(dataset: ImageDataset, tmp_path: Path) -> None:
    """The folder has its key as name, a description, and the ids of its rows; it is usable by hand."""
    with Store(dataset, Decoder(), tmp_path / "store", workers=1) as store:
        store.decoded(GEOMETRY, ignore).finish()

    [folder] = [path for path in (tmp_path / "store").iterdir() if path.is_dir()]
    about = msgspec.json.decode((folder / "store.json").read_bytes(), type=Description)
    pixels = np.memmap(folder / "pixels", np.uint8, "r", shape=(37, 28, 28, 3))
    assert folder.name == key(dataset) == about.key
    assert (about.dataset, about.dataset_format, about.images) == ("images", dataset.format, 37)
    assert (about.root, about.fingerprint) == (str(dataset.root), dataset.fingerprint)
    assert json.loads((folder / "ids.json").read_text()) == list(dataset.ids)
    assert np.array_equal(pixels[20], crop_image(dataset.sources[20].read(), GEOMETRY))


@pytest.mark.parametrize("damage", ["{", "[]", '{"dataset": "images"}', None])
def test_a_description_that_is_damaged_is_written_again(
    dataset: ImageDataset, tmp_path: Path, damage: str | None
) -> None:
    """A store that runs use is listed, too; None stands for lost ids."""
    for _ in range(2):
        with Store(dataset, Decoder(), tmp_path / "store", workers=1) as store:
            store.decoded(GEOMETRY, ignore).finish()
        [folder] = [path for path in (tmp_path / "store").iterdir() if path.is_dir()]
        assert json.loads((folder / "ids.json").read_text()) == list(dataset.ids)
        assert msgspec.json.decode((folder / "store.json").read_bytes(), type=Description).key == folder.name
        if damage is None:
            (folder / "ids.json").unlink()
        else:
            (folder / "store.json").write_text(damage)


def test_the_last_use_is_noted(dataset: ImageDataset, tmp_path: Path) -> None:
    """The time of the description is that of the last use, by which stores are pruned."""
    for _ in range(2):
        with Store(dataset, Decoder(), tmp_path / "store", workers=1) as store:
            store.decoded(GEOMETRY, ignore).finish()
        [about] = (tmp_path / "store").glob("*/store.json")
        used, now = about.stat().st_mtime, time.time()
        os.utime(about, (0, 0))

        assert now - 60 < used <= now + 1


def test_models_of_one_geometry_share_the_decoded_images(dataset: ImageDataset, tmp_path: Path) -> None:
    """The second request for a geometry is the first; another geometry closes it, and both are kept."""
    with Store(dataset, Decoder(), tmp_path / "store", workers=1) as store:
        first = store.decoded(GEOMETRY, ignore)
        pixels = first.read(slice(0, 37))
        second = store.decoded(Geometry(32, 28, "bilinear"), ignore)
        other = store.decoded(Geometry(30, 28, "bilinear"), ignore)

        assert second is first
        assert other is not first
        assert not np.array_equal(other.read(slice(0, 37)), pixels)
    assert len(list((tmp_path / "store").glob("*/pixels"))) == 2


def test_progress_is_that_of_the_last_request(dataset: ImageDataset, tmp_path: Path) -> None:
    """A model whose geometry is already open is shown the decoding that is left."""
    shown: list[tuple[int, int]] = []
    with Store(dataset, Decoder(), tmp_path / "store", 1) as store:
        store.decoded(GEOMETRY, ignore)

        store.decoded(GEOMETRY, lambda *numbers: shown.append(numbers)).finish()

    assert (len(dataset), len(dataset)) == shown[-1]


def test_nothing_is_kept_without_a_folder(
    dataset: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One geometry at a time is in the temporary folder, and nothing after that."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("harness.decoding.store.temporary_folder", lambda: tmp_path / "tmp")

    with Store(dataset, Decoder(), None, workers=1) as store:
        store.decoded(GEOMETRY, ignore).finish()
        store.decoded(Geometry(30, 28, "bilinear"), ignore).finish()
        folders = list((tmp_path / "tmp").iterdir())

    assert len(folders) == 1
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_store_without_write_permission_serves_who_needs_nothing_new(dataset: ImageDataset) -> None:
    """Another user can read a store that is not theirs; what is missing there cannot be kept, which is an error."""
    if os.geteuid():
        pytest.skip("only root can become another user")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        dataset = open_dataset(shutil.copytree(dataset.root, Path(folder) / "images"))
        with Store(dataset.subset(36), Decoder(), Path(folder) / "store", workers=1) as store:
            before = store.decoded(GEOMETRY, ignore).read(slice(0, 36))
        os.seteuid(65534)
        try:
            with Store(dataset.subset(36), Decoder(), Path(folder) / "store", workers=1) as store:
                after = store.decoded(GEOMETRY, ignore).read(slice(0, 36))
            with Store(dataset, Decoder(), Path(folder) / "store", workers=1) as store:
                message = (
                    r"^decoded images cannot be kept in .*: Permission denied: .*; point --store at a folder that "
                )
                with pytest.raises(StoreError, match=message):
                    store.decoded(GEOMETRY, ignore).finish()
        finally:
            os.seteuid(0)

    assert np.array_equal(before, after)


def test_a_read_only_file_system_serves_who_needs_nothing_new(
    dataset: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last use cannot be noted there, which is no error."""
    with Store(dataset, Decoder(), tmp_path / "store", workers=1) as store:
        before = store.decoded(GEOMETRY, ignore).read(slice(0, 37))

    def fail(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", fail)
    with Store(dataset, Decoder(), tmp_path / "store", workers=1) as store:
        assert np.array_equal(before, store.decoded(GEOMETRY, ignore).read(slice(0, 37)))
