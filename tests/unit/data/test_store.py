"""Tests of harness.data.store."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.data import decode, store
from harness.data.decode import crop_image
from harness.data.layouts import open_split
from harness.data.preset import Geometry
from harness.data.split import Split
from harness.data.store import Store, decode_split
from harness.errors import SplitError
from tests.images import noise, save

GEOMETRY = Geometry(resize=32, crop=28, interpolation="bilinear")


def ignore(_done: int, _images: int) -> None:
    """Show no progress."""


@pytest.fixture
def split(tmp_path: Path) -> Split:
    """37 images in two classes: three chunks, the last of them short."""
    for seed in range(37):
        save(noise(seed), tmp_path / "images" / ("n01440764", "n01443537")[seed % 2] / f"{seed:02}.JPEG")
    return open_split(str(tmp_path / "images"))


@pytest.mark.parametrize("workers", [1, 2])
def test_every_image_is_decoded_in_its_place(split: Split, workers: int, tmp_path: Path) -> None:
    """Row i is image i, whatever the number of workers; the progress ends with all images."""
    seen = []

    decoded = decode_split(split, GEOMETRY, tmp_path / "store", workers, lambda *numbers: seen.append(numbers))

    assert decoded.ids == split.ids
    assert np.array_equal(decoded.images, [crop_image(path, GEOMETRY) for path in split.paths])
    assert (seen[0], seen[-1]) == ((0, 37), (37, 37))
    assert sorted(seen) == seen


def test_unreadable_files_are_named_and_nothing_is_left(split: Split, tmp_path: Path) -> None:
    """All unreadable files are counted, the first are named with their reasons, and no store stays behind."""
    for path in split.paths[3:10]:
        path.write_bytes(b"no image")

    with pytest.raises(SplitError) as refusal:
        decode_split(split, GEOMETRY, tmp_path / "store", 2, ignore)

    message = str(refusal.value)
    assert message.startswith(f"7 of 37 images cannot be decoded: {split.paths[3]} (not an image); ")
    assert message.endswith("; and 2 more. Replace them; nothing is scored without them.")
    assert not (tmp_path / "store").exists()


def test_a_full_disk_is_met_before_decoding(split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room is claimed first; without it the sentence says how much is needed, how much is free, and what to do."""

    def no_room(_file: int, _offset: int, _size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_room)

    message = r"no room to decode into .*: 0.00 GB are needed and .* GB are free; point TMPDIR"
    with pytest.raises(SplitError, match=message):
        decode_split(split, GEOMETRY, tmp_path / "store", 1, ignore)

    assert not (tmp_path / "store").exists()


def kill(*_: object) -> list[tuple[str, str]]:
    """Die as a worker does that the kernel kills."""
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def test_a_worker_that_dies_is_an_error(split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed worker ends decoding with a sentence; a partly decoded split is never handed out."""
    monkeypatch.setattr(store, "crop_into", kill)

    message = r"a decoding process died after \d+ of 37 images .* try fewer --workers than 2"
    with pytest.raises(SplitError, match=message):
        decode_split(split, GEOMETRY, tmp_path / "store", 2, ignore)

    assert not (tmp_path / "store").exists()


def test_models_of_one_geometry_share_one_decoded_split(split: Split) -> None:
    """The second request for a geometry decodes nothing; another geometry takes its place."""
    with Store(split, workers=1) as decoding:
        first = decoding.decoded(GEOMETRY, ignore)
        second = decoding.decoded(Geometry(32, 28, "bilinear"), ignore)
        other = decoding.decoded(Geometry(30, 28, "bilinear"), ignore)

        assert second is first
        assert other is decoding.decoded(Geometry(30, 28, "bilinear"), ignore)
        assert not np.array_equal(other.images, first.images)


def test_unreadable_files_are_not_sought_twice(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second model is refused at once with the first one's sentence."""
    split.paths[0].write_bytes(b"no image")
    with Store(split, workers=1) as decoding:
        with pytest.raises(SplitError) as first:
            decoding.decoded(GEOMETRY, ignore)
        monkeypatch.setattr(store, "decode_split", None)

        with pytest.raises(SplitError) as second:
            decoding.decoded(GEOMETRY, ignore)

    assert str(second.value) == str(first.value)


def test_nothing_is_left_in_the_temporary_folder(split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pixels are no longer a file once they are decoded, so that a killed run leaves none behind."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))

    with Store(split, workers=1) as decoding:
        decoded = decoding.decoded(GEOMETRY, ignore)
        held = list((tmp_path / "tmp").glob("*/*"))

    assert held == []
    assert list((tmp_path / "tmp").iterdir()) == []
    assert np.array_equal(decoded.images[36], crop_image(split.paths[36], GEOMETRY))


def test_workers_use_one_thread_and_leave_interrupts_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A worker a core, a thread a worker; Ctrl-C is for the process that waits for them."""
    calls: list[object] = []
    monkeypatch.setattr(torch, "set_num_threads", calls.append)
    monkeypatch.setattr(signal, "signal", lambda *arguments: calls.append(arguments))

    decode.start_worker(tmp_path / "store")

    assert calls == [1, (signal.SIGINT, signal.SIG_IGN)]
