"""Tests of harness.throughput.timing."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.errors import DeviceError, EvaluationError
from harness.expected import Case, Entry, ModelSpec
from harness.models import Model
from harness.precision import DEFAULT, Setting
from harness.predict import Normalize
from harness.preset import Geometry, Preset
from harness.throughput.timing import (
    Bench,
    TimedForward,
    _is_stable,
    compiling,
    conditions,
    peak_tflops,
    require_finite,
)
from tests.quick import measure_less

CPU = torch.device("cpu")
CONTIGUOUS = Setting("fp32", "contiguous")
PRESET = Preset(Geometry(8, 8, "bilinear"), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


@pytest.fixture(autouse=True)
def _less_work(monkeypatch: pytest.MonkeyPatch) -> None:
    measure_less(monkeypatch)


class Recorder(nn.Module):
    """A model that keeps its input, and whose logits all are ``logit``."""

    def __init__(self, logit: float = 1.0) -> None:
        super().__init__()
        self.seen: list[Tensor] = []
        self.inference: list[bool] = []
        self._logit = logit

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, 10)."""
        self.seen.append(images.clone())
        self.inference.append(torch.is_inference_mode_enabled())
        return torch.full((len(images), 10), self._logit)


def _timed(
    module: nn.Module, batch_size: int = 3, setting: Setting = DEFAULT, device: torch.device = CPU
) -> TimedForward:
    model = Model(module.eval(), PRESET, None, parameters=0, gmacs=1.0, sha256="")
    return TimedForward(model, device, Case(Entry(ModelSpec("any", "V1")), setting, batch_size), peak=1.0)


@pytest.mark.parametrize("memory_format", ["channels_last", "contiguous"])
def test_the_forward_is_the_one_that_is_scored(memory_format: str) -> None:
    """The model is given normalized images in the memory format: noise, the same in each call and each run."""
    model = Recorder()
    timed = _timed(model, 4, Setting("fp32", memory_format))

    timed()
    timed()

    crops = torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert all(torch.equal(images, Normalize(PRESET, CPU)(crops)) for images in model.seen)
    assert len(model.seen) == 2
    assert model.seen[0].is_contiguous(
        memory_format=torch.channels_last if memory_format == "channels_last" else torch.contiguous_format
    )
    assert timed.device_seconds == []


def test_under_its_conditions_nothing_is_recorded_for_gradients() -> None:
    """As in the gate; and the precision's switches are applied there, and restored."""
    model = Recorder()
    timed = _timed(model)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")

    with conditions(DEFAULT, CPU):
        timed()
        inside = torch.get_float32_matmul_precision()

    after = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(before)
    assert (model.inference, inside, after) == ([True], "highest", "medium")


class Clock:
    """A forward that takes the given seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: Iterator[float]) -> None:
        self.calls = 0
        self._seconds = seconds
        monkeypatch.setattr("harness.throughput.timing.seconds_of", self)

    def __call__(self, _call: object) -> float:
        """Return the next."""
        self.calls += 1
        return next(self._seconds)


def test_warm_up_ends_when_calls_take_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first, ten calls of which the first five are slow, then alike: five more are needed to see it."""
    timed = _timed(Recorder())
    clock = Clock(monkeypatch, iter([9.0] + [0.2] * 5 + [0.1] * 100))

    warm_up = timed.warm_up()

    # Windows of five: at the 13th call three of the older five are fast, and so is their median.
    assert clock.calls == 14
    assert (warm_up["calls"], warm_up["stable"]) == (14, True)
    assert warm_up["seconds"] == pytest.approx(5 * 0.2 + 8 * 0.1)


