"""Processes that decode: one thread each, and gone with the process that started them."""

from __future__ import annotations

import gc
import glob
import multiprocessing
import os
import secrets
import shutil
import signal
import tempfile
import threading
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import cache
from multiprocessing import forkserver, util
from pathlib import Path

from filelock import FileLock, Timeout

LOCK, LOCKED = "imagenet-gate.lock", "imagenet-gate.locked"  # in a folder that belongs to a process
PARENT = "IMAGENET_GATE_TEMPORARY"  # the temporary folder of xdist's controller, for workers that it may kill
_LONGEST = 107 - len("/pymp-01234567/listener-01234567")  # a socket's path has at most 107 bytes (man 7 unix)


def own_folder(start: Path, mode: int = 0o777) -> tuple[Path, FileLock]:
    """Make a folder whose path begins with ``start``, and remove those of this user's processes that were killed.

    A lock tells them apart, which the system releases however a process ends; a file says that it has been taken.
    """
    folder = start.with_name(f"{start.name}{secrets.token_hex(4)}")
    folder.mkdir(mode, parents=True)
    lock = FileLock(folder / LOCK, thread_local=False)
    lock.acquire()
    (folder / LOCKED).touch()
    for file in folder.parent.glob(f"{glob.escape(start.name)}{'[0-9a-f]' * 8}/{LOCKED}"):
        with suppress(OSError, Timeout):
            if file.parent != folder and file.stat().st_uid == folder.stat().st_uid:
                with FileLock(file.with_name(LOCK), timeout=0):  # its process has ended; no other one removes the same
                    for path in set(file.parent.iterdir()) - {file, file.with_name(LOCK)}:
                        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
                    file.unlink()  # last, or what an error leaves would not be found again
                shutil.rmtree(file.parent)
    return folder, lock


@cache
def temporary_folder() -> Path:
    """Return this process's own temporary folder."""
    parent = os.environ.get(PARENT) or tempfile.gettempdir()
    folder, lock = own_folder(Path(parent, "imagenet-gate-tmp-"), 0o700)

    def remove() -> None:
        lock.release()  # first, as Windows removes no open file
        shutil.rmtree(folder, ignore_errors=True)

    util.Finalize(None, remove, exitpriority=-101)  # after multiprocessing has removed its own
    before = tempfile.tempdir
    tempfile.tempdir = str(folder) if len(os.fsencode(folder)) <= _LONGEST else "/tmp"
    try:
        util.get_temp_dir()  # multiprocessing makes its folder there, with its sockets
    finally:
        tempfile.tempdir = before
    return folder


def warm_up(with_torch: bool = False) -> multiprocessing.context.BaseContext:
    """Start to import what workers need, in a process of its own, while this one imports torch; return their context.

    That is a forkserver where there is one: a worker starts at once, and no CUDA or OpenMP state is forked.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    modules = ["store", "tensors"] if with_torch else ["store"]
    context.set_forkserver_preload([f"harness.decoding.{module}" for module in ("orphan", *modules)])
    forkserver.ensure_running()
    return context


def process_pool(workers: int, with_torch: bool = False) -> ProcessPoolExecutor:
    """Return a pool of processes; if this one is killed, they remove its temporary folder."""
    arguments = temporary_folder(), with_torch
    context = warm_up(with_torch)  # in this thread, see orphan.py
    return ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker, initargs=arguments)


def start_worker(temporary: Path, with_torch: bool) -> None:
    """Limit a worker to one thread, as there is one worker a core, and leave Ctrl-C to the process that waits."""
    if with_torch:
        import torch

        torch.set_num_threads(1)
        gc.freeze()  # a collection would write to all of torch's memory, and so copy it: 0.7 s at the first image
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, args=(temporary,), daemon=True).start()


def _exit_with_parent(temporary: Path) -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        shutil.rmtree(temporary, ignore_errors=True)
        os._exit(1)
