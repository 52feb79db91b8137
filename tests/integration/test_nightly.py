"""``ci/nightly`` and ``ci/open-issue``: what a night leaves to read, and what the next one compares with."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli.main import main
from tests.colours import EXPECTED, write_dataset

ROOT = Path(__file__).parents[2]
CASE = "nearest-V1-fp32"


class Nights:
    """Runs nights on the 16 images of the small classifier."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.state, self.summary = folder / "nightly", folder / "step_summary.md"
        self.images = write_dataset(folder / "colours")

    def night(
        self, expected: str = EXPECTED, images: Path | None = None, *options: str
    ) -> subprocess.CompletedProcess[str]:
        """Run one, without timings, which differ from night to night on a busy machine."""
        process = self.start(expected, images, *options)
        output, errors = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def start(
        self, expected: str = EXPECTED, images: Path | None = None, *options: str, modules: Path | None = None
    ) -> subprocess.Popen[str]:
        """Start one, in which a folder's modules can be imported first."""
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
                "PYTHON": sys.executable,
                "PYTHONPATH": os.pathsep.join(map(str, filter(None, (modules, ROOT)))),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def title(self) -> str:
        """Return the last night's."""
        return (self.state / "latest" / "title").read_text().strip()

    def accept(self) -> int:
        """Pin the last night's run."""
        return main(["baseline", "accept", str(self.state / "latest" / "run"), "--nightly", str(self.state)])

    def pinned(self) -> str:
        """Return the record of the pinned run."""
        return (self.state / "pinned" / "current" / "record.json").read_text()


