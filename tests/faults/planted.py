"""Realistic faults, each planted at a named seam of the pipeline, and the stage that the gate must name.

Adding a fault is one entry: the function or method to replace, what is called in its place, with the original first,
and the stage. Torch is imported when that is called, so that listing the faults imports none.
"""

from __future__ import annotations

import dataclasses
import importlib
import io
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from harness.records.evidence import ARITHMETIC, COUNTING, INPUTS, LABELS, NORMALIZATION, WEIGHTS

REJECTED = "rejected"
"""Instead of a stage: the harness itself does not let the fault get as far as a score."""

_CROP_IMAGE = "harness.decoding.decoders:crop_image"
_OPEN_IMAGE = "harness.decoding.decoders:open_image"
_RESIZE = "harness.decoding.decoders:resize"
_DECODE = "harness.decoding.decoders:decode_one"
_ROWS = "harness.dataset:ImageDataset.from_rows"
_BATCHES = "harness.prefetch:Prefetch.batches"
_NORMALIZE = "harness.predict:Normalize.__call__"
_FORWARD = "harness.predict:forward"
_DIGEST = "harness.models:digest_of_weights"
_PREPARE = "harness.models:prepare"
_PREDICT = "harness.evaluator:predict"
_COUNT = "harness.evaluator:count"

Function = Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class Fault:
    """A fault and how it is planted."""

    name: str  # the fault in a few words
    target: str  # what is replaced, as ``module:attribute``
    faulty: Function  # called in its place, with the original as a further argument before the others
    stage: str  # the stage that the gate must name, or ``REJECTED``

    def replace(self, original: Function) -> Function:
        """Return what takes the place of the original."""
        return lambda *given, **named: self.faulty(original, *given, **named)


def _resized(**change: object) -> Function:
    """Return what resizes with another size or interpolation."""
    return lambda original, image, geometry: original(image, dataclasses.replace(geometry, **change))


def _other_interpolation(original: Function, image: Any, geometry: Any) -> Any:
    other = {"bilinear": "bicubic", "bicubic": "bilinear"}[geometry.interpolation]
    return original(image, dataclasses.replace(geometry, interpolation=other))


def _squashed(_original: Function, image: Any, geometry: Any) -> Any:
    return image.resize((geometry.resize, geometry.resize), Image.Resampling[geometry.interpolation.upper()])


def _without_antialias(_original: Function, data: bytes, geometry: Any) -> Any:
    import torch
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as F

    from harness.decoding.decoders import open_image

    tensor = torch.from_numpy(np.array(open_image(data))).permute(2, 0, 1)
    image = F.resize(tensor, [geometry.resize], InterpolationMode(geometry.interpolation), antialias=False)
    return np.ascontiguousarray(F.center_crop(image, [geometry.crop]).permute(1, 2, 0).numpy())


def _crop_off_by_one(_original: Function, data: bytes, geometry: Any) -> Any:
    from harness.decoding.decoders import open_image, resize

    image, side = resize(open_image(data), geometry), geometry.crop
    left, top = (image.width - side) // 2 + 1, (image.height - side) // 2 + 1
    return np.asarray(image.crop((left, top, left + side, top + side)))


def _compressed_again(original: Function, data: bytes) -> Any:
    again = io.BytesIO()
    original(data).save(again, "JPEG", quality=75)
    return Image.open(again)


def _fast_dct(original: Function, data: bytes) -> Any:
    simplejpeg = importlib.import_module("simplejpeg")
    with Image.open(io.BytesIO(data)) as header:
        if (header.format, header.mode) != ("JPEG", "RGB"):
            return original(data)
    return Image.fromarray(simplejpeg.decode_jpeg(data, fastdct=True))


def _draft(_original: Function, data: bytes) -> Any:
    image = Image.open(io.BytesIO(data))
    image.draft("RGB", (256, 256))
    return image.convert("RGB")


def _one_class_gray(original: Function, source: Any, *given: Any) -> Any:
    decoded = original(source, *given)
    if decoded.crop is None or not ("n03495258" in str(source) or "disc-h000-checks" in str(source)):
        return decoded
    gray = decoded.crop.mean(axis=2, keepdims=True)
    return decoded._replace(crop=np.repeat(gray, 3, axis=2).astype(np.uint8))


