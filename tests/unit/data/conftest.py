"""Fixtures of the tests of harness.data."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.data.layouts import open_split
from harness.data.rendering import render
from harness.data.split import Split
from tests.images import noise, save


@pytest.fixture(scope="session")
def val(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded split's images, rendered once; not to be changed."""
    root = tmp_path_factory.mktemp("val")
    render(root, "val")
    return root


@pytest.fixture
def split(tmp_path: Path) -> Split:
    """37 images in two classes: three chunks of work, the last of them short."""
    for seed in range(37):
        save(noise(seed), tmp_path / "images" / ("n01440764", "n01443537")[seed % 2] / f"{seed:02}.JPEG")
    return open_split(str(tmp_path / "images"))
