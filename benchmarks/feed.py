"""How many images a second each stage moves: decoding, reading a warm store, copying to the device, and the loop.

    python -m benchmarks.feed [--images 50000] [--models alexnet,resnet18] [--precision fp32,bf16]

The images are the synthetic ones, again and again under new ids, so that as many as ImageNet's are decoded, hashed and
moved. A stage is timed three times, and the median is printed with the least and the most.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from harness.dataset import SYNTHETIC, ImageDataset, open_dataset
from harness.decoding.store import Store
from harness.device import current, default_batch_size, describe_device, keep_freed_memory, resolve_device
from harness.expected import DEFAULT_FILE, select_cases
from harness.models import geometry_of, load
from harness.options import Decoder, available_cores
from harness.precision import Setting
from harness.predict import predict
from harness.prefetch import Crops, Prefetch
from harness.records.accuracy_file import read_expected

ROUNDS = 3


def repeated(images: int) -> ImageDataset:
    """Return so many images: those of the synthetic dataset, again and again under new ids."""
    original = open_dataset(SYNTHETIC)
    rows = [number % len(original) for number in range(images)]
    ids = tuple(f"{number:06}" for number in range(images))
    return replace(
        original, ids=ids, sources=tuple(original.sources[row] for row in rows), targets=original.targets[rows]
    )


def timed(name: str, images: int, work: Callable[[], object], rounds: int = ROUNDS) -> None:
    """Print images/s of some rounds of work."""
    rates = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        rates.append(images / (time.perf_counter() - started))
    print(f"{name:44} {median(rates):>10,.0f} images/s  ({min(rates):,.0f} to {max(rates):,.0f})", flush=True)


def reading(crops: Crops, batch_size: int) -> Iterator[None]:
    """Read all crops into one buffer, batch by batch."""
    side = crops.geometry.crop
    buffer = np.empty((batch_size, side, side, 3), np.uint8)
    for first in range(0, len(crops.ids), batch_size):
        rows = slice(first, min(first + batch_size, len(crops.ids)))
        crops.read(rows, buffer[: rows.stop - rows.start])
        yield


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--models", default="alexnet,resnet18")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch-size", type=int)
    options = parser.parse_args()
    device = resolve_device(options.device)
    keep_freed_memory()  # as the gate does
    batch_size, count = options.batch_size or default_batch_size(device), options.images
    settings = [Setting(name) for name in options.precision.split(",")]
    entries = read_expected(Path(__file__).parents[1] / DEFAULT_FILE)
    cases = select_cases(entries, options.models.split(","), tuple(settings), synthetic=True)
    print(f"{count:,} images, {available_cores()} cores, {describe_device(device)}, batches of {batch_size}")
    with tempfile.TemporaryDirectory() as temporary:
        dataset = repeated(count)
        with closing(Store(dataset, Decoder(), Path(temporary) / "store", available_cores())) as store, current(device):
            crops = store.decoded(geometry_of(cases[0].spec), lambda *_: None)
            timed("decode, hash and store, cold", count, crops.finish, rounds=1)
            timed("read and check, warm", count, lambda: list(reading(crops, batch_size)))
            once = Prefetch(device)
            once.release(crops)
            timed("read, check and copy to the device", count, lambda: [None for _ in once.batches(crops, batch_size)])
            for case in cases:
                model = load(case.spec, device, case.setting)

                def loop(prefetch: Prefetch) -> None:
                    predict(
                        model.module,  # noqa: B023
                        crops,
                        model.preset,  # noqa: B023
                        prefetch=prefetch,
                        batch_size=batch_size,
                        classes=len(dataset.classes),
                        setting=case.setting,  # noqa: B023
                    )

                loop(kept := Prefetch(device))
                timed(f"{case}: loop", count, lambda: loop(once))
                if device.type == "cuda":
                    timed(f"{case}: loop, pixels kept on the device", count, lambda: loop(kept))


if __name__ == "__main__":
    main()
