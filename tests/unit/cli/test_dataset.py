"""Tests of ``imagenet-gate dataset``: exit status and output."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from harness.formats import imagenet
from tests.colours import WNIDS, write_dataset
from tests.images import noise, save
from tests.unit.cli.conftest import CommandLine


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """A folder with 16 images."""
    return write_dataset(tmp_path / "colours")


def test_a_sound_dataset_is_described(colours: Path, cli: CommandLine) -> None:
    """All facts, one on a line; exit status 0."""
    save(noise(1, width=50, height=40).convert("L"), colours / WNIDS[2] / "gray.JPEG")
    save(Image.new("RGBA", (30, 20)), colours / WNIDS[3] / "alpha.JPEG", format="PNG")
    (colours / WNIDS[2] / "notes.txt").touch()

    found = cli("dataset", colours, "--workers=2")

    assert 0 == found.status
    assert [line.partition(":")[0] for line in found.lines[7:9]] == ["labels", "digest"]
    assert [*found.lines[:7], *found.lines[9:]] == [
        "dataset:     colours",
        f"format:      class folders, {colours}",
        "images:      18",
        "classes:     8 of 1,000, 1 to 3 in each",
        "encoding:    JPEG 17, PNG 1",
        "modes:       RGB 16, L 1, RGBA 1",
        "sizes:       20 to 50 wide, 14 to 40 high, most often 20 x 14 (16)",
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


def test_unreadable_images_are_damage(colours: Path, cli: CommandLine) -> None:
    """Each is named with its reason, ten at most; exit status 1."""
    for number in range(12):
        (colours / WNIDS[0] / f"bad{number:02}.JPEG").write_bytes(b"no image")

    found = cli("dataset", colours, "--workers=2")

    start = found.lines.index("unreadable:  12")
    assert f"    {colours}/{WNIDS[0]}/bad00.JPEG: not a JPEG, PNG or WEBP image" == found.lines[start + 1]
    assert "    and 2 more" == found.lines[start + 11]
    assert found.lines[-1].startswith("Damaged. It is not the ImageNet-1k validation set: ")
    assert 1 == found.status


def test_a_part_that_is_named_as_the_whole_is_damage(tmp_path: Path, cli: CommandLine) -> None:
    """The last line says what it lacks; exit status 1."""
    save(noise(1), tmp_path / imagenet.wnids()[65] / "ILSVRC2012_val_00000001.JPEG")

    found = cli("dataset", ".", "--workers=1")

    lacks = "it is not the whole imagenet-1k validation set: it has 1 of the 50,000 images."
    assert (1, f"Damaged or not whole: {lacks}") == (found.status, found.lines[-1])


def test_one_image_in_the_wrong_class_among_others_is_an_error(tmp_path: Path, cli: CommandLine) -> None:
    """Also in a set that does not claim to be the validation set; exit status 2."""
    for seed, name in enumerate(("ILSVRC2012_val_00000007", "mine")):
        save(noise(seed), tmp_path / "set" / imagenet.wnids()[0] / f"{name}.JPEG")

    found = cli("dataset", "set")

    assert found.err.startswith("error: set: 1 of 1 images lie in another class than their number")
    assert 2 == found.status


def test_no_dataset(cli: CommandLine) -> None:
    """A missing folder is not damage; exit status 2."""
    status, out, err = cli("dataset", "missing")

    assert (2, "", "error: DATASET ") == (status, out, err[:15])
