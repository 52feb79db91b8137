"""The tables of one run: accuracy, settings, the comparison with its baseline, and throughput."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.precision import DEFAULT
from harness.records.evidence import METRICS, Pairing
from harness.records.results import ERROR, CaseResult, Missing, Record, TimingResult, ranking
from harness.records.run_folder import Run
from harness.report.sections import Section, Table
from harness.stats import mcnemar
from harness.verdict import FAILED, WARNING

TIE = "~"
TIE_NOTE = f"{TIE} not significantly different from the row above on the same images"
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
    return [section for section in found if section is not None]


def tied_cases(run: Run) -> frozenset[str]:
    """Return the ids of the cases whose top-1 is not significantly different from that of the case ranked above."""
    if not run.holds_predictions or not run.record.cases:
        return frozenset()
    _, targets = run.labels
    ranked = ranking(run.record.cases)
    correct = [_top1(run, case) == targets for case in ranked]
    return frozenset(
        case.id
        for case, above, here in zip(ranked[1:], correct[:-1], correct[1:], strict=True)
        if mcnemar(int((above & ~here).sum()), int((here & ~above).sum())) >= _SIGNIFICANT
    )


def throughput_section(run: Run) -> Section:
    """Return a table of the timings in the order in which they were measured, then the missing ones."""
    timings = run.record.timings
    speed_ups = _speed_ups(timings)
    head = ["timing", "images/s", *(["speed-up"] if speed_ups else []), "ms per call", "spread", "calls"]
    head += ["GMACs", "TFLOP/s", "of peak", "memory"]
    rows = [
        [
            timing.id,
            f"{timing.images_per_second:,.1f}",
            *([speed_ups.get(timing.id, "-")] if speed_ups else []),
            f"{1e3 * timing.median:,.2f}",
            f"{100 * timing.spread:.1f} %",
            f"{len(timing.seconds):,}",
            f"{timing.gmacs:.2f}",
            f"{timing.tflops:.3f}",
            f"{100 * timing.share_of_peak:.0f} %",
            "-" if timing.peak_memory is None else f"{timing.peak_memory / 1e9:.2f} GB",
        ]
        for timing in timings
    ]
    legend = "speed-up: over the model's first setting at the same batch size; " if speed_ups else ""
    title = "throughput: forward alone, images on the device, seeded weights"
    return Section(title, Table(head, rows, frozenset({0})), tuple(_throughput_notes(run.record, legend)))


def _speed_ups(timings: Sequence[TimingResult]) -> dict[str, str]:
    """Return the speed of each timing over its model's first setting at the same batch size, by id."""
    first: dict[tuple[str, str, int], TimingResult] = {}
    for timing in sorted(timings, key=lambda timing: timing.setting_order):
        first.setdefault((timing.model, timing.weights, timing.batch_size), timing)
    return {
        timing.id: f"{timing.images_per_second / reference.images_per_second:.2f}"
        for timing in timings
        if (reference := first[timing.model, timing.weights, timing.batch_size]) is not timing
    }


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
        if timing.clocks and timing.clocks.get("throttled"):
            yield f"{timing.id}: the GPU is throttled by {', '.join(timing.clocks['throttled'])}"


def _accuracy_section(run: Run, tied: Collection[str]) -> Section:
    """Return a table of the cases, best top-1 first, then the missing ones."""
    ranked, dataset = ranking(run.record.cases), run.record.dataset
    where = f"{dataset.name}, {dataset.images:,} images" if ranked and dataset else "nothing was evaluated"
    origin = next((case.expected.origin for case in ranked if case.expected), "expected")
    head = ["", "model", "weights", "top-1", origin, "diff", "top-5", origin, "diff"]
    head += ["params", "GMACs", "images/s", "outcome"]
    lines = list(_missing_lines(run.record.missing_cases))
    if any(case.id in tied for case in ranked):
        lines.append(f"{TIE_NOTE} (top-1, exact McNemar test, p >= {_SIGNIFICANT})")
    could_miss: dict[str, float] = {}
    for check in (check for case in ranked for check in case.verdict.checks if check.could_miss):
        could_miss[check.name] = max(check.could_miss, could_miss.get(check.name, 0.0))
    if could_miss:
        drops = " and of ".join(f"{name} by up to {drop:.2f} points" for name, drop in could_miss.items())
        lines.append(f"judged on a subset of the images, which could miss a drop of {drops}")
    lines += [f"{case.id}: {note}" for case in ranked for note in case.notes]
    table = Table(head, [_accuracy_row(case, tied) for case in ranked], frozenset({0, 1, 2, len(head) - 1}))
    return Section(f"accuracy in percent: {where}", table, tuple(lines))


