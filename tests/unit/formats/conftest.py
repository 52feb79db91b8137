"""Fixtures of the tests of harness.formats."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from harness.dataset import open_dataset
from harness.errors import DatasetError

ONE, TWO, THREE = (f"ILSVRC2012_val_{number:08}.JPEG" for number in (1, 2, 3))


def error_of(path: Path) -> str:
    """Return the error's message, with PATH for the path."""
    with pytest.raises(DatasetError) as raised:
        open_dataset(path)
    return str(raised.value).replace(str(path), "PATH")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder, empty and not the user's."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda _name: folder)
    return folder
