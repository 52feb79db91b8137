"""A report -> the page: its parts, tables and charts, laid out by a Jinja template."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import jinja2
import numpy as np

from harness.compare.statistics import wilson_interval
from harness.dataset import SYNTHETIC
from harness.records.results import ERROR, CaseResult, TimingResult
from harness.records.run_folder import Run
from harness.records.speed import Limits
from harness.report.comparison import differences, environment_section, series_sections
from harness.report.page.changes import Thumbnails, changes
from harness.report.page.charts import Bar, Chart, Lines, Point, series, speeds, trade_off
from harness.report.report import Report
from harness.report.run import accuracy_sections, rank_ranges, ranking, short_names, shown, throughput_sections
from harness.report.sections import Section, Table, by_cause, table_of
from harness.verdict import FAILED, WARNING

_PINNED = ("torch", "torchvision", "numpy", "pillow")
_MOST_ROWS, _MOST_LINES, _FEWEST_MODELS = 80, 8, 3
# The axes of a series go at least so far up and down, so that noise looks like noise.
_LEAST_POINTS, _LEAST_PERCENT = 0.05, 5.0


def page_of(report: Report, thumbnails: Thumbnails) -> str:
    """Return the page, as HTML, with those pictures of changed predictions that may be shown."""
    loader = jinja2.PackageLoader("harness.report.page", ".")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    # By a run's record, or else by the images.
    recorded = (run.record.dataset.class_names for run in reversed(report.runs) if run.record.dataset)
    class_names = next(filter(None, recorded), thumbnails.class_names)
    return environment.get_template("page.html.jinja").render(
        report=report,
        parts=list(parts_of(report)),
        changes=changes(report.comparison, thumbnails, class_names) if report.comparison else [],
        pictures=thumbnails,
        by_cause=by_cause,
        shown=shown,
        commands=_commands(report),
    )


def _commands(report: Report) -> list[str]:
    """Return the commands that make this run again."""
    facts = report.record.environment.facts
    pinned = [f"{name}=={facts[name].partition('+')[0]}" for name in _PINNED if name in facts]
    pre = "--pre " if ".dev" in facts.get("torch", "") else ""
    commands = [f"pip install {pre}{' '.join(pinned)}"] if pinned else []
    commands += report.record.commands
    if report.comparison is not None:
        paths = [str(run.path) for run in (report.comparison.old, report.comparison.new)]
        commands.append(shlex.join(["imagenet-gate", "compare", *paths, *report.judging.arguments()]))
    return commands


class Part(NamedTuple):
    """A part of the page: its id in links, its heading, its tables and lines, and the charts below them."""

    name: str
    title: str
    sections: Sequence[Section]
    charts: Sequence[Chart] = ()
    grid: Table | None = None


def parts_of(report: Report) -> Iterator[Part]:
    """Yield the parts that are made of tables and charts, in the order of the page."""
    record, ranks = report.record, rank_ranges(report.newest)
    compared = differences(report.comparison, report.headline.reasons) if report.comparison else {}
    if report.is_series:
        charts = list(_series_charts(report.runs))
        yield Part("series", "Across runs", series_sections(report.runs), charts, _grid(report.runs))
    yield Part("environment", "Environment", [environment_section(report.newest, report.comparison)])
    if record.cases or record.missing_cases:
        accuracy = [_without_images(compared["accuracy"])] if "accuracy" in compared else []
        yield Part("cases", "Cases", [*accuracy_sections(report.newest, ranks, details=True), *accuracy])
    if "missing" in compared:
        yield Part("missing", "In one run only, or without a result", [compared["missing"]])
    is_real = record.dataset is not None and record.dataset.name != SYNTHETIC
    if is_real and len({case.model for case in record.cases}) >= _FEWEST_MODELS:
        yield Part("models", "Models compared", [], list(_trade_offs(record.cases, record.timings, ranks)))
    if record.timings or record.missing_timings:
        speed = [compared[kind] for kind in Limits._fields if kind in compared]
        yield Part(
            "speed", "Speed", [*throughput_sections(report.newest, details=True), *speed], list(_speed_charts(report))
        )


def _without_images(section: Section) -> Section:
    """Return the section without its list of changed predictions, which the page shows as cards."""
    return replace(section, lines=tuple(line for line in section.lines if not line.startswith(" ")))


def _trade_offs(
    cases: Sequence[CaseResult], timings: Sequence[TimingResult], ranks: Mapping[str, str]
) -> Iterator[Chart]:
    names = short_names(cases)
    by_batch_size = sorted(timings, key=lambda timing: timing.batch_size)
    largest = {timing.id.rpartition("-b")[0]: timing for timing in by_batch_size}
    by_gmacs, by_speed = [], []
    for case in ranking(cases):
        name = f"{names[case.id]} ({ranks[case.id]})" if ranks else names[case.id]
        top1 = (case.counts.percent("top1"), *wilson_interval(case.counts.top1, case.counts.images))
        if case.gmacs > 0:
            by_gmacs.append(Point(name, case.gmacs, case.gmacs, case.gmacs, *top1))
        if (timing := largest.get(case.id)) is not None:
            _, first, median, third, _ = _speeds(timing)
            by_speed.append(Point(name, median, first, third, *top1))
        elif (speed := case.images_per_second) > 0 and not largest:
            by_speed.append(Point(name, speed, speed, speed, *top1))
    y_title = "top-1 in percent (rank)" if ranks else "top-1 in percent"
    if by_gmacs:
        yield trade_off("top-1 against GMACs", by_gmacs, "GMACs of one image", y_title)
    if by_speed:
        how = "forward alone, largest batch" if largest else "the whole loop, in the gate"
        yield trade_off(f"top-1 against images/s: {how}", by_speed, "images/s", y_title)


def _speed_charts(report: Report) -> Iterator[Chart]:
    timings = report.record.timings
    old = {} if report.comparison is None else {pair.new.id: pair.old for pair in report.comparison.of_kind("speed")}
    names, bars = short_names(timings[:_MOST_ROWS]), []
    for timing in timings[:_MOST_ROWS]:
        if timing.id in old:
            bars.append(Bar(names[timing.id], "before", *_speeds(old[timing.id])))
        bars.append(Bar(names[timing.id], "now" if old else "", *_speeds(timing)))
    more = f" (the first {_MOST_ROWS} of {len(timings)})" if len(timings) > _MOST_ROWS else ""
    if bars:
        yield speeds(f"images/s: median, middle half and all calls{more}", bars)
    swept = {names[timing.id]: dict(timing.sweep) for timing in timings[:_MOST_ROWS] if timing.sweep}
    sizes = sorted({size for rates in swept.values() for size in rates})
    lines = {name: tuple(rates.get(size) for size in sizes) for name, rates in list(swept.items())[:_MOST_LINES]}
    if lines:
        yield series("images/s by batch size", lines, [f"{size}" for size in sizes], "images/s", least=0)


def _speeds(timing: TimingResult) -> tuple[float, ...]:
    """Return images/s of the slowest call, at the quartiles, and of the fastest call."""
    return tuple(timing.batch_size / seconds for seconds in np.percentile(timing.seconds, (100, 75, 50, 25, 0)))


def _series_charts(runs: Sequence[Run]) -> Iterator[Chart]:
    labels = [f"[{number}] {run.record.created[5:10]}" for number, run in enumerate(runs, start=1)]
    top1 = [{case.id: case.counts.percent("top1") for case in run.record.cases} for run in runs]
    rates = [{timing.id: timing.images_per_second for timing in run.record.timings} for run in runs]
    cases = short_names([case for run in runs for case in run.record.cases])
    timings = short_names([timing for run in runs for timing in run.record.timings])
    if points := _moved_most(top1, lambda value, first: value - first, cases):
        yield series("top-1, in points against the first run", points, labels, "points", least=_LEAST_POINTS)
    if shares := _moved_most(rates, lambda value, first: 100 * (value / first - 1), timings):
        yield series("images/s, in percent against the first run", shares, labels, "percent", least=_LEAST_PERCENT)


def _grid(runs: Sequence[Run]) -> Table | None:
    """Return the outcome of each case in each run, newest first; the cases that failed most often come first."""
    names = short_names([case for run in runs for case in run.record.cases])
    rows: dict[str, list[str]] = {}
    for index, run in enumerate(reversed(runs)):
        outcomes = {missing.id: missing.outcome for missing in run.record.missing_cases}
        for key, outcome in (outcomes | {case.id: case.outcome for case in run.record.cases}).items():
            rows.setdefault(key, ["-"] * len(runs))[index] = outcome
    bad = {key: [sum(map(row.count, (FAILED, ERROR))), row.count(WARNING)] for key, row in rows.items()}
    heads = [f"[{number}]" for number in range(len(runs), 0, -1)]
    most = sorted(rows, key=bad.__getitem__, reverse=True)
    return table_of([[("<case", names.get(key, key)), *zip(heads, rows[key], strict=True)] for key in most])


def _moved_most(
    by_run: Sequence[dict[str, float]], difference: Callable[[float, float], float], names: dict[str, str]
) -> Lines:
    """Return the lines that moved most over the runs, against their first values."""
    lines: Lines = {}
    for key, name in names.items():
        first = next(found[key] for found in by_run if key in found)
        lines[name] = tuple(difference(found[key], first) if key in found else None for found in by_run)
    most = sorted(lines, key=lambda name: -max(abs(value) for value in lines[name] if value is not None))
    return {name: lines[name] for name in most[:_MOST_LINES]}
