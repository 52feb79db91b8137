"""Tests of harness.evaluator: the Python API, and what is expected on which dataset."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms
from torchvision.transforms._presets import ImageClassification

from harness.dataset import ImageDataset, open_dataset
from harness.errors import DeviceError, EvaluationError, ExpectedError
from harness.evaluator import Check, Evaluator, _published_on, evaluate
from harness.expected import Case, Entry, ModelSpec
from harness.models import prepare
from harness.options import Options, Process
from harness.precision import Setting
from harness.predictions import concatenate
from harness.preset import Geometry, Preset
from harness.records.evidence import Bounds, Counts, Expected, Unpaired
from harness.records.results import CaseResult
from harness.records.run_folder import NewRun, read_run
from tests.records import case_result, expected, predictions_of, run_record

ROOT = Path(__file__).parents[2]
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
PRESET = Preset(Geometry(40, 32, "bicubic"), MEAN, STD)
ENTRY = Entry(
    ModelSpec("resnet18", "IMAGENET1K_V1"),
    {
        "imagenet-1k": {
            "fp32": Expected(Counts(50_000, 34_879, 44_539), Decimal("0.05")),
            "bf16": Expected(Counts(50_000, 34_879, 44_539), Decimal("0.2")),
        },
        "v2": {"fp32": Expected(Counts(10_000, 5_000, 6_000), Decimal("0.05"))},
    },
)


@pytest.fixture(scope="module")
def dataset() -> ImageDataset:
    """Thirteen of the synthetic images."""
    return open_dataset("synthetic").subset(13)


def classifier(classes: int = 100) -> nn.Module:
    """Return a small model in train mode, the same each time."""
    torch.manual_seed(0)
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, classes), nn.Dropout())


@pytest.mark.slow
def test_the_python_api_is_in_the_package_whatever_was_imported_before() -> None:
    """``evaluate`` is the function, not the module of that name, which importing it would put in its place."""
    program = (
        "import sys, types\n"
        "for first in ('from harness import open_dataset', 'import harness.evaluator'):\n"
        "    exec(f'{first}; from harness import evaluate')\n"
        "    print(isinstance(evaluate, types.FunctionType))\n"
        "    for name in [name for name in sys.modules if name.partition('.')[0] == 'harness']:\n"
        "        del sys.modules[name]"
    )

    assert "True\nTrue\n" == subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True)


def test_a_named_model_is_judged_by_its_expected_values(dataset: ImageDataset) -> None:
    """By name or id; the counts are those of its predictions, and 13 images are too few for the values of the whole."""
    result, predictions = evaluate("alexnet", dataset)

    top5 = [set(labels) for labels in predictions.top5.tolist()]
    correct5 = sum(target in labels for target, labels in zip(dataset.targets.tolist(), top5, strict=True))
    assert result.id == "alexnet-SYNTHETIC_V1-fp32"
    assert result.counts == Counts(13, int((predictions.top1 == dataset.targets).sum()), correct5)
    assert result.expected is not None
    assert result.expected.counts == Counts(500, 320, 474)
    assert (result.dataset, result.outcome, result.unpublished) == ("synthetic", "failed", "")
    assert result.inputs_digest == predictions.inputs_digest
    assert predictions.ids.tolist() == list(dataset.ids)
    assert result.images_per_second == pytest.approx(13 / (result.seconds.forward + result.seconds.transfer))


def test_a_module_gives_what_torchvisions_transforms_and_a_plain_loop_give(dataset: ImageDataset) -> None:
    """Image by image, in eval mode; nothing is published for it, so that it fails and says so."""
    prepare = transforms.Compose(
        [
            transforms.Resize(40, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(32),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    model = classifier().eval()
    with torch.inference_mode():
        images = [prepare(Image.open(io.BytesIO(source.read())).convert("RGB")) for source in dataset.sources]
        logits = torch.cat([model(image[None]) for image in images])

    contiguous = Setting(memory_format="contiguous")
    result, predictions = evaluate(classifier(), dataset, preset=PRESET, batch_size=4, setting=contiguous)

    assert predictions.logits is not None
    np.testing.assert_array_equal(predictions.top, logits.topk(6).indices)
    np.testing.assert_allclose(predictions.logits, logits.topk(6).values, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(predictions.logsumexp, logits.logsumexp(1), rtol=1e-6)  # type: ignore[arg-type]
    assert (result.id, result.batch_size, result.parameters) == ("Sequential-GIVEN-fp32-contiguous", 4, 4900)
    assert result.setting == contiguous
    assert result.preparation["mean"] == list(MEAN)
    assert result.outcome == "failed"
    assert str(result.verdict).startswith(
        "published values: none for Sequential-GIVEN on synthetic; known on: no dataset\n    measured on 13 images: "
    )


def test_what_cannot_be_evaluated_is_an_error(dataset: ImageDataset) -> None:
    """In one sentence."""
    with pytest.raises(ExpectedError, match=r"preset must be given with a module, such as .*; found None"):
        evaluate(classifier(), dataset)
    with pytest.raises(ExpectedError, match=r"preset is for a module; alexnet brings its own: leave it out"):
        evaluate("alexnet", dataset, preset=PRESET)
    for option in ("limit", "models", "imagenet", "results"):
        with pytest.raises(TypeError, match=option):
            evaluate("alexnet", dataset, **{option: None})  # type: ignore[arg-type]
    with pytest.raises(ExpectedError, match=r"model must name one model, found alexnet-.*, vgg16-SYNTHETIC_V1-fp32"):
        evaluate("*", dataset)
    with pytest.raises(ExpectedError, match=r"'resnet19' matches no model of the synthetic dataset, which has"):
        evaluate("resnet19", dataset)
    with pytest.raises(EvaluationError, match="the model gives 101 logits, and the dataset has 100 classes"):
        evaluate(classifier(101), dataset, preset=PRESET)
    with pytest.raises(DeviceError, match=r"--precision tf32: the device cpu does not support it"):
        evaluate(classifier(), dataset, preset=PRESET, setting=Setting("tf32"), device="cpu")


@pytest.mark.parametrize("size", [32, 31])
def test_the_preset_is_checked(size: int, dataset: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the transform that torchvision gives with the weights."""
    options = {"resize_size": 40, "interpolation": transforms.InterpolationMode.BICUBIC, "mean": MEAN, "std": STD}
    transform = ImageClassification(crop_size=size, **options)
    model = replace(prepare(classifier(), PRESET), transform=transform)
    monkeypatch.setattr("harness.models.load", lambda *_, **__: model)

    with closing(Evaluator(dataset, Options(workers=1, device="cpu"))) as evaluator:
        if size == 32:
            assert evaluator.predict(CASE) is not None
        else:
            with pytest.raises(EvaluationError, match="differ from the output of torchvision's own preset"):
                evaluator.predict(CASE)


