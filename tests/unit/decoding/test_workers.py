"""Tests of harness.decoding.workers; what happens to a killed run's workers is in integration/test_command_line.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from harness.decoding import workers
from tests.archives import write_files
from tests.images import noise, save


def test_workers_use_one_thread_and_leave_interrupts_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A worker a core, a thread a worker, as Pillow has; Ctrl-C is for the process that waits for them."""
    calls: list[object] = []
    monkeypatch.setattr(torch, "set_num_threads", calls.append)
    monkeypatch.setattr(signal, "signal", lambda *arguments: calls.append(arguments))

    workers.start_worker(tmp_path, with_torch=True)
    workers.start_worker(tmp_path, with_torch=False)

    assert calls == [1, *[(signal.SIGINT, signal.SIG_IGN)] * 2]


DECODED = """
import sys

from harness.decoding.decoders import decode
from harness.decoding.workers import process_pool
from harness.formats.sources import FileSource
from harness.options import Decoder
from harness.preset import Geometry

if __name__ == "__main__":
    decoder = Decoder(sys.argv[1])
    with process_pool(1, decoder.name != "pillow") as pool:
        source = FileSource.of(sys.argv[2])
        [decoded] = pool.submit(decode, [source], Geometry(32, 28, "bilinear"), decoder).result()
        imported = pool.submit(eval, "[n for n in ('torch', 'torchvision') if n in __import__('sys').modules]").result()
    print(decoded.crop.shape, *imported)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("decoder", "imported"), [("pillow", ""), ("torchvision", " torch torchvision")])
def test_workers_import_torch_only_for_a_decoder_that_needs_it(decoder: str, imported: str, tmp_path: Path) -> None:
    """With Pillow they decode while the main process still imports it."""
    (tmp_path / "decoded.py").write_text(DECODED)
    image = save(noise(1), tmp_path / "image.JPEG")

    run = subprocess.run(
        [sys.executable, str(tmp_path / "decoded.py"), decoder, str(image)], capture_output=True, text=True, check=False
    )

    assert run.stdout == f"(28, 28, 3){imported}\n", run.stderr


PROGRAM = "import sys; from harness.decoding.workers import *; print(temporary_folder(), flush=True); sys.stdin.read()"


def start(temporary: Path) -> tuple[subprocess.Popen[str], Path]:
    """Start a process that has a temporary folder; return both."""
    environment, pipe = {**os.environ, "TMPDIR": str(temporary)}, subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, stdin=pipe, stdout=pipe, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_folders_of_killed_processes_are_removed_by_the_next(tmp_path: Path) -> None:
    """And neither those of processes that run, nor what somebody else has there."""
    killed, _ = start(tmp_path)
    running, used = start(tmp_path)
    killed.kill()
    killed.wait()
    foreign = tmp_path / "imagenet-gate-tmp-of-another-kind"
    foreign.mkdir()

    ending, own = start(tmp_path)

    assert sorted([used, own, foreign]) == sorted(tmp_path.iterdir())
    for process in (ending, running, killed):
        process.communicate()
    assert [foreign] == list(tmp_path.iterdir())


def test_what_could_not_be_removed_is_removed_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a file that another process has open, on Windows."""
    write_files(tmp_path / "run-00000000", workers.LOCK, workers.LOCKED, "inner/file")
    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", Mock(side_effect=PermissionError(13, "in use")))
        first, _ = workers.own_folder(tmp_path / "run-")
    assert 2 == len(list(tmp_path.iterdir()))
    second, _ = workers.own_folder(tmp_path / "run-")

    assert sorted([first, second]) == sorted(tmp_path.iterdir())


@pytest.mark.parametrize("length", [40, 70, 100])
def test_a_long_path_of_the_temporary_folder_starts_workers(
    length: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A socket's path has at most 107 bytes."""
    root = tmp_path_factory.getbasetemp().parent
    temporary = root / "x".ljust(max(length - len(str(root)) - 1, 1), "x")
    temporary.mkdir(exist_ok=True)
    code = "from harness.decoding import workers; print(workers.process_pool(1).submit(workers.os.getpid).result())"
    command = [sys.executable, "-c", f"if __name__ == '__main__':\n  {code}"]
    environment = {**os.environ, "TMPDIR": str(temporary)}

    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert run.stdout.strip().isdecimal(), run.stderr
