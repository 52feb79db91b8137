"""Tests of harness.predict: normalization, the forward pass, and the loop."""

from __future__ import annotations

import gc
import hashlib
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from harness.errors import DeviceError, EvaluationError
from harness.precision import Setting
from harness.predict import Loop, Normalize, forward, predict
from harness.prefetch import Prefetch
from harness.preset import Geometry, Preset, preset_of
from tests.crops import InMemory

CPU = torch.device("cpu")
PRESET = Preset(Geometry(8, 8, "bilinear"), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLASSES = 9
FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


def pixels(images: int) -> Tensor:
    """Return random (images, 8, 8, 3) uint8."""
    return torch.from_numpy(np.random.RandomState(0).randint(0, 256, (images, 8, 8, 3)).astype(np.uint8))


def every_weight() -> list[object]:
    """Return a weights member for each distinct mean and std of torchvision's classifiers."""
    names = torchvision.models.list_models(module=torchvision.models)
    members = [(each, each.transforms()) for name in names for each in torchvision.models.get_model_weights(name)]
    return list({str((transform.mean, transform.std)): weights for weights, transform in members}.values())


@pytest.mark.parametrize("weights", every_weight(), ids=str)
def test_normalization_is_the_presets_bit_for_bit(weights: Any) -> None:
    """All 256 values of each channel come out as torchvision's own preset makes them of a PIL image."""
    transform = weights.transforms(crop_size=64, resize_size=64)
    values = np.stack([np.random.RandomState(c).permutation(4096) % 256 for c in range(3)], axis=-1)
    image = Image.fromarray(values.reshape(64, 64, 3).astype(np.uint8))

    for name, memory_format in FORMATS.items():
        ours = Normalize(preset_of(transform), CPU, name)(torch.tensor(np.asarray(image))[None])

        assert torch.equal(transform(image)[None], ours)
        assert ours.dtype == torch.float32
        assert ours.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize(
    ("owner", "name", "wrong"),
    [
        (Normalize, "__call__", lambda right: lambda self, crops: right(self, crops.flip(3))),
        (Tensor, "div_", lambda _: lambda self, other: self.mul_(1 / other)),
    ],
    ids=["channels in another order", "multiplied by the reciprocal"],
)
def test_another_normalization_is_an_error(owner: Any, name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first image, also where all channels share a mean and a standard deviation."""
    monkeypatch.setattr(owner, name, wrong(getattr(owner, name)))

    with pytest.raises(EvaluationError, match="normalization on cpu does not give the same bits as torchvision"):
        Normalize(Preset(PRESET.geometry, (0.45,) * 3, (0.225,) * 3), CPU)


LOGITS = r"expected logits of shape \(2, 5 or more classes\), the model gave"
EAGER: Any = torch.compiler.disable(lambda images: images.flatten(1))


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (lambda images: images.mean(dim=(2, 3)), rf"{LOGITS} \(2, 3\)"),
        (lambda images: images, rf"{LOGITS} \(2, 3, 8, 8\)"),
        (lambda images: images[:1].flatten(1), rf"{LOGITS} \(1, 192\)"),
        (lambda images: (images.flatten(1), images), rf"{LOGITS} tuple"),
        (lambda images: images.view(2, -1), r"the model calls view\(\) .*: use --memory-format contiguous, or"),
        # A model that Dynamo leaves eager would be another one under that name.
        (
            torch.compile(lambda images: EAGER(images), fullgraph=True),
            r"the model cannot be compiled as a whole \(.+\): leave out --compile",
        ),
    ],
)
def test_a_model_that_gives_no_logits_is_an_error(model: Callable[[Tensor], Any], sentence: str) -> None:
    """A model's output has a row for each image and at least five columns."""
    with pytest.raises(EvaluationError, match=f"^{sentence}"):
        forward(model, Normalize(PRESET, CPU), pixels(2))


def test_another_error_of_a_model_keeps_its_traceback() -> None:
    """And in contiguous ``view`` does not fail."""
    contiguous = Normalize(PRESET, CPU, "contiguous")

    assert (2, 192) == forward(lambda images: images.view(2, -1), contiguous, pixels(2)).shape
    with pytest.raises(RuntimeError, match="shape"):
        forward(lambda images: images.reshape(7, 7), contiguous, pixels(2))


class Linear(nn.Module):
    """Logits as fixed sums of pixels; remembers its batches' sizes, and runs out of memory beyond a limit."""

    def __init__(self, classes: int = CLASSES, limit: int = 99) -> None:
        super().__init__()
        self.weight = torch.tensor(np.random.RandomState(1).uniform(-1, 1, (192, classes))).float()
        self.batches: list[int] = []
        self.limit = limit
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, classes), or fail as a CUDA device does."""
        self.batches.append(len(images))
        if len(images) > self.limit:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return images.flatten(1) @ self.weight


def decoded(images: int) -> InMemory:
    """Return random images."""
    return InMemory(pixels(images).numpy(), PRESET.geometry)


def run(model: nn.Module, crops: InMemory, batch_size: int = 4, classes: int = CLASSES, **changes: Any) -> Loop:
    """Predict in float32 on the CPU."""
    prefetch = Prefetch(CPU)
    return predict(model, crops, PRESET, prefetch=prefetch, batch_size=batch_size, classes=classes, **changes)


def by_hand(images: np.ndarray[Any, Any]) -> Tensor:
    """Return normalized images."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (PRESET.mean, PRESET.std))
    return (torch.tensor(images).permute(0, 3, 1, 2) / 255.0 - mean) / std


@pytest.mark.parametrize("classes", [5, 6, 7, CLASSES])
@pytest.mark.parametrize(("images", "size"), [(1, 4), (3, 4), (4, 4), (5, 4), (12, 4), (12, 1), (12, 7), (12, 13)])
def test_every_image_is_evaluated_once_in_its_row(images: int, size: int, classes: int) -> None:
    """Whatever is left for the last batch; six classes are kept, or all of five, and the log-sum-exp of all."""
    model, crops = Linear(classes), decoded(images)

    loop = run(model, crops, size, classes=classes)

    found: Any = loop.predictions
    logits = (by_hand(crops.images).flatten(1).double() @ model.weight.double()).detach().numpy()
    order = np.argsort(-logits, axis=1)[:, : min(6, classes)]
    assert [size] * (images // size) + [images % size] * (images % size > 0) == model.batches
    assert list(crops.ids) == found.ids.tolist()
    assert ["int16", "float32", "float32"] == [str(a.dtype) for a in (found.top, found.logits, found.logsumexp)]
    np.testing.assert_array_equal(order, found.top)
    np.testing.assert_allclose(found.logits, np.take_along_axis(logits, order, 1), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(found.logsumexp, np.log(np.exp(logits).sum(axis=1)), rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(crops.hashes, found.hashes)
    assert size == loop.batch_size


@pytest.mark.parametrize(("images", "batches"), [(3, [3]), (4, [4]), (5, [4, 4]), (11, [4, 4, 4])])
def test_a_compiled_model_sees_batches_of_one_size(images: int, batches: list[int]) -> None:
    """A short last batch is filled up instead of compiling again; what it is filled with gives no prediction."""
    model, crops = Linear(), decoded(images)

    found: Any = run(model, crops, setting=Setting(compiled=True)).predictions

    expected: Any = run(Linear(), crops).predictions
    assert batches == model.batches
    np.testing.assert_array_equal(expected.top, found.top)
    np.testing.assert_allclose(found.logits, expected.logits, rtol=1e-5)


class Given(nn.Module):
    """Gives fixed logits, a row for each image."""

    def __init__(self, logits: list[list[float]], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.logits, self.done = torch.tensor(logits, dtype=dtype), 0
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, classes)."""
        self.done += len(images)
        return self.logits[self.done - len(images) : self.done]


def test_equal_logits_are_in_the_order_of_their_classes() -> None:
    """Also where more are equal than are kept."""
    logits = np.random.RandomState(0).randint(-1, 2, (20, CLASSES))

    found = run(Given(logits.tolist()), decoded(20)).predictions

    np.testing.assert_array_equal(np.argsort(-logits, axis=1, kind="stable")[:, :6], found.top)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_log_sum_exp_is_torchs_also_of_large_logits(dtype: torch.dtype) -> None:
    """In float32, whatever dtype the model computes in; exp() of these would overflow."""
    logits = [[500.0, 499.0, 0.0, -500.0, 1.0, 2.0, 3.0, 4.0, 5.0], [-200.0 - c for c in range(CLASSES)]]

    found = run(Given(logits, dtype), decoded(2)).predictions.logsumexp

    assert pytest.approx([500 + np.log1p(np.exp(-1)), -200 + np.log(sum(np.exp(-c) for c in range(9)))]) == found


def test_a_model_in_train_mode_is_an_error() -> None:
    """One layer in it is enough; but a wrapper of torch.compile has no mode: torch 2.4 claims that it trains."""
    model, wrapper = nn.Sequential(nn.Flatten(), nn.Linear(192, 9), nn.Dropout()).eval(), Linear().train()
    model[2].train()
    wrapper._orig_mod = nn.Identity().eval()

    with pytest.raises(EvaluationError, match="the model is in train mode"):
        run(model, decoded(2))
    assert 2 == len(run(wrapper, decoded(2)).predictions)


@pytest.mark.parametrize("classes", [8, 10])
def test_another_number_of_logits_than_classes_is_an_error(classes: int) -> None:
    """Its indices would mean other classes, however plausible the accuracy is."""
    with pytest.raises(EvaluationError, match=f"the model gives {classes} logits, and the dataset has 9 classes"):
        run(Linear(classes), decoded(2))


@pytest.mark.parametrize(
    ("spoiled", "what"),
    [
        ([float("nan")] + [1.0] * 8, "not finite"),
        ([float("-inf"), *range(1, 9)], "not finite"),  # which the highest classes do not show
        ([2.0] * 9, "all equal"),
    ],
)
def test_logits_without_meaning_are_errors_that_name_the_image(spoiled: list[float], what: str) -> None:
    """An image that was not classified does not count as wrong: the first of them is named, and all are counted."""
    good = [float(c) for c in range(CLASSES)]
    logits = [spoiled if image in (5, 8) else good for image in range(10)]

    with pytest.raises(EvaluationError, match=rf"^the logits of 2 of 10 images are {what}, the first of them image-5$"):
        run(Given(logits), decoded(10))


@pytest.mark.parametrize(
    ("released", "batches"), [([], [10, 8, 4, 4, 2]), ([True], [10, 10, 8, 4, 4, 2])], ids=["nothing", "something"]
)
def test_running_out_of_memory_halves_the_batch(
    released: list[bool], batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 16 images, until 4 are few enough; but first what is kept on the device is released."""
    monkeypatch.setattr(Prefetch, "release", lambda *_: bool(released) and released.pop())
    calls: list[tuple[int, int]] = []
    model = Linear(limit=5)

    loop = run(model, decoded(10), batch_size=16, progress=lambda *numbers: calls.append(numbers))

    assert batches == model.batches
    assert 4 == loop.batch_size
    np.testing.assert_array_equal(run(Linear(), decoded(10)).predictions.top, loop.predictions.top)
    assert [*[(0, 10)] * (len(batches) - 2), (4, 10), (8, 10), (10, 10)] == calls


def test_no_memory_for_one_image_is_an_error() -> None:
    """Halving ends at one image, and torch's own words are shown; another error is not taken for a lack of memory."""
    message = "^cpu ran out of memory evaluating even one image at a time: CUDA out of memory$"

    with pytest.raises(DeviceError, match=message):
        run(Linear(limit=0), decoded(3))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        run(nn.Sequential(nn.Flatten(), nn.Linear(5, 9)).eval(), decoded(3))


def test_a_failed_attempt_leaves_nothing_in_memory() -> None:
    """Tensors in a reference cycle would be there until Python collects them by itself."""

    class Leaking(Linear):
        def forward(self, images: Tensor) -> Tensor:
            alive.append([leak() is not None for leak in leaks])
            cycle: Any = Linear()
            cycle.itself = [cycle]
            leaks.append(weakref.ref(cycle))
            return super().forward(images)

    leaks: list[weakref.ref[Linear]] = []
    alive: list[list[bool]] = []
    gc.disable()
    try:
        run(Leaking(limit=1), decoded(2), batch_size=2)
    finally:
        gc.enable()

    assert [[], [False]] == alive[:2]


class Watching(Linear):
    """Works on the images themselves, as some models do; remembers under which switches, and on what."""

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, classes)."""
        logits = super().forward(images.mul_(2))
        self.switches = torch.backends.cudnn.allow_tf32, torch.is_inference_mode_enabled()
        self.dtype, self.contiguous = logits.dtype, images.is_contiguous()
        return logits


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_precision_is_applied_in_the_forward_pass_only(precision: str, dtype: torch.dtype) -> None:
    """CuDNN may not use TF32 while the model runs, and is as before afterwards; switches and float32 are kept."""
    before, model = torch.backends.cudnn.allow_tf32, Watching()

    loop: Any = run(model, decoded(3), setting=Setting(precision))

    assert ((False, True), dtype) == (model.switches, model.dtype)
    assert before == torch.backends.cudnn.allow_tf32
    assert ("highest", False) == (loop.switches["float32_matmul_precision"], loop.switches["cudnn.allow_tf32"])
    assert np.float32 == loop.predictions.logits.dtype


@pytest.mark.parametrize("batch_size", [1, 4, 7])
@pytest.mark.parametrize("memory_format", FORMATS)
def test_the_first_input_is_recorded(batch_size: int, memory_format: str) -> None:
    """Id, digest, smallest and largest value of the normalized first image, whatever the batches and the format."""
    model, crops = Watching(), decoded(7)
    image = by_hand(crops.images)[0].contiguous()

    loop = run(model, crops, batch_size, setting=Setting(memory_format=memory_format))

    assert (memory_format == "contiguous") == model.contiguous
    assert loop.first_input == {
        "id": "image-0",
        "sha256": hashlib.sha256(image.numpy().tobytes()).hexdigest(),
        "low": float(image.min()),
        "high": float(image.max()),
    }
