"""How long the page of two runs of four models on 50,000 images takes, from start to exit, and how large it is.

    python -m benchmarks.page PREDICTIONS.npz

The file holds ``label`` (50000,) and each model's five highest classes (50000, 5) on ImageNet's validation set, such as
those of the ImageNetV2 study. The earlier run is what it holds. In the later one the two highest classes of every 250th
image are exchanged, for each model from another image on.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from harness.dataset import digest_of
from harness.formats import imagenet
from harness.predictions import Predictions, count
from harness.records.environment import Environment
from harness.records.results import CaseResult, DatasetFacts, Record
from harness.records.run_folder import NewRun, write_predictions

# Parameters and GMACs by torchvision's metadata, so that the charts are drawn.
MODELS = {
    "alexnet": (61_100_840, 0.714),
    "resnet18": (11_689_512, 1.814),
    "vgg11": (132_863_336, 7.609),
    "densenet121": (7_978_856, 2.834),
}
EVERY, ROUNDS = 250, 5


def main() -> None:
    """Print seconds and bytes."""
    predictions = np.load(sys.argv[1])
    top5 = {model: predictions[model] for model in MODELS}
    with tempfile.TemporaryDirectory() as folder:
        old, new, page = Path(folder, "old"), Path(folder, "new"), Path(folder, "report.html")
        write(old, top5, predictions["label"])
        write(
            new,
            {model: exchanged(best, first) for first, (model, best) in enumerate(top5.items())},
            predictions["label"],
        )
        for runs in ([new], [old, new]):
            command = [sys.executable, "-m", "harness", "report", *map(str, runs), "-o", str(page)]
            seconds = []
            for _ in range(ROUNDS):
                started = time.perf_counter()
                if (
                    subprocess.run(command, stdout=subprocess.DEVNULL).returncode > 1
                ):  # 1: predictions changed, and failed
                    sys.exit("no page was made")
                seconds.append(time.perf_counter() - started)
            print(
                f"{len(runs)} of 4 models x 50,000 images: {median(seconds):.2f} s "
                f"({min(seconds):.2f} to {max(seconds):.2f}), {page.stat().st_size / 1e3:,.0f} KB"
            )


def exchanged(top5: NDArray[np.int16], first: int) -> NDArray[np.int16]:
    """Return the predictions, with the two highest classes of some images exchanged."""
    changed = top5.copy()
    changed[first::EVERY, :2] = changed[first::EVERY, 1::-1]
    return changed


def write(folder: Path, top5: dict[str, NDArray[np.int16]], targets: NDArray[np.int16]) -> None:
    """Write a run of these predictions."""
    ids = np.array([f"ILSVRC2012_val_{number:08}.JPEG" for number in range(1, imagenet.IMAGES + 1)])
    run = NewRun(folder)
    cases = []
    for model, highest in top5.items():
        predictions = Predictions(ids, highest)
        parameters, gmacs = MODELS[model]
        case = CaseResult(
            id=f"{model}-IMAGENET1K_V1-fp32",
            model=model,
            weights="IMAGENET1K_V1",
            precision="fp32",
            memory_format="channels_last",
            compiled=False,
            dataset=imagenet.NAME,
            counts=count(predictions, targets),
            parameters=parameters,
            gmacs=gmacs,
            images_per_second=1000 / gmacs,
        )
        cases.append(case)
        write_predictions(run.staging, case.id, predictions, targets)
    classes = imagenet.wnids()
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    facts = DatasetFacts(imagenet.NAME, digest_of(ids.tolist(), targets), len(ids), len(ids), len(classes), classes)
    run.finish(Record(created=created, environment=Environment(), dataset=facts, cases=tuple(cases)))


if __name__ == "__main__":
    main()
