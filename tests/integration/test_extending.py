"""docs/extending.md: its conftest.py takes part in a run of the gate."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from torchvision.models import resnet18

from harness.formats.imagenet import wnids
from harness.records.run_folder import read_run
from harness.verdict import FAILED, PASSED
from tests.colours import WNIDS
from tests.documents import ROOT, python_in
from tests.images import noise, save
from tests.integration.conftest import Gate

PAGE = (ROOT / "docs" / "extending.md").read_text()


@pytest.fixture
def team(project: Path) -> Path:
    """Put the page's conftest.py beside the gate, below the project's own; return the project."""
    [conftest] = [block for block in python_in(PAGE) if "hookimpl" in block]
    (project / "team").mkdir()
    (project / "team" / "conftest.py").write_text(conftest)
    (project / "test_accuracy.py").rename(project / "team" / "test_accuracy.py")
    return project


def test_the_check_of_a_conftest_is_stored_with_the_result(gate: Gate, team: Path) -> None:
    """A third of the images of two classes are correct, which is more than the 10 % that are asked for."""
    result = gate("--imagenet=colours", "--device=cpu", "--results=run")

    assert result.ret == pytest.ExitCode.OK
    [case] = read_run(team / "run").record.cases
    [check] = [check for check in case.verdict.checks if check.name == "lowest accuracy of a class"]
    assert (case.outcome, check.outcome, check.detail) == (PASSED, PASSED, "33.3333, expected 10 to inf")


def test_the_check_of_a_conftest_fails_the_case(gate: Gate, team: Path) -> None:
    """With the line that the page shows, once all images of one class are of another."""
    shutil.copy(team / "colours" / WNIDS[7] / "07.JPEG", team / "colours" / WNIDS[6] / "06.JPEG")

    result = gate("--imagenet=colours", "--device=cpu", "--results=run")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    [shown] = [line for line in PAGE.splitlines() if line.startswith("lowest accuracy of a class: FAILED")]
    assert shown in result.outlines
    [case] = read_run(team / "run").record.cases
    assert case.verdict.checks[-1].outcome == FAILED


def test_a_team_s_own_model(gate: Gate, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the page's two files, with random weights and 20 images; it prints what the page shows."""
    [accuracies] = re.findall(r"```yaml\n(schema_version.*?)```", PAGE, re.DOTALL)
    [module] = [block for block in python_in(PAGE) if "ours.pt" in block]
    (project / "ours.yaml").write_text(accuracies)
    (project / "ours.py").write_text(module)
    torch.manual_seed(0)
    torch.save(resnet18().state_dict(), project / "ours.pt")
    for number, wnid in enumerate(wnids()[:20]):
        save(noise(number), project / "holdout" / wnid / f"{number}.JPEG")
    monkeypatch.syspath_prepend(project)

    result = gate("--imagenet=holdout", "--expected=ours.yaml", "--device=cpu")

    [shown] = re.findall(r"first command prints\n\n```\n(.*?)\n```", PAGE, re.DOTALL)
    assert shown in result.stdout.str()
