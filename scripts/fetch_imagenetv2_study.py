"""Write the per-image predictions that the ImageNetV2 study published as a run folder, for --baseline and compare.

    python scripts/fetch_imagenetv2_study.py --to imagenetv2-study

Recht, Roelofs, Schmidt, Shankar: Do ImageNet classifiers generalize to ImageNet? (ICML 2019). It holds the five highest
classes that 21 torchvision models predicted for each of the 50,000 images, and no logits, weights or pixels. The study
scaled the images down beforehand, so a few predictions differ from those for the original files.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import urllib.request
from datetime import datetime, timezone
from http.client import HTTPException
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.dataset import digest_of
from harness.errors import HarnessError, RecordError, ResultsError
from harness.formats import imagenet
from harness.predictions import Predictions, count
from harness.records.environment import Environment
from harness.records.results import CaseResult, DatasetFacts, Record
from harness.records.run_folder import NewRun, write_predictions

NAME = "imagenetv2-study"
SOURCE = "https://raw.githubusercontent.com/modestyachts/ImageNetV2/0b0c3fe89058e4c7ee2348938b3f4f706a931bf3/data"
DATASET = "datasets/imagenet-validation-original.json"
NOTE = f"{NAME}: published predictions, not made by this harness"

CORRECT = {
    "alexnet": (28259, 39535),
    "densenet121": (37217, 45986),
    "densenet161": (38569, 46780),
    "densenet169": (37800, 46403),
    "densenet201": (38448, 46685),
    "inception_v3": (38606, 46764),
    "resnet101": (38687, 46773),
    "resnet152": (39156, 47023),
    "resnet18": (34879, 44538),
    "resnet34": (36657, 45710),
    "resnet50": (38065, 46431),
    "squeezenet1_0": (29046, 40210),
    "squeezenet1_1": (29089, 40312),
    "vgg11": (34510, 44314),
    "vgg11_bn": (35185, 44905),
    "vgg13": (34964, 44623),
    "vgg13_bn": (35793, 45187),
    "vgg16": (35796, 45191),
    "vgg16_bn": (36680, 45758),
    "vgg19": (36188, 45438),
    "vgg19_bn": (37109, 45921),
}
"""Top-1 and top-5 correct of 50,000, counted from the study's files: a fetched file must give the same."""

SHA256 = {
    "alexnet": "c23113e4e844b23b65d47d46e9ce23af81336df1124cc80bf16fd53cbf0d189d",
    "densenet121": "d6ec3ce705036b4ba225e783903a19821e10988daa292b58235335e0c3f36eea",
    "resnet18": "1a1fb5d4656fb2612aced5ff0df655d873ed2cef2dc889d0540eedad2dce3a65",
    "resnet50": "6300a562fbf08fe2c0c20808c26f17970f33966a14cc24893e1e8a5e2daa32b4",
    "squeezenet1_1": "dcb59ddce1a2f51d5ac749d3c3d8b5e90e2b482a9de1476e5c5eed2c9bc0e284",
    "vgg11": "263ad8f977666d87267f42c59d485eed27ef74352deee3cc6b451871a721bc73",
}
"""Digest of the (50000, 5) classes in file-name order, as little-endian int16."""


def path_of(model: str) -> str:
    """Return the path of a model's predictions below ``SOURCE``."""
    return f"predictions/imagenet-validation-original/{model}.npy"


