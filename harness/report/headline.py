"""The verdict on a run in one line, and the reasons if it failed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from harness.records.results import ERROR, Record
from harness.verdict import BASELINE, FAILED, PASSED, WARNING


class Headline(NamedTuple):
    """The verdict on a run: its outcome, in one line, and the id and reason of each failure, or else each warning."""

    outcome: str
    sentence: str
    reasons: tuple[tuple[str, str], ...] = ()


def headline(
    record: Record, failures: Sequence[tuple[str, str]] = (), against: str = "", caveats: Sequence[str] = ()
) -> Headline:
    """Return the verdict on a run's own checks, and on a comparison: its failures, with which run, and its caveats."""
    results = {result.id for result in (*record.cases, *record.timings)} | {result.id for result in record.missing}
    if not results:
        return Headline(FAILED, "FAILED: nothing was measured")
    own = [(missing.id, f"{missing.outcome}{missing.detail and f': {missing.detail}'}") for missing in record.missing]
    own += _checks(record, FAILED)
    failed = {identity for identity, _ in own}
    reasons = own + [(identity, why) for identity, why in failures if identity not in failed]
    but = "".join(f"; {caveat}" for caveat in caveats)
    if reasons:
        identity, why = reasons[0]
        # The first sentence without its example.
        short = why.partition("\n")[0].partition(". ")[0].partition(", such as")[0].removeprefix(f"{ERROR}: ")
        wrong = {identity for identity, _ in reasons}
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        # A result that this run lacks counts as well.
        sentence = f"FAILED: {len(wrong)} of {_counted(len(wrong | results), 'result')}: {identity}: {short}{more}{but}"
        return Headline(FAILED, sentence, tuple(reasons))
    warnings = tuple(_checks(record, WARNING))
    sentence = f"PASSED: {_measured(record)}, torch {record.environment.torch}"
    if against:
        sentence += f"; no failure compared with {against}{but}"
    if warnings:
        sentence += f"; {_counted(len(warnings), 'warning')}"
    return Headline(WARNING if warnings else PASSED, sentence, warnings)


def _checks(record: Record, outcome: str) -> Iterator[tuple[str, str]]:
    """Yield the checks with an outcome; of a case the baseline first: it has the diagnosis, the others the effect."""
    for case in record.cases:
        checks = [check for check in case.verdict.checks if check.outcome == outcome]
        for check in sorted(checks, key=lambda check: check.name != BASELINE):
            yield case.id, f"{check.name}: {check.detail}"


def _measured(record: Record) -> str:
    counts = {"case": len(record.cases), "timing": len(record.timings)}
    measured = " and ".join(_counted(number, noun) for noun, number in counts.items() if number)
    if (dataset := record.dataset) is None:
        return measured
    whole = "" if dataset.images == dataset.total else f" of {dataset.total:,}"
    return f"{measured} on {dataset.name}, {dataset.images:,}{whole} images"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
