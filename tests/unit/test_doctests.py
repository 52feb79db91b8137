"""The examples in docstrings."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

HARNESS = Path(__file__).parents[2] / "harness"
WITH_EXAMPLES = [path for path in sorted(HARNESS.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=str)
def test_examples_give_what_they_show(path: Path) -> None:
    """Each example runs as it stands."""
    module = ".".join(path.relative_to(HARNESS.parent).with_suffix("").parts)

    result = doctest.testmod(importlib.import_module(module))

    assert result.attempted > result.failed == 0
