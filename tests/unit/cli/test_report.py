"""Tests of ``imagenet-gate report``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from harness.formats import imagenet
from tests.colours import write_dataset
from tests.images import save
from tests.records import case_result, counted, predictions_of, run_record, swapped, timing_result, write_run
from tests.unit.cli.conftest import CommandLine

CASE = case_result()
ACCURACY = "accuracy in percent: imagenet-1k, 1,000 images"


@pytest.fixture
def run(cli: CommandLine) -> CommandLine:
    """The command line, where ``run`` is a run that passed."""
    write_run(Path("run"), run_record([CASE], [timing_result()]))
    return cli


@pytest.fixture
def changed(cli: CommandLine) -> CommandLine:
    """The command line, where one of 1000 predictions changed from the run ``old`` to ``new``."""
    after = swapped(predictions_of(CASE), 0)
    write_run(Path("old"), run_record([CASE]))
    write_run(Path("new"), run_record([counted(after)]), resnet18=after)
    return cli


@pytest.fixture
def _extra() -> None:
    """Skip where the page cannot be made."""
    for package in ("altair", "jinja2", "vl_convert"):
        pytest.importorskip(package, reason="needs the extra report")


needs_extra = pytest.mark.usefixtures("_extra")


def _titles(markdown: str) -> list[str]:
    lines = Path(markdown).read_text().splitlines()
    return [line.removeprefix("### ") for line in lines if line.startswith("### ")]


@needs_extra
def test_page_and_markdown_are_written(run: CommandLine) -> None:
    """The first line printed is the verdict; then where each is, and how large."""
    found = run("report", "run", "-o", "r.html", "--markdown", "r.md")

    first, page, markdown = found.lines
    sentence = "PASSED: 1 case and 1 timing on imagenet-1k, 1,000 images, torch 2.9.1"
    assert (0, sentence) == (found.status, first)
    assert page.startswith("r.html: ")
    assert markdown.startswith("r.md: ")
    assert f"<title>{sentence}</title>" in Path("r.html").read_text()
    throughput = "throughput: forward alone, images on the device, seeded weights"
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
    others = changed("report", "old", "new", *page, write_dataset(Path("colours")))
    nowhere = changed("report", "old", *page, "/nowhere")

    assert "<img" not in hidden
    assert "the terms of imagenet-1k may forbid passing them on. Where they do not, --images DIR" in hidden
    assert 1 == shown.count('<img src="data:image/jpeg;base64,')
    lacks = "error: --images colours: expected the images of imagenet-1k, found none called '0000.JPEG'\n"
    assert (2, "", lacks) == others
    assert nowhere.err.startswith("error: --images '/nowhere': expected a folder or archive of images")


def test_a_page_needs_its_packages(run: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are missing are named, with what installs them; Markdown needs none."""
    monkeypatch.setattr("harness.cli.report.find_spec", lambda name: None if name == "altair" else object())

    lacks = "error: -o r.html: a page needs altair, not installed: pip install -e '.[report]'\n"
    assert (2, "", lacks) == run("report", "run", "-o", "r.html")
    assert 0 == run("report", "run", "--markdown", "r.md").status


def test_only_a_file_is_written_to(run: CommandLine) -> None:
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
        assert (2, "", error) == run("report", "run", "--markdown", name)
    assert 0 == run("report", "run", "--markdown", "link.md").status
    assert Path("link.md").is_symlink()
    assert Path("there.md").read_text().startswith("### PASSED")
