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
from harness.verdict import FAILED, PASSED, Check
from tests.colors import WNIDS
from tests.documents import ROOT, python_in
from tests.images import noise, save
from tests.integration.conftest import Gate

PAGE = (ROOT / "docs" / "extending.md").read_text()


def test_the_check_of_a_conftest_decides_with_the_others(gate: Gate, project: Path) -> None:
    """The page's, beside the gate and below the project's own: with the line that the page shows where it fails.

    A third of the images of two classes are correct, which is more than the 10% that are asked for; then none is.
    """
    [conftest] = [block for block in python_in(PAGE) if "hookimpl" in block]
    (project / "team").mkdir()
    (project / "team" / "conftest.py").write_text(conftest)
    (project / "test_accuracy.py").rename(project / "team" / "test_accuracy.py")
    options = ("--imagenet=colors", "--device=cpu")

    passed = gate(*options, "--results=passed")
    shutil.copy(project / "colors" / WNIDS[7] / "07.JPEG", project / "colors" / WNIDS[6] / "06.JPEG")
    failed = gate(*options, "--results=failed")

    assert (0, 1) == (passed.ret, failed.ret)
    [check] = [check for check in _checks(project / "passed") if check.name == "lowest accuracy of a class"]
    assert (PASSED, "33.3333, expected at least 10") == (check.outcome, check.detail)
    [shown] = [line for line in PAGE.splitlines() if line.startswith("lowest accuracy of a class: FAILED")]
    assert shown in failed.outlines
    assert FAILED == _checks(project / "failed")[-1].outcome


def _checks(run: Path) -> tuple[Check, ...]:
    [case] = read_run(run).record.cases
    return case.verdict.checks


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
