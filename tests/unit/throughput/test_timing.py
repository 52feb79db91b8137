"""Tests of harness.throughput.timing."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.errors import DeviceError, EvaluationError, HarnessError
from harness.expected import Case, Entry, ModelSpec
from harness.models import Model
from harness.precision import DEFAULT, Setting
from harness.predict import Normalize
from harness.preset import Geometry, Preset
from harness.throughput.timing import Bench, TimedForward, compiling, conditions, peak_tflops

pytestmark = pytest.mark.usefixtures("less_to_measure")
CPU = torch.device("cpu")
CONTIGUOUS = Setting("fp32", "contiguous")
COMPILED = Setting(compiled=True)
PRESET = Preset(Geometry(8, 8, "bilinear"), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


class Recorder(nn.Module):
    """A model that keeps its input and the state of torch, and whose logits are those of three images."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.seen: list[tuple[Tensor, tuple[bool, str]]] = []
        self._logits = torch.tensor(logits or (1.0, 1.0, 1.0))[:, None].expand(3, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return (3, 10)."""
        state = torch.is_inference_mode_enabled(), torch.get_float32_matmul_precision()
        self.seen.append((images.clone(), state))
        return self._logits


def _timed(module: nn.Module, setting: Setting = DEFAULT) -> TimedForward:
    model = Model(module.eval(), PRESET, None, parameters=0, gmacs=1.0, sha256="")
    return TimedForward(model, CPU, Case(Entry(ModelSpec("any", "V1")), setting, batch_size=3), peak=1.0)


@pytest.mark.parametrize("memory_format", ["channels_last", "contiguous_format"])
def test_the_forward_is_the_one_that_is_scored(memory_format: str) -> None:
    """Without gradients, in the precision, on normalized images: noise, the same in each call and each run."""
    model, setting = Recorder(), Setting("fp32", memory_format.removesuffix("_format"))
    timed = _timed(model, setting)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")

    with conditions(setting, CPU):
        timed()
        timed()

    after = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(before)
    crops = torch.randint(0, 256, (3, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert [(True, "highest")] * 2 == [state for _, state in model.seen]
    for images, _ in model.seen:
        assert torch.equal(images, Normalize(PRESET, CPU)(crops))
        assert images.is_contiguous(memory_format=getattr(torch, memory_format))
    assert (after, timed.device_seconds) == ("medium", [])


@pytest.mark.parametrize(
    ("seconds", "calls", "total", "stable"),
    [
        ([0.1] * 10, 10, 1.0, True),
        ([0.102] * 5 + [0.1] * 5, 10, 1.01, True),
        ([0.103] * 5 + [0.1] * 100, 13, 5 * 0.103 + 0.8, True),  # of the older five three are fast, and so the median
        ([0.1, 0.1, 0.1, 0.5, 0.5] * 2, 10, 2.6, True),
        ([1 / 64] * 1_000, 32, 0.5, True),
        ([0.5 + 0.1 * number for number in range(100)], 7, 5.6, False),
        ([60.0] * 2, 2, 120.0, False),
    ],
    ids=["ten", "2%", "3%", "single slow calls", "half a second", "never the same", "long calls"],
)
def test_warm_up_ends_when_calls_take_the_same_or_the_time_is_up(
    seconds: list[float], calls: int, total: float, stable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first, whose logits are checked: medians of two windows of five differ by at most 2%, or 5 s."""
    monkeypatch.setattr("harness.throughput.timing._LEAST_SECONDS", 0.5)
    timed, times = _timed(Recorder(), COMPILED), iter([90.0, *seconds])
    monkeypatch.setattr("harness.throughput.timing.seconds_of", lambda _call: next(times))

    assert timed.warm_up() == {"calls": 1 + calls, "seconds": pytest.approx(total), "stable": stable}
    assert timed.result([0.1]).compile_seconds == 90.0 - median(seconds[:calls])


def test_a_model_without_finite_logits_is_not_timed() -> None:
    """Its speed would be that of nothing; one image is enough."""
    with pytest.raises(EvaluationError, match=r"^1 of 3 images have non-finite logits, so there is no speed"):
        _timed(Recorder(1.0, float("inf"), 1.0)).warm_up()


def test_the_peak_is_operations_over_the_fastest_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here on matrices of 64: 2 x 64^3 operations by the fastest of ten products."""
    instants = iter([0.0, 4.0, 10.0, 12.0] + [20.0, 23.0] * 8)
    monkeypatch.setattr("harness.throughput.machine.time.perf_counter", lambda: next(instants))

    assert peak_tflops(DEFAULT, CPU) == 2 * 64**3 / 2.0 / 1e12


class Sized(nn.Module):
    """A model with a kernel larger than one pixel, so that memory formats differ."""

    def __init__(self, width: int = 10) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, width)."""
        logits: Tensor = self.conv(images).mean(dim=(2, 3))
        return logits


class Full(Sized):
    """One on a device that has memory for so many images."""

    room = 2

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, width)."""
        if torch.is_inference_mode_enabled() and len(images) > self.room:  # not while its operations are counted
            raise RuntimeError("CUDA out of memory")
        return super().forward(images)


def broken() -> nn.Module:
    """Build a model that gives no logits."""
    return nn.Flatten(0)


def _case(
    setting: Setting = DEFAULT, batch_size: int | None = 2, weights: str = "V1", function: Callable[..., Any] = Sized
) -> Case:
    spec = ModelSpec("small", weights, f"{__name__}:{function.__name__}", PRESET)
    return Case(Entry(spec), setting, batch_size)


def test_the_result_has_the_names_the_calls_and_what_was_measured_around_them() -> None:
    """One peak for all of a precision; a CPU's memory is known only of a process that times nothing else."""
    bench = Bench("cpu", ["fp32"])

    with bench.prepared(_case(CONTIGUOUS, batch_size=3)) as timed:
        result = timed.result([0.5, 0.25])
    with bench.prepared(_case(), alone=True) as timed:
        alone = timed.result([0.5])

    assert (result.id, result.model, result.weights) == ("small-V1-fp32-contiguous-b3", "small", "V1")
    assert result.setting == CONTIGUOUS
    assert (result.batch_size, result.seconds, result.device_seconds) == (3, (0.5, 0.25), None)
    assert result.gmacs == 6 * 6 * 270 / 1e9
    assert result.warm_up["calls"] >= 3
    assert result.yardstick is not None
    assert (result.clocks, result.peak_memory, result.compile_seconds) == (None, None, None)
    assert alone.peak_memory is not None
    assert alone.peak_tflops == result.peak_tflops


