"""Tests of harness.bisect.search against a search that examines every version."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from harness.bisect.search import BAD, GOOD, SKIPPED, search, suspects


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
