"""Tests of harness.verdict; what it makes of a baseline is tested in baseline/test_pairing.py."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.dataset import SYNTHETIC
from harness.predictions import Predictions, count
from harness.records.accuracy_file import read_expected
from harness.records.evidence import Bounds, Counts, Diagnosis, Expected, Pairing, Policy, Unpaired
from harness.stats import sampling_band
from harness.verdict import ALPHA, Check, Verdict, judge, worst
from tests.records import expected, pairing

PUBLISHED = Counts(images=50_000, top1=34_879, top5=44_539)
RESNET18 = Expected(PUBLISHED, Decimal("0.05"))
RECORDED = expected(500, 25, 400, origin="recorded")
MODELS = ["alexnet", "resnet18", "resnet50", "squeezenet1_1", "vgg11", "densenet121"]
UPDATING = Policy(updating=True)


def verdict_on(counts: Counts, expected: Expected | None = RESNET18) -> Verdict:
    """Return the verdict without a baseline."""
    return judge(counts, expected, "none for resnet18-IMAGENET1K_V1 on holiday-pictures", None)


@pytest.mark.parametrize("model", MODELS)
def test_real_predictions_pass_for_their_own_model_only(
    model: str, pytestconfig: pytest.Config, study: dict[str, NDArray[np.int16]]
) -> None:
    """Of all models in the project's file, real predictions of one for the validation set pass for that one alone."""
    entries = read_expected(pytestconfig.rootpath / "expected_accuracy.yaml")
    known = {str(each.spec): each.expected_on("imagenet-1k") for each in entries if set(each.expected) != {SYNTHETIC}}
    counts = count(Predictions(np.arange(50_000).astype(str), study[model]), study["label"])

    passed = [name for name, expected in known.items() if verdict_on(counts, expected).outcome == "passed"]

    assert [f"{model}-IMAGENET1K_V1"] == passed


@pytest.mark.parametrize("metric", ["top1", "top5"])
@pytest.mark.parametrize("off", [-9_000, -26, -25, -1, 0, 1, 25, 26])
def test_25_of_50_000_images_are_tolerated(metric: str, off: int) -> None:
    """±0.05 points are 25 images, above as well as below, and each metric is checked on its own."""
    correct = {"top1": PUBLISHED.top1, "top5": PUBLISHED.top5}
    correct[metric] += off

    verdict = verdict_on(Counts(50_000, **correct))

    outcome = "passed" if abs(off) <= 25 else "failed"
    outcomes = {"top-1": "passed", "top-5": "passed", f"top-{metric[-1]}": outcome}
    assert outcomes == {check.name: check.outcome for check in verdict.checks}
    assert outcome == verdict.outcome
    assert [0, 0] == [check.could_miss for check in verdict.checks]


@pytest.mark.parametrize("tolerance", ["0.05", "3"])
@pytest.mark.parametrize(("metric", "correct"), [("top1", 34_879), ("top5", 44_539)])
def test_subset_is_allowed_its_sampling_band(metric: str, correct: int, tolerance: str) -> None:
    """Both ends of the band pass, and one image beyond either fails; it is widened by the tolerance."""
    band = sampling_band(50_000, correct, round(500 * float(tolerance)), 500, ALPHA)

    outcomes = [
        verdict_on(Counts(500, **{"top1": 349, "top5": 445, metric: found}), Expected(PUBLISHED, Decimal(tolerance)))
        for found in (band.low - 1, band.low, band.high, band.high + 1)
    ]

    assert ["failed", "passed", "passed", "failed"] == [verdict.outcome for verdict in outcomes]


@pytest.mark.parametrize(
    ("counts", "expected", "message"),
    [
        (
            Counts(50_000, 34_879, 44_565),
            RESNET18,
            "top-5: measured 89.130, published 89.078 (+0.052 points, allowed ±0.05)\n"
            "    +26 of 50,000 images, allowed ±25\n"
            "top-1: passed: measured 69.758, published 69.758 (+0.000 points, allowed ±0.05)\n"
            "    +0 of 50,000 images, allowed ±25",
        ),
        (
            Counts(500, 307, 445),
            RESNET18,
            "top-1: measured 61.400, allowed 61.60 to 77.60 on 500 of 50,000 images\n"
            "    published 69.758; 307 correct, allowed 308 to 388; a drop of up to 13.37\n"
            "      points could be missed\n"
            "top-5: passed: measured 89.000, allowed 83.20 to 94.20 on 500 of 50,000 images\n"
            "    published 89.078; 445 correct, allowed 416 to 471; a drop of up to 10.11\n"
            "      points could be missed",
        ),
        (
            Counts(300, 200, 250),
            None,
            "published values: none for resnet18-IMAGENET1K_V1 on holiday-pictures\n"
            "    measured on 300 images: top-1 66.667 (200 correct), top-5 83.333 (250\n"
            "      correct)\n"
            "    next: point --imagenet at a dataset with published values, add this one to a\n"
            "      file for --expected, or record this run as a baseline: --baseline DIR\n"
            "      --baseline-update",
        ),
    ],
    ids=["all images", "a subset", "nothing published"],
)
def test_message_of_a_failure(counts: Counts, expected: Expected | None, message: str) -> None:
    """What failed comes first: which metric, by how much, in which direction, and what could be missed or done."""
    verdict = verdict_on(counts, expected)

    assert message == str(verdict)
    assert "failed" == verdict.outcome


