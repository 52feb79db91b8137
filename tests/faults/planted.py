"""Realistic faults, each planted at a named seam of the pipeline, and the stage that the gate must name.

Adding a fault is one entry: the function or method to replace, what takes its place, and the stage. Replacements import
what they need when they are called, so that listing the faults imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from harness.records.evidence import ARITHMETIC, COUNTING, INPUTS, LABELS, NORMALIZATION, WEIGHTS

REFUSED = "refused"
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

Replacement = Callable[..., Any]


@dataclass(frozen=True)
class Fault:
    """A fault and how it is planted.

    Attributes:
        name: the fault in a few words.
        target: what is replaced, as ``module:attribute``.
        replace: called with the original; returns what takes its place.
        stage: the stage that the gate must name, or ``REFUSED``.
        needs: a package that the faulty code imports.
    """

    name: str
    target: str
    replace: Callable[[Replacement], Replacement]
    stage: str
    needs: str = ""


def _resized(resize: Callable[[Any, Any], tuple[list[int], str]]) -> Callable[[Replacement], Replacement]:
    """Return a replacement of ``resize(image, geometry)`` with another size or interpolation."""

    def replace(_original: Replacement) -> Replacement:
        def faulty(image: Any, geometry: Any) -> Any:
            from torchvision.transforms import InterpolationMode
            from torchvision.transforms import functional as F

            size, interpolation = resize(image, geometry)
            return F.resize(image, size, InterpolationMode(interpolation), antialias=True)

        return faulty

    return replace


def _without_antialias(_original: Replacement) -> Replacement:
    def faulty(data: bytes, geometry: Any) -> Any:
        import numpy as np
        import torch
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms import functional as F

        from harness.decoding.decoders import open_image

        tensor = torch.from_numpy(np.array(open_image(data))).permute(2, 0, 1)
        image = F.resize(tensor, [geometry.resize], InterpolationMode(geometry.interpolation), antialias=False)
        return np.ascontiguousarray(F.center_crop(image, [geometry.crop]).permute(1, 2, 0).numpy())

    return faulty


def _crop_off_by_one(_original: Replacement) -> Replacement:
    def faulty(data: bytes, geometry: Any) -> Any:
        import numpy as np
        from torchvision.transforms import functional as F

        from harness.decoding.decoders import open_image, resize

        image = resize(open_image(data), geometry)
        top, left = (image.height - geometry.crop) // 2 + 1, (image.width - geometry.crop) // 2 + 1
        return np.asarray(F.crop(image, top, left, geometry.crop, geometry.crop))

    return faulty


def _compressed_again(original: Replacement) -> Replacement:
    def faulty(data: bytes) -> Any:
        import io

        from PIL import Image

        again = io.BytesIO()
        original(data).save(again, "JPEG", quality=75)
        return Image.open(again)

    return faulty


def _fast_dct(original: Replacement) -> Replacement:
    def faulty(data: bytes) -> Any:
        import importlib
        import io

        from PIL import Image

        simplejpeg = importlib.import_module("simplejpeg")
        with Image.open(io.BytesIO(data)) as header:
            if (header.format, header.mode) != ("JPEG", "RGB"):
                return original(data)
        return Image.fromarray(simplejpeg.decode_jpeg(data, fastdct=True))

    return faulty


def _draft(_original: Replacement) -> Replacement:
    def faulty(data: bytes) -> Any:
        import io

        from PIL import Image

        image = Image.open(io.BytesIO(data))
        image.draft("RGB", (256, 256))
        return image.convert("RGB")

    return faulty


def _one_class_gray(original: Replacement) -> Replacement:
    def faulty(source: Any, *arguments: Any, **keywords: Any) -> Any:
        import numpy as np

        decoded = original(source, *arguments, **keywords)
        if decoded.crop is None or not ("n03495258" in str(source) or "disc-h000-checks" in str(source)):
            return decoded
        gray = decoded.crop.mean(axis=2, keepdims=True)
        return decoded._replace(crop=np.repeat(gray, 3, axis=2).astype(np.uint8))

    return faulty


def _other_dataset(change: Callable[[Any], dict[str, Any]]) -> Callable[[Replacement], Replacement]:
    """Return a replacement of ``ImageDataset.from_rows`` that changes fields of the dataset."""

    def replace(original: Replacement) -> Replacement:
        def faulty(*arguments: Any, **keywords: Any) -> Any:
            import dataclasses

            dataset = original(*arguments, **keywords)
            return dataclasses.replace(dataset, **change(dataset))

        return staticmethod(faulty)

    return replace


def _targets(change: Callable[[list[int], int], list[int]]) -> Callable[[Replacement], Replacement]:
    def changed(dataset: Any) -> dict[str, Any]:
        import numpy as np

        return {"targets": np.array(change(dataset.targets.tolist(), len(dataset.classes)), dtype=np.int16)}

    return _other_dataset(changed)


def _swapped(targets: list[int], _classes: int) -> list[int]:
    one, two = sorted(set(targets))[:2]
    return [{one: two, two: one}.get(target, target) for target in targets]


def _by_rank(targets: list[int], _classes: int) -> list[int]:
    ranks = sorted(set(targets), key=str)
    return [ranks.index(target) for target in targets]


def _batches(change: Callable[[list[Any]], Iterator[Any]]) -> Callable[[Replacement], Replacement]:
    """Return a replacement of ``Prefetch.batches`` that changes which batches come."""

    def replace(original: Replacement) -> Replacement:
        def faulty(self: Any, crops: Any, batch_size: int) -> Iterator[Any]:
            yield from change([batch.clone() for batch in original(self, crops, batch_size)])

        return faulty

    return replace


def _first_again(batches: list[Any]) -> Iterator[Any]:
    for number, batch in enumerate(batches):
        yield batches[0] if number == 1 and len(batch) == len(batches[0]) else batch


def _other_forward(change: Callable[[Replacement, Any, Any, Any], Any]) -> Callable[[Replacement], Replacement]:
    """Return a replacement of ``forward(model, normalize, crops)``."""
    return lambda original: lambda model, normalize, crops: change(original, model, normalize, crops)


def _functional_dropout(original: Replacement, model: Any, normalize: Any, crops: Any) -> Any:
    import torch

    return torch.nn.functional.dropout(original(model, normalize, crops), 0.1, training=True)


def _autocast(original: Replacement, model: Any, normalize: Any, crops: Any) -> Any:
    import torch

    with torch.autocast(crops.device.type, torch.bfloat16):
        return original(model, normalize, crops).float()


def _other_module(change: Callable[[Any], object]) -> Callable[[Replacement], Replacement]:
    """Return a replacement of ``digest_of_weights(module)`` that changes the module first: it is in eval mode then."""

    def replace(original: Replacement) -> Replacement:
        def faulty(module: Any) -> Any:
            change(module)
            return original(module)

        return faulty

    return replace


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


def _other_rank_five(original: Replacement) -> Replacement:
    def faulty(*arguments: Any, **keywords: Any) -> Any:
        import dataclasses

        loop = original(*arguments, **keywords)
        top = loop.predictions.top.copy()
        for row in top:
            row[4] = next(index for index in range(99, 0, -1) if index not in row)
        return loop._replace(predictions=dataclasses.replace(loop.predictions, top=top))

    return faulty


def _other_model(original: Replacement) -> Replacement:
    def faulty(module: Any, *arguments: Any, **keywords: Any) -> Any:
        import copy

        import torch

        other, generator = copy.deepcopy(module), torch.Generator().manual_seed(0)
        for parameter in other.parameters():
            if parameter.ndim > 1:
                parameter.data.mul_(1 + 0.02 * torch.randn(parameter.shape, generator=generator))
        return original(other, *arguments, **keywords)

    return faulty


def _other_mean(original: Replacement) -> Replacement:
    def faulty(module: Any, preset: Any, *arguments: Any, **keywords: Any) -> Any:
        import dataclasses

        preset = dataclasses.replace(preset, mean=(0.5, 0.45, 0.4), std=(0.25, 0.25, 0.25))
        return original(module, preset, *arguments, **keywords)

    return faulty


def _not_reset(_original: Replacement) -> Replacement:
    from harness.records.evidence import Counts

    total = [0, 0, 0]

    def faulty(predictions: Any, targets: Any) -> Any:
        total[0] += len(targets)
        total[1] += int((predictions.top1 == targets).sum())
        total[2] += int((predictions.top5 == targets[:, None]).any(axis=1).sum())
        return Counts(*(round(count * len(targets) / total[0]) for count in total))

    return faulty


FAULTS = (
    Fault("resize without antialias", _CROP_IMAGE, _without_antialias, INPUTS),
    Fault(
        "bilinear for bicubic, bicubic for bilinear",
        _RESIZE,
        _resized(lambda _, g: ([g.resize], {"bilinear": "bicubic", "bicubic": "bilinear"}[g.interpolation])),
        INPUTS,
    ),
    Fault("nearest neighbour", _RESIZE, _resized(lambda _, g: ([g.resize], "nearest")), INPUTS),
    Fault("resize to 232 for 256", _RESIZE, _resized(lambda _, g: ([232], g.interpolation)), INPUTS),
    Fault("resize to 257 for 256", _RESIZE, _resized(lambda _, g: ([257], g.interpolation)), INPUTS),
    Fault("squashed to a square", _RESIZE, _resized(lambda _, g: ([g.resize] * 2, g.interpolation)), INPUTS),
    Fault("crop off by one pixel", _CROP_IMAGE, _crop_off_by_one, INPUTS),
    Fault("BGR", _CROP_IMAGE, lambda original: lambda *given: original(*given)[:, :, ::-1].copy(), INPUTS),
    Fault("compressed again at quality 75", _OPEN_IMAGE, _compressed_again, INPUTS),
    Fault("libjpeg's fast DCT", _OPEN_IMAGE, _fast_dct, INPUTS, needs="simplejpeg"),
    Fault("decoded at a smaller scale (draft mode)", _OPEN_IMAGE, _draft, INPUTS),
    Fault("one class in grayscale", _DECODE, _one_class_gray, INPUTS),
    Fault(
        "images in another order than ids and labels",
        _ROWS,
        _other_dataset(lambda dataset: {"sources": tuple(sorted(dataset.sources, key=lambda one: str(one)[::-1]))}),
        INPUTS,
    ),
    Fault("another mean and standard deviation", _PREPARE, _other_mean, NORMALIZATION),
    Fault(
        "inputs from 0 to 255",
        _FORWARD,
        _other_forward(
            lambda original, model, normalize, crops: original(
                model, lambda c: normalize(c).mul_(normalize._std).add_(normalize._mean).mul_(255), crops
            )
        ),
        NORMALIZATION,
    ),
    Fault(
        "normalized twice",
        _FORWARD,
        _other_forward(
            lambda original, model, normalize, crops: original(
                model, lambda c: normalize(c).sub_(normalize._mean).div_(normalize._std), crops
            )
        ),
        NORMALIZATION,
    ),
    Fault(
        "channels swapped on the device",
        _FORWARD,
        _other_forward(lambda original, model, normalize, crops: original(model, normalize, crops.flip(3))),
        NORMALIZATION,
    ),
    Fault(
        "normalization left out",
        _NORMALIZE,
        lambda _original: lambda self, crops: crops.permute(0, 3, 1, 2).float().div_(self._full),
        REFUSED,
    ),
    Fault("labels shifted by one", _ROWS, _targets(lambda found, n: [(one + 1) % n for one in found]), LABELS),
    Fault("two classes swapped", _ROWS, _targets(_swapped), LABELS),
    Fault("one image mislabelled", _ROWS, _targets(lambda found, _: [*found[:5], found[5] + 1, *found[6:]]), LABELS),
    Fault("class index by the folder's rank", _ROWS, _targets(_by_rank), LABELS),
    Fault("last batch dropped", _BATCHES, _batches(lambda batches: iter(batches[:-1])), REFUSED),
    Fault("one batch evaluated twice", _BATCHES, _batches(_first_again), ARITHMETIC),
    Fault("dropout in train mode", _DIGEST, _other_module(_dropout_in_train_mode), REFUSED),
    Fault("batch norm in train mode", _DIGEST, _other_module(lambda module: module.train()), REFUSED),
    Fault("dropout by a function that forgets the mode", _FORWARD, _other_forward(_functional_dropout), ARITHMETIC),
    Fault("another epsilon in batch norm", _DIGEST, _other_module(_larger_epsilon), ARITHMETIC),
    Fault(
        "logits in half precision",
        _FORWARD,
        _other_forward(lambda original, model, normalize, crops: original(model, normalize, crops).half()),
        ARITHMETIC,
    ),
    Fault("autocast left on", _FORWARD, _other_forward(_autocast), ARITHMETIC),
    Fault("another class at rank five", _PREDICT, _other_rank_five, ARITHMETIC),
    Fault("another model under the digest of this one", _PREDICT, _other_model, ARITHMETIC),
    Fault("one layer's weights off by 1e-3", _DIGEST, _other_module(_scaled_layer), WEIGHTS),
    Fault("one byte of the weights flipped", _DIGEST, _other_module(_flipped_byte), WEIGHTS),
    Fault("counters not reset between models", _COUNT, _not_reset, COUNTING),
)
