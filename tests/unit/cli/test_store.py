"""Tests of harness.cli.store: exit status and output."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.cli.main import main
from tests.colours import EXPECTED, write_dataset


@pytest.fixture
def store(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the 16 images of the small classifier, decoded ahead by the command."""
    write_dataset(tmp_path / "colours")
    (tmp_path / "expected.yaml").write_text(EXPECTED)
    monkeypatch.setenv("IMAGENET_STORE", "/nowhere")
    monkeypatch.setattr("harness.report.progress._LINE_EVERY_SECONDS", 0.0)
    arguments = ["store", "build", str(tmp_path / "colours"), "--models=all"]

    status = main([*arguments, f"--expected={tmp_path / 'expected.yaml'}", f"--store={tmp_path / 'store'}"])

    out, err = capsys.readouterr()
    assert status == 0
    assert re.fullmatch(r"8/8 bilinear: decoded after \d+\.\d s\n", out)
    assert err.startswith("decoding: 0 of 16 images")
    return tmp_path / "store"


def test_list_shows_each_store(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it holds, of what and by what, and one line for all; exit status 0."""
    status = main(["store", "list", f"--store={store}"])

    lines = capsys.readouterr().out.splitlines()
    assert status == 0
    assert re.fullmatch(r"[0-9a-f]{16} +\d+\.\d KB  used just now", lines[0])
    assert ["    colours, 16 images, 8/8 bilinear", f"    of {store.parent / 'colours'}"] == lines[1:3]
    assert lines[3].startswith("    by pillow (pillow ")
    assert max(map(len, lines[3:-1])) <= 80
    assert re.fullmatch(rf"{store}: 1 store, \d+\.\d KB", lines[-1])


def test_list_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is not there holds nothing; exit status 0."""
    status = main(["store", "list", f"--store={tmp_path / 'missing'}"])

    assert (f"{tmp_path / 'missing'}: 0 stores, 0 B\n", "") == capsys.readouterr()
    assert status == 0


def test_verify_finds_damage_once(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sound: 0. Damaged: 1, with the ids. Then it is to be decoded again, and what is left is sound."""
    [pixels] = store.glob("*/pixels")
    arguments = ["store", "verify", f"--store={store}"]

    sound = main(arguments)
    with pixels.open("r+b") as file:
        file.write(b"\0" * 200)
    damaged = main(arguments)
    after = main(arguments)

    name = f"{pixels.parent.name} (colours, 8/8 bilinear)"
    lines = capsys.readouterr().out.splitlines()
    assert [sound, damaged, after] == [0, 1, 0]
    assert re.fullmatch(rf"{re.escape(name)}: 16 images are as they were decoded \(\d\.\d s\)", lines[0])
    assert lines[1] == f"{name}: 2 of 16 images differ from their hashes: 00.JPEG, 01.JPEG; they will be decoded again"
    assert lines[2].startswith(f"{name}: 14 images are as they were decoded")


def test_verify_goes_on_after_a_store_without_ids(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A store that cannot be verified is a failure; nothing to verify is none."""
    [ids] = store.glob("*/ids.json")
    ids.unlink()

    statuses = [main(["store", "verify", f"--store={folder}"]) for folder in (store, store / "missing")]

    lines = capsys.readouterr().out.splitlines()
    assert statuses == [1, 0]
    assert lines[0].startswith(f"the store {ids.parent} cannot be verified: ")
    assert lines[1] == f"{store / 'missing'}: nothing to verify"


@pytest.mark.parametrize("action", ["list", "verify", "prune"])
def test_a_damaged_store_does_not_keep_others_from_use(
    store: Path, action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named on stderr; a failure of verify alone."""
    (store / "damaged").mkdir()
    (store / "damaged/store.json").symlink_to("store.json")

    status = main(["store", action, f"--store={store}", *(["--max-size=0KB"] if action == "prune" else [])])

    out, err = capsys.readouterr()
    assert status == (1 if action == "verify" else 0)
    assert re.search(r"^(removed: )?[0-9a-f]{16} ", out)
    assert err.splitlines()[-1].startswith(f"{store / 'damaged/store.json'} is not a store's description (")


def test_an_interrupt_is_one_word(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends a command without a traceback; exit status 130, as shells have it."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.cli.store.list_stores", interrupt)

    assert main(["store", "list"]) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


def test_prune_says_what_it_removed(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What goes is described, then what was freed and what is left; exit status 0."""
    kept = main(["store", "prune", f"--store={store}", "--older-than=12h", "--max-size=1MB"])
    before = capsys.readouterr().out
    pruned = main(["store", "prune", f"--store={store}", "--max-size", "0kb"])
    after = capsys.readouterr().out

    assert (kept, pruned) == (0, 0)
    assert re.fullmatch(rf"{store}: 0 B freed, \d+\.\d KB left\n", before)
    assert re.match(r"removed: [0-9a-f]{16} .*\n    .*\n    of .*\n", after)
    assert re.search(rf"^{store}: \d+\.\d KB freed, 0 B left$", after, re.MULTILINE)
    assert list(store.iterdir()) == []


def test_a_dataset_that_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The gate's own sentence, which reads names as the gate does; exit status 2."""
    (tmp_path / "expected.yaml").write_text(EXPECTED)

    status = main(["store", "build", "nowhere", "--models=nearest, near*", f"--expected={tmp_path / 'expected.yaml'}"])

    assert capsys.readouterr().err.startswith("error: DATASET 'nowhere': expected a folder or archive of images, ")
    assert status == 2
