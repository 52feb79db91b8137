"""Tests of harness.parallel.processes."""

from __future__ import annotations

import pytest
import torch

from harness.errors import DeviceError
from harness.options import Process, available_cores
from harness.parallel.plugin import process_of_torchrun
from harness.parallel.processes import device_of, interleaved, share_threads

SECOND_OF_TWO = Process(local_rank=1, local_world_size=2)


def test_ranks_are_those_of_torchrun() -> None:
    """In all, and on its machine; a job script may have RANK in its environment for reasons of its own."""
    environ = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}

    process = process_of_torchrun({"TORCHELASTIC_RUN_ID": "7", **environ})

    assert Process(rank=5, world_size=8, local_rank=1, local_world_size=4) == process
    assert process.total == 8
    assert process_of_torchrun(environ) is None


@pytest.mark.parametrize(
    ("process", "device", "gpus", "found"),
    [
        (Process(5, 9, 0, 3), "auto", 3, "cuda:0"),
        (Process(7, 9, 2, 3), "cuda", 3, "cuda:2"),
        (Process(), "auto", 2, "auto"),
        (Process(), "cuda:1", 2, "cuda:1"),
        (SECOND_OF_TWO, "cpu", 2, "cpu"),
        (SECOND_OF_TWO, "mps", 0, "mps"),
        (SECOND_OF_TWO, "auto", 0, "auto"),
        (SECOND_OF_TWO, "cuda", 0, "cuda"),
    ],
)
def test_each_process_has_a_gpu_of_its_own_where_there_are_several_of_both(
    process: Process, device: str, gpus: int, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its number among those of this machine, whatever else is numbered in other ways."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)

    assert found == device_of(process, device)


@pytest.mark.parametrize(
    ("process", "device", "message"),
    [
        (Process(local_world_size=3), "auto", "3 processes on one machine need a GPU each, and CUDA finds 2 there: "),
        (SECOND_OF_TWO, "cuda:1", "--device cuda:1: 2 processes on one machine use a GPU each; leave out the number"),
    ],
)
def test_no_process_shares_a_gpu_with_another_or_takes_the_cpu_unasked(
    process: Process, device: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    with pytest.raises(DeviceError, match=f"^{message}"):
        device_of(process, device)


@pytest.mark.parametrize(
    ("process", "chosen", "threads"),
    [
        (Process(local_world_size=2), None, 4),
        (Process(local_world_size=3), None, 2),
        (Process(local_world_size=16), None, 1),
        (Process(local_world_size=2), "1", 8),
        (Process(local_world_size=2), "5", 8),
        (Process(0, 2, 0, 2), "1", max(1, available_cores() // 2)),
        (Process(0, 2, 0, 2), "5", 8),
        (Process(0, 2, 0, 1), "1", 8),
        (Process(), None, 8),
    ],
)
def test_threads_are_shared_unless_the_caller_chose(process: Process, chosen: str | None, threads: int) -> None:
    """One thread under torchrun is torchrun's own choice; what follows in this process has as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    restore = share_threads(process, {} if chosen is None else {"OMP_NUM_THREADS": chosen})

    found = torch.get_num_threads()
    restore()
    restored = torch.get_num_threads()

    torch.set_num_threads(before)
    assert (threads, 8) == (found, restored)


@pytest.mark.parametrize("cases", range(12))
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_interleaving_gives_the_largest_to_different_processes(cases: int, processes: int) -> None:
    """The first pair of each process, as xdist hands them out, holds one of the largest and one of the next."""
    actual = interleaved(range(cases), processes)

    assert list(range(cases)) == sorted(actual)
    if cases >= 2 * processes:
        pairs = [set(actual[2 * k : 2 * k + 2]) for k in range(processes)]
        assert [{k, 2 * processes - 1 - k} for k in range(processes)] == pairs
        assert list(range(2 * processes, cases)) == actual[2 * processes :]
