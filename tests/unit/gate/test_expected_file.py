"""Tests of harness.gate.expected_file, and of what stands in the project's own file."""

from __future__ import annotations

import csv
import json
from decimal import Decimal
from pathlib import Path

import pytest

from harness.data.preset import Geometry, Preset
from harness.errors import ExpectedError
from harness.evaluation.spec import ModelSpec
from harness.gate.expected import Entry, Expected
from harness.gate.expected_file import read_expected
from harness.gate.scores import TopK

GOOD = """\
schema_version: 1
tolerance: 0.05
splits:
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

# What is replaced in GOOD, by what, and what the refusal says after the name of the file.
BAD = {
    "unknown key at the top": (
        "tolerance: 0.05\n",
        "tolerance: 0.05\ntolerence: 0.1\n",
        "unknown key 'tolerence' (nearest: 'tolerance')",
    ),
    "missing key at the top": ("tolerance: 0.05\n", "", "'tolerance' is missing"),
    "wrong schema_version": ("schema_version: 1", "schema_version: 2", "schema_version: expected 1, found 2"),
    "schema_version in quotes": (
        "schema_version: 1",
        "schema_version: '1'",
        "schema_version: expected 1, found '1'",
    ),
    "tolerance is text": ("tolerance: 0.05", "tolerance: small", "tolerance: expected a number, found 'small'"),
    "negative tolerance": (
        "tolerance: 0.05",
        "tolerance: -0.05",
        "tolerance: expected percentage points between 0 and 100, found -0.05",
    ),
    "tolerance above 100": (
        "tolerance: 0.05",
        "tolerance: 100.5",
        "tolerance: expected percentage points between 0 and 100, found 100.5",
    ),
    "tolerance of no precision": (
        "tolerance: 0.05",
        "tolerance: {fp32: 0.05, fp8: 1}",
        "tolerance: unknown key 'fp8'",
    ),
    "tolerances without that of fp32": (
        "tolerance: 0.05",
        "tolerance: {bf16: 0.2}",
        "tolerance: 'fp32' is missing, whose tolerance holds for all that have none",
    ),
    "bad tolerance of a precision": (
        "tolerance: 0.4",
        "tolerance: {bf16: -2}",
        "splits.ours.tolerance.bf16: expected percentage points between 0 and 100, found -2",
    ),
    "infinite tolerance": ("tolerance: 0.05", "tolerance: .inf", "tolerance: expected a number, found inf"),
    "splits are a list": (
        "splits:\n  imagenet-1k: {images: 50000, source: torchvision}\n"
        "  ours: {images: 500, source: here, tolerance: 0.4, origin: recorded}\n",
        "splits: [imagenet-1k]\n",
        "splits: expected a mapping from names, found ['imagenet-1k']",
    ),
    "split named by a number": (
        "  ours: {images: 500, source: here, tolerance: 0.4, origin: recorded}",
        "  2012: {images: 500, source: here}",
        "splits: expected names for keys, found 2012; quote it if it is meant as a name",
    ),
    "unknown key in a split": (
        "origin: recorded",
        "orogin: recorded",
        "splits.ours: unknown key 'orogin' (nearest: 'origin')",
    ),
    "split without images": ("images: 500, ", "", "splits.ours: 'images' is missing"),
    "split of no images": ("images: 500,", "images: 0,", "splits.ours.images: expected a number of images, found 0"),
    "split of half an image": (
        "images: 500,",
        "images: 500.5,",
        "splits.ours.images: expected a number of images, found 500.5",
    ),
    "split of True images": (
        "images: 500,",
        "images: true,",
        "splits.ours.images: expected a number of images, found True",
    ),
    "split without a source": ("source: here", "source: ''", "splits.ours.source: expected a name, found ''"),
    "bad tolerance of a split": (
        "tolerance: 0.4",
        "tolerance: '0.4'",
        "splits.ours.tolerance: expected a number, found '0.4'",
    ),
    "bad origin": (
        "origin: recorded",
        "origin: measured",
        "splits.ours.origin: expected one of published, recorded, found 'measured'",
    ),
    "models are a mapping": (
        "models:\n  - {model: resnet18, weights: V1, imagenet-1k: {acc@1: 69.758, acc@5: 89.078}}\n  - model: net",
        "models:\n    model: net",
        "models: expected a list, found dict",
    ),
    "model is a name": (
        "- {model: resnet18, weights: V1, imagenet-1k: {acc@1: 69.758, acc@5: 89.078}}",
        "- resnet18",
        "models[0]: expected a mapping from names, found 'resnet18'",
    ),
    "unknown key in an entry": (
        "weights: V1, imagenet-1k",
        "weights: V1, imagenet-1K",
        "models[0]: unknown key 'imagenet-1K' (nearest: 'imagenet-1k')",
    ),
    "nothing near the unknown key": ("weights: V1,", "weights: V1, zzz: 1,", "models[0]: unknown key 'zzz'"),
    "entry without weights": ("resnet18, weights: V1", "resnet18", "models[0]: 'weights' is missing"),
    "weights are a number": ("weights: V1", "weights: 1", "models[0].weights: expected a name, found 1"),
    "model is empty": ("model: net", "model:", "models[1].model: expected a name, found None"),
    "duplicate entry": (
        "model: net\n    weights: V2",
        "model: resnet18\n    weights: V1",
        "models[1]: resnet18-V1 stands there already, as models[0]",
    ),
    "unknown key in the accuracies": (
        "acc@5: 89.078",
        "acc@5: 89.078, acc@10: 95",
        "models[0] (resnet18-V1): imagenet-1k: unknown key 'acc@10' (nearest: 'acc@1')",
    ),
    "missing metric": (", acc@5: 89.078", "", "models[0] (resnet18-V1): imagenet-1k: 'acc@5' is missing"),
    "accuracies are a number": (
        "{acc@1: 69.758, acc@5: 89.078}",
        "69.758",
        "models[0] (resnet18-V1): imagenet-1k: expected a mapping from names, found 69.758",
    ),
    "fraction for percent": (
        "acc@1: 69.758",
        "acc@1: 0.69758",
        "models[0] (resnet18-V1): imagenet-1k.acc@1: 0.69758 looks like a fraction; expected percent, such as 69.75800",
    ),
    "0.69 for 69": (
        "acc@1: 69.758",
        "acc@1: 0.69",
        "models[0] (resnet18-V1): imagenet-1k.acc@1: 0.69 looks like a fraction; expected percent, such as 69.00",
    ),
    "accuracy above 100": (
        "acc@5: 89.078",
        "acc@5: 100.002",
        "models[0] (resnet18-V1): imagenet-1k.acc@5: expected percent between 0 and 100, found 100.002",
    ),
    "negative accuracy": (
        "acc@1: 69.758",
        "acc@1: -1",
        "models[0] (resnet18-V1): imagenet-1k.acc@1: expected percent between 0 and 100, found -1",
    ),
    "accuracy is NaN": (
        "acc@1: 69.758",
        "acc@1: .nan",
        "models[0] (resnet18-V1): imagenet-1k.acc@1: expected a number, found nan",
    ),
    "accuracy is text": (
        "acc@1: 69.758",
        "acc@1: 69.758 %",
        "models[0] (resnet18-V1): imagenet-1k.acc@1: expected a number, found '69.758 %'",
    ),
    "accuracy is a bool": (
        "acc@1: 69.758",
        "acc@1: yes",
        "models[0] (resnet18-V1): imagenet-1k.acc@1: expected a number, found True",
    ),
    "accuracy is missing": (
        "acc@1: 69.758",
        "acc@1:",
        "models[0] (resnet18-V1): imagenet-1k.acc@1: expected a number, found None",
    ),
    "acc@5 below acc@1": (
        "acc@1: 69.758, acc@5: 89.078",
        "acc@1: 89.078, acc@5: 69.758",
        "models[0] (resnet18-V1): imagenet-1k.acc@5: 69.758 is below acc@1, 89.078",
    ),
    "bad tolerance of an accuracy": (
        "tolerance: 0.1",
        "tolerance: [0.1]",
        "models[1] (net-V2): imagenet-1k.tolerance: expected a number, found [0.1]",
    ),
    "builder without function": (
        "team.models:net",
        "team.models",
        "models[1].builder: expected module:function, found 'team.models'",
    ),
    "builder without module": (
        "team.models:net",
        "':net'",
        "models[1].builder: expected module:function, found ':net'",
    ),
    "builder with two colons": (
        "team.models:net",
        "team:models:net",
        "models[1].builder: expected module:function, found 'team:models:net'",
    ),
    "builder is a list": ("team.models:net", "[team]", "models[1].builder: expected a name, found ['team']"),
    "builder without preset": (
        "weights: V1,",
        "weights: V1, builder: 'team.models:net',",
        "models[0]: builder and preset go together: torchvision's own models bring their preset",
    ),
    "preset without builder": (
        "    builder: team.models:net\n",
        "",
        "models[1]: builder and preset go together: torchvision's own models bring their preset",
    ),
    "unknown key in a preset": (
        "interpolation: bicubic",
        "interpolation: bicubic\n      antialias: true",
        "models[1].preset: unknown key 'antialias'",
    ),
    "preset without crop": ("      crop: 224\n", "", "models[1].preset: 'crop' is missing"),
    "two sides for resize": (
        "resize: 256",
        "resize: [256, 256]",
        "models[1].preset.resize: expected a number of pixels, found [256, 256]",
    ),
    "crop of nothing": ("crop: 224", "crop: 0", "models[1].preset.crop: expected a number of pixels, found 0"),
    "bad interpolation": (
        "interpolation: bicubic",
        "interpolation: cubic",
        "models[1].preset.interpolation: expected one of nearest, bilinear, bicubic, found 'cubic'",
    ),
    "interpolation is a list": (
        "interpolation: bicubic",
        "interpolation: [bicubic]",
        "models[1].preset.interpolation: expected one of nearest, bilinear, bicubic, found ['bicubic']",
    ),
    "mean of two": (
        "mean: [0.485, 0.456, 0.406]",
        "mean: [0.485, 0.456]",
        "models[1].preset.mean: expected three numbers such as 0.485, found [0.485, 0.456]",
    ),
    "mean on the scale of bytes": (
        "mean: [0.485, 0.456, 0.406]",
        "mean: [123.675, 116.28, 103.53]",
        "models[1].preset.mean: expected values for pixels scaled to 0..1, found [123.675, 116.28, 103.53]",
    ),
    "std is NaN": (
        "std: [0.229, 0.224, 0.225]",
        "std: [0.229, 0.224, .nan]",
        "models[1].preset.std: expected values for pixels scaled to 0..1, found [0.229, 0.224, nan]",
    ),
    "std of 0": (
        "std: [0.229, 0.224, 0.225]",
        "std: [0.229, 0.224, 0.0]",
        "models[1].preset.std: expected values for pixels scaled to 0..1, found [0.229, 0.224, 0.0]",
    ),
}

# The same for what is no YAML to begin with; here the refusal goes on in the words of the parser.
BROKEN = {
    "duplicate key at the top": (
        "tolerance: 0.05\n",
        "tolerance: 0.05\ntolerance: 5\n",
        "not valid YAML: key 'tolerance' stands twice in one mapping, again in line",
    ),
    "duplicate key inside": (
        "acc@5: 93}",
        "acc@5: 93, acc@1: 44.8}",
        "not valid YAML: key 'acc@1' stands twice in one mapping, again in line",
    ),
    "broken YAML": ("acc@5: 93}", "acc@5: 93", "not valid YAML: while parsing a flow mapping"),
    "Python in YAML": (
        "source: torchvision",
        "source: !!python/name:os.system ''",
        "not valid YAML: could not determine a constructor for the tag",
    ),
    "two documents": ("models:\n", "---\nmodels:\n", "not valid YAML: expected a single document in the stream"),
}


def _refusal(path: Path) -> str:
    with pytest.raises(ExpectedError) as refusal:
        read_expected(path)
    return str(refusal.value)


def test_good_file_becomes_entries(tmp_path: Path) -> None:
    """Hits are those of the split's images, tolerance and origin the nearest that are given, in the file's order."""
    file = tmp_path / "expected.yaml"
    file.write_text(GOOD)

    actual = read_expected(file)

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = (
        Entry(
            ModelSpec("resnet18", "V1"),
            (("imagenet-1k", Expected(TopK(50_000, 34_879, 44_539), Decimal("0.05"), "published")),),
        ),
        Entry(
            ModelSpec("net", "V2", "team.models:net", Preset(Geometry(256, 224, "bicubic"), mean, std)),
            (
                ("imagenet-1k", Expected(TopK(50_000, 35_000, 45_005), Decimal("0.1"), "published")),
                ("ours", Expected(TopK(500, 224, 465), Decimal("0.4"), "recorded")),
            ),
        ),
    )
    assert expected == actual


def test_percent_is_rounded_to_the_nearest_image(tmp_path: Path) -> None:
    """A percentage with fewer digits than images need means the image nearest to it; 0 and 100 are allowed."""
    file = tmp_path / "expected.yaml"
    accuracies = [("44.79", "44.81"), ("0", "100"), ("33.3", "66.7")]
    entries = [
        f"  - {{model: net{n}, weights: V1, ours: {{acc@1: {acc1}, acc@5: {acc5}}}}}\n"
        for n, (acc1, acc5) in enumerate(accuracies)
    ]
    file.write_text(GOOD + "".join(entries))

    actual = [entry.by_split[0][1].hits for entry in read_expected(file)[2:]]

    # 223.95 and 224.05; 0 and 500; 166.5 has two nearest, 333.5 as well.
    expected = [TopK(500, 224, 224), TopK(500, 0, 500), TopK(500, 166, 334)]
    assert expected == actual


@pytest.mark.parametrize(("old", "new", "reason"), BAD.values(), ids=BAD)
def test_bad_file_is_refused(old: str, new: str, reason: str, tmp_path: Path) -> None:
    """What is wrong is never guessed at or left out: the refusal names the file, the key and the reason."""
    assert GOOD.count(old) == 1
    file = tmp_path / "expected.yaml"
    file.write_text(GOOD.replace(old, new))

    actual = _refusal(file)

    expected = f"{file}: {reason}"
    assert expected == actual


@pytest.mark.parametrize(("old", "new", "reason"), BROKEN.values(), ids=BROKEN)
def test_what_is_not_yaml_is_refused(old: str, new: str, reason: str, tmp_path: Path) -> None:
    """A file that YAML's own rules forbid, a key that stands twice among them, is refused by name and place."""
    assert GOOD.count(old) == 1
    file = tmp_path / "expected.yaml"
    file.write_text(GOOD.replace(old, new))

    actual = _refusal(file)

    assert actual.startswith(f"{file}: {reason}")
    assert " line " in actual


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "the file is empty", id="empty"),
        pytest.param(b"- 1\n- 2\n", "expected a mapping from names, found [1, 2]", id="list"),
        pytest.param(b"just a line\n", "expected a mapping from names, found 'just a line'", id="text"),
        pytest.param(b"\x89PNG\r\n\x1a\n\x00", "not valid YAML: 'utf-8' codec can't decode byte 0x89", id="binary"),
        pytest.param(b"a\x00b", "not valid YAML: unacceptable character #x0000", id="NUL"),
        pytest.param(GOOD.encode("utf-16"), "not valid YAML: 'utf-8' codec can't decode byte 0xff", id="utf-16"),
    ],
)
def test_file_that_is_something_else_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    """What is no mapping or no text at all is refused by the file's name."""
    file = tmp_path / "expected.yaml"
    file.write_bytes(content)

    actual = _refusal(file)

    assert actual.startswith(f"{file}: {reason}")


