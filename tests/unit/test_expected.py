"""Tests of harness.expected, and of the values in the project's own file."""

from __future__ import annotations

import csv
import json
import os
import re
from decimal import Decimal
from pathlib import Path

import pytest

from harness.cli.expected import disagreements
from harness.errors import ExpectedError
from harness.expected import CORE, Case, Entry, ModelSpec, select_cases
from harness.precision import DEFAULT, Setting
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
    preset:
      resize: 256
      crop: 224
      interpolation: bicubic
      mean: [0.485, 0.456, 0.406]
      std: [0.229, 0.224, 0.225]
    imagenet-1k: {acc@1: 70, acc@5: 90.01, tolerance: 0.1}
    ours: {acc@1: 44.8, acc@5: 93}
"""

# Text in GOOD, its replacement, and what the message says of key and reason.
BAD = {
    "unknown key": ("tolerance: 0.05\n", "tolerance: 0.05\ntolerence: 0.1\n", "`tolerence`"),
    "missing key": ("tolerance: 0.05\n", "", "`tolerance`"),
    "schema of before": (
        "schema_version: 2",
        "schema_version: 1",
        "schema_version must be 2, found '1'; version 1 has",
    ),
    "repeated key": ("tolerance: 0.05\n", "tolerance: 0.05\ntolerance: 5\n", "key 'tolerance' is repeated in line 3"),
    "repeated key inside": ("acc@5: 93}", "acc@5: 93, acc@1: 44.8}", "key 'acc@1' is repeated in line 18"),
    "broken YAML": ("acc@5: 93}", "acc@5: 93", "not valid YAML: while parsing a flow mapping"),
    "tolerance is text": (
        "tolerance: 0.05",
        "tolerance: small",
        "tolerance.fp32: Invalid decimal string; found 'small'",
    ),
    "NaN as tolerance": ("tolerance: 0.05", "tolerance: nan", "tolerance: expected points between 0 and 100"),
    "negative tolerance": ("tolerance: 0.05", "tolerance: -0.05", "points between 0 and 100, found -0.05"),
    "tolerance above 100": ("tolerance: 0.05", "tolerance: 100.5", "points between 0 and 100, found 100.5"),
    "infinite tolerance": ("tolerance: 0.05", "tolerance: .inf", "tolerance.fp32: Invalid decimal string"),
    "negative tolerance of a precision": (
        "tolerance: 0.4",
        "tolerance: {bf16: -2}",
        "datasets.ours.tolerance: expected points between 0 and 100, found -2",
    ),
    "tolerance of no precision": ("tolerance: 0.05", "tolerance: {fp32: 0.05, fp8: 1}", "fp16, found 'fp8'"),
    "no tolerance for fp32": ("tolerance: 0.05", "tolerance: {bf16: 0.2}", "tolerance: 'fp32' is missing"),
    "no images": ("images: 500,", "images: 0,", "$.datasets[...].images"),
    "half an image": ("images: 500,", "images: 500.5,", "Expected `int`, got `str` - at `$.datasets[...].images`"),
    "Python in YAML": ("source: here", "source: !!python/object/apply:os.getcwd []", "at `$.datasets[...].source`"),
    "octal": ("images: 500,", "images: 0500,", "Expected `int`, got `str`"),
    "sexagesimal": ("acc@1: 44.8", "acc@1: 1:09.758", "Invalid decimal string"),
    "underscores": ("tolerance: 0.4", "tolerance: 0_4", "expected a number in the digits 0 to 9 in line "),
    "other digits": ("acc@1: 44.8", "acc@1: \uff144.8", "expected a number in the digits 0 to 9 in line "),
    "tagged as a number": ("images: 500,", 'images: !!int "",', "Expected `int`, got `str`"),
    "tagged as a date": ("tolerance: 0.4", 'tolerance: !!timestamp "x"', "Invalid decimal string; found 'x'"),
    "endless aliases": (
        "schema_version: 2\n",
        "schema_version: [&a0 [x, x, x, x, x, x, x, x, x, x]"
        + "".join(f", &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]" for n in range(11))
        + "]\n",
        "schema_version must be 2, found [['x', 'x', 'x'",
    ),
    "two documents": ("models:\n", "---\nmodels:\n", "not valid YAML: expected a single document"),
    "bad origin": ("origin: recorded", "origin: measured", "'measured'"),
    "dataset named model": ("  ours: {images", "  model: {images", "'model' is a key of models"),
    "dataset named as a key": ("  ours: {images", "  preset: {images", "'preset' is a key of models"),
    "unknown dataset": (
        "weights: V1, imagenet-1k",
        "weights: V1, imagenet-1K",
        "models[0]: Object contains unknown field `imagenet-1K`",
    ),
    "no weights": ("resnet18, weights: V1", "resnet18", "models[0]: Object missing required field `weights`"),
    "repeated entry": ("net\n    weights: V2", "resnet18\n    weights: V1", "models[1]: resnet18-V1 is listed twice"),
    "the same id by another division": (
        "  - model: net\n    weights: V2",
        "  - {model: a, weights: b-V1}\n  - model: a-b\n    weights: V1",
        "models[2]: a-b-V1 is listed twice",
    ),
    "no name": ("model: net", "model:", "models[1]: Expected `str` of length >= 1 - at `$.model`"),
    "missing metric": (", acc@5: 89.078", "", "imagenet-1k: Object missing required field `acc@5`"),
    "fraction": ("acc@1: 69.758", "acc@1: 0.69758", "must be percent, such as 69.75800; 0.69758 looks like a fraction"),
    "below 0": ("acc@1: 69.758", "acc@1: -1", "acc@1 must be percent between 0 and 100, found -1"),
    "NaN": ("acc@1: 69.758", "acc@1: nan", "imagenet-1k: acc@1 must be percent between 0 and 100, found NaN"),
    "above 100": ("acc@5: 89.078", "acc@5: 100.002", "acc@5 must be percent between 0 and 100, found 100.002"),
    "text": ("acc@1: 69.758", "acc@1: 69.758 %", "at `$.acc@1`; found {'acc@1': '69.758 %', 'acc@5'"),
    "bool": ("acc@1: 69.758", "acc@1: yes", "imagenet-1k: Invalid decimal string - at `$.acc@1`"),
    "exchanged": ("acc@1: 69.758, acc@5: 89.078", "acc@1: 89.078, acc@5: 69.758", "acc@5 must be at least acc@1"),
    "builder without function": ("team.models:net", "team.models", "'^[^:]+:[^:]+$' - at `$.builder`"),
    "builder without module": ("team.models:net", "':net'", "'^[^:]+:[^:]+$' - at `$.builder`"),
    "builder with two colons": ("team.models:net", "team:models:net", "'^[^:]+:[^:]+$' - at `$.builder`"),
    "builder without preset": ("weights: V1,", "weights: V1, builder: 'a:b',", "builder and preset go together"),
    "preset without builder": ("    builder: team.models:net\n", "", "builder and preset go together"),
    "unknown key in a preset": ("crop: 224", "crop: 224\n      antialias: true", "`antialias`"),
    "bad interpolation": ("interpolation: bicubic", "interpolation: cubic", "'cubic' - at `$.preset.interpolation`"),
    "mean of bytes": (
        "mean: [0.485, 0.456, 0.406]",
        "mean: [123.675, 116.28, 103.53]",
        "<= 1.0 - at `$.preset.mean[0]`",
    ),
    "mean of two": ("mean: [0.485, 0.456, 0.406]", "mean: [0.485, 0.456]", "of length 3, got 2 - at `$.preset.mean`"),
    "std is NaN": ("std: [0.229, 0.224, 0.225]", "std: [0.229, .nan, 0.225]", "got `str` - at `$.preset.std[1]`"),
    "crop of 0": ("crop: 224", "crop: 0", "`int` >= 1 - at `$.preset.crop`"),
    "std of 0": ("std: [0.229, 0.224, 0.225]", "std: [0.229, 0.224, 0.0]", "std must not be 0"),
    "crop above resize": ("crop: 224", "crop: 288", "crop must be at most resize, found 288 and 256"),
}


def _read(tmp_path: Path, text: str | bytes) -> tuple[Entry, ...]:
    file = tmp_path / "expected.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_expected(file)


def test_a_good_file_becomes_entries(tmp_path: Path) -> None:
    """Counts are of the dataset's images, tolerance and origin the nearest that are given, in the file's order."""
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = (
        Entry(
            ModelSpec("resnet18", "V1"),
            {"imagenet-1k": {"fp32": Expected(Counts(50_000, 34_879, 44_539), Decimal("0.05"))}},
        ),
        Entry(
            ModelSpec("net", "V2", "team.models:net", Preset(Geometry(256, 224, "bicubic"), mean, std)),
            {
                "imagenet-1k": {"fp32": Expected(Counts(50_000, 35_000, 45_005), Decimal("0.1"))},
                "ours": {"fp32": Expected(Counts(500, 224, 465), Decimal("0.4"), "recorded")},
            },
        ),
    )

    assert expected == _read(tmp_path, GOOD)


def test_percent_is_rounded_to_the_nearest_image(tmp_path: Path) -> None:
    """A percentage with fewer digits than images need means the image nearest to it; 0 and 100 are allowed."""
    lines = [
        f"  - {{model: net{n}, weights: V1, ours: {{acc@1: {acc1}, acc@5: {acc5}}}}}\n"
        for n, (acc1, acc5) in enumerate([("44.79", "44.81"), ("0", "100"), ("33.3", "66.7")])
    ]

    found = [entry.expected_on("ours") for entry in _read(tmp_path, GOOD + "".join(lines))[2:]]

    # 223.95 and 224.05; 0 and 500; 166.5 has two nearest, 333.5 as well.
    expected = [Counts(500, 224, 224), Counts(500, 0, 500), Counts(500, 166, 334)]
    assert expected == [values and values.counts for values in found]


@pytest.mark.parametrize(("old", "new", "reason"), BAD.values(), ids=BAD)
def test_a_mistake_is_an_error_with_file_key_and_reason(old: str, new: str, reason: str, tmp_path: Path) -> None:
    """Nothing is guessed at or left out."""
    assert GOOD.count(old) == 1

    with pytest.raises(ExpectedError) as error:
        _read(tmp_path, GOOD.replace(old, new))

    assert str(error.value).startswith(f"{tmp_path / 'expected.yaml'}: ")
    assert reason in str(error.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "expected a mapping with the keys schema_version, tolerance, datasets and models"),
        (b"- 1\n", "expected a mapping with the keys"),
        (b"a line\n", "expected a mapping with the keys"),
        (b"\x89PNG\r\n\x1a\n\x00", "not valid YAML: 'utf-8' codec can't decode byte 0x89"),
        (b"a\x00b", "not valid YAML: unacceptable character #x0000"),
        (GOOD.encode("utf-16"), "not valid YAML: 'utf-8' codec can't decode byte 0xff"),
        (b"? [a, b]\n: 1\n", "not valid YAML: while constructing a mapping"),
    ],
)
def test_a_file_of_another_kind_is_an_error(content: bytes, reason: str, tmp_path: Path) -> None:
    """Whatever it is, with the file's name and the reason."""
    with pytest.raises(ExpectedError, match=rf"expected\.yaml: {re.escape(reason)}"):
        _read(tmp_path, content)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """Or a folder, with the system's reason."""
    with pytest.raises(ExpectedError, match=r"nowhere\.yaml: cannot be read: No such file or directory$"):
        read_expected(tmp_path / "nowhere.yaml")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ExpectedError, match=r"pipe: cannot be read: expected a regular file, found a pipe, socket or"):
        read_expected(tmp_path / "pipe")
    with pytest.raises(ExpectedError, match=r": cannot be read: Is a directory$"):
        read_expected(tmp_path)


