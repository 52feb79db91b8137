"""What another decoder changes: pixels, logits and answers against Pillow's, by EfficientNet-Lite0.

    python benchmarks/decoders.py IMAGES [--device auto] [--models efficientnet_lite0]

IMAGES is what --imagenet would be given; on a CUDA device nvjpeg is measured too.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from harness.data.decoder import Decoder
from harness.data.layouts import open_split
from harness.data.preset import Geometry
from harness.data.store import Store
from harness.evaluation.device import default_batch_size, describe_device, resolve_device
from harness.evaluation.feed import Feed
from harness.evaluation.loop import predict
from harness.evaluation.memory import keep_freed_memory
from harness.evaluation.models import load
from harness.evaluation.predictions import Predictions
from harness.evaluation.setting import Setting
from harness.gate.cases import select_cases
from harness.gate.expected_file import read_expected
from harness.gate.scores import score

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
    split = open_split(options.folder)
    entries = read_expected(ROOT / "expected_accuracy.yaml")
    decoders = [Decoder("pillow"), Decoder("torchvision")]
    if device.type == "cuda":
        decoders.append(Decoder("nvjpeg", str(device)))

    with Store(split.subset(2), decoders[0], None, options.workers) as store:
        store.decoded(Geometry(32, 32, "bilinear"), lambda *_: None).finish()  # starts the workers' server

    for case in select_cases(entries, options.models.split(","), [Setting()], embedded=False):
        loaded = load(case.entry.spec, device)
        print(f"{case} on {len(split):,} images of {split.name}, {describe_device(device)}")
        reference: tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint8]], Predictions] | None = None
        for decoder in decoders:
            with tempfile.TemporaryDirectory() as folder, Store(split, decoder, Path(folder), options.workers) as store:
                decoded = store.decoded(loaded.facts.preset.geometry, lambda *_: None)
                started = time.perf_counter()
                decoded.finish()
                seconds = time.perf_counter() - started
                pixels = decoded.read(slice(0, len(split)))
                predictions = predict(
                    loaded.model,
                    decoded,
                    loaded.facts.preset,
                    feed=Feed(device),
                    batch_size=default_batch_size(device),
                )
            reference = reference or (pixels, predictions)
            top = score(predictions, split.targets, len(split.classes))
            away = np.abs(pixels.astype(np.int16) - reference[0])
            moved = torch.tensor(predictions.logits - reference[1].logits).abs().median()
            print(
                f"  {decoder.name:12} {len(split) / seconds:6.0f} images/s in {options.workers} processes; "
                f"top-1 {top.top1}, top-5 {top.top5} hits; pixels: {(away > 0).mean():.2%} differ, by {away.max()} at "
                f"most; logits: median change {moved:.1e}; answers changed: "
                f"{int((predictions.top5[:, 0] != reference[1].top5[:, 0]).sum())} of {len(split)}"
            )
            for note in decoded.notes():
                print(f"  {'':12} {note}")


if __name__ == "__main__":
    main()
