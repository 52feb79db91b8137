"""The examples in docstrings."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

HARNESS = Path(__file__).parents[2] / "harness"
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(HARNESS.parent).with_suffix("").parts)
    for path in HARNESS.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)
assert WITH_EXAMPLES


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples_give_what_they_show(module: str) -> None:
    """Each example runs as it stands."""
    result = doctest.testmod(importlib.import_module(module))

    assert result.attempted > 0
    assert result.failed == 0
