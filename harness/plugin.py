"""The pytest glue: options, cases, the fixture that evaluates one, header and progress."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from _pytest.mark.expression import Expression

from harness.commands.options import available_cores, folder, positive
from harness.data.decoder import DECODERS
from harness.data.inventory import default_store
from harness.data.layouts import EMBEDDED
from harness.data.workers import warm_up
from harness.errors import ExpectedError, HarnessError
from harness.evaluation.precision import PRECISIONS
from harness.gate.cases import Case, select_cases
from harness.gate.expected_file import DEFAULT_FILE, read_expected
from harness.reporting.progress import show_progress
from harness.reporting.record import CaseRecord
from harness.summary import MARKER, RECORD_ATTRIBUTE, Summary, case_id

if TYPE_CHECKING:
    from _pytest.capture import CaptureManager
    from _pytest.terminal import TerminalReporter

    from harness.data.decoded import Progress
    from harness.run import Run


@dataclass(frozen=True)
class Options:
    """The options of the gate, read once."""

    imagenet: str | None
    models: tuple[str, ...]
    expected: Path
    device: str
    precisions: tuple[str, ...]
    batch_size: int | None
    limit: int | None
    decoder: str
    workers: int
    store: Path | None


OPTIONS: pytest.StashKey[Options] = pytest.StashKey()
CASES: pytest.StashKey[tuple[Case, ...]] = pytest.StashKey()
RUN: pytest.StashKey[Run] = pytest.StashKey()
ORDER: pytest.StashKey[dict[str, int]] = pytest.StashKey()
RECORD: pytest.StashKey[CaseRecord] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options of the gate."""
    group = parser.getgroup("imagenet", "accuracy of pretrained image classifiers (-m imagenet)")
    group.addoption(
        "--imagenet",
        metavar="SPLIT",
        default=os.environ.get("IMAGENET_DIR") or None,
        help="folder of the validation set, or 'embedded' for images that need no download (default: $IMAGENET_DIR)",
    )
    group.addoption(
        "--models",
        metavar="LIST",
        default="core",
        help="comma-separated names, globs or ids, or 'all' (default: core: alexnet, vgg16, resnet18, googlenet)",
    )
    group.addoption(
        "--expected",
        metavar="FILE",
        type=Path,
        help="file of expected accuracies (default: expected_accuracy.yaml of the project)",
    )
    group.addoption("--device", metavar="DEVICE", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    group.addoption("--precision", metavar="LIST", default="fp32", help="comma-separated: fp32 (default: fp32)")
    group.addoption(
        "--batch-size",
        metavar="N",
        type=positive,
        help="images in a forward call, halved when memory runs out (default: 256 on CUDA, 32 on the CPU)",
    )
    group.addoption(
        "--limit",
        metavar="N",
        type=positive,
        help="evaluate a fixed, class-balanced subset of N images (default: all)",
    )
    group.addoption(
        "--workers",
        metavar="N",
        type=positive,
        default=available_cores(),
        help="decoding processes (default: one for each CPU core that may be used, %(default)s here)",
    )
    group.addoption(
        "--decoder",
        choices=DECODERS,
        default=DECODERS[0],
        help="what decodes images: pillow (default; what the published values used), torchvision or nvjpeg",
    )
    group.addoption(
        "--store",
        metavar="DIR",
        type=folder,
        default=os.environ.get("IMAGENET_STORE") or None,
        help="folder that keeps decoded images from run to run (default: $IMAGENET_STORE, else the user's cache)",
    )
    group.addoption(
        "--no-store", action="store_true", help="keep no decoded images; hold one geometry at a time in TMPDIR"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Read the options and select the cases; without torch, so that collecting is quick."""
    config.addinivalue_line("markers", f"{MARKER}: evaluates a pretrained model on the image set given by --imagenet")
    gate = selects(config, {MARKER}) and not selects(config, set())
    if gate and not config.getoption("imagenet"):
        raise pytest.UsageError(
            f"-m {MARKER} needs an image set: give --imagenet DIR (or set IMAGENET_DIR) for ImageNet's validation "
            "set in class folders, or --imagenet embedded for images that need no download"
        )
    if not gate and any(arg.startswith("--imagenet") for arg in config.invocation_params.args):
        raise pytest.UsageError(f"--imagenet was given, but no test of the gate is selected: add -m {MARKER}")
    # A team's builders lie beside their own file of expected values, in the folder they work in.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    with _usage_errors():
        options = config.stash[OPTIONS] = _read_options(config)
        config.stash[CASES] = select_cases(
            read_expected(options.expected),
            options.models,
            options.precisions,
            embedded=options.imagenet == EMBEDDED,
        )
    if gate:
        config.pluginmanager.register(Summary(), "imagenet-summary")


def selects(config: pytest.Config, marks: set[str]) -> bool:
    """Tell whether ``-m`` selects a test that bears exactly these marks."""
    expression = config.getoption("markexpr")
    try:
        return not expression or Expression.compile(expression).evaluate(lambda name, /, **_: name in marks)
    except SyntaxError as error:
        raise pytest.UsageError(f"wrong expression after -m: {expression!r}: {error}") from error


def _read_options(config: pytest.Config) -> Options:
    precisions = _listed(config.getoption("precision"))
    if unknown := [name for name in precisions if name not in PRECISIONS]:
        raise ExpectedError(f"--precision: {unknown[0]!r} is not one of {', '.join(PRECISIONS)}")
    return Options(
        imagenet=config.getoption("imagenet"),
        models=_listed(config.getoption("models")),
        expected=config.getoption("expected") or config.rootpath / DEFAULT_FILE,
        device=config.getoption("device"),
        precisions=precisions,
        batch_size=config.getoption("batch_size"),
        limit=config.getoption("limit"),
        decoder=config.getoption("decoder"),
        workers=config.getoption("workers"),
        store=None if config.getoption("no_store") else Path(config.getoption("store") or default_store()),
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Show a user's mistake as pytest shows its own: one line, exit status 4."""
    try:
        yield
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of each case."""
    if "case" in metafunc.fixturenames and metafunc.definition.get_closest_marker(MARKER):
        cases = metafunc.config.stash[CASES]
        metafunc.parametrize("case", cases, ids=str)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Open the split and the device before the header is printed; the first import of torch."""
    config = session.config
    if not config.pluginmanager.has_plugin("imagenet-summary") or config.option.collectonly:
        return
    options = config.stash[OPTIONS]
    assert options.imagenet is not None
    warm_up()
    from harness.run import Run

    with _usage_errors():
        stack = ExitStack()
        config.add_cleanup(stack.close)
        if threading.current_thread() is threading.main_thread():
            # A job that is cancelled gets SIGTERM: let it end as by Ctrl-C, with the table and without leftovers.
            before = signal.signal(signal.SIGTERM, signal.default_int_handler)
            stack.callback(signal.signal, signal.SIGTERM, before or signal.SIG_DFL)
        run = config.stash[RUN] = stack.enter_context(
            Run(
                options.imagenet,
                device=options.device,
                batch_size=options.batch_size,
                limit=options.limit,
                decoder=options.decoder,
                workers=options.workers,
                store=options.store,
            )
        )
        config.stash[ORDER] = run.order(config.stash[CASES])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let models of one geometry follow each other, so that each geometry is decoded once."""
    if order := config.stash.get(ORDER, None):
        items.sort(key=lambda item: order.get(case_id(item.nodeid), -1))


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what is evaluated, on what, and with what."""
    run = config.stash.get(RUN, None)
    return run.describe(config.stash[OPTIONS].precisions) if run else []


@pytest.fixture
def evaluated(case: Case, request: pytest.FixtureRequest) -> CaseRecord:
    """The case, evaluated and judged; what cannot be evaluated is an error of the test, not a failure."""
    config = request.config
    if RUN not in config.stash:
        pytest.fail(f"select the gate by -m {MARKER}; without it no image set is opened", pytrace=False)
    try:
        record = config.stash[RUN].evaluate(case, _progress(config))
    except HarnessError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None
    request.node.stash[RECORD] = record
    return record


def _show_nothing(_done: int, _images: int) -> None:
    pass


def _progress(config: pytest.Config) -> Progress:
    """Show decoding past pytest's capture; not with -q, nor in a worker of xdist, which has no terminal."""
    reporter: TerminalReporter | None = config.pluginmanager.get_plugin("terminalreporter")
    capture: CaptureManager | None = config.pluginmanager.get_plugin("capturemanager")
    if reporter is None or config.get_verbosity() < 0:
        return _show_nothing

    def write_line(line: str) -> None:
        reporter.write_line(line)
        reporter.flush()  # into a pipe, as in CI, a line would otherwise stay unseen until the end

    show = show_progress("decoding", reporter.ensure_newline, write_line)

    def uncaptured(done: int, images: int) -> None:
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            show(done, images)

    return uncaptured


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the record to the report, which also travels from an xdist worker to the controller."""
    report = yield
    record = item.stash.get(RECORD, None)
    if call.when == "call" and record is not None:
        setattr(report, RECORD_ATTRIBUTE, record.to_json())
    return report
