"""Tests of harness.evaluator: the Python API, and what is expected on which dataset."""

from __future__ import annotations

import io
import math
from contextlib import closing, nullcontext
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
from harness.errors import EvaluationError, ExpectedError
from harness.evaluator import Check, Evaluator, evaluate
from harness.expected import Case, Entry, ModelSpec
from harness.models import prepare
from harness.options import Options, Process
from harness.precision import Setting
from harness.predictions import concatenate
from harness.preset import Geometry, Preset
from harness.records.evidence import Bounds, Counts, Unpaired
from harness.records.results import CaseResult
from tests.records import case_result, expected, predictions_of

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
PRESET = Preset(Geometry(40, 32, "bicubic"), MEAN, STD)
BILINEAR, BICUBIC = transforms.InterpolationMode.BILINEAR, transforms.InterpolationMode.BICUBIC


def classifier() -> nn.Module:
    """Return a small model in train mode, the same each time."""
    torch.manual_seed(0)
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 100), nn.Dropout())


CASE = Case(Entry(ModelSpec("own", "V1", f"{__name__}:classifier", PRESET)))


@pytest.fixture(scope="module")
def dataset() -> ImageDataset:
    """Thirteen of the synthetic images."""
    return open_dataset("synthetic").subset(13)


def evaluator_of(dataset: ImageDataset, **options: Any) -> closing[Evaluator]:
    """Return an evaluator on the CPU, to be used in a ``with`` statement."""
    return closing(Evaluator(dataset, Options(workers=1, device="cpu", **options)))


def test_a_named_model_is_judged_by_its_expected_values(dataset: ImageDataset) -> None:
    """By name or id; the counts are those of its predictions, and 13 images are too few for the values of the whole."""
    result, predictions = evaluate("alexnet", dataset)

    rows = list(zip(dataset.targets.tolist(), predictions.top5.tolist(), strict=True))
    top1, top5 = sum(target == row[0] for target, row in rows), sum(target in row for target, row in rows)
    assert Counts(13, top1, top5) == result.counts
    assert result.expected is not None
    assert Counts(500, 320, 474) == result.expected.counts
    assert ("alexnet-SYNTHETIC_V1-fp32", "synthetic", "failed") == (result.id, result.dataset, result.outcome)
    assert predictions.inputs_digest == result.inputs_digest
    assert list(dataset.ids) == predictions.ids.tolist()
    assert pytest.approx(13 / (result.seconds.forward + result.seconds.transfer)) == result.images_per_second


def test_a_module_gives_what_torchvisions_transforms_and_a_plain_loop_give(dataset: ImageDataset) -> None:
    """Image by image, in eval mode; nothing is published for it, so that it fails and says so."""
    resize, normalize = transforms.Resize(40, BICUBIC), transforms.Normalize(MEAN, STD)
    prepare = transforms.Compose([resize, transforms.CenterCrop(32), transforms.ToTensor(), normalize])
    model = classifier().eval()
    with torch.inference_mode():
        images = [prepare(Image.open(io.BytesIO(source.read())).convert("RGB")) for source in dataset.sources]
        logits = torch.cat([model(image[None]) for image in images])
    contiguous = Setting(memory_format="contiguous")

    result, predictions = evaluate(classifier(), dataset, preset=PRESET, batch_size=4, setting=contiguous)

    found: Any = predictions
    np.testing.assert_array_equal(logits.topk(6).indices, found.top)
    np.testing.assert_allclose(found.logits, logits.topk(6).values, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.logsumexp, logits.logsumexp(1), rtol=1e-6)
    assert ("Sequential-GIVEN-fp32-contiguous", 4, 4900) == (result.id, result.batch_size, result.parameters)
    assert contiguous == result.setting
    assert list(MEAN) == result.preparation["mean"]
    assert "failed" == result.outcome
    unpublished = "none for Sequential-GIVEN on synthetic; published for no dataset\n    measured on 13 images: "
    assert str(result.verdict).startswith(f"published values: {unpublished}")


