"""The gate against a plain evaluation loop, and timm's: equal counts, and the wall clocks, alternating.

    python -m benchmarks.against_plain_loop IMAGES LOOP [--images 250] [--models alexnet,vgg16,resnet18,googlenet]
    python -m benchmarks.against_plain_loop IMAGES LOOP --timm PYTHON VALIDATE_PY --models resnet18 --rounds 5

IMAGES is a folder of images in class folders. LOOP is a script that takes a folder and --models, decodes again for
each model, and prints a line `<model> n=.. top1=.. top5=.. ..` for each. VALIDATE_PY is timm's script, and PYTHON an
interpreter that has timm, which knows resnet18 and vgg16 of the four models. Each runs as a process of its own and is
timed from start to exit. Labels do not matter to seeded weights, so image k is put into the folder of class k: the
rank of a folder, which a plain loop takes for the class, is then the class.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from benchmarks import seeded
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
    """Run all in each round, print counts and median times; exit 1 if the counts differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="IMAGES", type=Path)
    parser.add_argument("loop", metavar="LOOP", type=Path)
    parser.add_argument("--timm", nargs=2, metavar=("PYTHON", "VALIDATE_PY"))
    parser.add_argument("--images", type=int, default=250)
    parser.add_argument("--models", default="alexnet,vgg16,resnet18,googlenet")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    models = options.models.split(",")

    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        dataset = _link_images(options.folder, temporary / "dataset", options.images)
        ways: dict[str, Callable[[], tuple[Counts, float]]] = {
            "plain loop": lambda: run_plain_loop(options.loop, dataset, models),
            "gate, nothing decoded yet": lambda: run_gate(dataset, models, temporary),
            "gate, decoded before": lambda: run_gate(dataset, models, temporary, "--store", str(temporary / "store")),
        }
        if options.timm:
            ways["timm"] = lambda: run_timm(options.timm, dataset, models, temporary)
            ways["timm --channels-last"] = lambda: run_timm(options.timm, dataset, models, temporary, "--channels-last")
        ways["gate, decoded before"]()
        results = [{way: run() for way, run in ways.items()} for _ in range(options.rounds)]

    for way in ways:
        seconds = [times[way][1] for times in results]
        found = ", ".join(f"{name} {top1}/{top5}" for name, (top1, top5) in results[0][way][0].items())
        print(f"{way:26} {median(seconds):6.1f} s ({min(seconds):.1f} to {max(seconds):.1f}); top-1/top-5: {found}")
    return 0 if all(counts == results[0]["plain loop"][0] for row in results for counts, _ in row.values()) else 1


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


def run_gate(dataset: Path, models: list[str], temporary: Path, *store: str) -> tuple[Counts, float]:
    """Return the correct counts of the gate with the same weights, and its seconds."""
    expected, run = temporary / "expected.yaml", temporary / "run"
    entries = "".join(ENTRY.format(name=name) for name in models)
    expected.write_text(f"schema_version: 2\ntolerance: 0.05\ndatasets: {{}}\nmodels:{entries}")
    command = [sys.executable, "-m", "pytest", "-m", "imagenet", f"--imagenet={dataset}", f"--expected={expected}"]
    _, seconds = _timed([*command, "--models=all", f"--results={run}", *(store or ("--no-store",))])
    cases = read_run(run).record.cases
    shutil.rmtree(run)
    return {case.model: (case.counts.top1, case.counts.top5) for case in cases}, seconds


def run_timm(
    script: tuple[str, str], dataset: Path, models: list[str], temporary: Path, *options: str
) -> tuple[Counts, float]:
    """Return the correct counts of timm's script with the same weights, one model after the other, and its seconds."""
    classes, counts, total = temporary / "wnids.txt", {}, 0.0
    classes.write_text("\n".join(imagenet.wnids()))
    images = len(list(dataset.iterdir()))
    for name in models:
        weights = temporary / f"{name}.pth"
        if not weights.exists():
            torch.save(getattr(seeded, name)().state_dict(), weights)
        command = [*script, f"--data-dir={dataset}", "--split=", f"--model={name}.tv_in1k", f"--checkpoint={weights}"]
        command += [f"--class-map={classes}", "--device=cpu", "-b=64", "-j=2", "--no-prefetcher", *options]
        output, seconds = _timed(command)
        [(top1, top5)] = re.findall(r'"top1": ([\d.]+),.*"top5": ([\d.]+),', output, re.DOTALL)
        counts[name] = (round(float(top1) * images / 100), round(float(top5) * images / 100))
        total += seconds
    return counts, total


def _timed(command: list[str]) -> tuple[str, float]:
    started = time.perf_counter()
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    print(result.stdout, result.stderr, sep="\n")
    return result.stdout, seconds


if __name__ == "__main__":
    sys.exit(main())
