"""Which of several processes this one is, and its part of the machine: a GPU of its own, or some of the cores.

No torch, so that a GPU can be chosen before CUDA starts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from itertools import chain

from harness.errors import DeviceError

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_THREADS = "OMP_NUM_THREADS"
# What torchrun tells each process that it starts (torch.distributed.run, "Environment Variables").
_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


@dataclass(frozen=True)
class Place:
    """One of the processes of a run.

    Attributes:
        rank: among those that share the images of each case, from 0 on.
        world: number of those; 1 where each process has cases of its own.
        local_rank: among the processes on this machine, from 0 on.
        local_world: number of those.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    @property
    def processes(self) -> int:
        """How many evaluate, on all machines."""
        return max(self.world, self.local_world)


ALONE = Place()


def rank_of(environ: Mapping[str, str]) -> Place | None:
    """Return the place that torchrun gave this process; None for one that it did not start."""
    if "TORCHELASTIC_RUN_ID" not in environ:
        return None
    return Place(*(int(environ[name]) for name in _TORCHRUN))


def pin_gpu(place: Place, device: str, environ: MutableMapping[str, str]) -> None:
    """Let this process see one GPU, its own, of those that the caller lets all of them see.

    It must run before CUDA starts. Counting GPUs does not start it.

    Args:
        place: of this process.
        device: as given to ``--device``.
        environ: to be changed.

    Raises:
        DeviceError: there are more processes than GPUs, or all of them are to use one.
    """
    if place.local_world == 1 or device == "cpu":
        return
    if device.startswith("cuda:"):
        raise DeviceError(
            f"--device {device}: {place.local_world} processes on one machine use a GPU each; leave out the number, "
            f"and name the GPUs by {_VISIBLE}"
        )
    gpus = visible_gpus(environ)
    if gpus and place.local_world > len(gpus):
        raise DeviceError(
            f"{place.local_world} processes on one machine, and {len(gpus)} GPUs can be used there "
            f"({_VISIBLE}={','.join(gpus)}): start one for each GPU"
        )
    if gpus:
        environ[_VISIBLE] = gpus[place.local_rank]


def visible_gpus(environ: Mapping[str, str]) -> list[str]:
    """Return the GPUs that the caller lets this process use, by number or UUID, without starting CUDA."""
    import torch

    count = torch.cuda.device_count()
    if _VISIBLE not in environ:
        return [str(number) for number in range(count)]
    # CUDA ignores what follows the first that it does not know.
    return [gpu.strip() for gpu in environ[_VISIBLE].split(",")][:count]


def available_cores() -> int:
    """Return how many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_threads(place: Place, environ: Mapping[str, str]) -> None:
    """Give this process its part of the cores for torch, unless the caller has given a number of threads.

    torchrun sets one thread where the caller has not said anything, so one is no choice of the caller's there.

    Args:
        place: of this process.
        environ: of this process.
    """
    if place.local_world == 1:
        return
    import torch

    chosen = environ.get(_THREADS, "")
    if not chosen or (place.world > 1 and chosen == "1"):
        cores = torch.get_num_threads() if not chosen else available_cores()
        torch.set_num_threads(max(1, cores // place.local_world))


def dealt(cases: Sequence[str], processes: int) -> list[str]:
    """Return cases, the largest first, as they should stand for xdist, which begins with two for each process.

    The largest goes with the smallest of those, and so on; what follows goes to whichever process is free.

    >>> dealt("abcdefg", 2)
    ['a', 'd', 'b', 'c', 'e', 'f', 'g']
    """
    if len(cases) < 2 * processes:
        return list(cases)
    pairs = [(cases[number], cases[2 * processes - 1 - number]) for number in range(processes)]
    return [*chain.from_iterable(pairs), *cases[2 * processes :]]
