"""Tests of harness.reporting.text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.gate.verdict import Check, Verdict
from harness.reporting.case_record import CaseRecord, pack_classes
from harness.reporting.record import Unmeasured
from harness.reporting.text import accuracy_section, baseline_section, settings_section, throughput_section
from tests.records import case_record, expected, timing_record

IMAGES = 1000
HELD, FAILED = Check("top-1", "held", ""), Check("top-5", "failed", "")

TABLE = """\
   model     weights         top-1  published    diff    top-5  published    diff  params  GFLOPs  images/s  verdict
   own       IMAGENET1K_V1  72.000          -       -  100.000          -       -   11.7M    1.81     1,234  FAILED
~  vgg16     IMAGENET1K_V1  71.600     71.592  +0.008   90.400     90.382  +0.018   11.7M    1.81     1,234  held
   resnet18  IMAGENET1K_V1  69.800     69.758  +0.042   89.100     89.078  +0.022   11.7M    1.81     1,234  held
   alexnet   IMAGENET1K_V1  56.500     56.522  -0.022   79.000     79.066  -0.066   11.7M    1.81     1,234  FAILED
  googlenet-IMAGENET1K_V1-fp32: not run
  vgg11-IMAGENET1K_V1-fp32: ERROR, no values (the reason stands above)