@pytest.mark.slow
def test_only_a_person_pins_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A night without a pinned run, a failed one, and one without a dataset."""
    pytest.importorskip("vl_convert", reason="needs the extra report")
    pytest.importorskip("asv", reason="needs the extra nightly")
    nights, latest = Nights(tmp_path), tmp_path / "nightly" / "latest"

    first = nights.night()

    assert 2 == first.returncode, first.stdout
    assert nights.title().startswith("NOT COMPARED: 1 case on colours, 16 images, torch ")
    assert nights.title().endswith(f"imagenet-gate baseline accept {latest}/run --nightly {nights.state}")
    assert first.stdout.endswith(f"\n{nights.title()}\n")
    assert {path.name for path in latest.iterdir()} == {
        "run", "log.txt", "junit.xml", "report.html", "summary.md", "title",
    }  # fmt: skip
    assert nights.summary.read_text() == (latest / "summary.md").read_text()
    assert 0 == nights.accept()
    capsys.readouterr()
    pinned = nights.pinned()
    assert (latest / "run" / "record.json").read_text() == pinned

    red = nights.night(EXPECTED.replace("nearest_colour\n", "nearest_colour_brighter\n"))

    assert red.returncode == 1, red.stdout
    assert nights.title().startswith(f"FAILED: 1 of 1 result: {CASE}: the model has other weights (sha256 ")
    assert nights.summary.read_text().count("\n### FAILED: 1 of 1 result: nearest-V1-fp32: the model has") == 1
    assert "the model has other weights" in (latest / "report.html").read_text()
    assert 'failures="1"' in (latest / "junit.xml").read_text()
    assert 1 == nights.accept()
    refused = capsys.readouterr().out
    assert "not pinned: the run failed: 1 of 1 result: nearest-V1-fp32: the model has other weights" in refused
    assert nights.pinned() == pinned

    missing = nights.night(images=tmp_path / "nowhere")

    assert missing.returncode == 2
    assert nights.title() == (
        f"NO RUN: --imagenet '{tmp_path}/nowhere': expected a folder or archive of images, found nothing at "
        f"{tmp_path}/nowhere"
    )
    assert "expected a folder or archive of images, found nothing" in (latest / "summary.md").read_text()

    assert sorted(path.name for path in nights.state.iterdir() if path.name != "lock") == [
        "history", "latest", "pinned", "timings.jsonl",
    ]  # fmt: skip
    assert len(list((nights.state / "history").iterdir())) == 2


@pytest.mark.slow
def test_a_night_in_any_folder_runs_the_installed_gate(tmp_path: Path) -> None:
    """As imagenet-gate run does: pytest finds its tests, which is exit status 5 otherwise."""
    pytest.importorskip("vl_convert", reason="needs the extra report")
    pytest.importorskip("asv", reason="needs the extra nightly")
    options = ["-p", "no:imagenet-gate", "-p", "harness.early", "--imagenet=nowhere", "--collect-only"]

    night = subprocess.run(
        [sys.executable, "-m", "harness", "nightly", "--nightly", "kept", "--", *options],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip

    title = (tmp_path / "kept" / "latest" / "title").read_text()
    assert "NO RUN: pytest ended with 0, and nothing was measured\n" == title, night.stdout
    assert "resnet18-IMAGENET1K_V1-fp32-b1]" in night.stdout


def test_a_night_that_is_ended_ends_its_tests(tmp_path: Path) -> None:
    """No process is left, and title and summary say what happened."""
    pytest.importorskip("vl_convert", reason="needs the extra report")
    pytest.importorskip("asv", reason="needs the extra nightly")
    nights = Nights(tmp_path)
    (tmp_path / "hangs.py").write_text(
        "import os, sys, time\nos.write(1, b'begun %d\\n' % os.getpid())\ntime.sleep(60)\n"
    )
    process = nights.start(EXPECTED, None, "-phangs", modules=tmp_path)
    assert process.stdout is not None
    testing = int(process.stdout.readline().split()[1])

    process.terminate()

    process.communicate(timeout=30)
    assert process.returncode == 2
    assert nights.title() == "NO VERDICT: the night was ended (SIGTERM)"
    assert "begun" in (nights.state / "latest" / "summary.md").read_text()
    with pytest.raises(ProcessLookupError):
        os.kill(testing, 0)


def test_a_second_night_leaves_the_first_alone(tmp_path: Path) -> None:
    """It says why it ends, and does not touch the first one's files."""
    nights = Nights(tmp_path)
    (nights.state / "latest").mkdir(parents=True)
    (nights.state / "latest" / "log.txt").write_text("so far")
    with (nights.state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        second = nights.night()

    in_use = f"NO RUN: another nightly run is using {nights.state}; wait for it, or name another folder\n"
    assert (second.returncode, second.stdout) == (2, in_use)
    assert (nights.state / "latest" / "log.txt").read_text() == "so far"


@pytest.mark.parametrize("name", ["latest/holiday.jpeg", "latest/run/notes.txt", "latest"])
def test_what_no_night_wrote_is_not_removed(name: str, tmp_path: Path) -> None:
    """It is named."""
    nights = Nights(tmp_path)
    foreign = nights.state / name
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine")

    night = nights.night()

    found = f"NO RUN: expected only what an earlier night wrote, found {foreign}; move it, or name another NIGHTLY_DIR"
    assert (2, f"{found}\n", "mine") == (night.returncode, night.stdout, foreign.read_text())


@pytest.mark.parametrize("module", ["altair", "asv"])
def test_a_missing_extra_is_noticed_first(module: str, tmp_path: Path) -> None:
    """Before anything is evaluated."""
    nights = Nights(tmp_path)
    needed = ("altair", "asv", "jinja2", "vl_convert")
    hidden = "".join(f"sys.modules[{name!r}] = {'None' if name == module else 'sys'}\n" for name in needed)
    (tmp_path / "sitecustomize.py").write_text(f"import sys\n{hidden}")

    process = nights.start(modules=tmp_path)

    process.communicate()
    assert process.returncode == 2
    assert nights.title() == f"NO RUN: a night needs the extra nightly: pip install -e '.[nightly]' (no {module})"


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


@pytest.mark.parametrize(
    ("title", "summary", "issue_title", "body"),
    [
        ("FAILED: 1 of 4: weights", "### FAILED\n", "FAILED: 1 of 4: weights", "\n\n### FAILED"),
        ("", "", "NO RUN: the job failed before the gate began", ""),
        ("±" * 300, "±" * 50_000, "±" * 113, f"\n\n{'±' * 30_000}"),
    ],
    ids=["failed", "failed before the night", "too long for GitHub"],
)
def test_an_issue_is_opened(tmp_path: Path, title: str, summary: str, issue_title: str, body: str) -> None:
    """With the diagnosis in its title and the summary as its body, cut between characters if they are too long."""
    [call] = _open_issue(tmp_path, title, summary)

    body = f"https://example.org/1{body}"
    assert call == ["issue", "create", "--title", f"nightly, torch stable: {issue_title}", "--body", body]


def test_an_open_issue_is_updated(tmp_path: Path) -> None:
    """It gets the new title, and a comment about the night."""
    edit, comment = _open_issue(tmp_path, "FAILED: weights", "### FAILED\n", open_issue="7")

    assert edit == ["issue", "edit", "7", "--title", "nightly, torch stable: FAILED: weights"]
    assert comment[:4] == ["issue", "comment", "7", "--body"]
