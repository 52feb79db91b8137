"""Fit the heads of the synthetic models, and measure their accuracy, with the right pipeline and with planted faults.

A plain loop on purpose: Pillow, torchvision's transforms and a count, nothing of the harness but the images and the
backbones, so that it is a second opinion on what the harness reports.

    python scripts/fit_synthetic_heads.py            fit, write the heads (their sha256 go into the module), measure
    python scripts/fit_synthetic_heads.py --check    fit, compare with the shipped heads, measure those
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import PIL
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms as T

from harness.synthetic import rendering, weights

Array = NDArray[np.float64]
Head = tuple[NDArray[np.float16], NDArray[np.float16]]

RIDGE = 0.1
FLOOR = 0.3
BATCH = 50
TO_TENSOR = T.ToTensor()
NORMALIZE = T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
CROP = T.Compose([T.Resize(256, T.InterpolationMode.BILINEAR, antialias=True), T.CenterCrop(224), TO_TENSOR])
SQUASH = T.Compose([T.Resize((224, 224), T.InterpolationMode.BILINEAR, antialias=True), TO_TENSOR])


def main() -> int:
    """Run the command line; return 1 if ``--check`` finds other predictions than the shipped heads give."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="compare with the shipped heads instead of writing them")
    parser.add_argument("--models", default=",".join(weights.SEEDS), help="comma-separated (default: all)")
    parser.add_argument("--no-faults", action="store_true", help="measure the right pipeline only")
    options = parser.parse_args()
    print(
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, numpy {np.__version__}, "
        f"Pillow {PIL.__version__}, Python {platform.python_version()}, {torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}"
    )
    differ = 0
    with tempfile.TemporaryDirectory() as folder:
        fit, val = Path(folder, "fit"), Path(folder, "val")
        rendering.render(fit, "fit")
        rendering.render(val, "val")
        for name in options.models.split(","):
            differ += _one_model(name, fit, val, check=options.check, faults=not options.no_faults)
    return 1 if differ else 0


def _one_model(name: str, fit: Path, val: Path, *, check: bool, faults: bool) -> int:
    """Fit and measure one model; return in how many predictions a new fit differs from the shipped head."""
    model = weights.build_backbone(name)
    head = fit_head(features(model, load(fit, CROP)), labels(fit))
    images, targets = load(val, CROP), torch.from_numpy(labels(val))
    path = weights.HEADS / f"{name}.npz"
    if check:
        shipped = np.load(path)
        differ = compare(features(model, images), head, (shipped["weight"], shipped["bias"]))
        head = (shipped["weight"], shipped["bias"])
    else:
        path.parent.mkdir(exist_ok=True)
        np.savez(path, weight=head[0], bias=head[1])
        differ = 0
    install(model, head)

    start = time.perf_counter()
    right = logits(model, images)
    seconds = time.perf_counter() - start
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    print(f"{name}: head of {path.stat().st_size:,} bytes, sha256 {sha256}, {len(images) / seconds:.1f} images/s")
    report("right", right, right, targets)
    if faults:
        for fault, outputs in planted(model, images, val):
            report(fault, outputs, right, targets)
        report("labels off by one", right, right, (targets + 1) % len(rendering.CLASSES))
    return differ