def test_missing_file_is_refused(tmp_path: Path) -> None:
    """A path that leads nowhere, or to a folder, is refused with the system's reason."""
    missing = tmp_path / "nowhere.yaml"

    actual = [_refusal(missing), _refusal(tmp_path)]

    expected = [
        f"{missing}: cannot be read: No such file or directory",
        f"{tmp_path}: cannot be read: Is a directory",
    ]
    assert expected == actual


@pytest.fixture(scope="module")
def own_entries(pytestconfig: pytest.Config) -> tuple[Entry, ...]:
    """What stands in the project's own file."""
    return read_expected(pytestconfig.rootpath / "expected_accuracy.yaml")


def _on(entries: tuple[Entry, ...], split: str) -> dict[str, Expected]:
    return {str(entry.spec): expected for entry in entries if (expected := entry.expected_on(split))}


def test_own_file_holds_the_hits_of_the_core(own_entries: tuple[Entry, ...]) -> None:
    """The four core models have their published hits of 50,000, to be met within 25."""
    published = _on(own_entries, "imagenet-1k")

    actual = {
        model: (published[f"{model}-IMAGENET1K_V1"].hits, published[f"{model}-IMAGENET1K_V1"].tolerance_hits)
        for model in ("alexnet", "vgg16", "resnet18", "googlenet")
    }

    expected = {
        "alexnet": (TopK(50_000, 28_261, 39_533), 25),
        "vgg16": (TopK(50_000, 35_796, 45_191), 25),
        "resnet18": (TopK(50_000, 34_879, 44_539), 25),
        "googlenet": (TopK(50_000, 34_889, 44_765), 25),
    }
    assert expected == actual


