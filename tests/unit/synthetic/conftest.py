"""Fixtures of the tests of harness.synthetic."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.synthetic.rendering import render


@pytest.fixture(scope="session")
def val(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic validation images, rendered once; not to be changed."""
    root = tmp_path_factory.mktemp("val")
    render(root, "val")
    return root
