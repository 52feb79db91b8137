"""Tests of harness.evaluation.feed: the ring of pinned buffers, on simulated streams and on a real device."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from harness.data.preset import Geometry, Preset
from harness.data.store import DecodedSplit
from harness.evaluation.feed import feed
from harness.evaluation.loop import predict
from harness.evaluation.precision import PRECISIONS

with_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


def pixels(images: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return (images, 2, 2, 3) with every value telling its image."""
    return np.arange(images, dtype=np.uint8).repeat(12).reshape(images, 2, 2, 3)


@pytest.mark.parametrize("images", [1, 3, 4, 5, 8, 9])
def test_batches_are_consecutive_and_the_last_may_be_short(images: int) -> None:
    """Together the batches are the images, in order, each once."""
    batches = [batch.clone() for batch in feed(pixels(images), 4, torch.device("cpu"))]

    assert [len(batch) for batch in batches] == [4] * (images // 4) + ([images % 4] if images % 4 else [])
    assert np.array_equal(torch.cat(batches).numpy(), pixels(images))


class Stream:
    """A stream whose work is put off until somebody has to wait for it, as late as a device may do it."""

    def __init__(self) -> None:
        self._queue: list[Callable[[], object]] = []

    def add(self, work: Callable[[], object]) -> None:
        """Queue work."""
        self._queue.append(work)

    def wait_event(self, event: Event) -> None:
        """Queue waiting for what the event was last recorded after."""
        self.add(event.recorded)

    def wait_stream(self, other: Stream) -> None:
        """Queue waiting for what the other stream has been given so far."""
        event = Event()
        event.record(other)
        self.wait_event(event)

    def work_until(self, reached: Callable[[], object]) -> None:
        """Do what is queued, in order, until something has been reached."""
        while not reached():
            self._queue.pop(0)()

    def finish(self) -> None:
        """Do all that is queued."""
        self.work_until(lambda: not self._queue)


class Event:
    """An event; one that was never recorded is done."""

    def __init__(self) -> None:
        self.recorded: Callable[[], object] = lambda: None

    def record(self, stream: Stream) -> None:
        """Mark the stream's present end."""
        reached: list[bool] = []
        stream.add(lambda: reached.append(True))
        self.recorded = lambda: stream.work_until(lambda: reached)

    def synchronize(self) -> None:
        """Wait on the host."""
        self.recorded()


@pytest.mark.parametrize("images", [1, 4, 5, 12, 13, 40, 41])
def test_no_buffer_is_overwritten_before_it_was_used(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if copies and computation happen as late as they may, each batch arrives whole and in order."""
    computing, copying = Stream(), Stream()
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda shape, dtype, **_: empty(shape, dtype=dtype))
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "Stream", lambda _: copying)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: computing)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    copy = torch.Tensor.copy_
    monkeypatch.setattr(
        torch.Tensor,
        "copy_",
        lambda target, source, non_blocking: copying.add(lambda: copy(target, source)),  # noqa: ARG005
    )
    consumed: list[np.ndarray[Any, np.dtype[np.uint8]]] = []

    for batch in feed(pixels(images), 4, torch.device("cuda")):
        computing.add(partial(lambda batch: consumed.append(batch.numpy().copy()), batch))
    computing.finish()

    assert np.array_equal(np.concatenate(consumed), pixels(images))


@with_cuda
def test_batches_arrive_on_a_real_device() -> None:
    """Through pinned memory and a stream of its own, all images arrive as they were."""
    images = np.random.RandomState(0).randint(0, 256, (1001, 32, 32, 3)).astype(np.uint8)

    batches = [batch.clone() for batch in feed(images, 64, torch.device("cuda"))]

    assert np.array_equal(torch.cat(batches).cpu().numpy(), images)


@with_cuda
def test_a_real_device_gives_the_answers_of_the_cpu() -> None:
    """In float32 the logits agree to rounding, and the best classes are the same."""
    preset = Preset(Geometry(32, 32, "bilinear"), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    images = np.random.RandomState(0).randint(0, 256, (333, 32, 32, 3)).astype(np.uint8)
    decoded = DecodedSplit(tuple(map(str, range(333))), images, preset.geometry, 0.0)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.Flatten(), torch.nn.Linear(14400, 50)).eval()

    cpu, cuda = (
        predict(model.to(device), decoded, preset, device=device, precision=PRECISIONS["fp32"], batch_size=64)
        for device in (torch.device("cpu"), torch.device("cuda"))
    )

    assert np.array_equal(cpu.top5[:, 0], cuda.top5[:, 0])
    assert np.allclose(cpu.logits, cuda.logits, rtol=1e-4, atol=1e-5)