def test_warm_up_ends_when_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that never settles is measured all the same, and the record says that it was not stable."""
    timed = _timed(Recorder())
    clock = Clock(monkeypatch, (0.4 + 0.1 * number for number in range(100)))

    warm_up = timed.warm_up()

    assert clock.calls == 1 + 7  # 5.6 s; six are 4.5 s
    assert not warm_up["stable"]


def test_warm_up_lasts_half_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """However alike the calls are: the clocks of a device may rise more slowly than ten short calls take."""
    monkeypatch.setattr("harness.throughput.timing._LEAST_SECONDS", 0.5)
    timed = _timed(Recorder())
    clock = Clock(monkeypatch, iter([1.0] + [1 / 64] * 1_000))

    assert {"calls": 33, "seconds": 0.5, "stable": True} == timed.warm_up()
    assert clock.calls == 33


def test_warm_up_is_two_calls_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the one whose logits are checked, even if each takes longer than the whole warm-up may."""
    timed = _timed(Recorder())
    clock = Clock(monkeypatch, iter([60.0, 60.0, 60.0, 60.0]))

    assert timed.warm_up() == {"calls": 3, "seconds": 120.0, "stable": False}
    assert clock.calls == 3


@pytest.mark.parametrize("logit", [float("nan"), float("inf")])
def test_a_model_without_finite_logits_is_not_timed(logit: float) -> None:
    """Its speed would be that of nothing."""
    with pytest.raises(
        EvaluationError, match=r"^3 of 3 images have non-finite logits, so there is no speed to report$"
    ):
        _timed(Recorder(logit)).warm_up()


def test_one_image_without_finite_logits_is_enough() -> None:
    """Among others that are fine."""
    logits = torch.zeros(5, 10)
    logits[3, 7] = float("nan")

    with pytest.raises(EvaluationError, match=r"^1 of 5 images"):
        require_finite(logits)

    require_finite(torch.zeros(5, 10))


class Hungry(nn.Module):
    """A model for whose batch there is no memory."""

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, 10)."""
        return torch.zeros(len(images), 10)


def test_a_batch_that_does_not_fit_into_memory() -> None:
    """The batch is not halved in silence: its speed would be another's."""
    spec = ModelSpec("any", "V1", f"{__name__}:Hungry", PRESET)

    with (
        pytest.raises(
            DeviceError, match=r"^cpu ran out of memory for batches of 300000000000: give smaller --batch-sizes$"
        ),
        Bench("cpu", ["fp32"]).prepared(Case(Entry(spec), DEFAULT, 300_000_000_000)),
    ):
        pass


@pytest.mark.parametrize(
    ("seconds", "stable"),
    [
        ([1.0] * 9, False),
        ([1.0] * 10, True),
        ([1.02] * 5 + [1.0] * 5, True),
        ([1.03] * 5 + [1.0] * 5, False),
        ([9.0] * 5 + [1.0] * 10, True),
        ([1.0, 1.0, 1.0, 5.0, 5.0] * 2, True),
    ],
)
def test_stable_is_two_windows_alike(seconds: list[float], stable: bool) -> None:
    """The medians of the last five and of the five before differ by 2 % at most; single slow calls do not count."""
    assert _is_stable(seconds) == stable


def test_the_peak_is_operations_over_the_fastest_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here on matrices of 64: 2 x 64^3 operations by the fastest of ten products."""
    instants = iter([0.0, 4.0, 10.0, 12.0] + [20.0, 23.0] * 8)
    monkeypatch.setattr("harness.throughput.machine.time.perf_counter", lambda: next(instants))

    assert peak_tflops(DEFAULT, CPU) == 2 * 64**3 / 2.0 / 1e12


def small() -> nn.Module:
    """Build a model with a kernel larger than one pixel, so that memory formats differ."""
    return nn.Sequential(nn.Conv2d(3, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def broken() -> nn.Module:
    """Build a model that gives no logits."""
    return nn.Flatten(0)


def _case(function: str, setting: Setting = DEFAULT, batch_size: int = 2) -> Case:
    return Case(Entry(ModelSpec(function, "V1", f"{__name__}:{function}", PRESET)), setting, batch_size)


def test_the_result_has_the_names_the_calls_and_what_was_measured_around_them() -> None:
    """One pass from a case to its result."""
    with Bench("cpu", ["fp32"]).prepared(_case("small", CONTIGUOUS, batch_size=3)) as timed:
        result = timed.result([0.5, 0.25])

    assert (result.id, result.model, result.weights) == ("small-V1-fp32-contiguous-b3", "small", "V1")
    assert result.setting == CONTIGUOUS
    assert (result.batch_size, result.seconds, result.device_seconds) == (3, (0.5, 0.25), None)
    assert result.gmacs == 6 * 6 * 270 / 1e9
    assert result.warm_up["calls"] >= 3
    assert result.yardstick is not None
    assert result.clocks is None
    assert (result.peak_memory, result.compile_seconds) == (None, None)


def test_the_time_to_compile_is_what_the_first_call_takes_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Than the median of the calls of the warm-up; of a model that is not compiled there is none."""
    found = []

    for compiled in (True, False):
        Clock(monkeypatch, iter([5.0, 2.0, 1.0, 2.0] + [2.0] * 10))
        timed = _timed(Recorder(), setting=Setting(compiled=compiled))
        timed.warm_up()
        found.append(timed.result([2.0]).compile_seconds)

    assert [3.0, None] == found


