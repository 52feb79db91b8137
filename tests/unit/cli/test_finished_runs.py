"""Tests of ``imagenet-gate export``, ``merge`` and ``report``."""

from __future__ import annotations

import csv
import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from harness.cli import merge
from harness.formats import imagenet
from harness.records.results import Missing
from harness.records.run_folder import read_run
from tests.colors import write_dataset
from tests.images import save
from tests.records import case_result, counted, expected, predictions_of, run_record, swapped, timing_result, write_run
from tests.unit.cli.conftest import CommandLine

RESNET, VGG = case_result("resnet18"), case_result("vgg16", (1000, 702, 900))
FAILED = case_result("alexnet", (1000, 600, 900), expected=expected(1000, 700, 900))
SLOW = case_result(images_per_second=50.0)
TIMING = timing_result("alexnet", [0.25, 0.5, 0.125], precision="bf16", compiled=True)
OTHER = timing_result("vgg16", [0.5], peak_memory=None)
ACCURACY = "accuracy in percent: imagenet-1k, 1,000 images"


@pytest.fixture
def measured(cli: CommandLine) -> CommandLine:
    """The command line, where ``run`` is a run of one case and two timings, of which one has no peak of memory."""
    write_run(Path("run"), run_record([SLOW], [TIMING, OTHER]))
    return cli


def test_the_benchmark_database_of_pytorch(measured: CommandLine) -> None:
    """Each object has what its uploader asks for, a metric with values; maps of details hold text."""
    status, out, _ = measured("export", "run", "--format=hud-v3")

    records = json.loads(out)
    models, metrics, details = ([one[part] for one in records] for part in ("model", "metric", "benchmark"))
    assert [
        ("resnet18", "fp32", "eager", "top-1", [70.0], 70.0),
        ("resnet18", "fp32", "eager", "top-5", [90.0], 90.0),
        ("resnet18", "fp32", "eager", "images_per_second", [50.0], None),
        ("alexnet", "bf16", "inductor", "images_per_second", [128.0, 64.0, 256.0], None),
        ("alexnet", "bf16", "inductor", "peak_memory", [1.25e9], None),
        ("vgg16", "fp32", "eager", "images_per_second", [64.0], None),
    ] == [
        (model["name"], about["dtype"], model["backend"], one["name"], one["benchmark_values"], one.get("target_value"))
        for model, about, one in zip(models, details, metrics, strict=True)
    ]
    maps = [one["dependencies"] for one in records] + [about["extra_info"] for about in details]
    assert {str} == {type(text) for texts in maps for text in texts.values()}
    assert {"2.9.1"} == {one["dependencies"]["torch"] for one in records}
    assert 0 == status


def test_bencher_metric_format(measured: CommandLine) -> None:
    """Medians, and quartiles where there are several calls."""
    assert {
        SLOW.id: {"top-1": {"value": 70.0}, "top-5": {"value": 90.0}, "images_per_second": {"value": 50.0}},
        TIMING.id: {
            "images_per_second": {"value": 128.0, "lower_value": 96.0, "upper_value": 192.0},
            "peak_memory": {"value": 1.25e9},
        },
        OTHER.id: {"images_per_second": {"value": 64.0}},
    } == json.loads(measured("export", "run", "--format=bmf").out)


def test_csv(measured: CommandLine) -> None:
    """A file, with the published value where the whole dataset was evaluated."""
    status = measured("export", "run", "--format=csv", "-o", "run.csv").status

    head, *rows = csv.reader(Path("run.csv").read_text().splitlines())
    assert ["id", "model", "precision", "metric", "unit", "value", "expected"] == head
    assert [SLOW.id, "resnet18", "fp32", "top-1", "percent", "70.0", "70.0"] == rows[0]
    assert ["128.0", ""] == rows[3][-2:]
    assert (0, 6) == (status, len(rows))


def test_a_subset_has_no_target_and_a_test_without_a_result_is_named(cli: CommandLine) -> None:
    """A published value is that of all images; the status is 1, as a dashboard must not take what is there for all."""
    subset = case_result(counts=(500, 250, 500), expected=expected(50_000, 34_879, 44_539))
    write_run(Path("run"), run_record([subset, Missing("vgg16-fp32")]))

    status, out, err = cli("export", "run", "--format=hud-v3")

    assert (1, "vgg16-fp32 has no result: not run\n") == (status, err)
    assert "target_value" not in json.loads(out)[0]["metric"]


