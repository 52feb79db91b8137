"""Tests of harness.verdict; what it makes of a baseline is tested in baseline/test_pairing.py."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.dataset import SYNTHETIC
from harness.predictions import Predictions, count
from harness.records.accuracy_file import read_expected
from harness.records.evidence import Bounds, Counts, Diagnosis, Expected, Pairing, Policy, Unpaired
from harness.records.speed import SpeedChange
from harness.stats import sampling_band
from harness.verdict import ALPHA, Check, Verdict, judge, judge_speed, worst
from tests.records import pairing

PUBLISHED = Counts(images=50_000, top1=34_879, top5=44_539)
RESNET18 = Expected(PUBLISHED, Decimal("0.05"))
MODELS = ["alexnet", "resnet18", "resnet50", "squeezenet1_1", "vgg11", "densenet121"]


def verdict_on(counts: Counts, expected: Expected | None = RESNET18) -> Verdict:
    """Return the verdict without a baseline."""
    return judge(counts, expected, "", None)


def _outcomes(verdict: Verdict) -> list[tuple[str, str]]:
    return [(check.name, check.outcome) for check in verdict.checks]


@pytest.mark.parametrize("model", MODELS)
def test_real_predictions_pass_for_their_own_model_only(
    model: str,
    pytestconfig: pytest.Config,
    real_predictions: dict[str, Predictions],
    real_targets: NDArray[np.int16],
) -> None:
    """Of all models in the project's file, real predictions of one for the validation set pass for that one alone."""
    entries = read_expected(pytestconfig.rootpath / "expected_accuracy.yaml")
    counts = count(real_predictions[model], real_targets)

    passed = [
        str(entry.spec)
        for entry in entries
        if set(entry.expected) != {SYNTHETIC}
        and verdict_on(counts, entry.expected_on("imagenet-1k")).outcome == "passed"
    ]

    assert passed == [f"{model}-IMAGENET1K_V1"]


@pytest.mark.parametrize("metric", ["top1", "top5"])
@pytest.mark.parametrize("off", [-9_000, -26, -25, -1, 0, 1, 25, 26])
def test_25_of_50_000_images_are_tolerated(metric: str, off: int) -> None:
    """±0.05 points are 25 images, above as well as below, and each metric is checked on its own."""
    correct = {"top1": PUBLISHED.top1, "top5": PUBLISHED.top5}
    correct[metric] += off

    verdict = verdict_on(Counts(50_000, **correct))

    outcome = "passed" if abs(off) <= 25 else "failed"
    assert _outcomes(verdict) == [
        (name, outcome if name[-1] == metric[-1] else "passed") for name in ("top-1", "top-5")
    ]
    assert verdict.outcome == outcome
    assert [check.could_miss for check in verdict.checks] == [0, 0]


def test_message_of_a_failure() -> None:
    """What failed comes first, in one sentence: which metric, by how much, and in which direction."""
    assert str(verdict_on(Counts(50_000, 34_879, 44_565))) == (
        "top-5: measured 89.130, published 89.078 (+0.052 points, allowed ±0.05)\n"
        "    +26 of 50,000 images, allowed ±25\n"
        "top-1: passed: measured 69.758, published 69.758 (+0.000 points, allowed ±0.05)\n"
        "    +0 of 50,000 images, allowed ±25"
    )


def test_a_message_has_the_cause_before_its_effects_in_80_columns() -> None:
    """The comparison with the baseline comes before the accuracy, whose change it explains, and what passed is last."""
    other = Diagnosis("weights", "the model has other weights", cause="another file of weights " * 8)
    evidence = pairing(images=50_000, changed=9, lost=9, diagnosis=other)

    lines = str(judge(Counts(50_000, 32_980, 44_539), RESNET18, "", evidence)).split("\n")

    assert lines[0] == "the model has other weights"
    assert [line.partition(":")[0] for line in lines if not line.startswith(" ")][1:] == ["top-1", "top-5"]
    assert "    top-1 65.978 -> 65.960, top-5 89.078 -> 89.078" in lines
    assert max(map(len, lines)) <= 80


