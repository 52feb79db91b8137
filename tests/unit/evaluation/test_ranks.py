"""Tests of harness.evaluation.ranks, with real processes."""

from __future__ import annotations

import re
import socket
from pathlib import Path

from tests import ranks

HOST = socket.gethostname()


def test_every_rank_gets_the_parts_of_all_in_their_order(tmp_path: Path) -> None:
    """What one brings, all have."""
    assert [["rank 0", "rank 1", "rank 2"]] * 3 == ranks.told(tmp_path, ranks.name, ranks.name, ranks.name)


def test_the_first_makes_it_for_all(tmp_path: Path) -> None:
    """What only rank 0 can do runs there alone, and the others have what it returned."""
    assert [[1, 1], [0, 0]] == ranks.told(tmp_path, ranks.from_first, ranks.from_first)


def test_what_fails_on_one_fails_on_all(tmp_path: Path) -> None:
    """A mistake is told once by all ranks, with the rank and the machine where it is."""
    problem = ["EvaluationError", f"rank 1 of 2 ({HOST}): no weights here"]
    assert [problem, problem] == ranks.told(tmp_path, ranks.name, ranks.weights_missing)


def test_a_mistake_of_all_ranks_is_told_as_of_one_process(tmp_path: Path) -> None:
    """What is wrong everywhere is not laid on one of them."""
    problem = ["EvaluationError", "no weights here"]
    assert [problem, problem] == ranks.told(tmp_path, ranks.weights_missing, ranks.weights_missing)


def test_a_fault_keeps_its_traceback_where_it_is(tmp_path: Path) -> None:
    """The rank with the fault raises it as it is; the others say which and what."""
    fault = ["ZeroDivisionError", "integer division or modulo by zero"]
    others = ["EvaluationError", f"rank 1 of 2 ({HOST}): ZeroDivisionError: integer division or modulo by zero"]
    assert [others, fault] == ranks.told(tmp_path, ranks.name, ranks.division)


def test_ranks_that_do_different_things_are_refused(tmp_path: Path) -> None:
    """Parts that do not belong together are never joined."""
    there = f"rank 1 ({HOST}) brings its verdict, and rank 0 its name; start all ranks with the same command"
    here = f"rank 0 ({HOST}) brings its name, and rank 1 its verdict; start all ranks with the same command"
    assert [["RanksError", there], ["RanksError", here]] == ranks.told(tmp_path, ranks.name, ranks.verdict)


def test_a_rank_that_was_started_otherwise_is_named(tmp_path: Path) -> None:
    """The first fact that differs is told with both values, on all ranks; equal facts are agreed on."""
    same = ranks.started_with(torch="2.9", limit="5")

    agreed = ranks.told(tmp_path, same, same)
    differ = ranks.told(tmp_path, same, ranks.started_with(torch="2.9", limit="7"))

    assert ["agreed", "agreed"] == agreed
    expected = [
        "RanksError",
        "rank 1 was not started as rank 0 was: limit is '7' there, and '5' on rank 0; start all ranks with the same "
        "command, in the same environment",
    ]
    assert [expected, expected] == differ


def test_a_rank_that_dies_ends_the_wait_at_once(tmp_path: Path) -> None:
    """Long before the time is up, the others say that one has ended, and have no part of it."""
    first, _, third = ranks.told(tmp_path, ranks.name, ranks.killed, ranks.name, timeout=50)

    for kind, message in (first, third):
        assert kind == "RanksError"
        assert re.match(r"(another rank|rank 1) of 3 ended before it could bring its name\. Nothing is", message)


def test_a_rank_that_hangs_is_waited_for_as_long_as_told(tmp_path: Path) -> None:
    """When the time is up, the first rank names it; nobody has a part of it."""
    first, _ = ranks.told(tmp_path, ranks.name, ranks.stopped, timeout=2)

    assert first == [
        "RanksError",
        "rank 1 of 2 did not bring its name within 2 s: it hangs or has ended. Nothing is judged without its images; "
        "torchrun, or its own last lines, tell why",
    ]


def test_a_rank_that_never_came_is_waited_for_as_long_as_told(tmp_path: Path) -> None:
    """A run of which some ranks were not started ends with a sentence too."""
    [[kind, message]] = ranks.told(tmp_path, ranks.name, timeout=2, absent=1)

    assert kind == "RanksError"
    assert message.startswith("rank 1 of 2 did not join within 2 s: it hangs or has ended. Nothing is judged")