@pytest.mark.parametrize(
    ("model", "options", "sentence"),
    [
        (classifier(), {}, r"preset must be given with a module, such as .*; found None"),
        ("alexnet", {"preset": PRESET}, "preset is for a module; alexnet brings its own: leave it out"),
        ("*", {}, "model must name one model, found alexnet-.*, vgg16-SYNTHETIC_V1-fp32"),
    ],
)
def test_what_cannot_be_evaluated(model: Any, options: Any, sentence: str, dataset: ImageDataset) -> None:
    """In one sentence."""
    with pytest.raises(ExpectedError, match=sentence):
        evaluate(model, dataset, device="cpu", **options)


@pytest.mark.parametrize("wrong", [{}, {"mean": (0.5, 0.4, 0.4)}, {"interpolation": BILINEAR}], ids=str)
def test_the_preset_is_checked(wrong: Any, dataset: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the transform that torchvision gives with the weights, whose rule may differ for some images only."""
    right = {"crop_size": 32, "resize_size": 40, "interpolation": BICUBIC, "mean": MEAN, "std": STD}
    left = [ImageClassification(**options) for options in ({**right, **wrong}, *[right] * 7)]
    model = replace(prepare(classifier(), PRESET), transform=lambda image: left.pop()(image))
    monkeypatch.setattr("harness.models.load", lambda *_, **__: model)

    rejected = pytest.raises(EvaluationError, match="differ from the output of torchvision's own preset")

    with evaluator_of(dataset) as evaluator, rejected if wrong else nullcontext():
        evaluator.predict(CASE)

    assert not left


def test_checks_add_evidence(dataset: ImageDataset) -> None:
    """Each sees the result so far, with the evidence of those before it; evidence decides, None does not."""
    seen: list[tuple[int, Any, Any]] = []

    def giving(*evidence: Any) -> Check:
        def check(result: CaseResult, predictions: Any, targets: Any) -> Any:
            seen.append((len(result.bounds), predictions, targets))
            return evidence

        return check

    bounds = Bounds("calibration", 0.5, 0.0, 1.0), Bounds("entropy", 2.0, None, 1.0)
    baseline = giving(Unpaired("missing", "none of it"))
    checks = [lambda **_: None, giving(*bounds), baseline]

    result, predictions = evaluate(classifier(), dataset, preset=PRESET, checks=checks)

    found = [(check.name, check.outcome) for check in result.verdict.checks]
    assert [("baseline", "failed"), ("calibration", "passed"), ("entropy", "failed")] == found
    assert "2, expected at most 1" == result.verdict.checks[2].detail
    assert [0, 2] == [bounds for bounds, _, _ in seen]
    assert all(found is predictions and targets is dataset.targets for _, found, targets in seen)
    for wrong, reason in (
        (giving([]), "must return Bounds, found list$"),
        (baseline, "two checks paired it with a"),
        *(
            (giving(Bounds("entropy", value)), f"'entropy' gave {value}, not a number$")
            for value in (math.nan, math.inf)
        ),
    ):
        with pytest.raises(EvaluationError, match=reason):
            evaluate(classifier(), dataset, preset=PRESET, checks=[baseline, wrong])


VALUES = expected(50_000, 34_879, 44_539)
ENTRY = Entry(
    ModelSpec("resnet18", "IMAGENET1K_V1"),
    {
        "imagenet-1k": {"fp32": VALUES, "bf16": msgspec.structs.replace(VALUES, tolerance=Decimal("0.2"))},
        "v2": {"fp32": expected(10_000, 5_000, 6_000)},
    },
)


@pytest.mark.parametrize(
    ("name", "images", "caveat", "precision", "published"),
    [
        ("imagenet-1k", 50_000, "", "fp32", VALUES),
        ("imagenet-1k", 50_000, "", "bf16", ENTRY.expected["imagenet-1k"]["bf16"]),
        ("imagenet-1k", 50_000, "", "fp16", VALUES),
        # A caveat does not matter where values are listed for the name.
        ("v2", 10_000, "it resembles another", "fp32", ENTRY.expected["v2"]["fp32"]),
        ("pets", 10, "", "fp32", "pets"),
        ("val", 10, "two labels are swapped", "fp32", "val (two labels are swapped)"),
        ("imagenet-1k", 49_999, "", "fp32", "imagenet-1k with 49,999 images, only with 50,000"),
        ("v2", 10_001, "it was added to", "fp32", "v2 with 10,001 images, only with 10,000 (it was added to)"),
    ],
)
def test_what_is_expected(name: str, images: int, caveat: str, precision: str, published: object) -> None:
    """A precision may have a tolerance of its own; what is expected on other images is not, and the message says so."""
    whole = ImageDataset(name, "", Path(), ("a",) * images, (), np.zeros(0, np.int16), (), "", caveat=caveat)
    case, result = Case(ENTRY, Setting(precision)), case_result(counts=(10, 5, 6))

    for dataset in (whole, replace(whole, ids=("a",) * 10, whole=whole)):
        with evaluator_of(dataset) as evaluator:
            found = evaluator.with_evidence(case, result, predictions_of(result))

        if isinstance(published, str):
            unpublished = f"none for resnet18-IMAGENET1K_V1 on {published}; published for imagenet-1k, v2"
            assert (None, unpublished) == (found.expected, found.unpublished)
        else:
            assert (published, "") == (found.expected, found.unpublished)


@pytest.mark.parametrize(("images", "world_size", "batch_size"), [(13, 1, 3), (13, 2, 1), (13, 3, 4), (3, 4, 2)])
def test_shards_together_are_the_whole(dataset: ImageDataset, images: int, world_size: int, batch_size: int) -> None:
    """However many ranks there are, some of them without an image, and whatever their batches are."""
    parts, dataset = [], dataset.subset(images)
    for rank in range(world_size):
        with evaluator_of(dataset, batch_size=batch_size, process=Process(rank, world_size)) as evaluator:
            found = evaluator.predict(CASE, module=classifier())
        assert (rank >= images) == (found is None)
        if found is not None:
            assert len(range(rank, images, world_size)) == found[0].counts.images == len(found[1])
            parts.append(found[1])
    whole = evaluate(classifier(), dataset, preset=PRESET, device="cpu")[1]

    joined = concatenate(parts)

    np.testing.assert_array_equal(whole.ids, joined.ids)
    np.testing.assert_array_equal(whole.top, joined.top)
    assert whole.inputs_digest == joined.inputs_digest


@pytest.mark.parametrize(
    ("process", "ordered"),
    [
        (Process(), ["alexnet", "vgg16", "resnet18", "inception_v3"]),
        (Process(local_world_size=2), ["vgg16", "inception_v3", "resnet18", "alexnet"]),
    ],
)
def test_cases_of_one_geometry_follow_each_other(process: Process, ordered: list[str], dataset: ImageDataset) -> None:
    """Each geometry is decoded once; workers that take cases of their own begin with the largest model."""
    names = ["alexnet", "inception_v3", "vgg16", "resnet18"]
    cases = [Case(Entry(ModelSpec(name, "IMAGENET1K_V1"))) for name in names]
    unknown = Case(Entry(ModelSpec("alexnet", "V9"), where="own.yaml: models[0]"))

    with evaluator_of(dataset, process=process) as evaluator:
        assert ordered == [case.spec.model for case in evaluator.order(cases)]
        with pytest.raises(
            ExpectedError, match=r"^own\.yaml: models\[0\]: weights 'V9' are not among torchvision .*'s"
        ):
            evaluator.order([unknown])


def test_a_batch_size_that_was_halved_is_noted(dataset: ImageDataset) -> None:
    """The images a second are those of smaller batches."""

    class Large(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if len(images) > 1:
                raise torch.cuda.OutOfMemoryError
            return images.mean() * torch.arange(float(len(dataset.classes))).repeat(len(images), 1)

    result, _ = evaluate(Large(), dataset, preset=PRESET, batch_size=2)

    assert "out of memory in batches of 2: evaluated in batches of 1" == result.notes[0]
