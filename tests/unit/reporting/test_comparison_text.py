"""Tests of harness.reporting.comparison_text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.gate.pairing import Changed, Drift, Paired
from harness.gate.scores import TopK
from harness.reporting.accuracy_pair import AccuracyPair
from harness.reporting.case_record import CaseRecord
from harness.reporting.compare import FAILURES, Comparison, compare
from harness.reporting.comparison_text import sections_of, series_sections, verdict_first
from harness.reporting.record import Record, SplitFacts
from harness.reporting.run_folder import Run
from harness.reporting.section import as_markdown, as_text
from tests.records import case_record, expected, run_record, timing_record

HITS = {"alexnet": 28_261, "vgg16": 35_796, "resnet18": 34_879, "googlenet": 34_889}


def _record(resnet18: int = 0, slowdown: float = 1.0, **environment: str) -> Record:
    """Return a run of the four models on the whole split, ResNet18's hits and speed changed."""
    cases = [
        case_record(
            model,
            measured=TopK(50_000, hits + (resnet18 if model == "resnet18" else 0), hits + 9_000),
            expected=expected(50_000, hits, hits + 9_000),
        )
        for model, hits in HITS.items()
    ]
    timings = [
        timing_record(
            model,
            [0.01 * batch_size * (slowdown if model == "resnet18" else 1.0)] * 9,
            id=f"{model}-IMAGENET1K_V1-fp32-b{batch_size}",
            batch_size=batch_size,
            yardstick=0.007 if batch_size == 1 else None,
        )
        for model in HITS
        for batch_size in (1, 256)
    ]
    record = run_record(cases, timings, **environment)
    return replace(record, split=SplitFacts("imagenet-1k", "d1ge57", 50_000, 50_000, 1000))


def _comparison(old: Record, new: Record) -> Comparison:
    return compare(Run(Path("runs/old"), old), Run(Path("runs/new"), new), noise=0.05)


def _text(comparison: Comparison) -> list[str]:
    return list(as_text(sections_of(comparison, list(comparison.failures(FAILURES, 0.05)))))


DIFFERENT = """\
runs/old against runs/new
             old, 2026-11-24 20:00  new, 2026-11-24 20:00
torch        2.9.1                  2.14.1
torchvision  0.24.1                 0.29.1

accuracy on imagenet-1k, 50,000 images: hits in the new run, and the difference to the old
accuracy                       top-1  diff  points   top-5  diff  changed  real    p  drift  new
alexnet-IMAGENET1K_V1-fp32    28,261    +0  +0.000  37,261    +0        0     0    1  equal  held
vgg16-IMAGENET1K_V1-fp32      35,796    +0  +0.000  44,796    +0        0     0    1  equal  held
resnet18-IMAGENET1K_V1-fp32   34,839   -40  -0.080  43,879    +0       12    11  0.5  2e-03  held
googlenet-IMAGENET1K_V1-fp32  34,889    +0  +0.000  43,889    +0        0     0    1  equal  held
changed: images with another best class; real: those that arithmetic alone cannot have changed; p:
  exact McNemar test of right and wrong; drift: how far an image's logits moved at most, in units of
  their spread
resnet18-IMAGENET1K_V1-fp32: 6 went from right to wrong, 3 from wrong to right
    01.JPEG: class 0 -> 1, right now
    02.JPEG: class 0 -> 1, wrong now
    03.JPEG: class 0 -> 1
    04.JPEG: class 0 -> 1, wrong now
    05.JPEG: class 0 -> 1, right now
    06.JPEG: class 0 -> 1, wrong now
    07.JPEG: class 0 -> 1
    08.JPEG: class 0 -> 1, wrong now
    09.JPEG: class 0 -> 1, right now
    10.JPEG: class 0 -> 1, wrong now
    and 2 more

speed: images/s from the median call
speed                                old    new   change        interval  machine  verdict
alexnet-IMAGENET1K_V1-fp32-b1      100.0  100.0   +0.0 %    +0.0 to +0.0   +0.0 %  not significant
alexnet-IMAGENET1K_V1-fp32-b256    100.0  100.0   +0.0 %    +0.0 to +0.0        -  not significant
vgg16-IMAGENET1K_V1-fp32-b1        100.0  100.0   +0.0 %    +0.0 to +0.0   +0.0 %  not significant
vgg16-IMAGENET1K_V1-fp32-b256      100.0  100.0   +0.0 %    +0.0 to +0.0        -  not significant
resnet18-IMAGENET1K_V1-fp32-b1     100.0   80.0  -20.0 %  -20.0 to -20.0   +0.0 %  slower
resnet18-IMAGENET1K_V1-fp32-b256   100.0   80.0  -20.0 %  -20.0 to -20.0        -  slower
googlenet-IMAGENET1K_V1-fp32-b1    100.0  100.0   +0.0 %    +0.0 to +0.0   +0.0 %  not significant
googlenet-IMAGENET1K_V1-fp32-b256  100.0  100.0   +0.0 %    +0.0 to +0.0        -  not significant
interval: 99.88 %, from the calls of both runs; machine: the same work by numpy beside them
not significant: by the measure of the machine not beyond 5 % with the whole interval and with the
  fastest calls

FAILED: 3 of 12 results
resnet18-IMAGENET1K_V1-fp32: top-1 differs by -0.080 points, tolerance ±0.05
resnet18-IMAGENET1K_V1-fp32-b1: takes 25.0 % longer by the yardstick, allowed 5 %
resnet18-IMAGENET1K_V1-fp32-b256: takes 25.0 % longer, allowed 5 %"""


