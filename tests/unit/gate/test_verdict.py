"""Tests of harness.gate.verdict."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.data.split import Split
from harness.evaluation.predictions import Predictions
from harness.evaluation.spec import ModelSpec
from harness.gate.expected import Entry, Expected
from harness.gate.expected_file import read_expected
from harness.gate.scores import TopK, score
from harness.gate.stats import sampling_band
from harness.gate.verdict import Check, Verdict, judge

PUBLISHED = TopK(n=50_000, top1=34_879, top5=44_539)
RESNET18 = Entry(
    ModelSpec("resnet18", "IMAGENET1K_V1"), (("imagenet-1k", Expected(PUBLISHED, Decimal("0.05"), "published")),)
)


@pytest.fixture(scope="module")
def validation_set() -> Split:
    """A split of the validation set's name and size, with nothing on disk."""
    return _split("imagenet-1k", 50_000)


def _split(name: str, images: int, total: int | None = None, caveat: str = "") -> Split:
    return Split(
        name=name,
        form="made up",
        root=Path("nowhere"),
        ids=tuple(f"{number:05}.JPEG" for number in range(images)),
        sources=(),
        targets=np.zeros(images, dtype=np.int16),
        classes=("n01440764",),
        fingerprint="",
        whole=None if total is None else _split(name, total),
        caveat=caveat,
    )


def _outcomes(verdict: Verdict) -> list[tuple[str, bool]]:
    return [(check.name, check.held) for check in verdict.checks]


@pytest.mark.parametrize("model", ["alexnet", "resnet18", "resnet50", "squeezenet1_1", "vgg11", "densenet121"])
def test_real_predictions_hold(
    model: str,
    pytestconfig: pytest.Config,
    validation_set: Split,
    real_predictions: dict[str, Predictions],
    real_targets: NDArray[np.int16],
) -> None:
    """What six models really answered to the validation set is within the tolerance of the project's own file."""
    entries = read_expected(pytestconfig.rootpath / "expected_accuracy.yaml")
    entry = next(entry for entry in entries if entry.spec == ModelSpec(model, "IMAGENET1K_V1"))
    measured = score(real_predictions[model], real_targets, classes=1000)

    verdict = judge(entry, validation_set, measured)

    assert verdict.held, str(verdict)
    assert _outcomes(verdict) == [("top-1", True), ("top-5", True)]


@pytest.mark.parametrize("model", ["alexnet", "resnet18", "resnet50", "squeezenet1_1", "vgg11", "densenet121"])
def test_real_predictions_of_one_model_do_not_hold_for_another(
    model: str,
    pytestconfig: pytest.Config,
    validation_set: Split,
    real_predictions: dict[str, Predictions],
    real_targets: NDArray[np.int16],
) -> None:
    """Among all weights of the file, the answers of a model are taken for those of that model alone."""
    entries = read_expected(pytestconfig.rootpath / "expected_accuracy.yaml")
    measured = score(real_predictions[model], real_targets, classes=1000)

    actual = [str(entry.spec) for entry in entries if judge(entry, validation_set, measured).held]

    expected = [f"{model}-IMAGENET1K_V1"]
    assert expected == actual


@pytest.mark.parametrize("metric", ["top1", "top5"])
@pytest.mark.parametrize("off", [-50_000, -26, -25, -1, 0, 1, 25, 26])
def test_25_of_50_000_images_are_tolerated(metric: str, off: int, validation_set: Split) -> None:
    """±0.05 points are 25 images, above as well as below, and each metric is checked on its own."""
    hits = {"top1": PUBLISHED.top1, "top5": PUBLISHED.top5}
    hits[metric] = max(hits[metric] + off, 0)
    expected = [(name, abs(off) <= 25 or name[-1] != metric[-1]) for name in ("top-1", "top-5")]

    verdict = judge(RESNET18, validation_set, TopK(50_000, **hits))

    assert expected == _outcomes(verdict)
    assert verdict.held == (abs(off) <= 25)
    assert [check.could_miss for check in verdict.checks] == [0, 0]


