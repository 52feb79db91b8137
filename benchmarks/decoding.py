"""Decoding into the store, and reading from it, against a plain DataLoader: medians and ratios of one run.

    python benchmarks/decoding.py IMAGES [--workers 2] [--rounds 5]

IMAGES is a folder of images in class folders. A round does each of these once, in turn, so that a machine that slows
down slows all of them: a DataLoader over ImageFolder with Resize, CenterCrop, ToTensor and Normalize; a cold build of
the store with each decoder, until the last image has been read from it; and reading all images from a warm store.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from harness.dataset import ImageDataset, open_dataset
from harness.decoding.store import DecodedImages
from harness.options import Decoder
from harness.prefetch import Prefetch
from harness.preset import Geometry

GEOMETRY = Geometry(resize=256, crop=224, interpolation="bilinear")
BATCH = 100


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="IMAGES")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    dataset = open_dataset(options.folder)
    loader = plain_loader(dataset.root, options.workers)

    with tempfile.TemporaryDirectory() as temporary:
        folders = (Path(temporary) / str(number) for number in range(10**6))

        def store(decoder: str, folder: Path) -> DecodedImages:
            return DecodedImages(dataset, GEOMETRY, Decoder(decoder), folder, options.workers)

        warm = Path(temporary) / "warm"
        tasks: dict[str, Callable[[], object]] = {
            "plain loader": lambda: [len(images) for images, _ in loader],
            "store, cold, pillow": lambda: read(store("pillow", next(folders)), dataset),
            "store, cold, torchvision": lambda: read(store("torchvision", next(folders)), dataset),
            "store, warm": lambda: read(store("pillow", warm), dataset),
        }
        seconds = defaultdict(list)
        for round_number in range(options.rounds + 1):
            for name, task in tasks.items():
                started = time.perf_counter()
                task()
                if round_number:  # the first round fills the page cache and starts the process that workers fork from
                    seconds[name].append(time.perf_counter() - started)

    base = median(seconds["plain loader"])
    print(f"{len(dataset):,} images, {options.workers} workers, median of {options.rounds}")
    for name, values in seconds.items():
        print(
            f"{name:26} {median(values):7.3f} s ({min(values):.3f} to {max(values):.3f})  "
            f"{len(dataset) / median(values):9,.0f} images/s  {base / median(values):6.2f} x"
        )


def plain_loader(root: Path, workers: int) -> DataLoader[object]:
    """Return the loader that a person writes first."""
    prepare = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    return DataLoader(datasets.ImageFolder(str(root), prepare), batch_size=BATCH, num_workers=workers)


def read(decoded: DecodedImages, dataset: ImageDataset) -> None:
    """Read all images as the evaluation does, decoding those that are missing."""
    images = sum(len(batch) for batch in Prefetch(torch.device("cpu")).batches(decoded, BATCH))
    decoded.close()
    assert images == len(dataset)


if __name__ == "__main__":
    main()
