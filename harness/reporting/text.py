"""What one run measured, as parts of a report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from harness.evaluation.setting import DEFAULT, MEMORY_FORMATS
from harness.gate.scores import METRICS
from harness.gate.stats import mcnemar
from harness.gate.tolerance import FLOORS
from harness.gate.verdict import WARNED
from harness.reporting.case_record import CaseRecord
from harness.reporting.environment import UNKNOWN
from harness.reporting.record import ERROR, SplitFacts, Unmeasured, measured_cases, measured_timings, unmeasured
from harness.reporting.section import Section
from harness.reporting.table import Table
from harness.reporting.timing_record import TimingRecord

# Neighbours in the ranking whose difference is less sure than this are ties.
SIGNIFICANT = 0.05
TIE = "~"
_ENOUGH_CALLS = 10

_THROUGHPUT_TITLE = "throughput: forward alone, images on the device, seeded weights"


def run_sections(
    cases: Sequence[CaseRecord | Unmeasured], timings: Sequence[TimingRecord | Unmeasured], split: SplitFacts | None
) -> list[Section]:
    """Return all that is to be told of one run: its cases, and its timings."""
    accuracy = accuracy_sections(measured_cases(cases), unmeasured(cases), split) if cases else []
    speed = [throughput_section(measured_timings(timings), unmeasured(timings))] if timings else []
    return [*accuracy, *speed]


def accuracy_sections(
    records: Sequence[CaseRecord], missing: Sequence[Unmeasured], split: SplitFacts | None
) -> list[Section]:
    """Return all that is to be told of the cases of one run: accuracy, settings, and the baseline.

    Args:
        records: of one split.
        missing: cases that were due and have no values.
    """
    where = f"{split.name}, {split.images:,} images" if records and split else "nothing was evaluated"
    accuracy = accuracy_section(records, missing, f"accuracy in percent: {where}")
    return [accuracy, *filter(None, (settings_section(records), baseline_section(records)))]


def accuracy_section(records: Iterable[CaseRecord], missing: Sequence[Unmeasured], title: str = "") -> Section:
    """Return a table of the cases, best top-1 first, then those that were not measured."""
    ranked = ranking(records)
    origin = next((record.expected.origin for record in ranked if record.expected), "expected")
    head = ["", "model", "weights", "top-1", origin, "diff", "top-5", origin, "diff"]
    head += ["params", "GFLOPs", "images/s", "verdict"]
    rows = [
        _row(record, tie=above is not None and are_tied(above, record))
        for above, record in zip([None, *ranked], ranked, strict=False)
    ]
    lines = list(_missing_lines(missing))
    if any(row[0] == TIE for row in rows):
        lines.append(
            f"{TIE} not significantly different from the row above on the same images "
            f"(top-1, exact McNemar test, p >= {SIGNIFICANT})"
        )
    could_miss: dict[str, float] = {}
    for check in (check for record in ranked for check in record.verdict.checks if check.could_miss):
        could_miss[check.name] = max(check.could_miss, could_miss.get(check.name, 0.0))
    if could_miss:
        drops = " and of ".join(f"{name} by up to {drop:.2f} points" for name, drop in could_miss.items())
        lines.append(f"judged on a subset of the images, which could miss a drop of {drops}")
    lines += [f"{record.id}: {record.note}" for record in ranked if record.note]
    return Section(title, Table(head, rows, frozenset({0, 1, 2, len(head) - 1})), tuple(lines))


def ranking(records: Iterable[CaseRecord]) -> list[CaseRecord]:
    """Return the cases, best top-1 first."""
    return sorted(records, key=lambda record: (-record.measured.top1, record.id))


def settings_section(records: Sequence[CaseRecord]) -> Section | None:
    """Return a table of the models that were evaluated in several settings, each against its first; or None."""
    rows = []
    for several in _in_several_settings(records):
        first = several[0]
        rows.append([first.model, first.weights, str(first.setting), *_percents(first), *["-"] * 3, _speed(first), "-"])
        for record in several[1:]:
            gained = [record.measured.percent(metric) - first.measured.percent(metric) for metric in METRICS]
            known = record.best and first.best  # a JSON file tells of no image
            changed = f"{np.sum(record.best_classes() != first.best_classes()):,}" if known else "-"
            speed_up = record.images_per_second / first.images_per_second
            row = [record.model, record.weights, str(record.setting), *_percents(record)]
            rows.append([*row, *(f"{points:+.3f}" for points in gained), changed, _speed(record), f"{speed_up:.2f}"])
    if not rows:
        return None
    head = ["model", "weights", "setting", "top-1", "top-5", "diff", "diff", "changed", "images/s", "speed-up"]
    lines = ["diff: of top-1 and top-5 against the model's first setting; changed: images with another best class"]
    if any(record.compiled for record in records):
        lines.append("images/s of compiled models: with the time of compiling, which -m throughput leaves out")
    return Section("", Table(head, rows, frozenset({0, 1, 2})), tuple(lines))


def _in_several_settings(records: Sequence[CaseRecord]) -> Iterator[list[CaseRecord]]:
    by_model: dict[tuple[str, str], list[CaseRecord]] = {}
    for record in sorted(records, key=_setting_order):
        by_model.setdefault((record.model, record.weights), []).append(record)
    yield from (several for several in by_model.values() if len(several) > 1)


def _setting_order(record: CaseRecord | TimingRecord) -> tuple[int, int, bool]:
    """Return the place of a setting: the default first, whatever order processes or merged runs came in."""
    formats = [*MEMORY_FORMATS, UNKNOWN]  # as of predictions that others published
    return list(FLOORS).index(record.precision), formats.index(record.memory_format), record.compiled


def _percents(record: CaseRecord) -> list[str]:
    return [f"{record.measured.percent(metric):.3f}" for metric in METRICS]


def _speed(record: CaseRecord) -> str:
    return f"{record.images_per_second:,.0f}"


def baseline_section(records: Sequence[CaseRecord]) -> Section | None:
    """Return a table of the cases that were paired with a baseline, and what is to be said of them; or None."""
    paired = [(record, record.paired) for record in records if record.paired is not None]
    warnings = [
        line
        for record in records
        for check in record.verdict.checks
        if check.outcome == WARNED
        for line in f"warning: {record.id}: {check.name}: {check.detail}".split("\n")
    ]
    if not paired:
        return Section("", None, tuple(warnings)) if warnings else None
    head = ["against the baseline", "changed", "real", "lost", "gained", "p", "top-5", "drift: median", "99 %"]
    head += ["largest", "floor"]
    legend = (
        "changed: images with another best class; real: those that arithmetic alone cannot have changed",
        "drift: of an image's logits, in units of their spread; floor: what arithmetic moves at most",
    )
    return Section("", Table(head, [_paired_row(*pair) for pair in paired], frozenset({0})), (*legend, *warnings))


def _paired_row(record: CaseRecord, paired: dict[str, Any]) -> list[str]:
    counts = [f"{paired[name]:,}" for name in ("changed", "real", "lost", "gained")]
    drift = paired["drift"]
    moved = ["-"] * 3 if drift is None else [f"{drift[name]:.0e}" for name in ("median", "p99", "largest")]
    floor = f"{paired['floor']['largest']:.0e}"
    return [record.id, *counts, f"{paired['p']:.2g}", f"{paired['top5_changed']:,}", *moved, floor]


def throughput_section(records: Iterable[TimingRecord], missing: Sequence[Unmeasured]) -> Section:
    """Return a table of the timings in the order in which they were made, then those that have no values."""
    records = list(records)
    speed_ups = _speed_ups(records)
    head = [
        "timing",
        "images/s",
        *(["speed-up"] if speed_ups else []),
        "ms a call",
        "spread",
        "calls",
        "GFLOPs",
        "TFLOP/s",
        "of peak",
        "memory",
    ]
    rows = [
        [
            record.id,
            f"{record.images_per_second:,.1f}",
            *([speed_ups.get(record.id, "-")] if speed_ups else []),
            f"{1e3 * record.median:,.2f}",
            f"{100 * record.spread:.1f} %",
            f"{len(record.seconds):,}",
            f"{record.gflops:.2f}",
            f"{record.tflops:.3f}",
            f"{100 * record.share_of_peak:.0f} %",
            "-" if record.peak_memory is None else f"{record.peak_memory / 1e9:.2f} GB",
        ]
        for record in records
    ]
    lines = []
    if rows:
        peaks = {record.precision: record.peak_tflops for record in records}
        lines.append(
            "images/s from the median call; "
            + ("speed-up: against the model's first setting, in batches of one size; " if speed_ups else "")
            + "spread: interquartile range over median; peak: "
            + ", ".join(f"{peak:.3f} TFLOP/s in {precision}" for precision, peak in peaks.items())
            + " by a product of large matrices"
        )
    lines += _missing_lines(missing)
    for record in records:
        # Of long calls there are too few to tell.
        if not record.warm_up["stable"] and record.warm_up["calls"] > _ENOUGH_CALLS:
            lines.append(f"{record.id}: not stable after {record.warm_up['seconds']:.1f} s of warm-up")
        if record.clocks and record.clocks["throttled"]:
            lines.append(f"{record.id}: the GPU is held back by {', '.join(record.clocks['throttled'])}")
    return Section(_THROUGHPUT_TITLE, Table(head, rows, frozenset({0})), tuple(lines))


def _speed_ups(records: Sequence[TimingRecord]) -> dict[str, str]:
    """Return how much faster each is than its model's first setting in batches of its size, by id; of others."""
    first: dict[tuple[str, str, int], TimingRecord] = {}
    for record in sorted(records, key=_setting_order):
        first.setdefault((record.model, record.weights, record.batch_size), record)
    return {
        record.id: f"{record.images_per_second / reference.images_per_second:.2f}"
        for record in records
        if (reference := first[record.model, record.weights, record.batch_size]) is not record
    }


