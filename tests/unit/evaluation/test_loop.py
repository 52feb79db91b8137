"""Tests of harness.evaluation.loop."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.datasets.folder import pil_loader

from harness.data.decode import crop_image
from harness.data.preset import Geometry, Preset
from harness.errors import DeviceError, EvaluationError
from harness.evaluation.feed import Feed
from harness.evaluation.loop import predict
from harness.evaluation.models import preset_of
from harness.evaluation.predictions import Predictions
from tests.crops import InMemory
from tests.images import noise, save

CPU = torch.device("cpu")
PRESET = Preset(Geometry(8, 8, "bilinear"), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLASSES = 9


class Linear(nn.Module):
    """Logits as fixed sums of pixels; remembers the sizes of its batches."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(np.random.RandomState(1).uniform(-1, 1, (192, classes))).float())
        self.batches: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, classes)."""
        self.batches.append(len(images))
        return images.flatten(1) @ self.weight


def decoded(images: int) -> InMemory:
    """Return random images with ids that tell their rows."""
    pixels = np.random.RandomState(0).randint(0, 256, (images, 8, 8, 3)).astype(np.uint8)
    return InMemory(pixels, PRESET.geometry)


def run(model: nn.Module, split: InMemory, batch_size: int = 4) -> Predictions:
    """Predict in float32 on the CPU."""
    return predict(model.eval(), split, PRESET, feed=Feed(CPU), batch_size=batch_size)


def test_predictions_are_those_of_torchvisions_preset_image_by_image(tmp_path: Path) -> None:
    """A real architecture on real files: the same bits as weights.transforms() and the model, one by one."""
    torch.manual_seed(0)
    transform = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1.transforms(crop_size=64, resize_size=70)
    preset = preset_of(transform)
    model = torchvision.models.squeezenet1_1(weights=None).eval().to(memory_format=torch.channels_last)
    paths = [
        save(noise(seed, width=90 + 7 * seed, height=120 - 5 * seed), tmp_path / f"{seed}.jpg") for seed in range(7)
    ]
    pixels = np.stack([crop_image(path.read_bytes(), preset.geometry) for path in paths])
    split = InMemory(pixels, preset.geometry)

    # A batch of one, since a library may add in another order for another batch size.
    predictions = predict(model, split, preset, feed=Feed(CPU), batch_size=1)

    for row, path in enumerate(paths):
        with torch.inference_mode():
            image = transform(pil_loader(str(path)))[None].to(memory_format=torch.channels_last)
            logits = model(image)[0]
        order = sorted(range(1000), key=lambda c: -float(logits[c]))[:5]
        assert order == predictions.top5[row].tolist()
        assert [float(logits[c]) for c in order] == predictions.logits[row].tolist()


@pytest.mark.parametrize("images", [1, 3, 4, 5, 11, 12])
def test_every_image_is_evaluated_once_in_its_place(images: int) -> None:
    """Whatever is left for the last batch, row i holds the answers to image i."""
    model, split = Linear(), decoded(images)

    predictions = run(model, split)

    with torch.inference_mode():
        scaled = torch.tensor(split.images).permute(0, 3, 1, 2) / 255.0
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (PRESET.mean, PRESET.std))
        logits = ((scaled - mean) / std).flatten(1).double() @ model.weight.double()
    assert sum(model.batches[: -(-images // 4)]) == images
    assert predictions.ids == split.ids
    assert predictions.top5.shape == predictions.logits.shape == (images, 5)
    assert [str(predictions.top5.dtype), str(predictions.logits.dtype)] == ["int16", "float32"]
    assert logits.topk(5).indices.tolist() == predictions.top5.tolist()
    assert np.allclose(logits.topk(5).values.numpy(), predictions.logits, rtol=1e-5, atol=1e-4)
    assert (predictions.classes, predictions.batch_size) == (CLASSES, 4)
    assert predictions.images_per_second == images / predictions.seconds


def test_answers_do_not_depend_on_what_was_evaluated_before() -> None:
    """The loop keeps nothing from one model to the next."""
    first, second = Linear(), Linear(classes=7)
    with torch.no_grad():
        second.weight.neg_()

    alone = run(second, decoded(10))
    run(first, decoded(10))
    after = run(second, decoded(10))

    assert np.array_equal(alone.top5, after.top5)
    assert np.array_equal(alone.logits, after.logits)


def test_a_model_in_train_mode_is_refused() -> None:
    """Dropout and batch statistics would change the answers; one layer in train mode is enough."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 9), nn.Dropout()).eval()
    model[2].train()

    with pytest.raises(EvaluationError, match="the model is in train mode"):
        predict(model, decoded(2), PRESET, feed=Feed(CPU), batch_size=2)