@pytest.mark.parametrize(("function", "tried", "found"), [(Sized, 4, 4), (Full, 2, 2)], ids=["growth", "memory"])
def test_the_batch_size_is_doubled_until_images_per_second_no_longer_grow(
    function: Callable[..., Any], tried: int, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By less than 5%, or until memory ends: it is timed at the size that twice the size does not make faster."""
    seconds = {1: 0.1, 2: 0.1, 4: 0.1, 8: 0.195, 16: 0.1}  # images/s are 10, 20, 40, 41; what follows is not tried

    def of_its_size(call: Any) -> float:
        return seconds[len(call())] if isinstance(call, TimedForward) else 1.0

    monkeypatch.setattr("harness.throughput.timing.seconds_of", of_its_size)
    with Bench("cpu", ["fp32"]).prepared(_case(batch_size=None, function=function)) as timed:
        result = timed.result([0.1])

    assert [(1, 10.0), (2, 20.0), (4, 40.0), (8, 8 / 0.195)][:tried] == list(result.sweep)
    assert (found, 10.0 * found) == (result.batch_size, result.images_per_second)
    assert found == len(timed())


@pytest.mark.parametrize(
    ("function", "room", "batch_size", "sentence"),
    [
        (Full, 0, None, "small-V1: cpu ran out of memory for a batch of one image"),
        (Full, 3, 4, "cpu ran out of memory for batches of 4: give smaller --batch-sizes"),
        (Sized, 0, 300_000_000_000, "cpu ran out of memory for batches of 300000000000: give smaller --batch-sizes"),
        (broken, 0, 4, "expected logits of shape"),
    ],
)
def test_what_cannot_be_timed_is_an_error(
    function: Callable[..., Any], room: int, batch_size: int | None, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch is not halved in silence: its speed would be another's."""
    monkeypatch.setattr(Full, "room", room)
    case = _case(batch_size=batch_size, function=function)

    with pytest.raises(HarnessError, match=sentence), Bench("cpu", ["fp32"]).prepared(case):
        pass


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[Any], str]]:
    """Return, of each graph that is compiled, its batch size if it is the model's, and the cache's folder."""
    found: list[tuple[list[Any], str]] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:  # runs it eager: quick, and the same
        shapes = (each.shape for each in inputs if isinstance(each, Tensor))
        sizes = [size for size, *image in shapes if image == [3, 8, 8]]
        found.append((sizes, os.environ["TORCHINDUCTOR_CACHE_DIR"]))
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    return found