SECONDS_BY_SIZE = {1: 0.1, 2: 0.1, 4: 0.1, 8: 0.195, 16: 0.1}
"""Of a call: images/s are 10, 20, 40 and 41, and what comes then is not tried."""


def test_the_batch_size_is_doubled_until_images_per_second_no_longer_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """By less than 5 %: it is timed at the size that twice the size does not make faster."""
    by_size = {3 * 8 * 8 * size: seconds for size, seconds in SECONDS_BY_SIZE.items()}
    taken = {"calls": 0}

    def of_its_size(call: Any) -> float:
        taken["calls"] += 1
        return by_size[call._crops.numel()] if isinstance(call, TimedForward) else 1.0

    monkeypatch.setattr("harness.throughput.timing.seconds_of", of_its_size)
    case = replace(_case("small"), batch_size=None)
    with Bench("cpu", ["fp32"]).prepared(case) as timed:
        result = timed.result([0.1])

    assert [(1, 10.0), (2, 20.0), (4, 40.0), (8, 8 / 0.195)] == list(result.sweep)
    assert (4, 40.0) == (result.batch_size, result.images_per_second)
    assert 4 == len(timed())


class Full(nn.Module):
    """A model on a device that has memory for so many images."""

    room = 2

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, 10)."""
        if len(images) > self.room:
            raise RuntimeError("CUDA out of memory")
        return torch.zeros(len(images), 10)


@pytest.mark.parametrize(("room", "size"), [(2, 2), (0, None)])
def test_the_search_ends_where_memory_does(room: int, size: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the largest batch that fits; none is an error."""
    monkeypatch.setattr("harness.throughput.timing.seconds_of", lambda _call: 0.1)
    monkeypatch.setattr("harness.throughput.timing._SIZES", [1, 2, 4, 8])
    monkeypatch.setattr(Full, "room", room)
    monkeypatch.setattr("harness.models._count_gmacs", lambda *_: 1.0)
    case = Case(Entry(ModelSpec("full", "V1", f"{__name__}:Full", PRESET)))
    outcome: Any = nullcontext() if size else pytest.raises(DeviceError, match="out of memory for a batch of one image")

    with outcome, Bench("cpu", ["fp32"]).prepared(case) as timed:
        assert size == timed.result([0.1]).batch_size


def test_memory_of_a_cpu_is_that_of_a_process_that_times_nothing_else() -> None:
    """What other models left in the process would count too."""
    found = []

    for alone in (True, False):
        with Bench("cpu", ["fp32"]).prepared(_case("small"), alone=alone) as timed:
            found.append(timed.result([0.5]).peak_memory)

    assert [True, False] == [memory is not None for memory in found]


_SEEN: list[tuple[int | torch.SymInt, ...]] = []


@pytest.fixture
def compiled_shapes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int | torch.SymInt, ...]]:
    """Shapes of the images of each graph that Dynamo gives to a backend, which runs it eager: quick, and the same."""
    _SEEN.clear()

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        shapes = (tuple(each.shape) for each in inputs if isinstance(each, Tensor))
        _SEEN.extend(shape for shape in shapes if shape[1:] == (3, 8, 8))
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    return _SEEN


