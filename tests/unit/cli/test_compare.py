"""Tests of ``imagenet-gate compare``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from harness.bisect.search import difference
from harness.records.results import BENCHMARK_KEY, Missing, Record, plain
from tests.records import case_result, counted, expected, predictions_of, run_record, swapped, timing_result, write_run
from tests.unit.cli.conftest import CommandLine

CASE = case_result()
FAST, SLOW = timing_result(seconds=[1.0, 1.01, 1.02] * 3), timing_result(seconds=[1.2, 1.21, 1.22] * 3)
DISTURBED = timing_result(seconds=[2.0, 2.0, 2.0, 4.0, 6.0, 6.0, 6.0])

ONE = run_record([CASE])
WRONG = run_record([case_result(expected=expected(1000, 600, 900))])
LOST = run_record([Missing(CASE.id, "error", "no weights")])
FASTER, SLOWER, UNSTEADY = (run_record([], [timing]) for timing in (FAST, SLOW, DISTURBED))


def _json(name: str, record: Record) -> str:
    """Write a run as pytest-benchmark's JSON, which holds no predictions, and return its name."""
    timings = [{"extra_info": one.info(), "stats": {"data": list(one.seconds)}} for one in record.timings]
    content = {"benchmarks": timings, BENCHMARK_KEY: plain(msgspec.structs.replace(record, timings=()))}
    Path(name).write_text(json.dumps(content))
    return name


def _pair(old: Record, new: Record) -> list[str]:
    return [_json("old.json", old), _json("new.json", new)]


@pytest.mark.parametrize(
    ("old", "new", "options", "status"),
    [
        (FASTER, SLOWER, [], 1),  # by 19.8%
        (FASTER, SLOWER, ["--max-slowdown", "19"], 1),
        (FASTER, SLOWER, ["--max-slowdown=21%"], 0),
        (FASTER, SLOWER, ["--noise=30%"], 0),
        (FASTER, SLOWER, ["--fail-on=accuracy,missing"], 0),
        (FASTER, SLOWER, ["--fail-on", "none"], 0),
        (FASTER, UNSTEADY, [], 0),
        (FASTER, UNSTEADY, ["--strict-speed"], 1),
        (ONE, WRONG, [], 1),
        (ONE, WRONG, ["--fail-on=speed,missing"], 0),
        (ONE, LOST, ["--fail-on=missing"], 1),
    ],
)
def test_the_status_is_1_where_something_fails_that_is_asked_for(
    old: Record, new: Record, options: list[str], status: int, cli: CommandLine
) -> None:
    """Speed beyond noise and limit, a disturbed timing only if that is asked for, accuracy, and what is missing."""
    assert status == cli("compare", *_pair(old, new), *options).status


SERIES = """\
3 runs
[1] old.json, 2026-11-24 20:00, torch 2.9.1, torchvision 0.24.1
[2] new.json, 2026-11-24 20:00, torch 2.9.1, torchvision 0.24.1
[3] third.json, 2026-11-24 20:00, torch 2.14.1, torchvision 0.24.1

top-1, correct  [1]  [2]  [3]
resnet18        700  700    -
vgg16             -    -  700

images/s       [1]   [2]   [3]
resnet18 b32  31.7  26.4  31.7

run  outcome  against [1]  changed  against the one before  changed
[1]  passed   -                  -  -                             -
[2]  passed   FAILED             -  FAILED                        -
[3]  passed   FAILED             -  FAILED                        -
changed: images with a different top-1 prediction, in brackets those beyond
  noise, which arithmetic alone cannot explain

FAILED: 2 of 2 later runs
[2] against [1]: resnet18-IMAGENET1K_V1-fp32-b32: takes 19.8% longer, allowed 5%
[3] against [1]: resnet18-IMAGENET1K_V1-fp32: missing from the new run
[3] against [2]: resnet18-IMAGENET1K_V1-fp32: missing from the new run
"""


def test_many_runs_are_a_series_and_fail_as_pairs_do(cli: CommandLine) -> None:
    """What each run measured, by case, and how it compares with the first and with the one before."""
    paths = _pair(run_record([CASE], [FAST]), run_record([CASE], [SLOW]))
    third = _json("third.json", run_record([case_result("vgg16")], [FAST], torch="2.14.1"))

    assert (1, SERIES, "") == cli("compare", *paths, third)
    assert 0 == cli("compare", *paths, third, "--fail-on=none").status
    assert 1 == cli("compare", *paths, paths[0]).status  # though the last run is as the first


