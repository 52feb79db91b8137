"""The pytest glue of several processes: workers of xdist, each with a GPU, and ranks of torchrun, where one reports."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from xdist.workermanage import parse_tx_spec_config

from harness.errors import HarnessError
from harness.evaluation.place import ALONE, Place, pin_gpu, rank_of, visible_gpus
from harness.selection import is_selected
from harness.summary import ACCURACY, THROUGHPUT

if TYPE_CHECKING:
    from harness.evaluation.ranks import Ranks

PLACE: pytest.StashKey[Place] = pytest.StashKey()
RANKS: pytest.StashKey[Ranks] = pytest.StashKey()
MISTAKE: pytest.StashKey[str] = pytest.StashKey()
"""What is wrong with this rank, to be told to the others when they meet."""
_SLOTS: pytest.StashKey[dict[str, int]] = pytest.StashKey()
_SLOT = "imagenet_slot"
"""Of an xdist worker's input: its number among the workers, and how many there are."""


def place_of(config: pytest.Config) -> Place:
    """Return which of several processes this is."""
    return config.stash.get(PLACE, ALONE)


def ranks_of(config: pytest.Config) -> Ranks | None:
    """Return the processes that torchrun started, where it did; they have met."""
    return config.stash.get(RANKS, None)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Find out which of several processes this is, let it see a GPU of its own, and meet the others."""
    if not is_selected(config, ACCURACY):
        return
    if hasattr(config, "workerinput"):
        slot, workers = config.workerinput[_SLOT]
        config.stash[PLACE] = Place(local_rank=slot, local_world=workers)
    elif config.getoption("dist", "no") != "no":
        workers = len(parse_tx_spec_config(config))
        config.stash[PLACE] = Place(local_world=workers)  # the controller, which evaluates nothing
        config.stash[_SLOTS] = {}
        if config.option.maxschedchunk is None:
            config.option.maxschedchunk = 1  # what is due goes to whichever worker is free
    if (place := rank_of(os.environ)) is not None and not config.option.collectonly:
        _refuse_with_ranks(config)
        config.stash[PLACE] = place
        if place.world > 1:
            _meet(config, place)
    _pin(config)


def _pin(config: pytest.Config) -> None:
    """Let a worker or a rank see its own GPU; the controller of xdist asks only whether there is one for each."""
    place, device = place_of(config), config.getoption("device")
    try:
        pin_gpu(place, device, dict(os.environ) if _SLOTS in config.stash else os.environ)
    except HarnessError as error:
        if RANKS not in config.stash:
            raise pytest.UsageError(str(error)) from error
        config.stash[MISTAKE] = str(error)


def _refuse_with_ranks(config: pytest.Config) -> None:
    if PLACE in config.stash:
        raise pytest.UsageError("-n shares out models, torchrun shares out images: give one of them")
    if is_selected(config, THROUGHPUT):
        raise pytest.UsageError(f"-m {THROUGHPUT} times one model on one device: run it without torchrun")


def _meet(config: pytest.Config, place: Place) -> None:
    """Join the other ranks; from then on the first one speaks for all."""
    from harness.evaluation.ranks import Ranks

    try:
        config.stash[RANKS] = Ranks(place, config.getoption("rank_timeout"))
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from error
    if place.rank > 0:
        config.option.xmlpath = None
        sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let the first rank end first."""
    ranks = ranks_of(config)
    if ranks is not None and ranks.place.rank > 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        ranks.outlast_the_first()


def pytest_internalerror(excrepr: object) -> None:
    """Let a rank that is silent otherwise tell of a fault of the harness."""
    if (place := rank_of(os.environ)) is not None and place.rank > 0 and sys.__stderr__ is not None:
        sys.__stderr__.write(f"rank {place.rank}: {excrepr}\n")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Let ``-n auto`` be a worker for each GPU; without a GPU xdist decides."""
    if not is_selected(config, ACCURACY) or config.getoption("device") == "cpu":
        return None
    return len(visible_gpus(os.environ)) or None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give a worker of xdist the lowest number that no other has, so that one that follows a crash has its GPU."""
    slots = node.config.stash.get(_SLOTS, None)
    if slots is not None:
        slots[node.gateway.id] = min(set(range(len(slots) + 1)) - set(slots.values()))
        node.workerinput[_SLOT] = slots[node.gateway.id], place_of(node.config).local_world


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the number back."""
    node.config.stash.get(_SLOTS, {}).pop(node.gateway.id, None)
