"""``ci/nightly`` and ``ci/open-issue``: what is there to read after a night, and what the next one compares with."""

from __future__ import annotations

import fcntl
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

    def night(
        self, expected: str = EXPECTED, images: Path | None = None, *options: str
    ) -> subprocess.CompletedProcess[str]:
        """Run one, without timings, which differ from night to night on a busy machine."""
        process = self.start(expected, images, *options)
        output, errors = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def start(
        self, expected: str = EXPECTED, images: Path | None = None, *options: str, python: str = sys.executable
    ) -> subprocess.Popen[str]:
        """Begin one."""
        expected_file = self._folder / "expected.yaml"
        expected_file.write_text(expected)
        return subprocess.Popen(
            [
                "ci/nightly",
                "-m",
                "imagenet",
                "--imagenet",
                images or self.images,
                "--expected",
                expected_file,
                *options,
            ],
            cwd=ROOT,
            env={
                **os.environ,
                "NIGHTLY_DIR": str(self.state),
                "IMAGENET_STORE": str(self._folder / "store"),
                "GITHUB_STEP_SUMMARY": str(self.summary),
                "PYTHON": python,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
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
    assert nights.title() == (
        f"NO RUN: --imagenet '{tmp_path}/nowhere': expected a folder or archive of images, found nothing at "
        f"{tmp_path}/nowhere"
    )
    assert "expected a folder or archive of images, found nothing" in (latest / "summary.md").read_text()
    assert nights.good() == good

    other = nights.night(EXPECTED, None, "--limit=15")

    assert other.returncode == 2
    assert "evaluated different images and cannot be compared" in nights.title()
    assert sorted(path.name for path in nights.state.iterdir()) == ["good", "history", "latest", "lock"]
    assert len(list((nights.state / "history").iterdir())) == 2
    (nights.state / "history" / "20000101T000000Z.json").write_text("{")

    mended = nights.night()

    assert mended.returncode == 0, mended.stdout
    assert "the series begins anew, the records of earlier nights are set aside: " in mended.stdout
    [aside] = nights.state.glob("history.set-aside-*")
    assert len(list(aside.iterdir())) == 3
    for record in aside.glob("202*.json"):
        record.rename(nights.state / "history" / record.name)

    last = nights.night()

    assert last.returncode == 0, last.stdout
    assert f"; no failure compared with {nights.state}/good (torch " in nights.title()
    assert len(list((nights.state / "history").iterdir())) == 4
    assert "<h2>Across runs</h2>" in (latest / "report.html").read_text()


# In the place of Python: it says that pytest has begun, and does not end by itself.
PYTHON = """\
#!/usr/bin/env bash
if [ "$2" = pytest ]; then echo "begun $$"; exec sleep 60; fi
"""


def test_a_night_that_is_told_to_end_ends_with_its_tests(tmp_path: Path) -> None:
    """Nothing runs on, and title and summary say what happened."""
    nights = Nights(tmp_path)
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    process = nights.start(python=str(tmp_path / "python"))
    assert process.stdout is not None
    testing = int(process.stdout.readline().split()[1])

    process.terminate()

    process.communicate(timeout=30)
    assert process.returncode == 2
    assert nights.title() == "NO VERDICT: the night was told to end (SIGTERM)"
    assert "begun" in (nights.state / "latest" / "summary.md").read_text()
    with pytest.raises(ProcessLookupError):
        os.kill(testing, 0)


def test_a_second_night_leaves_the_first_alone(tmp_path: Path) -> None:
    """It says why it ends; what the first has left so far stays."""
    nights = Nights(tmp_path)
    (nights.state / "latest").mkdir(parents=True)
    (nights.state / "latest" / "log.txt").write_text("so far")
    with (nights.state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        second = nights.night()

    assert (second.returncode, second.stdout) == (2, f"NO RUN: another night is under way in {nights.state}\n")
    assert (nights.state / "latest" / "log.txt").read_text() == "so far"


def test_what_the_page_needs_is_missed_before_the_night(tmp_path: Path) -> None:
    """Not after it."""
    nights = Nights(tmp_path)
    (tmp_path / "python").write_text("#!/usr/bin/env bash\necho \"No module named 'altair'\" >&2\nexit 1\n")
    (tmp_path / "python").chmod(0o755)

    process = nights.start(python=str(tmp_path / "python"))

    process.communicate()
    assert process.returncode == 2
    assert nights.title() == (
        "NO RUN: the page needs the extra report: pip install -e '.[report]' (No module named 'altair')"
    )


GH = """\
#!/usr/bin/env bash
printf '%s\\0' "$@" >>"$GH_LOG"
printf '\\n' >>"$GH_LOG"
if [ "$1 $2" = "issue list" ]; then echo "$OPEN"; fi
"""


def _open_issue(tmp_path: Path, title: str, summary: str, open_issue: str = "") -> list[list[str]]:
    """Return what gh was called with, but for the list of open issues."""
    if title:
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


def test_a_job_that_failed_before_the_night_has_an_issue_too(tmp_path: Path) -> None:
    """As one that could not install torch."""
    [call] = _open_issue(tmp_path, "", "")

    title = "nightly, torch stable: NO RUN: the job failed before the gate began"
    assert call == ["issue", "create", "--title", title, "--body", "https://example.org/1"]


def test_what_is_too_long_for_github_is_cut_between_characters(tmp_path: Path) -> None:
    """Title and body; GitHub takes no half of a character."""
    [call] = _open_issue(tmp_path, "±" * 300, "±" * 50_000)

    title, body = call[3], call[5]
    assert title == f"nightly, torch stable: {'±' * 113}"
    assert body == f"https://example.org/1\n\n{'±' * 30_000}"
