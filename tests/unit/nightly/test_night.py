"""Tests of ``imagenet-gate nightly`` and ``baseline accept``, with recorded runs in place of what pytest measures."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from unittest import mock

import msgspec
import pytest

from harness.cli.main import main
from harness.records.evidence import Unpaired
from harness.records.results import CaseResult, Missing, Record
from harness.records.run_folder import read_run
from tests.records import case_result, expected, run_record, timing_result, write_run

pytest.importorskip("asv", reason="needs the extra nightly")
pytest.importorskip("vl_convert", reason="needs the extra report")

# Instead of pytest: it leaves a run that was made before.
PYTEST = """\
import os, shutil, sys
[results] = [word.partition("=")[2] for word in sys.argv if word.startswith("--results=")]
recorded = os.path.join(os.environ["RECORDED"], os.path.basename(results))
if os.path.exists(recorded):
    shutil.copytree(recorded, results)
print(" ".join(sys.argv))
sys.exit(int(os.environ.get("STATUS", "0")))
"""
TIMING = timing_result().id
CASE = case_result()


class Nights:
    """Nights whose results are given."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "pytest.py").write_text(PYTEST)
        monkeypatch.setenv("PYTHONPATH", str(folder))
        monkeypatch.setenv("IMAGENET_STORE", str(folder / "store"))
        monkeypatch.setenv("NIGHTLY_DIR", str(folder / "nightly"))
        monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
        self._folder, self._environ, self.state = folder, monkeypatch, folder / "nightly"
        self._number = 0

    def night(
        self, *options: str, case: CaseResult = CASE, seconds: float = 0.25, again: float = 0.0, torch: str = "2.9.1"
    ) -> int:
        """Run the next night, and return its exit status; ``again`` is what its timing takes the second time."""
        self._number += 1
        measured = self._folder / f"night-{self._number}"
        self._environ.setenv("RECORDED", str(measured))
        self.record(measured / "run", [case], seconds, torch)
        if again:
            self.record(measured / "again", [], again, torch)
        return main(["nightly", *options])

    def record(
        self, folder: Path, cases: Sequence[CaseResult | Missing], seconds: float = 0.25, torch: str = "2.9.1"
    ) -> Path:
        """Write a run of these cases and a timing."""
        made = run_record(cases, [timing_result(seconds=(seconds,))], torch=torch)
        created = f"2026-11-{self._number + 1:02}T03:17:00+00:00"
        return write_run(folder, msgspec.structs.replace(made, created=created)).path

    def accept(self, run: Path | None = None, *options: str) -> int:
        """Pin a run, the last night's if None."""
        return main(["baseline", "accept", str(run or self.state / "latest" / "run"), *options])

    def read(self, name: str) -> str:
        """Return what the last night wrote."""
        return (self.state / "latest" / name).read_text()

    @property
    def pinned(self) -> Record:
        """The record of the pinned run."""
        return read_run(self.state / "pinned" / "current").record


@pytest.fixture
def nights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nights:
    """Nights in a folder of their own."""
    return Nights(tmp_path, monkeypatch)


