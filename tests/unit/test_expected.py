"""Tests of harness.expected, and of the values in the project's own file."""

from __future__ import annotations

import csv
import json
import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ExpectedError
from harness.expected import CORE, Case, Entry, ModelSpec, select_cases
from harness.precision import DEFAULT, PRECISIONS, Setting
from harness.preset import Geometry, Preset
from harness.records.accuracy_file import read_expected
from harness.records.evidence import Counts, Expected

GOOD = """\
schema_version: 2
tolerance: 0.05
datasets:
  imagenet-1k: {images: 50000, source: torchvision}
  ours: {images: 500, source: here, tolerance: 0.4, origin: recorded}
models:
  - {model: resnet18, weights: V1, imagenet-1k: {acc@1: 69.758, acc@5: 89.078}}
  - model: net
    weights: V2
    builder: team.models:net
    preset: {resize: 256, crop: 224, interpolation: bicubic, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}
    imagenet-1k: {acc@1: 70, acc@5: 90.01, tolerance: 0.1}
    ours: {acc@1: 44.8, acc@5: 93}
"""

ALIASES = "&a0 [x, x, x, x, x, x, x, x, x, x]" + "".join(
    f", &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]" for n in range(11)
)

# Text in GOOD, its replacement, and what the message says of key and reason.
BAD = [
    (GOOD, "", "expected a mapping with the keys schema_version, tolerance, datasets and models"),
    (GOOD, "\udc89PNG\r\n\x1a\n", "not valid YAML: 'utf-8' codec can't decode byte 0x89"),
    (GOOD, "? [a, b]\n: 1\n", "not valid YAML: while constructing a mapping"),
    ("tolerance: 0.05\n", "tolerance: 0.05\ntolerence: 0.1\n", "`tolerence`"),
    ("schema_version: 2", "schema_version: 1", "schema_version must be 2, found '1'; version 1 has"),
    ("tolerance: 0.05\n", "tolerance: 0.05\ntolerance: 5\n", "key 'tolerance' is repeated in line 3"),
    ("acc@5: 93}", "acc@5: 93", "not valid YAML: while parsing a flow mapping"),
    ("tolerance: 0.05", "tolerance: small", "tolerance.fp32: Invalid decimal string; found 'small'"),
    ("tolerance: 0.05", "tolerance: nan", "tolerance: expected points between 0 and 100"),
    ("tolerance: 0.05", "tolerance: 100.5", "points between 0 and 100, found 100.5"),
    ("tolerance: 0.4", "tolerance: {bf16: -2}", "datasets.ours.tolerance: expected points between 0 and 100, found -2"),
    ("tolerance: 0.05", "tolerance: {fp32: 0.05, fp8: 1}", "fp16, found 'fp8'"),
    ("tolerance: 0.05", "tolerance: {bf16: 0.2}", "tolerance: 'fp32' is missing"),
    ("images: 500,", "images: 0,", "$.datasets[...].images"),
    # Numbers of YAML 1.1, digits of other scripts, tags, and text that grows without end.
    ("source: here", "source: !!python/object/apply:os.getcwd []", "at `$.datasets[...].source`"),
    ("images: 500,", "images: 0500,", "Expected `int`, got `str`"),
    ("tolerance: 0.4", "tolerance: 0_4", "expected a number in the digits 0 to 9 in line "),
    ("acc@1: 44.8", "acc@1: \uff144.8", "expected a number in the digits 0 to 9 in line "),
    ("schema_version: 2\n", f"schema_version: [{ALIASES}]\n", "schema_version must be 2, found [['x', 'x', 'x'"),
    ("  ours: {images", "  model: {images", "'model' is a key of models"),
    ("V1, imagenet-1k", "V1, imagenet-1K", "models[0]: Object contains unknown field `imagenet-1K`"),
    # The same id by another division into model and weights.
    (
        "resnet18, weights: V1",
        "net-a, weights: V2}\n  - {model: net, weights: a-V2",
        "models[1]: net-a-V2 is listed tw",
    ),
    ("model: net", "model:", "models[1]: Expected `str` of length >= 1 - at `$.model`"),
    ("acc@1: 69.758", "acc@1: 0.69758", "must be percent, such as 69.75800; 0.69758 looks like a fraction"),
    ("acc@1: 69.758", "acc@1: -1", "acc@1 must be percent between 0 and 100, found -1"),
    ("acc@1: 69.758", "acc@1: nan", "imagenet-1k: acc@1 must be percent between 0 and 100, found NaN"),
    ("acc@5: 89.078", "acc@5: 100.002", "acc@5 must be percent between 0 and 100, found 100.002"),
    ("acc@1: 69.758, acc@5: 89.078", "acc@1: 89.078, acc@5: 69.758", "acc@5 must be at least acc@1"),
    ("team.models:net", "team.models", "'^[^:]+:[^:]+$' - at `$.builder`"),
    ("weights: V1,", "weights: V1, builder: 'a:b',", "builder and preset go together"),
    ("    builder: team.models:net\n", "", "builder and preset go together"),
    ("crop: 224", "crop: 224, antialias: true", "`antialias`"),
    ("mean: [0.485,", "mean: [123.675,", "<= 1.0 - at `$.preset.mean[0]`"),
    ("crop: 224", "crop: 0", "`int` >= 1 - at `$.preset.crop`"),
    ("0.224, 0.225]", "0.224, 0.0]", "std must not be 0"),
    ("crop: 224", "crop: 288", "crop must be at most resize, found 288 and 256"),
]


