"""The pytest glue: what is selected, the fixtures that evaluate and time, header and progress."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING

import pytest

from harness.data.layouts import EMBEDDED
from harness.errors import HarnessError, RanksError
from harness.evaluation.setting import Setting
from harness.gate.cases import Case, Workload, select_cases
from harness.gate.expected_file import read_expected
from harness.opening import (
    BENCH,
    CASES,
    OPTIONS,
    ORDER,
    RUN,
    SUMMARY,
    facts_of,
    open_session,
)
from harness.options import add_options, read_options
from harness.parallel import MISTAKE, place_of, ranks_of
from harness.reporting.case_record import CaseRecord
from harness.reporting.progress import NOWHERE, CaseProgress, Console, is_terminal
from harness.selection import is_selected, refuse_what_does_not_fit
from harness.summary import ACCURACY, THROUGHPUT, Summary, case_id

if TYPE_CHECKING:
    from _pytest.capture import CaptureManager
    from _pytest.terminal import TerminalReporter
    from pytest_benchmark.fixture import BenchmarkFixture

    from harness.bench import Timed
    from harness.evaluation.throughput import TimedForward

RECORD: pytest.StashKey[CaseRecord] = pytest.StashKey()
TIMED: pytest.StashKey[Timed] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Read the options and select the cases; without torch, so that collecting is quick."""
    config.addinivalue_line("markers", f"{ACCURACY}: evaluates a pretrained model on the image set given by --imagenet")
    config.addinivalue_line("markers", f"{THROUGHPUT}: times a model's forward on images that lie on the device")
    selected = {mark for mark in (ACCURACY, THROUGHPUT) if is_selected(config, mark)}
    # A team's builders lie beside their own file of expected values, in the folder they work in.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        refuse_what_does_not_fit(config, selected)
        options = config.stash[OPTIONS] = read_options(config, place_of(config))
        config.stash[CASES] = select_cases(
            read_expected(options.expected),
            options.models,
            options.settings,
            embedded=options.imagenet == EMBEDDED,
        )
    except (HarnessError, pytest.UsageError) as error:
        if ranks_of(config) is None:
            raise pytest.UsageError(str(error)) from error
        config.stash.setdefault(MISTAKE, str(error))
    if selected:
        config.stash[SUMMARY] = Summary()
        config.pluginmanager.register(config.stash[SUMMARY], "imagenet-summary")


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Show a user's mistake as pytest shows its own: one line, exit status 4."""
    try:
        yield
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of each case, and of each case and batch size."""
    cases = metafunc.config.stash[CASES]
    if "evaluated" in metafunc.fixturenames and metafunc.definition.get_closest_marker(ACCURACY):
        metafunc.parametrize("case", cases, ids=str)
    if "timed" in metafunc.fixturenames and metafunc.definition.get_closest_marker(THROUGHPUT):
        workloads = [
            Workload(case.entry, case.setting, batch_size)
            for case in cases
            for batch_size in _batch_sizes(metafunc.config)
        ]
        # Plain values, by which pytest-benchmark can group, and which its JSON can hold.
        metafunc.parametrize(
            ("model", "precision", "memory_format", "compiled", "batch_size"),
            [
                (str(load.entry.spec), load.setting.precision, load.setting.memory_format, load.setting.compiled, size)
                for load in workloads
                for size in [load.batch_size]
            ],
            ids=[str(workload) for workload in workloads],
        )


def _batch_sizes(config: pytest.Config) -> tuple[int, ...]:
    """Return the batch sizes to time; only where they depend on the device is torch imported to look."""
    options = config.stash[OPTIONS]
    if options.batch_sizes or not is_selected(config, THROUGHPUT):
        return options.batch_sizes or (1,)
    from harness.evaluation.device import default_batch_size, resolve_device

    with _usage_errors():
        return 1, default_batch_size(resolve_device(options.device))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Open the split and the device before the header is printed; the first import of torch."""
    config = session.config
    if SUMMARY not in config.stash or config.option.collectonly:
        return
    stack = ExitStack()
    config.add_cleanup(stack.close)
    ranks = ranks_of(config)
    if threading.current_thread() is threading.main_thread():
        # A job that is cancelled gets SIGTERM: let it end as by Ctrl-C, with the table and without leftovers.
        before = signal.signal(signal.SIGTERM, signal.default_int_handler if ranks is None else _end_with_the_others)
        stack.callback(signal.signal, signal.SIGTERM, before or signal.SIG_DFL)
    with _usage_errors():
        if ranks is None:
            open_session(config, stack)
            return
        try:
            ranks.gather("its images and its device", lambda: open_session(config, stack))
            ranks.agree(facts_of(config))
        except HarnessError as error:
            if ranks.place.rank > 0:  # pytest would show a usage error, however silent this process is
                pytest.exit(str(error), pytest.ExitCode.USAGE_ERROR)
            raise