def test_the_compiler_begins_anew(compiled: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an empty cache instead of the user's, and started: something else is compiled first."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)

    with Bench("cpu", ["fp32"]).prepared(_case(COMPILED)):
        pass
    with pytest.raises(KeyError), Bench("cpu", ["fp32"]).prepared(_case(COMPILED)):
        raise KeyError

    assert [[], [2]] * 2 == [sizes for sizes, _ in compiled]
    folders = [folder for _, folder in compiled]
    assert [folders[0], folders[0], folders[2], folders[2]] == folders
    assert 3 == len({str(tmp_path), *folders})
    assert not any(Path(folder).exists() for folder in folders)  # after an error, too
    assert str(tmp_path) == os.environ["TORCHINDUCTOR_CACHE_DIR"]
    assert "TRITON_CACHE_DIR" not in os.environ


@pytest.mark.slow
def test_nothing_is_compiled_already() -> None:
    """What was compiled before is not used again, neither from a file nor from memory: here, what starts torch."""
    compiled = []

    for _ in range(3):
        with compiling(torch.device("cpu")):
            files = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).rglob("*.so")
            compiled.append(len(list(files)))

    assert 0 < compiled[1] == compiled[2] <= compiled[0]  # at first also what torch tries out once in a process


def test_each_model_is_compiled_for_each_batch_size(compiled: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Dynamo compiles code for eight models, here two, and for any batch size at the second, unless it is reset."""
    monkeypatch.setattr("torch._dynamo.config.cache_size_limit", 2)
    bench = Bench("cpu", ["fp32"])

    for weights in ("V1", "V2", "V3"):
        for batch_size in (2, 7):
            with bench.prepared(_case(COMPILED, batch_size, weights)):
                pass

    sizes = [size for sizes, _ in compiled for size in sizes]
    assert [2, 7] * 3 == sizes
    assert {int} == {type(size) for size in sizes}


def test_a_model_is_freed_before_the_next_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a session of many would hold them all, and each peak of memory those before."""
    alive: list[int] = []
    built: list[weakref.ref[nn.Module]] = []
    bench = Bench("cpu", ["fp32"])

    def broken() -> nn.Module:
        gc.collect()
        alive.append(sum(one() is not None for one in built))
        model = Sized(10 + len(built))
        built.append(weakref.ref(model))
        return model

    monkeypatch.setattr(f"{__name__}.broken", broken)
    for number in range(3):
        with bench.prepared(_case(weights=f"V{number}", function=broken)):
            pass

    assert [0, 0, 0] == alive


def test_a_precision_that_the_device_does_not_support_is_not_timed() -> None:
    """It would be timed as another under its name."""
    with pytest.raises(DeviceError, match=r"^--precision tf32: the device cpu does not support it"):
        Bench("cpu", ["fp32", "tf32"])
