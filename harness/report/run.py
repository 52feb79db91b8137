"""The tables of one run: accuracy, settings, the comparison with its baseline, and throughput."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.precision import DEFAULT
from harness.records.evidence import METRICS, Pairing
from harness.records.results import ERROR, CaseResult, Missing, Phases, Record, TimingResult
from harness.records.run_folder import Run
from harness.records.speed import disturbances
from harness.report.sections import (
    Section,
    counted,
    disturbed_note,
    number,
    reasons_in_short,
    table_of,
)
from harness.stats import binomial_tail, sampling_band
from harness.verdict import ALPHA, FAILED, NOT_JUDGED

_RANK = (
    "rank: ranks by top-1 consistent with these images, with 95% confidence for all (exact McNemar tests, Holm's "
    "method)"
)
CHANGED = "changed: images with a different top-1 prediction; beyond noise: those that arithmetic alone cannot explain"
_TOP5 = "top-5: images with a different top-5 set, in brackets those beyond noise"
_DRIFT = "drift: largest change of any logit, in units of the logit scale"
_AGAINST = {
    "diff": "points above or below the {origin} accuracy",
    "baseline": "accuracy of the baseline on the same images",
    "allowed": "range in which a random subset lies, given the {origin} accuracy",
}
_SIGNIFICANT = 0.05  # the probability that any rank of a table is wrong


def run_sections(run: Run, *, details: bool = False) -> list[Section]:
    """Return all tables of one run, or raise a RecordError; ``details`` are tables of their own."""
    record = run.record
    found = accuracy_sections(run, rank_ranges(run), details=details) if record.cases or record.missing_cases else []
    if record.timings or record.missing_timings:
        found += throughput_sections(run, details=details)
    return found


def accuracy_sections(run: Run, ranks: Mapping[str, str], *, details: bool = False) -> list[Section]:
    """Return the tables of a run's cases, accuracy, settings, and the comparison with its baseline, and the reasons."""
    ranked = ranking(run.record.cases)
    found = [_accuracy_section(run, ranks), _settings_section(run), *_baseline_sections(ranked, details=details)]
    found += [_expected_section(ranked)] if details else []
    found += [Section("", None, tuple(reasons_in_short(ranked)))]
    return [section for section in found if section.table or section.lines or section.title]


def ranking(cases: Iterable[CaseResult]) -> list[CaseResult]:
    """Return the cases, best top-1 first."""
    return sorted(cases, key=lambda case: (-case.counts.top1, case.id))


def rank_ranges(run: Run) -> dict[str, str]:
    """Return the ranks of the cases by id, such as ``2-4``; none where predictions or a second case are missing.

    A case ranks below those that are better by an exact McNemar test on the same images. Holm's method keeps the
    probability that any of these tests finds a difference by chance, however many cases there are.
    """
    ranked = ranking(run.record.cases)
    if not run.holds_predictions or len(ranked) < 2:
        return {}
    _, targets = run.labels
    correct = np.array([_top1(run, case) == targets for case in ranked], np.float64)
    only_first = correct @ (1 - correct).T
    tests = []
    for pair in combinations(range(len(ranked)), 2):  # the first has as many correct, or more
        above, below = int(only_first[pair]), int(only_first[pair[::-1]])
        tests.append((2 * binomial_tail(above, above + below, 0.5), *pair))  # 30 times as fast as mcnemar
    best, worst = np.ones(len(ranked), int), np.full(len(ranked), len(ranked))
    for index, (p, first, second) in enumerate(sorted(tests)):
        if p >= _SIGNIFICANT / (len(tests) - index):
            break
        worst[first] -= 1
        best[second] += 1
    ranges = zip(ranked, best.tolist(), worst.tolist(), strict=True)
    return {case.id: f"{low}-{high}" if low < high else f"{low}" for case, low, high in ranges}


