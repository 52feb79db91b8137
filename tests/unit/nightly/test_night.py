"""Tests of ``imagenet-gate nightly`` and ``baseline accept``, with recorded runs in place of what pytest measures."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
        self, case: CaseResult, seconds: float = 0.25, again: float | None = None, torch: str = "2.9.1", *options: str
    ) -> int:
        """Run the next night, and return its exit status."""
        self._number += 1
        measured = self._folder / f"night-{self._number}"
        self._environ.setenv("RECORDED", str(measured))
        self.record(measured / "run", [case], seconds, torch)
        if again is not None:
            self.record(measured / "again", [], again, torch)
        return main(["nightly", *options])

    def record(
        self, folder: Path, cases: Sequence[CaseResult | Missing], seconds: float = 0.25, torch: str = "2.9.1"
    ) -> Path:
        """Write a run of these cases and a timing."""
        made = run_record(cases, [timing_result(seconds=(seconds,))], torch=torch)
        created = f"2026-11-{self._number + 1:02}T03:17:00+00:00"
        return write_run(folder, msgspec.structs.replace(made, created=created)).path

    def accept(self, *options: str) -> int:
        """Pin the last night's run."""
        return main(["baseline", "accept", str(self.state / "latest" / "run"), *options])

    @property
    def title(self) -> str:
        """The last night's title."""
        return (self.state / "latest" / "title").read_text()

    @property
    def pinned(self) -> Record:
        """The record of the pinned run."""
        return read_run(self.state / "pinned" / "current").record


@pytest.fixture
def nights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nights:
    """Nights in a folder of their own."""
    return Nights(tmp_path, monkeypatch)


@pytest.mark.slow
def test_nights_that_only_warn_replace_nothing(nights: Nights) -> None:
    """A fault that warns still warns on the third night, against the run that a person accepted."""
    assert 2 == nights.night(case_result())
    assert 0 == nights.accept()
    pinned = nights.pinned
    warns = case_result(baseline=Unpaired("damaged", "the first baseline was cut short"))

    for _ in range(3):
        assert 0 == nights.night(warns)
        assert nights.title.endswith("; 1 warning\n")
        assert f"; compared with {nights.state}/pinned/2" in nights.title

    assert pinned == nights.pinned


@pytest.mark.slow
def test_three_percent_slower_a_night_turns_red(nights: Nights) -> None:
    """It names the first slow night and what changed; a suspected timing that is fast when timed again is not red."""
    for _ in range(8):
        nights.night(case_result())
    assert 0 == nights.accept()
    assert [0, 0] == [nights.night(case_result(), 0.25 * 1.03**day, torch="2.10.0") for day in (1, 2)]

    assert 1 == nights.night(case_result(), 0.25 * 1.03**3, 0.25 * 1.03**4, torch="2.10.0")

    assert f"FAILED: 1 of 2 results: {TIMING}: speed: since the night of 2026-11-10 a call takes " in nights.title
    assert nights.title.endswith("allowed 5 %; changed that night: torch 2.9.1 to 2.10.0\n")
    # Of two timings the faster one counts.
    assert 0.25 * 1.03**3 == read_run(nights.state / "latest" / "run").record.timings[0].median
    assert "speed over all nights" in (nights.state / "latest" / "summary.md").read_text()
    assert 1 == nights.night(case_result(), 0.25 * 1.03**4, torch="2.10.0")

    assert 0 == nights.night(case_result(), 0.25 * 1.03**5, 0.25, torch="2.10.0")

    log = (nights.state / "latest" / "log.txt").read_text()
    assert f"timed again, since they seem slower: {TIMING}" in log
    assert f"-k {TIMING}" in log
    assert f"{TIMING}: 289.82 ms, timed again 250.00 ms" in log
    assert 8 + 5 == len((nights.state / "timings.jsonl").read_text().splitlines())