def _accuracy_row(case: CaseResult, tied: Collection[str]) -> list[str]:
    setting = "" if case.setting == DEFAULT else f" {case.setting}"
    cells = [TIE if case.id in tied else "", case.model, f"{case.weights}{setting}"]
    for metric in METRICS:
        percent = case.counts.percent(metric)
        expected = case.expected.counts.percent(metric) if case.expected else None
        cells.append(f"{percent:.3f}")
        cells += ["-", "-"] if expected is None else [f"{expected:.3f}", f"{percent - expected:+.3f}"]
    cells += [f"{case.parameters / 1e6:.1f}M", f"{case.gmacs:.2f}", f"{case.images_per_second:,.0f}"]
    return [*cells, shown(case.outcome)]


def shown(outcome: str) -> str:
    """Return an outcome as tables show it: a failure in capitals."""
    return outcome.upper() if outcome == FAILED else outcome


def _settings_section(run: Run) -> Section | None:
    """Return a table of the models that were evaluated in several settings, each compared with its first; or None."""
    by_model: dict[tuple[str, str], list[CaseResult]] = {}
    for case in sorted(run.record.cases, key=lambda case: case.setting_order):
        by_model.setdefault((case.model, case.weights), []).append(case)
    rows = []
    for cases in by_model.values():
        for case in cases if len(cases) > 1 else ():
            gained, changed, speed_up = ["-", "-"], "-", "-"
            if case is not (first := cases[0]):
                gained = [f"{case.counts.percent(m) - first.counts.percent(m):+.3f}" for m in METRICS]
                if run.holds_predictions:
                    changed = f"{np.sum(_top1(run, case) != _top1(run, first)):,}"
                if first.images_per_second:
                    speed_up = f"{case.images_per_second / first.images_per_second:.2f}"
            accuracy = [f"{case.counts.percent(metric):.3f}" for metric in METRICS]
            speed = f"{case.images_per_second:,.0f}"
            rows.append([case.model, case.weights, str(case.setting), *accuracy, *gained, changed, speed, speed_up])
    if not rows:
        return None
    head = ["model", "weights", "setting", "top-1", "top-5", "diff", "diff", "changed", "images/s", "speed-up"]
    lines = ["diff: to the model's first setting, top-1 and top-5; changed: images with another top-1 prediction"]
    if any(case.compiled for case in run.record.cases):
        lines.append("images/s of compiled models: with the time of compiling, which -m throughput leaves out")
    return Section("", Table(head, rows, frozenset({0, 1, 2})), tuple(lines))


def _baseline_section(cases: Sequence[CaseResult]) -> Section | None:
    """Return a table of the cases that were compared with a baseline, and all warnings; or None."""
    checks = [(case.id, check) for case in cases for check in case.verdict.checks if check.outcome == WARNING]
    reasons = [f"warning: {identity}: {check.name}: {check.detail}" for identity, check in checks]
    warnings = [line for reason in reasons for line in reason.split("\n")]
    rows = [_pairing_row(case.id, case.baseline) for case in cases if isinstance(case.baseline, Pairing)]
    if not rows:
        return Section("", None, tuple(warnings)) if warnings else None
    head = ["against the baseline", "changed", "beyond noise", "lost", "gained", "p", "top-5", "drift: median", "99 %"]
    head += ["largest", "noise floor"]
    legend = (
        "changed: images with another top-1 prediction; beyond noise: those that arithmetic alone cannot explain",
        "drift: of the logits of an image, in units of the logit scale; noise floor: what arithmetic moves at most",
    )
    return Section("", Table(head, rows, frozenset({0})), (*legend, *warnings))


def _pairing_row(identity: str, pairing: Pairing) -> list[str]:
    counts = (pairing.changed, pairing.beyond_noise, pairing.lost, pairing.gained)
    drift = pairing.drift
    moved = ["-"] * 3 if drift is None else [f"{part:.0e}" for part in (drift.median, drift.p99, drift.largest)]
    cells = [identity, *(f"{count:,}" for count in counts), f"{pairing.p:.2g}", f"{pairing.top5_changed:,}", *moved]
    return [*cells, f"{pairing.noise_floor.largest:.0e}"]


def _missing_lines(missing: Sequence[Missing]) -> Iterator[str]:
    for result in missing:
        yield f"  {result.id}: {'ERROR, no result (see above)' if result.outcome == ERROR else result.outcome}"


def _top1(run: Run, case: CaseResult) -> NDArray[np.int16]:
    """Return (N,) top-1 predictions; the hashes and samples of the pixels are not read."""
    return run.predictions(msgspec.structs.replace(case, inputs_digest="")).top1