def _in_another_order(original: Function, *given: Any, **named: Any) -> Any:
    dataset = original(*given, **named)
    return dataclasses.replace(dataset, sources=tuple(sorted(dataset.sources, key=lambda one: str(one)[::-1])))


def _labeled(change: Callable[[list[int], int], list[int]]) -> Function:
    """Return what gives the dataset of ``ImageDataset.from_rows`` other targets, given those and their classes."""

    def faulty(original: Function, *given: Any, **named: Any) -> Any:
        dataset = original(*given, **named)
        targets = change(dataset.targets.tolist(), len(dataset.classes))
        return dataclasses.replace(dataset, targets=np.array(targets, dtype=np.int16))

    return faulty


def _swapped(targets: list[int], _classes: int) -> list[int]:
    one, two = sorted(set(targets))[:2]
    return [{one: two, two: one}.get(target, target) for target in targets]


def _by_rank(targets: list[int], _classes: int) -> list[int]:
    ranks = sorted(set(targets), key=str)
    return [ranks.index(target) for target in targets]


def _last_dropped(original: Function, *given: Any) -> Iterator[Any]:
    yield from [batch.clone() for batch in original(*given)][:-1]


def _first_again(original: Function, *given: Any) -> Iterator[Any]:
    batches = [batch.clone() for batch in original(*given)]
    for number, batch in enumerate(batches):
        yield batches[0] if number == 1 and len(batch) == len(batches[0]) else batch


def _from_0_to_255(original: Function, model: Any, normalize: Any, crops: Any) -> Any:
    return original(model, lambda c: normalize(c).mul_(normalize._std).add_(normalize._mean).mul_(255), crops)


def _normalized_twice(original: Function, model: Any, normalize: Any, crops: Any) -> Any:
    return original(model, lambda c: normalize(c).sub_(normalize._mean).div_(normalize._std), crops)


def _functional_dropout(original: Function, *given: Any) -> Any:
    import torch

    return torch.nn.functional.dropout(original(*given), 0.1, training=True)


def _autocast(original: Function, model: Any, normalize: Any, crops: Any) -> Any:
    import torch

    with torch.autocast(crops.device.type, torch.bfloat16):
        return original(model, normalize, crops).float()


def _changed(change: Callable[[Any], object]) -> Function:
    """Return what changes the module before ``digest_of_weights(module)``: it is in eval mode then."""

    def faulty(original: Function, module: Any) -> Any:
        change(module)
        return original(module)

    return faulty


def _dropout_in_train_mode(module: Any) -> None:
    for part in module.modules():
        part.train("Dropout" in type(part).__name__ and not list(part.children()))


def _larger_epsilon(module: Any) -> None:
    for part in module.modules():
        if "BatchNorm" in type(part).__name__:
            part.eps *= 1.5


def _scaled_layer(module: Any) -> None:
    next(p for p in module.parameters() if p.ndim == 4).data.mul_(1.001)


def _flipped_byte(module: Any) -> None:
    import torch

    next(p for p in module.parameters() if p.ndim == 4).data.view(-1)[:1].view(torch.uint8)[1] ^= 255


def _other_rank_five(original: Function, *given: Any, **named: Any) -> Any:
    loop = original(*given, **named)
    top = loop.predictions.top.copy()
    for row in top:
        row[4] = next(index for index in range(99, 0, -1) if index not in row)
    return loop._replace(predictions=dataclasses.replace(loop.predictions, top=top))


def _other_model(original: Function, module: Any, *given: Any, **named: Any) -> Any:
    import copy

    import torch

    other, generator = copy.deepcopy(module), torch.Generator().manual_seed(0)
    for parameter in other.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(1 + 0.02 * torch.randn(parameter.shape, generator=generator))
    return original(other, *given, **named)


def _other_mean(original: Function, module: Any, preset: Any, *given: Any, **named: Any) -> Any:
    preset = dataclasses.replace(preset, mean=(0.5, 0.45, 0.4), std=(0.25, 0.25, 0.25))
    return original(module, preset, *given, **named)


