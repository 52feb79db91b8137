"""The table of what one run timed."""

from __future__ import annotations

from collections.abc import Iterator

from harness.records.results import Record, TimingResult
from harness.records.run_folder import Run
from harness.records.speed import disturbances, p99_of
from harness.report.run import missing_lines
from harness.report.sections import Section, number, table_of


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
        p99 = p99_of(timing.seconds)
        row += [("ms per call", f"{1e3 * timing.median:,.2f}"), ("p99", number(p99 and 1e3 * p99, ",.2f"))]
        row += [("spread", f"{100 * timing.spread:.1f} %")]
        row += [("calls", f"{len(timing.seconds):,}"), ("GMACs", f"{timing.gmacs:.2f}")]
        row += [("TFLOP/s", f"{timing.tflops:.3f}"), ("of peak", f"{100 * timing.share_of_peak:.0f} %")]
        row += [("compile", number(timing.compile_seconds, ",.1f"))] if any(t.setting.compiled for t in timings) else []
        rows.append([*row, ("memory", memory)])
    legend = "speed-up: over the model's first setting at the same batch size; " if has_speed_ups else ""
    title = "throughput: forward alone, images on the device, seeded weights"
    return Section(title, table_of(rows), tuple(_throughput_notes(run.record, legend)))


def _throughput_notes(record: Record, legend: str) -> Iterator[str]:
    if record.timings:
        peaks = {timing.precision: timing.peak_tflops for timing in record.timings}
        reached = ", ".join(f"{peak:.3f} TFLOP/s in {precision}" for precision, peak in peaks.items())
        yield (
            f"images/s from the median call; {legend}p99: ms, of 100 calls or more; spread: interquartile range over "
            f"median; GMACs: multiply-adds of one image, two operations each; peak: {reached} by a product of large "
            "matrices"
        )
    yield from missing_lines(record.missing_timings)
    for timing in record.timings:
        if timing.sweep:
            tried = ", ".join(f"{size}: {speed:,.1f}" for size, speed in timing.sweep)
            yield f"{timing.id}: timed at {timing.batch_size}, as larger batches gain little; images/s by size: {tried}"
        yield from (f"{timing.id}: disturbed: {why}" for why in disturbances(timing))
        if isinstance(reasons := (timing.clocks or {}).get("throttled"), list) and reasons:
            yield f"{timing.id}: the GPU is throttled by {', '.join(map(str, reasons))}"