def test_each_precision_has_the_tolerance_that_is_nearest_to_it(tmp_path: Path) -> None:
    """That of an accuracy, else of its dataset, else of the file; one number is for all precisions."""
    text = GOOD.replace("tolerance: 0.05", "tolerance: {fp32: 0.05, bf16: 0.2, fp16: 0.1}")
    text = text.replace("tolerance: 0.4", "tolerance: {bf16: 2.0}")
    text = text.replace("90.01, tolerance: 0.1", "90.01, tolerance: 0.3")

    found = {
        (entry.spec.model, dataset): [
            str(values.tolerance)
            for name in ("fp32", "tf32", "bf16", "fp16")
            if (values := entry.expected_on(dataset, name))
        ]
        for entry in _read(tmp_path, text)
        for dataset in entry.expected
    }

    expected = {
        ("resnet18", "imagenet-1k"): ["0.05", "0.05", "0.2", "0.1"],
        ("net", "imagenet-1k"): ["0.3", "0.3", "0.3", "0.3"],
        ("net", "ours"): ["0.05", "0.05", "2.0", "0.1"],
    }
    assert expected == found


@pytest.mark.parametrize(
    ("tolerance", "images", "expected"),
    [
        ("0.05", 50_000, 25),
        # In binary floating point this is a hair below the whole number: 28.999999999999996.
        ("0.29", 10_000, 29),
        # A part of an image allows nothing.
        ("0.0519", 50_000, 25),
        ("0.05", 1_999, 0),
        ("0.05", 2_000, 1),
        ("100", 50_000, 50_000),
    ],
)
def test_the_tolerance_in_whole_images(tolerance: str, images: int, expected: int) -> None:
    """Exact, rounded down."""
    assert expected == Expected(Counts(images, 0, 0), Decimal(tolerance)).tolerance_images


