"""Fixtures of the tests of harness.decoding."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.dataset import ImageDataset, open_dataset
from tests.images import noise, save


@pytest.fixture
def dataset(tmp_path: Path) -> ImageDataset:
    """37 images in two classes: three chunks of work, the last of them short."""
    for seed in range(37):
        save(noise(seed), tmp_path / "images" / ("n01440764", "n01443537")[seed % 2] / f"{seed:02}.JPEG")
    return open_dataset(str(tmp_path / "images"))
