"""Tests of harness.report.report and harness.report.comparison: the verdict, and what differs between runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.compare.compare import FAILURES, Comparison, compare
from harness.errors import RecordError
from harness.records.evidence import Bounds, ChangedPrediction, Diagnosis, Drift
from harness.records.results import Missing, Record, TimingResult
from harness.records.run_folder import Run
from harness.records.speed import Limits
from harness.report.comparison import comparison_sections, series_sections
from harness.report.report import Judging, headline, report_on
from harness.report.sections import as_text
from tests.records import DATASET, case_result, expected, pairing, run_record, timing_result

PIXELS = "the decoded pixels differ (9 of 10 images)"
WARNS = pairing(images=10, diagnosis=Diagnosis("decoded inputs", PIXELS, cause="pillow 12 -> 13"))
WORSE = case_result(expected=expected(1000, 703, 900))
ALEXNET, WARNED = case_result("alexnet"), case_result("alexnet", baseline=WARNS)
VGG = case_result("vgg16", id="vgg16", expected=WORSE.expected, baseline=msgspec.structs.replace(WARNS, changed=9))
OWN = case_result("own", id="own", bounds=(Bounds("ece", 0.2, high=0.1),))
UNPUBLISHED = case_result("own", id="own", expected=None, unpublished="none for own on val. Known on: a")

ONE, TWO = run_record([ALEXNET]), run_record([ALEXNET, case_result()], [timing_result()])
SUBSET = msgspec.structs.replace(ONE, dataset=msgspec.structs.replace(DATASET, total=50_000))
NO_VALUES = run_record([ALEXNET, Missing("a-fp32", "error", "no weights"), Missing("b-fp32")])
GONE, SLOWER = ("c-fp32", "missing from the new run"), ("alexnet-b32", "takes 9% longer")
LOST = {"failures": [("a-fp32", "error in the new run: no weights"), GONE], "against": "old"}
SLOW = {"failures": [SLOWER], "against": "old", "caveats": ["speed was not compared"]}
BLIND = {"against": "old", "caveats": ["ignored: missing", "speed was not compared"]}
ON = "on imagenet-1k, 1,000 images, torch 2.9.1"


@pytest.mark.parametrize(
    ("record", "given", "sentence"),
    [
        (TWO, {}, f"PASSED: 2 cases and 1 timing {ON}"),
        (SUBSET, {}, "PASSED: 1 case on imagenet-1k, 1,000 of 50,000 images, torch 2.9.1"),
        # The pairing's word comes before accuracy's, which is only the effect; without its example.
        (run_record([ALEXNET, VGG, WORSE]), {}, f"FAILED: 2 of 3 results: vgg16: {PIXELS} (and 1 more)"),
        # Each counts among the results, once: an error, a case that was not run, and one that vanished.
        (NO_VALUES, LOST, "FAILED: 3 of 4 results: a-fp32: no weights (and 2 more)"),
        (run_record([WARNED, case_result()]), {}, f"PASSED: 2 cases {ON}; 1 warning"),
        # Warnings would otherwise be seen only once the failure is mended.
        (run_record([WARNED, OWN]), {}, "FAILED: 1 of 2 results: own: ece: 0.2, expected at most 0.1; 1 warning"),
        # Though each case passed by itself; a green line must not stand for what nobody compared.
        (TWO, SLOW, "FAILED: 1 of 4 results: alexnet-b32: takes 9% longer; speed was not compared"),
        (ONE, BLIND, f"PASSED: 1 case {ON}; compared with old; ignored: missing; speed was not compared"),
        (run_record(), {}, "FAILED: nothing was measured"),
        # What to do about it is among the reasons.
        (run_record([UNPUBLISHED]), {}, "FAILED: 1 of 1 result: own: published values: none for own on val"),
    ],
)
def test_the_verdict_is_one_line(record: Record, given: dict[str, Any], sentence: str) -> None:
    """What was measured, or the first failure and how many more; what was compared, what was not, and warnings."""
    found = headline(record, **given)

    assert sentence == found.sentence
    outcome = "warning" if sentence.startswith("PASSED") and "warning" in sentence else sentence[:6].lower()
    assert outcome == found.outcome


def test_the_reasons_are_those_of_failures_or_else_of_warnings() -> None:
    """Of each case the baseline first; what has no values has its own word."""
    both, warned = headline(run_record([WARNED, VGG])), headline(run_record([WARNED]))
    lost = headline(NO_VALUES, [("a-fp32", "error in the new run: no weights"), GONE], "old")

    assert [f"{PIXELS}\n    likely cause", "top-1"] == [why.partition(":")[0] for _, why in both.reasons]
    assert "\n    effect: 9 of 10 predictions changed, 9 beyond noise" in both.reasons[0][1]
    [(identity, why)] = warned.reasons
    assert ALEXNET.id == identity
    assert why.startswith(f"{PIXELS}\n    likely cause: pillow 12 -> 13")
    assert (("a-fp32", "error: no weights"), ("b-fp32", "not run"), GONE) == lost.reasons
    assert () == headline(ONE).reasons


def test_runs_of_different_images_are_rejected() -> None:
    """Also where they are not neighbors."""
    record = run_record([case_result()])
    other = msgspec.structs.replace(record, dataset=msgspec.structs.replace(DATASET, digest="0ther"))

    with pytest.raises(RecordError, match=r"^expected the same images in both runs: a has "):
        report_on([Run(Path("a"), other), Run(Path("b"), record), Run(Path("c"), record)])


def test_what_it_was_judged_by_is_kept() -> None:
    """As options of compare, so that it comes to the same verdict."""
    typed = "--fail-on=speed --max-slowdown=12.5% --max-compile-time=50% --noise=15% --strict-drift"

    assert [] == Judging().arguments() == Judging(FAILURES[::-1]).arguments()
    assert ["--fail-on=none"] == Judging(()).arguments()
    assert typed.split() == Judging(("speed",), Limits(0.125, 0.1, 0.5), 0.15, strict_drift=True).arguments()


def _record(resnet18: int = 0, slowdown: float = 1.0, more: Sequence[TimingResult] = (), **environment: str) -> Record:
    """Return a run of two models, with a change of ResNet18's count and speed."""
    correct = {"alexnet": 7_000, "resnet18": 7_000 + resnet18}
    wanted = expected(10_000, 7_000, 9_000, "0.1")
    cases = [case_result(model, (10_000, top1, 9_000), expected=wanted) for model, top1 in correct.items()]
    timings = [
        timing_result(
            model,
            [0.01 * batch_size * factor] * 9,
            id=f"{model}-IMAGENET1K_V1-fp32-b{batch_size}",
            batch_size=batch_size,
            yardstick=0.007 if batch_size == 1 else None,
            peak_memory=int(1e9 + 1e7 * slowdown),  # grows by so little that it has no row
        )
        for model, factor in (("alexnet", 1.0), ("resnet18", slowdown))
        for batch_size in (1, 256)
    ]
    record = run_record(cases, [*timings, *more], **environment)
    return msgspec.structs.replace(record, dataset=msgspec.structs.replace(DATASET, images=10_000, total=10_000))