def test_recorded_values_are_not_called_published() -> None:
    """Values that this harness recorded itself are named so, on a whole dataset and on a subset."""
    expected = Expected(Counts(500, 274, 464), Decimal("0.4"), "recorded")

    for images in (500, 100):
        for check in verdict_on(Counts(images, images // 2, images), expected).checks:
            assert "recorded" in check.detail
            assert "published" not in check.detail


@pytest.mark.parametrize(("metric", "ends"), [("top1", (308, 388)), ("top5", (416, 471))])
def test_subset_is_allowed_its_sampling_band(metric: str, ends: tuple[int, int]) -> None:
    """Both ends of the band pass, and one image beyond either fails, for each metric."""
    outcomes = [
        verdict_on(Counts(500, **{"top1": 349, "top5": 445, metric: correct})).outcome
        for correct in (ends[0] - 1, *ends, ends[1] + 1)
    ]

    assert outcomes == ["failed", "passed", "passed", "failed"]


def test_band_of_a_subset_is_widened_by_the_tolerance() -> None:
    """Here of three points."""
    band = sampling_band(50_000, PUBLISHED.top1, 1_500, 500, ALPHA)
    expected = Expected(PUBLISHED, Decimal(3))

    outcomes = [
        verdict_on(Counts(500, correct, 445), expected).checks[0].outcome
        for correct in (band.low - 1, band.low, band.high, band.high + 1)
    ]

    assert outcomes == ["failed", "passed", "passed", "failed"]


def test_message_on_a_subset_says_what_it_could_miss() -> None:
    """The band in percent and images, and how large a drop could go unnoticed."""
    verdict = verdict_on(Counts(500, 307, 445))

    assert str(verdict) == (
        "top-1: measured 61.400, allowed 61.60 to 77.60 on 500 of 50,000 images\n"
        "    published 69.758; 307 correct, allowed 308 to 388; a drop of up to 13.37\n"
        "      points could be missed\n"
        "top-5: passed: measured 89.000, allowed 83.20 to 94.20 on 500 of 50,000 images\n"
        "    published 89.078; 445 correct, allowed 416 to 471; a drop of up to 10.11\n"
        "      points could be missed"
    )
    assert [round(check.could_miss, 2) for check in verdict.checks] == [13.37, 10.11]


@pytest.mark.parametrize(
    ("baseline", "published", "outcome"),
    [
        (None, "failed", "failed"),
        (pairing(), "not judged", "passed"),
        (pairing(lost=20, changed=20), "not judged", "failed"),
        (Unpaired("missing", "none"), "not judged", "failed"),
        (Unpaired("missing", "none", policy=Policy(updating=True)), "not judged", "passed"),
    ],
    ids=["no baseline", "an equal one", "a better one", "one without the model", "one to be recorded"],
)
def test_a_subset_that_could_miss_half_of_the_accuracy_judges_nothing(
    baseline: Pairing | Unpaired | None, published: str, outcome: str
) -> None:
    """On 10 images 1 to 10 correct ones would pass; so a baseline has to judge, and nothing passes without one."""
    verdict = judge(Counts(10, 3, 5), RESNET18, "", baseline, [Bounds("calibration", 0.0)])

    assert [check.outcome for check in verdict.checks[:2]] == [published] * 2
    assert verdict.outcome == outcome
    assert verdict.checks[0].detail.splitlines()[:2] == [
        f"too few images: raise --limit to 76{', or give --baseline DIR' if published == 'failed' else ''}",
        "    measured 30.000, allowed 10.00 to 100.00 on 10 of 50,000 images",
    ]


@pytest.mark.parametrize(("metric", "needed"), [("top1", 76), ("top5", 38)])
def test_the_number_of_images_that_is_said_to_be_needed_is_enough(metric: str, needed: int) -> None:
    """And one less is not."""
    counts = (Counts(images, images // 2, images) for images in (needed - 1, needed))

    few, enough = (
        next(check for check in verdict_on(count).checks if check.name[-1] == metric[-1]) for count in counts
    )

    assert f"raise --limit to {needed}, or" in few.detail
    assert "too few" not in enough.detail
    assert enough.could_miss <= PUBLISHED.percent(metric) / 2 < few.could_miss


def test_what_lies_outside_the_band_fails_however_few_the_images() -> None:
    """Too few images cannot show that a model is right, but they can show that it is wrong, with a baseline too."""
    recorded = Expected(Counts(500, 25, 400), Decimal("0.05"), "recorded")

    verdict = judge(Counts(32, 21, 30), recorded, "", pairing(images=32))

    assert [("top-1", "failed")] == [(check.name, check.outcome) for check in verdict.checks[:1]]
    assert verdict.checks[0].detail.startswith("measured 65.625, allowed 0.00 to 25.00 on 32 of 500 images\n")


def test_nothing_to_compare_with_is_a_failure() -> None:
    """The message has the reason, the measured values and what to do."""
    verdict = judge(Counts(300, 200, 250), None, "none for resnet18-IMAGENET1K_V1 on holiday-pictures", None)

    assert verdict.outcome == "failed"
    assert str(verdict) == (
        "published values: none for resnet18-IMAGENET1K_V1 on holiday-pictures\n"
        "    measured on 300 images: top-1 66.667 (200 correct), top-5 83.333 (250\n"
        "      correct)\n"
        "    next: point --imagenet at a dataset with published values, add this one to a\n"
        "      file for --expected, or record this run as a baseline: --baseline DIR\n"
        "      --baseline-update"
    )


@pytest.mark.parametrize(
    ("expected", "updating", "outcome", "detail"),
    [
        (RESNET18, False, "warning", "none of it; record a baseline that has it: --baseline DIR --baseline-update"),
        (None, False, "failed", "none of it; record a baseline that has it: --baseline DIR --baseline-update"),
        (RESNET18, True, "passed", "recorded; there was nothing to pair it with"),
        (None, True, "passed", "recorded; there was nothing to pair it with"),
    ],
)
def test_a_case_that_the_baseline_lacks(expected: Expected | None, updating: bool, outcome: str, detail: str) -> None:
    """A warning beside published values, a failure without them, and nothing odd if a baseline is recorded."""
    verdict = judge(PUBLISHED, expected, "", Unpaired("missing", "none of it", policy=Policy(updating=updating)))

    assert verdict.checks[-1] == Check("baseline", outcome, detail)


@pytest.mark.parametrize("updating", [False, True])
def test_a_case_whose_files_are_damaged(updating: bool) -> None:
    """A warning that says so, also if a baseline is recorded: nothing is known of what it replaces."""
    verdict = judge(PUBLISHED, RESNET18, "", Unpaired("damaged", "cut short", policy=Policy(updating=updating)))

    assert verdict.checks[-1] == Check("baseline", "warning", "recorded without pairing: cut short")


@pytest.mark.parametrize(("images", "outcome"), [(25, "passed"), (26, "failed")])
@pytest.mark.parametrize("correct", [34_879, 34_882, 10_001, 49_000])
def test_totals_may_differ_by_the_tolerance(correct: int, images: int, outcome: str) -> None:
    """Exactly, whatever the percentages' last digits are."""
    old, new = Counts(50_000, correct, 50_000), Counts(50_000, correct + images, 50_000)

    for before, after in ((old, new), (new, old)):
        check = judge(after, None, "", Unpaired("totals", "counts only", old=before)).checks[-1]
        assert check.outcome == outcome


@pytest.mark.parametrize(
    ("value", "low", "high", "outcome"),
    [
        (1.0, 1.0, 2.0, "passed"),
        (2.0, 1.0, 2.0, "passed"),
        (0.9, 1.0, 2.0, "failed"),
        (2.1, 1.0, 2.0, "failed"),
        (9.0, 1.0, None, "passed"),
        (-9.0, None, 1.0, "passed"),
        (math.nan, None, None, "failed"),
    ],
)
def test_bounds_include_both_ends(value: float, low: float | None, high: float | None, outcome: str) -> None:
    """An end that is None is open; what is not a number is never within bounds."""
    verdict = judge(PUBLISHED, RESNET18, "", None, [Bounds("calibration", value, low, high)])

    assert verdict.checks[-1].outcome == verdict.outcome == outcome


def test_bounds_alone_do_not_make_a_verdict() -> None:
    """A check of one's own does not replace the accuracy."""
    assert judge(PUBLISHED, None, "none", None, [Bounds("calibration", 0.0)]).outcome == "failed"


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([], "failed"),
        (["passed", "passed"], "passed"),
        (["passed", "warning"], "warning"),
        (["failed", "warning", "passed"], "failed"),
    ],
)
def test_the_worst_outcome_counts(outcomes: list[str], expected: str) -> None:
    """Where nothing was checked nothing passed."""
    assert worst(outcomes) == Verdict(tuple(Check("top-1", outcome, "") for outcome in outcomes)).outcome == expected


def test_a_call_may_take_longer_insignificantly_or_by_what_is_allowed() -> None:
    """The yardstick's own change is taken off."""
    slower = SpeedChange(ratio=1.3, low=1.28, high=1.32, fastest=1.3, machine=None, noise=0.05)
    noisy = SpeedChange(ratio=1.3, low=0.9, high=1.7, fastest=1.3, machine=None, noise=0.05)
    slow_machine = SpeedChange(ratio=1.3, low=1.28, high=1.32, fastest=1.3, machine=1.3, noise=0.05)

    assert judge_speed(slower, 0.1) == Check("speed", "failed", "takes 30.0 % longer, allowed 10 %")
    assert judge_speed(slower, 0.4).outcome == "passed"
    assert judge_speed(noisy, 0.1).outcome == "passed"
    assert judge_speed(slow_machine, 0.1).outcome == "passed"
