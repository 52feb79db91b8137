"""What each of several processes gets of a machine: a GPU of its own, or some of the cores, and its cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import TypeVar

from harness.errors import DeviceError
from harness.options import Process, available_cores

_Item = TypeVar("_Item")


def device_of(process: Process, device: str) -> str:
    """Return this process's device: a GPU of its own where there are GPUs, otherwise ``device`` as given to --device.

    By its number: hiding the others by ``CUDA_VISIBLE_DEVICES`` is too late where counting starts CUDA, as in WSL.

    Raises:
        DeviceError: there are more processes than GPUs, or all of them were configured to use the same one.
    """
    if process.local_world_size == 1 or (device not in ("auto", "cuda") and not device.startswith("cuda:")):
        return device
    if device.startswith("cuda:"):
        raise DeviceError(
            f"--device {device}: {process.local_world_size} processes on one machine use a GPU each; leave out the "
            "number, and name the GPUs by CUDA_VISIBLE_DEVICES"
        )
    gpus = gpu_count()
    if gpus and process.local_world_size > gpus:
        raise DeviceError(
            f"{process.local_world_size} processes on one machine need a GPU each, and CUDA finds {gpus} there: start "
            "one process for each GPU, or give --device cpu (CUDA shows one instance of a GPU that is split by MIG)"
        )
    return f"cuda:{process.local_rank}" if gpus else device


def gpu_count() -> int:
    """Return the number of GPUs that this process may use."""
    import torch

    return torch.cuda.device_count()


def share_threads(process: Process, environ: Mapping[str, str]) -> Callable[[], None]:
    """Give this process its share of the cores for torch, unless the caller has chosen a number of threads.

    torchrun sets one thread if the caller has not chosen any, so one is no choice there. Returns a function that
    restores torch's number of threads.
    """
    if process.local_world_size == 1:
        return lambda: None
    import torch

    restore = partial(torch.set_num_threads, torch.get_num_threads())
    chosen = environ.get("OMP_NUM_THREADS", "")
    if not chosen or (process.world_size > 1 and chosen == "1"):
        cores = available_cores() if chosen else torch.get_num_threads()
        torch.set_num_threads(max(1, cores // process.local_world_size))
    return restore


def interleaved(items: Sequence[_Item], processes: int) -> list[_Item]:
    """Return items, largest first, in the order in which xdist should get them: it starts with two per process.

    The largest goes with the smallest of those, and so on; what follows goes to whichever process is free.

    >>> interleaved("abcdefg", 2)
    ['a', 'd', 'b', 'c', 'e', 'f', 'g']
    """
    if len(items) < 2 * processes:
        return list(items)
    pairs = [(items[number], items[2 * processes - 1 - number]) for number in range(processes)]
    return [*chain.from_iterable(pairs), *items[2 * processes :]]
