"""What the loop costs: ``predict`` from a warm store against the bare model on tensors that are on the device already.

    python -m benchmarks.loop_cost IMAGES [--model resnet18] [--rounds 5]

IMAGES is a folder of images in class folders. Both use seeded weights, the same batches and the same memory format;
the bare model is given normalized float32 batches and its logits are dropped. The two take turns.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from benchmarks import seeded
from harness.dataset import open_dataset
from harness.decoding.store import DecodedImages
from harness.device import default_batch_size, describe_device, keep_freed_memory, resolve_device
from harness.formats import imagenet
from harness.options import Decoder
from harness.precision import PRECISIONS, applied
from harness.predict import Normalize, predict
from harness.prefetch import Prefetch
from harness.preset import Geometry, Preset

PRESET = Preset(Geometry(256, 224, "bilinear"), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="IMAGES")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    device = resolve_device(options.device)
    keep_freed_memory()  # as the gate does
    batch_size = default_batch_size(device)
    precision = PRECISIONS["fp32"]
    dataset = open_dataset(options.folder)
    model = getattr(seeded, options.model)().eval().to(device, memory_format=torch.channels_last)

    with tempfile.TemporaryDirectory() as temporary:
        crops = DecodedImages(dataset, PRESET.geometry, Decoder(), Path(temporary) / "store", workers=2)
        normalize = Normalize(PRESET, device)
        batches = [normalize(batch.clone()) for batch in Prefetch(device).batches(crops, batch_size)]

        def bare() -> None:
            with applied(precision, device), torch.inference_mode():
                for batch in batches:
                    logits = model(batch)
            logits.cpu()

        def loop() -> None:
            # A prefetch of its own, so that on a GPU the crops travel each time.
            predict(
                model,
                crops,
                PRESET,
                prefetch=Prefetch(device),
                batch_size=batch_size,
                classes=len(imagenet.wnids()),
            )

        seconds: dict[str, list[float]] = {"bare model": [], "predict": []}
        for round_number in range(options.rounds + 1):
            for name, task in zip(seconds, (bare, loop), strict=True):
                started = time.perf_counter()
                task()
                if round_number:
                    seconds[name].append(time.perf_counter() - started)
        crops.close()

    ratios = [alone / inside for alone, inside in zip(*seconds.values(), strict=True)]
    print(f"{options.model}, {len(dataset):,} images, batches of {batch_size}, {describe_device(device)}")
    for name, values in seconds.items():
        print(f"{name:12} {len(dataset) / median(values):9,.1f} images/s (median of {options.rounds})")
    print(f"ratio {median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
