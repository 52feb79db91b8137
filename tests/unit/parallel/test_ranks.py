"""Tests of harness.parallel.ranks, with real processes."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests import ranks

pytestmark = pytest.mark.slow  # each starts several processes
HOST = socket.gethostname()


def test_the_first_makes_it_for_all(tmp_path: Path) -> None:
    """Only rank 0 calls the function, and the others get its result."""
    assert [[1, 1], [0, 0]] == ranks.results_of(tmp_path, ranks.from_first, ranks.from_first)


def test_a_mistake_of_all_ranks_names_none(tmp_path: Path) -> None:
    """What is wrong everywhere reads as for one process."""
    problem = ["EvaluationError", "no weights here"]
    assert [problem, problem] == ranks.results_of(tmp_path, ranks.weights_missing, ranks.weights_missing)


def test_a_bug_keeps_its_traceback_where_it_is(tmp_path: Path) -> None:
    """The rank with the bug raises it unchanged; the others say which rank, and what it raised."""
    bug = ["ZeroDivisionError", "integer division or modulo by zero"]
    others = ["EvaluationError", f"rank 1 of 2 ({HOST}): ZeroDivisionError: integer division or modulo by zero"]
    assert [others, bug] == ranks.results_of(tmp_path, ranks.name, ranks.division)


def test_ranks_that_do_different_things_are_rejected(tmp_path: Path) -> None:
    """Parts of different meetings are never joined."""
    there = f"rank 1 ({HOST}) sent its verdict, and rank 0 its name; start all ranks with the same command"
    here = f"rank 0 ({HOST}) sent its name, and rank 1 its verdict; start all ranks with the same command"
    assert [["RanksError", there], ["RanksError", here]] == ranks.results_of(tmp_path, ranks.name, ranks.verdict)


def test_a_rank_that_dies_ends_the_wait_at_once(tmp_path: Path) -> None:
    """Long before the timeout, the first rank names it; nobody has a part of it."""
    first, _, third = ranks.results_of(tmp_path, ranks.name, ranks.killed, ranks.name, timeout=50)

    sentence = (
        "ended before it could bring its name. Nothing is judged without all images; see the output of torchrun, or "
        "the rank's last lines, for the reason"
    )
    assert first == ["RanksError", f"rank 1 of 3 {sentence}"]
    # Rank 0, which keeps the list of those that have arrived, may have ended by the time that rank 2 looks at it.
    assert third in (["RanksError", f"rank 1 of 3 {sentence}"], ["RanksError", f"another rank of 3 {sentence}"])


def test_a_rank_that_hangs_or_was_never_started_is_named_after_the_timeout(tmp_path: Path) -> None:
    """The first rank waits no longer, and nobody has a part of it."""
    hangs, _, _ = ranks.results_of(tmp_path, ranks.name, ranks.stopped, ranks.name, timeout=2)
    [absent] = ranks.results_of(tmp_path, ranks.name, timeout=0.5, absent=1)

    judged = (
        "Nothing is judged without all images; see the output of torchrun, or the rank's last lines, for the reason"
    )
    assert ["RanksError", f"rank 1 of 3 did not bring its name within 2 s: hanging or ended. {judged}"] == hangs
    assert ["RanksError", f"rank 1 of 2 did not join within 0.5 s: hanging or ended. {judged}"] == absent