def _accuracy_section(run: Run, ranks: Mapping[str, str]) -> Section:
    """Return a table of the cases, best top-1 first, then the missing ones."""
    ranked, dataset = ranking(run.record.cases), run.record.dataset
    where = f"{dataset.name}, {dataset.images:,} images" if ranked and dataset else "nothing was evaluated"
    settings = {str(case.setting): case.setting for case in ranked}
    if len(settings) == 1 and DEFAULT not in settings.values():
        where += f", {next(iter(settings))}"
    names, against, rows = short_names(ranked), _compared_with(ranked), []
    for case in ranked:
        row = [("<rank" if ranks else "<", ranks.get(case.id, "")), ("<model", names[case.id])]
        for metric, name in METRICS.items():
            row.append((name, f"{case.counts.percent(metric):.3f}"))
            row.append((against, _comparison_cell(case, metric, against)))
        rows.append([*row, ("img/s", f"{case.images_per_second:,.0f}"), ("<outcome", shown(case.outcome))])
    lines = list(_missing_lines(run.record.missing_cases))
    lines += [_RANK] if ranks else []
    if rows and any(cell != "-" for row in rows for heading, cell in row if heading == against):
        lines.append(f"{against}: {_AGAINST[against].format(origin=_origin(ranked))}")
    could_miss: dict[str, float] = {}
    checks = [check for case in ranked for check in case.verdict.checks]
    for check in (check for check in checks if check.could_miss and not check.needed):
        could_miss[check.name] = max(check.could_miss, could_miss.get(check.name, 0.0))
    if could_miss:
        drops = " and in ".join(f"{name} of up to {drop:.2f} points" for name, drop in could_miss.items())
        lines.append(f"judged on a subset of the images, which could miss a drop in {drops}")
    if too_few := [check for check in checks if check.outcome == NOT_JUDGED]:
        needed = max(check.needed for check in too_few)
        lines.append(f"not judged, too few images: {counted(len(too_few), 'check')}; --limit {needed:,} judges all")
    lines += [f"{case.id}: {note}" for case in ranked for note in case.notes]
    if ranked:
        seconds = {name: sum(getattr(case.seconds, name) for case in ranked) for name in Phases.__struct_fields__}
        lines.append(", ".join(f"{name} {spent:,.1f} s" for name, spent in seconds.items()))
    return Section(f"accuracy in percent: {where}", table_of(rows), tuple(lines))


def _origin(cases: Sequence[CaseResult]) -> str:
    return next((case.expected.origin for case in cases if case.expected), "expected")


def _compared_with(cases: Sequence[CaseResult]) -> str:
    """Return what the accuracies of a table are compared with: the heading of a column."""
    if any(case.expected and case.expected.counts.images == case.counts.images for case in cases):
        return "diff"
    return "baseline" if any(isinstance(case.baseline, Pairing) for case in cases) else "allowed"


def _comparison_cell(case: CaseResult, metric: str, against: str) -> str:
    if against == "baseline":
        return f"{case.baseline.old_percent(metric, case.counts):.3f}" if isinstance(case.baseline, Pairing) else "-"
    if (expected := case.expected) is None:
        return "-"
    if against == "diff":
        return f"{case.counts.percent(metric) - expected.counts.percent(metric):+.3f}"
    images, whole = case.counts.images, expected.counts
    band = sampling_band(whole.images, whole.correct(metric), expected.tolerance_images, images, ALPHA)
    return f"{100 * band.low / images:.1f}-{100 * band.high / images:.1f}"


def short_names(results: Sequence[CaseResult | TimingResult]) -> dict[str, str]:
    """Return names by id: the model, and the parts of the id in which results of one model differ."""
    parts: dict[str, dict[str, list[str]]] = {}
    for result in results:
        parts.setdefault(result.model, {})[result.id] = re.split("[-_]", result.id.removeprefix(result.model))
    names = {}
    for model, by_id in parts.items():
        common = set.intersection(*map(set, by_id.values()))
        for identity, found in by_id.items():
            names[identity] = " ".join([model, *(part for part in found if part and part not in common)])
    return names


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
        several = len({weights for model, weights in by_model if model == case.model}) > 1
        row = [("<model", f"{case.model} {case.weights}" if several else case.model)]
        row.append(("<setting", str(case.setting)))
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
    lines = ["diff: from the model's first setting, top-1 and top-5; changed: images with a different top-1 prediction"]
    if any(case.compiled for case in run.record.cases):
        lines.append("images/s of compiled models include compilation, which -m throughput leaves out")
    return Section("", table_of(rows), tuple(lines if rows else ()))


def _baseline_sections(cases: Sequence[CaseResult], *, details: bool) -> list[Section]:
    """Return a table of the cases that were compared with a baseline, and as ``details`` how far their logits moved."""
    rows, moved, names, blind = [], [], short_names(cases), {}
    for case in cases:
        if not isinstance(pairing := case.baseline, Pairing):
            continue
        drift = pairing.drift
        drifts = [number(part, ".0e") for part in (drift.median, drift.p99, drift.largest)] if drift else ["-"] * 3
        row = [("<against the baseline", names[case.id]), ("changed", f"{pairing.changed:,}")]
        row += [("beyond noise", f"{pairing.beyond_noise:,}")]
        row += [("lost", f"{pairing.lost:,}"), ("gained", f"{pairing.gained:,}")]
        top5 = f"{pairing.top5_changed:,} ({pairing.top5_beyond_noise:,})"
        rows.append([*row, ("top-5", top5), ("drift", drifts[-1])])
        row = [("<drift", names[case.id]), *zip(("median", "99%", "largest"), drifts, strict=True)]
        moved.append([*row, ("noise floor", f"{pairing.noise_floor.largest:.0e}"), ("McNemar's p", f"{pairing.p:.2g}")])
        blind[pairing.blind] = case.id
    unseen = (f"{identity}: {sentence}" for sentence, identity in blind.items() if sentence)
    found = [Section("", table_of(rows), (CHANGED, _TOP5, _DRIFT, *unseen) if rows else ())]
    note = "noise floor: largest drift by arithmetic alone"
    return [*found, Section("", table_of(moved), (note,))] if details and rows else found


