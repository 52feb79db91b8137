"""The gate against a plain evaluation loop: equal counts, and the ratio of the wall clocks, both in one run.

    python benchmarks/against_plain_loop.py IMAGES LOOP [--images 250] [--models alexnet,vgg16,resnet18,googlenet]

IMAGES is a folder of images in class folders. LOOP is a script that takes a folder and --models, decodes again for
each model, and prints a line `<model> n=.. top1=.. top5=.. ..` for each. Both run as processes of their own and are
timed from start to exit. Labels do not matter to seeded weights, so image k is put into the folder of class k: the
rank of a folder, which a plain loop takes for the class, is then the class.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.formats import imagenet
from harness.records.run_folder import read_run

ROOT = Path(__file__).parents[1]
ENTRY = """
  - model: {name}
    weights: SEEDED
    builder: benchmarks.seeded:{name}
    preset: {{resize: 256, crop: 224, interpolation: bilinear, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}}
"""

Counts = dict[str, tuple[int, int]]


def main() -> int:
    """Run both, print counts and times; exit 1 if the counts differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="IMAGES", type=Path)
    parser.add_argument("loop", metavar="LOOP", type=Path)
    parser.add_argument("--images", type=int, default=250)
    parser.add_argument("--models", default="alexnet,vgg16,resnet18,googlenet")
    options = parser.parse_args()
    models = options.models.split(",")

    with tempfile.TemporaryDirectory() as temporary:
        dataset = _link_images(options.folder, Path(temporary) / "dataset", options.images)
        plain, plain_seconds = run_plain_loop(options.loop, dataset, models)
        gate, gate_seconds = run_gate(dataset, models, Path(temporary))

    for name in models:
        print(f"{name:10} top1/top5 correct of {options.images}: plain loop {plain[name]}, gate {gate[name]}")
    print(f"plain loop {plain_seconds:.1f} s, gate {gate_seconds:.1f} s, ratio {plain_seconds / gate_seconds:.2f}")
    return 0 if plain == gate else 1


def _link_images(folder: Path, dataset: Path, images: int) -> Path:
    """Link evenly spaced images, one into each of the first class folders."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpeg", ".jpg", ".png"))
    for wnid, path in zip(imagenet.wnids(), found[:: len(found) // images][:images], strict=False):
        (dataset / wnid).mkdir(parents=True)
        (dataset / wnid / path.name).symlink_to(path.resolve())
    return dataset


def run_plain_loop(loop: Path, dataset: Path, models: list[str]) -> tuple[Counts, float]:
    """Return the correct counts of the loop, and its seconds."""
    output, seconds = _timed([sys.executable, str(loop), str(dataset), "--models", ",".join(models)])
    lines = re.findall(r"^(\w+) n=\d+ top1=(\d+) top5=(\d+)", output, re.MULTILINE)
    return {name: (int(top1), int(top5)) for name, top1, top5 in lines}, seconds


def run_gate(dataset: Path, models: list[str], temporary: Path) -> tuple[Counts, float]:
    """Return the correct counts of the gate with the same weights, and its seconds."""
    expected = temporary / "expected.yaml"
    entries = "".join(ENTRY.format(name=name) for name in models)
    expected.write_text(f"schema_version: 2\ntolerance: 0.05\ndatasets: {{}}\nmodels:{entries}")
    command = [sys.executable, "-m", "pytest", "-m", "imagenet", f"--imagenet={dataset}", f"--expected={expected}"]
    _, seconds = _timed([*command, "--models=all", "--no-store", f"--results={temporary / 'run'}"])
    cases = read_run(temporary / "run").record.cases
    return {case.model: (case.counts.top1, case.counts.top5) for case in cases}, seconds


def _timed(command: list[str]) -> tuple[str, float]:
    started = time.perf_counter()
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    print(result.stdout, result.stderr, sep="\n")
    return result.stdout, seconds


if __name__ == "__main__":
    sys.exit(main())