def test_own_file_has_exactly_torchvisions_values(own_entries: tuple[Entry, ...], reference: Path) -> None:
    """All 114 weights of torchvision that state an accuracy are there, with that accuracy, and no other."""
    facts = json.loads((reference / "torchvision.json").read_text())["weights"]
    expected = {
        f"{weight['model']}-{weight['weights']}": TopK(50_000, round(weight["acc1"] * 500), round(weight["acc5"] * 500))
        for weight in facts
        if weight["acc1"] is not None
    }

    actual = {
        str(entry.spec): expectation.hits
        for entry in own_entries
        if entry.spec.builder is None and (expectation := entry.expected_on("imagenet-1k"))
    }

    assert len(expected) == 114
    assert expected == actual


def test_own_file_has_timms_value_of_efficientnet_lite0(own_entries: tuple[Entry, ...], reference: Path) -> None:
    """The one model from elsewhere has the value that timm measured for the same weights, and its own preset."""
    rows = json.loads((reference / "efficientnet_lite.json").read_text())["timm"]["rows"]
    (row,) = [row for row in rows if row["timm_model"] == "tf_efficientnet_lite0.in1k"]
    (entry,) = [entry for entry in own_entries if entry.spec.model == "efficientnet_lite0"]
    expected = TopK(50_000, round(float(row["in1k_top1"]) * 500), round(float(row["in1k_top5"]) * 500))

    actual = _on((entry,), "imagenet-1k")["efficientnet_lite0-RELEASE"].hits

    assert expected == actual
    assert entry.spec.preset is not None
    assert entry.spec.preset.geometry == Geometry(256, 224, "bicubic")


