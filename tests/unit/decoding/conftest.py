"""Fixtures of the tests of harness.decoding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.dataset import ImageDataset, open_dataset
from harness.decoding.store import DecodedImages, Progress, describe
from harness.options import Decoder
from harness.preset import Geometry
from tests.images import noise, save

GEOMETRY = Geometry(resize=32, crop=28, interpolation="bilinear")
Opened = Callable[..., DecodedImages]


@pytest.fixture
def dataset(tmp_path: Path) -> ImageDataset:
    """37 images in two classes: three chunks of work, the last of them short."""
    for seed in range(37):
        save(noise(seed), tmp_path / "images" / ("n01440764", "n01443537")[seed % 2] / f"{seed:02}.JPEG")
    return open_dataset(str(tmp_path / "images"))


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode in a thread, which starts at once and can be patched."""
    monkeypatch.setattr("harness.decoding.store.process_pool", lambda *_, **__: ThreadPoolExecutor(1))


@pytest.fixture
def opened(dataset: ImageDataset, tmp_path: Path) -> Iterator[Opened]:
    """Open the dataset, or a part of it, in the same store as often as wanted; None stands for no store."""
    everything: list[DecodedImages] = []

    def open_again(
        part: ImageDataset | None = None,
        *,
        folder: Path | None = tmp_path / "store",
        decoder: Decoder = Decoder(),  # noqa: B008
        geometry: Geometry = GEOMETRY,
        workers: int = 2,
        progress: Progress = lambda *_: None,
    ) -> DecodedImages:
        everything.append(DecodedImages(part or dataset, geometry, decoder, folder, workers))
        everything[-1].progress = progress
        return everything[-1]

    yield open_again
    for decoded in everything:
        decoded.close()


@pytest.fixture
def key(dataset: ImageDataset, tmp_path: Path) -> Path:
    """The folder of the store, with or without its files."""
    return tmp_path / "store" / describe(dataset, GEOMETRY, Decoder()).key