@pytest.fixture(scope="module")
def own_entries(pytestconfig: pytest.Config) -> tuple[Entry, ...]:
    """The entries of the project's own file."""
    return read_expected(pytestconfig.rootpath / "expected_accuracy.yaml")


def _counts(entries: tuple[Entry, ...], dataset: str) -> dict[str, Counts]:
    return {str(entry.spec): found.counts for entry in entries if (found := entry.expected_on(dataset))}


def test_own_file_has_exactly_torchvisions_values(own_entries: tuple[Entry, ...], reference: Path) -> None:
    """All 114 weights of torchvision that state an accuracy, with that accuracy, and no others."""
    facts = json.loads((reference / "torchvision.json").read_text())["weights"]
    expected = {
        f"{row['model']}-{row['weights']}": Counts(50_000, round(row["acc1"] * 500), round(row["acc5"] * 500))
        for row in facts
        if row["acc1"] is not None
    }

    found = _counts(tuple(entry for entry in own_entries if entry.spec.builder is None), "imagenet-1k")

    assert len(expected) == 114
    assert expected == found


def test_own_file_has_the_published_counts_of_the_core(own_entries: tuple[Entry, ...]) -> None:
    """Of 50,000 images, to within 25; and what this project recorded by itself is not called published."""
    core = {
        entry.spec.model: (found.counts.top1, found.counts.top5, found.tolerance_images)
        for entry in own_entries
        if str(entry.spec) in CORE and (found := entry.expected_on("imagenet-1k"))
    }
    origins = {(dataset, found["fp32"].origin) for entry in own_entries for dataset, found in entry.expected.items()}

    assert core == {
        "alexnet": (28_261, 39_533, 25),
        "vgg16": (35_796, 45_191, 25),
        "resnet18": (34_879, 44_539, 25),
        "googlenet": (34_889, 44_765, 25),
    }
    assert {dataset for dataset, origin in origins if origin == "recorded"} == {"synthetic"}
    assert ("synthetic", "published") not in origins