@pytest.mark.parametrize(
    ("split", "dataset"),
    [
        ("imagenetv2-matched-frequency", "imagenetv2-b-33"),
        ("imagenetv2-threshold0.7", "imagenetv2-a-44"),
        ("imagenetv2-topimages", "imagenetv2-c-12"),
    ],
)
def test_own_file_has_the_studys_values_on_imagenetv2(
    split: str, dataset: str, own_entries: tuple[Entry, ...], reference: Path
) -> None:
    """The core models' values on ImageNetV2 are those counted from the study's predictions; it has no GoogLeNet."""
    with (reference / "imagenetv2.csv").open(newline="") as file:
        counted = {
            f"{row['model']}-IMAGENET1K_V1": TopK(
                *(int(row[column]) for column in ("n", "top1_correct", "top5_correct"))
            )
            for row in csv.DictReader(file)
            if row["dataset"] == dataset
        }
    expected = {f"{model}-IMAGENET1K_V1" for model in ("alexnet", "vgg16", "resnet18")}

    actual = {name: expectation.hits for name, expectation in _on(own_entries, split).items()}

    assert expected == actual.keys()
    assert {name: counted[name] for name in expected} == actual


def test_own_files_recorded_values_are_marked_as_such(own_entries: tuple[Entry, ...]) -> None:
    """Only the embedded split's values are this harness's own record; everything else was published."""
    origins = {
        (split == "embedded", expectation.origin) for entry in own_entries for split, expectation in entry.by_split
    }

    actual = origins - {(True, "recorded"), (False, "published")}

    assert not actual


