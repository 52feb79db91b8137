"""Tests of harness.report.plugin; tests/integration/test_terminal.py has what a user sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import pytest

from harness.options import Options, Process
from harness.report import plugin
from tests.records import case_result, run_record, write_run

Terminals: TypeAlias = Callable[[Process], Any]


@pytest.fixture
def log() -> list[str]:
    """What was shown."""
    return []


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, log: list[str]) -> Terminals:
    """Return the plugin object that ``pytest_configure`` registers in a process, which shows everything in the log."""

    class Shown:
        def __init__(self, phase: str, _console: object, subject: str) -> None:
            self._name = f"{subject}: {phase}"

        def __call__(self, done: int, images: int) -> None:
            log.append(f"{self._name} {done}/{images}")

        def close(self) -> None:
            log.append(f"{self._name} closed")

    def configured(process: Process) -> Any:
        plugins: dict[str, Any] = {"terminalreporter": SimpleNamespace()}
        manager = SimpleNamespace(register=lambda found, name: plugins.update({name: found}), get_plugin=plugins.get)
        config: Any = SimpleNamespace(
            pluginmanager=manager,
            invocation_params=SimpleNamespace(args=()),
            get_verbosity=lambda: 0,
            getoption=lambda _name: None,
        )
        gate = SimpleNamespace(options=Options(process=process))
        monkeypatch.setattr(plugin, "gate_of", lambda _config: gate)
        plugin.pytest_configure(config)
        return plugins["imagenet-report"]

    monkeypatch.setattr("harness.report.progress.Progress", Shown)
    return configured


def test_one_phase_is_shown_at_a_time(terminal: Terminals, log: list[str]) -> None:
    """The one before is closed, and all are once the case is over."""
    shown = terminal(Process())

    for phase, done in (("decoding", 3), ("forward", 0), ("forward", 6)):
        shown.pytest_imagenet_progress("a", phase, done, 10)
    shown.pytest_runtest_logreport()
    shown.pytest_imagenet_progress("b", "decoding", 1, 10)

    assert [
        "a: decoding 3/10",
        "a: decoding closed",
        "a: forward 0/10",
        "a: forward 6/10",
        "a: decoding closed",
        "a: forward closed",
        "b: decoding 1/10",
    ] == log


@pytest.mark.parametrize(("rank", "shown"), [(0, ["rank 0 of 3, a: forward 1/10"]), (1, [])])
def test_only_the_first_rank_is_shown(rank: int, shown: list[str], terminal: Terminals, log: list[str]) -> None:
    """It shows its own share of the images."""
    terminal(Process(rank=rank, world_size=3)).pytest_imagenet_progress("a", "forward", 1, 10)

    assert shown == log


def test_tables_survive_predictions_that_cannot_be_read(tmp_path: Path, terminal: Terminals, log: list[str]) -> None:
    """They are made without, and the reason is shown below them."""
    run = write_run(tmp_path / "run", run_record([case_result("vgg16"), case_result()]))
    (run.path / "labels.npz").write_bytes(b"none")
    shown = terminal(Process())

    shown.pytest_imagenet_finished(run)
    shown.pytest_terminal_summary(SimpleNamespace(write_line=log.append, write_sep=lambda _, title: log.append(title)))

    assert ["accuracy", "model", "resnet18", "vgg16"] == [line.split()[0] for line in log[:4]]
    assert 1 == sum(line.startswith("tables without predictions:") for line in log)