def _read(tmp_path: Path, content: str) -> tuple[Entry, ...]:
    file = tmp_path / "expected.yaml"
    file.write_bytes(content.encode(errors="surrogateescape"))
    return read_expected(file)


def test_a_good_file_becomes_entries(tmp_path: Path) -> None:
    """Counts are of the dataset's images, tolerance and origin the nearest that are given, in the file's order."""
    preset = Preset(Geometry(256, 224, "bicubic"), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    published = {"fp32": Expected(Counts(50_000, 34_879, 44_539), Decimal("0.05"))}
    own = {"fp32": Expected(Counts(50_000, 35_000, 45_005), Decimal("0.1"))}
    recorded = {"fp32": Expected(Counts(500, 224, 465), Decimal("0.4"), "recorded")}

    assert _read(tmp_path, GOOD) == (
        Entry(ModelSpec("resnet18", "V1"), {"imagenet-1k": published}),
        Entry(ModelSpec("net", "V2", "team.models:net", preset), {"imagenet-1k": own, "ours": recorded}),
    )


@pytest.mark.parametrize(
    ("acc1", "acc5", "top1", "top5"),
    [("44.79", "44.81", 224, 224), ("0", "100", 0, 500), ("33.3", "66.7", 166, 334)],
    ids=["223.95 and 224.05", "all or nothing", "166.5 and 333.5"],
)
def test_percent_is_rounded_to_the_nearest_image(acc1: str, acc5: str, top1: int, top5: int, tmp_path: Path) -> None:
    """A percentage with fewer digits than images need means the image nearest to it, of two the even one."""
    [*_, entry] = _read(tmp_path, GOOD.replace("acc@1: 44.8, acc@5: 93", f"acc@1: {acc1}, acc@5: {acc5}"))

    assert Expected(Counts(500, top1, top5), Decimal("0.4"), "recorded") == entry.expected_on("ours")


@pytest.mark.parametrize(("old", "new", "reason"), BAD)
def test_a_mistake_is_an_error_with_file_key_and_reason(old: str, new: str, reason: str, tmp_path: Path) -> None:
    """Nothing is guessed at or left out."""
    assert 1 == GOOD.count(old)

    with pytest.raises(ExpectedError, match=rf"^{tmp_path}/expected\.yaml: .*{re.escape(reason)}"):
        _read(tmp_path, GOOD.replace(old, new))


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """With the system's reason; a pipe is not waited for."""
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(ExpectedError, match=r"nowhere\.yaml: cannot be read: No such file or directory$"):
        read_expected(tmp_path / "nowhere.yaml")
    with pytest.raises(ExpectedError, match=r"pipe: cannot be read: expected a regular file, found a pipe, socket or"):
        read_expected(tmp_path / "pipe")
    with pytest.raises(ExpectedError, match=r": cannot be read: Is a directory$"):
        read_expected(tmp_path)


def test_each_precision_has_the_tolerance_that_is_nearest_to_it(tmp_path: Path) -> None:
    """That of an accuracy, else of its dataset, else of the file; one number is for all precisions."""
    text = GOOD.replace("tolerance: 0.05", "tolerance: {fp32: 0.05, bf16: 0.2, fp16: 0.1}")
    text = text.replace("tolerance: 0.4", "tolerance: {bf16: 2.0}")
    text = text.replace("90.01, tolerance: 0.1", "90.01, tolerance: 0.3")

    entries: Any = _read(tmp_path, text)

    found = {
        (entry.spec.model, dataset): [str(entry.expected_on(dataset, name).tolerance) for name in PRECISIONS]
        for entry in entries
        for dataset in entry.expected
    }

    assert found == {
        ("resnet18", "imagenet-1k"): ["0.05", "0.05", "0.2", "0.1"],
        ("net", "imagenet-1k"): ["0.3", "0.3", "0.3", "0.3"],
        ("net", "ours"): ["0.05", "0.05", "2.0", "0.1"],
    }


@pytest.mark.parametrize(
    ("tolerance", "images", "expected"),
    [
        ("0.29", 10_000, 29),  # in binary floating point a hair below: 28.999999999999996
        ("0.0519", 50_000, 25),  # a part of an image allows nothing
        ("0.05", 1_999, 0),
        ("0.05", 2_000, 1),
    ],
)
def test_the_tolerance_in_whole_images(tolerance: str, images: int, expected: int) -> None:
    """Exact, rounded down."""
    assert expected == Expected(Counts(images, 0, 0), Decimal(tolerance)).tolerance_images


@pytest.fixture(scope="module")
def own_entries(pytestconfig: pytest.Config) -> tuple[Entry, ...]:
    """The entries of the project's own file."""
    return read_expected(pytestconfig.rootpath / "expected_accuracy.yaml")


def test_own_file_tells_recorded_values_from_published_ones(own_entries: tuple[Entry, ...]) -> None:
    """Those of the core are published, to within 25 images."""
    origins = {(dataset, found["fp32"].origin) for entry in own_entries for dataset, found in entry.expected.items()}
    core = [entry.expected_on("imagenet-1k") for entry in own_entries if str(entry.spec) in CORE]

    assert [25] * 4 == [values and values.tolerance_images for values in core]
    assert {"recorded"} == {origin for dataset, origin in origins if dataset == "synthetic"}
    assert {"published"} == {origin for dataset, origin in origins if dataset != "synthetic"}


def test_own_file_has_timms_value_of_efficientnet_lite0(own_entries: tuple[Entry, ...], reference: Path) -> None:
    """The one model from elsewhere has the value that timm measured for the same weights, and its own preset."""
    rows = json.loads((reference / "efficientnet_lite.json").read_text())["timm"]["rows"]
    [row] = [row for row in rows if row["timm_model"] == "tf_efficientnet_lite0.in1k"]
    [entry] = [entry for entry in own_entries if str(entry.spec) == "efficientnet_lite0-RELEASE"]

    expected = Counts(50_000, *(round(float(row[name]) * 500) for name in ("in1k_top1", "in1k_top5")))
    assert expected == entry.expected["imagenet-1k"]["fp32"].counts
    assert entry.spec.preset is not None
    assert Geometry(256, 224, "bicubic") == entry.spec.preset.geometry


IMAGENETV2 = {
    "imagenetv2-matched-frequency": "imagenetv2-b-33",
    "imagenetv2-threshold0.7": "imagenetv2-a-44",
    "imagenetv2-topimages": "imagenetv2-c-12",
}


@pytest.mark.parametrize("dataset", IMAGENETV2)
def test_own_file_has_the_studys_values(dataset: str, own_entries: tuple[Entry, ...], reference: Path) -> None:
    """The core models' values on ImageNetV2 are those counted from the study's predictions; it has no GoogLeNet."""
    lines = (reference / "imagenetv2.csv").read_text().splitlines()
    rows = [row for row in csv.DictReader(lines) if row["dataset"] == IMAGENETV2[dataset]]
    counted = {
        f"{row['model']}-IMAGENET1K_V1": Counts(int(row["n"]), int(row["top1_correct"]), int(row["top5_correct"]))
        for row in rows
        if row["model"] in ("alexnet", "vgg16", "resnet18")
    }

    assert 3 == len(counted)
    values = {str(entry.spec): entry.expected_on(dataset) for entry in own_entries if dataset in entry.expected}
    assert counted == {name: expected and expected.counts for name, expected in values.items()}


def _entry(model: str, weights: str = "IMAGENET1K_V1", *datasets: str) -> Entry:
    values = {"fp32": Expected(Counts(500, 250, 400), Decimal(0))}
    return Entry(ModelSpec(model, weights), dict.fromkeys(datasets, values))


ENTRIES = (
    _entry("alexnet", "SYNTHETIC_V1", "synthetic"),
    _entry("vgg16", "SYNTHETIC_V1", "synthetic"),
    *(_entry(model, "IMAGENET1K_V1", "imagenet-1k") for model in ("alexnet", "googlenet", "resnet18", "resnet50")),
    _entry("resnet50", "IMAGENET1K_V2", "imagenet-1k"),
    _entry("vgg16", "IMAGENET1K_V1", "imagenet-1k"),
    _entry("own", "RELEASE"),
)
IDS = [str(entry.spec) for entry in ENTRIES]
CORE_IDS = [f"{model}-IMAGENET1K_V1" for model in ("alexnet", "googlenet", "resnet18", "vgg16")]
SYNTHETIC_IDS = ["alexnet-SYNTHETIC_V1", "vgg16-SYNTHETIC_V1"]


def _selected(wanted: list[str], synthetic: bool) -> list[str]:
    return [str(case.spec) for case in select_cases(ENTRIES, wanted, [DEFAULT], synthetic=synthetic)]


@pytest.mark.parametrize(
    ("wanted", "synthetic", "expected"),
    [
        ("core", False, CORE_IDS),
        ("all", False, IDS[2:]),
        ("resnet18", False, ["resnet18-IMAGENET1K_V1"]),
        ("RESNET50", False, ["resnet50-IMAGENET1K_V1", "resnet50-IMAGENET1K_V2"]),
        ("resnet50-IMAGENET1K_V2", False, ["resnet50-IMAGENET1K_V2"]),
        ("own", False, ["own-RELEASE"]),
        ("*net50*V1", False, ["resnet50-IMAGENET1K_V1"]),
        ("*-RELEASE vgg??", False, ["vgg16-IMAGENET1K_V1", "own-RELEASE"]),
        ("resnet18 resnet[0-9]8 resnet18-* core", False, CORE_IDS),
        # Only weights made for its images.
        ("core", True, SYNTHETIC_IDS),
        ("all", True, SYNTHETIC_IDS),
        ("*", True, SYNTHETIC_IDS),
    ],
)
def test_selection(wanted: str, synthetic: bool, expected: list[str]) -> None:
    """Names, globs, ids and the words ``core`` and ``all`` select models, in the order of the file, each once."""
    assert expected == _selected(wanted.split(), synthetic)


def test_core_of_a_file_without_the_four_is_the_whole_file() -> None:
    """A team's file is evaluated as a whole by default; each model in every setting."""
    entries = [_entry("own", "V1", "imagenet-1k"), _entry("other", "V1", "imagenet-1k")]

    cases = select_cases(entries, ["core"], [DEFAULT, Setting("bf16")], synthetic=False)

    assert ["own-V1-fp32", "own-V1-bf16", "other-V1-fp32", "other-V1-bf16"] == list(map(str, cases))


@pytest.mark.parametrize(
    ("wanted", "synthetic", "reason"),
    [
        ("resnt18", False, "in the file of expected accuracies (nearest: 'resnet18')"),
        ("zzz*", False, "in the file of expected accuracies (imagenet-gate list-models lists them)"),
        ("vgg11", True, "of the synthetic dataset, which has alexnet, vgg16; others need ImageNet: --imagenet DIR"),
    ],
)
def test_a_name_that_matches_nothing_is_an_error(wanted: str, synthetic: bool, reason: str) -> None:
    """Even beside names that match, and with the nearest that would."""
    with pytest.raises(ExpectedError, match=rf"^--models: '{re.escape(wanted)}' matches no model {re.escape(reason)}$"):
        _selected(["alexnet", wanted], synthetic)


def test_the_id_of_a_case_is_stable() -> None:
    """Tests, records and baselines are found by it."""
    cases = Case(_entry("vgg16"), Setting("bf16", "contiguous", compiled=True)), Case(_entry("vgg16"), batch_size=32)

    assert ["vgg16-IMAGENET1K_V1-bf16-contiguous-compiled", "vgg16-IMAGENET1K_V1-fp32-b32"] == list(map(str, cases))
