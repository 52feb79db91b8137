"""A comparison of two runs, and the series of many, as parts of a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.gate.pairing import Changed
from harness.gate.scores import METRICS
from harness.reporting.accuracy_pair import AccuracyPair
from harness.reporting.compare import ALPHA, FAILURES, Comparison
from harness.reporting.record import measured_cases, measured_timings
from harness.reporting.run_folder import Run
from harness.reporting.section import Section
from harness.reporting.speed_pair import SpeedPair
from harness.reporting.table import Table

_LONGEST_LIST = 10
_RUNS_ABREAST = 6


def sections_of(
    comparison: Comparison, failures: Sequence[tuple[str, str]], fail_on: Sequence[str] = FAILURES
) -> list[Section]:
    """Return the report of a comparison: environment, accuracy, speed, and what fails.

    Args:
        failures: id of each, and what it is.
        fail_on: what was counted as a failure.
    """
    sections = [environment_section(comparison)]
    if comparison.accuracy:
        sections.append(_accuracy_section(comparison))
    if comparison.speed or comparison.speed_refused:
        sections.append(_speed_section(comparison))
    if comparison.missing or comparison.added:
        lines = [f"{missing.id}: {missing.why}" for missing in comparison.missing]
        lines += [f"{identity}: only in the new run" for identity in comparison.added]
        sections.append(Section("in one run only, or without values", None, tuple(lines)))
    verdict = f"FAILED: {len(failures)} of {_compared(comparison)}" if failures else "no failure"
    verdict += "".join(f"; {caveat}" for caveat in caveats_of(comparison, fail_on))
    sections.append(Section(verdict, None, tuple(f"{identity}: {why}" for identity, why in failures)))
    return sections


def caveats_of(comparison: Comparison, fail_on: Sequence[str]) -> list[str]:
    """Return what the verdict on a comparison leaves out."""
    ignored = [kind for kind in FAILURES if kind not in fail_on]
    caveats = [f"not counting {' and '.join(ignored)}"] if ignored else []
    return [*caveats, *(["speed was not compared"] if comparison.speed_refused else [])]


def verdict_first(sections: Sequence[Section]) -> list[Section]:
    """Return the report of a comparison as it is read in a browser, from the top: what it comes to is first."""
    return [*sections[-1:], *sections[:-1]]


def series_sections(runs: Sequence[Run]) -> list[Section]:
    """Return the report of many runs, oldest first as given: what each measured, by case."""
    listed = tuple(f"[{number}] {_named(run)}" for number, run in enumerate(runs, start=1))
    sections = [Section(f"{len(runs)} runs", None, listed)]
    hits = [{case.id: f"{case.measured.top1:,}" for case in measured_cases(run.record.cases)} for run in runs]
    speeds = [
        {timing.id: f"{timing.images_per_second:,.1f}" for timing in measured_timings(run.record.timings)}
        for run in runs
    ]
    for title, by_run in (("top-1 hits", hits), ("images/s", speeds)):
        cases = list(dict.fromkeys(case for found in by_run for case in found))
        for first in range(0, len(runs) if cases else 0, _RUNS_ABREAST):
            abreast = range(len(runs))[first : first + _RUNS_ABREAST]
            head = [title, *(f"[{number + 1}]" for number in abreast)]
            rows = [[case, *(by_run[number].get(case, "-") for number in abreast)] for case in cases]
            sections.append(Section("", Table(head, rows, frozenset({0}))))
    return sections


def environment_section(comparison: Comparison) -> Section:
    """Return what differs between the environments of two runs."""
    rows = [[name, _shown(old), _shown(new)] for name, old, new in comparison.facts]
    lines = [] if rows else ["environment: no difference"]
    return Section(
        f"{comparison.old.path} against {comparison.new.path}",
        Table(["", f"old, {_date(comparison.old)}", f"new, {_date(comparison.new)}"], rows, frozenset({0, 1, 2})),
        tuple(lines),
    )


def _accuracy_section(comparison: Comparison) -> Section:
    head = ["accuracy", "top-1", "diff", "points", "top-5", "diff", "changed", "real", "p", "drift", "new"]
    rows = [_accuracy_row(pair) for pair in comparison.accuracy]
    split = comparison.split
    where = f" on {split.name}, {split.images:,} images" if split else ""
    return Section(
        f"accuracy{where}: hits in the new run, and the difference to the old",
        Table(head, rows, frozenset({0, 10})),
        tuple(_accuracy_notes(comparison.accuracy)),
    )


def _accuracy_row(pair: AccuracyPair) -> list[str]:
    cells = [pair.new.id]
    for metric in METRICS:
        cells += [f"{pair.new.measured.hits(metric):,}", f"{pair.difference(metric):+,}"]
        if metric == "top1":
            cells.append(f"{pair.points(metric):+.3f}")
    if pair.paired is None:
        return [*cells, "-", "-", "-", "-", pair.new.outcome]
    changed, drift = pair.paired.changed, pair.paired.drift
    cells += [f"{len(changed):,}", f"{len(pair.paired.real):,}", f"{pair.paired.p:.2g}"]
    return [*cells, "-" if drift is None else f"{drift.largest:.0e}" if drift.largest else "equal", pair.new.outcome]


def _accuracy_notes(pairs: Sequence[AccuracyPair]) -> Iterator[str]:
    if any(pair.paired for pair in pairs):
        yield (
            "changed: images with another best class; real: those that arithmetic alone cannot have changed; p: exact "
            "McNemar test of right and wrong; drift: how far an image's logits moved at most, in units of their spread"
        )
    else:
        yield "images were not paired, since a JSON file holds no answers: compare the run folders of --results"
    for pair in pairs:
        if pair.cause:
            yield f"{pair.new.id}: {pair.cause}"
        elif pair.moved:
            yield f"{pair.new.id}: other {' and other '.join(pair.moved)} than in the old run"
        if pair.paired and pair.paired.changed:
            lost, gained = pair.paired.lost, pair.paired.gained
            changed = sorted(pair.paired.changed, key=lambda change: change.near_tie)
            yield f"{pair.new.id}: {lost:,} went from right to wrong, {gained:,} from wrong to right"
            for change in changed[:_LONGEST_LIST]:
                yield f"    {change.id}: class {change.old} -> {change.new}{_turn(change)}"
            if len(changed) > _LONGEST_LIST:
                yield f"    and {len(changed) - _LONGEST_LIST:,} more"


def _turn(change: Changed) -> str:
    turn = "" if change.was_right == change.is_right else ", wrong now" if change.was_right else ", right now"
    return f"{turn}{', a near-tie' if change.near_tie else ''}"


def _speed_section(comparison: Comparison) -> Section:
    if comparison.speed_refused:
        return Section("speed", None, (comparison.speed_refused,))
    confidence = 100 * (1 - ALPHA / len(comparison.speed))
    head = ["speed", "old", "new", "change", "interval", "machine", "verdict"]
    noise = 100 * comparison.speed[0].noise
    return Section(
        "speed: images/s from the median call",
        Table(head, [_speed_row(pair) for pair in comparison.speed], frozenset({0, 6})),
        (
            f"interval: {confidence:.2f} %, from the calls of both runs; machine: the same work by numpy beside them",
            f"not significant: by the measure of the machine not beyond {noise:g} % with the whole interval and "
            "with the fastest calls",
        ),
    )


def _speed_row(pair: SpeedPair) -> list[str]:
    low, high = 100 * (1 / pair.ratio.high - 1), 100 * (1 / pair.ratio.low - 1)
    verdict = ("slower" if pair.change < 0 else "faster") if pair.significant else "not significant"
    return [
        pair.new.id,
        f"{pair.old.images_per_second:,.1f}",
        f"{pair.new.images_per_second:,.1f}",
        f"{100 * pair.change:+.1f} %",
        f"{low:+.1f} to {high:+.1f}",
        "-" if pair.machine is None else f"{100 * (1 / pair.machine - 1):+.1f} %",
        verdict,
    ]


def _compared(comparison: Comparison) -> str:
    number = len(comparison.accuracy) + len(comparison.speed) + len(comparison.missing)
    return f"{number} {'result' if number == 1 else 'results'}"


def _named(run: Run) -> str:
    environment = run.record.environment
    return f"{run.path}, {_date(run)}, torch {environment.torch}, torchvision {environment.torchvision}"


def _date(run: Run) -> str:
    return run.record.created[:16].replace("T", " ")


def _shown(fact: object) -> str:
    return "-" if fact is None else str(fact)