def _comparison(old: Record, new: Record) -> Comparison:
    return compare(Run(Path("runs/old"), old), Run(Path("runs/new"), new), noise=0.05)


def _text(comparison: Comparison) -> list[str]:
    return list(as_text(comparison_sections(comparison, list(comparison.failures()))))


DIFFERENT = """\
runs/old against runs/new
             old, 2026-11-24 20:00  new, 2026-11-24 20:00
torch        2.9.1                  2.14.1
torchvision  0.24.1                 0.29.1

accuracy on imagenet-1k, 10,000 images: correct in the new run, and the
  difference from the old
accuracy  top-1  diff  points  top-5  diff  changed     p  drift  outcome
alexnet   7,000    +0  +0.000  9,000    +0    0 (0)     1  equal  passed
resnet18  6,960   -40  -0.400  9,000    +0  12 (11)  0.51  2e-03  FAILED
changed: images with a different top-1 prediction, in brackets those beyond
  noise, which arithmetic alone cannot explain; p: exact McNemar test of now
  correct against now wrong; drift: largest change of any logit, in units of the
  logit scale
resnet18-IMAGENET1K_V1-fp32: 6 now wrong, 3 now correct
    01.JPEG: class 0 -> class 1, now correct, margin 5.0e-01
    02.JPEG: class 0 -> class 1, now wrong, margin 5.0e-01
    03.JPEG: class 0 -> class 1, margin 5.0e-01
    04.JPEG: class 0 -> class 1, now wrong, margin 5.0e-01
    05.JPEG: class 0 -> class 1, now correct, margin 5.0e-01
    06.JPEG: class 0 -> class 1, now wrong, margin 5.0e-01
    07.JPEG: class 0 -> class 1, margin 5.0e-01
    08.JPEG: class 0 -> class 1, now wrong, margin 5.0e-01
    09.JPEG: class 0 -> class 1, now correct, margin 5.0e-01
    10.JPEG: class 0 -> class 1, now wrong, margin 5.0e-01
    and 2 more
resnet18-IMAGENET1K_V1-fp32: 20 top-5 sets changed, 15 beyond noise; 4 now
  wrong, 2 now correct, p = 0.69
    09.JPEG: top-5: class 3 -> class 7, now wrong, margin 1.0e-02

speed: images/s from the median call
speed            old    new  change        interval  machine  verdict
alexnet b1     100.0  100.0   +0.0%    +0.0 to +0.0    +0.0%  not significant
alexnet b256   100.0  100.0   +0.0%    +0.0 to +0.0        -  not significant
resnet18 b1    100.0   80.0  -20.0%  -20.0 to -20.0    +0.0%  slower
resnet18 b256  100.0   80.0  -20.0%  -20.0 to -20.0        -  slower
vgg11          128.0  128.0   +0.0%    +0.0 to +0.0        -  not significant
interval: 99.80%, from the calls of both runs; machine: change of the yardstick,
  a fixed numpy workload timed next to the calls
not significant: relative to the machine, part of the interval, or the fastest
  calls, are within 5%
with one run per side, only slowdowns above 5.0% can be detected in each of
  these timings, regardless of --max-slowdown; use imagenet-gate ab for smaller
  ones

peak memory, in GB
memory    old    new  change
vgg11   1.250  1.500  +20.0%

seconds of compiling
compile   old   new   change
vgg11    10.0  20.0  +100.0%

missing results
vgg16-IMAGENET1K_V1-fp32: missing from the new run
resnet18-IMAGENET1K_V1-fp32-b32: only in the new run

FAILED: 6 of 8 results
resnet18-IMAGENET1K_V1-fp32: arithmetic: torch 2.9.1 -> 2.14.1; the rest is the
  same
    effect: 12 of 10,000 predictions changed, 11 beyond noise; 6 now wrong, 3
      now correct; 15 top-5 sets beyond noise
    example: 09.JPEG: top-5: class 3 -> class 7, now wrong, margin 1.0e-02
resnet18-IMAGENET1K_V1-fp32-b1: takes 25.0% longer by the yardstick, allowed 5%
resnet18-IMAGENET1K_V1-fp32-b256: takes 25.0% longer, allowed 5%
vgg11-IMAGENET1K_V1-fp32-b32: takes 20.0% more memory, allowed 10%
vgg11-IMAGENET1K_V1-fp32-b32: takes 100.0% longer to compile, allowed 25%
vgg16-IMAGENET1K_V1-fp32: missing from the new run"""


