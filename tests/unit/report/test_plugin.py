"""Tests of harness.report.plugin; tests/integration/test_terminal.py has what a user sees."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY, MagicMock, call

import pytest

from harness.options import Options, Process
from harness.report import plugin
from tests.records import case_result, run_record, write_run


def _terminal(monkeypatch: pytest.MonkeyPatch, rank: int = 0, world_size: int = 1) -> Any:
    """Return the plugin object that ``pytest_configure`` registers in a process."""
    config = MagicMock(invocation_params=SimpleNamespace(args=()), spec=["invocation_params", "pluginmanager"])
    config.get_verbosity, config.getoption = lambda: 0, lambda _name: None
    gate = SimpleNamespace(options=Options(process=Process(rank=rank, world_size=world_size)))
    monkeypatch.setattr(plugin, "gate_of", lambda _config: gate)
    plugin.pytest_configure(config)
    return config.pluginmanager.register.call_args_list[0].args[0]


@pytest.mark.parametrize(("world_size", "named"), [(1, ""), (3, "rank 0 of 3, ")])
def test_one_phase_is_shown_at_a_time(world_size: int, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one before is closed, and all are once the case is over; the first rank shows its own share."""
    monkeypatch.setattr("harness.report.progress.Progress", progress := MagicMock())
    terminal = _terminal(monkeypatch, world_size=world_size)

    for phase, done in (("decoding", 3), ("forward", 0), ("forward", 6)):
        terminal.pytest_imagenet_progress("a", phase, done, 10)
    terminal.pytest_runtest_logreport()
    terminal.pytest_imagenet_progress("b", "decoding", 1, 10)

    assert [
        *(call("decoding", ANY, f"{named}a"), call()(3, 10), call().close()),
        *(call("forward", ANY, f"{named}a"), call()(0, 10), call()(6, 10), call().close(), call().close()),
        *(call("decoding", ANY, f"{named}b"), call()(1, 10)),
    ] == progress.mock_calls


def test_other_ranks_show_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first speaks for all."""
    monkeypatch.setattr("harness.report.progress.Progress", progress := MagicMock())

    _terminal(monkeypatch, rank=1, world_size=3).pytest_imagenet_progress("a", "forward", 1, 10)

    assert [] == progress.mock_calls


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
