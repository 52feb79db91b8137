"""Tests of what is shown while images are evaluated; tests/integration/test_terminal.py has what a user sees."""

from __future__ import annotations

import io
import re
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY, MagicMock, call

import pytest

from harness.options import Options, Process
from harness.report import plugin
from harness.report.progress import Console, Progress, is_terminal
from tests.records import case_result, run_record, write_run


class Clock:
    """The clock of tqdm, which shows the time it was last set to."""

    now = 100.0

    def advance(self, progress: Progress, *steps: tuple[float, int], images: int = 1000) -> None:
        """Report so many images done so many seconds after the beginning."""
        began = self.now
        for seconds, done in steps:
            self.now = began + seconds
            progress(done, images)


class Terminal(io.StringIO):
    """Remembers what was drawn on a terminal."""

    def isatty(self) -> bool:
        """Return that it is one."""
        return True

    def newline(self) -> None:
        """Begin a line."""
        self.write("\r<newline>")

    @property
    def frames(self) -> list[str]:
        """What was drawn, one over the other; the last is empty if nothing is left."""
        return [frame.rstrip() for frame in self.getvalue().split("\r") if frame]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of tqdm."""
    clock = Clock()
    monkeypatch.setattr("tqdm.std.time", lambda: clock.now)
    return clock


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal of 80 columns as stderr."""
    terminal = Terminal()
    # Not sys.stderr itself, which pytest's capture sets anew before the test.
    monkeypatch.setattr("harness.report.progress.sys", SimpleNamespace(stderr=terminal))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("CI", raising=False)
    return terminal


LONG = "regnet_y_16gf-IMAGENET1K_SWAG_LINEAR_V1-fp32"


@pytest.mark.parametrize(
    ("subject", "steps", "lines"),
    [
        (
            "vgg16",
            [(0, 0), (5, 170), (10, 340), (15, 510), (19.9, 677), (20, 680), (25, 1000)],
            [
                "vgg16: forward: 340 of 1,000 images, 34.00 images/s, 00:19 left",
                "vgg16: forward: 680 of 1,000 images, 34.00 images/s, 00:09 left",
            ],
        ),
        (LONG, [(0, 0), (10, 340)], [f"{LONG}: forward: 340 of 1,000 images,\n  34.00 images/s, 00:19 left"]),
        ("", [(0, 0), (5, 500), (9.9, 999), (30, 1000)], []),
        # A store that is half full does not make decoding look fast.
        ("", [(0, 500), (20, 600)], ["forward: 600 of 1,000 images,  5.00 images/s, 01:20 left"]),
        # When memory runs out all images are due again, and the speed is that since then.
        (
            "",
            [(0, 0), (9, 900), (10, 0), (19, 90), (20, 100)],
            ["forward: 100 of 1,000 images, 10.00 images/s, 01:30 left"],
        ),
    ],
    ids=["every ten seconds", "wrapped", "short work", "begun before", "begun again"],
)
def test_without_a_terminal_there_are_lines(
    subject: str, steps: list[tuple[float, int]], lines: list[str], clock: Clock
) -> None:
    """Each has the images done, of all, images/s and the time left; what lies between them is not shown."""
    shown: list[str] = []
    lifted = MagicMock()  # pytest's capture, only to show something: progress of every batch costs next to nothing
    console = Console(False, shown.append, uncaptured=lifted)

    clock.advance(Progress("forward", console, subject), *steps)

    assert lines == shown
    assert bool(lines) == lifted.called


def test_a_bar_leaves_nothing_behind(clock: Clock, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes after a second, below what was written, and disappears with the last image, or if the work fails.

    The numbers are shown, and as much as there is room for of the subject. Work that is over sooner draws none, nor
    does any in CI.
    """
    console = Console(is_terminal(), ensure_newline=terminal.newline)
    subject = "efficientnet_v2_l-IMAGENET1K_V1-fp16-channels_last-compiled"

    clock.advance(Progress("forward", console), (0, 0), (0.9, 900), (5, 1000))
    progress = Progress("forward", console, "vgg16-V1-fp32")
    clock.advance(progress, (0, 0), (0.9, 90), (1, 100), (1.1, 110), (2, 200), (10, 1000))
    with suppress(KeyboardInterrupt), closing(Progress("forward", console, subject)) as progress:
        clock.advance(progress, (0, 0), (2, 4_000), images=50_000)
        raise KeyboardInterrupt

    before, first, again, second, last, anew, long, end = terminal.frames
    assert ["<newline>"] * 3 == [before, again, anew]
    assert first.startswith("vgg16-V1-fp32: forward  10%|")
    assert first.endswith("| 100/1,000, 100.00 images/s, 00:08 left")
    assert second.endswith("| 200/1,000, 100.00 images/s, 00:08 left")
    assert re.fullmatch(r"efficientnet.*: forward   8%\|.*\| 4,000/50,000, 2000.00 images/s, 00:22 left", long)
    assert len(long) < 80
    assert "" == last == end
    monkeypatch.setenv("CI", "true")  # whose logs keep every frame
    assert not is_terminal()


def _terminal(monkeypatch: pytest.MonkeyPatch, rank: int = 0) -> Any:
    """Return the plugin object that ``pytest_configure`` registers in a process."""
    config = MagicMock(invocation_params=SimpleNamespace(args=()), spec=["invocation_params", "pluginmanager"])
    config.get_verbosity, config.getoption = lambda: 0, lambda _name: None
    gate = SimpleNamespace(options=Options(process=Process(rank)))
    monkeypatch.setattr(plugin, "gate_of", lambda _config: gate)
    plugin.pytest_configure(config)
    return config.pluginmanager.register.call_args_list[0].args[0]


def test_one_phase_is_shown_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one before is closed, and all are once the case is over; other ranks show nothing."""
    monkeypatch.setattr("harness.report.progress.Progress", progress := MagicMock())
    _terminal(monkeypatch, rank=1).pytest_imagenet_progress("a", "decoding", 3, 10)
    terminal = _terminal(monkeypatch)

    for phase, done in (("decoding", 3), ("forward", 0), ("forward", 6)):
        terminal.pytest_imagenet_progress("a", phase, done, 10)
    terminal.pytest_runtest_logreport()
    terminal.pytest_imagenet_progress("b", "decoding", 1, 10)

    assert [
        *(call("decoding", ANY, "a"), call()(3, 10), call().close()),
        *(call("forward", ANY, "a"), call()(0, 10), call()(6, 10), call().close(), call().close()),
        *(call("decoding", ANY, "b"), call()(1, 10)),
    ] == progress.mock_calls


def test_tables_survive_predictions_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are made without, and the reason is shown below them."""
    run = write_run(tmp_path / "run", run_record([case_result("vgg16"), case_result()]))
    (run.path / "labels.npz").write_bytes(b"none")
    terminal, reporter = _terminal(monkeypatch), MagicMock()

    terminal.pytest_imagenet_finished(run)
    terminal.pytest_terminal_summary(reporter)

    lines = [one.args[0] for one in reporter.write_line.call_args_list]
    assert ["model", "resnet18", "vgg16"] == [line.split()[0] for line in lines[:3]]
    assert 1 == sum(line.startswith("tables without predictions:") for line in lines)
    assert [] == [line for line in lines if line.startswith("published accuracy")]  # a table of -v