def _with_predictions(comparison: Comparison) -> Comparison:
    """Return the comparison as if images had been paired; twelve of ResNet18's predictions changed."""
    changed = tuple(ChangedPrediction(f"{i:02}.JPEG", 0, 1, i % 2 == 0, i % 4 == 1, 0.5, i == 0) for i in range(12))
    top1 = {"changed": 12, "near_ties": 1, "lost": 6, "gained": 3, "largest_margin": 0.5}
    top5 = {"top5_changed": 20, "top5_near_ties": 5, "top5_lost": 4, "top5_gained": 2}
    example = ChangedPrediction("09.JPEG", 3, 7, True, False, 0.01, False, "top5")
    same = pairing(images=10_000)
    other = msgspec.structs.replace(same, **top1, **top5, examples=(example,), drift=Drift(1e-4, 1e-3, 2e-3))
    pairs = (
        replace(pair, new=msgspec.structs.replace(pair.new, baseline=evidence), changed=found)
        for pair, evidence, found in zip(comparison.accuracy, (same, other), ((), changed), strict=True)
    )
    return replace(comparison, accuracy=tuple(pairs))


def test_the_report_of_different_runs() -> None:
    """Environment, accuracy, speed, what grew, what one run lacks, verdict: all in 80 columns; the diagnosis once."""
    small, large = (timing_result("vgg11", compile_seconds=seconds) for seconds in (10.0, 20.0))
    large = msgspec.structs.replace(large, peak_memory=1_500_000_000)
    old, new = _record(more=[small]), _record(-40, 1.25, [large, timing_result()], torch="2.14.1", torchvision="0.29.1")
    comparison = _comparison(msgspec.structs.replace(old, cases=(*old.cases, case_result("vgg16"))), new)

    text = "\n".join(_text(_with_predictions(comparison)))

    assert DIFFERENT == text
    assert max(map(len, text.splitlines())) <= 80


def test_rejected_speed_says_why() -> None:
    """In place of the table of speeds."""
    lines = _text(_comparison(_record(), _record(device="NVIDIA A100")))

    assert [
        "speed",
        "not compared, since the hardware differs: device NVIDIA H100 80GB HBM3 and",
        "  NVIDIA A100",
        "",
        "passed; speed was not compared",
    ] == lines[-5:]


@pytest.mark.parametrize("number", [3, 6, 7, 13])
def test_a_series_of_many_runs_stays_within_80_columns(number: int) -> None:
    """Six runs abreast; each run's number is above its values, and none is left out."""
    runs = [Run(Path(f"runs/{n}"), _record(slowdown=1 + n / 10)) for n in range(number)]

    lines = list(as_text(series_sections(runs)))

    speeds = [cell for line in lines if line.startswith("resnet18 b256 ") for cell in line.split()[2:]]
    heads = [cell for line in lines if line.startswith("images/s") for cell in line.split()[1:]]
    assert max(map(len, lines)) <= 80
    assert [f"{100 / (1 + n / 10):.1f}" for n in range(number)] == speeds
    assert [f"[{n + 1}]" for n in range(number)] == heads