@pytest.mark.parametrize(
    ("tolerances", "allowed"),
    [
        pytest.param({"file": "0.05"}, 25, id="file"),
        pytest.param({"file": "0.05", "split": "0.2"}, 100, id="split"),
        pytest.param({"file": "0.05", "entry": "0.01"}, 5, id="entry"),
        pytest.param({"file": "0.05", "split": "0.2", "entry": "0.01"}, 5, id="split and entry"),
        pytest.param({"file": "0.05", "split": "0.2", "entry": "0"}, 0, id="zero is a tolerance"),
    ],
)
@pytest.mark.parametrize("metric", ["top1", "top5"])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_nearest_tolerance_counts(
    tolerances: dict[str, str], allowed: int, metric: str, sign: int, tmp_path: Path, validation_set: Split
) -> None:
    """An entry's tolerance goes before the split's, and that before the file's, for both metrics and directions."""
    tolerance = {where: f", tolerance: {value}" for where, value in tolerances.items()}
    file = tmp_path / "expected.yaml"
    file.write_text(
        f"schema_version: 1\n"
        f"tolerance: {tolerances['file']}\n"
        f"splits: {{imagenet-1k: {{images: 50000, source: x{tolerance.get('split', '')}}}}}\n"
        f"models:\n"
        f"- {{model: net, weights: V1, imagenet-1k: {{acc@1: 69.758, acc@5: 89.078{tolerance.get('entry', '')}}}}}\n"
    )
    (entry,) = read_expected(file)

    held = []
    for off in (allowed, allowed + 1):
        hits = {"top1": PUBLISHED.top1, "top5": PUBLISHED.top5}
        hits[metric] += sign * off
        held.append(judge(entry, validation_set, TopK(50_000, **hits)).held)

    expected = [True, False]
    assert expected == held


def test_message_of_a_pass(validation_set: Split) -> None:
    """A verdict that held says for each metric what was measured, published and allowed, in points and images."""
    verdict = judge(RESNET18, validation_set, TopK(50_000, 34_879, 44_538))

    expected = (
        "top-1: held: measured 69.758, published 69.758, difference +0.000 points = +0 of 50,000 images, "
        "tolerance ±0.05 points = 25 images\n"
        "top-5: held: measured 89.076, published 89.078, difference -0.002 points = -1 of 50,000 images, "
        "tolerance ±0.05 points = 25 images"
    )
    assert expected == str(verdict)


def test_message_of_a_fail(validation_set: Split) -> None:
    """A verdict that failed shows which metric did, by how much, and in which direction."""
    verdict = judge(RESNET18, validation_set, TopK(50_000, 32_980, 44_565))

    expected = (
        "top-1: FAILED: measured 65.960, published 69.758, difference -3.798 points = -1,899 of 50,000 images, "
        "tolerance ±0.05 points = 25 images\n"
        "top-5: FAILED: measured 89.130, published 89.078, difference +0.052 points = +26 of 50,000 images, "
        "tolerance ±0.05 points = 25 images"
    )
    assert expected == str(verdict)


