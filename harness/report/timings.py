"""The tables of one run's timings."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from harness.records.results import Record, TimingResult
from harness.records.run_folder import Run
from harness.records.speed import disturbances, p99_of
from harness.report.run import missing_lines, short_names
from harness.report.sections import Section, number, table_of


def throughput_sections(run: Run, *, details: bool = False) -> list[Section]:
    """Return a table of the timings in the order in which they were measured, the missing ones, and ``details``."""
    timings = run.record.timings
    names = short_names([replace(timing, id=timing.id.rpartition("-b")[0]) for timing in timings])
    first: dict[tuple[str, str, int], TimingResult] = {}
    for timing in sorted(timings, key=lambda timing: timing.setting_order):
        first.setdefault((timing.model, timing.weights, timing.batch_size), timing)
    rows, more, has_speed_ups = [], [], len(first) < len(timings)
    for timing in timings:
        reference = first[timing.model, timing.weights, timing.batch_size]
        speed_up = None if timing is reference else timing.images_per_second / reference.images_per_second
        memory = "-" if timing.peak_memory is None else f"{timing.peak_memory / 1e9:.2f} GB"
        head = [("<timing", names[timing.id.rpartition("-b")[0]]), ("batch", f"{timing.batch_size:,}")]
        row = [("images/s", f"{timing.images_per_second:,.1f}")]
        row += [("speed-up", number(speed_up, ".2f"))] if has_speed_ups else []
        median, p99 = (number(seconds and 1e3 * seconds, ",.2f") for seconds in (timing.median, p99_of(timing.seconds)))
        row += [("ms per call", median), ("p99", p99), ("spread", f"{100 * timing.spread:.1f} %")]
        rows.append([*head, *row])
        row = [("calls", f"{len(timing.seconds):,}"), ("GMACs", f"{timing.gmacs:.2f}")]
        row += [("TFLOP/s", f"{timing.tflops:.3f}"), ("of peak", f"{100 * timing.share_of_peak:.0f} %")]
        row += [("compile", number(timing.compile_seconds, ",.1f"))] if any(t.compiled for t in timings) else []
        more.append([*head, *row, ("memory", memory)])
    title = "throughput: forward alone, images on the device, seeded weights"
    found = [Section(title, table_of(rows), tuple(_notes(run.record, has_speed_ups=has_speed_ups)))]
    peaks = {timing.precision: f"{timing.peak_tflops:.3f} TFLOP/s in {timing.precision}" for timing in timings}
    reached = f"peak: {', '.join(peaks.values())} by a product of large matrices"
    note = f"GMACs: multiply-adds of one image, two operations each; {reached}"
    return [*found, Section("", table_of(more), (note,))] if details and rows else found


def _notes(record: Record, *, has_speed_ups: bool) -> Iterator[str]:
    if record.timings:
        legend = "; speed-up: over the model's first setting at the same batch size" if has_speed_ups else ""
        yield f"images/s from the median call; p99: ms, of 100 calls or more; spread: interquartile range{legend}"
    yield from missing_lines(record.missing_timings)
    for timing in record.timings:
        if timing.sweep:
            tried = ", ".join(f"{size}: {speed:,.1f}" for size, speed in timing.sweep)
            yield f"{timing.id}: timed at {timing.batch_size}, as larger batches gain little; images/s by size: {tried}"
        yield from (f"{timing.id}: disturbed: {why}" for why in disturbances(timing))
        if isinstance(reasons := (timing.clocks or {}).get("throttled"), list) and reasons:
            yield f"{timing.id}: the GPU is throttled by {', '.join(map(str, reasons))}"
