"""The per-image predictions that the ImageNetV2 study published, as a run: 21 torchvision models on ILSVRC2012 val.

Recht, Roelofs, Schmidt, Shankar: Do ImageNet classifiers generalize to ImageNet? (ICML 2019). The study's images were
scaled down beforehand (its dataset ``imagenet-validation-original``), so a few answers differ from those of the
original files. It tells five classes for each image, no logits, weights or pixels.
"""

from __future__ import annotations

import hashlib
import io
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import datetime, timezone
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data import imagenet
from harness.data.split import digest_of
from harness.errors import RecordError, ResultsError
from harness.gate.answers import Answers
from harness.gate.scores import TopK
from harness.gate.verdict import Verdict
from harness.reporting.case_record import CaseRecord, Phases, pack
from harness.reporting.environment import UNKNOWN, Environment
from harness.reporting.record import Record, SplitFacts
from harness.reporting.run_folder import NewRun, write_answers

NAME = "imagenetv2-study"
SOURCE = "https://raw.githubusercontent.com/modestyachts/ImageNetV2/0b0c3fe89058e4c7ee2348938b3f4f706a931bf3/data"
DATASET = "datasets/imagenet-validation-original.json"
_TIMEOUT = 60
_WEIGHTS = "IMAGENET1K_V1"

