"""Tests of harness.early: which command lines are joined, and how."""

from __future__ import annotations

import pytest

from harness.early import _joined


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
    """Where the run is ours; another project's options of the same name are left alone."""
    assert _joined(args.split()) == (joined.split() if joined else None)


def test_both_marks_in_one_expression_are_ours() -> None:
    """As in one run of accuracy and speed."""
    args = ["-m", "imagenet or throughput", "--store", "kept"]

    assert _joined(args) == ["-m", "imagenet or throughput", "--store=kept"]
