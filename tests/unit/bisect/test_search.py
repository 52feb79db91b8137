"""Tests of harness.bisect.search against a search that examines every version; and what a difference is."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.bisect.search import BAD, GOOD, SKIPPED, difference, search, suspects
from tests.records import case_result, predictions_of, run_record, write_run


@given(
    st.integers(3, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n - 1), st.sets(st.integers(1, n - 2))))
)
def test_the_first_bad_version_is_found(case: tuple[int, int, set[int]]) -> None:
    """Or it is among those that could not be examined; without such, each step halves what is left."""
    count, first_bad, broken = case
    versions = [f"1.{number}" for number in range(count)]

    def examine(version: str) -> tuple[str, str]:
        number = versions.index(version)
        return (SKIPPED if number in broken else BAD if number >= first_bad else GOOD), ""

    steps = list(search(versions, examine))
    found = [versions.index(version) for version in suspects(versions, steps)]

    last_good = max(number for number in range(first_bad) if number not in broken)
    earliest_bad = min(number for number in range(first_bad, count) if number not in broken)
    assert list(range(last_good + 1, earliest_bad + 1)) == found
    assert len({step.version for step in steps}) == len(steps)
    if not broken:
        assert len(steps) <= math.ceil(math.log2(count - 1))
        assert [0] == [step.left for step in steps[-1:]]


@pytest.mark.parametrize("torch", ["2.9.1", "2.14.1"], ids=["failed", "warning"])
def test_logits_that_moved_are_a_difference(torch: str, tmp_path: Path) -> None:
    """Also where the other version explains them, so that they are a warning elsewhere."""
    known = predictions_of(case_result())
    assert known.logits is not None
    moved = replace(known, logits=known.logits * np.float32(1.01))
    good = write_run(tmp_path / "good", run_record([case_result()]))
    bad = write_run(tmp_path / "bad", run_record([case_result()], torch=torch), resnet18=moved)

    assert "" == difference(good, good)
    assert "arithmetic" in difference(good, bad)
