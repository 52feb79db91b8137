"""The table at the end of a run: a pytest plugin, registered where the gate is selected."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest

from harness.reporting.record import CaseRecord
from harness.reporting.text import accuracy_table

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

MARKER = "imagenet"
RECORD_ATTRIBUTE = "imagenet_record"
"""Of a test's report, which xdist sends to the controller: the case's record as plain values."""


class Summary:
    """Gathers the cases' records from their reports, and shows the table at the end."""

    def __init__(self) -> None:
        self._outcomes: dict[str, CaseRecord | str] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note which cases are due."""
        self._expect(item.nodeid for item in session.items if item.get_closest_marker(MARKER))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Note which cases are due, in the controller of xdist, which collects nothing itself."""
        self._expect(ids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a case's record, or note that there is none."""
        case = case_id(report.nodeid)
        if hasattr(report, RECORD_ATTRIBUTE):
            self._outcomes[case] = CaseRecord.from_json(getattr(report, RECORD_ATTRIBUTE))
        elif report.failed and case in self._outcomes and report.when == "setup":
            self._outcomes[case] = "ERROR, not evaluated (the reason stands above)"

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """Show the table."""
        records = [outcome for outcome in self._outcomes.values() if isinstance(outcome, CaseRecord)]
        unmeasured = [(case, outcome) for case, outcome in self._outcomes.items() if isinstance(outcome, str)]
        if terminalreporter.config.option.collectonly or not self._outcomes:
            return
        where = f"{records[0].split}, {records[0].measured.n:,} images" if records else "nothing was evaluated"
        terminalreporter.write_sep("=", f"accuracy in percent: {where}")
        for line in accuracy_table(records, unmeasured):
            terminalreporter.write_line(line)

    def _expect(self, nodeids: Iterable[str]) -> None:
        for nodeid in nodeids:
            self._outcomes.setdefault(case_id(nodeid), "not run")


def case_id(nodeid: str) -> str:
    """Return the id of the case that a test evaluates."""
    return nodeid.partition("[")[2].removesuffix("]")
