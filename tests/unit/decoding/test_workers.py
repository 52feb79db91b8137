"""Tests of harness.decoding.workers; what happens to a killed run's workers is in integration/test_command_line.py."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

from harness.decoding import workers


def test_workers_use_one_thread_and_leave_interrupts_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A worker a core, a thread a worker; Ctrl-C is for the process that waits for them."""
    calls: list[object] = []
    monkeypatch.setattr(torch, "set_num_threads", calls.append)
    monkeypatch.setattr(signal, "signal", lambda *arguments: calls.append(arguments))

    workers.start_worker(tmp_path)

    assert calls == [1, (signal.SIGINT, signal.SIG_IGN)]