def test_own_file_has_timms_value_of_efficientnet_lite0(own_entries: tuple[Entry, ...], reference: Path) -> None:
    """The one model from elsewhere has the value that timm measured for the same weights, and its own preset."""
    rows = json.loads((reference / "efficientnet_lite.json").read_text())["timm"]["rows"]
    (row,) = [row for row in rows if row["timm_model"] == "tf_efficientnet_lite0.in1k"]
    (entry,) = [entry for entry in own_entries if entry.spec.model == "efficientnet_lite0"]

    expected = Counts(50_000, round(float(row["in1k_top1"]) * 500), round(float(row["in1k_top5"]) * 500))
    assert expected == _counts((entry,), "imagenet-1k")["efficientnet_lite0-RELEASE"]
    assert entry.spec.preset is not None
    assert entry.spec.preset.geometry == Geometry(256, 224, "bicubic")


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ("imagenetv2-matched-frequency", "imagenetv2-b-33"),
        ("imagenetv2-threshold0.7", "imagenetv2-a-44"),
        ("imagenetv2-topimages", "imagenetv2-c-12"),
    ],
)
def test_own_file_has_the_studys_values_on_imagenetv2(
    dataset: str, name: str, own_entries: tuple[Entry, ...], reference: Path
) -> None:
    """The core models' values on ImageNetV2 are those counted from the study's predictions; it has no GoogLeNet."""
    with (reference / "imagenetv2.csv").open(newline="") as file:
        counted = {
            f"{row['model']}-IMAGENET1K_V1": Counts(int(row["n"]), int(row["top1_correct"]), int(row["top5_correct"]))
            for row in csv.DictReader(file)
            if row["dataset"] == name and row["model"] in ("alexnet", "vgg16", "resnet18")
        }

    assert len(counted) == 3
    assert counted == _counts(own_entries, dataset)


