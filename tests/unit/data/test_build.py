"""Tests of harness.data.build: rows decoded by real worker processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from harness.data import build as module
from harness.data.build import Build, Job, Target, Unreadable, decode_rows
from harness.data.decode import Decoded, crop_image
from harness.data.decoder import Decoder
from harness.data.preset import Geometry
from harness.data.source import FileSource, Source
from harness.data.split import Split
from harness.errors import SplitError, StoreError
from tests.images import noise, save

GEOMETRY = Geometry(resize=32, crop=28, interpolation="bilinear")


@pytest.fixture
def target(split: Split, tmp_path: Path) -> Target:
    """A folder with room for the split."""
    target = Target(tmp_path, len(split), GEOMETRY, Decoder())
    target.prepare()
    return target


def finish(build: Build) -> Build:
    """Go on until every row has been tried."""
    while not build.ended:
        build.step()
    build.close()
    return build


@pytest.mark.parametrize("workers", [1, 2])
def test_every_image_is_decoded_in_its_place(split: Split, target: Target, workers: int) -> None:
    """Row i is image i, whatever the number of workers, and rows that nobody asked for stay missing."""
    jobs: list[Job] = [(row, source) for row, source in enumerate(split.sources) if row != 20]

    build = finish(Build(jobs, target, workers, scratch=False))

    images = np.fromfile(target.folder / "pixels", np.uint8).reshape(37, 28, 28, 3)
    expected = [crop_image(source.read(), GEOMETRY) for source in split.sources]
    with target.open() as pixels:
        assert pixels.missing(split.rows).tolist() == [20]
    assert np.array_equal(np.delete(images, 20, axis=0), np.delete(expected, 20, axis=0))
    assert build.done == 36
    assert build.failure(37) is None


def test_unreadable_files_are_named(split: Split, target: Target) -> None:
    """All unreadable files are counted, the first are named with their reasons, and the others are decoded."""
    for source in split.sources[3:10]:
        Path(str(source)).write_bytes(b"no image")
    sources = [type(source).of(str(source)) for source in split.sources]  # type: ignore[attr-defined]

    failure = finish(Build(list(enumerate(sources)), target, 2, scratch=False)).failure(37)

    assert str(failure).startswith(f"7 of 37 images cannot be decoded: {split.sources[3]} (not an image); ")
    assert str(failure).endswith("; and 2 more. Replace them; nothing is scored without them.")
    with target.open() as pixels:
        assert pixels.missing(split.rows).tolist() == list(range(3, 10))


def kill(*_: object) -> list[Unreadable]:
    """Die as a worker does that the kernel kills."""
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def test_a_worker_that_dies_is_an_error(split: Split, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed worker ends decoding with a sentence."""
    monkeypatch.setattr(module, "decode_rows", kill)

    message = r"^a decoding process died after \d+ of 37 images .* try fewer --workers than 2$"
    with pytest.raises(SplitError, match=message):
        finish(Build(list(enumerate(split.sources)), target, 2, scratch=False))


def fill_the_disk(*_: object) -> list[Unreadable]:
    """Fail as a write does."""
    raise OSError(28, "No space left on device", "/store/pixels")


def test_a_disk_that_is_full_is_an_error(split: Split, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that cannot be written ends decoding with a sentence, and not with a signal."""
    monkeypatch.setattr(module, "decode_rows", fill_the_disk)

    message = r"^decoded images cannot be written to /store/pixels: No space left on device; make room, "
    with pytest.raises(StoreError, match=message):
        finish(Build(list(enumerate(split.sources)), target, 2, scratch=False))


@dataclass(frozen=True)
class InGroup:
    """A source that has to be read with its neighbours."""

    group: int
    identity: str = ""

    @property
    def neighbourhood(self) -> tuple[str, int]:
        """The group."""
        return "file", self.group

    def read(self) -> bytes:
        """Return nothing."""
        return b""


def test_what_is_read_as_a_whole_is_read_once(split: Split) -> None:
    """Rows of one row group are one piece of work, however they are scattered; files are parted as they come."""
    grouped: list[Job] = [(row, InGroup(row % 3)) for row in range(50)]
    files: list[Job] = list(enumerate(split.sources))

    by_group = [[row for row, _ in chunk] for chunk in module._chunks(grouped, 16)]
    by_count = [[row for row, _ in chunk] for chunk in module._chunks(files, 16)]

    assert by_group == [list(range(first, 50, 3)) for first in range(3)]
    assert by_count == [list(range(16)), list(range(16, 32)), list(range(32, 37))]


def test_a_device_is_given_large_batches_in_this_process(
    split: Split, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NvJPEG decodes many at once, in a thread; what it leaves to Pillow is told."""
    calls = []

    def decode(sources: Sequence[Source], geometry: Geometry, decoder: Decoder) -> list[Decoded]:
        calls.append((len(sources), geometry, decoder.device, os.getpid()))
        return [
            Decoded(crop_image(source.read(), geometry), by_pillow=source == split.sources[5]) for source in sources
        ]

    monkeypatch.setattr(module, "decode", decode)
    on_device = Target(target.folder, 37, GEOMETRY, Decoder("nvjpeg", "cuda:0"))

    build = Build(list(enumerate(split.sources)), on_device, 2, scratch=False)

    assert isinstance(build._executor, ThreadPoolExecutor)
    assert finish(build).failure(37) is None
    assert on_device.rows_by_pillow() == [5]
    assert calls == [(37, GEOMETRY, "cuda:0", os.getpid())]


def test_rows_by_pillow_are_noted(target: Target) -> None:
    """They are remembered with the pixels, each once, for the runs that only read them; a torn line is no row."""
    before = target.rows_by_pillow()
    for row in (30, 4, 5, 4):
        target.note_by_pillow(row)
    with (target.folder / "by-pillow").open("ab") as noted:
        noted.write(b"\xff\xfe7\n1x")

    assert (before, target.rows_by_pillow()) == ([], [4, 5, 30])


def test_rows_by_pillow_are_noted_by_the_workers(target: Target, tmp_path: Path) -> None:
    """At once, and not at the end of a build that may be killed."""
    source = FileSource.of(save(noise(1), tmp_path / "1.JPEG", format="PNG"))
    with_torchvision = replace(target, decoder=Decoder("torchvision"))

    unreadable = decode_rows([(9, source)], with_torchvision)

    assert (unreadable, target.rows_by_pillow()) == ([], [9])
