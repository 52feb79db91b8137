"""Tests of harness.report.page.render and the template."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

pytest.importorskip("altair", reason="needs the extra report")
pytest.importorskip("jinja2", reason="needs the extra report")
pytest.importorskip("vl_convert", reason="needs the extra report")

from harness.predictions import Predictions
from harness.records.evidence import Bounds, Unpaired
from harness.records.results import DatasetFacts, Missing, Record
from harness.records.run_folder import Run
from harness.report.page.changes import Thumbnails
from harness.report.page.render import page_of
from harness.report.report import Judging, report_on
from tests.records import case_result, counted, predictions_of, run_record, swapped_by, timing_result, write_run

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'
RESNET, VGG = case_result("resnet18"), case_result("vgg16", (1000, 720, 900))
TIMINGS = [timing_result(model, [0.25, 0.26, 0.27, 0.3]) for model in ("resnet18", "vgg16")]
RECORD = run_record([RESNET, VGG], TIMINGS)
PREDICTIONS = predictions_of(RESNET)
TEN = dict.fromkeys(range(10), 1.0)


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.values: dict[str, list[str]] = defaultdict(list)  # of each attribute
        self.headings: list[str] = re.findall("<h2>(.*?)</h2>", html)
        self.levels = [int(level) for level in re.findall(r"<h(\d)", html)]
        self.text = ""
        self.feed(html)
        rows = re.findall("<tr>(.*?)</tr>", html, re.DOTALL)
        self.rows = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in rows]  # the cells as they are written

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag and its attributes; one that would run something is rejected."""
        self.tags[tag] += 1
        for name, value in attrs:
            assert not name.startswith("on")
            self.values[name].append(str(value))

    def handle_data(self, data: str) -> None:
        """Take the text."""
        self.text += data


def _page(*runs: Run, **given: Any) -> Page:
    return Page(page_of(report_on(runs, **given), Thumbnails(None)))


def _changed(tmp_path: Path, before: Predictions = PREDICTIONS, leads: dict[int, float] = TEN) -> list[Run]:
    """Write two runs, in the second of which ten images of ResNet18 are wrong that were correct."""
    after = swapped_by(before, leads)
    worse = msgspec.structs.replace(RECORD, cases=(counted(after, expected=RESNET.expected), VGG))
    old = write_run(tmp_path / "old", RECORD, resnet18=before)
    return [old, write_run(tmp_path / "new", worse, resnet18=after)]


def _on(**facts: str | None) -> Record:
    environment = msgspec.structs.replace(RECORD.environment, **facts)
    return msgspec.structs.replace(RECORD, environment=environment)


def test_a_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    """No script, no request, and each link of it leads to a part of it; ids are unique."""
    page = _page(*_changed(tmp_path))

    links, ids = page.values["href"], page.values["id"]
    assert 0 == page.tags["script"] == page.tags["link"] == page.tags["iframe"]
    assert all(source.startswith("data:") for source in page.values["src"])
    assert links
    assert {link.removeprefix("#") for link in links} <= set(ids)
    assert len(ids) == len(set(ids))


def test_parts_are_in_the_order_in_which_they_are_read(tmp_path: Path) -> None:
    """Verdict, changed predictions, series, environment, cases, speed, how to reproduce.

    The verdict on a case is its second column, before the numbers, with ranks or without.
    """
    old, new = _changed(tmp_path)

    page, without = (_page(old, old, run) for run in (new, Run(new.path / "record.json", new.record)))

    parts = ["Changed predictions", "Across runs", "Environment", "Cases", "Speed", "How to reproduce"]
    assert parts == page.headings
    assert 1 + 2 == page.tags["svg"]
    assert page.text.index("FAILED: 1 of 4 results: resnet18-IMAGENET1K_V1-fp32: top-1: measured") < 500
    assert ["resnet18-IMAGENET1K_V1-fp32", "FAILED", "10 of 1,000", "10", "10", "0", "0.002"] == page.rows[1]
    # One heading of the first level, and below each at most one level more.
    assert (1, 1) == (page.levels[0], page.levels.count(1))
    assert [] == [pair for pair in pairwise(page.levels) if pair[1] > pair[0] + 1]
    assert ["model", "outcome", "rank"] in [row[:3] for row in page.rows]
    heads = [row[:3] for row in without.rows]
    assert ["model", "outcome", "top-1"] in heads
    assert ["accuracy", "outcome", "top-1"] in heads
    assert ["speed", "verdict", "old"] in heads
    # The predictions that changed have cards, and are not listed again.
    assert "resnet18-IMAGENET1K_V1-fp32: 10 now wrong, 0 now correct" in page.text
    assert "0000.JPEG: class" not in page.text