@pytest.mark.slow
def test_a_night_without_a_verdict_is_neither_green_nor_pinned(
    nights: Nights, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It evaluated other images than the pinned run, or pytest's status is not explained by its results."""
    nights.night(case_result())
    assert 0 == nights.accept()

    assert 2 == nights.night(case_result(counts=(900, 630, 810)))

    assert "NO VERDICT: this night evaluated 900 images and the pinned run 1000; give" in nights.title
    assert 1 == nights.accept()
    assert "it has 900 images, and the pinned run 1,000; --force pins it anyway" in capsys.readouterr().out
    monkeypatch.setenv("STATUS", "3")
    assert 2 == nights.night(case_result())
    assert "NO VERDICT: pytest ended with 3, though every result that it left passed\n" == nights.title


@pytest.mark.slow
def test_what_is_kept_of_earlier_nights(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    """The records of 30 nights for the page, set aside if one is damaged; pixels that were used within 14 days."""
    nights.night(case_result())
    assert 0 == nights.accept()
    latest, history = nights.state / "latest", nights.state / "history"
    for second in range(40):
        shutil.copy(latest / "run" / "record.json", history / f"20261001T0000{second:02}Z.json")
    (history / "20000101T000000Z.json").write_text("{")
    commands: list[list[str]] = []
    run = subprocess.run

    def noted(command: list[str], **given: Any) -> Any:
        commands.append(command)
        return run(command, **given)

    monkeypatch.setattr(subprocess, "run", noted)

    assert 0 == nights.night(case_result())

    assert "the page begins a new series, the records of earlier nights" in (latest / "log.txt").read_text()
    assert ["store", "prune", "--older-than", "14d"] == commands[-1][-4:]
    [aside] = nights.state.glob("history.set-aside-*")
    assert [42, 1] == [len(list(folder.iterdir())) for folder in (aside, history)]
    for record in aside.glob("2026*.json"):
        record.rename(history / record.name)
    assert 0 == nights.night(case_result())
    assert 30 == len(list(history.iterdir()))
    assert "<h2>Across runs</h2>" in (latest / "report.html").read_text()


def test_options_that_a_night_does_not_know_are_pytest_s(nights: Nights) -> None:
    """Before and after its own; after -- also those that are called like its own."""
    options = ["--models", "alexnet", "--noise", "9%", "-m", "imagenet", "--", "--noise=1", "tests"]

    assert 2 == nights.night(case_result(), 0.25, None, "2.9.1", *options)

    command = (nights.state / "latest" / "log.txt").read_text().splitlines()[0]
    assert command.endswith(" --models alexnet -m imagenet --noise=1 tests")


def test_accept_shows_what_changes_and_refuses(nights: Nights, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that failed or lacks something, unless --force; the one before is kept, and no more."""
    whole = [case_result(), case_result("alexnet")]
    failed = [case_result(expected=expected(1000, 800, 900)), whole[1]]
    refused: dict[str, Sequence[CaseResult | Missing]] = {
        "fails": failed,
        "lost": [whole[0], Missing(whole[1].id)],
        "fewer": whole[:1],
        "timed": [],
    }
    assert 0 == main(["baseline", "accept", str(nights.record(nights.state / "first", whole))])
    pinned = nights.pinned

    refusals = []
    for name, cases in refused.items():
        capsys.readouterr()
        assert 1 == main(["baseline", "accept", str(nights.record(nights.state / name, cases))])
        refusals.append(capsys.readouterr().out.splitlines()[-1])
    assert pinned == nights.pinned
    slower = nights.record(nights.state / "slower", whole, 0.3)
    assert 0 == main(["baseline", "accept", str(slower)])
    shown = capsys.readouterr().out
    assert 0 == main(["baseline", "accept", str(nights.state / "fails"), "--force"])

    lacks = f"it lacks {whole[1].id}, which the pinned run has"
    force = "--force pins it anyway"
    assert refusals[0].startswith(f"not pinned: the run failed: 1 of 3 results: {whole[0].id}: top-1: measured 70")
    assert refusals[1] == f"not pinned: the run failed: 1 of 3 results: {whole[1].id}: not run; {lacks}; {force}"
    assert refusals[2] == f"not pinned: {lacks}; {force}"
    assert refusals[3].startswith("not pinned: it has no accuracy; it lacks ")
    assert f"{TIMING}: takes 20.0 % longer, allowed 5 %" in shown
    assert read_run(nights.state / "fails").record == nights.pinned
    kept = [read_run(path).record for path in sorted((nights.state / "pinned").iterdir()) if not path.is_symlink()]
    assert 2 == len(kept)
    assert read_run(slower).record in kept


def test_accept_leaves_the_pinned_run_if_another_cannot_be_copied(nights: Nights) -> None:
    """Nothing half-written takes its place."""
    first = nights.record(nights.state / "first", [case_result()])
    assert 0 == main(["baseline", "accept", str(first)])
    before = nights.pinned, sorted((nights.state / "pinned").iterdir())
    [predictions] = (first / "predictions").iterdir()
    predictions.write_bytes(predictions.read_bytes()[:-9])

    assert 2 == main(["baseline", "accept", str(first), "--force"])

    assert before == (nights.pinned, sorted((nights.state / "pinned").iterdir()))


def test_a_run_is_no_folder_of_nights(nights: Nights, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It stays as it was, and can be replaced as before; links that form a loop are no folder either."""
    run, loop = nights.record(tmp_path / "run", [case_result()]), tmp_path / "loop"
    before = sorted(run.rglob("*"))
    loop.symlink_to("loop")

    for folder in (run, loop):
        assert 2 == main(["baseline", "accept", str(run), "--nightly", str(folder)])

    assert [
        f"error: {run}: expected a folder of nights, found a run; name another folder",
        f"error: {loop} cannot be written: File exists",
    ] == capsys.readouterr().err.splitlines()
    assert before == sorted(run.rglob("*"))
