"""The tables of one run: accuracy, settings, the comparison with its baseline, and throughput."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.precision import DEFAULT
from harness.records.evidence import METRICS, Pairing
from harness.records.results import ERROR, CaseResult, Missing, Record, TimingResult, ranking
from harness.records.run_folder import Run
from harness.report.sections import Section, counted, number, reason_lines, table_of
from harness.stats import mcnemar
from harness.verdict import BASELINE, FAILED, NOT_JUDGED, WARNING

TIE = "~"
TIE_NOTE = f"{TIE} not significantly different from the row above on the same images"
CHANGED = "changed: images with another top-1 prediction; beyond noise: those that arithmetic alone cannot explain"
_TOP5 = "top-5: images with another set of five highest classes, in brackets those beyond noise"
_DRIFT = "drift: of the logits of an image, in units of the logit scale; noise floor: what arithmetic moves at most"
_SIGNIFICANT = 0.05  # neighbours in the ranking with a larger p-value are tied
_ENOUGH_CALLS = 10


def run_sections(run: Run) -> list[Section]:
    """Return all tables of one run.

    Raises:
        RecordError: predictions cannot be read.
    """
    record = run.record
    accuracy = accuracy_sections(run, tied_cases(run)) if record.cases or record.missing_cases else []
    return [*accuracy, *([throughput_section(run)] if record.timings or record.missing_timings else [])]


def accuracy_sections(run: Run, tied: Collection[str]) -> list[Section]:
    """Return the tables of a run's cases: accuracy, settings, and the comparison with its baseline."""
    found = [_accuracy_section(run, tied), _settings_section(run), _baseline_section(run.record.cases)]
    return [section for section in found if section.table or section.lines or section.title]


def tied_cases(run: Run) -> frozenset[str]:
    """Return the ids of the cases whose top-1 is not significantly different from that of the case ranked above."""
    if not run.holds_predictions or not run.record.cases:
        return frozenset()
    _, targets = run.labels
    correct = {case.id: _top1(run, case) == targets for case in ranking(run.record.cases)}
    return frozenset(
        identity
        for (_, above), (identity, here) in pairwise(correct.items())
        if mcnemar(int((above & ~here).sum()), int((here & ~above).sum())) >= _SIGNIFICANT
    )


def throughput_section(run: Run) -> Section:
    """Return a table of the timings in the order in which they were measured, then the missing ones."""
    timings = run.record.timings
    first: dict[tuple[str, str, int], TimingResult] = {}
    for timing in sorted(timings, key=lambda timing: timing.setting_order):
        first.setdefault((timing.model, timing.weights, timing.batch_size), timing)
    rows, has_speed_ups = [], len(first) < len(timings)
    for timing in timings:
        reference = first[timing.model, timing.weights, timing.batch_size]
        speed_up = None if timing is reference else timing.images_per_second / reference.images_per_second
        memory = "-" if timing.peak_memory is None else f"{timing.peak_memory / 1e9:.2f} GB"
        row = [("<timing", timing.id), ("images/s", f"{timing.images_per_second:,.1f}")]
        row += [("speed-up", number(speed_up, ".2f"))] if has_speed_ups else []
        row += [("ms per call", f"{1e3 * timing.median:,.2f}"), ("spread", f"{100 * timing.spread:.1f} %")]
        row += [("calls", f"{len(timing.seconds):,}"), ("GMACs", f"{timing.gmacs:.2f}")]
        row += [("TFLOP/s", f"{timing.tflops:.3f}"), ("of peak", f"{100 * timing.share_of_peak:.0f} %")]
        rows.append([*row, ("memory", memory)])
    legend = "speed-up: over the model's first setting at the same batch size; " if has_speed_ups else ""
    title = "throughput: forward alone, images on the device, seeded weights"
    return Section(title, table_of(rows), tuple(_throughput_notes(run.record, legend)))


def _throughput_notes(record: Record, legend: str) -> Iterator[str]:
    if record.timings:
        peaks = {timing.precision: timing.peak_tflops for timing in record.timings}
        reached = ", ".join(f"{peak:.3f} TFLOP/s in {precision}" for precision, peak in peaks.items())
        yield (
            f"images/s from the median call; {legend}spread: interquartile range over median; "
            f"GMACs: multiply-adds of one image, two operations each; peak: {reached} by a product of large matrices"
        )
    yield from _missing_lines(record.missing_timings)
    for timing in record.timings:
        # A few long calls cannot show whether it was stable.
        if not timing.warm_up.get("stable", True) and timing.warm_up.get("calls", 0) > _ENOUGH_CALLS:
            yield f"{timing.id}: not stable after {timing.warm_up.get('seconds', 0):.1f} s of warm-up"
        if isinstance(reasons := (timing.clocks or {}).get("throttled"), list) and reasons:
            yield f"{timing.id}: the GPU is throttled by {', '.join(map(str, reasons))}"


