"""Tests of harness.evaluation.place."""

from __future__ import annotations

import pytest
import torch

from harness.errors import DeviceError
from harness.evaluation.place import Place, available_cores, dealt, pin_gpu, rank_of, share_threads, visible_gpus

SECOND_OF_TWO = Place(local_rank=1, local_world=2)


def test_a_process_that_torchrun_did_not_start_has_no_rank() -> None:
    """A job script may have RANK in its environment for reasons of its own."""
    assert rank_of({"RANK": "1", "WORLD_SIZE": "2"}) is None


def test_the_place_is_what_torchrun_says() -> None:
    """Its rank in all, and on its machine."""
    environ = {"TORCHELASTIC_RUN_ID": "7", "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}

    place = rank_of(environ)

    assert Place(rank=5, world=8, local_rank=1, local_world=4) == place
    assert place.processes == 8


@pytest.mark.parametrize(
    ("visible", "count", "gpus"),
    [
        (None, 3, ["0", "1", "2"]),
        ("2,5", 2, ["2", "5"]),
        (" GPU-1f, GPU-2a ", 2, ["GPU-1f", "GPU-2a"]),
        ("1,-1,0", 1, ["1"]),
        ("", 0, []),
    ],
)
def test_gpus_are_those_that_the_caller_lets_be_seen(
    visible: str | None, count: int, gpus: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By number or UUID, as many as CUDA makes of the list, and in the caller's order."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}

    assert gpus == visible_gpus(environ)


@pytest.mark.parametrize(("visible", "expected"), [(None, "1"), ("4,2,7", "2"), ("GPU-a,GPU-b,GPU-c", "GPU-b")])
def test_a_process_sees_its_own_gpu_alone(visible: str | None, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the one at its place in the caller's list, not the one of that number."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}

    pin_gpu(SECOND_OF_TWO, "auto", environ)

    assert {"CUDA_VISIBLE_DEVICES": expected} == environ


@pytest.mark.parametrize(
    ("place", "device", "count"), [(Place(), "auto", 2), (SECOND_OF_TWO, "cpu", 2), (SECOND_OF_TWO, "auto", 0)]
)
def test_nothing_is_pinned_where_there_is_nothing_to_share(
    place: Place, device: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process alone, a run on the CPU, and a machine without GPUs are left as they are."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    environ: dict[str, str] = {}

    pin_gpu(place, device, environ)

    assert {} == environ


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """None shares a GPU with another, or takes the CPU, unasked."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    with pytest.raises(DeviceError) as raised:
        pin_gpu(Place(local_rank=0, local_world=3), "auto", {"CUDA_VISIBLE_DEVICES": "4,5"})

    assert (
        "3 processes on one machine, and 2 GPUs can be used there (CUDA_VISIBLE_DEVICES=4,5): start one for each GPU"
        == str(raised.value)
    )


def test_one_gpu_for_all_processes_is_refused() -> None:
    """A numbered device would put all of them on it."""
    with pytest.raises(DeviceError, match=r"^--device cuda:1: 2 processes on one machine use a GPU each; leave"):
        pin_gpu(SECOND_OF_TWO, "cuda:1", {})


@pytest.mark.parametrize(
    ("place", "chosen", "threads"),
    [
        (Place(local_world=2), None, 4),
        (Place(local_world=3), None, 2),
        (Place(local_world=16), None, 1),
        (Place(local_world=2), "1", None),
        (Place(local_world=2), "5", None),
        (Place(0, 2, 0, 2), "1", max(1, available_cores() // 2)),
        (Place(0, 2, 0, 2), "5", None),
        (Place(0, 2, 0, 1), "1", None),
        (Place(), None, None),
    ],
)
def test_threads_are_shared_unless_the_caller_chose(
    place: Place, chosen: str | None, threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None is an untouched number; one thread under torchrun is torchrun's own choice."""
    set_to: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)

    share_threads(place, {} if chosen is None else {"OMP_NUM_THREADS": chosen})

    assert ([] if threads is None else [threads]) == set_to


@pytest.mark.parametrize("cases", range(12))
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_dealing_loses_nothing_and_gives_the_largest_to_different_processes(cases: int, processes: int) -> None:
    """The first pair of each process, as xdist deals them, holds one of the largest and one of the next."""
    names = [chr(97 + number) for number in range(cases)]

    actual = dealt(names, processes)

    assert names == sorted(actual)
    if cases >= 2 * processes:
        pairs = [set(actual[2 * k : 2 * k + 2]) for k in range(processes)]
        assert [{names[k], names[2 * processes - 1 - k]} for k in range(processes)] == pairs
        assert names[2 * processes :] == actual[2 * processes :]
