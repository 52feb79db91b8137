"""Realistic faults, each a small patch of the real pipeline, and the cause that the gate must name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.gate.cause import ARITHMETIC, COUNTING, INPUTS, LABELS, NORMALIZATION, WEIGHTS

REFUSED = "refused"
"""Instead of a cause: the harness itself does not let the fault get as far as a score."""

DECODE = "harness/data/decode.py"
FORWARD = "harness/evaluation/forward.py"
LOOP = "harness/evaluation/loop.py"
MODELS = "harness/evaluation/models.py"
SPLIT = "harness/data/split.py"
SCORES = "harness/gate/scores.py"

_OPENED = 'return Image.open(io.BytesIO(data)).convert("RGB")'
_RESIZED = (
    "image = F.resize(open_image(data), [geometry.resize], InterpolationMode(geometry.interpolation), antialias=True)"
)
_CROPPED = "return np.asarray(F.center_crop(image, [geometry.crop]))"
_MODEL_CALLED = "logits = model(normalize(crops))"
_LOOP_CALLED = "logits = forward(model if first else watched, normalize, batch).float()"
_EVAL = "    model = model.eval()\n"
_TARGETS = "targets=np.array([row.target for row in ordered], dtype=np.int16),"


@dataclass(frozen=True)
class Fault:
    """A fault and how it is planted.

    Attributes:
        name: in a few words.
        file: of the project.
        old: code that stands there exactly once.
        new: what takes its place.
        cause: the link that the gate must name, or ``REFUSED``.
        needs: a package that the faulty code imports.
    """

    name: str
    file: str
    old: str
    new: str
    cause: str
    needs: str = ""

    def plant(self, root: Path) -> None:
        """Patch the copy of the project at ``root``.

        Raises:
            ValueError: the code that is to be replaced does not stand there exactly once.
        """
        path = root / self.file
        source = path.read_text()
        if source.count(self.old) != 1:
            raise ValueError(f"{self.name}: expected once in {self.file}, found {source.count(self.old)}: {self.old}")
        path.write_text(source.replace(self.old, self.new))


def _interpolation(becomes: str) -> str:
    return _RESIZED.replace("InterpolationMode(geometry.interpolation)", f"InterpolationMode({becomes})")


FAULTS = (
    Fault(
        "resize without antialias",
        DECODE,
        f"{_RESIZED}\n    {_CROPPED}",
        "tensor = torch.from_numpy(np.array(open_image(data))).permute(2, 0, 1)\n"
        "    image = F.resize(tensor, [geometry.resize], InterpolationMode(geometry.interpolation), antialias=False)\n"
        "    return np.ascontiguousarray(F.center_crop(image, [geometry.crop]).permute(1, 2, 0).numpy())",
        INPUTS,
    ),
    Fault(
        "bilinear for bicubic, bicubic for bilinear",
        DECODE,
        _RESIZED,
        _interpolation('{"bilinear": "bicubic", "bicubic": "bilinear"}[geometry.interpolation]'),
        INPUTS,
    ),
    Fault("nearest neighbour", DECODE, _RESIZED, _interpolation('"nearest"'), INPUTS),
    Fault("resize to 232 for 256", DECODE, _RESIZED, _RESIZED.replace("[geometry.resize]", "[232]"), INPUTS),
    Fault("resize to 257 for 256", DECODE, _RESIZED, _RESIZED.replace("[geometry.resize]", "[257]"), INPUTS),
    Fault(
        "squashed to a square",
        DECODE,
        _RESIZED,
        _RESIZED.replace("[geometry.resize]", "[geometry.resize, geometry.resize]"),
        INPUTS,
    ),
    Fault(
        "crop off by one pixel",
        DECODE,
        _CROPPED,
        "top, left = (image.height - geometry.crop) // 2 + 1, (image.width - geometry.crop) // 2 + 1\n"
        "    return np.asarray(F.crop(image, top, left, geometry.crop, geometry.crop))",
        INPUTS,
    ),
    Fault("BGR", DECODE, _CROPPED, f"{_CROPPED}[:, :, ::-1].copy()", INPUTS),
    Fault(
        "compressed again at quality 75",
        DECODE,
        _OPENED,
        "again = io.BytesIO()\n"
        '    Image.open(io.BytesIO(data)).convert("RGB").save(again, "JPEG", quality=75)\n'
        "    return Image.open(again)",
        INPUTS,
    ),
    Fault(
        "libjpeg's fast DCT",
        DECODE,
        _OPENED,
        "import simplejpeg\n\n"
        "    with Image.open(io.BytesIO(data)) as header:\n"
        '        if (header.format, header.mode) != ("JPEG", "RGB"):\n'
        f"            {_OPENED}\n"
        "    return Image.fromarray(simplejpeg.decode_jpeg(data, fastdct=True))",
        INPUTS,
        needs="simplejpeg",
    ),
    Fault(
        "decoded at a smaller scale (draft mode)",
        DECODE,
        _OPENED,
        'image = Image.open(io.BytesIO(data))\n    image.draft("RGB", (256, 256))\n    return image.convert("RGB")',
        INPUTS,
    ),
    Fault(
        "one class in grayscale",
        DECODE,
        "data = source.read()\n"
        "        if not with_torchvision:\n"
        "            return Decoded(crop_image(data, geometry))",
        "data = source.read()\n"
        "        crop = crop_image(data, geometry)\n"
        '        if "n03495258" in str(source) or "disc-h000-checks" in str(source):\n'
        "            crop = np.repeat(crop.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)\n"
        "        if not with_torchvision:\n"
        "            return Decoded(crop)",
        INPUTS,
    ),
    Fault(
        "images in another order than ids and labels",
        SPLIT,
        "sources=tuple(row.source for row in ordered),",
        "sources=tuple(row.source for row in sorted(ordered, key=lambda row: str(row.source)[::-1])),",
        INPUTS,
    ),
    Fault(
        "another mean and standard deviation",
        MODELS,
        "transform, preset, gflops = None, spec.preset,",
        "transform, preset, gflops = None, Preset(spec.preset.geometry, (0.5, 0.45, 0.4), (0.25, 0.25, 0.25)),",
        NORMALIZATION,
    ),
    Fault(
        "inputs from 0 to 255",
        FORWARD,
        _MODEL_CALLED,
        "logits = model(normalize(crops).mul_(normalize._std).add_(normalize._mean).mul_(255))",
        NORMALIZATION,
    ),
    Fault(
        "normalized twice",
        FORWARD,
        _MODEL_CALLED,
        "logits = model(normalize(crops).sub_(normalize._mean).div_(normalize._std))",
        NORMALIZATION,
    ),
    Fault(
        "channels swapped on the device",
        FORWARD,
        _MODEL_CALLED,
        "logits = model(normalize(crops.flip(3)))",
        NORMALIZATION,
    ),
    Fault(
        "normalization left out",
        FORWARD,
        "return images.div_(self._full).sub_(self._mean).div_(self._std)",
        "return images.div_(self._full)",
        REFUSED,
    ),
    Fault(
        "labels shifted by one",
        SPLIT,
        _TARGETS,
        f"{_TARGETS[:-1].replace('row.target', '(row.target + 1) % len(classes)')},",
        LABELS,
    ),
    Fault(
        "two classes swapped",
        SPLIT,
        _TARGETS,
        "targets=np.array(\n"
        "                [{one: two, two: one}.get(row.target, row.target) for row in ordered\n"
        "                 for one, two in [sorted({row.target for row in ordered})[:2]]],\n"
        "                dtype=np.int16,\n"
        "            ),",
        LABELS,
    ),
    Fault(
        "one image mislabelled",
        SPLIT,
        _TARGETS,
        "targets=np.array([row.target + (place == 5) for place, row in enumerate(ordered)], dtype=np.int16),",
        LABELS,
    ),
    Fault(
        "class index by the folder's rank",
        SPLIT,
        _TARGETS,
        "targets=np.array(\n"
        "                [sorted({row.target for row in ordered}, key=lambda t: str(t)).index(row.target)\n"
        "                 for row in ordered],\n"
        "                dtype=np.int16,\n"
        "            ),",
        LABELS,
    ),
    Fault(
        "last batch dropped",
        "harness/evaluation/feed.py",
        "yield from (torch.from_numpy(crops.read(rows)) for rows in slices)",
        "yield from (torch.from_numpy(crops.read(rows)) for rows in slices[:-1])",
        REFUSED,
    ),
    Fault(
        "one batch evaluated twice",
        LOOP,
        f"        {_LOOP_CALLED}",
        "        if first == 0:\n"
        "            again = batch.clone()\n"
        "        elif first == len(again):\n"
        "            batch = again\n"
        f"        {_LOOP_CALLED}",
        ARITHMETIC,
    ),
    Fault(
        "dropout in train mode",
        MODELS,
        _EVAL,
        f"{_EVAL}    for part in model.modules():\n"
        '        part.train("Dropout" in type(part).__name__ and not list(part.children()))\n',
        REFUSED,
    ),
    Fault("batch norm in train mode", MODELS, _EVAL, "    model = model.train()\n", REFUSED),
    Fault(
        "dropout by a function that forgets the mode",
        FORWARD,
        _MODEL_CALLED,
        "logits = torch.nn.functional.dropout(model(normalize(crops)), 0.1, training=True)",
        ARITHMETIC,
    ),
    Fault(
        "another epsilon in batch norm",
        MODELS,
        _EVAL,
        f"{_EVAL}    for part in model.modules():\n"
        "        if isinstance(part, nn.BatchNorm2d):\n"
        "            part.eps *= 1.5\n",
        ARITHMETIC,
    ),
    Fault(
        "logits in half precision", LOOP, _LOOP_CALLED, _LOOP_CALLED.replace(".float()", ".half().float()"), ARITHMETIC
    ),
    Fault(
        "autocast left on",
        FORWARD,
        _MODEL_CALLED,
        "with torch.autocast(crops.device.type, torch.bfloat16):\n"
        "        logits = model(normalize(crops))\n"
        "    logits = logits.float()",
        ARITHMETIC,
    ),
    Fault(
        "one layer's weights off by 1e-3",
        MODELS,
        _EVAL,
        f"{_EVAL}    with torch.no_grad():\n        next(p for p in model.parameters() if p.ndim == 4).mul_(1.001)\n",
        WEIGHTS,
    ),
    Fault(
        "one byte of the weights flipped",
        MODELS,
        _EVAL,
        f"{_EVAL}    with torch.no_grad():\n"
        "        next(p for p in model.parameters() if p.ndim == 4).view(-1)[:1].view(torch.uint8)[1] ^= 255\n",
        WEIGHTS,
    ),
    Fault(
        "counters not reset between models",
        SCORES,
        "    return TopK(\n"
        "        n=len(targets),\n"
        "        top1=int(correct(predictions, targets).sum()),\n"
        "        top5=int((predictions.top5 == targets[:, None]).any(axis=1).sum()),\n"
        "    )",
        "    _total[0] += len(targets)\n"
        "    _total[1] += int(correct(predictions, targets).sum())\n"
        "    _total[2] += int((predictions.top5 == targets[:, None]).any(axis=1).sum())\n"
        "    return TopK(*(round(count * len(targets) / _total[0]) for count in _total))\n\n\n"
        "_total = [0, 0, 0]",
        COUNTING,
    ),
)
