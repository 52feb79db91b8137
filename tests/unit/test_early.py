"""Tests of harness.early: which command lines are joined, and the command that a record names."""

from __future__ import annotations

import pytest

from harness.early import RESTARTED, _joined, typed_by_user
from harness.options import Process
from harness.records.environment import command_of


@pytest.mark.parametrize(
    ("args", "joined"),
    [
        ("-m imagenet --imagenet data --results runs/a", "-m imagenet --imagenet=data --results=runs/a"),
        ("-m throughput --results runs/a -q", "-m throughput --results=runs/a -q"),
        ("-m imagenet --expected own.yaml --store kept", "-m imagenet --expected=own.yaml --store=kept"),
        (
            "-m imagenet --imagenet=data --baseline b --strict-drift",
            "-m imagenet --imagenet=data --baseline=b --strict-drift",
        ),
        ("-m imagenet --imagenet=data", None),
        ("--results=runs/a -m throughput", None),
        ("--expected golden.json test_other.py", None),
        ("--store x", None),
    ],
)
def test_options_are_joined_to_their_paths(args: str, joined: str | None) -> None:
    """Where the gate is asked for; another project's options of the same name are left alone."""
    assert _joined(args.split()) == (joined.split() if joined else None)


def test_both_marks_in_one_expression_ask_for_the_gate() -> None:
    """As in one run of accuracy and speed."""
    args = ["-m", "imagenet or throughput", "--store", "kept"]

    assert _joined(args) == ["-m", "imagenet or throughput", "--store=kept"]


@pytest.mark.parametrize(
    ("arguments", "process", "environ", "expected"),
    [
        pytest.param([], Process(), {}, "python -m pytest", id="nothing"),
        pytest.param(["-k", "a b"], Process(), {}, "python -m pytest -k 'a b'", id="quoted"),
        pytest.param([*RESTARTED, "--imagenet=d"], Process(), {}, "python -m pytest --imagenet=d", id="restarted"),
        pytest.param(
            ["-x"],
            Process(),
            {"PYTEST_ADDOPTS": "--limit 9", "OMP_NUM_THREADS": "2", "IMAGENET_DIR": "", "PATH": "/bin"},
            "OMP_NUM_THREADS=2 PYTEST_ADDOPTS='--limit 9' python -m pytest -x",
            id="environment",
        ),
        pytest.param(
            ["-x"],
            Process(rank=0, world_size=16, local_rank=0, local_world_size=8),
            {"OMP_NUM_THREADS": "1", "IMAGENET_DIR": "/data"},
            "IMAGENET_DIR=/data torchrun --nnodes 2 --nproc-per-node 8 -m pytest -x",
            id="two machines",
        ),
        pytest.param(
            [],
            Process(world_size=2, local_world_size=2),
            {},
            "torchrun --nproc-per-node 2 -m pytest",
            id="ranks on one machine",
        ),
        pytest.param(["-n", "2"], Process(local_world_size=2), {}, "python -m pytest -n 2", id="workers"),
    ],
)
def test_the_command_is_as_it_was_typed(
    arguments: list[str], process: Process, environ: dict[str, str], expected: str
) -> None:
    """With what it took from the environment, and how several processes were started."""
    assert expected == command_of(typed_by_user(arguments), process, environ)
