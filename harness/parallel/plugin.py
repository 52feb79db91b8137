"""The pytest plugin of several processes, workers of xdist and ranks of torchrun, and of how a process ends."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.decoding.workers import PARENT, temporary_folder
from harness.errors import HarnessError
from harness.options import ACCURACY, THROUGHPUT, Process, is_selected, positive, require_selected
from harness.parallel.processes import device_of, gpu_count, interleaved, share_threads
from harness.plugin import gate_of

if TYPE_CHECKING:
    from harness.evaluator import Evaluator
    from harness.parallel.ranks import Ranks
    from harness.records.results import CaseResult

_INPUT = "imagenet_process"
"""Key of an xdist worker's input: its number among the workers, how many there are, and the run's staging folder."""
# Set by torchrun for each process that it starts (torch.distributed.run, "Environment Variables").
_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SECONDS_TO_END = 1.4  # after a signal; what is left to the two seconds is for writing the run


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option."""
    parser.getgroup("imagenet").addoption(
        "--rank-timeout",
        metavar="SECONDS",
        type=positive,
        default=600,
        help="under torchrun: how long the processes wait for each other before the run ends (default: %(default)s)",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin object, silence all ranks but the first, and reject what processes cannot share."""
    require_selected(config, {"--rank-timeout": (ACCURACY,)})
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and (is_selected(config, ACCURACY) or is_selected(config, THROUGHPUT)):
        config.pluginmanager.register(Ending(config), "imagenet-ending")
    if not is_selected(config, ACCURACY):
        return
    worker, controller = hasattr(config, "workerinput"), config.getoption("dist", "no") != "no"
    rank = None if config.getoption("collectonly") else process_of_torchrun(os.environ)
    if rank is not None and (worker or controller):
        raise pytest.UsageError("-n shares models among processes, torchrun shares images: give one of them")
    if rank is not None and is_selected(config, THROUGHPUT):
        raise pytest.UsageError(f"-m {THROUGHPUT} times one model on one device: run it without torchrun")
    if rank is not None and rank.rank > 0:  # before pytest's terminal reporter takes hold of stdout
        config.option.xmlpath = None
        sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    if controller:
        patch = pytest.MonkeyPatch()
        patch.setenv(PARENT, str(temporary_folder()))
        config.add_cleanup(patch.undo)
    if rank is not None or worker or controller:
        config.pluginmanager.register(Parallel(config, rank), "imagenet-parallel")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Let ``-n auto`` be one worker per GPU; without a GPU xdist decides."""
    if not is_selected(config, ACCURACY) or config.getoption("device") == "cpu":
        return None
    return gpu_count() or None


class Parallel:
    """The state of the plugin: the other ranks, or the numbers of xdist's workers."""

    def __init__(self, config: pytest.Config, rank: Process | None) -> None:
        self._config = config
        self._rank = rank
        self._ranks: Ranks | None = None
        self._slots: dict[str, int] = {}
        # Specifications such as "popen" or "3*popen", as xdist documents them.
        specs = config.getoption("tx", None) or [] if config.getoption("dist", "no") != "no" else []
        self._workers = sum(int(spec.partition("*")[0]) if "*" in spec else 1 for spec in specs)
        if self._workers and config.option.maxschedchunk is None:
            config.option.maxschedchunk = 1  # each case goes to whichever worker is free

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionstart(self) -> Generator[None, None, None]:
        """Let what fails on one rank while the session is opened fail on all of them."""
        if self._rank is None or self._rank.world_size == 1:
            return (yield)
        from harness.parallel.ranks import Ranks, facts

        problem = ""

        def check_opened() -> None:
            if problem:
                raise HarnessError(problem)

        try:
            ranks = self._ranks = Ranks(self._rank, self._config.getoption("rank_timeout"))
            try:
                yield
            except pytest.UsageError as error:
                problem = str(error)
            ranks.gather("its images and its device", check_opened)
            evaluator = gate_of(self._config).evaluator
            assert evaluator is not None
            ranks.agree(facts(self._config.option, evaluator))
        except HarnessError as error:
            if self._rank.rank > 0:  # pytest shows a usage error, however silent this process is
                pytest.exit(str(error), pytest.ExitCode.USAGE_ERROR)
            raise pytest.UsageError(str(error)) from error
        return None

    def pytest_imagenet_process(self, config: pytest.Config) -> Process | None:
        """Return which process this is, with a GPU or a share of the cores of its own."""
        if hasattr(config, "workerinput"):
            number, workers, staging = config.workerinput[_INPUT]
            process = Process(local_rank=number, local_world_size=workers, staging=Path(staging) if staging else None)
        elif self._workers:
            process = Process(local_world_size=self._workers)  # the controller, which evaluates nothing
        elif self._rank is not None:
            process = self._rank
        else:
            return None
        device = device_of(process, config.getoption("device"))
        if not self._workers:
            config.option.device = device
        config.add_cleanup(share_threads(process, os.environ))
        return process

    @pytest.hookimpl(trylast=True)  # after others have deselected items
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Order the cases for the workers, largest first."""
        if hasattr(config, "workerinput"):
            items[:] = interleaved(items, gate_of(config).options.process.total)

    def pytest_imagenet_evaluate(
        self, case: object, evaluator: Evaluator, predict: Callable[[], Any], add_evidence: Callable[..., CaseResult]
    ) -> CaseResult | None:
        """Evaluate this rank's images, and let the first rank judge all of them."""
        if self._ranks is None:
            return None
        from harness.parallel.ranks import join

        parts = self._ranks.gather(f"its predictions of {case}", predict)
        return self._ranks.from_first(
            f"the result of {case}", lambda: add_evidence(*join(parts, evaluator.dataset.ids))
        )

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give a worker of xdist the lowest free number, so that a replacement for a crashed one has its GPU."""
        slot = min(set(range(len(self._slots) + 1)) - set(self._slots.values()))
        self._slots[node.gateway.id] = slot
        node.workerinput[_INPUT] = slot, self._workers, str(gate_of(self._config).staging or "")

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take the number back."""
        self._slots.pop(node.gateway.id, None)

    def pytest_unconfigure(self) -> None:
        """Let the first rank end first."""
        if self._ranks is not None and self._ranks.process.rank > 0:
            self._ranks.outlast_the_first()

    def pytest_internalerror(self, excrepr: object) -> None:
        """Let a rank that is silent otherwise report a bug of the harness, and end at once, which the others notice."""
        if self._rank is not None and self._rank.rank > 0 and sys.__stderr__ is not None:
            sys.__stderr__.write(f"rank {self._rank.rank}: {excrepr}\n")
            self._ranks = None


class Ending:
    """SIGINT and SIGTERM end the process within two seconds, with what was measured so far.

    A signal interrupts pytest, as Ctrl-C does, once the model's layer, or other code, returns to Python. If that takes
    too long, a thread does what is left.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._temporary = temporary_folder()
        self._is_interrupted = self._is_over = False
        self._ended = threading.Event()
        self._woken, wakes = socket.socketpair()
        wakes.setblocking(False)
        stack = _handled(config, self._interrupt)
        stack.callback(setattr, sys, "unraisablehook", sys.unraisablehook)
        stack.callback(self._ended.set)
        stack.callback(wakes.close)  # which ends the thread
        stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False))
        threading.Thread(target=self._watch, daemon=True).start()
        atexit.register(self._leave)

    def _interrupt(self, number: int, _frame: object) -> None:
        __tracebackhide__ = True
        if not (self._is_interrupted or self._is_over):  # another one must not stop what is done for the first
            self._is_interrupted = True
            gc.freeze()  # pytest collects garbage several times at its end, seconds with torch's objects
            sys.unraisablehook = lambda _: None  # while an object is deleted nothing is raised, and the thread ends it
            raise KeyboardInterrupt(_ended_by(number))

    def _watch(self) -> None:
        with self._woken:
            woken = self._woken.recv(1)
            while woken and (woken[0] not in _SIGNALS or self._is_over):
                woken = self._woken.recv(1)
        if not woken or self._ended.wait(_SECONDS_TO_END):
            return
        gate = gate_of(self._config)
        try:
            gate.finishing.acquire()  # for ever: pytest cannot go on with it
            gate.finish()
            if gate.run is not None:
                gate.run.discard()
            shutil.rmtree(self._temporary, ignore_errors=True)
            if (capture := self._config.pluginmanager.get_plugin("capturemanager")) is not None:
                capture.suspend_global_capture(in_=True)
            sys.stdout.write(f"\n{_ended_by(woken[0])}{gate.written and f'; {gate.written}'}\n")
            sys.stdout.flush()
        finally:
            os._exit(pytest.ExitCode.INTERRUPTED)

    def _leave(self) -> None:
        """Ignore signals while the interpreter ends; after one, do not wait for that."""
        # Else the interpreter looks through all that torch has made, for 0.8 s; but nanobind, which Triton uses from
        # 3.9 on, would report what is then left as leaked.
        if not any(type(kind).__module__ == "nanobind" for kind in object.__subclasses__()):
            gc.freeze()
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        if self._is_interrupted:
            shutil.rmtree(self._temporary, ignore_errors=True)
            with suppress(OSError):  # nobody reads on
                sys.stdout.flush()
            os._exit(pytest.ExitCode.INTERRUPTED)

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Show where the run was interrupted only: pytest parses the whole source of each frame, seconds in torch."""
        # Nor can it show a frame that was interrupted in no line: None, or -1 in Python 3.11.2.
        entries = excinfo.traceback.filter(lambda entry: (entry._rawentry.tb_lineno or -1) >= 0)
        excinfo.traceback = entries if self._config.getoption("fulltrace") else entries.filter(excinfo)[-1:]
        xdist = self._config.pluginmanager.get_plugin("dsession")
        if (nodes := getattr(xdist, "nodemanager", None)) is not None:
            nodes.EXIT_TIMEOUT = 0.2  # seconds, for workers in the middle of a case

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Let the run be written, though torchrun ends all ranks once one has failed; it waits for 30 s."""
        self._is_over = True


def end_at_once_by_signals(config: pytest.Config) -> None:
    """Let signals end the process while nothing is measured yet, until ``Ending`` takes over."""
    if threading.current_thread() is threading.main_thread():
        _handled(config, _end_at_once)


def _handled(config: pytest.Config, handler: Callable[[int, Any], None]) -> ExitStack:
    """Handle signals until pytest ends, and return what is undone then."""
    stack = ExitStack()
    config.add_cleanup(stack.close)
    for number in _SIGNALS:
        stack.callback(signal.signal, number, signal.signal(number, handler))
    return stack


def _end_at_once(number: int, _frame: object) -> None:
    os.write(2, f"ended by {signal.Signals(number).name}\n".encode())
    os._exit(pytest.ExitCode.INTERRUPTED)


def process_of_torchrun(environ: Mapping[str, str]) -> Process | None:
    """Return the process as torchrun numbers it; None for one that it did not start."""
    if "TORCHELASTIC_RUN_ID" not in environ:
        return None
    rank, world_size, local_rank, local_world_size = (int(environ[name]) for name in _TORCHRUN)
    return Process(rank, world_size, local_rank, local_world_size)


def _ended_by(number: int) -> str:
    other = "; the job was cancelled, or another rank has ended: see torchrun's output below"
    return f"ended by {signal.Signals(number).name}{other if process_of_torchrun(os.environ) else ''}"
