"""The painted images: the same pixels everywhere."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from harness.synthetic import images
from harness.synthetic.rendering import CLASSES, render


def test_rendering_gives_the_recorded_bytes(tmp_path: Path) -> None:
    """Names, kinds, sizes and pixels, which the expected accuracies and the shipped baseline stand on."""
    render(tmp_path, "val")

    assert images.DIGEST == images.digest(tmp_path)


def test_fitting_images_are_balanced_and_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every class has 4 fitting images, plain RGB JPEG files, none of them a validation image."""
    monkeypatch.setattr("harness.synthetic.rendering.CLASSES", CLASSES[:7])

    render(tmp_path / "fit", "fit")
    render(tmp_path / "val", "val")

    fit, val = ([*(tmp_path / part).glob("*/*")] for part in ("fit", "val"))
    assert dict.fromkeys(CLASSES[:7], 4) == Counter(path.parent.name for path in fit)
    assert {path.read_bytes() for path in fit}.isdisjoint(path.read_bytes() for path in val)
    for path in fit:
        with Image.open(path) as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")
