"""Tests of harness.report.page.changes."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from harness.dataset import open_dataset
from harness.report.page.changes import Thumbnails
from tests.colours import write_dataset
from tests.images import save


def _image(uri: str) -> Image.Image:
    kind, _, data = uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_pictures_are_small_and_of_the_right_image(tmp_path: Path) -> None:
    """At most 128 pixels a side, whatever the file's mode and size."""
    root = write_dataset(tmp_path / "colours")
    [path] = root.glob("*/05.JPEG")
    save(Image.new("L", (900, 300), 200), path)
    thumbnails = Thumbnails(open_dataset(str(root)))

    picture = _image(thumbnails.of("05.JPEG"))

    assert (picture.size, picture.mode) == ((128, 43), "RGB")
    assert all(abs(band - 200) < 4 for band in picture.getpixel((60, 20)))  # type: ignore[union-attr]
    assert _image(thumbnails.of("04.JPEG")).size == (20, 14)


def test_a_file_that_cannot_be_read_has_no_picture(tmp_path: Path) -> None:
    """The card is shown without one."""
    root = write_dataset(tmp_path / "colours")
    thumbnails = Thumbnails(open_dataset(str(root)))
    for number, path in enumerate(sorted(root.glob("*/0[12].JPEG"))):
        path.write_bytes(b"none" * number)

    assert (thumbnails.of("01.JPEG"), thumbnails.of("02.JPEG")) == ("", "")


def test_a_file_that_is_too_large_to_be_an_image_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow refuses to decode what may be made to fill the memory."""
    thumbnails = Thumbnails(open_dataset(str(write_dataset(tmp_path / "colours"))))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)

    assert thumbnails.of("01.JPEG") == ""


def test_without_a_dataset_there_are_none() -> None:
    """And the page says why."""
    thumbnails = Thumbnails(None, "not allowed")

    assert (thumbnails.of("a"), thumbnails.why_not, thumbnails.class_names) == ("", "not allowed", ())