@pytest.fixture
def runs(cli: CommandLine) -> CommandLine:
    """The command line, where ``a`` is a run of ResNet18, and ``b`` of VGG16 and of AlexNet, which failed."""
    write_run(Path("a"), run_record([RESNET], [timing_result(seconds=(0.5, 0.5))]))
    write_run(Path("b"), run_record([VGG, FAILED]))
    return cli


def _cases(folder: str) -> list[str]:
    return [case.id for case in read_run(Path(folder)).record.cases]


def test_the_tables_are_those_of_one_run(runs: CommandLine, tmp_path: Path) -> None:
    """Accuracy with ranks, speed, and the path of the run; the status is that of all runs, which stay."""
    status, out, err = runs("merge", "a", "b", "--results", "all")

    lines = out.splitlines()
    assert (1, "") == (status, err)
    assert [["1-2", "vgg16"], ["1-2", "resnet18"], ["3", "alexnet"]] == [line.split()[:2] for line in lines[2:5]]
    assert (ACCURACY, f"results: {tmp_path}/all") == (lines[0], lines[-1])
    assert "throughput: forward pass only, images on the device, seeded weights" in lines
    assert ["a", "all", "b"] == sorted(os.listdir())
    assert [RESNET.id, VGG.id, FAILED.id] == _cases("all")
    assert 0 == runs("merge", "a", "--results", "all").status


def test_the_reason_for_a_missing_result_is_above_the_tables(cli: CommandLine, tmp_path: Path) -> None:
    """Without a traceback, which only the run that failed has."""
    lost = Missing("alexnet-fp32", "error", "no weights")
    write_run(Path("a"), run_record([RESNET, lost, Missing(VGG.id)], [Missing("vgg16-b32", "error", "no room")]))

    found = cli("merge", "a", "--results", "all")

    assert ["error: alexnet-fp32: no weights", "error: vgg16-b32: no room"] == found.lines[:2]
    assert f"  {VGG.id}: not run" in found.lines
    assert (1, f"results: {tmp_path}/all") == (found.status, found.lines[-1])


@pytest.mark.parametrize("results", ["a", "./b/../a", "link", "a/all"])
def test_the_merged_runs_are_not_replaced(results: str, runs: CommandLine) -> None:
    """However the folder is named, and not written into."""
    Path("link").symlink_to("a")
    before = sorted(Path().rglob("*"))

    found = runs("merge", "b", "a", "--results", results)

    where = f"--results {Path(results)}"
    assert (2, "", f"error: {where}: expected another folder than those of the runs, found a\n") == found
    assert before == sorted(Path().rglob("*"))


