"""Tests of harness.decoding.workers; what happens to a killed run's workers is in integration/test_signals.py."""

from __future__ import annotations

import os
import re
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

from harness.decoding.decoders import decode_one
from harness.decoding.workers import process_pool
from harness.formats.sources import FileSource
from harness.preset import Geometry

if __name__ == "__main__":
    decoder, source = sys.argv[1], FileSource.of(sys.argv[2])
    with process_pool(1, decoder != "pillow") as pool:
        decoded = pool.submit(decode_one, source, Geometry(32, 28, "bilinear"), decoder).result()
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


def test_what_could_not_be_removed_is_removed_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a file that another process has open, on Windows."""
    write_files(tmp_path / "run-00000000", workers.LOCK, workers.LOCKED, "inner/file")
    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", Mock(side_effect=PermissionError(13, "in use")))
        first, _ = workers.own_folder(tmp_path / "run-")
    assert 2 == len(list(tmp_path.iterdir()))
    second, _ = workers.own_folder(tmp_path / "run-")

    assert sorted([first, second]) == sorted(tmp_path.iterdir())


STARTED = """
import os

from harness.decoding.workers import process_pool, temporary_folder

if __name__ == "__main__":
    print(process_pool(1).submit(os.getpid).result(), temporary_folder())
"""


@pytest.mark.parametrize("length", [40, 70, 100])
def test_a_long_path_of_the_temporary_folder_starts_workers(
    length: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A socket's path has at most 107 bytes; the process removes its own folder there when it ends."""
    root = tmp_path_factory.getbasetemp().parent
    temporary = root / "x".ljust(max(length - len(str(root)) - 1, 1), "x")
    temporary.mkdir(exist_ok=True)
    command = [sys.executable, "-c", STARTED]
    environment = {**os.environ, "TMPDIR": str(temporary)}

    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert re.fullmatch(rf"\d+ {temporary}/imagenet-gate-tmp-\w{{8}}\n", run.stdout), run.stderr
    assert not Path(run.stdout.split()[1]).exists()