def test_a_message_has_the_cause_before_its_effects_in_80_columns() -> None:
    """The comparison with the baseline comes before the accuracy, whose change it explains, and what passed is last."""
    other = Diagnosis("weights", "the weights differ", cause="another file of weights " * 8)
    evidence = pairing(images=50_000, changed=9, lost=9, diagnosis=other)

    lines = str(judge(Counts(50_000, 32_980, 44_539), RESNET18, "", evidence)).split("\n")

    assert "the weights differ" == lines[0]
    assert ["top-1", "top-5"] == [line.partition(":")[0] for line in lines if not line.startswith(" ")][1:]
    assert "    top-1 65.978 -> 65.960, top-5 89.078 -> 89.078" in lines
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("baseline", "published", "outcome"),
    [
        (None, "failed", "failed"),
        (pairing(), "not judged", "passed"),
        (pairing(lost=20, changed=20), "not judged", "failed"),
        (Unpaired("missing", "none"), "not judged", "failed"),
        (Unpaired("missing", "none", policy=UPDATING), "not judged", "passed"),
    ],
    ids=["no baseline", "an equal one", "a better one", "one without the model", "one to be recorded"],
)
def test_a_subset_that_is_too_small(baseline: Pairing | Unpaired | None, published: str, outcome: str) -> None:
    """On 10 images 1 to 10 correct ones would pass; so a baseline has to judge, and nothing passes without one."""
    verdict = judge(Counts(10, 3, 5), RESNET18, "", baseline, [Bounds("calibration", 0.0)])

    assert [published] * 2 == [check.outcome for check in verdict.checks[:2]]
    assert outcome == verdict.outcome
    assert (baseline is None) == ("or give --baseline DIR" in verdict.checks[0].detail)


@pytest.mark.parametrize(("index", "metric", "needed"), [(0, "top1", 76), (1, "top5", 38)])
def test_the_number_of_images_that_is_said_to_be_needed_is_enough(index: int, metric: str, needed: int) -> None:
    """And one less is not."""
    few, enough = (verdict_on(Counts(n, n // 2, n)).checks[index] for n in (needed - 1, needed))

    assert f"too few images: raise --limit to {needed}, or" in few.detail
    assert "too few" not in enough.detail
    assert enough.could_miss <= PUBLISHED.percent(metric) / 2 < few.could_miss


def test_what_lies_outside_the_band_fails_however_few_the_images() -> None:
    """Too few images cannot show that a model is right, but they can show that it is wrong, with a baseline too.

    Values that this harness recorded itself are not called published.
    """
    check = judge(Counts(32, 21, 30), RECORDED, "", pairing(images=32)).checks[0]

    assert ("top-1", "failed") == (check.name, check.outcome)
    measured = "measured 65.625, allowed 0.00 to 25.00 on 32 of 500 images\n    recorded 5.000; 21 correct"
    assert check.detail.startswith(measured)


RECORD_ONE = "none of it; record a baseline that has it: --baseline DIR --baseline-update"
NOTHING_THERE = "recorded; there was nothing to pair it with"


@pytest.mark.parametrize(
    ("expected", "why", "policy", "outcome", "detail"),
    [
        (RESNET18, "missing", Policy(), "warning", RECORD_ONE),
        (None, "missing", Policy(), "failed", RECORD_ONE),
        (RESNET18, "missing", UPDATING, "passed", NOTHING_THERE),
        (None, "missing", UPDATING, "passed", NOTHING_THERE),
        # Nothing is known of what a run that is recorded replaces.
        (RESNET18, "damaged", Policy(), "warning", "recorded without pairing: none of it"),
        (RESNET18, "damaged", UPDATING, "warning", "recorded without pairing: none of it"),
    ],
)
def test_a_case_without_baseline(expected: Any, why: Any, policy: Policy, outcome: str, detail: str) -> None:
    """A warning beside published values, a failure without them, and nothing odd if a baseline is recorded."""
    unpaired = Unpaired(why, "none of it", policy=policy)

    assert Check("baseline", outcome, detail) == judge(PUBLISHED, expected, "", unpaired).checks[-1]


@pytest.mark.parametrize(("images", "outcome"), [(25, "passed"), (26, "failed")])
@pytest.mark.parametrize("correct", [34_879, 34_882, 10_001, 49_000])
def test_totals_may_differ_by_the_tolerance(correct: int, images: int, outcome: str) -> None:
    """Exactly, whatever the percentages' last digits are."""
    old, new = Counts(50_000, correct, 50_000), Counts(50_000, correct + images, 50_000)

    for before, after in ((old, new), (new, old)):
        assert outcome == judge(after, None, "", Unpaired("totals", "counts only", old=before)).outcome


@pytest.mark.parametrize(
    ("outcome", "bounds"),
    [
        ("passed", [(1.0, 1.0, 2.0), (2.0, 1.0, 2.0), (9.0, 1.0, None), (-9.0, None, 1.0)]),
        ("failed", [(0.9, 1.0, 2.0), (2.1, 1.0, 2.0), (math.nan, None, None)]),
    ],
)
def test_bounds_include_both_ends(outcome: str, bounds: list[Any]) -> None:
    """An end that is None is open; no NaN is within bounds; a check of one's own does not replace the accuracy."""
    for each in bounds:
        assert outcome == judge(PUBLISHED, RESNET18, "", None, [Bounds("calibration", *each)]).outcome
        assert "failed" == judge(PUBLISHED, None, "none", None, [Bounds("calibration", *each)]).outcome


def test_the_worst_outcome_counts() -> None:
    """Where nothing was checked nothing passed."""
    assert "passed" == worst(["passed", "passed"])
    assert "warning" == worst(["passed", "warning"])
    assert "failed" == worst(["failed", "warning", "passed"]) == worst([])
