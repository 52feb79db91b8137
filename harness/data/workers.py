"""Processes that decode: one thread each, gone with the process that started them."""

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
    """Begin to import torchvision for the workers, in a process of its own, while this one does other things."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        _context()
        forkserver.ensure_running()


def process_pool(workers: int, scratch: Path | None = None) -> ProcessPoolExecutor:
    """Return a pool of workers that have torchvision imported already.

    Args:
        workers: number of processes.
        scratch: folder that is not to outlive this process, however that ends.
    """
    return ProcessPoolExecutor(workers, mp_context=_context(), initializer=start_worker, initargs=(scratch,))


def _context() -> multiprocessing.context.BaseContext:
    """Prefer a forkserver: a worker starts at once, and no CUDA or OpenMP state of this process is forked."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["harness.data.build"])
    return context


def start_worker(scratch: Path | None) -> None:
    """Keep a worker to one thread, since there is one worker a core, and leave Ctrl-C to the process that waits.

    Should that process be killed, the worker ends, and takes the folder ``scratch`` with it.
    """
    import torch  # imported already: this module must not, for warm_up to be early

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(scratch,), daemon=True).start()


def _end_with_parent(scratch: Path | None) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        os._exit(1)
