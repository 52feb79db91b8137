"""Tests of ``imagenet-gate report``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from harness.cli.main import main
from harness.formats import imagenet
from tests.colours import write_dataset
from tests.images import save
from tests.records import case_result, counted, predictions_of, run_record, swapped, timing_result, write_run

CASE = case_result()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run that passed."""
    return write_run(tmp_path / "run", run_record([CASE], [timing_result()])).path


@pytest.fixture
def changed(tmp_path: Path) -> tuple[Path, Path]:
    """The folders of two runs on 1000 images, in the second of which one prediction changed."""
    after = swapped(predictions_of(CASE), 0)
    old = write_run(tmp_path / "old", run_record([CASE]))
    new = write_run(tmp_path / "new", run_record([counted(after)]), resnet18=after)
    return old.path, new.path


def needs_extra() -> None:
    """Skip where the page cannot be made."""
    for package in ("altair", "jinja2", "vl_convert"):
        pytest.importorskip(package, reason="needs the extra report")


def test_page_and_markdown_are_written(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first line printed is the verdict; then where each is, and how large."""
    needs_extra()

    status = main(["report", str(run), "-o", str(tmp_path / "r.html"), "--markdown", str(tmp_path / "r.md")])

    first, page, markdown = capsys.readouterr().out.splitlines()
    sentence = "PASSED: 1 case and 1 timing on imagenet-1k, 1,000 images, torch 2.9.1"
    assert (status, first) == (0, sentence)
    assert page.startswith(f"{tmp_path}/r.html: ")
    assert markdown.startswith(f"{tmp_path}/r.md: ")
    assert f"<title>{sentence}</title>" in (tmp_path / "r.html").read_text()
    assert (tmp_path / "r.md").read_text().startswith(f"### {sentence}\n\n### environment\n")


def test_a_failure_is_exit_1(changed: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whether it counts is up to the options of compare."""
    arguments = ["report", *map(str, changed), "--markdown", str(tmp_path / "r.md")]

    assert main(arguments) == 1
    assert capsys.readouterr().out.startswith(
        "FAILED: 1 of 1 result: resnet18-IMAGENET1K_V1-fp32: the arithmetic differs: "
    )
    assert main([*arguments, "--fail-on", "none"]) == 0


def test_against_names_the_run_to_compare_with(changed: tuple[Path, Path], tmp_path: Path) -> None:
    """In place of the one before."""
    old, new = map(str, changed)
    markdown = tmp_path / "r.md"

    assert main(["report", old, new, new, "--markdown", str(markdown)]) == 0
    assert main(["report", old, new, new, "--against", old, "--markdown", str(markdown)]) == 1
    assert "### 3 runs" in markdown.read_text()


def test_pictures_of_others_images_are_shown_only_if_they_are_named(
    changed: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page says so; what is named must hold the images."""
    needs_extra()
    page = tmp_path / "r.html"
    arguments = ["report", *map(str, changed), "-o", str(page)]

    main(arguments)

    assert "<img" not in page.read_text()
    assert "the terms of imagenet-1k may forbid passing them on. Where they do not, --images DIR" in page.read_text()
    assert main([*arguments, "--images", str(write_dataset(tmp_path / "colours"))]) == 2
    assert capsys.readouterr().err.endswith(
        f"error: --images {tmp_path}/colours: expected the images of imagenet-1k, found none called '0000.JPEG'\n"
    )


def test_pictures_that_are_named_are_shown(changed: tuple[Path, Path], tmp_path: Path) -> None:
    """Of the images whose predictions changed, and of no other."""
    needs_extra()
    folder = tmp_path / "images" / imagenet.wnids()[1]
    for number in range(1000):
        save(Image.new("RGB", (8, 8), (number % 256, 0, 0)), folder / f"{number:04}.JPEG")

    main(["report", *map(str, changed), "-o", str(tmp_path / "r.html"), "--images", str(tmp_path / "images")])

    html = (tmp_path / "r.html").read_text()
    assert html.count('<img src="data:image/jpeg;base64,') == 1
    assert ">0000.JPEG</a></h4>" in html


def test_a_page_needs_its_packages(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that are missing are named, with what installs them; Markdown needs none."""
    monkeypatch.setattr("harness.cli.report.find_spec", lambda name: None if name == "altair" else object())

    assert main(["report", str(run), "-o", str(tmp_path / "r.html")]) == 2
    assert capsys.readouterr().err == (
        f"error: -o {tmp_path}/r.html: a page needs altair, not installed: pip install -e '.[report]'\n"
    )
    assert main(["report", str(run), "--markdown", str(tmp_path / "r.md")]) == 0


def test_what_cannot_be_written_is_told(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the option that named it."""
    assert main(["report", str(run), "--markdown", str(tmp_path / "none" / "r.md")]) == 2
    assert capsys.readouterr().err == (
        f"error: --markdown {tmp_path}/none/r.md: cannot be written: No such file or directory\n"
    )


def test_only_a_file_is_replaced(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a folder nor a device; a link stays a link."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link.md").symlink_to(tmp_path / "there.md")

    for name in ("folder", "pipe"):
        assert main(["report", str(run), "--markdown", str(tmp_path / name)]) == 2
        assert capsys.readouterr().err.endswith(f"/{name}: cannot be written: something other than a file is there\n")
    assert main(["report", str(run), "--markdown", str(tmp_path / "link.md")]) == 0
    assert (tmp_path / "link.md").is_symlink()
    assert (tmp_path / "there.md").read_text().startswith("### PASSED")


def test_images_that_are_named_must_be_there(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where no picture is needed."""
    needs_extra()

    assert main(["report", str(run), "-o", str(tmp_path / "r.html"), "--images", "/nowhere"]) == 2
    assert capsys.readouterr().err.startswith("error: --images '/nowhere': expected a folder or archive of images")
