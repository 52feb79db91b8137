"""The gate on a terminal."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from multiprocessing.connection import wait
from pathlib import Path

import pytest

from harness.report import progress
from tests.integration.conftest import Gate, expect
from tests.ranks import run_one, start

COMMAND = ["-m", "imagenet", "--imagenet=colors", "--workers=1", "--batch-size=4", "-p", "no:cacheprovider"]


@pytest.fixture
def terminal(project: Path) -> Iterator[int]:
    """The far end of a terminal on which the first rank, here the only one, writes."""
    far, near = os.openpty()
    (project / "0").symlink_to(os.ttyname(near))
    yield far
    os.close(near)
    os.close(far)


def run_hastily(folder: Path, command: list[str], out: Path) -> None:
    """Run pytest in this process, with a bar for everything, however soon it is over."""
    progress._BAR_AFTER_SECONDS = progress._BAR_EVERY_SECONDS = 0.0
    os.environ.pop("CI", None)
    os.environ["COLUMNS"] = "100"  # whatever this terminal's are
    run_one(folder, command, out)


def screen(written: str) -> list[str]:
    """Return the lines that a terminal shows in the end, on which a carriage return overwrites."""
    lines = []
    for line in re.sub(r"\x1b\[[0-9;]*m", "", written).split("\n"):
        shown = ""
        for frame in line.split("\r"):
            shown = frame + shown[len(frame) :]
        lines.append(shown.rstrip())
    return lines


@pytest.mark.slow
@pytest.mark.parametrize(
    ("builder", "end"),
    [("nearest_color", "."), ("raises_in_the_end", "E"), ("interrupted_in_the_end", "")],
)
def test_bars_leave_nothing_behind(builder: str, end: str, project: Path, terminal: int) -> None:
    """Decoding and forward have a bar each; however a case ends, the next output starts on a new line."""
    expect(project, {"nearest_color": builder})

    [process] = start(run_hastily, [(project, COMMAND, project)])
    written = b""
    while terminal in wait([terminal, process.sentinel], timeout=30):
        written += os.read(terminal, 1 << 16)

    assert "nearest-V1-fp32: decoding   0%|" in written.decode()
    assert "nearest-V1-fp32: forward  50%|" in written.decode()
    lines = screen(written.decode())
    assert not [line for line in lines if line.startswith("nearest-V1-fp32: ")]
    assert end == lines[lines.index("test_accuracy.py") + 1][:1]


@pytest.mark.usefixtures("every_line")
@pytest.mark.parametrize("builder", ["nearest_color", "nearest_color_brighter"], ids=["passed", "failed"])
def test_no_line_is_wider_than_a_terminal(builder: str, gate: Gate, project: Path) -> None:
    """With -v too, which keeps the baseline's column and adds tables; what holds a path is as long as that is."""
    gate("--imagenet=colors", "--results=run", "--workers=1", "--batch-size=4")
    expect(project, {"nearest_color": builder})

    result = gate("-v", "--imagenet=colors", "--baseline=run", "--precision=fp32,bf16", "--limit=8")

    pytests = r"platform|benchmark:|hypothesis|rootdir:|configfile:|plugins:|test_accuracy.py::|FAILED test"
    lines = [line for line in result.outlines if not re.match(pytests, line) and str(project) not in line]
    assert [] == [line for line in lines if len(line) > 80]
    result.stdout.re_match_lines_random(
        [
            r"rank +model +top-1 +baseline +top-5 +baseline ",
            r"drift +median +99% +largest +noise floor",
            "nearest-V1-fp32: forward",
        ]
    )
