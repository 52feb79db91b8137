"""The plugin object of ``--known-issues``: a case whose failed checks are all known is an expected failure.

The record has the issues, by which the case is judged ever after.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from datetime import date, datetime, timezone
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import msgspec
import pytest

from harness.errors import ExpectedError
from harness.records.accuracy_file import read_yaml
from harness.records.results import CaseResult
from harness.verdict import FAILED

_Text = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f-\x9f]+\Z")]


class KnownIssue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A check that is known to fail, and until when that is accepted."""

    case: _Text  # id, or a glob
    check: _Text  # its name in the verdict, such as ``top-1`` or ``baseline``
    reason: _Text
    url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s\x00-\x1f\x7f-\x9f]+\Z")]
    until: date  # the last day, UTC

    def __str__(self) -> str:
        return f"{self.reason} ({self.url}), until {self.until}"


class KnownIssuesPlugin:
    """Turns failures that are known into expected ones, and reports issues that are over."""

    def __init__(self, path: Path) -> None:
        """Read the file; what is wrong is an ExpectedError."""
        try:
            self._issues = msgspec.convert(read_yaml(path), list[KnownIssue], strict=False)
        except msgspec.ValidationError as error:
            expected = "expected a list of case, check, reason, url and until (a date)"
            raise ExpectedError(f"{path}: {expected}: {error}") from None
        self._today = datetime.now(timezone.utc).date()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Change the outcome of a case's test; an error, which has no result, stays one."""
        report = yield
        if (values := getattr(report, "imagenet_case", None)) is None:
            return report
        result = msgspec.convert(values, CaseResult)
        issues = [issue for issue in self._issues if fnmatchcase(result.id.lower(), issue.case.lower())]
        failed = [check.name for check in result.verdict.checks if check.outcome == FAILED]
        valid = (issue for issue in issues if issue.until >= self._today)
        known = {issue.check: str(issue) for issue in valid if issue.check in failed}
        values["known_issues"], values["issues_over"] = known, (over := list(self._over(result, issues)))
        outcome = msgspec.convert(values, CaseResult).outcome
        properties = [(name, outcome if name == "outcome" else value) for name, value in item.user_properties]
        item.user_properties[:] = properties  # which JUnit takes at the item's end
        # A test of a team may use the result and fail for another reason than its verdict.
        by_verdict = call.excinfo is not None and call.excinfo.errisinstance(pytest.fail.Exception)
        if over:
            report.outcome = "failed"
            report.longrepr = "\n".join([str(report.longrepr or result.id), *(f"known issue: {why}" for why in over)])
        elif known and by_verdict and outcome != FAILED:
            report.outcome = "skipped"
            report.wasxfail = "; ".join(f"{check}: {issue}" for check, issue in known.items())
        return report

    def _over(self, result: CaseResult, issues: list[KnownIssue]) -> Iterator[str]:
        """Yield the issues that no longer hold; a pass on a subset that could miss the failure proves nothing."""
        passed = {check.name for check in result.verdict.checks if check.outcome != FAILED and not check.could_miss}
        for issue in issues:
            if issue.until < self._today:
                yield f"{issue.check} has expired, fix it or accept it for longer: {issue}"
            elif issue.check in passed:
                yield f"{issue.check} no longer occurs, remove it from --known-issues: {issue}"
