"""A comparison of two runs, and the series of many, as sections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.compare.compare import ALPHA, FAILURES, AccuracyPair, Comparison, SpeedPair
from harness.records.evidence import ARITHMETIC, METRICS, Unpaired
from harness.records.run_folder import Run
from harness.report.sections import Section, Table, reason_lines
from harness.report.terminal import shown

_LONGEST_LIST, _RUNS_PER_TABLE = 10, 6


def comparison_sections(
    comparison: Comparison, failures: Sequence[tuple[str, str]], fail_on: Sequence[str] = FAILURES
) -> list[Section]:
    """Return the report of a comparison and its failures: environment, differences, and last the verdict."""
    compared = len(comparison.accuracy) + len(comparison.speed) + len(comparison.missing)
    verdict = (
        f"FAILED: {len(failures)} of {compared} result{'' if compared == 1 else 's'}" if failures else "no failure"
    )
    verdict += "".join(f"; {caveat}" for caveat in caveats_of(comparison, fail_on))
    return [
        environment_section(comparison.new, comparison),
        *differences(comparison).values(),
        Section(verdict, None, tuple(reason_lines(failures))),
    ]


def differences(comparison: Comparison) -> dict[str, Section]:
    """Return what differs in accuracy and speed, and which results are missing in one run, under these names."""
    sections = {}
    if comparison.accuracy:
        sections["accuracy"] = _accuracy_section(comparison)
    if comparison.speed or comparison.speed_error:
        sections["speed"] = _speed_section(comparison)
    if comparison.missing or comparison.added:
        lines = [f"{identity}: {why}" for identity, why in comparison.missing]
        lines += [f"{identity}: only in the new run" for identity in comparison.added]
        sections["missing"] = Section("in one run only, or without a result", None, tuple(lines))
    return sections


def caveats_of(comparison: Comparison, fail_on: Sequence[str]) -> list[str]:
    """Return what the verdict on a comparison does not cover."""
    ignored = [kind for kind in FAILURES if kind not in fail_on]
    caveats = [f"not counting {' and '.join(ignored)}"] if ignored else []
    return [*caveats, "speed was not compared"] if comparison.speed_error else caveats


def series_sections(runs: Sequence[Run]) -> list[Section]:
    """Return what each of many runs measured, by case; oldest first, as given."""
    listed = []
    for number, run in enumerate(runs, start=1):
        facts = run.record.environment
        listed.append(f"[{number}] {run.path}, {date_of(run)}, torch {facts.torch}, torchvision {facts.torchvision}")
    sections = [Section(f"{len(runs)} runs", None, tuple(listed))]
    correct = [{case.id: f"{case.counts.top1:,}" for case in run.record.cases} for run in runs]
    speeds = [{timing.id: f"{timing.images_per_second:,.1f}" for timing in run.record.timings} for run in runs]
    for title, by_run in (("top-1, correct", correct), ("images/s", speeds)):
        ids = list(dict.fromkeys(identity for found in by_run for identity in found))
        for first in range(0, len(runs) if ids else 0, _RUNS_PER_TABLE):
            columns = range(len(runs))[first : first + _RUNS_PER_TABLE]
            head = [title, *(f"[{number + 1}]" for number in columns)]
            rows = [[identity, *(by_run[number].get(identity, "-") for number in columns)] for identity in ids]
            sections.append(Section("", Table(head, rows, frozenset({0}))))
    return sections


def environment_section(newest: Run, comparison: Comparison | None) -> Section:
    """Return what differs between the environments of two runs, or for a run alone all of its own."""
    if comparison is None:
        facts = [[name, str(fact)] for name, fact in newest.record.environment.facts.items()]
        return Section("environment", Table(["", date_of(newest)], facts, frozenset({0, 1})))
    rows = [[name, *("-" if fact is None else str(fact) for fact in (old, new))] for name, old, new in comparison.facts]
    return Section(
        f"{comparison.old.path} against {comparison.new.path}",
        Table(["", f"old, {date_of(comparison.old)}", f"new, {date_of(comparison.new)}"], rows, frozenset({0, 1, 2})),
        () if rows else ("environment: no difference",),
    )


def date_of(run: Run) -> str:
    """Return when a run was made, to the minute."""
    return run.record.created[:16].replace("T", " ")


def _accuracy_section(comparison: Comparison) -> Section:
    head = ["accuracy", "top-1", "diff", "points", "top-5", "diff", "changed", "beyond noise", "p", "drift", "outcome"]
    dataset = comparison.new.record.dataset
    where = f" on {dataset.name}, {dataset.images:,} images" if dataset else ""
    title = f"accuracy{where}: correct in the new run, and the difference to the old"
    table = Table(head, [_accuracy_row(pair) for pair in comparison.accuracy], frozenset({0, 10}))
    return Section(title, table, tuple(_accuracy_notes(comparison.accuracy)))


def _accuracy_row(pair: AccuracyPair) -> list[str]:
    cells, images = [pair.new.id], pair.new.counts.images
    for metric in METRICS:
        difference = pair.difference(metric)
        cells += [f"{pair.new.counts.correct(metric):,}", "-" if difference is None else f"{difference:+,}"]
        if metric == "top1":
            cells.append("-" if difference is None else f"{100 * difference / images:+.3f}")
    if (pairing := pair.pairing) is None:
        cells += ["-"] * 4
    else:
        drift = "-" if pairing.drift is None else f"{pairing.drift.largest:.0e}" if pairing.drift.largest else "equal"
        cells += [f"{pairing.changed:,}", f"{pairing.beyond_noise:,}", f"{pairing.p:.2g}", drift]
    return [*cells, shown(pair.new.outcome)]


def _accuracy_notes(pairs: Sequence[AccuracyPair]) -> Iterator[str]:
    if any(pair.pairing for pair in pairs):
        yield (
            "changed: images with another top-1 prediction; beyond noise: those that arithmetic alone cannot explain; "
            "p: exact McNemar test of now correct against now wrong; drift: how far the logits of an image moved at "
            "most, in units of the logit scale"
        )
    unpaired: dict[str, list[str]] = {}
    for pair in pairs:
        if isinstance(pair.evidence, Unpaired):
            unpaired.setdefault(pair.evidence.reason, []).append(pair.new.id)
    for reason, ids in unpaired.items():
        yield f"{ids[0] if len(ids) == 1 else f'{len(ids):,} cases'} not paired: {reason}"
    for pair in pairs:
        if (pairing := pair.pairing) is None:
            continue
        if pairing.diagnosis.stage != ARITHMETIC or pair.failure():
            yield f"{pair.new.id}: {pairing.diagnosis}"
        if pair.changed:
            yield f"{pair.new.id}: {pairing.lost:,} now wrong, {pairing.gained:,} now correct"
            changed = sorted(pair.changed, key=lambda change: change.near_tie)
            yield from (f"    {change}" for change in changed[:_LONGEST_LIST])
            if len(changed) > _LONGEST_LIST:
                yield f"    and {len(changed) - _LONGEST_LIST:,} more"


def _speed_section(comparison: Comparison) -> Section:
    if comparison.speed_error:
        return Section("speed", None, (comparison.speed_error,))
    confidence, noise = 100 * (1 - ALPHA / len(comparison.speed)), 100 * comparison.speed[0].evidence.noise
    notes = (
        f"interval: {confidence:.2f} %, from the calls of both runs; machine: the same work by numpy beside them",
        f"not significant: relative to the machine, the whole interval or the fastest calls are within {noise:g} %",
    )
    head = ["speed", "old", "new", "change", "interval", "machine", "verdict"]
    table = Table(head, [_speed_row(pair) for pair in comparison.speed], frozenset({0, 6}))
    return Section("speed: images/s from the median call", table, notes)


def _speed_row(pair: SpeedPair) -> list[str]:
    evidence = pair.evidence
    verdict = ("slower" if evidence.change < 0 else "faster") if evidence.significant else "not significant"
    return [
        pair.new.id,
        f"{pair.old.images_per_second:,.1f}",
        f"{pair.new.images_per_second:,.1f}",
        f"{100 * evidence.change:+.1f} %",
        f"{100 * (1 / evidence.high - 1):+.1f} to {100 * (1 / evidence.low - 1):+.1f}",
        "-" if evidence.machine is None else f"{100 * (1 / evidence.machine - 1):+.1f} %",
        verdict,
    ]
