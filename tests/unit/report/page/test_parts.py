"""Tests of harness.report.page.render's parts: what the tables say, and what the charts are given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("altair", reason="needs the extra report")
pytest.importorskip("vl_convert", reason="needs the extra report")

from harness.compare.statistics import wilson_interval
from harness.records.results import CaseResult, Missing, Record
from harness.records.run_folder import Run
from harness.report.page import render
from harness.report.page.charts import Bar, Chart, Point
from harness.report.report import report_on
from harness.report.sections import Section
from tests.records import case_result, run_record, timing_result, write_run

RESNET = case_result("resnet18", gmacs=1.814)
VGG = case_result("vgg16", (1000, 716, 900), gmacs=15.47, images_per_second=100.0)
ALEXNET = case_result("alexnet", (1000, 703, 900), gmacs=0.714, parameters=61_100_840)
# Of 4 calls: quartiles by linear interpolation.
SECONDS = (0.25, 0.5, 0.5, 1.0)


def _timing(model: str, batch_size: int, **changes: Any) -> Any:
    return timing_result(
        model, SECONDS, id=f"{model}-IMAGENET1K_V1-fp32-b{batch_size}", batch_size=batch_size, **changes
    )


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Any, ...]]:
    """What charts were asked for, by title, in the place of drawing them."""
    asked: dict[str, tuple[Any, ...]] = {}

    def draw(title: str, *given: Any, least: float = 0.0) -> Chart:
        asked[title] = (*given, least) if least else given
        return Chart(title, "")

    for name in ("trade_off", "speeds", "series"):
        monkeypatch.setattr(render, name, draw)
    return asked


def _parts(*records: Record) -> dict[str, render.Part]:
    runs = [Run(Path(f"run{number}"), record) for number, record in enumerate(records)]
    return _parts_of(*runs)


def _parts_of(*runs: Run) -> dict[str, render.Part]:
    return {part.name: part for part in render.parts_of(report_on(runs))}


def _rows(section: Section) -> Sequence[Sequence[str]]:
    assert section.table is not None
    return section.table.rows


def test_points_are_named_with_their_ranks(drawn: dict[str, Any], tmp_path: Path) -> None:
    """Best first, with the ranks that the images allow."""
    unknown = case_result("own", (1000, 100, 900), gmacs=0.0, parameters=0)

    _parts_of(write_run(tmp_path / "run", run_record([RESNET, VGG, unknown, ALEXNET])))

    assert ["vgg16 (1)", "alexnet (2-3)", "resnet18 (2-3)"] == [p.name for p in drawn["top-1 against GMACs"][0]]


def _interval(case: CaseResult) -> tuple[float, float]:
    return wilson_interval(case.counts.top1, case.counts.images)


def test_top1_stands_against_gmacs_and_images_a_second(drawn: dict[str, Any]) -> None:
    """The speed is that of the largest batch that was timed, with the middle half of its calls."""
    timings = [_timing("resnet18", 256), _timing("resnet18", 1), _timing("vgg16", 1), Missing("alexnet-b1")]
    _parts(run_record([RESNET, VGG, ALEXNET], timings))

    [points, x_title, y_title] = drawn["top-1 against GMACs"]
    assert points == [
        Point("vgg16", 15.47, 15.47, 15.47, 71.6, *_interval(VGG)),
        Point("alexnet", 0.714, 0.714, 0.714, 70.3, *_interval(ALEXNET)),
        Point("resnet18", 1.814, 1.814, 1.814, 70.0, *_interval(RESNET)),
    ]
    assert (x_title, y_title) == ("GMACs of one image", "top-1 in percent")
    [points, *_] = drawn["top-1 against images/s: forward alone, largest batch"]
    assert points == [
        Point("vgg16", 2.0, 1 / 0.625, 1 / 0.4375, 71.6, *_interval(VGG)),
        Point("resnet18", 512.0, 256 / 0.625, 256 / 0.4375, 70.0, *_interval(RESNET)),
    ]


def test_without_timings_the_gates_own_speed_will_do(drawn: dict[str, Any]) -> None:
    """It has no interval; the title says what it is; a model of which none is known has no point."""
    unknown = [msgspec.structs.replace(case, images_per_second=0.0) for case in (RESNET, ALEXNET)]
    _parts(run_record([VGG, *unknown]))

    [points, *_] = drawn["top-1 against images/s: the whole loop, in the gate"]
    assert points == [Point("vgg16", 100.0, 100.0, 100.0, 71.6, *_interval(VGG))]


def test_fewer_than_three_models_or_synthetic_weights_are_not_drawn(drawn: dict[str, Any]) -> None:
    """Two points show no trade-off, and accuracies of synthetic weights say nothing about an architecture."""
    synthetic = run_record([RESNET, VGG, ALEXNET])
    assert synthetic.dataset is not None
    facts = msgspec.structs.replace(synthetic.dataset, name="synthetic")

    pages = [_parts(run_record([RESNET, VGG])), _parts(msgspec.structs.replace(synthetic, dataset=facts))]

    assert [] == [title for title in drawn if title.startswith("top-1 against")]
    assert [] == [page for page in pages if "models" in page]


def test_names_tell_results_of_a_model_apart(drawn: dict[str, Any]) -> None:
    """Precision, weights or batch size stand there only where they differ for one model."""
    half = msgspec.structs.replace(RESNET, id="resnet18-IMAGENET1K_V1-bf16", precision="bf16")
    _parts(run_record([RESNET, half, VGG, ALEXNET], [_timing("resnet18", 1), _timing("resnet18", 32)]))

    assert [point.name for point in drawn["top-1 against GMACs"][0]] == [
        "vgg16",
        "alexnet",
        "resnet18 bf16",
        "resnet18 fp32",
    ]
    assert [bar.name for bar in drawn["images/s: median, middle half and all calls"][0]] == [
        "resnet18 b1",
        "resnet18 b32",
    ]


def test_speeds_have_their_spread(drawn: dict[str, Any]) -> None:
    """Those of the run before stand beside them, where they were compared."""
    old = run_record([], [_timing("resnet18", 8)])
    new = run_record(
        [], [msgspec.structs.replace(_timing("resnet18", 8), seconds=(0.2, 0.2, 0.2)), _timing("vgg16", 8)]
    )
    _parts(old, new)

    assert drawn["images/s: median, middle half and all calls"] == (
        [
            Bar("resnet18", "before", 8.0, 8 / 0.625, 16.0, 8 / 0.4375, 32.0),
            Bar("resnet18", "now", 40.0, 40.0, 40.0, 40.0, 40.0),
            Bar("vgg16", "now", 8.0, 8 / 0.625, 16.0, 8 / 0.4375, 32.0),
        ],
    )


@pytest.mark.usefixtures("drawn")
def test_memory_and_compiling_that_grew_stand_with_the_speeds() -> None:
    """Their tables, below that of the speeds."""
    old = run_record([], [_timing("resnet18", 8, peak_memory=1_000_000_000, compile_seconds=10.0)])
    new = run_record([], [_timing("resnet18", 8, peak_memory=1_200_000_000, compile_seconds=20.0)])

    titles = [section.title for section in _parts(old, new)["speed"].sections]

    assert ["peak memory, in GB", "seconds of compiling"] == titles[-2:]


def test_batch_sizes_that_were_tried_are_a_chart(drawn: dict[str, Any]) -> None:
    """A line for each timing, over all sizes that any of them was tried at."""
    _parts(
        run_record(
            [],
            [
                _timing("resnet18", 2, sweep=((1, 20.0), (2, 30.0), (4, 30.5))),
                _timing("vgg16", 1, sweep=((1, 5.0), (2, 5.1))),
                _timing("alexnet", 8),
            ],
        )
    )

    lines = {"resnet18": (20.0, 30.0, 30.5), "vgg16": (5.0, 5.1, None)}
    assert (lines, ["1", "2", "4"], "images/s") == drawn["images/s by batch size"]


def test_a_chart_has_room_for_so_many_rows(drawn: dict[str, Any]) -> None:
    """Its title says that there are more; the table has all."""
    page = _parts(run_record([], [_timing(f"model{number}", 1) for number in range(90)]))

    [(title, (bars,))] = drawn.items()
    assert title == "images/s: median, middle half and all calls (the first 80 of 90)"
    assert len(bars) == 80
    assert len(_rows(page["speed"].sections[0])) == 90


def test_a_series_shows_what_moved_most(drawn: dict[str, Any]) -> None:
    """In points and in percent against the first value; eight lines, and a gap where a run has no value."""
    models = [f"model{number}" for number in range(10)]

    def record(day: int, gone: str = "") -> Record:
        cases = [
            case_result(model, (1000, 700 + day * number, 900)) for number, model in enumerate(models) if model != gone
        ]
        timings = [_timing("model1", 1), msgspec.structs.replace(_timing("model2", 1), seconds=(0.5 / (1 + day),) * 3)]
        return msgspec.structs.replace(run_record(cases, timings), created=f"2026-11-2{day}T20:00:00+00:00")

    _parts(record(0), record(1, gone="model9"), record(2))

    [lines, labels, unit, least] = drawn["top-1, in points against the first run"]
    assert list(lines) == models[:1:-1]
    assert lines["model9"] == pytest.approx((0.0, None, 1.8))
    assert labels == ["[1] 11-20", "[2] 11-21", "[3] 11-22"]
    assert (unit, least) == ("points", 0.05)
    [lines, _, unit, least] = drawn["images/s, in percent against the first run"]
    assert list(lines.items()) == [("model2", (0.0, 100.0, 200.0)), ("model1", (0.0, 0.0, 0.0))]
    assert (unit, least) == ("percent", 5.0)


def test_changed_predictions_are_not_listed_twice() -> None:
    """The page has cards for them; what else the comparison says stays."""
    listed = Section("accuracy", None, ("legend", "resnet18: 2 now wrong", "    a.JPEG: class 1 -> 2"))

    assert render._without_images(listed).lines == ("legend", "resnet18: 2 now wrong")
