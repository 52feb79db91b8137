"""Runs -> a report: the newest run's verdict, its differences from an earlier run, and the series of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from harness.baseline.noise import read_noise_floors
from harness.compare.compare import FAILURES, LIMIT_OPTIONS, NOISE, Comparison, check_same_images, compare
from harness.records.evidence import Policy
from harness.records.results import ERROR, Record
from harness.records.run_folder import Run
from harness.records.speed import LIMITS, Limits
from harness.report.comparison import caveats_of, differences, environment_section, series_sections
from harness.report.run import run_sections
from harness.report.sections import Section, counted, reason_lines, reasons
from harness.verdict import FAILED, PASSED, WARNING

_SERIES = 3


@dataclass(frozen=True)
class Judging:
    """How a comparison is judged: the options of ``imagenet-gate compare``, percentages as shares."""

    fail_on: tuple[str, ...] = FAILURES
    limits: Limits = LIMITS
    noise: float = NOISE
    strict_drift: bool = False
    allow_drift: bool = False
    noise_floor: Path | None = None  # file of measured noise floors
    strict_speed: bool = False

    def compare(self, old: Run, new: Run) -> tuple[Comparison, tuple[tuple[str, str], ...]]:
        """Return a comparison, and the id and reason of each failure."""
        floors = {} if self.noise_floor is None else read_noise_floors(self.noise_floor).floors
        policy = Policy(strict_drift=self.strict_drift, allow_drift=self.allow_drift, noise_floors=floors)
        comparison = compare(old, new, self.noise, policy)
        return comparison, tuple(comparison.failures(self.fail_on, self.limits, self.strict_speed))

    def arguments(self) -> list[str]:
        """Return the options that differ from the defaults, as they are typed."""
        limits = zip(LIMIT_OPTIONS, self.limits, LIMITS, strict=True)
        given = {
            f"--fail-on={','.join(self.fail_on) or 'none'}": set(self.fail_on) != set(FAILURES),
            **{f"{option}={100 * limit:g}%": limit != default for option, limit, default in limits},
            f"--noise={100 * self.noise:g}%": self.noise != NOISE,
            "--strict-drift": self.strict_drift,
            "--strict-speed": self.strict_speed,
            "--allow-drift": self.allow_drift,
            f"--noise-floor={self.noise_floor}": self.noise_floor is not None,
        }
        return [argument for argument, differs in given.items() if differs]


class Headline(NamedTuple):
    """The verdict on a run: its outcome, in one line, and the id and reason of each failure, or else each warning."""

    outcome: str
    sentence: str
    reasons: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Report:
    """Runs, oldest first, the verdict on the newest, and its comparison with an earlier run, if there is one."""

    runs: tuple[Run, ...]
    headline: Headline
    comparison: Comparison | None = None
    judging: Judging = Judging()

    @property
    def newest(self) -> Run:
        """The newest run."""
        return self.runs[-1]

    @property
    def record(self) -> Record:
        """The newest run's record."""
        return self.newest.record

    @property
    def is_series(self) -> bool:
        """Whether there are enough runs for a series."""
        return len(self.runs) >= _SERIES


def report_on(
    runs: Sequence[Run],
    against: Run | None = None,
    judging: Judging = Judging(),
    others: Sequence[tuple[str, str]] = (),
) -> Report:
    """Return the report on runs, oldest first; the newest is compared with ``against``, or else with the one before.

    What fails by other checks is given by id and reason. A RecordError says why the runs cannot be compared.
    """
    if len(runs) >= _SERIES:
        check_same_images(*runs)
    *earlier, newest = runs
    old = against or (earlier[-1] if earlier else None)
    if old is None:
        return Report((newest,), headline(newest.record, others))
    comparison, failures = judging.compare(old, newest)
    compared_with = f"{old.path} (torch {old.record.environment.torch})"
    verdict = headline(newest.record, (*others, *failures), compared_with, caveats_of(comparison, judging.fail_on))
    return Report(tuple(runs), verdict, comparison, judging)


def headline(
    record: Record, failures: Sequence[tuple[str, str]] = (), against: str = "", caveats: Sequence[str] = ()
) -> Headline:
    """Return the verdict on a run's own checks, and on a comparison: its failures, with which run, and its caveats."""
    results = {result.id for result in (*record.cases, *record.timings)} | {result.id for result in record.missing}
    if not results:
        return Headline(FAILED, "FAILED: nothing was measured")
    own = [(missing.id, f"{missing.outcome}{missing.detail and f': {missing.detail}'}") for missing in record.missing]
    own += reasons(record.cases, FAILED)
    failed = {identity for identity, _ in own}
    wrong = own + [(identity, why) for identity, why in failures if identity not in failed]
    but = "".join(f"; {caveat}" for caveat in caveats)
    warnings = tuple(reasons(record.cases, WARNING))
    warned = f"; {counted(len(warnings), 'warning')}" if warnings else ""
    if wrong:
        identity, why = wrong[0]
        # The first sentence without its example.
        short = why.partition("\n")[0].partition(". ")[0].partition(", such as")[0].removeprefix(f"{ERROR}: ")
        ids = {identity for identity, _ in wrong}
        more = f" (and {len(ids) - 1} more)" if len(ids) > 1 else ""
        # A result that this run lacks counts as well.
        sentence = f"FAILED: {len(ids)} of {counted(len(ids | results), 'result')}: {identity}: {short}{more}{but}"
        return Headline(FAILED, f"{sentence}{warned}", tuple(wrong))
    counts = {"case": len(record.cases), "timing": len(record.timings)}
    measured = " and ".join(counted(number, noun) for noun, number in counts.items() if number)
    if dataset := record.dataset:
        whole = "" if dataset.images == dataset.total else f" of {dataset.total:,}"
        measured += f" on {dataset.name}, {dataset.images:,}{whole} images"
    sentence = f"PASSED: {measured}, torch {record.environment.torch}"
    if against:
        sentence += f"; compared with {against}{but}"
    return Headline(WARNING if warnings else PASSED, f"{sentence}{warned}", warnings)


def report_sections(report: Report) -> list[Section]:
    """Return the report in reading order: verdict, environment, the run's tables, comparison, series."""
    return [
        Section(report.headline.sentence, None, tuple(reason_lines(report.headline.reasons))),
        environment_section(report.newest, report.comparison),
        *run_sections(report.newest, details=True),
        *(differences(report.comparison, report.headline.reasons).values() if report.comparison else ()),
        *(series_sections(report.runs) if report.is_series else ()),
    ]