def _missing_lines(missing: Sequence[Unmeasured]) -> Iterator[str]:
    for case in missing:
        yield f"  {case.id}: {'ERROR, no values (the reason stands above)' if case.outcome == ERROR else case.outcome}"


def _row(record: CaseRecord, *, tie: bool) -> list[str]:
    setting = "" if record.setting == DEFAULT else f" {record.setting}"
    cells = [TIE if tie else "", record.model, f"{record.weights}{setting}"]
    for metric in METRICS:
        percent = record.measured.percent(metric)
        cells.append(f"{percent:.3f}")
        if record.expected is None:
            cells += ["-", "-"]
        else:
            expected = record.expected.hits.percent(metric)
            cells += [f"{expected:.3f}", f"{percent - expected:+.3f}"]
    cells += [f"{record.parameters / 1e6:.1f}M", f"{record.gflops:.2f}", f"{record.images_per_second:,.0f}"]
    return [*cells, record.outcome if record.verdict.held else "FAILED"]


def are_tied(first: CaseRecord, second: CaseRecord) -> bool:
    """Tell whether the two models' top-1 could well differ by chance, from their answers to the same images."""
    if not (first.correct and second.correct):
        return False  # a JSON file tells of no image
    a, b = first.correct_bits(), second.correct_bits()
    return mcnemar(int(np.sum(a & ~b)), int(np.sum(b & ~a))) >= SIGNIFICANT
