"""Tests of ``imagenet-gate store``: exit status and output."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.colours import EXPECTED, write_dataset
from tests.unit.cli.conftest import CommandLine

BUILD = ["store", "build", "colours", "--models=all", "--expected=expected.yaml"]


@pytest.fixture
def store(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """Run an action on the folder ``store``, with the 16 images of the small classifier, decoded by the command."""
    write_dataset(Path("colours"))
    Path("expected.yaml").write_text(EXPECTED)
    monkeypatch.setenv("IMAGENET_STORE", "/nowhere")
    monkeypatch.setattr("harness.report.progress._LINE_EVERY_SECONDS", 0.0)

    status, out, err = cli(*BUILD, "--store=store")

    assert 0 == status
    assert re.fullmatch(r"8/8 bilinear: decoded after \d+\.\d s\n", out)
    assert err.startswith("decoding: 0 of 16 images")
    return lambda *words: cli("store", *words, "--store=store")


def test_list_shows_each_store(store: CommandLine, cli: CommandLine, tmp_path: Path) -> None:
    """What it holds, of what and by what, and one line for all; a folder that is not there holds nothing."""
    found, nothing = store("list"), cli("store", "list", "--store=missing")

    name, *lines, total = found.lines
    assert re.fullmatch(r"[0-9a-f]{16} +\d+\.\d KB  used just now", name)
    assert ["    colours, 16 images, 8/8 bilinear", f"    of {tmp_path}/colours"] == lines[:2]
    assert lines[2].startswith("    by pillow (pillow ")
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

    name = f"{pixels.parent.name} (colours, 8/8 bilinear)"
    assert re.fullmatch(rf"{re.escape(name)}: 16 images are as they were decoded \(\d\.\d s\)\n", sound.out)
    differ = "2 of 16 images differ from their hashes: 00.JPEG, 01.JPEG; they will be decoded again"
    assert f"{name}: {differ}\n" == damaged.out
    assert after.out.startswith(f"{name}: 14 images are as they were decoded")
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
    assert re.match(r"removed: [0-9a-f]{16} .*\n    .*\n    of .*\n", pruned.out)
    assert re.search(r"^store: \d+\.\d KB freed, 0 B left$", pruned.out, re.MULTILINE)
    assert [] == list(Path("store").iterdir())