def test_how_to_reproduce_is_what_was_typed(tmp_path: Path) -> None:
    """With the versions, without their build, and paths quoted; a run that others made has no versions to name.

    Results that would be replaced, and builds from elsewhere, are mentioned.
    """
    made = _on(torch="2.15.0.dev20261124+cu130", torchvision="0.30.0.dev20261124+cu130")
    record = msgspec.structs.replace(made, commands=("python -m pytest --models 'resnet*' --results=base",))
    runs = [write_run(tmp_path / name, record) for name in ("a; touch b", "new")]
    no_versions = dict.fromkeys(("torch", "torchvision", "numpy", "pillow"))

    page = _page(*runs, judging=Judging(("speed",)))
    released, others = (_page(Run(Path("run.json"), one)) for one in (_on(torch="2.9.1+cu128"), _on(**no_versions)))

    text = page.text.partition("How to reproduce\n")[2]
    assert "pip install --pre torch==2.15.0.dev20261124 torchvision==0.30.0.dev20261124 " in text
    assert "python -m pytest --models 'resnet*' --results=base\n" in text
    assert f"imagenet-gate compare '{tmp_path}/a; touch b' {tmp_path}/new --fail-on=speed\n" in text
    assert "torch was 2.15.0.dev20261124+cu130: local and nightly builds" in text
    assert "--results names the folder of this run" in text
    assert "pip install torch==2.9.1 torchvision==0.24.1 numpy==2.4.6 pillow==13.0.0\n" in released.text
    assert "pip install" not in others.text


def test_what_runs_lack_is_on_the_page() -> None:
    """Also where only timings were made; why nothing changed, and that there is nothing to draw."""
    old, new = (run_record([], [timing_result(model), TIMINGS[1]]) for model in ("gone", "new"))
    nothing = run_record([Missing("alexnet-fp32", "error", "no weights")], [Missing("alexnet-fp32-b1")])

    alone, page = _page(Run(Path("new"), new)), _page(Run(Path("old"), old), Run(Path("new"), new))
    empty = _page(Run(Path("new.json"), nothing))

    assert ["Changed predictions", "Environment", "Speed", "How to reproduce"] == alone.headings
    assert "One run alone has no changed predictions." in alone.text
    assert "The two runs have no evaluated case in common." in page.text
    assert "In one run only, or without a result" in page.headings
    assert "gone-IMAGENET1K_V1-fp32-b32: missing from the new run" in page.text
    assert "new-IMAGENET1K_V1-fp32-b32: only in the new run" in page.text
    assert 0 == empty.tags["svg"]
    assert "alexnet-fp32: no weights (and 1 more)" in empty.text
    assert "accuracy in percent: nothing was evaluated" in empty.text


