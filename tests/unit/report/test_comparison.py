"""Tests of harness.report.comparison."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from harness.compare.compare import AccuracyPair, Comparison, compare
from harness.records.evidence import ChangedPrediction, Drift
from harness.records.results import DatasetFacts, Record
from harness.records.run_folder import Run
from harness.report.comparison import comparison_sections, series_sections
from harness.report.sections import as_markdown, as_text
from tests.records import case_result, expected, pairing, run_record, timing_result

CORRECT = {"alexnet": 28_261, "vgg16": 35_796, "resnet18": 34_879, "googlenet": 34_889}


def _record(resnet18: int = 0, slowdown: float = 1.0, **environment: str) -> Record:
    """Return a run of the four models on the whole dataset, with a change of ResNet18's counts and speed."""
    cases = [
        case_result(
            model,
            (50_000, correct + (resnet18 if model == "resnet18" else 0), correct + 9_000),
            expected=expected(50_000, correct, correct + 9_000, "0.1"),
        )
        for model, correct in CORRECT.items()
    ]
    timings = [
        timing_result(
            model,
            [0.01 * batch_size * (slowdown if model == "resnet18" else 1.0)] * 9,
            id=f"{model}-IMAGENET1K_V1-fp32-b{batch_size}",
            batch_size=batch_size,
            yardstick=0.007 if batch_size == 1 else None,
        )
        for model in CORRECT
        for batch_size in (1, 256)
    ]
    record = run_record(cases, timings, **environment)
    return msgspec.structs.replace(record, dataset=DatasetFacts("imagenet-1k", "d1ge57", 50_000, 50_000, 1000))


def _comparison(old: Record, new: Record) -> Comparison:
    return compare(Run(Path("runs/old"), old), Run(Path("runs/new"), new), noise=0.05)


def _text(comparison: Comparison) -> list[str]:
    return list(as_text(comparison_sections(comparison, list(comparison.failures()))))


DIFFERENT = """\
runs/old against runs/new
             old, 2026-11-24 20:00  new, 2026-11-24 20:00
torch        2.9.1                  2.14.1
torchvision  0.24.1                 0.29.1

accuracy on imagenet-1k, 50,000 images: correct in the new run, and the
  difference from the old
accuracy    top-1  diff  points   top-5  diff  changed     p  drift  outcome
alexnet    28,261    +0  +0.000  37,261    +0    0 (0)     1  equal  passed
vgg16      35,796    +0  +0.000  44,796    +0    0 (0)     1  equal  passed
resnet18   34,839   -40  -0.080  43,879    +0  12 (11)  0.51  2e-03  FAILED
googlenet  34,889    +0  +0.000  43,889    +0    0 (0)     1  equal  passed
changed: images with another top-1 prediction, in brackets those beyond noise,
  which arithmetic alone cannot explain; p: exact McNemar test of now correct
  against now wrong; drift: largest change of any logit, in units of the logit
  scale
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
speed             old    new   change        interval  machine  verdict
alexnet b1      100.0  100.0   +0.0 %    +0.0 to +0.0   +0.0 %  not significant
alexnet b256    100.0  100.0   +0.0 %    +0.0 to +0.0        -  not significant
vgg16 b1        100.0  100.0   +0.0 %    +0.0 to +0.0   +0.0 %  not significant
vgg16 b256      100.0  100.0   +0.0 %    +0.0 to +0.0        -  not significant
resnet18 b1     100.0   80.0  -20.0 %  -20.0 to -20.0   +0.0 %  slower
resnet18 b256   100.0   80.0  -20.0 %  -20.0 to -20.0        -  slower
googlenet b1    100.0  100.0   +0.0 %    +0.0 to +0.0   +0.0 %  not significant
googlenet b256  100.0  100.0   +0.0 %    +0.0 to +0.0        -  not significant
interval: 99.88 %, from the calls of both runs; machine: the same work by numpy
  beside them
not significant: relative to the machine, part of the interval, or the fastest
  calls, are within 5 %
with one run a side, only slowdowns above 5.0 % can be seen in each of these
  timings, whatever --max-slowdown is; imagenet-gate ab sees smaller ones

FAILED: 3 of 12 results
resnet18-IMAGENET1K_V1-fp32: arithmetic: torch 2.9.1 -> 2.14.1; the rest is the
  same
    effect: 12 of 50,000 predictions changed, 11 beyond noise; 6 now wrong, 3
      now correct; 15 top-5 sets beyond noise
    example: 09.JPEG: top-5: class 3 -> class 7, now wrong, margin 1.0e-02
resnet18-IMAGENET1K_V1-fp32-b1: takes 25.0 % longer by the yardstick, allowed
  5 %
resnet18-IMAGENET1K_V1-fp32-b256: takes 25.0 % longer, allowed 5 %"""


