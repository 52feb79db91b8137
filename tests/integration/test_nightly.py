"""``ci/nightly`` and ``ci/open-issue``: what is there to read after a night, and what the next one compares with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.colours import EXPECTED, write_split

ROOT = Path(__file__).parents[2]
CASE = "nearest-V1-fp32"


class Nights:
    """Runs nights on the 16 images of the small classifier."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.state, self.summary = folder / "nightly", folder / "step_summary.md"
        self.images = write_split(folder / "colours")

    def night(self, expected: str = EXPECTED, images: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run one, without timings, which differ from night to night on a busy machine."""
        expected_file = self._folder / "expected.yaml"
        expected_file.write_text(expected)
        return subprocess.run(
            [
                "ci/nightly",
                "-m",
                "imagenet",
                f"--imagenet={images or self.images}",
                f"--expected={self._folder}/expected.yaml",
            ],
            cwd=ROOT,
            env={
                **os.environ,
                "NIGHTLY_DIR": str(self.state),
                "IMAGENET_STORE": str(self._folder / "store"),
                "GITHUB_STEP_SUMMARY": str(self.summary),
                "PYTHON": sys.executable,
            },
            capture_output=True,
            text=True,
            check=False,
        )

    def title(self) -> str:
        """Return the last night's."""
        return (self.state / "latest" / "title").read_text().strip()

    def good(self) -> str:
        """Return the record of the last good night."""
        return (self.state / "good" / "record.json").read_text()


@pytest.mark.slow
def test_a_red_night_never_becomes_the_baseline(tmp_path: Path) -> None:
    """Green without a baseline, then red with the cause named, then a night without a verdict, then green again."""
    pytest.importorskip("vl_convert", reason="needs the extra report")
    nights, latest = Nights(tmp_path), tmp_path / "nightly" / "latest"

    first = nights.night()

    assert first.returncode == 0, first.stdout
    assert nights.title().startswith("HELD: 1 case on colours, 16 images, torch ")
    assert first.stdout.endswith(f"\n{nights.title()}\n")
    assert {path.name for path in latest.iterdir()} == {
        "run", "log.txt", "junit.xml", "report.html", "summary.md", "title",
    }  # fmt: skip
    assert nights.summary.read_text() == (latest / "summary.md").read_text()
    good = nights.good()
    assert json.loads(good)["cases"] == json.loads((latest / "run" / "record.json").read_text())["cases"]

    red = nights.night(EXPECTED.replace("nearest_colour\n", "nearest_colour_brighter\n"))

    assert red.returncode == 1, red.stdout
    assert nights.title().startswith(f"FAILED: 1 of 1 result: {CASE}: baseline: weights: their sha256 is ")
    assert nights.good() == good
    assert nights.summary.read_text().count("\n### FAILED: 1 of 1 result: nearest-V1-fp32: baseline: weights") == 1
    assert "baseline: weights" in (latest / "report.html").read_text()
    assert 'failures="1"' in (latest / "junit.xml").read_text()

    lost = nights.night(images=tmp_path / "nowhere")

    assert lost.returncode == 2
    assert nights.title() == "NO RUN: pytest ended with 4, and nothing was measured"
    assert "expected a folder or archive of images, found nothing" in (latest / "summary.md").read_text()
    assert nights.good() == good

    last = nights.night()

    assert last.returncode == 0, last.stdout
    assert f"; nothing that counts against {nights.state}/good (torch " in nights.title()
    assert len(list((nights.state / "history").iterdir())) == 3
    assert "<h2>Across runs</h2>" in (latest / "report.html").read_text()


GH = """\
#!/usr/bin/env bash
printf '%s\\0' "$@" >>"$GH_LOG"
printf '\\n' >>"$GH_LOG"
if [ "$1 $2" = "issue list" ]; then echo "$OPEN"; fi
"""


def _open_issue(tmp_path: Path, title: str, summary: str, open_issue: str = "") -> list[list[str]]:
    """Return what gh was called with, but for the list of open issues."""
    (tmp_path / "latest").mkdir()
    (tmp_path / "latest" / "title").write_text(f"{title}\n")
    (tmp_path / "latest" / "summary.md").write_text(summary)
    (tmp_path / "gh").write_text(GH)
    (tmp_path / "gh").chmod(0o755)
    subprocess.run(
        [ROOT / "ci" / "open-issue", "nightly, torch stable", tmp_path / "latest", "https://example.org/1"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "GH_LOG": str(tmp_path / "log"), "OPEN": open_issue},
        check=True,
    )
    calls = [call.split("\0") for call in (tmp_path / "log").read_text().split("\0\n")[:-1]]
    assert calls[0][:2] == ["issue", "list"]
    return calls[1:]


def test_an_issue_is_opened_with_the_cause_in_its_title(tmp_path: Path) -> None:
    """Where none is open for this job; the summary is its body."""
    [call] = _open_issue(tmp_path, "FAILED: 1 of 4: decoded inputs", "### FAILED\n")

    title, body = "nightly, torch stable: FAILED: 1 of 4: decoded inputs", "https://example.org/1\n\n### FAILED"
    assert call == ["issue", "create", "--title", title, "--body", body]


def test_an_open_issue_is_brought_up_to_date(tmp_path: Path) -> None:
    """A comment tells of another red night, and the title of its cause."""
    edit, comment = _open_issue(tmp_path, "FAILED: weights", "### FAILED\n", open_issue="7")

    assert edit == ["issue", "edit", "7", "--title", "nightly, torch stable: FAILED: weights"]
    assert comment[:4] == ["issue", "comment", "7", "--body"]


def test_what_is_too_long_for_github_is_cut_between_characters(tmp_path: Path) -> None:
    """Title and body; GitHub takes no half of a character."""
    [call] = _open_issue(tmp_path, "±" * 300, "±" * 50_000)

    title, body = call[3], call[5]
    assert title == f"nightly, torch stable: {'±' * 113}"
    assert body == f"https://example.org/1\n\n{'±' * 30_000}"
