"""What another decoder changes: pixels, logits and predictions against Pillow's, by EfficientNet-Lite0.

    python benchmarks/decoders.py IMAGES [--device auto] [--models efficientnet_lite0]

IMAGES is what --imagenet would be given; on a CUDA device nvjpeg is measured too.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from harness.dataset import open_dataset
from harness.decoding.store import Store
from harness.device import default_batch_size, describe_device, keep_freed_memory, resolve_device
from harness.expected import select_cases
from harness.models import load
from harness.options import Decoder
from harness.precision import DEFAULT
from harness.predict import predict
from harness.predictions import Predictions, count
from harness.prefetch import Prefetch
from harness.preset import Geometry
from harness.records.accuracy_file import read_expected

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="IMAGES")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--models", default="efficientnet_lite0")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    device = resolve_device(options.device)
    keep_freed_memory()  # as the gate does
    dataset = open_dataset(options.folder)
    entries = read_expected(ROOT / "expected_accuracy.yaml")
    decoders = [Decoder("pillow"), Decoder("torchvision")]
    if device.type == "cuda":
        decoders.append(Decoder("nvjpeg", str(device)))

    with Store(dataset.subset(2), decoders[0], None, options.workers) as store:
        store.decoded(Geometry(32, 32, "bilinear"), lambda *_: None).finish()  # starts the workers' server

    for case in select_cases(entries, options.models.split(","), [DEFAULT], synthetic=False):
        model = load(case.spec, device)
        print(f"{case} on {len(dataset):,} images of {dataset.name}, {describe_device(device)}")
        reference: tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint8]], Predictions] | None = None
        for decoder in decoders:
            with (
                tempfile.TemporaryDirectory() as folder,
                Store(dataset, decoder, Path(folder), options.workers) as store,
            ):
                decoded = store.decoded(model.preset.geometry, lambda *_: None)
                started = time.perf_counter()
                decoded.finish()
                seconds = time.perf_counter() - started
                pixels = decoded.read(slice(0, len(dataset)))
                predictions = predict(
                    model.module,
                    decoded,
                    model.preset,
                    prefetch=Prefetch(device),
                    batch_size=default_batch_size(device),
                    classes=len(dataset.classes),
                ).predictions
            reference = reference or (pixels, predictions)
            counts = count(predictions, dataset.targets)
            away = np.abs(pixels.astype(np.int16) - reference[0])
            assert predictions.logits is not None
            assert reference[1].logits is not None
            moved = np.median(np.abs(predictions.logits - reference[1].logits))
            print(
                f"  {decoder.name:12} {len(dataset) / seconds:6.0f} images/s in {options.workers} processes; "
                f"top-1 {counts.top1}, top-5 {counts.top5} correct; pixels: {(away > 0).mean():.2%} differ, by "
                f"{away.max()} at most; logits: median change {moved:.1e}; predictions changed: "
                f"{int((predictions.top1 != reference[1].top1).sum())} of {len(dataset)}"
            )
            for note in decoded.notes():
                print(f"  {'':12} {note}")


if __name__ == "__main__":
    main()