def _with_predictions(comparison: Comparison) -> Comparison:
    """Return the comparison as if images had been paired; twelve of ResNet18's predictions changed."""
    changed = tuple(
        ChangedPrediction(
            f"{i:02}.JPEG", 0, 1, was_correct=i % 2 == 0, is_correct=i % 4 == 1, margin=0.5, near_tie=i == 0
        )
        for i in range(12)
    )
    same = pairing(images=50_000)
    other = msgspec.structs.replace(
        same,
        changed=12,
        near_ties=1,
        top5_changed=20,
        top5_near_ties=5,
        top5_lost=4,
        top5_gained=2,
        examples=(ChangedPrediction("09.JPEG", 3, 7, True, False, 0.01, False, "top5"),),
        lost=6,
        gained=3,
        largest_margin=0.5,
        drift=Drift(1e-4, 1e-3, 2e-3),
    )

    def paired(pair: AccuracyPair) -> AccuracyPair:
        if pair.new.model == "resnet18":
            return replace(pair, new=msgspec.structs.replace(pair.new, baseline=other), changed=changed)
        return replace(pair, new=msgspec.structs.replace(pair.new, baseline=same))

    return replace(comparison, accuracy=tuple(map(paired, comparison.accuracy)))


def test_the_report_of_different_runs() -> None:
    """Environment, accuracy, speed, verdict: all of it, for four models, in 80 columns; the diagnosis once."""
    comparison = _comparison(_record(), _record(-40, 1.25, torch="2.14.1", torchvision="0.29.1"))

    text = "\n".join(_text(_with_predictions(comparison)))

    assert DIFFERENT == text
    assert max(map(len, text.splitlines())) <= 80


def test_the_report_of_equal_runs() -> None:
    """It says that there is no difference, and no failure."""
    lines = _text(_comparison(_record(), _record()))

    assert lines[:2] == ["runs/old against runs/new", "environment: no difference"]
    assert lines[-1] == "passed"


def test_missing_and_added_are_told() -> None:
    """What only one of the runs has is neither compared nor left out."""
    old, new = _record(), _record()
    lines = _text(
        _comparison(
            msgspec.structs.replace(old, timings=old.timings[1:]), msgspec.structs.replace(new, cases=new.cases[1:])
        )
    )

    start = lines.index("in one run only, or without a result")
    assert lines[start + 1 :] == [
        "alexnet-IMAGENET1K_V1-fp32: is not in the new run",
        "alexnet-IMAGENET1K_V1-fp32-b1: only in the new run",
        "",
        "FAILED: 1 of 11 results",
        "alexnet-IMAGENET1K_V1-fp32: is not in the new run",
    ]


def test_refused_speed_says_why() -> None:
    """In its place."""
    lines = _text(_comparison(_record(), _record(device="NVIDIA A100")))

    start = lines.index("speed")
    assert lines[start + 1] == "not compared, since the hardware differs: device NVIDIA H100 80GB HBM3 and"
    assert lines[start + 2] == "  NVIDIA A100"
    assert lines[-1] == "passed; speed was not compared"


def test_markdown_shows_names_as_text() -> None:
    """For the summary of a CI job; what a name holds is shown, not obeyed."""
    comparison = _comparison(_record(), _record(-80, torch="<script>|"))

    lines = list(as_markdown(comparison_sections(comparison, list(comparison.failures()))))

    assert lines[-4:] == [
        "### FAILED: 1 of 12 results",
        "",
        r"- resnet18-IMAGENET1K\_V1-fp32: top-1 differs by -0.160 points, tolerance ±0.1",
        "",
    ]
    assert r"| torch | 2.9.1 | \<script\>\| |" in lines
    head = lines.index("| accuracy | top-1 | diff | points | top-5 | diff | changed | p | drift | outcome |")
    assert lines[head + 1] == "| :-- | --: | --: | --: | --: | --: | --: | --: | --: | :-- |"
    assert lines[head + 2] == "| alexnet | 28,261 | +0 | +0.000 | 37,261 | +0 | - | - | - | passed |"


@pytest.mark.parametrize("number", [3, 6, 7, 13])
def test_a_series_of_many_runs_stays_within_80_columns(number: int) -> None:
    """Six runs abreast; each run's number stands over its values, and none is left out."""
    runs = [Run(Path(f"runs/{n}"), _record(slowdown=1 + n / 10)) for n in range(number)]

    lines = list(as_text(series_sections(runs)))

    speeds = [line.split()[2:] for line in lines if line.startswith("resnet18 b256 ")]
    heads = [line.split()[1:] for line in lines if line.startswith("images/s")]
    assert max(map(len, lines)) <= 80
    assert [value for row in speeds for value in row] == [f"{100 / (1 + n / 10):.1f}" for n in range(number)]
    assert [value for row in heads for value in row] == [f"[{n + 1}]" for n in range(number)]


def test_a_hundred_models_have_a_line_each() -> None:
    """The report grows by lines, and no line by more than its names."""
    name = "regnet_y_128gf_swag_linear"
    cases = [case_result(f"{name}{n:03}") for n in range(114)]

    lines = _text(_comparison(run_record(cases), run_record(cases)))

    assert sum(line.startswith(name) for line in lines) == 114
    assert max(map(len, lines)) <= 110