def fetch(source: str, folder: Path, models: list[str]) -> None:
    """Fetch the predictions of these models, check them, and write them as a run.

    Args:
        source: URL or folder that holds the study's ``data``.
        folder: folder for the run.
        models: names in ``CORRECT``.

    Raises:
        HarnessError: a file is missing or not the published one, or the run cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ResultsError(f"--to {folder}: expected a new or empty folder, found something in it, which is kept")
    run = NewRun(folder, "--to")
    try:
        order = _order(_read(source, DATASET), f"{source}/{DATASET}")
        ids = np.array([f"ILSVRC2012_val_{number:08}.JPEG" for number in range(1, imagenet.IMAGES + 1)])
        targets = imagenet.validation_labels()
        cases = []
        for model in models:
            where = f"{source}/{path_of(model)}"
            predictions = Predictions(ids, _top5(_read(source, path_of(model)), where)[order])
            case = _case(model, predictions, targets, where)
            write_predictions(run.staging, case.id, predictions, targets)
            cases.append(case)
        classes = imagenet.wnids()
        facts = DatasetFacts(imagenet.NAME, digest_of(ids.tolist(), targets), len(ids), len(ids), len(classes), classes)
        created = datetime.now(timezone.utc).isoformat(timespec="seconds")
        run.finish(Record(created=created, environment=Environment(processes=None), dataset=facts, cases=tuple(cases)))
    finally:
        run.discard()


def _read(source: str, name: str) -> bytes:
    print(f"fetching {name}", file=sys.stderr)
    try:
        if "://" not in source:
            return (Path(source) / name).read_bytes()
        with urllib.request.urlopen(f"{source}/{name}", timeout=60) as response:
            return bytes(response.read())
    except (OSError, ValueError, HTTPException) as error:
        raise RecordError(
            f"{source}/{name} could not be fetched ({error}); fetch the study's data folder elsewhere and give it as "
            "--from DIR"
        ) from error


def _order(data: bytes, where: str) -> NDArray[np.int64]:
    """Return the row of each image in the study's files, by the image's number."""
    try:
        listed = [(str(name), str(wnid)) for name, wnid in json.loads(data)["image_filenames"]]
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{where}: expected the study's list of images ({type(error).__name__} {error})") from error
    numbers = np.array([imagenet.validation_number(name) or 0 for name, _ in listed])
    if not np.array_equal(np.sort(numbers), np.arange(1, imagenet.IMAGES + 1)):
        raise RecordError(f"{where}: expected each of {imagenet.IMAGES:,} images once, found {len(listed):,} names")
    order = np.argsort(numbers)
    labels = np.array([imagenet.class_indices().get(wnid, -1) for _, wnid in listed])[order]
    if wrong := int((labels != imagenet.validation_labels()).sum()):
        raise RecordError(f"{where}: {wrong:,} images have another class than in the validation set")
    return order


def _top5(data: bytes, where: str) -> NDArray[np.int16]:
    try:
        found = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise RecordError(f"{where}: expected a whole array of numpy ({error}); it may have been cut short") from error
    if found.shape != (imagenet.IMAGES, 5) or found.dtype.kind not in "iu" or found.min() < 0 or found.max() > 999:
        raise RecordError(f"{where}: expected (50000, 5) class indices, found {found.dtype} of shape {found.shape}")
    return np.asarray(found, dtype=np.int16)


def _case(model: str, predictions: Predictions, targets: NDArray[np.int16], where: str) -> CaseResult:
    """Return the result of a model of which only the predictions are known, which must be the study's."""
    digest = hashlib.sha256(predictions.top.astype("<i2").tobytes()).hexdigest()
    counts = count(predictions, targets)
    if digest != SHA256.get(model, digest) or (counts.top1, counts.top5) != CORRECT[model]:
        raise RecordError(
            f"{where}: expected the published predictions, {CORRECT[model][0]:,} and {CORRECT[model][1]:,} correct, "
            f"found {counts.top1:,} and {counts.top5:,}, sha256 {digest}"
        )
    return CaseResult(
        id=f"{model}-IMAGENET1K_V1-fp32",
        model=model,
        weights="IMAGENET1K_V1",
        precision="fp32",
        memory_format="channels_last",
        compiled=False,
        dataset=imagenet.NAME,
        counts=counts,
        unpublished="the study's images are not the original files",
        notes=(NOTE,),
    )


def main(arguments: list[str] | None = None) -> int:
    """Fetch what the command line names, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", metavar="DIR", type=Path, default=Path(NAME), help="folder for the run (%(default)s)")
    parser.add_argument("--from", dest="source", default=SOURCE, help="a mirror, or a copy of the study's data folder")
    parser.add_argument("--models", metavar="LIST", default=",".join(CORRECT), help="names, comma-separated (all)")
    options = parser.parse_args(arguments)
    models = list(dict.fromkeys(name.strip() for name in options.models.split(",")))
    if unknown := [name for name in models if name not in CORRECT]:
        parser.error(f"--models: expected some of {', '.join(CORRECT)}, found {unknown[0]!r}")
    try:
        fetch(options.source.rstrip("/"), options.to, models)
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.to}: {len(models)} models on {imagenet.NAME}, 50,000 images, classes without logits")
    return 0


if __name__ == "__main__":
    sys.exit(main())
