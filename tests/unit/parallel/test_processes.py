"""Tests of harness.parallel.processes."""

from __future__ import annotations

import pytest
import torch

from harness.errors import DeviceError
from harness.options import Process, available_cores
from harness.parallel.plugin import process_of_torchrun
from harness.parallel.processes import device_of, interleaved, share_threads

SECOND_OF_TWO = Process(local_rank=1, local_world_size=2)


def test_a_process_that_torchrun_did_not_start_has_no_rank() -> None:
    """A job script may have RANK in its environment for reasons of its own."""
    assert process_of_torchrun({"RANK": "1", "WORLD_SIZE": "2"}) is None


def test_ranks_are_those_of_torchrun() -> None:
    """Its rank in all, and on its machine."""
    environ = {"TORCHELASTIC_RUN_ID": "7", "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}

    process = process_of_torchrun(environ)

    assert Process(rank=5, world_size=8, local_rank=1, local_world_size=4) == process
    assert process.total == 8


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_each_process_has_a_gpu_of_its_own(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its number among those of this machine, whatever else is numbered in other ways."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)

    devices = [device_of(Process(5 + number, 9, number, 3), device) for number in range(3)]

    assert ["cuda:0", "cuda:1", "cuda:2"] == devices


@pytest.mark.parametrize(
    ("process", "device", "count"),
    [
        (Process(), "auto", 2),
        (Process(), "cuda:1", 2),
        (SECOND_OF_TWO, "cpu", 2),
        (SECOND_OF_TWO, "mps", 0),
        (SECOND_OF_TWO, "auto", 0),
        (SECOND_OF_TWO, "cuda", 0),
    ],
)
def test_a_device_stays_where_there_is_nothing_to_share(
    process: Process, device: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process alone, another kind of device, and a machine without GPUs."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    assert device == device_of(process, device)


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """None shares a GPU with another, or takes the CPU, unasked."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    with pytest.raises(DeviceError) as raised:
        device_of(Process(local_rank=0, local_world_size=3), "auto")

    assert (
        "3 processes on one machine need a GPU each, and CUDA finds 2 there: start one process for each GPU, or give "
        "--device cpu (CUDA shows one instance of a GPU that is split by MIG)" == str(raised.value)
    )


def test_one_gpu_for_all_processes_is_refused() -> None:
    """A numbered device would put all of them on it."""
    with pytest.raises(DeviceError, match=r"^--device cuda:1: 2 processes on one machine use a GPU each; leave"):
        device_of(SECOND_OF_TWO, "cuda:1")


@pytest.mark.parametrize(
    ("process", "chosen", "threads"),
    [
        (Process(local_world_size=2), None, 4),
        (Process(local_world_size=3), None, 2),
        (Process(local_world_size=16), None, 1),
        (Process(local_world_size=2), "1", None),
        (Process(local_world_size=2), "5", None),
        (Process(0, 2, 0, 2), "1", max(1, available_cores() // 2)),
        (Process(0, 2, 0, 2), "5", None),
        (Process(0, 2, 0, 1), "1", None),
        (Process(), None, None),
    ],
)
def test_threads_are_shared_unless_the_caller_chose(
    process: Process, chosen: str | None, threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None is an untouched number; one thread under torchrun is torchrun's own choice."""
    set_to: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)

    share_threads(process, {} if chosen is None else {"OMP_NUM_THREADS": chosen})

    assert ([] if threads is None else [threads]) == set_to


def test_the_number_of_threads_is_restored() -> None:
    """What follows in this process has as many as before."""
    before = torch.get_num_threads()

    restore = share_threads(Process(local_world_size=available_cores() + 1), {})

    assert 1 == torch.get_num_threads()
    restore()
    assert before == torch.get_num_threads()


@pytest.mark.parametrize("cases", range(12))
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_interleaving_gives_the_largest_to_different_processes(cases: int, processes: int) -> None:
    """The first pair of each process, as xdist hands them out, holds one of the largest and one of the next."""
    names = [chr(97 + number) for number in range(cases)]

    actual = interleaved(names, processes)

    assert names == sorted(actual)
    if cases >= 2 * processes:
        pairs = [set(actual[2 * k : 2 * k + 2]) for k in range(processes)]
        assert [{names[k], names[2 * processes - 1 - k]} for k in range(processes)] == pairs
        assert names[2 * processes :] == actual[2 * processes :]
