"""What a run comes to, at its end: tables, results, and pytest-benchmark's JSON; registered where the gate runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import ResultsError
from harness.reporting.baseline import BaselineOptions, why_not_to_store
from harness.reporting.case_record import CaseRecord
from harness.reporting.environment import Environment
from harness.reporting.record import (
    ERROR,
    NOT_RUN,
    Record,
    SplitFacts,
    Unmeasured,
)
from harness.reporting.run_folder import BENCHMARK_KEY, NewRun, benchmark_json
from harness.reporting.text import run_sections
from harness.reporting.timing_record import TimingRecord

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

ACCURACY = "imagenet"
THROUGHPUT = "throughput"
"""Marks of tests; and attributes of their reports, which xdist sends to the controller: records as plain values."""
STAGING = "imagenet_staging"
"""Of an xdist worker's input: the folder of the run that is being made, empty if none is."""


class Summary:
    """Gathers records from the tests' reports, shows the tables at the end, and writes the run.

    Attributes:
        environment: what it runs on, once that is open.
        split: what is evaluated, once that is open.
        command: what was typed.
        new_run: where the run is to be written.
        updates: the baseline, where the run is to become the next one.
    """

    environment: Environment | None = None
    split: SplitFacts | None = None
    command: str = ""
    new_run: NewRun | None = None
    updates: BaselineOptions | None = None

    def __init__(self) -> None:
        self._cases: dict[str, CaseRecord | Unmeasured] = {}
        self._timings: dict[str, TimingRecord | Unmeasured] = {}
        self._written = ""

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note what is due."""
        self._expect(item.nodeid for item in session.items if item.get_closest_marker(ACCURACY))
        for item in session.items:
            if item.get_closest_marker(THROUGHPUT):
                self._timings.setdefault(case_id(item.nodeid), Unmeasured(case_id(item.nodeid)))

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker of xdist where the run is being made."""
        node.workerinput[STAGING] = str(self.new_run.staging) if self.new_run else ""

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Note what is due, in the controller of xdist, which collects nothing itself."""
        self._expect(ids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a record, or note why there is none."""
        identity = case_id(report.nodeid)
        if hasattr(report, ACCURACY):
            self._cases[identity] = CaseRecord.from_json(getattr(report, ACCURACY))
        elif hasattr(report, THROUGHPUT):
            self._timings[identity] = TimingRecord.from_json(getattr(report, THROUGHPUT))
        elif report.failed:
            error = Unmeasured(identity, ERROR, _reason(report))
            if isinstance(self._cases.get(identity), Unmeasured):
                self._cases[identity] = error
            if isinstance(self._timings.get(identity), Unmeasured):
                self._timings[identity] = error

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the run, whatever its outcome."""
        record = self._record()
        if self.new_run is None or record is None:
            return
        if all(
            isinstance(result, Unmeasured) and result.outcome == NOT_RUN for result in (*record.cases, *record.timings)
        ):
            self._written = f"NO RESULTS: nothing was measured, and {self.new_run.folder} is as it was"
            return
        if self.updates and (why_not := why_not_to_store(record, self.updates)):
            self._written = f"BASELINE NOT REPLACED: {why_not}"
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
            return
        try:
            self.new_run.finish(record)
            self._written = f"{'baseline' if self.updates else 'results'}: {self.new_run.folder}"
        except ResultsError as error:
            self._written = f"{'BASELINE NOT REPLACED' if self.updates else 'NO RESULTS'}: {error}"
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_benchmark_update_json(self, output_json: dict[str, Any]) -> None:
        """Let the JSON of pytest-benchmark tell of the whole run."""
        if (record := self._record()) is None:
            return
        output_json[BENCHMARK_KEY] = benchmark_json(record)
        for benchmark in output_json["benchmarks"]:
            if case_id(benchmark["fullname"]) in self._timings:
                benchmark["extra_info"]["environment"] = asdict(record.environment)

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """Show the tables, and where the run is."""
        if terminalreporter.config.option.collectonly:
            return
        for section in run_sections(tuple(self._cases.values()), tuple(self._timings.values()), self.split):
            if section.title:
                terminalreporter.write_sep("=", section.title)
            else:
                terminalreporter.write_line("")
            for line in section.body():
                terminalreporter.write_line(line)
        if self._written:
            terminalreporter.write_line(self._written)

    def _expect(self, nodeids: Iterable[str]) -> None:
        for nodeid in nodeids:
            self._cases.setdefault(case_id(nodeid), Unmeasured(case_id(nodeid)))

    def _record(self) -> Record | None:
        """Return the run so far; None if nothing was due, or it never came to run."""
        if self.environment is None or not (self._cases or self._timings):
            return None
        return Record(
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            environment=self.environment,
            split=self.split,
            cases=tuple(self._cases.values()),
            timings=tuple(self._timings.values()),
            commands=(self.command,),
        )


def case_id(nodeid: str) -> str:
    """Return the id of the case or timing that a test is for."""
    return nodeid.partition("[")[2].removesuffix("]")


def _reason(report: pytest.TestReport) -> str:
    """Return why a test failed, in its first line."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else str(report.longrepr)
    return str(text).strip().removeprefix("Failed: ").partition("\n")[0]