def _end_with_the_others(_signal: int, _frame: object) -> None:
    pytest.exit("told to end: the job was cancelled, or another rank has ended, of which torchrun tells below", 1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let models of one geometry follow each other, so that each geometry is decoded once."""
    if order := config.stash.get(ORDER, None):
        items.sort(key=lambda item: order.get(case_id(item.nodeid), -1))


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what is evaluated or timed, on what, and with what."""
    lines = []
    if run := config.stash.get(RUN, None):
        lines += run.describe([str(setting) for setting in config.stash[OPTIONS].settings])
    if bench := config.stash.get(BENCH, None):
        lines += bench.describe()
    return list(dict.fromkeys(lines))


@pytest.fixture
def evaluated(case: Case, request: pytest.FixtureRequest) -> CaseRecord:
    """The case, evaluated and judged; what cannot be evaluated is an error of the test, not a failure."""
    config = request.config
    if RUN not in config.stash:
        pytest.fail(f"select the gate by -m {ACCURACY}; without it no image set is opened", pytrace=False)
    with _failures(), _progress(case, config) as progress:
        try:
            record = config.stash[RUN].evaluate(case, progress)
        except RanksError:
            request.session.shouldfail = "the ranks have lost each other"
            raise
    request.node.stash[RECORD] = record
    return record


@pytest.fixture
def timed(
    model: str,
    precision: str,
    memory_format: str,
    compiled: bool,
    batch_size: int,
    request: pytest.FixtureRequest,
) -> Iterator[TimedForward]:
    """The model's forward on a batch that lies on the device, warmed up, to be called once for each measurement."""
    config = request.config
    if BENCH not in config.stash:
        pytest.fail(f"select it by -m {THROUGHPUT}; without it no device is opened", pytrace=False)
    entry = next(case.entry for case in config.stash[CASES] if str(case.entry.spec) == model)
    workload = Workload(entry, Setting(precision, memory_format, compiled), batch_size)
    with ExitStack() as stack:
        with _failures():
            ready = stack.enter_context(config.stash[BENCH].prepared(workload))
        request.node.stash[TIMED] = ready
        yield ready.forward


@contextmanager
def _failures() -> Iterator[None]:
    """Show an error in one sentence, without a traceback."""
    try:
        yield
    except HarnessError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


def _progress(case: Case, config: pytest.Config) -> CaseProgress:
    """Return what shows how far the case is; of ranks the first shows its own share."""
    place = place_of(config)
    share = f"rank {place.rank} of {place.world}, " if place.world > 1 else ""
    return CaseProgress(f"{share}{case}", _console(config))


def _console(config: pytest.Config) -> Console:
    """Show progress past pytest's capture; not with -q, nor in workers of xdist, which would write over each other."""
    reporter: TerminalReporter | None = config.pluginmanager.get_plugin("terminalreporter")
    capture: CaptureManager | None = config.pluginmanager.get_plugin("capturemanager")
    if reporter is None or config.get_verbosity() < 0 or hasattr(config, "workerinput"):
        return NOWHERE

    def write_line(line: str) -> None:
        reporter.write_line(line)
        reporter.flush()  # into a pipe, as in CI, a line would otherwise stay unseen until the end

    uncaptured = capture.global_and_fixture_disabled if capture else nullcontext
    with uncaptured():
        return Console(write_line, reporter.ensure_newline, uncaptured, is_terminal())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the record to the report, which also travels from an xdist worker to the controller."""
    report = yield
    if call.when == "call":
        if (record := item.stash.get(RECORD, None)) is not None:
            setattr(report, ACCURACY, record.to_json())
        if (ready := item.stash.get(TIMED, None)) is not None:
            _conclude(item.funcargs["benchmark"], ready, report)  # type: ignore[attr-defined]
    return report


def _conclude(benchmark: BenchmarkFixture, ready: Timed, report: pytest.TestReport) -> None:
    """Attach the record of a timing; let one that failed leave nothing in pytest-benchmark's table and JSON."""
    if report.passed and benchmark.stats is not None:
        record = ready.record(list(benchmark.stats.stats.data))
        setattr(report, THROUGHPUT, record.to_json())
        benchmark.extra_info.update(record.info())
    elif not report.passed:
        benchmark.has_error = True
        if benchmark.stats is not None:
            benchmark.stats.stats.data.clear()