def _expected_section(cases: Sequence[CaseResult]) -> Section:
    """Return a table of the models: their expected accuracy, parameters and multiply-adds."""
    rows = []
    for name, case in {f"{case.model}-{case.weights}": case for case in cases}.items():
        row = [(f"<{_origin(cases)} accuracy", name)]
        for metric, heading in METRICS.items():
            row.append((heading, number(case.expected.counts.percent(metric) if case.expected else None, ".3f")))
        rows.append([*row, ("params", f"{case.parameters / 1e6:.1f}M"), ("GMACs", number(case.gmacs or None, ".2f"))])
    return Section("", table_of(rows))


def _unsized(timing: TimingResult) -> str:
    """Return a timing's id without its batch size, which has a column of its own."""
    return re.sub(r"-b(\d+|auto)(?=$|-cudnn-benchmark$)", "", timing.id)


def throughput_sections(run: Run, *, details: bool = False) -> list[Section]:
    """Return a table of the timings in the order in which they were measured, the missing ones, and ``details``."""
    timings = run.record.timings
    names = short_names([msgspec.structs.replace(timing, id=_unsized(timing)) for timing in timings])
    # What timings must share so that only their settings explain a speed-up.
    shared = {t.id: (t.model, t.weights, t.batch_size, t.cudnn_benchmark) for t in timings}
    first: dict[tuple[object, ...], TimingResult] = {}
    for timing in sorted(timings, key=lambda timing: timing.setting_order):
        first.setdefault(shared[timing.id], timing)
    rows, more, has_speed_ups = [], [], len(first) < len(timings)
    for timing in timings:
        reference = first[shared[timing.id]]
        speed_up = None if timing is reference else timing.images_per_second / reference.images_per_second
        memory = "-" if timing.peak_memory is None else f"{timing.peak_memory / 1e9:.2f} GB"
        head = [("<timing", names[_unsized(timing)]), ("batch", f"{timing.batch_size:,}")]
        row = [("images/s", f"{timing.images_per_second:,.1f}")]
        row += [("speed-up", number(speed_up, ".2f"))] if has_speed_ups else []
        median, p99 = (number(seconds and 1e3 * seconds, ",.2f") for seconds in (timing.median, timing.p99))
        row += [("ms per call", median), ("p99", p99), ("spread", f"{100 * timing.spread:.1f}%")]
        rows.append([*head, *row])
        row = [("calls", f"{len(timing.seconds):,}"), ("GMACs", number(timing.gmacs or None, ".2f"))]
        row += [("TFLOP/s", number(timing.tflops or None, ".3f"))]
        row += [("of peak", f"{100 * timing.share_of_peak:.0f}%" if timing.gmacs else "-")]
        row += [("compile", number(timing.compile_seconds, ",.1f"))] if any(t.compiled for t in timings) else []
        more.append([*head, *row, ("memory", memory)])
    title = "throughput: forward pass only, images on the device, seeded weights"
    found = [Section(title, table_of(rows), tuple(_throughput_notes(run.record, has_speed_ups=has_speed_ups)))]
    peaks = {timing.precision: f"{timing.peak_tflops:.3f} TFLOP/s in {timing.precision}" for timing in timings}
    reached = f"peak: {', '.join(peaks.values())} by a product of large matrices"
    note = f"GMACs: multiply-adds of one image, two operations each; {reached}"
    return [*found, Section("", table_of(more), (note,))] if details and rows else found


def _throughput_notes(record: Record, *, has_speed_ups: bool) -> Iterator[str]:
    if record.timings:
        legend = "; speed-up: over the model's first setting at the same batch size" if has_speed_ups else ""
        p99 = "p99: 99th percentile in ms, from 100 calls on"
        yield f"images/s from the median call; {p99}; spread: interquartile range{legend}"
    yield from _missing_lines(record.missing_timings)
    disturbed = {timing.id: "; ".join(disturbances(timing)) for timing in record.timings}
    yield from disturbed_note(disturbed)
    for timing in record.timings:
        if timing.sweep:
            tried = ", ".join(f"{size}: {speed:,.1f}" for size, speed in timing.sweep)
            yield f"{timing.id}: timed at {timing.batch_size}, as larger batches gain little; images/s by size: {tried}"
        if isinstance(reasons := (timing.clocks or {}).get("throttled"), list) and reasons:
            yield f"{timing.id}: the GPU is throttled by {', '.join(map(str, reasons))}"


def _missing_lines(missing: Sequence[Missing]) -> Iterator[str]:
    """Yield a line for each result that is missing."""
    for result in missing:
        yield f"  {result.id}: {'ERROR, no result (see above)' if result.outcome == ERROR else result.outcome}"


def _top1(run: Run, case: CaseResult) -> NDArray[np.int16]:
    """Return (N,) top-1 predictions; the hashes and samples of the pixels are not read."""
    return run.predictions(msgspec.structs.replace(case, inputs_digest="")).top1
