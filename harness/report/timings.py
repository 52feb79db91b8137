"""The tables of one run's timings."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from harness.records.results import Record, TimingResult
from harness.records.run_folder import Run
from harness.records.speed import disturbances
from harness.report.run import missing_lines, short_names
from harness.report.sections import Section, number, table_of


def throughput_sections(run: Run, *, details: bool = False) -> list[Section]:
    """Return a table of the timings in the order in which they were measured, then the missing ones, and ``details``.

    Each fits 80 columns.
    """
    timings = run.record.timings
    settings = [replace(timing, id=timing.id.rpartition("-b")[0]) for timing in timings]  # without the batch size
    names = short_names(settings)
    first: dict[tuple[str, str, int], TimingResult] = {}
    for timing in sorted(timings, key=lambda timing: timing.setting_order):
        first.setdefault((timing.model, timing.weights, timing.batch_size), timing)
    rows, more, has_speed_ups = [], [], len(first) < len(timings)
    for timing, setting in zip(timings, settings, strict=True):
        reference = first[timing.model, timing.weights, timing.batch_size]
        speed_up = None if timing is reference else timing.images_per_second / reference.images_per_second
        memory = "-" if timing.peak_memory is None else f"{timing.peak_memory / 1e9:.2f} GB"
        head = [("<timing", names[setting.id]), ("batch", f"{timing.batch_size:,}")]
        row = [*head, ("images/s", f"{timing.images_per_second:,.1f}")]
        row += [("speed-up", number(speed_up, ".2f"))] if has_speed_ups else []
        rows.append([*row, ("ms per call", f"{1e3 * timing.median:,.2f}"), ("spread", f"{100 * timing.spread:.1f} %")])
        row = [*head, ("calls", f"{len(timing.seconds):,}"), ("GMACs", f"{timing.gmacs:.2f}")]
        row += [("TFLOP/s", f"{timing.tflops:.3f}"), ("of peak", f"{100 * timing.share_of_peak:.0f} %")]
        more.append([*row, ("memory", memory)])
    legend = "; speed-up: over the model's first setting at the same batch size" if has_speed_ups else ""
    notes = [f"images/s from the median call; spread: interquartile range over median{legend}"] if rows else []
    title = "throughput: forward alone, images on the device, seeded weights"
    sections = [Section(title, table_of(rows), (*notes, *_notes(run.record)))]
    if details and rows:
        peaks = {timing.precision: timing.peak_tflops for timing in timings}
        reached = ", ".join(f"{peak:.3f} TFLOP/s in {precision}" for precision, peak in peaks.items())
        note = f"GMACs: multiply-adds of one image, two operations each; peak: {reached} by a product of large matrices"
        sections.append(Section("", table_of(more), (note,)))
    return sections


def _notes(record: Record) -> Iterator[str]:
    yield from missing_lines(record.missing_timings)
    for timing in record.timings:
        yield from (f"{timing.id}: disturbed: {why}" for why in disturbances(timing))
        if isinstance(reasons := (timing.clocks or {}).get("throttled"), list) and reasons:
            yield f"{timing.id}: the GPU is throttled by {', '.join(map(str, reasons))}"
