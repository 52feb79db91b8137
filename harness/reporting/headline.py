"""What a run comes to, in one line, and the reasons if it is not well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.gate.baseline import BASELINE
from harness.gate.verdict import FAILED, HELD, WARNED, Check
from harness.reporting.case_record import CaseRecord
from harness.reporting.record import ERROR, Record, Unmeasured, measured_cases, measured_timings


@dataclass(frozen=True)
class Headline:
    """The verdict on a run.

    Attributes:
        outcome: ``held``, ``warned`` or ``failed``.
        sentence: the verdict in one line, with the first cause where it failed.
        reasons: id of each result that failed or is warned of, and why; lines may follow the first.
    """

    outcome: str
    sentence: str
    reasons: tuple[tuple[str, str], ...]


def headline(
    record: Record, failures: Sequence[tuple[str, str]] = (), against: str = "", caveats: Sequence[str] = ()
) -> Headline:
    """Return the verdict on a run: on its own checks, and on what a comparison with an earlier run found.

    Args:
        failures: of the comparison: id of each, and what it is.
        against: what it was compared with; empty if with nothing.
        caveats: what the comparison did not look at.
    """
    own = list(_failures(record))
    failed = {identity for identity, _ in own}
    reasons = own + [(identity, why) for identity, why in failures if identity not in failed]
    but = "".join(f"; {caveat}" for caveat in caveats)
    if not (record.cases or record.timings):
        return Headline(FAILED, "FAILED: nothing was measured", ())
    if reasons:
        identity, why = reasons[0]
        wrong = {identity for identity, _ in reasons}
        number = len(wrong)
        # What is missing from the run counts as well.
        results = len(wrong.union(result.id for result in (*record.cases, *record.timings)))
        more = f" (and {number - 1} more)" if number > 1 else ""
        sentence = f"FAILED: {number} of {_counted(results)}: {identity}: {_short(why)}{more}{but}"
        return Headline(FAILED, sentence, tuple(reasons))
    warnings = [(case.id, _told(check)) for case, check in _checks(record) if check.outcome == WARNED]
    sentence = f"HELD: {_measured(record)}{_where(record)}, torch {record.environment.torch}"
    if against:
        sentence += f"; no failure compared with {against}{but}"
    if warnings:
        sentence += f"; {_counted(len(warnings), 'warning')}"
    return Headline(WARNED if warnings else HELD, sentence, tuple(warnings))


def _failures(record: Record) -> Iterator[tuple[str, str]]:
    for result in (*record.cases, *record.timings):
        if isinstance(result, Unmeasured):
            yield result.id, f"{result.outcome}{f': {result.detail}' if result.detail else ''}"
        elif isinstance(result, CaseRecord) and not result.verdict.held:
            failed = [check for check in result.verdict.checks if not check.held]
            # The pairing names the cause, accuracy only the effect.
            if not failed:
                yield result.id, "was checked against nothing"
            yield from ((result.id, _told(check)) for check in sorted(failed, key=lambda check: check.name != BASELINE))


def _checks(record: Record) -> Iterator[tuple[CaseRecord, Check]]:
    for case in measured_cases(record.cases):
        yield from ((case, check) for check in case.verdict.checks)


def _told(check: Check) -> str:
    return f"{check.name}: {check.detail}"


def _short(why: str) -> str:
    """Return the first sentence without its example."""
    first = why.partition("\n")[0].partition(". ")[0]
    return first.partition(", such as")[0].removeprefix(f"{ERROR}: ")


def _measured(record: Record) -> str:
    cases, timings = len(measured_cases(record.cases)), len(measured_timings(record.timings))
    return " and ".join(
        [*([_counted(cases, "case")] if cases else []), *([_counted(timings, "timing")] if timings else [])]
    )


def _where(record: Record) -> str:
    split = record.split
    if split is None:
        return ""
    whole = "" if split.images == split.total else f" of {split.total:,}"
    return f" on {split.name}, {split.images:,}{whole} images"


def _counted(number: int, noun: str = "result") -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