def _accuracy_section(run: Run, tied: Collection[str]) -> Section:
    """Return a table of the cases, best top-1 first, then the missing ones."""
    ranked, dataset = ranking(run.record.cases), run.record.dataset
    where = f"{dataset.name}, {dataset.images:,} images" if ranked and dataset else "nothing was evaluated"
    origin = next((case.expected.origin for case in ranked if case.expected), "expected")
    rows = []
    for case in ranked:
        setting = "" if case.setting == DEFAULT else f" {case.setting}"
        tie = TIE if case.id in tied else ""
        row = [("<", tie), ("<model", case.model), ("<weights", f"{case.weights}{setting}")]
        for metric, name in METRICS.items():
            percent = case.counts.percent(metric)
            expected = case.expected.counts.percent(metric) if case.expected else None
            difference = None if expected is None else percent - expected
            row += [(name, f"{percent:.3f}"), (origin, number(expected, ".3f")), ("diff", number(difference, "+.3f"))]
        row += [("params", f"{case.parameters / 1e6:.1f}M"), ("GMACs", f"{case.gmacs:.2f}")]
        rows.append([*row, ("images/s", f"{case.images_per_second:,.0f}"), ("<outcome", shown(case.outcome))])
    lines = list(_missing_lines(run.record.missing_cases))
    if any(case.id in tied for case in ranked):
        lines.append(f"{TIE_NOTE} (top-1, exact McNemar test, p >= {_SIGNIFICANT})")
    could_miss: dict[str, float] = {}
    checks = [check for case in ranked for check in case.verdict.checks]
    for check in (check for check in checks if check.could_miss and not check.needed):
        could_miss[check.name] = max(check.could_miss, could_miss.get(check.name, 0.0))
    if could_miss:
        drops = " and of ".join(f"{name} by up to {drop:.2f} points" for name, drop in could_miss.items())
        lines.append(f"judged on a subset of the images, which could miss a drop of {drops}")
    if too_few := [check for check in checks if check.outcome == NOT_JUDGED]:
        needed = max(check.needed for check in too_few)
        lines.append(f"not judged, too few images: {counted(len(too_few), 'check')}; --limit {needed:,} judges all")
    lines += [f"{case.id}: {note}" for case in ranked for note in case.notes]
    return Section(f"accuracy in percent: {where}", table_of(rows), tuple(lines))


def reasons(cases: Iterable[CaseResult], outcome: str) -> Iterator[tuple[str, str]]:
    """Yield the checks with an outcome; of each case the baseline first, which explains what the others only show."""
    for case in cases:
        checks = [check for check in case.verdict.checks if check.outcome == outcome]
        for check in sorted(checks, key=lambda check: check.name != BASELINE):
            yield case.id, check.reason


def shown(outcome: str) -> str:
    """Return an outcome as tables show it: a failure in capitals."""
    return outcome.upper() if outcome == FAILED else outcome


def _settings_section(run: Run) -> Section:
    """Return a table of the models that were evaluated in several settings, each compared with its first."""
    by_model: dict[tuple[str, str], list[CaseResult]] = {}
    for case in sorted(run.record.cases, key=lambda case: case.setting_order):
        by_model.setdefault((case.model, case.weights), []).append(case)
    rows = []
    for case, first in ((case, cases[0]) for cases in by_model.values() for case in cases if len(cases) > 1):
        row = [("<model", case.model), ("<weights", case.weights), ("<setting", str(case.setting))]
        row += [(name, f"{case.counts.percent(metric):.3f}") for metric, name in METRICS.items()]
        differences, changed, speed_up = ["-", "-"], "-", "-"
        if case is not first:
            differences = [f"{case.counts.percent(m) - first.counts.percent(m):+.3f}" for m in METRICS]
            if run.holds_predictions:
                changed = f"{np.sum(_top1(run, case) != _top1(run, first)):,}"
            if first.images_per_second:
                speed_up = f"{case.images_per_second / first.images_per_second:.2f}"
        row += [("diff", difference) for difference in differences]
        row += [("changed", changed), ("images/s", f"{case.images_per_second:,.0f}")]
        rows.append([*row, ("speed-up", speed_up)])
    lines = ["diff: to the model's first setting, top-1 and top-5; changed: images with another top-1 prediction"]
    if any(case.compiled for case in run.record.cases):
        lines.append("images/s of compiled models: with the time of compiling, which -m throughput leaves out")
    return Section("", table_of(rows), tuple(lines if rows else ()))


def _baseline_section(cases: Sequence[CaseResult]) -> Section:
    """Return a table of the cases that were compared with a baseline, and all warnings."""
    rows, headings = [], ("drift: median", "99 %", "largest")
    for identity, pairing in ((case.id, case.baseline) for case in cases):
        if isinstance(pairing, Pairing):
            drift = pairing.drift
            moved = (None, None, None) if drift is None else (drift.median, drift.p99, drift.largest)
            row = [("<against the baseline", identity), ("changed", f"{pairing.changed:,}")]
            row += [("beyond noise", f"{pairing.beyond_noise:,}")]
            row += [("lost", f"{pairing.lost:,}"), ("gained", f"{pairing.gained:,}")]
            row += [("p", f"{pairing.p:.2g}"), ("top-5", f"{pairing.top5_changed:,} ({pairing.top5_beyond_noise:,})")]
            row += [(heading, number(part, ".0e")) for heading, part in zip(headings, moved, strict=True)]
            rows.append([*row, ("noise floor", f"{pairing.noise_floor.largest:.0e}")])
    warnings = ((f"warning: {identity}", why) for identity, why in reasons(cases, WARNING))
    blind = {case.baseline.blind: case.id for case in cases if isinstance(case.baseline, Pairing)}
    unseen = (f"{identity}: {sentence}" for sentence, identity in blind.items() if sentence)
    notes = (CHANGED, _TOP5, _DRIFT, *unseen) if rows else ()
    return Section("", table_of(rows), (*notes, *reason_lines(warnings)))


def _missing_lines(missing: Sequence[Missing]) -> Iterator[str]:
    for result in missing:
        yield f"  {result.id}: {'ERROR, no result (see above)' if result.outcome == ERROR else result.outcome}"


def _top1(run: Run, case: CaseResult) -> NDArray[np.int16]:
    """Return (N,) top-1 predictions; the hashes and samples of the pixels are not read."""
    return run.predictions(msgspec.structs.replace(case, inputs_digest="")).top1
