"""Ranks as torchrun starts them, but forked from a server that has imported torch, so that each starts at once."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from functools import cache
from multiprocessing.forkserver import ForkServer
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from harness.errors import HarnessError
from harness.options import Process
from harness.parallel.ranks import Ranks

Target = Callable[[Ranks], Any]


def results_of(folder: Path, *targets: Target, timeout: float = 20, absent: int = 0) -> list[Any]:
    """Run each of ``targets`` in a rank of its own; return their results, or the types and messages of their errors.

    ``absent`` is the number of further ranks, which are never started.
    """
    processes = start(_report, [(folder, timeout, target) for target in targets], absent)
    for process, target in zip(processes, targets, strict=True):
        if target is not stopped:
            process.join(timeout=60)
    for process in processes:
        process.kill()
    results = [folder / str(rank) for rank in range(len(targets))]
    return [json.loads(result.read_text()) if result.exists() else None for result in results]


def run_pytest(folder: Path, *commands: list[str], out: Path) -> list[int | None]:
    """Run pytest in ``folder``, a rank for each of ``commands``; return the exit statuses. Output goes to ``out``."""
    processes = start(run_one, [(folder, command, out) for command in commands])
    for process in processes:
        process.join(timeout=60)
        process.kill()
    return [process.exitcode for process in processes]


def start(work: Callable[..., None], arguments: list[tuple[Any, ...]], absent: int = 0) -> list[BaseProcess]:
    """Start a rank for each tuple of arguments, with the variables that torchrun sets, all on one machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world_size = str(len(arguments) + absent)
    shared = {
        "TORCHELASTIC_RUN_ID": "none",
        "WORLD_SIZE": world_size,
        "LOCAL_WORLD_SIZE": world_size,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    context = multiprocessing.get_context("forkserver")
    processes = [
        context.Process(target=_as_rank, args=({**shared, "RANK": rank, "LOCAL_RANK": rank}, work, *given))
        for rank, given in zip(map(str, range(len(arguments))), arguments, strict=True)
    ]
    with mock.patch("multiprocessing.forkserver.connect_to_new_process", _server().connect_to_new_process):
        for process in processes:
            process.start()
    return list(processes)


@cache
def _server() -> ForkServer:
    """Return a server beside the one of this process, which decodes and has no torch."""
    server = ForkServer()
    server.set_forkserver_preload(["harness.evaluator", "harness.parallel.ranks", "harness.report.progress", __name__])
    return server


def _as_rank(environment: Mapping[str, str], work: Callable[..., None], *arguments: Any) -> None:
    os.environ.update(environment)
    work(*arguments)


def _report(folder: Path, timeout: float, target: Target) -> None:
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    try:
        result = target(Ranks(Process(rank, world_size, rank, world_size), timeout))
    except (HarnessError, ZeroDivisionError) as error:
        result = [type(error).__name__, str(error)]
    (folder / str(rank)).write_text(json.dumps(result))
    time.sleep(0.2)  # the others may still be reading from it


def run_one(folder: Path, command: list[str], out: Path) -> None:
    """Run pytest in this process, a rank; its output goes to a file of the rank's number in ``out``."""
    os.chdir(folder)
    os.environ["IMAGENET_STORE"] = str(folder / "store-of-ranks")
    with (out / os.environ["RANK"]).open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    sys.exit(pytest.main(command))


def name(ranks: Ranks) -> list[str]:
    """Bring a name, and return those of all."""
    return ranks.gather("its name", lambda: f"rank {ranks.process.rank}")


def from_first(ranks: Ranks) -> list[int]:
    """Return whether this rank made the value, and how many it made."""
    make = mock.Mock(side_effect=os.getpid)
    value = ranks.from_first("the verdict", make)
    return [int(value == os.getpid()), make.call_count]


def weights_missing(ranks: Ranks) -> list[str]:
    """Fail with a mistake of the user's."""
    return ranks.gather("its name", mock.Mock(side_effect=HarnessError("no weights here")))


def division(ranks: Ranks) -> list[int]:
    """Fail with a fault of the code."""
    return ranks.gather("its name", lambda: 1 // 0)


def verdict(ranks: Ranks) -> list[str]:
    """Bring something else than the others do."""
    return ranks.gather("its verdict", lambda: "passed")


def killed(_ranks: Ranks) -> None:
    """Kill this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def stopped(_ranks: Ranks) -> None:
    """Stop this process without ending it."""
    os.kill(os.getpid(), signal.SIGSTOP)
