"""Tests of the charts of a page, and of the tables beside them."""

from __future__ import annotations

import math
import re
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest

pytest.importorskip("altair", reason="needs the extra report")
pytest.importorskip("jinja2", reason="needs the extra report")
pytest.importorskip("vl_convert", reason="needs the extra report")

from harness.records.results import Missing, Record
from harness.records.run_folder import Run
from harness.report.page.charts import Chart, Point, trade_off
from harness.report.page.render import Part, parts_of
from harness.report.report import report_on
from tests.records import DATASET, case_result, run_record, timing_result, write_run

SVG = "{http://www.w3.org/2000/svg}"
RESNET = case_result("resnet18", gmacs=1.814)
VGG = case_result("vgg16", (1000, 716, 900), gmacs=15.47, images_per_second=100.0)
ALEXNET = case_result("alexnet", (1000, 703, 900), gmacs=0.714)
TOP1_MOVED, SPEED_MOVED = "top-1, in points against the first run", "images/s, in percent against the first run"


def _marks_of(chart: Chart) -> list[tuple[str, float, float]]:
    """Return what each point tells, and where it is."""
    found = []
    for element in ElementTree.fromstring(chart.svg).iter():
        if (title := element.find(f"{SVG}title")) is not None and element.get("aria-roledescription") == "point":
            moved = re.fullmatch(r"translate\(([-\d.]+),([-\d.]+)\)", element.get("transform", ""))
            assert moved is not None
            found.append((str(title.text), float(moved[1]), float(moved[2])))
    return found


def _described_by(chart: Chart) -> list[str]:
    return [description for description, _, _ in _marks_of(chart)]


def _texts_in(chart: Chart) -> set[str]:
    return {str(element.text) for element in ElementTree.fromstring(chart.svg).iter(f"{SVG}text")}


def _timing(model: str, batch_size: int, seconds: tuple[float, ...] = (0.25, 0.5, 0.5, 1.0), **changes: Any) -> Any:
    """Return a timing of 4 calls, whose quartiles are 0.4375 and 0.625 s by linear interpolation."""
    identity = f"{model}-IMAGENET1K_V1-fp32-b{batch_size}"
    return timing_result(model, seconds, id=identity, batch_size=batch_size, **changes)


def _parts(*runs: Run | Record) -> dict[str, Part]:
    found = [run if isinstance(run, Run) else Run(Path(f"run{number}"), run) for number, run in enumerate(runs)]
    return {part.name: part for part in parts_of(report_on(found))}


def _charts(*runs: Run | Record) -> dict[str, Chart]:
    return {chart.title: chart for part in _parts(*runs).values() for chart in part.charts}