~ not significantly different from the row above on the same images (top-1, exact McNemar test, p >= 0.05)
own-IMAGENET1K_V1-fp32: ran in batches of 8"""

TABLE_OF_ONE = """\
  model    weights         top-1  recorded    diff   top-5  recorded    diff  params  GFLOPs  images/s  verdict
  alexnet  IMAGENET1K_V1  56.500    60.000  -3.500  79.000    80.000  -1.000   11.7M    1.81     1,234  held"""


def _record(
    model: str, *right: range, top5: int = 900, checks: tuple[Check, ...] = (HELD,), **changes: Any
) -> CaseRecord:
    """Return a record of a model that gets the images in ``right`` right."""
    correct = np.isin(np.arange(IMAGES), [image for images in right for image in images])
    return case_record(model, correct, top5, verdict=Verdict(checks), **changes)


def test_table() -> None:
    """The table has its rows by top-1, ties marked, dashes where nothing is published; then the rest, one a line."""
    records = [
        _record("alexnet", range(565), top5=790, expected=expected(50_000, 28_261, 39_533), checks=(HELD, FAILED)),
        _record("vgg16", range(10, 726), top5=904, expected=expected(50_000, 35_796, 45_191)),
        _record("own", range(720), top5=1000, checks=(FAILED,), note="ran in batches of 8"),
        _record("resnet18", range(698), top5=891, expected=expected(50_000, 34_879, 44_539)),
    ]
    unmeasured = [
        Unmeasured("googlenet-IMAGENET1K_V1-fp32"),
        Unmeasured("vgg11-IMAGENET1K_V1-fp32", "error", "no weights"),
    ]

    actual = list(accuracy_section(records, unmeasured).body())

    assert "\n".join(actual) == TABLE


def test_table_of_one_case_has_no_more_than_its_row() -> None:
    """Without ties, notes or unmeasured cases there is a head and a row; nothing is tied to no row above."""
    records = [_record("alexnet", range(565), top5=790, expected=expected(500, 300, 400, origin="recorded"))]

    actual = list(accuracy_section(records, []).body())

    assert "\n".join(actual) == TABLE_OF_ONE


def test_table_of_a_subset_says_what_it_could_miss() -> None:
    """Below a table of cases that were judged on a subset stands the largest drop that could be missed, by metric."""
    drops = [(0.0, 0.0), (13.366, 9.5), (12.9, 10.114)]
    records = [
        _record(
            f"model{row}",
            range(700 - 100 * row),
            checks=(Check("top-1", "held", "", could_miss=top1), Check("top-5", "held", "", could_miss=top5)),
            note="odd" if row == 0 else "",
        )
        for row, (top1, top5) in enumerate(drops)
    ]

    actual = list(accuracy_section(records, []).body())[4:]

    lines = [
        "judged on a subset of the images, which could miss a drop of top-1 by up to 13.37 points "
        "and of top-5 by up to 10.11 points",
        "model0-IMAGENET1K_V1-fp32: odd",
    ]
    assert lines == actual


def test_cases_that_were_not_measured_are_never_left_out() -> None:
    """Where nothing was measured at all, the cases still stand there with the reason."""
    actual = list(accuracy_section([], [Unmeasured("alexnet-IMAGENET1K_V1-fp32")]).body())

    assert actual[-1] == "  alexnet-IMAGENET1K_V1-fp32: not run"


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_rows_come_by_top1_then_by_id(order: list[int]) -> None:
    """The best comes first; the same number of hits is ordered by id, whatever order the cases finished in."""
    records = [_record("b", range(700)), _record("c", range(800), top5=850), _record("a", range(300, 1000))]

    lines = list(accuracy_section([records[place] for place in order], []).body())

    actual = [line.removeprefix("~").split()[0] for line in lines[1:4]]
    expected = ["c", "a", "b"]
    assert expected == actual


@pytest.mark.parametrize(
    ("only_above", "only_below", "expected"),
    [
        pytest.param(0, 0, True, id="the same answers"),
        pytest.param(5, 0, True, id="p = 0.0625"),
        pytest.param(6, 0, False, id="p = 0.03125"),
        pytest.param(60, 41, True, id="p = 0.073"),
        pytest.param(60, 39, False, id="p = 0.044"),
    ],
)
def test_tie_is_decided_image_by_image(only_above: int, only_below: int, expected: bool) -> None:
    """Neighbours are tied unless the images that only one of them gets right speak against chance, at p < 0.05."""
    both = 500
    above = _record("above", range(both + only_above))
    below = _record("below", range(both), range(both + only_above, both + only_above + only_below))

    lines = list(accuracy_section([above, below], []).body())

    actual = lines[2].startswith("~  below")
    assert expected == actual


def test_a_tie_is_with_the_row_above_alone() -> None:
    """A mark compares a row with the one above it, not with the best: every step may be a tie, the way not."""
    records = [_record(f"model{step}", range(700 - 4 * step)) for step in range(3)]

    lines = list(accuracy_section(records, []).body())

    actual = [line[0] for line in lines[1:4]]
    expected = [" ", "~", "~"]
    assert expected == actual


TIMINGS = """\
timing                           images/s  ms a call  spread  calls  GFLOPs  TFLOP/s  of peak   memory
alexnet-IMAGENET1K_V1-fp32-b32      128.0     250.00   0.0 %      1    1.81    0.464     93 %  1.25 GB
resnet18-IMAGENET1K_V1-fp32-b32      64.0     500.00  50.0 %      3    1.81    0.232     46 %        -
images/s from the median call; spread: interquartile range over median; peak: 0.500 TFLOP/s in fp32 by a product of \
large matrices
  vgg16-IMAGENET1K_V1-fp32-b32: not run