def _entry(model: str, weights: str = "IMAGENET1K_V1", *datasets: str) -> Entry:
    return Entry(
        ModelSpec(model, weights), {name: {"fp32": Expected(Counts(500, 250, 400), Decimal(0))} for name in datasets}
    )


ENTRIES = (
    _entry("alexnet", "SYNTHETIC_V1", "synthetic"),
    _entry("vgg16", "SYNTHETIC_V1", "synthetic"),
    *(_entry(model, "IMAGENET1K_V1", "imagenet-1k") for model in ("alexnet", "googlenet", "resnet18", "resnet50")),
    _entry("resnet50", "IMAGENET1K_V2", "imagenet-1k"),
    _entry("vgg16", "IMAGENET1K_V1", "imagenet-1k"),
    _entry("own", "RELEASE"),
)
FOUR = [f"{model}-IMAGENET1K_V1-fp32" for model in ("alexnet", "googlenet", "resnet18", "vgg16")]


def _selected(*wanted: str, synthetic: bool = False) -> list[str]:
    return [str(case) for case in select_cases(ENTRIES, wanted, [DEFAULT], synthetic=synthetic)]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param(["core"], FOUR, id="core is the four"),
        pytest.param(["all"], [f"{entry.spec}-fp32" for entry in ENTRIES[2:]], id="all but the synthetic ones"),
        pytest.param(["resnet18"], ["resnet18-IMAGENET1K_V1-fp32"], id="name"),
        pytest.param(["RESNET50"], ["resnet50-IMAGENET1K_V1-fp32", "resnet50-IMAGENET1K_V2-fp32"], id="two weights"),
        pytest.param(["resnet50-IMAGENET1K_V2"], ["resnet50-IMAGENET1K_V2-fp32"], id="id"),
        pytest.param(["own"], ["own-RELEASE-fp32"], id="without expected values"),
        pytest.param(["*net50*V1"], ["resnet50-IMAGENET1K_V1-fp32"], id="glob of an id"),
        pytest.param(["*-RELEASE", "vgg??"], ["vgg16-IMAGENET1K_V1-fp32", "own-RELEASE-fp32"], id="order of the file"),
        pytest.param(["resnet18", "resnet[0-9]8", "resnet18-*", "core"], FOUR, id="each once"),
    ],
)
def test_selection(wanted: list[str], expected: list[str]) -> None:
    """Names, globs, ids and the words ``core`` and ``all`` select models, in the order of the file, each once."""
    assert expected == _selected(*wanted)


