"""Runs -> a report: the newest one's verdict, what differs from the one before it, and the series of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from harness.reporting.compare import FAILURES, MAX_SLOWDOWN, NOISE, Comparison, compare, refuse_different_splits
from harness.reporting.comparison_text import caveats_of, environment_section, sections_of, series_sections
from harness.reporting.headline import Headline, headline
from harness.reporting.record import Record
from harness.reporting.run_folder import Run
from harness.reporting.section import Section
from harness.reporting.table import Table
from harness.reporting.text import run_sections

_SERIES = 3


@dataclass(frozen=True)
class Report:
    """What is shown of runs.

    Attributes:
        runs: oldest first.
        comparison: of the newest with an earlier one; None where there is none.
        failures: of the comparison: id of each, and what it is.
        judged_by: options of ``compare`` that were not the default.
    """

    runs: tuple[Run, ...]
    headline: Headline
    comparison: Comparison | None
    failures: tuple[tuple[str, str], ...]
    judged_by: tuple[str, ...] = ()

    @property
    def record(self) -> Record:
        """The newest run's, with each image's answers where the run holds them."""
        return self.runs[-1].record

    @property
    def is_series(self) -> bool:
        """Whether there are enough runs to make one."""
        return len(self.runs) >= _SERIES


def report_on(
    runs: Sequence[Run], against: Run | None = None, *, fail_on: Sequence[str], max_slowdown: float, noise: float
) -> Report:
    """Return the report.

    Args:
        runs: oldest first.
        against: the run that the newest is compared with; None for the one before it.
        fail_on: what counts as a failure of the comparison, of ``compare.FAILURES``.
        max_slowdown: of a call's median time, as a share.
        noise: by how much the speed of two runs of the same software may differ, as a share.

    Raises:
        RecordError: they evaluated different images, or an image's answers cannot be read.
    """
    for one, other in combinations(runs, 2):
        refuse_different_splits(one, other)
    *earlier, newest = runs
    newest = newest.with_answers()
    old = against or (earlier[-1] if earlier else None)
    if old is None:
        return Report((newest,), headline(newest.record), None, ())
    comparison = compare(old, newest, noise)
    failures = tuple(comparison.failures(fail_on, max_slowdown))
    compared_with = f"{old.path} (torch {old.record.environment.torch})"
    found = headline(newest.record, failures, compared_with, caveats_of(comparison, fail_on))
    return Report((*earlier, newest), found, comparison, failures, tuple(_options(fail_on, max_slowdown, noise)))


def _options(fail_on: Sequence[str], max_slowdown: float, noise: float) -> Iterator[str]:
    if set(fail_on) != set(FAILURES):
        yield f"--fail-on={','.join(fail_on) or 'none'}"
    if max_slowdown != MAX_SLOWDOWN:
        yield f"--max-slowdown={100 * max_slowdown:g}%"
    if noise != NOISE:
        yield f"--noise={100 * noise:g}%"


def verdict_section(report: Report) -> Section:
    """Return the verdict and its reasons."""
    lines: list[str] = []
    for identity, why in report.headline.reasons:
        first, *rest = why.split("\n")
        lines += [f"{identity}: {first}", *(f"    {line.strip()}" for line in rest)]
    return Section(report.headline.sentence, None, tuple(lines))


def environment_of(report: Report) -> Section:
    """Return what changed in the environment, or what it is where there is one run."""
    if report.comparison is not None:
        return environment_section(report.comparison)
    facts = vars(report.record.environment).items()
    rows = [[name, str(fact)] for name, fact in facts if fact is not None]
    return Section("environment", Table(["", report.record.created[:16].replace("T", " ")], rows, frozenset({0, 1})))


def comparison_sections(report: Report) -> list[Section]:
    """Return what differs in accuracy and speed from the run before; nothing where there is none."""
    return [] if report.comparison is None else sections_of(report.comparison, report.failures)[1:-1]


def sections(report: Report) -> list[Section]:
    """Return the report as it is read from the top: verdict, environment, cases, comparison, series."""
    record = report.record
    return [
        verdict_section(report),
        environment_of(report),
        *run_sections(record.cases, record.timings, record.split),
        *comparison_sections(report),
        *(series_sections(report.runs) if report.is_series else []),
    ]
