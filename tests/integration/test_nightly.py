"""``ci/nightly`` and ``ci/open-issue``: what a night leaves to read, and what the next one compares with."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli.main import main
from tests.colors import EXPECTED, write_dataset

ROOT = Path(__file__).parents[2]


@pytest.fixture
def extras() -> None:
    """Skip what needs packages that are not installed."""
    pytest.importorskip("vl_convert", reason="needs the extra report")
    pytest.importorskip("asv", reason="needs the extra nightly")


class Nights:
    """Runs nights on the 16 images of the small classifier, without timings, which differ on a busy machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.state, self.summary = folder / "nightly", folder / "step_summary.md"
        self.latest = self.state / "latest"

    def night(self, expected: str = EXPECTED, images: str = "colors") -> tuple[int, str]:
        """Run one; return its exit status, and what it printed last."""
        process = self.start(expected, images)
        output, _ = process.communicate()
        return process.returncode, output.splitlines()[-1]

    def start(self, expected: str = EXPECTED, images: str = "colors", *options: str) -> subprocess.Popen[str]:
        """Start one, in which modules in its folder can be imported first."""
        write_dataset(self._folder / "colors")
        (self._folder / "expected.yaml").write_text(expected)
        given = ["--imagenet", str(self._folder / images), "--expected", str(self._folder / "expected.yaml"), *options]
        environ = {
            "NIGHTLY_DIR": str(self.state),
            "IMAGENET_STORE": str(self._folder / "store"),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "PYTHON": sys.executable,
            "PYTHONPATH": f"{self._folder}{os.pathsep}{ROOT}",
        }
        return subprocess.Popen(
            ["ci/nightly", "-m", "imagenet", *given], cwd=ROOT, env={**os.environ, **environ}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    """Nights in a folder of their own."""
    return Nights(tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("extras")
def test_only_a_person_pins_a_run(nights: Nights, tmp_path: Path) -> None:
    """A night without a pinned run, a failed one, and one without a dataset."""
    accept = ["baseline", "accept", str(nights.latest / "run"), "--nightly", str(nights.state)]

    first, title = nights.night()

    assert (2, f"{title}\n") == (first, (nights.latest / "title").read_text())
    assert title.startswith("NOT COMPARED: 1 case on colors, 16 images, torch ")
    assert title.endswith(f"imagenet-gate {' '.join(accept)}")
    assert {"run", "log.txt", "junit.xml", "report.html", "summary.md", "title"} == set(os.listdir(nights.latest))
    assert nights.summary.read_text() == (nights.latest / "summary.md").read_text()
    assert 0 == main(accept)
    record, pinned = (nights.latest / "run" / "record.json").read_text(), nights.state / "pinned/current/record.json"
    assert record == pinned.read_text()

    red, title = nights.night(EXPECTED.replace("nearest_color\n", "nearest_color_brighter\n"))

    why = "FAILED: 1 of 1 result: nearest-V1-fp32: the weights differ"
    assert 1 == red
    assert title.startswith(f"{why} (sha256 ")
    assert nights.summary.read_text().count(f"\n### {why}") == 1
    assert "the weights differ" in (nights.latest / "report.html").read_text()
    assert 'failures="1"' in (nights.latest / "junit.xml").read_text()
    assert record == pinned.read_text()

    missing = nights.night(images="nowhere")

    found = f"expected a folder or archive of images, found nothing at {tmp_path}/nowhere"
    assert (2, f"NO RUN: --imagenet '{tmp_path}/nowhere': {found}") == missing
    assert "expected a folder or archive of images, found nothing" in (nights.latest / "summary.md").read_text()
    assert {"history", "latest", "pinned", "timings.jsonl"} == set(os.listdir(nights.state)) - {"lock"}
    assert 2 == len(list((nights.state / "history").iterdir()))


@pytest.mark.slow
@pytest.mark.usefixtures("extras")
def test_a_night_in_any_folder_runs_the_installed_gate(tmp_path: Path) -> None:
    """As imagenet-gate run does: pytest finds its tests, which is exit status 5 otherwise."""
    options = ["-p", "no:imagenet-gate", "-p", "harness.early", "--imagenet=nowhere", "--collect-only"]
    command = [sys.executable, "-m", "harness", "nightly", "--nightly", "kept", "--", *options]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}

    night = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)

    title = (tmp_path / "kept" / "latest" / "title").read_text()
    assert "NO RUN: pytest ended with 0, and nothing was measured\n" == title, night.stdout
    assert "resnet18-IMAGENET1K_V1-fp32-b1]" in night.stdout


@pytest.mark.usefixtures("extras")
def test_a_night_that_is_ended_ends_its_tests(nights: Nights, tmp_path: Path) -> None:
    """No process is left, and title and summary say what happened."""
    hangs = "import os, sys, time\nos.write(1, b'begun %d\\n' % os.getpid())\ntime.sleep(60)\n"
    (tmp_path / "hangs.py").write_text(hangs)
    process = nights.start(EXPECTED, "colors", "-phangs")
    assert process.stdout is not None
    testing = int(process.stdout.readline().split()[1])

    process.terminate()

    output, _ = process.communicate(timeout=30)
    assert (2, "NO VERDICT: the nightly run was interrupted (SIGTERM)") == (process.returncode, output.splitlines()[-1])
    assert "begun" in (nights.latest / "summary.md").read_text()
    with pytest.raises(ProcessLookupError):
        os.kill(testing, 0)


def test_a_second_night_leaves_the_first_alone(nights: Nights) -> None:
    """It says why it ends, and does not touch the first one's files."""
    nights.latest.mkdir(parents=True)
    (nights.latest / "log.txt").write_text("so far")
    with (nights.state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        second = nights.night()

    in_use = f"NO RUN: another nightly run is using {nights.state}; wait for it, or name another folder"
    assert (2, in_use) == second
    assert (nights.latest / "log.txt").read_text() == "so far"


@pytest.mark.parametrize("name", ["latest/holiday.jpeg", "latest/run/notes.txt", "latest"])
def test_what_no_night_wrote_is_not_removed(name: str, nights: Nights) -> None:
    """It is named."""
    foreign = nights.state / name
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine")

    night = nights.night()

    found = f"NO RUN: expected only what an earlier night wrote, found {foreign}; move it, or name another NIGHTLY_DIR"
    assert ((2, found), "mine") == (night, foreign.read_text())


@pytest.mark.parametrize("module", ["altair", "asv"])
def test_a_missing_extra_is_noticed_first(module: str, nights: Nights, tmp_path: Path) -> None:
    """Before anything is evaluated."""
    hidden = {"altair": "sys", "asv": "sys", "jinja2": "sys", "vl_convert": "sys", module: "None"}
    lines = ["import sys", *(f"sys.modules[{name!r}] = {value}" for name, value in hidden.items())]
    (tmp_path / "sitecustomize.py").write_text("\n".join(lines))

    night = nights.night()

    missing = f"NO RUN: a night needs the extra nightly: pip install -e '.[nightly]' (no {module})"
    assert (2, missing) == night


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
    arguments = ["nightly, torch stable", str(tmp_path / "latest"), "https://example.org/1"]
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "GH_LOG": str(tmp_path / "log"), "OPEN": open_issue}
    subprocess.run([f"{ROOT}/ci/open-issue", *arguments], env=environ, check=True)
    listed, *calls = [call.split("\0") for call in (tmp_path / "log").read_text().split("\0\n")[:-1]]
    assert listed[:2] == ["issue", "list"]
    return calls


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