@pytest.mark.parametrize("wanted", ["core", "all", "*"])
def test_the_synthetic_dataset_has_models_of_its_own(wanted: str) -> None:
    """Only weights made for its images."""
    assert _selected(wanted, synthetic=True) == ["alexnet-SYNTHETIC_V1-fp32", "vgg16-SYNTHETIC_V1-fp32"]


def test_core_of_a_file_without_the_four_is_the_whole_file() -> None:
    """A team's file is evaluated as a whole by default."""
    entries = [_entry("own", "V1", "imagenet-1k"), _entry("other", "V1", "imagenet-1k")]

    found = [str(case) for case in select_cases(entries, ["core"], [DEFAULT, Setting("bf16")], synthetic=False)]

    assert found == ["own-V1-fp32", "own-V1-bf16", "other-V1-fp32", "other-V1-bf16"]


_NO_MODEL = "in the file of expected accuracies"


@pytest.mark.parametrize(
    ("wanted", "synthetic", "message"),
    [
        ("resnt18", False, f"'resnt18' matches no model {_NO_MODEL} (nearest: 'resnet18')"),
        ("zzz*", False, f"'zzz*' matches no model {_NO_MODEL} (imagenet-gate list-models lists them)"),
        (
            "vgg11",
            True,
            "'vgg11' matches no model of the synthetic dataset, which has alexnet, vgg16; others "
            "need ImageNet: --imagenet DIR",
        ),
    ],
)
def test_a_name_that_matches_nothing_is_an_error(wanted: str, synthetic: bool, message: str) -> None:
    """Even beside names that match, and with the nearest that would."""
    with pytest.raises(ExpectedError) as error:
        _selected("alexnet", wanted, synthetic=synthetic)

    assert str(error.value) == f"--models: {message}"


def test_the_id_of_a_case_is_stable() -> None:
    """Tests, records and baselines are found by it."""
    entry = _entry("resnet18")

    assert str(Case(entry, Setting("bf16", "contiguous", compiled=True))) == (
        "resnet18-IMAGENET1K_V1-bf16-contiguous-compiled"
    )
    assert str(Case(entry, DEFAULT, 32)) == "resnet18-IMAGENET1K_V1-fp32-b32"


def test_disagreements_with_torchvision() -> None:
    """One image of difference, for each metric on its own; and weights that only one side has."""

    def entry(model: str, top1: int, top5: int) -> Entry:
        values = {"fp32": Expected(Counts(50_000, top1, top5), Decimal(0))}
        return Entry(ModelSpec(model, "V1", "own:net" if model == "own" else None), {"imagenet-1k": values})

    entries = [
        entry("gone", 25_000, 40_000),
        entry("one", 34_880, 44_539),
        entry("two", 34_879, 44_538),
        # 64.002 % of 50,000 is 32000.999999999996 in binary floating point.
        entry("equal", 32_001, 32_032),
        entry("own", 1, 2),
    ]
    published = {"new-V1": (80.858, 95.434), **dict.fromkeys(["one-V1", "two-V1"], (69.758, 89.078))}
    published["equal-V1"] = (64.002, 64.064)

    assert disagreements(entries, published) == [
        "gone-V1: in the file, not in torchvision",
        "new-V1: (80.858, 95.434) in torchvision, no values for imagenet-1k in the file",
        "one-V1: top1 is 69.76 in the file, 69.758 in torchvision",
        "two-V1: top5 is 89.076 in the file, 89.078 in torchvision",
    ]
