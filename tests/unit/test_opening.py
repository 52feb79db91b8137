"""Tests of harness.opening."""

from __future__ import annotations

import pytest

from harness.early import STARTED_OVER
from harness.evaluation.place import Place
from harness.opening import command_of


@pytest.mark.parametrize(
    ("arguments", "place", "environ", "expected"),
    [
        pytest.param([], Place(), {}, "python -m pytest", id="nothing"),
        pytest.param(["-k", "a b"], Place(), {}, "python -m pytest -k 'a b'", id="quoted"),
        pytest.param([*STARTED_OVER, "--imagenet=d"], Place(), {}, "python -m pytest --imagenet=d", id="started over"),
        pytest.param(
            ["-x"],
            Place(),
            {"PYTEST_ADDOPTS": "--limit 9", "OMP_NUM_THREADS": "2", "IMAGENET_DIR": "", "PATH": "/bin"},
            "OMP_NUM_THREADS=2 PYTEST_ADDOPTS='--limit 9' python -m pytest -x",
            id="environment",
        ),
        pytest.param(
            ["-x"],
            Place(rank=0, world=16, local_rank=0, local_world=8),
            {"OMP_NUM_THREADS": "1", "IMAGENET_DIR": "/data"},
            "IMAGENET_DIR=/data torchrun --nnodes 2 --nproc-per-node 8 -m pytest -x",
            id="two machines",
        ),
        pytest.param(
            [], Place(world=2, local_world=2), {}, "torchrun --nproc-per-node 2 -m pytest", id="ranks on one machine"
        ),
        pytest.param(["-n", "2"], Place(local_world=2), {}, "python -m pytest -n 2", id="workers"),
    ],
)
def test_the_command_is_as_it_was_typed(
    arguments: list[str], place: Place, environ: dict[str, str], expected: str
) -> None:
    """With what it took from the environment, and how several processes were started."""
    assert expected == command_of(arguments, place, environ)
