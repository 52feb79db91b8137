"""What a run does before its first forward, and when: medians of cold and warm runs of ResNet18 from start to exit.

    python benchmarks/startup.py IMAGES [--tree DIR]... [--rounds 5]

IMAGES is a folder of images in class folders, or `synthetic`. With --tree given several times, such as the checkout of
an earlier commit and this one, their runs take turns. A cold run has an empty store, a warm one that of the run before.
Weights are seeded on real images. All times are seconds since the process was started; the imports of torch and
torchvision have a column of their own, and the last column is what the first forward comes after beyond them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
PARTS = ("plugin", "imported", "dataset", "evaluator", "worker", "store", "forward", "exit")
ENTRY = """
schema_version: 2
tolerance: 0.05
datasets: {}
models:
  - model: resnet18
    weights: SEEDED
    builder: benchmarks.seeded:resnet18
    preset: {resize: 256, crop: 224, interpolation: bilinear, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}
"""
# Replaces functions once their module was imported, so that each writes down when it was called or had returned.
PROGRAM = """
import importlib.machinery, json, os, sys, time
from concurrent.futures import process

seen = {}
def note(name):
    seen.setdefault(name, time.time() - float(os.environ["STARTED"]))

def noted(function, name, at_its_end):
    def replacement(*given, **named):
        if not at_its_end:
            note(name)
        result = function(*given, **named)
        if hasattr(result, "add_done_callback"):
            result.add_done_callback(lambda _: note(name))
        elif at_its_end:
            note(name)
        return result
    return replacement

NOTED = {
    "harness.dataset": [(None, "open_dataset", "dataset", True)],
    "harness.decoding.store": [("DecodedImages", "begin", "store", False)],
    "harness.evaluator": [("Evaluator", "__init__", "evaluator", True)],
    "harness.decoding.workers": [(None, "warm_up", "plugin", True)],
    "harness.predict": [(None, "forward", "forward", False)],
}
class Finder:
    def find_spec(self, name, path, target=None):
        if name not in (*NOTED, "torch", "torchvision"):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module
        def executed(module):
            note(f"{name} begins")
            execute(module)
            note(f"{name} ends")
            for owner, attribute, noted_as, at_its_end in NOTED.get(name, ()):
                where = getattr(module, owner) if owner else module
                setattr(where, attribute, noted(getattr(where, attribute), noted_as, at_its_end))
        spec.loader.exec_module = executed
        return spec

if __name__ == "__main__":
    process.ProcessPoolExecutor.submit = noted(process.ProcessPoolExecutor.submit, "worker", True)
    import pytest
    from _pytest import assertion
    def install(config, original=assertion.install_importhook):
        hook = original(config)
        sys.meta_path.insert(0, Finder())  # before pytest's, which finds modules of plugins
        return hook
    assertion.install_importhook = install
    status = pytest.main(sys.argv[1:])
    with open(os.environ["SEEN"], "w") as file:
        json.dump(seen, file)
    sys.exit(status)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", metavar="IMAGES")
    parser.add_argument("--tree", action="append", type=Path, help="default: this checkout")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    trees = [tree.resolve() for tree in options.tree or [ROOT]]
    runs: dict[tuple[Path, str], list[dict[str, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "expected.yaml").write_text(ENTRY)
        (folder / "program.py").write_text(PROGRAM)
        for number in range(options.rounds + 1):
            for index, tree in enumerate(trees):
                store = folder / f"store-{index}-{number}"
                for state in ("cold", "warm"):
                    seen = run(tree, options.images, folder, store)
                    if number:  # the first round fills the page cache and writes the bytecode
                        runs[tree, state].append(seen)
    print(f"{options.rounds} rounds, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'':32}{''.join(f'{part:>10}' for part in PARTS)}{'beyond':>10}")
    for (tree, state), seen_in_runs in runs.items():
        values = [median(seen.get(part, float("nan")) for seen in seen_in_runs) for part in (*PARTS, "beyond")]
        print(f"{tree.name[-26:]:26} {state:5}{''.join(f'{value:10.2f}' for value in values)}")


def run(tree: Path, images: str, folder: Path, store: Path) -> dict[str, float]:
    """Return the seconds after which each part was reached in one run."""
    real = [] if images == "synthetic" else [f"--expected={folder / 'expected.yaml'}"]
    where = [f"--imagenet={images}", f"--store={store}", *real, f"--models={'all' if real else 'resnet18'}"]
    (folder / "seen").unlink(missing_ok=True)
    started = time.time()
    subprocess.run(  # exits with 1 on real images, as nothing is published for seeded weights
        [sys.executable, str(folder / "program.py"), "-q", "-m", "imagenet", "-p", "no:cacheprovider", *where],
        cwd=tree, env={**os.environ, "PYTHONPATH": str(tree), "STARTED": str(started), "SEEN": str(folder / "seen")},
        stdout=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    seen: dict[str, float] = {**json.loads((folder / "seen").read_text()), "exit": time.time() - started}
    imports = sum(seen[f"{name} ends"] - seen[f"{name} begins"] for name in ("torch", "torchvision"))
    return seen | {"imported": seen["torchvision ends"], "beyond": seen["forward"] - imports}


if __name__ == "__main__":
    main()
