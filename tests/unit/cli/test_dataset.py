"""Tests of harness.cli.dataset: exit status and output."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from harness.cli.main import main
from harness.formats import imagenet
from tests.colours import WNIDS, write_dataset
from tests.images import noise, save


def described(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Return the exit status and the lines."""
    status = main(["dataset", str(path), "--workers=2"])
    return status, capsys.readouterr().out.splitlines()


def test_a_sound_dataset_is_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All facts, one on a line; exit status 0."""
    root = write_dataset(tmp_path / "colours")
    save(noise(1, width=50, height=40).convert("L"), root / WNIDS[2] / "gray.JPEG")
    save(Image.new("RGBA", (30, 20)), root / WNIDS[3] / "alpha.JPEG", format="PNG")
    (root / WNIDS[2] / "notes.txt").touch()

    status, lines = described(root, capsys)

    labels = next(line for line in lines if line.startswith("labels"))
    digest = next(line for line in lines if line.startswith("digest"))
    assert lines == [
        "dataset:     colours",
        f"format:      class folders, {root}",
        "images:      18",
        "classes:     8 of 1,000, 1 to 3 in each",
        "encoding:    JPEG 17, PNG 1",
        "modes:       RGB 16, L 1, RGBA 1",
        "sizes:       20 to 50 wide, 14 to 40 high, most often 20 x 14 (16)",
        labels,
        digest,
        "duplicates:  4",
        "    00.JPEG = 08.JPEG = 12.JPEG",
        "    01.JPEG = 09.JPEG = 13.JPEG",
        "    02.JPEG = 10.JPEG = 14.JPEG",
        "    03.JPEG = 11.JPEG = 15.JPEG",
        "ignored:     1",
        f"    {WNIDS[2]}/notes.txt",
        "unreadable:  none",
        "It is not the ImageNet-1k validation set: its files are not named ILSVRC2012_val_*.JPEG.",
    ]
    assert status == 0


def test_unreadable_images_are_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is named with its reason, ten at most; exit status 1."""
    root = write_dataset(tmp_path / "colours")
    for number in range(12):
        (root / WNIDS[0] / f"bad{number:02}.JPEG").write_bytes(b"no image")

    status, lines = described(root, capsys)

    start = lines.index("unreadable:  12")
    assert lines[start + 1] == f"    {root}/{WNIDS[0]}/bad00.JPEG: not a JPEG, PNG or WEBP image"
    assert lines[start + 11] == "    and 2 more"
    assert lines[-1].startswith("Damaged. It is not the ImageNet-1k validation set: ")
    assert status == 1


def test_a_part_that_is_named_as_the_whole_is_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last line says what it lacks; exit status 1."""
    save(noise(1), tmp_path / imagenet.wnids()[65] / "ILSVRC2012_val_00000001.JPEG")

    status, lines = described(tmp_path, capsys)

    assert lines[-1] == (
        "Damaged or not whole: it is not the whole imagenet-1k validation set: it has 1 of the 50,000 images."
    )
    assert status == 1


def test_one_image_in_the_wrong_class_among_others_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also in a set that does not claim to be the validation set; exit status 2."""
    save(noise(1), tmp_path / imagenet.wnids()[0] / "ILSVRC2012_val_00000007.JPEG")
    save(noise(2), tmp_path / imagenet.wnids()[0] / "mine.JPEG")

    status = main(["dataset", str(tmp_path)])

    assert capsys.readouterr().err.startswith(
        f"error: {tmp_path}: 1 of 1 images lie in another class than their number"
    )
    assert status == 2


def test_progress_is_no_part_of_the_description(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes to stderr."""
    monkeypatch.setattr("harness.report.progress._LINE_EVERY_SECONDS", 0.0)

    main(["dataset", str(write_dataset(tmp_path / "colours")), "--workers=1"])

    out, err = capsys.readouterr()
    assert err.startswith("decoding: 1 of 16 images")
    assert "decoding" not in out


def test_no_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing folder is not damage; exit status 2."""
    status = main(["dataset", str(tmp_path / "missing")])

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: DATASET ")
    assert status == 2


def test_the_sample_of_real_images(real_images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """500 real images are sound, nine of them gray."""
    status, lines = described(real_images, capsys)

    assert "classes:     500 of 1,000, 1 in each" in lines
    assert "modes:       RGB 491, L 9" in lines
    assert status == 0