def test_cards_tell_correct_from_wrong_and_near_ties_from_others(tmp_path: Path) -> None:
    """By class and by word."""
    tied = replace(swapped_by(PREDICTIONS, {0: 1e-5}), top=PREDICTIONS.top)

    html = page_of(report_on(_changed(tmp_path, before=tied, leads={0: 1e-5, 1: 1.0})), Thumbnails(None))

    assert 1 == html.count('<li class="card"') == html.count('<li class="card near-tie"')
    assert html.index('<li class="card"') < html.index("0001.JPEG") < html.index('<li class="card near-tie"')
    best = [" ".join(part.split()) for part in re.findall(r"<ol>\n<li class=(.*?</span>)", html)]
    assert [
        '"correct" style="--share: 100.0%"><span>class 1</span>',
        '"wrong" style="--share: 100.0%"><span>class 2</span>',
    ] * 2 == best
    assert 1 == html.count("now wrong, near-tie")


def test_classes_are_called_as_the_newest_run_calls_them(tmp_path: Path) -> None:
    """An older record may not tell; where none does, the images' folder may."""
    old, new = _changed(tmp_path)

    def named(run: Run, *names: str) -> Run:
        assert run.record.dataset is not None
        dataset = msgspec.structs.replace(run.record.dataset, class_names=names)
        return replace(run, record=msgspec.structs.replace(run.record, dataset=dataset))

    assert "label: b" in _page(named(old, *"xyz56789"), named(new, *"abc56789")).text
    assert "label: y" in _page(named(old, *"xyz56789"), new).text
    assert "label: class 1" in _page(old, new).text


def test_names_show_as_text(tmp_path: Path) -> None:
    """Of files, classes, models, splits, environments and commands."""
    classes = tuple(f"{HOSTILE}{number}" for number in range(10))
    case = case_result(HOSTILE, id=HOSTILE, weights=HOSTILE, notes=(HOSTILE,))
    record = msgspec.structs.replace(
        run_record([case], [timing_result(HOSTILE)], torch=HOSTILE, cpu=HOSTILE, device="cpu"),
        dataset=DatasetFacts(HOSTILE, "d1", 1000, 1000, 10, classes),
        commands=(HOSTILE,),
    )
    before = replace(PREDICTIONS, ids=np.char.add(PREDICTIONS.ids, HOSTILE))
    after = swapped_by(before, TEN)
    failed = msgspec.structs.replace(
        case, counts=counted(after).counts, bounds=(Bounds(HOSTILE, 2.0, high=1.0, detail=HOSTILE),)
    )
    missing = (Missing(f"x{HOSTILE}", "error", HOSTILE),)
    old = write_run(tmp_path / "old", record, **{HOSTILE: before})
    worse = msgspec.structs.replace(record, cases=(failed,), missing_cases=missing)
    new = write_run(tmp_path / "new", worse, **{HOSTILE: after})

    page = _page(old, old, new)

    assert 0 == page.tags["script"] == page.tags["img"]
    assert page.text.count(HOSTILE) > 30
    assert f"0000.JPEG{HOSTILE}" in page.text
    assert f"label: {HOSTILE}1; now wrong" in page.text


def test_a_series_has_a_grid_of_outcomes() -> None:
    """Cases by runs, the newest first, in words and in symbols; those that failed most often come first."""
    bad = msgspec.structs.replace(VGG, bounds=(Bounds("own", 2.0, high=1.0),))
    warned = msgspec.structs.replace(RESNET, baseline=Unpaired("missing", "why"))
    lost = Missing("alexnet-fp32", "error", "no weights")
    records = [run_record([RESNET, VGG]), run_record([warned, bad]), run_record([RESNET, bad, lost])]

    page = _page(*(Run(Path(f"{number}"), record) for number, record in enumerate(records)))

    start = page.rows.index(["case", "[3]", "[2]", "[1]"])
    assert [
        ["vgg16", "✗ failed", "✗ failed", "✓ passed"],
        ["alexnet-fp32", "✗ error", " -", " -"],
        ["resnet18", "✓ passed", "! warning", "✓ passed"],
    ] == [
        [" ".join(re.findall(">(.*?)</span>", cell)) or cell for cell in row]
        for row in page.rows[start + 1 : start + 4]
    ]
