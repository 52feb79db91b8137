"""A comparison of two runs, and the series of many, as sections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from harness.compare.compare import FAILURES, AccuracyPair, Comparison, SpeedPair, compare, confidence_of_each
from harness.compare.trial import Trial
from harness.records.environment import shown_name
from harness.records.evidence import ARITHMETIC, METRICS, Unpaired
from harness.records.run_folder import Run
from harness.records.speed import Limits, SpeedChange, SpeedTrial, amounts_of, disturbances
from harness.report.run import short_names, shown
from harness.report.sections import Row, Section, counted, disturbed_note, number, reason_lines, table_of
from harness.verdict import FAILED, NOT_JUDGED, PASSED, worst

_LONGEST_LIST, _RUNS_PER_TABLE = 10, 6
_MEASURED = {"speed": "speed: images/s", "memory": "peak memory, in GB", "compile": "seconds of compiling"}
_CHANGED = 0.02  # of memory or of the time to compile, as a share
_PREDICTIONS = (
    "changed: images with a different top-1 prediction, in brackets those beyond noise, which arithmetic alone cannot "
    "explain"
)


def comparison_sections(
    comparison: Comparison, failures: Sequence[tuple[str, str]], fail_on: Sequence[str] = FAILURES
) -> list[Section]:
    """Return the report of a comparison and its failures: environment, differences, and last the verdict."""
    compared = len(comparison.accuracy) + len(comparison.of_kind("speed")) + len(comparison.missing)
    verdict = f"FAILED: {len(failures)} of {counted(compared, 'result')}" if failures else "passed"
    verdict = "; ".join([verdict, *caveats_of(comparison, fail_on)])
    return [
        environment_section(comparison.new, comparison),
        *differences(comparison, failures).values(),
        Section(verdict, None, tuple(reason_lines(failures))),
    ]


def differences(comparison: Comparison, reasons: Sequence[tuple[str, str]] = ()) -> dict[str, Section]:
    """Return what differs in accuracy and speed, and which results are missing in one run, under these names.

    What the ``reasons`` of a verdict say of a case, by its id, is not repeated.
    """
    sections = {}
    if comparison.accuracy:
        sections["accuracy"] = _accuracy_section(comparison, reasons)
    if comparison.timings or comparison.speed_error:
        sections["speed"] = _speed_section(comparison)
    for kind in ("memory", "compile"):
        if section := _cost_section(kind, comparison.of_kind(kind)):
            sections[kind] = section
    if comparison.missing or comparison.added:
        lines = [f"{identity}: {why}" for identity, why in comparison.missing]
        lines += [f"{identity}: only in the new run" for identity in comparison.added]
        sections["missing"] = Section("missing results", None, tuple(lines))
    return sections


def trial_sections(trial: Trial, failures: Sequence[tuple[str, str]], limits: Limits) -> list[Section]:
    """Return what several runs per side show, and last the verdict."""
    rows: dict[str, list[Row]] = {}
    names = short_names([tried.timings[0] for tried in trial.timings])
    timings, undecided = {tried.id for tried in trial.timings}, set()
    for tried in trial.timings:
        disturbed = sum(any(disturbances(timing)) for timing in tried.timings)
        evidence, decided = tried.evidence, tried.judged(limits).outcome != NOT_JUDGED
        undecided |= set() if decided else {tried.id}
        interval = f"{evidence.low:.3f}-{evidence.high:.3f}"
        old, new = (_amount(value, evidence.kind) for value in (tried.old, tried.new))
        row = [(f"<{evidence.kind}", names[tried.id]), ("old", old), ("new", new), ("ratio", f"{evidence.ratio:.3f}")]
        row += [("interval", interval), ("disturbed", f"{disturbed} of {2 * evidence.pairs}")]
        row.append(("<verdict", _direction(evidence) if decided else "not decided"))
        rows.setdefault(evidence.kind, []).append(row)
    allowed = ", ".join(f"{100 * getattr(limits, kind):g}% of {kind}" for kind in rows)
    notes = [
        "ratio: what the new side takes over what the old one takes, of speed in seconds",
        f"interval: {100 * trial.confidence:.2f}%, from the differences between pairs of runs; not decided: the new "
        f"side may take more than is allowed ({allowed}), and more runs are needed to tell; disturbed: timings that a "
        "comparison of one run per side would not judge",
    ]
    if not trial.alternates:
        notes.append("all runs of one side were made before the other's: what changed the machine meanwhile counts too")
    failed = len({identity for identity, _ in failures})
    verdict = f"FAILED: {failed} of {counted(len(timings) + len(trial.missing), 'timing')}" if failures else "passed"
    verdict += f"; {len(undecided)} of {counted(len(timings), 'timing')} not decided" if undecided else ""
    return [
        environment_section(trial.new[-1], compare(trial.old[-1], trial.new[-1])),
        *(
            Section(f"{_MEASURED[kind]}, the median of {len(trial.old)} runs per side", table_of(cells))
            for kind, cells in rows.items()
        ),
        Section("", None, tuple(notes)),
        Section(verdict, None, tuple(reason_lines(failures))),
    ]


def caveats_of(comparison: Comparison, fail_on: Sequence[str]) -> list[str]:
    """Return what the verdict on a comparison does not cover."""
    ignored = [kind for kind in FAILURES if kind not in fail_on]
    caveats = [f"ignored: {', '.join(ignored)}"] if ignored else []
    timings = comparison.of_kind("speed")
    if disturbed := sum(bool(pair.evidence.disturbed) for pair in timings):
        caveats.append(f"{disturbed} of {counted(len(timings), 'timing')} not judged: disturbed")
    return [*caveats, "speed was not compared"] if comparison.speed_error else caveats


def series_sections(runs: Sequence[Run]) -> list[Section]:
    """Return what each of many runs measured, by case; oldest first, as given."""
    listed = []
    for index, run in enumerate(runs, start=1):
        facts = run.record.environment
        listed.append(f"[{index}] {run.path}, {date_of(run)}, torch {facts.torch}, torchvision {facts.torchvision}")
    sections = [Section(f"{len(runs)} runs", None, tuple(listed))]
    cases = [case for run in runs for case in run.record.cases]
    names = short_names([*cases, *(timing for run in runs for timing in run.record.timings)])
    correct = [{case.id: f"{case.counts.top1:,}" for case in run.record.cases} for run in runs]
    speeds = [{timing.id: f"{timing.images_per_second:,.1f}" for timing in run.record.timings} for run in runs]
    for title, by_run in (("top-1, correct", correct), ("images/s", speeds)):
        ids = list(dict.fromkeys(identity for found in by_run for identity in found))
        numbered = [(f"[{index}]", found) for index, found in enumerate(by_run, start=1)]
        for first in range(0, len(runs) if ids else 0, _RUNS_PER_TABLE):
            columns = numbered[first : first + _RUNS_PER_TABLE]
            cells = [[(head, found.get(identity, "-")) for head, found in columns] for identity in ids]
            rows = [[(f"<{title}", names[identity]), *row] for identity, row in zip(ids, cells, strict=True)]
            sections.append(Section("", table_of(rows)))
    return sections


class Step(NamedTuple):
    """Two runs of a series, by their indices, and how they compare."""

    new: int
    old: int
    comparison: Comparison
    failures: Sequence[tuple[str, str]]


def steps_of(runs: int) -> list[tuple[int, int]]:
    """Return which runs of a series are compared: each with the first, and with the one before."""
    return [(new, old) for new in range(1, runs) for old in dict.fromkeys((0, new - 1))]


def steps_sections(runs: Sequence[Run], steps: Sequence[Step], fail_on: Sequence[str] = FAILURES) -> list[Section]:
    """Return a table of the outcomes of a series, of what changed from run to run, and last the verdict."""
    rows, found = [], {(step.new, step.old): step for step in steps}
    for index, run in enumerate(runs):
        outcomes = [*(case.outcome for case in run.record.cases), *[FAILED] * bool(run.record.missing)]
        row = [("<run", f"[{index + 1}]"), ("<outcome", shown(worst(outcomes) if outcomes else "-"))]
        for heading, old in (("<against [1]", 0), ("<against the one before", index - 1)):
            row += _step_cells(heading, found.get((index, old)))
        rows.append(row)
    failed = {step.new for step in steps if step.failures}
    verdict = f"FAILED: {len(failed)} of {counted(len(runs) - 1, 'later run')}" if failed else "passed"
    caveats = dict.fromkeys(caveat for step in steps for caveat in caveats_of(step.comparison, fail_on))
    lines: list[str] = []
    for step in steps:
        failures = ((f"[{step.new + 1}] against [{step.old + 1}]: {identity}", why) for identity, why in step.failures)
        lines += reason_lines(failures)
    return [Section("", table_of(rows), (_PREDICTIONS,)), Section("; ".join([verdict, *caveats]), None, tuple(lines))]


def _step_cells(heading: str, step: Step | None) -> Row:
    if step is None:
        return [(heading, "-"), ("changed", "-")]
    pairs = step.comparison.accuracy
    pairings = [pair.pairing for pair in pairs if pair.pairing]
    outcome = FAILED if step.failures else worst([PASSED, *(pair.new.outcome for pair in pairs)])
    changed, beyond = sum(one.changed for one in pairings), sum(one.beyond_noise for one in pairings)
    return [(heading, shown(outcome)), ("changed", f"{changed:,} ({beyond:,})" if pairings else "-")]


def environment_section(newest: Run, comparison: Comparison | None) -> Section:
    """Return what differs between the environments of two runs, or for a run alone all of its own."""
    if comparison is None:
        facts = newest.record.environment.facts
        rows = [[("<", shown_name(name)), (f"<{date_of(newest)}", str(fact))] for name, fact in facts.items()]
        return Section("environment", table_of(rows))
    heads = f"<old, {date_of(comparison.old)}", f"<new, {date_of(comparison.new)}"
    rows = []
    for name, *values in comparison.facts:
        cells = ["-" if fact is None else str(fact) for fact in values]
        rows.append([("<", shown_name(name)), *zip(heads, cells, strict=True)])
    lines = () if rows else ("environment: no differences",)
    return Section(f"{comparison.old.path} against {comparison.new.path}", table_of(rows), lines)


def date_of(run: Run) -> str:
    """Return when a run was made, to the minute."""
    return run.record.created[:16].replace("T", " ")


def _accuracy_section(comparison: Comparison, reasons: Sequence[tuple[str, str]]) -> Section:
    dataset = comparison.new.record.dataset
    where = f" on {dataset.name}, {dataset.images:,} images" if dataset else ""
    title = f"accuracy{where}: correct in the new run, and the difference from the old"
    rows, names = [], short_names([pair.new for pair in comparison.accuracy])
    for pair in comparison.accuracy:
        row, counts = [("<accuracy", names[pair.new.id])], pair.new.counts
        for metric, name in METRICS.items():
            difference = pair.difference(metric)
            row += [(name, f"{counts.correct(metric):,}"), ("diff", number(difference, "+,"))]
            if metric == "top1":
                points = None if difference is None else 100 * difference / counts.images
                row.append(("points", number(points, "+.3f")))
        changed = p = drift = "-"
        if pairing := pair.pairing:
            changed, p = f"{pairing.changed:,} ({pairing.beyond_noise:,})", f"{pairing.p:.2g}"
            if pairing.drift:
                drift = f"{pairing.drift.largest:.0e}" if pairing.drift.largest else "equal"
        row += [("changed", changed), ("p", p), ("drift", drift)]
        rows.append([*row, ("<outcome", shown(pair.new.outcome))])
    return Section(title, table_of(rows), tuple(_accuracy_notes(comparison.accuracy, reasons)))


def _accuracy_notes(pairs: Sequence[AccuracyPair], reasons: Sequence[tuple[str, str]]) -> Iterator[str]:
    if any(pair.pairing for pair in pairs):
        yield (
            f"{_PREDICTIONS}; p: exact McNemar test of now correct against now wrong; drift: largest change of any "
            "logit, in units of the logit scale"
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
        known = any(identity == pair.new.id and pairing.diagnosis.sentence in why for identity, why in reasons)
        if not known and (pairing.diagnosis.stage != ARITHMETIC or pair.failure()):
            yield f"{pair.new.id}: {pairing.diagnosis}"
        if pair.changed:
            yield f"{pair.new.id}: {pairing.lost:,} now wrong, {pairing.gained:,} now correct"
            changed = sorted(pair.changed, key=lambda change: change.near_tie)
            yield from (f"    {change}" for change in changed[:_LONGEST_LIST])
            if len(changed) > _LONGEST_LIST:
                yield f"    and {len(changed) - _LONGEST_LIST:,} more"
        if pairing.top5_changed:
            beyond, p = pairing.top5_beyond_noise, pairing.top5_p
            turned = f"{pairing.top5_lost:,} now wrong, {pairing.top5_gained:,} now correct, p = {p:.2g}"
            sets = counted(pairing.top5_changed, "top-5 set")
            yield f"{pair.new.id}: {sets} changed, {beyond:,} beyond noise; {turned}"
            yield from (f"    {change}" for change in pairing.examples if change.metric == "top5")


def _speed_section(comparison: Comparison) -> Section:
    if comparison.speed_error:
        return Section("speed", None, (comparison.speed_error,))
    pairs = comparison.of_kind("speed")
    confidence, noise = 100 * confidence_of_each(len(pairs)), 100 * pairs[0].evidence.noise
    visible = max(pair.evidence.visible for pair in pairs)
    notes = [
        f"interval: {confidence:.2f}%, from the calls of both runs; machine: change of the yardstick, "
        "a fixed numpy workload timed next to the calls",
        f"not significant: relative to the machine, part of the interval, or the fastest calls, are within {noise:g}%",
        f"with one run per side, only slowdowns above {100 * visible:.1f}% can be detected in each of these timings, "
        "regardless of --max-slowdown; use imagenet-gate ab for smaller ones",
    ]
    notes += disturbed_note({pair.id: pair.evidence.disturbed for pair in pairs})
    rows, names = [], short_names([pair.new for pair in pairs])
    for pair in pairs:
        evidence = pair.evidence
        verdict = "not judged" if evidence.disturbed else _direction(evidence)
        low, high = (f"{100 * (1 / ratio - 1):+.1f}" for ratio in (evidence.high, evidence.low))
        machine = "-" if evidence.machine is None else f"{100 * (1 / evidence.machine - 1):+.1f}%"
        row = [("<speed", names[pair.id]), ("old", f"{pair.old.images_per_second:,.1f}")]
        row += [("new", f"{pair.new.images_per_second:,.1f}"), ("change", f"{100 * evidence.change:+.1f}%")]
        rows.append([*row, ("interval", f"{low} to {high}"), ("machine", machine), ("<verdict", verdict)])
    return Section("speed: images/s from the median call", table_of(rows), tuple(notes))


def _cost_section(kind: str, pairs: Sequence[SpeedPair]) -> Section | None:
    """Return a table of what changed by enough to be worth a row; None if nothing did."""
    rows, names = [], short_names([pair.new for pair in pairs])
    for pair in (pair for pair in pairs if abs(pair.evidence.ratio - 1) > _CHANGED):
        old, new = (_amount(amounts_of([timing])[kind][0], kind) for timing in (pair.old, pair.new))
        change = f"{100 * (pair.evidence.ratio - 1):+.1f}%"
        rows.append([(f"<{kind}", names[pair.id]), ("old", old), ("new", new), ("change", change)])
    return Section(_MEASURED[kind], table_of(rows)) if rows else None


def _amount(value: float, kind: str) -> str:
    """Return what a timing took as a cell: images/s, GB or seconds."""
    return {"speed": f"{1 / value:,.1f}", "memory": f"{value / 1e9:.3f}", "compile": f"{value:,.1f}"}[kind]


def _direction(change: SpeedChange | SpeedTrial) -> str:
    words = ("more", "less") if change.kind == "memory" else ("slower", "faster")
    return words[change.ratio < 1] if change.is_significant else "not significant"
