"""The loop on a device: how it is fed, what it waits for, and what happens when memory runs out or nvJPEG decodes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torchvision.models import vgg16
from torchvision.models.resnet import BasicBlock

from harness.dataset import SYNTHETIC, open_dataset
from harness.decoding.decoders import Decoded, decode
from harness.decoding.store import Store
from harness.device import current
from harness.expected import Case, Entry, ModelSpec
from harness.models import Model, in_setting
from harness.options import Decoder
from harness.precision import DEFAULT, Setting
from harness.prefetch import Prefetch
from harness.preset import Geometry, Preset
from harness.throughput.machine import seconds_of
from harness.throughput.timing import TimedForward, conditions
from tests.gpu.conftest import MEAN, STD, Record, equal, images, logits_of, run

pytestmark = pytest.mark.gpu
CROPS = Geometry(256, 224, "bilinear")


@pytest.mark.parametrize("keeping", [False, True], ids=["in slots", "kept"])
def test_batches_arrive_as_they_were(keeping: bool, device: torch.device) -> None:
    """Through pinned memory and a stream of its own, the second time too."""
    crops, prefetch = images(1001, 32), Prefetch(device)
    if not keeping:
        prefetch.release(crops)

    for _ in range(2):
        with current(device):
            batches = [batch.clone() for batch in prefetch.batches(crops, 64)]
        assert np.array_equal(torch.cat(batches).cpu().numpy(), crops.images)
    assert len(crops.rows_read) == (1001 if keeping and device.type == "cuda" else 2002)


def test_the_loop_does_not_wait_for_the_device(model: nn.Module, gpu: torch.device) -> None:
    """Between the first batch and the last, nothing that it calls makes the host wait for kernels."""

    def progress(done: int, total: int) -> None:
        torch.cuda.set_sync_debug_mode("default" if done == total else "error")

    try:
        run(model, images(512), Prefetch(gpu), progress=progress)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_copies_overlap_with_kernels(model: nn.Module, gpu: torch.device, record_property: Record) -> None:
    """One batch is copied while another is computed."""
    crops, prefetch = images(1024), Prefetch(gpu)
    prefetch.release(crops)
    run(model, crops, prefetch)  # warm up

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        run(model, crops, prefetch)

    spans = [
        (event.time_range.start, event.time_range.end, "Memcpy HtoD" in event.name)
        for event in profiled.events()
        if event.device_type.name == "CUDA"
    ]
    copies = [(start, end) for start, end, is_copy in spans if is_copy and end - start > 100]
    kernels = sorted((start, end) for start, end, is_copy in spans if not is_copy)
    overlapping = sum(max(0, min(copy[1], end) - max(copy[0], start)) for copy in copies for start, end in kernels)
    total = sum(end - start for start, end in copies)
    beside = f"{overlapping / total:.0%} beside kernels"
    record_property("copies", f"{len(copies)} of a batch, {total / 1e3:.1f} ms, {beside}")
    busy = sum(end - start for start, end in kernels) / (kernels[-1][1] - kernels[0][0])
    record_property("the device computes", f"{busy:.0%} of the time")
    assert overlapping > 0


def test_memory_that_runs_out_halves_the_batch(gpu: torch.device, record_property: Record) -> None:
    """And the predictions are those of a run with the smaller batches."""
    torch.manual_seed(0)
    large, crops = vgg16().eval().to(gpu, memory_format=torch.channels_last), images(300)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(gpu).total_memory
    used = torch.cuda.memory_allocated(gpu)
    torch.cuda.set_per_process_memory_fraction((used + 3e9) / total, gpu)
    try:
        capped = run(large, crops, Prefetch(gpu), batch_size=256)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, gpu)
    free = run(large, crops, Prefetch(gpu), batch_size=capped.batch_size)

    record_property("batch size", f"256 -> {capped.batch_size} with 3 GB beside the model")
    assert capped.batch_size < 256
    assert equal(capped.predictions, free.predictions)


def test_geometries_take_turns(model: nn.Module, device: torch.device) -> None:
    """224, 384 and 224 again: the predictions are the same as at first."""
    number = 300 if device.type == "cuda" else 8
    small, large, prefetch = images(number), images(number, 384), Prefetch(device)

    first, _, last = (run(model, crops, prefetch) for crops in (small, large, small))

    assert equal(first.predictions, last.predictions)


def test_a_compiled_model_predicts_the_same(gpu: torch.device, record_property: Record) -> None:
    """Its logits move by no more than the noise floor of fp32."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 64, 7, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(1024, 1000)
    crops, eager = images(256), nn.Sequential(*layers).eval().to(gpu)

    plain = run(eager, crops, Prefetch(gpu))
    compiled = run(torch.compile(eager), crops, Prefetch(gpu), setting=Setting(compiled=True))

    before, after = logits_of(plain.predictions), logits_of(compiled.predictions)
    moved = np.abs(before - after).max() / before.std()
    record_property("largest difference", f"{moved:.1e} standard deviations of the logits")
    assert moved < 1e-4


