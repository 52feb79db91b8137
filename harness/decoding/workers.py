"""Processes that decode: one thread each, and gone with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import forkserver
from pathlib import Path


def warm_up() -> None:
    """Start to import torchvision for the workers, in a process of its own, while this one does other things."""
    if _context().get_start_method() == "forkserver":
        forkserver.ensure_running()


def process_pool(workers: int, scratch: Path | None = None) -> ProcessPoolExecutor:
    """Return a pool of processes with torchvision imported; if this one is killed, they remove the folder scratch."""
    warm_up()  # in this thread, see orphan.py
    return ProcessPoolExecutor(workers, mp_context=_context(), initializer=start_worker, initargs=(scratch,))


def _context() -> multiprocessing.context.BaseContext:
    """Prefer a forkserver: a worker starts at once, and no CUDA or OpenMP state of this process is forked."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["harness.decoding.orphan", "harness.decoding.store"])
    return context


def start_worker(scratch: Path | None) -> None:
    """Limit a worker to one thread, as there is one worker a core, and leave Ctrl-C to the process that waits."""
    import torch  # imported already: this module must not import it, for warm_up to be early

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, args=(scratch,), daemon=True).start()


def _exit_with_parent(scratch: Path | None) -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        os._exit(1)
