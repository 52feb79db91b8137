"""Fixtures that several test modules share."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.plugin import selects

TESTS = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the project's own tests alone, with their imports, where ``-m`` would deselect them all."""
    own = collection_path in (TESTS / "unit", TESTS / "integration")
    return True if own and not selects(config, set()) else None
