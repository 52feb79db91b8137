"""Tests of ``imagenet-gate dataset`` and ``store``: exit status and output."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from harness.formats import imagenet
from tests.colors import EXPECTED, WNIDS, write_dataset
from tests.images import noise, save
from tests.unit.cli.conftest import CommandLine


@pytest.fixture
def colors(tmp_path: Path) -> Path:
    """A folder with 16 images."""
    return write_dataset(tmp_path / "colors")


def test_a_sound_dataset_is_described(colors: Path, cli: CommandLine) -> None:
    """All facts, one on a line; exit status 0."""
    save(noise(1, width=50, height=40).convert("L"), colors / WNIDS[2] / "gray.JPEG")
    save(Image.new("RGBA", (30, 20)), colors / WNIDS[3] / "alpha.JPEG", format="PNG")
    (colors / WNIDS[2] / "notes.txt").touch()

    found = cli("dataset", colors, "--workers=2")

    assert 0 == found.status
    assert [line.partition(":")[0] for line in found.lines[7:9]] == ["labels", "digest"]
    assert [*found.lines[:7], *found.lines[9:]] == [
        "dataset:     colors",
        f"format:      class folders, {colors}",
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


def test_unreadable_images_are_damage(colors: Path, cli: CommandLine) -> None:
    """Each is named with its reason, ten at most; exit status 1."""
    for number in range(12):
        (colors / WNIDS[0] / f"bad{number:02}.JPEG").write_bytes(b"no image")

    found = cli("dataset", colors, "--workers=2")

    start = found.lines.index("unreadable:  12")
    assert f"    {colors}/{WNIDS[0]}/bad00.JPEG: not a JPEG, PNG or WEBP image" == found.lines[start + 1]
    assert "    and 2 more" == found.lines[start + 11]
    assert found.lines[-1].startswith("Damaged. It is not the ImageNet-1k validation set: ")
    assert 1 == found.status


def test_a_part_that_is_named_as_the_whole_is_damage(tmp_path: Path, cli: CommandLine) -> None:
    """The last line says what it lacks; exit status 1."""
    save(noise(1), tmp_path / imagenet.wnids()[65] / "ILSVRC2012_val_00000001.JPEG")

    found = cli("dataset", ".", "--workers=1")

    lacks = "it is not the whole imagenet-1k validation set: it has 1 of the 50,000 images."
    assert (1, f"Damaged or not whole: {lacks}") == (found.status, found.lines[-1])


@pytest.fixture
def store(colors: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """Run an action on the folder ``store``, with the 16 images of the small classifier, decoded by the command."""
    Path("expected.yaml").write_text(EXPECTED)
    monkeypatch.setenv("IMAGENET_STORE", "/nowhere")
    monkeypatch.setattr("harness.report.progress._LINE_EVERY_SECONDS", 0.0)

    status, out, err = cli("store", "build", colors, "--models=all", "--expected=expected.yaml", "--store=store")

    assert 0 == status
    assert re.fullmatch(r"8/8 bilinear: decoded after \d+\.\d s\n", out)
    assert err.startswith("decoding: 0 of 16 images")
    return lambda *words: cli("store", *words, "--store=store")


def test_list_shows_each_store(store: CommandLine, cli: CommandLine, tmp_path: Path) -> None:
    """What it holds, of what and by what, and one line for all; a folder that is not there holds nothing."""
    found, nothing = store("list"), cli("store", "list", "--store=missing")

    name, *lines, total = found.lines
    assert re.fullmatch(r"[0-9a-f]{16} +\d+\.\d KB  used just now", name)
    assert ["    colors, 16 images, 8/8 bilinear", f"    source: {tmp_path}/colors"] == lines[:2]
    assert lines[2].startswith("    decoder: pillow (pillow ")
    assert max(map(len, lines[2:])) <= 80
    assert re.fullmatch(r"store: 1 store, \d+\.\d KB", total)
    assert (0, "missing: 0 stores, 0 B\n") == (found.status, nothing.out)


def test_verify_finds_damage_once(store: CommandLine) -> None:
    """Sound: 0. Damaged: 1, with the ids. Then it is to be decoded again, and what is left is sound."""
    [pixels] = Path("store").glob("*/pixels")

    sound = store("verify")
    with pixels.open("r+b") as file:
        file.write(b"\0" * 200)
    damaged, after = store("verify"), store("verify")

    name = f"{pixels.parent.name} (colors, 8/8 bilinear)"
    assert re.fullmatch(rf"{re.escape(name)}: 16 images match their hashes \(\d\.\d s\)\n", sound.out)
    differ = "2 of 16 images differ from their hashes: 00.JPEG, 01.JPEG; they will be decoded again"
    assert f"{name}: {differ}\n" == damaged.out
    assert after.out.startswith(f"{name}: 14 images match their hashes")
    assert [0, 1, 0] == [found.status for found in (sound, damaged, after)]


def test_verify_goes_on_after_a_store_without_ids(store: CommandLine, cli: CommandLine) -> None:
    """A store that cannot be verified is a failure; nothing to verify is none."""
    [ids] = Path("store").glob("*/ids.json")
    ids.unlink()

    found = store("verify")

    assert 1 == found.status
    assert found.out.startswith(f"the store {ids.parent} cannot be verified: ")
    assert (0, "none: nothing to verify\n", "") == cli("store", "verify", "--store=none")


@pytest.mark.parametrize("words", [["list"], ["verify"], ["prune", "--max-size=0KB"]])
def test_a_damaged_store_does_not_keep_others_from_use(store: CommandLine, words: list[str]) -> None:
    """It is named on stderr; a failure of verify alone."""
    Path("store/damaged").mkdir()
    Path("store/damaged/store.json").symlink_to("store.json")

    status, out, err = store(*words)

    assert (1 if words == ["verify"] else 0) == status
    assert re.search(r"^(removed: )?[0-9a-f]{16} ", out)
    assert err.splitlines()[-1].startswith("store/damaged/store.json is not a store's description (")


def test_prune_says_what_it_removed(store: CommandLine) -> None:
    """What goes is described, then what was freed and what is left; exit status 0."""
    kept = store("prune", "--older-than=12h", "--max-size=1MB")
    pruned = store("prune", "--max-size", "0kb")

    assert (0, 0) == (kept.status, pruned.status)
    assert re.fullmatch(r"store: 0 B freed, \d+\.\d KB left\n", kept.out)
    assert re.match(r"removed: [0-9a-f]{16} .*\n    .*\n    source: .*\n", pruned.out)
    assert re.search(r"^store: \d+\.\d KB freed, 0 B left$", pruned.out, re.MULTILINE)
    assert [] == list(Path("store").iterdir())


def test_a_store_that_cannot_be_removed_is_a_failure(store: CommandLine) -> None:
    """It is named, with the reason, and counts as left."""
    [folder] = (ids.parent for ids in Path("store").glob("*/ids.json"))
    folder.rename("elsewhere")
    folder.symlink_to(Path("elsewhere").absolute())

    status, out, _ = store("prune", "--max-size=0KB")

    assert 1 == status
    assert re.match(rf"kept, .+: {folder.name} ", out)
    assert re.search(r"^store: 0 B freed, \d+\.\d KB left$", out, re.MULTILINE)
