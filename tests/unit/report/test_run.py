"""Tests of the tables of a run, and of how tables and reasons are laid out."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from harness.predictions import Predictions
from harness.records.evidence import Diagnosis, Drift
from harness.records.results import CaseResult, Missing, TimingResult
from harness.records.run_folder import Run
from harness.report.run import run_sections
from harness.report.sections import Section, as_markdown, as_text, by_cause, table_of
from tests.records import case_result, expected, pairing, predictions_of, run_record, timing_result, write_run

ALL = np.arange(1000)

TABLE = """\
rank  model      top-1    diff    top-5    diff  img/s  outcome
1-2   own       72.000       -  100.000       -  1,234  FAILED
1-2   vgg16     71.600  +0.000   90.400  +0.000  1,234  passed
3     resnet18  69.800  +0.000   89.100  +0.000  1,234  passed
4     alexnet   56.500  -0.100   79.000  +0.000  1,234  FAILED
  googlenet-IMAGENET1K_V1-fp32: not run
  vgg11-IMAGENET1K_V1-fp32: ERROR, no result (see above)
rank: ranks by top-1 consistent with these images, with 95% confidence for all
  (exact McNemar tests, Holm's method)
diff: points above or below the published accuracy
own-IMAGENET1K_V1-fp32: ran in batches of 8
decode 1.0 s, load 2.0 s, transfer 0.5 s, forward 3.0 s, total 7.0 s"""

TABLE_OF_ONE = """\
  model     top-1    allowed   top-5    allowed  img/s  outcome
  alexnet  56.500  50.3-62.5  79.000  73.9-83.9  1,234  passed
allowed: range in which a random subset lies, given the recorded accuracy
judged on a subset of the images, which could miss a drop in top-1 of up to 9.79
  points and in top-5 of up to 8.44 points
decode 0.2 s, load 0.5 s, transfer 0.1 s, forward 0.8 s, total 1.8 s"""


def _run(folder: Path, *cases: CaseResult | Missing, **predictions: Predictions) -> Run:
    return write_run(folder / "run", run_record(cases), **predictions)


def _sections(*cases: CaseResult | Missing, details: bool = False) -> list[Section]:
    """Return the sections of a run without predictions."""
    return run_sections(Run(Path("run.json"), run_record(cases)), details=details)


def _text(section: Section) -> str:
    return "\n".join(section.body())


def _cells(section: Section) -> list[list[str]]:
    assert section.table is not None
    return [list(section.table.head), *map(list, section.table.rows)]


def test_table(tmp_path: Path) -> None:
    """Rows by top-1, with ranks, dashes where nothing is known; then the missing cases and notes, one a line."""
    cases = [
        case_result("alexnet", (1000, 565, 790), expected=expected(1000, 566, 790)),
        case_result("vgg16", (1000, 716, 904)),
        case_result("own", (1000, 720, 1000), expected=None, notes=("ran in batches of 8",)),
        case_result("resnet18", (1000, 698, 891), gmacs=0.0),  # as of int8 models, which cannot be counted
    ]
    missing = [Missing("googlenet-IMAGENET1K_V1-fp32"), Missing("vgg11-IMAGENET1K_V1-fp32", "error", "no weights")]
    run = _run(tmp_path, *cases, *missing, vgg16=predictions_of(cases[1], (ALL >= 10) & (ALL < 726)))

    section, models, reasons = run_sections(run, details=True)

    assert "accuracy in percent: imagenet-1k, 1,000 images" == section.title
    assert TABLE == _text(section)
    assert [
        ["published accuracy", "top-1", "top-5", "params", "GMACs"],
        ["own-IMAGENET1K_V1", "-", "-", "11.7M", "1.81"],
        ["vgg16-IMAGENET1K_V1", "71.600", "90.400", "11.7M", "1.81"],
        ["resnet18-IMAGENET1K_V1", "69.800", "89.100", "11.7M", "-"],
        ["alexnet-IMAGENET1K_V1", "56.600", "79.000", "11.7M", "1.81"],
    ] == _cells(models)
    assert [
        "failed: own-IMAGENET1K_V1-fp32: published values:",
        "failed: alexnet-IMAGENET1K_V1-fp32: top-1: measured 56.500, published 56.600",
        "  (-0.100 points, allowed ±0.05)",
    ] == list(reasons.body())


def test_114_models_fit_a_terminal() -> None:
    """Those of the longest names too, with all weights of one model, by top-1 and then by id."""
    weights = ["IMAGENET1K_V1", "IMAGENET1K_V2", "IMAGENET1K_SWAG_E2E_V1", "IMAGENET1K_SWAG_LINEAR_V1"]
    changed = pairing(changed=900, lost=200, gained=200)
    cases = [
        case_result("efficientnet_v2_s", (1000, 100, 1000)),
        case_result("shufflenet_v2_x1_5"),
        *(case_result("regnet_y_16gf", id=f"regnet_y_16gf-{name}-fp32", weights=name) for name in weights),
    ]

    sections = _sections(*(msgspec.structs.replace(case, baseline=changed) for case in cases), details=True)

    assert 5 == len(sections)
    assert [] == [line for section in sections for line in section.body() if len(line) > 80]
    names = [f"regnet_y_16gf {name}" for name in ("SWAG E2E V1", "SWAG LINEAR V1", "V1", "V2")]
    assert [*names, "shufflenet_v2_x1_5", "efficientnet_v2_s"] == [row[1] for row in _cells(sections[0])[1:]]


def test_table_of_one_case(tmp_path: Path) -> None:
    """A case alone has no rank; judged on a subset, it says what that could miss."""
    case = case_result("alexnet", (1000, 565, 790), expected=expected(50_000, 28_200, 39_500, origin="recorded"))

    [section] = run_sections(_run(tmp_path, case))

    assert TABLE_OF_ONE == _text(section)


@pytest.mark.parametrize(
    ("correct", "ranks"),
    [
        ([ALL[:505], ALL[:500]], ["1-2", "1-2"]),  # p = 0.0625
        ([ALL[:506], ALL[:500]], ["1", "2"]),  # p = 0.03125
        ([ALL[:560], np.r_[:500, 600:641]], ["1-2", "1-2"]),  # p = 0.073
        ([ALL[:560], np.r_[:500, 600:639]], ["1", "2"]),  # p = 0.044
        # Of three tests the smallest p must be below a third of 5%, the next below a half, the largest below all.
        ([ALL[:513], ALL[:507], ALL[:500]], ["1", "2", "3"]),  # p = 0.0156 and 0.03125
        ([ALL[:512], ALL[:506], ALL[:500]], ["1-2", "1-3", "2-3"]),  # p = 0.03125 twice
        ([ALL[:560], *[np.r_[:500, 600:636]] * 2], ["1-3", "1-3", "1-3"]),  # p = 0.018 twice
    ],
)
def test_ranks_are_those_of_mcnemars_tests_by_holms_method(
    correct: list[NDArray[np.int_]], ranks: list[str], tmp_path: Path
) -> None:
    """By the images that each model has correct; a file, which holds no predictions, has none."""
    cases = [case_result(name, (1000, len(images), 1000)) for name, images in zip("abc", correct, strict=False)]
    known = {
        case.model: predictions_of(case, np.isin(ALL, images)) for case, images in zip(cases, correct, strict=True)
    }
    run = _run(tmp_path, *cases, **known)

    ranked, alone = (run_sections(Run(path, run.record))[0] for path in (run.path, run.path / "record.json"))

    assert ranks == [row[0] for row in _cells(ranked)[1:]]
    assert {""} == {row[0] for row in _cells(alone)}


SETTINGS = """\
model    setting         top-1   top-5    diff    diff  changed  images/s  speed-up
alexnet  fp32           56.500  79.000       -       -        -       200         -
alexnet  bf16           56.500  79.000  +0.000  +0.000        0       500      2.50
alexnet  bf16-compiled  56.600  78.900  +0.100  -0.100        1       150      0.75
diff: from the model's first setting, top-1 and top-5; changed: images with a
  different top-1 prediction
images/s of compiled models include compilation, which -m throughput leaves out"""


def test_settings_of_a_model_are_compared_with_its_first(tmp_path: Path) -> None:
    """Whatever order processes ended in; a JSON file holds no predictions, whose changes could be counted."""
    run = _run(
        tmp_path,
        case_result("alexnet", (1000, 566, 789), id="c", precision="bf16", compiled=True, images_per_second=150.0),
        case_result("alexnet", (1000, 565, 790), id="b", precision="bf16", images_per_second=500.0),
        case_result("alexnet", (1000, 565, 790), images_per_second=200.0),
        case_result("vgg16"),
    )

    settings, without = (run_sections(one)[1] for one in (run, Run(Path("run.json"), run.record)))

    assert SETTINGS == _text(settings)
    assert ["changed", "-", "-", "-"] == [row[6] for row in _cells(without)]


BASELINE = """\
against the baseline  changed  beyond noise  lost  gained   top-5  drift
alexnet                     3             2     2       1  12 (5)  9e-05
resnet18                    0             0     0       0   0 (0)      -
vgg16                       3             2     2       1  12 (5)  9e-05
changed: images with a different top-1 prediction; beyond noise: those that
  arithmetic alone cannot explain
top-5: images with a different top-5 set, in brackets those beyond noise
drift: largest change of any logit, in units of the logit scale"""

REASONS = """\
warning: resnet18-IMAGENET1K_V1-fp32: decoded inputs: 2 of 1,000 images have
  different pixels
    effect: 0 of 1,000 predictions changed
    top-1 70.000 -> 70.000, top-5 90.000 -> 90.000
    no logits in the baseline: near-ties are margins of this run of up to
      2.0e-04
failed: alexnet-IMAGENET1K_V1-fp32 and 1 more: decoded inputs: 2 of 1,000 images
  have different pixels"""


def test_table_of_the_baseline() -> None:
    """Of cases on a subset, beside their accuracy; below it each warning, and a failure once for all that share it."""
    whole, wrong = expected(50_000, 35_000, 45_000), expected(50_000, 30_000, 45_000)
    diagnosis = Diagnosis("decoded inputs", "2 of 1,000 images have different pixels")
    moved = pairing(drift=None, largest_margin=0.5, diagnosis=diagnosis)
    top1 = {"changed": 3, "near_ties": 1, "lost": 2, "gained": 1}
    top5 = {"top5_changed": 12, "top5_near_ties": 7, "top5_lost": 2}
    changed = msgspec.structs.replace(moved, **top1, **top5, drift=Drift(1e-5, 2e-5, 9e-5))

    accuracy, baseline, reasons = _sections(
        case_result("alexnet", expected=whole, baseline=changed),
        case_result("vgg16", expected=wrong, baseline=changed),
        case_result(expected=whole, baseline=moved),
    )

    assert ["alexnet", "70.000", "70.100", "90.000", "90.200"] == _cells(accuracy)[1][1:6]
    assert BASELINE == _text(baseline)
    assert REASONS == _text(reasons)


TIMINGS = """\
timing    batch  images/s  ms per call       p99  spread
alexnet      32     128.0       250.00  1,000.00    0.0%
resnet18     32      64.0       500.00         -   50.0%
vgg11        32      64.0       500.00         -   90.0%
images/s from the median call; p99: 99th percentile in ms, from 100 calls on;
  spread: interquartile range
  vgg16-IMAGENET1K_V1-fp32-b32: not run
disturbed: alexnet-IMAGENET1K_V1-fp32-b32: throttled by hw_thermal_slowdown
disturbed: resnet18-IMAGENET1K_V1-fp32-b32 and 1 more: the interquartile range
  of the calls is 50% of the median; not stable after 5.1 s of warm-up
alexnet-IMAGENET1K_V1-fp32-b32: timed at 32, as larger batches gain little;
  images/s by size: 32: 128.0, 64: 129.5
alexnet-IMAGENET1K_V1-fp32-b32: the GPU is throttled by hw_thermal_slowdown

timing    batch  calls  GMACs  TFLOP/s  of peak  compile   memory
alexnet      32    100   1.81    0.464      93%     12.3  1.25 GB
resnet18     32      3   1.81    0.232      46%        -        -
vgg11        32      3      -        -        -        -  1.25 GB
GMACs: multiply-adds of one image, two operations each; peak: 0.500 TFLOP/s in
  fp32 by a product of large matrices"""


def _timings(*timings: TimingResult | Missing, details: bool = False) -> list[str]:
    return list(as_text(run_sections(Run(Path("run.json"), run_record([], timings)), details=details)))[1:]


def test_table_of_timings() -> None:
    """In the order in which they were measured, then the missing ones, then what a reader should know, once."""
    compiled = {"compiled": True, "compile_seconds": 12.34, "sweep": ((32, 128.0), (64, 129.5))}
    hot, unsettled = {"throttled": ["hw_thermal_slowdown"]}, {"calls": 40, "seconds": 5.1, "stable": False}
    timings = [
        timing_result("alexnet", [0.25] * 98 + [1.0] * 2, clocks=hot, warm_up=unsettled | {"calls": 3}, **compiled),
        timing_result(seconds=[0.25, 0.5, 0.75], peak_memory=None, warm_up=unsettled),
        timing_result("vgg11", [0.1, 0.5, 1.0], gmacs=0.0, warm_up=unsettled),
    ]

    assert TIMINGS == "\n".join(_timings(*timings, Missing("vgg16-IMAGENET1K_V1-fp32-b32"), details=True))


def test_speed_ups_are_those_over_the_first_setting() -> None:
    """In batches of the same size, with the same choice by cuDNN; a timing without such a reference has a dash."""
    fp32 = timing_result("alexnet", seconds=[0.25])
    single = timing_result("alexnet", seconds=[0.5], id="alexnet-IMAGENET1K_V1-fp32-b1", batch_size=1)
    bf16 = timing_result("alexnet", seconds=[0.1], id="alexnet-IMAGENET1K_V1-bf16-bauto", precision="bf16")
    chosen = timing_result("alexnet", seconds=[0.125], id=f"{fp32.id}-cudnn-benchmark", cudnn_benchmark=True)

    head, *lines = _timings(chosen, single, bf16, fp32)

    assert "speed-up" in head.split()
    assert [
        ["alexnet fp32 cudnn benchmark", "32", "256.0", "-"],
        ["alexnet fp32", "1", "2.0", "-"],
        ["alexnet bf16", "32", "320.0", "2.50"],
        ["alexnet fp32", "32", "128.0", "-"],
    ] == [re.split("  +", line)[:4] for line in lines[:4]]
    assert "speed-up: over the model's first setting at the" in " ".join(lines[4:])
    alone = "\n".join(_timings(fp32, chosen, details=True))
    assert not re.search("speed-up|compile|disturbed", alone)


SMALL = table_of([[("<case", "alexnet"), ("images", "1,234")]])


def test_a_row_that_is_too_wide_for_the_terminal_has_two_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """All its cells are kept, and stand under their headings."""
    section = Section("", SMALL)

    monkeypatch.setenv("COLUMNS", "15")
    assert ["case     images", "alexnet   1,234"] == list(section.body())
    monkeypatch.setenv("COLUMNS", "14")
    assert ["case", "  images", "alexnet", "   1,234"] == list(section.body())


def test_markdown_escapes_and_nests() -> None:
    """What a name holds is shown; a line that is indented belongs to the one above."""
    section = Section("2 cases | <b>", SMALL, ("first_line", "    # deeper"))

    assert [
        r"### 2 cases \| \<b\>",
        "",
        "| case | images |",
        "| :-- | --: |",
        "| alexnet | 1,234 |",
        "",
        r"- first\_line",
        r"  - \# deeper",
        "",
    ] == list(as_markdown([section]))


def test_reasons_of_one_cause_are_said_once() -> None:
    """Those that begin alike but for figures in brackets; of several only the lines that are the same."""
    reasons = [
        ("a", "other pixels (3 of 9 images)\n    cause: Pillow\n    effect: 1 changed"),
        ("b", "other pixels (4 of 9 images)\n    cause: Pillow\n    effect: 2 changed"),
        ("c", "top-1: measured 1.0 (-1 points)\n    more"),
        ("d", "other weights (sha256 1)"),
        ("e", "other weights (sha256 1)"),
    ]

    assert [
        (["a", "b"], "other pixels\n    cause: Pillow"),
        (["c"], "top-1: measured 1.0 (-1 points)\n    more"),
        (["d", "e"], "other weights (sha256 1)"),
    ] == list(by_cause(reasons))