SMALL = """\
schema_version: 1
tolerance: 0.05
splits:
  imagenet-1k: {images: 50000, source: torchvision}
models:
  - {model: resnet18, weights: V1, imagenet-1k: {acc@1: 69.758, acc@5: 89.078}}
"""


def _read(tmp_path: Path, old: str, new: str) -> tuple[Entry, ...]:
    file = tmp_path / "expected.yaml"
    assert SMALL.count(old) == 1
    file.write_text(SMALL.replace(old, new))
    return read_expected(file)


@pytest.mark.parametrize(
    ("mean", "std"),
    [("[0.0, 0.0, 0.0]", "[1.0, 1.0, 1.0]"), ("[0, 0, 0]", "[1, 1, 1]"), ("[0.5, 0.5, 0.5]", "[1.0, 1.0, 1.0]")],
)
def test_model_that_takes_pixels_as_they_are(mean: str, std: str, tmp_path: Path) -> None:
    """No normalization, mean 0 and std 1, can be written."""
    preset = f"preset: {{resize: 256, crop: 224, interpolation: bicubic, mean: {mean}, std: {std}}}"
    (entry,) = _read(tmp_path, "weights: V1,", f"weights: V1, builder: 'a:b', {preset},")

    assert entry.spec.preset is not None


def test_crop_larger_than_resize_is_refused(tmp_path: Path) -> None:
    """A crop beyond the image's edge would be padded with black: two numbers exchanged."""
    preset = "preset: {resize: 224, crop: 256, interpolation: bicubic, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}"
    with pytest.raises(ExpectedError, match="crop"):
        _read(tmp_path, "weights: V1,", f"weights: V1, builder: 'a:b', {preset},")