def test_the_compiler_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an empty cache instead of the user's, and started: something else is compiled first."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
    seen: list[tuple[bool, str]] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        is_model = any(isinstance(each, Tensor) and each.shape[1:] == (3, 8, 8) for each in inputs)
        seen.append((is_model, os.environ["TORCHINDUCTOR_CACHE_DIR"]))
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    with Bench("cpu", ["fp32"]).prepared(_case("small", Setting(compiled=True))):
        pass
    with pytest.raises(KeyError), Bench("cpu", ["fp32"]).prepared(_case("small", Setting(compiled=True))):
        raise KeyError

    assert [False, True] * 2 == [is_model for is_model, _ in seen]
    folders = [folder for _, folder in seen]
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


class Sized(nn.Module):
    """One of a family: other widths of the same code."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, width)."""
        logits: Tensor = self.conv(images).mean(dim=(2, 3))
        return logits


def test_all_models_of_a_family_are_compiled(compiled_shapes: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Dynamo compiles a piece of code for eight models, here for two, and runs the next eager unless it is reset."""
    monkeypatch.setattr("torch._dynamo.config.cache_size_limit", 2)
    bench = Bench("cpu", ["fp32"])

    for number in range(4):
        monkeypatch.setattr(f"{__name__}.small", partial(Sized, 10 + number))
        case = _case("small", Setting(compiled=True))
        with bench.prepared(replace(case, entry=replace(case.entry, spec=replace(case.spec, weights=f"V{number}")))):
            pass

    assert 4 == len(compiled_shapes)


def test_each_batch_size_has_kernels_of_its_own(compiled_shapes: list[Any]) -> None:
    """After another one Dynamo would compile for any batch size, and that is slower."""
    bench = Bench("cpu", ["fp32"])

    for batch_size in (2, 7, 5):
        with bench.prepared(_case("small", Setting(compiled=True), batch_size)):
            pass

    assert [2, 7, 5] == [shape[0] for shape in compiled_shapes]
    assert all(type(shape[0]) is int for shape in compiled_shapes)


def test_a_model_is_freed_before_the_next_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a session of many would hold them all, and each peak of memory those before."""
    alive: list[int] = []
    built: list[weakref.ref[nn.Module]] = []
    bench, sizes = Bench("cpu", ["fp32"]), iter([10, 11, 12])

    def count_and_build() -> nn.Module:
        gc.collect()
        alive.append(sum(one() is not None for one in built))
        model = Sized(next(sizes))
        built.append(weakref.ref(model))
        return model

    monkeypatch.setattr(f"{__name__}.small", count_and_build)
    monkeypatch.setattr(f"{__name__}.broken", count_and_build)
    for name in ("small", "broken", "small"):
        with bench.prepared(_case(name)):
            pass

    assert [0, 0, 0] == alive


def test_the_peak_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a session all timings of a precision are a share of one peak."""
    peaks = iter([1.0, 2.0])
    monkeypatch.setattr("harness.throughput.timing.peak_tflops", lambda _setting, _device: next(peaks))
    bench = Bench("cpu", ["fp32"])
    found = []

    for setting in (DEFAULT, CONTIGUOUS):
        with bench.prepared(_case("small", setting)) as timed:
            found.append(timed.result([0.5]).peak_tflops)

    assert found == [1.0, 1.0]


def test_a_model_without_logits_is_an_error_before_it_is_timed() -> None:
    """As in the gate."""
    with (
        pytest.raises(EvaluationError, match="expected logits of shape"),
        Bench("cpu", ["fp32"]).prepared(_case("broken")),
    ):
        pass


def test_a_precision_that_the_device_does_not_support_is_not_timed() -> None:
    """It would be timed as another under its name."""
    with pytest.raises(DeviceError, match=r"^--precision tf32: the device cpu does not support it"):
        Bench("cpu", ["fp32", "tf32"])
