"""The pytest plugin of ``-m throughput``: one test per case and batch size, timed by pytest-benchmark."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from harness.errors import HarnessError
from harness.expected import Case
from harness.options import THROUGHPUT, is_selected, listed, positive, require_selected
from harness.plugin import gate_of, shown_in_one_sentence
from harness.records.environment import current_environment, describe_versions
from harness.records.results import BENCHMARK_KEY, plain

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from harness.records.environment import Environment
    from harness.throughput.timing import Bench, TimedForward

_NAME = "imagenet-throughput"
_AUTO = "auto"


@dataclass(frozen=True)
class TimedCase(Case):
    """A case that is timed, with what a setting of the gate has not."""

    cudnn_benchmark: bool = False  # whether cuDNN chooses its algorithms by timing them

    def __str__(self) -> str:
        size = "" if self.batch_size else f"-b{_AUTO}"  # without one it is to be found
        return f"{super().__str__()}{size}{'-cudnn-benchmark' if self.cudnn_benchmark else ''}"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("imagenet")
    group.addoption(
        "--batch-sizes",
        metavar="LIST",
        type=_sizes,
        help="batch sizes to time, comma-separated; auto: doubled until images/s no longer grow (default: 1,256 on "
        "CUDA, 1,32 on a CPU)",
    )
    group.addoption(
        "--cudnn-benchmark",
        action="store_true",
        help="let cuDNN choose its algorithms by timing them, as in training scripts; the gate never does",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin object if throughput tests are to run."""
    require_selected(config, {"--batch-sizes": (THROUGHPUT,), "--cudnn-benchmark": (THROUGHPUT,)})
    if not is_selected(config, THROUGHPUT):
        return
    if config.getoption("dist", "no") != "no" or hasattr(config, "workerinput"):
        raise pytest.UsageError(
            f"-m {THROUGHPUT} times one model at a time; parallel processes would slow each other down: leave out -n"
        )
    if not config.getoption("collectonly"):
        config.pluginmanager.register(_Throughput(), _NAME)
        # By pytest-benchmark, if a model cannot be built or the run is interrupted before it is timed.
        config.addinivalue_line("filterwarnings", "ignore:Benchmark fixture was not used at all")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of each case and batch size."""
    if "timed" in metafunc.fixturenames and metafunc.definition.get_closest_marker(THROUGHPUT):
        sizes = _batch_sizes(metafunc.config)
        benchmark, selected = metafunc.config.getoption("cudnn_benchmark"), gate_of(metafunc.config).cases
        cases = [TimedCase(case.entry, case.setting, size, benchmark) for case in selected for size in sizes]
        metafunc.parametrize("timed", cases, ids=str, indirect=True)


@pytest.fixture
def timed(request: pytest.FixtureRequest, benchmark: BenchmarkFixture) -> Iterator[TimedForward]:
    """The model's forward on a batch that is on the device, warmed up; each call is one measurement."""
    plugin: _Throughput | None = request.config.pluginmanager.get_plugin(_NAME)
    if plugin is None:
        pytest.fail(f"run throughput tests with -m {THROUGHPUT}; without it no device is opened", pytrace=False)
    case: TimedCase = request.param
    # pytest-benchmark groups by these, and writes them: plain values.
    benchmark.params = {"model": str(case.spec), **asdict(case.setting), "batch_size": case.batch_size or _AUTO}
    benchmark.params["cudnn_benchmark"] = case.cudnn_benchmark
    alone = len(request.session.items) == 1
    with shown_in_one_sentence(), plugin.bench.prepared(case, alone=alone) as forward:
        yield forward


class _Throughput:
    """The state of the plugin: the open device."""

    bench: Bench

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Open the device, after the gate has opened what it needs."""
        from harness.throughput.timing import Bench  # imports torch

        options = gate_of(session.config).options
        precisions = [setting.precision for setting in options.settings]
        try:
            self.bench = Bench(options.device, precisions, session.config.getoption("cudnn_benchmark"))
        except HarnessError as error:
            raise pytest.UsageError(str(error)) from error

    def pytest_report_header(self, config: pytest.Config) -> list[str]:
        """Describe the device; the versions as well, unless the gate does."""
        from harness.device import describe_device

        device = f"timed on: {describe_device(self.bench.device)}"
        return [device] if gate_of(config).evaluator else [device, f"versions: {describe_versions()}"]

    def pytest_imagenet_environment(self, config: pytest.Config) -> Environment:
        """Return the versions and hardware."""
        from harness.device import device_facts

        return current_environment(device_facts(self.bench.device), gate_of(config).options)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attach the result; a timing that failed leaves nothing in pytest-benchmark's table and JSON."""
        report = yield
        arguments: dict[str, Any] = getattr(item, "funcargs", {})
        if call.when != "call" or "timed" not in arguments:
            return report
        benchmark: BenchmarkFixture = arguments["benchmark"]
        if report.passed and benchmark.stats is not None:
            result = arguments["timed"].result(benchmark.stats.stats.data)
            report.imagenet_timing = msgspec.to_builtins(result)  # type: ignore[attr-defined]
            benchmark.extra_info.update(result.info())
        elif not report.passed:
            benchmark.has_error = True
            if benchmark.stats is not None:
                benchmark.stats.stats.data.clear()
        return report

    @pytest.hookimpl(optionalhook=True)
    def pytest_benchmark_update_json(self, config: pytest.Config, output_json: dict[str, Any]) -> None:
        """Add the record of the run to pytest-benchmark's JSON, which holds the timings already."""
        if (record := gate_of(config).record()) is None:
            return
        values = plain(record)
        del values["timings"]
        output_json[BENCHMARK_KEY] = values
        for benchmark in output_json["benchmarks"]:
            if "peak_tflops" in benchmark["extra_info"]:
                benchmark["extra_info"]["environment"] = values["environment"]


def _batch_sizes(config: pytest.Config) -> tuple[int | None, ...]:
    """Return the batch sizes to time, None for one that is to be found; torch is imported only if none are given."""
    given: tuple[int | None, ...] | None = config.getoption("batch_sizes")
    if given or not is_selected(config, THROUGHPUT):
        return given or (1,)
    from harness.device import default_batch_size, resolve_device

    try:
        return 1, default_batch_size(resolve_device(config.getoption("device")))
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from error


def _sizes(text: str) -> tuple[int | None, ...]:
    """Return whole numbers above 0, comma-separated, each once; None for ``auto``."""
    return tuple(dict.fromkeys(None if part == _AUTO else positive(part) for part in listed(text) or [text]))
