"""One night: the gate and the timings, compared with the pinned run and the series, and what there is to read of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path

import msgspec

from harness.errors import HarnessError, ResultsError
from harness.nightly.pinned import locked, pinned_run
from harness.nightly.series import SeriesVerdict, judge_series, night_of, read_nights, write_nights
from harness.records.results import TimingResult, record_json
from harness.records.run_folder import CROPS, INPUTS, LABELS, PREDICTIONS, RECORD, Run, read_run, write_whole
from harness.report.page.changes import Thumbnails
from harness.report.report import Judging, Report, report_on, report_sections
from harness.report.sections import Section, as_markdown, table_of
from harness.verdict import FAILED

_NEEDS = ("altair", "asv", "jinja2", "vl_convert")
_RUNS, _FILES = ("run", "again"), ("log.txt", "junit.xml", "report.html", "summary.md", "title")
_WRITTEN = (*_FILES, "screen", *_RUNS, *(f"{run}.*-????????" for run in _RUNS))
_HISTORY, _LONGEST = "????????T??????Z.json", 30


class NoVerdictError(HarnessError):
    """The night came to no verdict; the message is its title."""


@dataclass(frozen=True)
class Night:
    """A night in its folder, of which ``latest`` is made anew, ``history`` is for the page, and the rest is kept."""

    state: Path
    arguments: Sequence[str]  # for pytest
    judging: Judging
    thumbnails: Callable[[Report, None], Thumbnails]

    @property
    def _latest(self) -> Path:
        return self.state / "latest"

    def run(self) -> int:
        """Run it, and return 0 if all passed, 1 if something failed, 2 without a verdict."""
        try:
            with locked(self.state):
                self._clear()
                status, title = self._verdict()
                self._write("title", f"{title}\n")
                if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
                    with Path(summary).open("ab") as file:
                        file.write((self._latest / "summary.md").read_bytes())
                print(f"\n{title}")
                return status
        except ResultsError as error:
            print(f"NO RUN: {error}")
            return 2

    def _clear(self) -> None:
        """Remove what the last night wrote, and nothing else."""
        latest, runs = self._latest, (self._latest / run for run in _RUNS)
        ours = {latest: _WRITTEN, **dict.fromkeys(runs, (RECORD, LABELS, PREDICTIONS, INPUTS, CROPS))}
        found = [(path, names) for folder, names in ours.items() if folder.is_dir() for path in folder.iterdir()]
        foreign = [path for path, names in found if not any(fnmatch(path.name, name) for name in names)]
        if latest.is_symlink() or latest.is_file():
            foreign = [latest]
        if foreign:
            expected = "expected only what an earlier night wrote"
            raise ResultsError(f"{expected}, found {min(foreign)}; move it, or name another NIGHTLY_DIR")
        try:
            shutil.rmtree(latest, ignore_errors=not latest.exists())
            latest.mkdir()
            (self.state / "history").mkdir(exist_ok=True)
            self._write("log.txt", "")
        except OSError as error:
            raise ResultsError(f"{latest} cannot be recreated: {error.strerror}") from error

    def _verdict(self) -> tuple[int, str]:
        """Return exit status and title; without a verdict the end of the log is the summary."""
        try:
            return self._measured_and_judged()
        except (HarnessError, OSError, KeyboardInterrupt) as error:
            why = f"the nightly run was interrupted ({error})" if isinstance(error, KeyboardInterrupt) else error
            title = str(error) if isinstance(error, NoVerdictError) else f"NO VERDICT: {why}"
            end = self._log().splitlines()[-30:]
            self._write("summary.md", "\n".join([f"### {title}\n\n```", *end, "```\n"]))
            return 2, title

    def _measured_and_judged(self) -> tuple[int, str]:
        if missing := ", ".join(name for name in _NEEDS if find_spec(name) is None):
            raise NoVerdictError(f"NO RUN: a night needs the extra nightly: pip install -e '.[nightly]' (no {missing})")
        pinned, kept = pinned_run(self.state), self.state / "timings.jsonl"
        earlier = read_nights(kept)
        baseline = [] if pinned is None else [f"--baseline={pinned.path}"]
        tested = self._pytest("run", f"--junitxml={self._latest / 'junit.xml'}", *baseline, *self.arguments)
        if not (self._latest / "run" / RECORD).exists():
            why = re.search("^(?:ERROR|NOT WRITTEN): (.+)", self._log(), re.MULTILINE)
            ended = f"pytest ended with {tested}, and nothing was measured"
            raise NoVerdictError(f"NO RUN: {why[1] if why else ended}")
        run = read_run(self._latest / "run")
        if pinned is not None and _images(run) != _images(pinned):
            found = f"this nightly run evaluated {_images(run)} images and the pinned run {_images(pinned)}"
            advice = "give the same --limit, accept this run, or name another NIGHTLY_DIR"
            raise NoVerdictError(f"NO VERDICT: {found}; {advice}")
        since, again = pinned.record.created if pinned else "", []
        series = judge_series([*earlier, night_of(run.record)], since, self.judging.limits.speed)
        if suspected := {one.id for one in series if one.why} | self._slower_than(pinned, run):
            again = self._timed_again(sorted(suspected))
            series = judge_series([*earlier, night_of(run.record, again)], since, self.judging.limits.speed)
        write_nights(kept, [*earlier, night_of(run.record, again)])
        run = self._with_the_faster(run, again)
        outcome, title, _ = self._report(run, pinned, series).headline
        if outcome == FAILED:
            return 1, title
        if tested != 0:
            raise NoVerdictError(f"NO VERDICT: pytest ended with {tested}, though every result that it left passed")
        if pinned is None:
            accept = f"imagenet-gate baseline accept {run.path} --nightly {self.state}"
            measured = title.removeprefix("PASSED: ")
            return 2, f"NOT COMPARED: {measured}; no run is pinned; if this one is right: {accept}"
        prune = [sys.executable, "-m", "harness", "store", "prune", "--older-than", "14d"]
        with (self._latest / "log.txt").open("ab") as log:
            subprocess.run(prune, stdout=log, stderr=log, check=False)
        return 0, title

    def _pytest(self, results: str, *arguments: str) -> int:
        """Run the gate into a folder of results, with its output on the screen and in the log; return its status."""
        gate = [sys.executable, "-m", "harness", "run", "-m", "imagenet or throughput"]
        with subprocess.Popen(
            [*gate, f"--results={self._latest / results}", *arguments], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="backslashreplace",
        ) as tests:  # fmt: skip
            assert tests.stdout is not None
            try:
                for line in tests.stdout:
                    self._say(line)
                return tests.wait()
            finally:
                tests.terminate()  # if a signal ended the night, for which leaving the context does not wait
                for line in tests.stdout:  # or it would wait for ever for room in the pipe
                    self._say(line)
                tests.wait()

    def _slower_than(self, pinned: Run | None, run: Run) -> set[str]:
        """Return the ids of the timings that fail against the pinned run."""
        if pinned is None or "speed" not in self.judging.fail_on:
            return set()
        sides = (msgspec.structs.replace(side.record, dataset=None, cases=()) for side in (pinned, run))
        comparison, _ = self.judging.compare(*(Run(run.path, side) for side in sides))
        return {identity for identity, _ in comparison.failures(("speed",), self.judging.limits)}

    def _timed_again(self, ids: Sequence[str]) -> list[TimingResult]:
        self._say(f"\ntimed again, since they seem slower: {', '.join(ids)}\n")
        self._pytest("again", *self.arguments, "-k", " or ".join(ids))
        folder = self._latest / "again"
        timings = read_run(folder).record.timings if (folder / RECORD).exists() else ()
        return [timing for timing in timings if timing.id in ids]

    def _with_the_faster(self, run: Run, again: Sequence[TimingResult]) -> Run:
        """Return the run with the faster of two timings; noise only ever adds."""
        timings = {timing.id: timing for timing in run.record.timings}
        for second in again:
            first = timings[second.id]
            self._say(f"{first.id}: {1e3 * first.median:.2f} ms, timed again {1e3 * second.median:.2f} ms\n")
            timings[first.id] = min(first, second, key=lambda timing: timing.median / timing.batch_size)
        record = msgspec.structs.replace(run.record, timings=tuple(timings.values()))
        write_whole(run.path / RECORD, record_json(record))
        return Run(run.path, record)

    def _report(self, run: Run, pinned: Run | None, series: Sequence[SeriesVerdict]) -> Report:
        """Write and return the report on a night, and keep its record for the series on the page of the next."""
        from harness.report.page.render import page_of  # of the extra

        slower = [(one.id, one.why) for one in series if one.why and "speed" in self.judging.fail_on]
        history, now = self.state / "history", f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}"
        records = sorted(history.glob(_HISTORY))
        try:
            report = report_on([*map(read_run, records if pinned else []), run], pinned, self.judging, slower)
        except HarnessError as error:
            report = report_on([run], pinned, self.judging, slower)  # so it was the series alone
            history.rename(f"{history}.set-aside-{now}")
            history.mkdir()
            self._say(f"the page begins a new series, the records of earlier nights are set aside: {error}\n")
        shutil.copyfile(run.path / RECORD, history / f"{now}.json")
        for older in sorted(history.glob(_HISTORY))[:-_LONGEST]:
            older.unlink()
        rows = [
            [("<timing", one.id), ("nights", f"{one.nights}"), ("noise", f"{100 * one.noise:.1f}%"), ("<", one.why)]
            for one in series
        ]
        nights = [Section("speed over all nights", table_of(rows))] if rows else []
        self._write("summary.md", "\n".join(as_markdown([*report_sections(report), *nights])) + "\n")
        self._write("report.html", page_of(report, self.thumbnails(report, None)))
        return report

    def _write(self, name: str, text: str) -> None:
        write_whole(self._latest / name, text.encode(errors="backslashreplace"))  # a path may not be UTF-8

    def _log(self) -> str:
        return (self._latest / "log.txt").read_text(errors="replace")

    def _say(self, text: str) -> None:
        with (self._latest / "log.txt").open("a", errors="backslashreplace") as log:
            log.write(text)
        print(text, end="", flush=True)


def _images(run: Run) -> int:
    return run.record.dataset.images if run.record.dataset else 0
