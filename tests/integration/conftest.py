"""A project in an empty folder, in which the gate runs for real, in this process."""

from __future__ import annotations

import multiprocessing.forkserver  # noqa: F401
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import dedent

import msgspec
import pytest

# Imported here, since the inner runs forget the modules that they were the first to import: torch cannot be imported
# twice, and a forkserver that is forgotten is started anew.
import torch  # noqa: F401
import torchvision  # noqa: F401

import harness.evaluator
import harness.report.progress  # noqa: F401
from harness.records.results import CaseResult
from harness.verdict import FAILED, PASSED, WARNING
from tests.colors import EXPECTED, write_dataset

Gate = Callable[..., pytest.RunResult]


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the project's conftest and gate, expected accuracies of the small classifier, and its images."""
    monkeypatch.delenv("IMAGENET_DIR", raising=False)
    monkeypatch.setenv("IMAGENET_STORE", str(pytester.path / "store"))
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", str(root))  # for runs in processes of their own
    pytester.makeconftest((root / "conftest.py").read_text())
    pytester.makepyfile(test_accuracy=(root / "tests" / "test_accuracy.py").read_text())
    (pytester.path / "expected_accuracy.yaml").write_text(EXPECTED)
    write_dataset(pytester.path / "colors")
    return pytester.path


@pytest.fixture
def gate(pytester: pytest.Pytester, project: Path) -> Gate:
    """Run ``pytest -m imagenet`` with these arguments in the project."""
    assert project

    def run(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_inprocess("-m", "imagenet", "--workers=2", *arguments)

    return run


@pytest.fixture
def every_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show all progress, however soon the work is over."""
    monkeypatch.setattr("harness.report.progress._LINE_EVERY_SECONDS", 0.0)


def expect(project: Path, changes: Mapping[str, str] | None = None, *more: str) -> None:
    """Write the file of expected accuracies with changes, and with further entries."""
    text = EXPECTED
    for old, new in (changes or {}).items():
        assert old in text
        text = text.replace(old, new)
    (project / "expected_accuracy.yaml").write_text(text + "".join(more))


def entry(model: str, builder: str = "tests.colors:nearest_color", values: str = "*values") -> str:
    """Return a further entry of that file."""
    return f"  - {{model: {model}, weights: V1, builder: '{builder}', preset: *preset, colors: {values}}}\n"


def add_to_conftest(project: Path, code: str) -> None:
    """Let the project's conftest.py do more."""
    with (project / "conftest.py").open("a") as file:
        file.write(dedent(code))


def measured(case: CaseResult) -> CaseResult:
    """Return a case without its times, its baseline, and whose pixels were in the store already."""
    return msgspec.structs.replace(case, seconds=None, images_per_second=0.0, baseline=None, notes=())


def table_line(result: pytest.RunResult) -> str:
    """Return the row of the summary, without its rank and images a second."""
    found = (re.sub(r"^[\d-]+ +", "", line).split() for line in result.outlines)
    [row] = [row for row in found if row[:1] == ["nearest"] and row[-1] in (PASSED, WARNING, FAILED.upper())]
    return " ".join(row[:-2])