@pytest.mark.parametrize("version", ["true", "1.0"])
def test_schema_version_is_a_whole_number(version: str, tmp_path: Path) -> None:
    """True and 1.0 equal 1 in Python, and are not 1 in the file."""
    with pytest.raises(ExpectedError, match="schema_version"):
        _read(tmp_path, "schema_version: 1", f"schema_version: {version}")


def test_duplicate_key_is_told_with_its_own_line(tmp_path: Path) -> None:
    """``again in line`` is the line of the second."""
    with pytest.raises(ExpectedError, match=r"again in line 3$"):
        _read(tmp_path, "tolerance: 0.05\n", "tolerance: 0.05\ntolerance: 5\n")


def test_impossible_date_is_refused_not_raised(tmp_path: Path) -> None:
    """What YAML takes for a date is a ValueError of datetime, not a YAMLError."""
    with pytest.raises(ExpectedError, match=r"expected\.yaml"):
        _read(tmp_path, "weights: V1", "weights: 2024-13-45")


def test_a_key_that_is_no_name_is_refused(tmp_path: Path) -> None:
    """YAML's complex keys are no names."""
    with pytest.raises(ExpectedError, match=r"expected\.yaml"):
        _read(tmp_path, "models:\n", "? [a, b]\n: 1\nmodels:\n")


def test_same_id_twice_is_refused(tmp_path: Path) -> None:
    """``a`` with ``b-V1`` and ``a-b`` with ``V1`` would be one case id, one record, one predictions file."""
    with pytest.raises(ExpectedError, match=r"a-b-V1"):
        _read(tmp_path, "models:\n", "models:\n  - {model: a, weights: b-V1}\n  - {model: a-b, weights: V1}\n")


@pytest.mark.parametrize("name", ["model", "weights", "builder", "preset"])
def test_split_is_not_named_like_a_key_of_an_entry(name: str, tmp_path: Path) -> None:
    """A split of that name could never be told from the key; the refusal names the split."""
    with pytest.raises(ExpectedError, match=rf"splits\.{name}"):
        _read(tmp_path, "splits:\n", f"splits:\n  {name}: {{images: 5, source: x}}\n")


def test_merge_keys_work_or_are_refused_by_name(tmp_path: Path) -> None:
    """YAML's ``<<`` is plain YAML 1.1, which PyYAML reads."""
    merged = "  - &net {model: net, weights: V1}\n  - {<<: *net, model: resnet18}\n  - {model: x,"
    (_, entry, _) = _read(tmp_path, "  - {model: resnet18,", merged)

    assert str(entry.spec) == "resnet18-V1"


def test_each_precision_has_the_tolerance_that_is_nearest_to_it(tmp_path: Path) -> None:
    """What an accuracy says goes before what its split says, and that before the file; one number is for all."""
    text = GOOD.replace("tolerance: 0.05", "tolerance: {fp32: 0.05, bf16: 0.2, fp16: 0.1}")
    text = text.replace("tolerance: 0.4", "tolerance: {bf16: 2.0}").replace(
        "90.01, tolerance: 0.1", "90.01, tolerance: 0.3"
    )
    (tmp_path / "expected.yaml").write_text(text)
    entries = read_expected(tmp_path / "expected.yaml")

    actual = {
        (entry.spec.model, split): [str(expected.at(name).tolerance) for name in ("fp32", "tf32", "bf16", "fp16")]
        for entry in entries
        for split, expected in entry.by_split
    }

    expected = {
        ("resnet18", "imagenet-1k"): ["0.05", "0.05", "0.2", "0.1"],
        ("net", "imagenet-1k"): ["0.3", "0.3", "0.3", "0.3"],
        ("net", "ours"): ["0.05", "0.05", "2.0", "0.1"],
    }
    assert expected == actual
