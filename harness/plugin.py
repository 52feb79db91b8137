"""The pytest plugin: one object that opens a session, evaluates its cases, and records the run."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

import harness.hooks as hooks
from harness.dataset import SYNTHETIC, open_dataset
from harness.early import typed_by_user
from harness.errors import HarnessError, RanksError, ResultsError
from harness.expected import Case, select_cases
from harness.options import (
    ACCURACY,
    PILLOW,
    THROUGHPUT,
    Options,
    Process,
    add_options,
    case_id,
    is_selected,
    read_options,
    require_selected,
)
from harness.records.accuracy_file import read_expected
from harness.records.environment import check_one_tree, command_of
from harness.records.evidence import METRICS, Pairing, wrapped
from harness.records.results import ERROR, NOT_RUN, CaseResult, Missing, Record, TimingResult
from harness.records.run_folder import NewRun, Run

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from harness.evaluator import Evaluator

_NAME = "imagenet-session"
pytest_addoption = add_options


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks."""
    pluginmanager.add_hookspecs(hooks)


def pytest_configure(config: pytest.Config) -> None:
    """Register the session's plugin object."""
    config.addinivalue_line("markers", f"{ACCURACY}: evaluates a pretrained model on the dataset given by --imagenet")
    config.addinivalue_line("markers", f"{THROUGHPUT}: times a model's forward pass on images that are on the device")
    # A team's builders are next to its own file of expected accuracies, in the working folder.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    config.pluginmanager.register(Gate(config), _NAME)


def gate_of(config: pytest.Config) -> Gate:
    """Return the session's plugin object."""
    gate = config.pluginmanager.get_plugin(_NAME)
    assert isinstance(gate, Gate)
    return gate


@contextmanager
def shown_in_one_sentence() -> Iterator[None]:
    """Report a HarnessError as the test's outcome, without a traceback."""
    try:
        yield
    except HarnessError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


@pytest.fixture
def result(case: Case, request: pytest.FixtureRequest) -> CaseResult:
    """The case's result with its evidence; what cannot be evaluated is an error of the test, not a failure."""
    return gate_of(request.config).evaluate(case, request.node)


