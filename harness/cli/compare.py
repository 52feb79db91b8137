"""``imagenet-gate compare``: what differs between two runs, and the series of many; imports no torch."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec

from harness.cli import Commands, write_text
from harness.compare.compare import FAILURES, LIMIT_OPTIONS, NOISE, Comparison, check_same_images
from harness.compare.trial import Trial, try_speed
from harness.records.results import plain
from harness.records.run_folder import read_run
from harness.records.speed import LIMITS, Limits
from harness.report import comparison as tables
from harness.report.report import Judging
from harness.report.sections import Section, as_markdown, as_text


def add(commands: Commands) -> None:
    """Declare the command."""
    command = commands.add_parser(
        "compare",
        help="show what differs between two runs, or in a series of many; exit 1 if something fails",
        description="Compare two runs: environment, accuracy image by image, by the rules of pytest --baseline, and "
        "speed with an interval. Exit 1 if something fails, 2 if they cannot be compared. With more than two runs, "
        "print what each measured, by case, and compare each with the first and with the one before.",
        usage="%(prog)s OLD NEW [RUN ...] [options], or --old RUN ... --new RUN ...",
    )
    runs = "OLD and NEW: folders of --results, or files of --benchmark-json; more than two give a series"
    given = command.add_mutually_exclusive_group(required=True)
    given.add_argument("runs", metavar="RUN", type=Path, nargs="*", default=[], help=runs)
    several = "instead: several old runs, whose speed is judged by the differences between pairs of runs"
    given.add_argument("--old", metavar="RUN", type=Path, nargs="+", default=[], help=several)
    command.add_argument("--new", metavar="RUN", type=Path, nargs="+", default=[], help="the same number of new runs")
    add_judging(command)
    markdown = "write the report to this file too, as Markdown (default: none)"
    command.add_argument("--markdown", metavar="FILE", type=Path, help=markdown)
    values = "write the verdicts to this file too; use - to print them instead of the report (default: none)"
    command.add_argument("--json", metavar="FILE", type=Path, help=values)
    command.set_defaults(run=_compare, usage=command.error)


def add_judging(command: argparse.ArgumentParser) -> None:
    """Declare the options by which a comparison is judged."""
    add_limits(command)
    noise = "how much speed varies between runs of the same software on this machine (default: 7%%)"
    command.add_argument("--noise", metavar="PERCENT", type=_percent, default=NOISE, help=noise)
    drift = command.add_mutually_exclusive_group()
    strict = "also fail on differences that changed no prediction beyond noise, even where they are explained"
    drift.add_argument("--strict-drift", action="store_true", help=strict)
    allow = "only warn about unexplained differences that changed no prediction beyond noise"
    drift.add_argument("--allow-drift", action="store_true", help=allow)
    floor = "file written by imagenet-gate noise -o: the noise floor of this machine (default: the project's)"
    command.add_argument("--noise-floor", metavar="FILE", type=Path, help=floor)


def add_limits(command: argparse.ArgumentParser) -> None:
    """Declare what counts as a failure, and the limits of what timings may take."""
    failures = f"what counts as a failure, comma-separated: {', '.join(FAILURES)}, or 'none' (default: all)"
    command.add_argument("--fail-on", metavar="LIST", type=_kinds, default=FAILURES, help=failures)
    for (option, what), default in zip(LIMIT_OPTIONS.items(), LIMITS, strict=True):
        shown = f"{what} (default: {100 * default:g}%%)"
        command.add_argument(option, metavar="PERCENT", type=_percent, default=default, help=shown)
    strict_speed = "also fail if a timing is not judged, since it was disturbed or more runs are needed to tell"
    command.add_argument("--strict-speed", action="store_true", help=strict_speed)


def judging_of(options: argparse.Namespace) -> Judging:
    """Return the values of the options by which a comparison is judged."""
    given = {**vars(options), "limits": limits_of(options)}
    return Judging(**{field.name: given[field.name] for field in fields(Judging)})


def limits_of(options: argparse.Namespace) -> Limits:
    """Return the limits that were given."""
    return Limits(options.max_slowdown, options.max_memory, options.max_compile_time)


def _compare(options: argparse.Namespace) -> int:
    if bool(options.old) != bool(options.new) or (len(options.runs) < 2 and not options.old):
        options.usage("give two runs, OLD and NEW, or more for a series, or else --old RUN RUN ... --new RUN RUN ...")
    judged: list[tuple[Comparison | Trial, Sequence[tuple[str, str]]]]
    runs, judging = [read_run(path) for path in options.runs], judging_of(options)
    if options.old:
        trial = try_speed([read_run(path) for path in options.old], [read_run(path) for path in options.new])
        failures = tuple(trial.failures(judging.fail_on, judging.limits, judging.strict_speed))
        sections, judged = tables.trial_sections(trial, failures, judging.limits), [(trial, failures)]
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
    failed = any(failures for _, failures in judged)
    if options.json is not None:
        found = [_values(compared, failures, judging.limits) for compared, failures in judged]
        text = json.dumps({"failed": failed, "comparisons": found}, indent=1) + "\n"
        print(text, end="") if options.json == Path("-") else write_text("--json", options.json, text)
    show(sections, options.markdown, prints=options.json != Path("-"))
    return 1 if failed else 0


def show(sections: Sequence[Section], markdown: Path | None, *, prints: bool = True) -> None:
    """Print a report, and write it to a file; a browser shows its beginning, and a terminal its end."""
    if prints:
        print(*as_text(sections), sep="\n")
    if markdown is not None:
        write_text("--markdown", markdown, "\n".join(as_markdown([sections[-1], *sections[:-1]])) + "\n")


def _values(compared: Comparison | Trial, failures: Sequence[tuple[str, str]], limits: Limits) -> dict[str, Any]:
    """Return what is judged, as plain values; the cases as in ``record.json``."""
    if isinstance(compared, Trial):
        old, new, cases = compared.old, compared.new, []
    else:
        old, new, cases = (compared.old,), (compared.new,), [plain(pair.new) for pair in compared.accuracy]
    timings = [(timing, timing.judged(limits)) for timing in compared.timings]
    return {
        "old": [str(run.path) for run in old],
        "new": [str(run.path) for run in new],
        "failures": [{"id": identity, "reason": reason} for identity, reason in failures],
        "missing": dict(compared.missing),
        "cases": cases,
        "timings": [
            {"id": one.id, **msgspec.to_builtins(one.evidence), "outcome": check.outcome, "detail": check.detail}
            for one, check in timings
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