HITS = {
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
"""Top-1 and top-5 hits of 50,000, counted from the study's files: what is fetched must give the same."""

SHA256 = {
    "alexnet": "c23113e4e844b23b65d47d46e9ce23af81336df1124cc80bf16fd53cbf0d189d",
    "densenet121": "d6ec3ce705036b4ba225e783903a19821e10988daa292b58235335e0c3f36eea",
    "resnet18": "1a1fb5d4656fb2612aced5ff0df655d873ed2cef2dc889d0540eedad2dce3a65",
    "resnet50": "6300a562fbf08fe2c0c20808c26f17970f33966a14cc24893e1e8a5e2daa32b4",
    "squeezenet1_1": "dcb59ddce1a2f51d5ac749d3c3d8b5e90e2b482a9de1476e5c5eed2c9bc0e284",
    "vgg11": "263ad8f977666d87267f42c59d485eed27ef74352deee3cc6b451871a721bc73",
}
"""Of the five classes of the 50,000 images in file-name order, as little-endian int16."""


def path_of(model: str) -> str:
    """Return where the study keeps a model's predictions, below ``SOURCE``."""
    return f"predictions/imagenet-validation-original/{model}.npy"


def fetch(source: str, folder: Path, models: Sequence[str], step: Callable[[str], object]) -> Record:
    """Fetch the study's predictions, check them, and write them as a run.

    Args:
        source: URL or folder that holds the study's ``data``.
        folder: of the run.
        models: of ``HITS``, each once.
        step: called before each file with its name.

    Raises:
        RecordError: a file is not there, or is not the published one.
        ResultsError: the run cannot be written, or something is there.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ResultsError(f"--to {folder}: expected a new or empty folder; what is there is not replaced")
    run = NewRun(folder, "--to")
    try:
        step(DATASET)
        order = _order(_read(source, DATASET), f"{source}/{DATASET}")
        ids = np.array([f"ILSVRC2012_val_{number:08}.JPEG" for number in range(1, imagenet.IMAGES + 1)])
        targets = imagenet.validation_labels()
        cases = []
        for model in models:
            step(path_of(model))
            top5 = _top5(_read(source, path_of(model)), f"{source}/{path_of(model)}")[order]
            answers = Answers(ids, targets, top5, logits=None)
            _refuse_others(model, answers, f"{source}/{path_of(model)}")
            case = as_case(model, answers)
            write_answers(run.staging, case.id, answers)
            cases.append(case)
        record = as_record(cases, digest_of(ids.tolist(), targets))
        run.finish(record)
    finally:
        run.discard()
    return record


_ENVIRONMENT = Environment(**{fact.name: UNKNOWN for fact in fields(Environment)})  # type: ignore[arg-type]


def as_record(cases: Sequence[CaseRecord], digest: str) -> Record:
    """Return the record of a run on the validation set, of whose environment nothing is known.

    Args:
        digest: of all ids and labels.
    """
    classes = imagenet.wnids()
    return Record(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        environment=_ENVIRONMENT,
        split=SplitFacts(imagenet.NAME, digest, imagenet.IMAGES, imagenet.IMAGES, len(classes), classes),
        cases=tuple(cases),
        timings=(),
    )


def _read(source: str, name: str) -> bytes:
    if "://" not in source:
        path = Path(source) / name
        try:
            return path.read_bytes()
        except OSError as error:
            raise RecordError(f"{path}: cannot be read: {error.strerror}") from error
    url = f"{source.rstrip('/')}/{name}"
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
            found: bytes = response.read()
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise RecordError(
            f"{url} could not be fetched ({reason}); where there is no internet, fetch the study's data folder "
            "elsewhere and give it as --from DIR"
        ) from error
    return found


def _order(data: bytes, where: str) -> NDArray[np.int64]:
    """Return for each image, by its number, its row in the study's files; its labels must be the known ones."""
    try:
        listed = [(str(name), str(wnid)) for name, wnid in json.loads(data)["image_filenames"]]
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{where}: not the study's list of images: {type(error).__name__} {error}") from error
    numbers = np.array([imagenet.validation_number(name) or 0 for name, _ in listed])
    if not np.array_equal(np.sort(numbers), np.arange(1, imagenet.IMAGES + 1)):
        raise RecordError(f"{where}: expected each of {imagenet.IMAGES:,} images once, found {len(listed):,} names")
    order = np.argsort(numbers)
    labels = [imagenet.class_indices().get(wnid, -1) for _, wnid in listed]
    wrong = np.flatnonzero(np.array(labels)[order] != imagenet.validation_labels())
    if len(wrong):
        raise RecordError(f"{where}: {len(wrong):,} images have another class than in the validation set")
    return order


def _top5(data: bytes, where: str) -> NDArray[np.int16]:
    if not data.startswith(np.lib.format.MAGIC_PREFIX):
        raise RecordError(f"{where}: expected an array of numpy, found {data[:12]!r}")
    try:
        found = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise RecordError(f"{where}: not a whole array ({error}); it may have been cut off") from error
    if found.shape != (imagenet.IMAGES, 5) or found.dtype.kind not in "iu" or found.min() < 0 or found.max() > 999:
        raise RecordError(f"{where}: expected (50000, 5) class indices, found {found.dtype} of shape {found.shape}")
    return np.asarray(found, dtype=np.int16)


def _refuse_others(model: str, answers: Answers, where: str) -> None:
    digest = hashlib.sha256(answers.top5.astype("<i2").tobytes()).hexdigest()
    if digest != SHA256.get(model, digest):
        raise RecordError(f"{where}: not the published predictions: sha256 {digest}, expected {SHA256[model]}")
    found = answers.hits
    if (found.top1, found.top5) != HITS[model]:
        raise RecordError(
            f"{where}: not the published predictions: {found.top1:,} and {found.top5:,} hits, expected "
            f"{HITS[model][0]:,} and {HITS[model][1]:,}"
        )


def as_case(model: str, answers: Answers) -> CaseRecord:
    """Return the record of a model of which only the answers are known."""
    values: dict[str, Any] = {"images_per_second": 0.0, "batch_size": 0, "parameters": 0, "gflops": 0.0}
    measured: TopK = answers.hits
    return CaseRecord(
        id=f"{model}-{_WEIGHTS}-fp32",
        model=model,
        weights=_WEIGHTS,
        precision="fp32",
        memory_format=UNKNOWN,
        compiled=False,
        split=imagenet.NAME,
        measured=measured,
        expected=None,
        verdict=Verdict(()),
        seconds=Phases(0.0, 0.0, 0.0, 0.0, 0.0),
        weights_sha256="",
        inputs_digest="",
        note=f"{NAME}: published predictions, not made by this harness",
        correct=pack(answers.correct),
        **values,
    )