class Gate:
    """The state of one session: what is evaluated, and the results so far."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.selected = {mark for mark in (ACCURACY, THROUGHPUT) if is_selected(config, mark)}  # that -m asks for
        self.options = Options()
        self.cases: tuple[Case, ...] = ()  # the selected ones, in the order of evaluation
        self.evaluator: Evaluator | None = None  # None unless accuracy tests are selected
        self.run: NewRun | None = None
        self._evaluated: dict[str, CaseResult] = {}
        self._due: dict[str, str] = {}
        self._results: dict[str, CaseResult | TimingResult] = {}
        self._errors: dict[str, Missing] = {}
        self.written = ""  # where the run was written, or why not
        self.finishing = threading.RLock()  # held while that happens

    @property
    def staging(self) -> Path | None:
        """The folder in which the run's files are collected."""
        return self.run.staging if self.run else self.options.process.staging

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Read the options, select the cases, and open dataset and device, before the header is printed."""
        config = self.config
        self._check_options()
        try:
            if self.selected:
                check_one_tree(config.invocation_params.dir / arg.partition("::")[0] for arg in config.args)
            process = config.hook.pytest_imagenet_process(config=config) or Process()
            self.options = read_options(config, process)
            entries, synthetic = read_expected(self.options.expected), self.options.imagenet == SYNTHETIC
            self.cases = select_cases(entries, self.options.models, self.options.settings, synthetic=synthetic)
            if self.selected and not config.getoption("collectonly"):
                self._open()
        except HarnessError as error:
            raise pytest.UsageError(str(error)) from error

    def _check_options(self) -> None:
        if ACCURACY in self.selected and not self.config.getoption("imagenet"):
            raise pytest.UsageError(
                f"-m {ACCURACY} needs a dataset: give --imagenet DIR (or set IMAGENET_DIR) for ImageNet's validation "
                f"set, or --imagenet {SYNTHETIC} for images that need no download"
            )
        if self.config.getoption("store") and self.config.getoption("no_store"):
            raise pytest.UsageError("--store and --no-store exclude each other: leave out one of them")
        one, both = (ACCURACY,), (ACCURACY, THROUGHPUT)
        require_selected(self.config, {"--batch-size": one, "--limit": one, "--imagenet": both, "--results": both})

    def _open(self) -> None:
        """Open the run's folder, the dataset and the device; what is opened is closed when pytest ends."""
        stack = ExitStack()
        self.config.add_cleanup(stack.close)
        if self.options.process.rank == 0 and self.options.process.staging is None:
            destination = self.config.hook.pytest_imagenet_destination(config=self.config)
            self.run = NewRun(*(destination or (self.options.results, "--results")))
            stack.callback(self.run.discard)
        if ACCURACY in self.selected:
            from harness.decoding.workers import warm_up

            warm_up(self.options.decoder != PILLOW)  # begins to start the decoding processes
            from harness.evaluator import Evaluator  # imports torch

            assert self.options.imagenet is not None
            dataset = open_dataset(self.options.imagenet)
            self.evaluator = stack.enter_context(closing(Evaluator(dataset, self.options)))
            self.cases = tuple(self.evaluator.order(self.cases))
            self.config.hook.pytest_imagenet_opened(config=self.config, evaluator=self.evaluator, cases=self.cases)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make one test of each case."""
        if "result" in metafunc.fixturenames and metafunc.definition.get_closest_marker(ACCURACY):
            metafunc.parametrize("case", self.cases, ids=str)

    def pytest_report_header(self) -> list[str]:
        """Say what is evaluated, on which device, and with which versions."""
        return [] if self.evaluator is None else [wrapped(line) for line in self.evaluator.describe()]

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note which results are due."""
        for item in (item for item in session.items if case_id(item.nodeid)):  # others have no result
            self._due |= {case_id(item.nodeid): mark for mark in self.selected if item.get_closest_marker(mark)}

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """Note which results are due in the controller of xdist, which collects nothing itself."""
        known = set(map(str, self.cases))
        self._due |= {identity: ACCURACY for identity in map(case_id, ids) if identity in known}

    def evaluate(self, case: Case, item: pytest.Item) -> CaseResult:
        """Return the case's result, and keep it for the test's report."""
        evaluator, hook = self.evaluator, self.config.hook
        if evaluator is None:
            pytest.fail(f"run the gate with -m {ACCURACY}; without it no dataset is opened", pytrace=False)

        progress = partial(hook.pytest_imagenet_progress, config=self.config, case=str(case))
        check = partial(hook.pytest_imagenet_check, config=self.config)
        predict = partial(evaluator.predict, case, progress)
        add_evidence = partial(evaluator.with_evidence, case, checks=[check], staging=self.staging)
        with shown_in_one_sentence():
            try:
                result: CaseResult | None = hook.pytest_imagenet_evaluate(
                    config=self.config, case=case, evaluator=evaluator, predict=predict, add_evidence=add_evidence
                )
                if result is None:
                    predicted = predict()
                    assert predicted is not None  # the only process has all images
                    result = add_evidence(*predicted)
            except RanksError:
                item.session.shouldfail = "the ranks have lost contact with each other"
                raise
        percentages = ((name, result.counts.percent(name)) for name in METRICS)
        item.user_properties += [("outcome", result.outcome), *percentages]
        if isinstance(result.baseline, Pairing):
            item.user_properties.append(("diagnosis", str(result.baseline.diagnosis)))
        self._evaluated[item.nodeid] = result
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attach the result to the report, which also carries it from an xdist worker to the controller."""
        report = yield
        if call.when == "call" and (result := self._evaluated.pop(item.nodeid, None)) is not None:
            report.imagenet_case = msgspec.to_builtins(result)  # type: ignore[attr-defined]
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a result, or note why there is none."""
        identity = case_id(report.nodeid)
        if hasattr(report, "imagenet_case"):
            self._results[identity] = msgspec.convert(report.imagenet_case, CaseResult)
        elif hasattr(report, "imagenet_timing"):
            self._results[identity] = msgspec.convert(report.imagenet_timing, TimingResult)
        if report.failed:
            self._errors.setdefault(identity, Missing(identity, ERROR, _reason(report)))

    def record(self) -> Record | None:
        """Return the run so far; None if no result is due, or nothing was opened."""
        hook, evaluator = self.config.hook, self.evaluator
        environment = evaluator.environment() if evaluator else hook.pytest_imagenet_environment(config=self.config)
        if environment is None or not self._due:
            return None
        missing = {name: self._errors.get(name, Missing(name)) for name in self._due if name not in self._results}
        results = [self._results[name] for name in self._due if name in self._results]
        return Record(
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            environment=environment,
            dataset=evaluator.dataset_facts() if evaluator else None,
            cases=tuple(found for found in results if isinstance(found, CaseResult)),
            missing_cases=tuple(missing[name] for name in missing if self._due[name] == ACCURACY),
            timings=tuple(found for found in results if isinstance(found, TimingResult)),
            missing_timings=tuple(missing[name] for name in missing if self._due[name] == THROUGHPUT),
            commands=(command_of(typed_by_user(self.config.invocation_params.args), self.options.process, os.environ),),
        )

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the run, whatever its outcome."""
        if not self.finish():
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED

    def finish(self) -> bool:
        """Write the run, and return whether the exit status may be success."""
        with self.finishing:
            run, is_written = self.run, True
            if run is None or not run.staging.exists() or (record := self.record()) is None:
                return True
            if run.folder is not None:
                self.written, is_written = self._write(record, run)
            path = run.folder if run.folder is not None and not run.staging.exists() else run.staging
            self.config.hook.pytest_imagenet_finished(config=self.config, run=Run(path, record))
            return is_written

    def _write(self, record: Record, run: NewRun) -> tuple[str, bool]:
        """Write the run; return a line that says where, or why not, and whether the exit status may be success."""
        if not (record.cases or record.timings) and all(missing.outcome == NOT_RUN for missing in record.missing):
            return f"NOT WRITTEN: nothing was measured for {run.folder}", True
        if error := self.config.hook.pytest_imagenet_write_error(config=self.config, record=record):
            return f"NOT WRITTEN: {error}", False
        try:
            run.finish(record)
        except ResultsError as failure:
            return f"NOT WRITTEN: {failure}", False
        return f"results: {run.folder}", True

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """Say where the run was written, or why it was not."""
        if self.written:
            terminalreporter.write_line(self.written)


def _reason(report: pytest.TestReport) -> str:
    """Return the first line of why a test failed."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(report.longrepr if crash is None else crash.message)
    return text.strip().removeprefix("Failed: ").partition("\n")[0]