def _with_answers(comparison: Comparison) -> Comparison:
    """Return the comparison as if images had been paired; of ResNet18's twelve changed, in turns lost and gained."""
    changed = tuple(
        Changed(f"{i:02}.JPEG", 0, 1, was_right=i % 2 == 0, is_right=i % 4 == 1, margin=0.5, near_tie=i == 0)
        for i in range(12)
    )
    nothing = Paired(50_000, (), 0, 0, 0, 1.0, Drift(0.0, 0.0, 0.0))
    something = Paired(50_000, changed, 20, lost=6, gained=3, p=0.5, drift=Drift(1e-4, 1e-3, 2e-3))

    def paired(accuracy: AccuracyPair) -> AccuracyPair:
        is_changed = accuracy.new.model == "resnet18"
        return replace(accuracy, paired=something if is_changed else nothing)

    return replace(comparison, accuracy=tuple(map(paired, comparison.accuracy)))


def test_the_report_of_different_runs() -> None:
    """Environment, accuracy, speed, verdict: all of it, for four models, in 100 columns."""
    comparison = _comparison(_record(), _record(-40, 1.25, torch="2.14.1", torchvision="0.29.1"))

    lines = _text(_with_answers(comparison))

    assert "\n".join(lines) == DIFFERENT


def test_four_models_fit_in_100_columns() -> None:
    """With whole ImageNet's hits, and batches of 256."""
    assert max(len(line) for line in DIFFERENT.splitlines()) <= 100


def test_the_report_of_equal_runs() -> None:
    """It says that there is no difference, and no failure."""
    lines = _text(_comparison(_record(), _record()))

    assert lines[:2] == ["runs/old against runs/new", "environment: no difference"]
    assert lines[-1] == "no failure"


def test_what_moved_besides_is_told() -> None:
    """Other weights or other pixels under the same name."""
    new = _record()
    first = new.cases[0]
    assert isinstance(first, CaseRecord)
    moved = replace(new, cases=(replace(first, inputs_digest="0ther"), *new.cases[1:]))

    lines = _text(_comparison(_record(), moved))

    assert "alexnet-IMAGENET1K_V1-fp32: other decoded images than in the old run" in lines


def test_missing_and_added_are_told() -> None:
    """What only one of the runs has is neither compared nor left out."""
    old, new = _record(), _record()
    lines = _text(_comparison(replace(old, timings=old.timings[1:]), replace(new, cases=new.cases[1:])))

    start = lines.index("in one run only, or without values")
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
    why = "not compared, since the hardware differs: device NVIDIA H100 80GB HBM3 and NVIDIA A100"
    assert lines[start + 1] == why
    assert lines[-1] == "no failure; speed was not compared"


def test_markdown_begins_with_what_it_comes_to() -> None:
    """For the summary of a CI job; what a name holds is shown, not obeyed."""
    comparison = _comparison(_record(), _record(-40, torch="<script>|"))

    lines = list(as_markdown(verdict_first(sections_of(comparison, list(comparison.failures(FAILURES, 0.05))))))

    assert lines[:3] == [
        "### FAILED: 1 of 12 results",
        "",
        r"- resnet18-IMAGENET1K\_V1-fp32: top-1 differs by -0.080 points, tolerance ±0.05",
    ]
    assert r"| torch | 2.9.1 | \<script\>\| |" in lines
    head = lines.index("| accuracy | top-1 | diff | points | top-5 | diff | changed | real | p | drift | new |")
    assert lines[head + 1] == "| :-- | --: | --: | --: | --: | --: | --: | --: | --: | --: | :-- |"
    assert (
        lines[head + 2]
        == r"| alexnet-IMAGENET1K\_V1-fp32 | 28,261 | +0 | +0.000 | 37,261 | +0 | - | - | - | - | held |"
    )


@pytest.mark.parametrize("number", [3, 6, 7, 13])
def test_a_series_of_many_runs_stays_within_100_columns(number: int) -> None:
    """Six runs abreast; each run's number stands over its values, and none is left out."""
    runs = [Run(Path(f"runs/{n}"), _record(slowdown=1 + n / 10)) for n in range(number)]

    lines = list(as_text(series_sections(runs)))

    speeds = [line.split()[1:] for line in lines if line.startswith("resnet18-IMAGENET1K_V1-fp32-b256")]
    heads = [line.split()[1:] for line in lines if line.startswith("images/s")]
    assert max(map(len, lines)) <= 100
    assert [value for row in speeds for value in row] == [f"{100 / (1 + n / 10):.1f}" for n in range(number)]
    assert [value for row in heads for value in row] == [f"[{n + 1}]" for n in range(number)]


def test_a_hundred_models_have_a_line_each() -> None:
    """The report grows by lines, and no line by more than its names."""
    name = "regnet_y_128gf_swag_linear"
    cases = [case_record(f"{name}{n:03}", np.arange(1000) < 700) for n in range(114)]

    lines = _text(_comparison(run_record(cases), run_record(cases)))

    assert sum(line.startswith(name) for line in lines) == 114
    assert max(map(len, lines)) <= 120
