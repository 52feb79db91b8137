"""Tests of harness.reporting.progress."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import pytest

from harness.reporting.progress import NOWHERE, CaseProgress, Console, Work, is_terminal, progress_on_stderr


class Clock:
    """A clock that stands still until it is told the time."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        """Return the seconds."""
        return self.now


class Terminal(io.StringIO):
    """Shows what was written as a terminal would, on which a carriage return overwrites."""

    def isatty(self) -> bool:
        """Return that it is one."""
        return True

    @property
    def frames(self) -> list[str]:
        """What was drawn, one over the other."""
        return [frame.rstrip() for frame in self.getvalue().split("\r") if frame.strip()]

    @property
    def screen(self) -> list[str]:
        """The lines that are left."""
        lines = []
        for line in self.getvalue().split("\n"):
            shown = ""
            for frame in line.split("\r"):
                shown = frame + shown[len(frame) :]
            lines.append(shown.rstrip())
        return lines


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the module under test."""
    clock = Clock()
    monkeypatch.setattr("harness.reporting.progress.time", clock)
    return clock


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal of 80 columns as stderr, without CI."""
    terminal = Terminal()
    # Not sys.stderr itself, which pytest's capture sets anew before the test.
    monkeypatch.setattr("harness.reporting.progress.sys", SimpleNamespace(stderr=terminal))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("CI", raising=False)
    return terminal


def ignore(_line: str) -> None:
    """Write no lines."""


def on(terminal: Terminal) -> Console:
    """Return a console that draws there, below what was written."""

    def ensure_newline() -> None:
        terminal.write("\n")

    return Console(ignore, ensure_newline, terminal=True)


def tell(work: Work, clock: Clock, *told: tuple[float, int], images: int = 1000) -> None:
    """Tell that so many are done so many seconds after the beginning."""
    began = clock.now
    for seconds, done in told:
        clock.now = began + seconds
        work(done, images)


def test_without_a_terminal_there_is_a_line_every_ten_seconds(clock: Clock) -> None:
    """Each has the images done, of all, images/s and the time left; what lies between them is not shown."""
    lines: list[str] = []
    work = Work("forward", Console(lines.append), "vgg16-V1-fp32")

    tell(work, clock, (0, 0), (5, 8_000), (10, 17_000), (15, 25_500), (19.9, 34_000), (20, 35_000), images=50_000)

    assert [
        "vgg16-V1-fp32: forward: 17,000 of 50,000 images, 1,700 images/s, 19 s left",
        "vgg16-V1-fp32: forward: 35,000 of 50,000 images, 1,750 images/s, 9 s left",
    ] == lines


def test_without_a_terminal_short_work_leaves_no_line(clock: Clock) -> None:
    """Logs stay small: neither the beginning nor the end is told."""
    lines: list[str] = []
    work = Work("forward", Console(lines.append))

    tell(work, clock, (0, 0), (5, 500), (9.9, 999), (30, 1000))

    assert [] == lines


def test_a_slow_start_is_forgotten(clock: Clock) -> None:
    """Images/s are those of the last ten to twenty seconds."""
    lines: list[str] = []
    work = Work("forward", Console(lines.append))

    tell(work, clock, (0, 0), (60, 10), (70, 110), (80, 210), images=510)

    assert ["0.2 images/s, 50 min left", "1.6 images/s, 4 min left", "10 images/s, 30 s left"] == [
        line.partition("images, ")[2] for line in lines
    ]


def test_images_that_were_there_before_are_not_counted_as_speed(clock: Clock) -> None:
    """A store that is half full does not make decoding look fast; nothing done is no speed at all."""
    lines: list[str] = []
    work = Work("decoding", Console(lines.append))

    tell(work, clock, (0, 500), (10, 500), (20, 600))

    assert ["decoding: 500 of 1,000 images", "decoding: 600 of 1,000 images, 5.0 images/s, 80 s left"] == lines


def test_fewer_images_than_before_are_a_new_beginning(clock: Clock) -> None:
    """When memory runs out all images are due again, and the speed is that since then."""
    lines: list[str] = []
    work = Work("forward", Console(lines.append))

    tell(work, clock, (0, 0), (9, 900), (10, 0), (19, 90), (20, 100))

    assert ["forward: 100 of 1,000 images, 10 images/s, 90 s left"] == lines


def test_a_bar_shows_the_same_and_goes_with_the_last_image(clock: Clock, terminal: Terminal) -> None:
    """It comes after a second, at most five times a second, and leaves nothing but the line before it."""
    terminal.write("test_accuracy.py ")
    work = Work("forward", on(terminal), "vgg16-V1-fp32")

    tell(work, clock, (0, 0), (0.9, 90), (1, 100), (1.1, 110), (2, 200), (10, 1000))

    before, first, second = terminal.frames
    assert "test_accuracy.py" == before.strip()
    assert first.startswith("vgg16-V1-fp32: forward  10%|")
    assert first.endswith("| 100/1,000, 100 images/s, 9 s left")
    assert second.endswith("| 200/1,000, 100 images/s, 8 s left")
    assert ["test_accuracy.py", ""] == terminal.screen


def test_work_that_is_over_at_once_has_no_bar(clock: Clock, terminal: Terminal) -> None:
    """Nothing flickers, and the line that something else has begun goes on."""
    work = Work("forward", on(terminal))

    tell(work, clock, (0, 0), (0.9, 900), (5, 1000))

    assert "" == terminal.getvalue()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_fails_leaves_no_bar(error: type[BaseException], clock: Clock, terminal: Terminal) -> None:
    """Nor does what is interrupted."""
    with suppress(error), Work("forward", on(terminal)) as work:
        tell(work, clock, (0, 0), (2, 200))
        assert "200/1,000" in terminal.screen[-1]
        raise error

    assert ["", ""] == terminal.screen


def test_a_bar_fits_on_the_terminal(clock: Clock, terminal: Terminal) -> None:
    """Where there is no room for all, the numbers are shown, and as much as fits of the name."""
    with Work("forward", on(terminal), "efficientnet_v2_l-IMAGENET1K_V1-fp16-channels_last-compiled") as work:
        tell(work, clock, (0, 0), (2, 4_000), images=50_000)

    [bar] = terminal.frames
    assert len(bar) < 80
    assert bar.startswith("efficientnet_v2_l")
    assert ": forward   8%|" in bar
    assert bar.endswith("| 4,000/50,000, 2,000 images/s, 23 s left")


def test_one_work_can_follow_another(clock: Clock, terminal: Terminal) -> None:
    """A command that decodes for several geometries shows a bar for each, and prints between them."""
    with Work("decoding", on(terminal)) as work:
        tell(work, clock, (0, 0), (2, 500), (4, 1000))
        between = terminal.screen
        tell(work, clock, (0, 0), (2, 10), images=20)

    assert ["", ""] == between
    assert terminal.frames[-1].endswith("| 10/20, 5.0 images/s, 2 s left")


def test_capture_is_lifted_only_to_show_something(clock: Clock) -> None:
    """What is told for every batch costs next to nothing."""
    lifted = []

    @contextmanager
    def uncaptured() -> Iterator[None]:
        lifted.append(clock.now)
        yield

    work = Work("forward", Console(ignore, uncaptured=uncaptured))

    tell(work, clock, *((second, second) for second in range(35)))

    assert [110.0, 120.0, 130.0] == lifted


def test_decoding_gives_way_to_the_forward(clock: Clock, terminal: Terminal) -> None:
    """Where both go on there is one bar, the forward's, which tells how many images are decoded so far."""
    with CaseProgress("vgg16-V1-fp32", on(terminal)) as progress:
        progress.decoding(0, 1000)
        clock.now += 2
        progress.decoding(300, 1000)
        decoding = terminal.screen[-1]
        progress.forward(0, 1000)
        given_way = terminal.screen[-1]
        progress.decoding(350, 1000)
        clock.now += 2
        progress.decoding(400, 1000)
        progress.forward(100, 1000)
        both = terminal.screen[-1]
        clock.now += 2
        progress.forward(500, 1000)
        ahead = terminal.screen[-1]

    assert decoding.startswith("vgg16-V1-fp32: decoding  30%|")
    assert "" == given_way
    assert [": decoding", ": forward", ": forward"] == re.findall(": decoding|: forward", terminal.getvalue())
    assert both.startswith("vgg16-V1-fp32: forward  10%|")
    assert both.endswith("| 100/1,000, 50 images/s, 18 s left, 400 decoded")
    assert ahead.endswith("| 500/1,000, 125 images/s, 4 s left")
    assert "" == terminal.screen[-1]


def test_nothing_is_shown_nowhere(clock: Clock, terminal: Terminal) -> None:
    """As with -q."""
    with CaseProgress("vgg16-V1-fp32", NOWHERE) as progress:
        progress.decoding(0, 10)
        progress.forward(0, 10)
        clock.now += 100
        progress.forward(5, 10)

    assert "" == terminal.getvalue()


@pytest.mark.parametrize(("ci", "expected"), [(None, True), ("", True), ("true", False)])
def test_ci_is_no_terminal(ci: str | None, expected: bool, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its logs keep every frame of a bar."""
    if ci is not None:
        monkeypatch.setenv("CI", ci)

    assert expected == is_terminal()
    assert terminal.isatty()


def test_a_command_shows_progress_on_stderr(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """Its results on stdout can be piped."""
    with progress_on_stderr("verifying") as work:
        tell(work, clock, (0, 0), (10, 500))

    assert ("", "verifying: 500 of 1,000 images, 50 images/s, 10 s left\n") == capsys.readouterr()