def test_all_models_of_a_family_are_compiled(device: torch.device, record_property: Record) -> None:
    """Dynamo compiles a piece of code for eight models, and runs the ninth eager unless it is reset."""
    preset = Preset(Geometry(8, 8, "bilinear"), MEAN, STD)
    number, graphs = 9 if device.type == "cuda" else 2, []

    for width in range(10, 10 + number):
        loaded = Model(BasicBlock(width, width).eval(), preset, None, 0, 1.0, "")
        compiled = in_setting(loaded, device, Setting(compiled=True)).module
        torch._dynamo.utils.counters.clear()
        with torch.inference_mode():
            compiled(torch.zeros(1, width, 8, 8, device=device))
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])

    record_property("graphs compiled for models of one family", graphs)
    assert [1] * number == graphs


@pytest.fixture
def busy(model: nn.Module, gpu: torch.device) -> Iterator[list[torch.Tensor]]:
    """A forward that runs again and again in another thread, on the default stream; yields its logits."""
    stop, logits = threading.Event(), []
    batch = torch.randn(64, 3, 224, 224, device=gpu, generator=torch.Generator(gpu).manual_seed(0))

    def work() -> None:
        with conditions(Setting(), gpu):
            while not stop.is_set():
                logits.append(model(batch.clone()).clone())
                torch.cuda.current_stream().synchronize()  # a queue without end would leave no turn to others

    thread = threading.Thread(target=work)
    thread.start()
    yield logits
    stop.set()
    thread.join()


def test_nvjpeg_beside_a_running_forward(busy: list[torch.Tensor], gpu: torch.device, record_property: Record) -> None:
    """Three rounds give the pixels of the first, and the forward the logits that it gave before."""
    sources = open_dataset(SYNTHETIC).sources[:256]

    rounds = [decode(sources, CROPS, Decoder("nvjpeg", str(gpu))) for _ in range(4)]

    first, *others = map(_pixels, rounds)
    assert len(first) == 256
    record_property("decoded by Pillow", sum(image.by_pillow for image in rounds[0]))
    assert all(np.array_equal(first, each) for each in others)
    difference = np.abs(first.astype(int) - _pixels(decode(sources, CROPS, Decoder("torchvision"))))
    record_property("against torchvision on the CPU", f"up to {difference.max()} levels, mean {difference.mean():.3f}")
    torch.cuda.synchronize()
    record_property("forwards meanwhile", len(busy))
    assert all(torch.equal(busy[0], each) for each in busy[1:])


def _pixels(images: list[Decoded]) -> NDArray[np.uint8]:
    return np.stack([image.crop for image in images if image.crop is not None])


def test_nvjpeg_fills_a_store(gpu: torch.device, tmp_path: Path) -> None:
    """Its pixels are kept under its own name, and are the same when decoded anew."""
    dataset, decoder = open_dataset(SYNTHETIC).subset(200), Decoder("nvjpeg", str(gpu))
    with closing(Store(dataset, decoder, tmp_path, 1)) as store:
        found = store.decoded(CROPS, lambda *_: None).read(slice(0, 200))

    assert np.array_equal(_pixels(decode(dataset.sources, CROPS, decoder)), found)


def test_each_timed_call_is_timed_by_the_device_too(model: nn.Module, gpu: torch.device) -> None:
    """Two events around each call; what lies between them cannot take longer than the call."""
    loaded = Model(model, Preset(Geometry(224, 224, "bilinear"), MEAN, STD), None, 0, 1.0, "")
    with conditions(DEFAULT, gpu):
        timed = TimedForward(loaded, gpu, Case(Entry(ModelSpec("any", "V1")), DEFAULT, 8), peak=1.0)
        calls = [seconds_of(timed) for _ in range(5)]

    assert all(0 < there <= call for there, call in zip(timed.device_seconds, calls, strict=True))
