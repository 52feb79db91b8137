"""Processes that decode: one thread each, gone with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch


def process_pool(workers: int, scratch: Path | None = None) -> ProcessPoolExecutor:
    """Return a pool of workers that have torchvision imported already.

    A forkserver is preferred: a worker starts at once, and no CUDA or OpenMP state of this process is forked.

    Args:
        workers: number of processes.
        scratch: folder that is not to outlive this process, however that ends.
    """
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload(["harness.data.build"])
    return ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker, initargs=(scratch,))


def start_worker(scratch: Path | None) -> None:
    """Keep a worker to one thread, since there is one worker a core, and leave Ctrl-C to the process that waits.

    Should that process be killed, the worker ends, and takes the folder ``scratch`` with it.
    """
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