def test_charts_are_themed_by_the_page() -> None:
    """Every color is a variable of the page's, so that dark is dark; nothing is fetched; it fits a phone, nearly.

    Where nothing moved, noise looks like noise: the axes go at least to 0.05 points and 5 percent.
    """
    record = run_record([RESNET, VGG, ALEXNET], [_timing("resnet18", 1)])

    charts = _charts(record, record, record)

    assert 5 == len(charts)
    for chart in charts.values():
        colors = set(re.findall(r'(?:fill|stroke)="([^"]+)"', chart.svg))
        addresses = set(re.findall(r"https?://[^\"]+", chart.svg))
        assert {"none", "transparent"} >= {color for color in colors if not color.startswith("var(--")}
        assert {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"} >= addresses
        assert "id=" not in chart.svg  # two charts on a page must not share one
        # The page scales it to 361 pixels on a phone of 390: no text below 11 pixels.
        assert 12 * 361 / 11 >= float(ElementTree.fromstring(chart.svg).get("width", "0")) > 200
    for title, ticks in ((TOP1_MOVED, ["0.00", "0.02", "0.04"]), (SPEED_MOVED, ["0", "2", "4"])):
        numbers = {text for text in _texts_in(charts[title]) if re.fullmatch(r"\N{MINUS SIGN}?[\d.]+", text)}
        assert {*ticks, *(f"\N{MINUS SIGN}{tick}" for tick in ticks[1:])} == numbers


def test_no_name_covers_another_or_a_point() -> None:
    """Of a hundred models in one chart, those that have no room are left out."""
    rng = np.random.default_rng(0)
    values = rng.uniform(1, 10, 100).tolist(), rng.uniform(60, 80, 100).tolist()
    points = [Point(f"model{n}", x, x, x, y, y, y) for n, (x, y) in enumerate(zip(*values, strict=True))]

    chart = trade_off("a", points, "GMACs", "top-1")

    boxes = []
    for element in ElementTree.fromstring(chart.svg).iter(f"{SVG}text"):
        if str(element.text).startswith("model"):
            x, y = map(float, re.findall(r"[-\d.]+", element.get("transform", ""))[:2])
            length = 6.9 * len(str(element.text))
            left = x - length * {"end": 1.0, "middle": 0.5}.get(element.get("text-anchor", ""), 0.0)
            boxes.append((left, left + length, y - 4))
    assert 5 < len(boxes) < 100
    for one, other in combinations(boxes, 2):
        assert one[1] <= other[0] or other[1] <= one[0] or abs(one[2] - other[2]) >= 12
    for left, right, down in boxes:
        assert [] == [1 for _, x, y in _marks_of(chart) if left - 2 < x < right + 2 and abs(y - down) < 8]


def test_top1_stands_against_gmacs_and_images_a_second(tmp_path: Path) -> None:
    """Best first, with the ranks that the images allow; the speed is that of the largest batch that was timed."""
    timings = [_timing("resnet18", 256), _timing("resnet18", 1), _timing("vgg16", 1), Missing("alexnet-b1")]
    unknown = case_result("own", (1000, 100, 900), gmacs=0.0)

    charts = _charts(write_run(tmp_path / "run", run_record([RESNET, VGG, unknown, ALEXNET], timings)))

    vgg, alexnet, resnet = "71.600 (68.73 to 74.31)", "70.300 (67.39 to 73.05)", "70.000 (67.09 to 72.76)"
    assert [
        f"vgg16 (1): GMACs of one image 15.47, top-1 in percent (rank) {vgg}",
        f"alexnet (2-3): GMACs of one image 0.714, top-1 in percent (rank) {alexnet}",
        f"resnet18 (2-3): GMACs of one image 1.814, top-1 in percent (rank) {resnet}",
    ] == _described_by(charts["top-1 against GMACs"])
    assert [
        f"vgg16 (1): images/s 2, top-1 in percent (rank) {vgg}",
        f"resnet18 (2-3): images/s 512, top-1 in percent (rank) {resnet}",
    ] == _described_by(charts["top-1 against images/s: forward alone, largest batch"])
    # Better is higher, more is further right, by the logarithm.
    (vgg_x, vgg_y), (alexnet_x, alexnet_y), (resnet_x, resnet_y) = (
        (x, y) for _, x, y in _marks_of(charts["top-1 against GMACs"])
    )
    across = math.log(15.47 / 1.814) / math.log(1.814 / 0.714)
    assert pytest.approx(across, rel=0.01) == (vgg_x - resnet_x) / (resnet_x - alexnet_x)
    assert pytest.approx(1.6 / 1.3, rel=0.01) == (resnet_y - vgg_y) / (alexnet_y - vgg_y)
    assert 0 < vgg_y < alexnet_y


def test_at_least_three_models_of_real_weights_are_drawn() -> None:
    """Two points show no trade-off, and accuracies of synthetic weights say nothing about an architecture.

    Without timings the gate's own speed will do, as the title says; a model of which none is known has no point.
    """
    unknown = [msgspec.structs.replace(case, images_per_second=0.0) for case in (RESNET, ALEXNET)]
    three = run_record([VGG, *unknown])
    synthetic = msgspec.structs.replace(three, dataset=msgspec.structs.replace(DATASET, name="synthetic"))

    [description] = _described_by(_charts(three)["top-1 against images/s: the whole loop, in the gate"])

    assert description.startswith("vgg16: images/s 100, top-1 in percent 71.600 (")
    assert "models" not in _parts(run_record([RESNET, VGG]))
    assert "models" not in _parts(synthetic)


def test_speeds_have_their_spread() -> None:
    """Those of the run before stand beside them, where they were compared; below them what else grew has a table."""
    old = run_record([], [_timing("resnet18", 8, peak_memory=1_000_000_000, compile_seconds=10.0)])
    grown = _timing("resnet18", 8, (0.2, 0.2, 0.2), peak_memory=1_200_000_000, compile_seconds=20.0)

    part = _parts(old, run_record([], [grown, _timing("vgg16", 8)]))["speed"]

    spread = "16.0 images/s, middle half 12.8 to 18.3, all 8.0 to 32.0"
    assert [
        f"resnet18, before: {spread}",
        "resnet18, now: 40.0 images/s, middle half 40.0 to 40.0, all 40.0 to 40.0",
        f"vgg16, now: {spread}",
    ] == _described_by(part.charts[0])
    before, now, other = (y for _, _, y in _marks_of(part.charts[0]))
    assert 0 < now - before < other - now
    assert ["peak memory, in GB", "seconds of compiling"] == [section.title for section in part.sections][-2:]


def test_batch_sizes_that_were_tried_are_a_chart() -> None:
    """A line for each timing, over all sizes that any of them was tried at."""
    sweeps = {"resnet18": ((1, 20.0), (2, 30.0), (4, 30.5)), "vgg16": ((1, 5.0), (2, 5.1)), "alexnet": ()}

    charts = _charts(run_record([], [_timing(model, 2, sweep=sweep) for model, sweep in sweeps.items()]))

    lines = [f"{model}, {size}: {speed:+.3f}" for model, sweep in sweeps.items() for size, speed in sweep]
    assert lines == _described_by(charts["images/s by batch size"])


def test_a_chart_has_room_for_so_many_rows() -> None:
    """Its title says that there are more; the table has all."""
    part = _parts(run_record([], [_timing(f"model{number}", 1) for number in range(90)]))["speed"]

    [chart], table = part.charts, part.sections[0].table
    assert "images/s: median, middle half and all calls (the first 80 of 90)" == chart.title
    assert 80 == len(_described_by(chart))
    assert table is not None
    assert 90 == len(table.rows)


def test_a_series_shows_what_moved_most() -> None:
    """In points and in percent against the first value; eight lines, and a gap where a run has no value."""

    def record(day: int, *models: int) -> Record:
        cases = [case_result(f"model{number}", (1000, 700 + day * number, 900)) for number in models]
        timings = [_timing("same", 1), _timing("faster", 1, (0.5 / (1 + day),) * 3)]
        return msgspec.structs.replace(run_record(cases, timings), created=f"2026-11-2{day}T20:00:00+00:00")

    charts = _charts(record(0, *range(10)), record(1, *range(9)), record(2, *range(10)))

    days = ["[1] 11-20", "[2] 11-21", "[3] 11-22"]
    top1, speed = charts[TOP1_MOVED], charts[SPEED_MOVED]
    assert [
        f"model{number}, {day}: {0.1 * number * step:+.3f}"
        for number in range(9, 1, -1)
        for step, day in enumerate(days)
        if (number, step) != (9, 1)
    ] == _described_by(top1)
    assert [f"faster, {day}: {100 * step:+.3f}" for step, day in enumerate(days)] == _described_by(speed)[:3]
    assert [f"same, {day}: +0.000" for day in days] == _described_by(speed)[3:]
    assert ("points" in _texts_in(top1), "percent" in _texts_in(speed)) == (True, True)
