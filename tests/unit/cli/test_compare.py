"""Tests of ``imagenet-gate compare``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from harness.cli.main import main
from harness.records.results import BENCHMARK_KEY, CaseResult, Missing, Record, plain
from tests.records import (
    case_result,
    counted,
    expected,
    predictions_of,
    run_record,
    swapped,
    timing_result,
    write_run,
)

FAILED = expected(1000, 600, 900)
SLOW, FAST = timing_result(seconds=[1.2, 1.21, 1.22] * 3), timing_result(seconds=[1.0, 1.01, 1.02] * 3)


def _write(path: Path, record: Record) -> str:
    """Write a run as pytest-benchmark's JSON, which holds no predictions, and return its path."""
    path.write_text(
        json.dumps(
            {
                "benchmarks": [
                    {"extra_info": timing.info(), "stats": {"data": list(timing.seconds)}} for timing in record.timings
                ],
                BENCHMARK_KEY: plain(msgspec.structs.replace(record, timings=())),
            }
        )
    )
    return str(path)


def _pair(tmp_path: Path, old: Record, new: Record) -> list[str]:
    return [_write(tmp_path / "old.json", old), _write(tmp_path / "new.json", new)]


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ([], 1),
        (["--max-slowdown=5%"], 1),
        (["--max-slowdown", "19"], 1),
        (["--max-slowdown=21%"], 0),
        (["--noise=30%"], 0),
        (["--fail-on=accuracy,missing"], 0),
        (["--fail-on", "none"], 0),
        (["--fail-on=speed"], 1),
    ],
)
def test_a_slowdown_fails_if_it_is_more_than_allowed(options: list[str], status: int, tmp_path: Path) -> None:
    """Here of 19.8 %."""
    paths = _pair(tmp_path, run_record([], [FAST]), run_record([], [SLOW]))

    assert main(["compare", *paths, *options]) == status


