"""Tests of harness.records.run_folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.records.run_folder import write_whole


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """The new content stands where the old one was, readable to others, and nothing else is left."""
    path = tmp_path / "file"
    path.write_bytes(b"old and long")

    write_whole(path, b"new")

    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_moved_into_place_leaves_nothing(tmp_path: Path) -> None:
    """The old content stays, and so does the error."""
    (tmp_path / "folder").mkdir()

    with pytest.raises(OSError, match="folder"):
        write_whole(tmp_path / "folder", b"new")

    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]
