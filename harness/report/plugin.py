"""The pytest plugin of progress and tables: how far along a case is, and at the end what was measured."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import HarnessError, RecordError
from harness.options import ACCURACY, is_selected, require_selected
from harness.plugin import gate_of
from harness.records.evidence import Pairing
from harness.records.results import CaseResult
from harness.records.run_folder import RECORD, Run
from harness.report.sections import Section, for_stderr, reasons_in_short
from harness.verdict import FAILED

if TYPE_CHECKING:
    from _pytest.capture import CaptureManager
    from _pytest.terminal import TerminalReporter

    from harness.report.progress import Console, Progress


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option."""
    issues = "file of checks expected to fail, each with a reason and an expiry date (default: none)"
    parser.getgroup("imagenet").addoption("--known-issues", metavar="FILE", type=Path, help=issues)


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin objects: of the tables, of pictures in a run that is kept, and of known issues."""
    config.pluginmanager.register(_Terminal(config), "imagenet-report")
    require_selected(config, {"--known-issues": (ACCURACY,)})
    updating = config.getoption("baseline_update")
    if is_selected(config, ACCURACY) and (updating or config.getoption("results")):
        from harness.report.crops import CropsPlugin

        baseline = None if updating else config.getoption("baseline")
        plugin = CropsPlugin(lambda: gate_of(config).staging, baseline)
        config.pluginmanager.register(plugin, "imagenet-crops")
    if (path := config.getoption("known_issues")) is not None and is_selected(config, ACCURACY):
        from harness.known_issues.plugin import KnownIssuesPlugin

        try:
            config.pluginmanager.register(KnownIssuesPlugin(path), "imagenet-known-issues")
        except HarnessError as error:
            raise pytest.UsageError(f"--known-issues {error}") from error


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main() -> Generator[None, object, object]:
    """Let a usage error fit a terminal."""
    try:
        return (yield)
    except pytest.UsageError as error:
        raise pytest.UsageError(
            *(for_stderr(f"ERROR: {text}").removeprefix("ERROR: ") for text in error.args)
        ) from error


class _Terminal:
    """The state of the plugin: the case whose progress is shown, and the tables of the run."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._sections: list[Section] = []
        self._case = ""
        self._phases: dict[str, Progress] = {}

    def pytest_imagenet_progress(self, case: str, phase: str, done: int, images: int) -> None:
        """Show one phase at a time."""
        if (console := self._console) is None:
            return
        if case != self._case:
            self._close()
            self._case = case
        if phase not in self._phases:
            for progress in self._phases.values():
                progress.close()
            process = gate_of(self._config).options.process
            rank = f"rank {process.rank} of {process.world_size}, " if process.world_size > 1 else ""
            from harness.report.progress import Progress  # and with it tqdm, where progress is shown

            self._phases[phase] = Progress(phase, console, f"{rank}{case}")
        self._phases[phase](done, images)

    @pytest.hookimpl(tryfirst=True)
    def _close(self) -> None:
        """Remove the bar of a case that is over, failed or was interrupted, before pytest writes its outcome."""
        for progress in self._phases.values():
            progress.close()
        self._case, self._phases = "", {}

    pytest_runtest_logreport = pytest_sessionfinish = _close

    def pytest_imagenet_finished(self, run: Run) -> None:
        """Make the tables, while the run's files are there."""
        verbosity, cases = self._config.get_verbosity(), run.record.cases
        if verbosity < 0:
            self._sections = [Section("", None, tuple(reasons_in_short(cases)))]
            return
        from harness.report.run import run_sections

        try:
            self._sections = run_sections(run, details=verbosity > 0)
        except RecordError as error:
            # Like a file, which holds no predictions.
            without = run_sections(Run(run.path / RECORD, run.record), details=verbosity > 0)
            self._sections = [*without, Section("", None, (f"tables without predictions: {error}",))]
        if step := self._next_step([case for case in cases if case.outcome == FAILED]):
            self._sections.append(Section("", None, (f"next: {step}",)))

    def _next_step(self, failed: Sequence[CaseResult]) -> str:
        """Return how to learn more about failures; empty where their messages say what to do."""
        baseline, results = self._config.getoption("baseline"), self._config.getoption("results")
        if any(case.expected for case in failed) and all(case.baseline is None for case in failed):
            return "run where this passes, with --baseline DIR --baseline-update, then here with --baseline DIR"
        if baseline is None or not any(isinstance(case.baseline, Pairing) for case in failed):
            return ""
        page = ["imagenet-gate", "report", str(baseline), str(results or "DIR"), "-o", "report.html"]
        return f"{'' if results else 'run again with --results DIR, then '}{shlex.join(page)}"

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """Show the tables."""
        for section in self._sections:
            if section.title:
                terminalreporter.write_sep("=", section.title)
            elif section.table:
                terminalreporter.write_line("")
            for line in section.body():
                terminalreporter.write_line(line)

    @cached_property
    def _console(self) -> Console | None:
        """Where progress is shown; None with -q, in workers of xdist, and in ranks above 0."""
        plugins = self._config.pluginmanager
        reporter: TerminalReporter | None = plugins.get_plugin("terminalreporter")
        if reporter is None or self._config.get_verbosity() < 0 or hasattr(self._config, "workerinput"):
            return None
        if gate_of(self._config).options.process.rank > 0:
            return None
        capture: CaptureManager | None = plugins.get_plugin("capturemanager")
        uncaptured = capture.global_and_fixture_disabled if capture else nullcontext

        def write_line(line: str) -> None:
            reporter.write_line(line)
            reporter.flush()  # a line in a pipe, as in CI, would otherwise be seen only at the end

        def ensure_newline() -> None:
            reporter.ensure_newline()
            reporter.flush()  # before the bar is drawn on stderr

        with uncaptured():
            from harness.report.progress import Console, is_terminal

            return Console(is_terminal(), write_line, ensure_newline, uncaptured)
