"""Tests of harness.reporting.page.render and the template."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("altair", reason="needs the extra report")
pytest.importorskip("jinja2", reason="needs the extra report")
pytest.importorskip("vl_convert", reason="needs the extra report")

from harness.gate.verdict import Check, Verdict
from harness.reporting.compare import FAILURES
from harness.reporting.page.render import page_of
from harness.reporting.page.thumbnails import Thumbnails
from harness.reporting.record import Record, SplitFacts, Unmeasured
from harness.reporting.report import report_on
from harness.reporting.run_folder import Run
from tests.records import answers_of, case_record, run_record, timing_record, write_run

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'
RESNET, VGG = case_record("resnet18"), case_record("vgg16", np.arange(1000) < 720)
TIMINGS = [
    timing_record(model, [0.25, 0.26, 0.27, 0.3], id=f"{model}-IMAGENET1K_V1-fp32-b32")
    for model in ("resnet18", "vgg16")
]
RECORD = replace(run_record([RESNET, VGG], TIMINGS), commands=("python -m pytest -m imagenet --models 'resnet*'",))


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.headings: list[str] = []
        self.text = ""
        self._heading = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Count the tag, and note what it names; one that would run something is refused."""
        self.tags[tag] += 1
        values = dict(attrs)
        assert not any(name.startswith("on") for name in values)
        self.ids += [str(values["id"])] if "id" in values else []
        self.links += [str(values["href"])] if "href" in values else []
        self.sources += [str(values["src"])] if "src" in values else []
        self._heading = tag == "h2"

    def handle_data(self, data: str) -> None:
        """Take the text."""
        self.text += data
        if self._heading:
            self.headings.append(data)
            self._heading = False


def _page(*runs: Run, thumbnails: Thumbnails | None = None) -> Page:
    report = report_on(runs, fail_on=FAILURES, max_slowdown=0.05, noise=0.07)
    return Page(page_of(report, thumbnails or Thumbnails(None)))


def _changed(tmp_path: Path, record: Record = RECORD) -> list[Run]:
    """Write two runs, in the second of which ten images of ResNet18 are wrong that were right."""
    answers = answers_of(RESNET)
    top5 = answers.top5.copy()
    top5[:10, :2] = top5[:10, 1::-1]
    after = replace(answers, top5=top5)
    worse = replace(record, cases=(replace(RESNET, measured=after.hits), VGG))
    return [write_run(tmp_path / "old", record), write_run(tmp_path / "new", worse, resnet18=after)]


def test_a_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    """No script, no request, and each link of it leads to a part of it; ids are unique."""
    page = _page(*_changed(tmp_path))

    assert page.tags["script"] == page.tags["link"] == page.tags["iframe"] == 0
    assert all(source.startswith("data:") for source in page.sources)
    assert page.links
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)


def test_parts_are_in_the_order_in_which_they_are_read(tmp_path: Path) -> None:
    """Verdict, environment, cases, models, speed, series, changed answers, how to reproduce."""
    old, new = _changed(tmp_path)

    page = _page(old, old, new)

    assert page.headings == [
        "Environment",
        "Cases",
        "Models compared",
        "Speed",
        "Across runs",
        "Changed answers",
        "How to reproduce",
    ]
    assert page.tags["svg"] == 2 * (2 + 1 + 2)
    assert page.text.index("FAILED: 1 of 4 results: resnet18-IMAGENET1K_V1-fp32: top-1 differs by") < 500
    assert "resnet18-IMAGENET1K_V1-fp32: 10 of 1,000 answers changed, 10 real; 10 right to wrong" in page.text


def test_one_run_alone_says_what_more_there_could_be() -> None:
    """And has no series."""
    page = _page(Run(Path("runs/new"), RECORD))

    assert "Across runs" not in page.headings
    assert "One run alone has no changed answers." in page.text


def test_how_to_reproduce_is_what_was_typed(tmp_path: Path) -> None:
    """With the versions, without their build; a run that others made has no versions to name."""
    page = _page(*_changed(tmp_path, replace(RECORD, environment=replace(RECORD.environment, torch="2.9.1+cu128"))))

    commands = page.text.partition("How to reproduce")[2]
    assert "pip install torch==2.9.1 torchvision==0.24.1 numpy==2.4.6 pillow==13.0.0\n" in commands
    assert "python -m pytest -m imagenet --models 'resnet*'\n" in commands
    assert f"python -m harness compare {tmp_path}/old {tmp_path}/new\n" in commands


def test_what_is_typed_again_is_quoted_and_explained(tmp_path: Path) -> None:
    """A path is no command; results that would be replaced, and builds from elsewhere, are told of."""
    environment = replace(RECORD.environment, torch="2.15.0.dev20261124+cu130", torchvision="0.30.0.dev20261124+cu130")
    record = replace(RECORD, environment=environment, commands=("python -m pytest --results=base",))
    runs = [write_run(tmp_path / name, record) for name in ("a; touch b", "new")]

    page = page_of(report_on(runs, fail_on=("speed",), max_slowdown=0.05, noise=0.07), Thumbnails(None))

    text = Page(page).text.partition("How to reproduce\n")[2]
    assert "pip install --pre torch==2.15.0.dev20261124 torchvision==0.30.0.dev20261124 " in text
    assert f"python -m harness compare '{tmp_path}/a; touch b' {tmp_path}/new --fail-on=speed\n" in text
    assert "torch was 2.15.0.dev20261124+cu130: another build" in text
    assert "--results names the folder of this very run" in text


