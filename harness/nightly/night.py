"""One night: the gate and the timings, compared with the pinned run and the series, and what there is to read of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

import msgspec

from harness.errors import HarnessError, ResultsError
from harness.nightly.pinned import locked, pinned_run
from harness.nightly.series import SeriesVerdict, judge_series, night_of, read_nights, write_nights
from harness.records.results import Record, TimingResult, record_json
from harness.records.run_folder import INPUTS, LABELS, PREDICTIONS, RECORD, Run, read_run, write_whole
from harness.report.page.changes import Thumbnails
from harness.report.report import Judging, report_on, report_sections
from harness.report.sections import Section, as_markdown, table_of
from harness.verdict import FAILED

NEEDS = ("altair", "asv", "jinja2", "vl_convert")
"""Modules of the extra nightly."""
_WRITTEN = ("run", "run.*-????????", "again", "again.*-????????", "log.txt", "junit.xml", "report.html", "summary.md",
            "title", "screen")  # fmt: skip
_RECORDS, _MOST_RECORDS = "????????T??????Z.json", 30
_ERRORS = "backslashreplace"  # a path may not be UTF-8


class NoVerdictError(HarnessError):
    """The night came to no verdict; the message is its title."""


class Night:
    """A night in its folder.

    Kept from night to night are ``pinned``, ``timings.jsonl``, and the last records in ``history``; ``latest`` is new.
    """

    def __init__(self, state: Path, arguments: Sequence[str], judging: Judging) -> None:
        self._state, self._latest, self._history = state, state / "latest", state / "history"
        self._arguments, self._judging = arguments, judging

    def run(self) -> int:
        """Run it, and return 0 if all passed, 1 if something failed, 2 without a verdict."""
        try:
            with locked(self._state):
                self._clear()
                status, title = self._verdict()
                return self._finish(status, title)
        except ResultsError as error:
            print(f"NO RUN: {error}")
            return 2

    def _clear(self) -> None:
        """Make ``latest`` anew; only what a night wrote is removed."""
        latest, run_files = self._latest, (RECORD, LABELS, PREDICTIONS, INPUTS)
        if latest.is_symlink() or (latest.exists() and not latest.is_dir()):
            foreign = [latest]
        else:
            folders = [(latest, _WRITTEN), *((latest / name, run_files) for name in ("run", "again"))]
            found = [(path, ours) for folder, ours in folders if folder.is_dir() for path in sorted(folder.iterdir())]
            foreign = [path for path, ours in found if not any(fnmatch(path.name, pattern) for pattern in ours)]
        if foreign:
            expected = "expected only what an earlier night wrote"
            raise ResultsError(f"{expected}, found {foreign[0]}; move it, or name another NIGHTLY_DIR")
        try:
            shutil.rmtree(latest, ignore_errors=not latest.exists())
            latest.mkdir()
            (latest / "log.txt").touch()
            self._history.mkdir(exist_ok=True)
        except OSError as error:
            raise ResultsError(f"{latest} cannot be made anew: {error.strerror}") from error

    def _finish(self, status: int, title: str) -> int:
        """Tell what it came to, in one line and at the places where it is looked for."""
        write_whole(self._latest / "title", f"{title}\n".encode(errors=_ERRORS))
        if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
            with Path(summary).open("ab") as file:
                file.write((self._latest / "summary.md").read_bytes())
        print(f"\n{title}")
        return status

    def _verdict(self) -> tuple[int, str]:
        try:
            with _signals_end_the_night():
                return self._run()
        except HarnessError as error:
            title = str(error) if isinstance(error, NoVerdictError) else f"NO VERDICT: {error}"
            # The end of the log stands for the verdict.
            end = (self._latest / "log.txt").read_text(errors="replace").splitlines()[-30:]
            summary = "\n".join([f"### {title}\n\n```", *end, "```\n"])
            write_whole(self._latest / "summary.md", summary.encode(errors=_ERRORS))
            return 2, title

    def _run(self) -> tuple[int, str]:
        if missing := ", ".join(name for name in NEEDS if find_spec(name) is None):
            raise NoVerdictError(f"NO RUN: a night needs the extra nightly: pip install -e '.[nightly]' (no {missing})")
        pinned, earlier = pinned_run(self._state), read_nights(self._state / "timings.jsonl")
        baseline = [] if pinned is None else ["--baseline", str(pinned.path)]
        junit = ["--junitxml", str(self._latest / "junit.xml")]
        tested = self._pytest("run", *junit, *baseline, *self._arguments)
        if not (self._latest / "run" / RECORD).exists():
            raise NoVerdictError(f"NO RUN: {self._why_nothing_was_left(tested)}")
        run = read_run(self._latest / "run")
        if pinned is not None and (counts := [_images(run), _images(pinned)])[0] != counts[1]:
            raise NoVerdictError(
                f"NO VERDICT: this night evaluated {counts[0]} images and the pinned run {counts[1]}; give the same "
                "--limit, accept this run, or name another NIGHTLY_DIR"
            )
        accepted, limit = "" if pinned is None else pinned.record.created, self._judging.max_slowdown
        series = judge_series([*earlier, night_of(run.record)], accepted, limit)
        if suspected := self._suspected(run.record, pinned, series):
            again = self._timed_again(suspected)
            night = night_of(run.record, again)
            run = self._with_the_faster(run, again)
            series = judge_series([*earlier, night], accepted, limit)
        else:
            night = night_of(run.record)
        write_nights(self._state / "timings.jsonl", [*earlier, night])
        outcome, title = self._report(run, pinned, series)
        self._keep_record(run)
        if outcome == FAILED:
            return 1, title
        if tested != 0:
            raise NoVerdictError(f"NO VERDICT: pytest ended with {tested}, though every result that it left passed")
        if pinned is None:
            accept = f"imagenet-gate baseline accept {run.path} --nightly {self._state}"
            return (
                2,
                f"NOT COMPARED: {title.removeprefix('PASSED: ')}; no run is pinned; if this one is right: {accept}",
            )
        prune = [sys.executable, "-m", "harness", "store", "prune", "--older-than", "14d"]
        with (self._latest / "log.txt").open("ab") as log:
            subprocess.run(prune, stdout=log, stderr=log, check=False)
        return 0, title

    def _pytest(self, results: str, *arguments: str) -> int:
        """Run pytest into a folder of results, with its output on the screen and in the log; return its status."""
        command = [sys.executable, "-m", "pytest", "-m", "imagenet or throughput"]
        command += ["--results", str(self._latest / results), *arguments]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors=_ERRORS
        ) as tests:
            assert tests.stdout is not None
            try:
                for line in tests.stdout:
                    self._say(line)
                return tests.wait()
            finally:
                tests.terminate()  # if a signal ended the night

    def _say(self, text: str) -> None:
        with (self._latest / "log.txt").open("a", errors=_ERRORS) as log:
            log.write(text)
        print(text, end="", flush=True)

    def _why_nothing_was_left(self, tested: int) -> str:
        """Return the first line that says it: a usage error, or a run that could not be written."""
        for line in (self._latest / "log.txt").read_text(errors="replace").splitlines():
            for start in ("ERROR: ", "NOT WRITTEN: "):
                if why := line.removeprefix(start) if line.startswith(start) else "":
                    return why
        return f"pytest ended with {tested}, and nothing was measured"

    def _suspected(self, record: Record, pinned: Run | None, series: Sequence[SeriesVerdict]) -> list[str]:
        """Return the ids of timings that would fail, by the series or against the pinned run."""
        if "speed" not in self._judging.fail_on:
            return []
        ids = {one.id for one in series if one.why}
        if pinned is not None:
            sides = (msgspec.structs.replace(side, dataset=None, cases=()) for side in (pinned.record, record))
            comparison, _ = self._judging.compare(*(Run(self._latest, side) for side in sides))
            ids.update(identity for identity, _ in comparison.failures(("speed",), self._judging.max_slowdown))
        return sorted(ids)

    def _timed_again(self, ids: Sequence[str]) -> list[TimingResult]:
        self._say(f"\ntimed again, since they seem slower: {', '.join(ids)}\n")
        self._pytest("again", *self._arguments, "-k", " or ".join(ids))
        folder = self._latest / "again"
        return [timing for timing in read_run(folder).record.timings if timing.id in ids] if folder.exists() else []

    def _with_the_faster(self, run: Run, again: Sequence[TimingResult]) -> Run:
        """Return the run with the faster of two timings; noise only ever adds."""
        second, timings = {timing.id: timing for timing in again}, []
        for timing in run.record.timings:
            timings.append(min(timing, second.get(timing.id, timing), key=lambda one: one.median))
            if timing.id in second:
                first, then = (f"{1e3 * one.median:.2f} ms" for one in (timing, second[timing.id]))
                self._say(f"{timing.id}: {first}, timed again {then}\n")
        record = msgspec.structs.replace(run.record, timings=tuple(timings))
        write_whole(run.path / RECORD, record_json(record))
        return Run(run.path, record)

    def _report(self, run: Run, pinned: Run | None, series: Sequence[SeriesVerdict]) -> tuple[str, str]:
        """Write page and Markdown, and return the outcome and the title."""
        from harness.report.page.render import page_of  # of the extra

        slower = [(one.id, one.why) for one in series if one.why] if "speed" in self._judging.fail_on else []
        records = sorted(self._history.glob(_RECORDS)) if pinned else []
        try:
            report = report_on([*map(read_run, records), run], pinned, self._judging, slower)
        except HarnessError as error:
            report = report_on([run], pinned, self._judging, slower)  # so it was the series alone
            self._history.rename(self._history.with_name(f"history.set-aside-{_now()}"))
            self._history.mkdir()
            self._say(f"the page's series begins anew, the records of earlier nights are set aside: {error}\n")
        rows = [
            [("<timing", one.id), ("nights", f"{one.nights}"), ("noise", f"{100 * one.noise:.1f} %"), ("<", one.why)]
            for one in series
        ]
        sections = [*report_sections(report), *([Section("speed over all nights", table_of(rows))] if rows else [])]
        write_whole(self._latest / "summary.md", ("\n".join(as_markdown(sections)) + "\n").encode(errors=_ERRORS))
        page = page_of(report, Thumbnails(None))
        write_whole(self._latest / "report.html", page.encode(errors=_ERRORS))
        return report.headline.outcome, report.headline.sentence

    def _keep_record(self, run: Run) -> None:
        """Keep the record for the page's series, and no more than it shows."""
        shutil.copyfile(run.path / RECORD, self._history / f"{_now()}.json")
        for older in sorted(self._history.glob(_RECORDS))[:-_MOST_RECORDS]:
            older.unlink()


def _images(run: Run) -> int:
    return run.record.dataset.images if run.record.dataset else 0


def _now() -> str:
    return f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}"


@contextmanager
def _signals_end_the_night() -> Iterator[None]:
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def end(number: int, _: FrameType | None) -> None:
        for one in signals:
            signal.signal(one, signal.SIG_IGN)
        raise NoVerdictError(f"NO VERDICT: the night was ended ({signal.Signals(number).name})")

    before = {one: signal.signal(one, end) for one in signals}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
