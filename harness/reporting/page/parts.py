"""What each part of the page shows: tables and charts, from a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from harness.gate.stats import wilson_interval
from harness.reporting.case_record import CaseRecord
from harness.reporting.comparison_text import series_sections
from harness.reporting.page.architectures import architecture_of
from harness.reporting.page.charts import Bar, Chart, Line, Point, series, speeds, trade_off
from harness.reporting.record import measured_cases, measured_timings, unmeasured
from harness.reporting.report import Report, comparison_sections, environment_of
from harness.reporting.run_folder import Run
from harness.reporting.section import Section
from harness.reporting.table import Table
from harness.reporting.text import SIGNIFICANT, TIE, accuracy_sections, are_tied, ranking, throughput_section
from harness.reporting.timing_record import TimingRecord

_MOST_ROWS = 80
_MOST_LINES = 8
# Of a series: what moves less than this, up or down, looks as if it did not.
_LEAST_POINTS, _LEAST_PERCENT = 0.05, 5.0


@dataclass(frozen=True)
class Part:
    """A part of the page.

    Attributes:
        name: by which it is linked to.
        charts: below the tables.
    """

    name: str
    title: str
    sections: tuple[Section, ...] = ()
    charts: tuple[Chart, ...] = ()


def parts_of(report: Report) -> Iterator[Part]:
    """Yield the parts that are made of tables and charts, in the order of the page."""
    record = report.record
    cases, timings = measured_cases(record.cases), measured_timings(record.timings)
    differences = comparison_sections(report)
    accuracy = [_without_images(section) for section in differences if section.title.startswith("accuracy")]
    speed = [section for section in differences if section.title.startswith("speed")]
    others = [section for section in differences if section not in speed and not section.title.startswith("accuracy")]
    yield Part("environment", "Environment", (environment_of(report),))
    if record.cases:
        yield Part("cases", "Cases", (*accuracy_sections(cases, unmeasured(record.cases), record.split), *accuracy))
    if others:
        yield Part("missing", "In one run only, or without values", tuple(others))
    if cases:
        yield Part("models", "Models compared", (_models(cases),), tuple(_trade_offs(cases, timings)))
    if record.timings:
        sections = (throughput_section(timings, unmeasured(record.timings)), *speed)
        yield Part("speed", "Speed", sections, tuple(_speed_charts(report, timings)))
    if report.is_series:
        yield Part("series", "Across runs", tuple(series_sections(report.runs)), tuple(_series_charts(report.runs)))


def _without_images(section: Section) -> Section:
    """Return the section without its list of changed answers, which the page shows as cards."""
    return replace(section, lines=tuple(line for line in section.lines if not line.startswith(" ")))


def _models(cases: Sequence[CaseRecord]) -> Section:
    """Return the ranking, with what each model is."""
    ranked, names = ranking(cases), _short(cases)
    rows = []
    for rank, (above, case) in enumerate(zip([None, *ranked], ranked, strict=False), start=1):
        low, high = wilson_interval(case.measured.top1, case.measured.n)
        known = architecture_of(case.model)
        size = "-" if case.weights_bytes is None else f"{case.weights_bytes / 1e6:,.1f} MB"
        rows.append(
            [
                f"{TIE if above is not None and are_tied(above, case) else ''}{rank}",
                names[case.id],
                f"{case.measured.percent('top1'):.3f}",
                f"{low:.2f} to {high:.2f}",
                f"{case.parameters / 1e6:.1f}M" if case.parameters else "-",
                f"{case.gflops:.2f}" if case.gflops else "-",
                size,
                str(known.year) if known else "-",
                known.idea if known else "-",
            ]
        )
    tied = (
        f"{TIE} not significantly different from the row above on the same images "
        f"(exact McNemar test, p >= {SIGNIFICANT})"
    )
    head = ["", "model", "top-1", "95 % interval", "params", "GFLOPs", "weights", "year", "idea"]
    return Section(
        "",
        Table(head, rows, frozenset({0, 1, 3, 8})),
        (
            *([tied] if any(row[0].startswith(TIE) for row in rows) else []),
            "interval: Wilson's, for other images such as these; GFLOPs: multiply-adds of one image; weights: bytes of "
            "all parameters and buffers",
        ),
    )


def _trade_offs(cases: Sequence[CaseRecord], timings: Sequence[TimingRecord]) -> Iterator[Chart]:
    names, ranked = _short(cases), ranking(cases)
    fastest = {_case_of(timing): timing for timing in sorted(timings, key=lambda timing: timing.batch_size)}
    by_gflops, by_speed = [], []
    for case in ranked:
        top1, interval = case.measured.percent("top1"), wilson_interval(case.measured.top1, case.measured.n)
        if case.gflops > 0:
            by_gflops.append(Point(names[case.id], case.gflops, top1, None, interval))
        if (timing := fastest.get(case.id)) is not None:
            first, median, third = _quartiles(timing)
            by_speed.append(Point(names[case.id], median, top1, (first, third), interval))
        elif case.images_per_second > 0 and not fastest:
            by_speed.append(Point(names[case.id], case.images_per_second, top1, None, interval))
    if by_gflops:
        yield trade_off("top-1 against GFLOPs", by_gflops, "GFLOPs of one image", "top-1 in percent")
    if by_speed:
        how = "forward alone, largest batch" if fastest else "the whole loop, in the gate"
        yield trade_off(f"top-1 against images/s: {how}", by_speed, "images/s", "top-1 in percent")


def _speed_charts(report: Report, timings: Sequence[TimingRecord]) -> Iterator[Chart]:
    old = {} if report.comparison is None else {pair.new.id: pair.old for pair in report.comparison.speed}
    shown = timings[:_MOST_ROWS]
    if not shown:
        return
    names = _short(shown)
    bars = []
    for timing in shown:
        if timing.id in old:
            bars.append(_bar(names[timing.id], "before", old[timing.id]))
        bars.append(_bar(names[timing.id], "now" if old else "", timing))
    more = f" (the first {_MOST_ROWS} of {len(timings)})" if len(timings) > len(shown) else ""
    yield speeds(f"images/s: median, middle half and all calls{more}", bars)


def _bar(name: str, run: str, timing: TimingRecord) -> Bar:
    slowest, fastest = max(timing.seconds), min(timing.seconds)
    return Bar(name, run, _quartiles(timing), (timing.batch_size / slowest, timing.batch_size / fastest))


def _series_charts(runs: Sequence[Run]) -> Iterator[Chart]:
    labels = [f"[{number}] {run.record.created[5:10]}" for number, run in enumerate(runs, start=1)]
    cases = [measured_cases(run.record.cases) for run in runs]
    timings = [measured_timings(run.record.timings) for run in runs]
    top1 = [{case.id: case.measured.percent("top1") for case in found} for found in cases]
    rates = [{timing.id: timing.images_per_second for timing in found} for found in timings]
    points = _moved_most(top1, lambda value, first: value - first, _short([*chain.from_iterable(cases)]))
    shares = _moved_most(rates, lambda value, first: 100 * (value / first - 1), _short([*chain.from_iterable(timings)]))
    if points:
        yield series("top-1, in points against the first run", points, labels, "points", least=_LEAST_POINTS)
    if shares:
        yield series("images/s, in percent against the first run", shares, labels, "percent", least=_LEAST_PERCENT)


def _moved_most(
    by_run: Sequence[dict[str, float]], difference: Callable[[float, float], float], names: dict[str, str]
) -> list[Line]:
    """Return the lines of what moved most over the runs, against its first value."""
    lines = []
    for key, name in names.items():
        first = next(found[key] for found in by_run if key in found)
        lines.append(Line(name, tuple(difference(found[key], first) if key in found else None for found in by_run)))
    lines.sort(key=lambda line: -max(abs(value) for value in line.values if value is not None))
    return lines[:_MOST_LINES]


def _quartiles(timing: TimingRecord) -> tuple[float, float, float]:
    """Return images a second: that of the slower quarter of the calls, of the median call, of the faster quarter."""
    third, median, first = np.percentile(timing.seconds, (75, 50, 25))
    return timing.batch_size / third, timing.batch_size / median, timing.batch_size / first


def _case_of(timing: TimingRecord) -> str:
    return timing.id.rpartition("-b")[0]


def _short(results: Sequence[CaseRecord | TimingRecord]) -> dict[str, str]:
    """Return names by id: the model, and what tells results of one model apart."""
    parts: dict[str, dict[str, list[str]]] = {}
    for result in results:
        parts.setdefault(result.model, {})[result.id] = result.id.removeprefix(result.model).split("-")
    names = {}
    for model, by_id in parts.items():
        common = set.intersection(*map(set, by_id.values()))
        for identity, found in by_id.items():
            names[identity] = " ".join([model, *(part for part in found if part and part not in common)])
    return names