resnet18-IMAGENET1K_V1-fp32-b32: not stable after 5.1 s of warm-up
resnet18-IMAGENET1K_V1-fp32-b32: the GPU is held back by power cap"""


def test_table_of_timings() -> None:
    """In the order in which they were made, then those without values, then what a reader should know."""
    records = [
        timing_record("alexnet", warm_up={"calls": 3, "seconds": 9.0, "stable": False}),
        timing_record(
            seconds=(0.25, 0.5, 0.75),
            peak_memory=None,
            warm_up={"calls": 40, "seconds": 5.1, "stable": False},
            clocks={"throttled": ["power cap"]},
        ),
    ]

    actual = list(throughput_section(records, [Unmeasured("vgg16-IMAGENET1K_V1-fp32-b32")]).body())

    assert "\n".join(actual) == TIMINGS


def test_a_setting_of_its_own_is_told_in_the_table() -> None:
    """Cases that differ only in their setting are told apart."""
    records = [case_record(), case_record(id="other", memory_format="contiguous", compiled=True)]

    rows = list(accuracy_section(records, []).body())[1:3]

    assert sum("fp32-contiguous-compiled" in row for row in rows) == 1


def test_settings_of_a_model_are_told_against_its_first() -> None:
    """Difference, changed answers and speed-up are those against the first setting, also where hits are the same."""
    best = np.arange(IMAGES, dtype=np.int16)
    bf16 = best.copy()
    bf16[[3, 5, 8]] = 999
    records = [
        _record("vgg16", range(716), best=pack_classes(best)),
        _record("alexnet", range(565), top5=790, best=pack_classes(best), images_per_second=200.0),
        _record("alexnet", range(1, 566), top5=790, precision="bf16", best=pack_classes(bf16), images_per_second=500.0),
        _record(
            "alexnet",
            range(566),
            top5=789,
            precision="bf16",
            compiled=True,
            best=pack_classes(best),
            images_per_second=150.0,
        ),
    ]

    section = settings_section(records[:1] + records[:0:-1])  # whatever order processes ended in

    expected = """\
model    weights        setting         top-1   top-5    diff    diff  changed  images/s  speed-up
alexnet  IMAGENET1K_V1  fp32           56.500  79.000       -       -        -       200         -
alexnet  IMAGENET1K_V1  bf16           56.500  79.000  +0.000  +0.000        3       500      2.50
alexnet  IMAGENET1K_V1  bf16-compiled  56.600  78.900  +0.100  -0.100        0       150      0.75
diff: of top-1 and top-5 against the model's first setting; changed: images with another best class
images/s of compiled models: with the time of compiling, which -m throughput leaves out"""
    assert section is not None
    assert expected == "\n".join(section.body())


def test_settings_without_answers_do_not_count_changes() -> None:
    """A JSON file tells of no image, and predictions of others not how they were made."""
    records = [
        _record("alexnet", range(565)),
        _record("alexnet", range(565), precision="bf16", best=pack_classes(np.zeros(IMAGES, np.int16))),
        _record("vgg16", range(716), memory_format="unknown"),
        _record("vgg16", range(716)),
    ]

    section = settings_section(records)

    assert section is not None
    assert section.table is not None
    assert [row[7] for row in section.table.rows] == ["-"] * 4
    assert [row[2] for row in section.table.rows] == ["fp32", "bf16", "fp32", "fp32-unknown"]


def test_models_in_one_setting_have_no_table_of_settings() -> None:
    """Nor does it take room where there is nothing to compare."""
    assert settings_section([_record("alexnet", range(565)), _record("vgg16", range(716))]) is None


def test_timings_in_several_settings_tell_the_speed_up() -> None:
    """It is against the first setting in batches of the same size; a timing without one has a dash."""
    records = [
        timing_record("alexnet", seconds=[0.25]),
        timing_record("alexnet", seconds=[0.1], id="alexnet-IMAGENET1K_V1-bf16-b64", precision="bf16"),
        timing_record("alexnet", seconds=[0.5], id="alexnet-IMAGENET1K_V1-fp32-b1", batch_size=1),
    ]

    head, *rows, legend = throughput_section(records[::-1], []).body()

    assert "speed-up" in head.split()
    assert ["-", "2.50", "-"] == [row.split()[2] for row in rows]
    assert "speed-up: against the model's first setting, in batches of one size" in legend


def test_a_warning_of_several_lines_is_several_lines() -> None:
    """So that Markdown and a page show them as such."""
    warned = Check("baseline", "warned", "other pixels\n    0 answers changed")

    section = baseline_section([_record("alexnet", range(565), checks=(warned,))])

    assert section is not None
    assert section.lines == ("warning: alexnet-IMAGENET1K_V1-fp32: baseline: other pixels", "    0 answers changed")