@pytest.mark.parametrize(("options", "status"), [([], 0), (["--strict-speed"], 1), (["--fail-on=accuracy"], 0)])
def test_a_disturbed_timing_is_counted_and_fails_if_that_is_asked_for(
    options: list[str], status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twice as slow in the median, with a range of 118 ms between the quartiles on a median of 130 ms."""
    disturbed = timing_result(seconds=[0.070, 0.071, 0.072, 0.130, 0.188, 0.190, 0.200])
    paths = _pair(tmp_path, run_record([], [timing_result(seconds=[0.065] * 7)]), run_record([], [disturbed]))

    assert main(["compare", *paths, *options]) == status
    shown = capsys.readouterr().out
    assert "  not judged\n" in shown
    assert f"\ndisturbed: {FAST.id}: in the new run the" in shown
    assert "; 1 of 1 timing not judged: disturbed" in shown.replace("\n ", "")


@pytest.mark.parametrize(
    ("cases", "options", "status"),
    [
        ([case_result()], [], 0),
        ([case_result(expected=FAILED)], [], 1),
        ([case_result(expected=FAILED)], ["--fail-on=speed,missing"], 0),
        ([], [], 1),
        ([], ["--fail-on=accuracy,speed"], 0),
        ([Missing(case_result().id, "error", "no weights")], ["--fail-on=missing"], 1),
    ],
)
def test_the_status_tells_of_accuracy_and_what_is_missing(
    cases: list[CaseResult | Missing], options: list[str], status: int, tmp_path: Path
) -> None:
    """0 where nothing fails that is asked for, else 1."""
    paths = _pair(tmp_path, run_record([case_result()]), run_record(cases))

    assert main(["compare", *paths, *options]) == status


def test_what_is_no_run_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence on stderr, status 2, nothing on stdout."""
    [path, _] = _pair(tmp_path, run_record(), run_record())

    status = main(["compare", path, str(tmp_path / "nowhere")])

    output, errors = capsys.readouterr()
    assert (status, output) == (2, "")
    sentence = "expected a run folder (--results) or its JSON (--benchmark-json), found nothing"
    assert errors == f"error: {tmp_path}/nowhere: {sentence}\n"


def test_many_runs_are_a_series_and_fail_as_pairs_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What each run measured, by case, and how it compares with the first and with the one before."""
    monkeypatch.chdir(tmp_path)
    paths = [
        *_pair(Path(), run_record([case_result()], [FAST]), run_record([case_result()], [SLOW])),
        _write(Path("third.json"), run_record([case_result("vgg16")], [FAST], torch="2.14.1")),
    ]

    status = main(["compare", *paths])

    assert status == 1
    assert capsys.readouterr().out.splitlines() == [
        "3 runs",
        "[1] old.json, 2026-11-24 20:00, torch 2.9.1, torchvision 0.24.1",
        "[2] new.json, 2026-11-24 20:00, torch 2.9.1, torchvision 0.24.1",
        "[3] third.json, 2026-11-24 20:00, torch 2.14.1, torchvision 0.24.1",
        "",
        "top-1, correct  [1]  [2]  [3]",
        "resnet18        700  700    -",
        "vgg16             -    -  700",
        "",
        "images/s       [1]   [2]   [3]",
        "resnet18 b32  31.7  26.4  31.7",
        "",
        "run  outcome  against [1]  changed  against the one before  changed",
        "[1]  passed   -                  -  -                             -",
        "[2]  passed   FAILED             -  FAILED                        -",
        "[3]  passed   FAILED             -  FAILED                        -",
        "changed: images with another top-1 prediction, in brackets those beyond noise,",
        "  which arithmetic alone cannot explain",
        "",
        "FAILED: 2 of 2 later runs",
        "[2] against [1]: resnet18-IMAGENET1K_V1-fp32-b32: takes 19.8 % longer, allowed",
        "  5 %",
        "[3] against [1]: resnet18-IMAGENET1K_V1-fp32: is not in the new run",
        "[3] against [2]: resnet18-IMAGENET1K_V1-fp32: is not in the new run",
    ]
    assert main(["compare", *paths, "--fail-on=none"]) == 0
    assert main(["compare", *paths[:2], paths[0]]) == 1  # though the last run is as the first


def test_a_series_shows_what_changed_since_the_first_and_since_the_run_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two of 1,000 predictions changed in the second run, one of them back in the third."""
    monkeypatch.chdir(tmp_path)
    known, paths = predictions_of(case_result()), []
    for name, changed in (("a", []), ("b", [3, 900]), ("c", [3])):
        predictions = swapped(known, changed)
        paths.append(str(write_run(Path(name), run_record([counted(predictions)]), resnet18=predictions).path))

    assert main(["compare", *paths]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if line.startswith(("[2]  ", "[3]  "))] == [
        ["[2]", "passed", "FAILED", "2", "(2)", "FAILED", "2", "(2)"],
        ["[3]", "passed", "FAILED", "1", "(1)", "FAILED", "1", "(1)"],
    ]
    assert "FAILED: 2 of 2 later runs" in lines
    assert main(["compare", paths[0], paths[0], paths[0]]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "passed"


@pytest.mark.parametrize(
    ("options", "verdict"),
    [
        ([], "FAILED: 1 of 1 result"),
        (["--fail-on=accuracy,speed"], "passed; ignored: memory, compile, missing"),
        (["--fail-on=none"], "passed; ignored: accuracy, speed, memory, compile, missing"),
    ],
)
def test_what_is_not_counted_is_said(
    options: list[str], verdict: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a case has vanished, "passed" alone would read as if nothing had; in Markdown the verdict comes first."""
    pair = _pair(tmp_path, run_record([case_result()]), run_record())

    main(["compare", *pair, *options, "--markdown", str(tmp_path / "report.md")])

    assert verdict in capsys.readouterr().out.splitlines()
    assert f"### {verdict}" == (tmp_path / "report.md").read_text().splitlines()[0]


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
    torch: str, options: list[str], status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Logits moved beyond the noise floor, while no prediction changed; the options turn either way."""
    known = predictions_of(case_result())
    assert known.logits is not None
    moved = replace(known, logits=known.logits * np.float32(1.01))
    paths = [
        str(write_run(tmp_path / name, run_record([case_result()], torch=version), resnet18=predictions).path)
        for name, predictions, version in (("old", known, "2.9.1"), ("new", moved, torch))
    ]

    assert main(["compare", *paths, *options]) == status
    assert ("passed", "FAILED: 1 of 1 result")[status] in capsys.readouterr().out


def test_a_case_is_paired_with_its_model_in_another_setting(tmp_path: Path) -> None:
    """As by pytest --baseline, so that no result is missing: in fp32, in either order; the same setting first."""
    fp32, bf16, other = (
        case_result(),
        case_result(id="resnet18-IMAGENET1K_V1-bf16", precision="bf16"),
        case_result("vgg16"),
    )
    old, new, both = (run_record(cases) for cases in ([fp32, other], [bf16, other], [fp32, bf16, other]))

    assert 0 == main(["compare", *_pair(tmp_path, old, new), "--json", str(tmp_path / "it.json")])
    [compared] = json.loads((tmp_path / "it.json").read_text())["comparisons"]
    assert [bf16.id, other.id] == [case["id"] for case in compared["cases"]]
    assert 0 == main(["compare", *_pair(tmp_path, old, both)])
    assert 1 == main(["compare", *_pair(tmp_path, both, old)])  # it lacks bf16
    lower = case_result(counts=(1000, 600, 800), id=bf16.id, precision="bf16")
    pair = _pair(tmp_path, run_record([fp32, lower]), run_record([lower]))
    assert 0 == main(["compare", *pair, "--fail-on=accuracy"])
    contiguous = case_result(id="resnet18-IMAGENET1K_V1-fp32-contiguous", memory_format="contiguous")
    for setting, found in ((contiguous, [0, 0]), (bf16, [1, 1])):  # fp32 is not judged by the noise floor of bf16
        pair = _pair(tmp_path, old, run_record([setting, other]))
        assert [0, *found] == [main(["compare", *runs]) for runs in (pair, pair[::-1], [*pair, pair[0]])]


def test_the_verdicts_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of two runs, printed in place of the report; of a series one comparison for each that the report has."""
    one, slower = run_record([case_result()], [FAST]), run_record([case_result(expected=FAILED)], [SLOW])
    paths = _pair(tmp_path, one, slower)

    assert 1 == main(["compare", *paths, "--json", "-"])

    found = json.loads(capsys.readouterr().out)
    [compared] = found["comparisons"]
    assert (True, [paths[0]], [paths[1]]) == (found["failed"], compared["old"], compared["new"])
    assert [case_result().id, FAST.id] == [failure["id"] for failure in compared["failures"]]
    assert ("failed", "top-1") == (compared["cases"][0]["outcome"], compared["cases"][0]["checks"][0]["name"])
    timing, memory = compared["timings"]
    assert ("memory", "passed", 1.0) == (memory["kind"], memory["outcome"], memory["ratio"])
    assert (FAST.id, "failed", round(1.21 / 1.01, 6)) == (timing["id"], timing["outcome"], round(timing["ratio"], 6))
    assert main(["compare", *paths, "--json", "-", "--fail-on=none"]) == 0
    assert not json.loads(capsys.readouterr().out)["failed"]

    assert 1 == main(["compare", *paths, paths[0], "--json", str(tmp_path / "series.json")])
    assert "FAILED: 1 of 2 later runs" in capsys.readouterr().out
    series = json.loads((tmp_path / "series.json").read_text())["comparisons"]
    assert [(0, 1), (0, 0), (1, 0)] == [(paths.index(step["old"][0]), paths.index(step["new"][0])) for step in series]
    trial = ["compare", "--old", paths[0], paths[0], "--new", paths[1], paths[1], "--json", "-"]
    assert main(trial) == 1
    [compared] = json.loads(capsys.readouterr().out)["comparisons"]
    assert ([], "failed") == (compared["cases"], compared["timings"][0]["outcome"])
