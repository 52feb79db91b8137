"""The command line in an empty folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pytest

from harness.cli.main import main


class Answer(NamedTuple):
    """What a command leaves behind for who typed it."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The lines that it printed."""
        return self.out.splitlines()


CommandLine: TypeAlias = Callable[..., Answer]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Run ``imagenet-gate`` with these words, in the empty folder ``tmp_path``."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Answer:
        return Answer(main([str(word) for word in words]), *capsys.readouterr())

    return run
