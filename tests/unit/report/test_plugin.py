"""Tests of harness.report.plugin; tests/integration/test_terminal.py has what a user sees."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.options import Options, Process
from harness.report import plugin
from harness.report.plugin import _Terminal
from tests.records import case_result, run_record, write_run


class Shown:
    """Takes the place of Progress, and notes what it is asked to show."""

    log: list[str]

    def __init__(self, phase: str, _console: object, subject: str) -> None:
        self._name = f"{subject}: {phase}"

    def __call__(self, done: int, images: int) -> None:
        """Note a state."""
        self.log.append(f"{self._name} {done}/{images}")

    def close(self) -> None:
        """Note the end."""
        self.log.append(f"{self._name} closed")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was shown."""
    Shown.log = []
    monkeypatch.setattr("harness.report.progress.Progress", Shown)
    return Shown.log


def _terminal(monkeypatch: pytest.MonkeyPatch, rank: int = 0, world_size: int = 1) -> _Terminal:
    config: Any = SimpleNamespace(get_verbosity=lambda: 0, getoption=lambda _name: None)
    terminal = _Terminal(config)
    terminal.__dict__["_console"] = object()

    class Gate:
        options = Options(process=Process(rank=rank, world_size=world_size))

    monkeypatch.setattr(plugin, "gate_of", lambda _config: Gate)
    return terminal


def test_one_phase_is_shown_at_a_time(monkeypatch: pytest.MonkeyPatch, shown: list[str]) -> None:
    """The one before is closed, and all are once the case is over."""
    terminal = _terminal(monkeypatch)

    for phase, done in (("decoding", 3), ("forward", 0), ("forward", 6)):
        terminal.pytest_imagenet_progress("a", phase, done, 10)
    terminal.pytest_runtest_logreport()
    terminal.pytest_imagenet_progress("b", "decoding", 1, 10)

    assert shown == [
        "a: decoding 3/10",
        "a: decoding closed",
        "a: forward 0/10",
        "a: forward 6/10",
        "a: decoding closed",
        "a: forward closed",
        "b: decoding 1/10",
    ]


def test_the_first_rank_is_named(monkeypatch: pytest.MonkeyPatch, shown: list[str]) -> None:
    """It shows its own share of the images."""
    _terminal(monkeypatch, world_size=3).pytest_imagenet_progress("a", "forward", 1, 10)

    assert shown == ["rank 0 of 3, a: forward 1/10"]


def test_tables_survive_predictions_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are made without, and the reason is shown below them."""
    run = write_run(tmp_path / "run", run_record([case_result("vgg16"), case_result()]))
    (run.path / "labels.npz").write_bytes(b"none")
    terminal = _terminal(monkeypatch)

    terminal.pytest_imagenet_finished(run)

    accuracy, reason = terminal._sections
    assert accuracy.table is not None
    assert len(accuracy.table.rows) == 2
    assert reason.lines[0].startswith("tables without predictions: ")