def planted(model: nn.Module, images: Tensor, val: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield a name and the logits for each fault, and for two settings that are no faults."""
    yield "BGR", logits(model, images.flip(1))
    yield "no normalization", logits(model, images, normalize=lambda batch: batch)
    yield "squashed, no crop", logits(model, load(val, SQUASH))
    torch.manual_seed(0)
    yield "train mode", logits(copy.deepcopy(model).train(), images)
    yield "bf16 autocast", logits(model, images, bf16=True)
    yield "channels_last", logits(model.to(memory_format=torch.channels_last), images, channels_last=True)
    model.to(memory_format=torch.contiguous_format)


def files(root: Path) -> list[Path]:
    """Return the image files in the order of their names."""
    return sorted(root.glob("*/*"), key=lambda path: path.name)


def labels(root: Path) -> NDArray[np.int64]:
    """Return (N,) class indices."""
    return np.array([rendering.CLASSES.index(path.parent.name) for path in files(root)], dtype=np.int64)


def load(root: Path, transform: Callable[[Image.Image], Tensor]) -> Tensor:
    """Return (N, 3, 224, 224) float32 in 0..1."""
    return torch.stack([transform(Image.open(path).convert("RGB")) for path in files(root)])


def features(model: nn.Module, images: Tensor) -> Array:
    """Return (N, F), the input of the head."""
    seen: list[Tensor] = []
    hook = weights.head_of(model).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    logits(model, images)
    hook.remove()
    return torch.cat(seen).numpy().astype(np.float64)


@torch.inference_mode()
def logits(
    model: nn.Module,
    images: Tensor,
    normalize: Callable[[Tensor], Tensor] = NORMALIZE,
    *,
    bf16: bool = False,
    channels_last: bool = False,
) -> Tensor:
    """Return (N, classes) float32."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    outputs = []
    with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
        for batch in images.split(BATCH):
            outputs.append(model(normalize(batch).contiguous(memory_format=layout)).float())
    return torch.cat(outputs)


def fit_head(x: Array, targets: NDArray[np.int64]) -> Head:
    """Solve the ridge regression of the one-hot targets on the standardized features, folded into one linear layer.

    Args:
        x: (N, F) features.
        targets: (N,) class indices.

    Returns:
        weight (classes, F) and bias (classes,), float16.
    """
    mean, scale = x.mean(axis=0), x.std(axis=0)
    # A feature that hardly any fitting image excites would get a weight without bound.
    scale = np.hypot(scale, FLOOR * scale.mean())
    z = (x - mean) / scale
    hot = np.eye(len(rendering.CLASSES))[targets]
    prior = hot.mean(axis=0)
    # More features than images: solve in the images' space, with the penalty in units of an image's squared length.
    gram = z @ z.T
    penalty = RIDGE * np.trace(gram) / len(gram)
    duals = np.linalg.solve(gram + penalty * np.eye(len(gram)), hot - prior)
    weight = ((z.T @ duals) / scale[:, None]).T.astype(np.float16)
    # The bias is fitted to the rounded weight, so that the rounding is not amplified by the features' mean.
    return weight, (prior - weight.astype(np.float64) @ mean).astype(np.float16)


def install(model: nn.Module, head: Head) -> None:
    """Give the model its head."""
    layer = weights.head_of(model)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(head[0].astype(np.float32)))
        layer.bias.copy_(torch.from_numpy(head[1].astype(np.float32)))


def compare(x: Array, fitted: Head, shipped: Head) -> int:
    """Print how far a new head's logits are from the shipped one's; return the number of other predictions."""
    new, old = (x @ weight.astype(np.float64).T + bias.astype(np.float64) for weight, bias in (fitted, shipped))
    differ = int((new.argmax(axis=1) != old.argmax(axis=1)).sum())
    largest = float(np.abs(new - old).max() / old.std())
    print(f"fitted anew: logits within {largest:.1e} of the logit scale, {differ} of {len(x)} predictions differ")
    return differ


def report(what: str, outputs: Tensor, right: Tensor, targets: Tensor) -> None:
    """Print the correct counts, the predictions that differ from the right pipeline's, and how far the logits moved."""
    top5 = outputs.topk(5, dim=1).indices
    found = top5 == targets[:, None]
    changed = int((outputs.argmax(dim=1) != right.argmax(dim=1)).sum())
    moved = float((outputs - right).abs().max() / right.std())
    print(
        f"  {what:20s} top-1 {int(found[:, 0].sum()):3d}  top-5 {int(found.sum()):3d}  of {len(targets)}   "
        f"predictions changed {changed:3d}   logits moved by at most {moved:.1e} of the logit scale",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
