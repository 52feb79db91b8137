"""The store of decoded images: reused, shared, killed, damaged, full, or not writable."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from harness.decoding import decoders
from tests.builder import Builder
from tests.colors import WNIDS
from tests.faults.planted import FAULTS
from tests.images import noise, save
from tests.integration.conftest import Gate, table_line

IMAGES = 320


@pytest.mark.usefixtures("every_line")
def test_a_second_run_decodes_nothing(gate: Gate) -> None:
    """The images that a run decoded are used by the next one, with the same values; not with --no-store."""
    first, second = gate("--imagenet=colors"), gate("--imagenet=colors")
    without = gate("--imagenet=colors", "--no-store")

    assert [True, False, True] == [": decoding: " in run.stdout.str() for run in (first, second, without)]
    assert table_line(first) == table_line(second) == table_line(without)
    without.stdout.fnmatch_lines(["decoder: pillow, --workers 2, decoded images not kept"])


def test_a_fault_fails_on_a_store_that_sound_code_filled(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stored pixels would pass; the summary of a sound run says that they were compared."""
    first, second = gate("--imagenet=colors"), gate("--imagenet=colors")
    [fault] = [fault for fault in FAULTS if fault.name == "BGR"]
    monkeypatch.setattr(decoders, "crop_image", fault.replace(decoders.crop_image))

    faulty = gate("--imagenet=colors")

    anew = "*16 stored images decoded again: identical"
    first.stdout.no_fnmatch_line(anew)
    second.stdout.fnmatch_lines([anew])
    second.assert_outcomes(passed=1)
    faulty.assert_outcomes(errors=1)
    differ = "differ from *, such as *00.JPEG; give --no-store to *"
    faulty.stdout.fnmatch_lines([f"16 of 16 images in the store *, decoded anew by pillow, {differ}"])


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of the only store in a folder."""
    [store] = [path for path in folder.iterdir() if path.is_dir()]
    return {path.name: path.read_bytes() for path in store.iterdir()}


@pytest.mark.slow
def test_a_killed_build_is_continued_and_two_builds_share_a_store(tmp_path: Path) -> None:
    """Killed by SIGKILL in the middle: decoded images are kept, and in the end every byte is the same."""
    many = tmp_path / "dataset"
    original = save(noise(1, width=700, height=700), many / WNIDS[0] / "0.JPEG")
    for copy in range(1, IMAGES):
        os.link(original, original.with_name(f"{copy}.JPEG"))
    killed = Builder(many, tmp_path / "killed")
    begun = list(itertools.islice(killed.reports(), 3))
    killed.kill()

    builders = [Builder(many, tmp_path / folder) for folder in ("killed", "together", "together")]
    done, *both = (list(builder.reports()) for builder in builders)

    assert [0, 0, 0] == [builder.status for builder in builders]
    assert [*begun, *done] == sorted([*begun, *done])
    assert (0, IMAGES) == (begun[0], done[-1])
    assert done[0] != 0
    assert any(both)
    assert all(not counts or counts[-1] == IMAGES for counts in both)
    assert contents(tmp_path / "killed") == contents(tmp_path / "together")