class Spoiled(Linear):
    """Spoils the logits of the images whose first pixel has a certain red."""

    def __init__(self, red: int, spoil: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._red, self._spoil = red, spoil

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, classes), some of it spoiled."""
        logits = super().forward(images)
        red = (images[:, 0, 0, 0] * PRESET.std[0] + PRESET.mean[0]) * 255
        rows = (red - self._red).abs() < 0.5
        logits[rows] = self._spoil(logits[rows])
        return logits


def one_to_nan(logits: Tensor) -> Tensor:
    """Return the logits with NaN for a class."""
    return logits.index_fill(1, torch.tensor([3]), float("nan"))


def one_to_infinity(logits: Tensor) -> Tensor:
    """Return the logits with minus infinity for a class, which no top-5 would show."""
    return logits.index_fill(1, torch.tensor([3]), float("-inf"))


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (one_to_nan, "not finite"),
        (one_to_infinity, "not finite"),
        (torch.zeros_like, "all equal"),
    ],
)
def test_logits_that_say_nothing_are_errors_that_name_the_image(spoil: Callable[[Tensor], Tensor], what: str) -> None:
    """An image that was not classified is not a miss: the first such image is named, and all are counted."""
    split = decoded(10)
    split.images[:, 0, 0, 0] = 0
    split.images[[5, 8], 0, 0, 0] = 200

    with pytest.raises(
        EvaluationError, match=rf"^2 of 10 images got logits that are {what}, the first of them image-5$"
    ):
        run(Spoiled(200, spoil), split)


class Hungry(Linear):
    """Runs out of memory in batches larger than it can bear."""

    def __init__(self, bearable: int) -> None:
        super().__init__()
        self._bearable = bearable

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, classes), or fail as a CUDA device does."""
        if len(images) > self._bearable:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return super().forward(images)


def test_running_out_of_memory_halves_the_batch_and_says_so() -> None:
    """16 does not fit, 8 does not, 4 does: all images are answered as ever, and the batch size is told."""
    predictions = run(Hungry(bearable=5), decoded(19), batch_size=16)

    plain = run(Linear(), decoded(19), batch_size=4)
    assert predictions.batch_size == 4
    assert np.array_equal(plain.top5, predictions.top5)


def test_progress_is_told_batch_by_batch() -> None:
    """From 0 to the last of the images, and from 0 again after memory ran out."""
    told: list[tuple[int, int]] = []

    predict(
        Hungry(bearable=5).eval(),
        decoded(10),
        PRESET,
        feed=Feed(CPU),
        batch_size=8,
        progress=lambda *numbers: told.append(numbers),
    )

    assert [(0, 10), (0, 10), (4, 10), (8, 10), (10, 10)] == told


def test_what_is_kept_on_the_device_is_given_up_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """When memory runs out, the batch is halved only after the feed has released what it kept."""
    released = iter([True, False])
    monkeypatch.setattr(Feed, "release", lambda _: next(released))

    predictions = run(Hungry(bearable=4), decoded(19), batch_size=8)

    assert predictions.batch_size == 4
    assert next(released, None) is None


def test_waiting_for_the_decoder_is_told_apart() -> None:
    """The images a second are those of the loop without the time that the images were not there."""

    class Slow(InMemory):
        def read(self, rows: slice, into: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
            self.seconds += 1000.0
            return super().read(rows, into)

    split = Slow(decoded(10).images, PRESET.geometry)
    split.seconds = 5.0

    predictions = run(Linear(), split)

    assert predictions.waited == 3000.0
    assert predictions.images_per_second == 10 / (predictions.seconds - 3000.0)


def test_no_memory_for_one_image_is_an_error() -> None:
    """Halving ends at one image."""
    with pytest.raises(DeviceError, match="cpu has no memory to evaluate even one image at a time"):
        run(Hungry(bearable=0), decoded(3))


def test_the_precision_is_in_force_in_the_forward_and_not_after() -> None:
    """CuDNN may not use TF32 while the model runs, and is as before afterwards."""

    class Watching(Linear):
        def forward(self, images: Tensor) -> Tensor:
            seen.append((torch.backends.cudnn.allow_tf32, torch.is_inference_mode_enabled()))
            return super().forward(images)

    seen: list[tuple[bool, bool]] = []
    before = torch.backends.cudnn.allow_tf32

    run(Watching(), decoded(3))

    assert seen == [(False, True)]
    assert torch.backends.cudnn.allow_tf32 == before


class InPlace(Linear):
    """Works on the images themselves, as some models do."""

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, classes)."""
        return super().forward(images.mul_(2))


@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_what_the_model_is_given_first_is_told(batch_size: int) -> None:
    """Id, digest, smallest and largest value of the normalized first image, whatever the batches."""
    split = decoded(7)
    image = (torch.from_numpy(split.images[0]).permute(2, 0, 1) / 255 - torch.tensor(PRESET.mean).view(3, 1, 1)).div_(
        torch.tensor(PRESET.std).view(3, 1, 1)
    )

    predictions = run(InPlace(), split, batch_size)

    assert predictions.first_input == {
        "id": "image-0",
        "sha256": hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest(),
        "low": float(image.min()),
        "high": float(image.max()),
    }


def test_the_switches_that_were_in_force_are_told() -> None:
    """By name, as torch read them."""
    switches = run(Linear(), decoded(2)).switches

    assert switches["float32_matmul_precision"] == "highest"
    assert switches["cudnn.allow_tf32"] is False
    assert switches["cudnn.deterministic"] is True