def test_the_preset_is_checked_on_further_images(dataset: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that differs for some sizes only may give one image the same pixels."""
    sizes = iter([32, 31])
    options = {"resize_size": 40, "interpolation": transforms.InterpolationMode.BICUBIC, "mean": MEAN, "std": STD}
    model = replace(
        prepare(classifier(), PRESET),
        transform=lambda image: ImageClassification(crop_size=next(sizes), **options)(image),
    )
    monkeypatch.setattr("harness.models.load", lambda *_, **__: model)

    with (
        closing(Evaluator(dataset, Options(workers=1, device="cpu"))) as evaluator,
        pytest.raises(EvaluationError, match="differ from the output of torchvision's own preset"),
    ):
        evaluator.predict(CASE)


def test_checks_add_evidence(dataset: ImageDataset) -> None:
    """Each sees the result so far, with the evidence of those before it; evidence decides, None does not."""
    seen: list[tuple[CaseResult, Any, Any]] = []

    def calibration(result: CaseResult, predictions: Any, targets: Any) -> Sequence[Bounds]:
        seen.append((result, predictions, targets))
        return [Bounds("calibration", 0.5, 0.0, 1.0), Bounds("entropy", 2.0, None, 1.0)]

    def baseline(result: CaseResult, predictions: Any, targets: Any) -> Unpaired:
        seen.append((result, predictions, targets))
        return Unpaired("missing", "none of it")

    def nothing(**_: Any) -> None:
        return None

    checks: list[Check] = [nothing, calibration, baseline]
    result, predictions = evaluate(classifier(), dataset, preset=PRESET, checks=checks)

    assert [check.name for check in result.verdict.checks] == ["baseline", "calibration", "entropy"]
    assert [check.outcome for check in result.verdict.checks] == ["failed", "passed", "failed"]
    assert [len(found.bounds) for found, _, _ in seen] == [0, 2]
    assert all(found is predictions and targets is dataset.targets for _, found, targets in seen)
    with pytest.raises(EvaluationError, match=r"a check must return Bounds, found list$"):
        evaluate(classifier(), dataset, preset=PRESET, checks=[lambda **_: [[Bounds("entropy", 2.0)]]])
    with pytest.raises(EvaluationError, match=r"two checks paired it with a baseline"):
        evaluate(classifier(), dataset, preset=PRESET, checks=[baseline, baseline])


def _dataset(name: str, images: int, total: int | None = None, caveat: str = "") -> ImageDataset:
    """Return a dataset of images that do not exist."""
    whole = ImageDataset(name, "", Path(), ("a",) * (total or images), (), np.zeros(0, np.int16), (), "", caveat=caveat)
    return whole if total is None else replace(whole, ids=("a",) * images, whole=whole)


@pytest.mark.parametrize(
    ("entry", "dataset", "unpublished"),
    [
        (ENTRY, _dataset("pets", 10), "none for resnet18-IMAGENET1K_V1 on pets; known on: imagenet-1k, v2"),
        (Entry(ModelSpec("own", "V1")), _dataset("v2", 10), "none for own-V1 on v2; known on: no dataset"),
        (
            ENTRY,
            _dataset("val", 10, caveat="two labels are swapped"),
            "none for resnet18-IMAGENET1K_V1 on val (two labels are swapped); known on: imagenet-1k, v2",
        ),
        (
            ENTRY,
            _dataset("imagenet-1k", 49_999),
            "none for resnet18-IMAGENET1K_V1 on imagenet-1k with 49,999 images, only with 50,000; known on: "
            "imagenet-1k, v2",
        ),
        (
            ENTRY,
            _dataset("v2", 10_000, total=10_001, caveat="it was added to"),
            "none for resnet18-IMAGENET1K_V1 on v2 with 10,001 images, only with 10,000 (it was added to); known on: "
            "imagenet-1k, v2",
        ),
    ],
)
def test_nothing_is_expected_on_other_images(entry: Entry, dataset: ImageDataset, unpublished: str) -> None:
    """The message says why, and where something is."""
    assert _published_on(entry, dataset, "fp32") == (None, unpublished)


@pytest.mark.parametrize(
    ("dataset", "precision", "tolerance"),
    [
        (_dataset("imagenet-1k", 50_000), "fp32", "0.05"),
        (_dataset("imagenet-1k", 500, total=50_000), "fp32", "0.05"),
        (_dataset("imagenet-1k", 50_000), "bf16", "0.2"),
        (_dataset("imagenet-1k", 50_000), "fp16", "0.05"),
        (_dataset("v2", 10_000, caveat="it resembles another"), "fp32", "0.05"),
    ],
)
def test_values_are_expected_on_a_dataset_and_its_subsets(
    dataset: ImageDataset, precision: str, tolerance: str
) -> None:
    """A caveat does not matter where values are listed for the name; a precision may have a tolerance of its own."""
    published = Expected(ENTRY.expected[dataset.name]["fp32"].counts, Decimal(tolerance))

    assert _published_on(ENTRY, dataset, precision) == (published, "")


CASE = Case(Entry(ModelSpec("own", "V1", f"{__name__}:classifier", PRESET)))


@pytest.mark.parametrize(("images", "world_size", "batch_size"), [(13, 1, 3), (13, 2, 1), (13, 3, 4), (3, 4, 2)])
def test_shards_together_are_the_whole(dataset: ImageDataset, images: int, world_size: int, batch_size: int) -> None:
    """However many ranks there are, some of them without an image, and whatever their batches are."""
    parts, dataset = [], dataset.subset(images)
    for rank in range(world_size):
        process = Process(rank, world_size)
        options = Options(settings=(CASE.setting,), batch_size=batch_size, workers=1, device="cpu", process=process)
        with closing(Evaluator(dataset, options)) as evaluator:
            found = evaluator.predict(CASE, module=classifier())
        assert (found is None) == (rank >= images)
        if found is not None:
            assert found[0].counts.images == len(found[1]) == len(range(rank, images, world_size))
            parts.append(found[1])
    whole = evaluate(classifier(), dataset, preset=PRESET, device="cpu")[1]

    joined = concatenate(parts)

    np.testing.assert_array_equal(joined.ids, whole.ids)
    np.testing.assert_array_equal(joined.top, whole.top)
    assert joined.inputs_digest == whole.inputs_digest


def test_a_result_is_judged_by_the_values_of_its_precision(dataset: ImageDataset) -> None:
    """Not by those of fp32, where it has its own."""
    values = {name: expected(500, 320, 474, points) for name, points in (("fp32", "0.4"), ("bf16", "3"))}
    case = Case(Entry(ModelSpec("own", "V1"), {"synthetic": values}), Setting("bf16"))
    result = case_result(counts=(500, 320, 474))

    with closing(Evaluator(dataset, Options(workers=1, device="cpu"))) as evaluator:
        judged = evaluator.with_evidence(case, result, predictions_of(result))

    assert judged.expected == values["bf16"]


def test_predictions_are_written_to_a_run_in_the_making(dataset: ImageDataset, tmp_path: Path) -> None:
    """Where they are read again, with the record that goes with them."""
    run = NewRun(tmp_path / "run")
    with closing(Evaluator(dataset, Options(limit=5, workers=1, batch_size=2, device="cpu"))) as evaluator:
        predicted = evaluator.predict(CASE, module=classifier())
        assert predicted is not None
        result = evaluator.with_evidence(CASE, *predicted, staging=run.staging)
        facts = evaluator.dataset_facts()
        lines = evaluator.describe()

    run.finish(msgspec.structs.replace(run_record(), dataset=facts, cases=(result,)))
    read = read_run(tmp_path / "run")
    np.testing.assert_array_equal(read.predictions(read.record.cases[0]).top, predicted[1].top)
    assert (facts.images, facts.total, facts.digest) == (5, 500, dataset.subset(5).digest)
    assert lines[0].startswith("dataset: synthetic (")
    assert lines[0].endswith("5 of 500 images, 5 classes")
    assert any("batches of 2" in line for line in lines)


def test_cases_of_one_geometry_follow_each_other(dataset: ImageDataset) -> None:
    """Each geometry is decoded once; workers that take cases of their own begin with the largest model."""
    names = ["alexnet", "inception_v3", "vgg16", "resnet18"]
    cases = [Case(Entry(ModelSpec(name, "IMAGENET1K_V1"))) for name in names]

    def ordered(process: Process) -> list[str]:
        with closing(Evaluator(dataset, Options(workers=1, device="cpu", process=process))) as evaluator:
            return [case.spec.model for case in evaluator.order(cases)]

    assert ordered(Process()) == ["alexnet", "vgg16", "resnet18", "inception_v3"]
    assert ordered(Process(local_world_size=2)) == ["vgg16", "inception_v3", "resnet18", "alexnet"]
    with (
        closing(Evaluator(dataset, Options(workers=1, device="cpu"))) as evaluator,
        pytest.raises(
            ExpectedError, match=r"own\.yaml: models\[0\]: weights 'V9' are not among torchvision .*'s for alexnet"
        ),
    ):
        evaluator.order([Case(Entry(ModelSpec("alexnet", "V9"), where="own.yaml: models[0]"))])
