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


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of published figures, where it is at hand."""
    return _shared("reference")


@pytest.fixture(scope="session")
def real_images() -> Path:
    """500 real ImageNet images in half of the class folders, where they are at hand."""
    return _shared("imagenet-sample")


def _shared(name: str) -> Path:
    folder = TESTS.parent.parent / "shared" / name
    if not folder.is_dir():
        pytest.skip(f"../shared/{name} is not there")
    return folder
