"""Tests of harness.prefetch: the pinned buffers, on simulated streams."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from harness.prefetch import Prefetch
from harness.preset import Geometry
from tests.crops import InMemory


def tagged(images: int) -> InMemory:
    """Return images of 2 by 2 pixels; every value is its image's index."""
    pixels = np.arange(images, dtype=np.uint8).repeat(12).reshape(images, 2, 2, 3)
    return InMemory(pixels, Geometry(2, 2, "bilinear"))


class Stream(list[Callable[[], object]]):
    """Work that is put off until somebody has to wait for it, as late as a device may do it."""

    def wait_event(self, event: Event) -> None:
        """Queue waiting for what the event was last recorded after."""
        self.append(event.synchronize)

    def wait_stream(self, other: Stream) -> None:
        """Queue waiting for what the other stream has been given so far."""
        event = Event()
        event.record(other)
        self.wait_event(event)

    def work_until(self, reached: Callable[[], object]) -> None:
        """Do what is queued, in order, until something has been reached."""
        while not reached():
            self.pop(0)()


class Event:
    """An event; one that was never recorded is done."""

    def __init__(self) -> None:
        self.synchronize: Callable[[], object] = lambda: None

    def record(self, stream: Stream) -> None:
        """Mark the stream's present end."""
        reached: list[bool] = []
        stream.append(lambda: reached.append(True))
        self.synchronize = lambda: stream.work_until(lambda: reached)


class Device:
    """A simulated CUDA device with two streams, and so many bytes that are free or cached by torch's allocator."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, free: int, cached: int = 0) -> None:
        self.computing, self.copying = Stream(), Stream()
        empty, copy = torch.empty, torch.Tensor.copy_
        monkeypatch.setattr(torch, "empty", lambda shape, dtype, **_: empty(shape, dtype=dtype))
        monkeypatch.setattr(torch.cuda, "Event", Event)
        monkeypatch.setattr(torch.cuda, "Stream", lambda _: self.copying)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda _: self.computing)
        monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 10**9))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 50 + cached)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 50)
        monkeypatch.setattr(
            torch.Tensor, "copy_", lambda to, source, **_: self.copying.append(partial(copy, to, source))
        )
        self.prefetch = Prefetch(torch.device("cuda"))

    def consume(self, images: InMemory) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return what a model sees that works as late as it may."""
        consumed: list[np.ndarray[Any, np.dtype[np.uint8]]] = []
        for batch in self.prefetch.batches(images, 4):
            self.computing.append(partial(lambda batch: consumed.append(batch.numpy().copy()), batch))
        self.computing.work_until(lambda: not self.computing)
        return np.concatenate(consumed)


@pytest.mark.parametrize("free", [0, 10**6], ids=["in slots", "kept"])
@pytest.mark.parametrize("images", [1, 4, 5, 12, 13, 40, 41])
def test_no_buffer_is_overwritten_before_it_was_used(images: int, free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if copies and computation happen as late as they may, each batch arrives whole and in order."""
    device = Device(monkeypatch, free)

    assert np.array_equal(tagged(images).images, device.consume(tagged(images)))


NEEDED = 2 * 9 * 12
"""Bytes that are free where nine images are kept: twice as many as they take."""


@pytest.mark.parametrize(
    ("free", "cached", "kept"),
    [(NEEDED, 0, True), (10, NEEDED - 10, True), (NEEDED - 1, 0, False)],
    ids=["enough", "enough in torch's allocator", "not enough"],
)
def test_images_stay_on_a_device_with_room(free: int, cached: int, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second model reads nothing from the store; images of another geometry take their place."""
    device, images, others = Device(monkeypatch, free, cached), tagged(9), tagged(8)

    for consumed in (images, images, others, images):
        assert np.array_equal(consumed.images, device.consume(consumed))

    assert list(range(9)) * (2 if kept else 3) == images.rows_read


def test_images_that_memory_ran_out_beside_are_not_kept_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for the next model either, which would only fail again; images of another geometry are."""
    device, images, others = Device(monkeypatch, free=10**6), tagged(9), tagged(8)
    device.consume(images)

    released = device.prefetch.release(images), device.prefetch.release(images)
    for consumed in (images, images, others, others):
        device.consume(consumed)

    assert (True, False) == released
    assert list(range(9)) * 3 == images.rows_read
    assert list(range(8)) == others.rows_read


def test_an_unfinished_pass_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of which a part was moved are all moved again."""
    device, images = Device(monkeypatch, free=10**6), tagged(9)

    batches = device.prefetch.batches(images, 4)
    next(batches)
    batches.close()  # type: ignore[attr-defined]

    assert np.array_equal(images.images, device.consume(images))