def test_recorded_values_are_not_called_published() -> None:
    """Values that this harness recorded itself are named so, in every message about them."""
    recorded = Expected(TopK(500, 274, 464), Decimal("0.4"), "recorded")
    entry = Entry(ModelSpec("alexnet", "EMBEDDED_V1"), (("embedded", recorded),))
    splits = {500: _split("embedded", 500), 100: _split("embedded", 100, total=500)}

    details = [
        check.detail
        for images, split in splits.items()
        for check in judge(entry, split, TopK(images, images // 2, images)).checks
    ]

    assert all("recorded" in detail for detail in details)
    assert not any("published" in detail for detail in details)


@pytest.mark.parametrize(
    ("metric", "ends"), [pytest.param("top1", (308, 388), id="top1"), pytest.param("top5", (416, 471), id="top5")]
)
def test_subset_is_allowed_its_sampling_band(metric: str, ends: tuple[int, int]) -> None:
    """On a subset both ends of the sampling band hold, and one image beyond either fails, for each metric."""
    subset = _split("imagenet-1k", 500, total=50_000)
    expected = [False, True, True, False]

    actual = []
    for hits in (ends[0] - 1, *ends, ends[1] + 1):
        measured = {"top1": 349, "top5": 445, metric: hits}
        actual.append(judge(RESNET18, subset, TopK(500, **measured)).held)

    assert expected == actual


def test_band_of_a_subset_is_that_of_the_tolerance_in_force() -> None:
    """A subset's band is widened by the entry's own tolerance on the whole split."""
    subset = _split("imagenet-1k", 500, total=50_000)
    entry = Entry(RESNET18.spec, (("imagenet-1k", Expected(PUBLISHED, Decimal(3), "published")),))
    band = sampling_band(50_000, PUBLISHED.top1, 1_500, 500)
    expected = [False, True, True, False]

    actual = [
        judge(entry, subset, TopK(500, hits, 445)).checks[0].held
        for hits in (band.low - 1, band.low, band.high, band.high + 1)
    ]

    assert expected == actual


def test_message_on_a_subset_says_what_it_could_miss() -> None:
    """On a subset the message gives the band in percent and hits, and how large a drop could go unnoticed."""
    subset = _split("imagenet-1k", 500, total=50_000)

    verdict = judge(RESNET18, subset, TopK(500, 307, 445))

    expected = (
        "top-1: FAILED: measured 61.400, published 69.758; allowed on 500 of 50,000 images 61.60 to 77.60 "
        "(308 to 388 hits, measured 307); a drop of up to 13.37 points could be missed\n"
        "top-5: held: measured 89.000, published 89.078; allowed on 500 of 50,000 images 83.20 to 94.20 "
        "(416 to 471 hits, measured 445); a drop of up to 10.11 points could be missed"
    )
    assert expected == str(verdict)
    assert [round(check.could_miss, 2) for check in verdict.checks] == [13.37, 10.11]


def test_split_without_published_values_fails() -> None:
    """With nothing to compare with, the case fails; the message has the measured values and what to do."""
    verdict = judge(RESNET18, _split("holiday-pictures", 300), TopK(300, 200, 250))

    expected = Verdict(
        (
            Check(
                "published values",
                "failed",
                detail="none for resnet18-IMAGENET1K_V1 on holiday-pictures; known on: imagenet-1k. "
                "Measured on 300 images: top-1 66.667 (200 hits), top-5 83.333 (250 hits). "
                "Point --imagenet at a split with published values, add 'holiday-pictures' to a file for --expected, "
                "or record this run as a baseline to be compared with: --baseline DIR --baseline-update",
            ),
        )
    )
    assert expected == verdict
    assert not verdict.held


def test_subset_of_a_split_without_published_values_fails_too() -> None:
    """``--limit`` does not turn a split with nothing to compare with into one that passes."""
    subset = _split("holiday-pictures", 30, total=300)

    verdict = judge(RESNET18, subset, TopK(30, 20, 25))

    assert not verdict.held
    assert _outcomes(verdict) == [("published values", False)]


def test_caveat_of_the_split_is_told() -> None:
    """Where a split only resembles a published one, the message says what is wrong with it."""
    caveat = "it is not the whole imagenet-1k validation set: it has 49,999 of the 50,000 images"

    verdict = judge(RESNET18, _split("val", 10, caveat=caveat), TopK(10, 7, 9))

    (check,) = verdict.checks
    assert check.detail.startswith(f"none for resnet18-IMAGENET1K_V1 on val ({caveat}); known on: imagenet-1k. ")


def test_model_without_any_expected_values_fails() -> None:
    """A model that was published on no split fails, and says so."""
    verdict = judge(Entry(ModelSpec("own", "V1"), ()), _split("imagenet-1k", 10), TopK(10, 7, 9))

    (check,) = verdict.checks
    assert not check.held
    assert check.detail.startswith("none for own-V1 on imagenet-1k; known on: no split. ")


@pytest.mark.parametrize(("images", "total"), [(49_999, 49_999), (50_001, 50_001), (500, 60_000)])
def test_split_of_another_size_than_the_published_one_fails(images: int, total: int) -> None:
    """Hits of another set of images are not compared; what was measured is told all the same."""
    verdict = judge(RESNET18, _split("imagenet-1k", images, total=total), TopK(images, 349, 445))

    assert _outcomes(verdict) == [("published values", False)]
    assert f"for 50,000 images, the split has {total:,} for resnet18-IMAGENET1K_V1" in str(verdict)
    assert "(349 hits)" in str(verdict)


def test_a_caveat_stands_in_the_message() -> None:
    """A split that resembles the published one, and is none, is told so where the values are missing."""
    split = replace(_split("not imagenet-1k", 50_000), caveat="two labels are swapped")

    verdict = judge(RESNET18, split, PUBLISHED)

    assert _outcomes(verdict) == [("published values", False)]
    assert "none for resnet18-IMAGENET1K_V1 on not imagenet-1k (two labels are swapped); known on" in str(verdict)


def test_own_values_apply_to_an_own_part_of_the_validation_set() -> None:
    """A team's subset of validation images, with values of its own, is judged by those."""
    expected = Expected(TopK(16, 12, 14), Decimal("0"), "recorded")
    entry = Entry(ModelSpec("net", "V1"), (("team", expected),))
    split = replace(_split("team", 16), caveat="it has 16 of the 50,000 images")

    assert judge(entry, split, TopK(16, 12, 14)).held


@pytest.mark.parametrize("images", [1, 2])
def test_subset_on_which_nothing_could_fail_does_not_hold(images: int) -> None:
    """A check that every possible answer passes is no check."""
    verdict = judge(RESNET18, _split("imagenet-1k", images, total=50_000), TopK(images, 0, 0))

    assert not verdict.held
    assert str(verdict).count("so few images cannot fail: raise --limit") == 2


def test_verdict_without_a_check_has_not_held() -> None:
    """Where nothing was checked nothing held."""
    verdict = Verdict(())

    assert not verdict.held


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [((True, True), True), ((True, False), False), ((False, True), False), ((False, False), False)],
)
def test_verdict_holds_if_every_check_did(outcomes: tuple[bool, ...], expected: bool) -> None:
    """One failed check is enough, wherever it stands."""
    verdict = Verdict(tuple(Check("top-1", "held" if held else "failed", "") for held in outcomes))

    actual = verdict.held

    assert expected == actual