@pytest.mark.slow
def test_nights_replace_nothing(
    nights: Nights, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fault that warns still warns on the third night; one without a verdict is neither green nor pinned."""
    assert 2 == nights.night()
    assert 0 == nights.accept()
    pinned = nights.pinned

    for _ in range(3):
        assert 0 == nights.night(case=case_result(baseline=Unpaired("damaged", "cut short")))
        assert nights.read("title").endswith("; 1 warning\n")
        assert f"; compared with {nights.state}/pinned/2" in nights.read("title")

    assert 2 == nights.night(case=case_result(counts=(900, 630, 810)))
    assert "NO VERDICT: this nightly run evaluated 900 images and the pinned run 1000; give" in nights.read("title")
    assert 1 == nights.accept()
    assert "it has 900 images, and the pinned run 1,000; --force pins it anyway" in capsys.readouterr().out

    monkeypatch.setenv("STATUS", "3")
    assert 2 == nights.night()
    assert "NO VERDICT: pytest ended with 3, though every result that it left passed\n" == nights.read("title")
    assert pinned == nights.pinned


@pytest.mark.slow
def test_three_percent_slower_a_night_turns_red(nights: Nights) -> None:
    """It names the first slow night and what changed; a suspected timing that is fast when timed again is not red."""
    for _ in range(8):
        nights.night()
    assert 0 == nights.accept()
    assert [0, 0] == [nights.night(seconds=0.25 * 1.03**day, torch="2.10.0") for day in (1, 2)]

    assert 1 == nights.night(seconds=0.25 * 1.03**3, again=0.25 * 1.03**4, torch="2.10.0")

    title = nights.read("title")
    assert f"FAILED: 1 of 2 results: {TIMING}: speed: since the night of 2026-11-10 a call takes " in title
    assert title.endswith("allowed 5%; changed that night: torch 2.9.1 to 2.10.0\n")
    # Of two timings the faster one counts.
    assert 0.25 * 1.03**3 == read_run(nights.state / "latest" / "run").record.timings[0].median
    assert "speed over all nights" in nights.read("summary.md")
    assert 1 == nights.night(seconds=0.25 * 1.03**4, torch="2.10.0")

    assert 0 == nights.night(seconds=0.25 * 1.03**5, again=0.25, torch="2.10.0")

    log = nights.read("log.txt")
    assert f"timed again, since they seem slower: {TIMING}" in log
    assert f"-k {TIMING}" in log
    assert f"{TIMING}: 289.82 ms, timed again 250.00 ms" in log
    assert 8 + 5 == len((nights.state / "timings.jsonl").read_text().splitlines())


@pytest.mark.slow
def test_what_is_kept_of_earlier_nights(nights: Nights) -> None:
    """The records of 30 nights for the page, set aside if one is damaged; pixels that were used within 14 days."""
    nights.night()
    assert 0 == nights.accept()
    latest, history = nights.state / "latest", nights.state / "history"
    for second in range(40):
        shutil.copy(latest / "run" / "record.json", history / f"20261001T0000{second:02}Z.json")
    (history / "20000101T000000Z.json").write_text("{")

    with mock.patch("subprocess.run", wraps=subprocess.run) as run:
        assert 0 == nights.night()

    assert "the page begins a new series, the records of earlier nights" in nights.read("log.txt")
    assert ["store", "prune", "--older-than", "14d"] == run.call_args.args[0][-4:]
    [aside] = nights.state.glob("history.set-aside-*")
    assert [42, 1] == [len(list(folder.iterdir())) for folder in (aside, history)]
    for record in aside.glob("2026*.json"):
        record.rename(history / record.name)
    assert 0 == nights.night()
    assert 30 == len(list(history.iterdir()))
    assert "<h2>Across runs</h2>" in nights.read("report.html")


def test_options_that_a_night_does_not_know_are_pytest_s(nights: Nights) -> None:
    """Before and after its own; after -- also those that are called like its own."""
    options = ["--models", "alexnet", "--noise", "9%", "-m", "imagenet", "--", "--noise=1", "tests"]

    assert 2 == nights.night(*options)

    command = nights.read("log.txt").splitlines()[0]
    assert command.endswith(" --models alexnet -m imagenet --noise=1 tests")


def test_accept_shows_what_changes_and_rejects(nights: Nights, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that failed or lacks something, unless --force, or that is damaged; the one before is kept, and no more."""
    other = case_result("alexnet")
    lacks, force = f"it lacks {other.id}, which the pinned run has", "--force pins it anyway"
    failed = "the run failed: 1 of 3 results:"
    rejected: dict[str, tuple[Sequence[CaseResult | Missing], str]] = {
        "fails": ([case_result(expected=expected(1000, 800, 900)), other], f"{failed} {CASE.id}: top-1: measured 70*"),
        "lost": ([CASE, Missing(other.id)], f"{failed} {other.id}: not run; {lacks}; {force}"),
        "fewer": ([CASE], f"{lacks}; {force}"),
        "timed": ([], "it has no accuracy; it lacks *"),
    }
    first, slower = (nights.record(nights.state / f"{by}", [CASE, other], by) for by in (0.25, 0.3))
    assert 0 == nights.accept(first)
    before = nights.pinned, sorted((nights.state / "pinned").iterdir())

    for name, (cases, why) in rejected.items():
        assert 1 == nights.accept(nights.record(nights.state / name, cases))
        assert fnmatch(capsys.readouterr().out.splitlines()[-1], f"not pinned: {why}")
    path = first / "predictions" / f"{CASE.id}.npz"
    path.write_bytes(path.read_bytes()[:-9])
    assert 2 == nights.accept(first, "--force")
    assert before == (nights.pinned, sorted((nights.state / "pinned").iterdir()))
    assert 0 == nights.accept(slower)
    shown = capsys.readouterr().out
    assert 0 == nights.accept(nights.state / "fails", "--force")

    assert f"{TIMING}: takes 20.0% longer, allowed 5%" in shown
    kept = [read_run(path).record for path in sorted((nights.state / "pinned").iterdir()) if not path.is_symlink()]
    assert 2 == len(kept)
    for run in (nights.state / "fails", slower):
        assert read_run(run).record in kept
    assert read_run(nights.state / "fails").record == nights.pinned


def test_a_run_is_no_folder_of_nights(nights: Nights, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It stays as it was, and can be replaced as before; links that form a loop are no folder either."""
    run, loop = nights.record(tmp_path / "run", [CASE]), tmp_path / "loop"
    before = sorted(run.rglob("*"))
    loop.symlink_to("loop")

    for folder in (run, loop):
        assert 2 == main(["baseline", "accept", str(run), "--nightly", str(folder)])

    assert [
        f"error: {run}: expected a folder of nightly runs, found a run; name another folder",
        f"error: {loop} cannot be written: File exists",
    ] == capsys.readouterr().err.splitlines()
    assert before == sorted(run.rglob("*"))