def test_what_one_run_lacks_is_on_the_page() -> None:
    """Also where only timings were made."""
    old = run_record([], [replace(TIMINGS[0], id="gone-b1"), TIMINGS[1]])
    new = run_record([], [TIMINGS[1], replace(TIMINGS[0], id="new-b1")])

    page = _page(Run(Path("old"), old), Run(Path("new"), new))

    assert "In one run only, or without values" in page.headings
    assert "gone-b1: is not in the new run" in page.text
    assert "new-b1: only in the new run" in page.text


def test_others_runs_have_no_versions_to_name() -> None:
    """As predictions that were published: there is nothing to install."""
    made_on = replace(RECORD.environment, torch="unknown", torchvision="unknown", numpy="unknown", pillow="unknown")

    page = _page(Run(Path("runs/study"), replace(RECORD, environment=made_on, commands=())))

    assert "pip install" not in page.text


def test_cards_tell_right_from_wrong_and_near_ties_from_real_changes(tmp_path: Path) -> None:
    """By class and by word."""
    answers = answers_of(RESNET)
    assert answers.logits is not None
    top5, logits = answers.top5.copy(), answers.logits.copy()
    top5[:2, :2] = top5[:2, 1::-1]
    logits[0, 0] = logits[0, 1] + np.float32(1e-5)
    old = write_run(tmp_path / "old", RECORD, resnet18=replace(answers, logits=logits))
    after = replace(answers, top5=top5)
    new = write_run(
        tmp_path / "new", replace(RECORD, cases=(replace(RESNET, measured=after.hits), VGG)), resnet18=after
    )

    html = page_of(report_on([old, new], fail_on=(), max_slowdown=0.05, noise=0.07), Thumbnails(None))

    assert html.count('<li class="card">') == html.count('<li class="card near-tie">') == 1
    assert html.index('<li class="card">') < html.index("0001.JPEG") < html.index('<li class="card near-tie">')
    assert html.count('before: <span class="right">class 1</span>') == 2
    assert html.count('now: <span class="wrong">class 2</span>') == 2
    assert html.count("lost, a near-tie") == 1


def test_classes_are_called_as_the_newest_run_calls_them(tmp_path: Path) -> None:
    """An older record may not tell; where none does, the images' folder may."""
    old, new = _changed(tmp_path)

    def named(run: Run, *names: str) -> Run:
        assert run.record.split is not None
        return replace(run, record=replace(run.record, split=replace(run.record.split, class_names=names)))

    assert "label: b" in _page(named(old, "x", "y", "z"), named(new, "a", "b", "c")).text
    assert "label: y" in _page(named(old, "x", "y", "z"), new).text
    assert "label: class 1" in _page(old, new).text


def test_names_show_as_text(tmp_path: Path) -> None:
    """Of files, classes, models, splits, environments and commands."""
    split = SplitFacts(HOSTILE, "d1", 1000, 1000, 10, tuple(f"{HOSTILE}{number}" for number in range(10)))
    case = replace(RESNET, id=HOSTILE, model=HOSTILE, weights=HOSTILE, note=HOSTILE)
    answers = answers_of(RESNET)
    answers = replace(answers, ids=np.array([f"{identity}{HOSTILE}" for identity in answers.ids]))
    top5 = answers.top5.copy()
    top5[:10, :2] = top5[:10, 1::-1]
    after = replace(answers, top5=top5)
    failed = Verdict((Check(HOSTILE, "failed", HOSTILE),))
    timing = replace(TIMINGS[0], id=f"{HOSTILE}-b32", model=HOSTILE)
    made_on = run_record([case], [timing], torch=HOSTILE, cpu=HOSTILE, device="cpu")
    record = replace(made_on, split=split, commands=(HOSTILE,))
    missing = Unmeasured(f"x{HOSTILE}", "error", HOSTILE)
    worse = replace(record, cases=(replace(case, measured=after.hits, verdict=failed), missing))
    old, new = (
        write_run(tmp_path / "old", record, **{HOSTILE: answers}),
        write_run(tmp_path / "new", worse, **{HOSTILE: after}),
    )

    page = _page(old, old, new)

    assert page.tags["script"] == page.tags["img"] == 0
    assert page.text.count(HOSTILE) > 30
    assert f"0000.JPEG{HOSTILE}" in page.text
    assert f"label: {HOSTILE}1 before: {HOSTILE}1" in " ".join(page.text.split())


@pytest.mark.parametrize("outcome", ["held", "warned", "failed"])
def test_the_verdict_is_told_by_more_than_a_colour(outcome: str) -> None:
    """By a word, too."""
    verdict = Verdict((Check("baseline", outcome, "why"),))

    page = _page(Run(Path("runs/new"), replace(RECORD, cases=(replace(RESNET, verdict=verdict), VGG))))

    assert ("FAILED:" if outcome == "failed" else "HELD:") in page.text
    assert ("why" in page.text) == (outcome != "held")


def test_a_run_without_values_has_a_page() -> None:
    """It says what is missing; there is nothing to draw."""
    record = run_record([Unmeasured("alexnet-fp32", "error", "no weights")], [Unmeasured("alexnet-fp32-b1")])

    page = _page(Run(Path("runs/new"), record))

    assert page.tags["svg"] == 0
    assert "alexnet-fp32: no weights (and 1 more)" in page.text