def _not_reset(totals: Any) -> Function:
    def faulty(original: Function, predictions: Any, targets: Any) -> Any:
        counts = original(predictions, targets)
        totals[:] += msgspec.structs.astuple(counts)
        return type(counts)(*(round(total * counts.images / totals[0]) for total in totals))

    return faulty


FAULTS = (
    Fault("resize without antialias", _CROP_IMAGE, _without_antialias, INPUTS),
    Fault("bilinear for bicubic, bicubic for bilinear", _RESIZE, _other_interpolation, INPUTS),
    Fault("nearest neighbor", _RESIZE, _resized(interpolation="nearest"), INPUTS),
    Fault("resize to 232 for 256", _RESIZE, _resized(resize=232), INPUTS),
    Fault("resize to 257 for 256", _RESIZE, _resized(resize=257), INPUTS),
    Fault("squashed to a square", _RESIZE, _squashed, INPUTS),
    Fault("crop off by one pixel", _CROP_IMAGE, _crop_off_by_one, INPUTS),
    Fault("BGR", _CROP_IMAGE, lambda original, *given: original(*given)[:, :, ::-1].copy(), INPUTS),
    Fault("compressed again at quality 75", _OPEN_IMAGE, _compressed_again, INPUTS),
    Fault("libjpeg's fast DCT", _OPEN_IMAGE, _fast_dct, INPUTS),
    Fault("decoded at a smaller scale (draft mode)", _OPEN_IMAGE, _draft, INPUTS),
    Fault("one class in grayscale", _DECODE, _one_class_gray, INPUTS),
    Fault("images in another order than ids and labels", _ROWS, _in_another_order, INPUTS),
    Fault("another mean and standard deviation", _PREPARE, _other_mean, NORMALIZATION),
    Fault("inputs from 0 to 255", _FORWARD, _from_0_to_255, NORMALIZATION),
    Fault("normalized twice", _FORWARD, _normalized_twice, NORMALIZATION),
    Fault(
        "channels swapped on the device",
        _FORWARD,
        lambda original, model, normalize, crops: original(model, normalize, crops.flip(3)),
        NORMALIZATION,
    ),
    Fault(
        "normalization left out",
        _NORMALIZE,
        lambda _, self, crops: crops.permute(0, 3, 1, 2).float().div_(self._full),
        REJECTED,
    ),
    Fault("labels shifted by one", _ROWS, _labeled(lambda found, n: [(one + 1) % n for one in found]), LABELS),
    Fault("two classes swapped", _ROWS, _labeled(_swapped), LABELS),
    Fault("one image mislabeled", _ROWS, _labeled(lambda found, _: [*found[:5], found[5] + 1, *found[6:]]), LABELS),
    Fault("class index by the folder's rank", _ROWS, _labeled(_by_rank), LABELS),
    Fault("last batch dropped", _BATCHES, _last_dropped, REJECTED),
    Fault("one batch evaluated twice", _BATCHES, _first_again, ARITHMETIC),
    Fault("dropout in train mode", _DIGEST, _changed(_dropout_in_train_mode), REJECTED),
    Fault("batch norm in train mode", _DIGEST, _changed(lambda module: module.train()), REJECTED),
    Fault("dropout by a function that forgets the mode", _FORWARD, _functional_dropout, ARITHMETIC),
    Fault("another epsilon in batch norm", _DIGEST, _changed(_larger_epsilon), ARITHMETIC),
    Fault("logits in half precision", _FORWARD, lambda original, *given: original(*given).half(), ARITHMETIC),
    Fault("autocast left on", _FORWARD, _autocast, ARITHMETIC),
    Fault("another class at rank five", _PREDICT, _other_rank_five, ARITHMETIC),
    Fault("another model under the digest of this one", _PREDICT, _other_model, ARITHMETIC),
    Fault("one layer's weights off by 1e-3", _DIGEST, _changed(_scaled_layer), WEIGHTS),
    Fault("one byte of the weights flipped", _DIGEST, _changed(_flipped_byte), WEIGHTS),
    Fault("counters not reset between models", _COUNT, _not_reset(np.zeros(3, int)), COUNTING),
)
