"""``imagenet-gate compare``: what differs between two runs, and the series of many; imports no torch."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from harness.cli import Commands, write_text
from harness.compare.compare import FAILURES, MAX_SLOWDOWN, NOISE, Comparison, check_same_images
from harness.compare.trial import Trial, try_speed
from harness.records.results import plain
from harness.records.run_folder import read_run
from harness.records.speed import SpeedChange, SpeedTrial
from harness.report import comparison as tables
from harness.report.report import Judging
from harness.report.sections import as_markdown, as_text
from harness.verdict import Check, judge_speed, judge_trial

_Failures: TypeAlias = Sequence[tuple[str, str]]


def add(commands: Commands) -> None:
    """Declare the command."""
    command = commands.add_parser(
        "compare",
        help="show what differs between two runs, or in a series of many; exit 1 if something fails",
        description="Compare two runs: environment, accuracy image by image, by the rules of pytest --baseline, and "
        "speed with an interval. Exit 1 if something fails, 2 if they cannot be compared. With more than two runs, "
        "print what each measured, by case, and compare each with the first and with the one before.",
    )
    runs = "OLD and NEW: folders of --results, or files of --benchmark-json; more than two give a series"
    given = command.add_mutually_exclusive_group(required=True)
    given.add_argument("runs", metavar="RUN", type=Path, nargs="*", default=[], help=runs)
    several = "instead: several old runs, whose speed is judged by the differences between pairs of runs"
    given.add_argument("--old", metavar="RUN", type=Path, nargs="+", default=[], help=several)
    command.add_argument("--new", metavar="RUN", type=Path, nargs="+", default=[], help="as many new ones")
    add_judging(command)
    markdown = "write the report to this file too, as Markdown (default: none)"
    command.add_argument("--markdown", metavar="FILE", type=Path, help=markdown)
    values = "write the verdicts to this file too; with - print them, in place of the report (default: none)"
    command.add_argument("--json", metavar="FILE", type=Path, help=values)
    command.set_defaults(run=_compare, usage=command.error)


def add_judging(command: argparse.ArgumentParser) -> None:
    """Declare the options by which a comparison is judged."""
    failures = f"what counts as a failure, comma-separated: {', '.join(FAILURES)}, or 'none' (default: all three)"
    command.add_argument("--fail-on", metavar="LIST", type=_kinds, default=FAILURES, help=failures)
    add_max_slowdown(command)
    noise = "by how much the speed of two runs of the same software differs on this machine (default: 7%%)"
    command.add_argument("--noise", metavar="PERCENT", type=_percent, default=NOISE, help=noise)
    drift = command.add_mutually_exclusive_group()
    strict = "fail also where something differs that changed no prediction beyond noise, whatever explains it"
    drift.add_argument("--strict-drift", action="store_true", help=strict)
    allow = "warn only where something differs that changed no prediction beyond noise, and nothing named explains it"
    drift.add_argument("--allow-drift", action="store_true", help=allow)

    floor = "file written by imagenet-gate noise -o: the noise floor of this machine (default: the project's)"
    command.add_argument("--noise-floor", metavar="FILE", type=Path, help=floor)


def add_max_slowdown(command: argparse.ArgumentParser) -> None:
    """Declare the options by which speed is judged."""
    slowdown = "how much longer a call may take if that is significant (default: 5%%)"
    command.add_argument("--max-slowdown", metavar="PERCENT", type=_percent, default=MAX_SLOWDOWN, help=slowdown)
    strict_speed = "fail also where a timing is not judged: it was disturbed, or more runs are needed to tell"
    command.add_argument("--strict-speed", action="store_true", help=strict_speed)


def judging_of(options: argparse.Namespace) -> Judging:
    """Return the values of the options by which a comparison is judged."""
    return Judging(
        options.fail_on,
        options.max_slowdown,
        options.noise,
        options.strict_drift,
        options.allow_drift,
        options.noise_floor,
        options.strict_speed,
    )


def _compare(options: argparse.Namespace) -> int:
    if bool(options.old) != bool(options.new) or (len(options.runs) < 2 and not options.old):
        options.usage("give two runs, OLD and NEW, or more for a series, or else --old RUN RUN ... --new RUN RUN ...")
    judged: list[tuple[Comparison | Trial, _Failures]]
    runs, judging = [read_run(path) for path in options.runs], judging_of(options)
    if options.old:
        trial = try_speed([read_run(path) for path in options.old], [read_run(path) for path in options.new])
        failures = tuple(trial.failures(judging.fail_on, judging.max_slowdown, judging.strict_speed))
        sections, judged = tables.trial_sections(trial, failures, judging.max_slowdown), [(trial, failures)]
    elif len(runs) > 2:
        check_same_images(*runs)
        steps = [
            tables.Step(new, old, *judging.compare(runs[old], runs[new])) for new, old in tables.steps_of(len(runs))
        ]
        sections = [*tables.series_sections(runs), *tables.steps_sections(runs, steps, judging.fail_on)]
        judged = [(step.comparison, step.failures) for step in steps]
    else:
        comparison, failures = judging.compare(*runs)
        sections, judged = tables.comparison_sections(comparison, failures, judging.fail_on), [(comparison, failures)]
    # In a browser a report is read from the top, in a terminal from the bottom.
    for_browser = [sections[-1], *sections[:-1]]
    found = [_values(compared, failures, judging.max_slowdown) for compared, failures in judged]
    failed = any(failures for _, failures in judged)
    text = json.dumps({"failed": failed, "comparisons": found}, indent=1) + "\n"
    if options.json == Path("-"):
        print(text, end="")
    else:
        print(*as_text(sections), sep="\n")
        write_text("--json", options.json, text) if options.json else None
    if options.markdown is not None:
        write_text("--markdown", options.markdown, "\n".join(as_markdown(for_browser)) + "\n")
    return 1 if failed else 0


def _values(compared: Comparison | Trial, failures: _Failures, max_slowdown: float) -> dict[str, Any]:
    """Return what is judged, as plain values; the cases as in ``record.json``."""
    timings: list[tuple[str, SpeedChange | SpeedTrial, Check]]
    if isinstance(compared, Trial):
        old, new, cases = compared.old, compared.new, []
        timings = [(tried.id, tried.evidence, judge_trial(tried.evidence, max_slowdown)) for tried in compared.timings]
    else:
        old, new, cases = (compared.old,), (compared.new,), [plain(pair.new) for pair in compared.accuracy]
        timings = [(pair.new.id, pair.evidence, judge_speed(pair.evidence, max_slowdown)) for pair in compared.speed]
    return {
        "old": [str(run.path) for run in old],
        "new": [str(run.path) for run in new],
        "failures": [{"id": identity, "reason": reason} for identity, reason in failures],
        "missing": dict(compared.missing),
        "cases": cases,
        "timings": [
            {"id": identity, **msgspec.to_builtins(evidence), "outcome": check.outcome, "detail": check.detail}
            for identity, evidence, check in timings
        ],
    }


def _kinds(text: str) -> tuple[str, ...]:
    kinds = () if text == "none" else tuple(part.strip() for part in text.split(","))
    if unknown := [kind for kind in kinds if kind not in FAILURES]:
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(FAILURES)}, or none; found {unknown[0]!r}")
    return kinds


def _percent(text: str) -> float:
    """Return a percentage, such as ``5%`` or ``5``, as a share."""
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a percentage such as 5%, found {text!r}")
    return value / 100
