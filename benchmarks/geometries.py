"""What decoding costs in each of the geometries of torchvision's weights, in CPU time of one thread.

    python -m benchmarks.geometries IMAGES [--limit 100] [--rounds 3]

IMAGES is a folder of images. CPU time, not wall clock, so that other work on the machine counts for little; the least
of the rounds. The last line says how many times one geometry (256/224 bilinear) all of them together cost.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

from harness.cli.expected import published_accuracies
from harness.dataset import open_dataset
from harness.decoding.decoders import decode
from harness.expected import ModelSpec
from harness.models import geometry_of
from harness.options import Decoder
from harness.preset import Geometry


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="IMAGES")
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    sources = open_dataset(options.folder).subset(options.limit).sources
    named = (name.partition("-") for name in published_accuracies())
    weights = Counter(geometry_of(ModelSpec(model, member)) for model, _, member in named)
    seconds: dict[Geometry, list[float]] = {geometry: [] for geometry in weights}
    for _ in range(options.rounds):
        for geometry, taken in seconds.items():
            started = time.process_time()
            decode(sources, geometry, Decoder())
            taken.append((time.process_time() - started) / len(sources))
    least = {geometry: min(taken) for geometry, taken in seconds.items()}
    for geometry in sorted(least, key=least.__getitem__):
        print(f"{geometry!s:17} {weights[geometry]:3} weights {1 / least[geometry]:6.0f} images a CPU second")
    usual = least[Geometry(256, 224, "bilinear")]
    print(f"all {len(least)}: {1e3 * sum(least.values()):.1f} ms an image, {sum(least.values()) / usual:.1f} x 256/224")


if __name__ == "__main__":
    main()