def test_a_series_shows_what_changed_since_the_first_and_since_the_run_before(cli: CommandLine) -> None:
    """Two of 1,000 predictions changed in the second run, one of them back in the third."""
    for name, changed in (("a", []), ("b", [3, 900]), ("c", [3])):
        predictions = swapped(predictions_of(CASE), changed)
        write_run(Path(name), run_record([counted(predictions)]), resnet18=predictions)

    found = cli("compare", "a", "b", "c")

    assert [
        ["[2]", "passed", "FAILED", "2", "(2)", "FAILED", "2", "(2)"],
        ["[3]", "passed", "FAILED", "1", "(1)", "FAILED", "1", "(1)"],
    ] == [line.split() for line in found.lines if line.startswith(("[2]  ", "[3]  "))]
    assert (1, True) == (found.status, "FAILED: 2 of 2 later runs" in found.lines)
    same = cli("compare", "a", "a", "a")
    assert (0, "passed") == (same.status, same.lines[-1])


def test_what_is_not_paired_or_not_counted_is_said(cli: CommandLine) -> None:
    """Where a case has vanished, "passed" alone would read as if nothing had; in Markdown the verdict comes first."""
    two = run_record([CASE, case_result("vgg16")])

    found = cli("compare", *_pair(two, ONE), "--fail-on=accuracy,speed", "--markdown=report.md")

    verdict = "passed; ignored: memory, compile, missing"
    assert (0, verdict) == (found.status, found.lines[-1])
    reason = "not paired: counts only: a JSON file holds no\n  predictions; compare the run folders of --results"
    assert f"{CASE.id} {reason}\n" in found.out
    assert f"### {verdict}" == Path("report.md").read_text().splitlines()[0]


@pytest.mark.parametrize(
    ("torch", "options", "status"),
    [
        ("2.9.1", [], 1),
        ("2.9.1", ["--allow-drift"], 0),
        ("2.14.1", [], 0),
        ("2.14.1", ["--strict-drift"], 1),
    ],
)
def test_drift_fails_unless_something_named_explains_it(
    torch: str, options: list[str], status: int, cli: CommandLine
) -> None:
    """Logits moved beyond the noise floor, while no prediction changed; a bisection looks for it in any case."""
    known = predictions_of(CASE)
    assert known.logits is not None
    old = write_run(Path("old"), ONE)
    moved = replace(known, logits=known.logits * np.float32(1.01))
    new = write_run(Path("new"), run_record([CASE], torch=torch), resnet18=moved)

    found = cli("compare", "old", "new", *options)

    assert status == found.status
    assert ("passed", "FAILED: 1 of 1 result")[status] in found.out
    assert (True, "") == ("arithmetic" in difference(old, new), difference(old, old))


def test_the_verdicts_as_json(cli: CommandLine) -> None:
    """Printed in place of the report, or in a file beside it; one comparison for each that the report has."""
    paths = old, new = _pair(run_record([CASE], [FAST]), run_record(WRONG.cases, [SLOW]))

    found = json.loads(cli("compare", *paths, "--json", "-").out)
    series = cli("compare", *paths, old, "--json=series.json")
    [trial] = json.loads(cli("compare", "--old", old, old, "--new", new, new, "--json=-").out)["comparisons"]

    [compared] = found["comparisons"]
    assert (True, [old], [new]) == (found["failed"], compared["old"], compared["new"])
    assert [CASE.id, FAST.id] == [failure["id"] for failure in compared["failures"]]
    assert ("failed", "top-1") == (compared["cases"][0]["outcome"], compared["cases"][0]["checks"][0]["name"])
    timing, memory = compared["timings"]
    assert ("memory", "passed", 1.0) == (memory["kind"], memory["outcome"], memory["ratio"])
    assert (FAST.id, "failed", round(1.21 / 1.01, 6)) == (timing["id"], timing["outcome"], round(timing["ratio"], 6))
    assert not json.loads(cli("compare", *paths, "--json=-", "--fail-on=none").out)["failed"]
    assert (1, True) == (series.status, "FAILED: 1 of 2 later runs" in series.lines)
    steps = json.loads(Path("series.json").read_text())["comparisons"]
    assert [([old], [new]), ([old], [old]), ([new], [old])] == [(step["old"], step["new"]) for step in steps]
    assert ([], "failed") == (trial["cases"], trial["timings"][0]["outcome"])