def test_a_merge_that_ends_early_leaves_the_earlier_run(runs: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """By damage that is found only while the run is written, or by an interrupt, with status 130 as shells have it."""
    shutil.rmtree("a/inputs")

    def interrupt(_merged: object, staging: Path) -> None:
        assert staging.is_dir()
        raise KeyboardInterrupt

    damaged = runs("merge", "a", "--results", "b")
    monkeypatch.setattr(merge, "merge", interrupt)
    interrupted = runs("merge", "a", "--results", "b")

    assert 2 == damaged.status
    assert "missing, though record.json refers to it; the run is incomplete" in damaged.err
    assert (130, "", "interrupted\n") == interrupted
    assert ["a", "b"] == sorted(os.listdir())
    assert [VGG.id, FAILED.id] == _cases("b")


@pytest.fixture
def changed(cli: CommandLine) -> CommandLine:
    """The command line, where one of 1000 predictions changed from the run ``old`` to ``new``."""
    after = swapped(predictions_of(RESNET), 0)
    write_run(Path("old"), run_record([RESNET]))
    write_run(Path("new"), run_record([counted(after)]), resnet18=after)
    return cli


lacks_extra = any(find_spec(package) is None for package in ("altair", "jinja2", "vl_convert"))
needs_extra = pytest.mark.skipif(lacks_extra, reason="needs the extra report")


def _titles(markdown: str) -> list[str]:
    lines = Path(markdown).read_text().splitlines()
    return [line.removeprefix("### ") for line in lines if line.startswith("### ")]


@needs_extra
def test_page_and_markdown_are_written(measured: CommandLine) -> None:
    """The first line printed is the verdict; then where each is, and how large."""
    found = measured("report", "run", "-o", "r.html", "--markdown", "r.md")

    first, page, markdown = found.lines
    sentence = "PASSED: 1 case and 2 timings on imagenet-1k, 1,000 images, torch 2.9.1"
    assert (0, sentence) == (found.status, first)
    assert page.startswith("r.html: ")
    assert markdown.startswith("r.md: ")
    assert f"<title>{sentence}</title>" in Path("r.html").read_text()
    throughput = "throughput: forward pass only, images on the device, seeded weights"
    assert [sentence, "environment", ACCURACY, throughput] == _titles("r.md")
    assert "| torch | 2.9.1 |" in Path("r.md").read_text()


def test_a_failure_is_exit_1(changed: CommandLine) -> None:
    """Whether it counts is up to the options of compare, and ``--against`` names another run than the one before."""
    two, three = ["report", "old", "new", "--markdown=r.md"], ["report", "old", "new", "new", "--markdown=r.md"]

    failed = changed(*two)
    others = [changed(*words) for words in ((*two, "--fail-on=none"), three, (*three, "--against=old"))]

    assert failed.out.startswith("FAILED: 1 of 1 result: resnet18-IMAGENET1K_V1-fp32: the arithmetic differs: ")
    assert [1, 0, 0, 1] == [found.status for found in (failed, *others)]
    compared = "accuracy on imagenet-1k, 1,000 images: correct in the new run, and the difference from the old"
    assert ["old against new", ACCURACY, compared, "3 runs"] == _titles("r.md")[1:]


@needs_extra
def test_pictures_of_others_images_are_shown_only_if_they_are_named(changed: CommandLine) -> None:
    """The page says so; what is named must hold the images, and be there, even where no picture is needed."""
    page = ["-o", "r.html", "--images"]
    save(Image.new("RGB", (8, 8)), Path("images") / imagenet.wnids()[1] / "0000.JPEG")

    changed("report", "old", "new", *page[:2])
    hidden = Path("r.html").read_text()
    changed("report", "old", "new", *page, "images")
    shown = Path("r.html").read_text()
    others = changed("report", "old", "new", *page, write_dataset(Path("colors")))
    nowhere = changed("report", "old", *page, "/nowhere")

    assert "<img" not in hidden
    assert "the terms of imagenet-1k may forbid redistributing them. Where they do not, --images DIR" in hidden
    assert 1 == shown.count('<img src="data:image/jpeg;base64,')
    lacks = "error: --images colors: expected the images of imagenet-1k, found none called '0000.JPEG'\n"
    assert (2, "", lacks) == others
    assert nowhere.err.startswith("error: --images '/nowhere': expected a folder or archive of images")


def test_a_page_needs_its_packages(measured: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are missing are named, with what installs them; Markdown needs none."""
    monkeypatch.setattr("harness.cli.report.find_spec", lambda name: None if name == "altair" else object())

    lacks = "error: -o r.html: a page needs altair, not installed: pip install -e '.[report]'\n"
    assert (2, "", lacks) == measured("report", "run", "-o", "r.html")
    assert 0 == measured("report", "run", "--markdown", "r.md").status


def test_only_a_file_is_written_to(measured: CommandLine) -> None:
    """Neither a folder nor a device; a link stays a link."""
    Path("folder").mkdir()
    os.mkfifo("pipe")
    Path("link.md").symlink_to("there.md")
    reasons = {
        "none/r.md": "No such file or directory",
        "folder": "something other than a file is there",
        "pipe": "something other than a file is there",
    }

    for name, reason in reasons.items():
        error = f"error: --markdown {name}: cannot be written: {reason}\n"
        assert (2, "", error) == measured("report", "run", "--markdown", name)
    assert 0 == measured("report", "run", "--markdown", "link.md").status
    assert Path("link.md").is_symlink()
    assert Path("there.md").read_text().startswith("### PASSED")
