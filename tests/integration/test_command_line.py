"""The command line in a process of its own, where it matters what is imported and how paths are written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run_pytest(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in ``cwd``."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_all_cases_are_collected_without_torch(tmp_path: Path) -> None:
    """``--models all --collect-only`` lists the 114 weights and more, and imports no torch."""
    (tmp_path / "torch.py").write_text("raise ImportError('torch was imported while collecting')")

    result = run_pytest(
        "--collect-only", "-q", "-m", "imagenet", "--imagenet=anywhere", "--models=all", PYTHONPATH=str(tmp_path)
    )

    ids = re.findall(r"^tests/test_accuracy\.py::test_accuracy\[(.+)\]$", result.stdout, re.MULTILINE)
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(ids) >= 114
    assert len(set(ids)) == len(ids)
    assert {"resnet18-IMAGENET1K_V1-fp32", "resnet50-IMAGENET1K_V2-fp32", "vit_h_14-IMAGENET1K_SWAG_E2E_V1-fp32"} < set(
        ids
    )


def test_the_pytest_program_lists_four_models_without_a_warning() -> None:
    """Those with weights for the synthetic dataset; no plugin was imported before pytest could rewrite its asserts."""
    program = Path(sys.executable).with_name("pytest")
    if not program.exists():
        pytest.skip(f"pytest is not installed as {program}")
    arguments = ["--collect-only", "-q", "-m", "imagenet", "--imagenet=synthetic", "--models=all"]

    result = subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True)

    ids = re.findall(r"\[(.+)\]$", result.stdout, re.MULTILINE)
    assert sorted(ids) == [f"{name}-SYNTHETIC_V1-fp32" for name in ("alexnet", "googlenet", "resnet18", "vgg16")]
    assert result.returncode == 0
    assert "warning" not in result.stdout.lower() + result.stderr.lower()


def test_other_projects_are_left_alone(tmp_path: Path) -> None:
    """The entry point adds neither options nor anything else to runs that are not the gate's."""
    (tmp_path / "test_imagenet.py").write_text(
        "def test_other(pytestconfig):\n    assert not pytestconfig.pluginmanager.hasplugin('harness.plugin')\n"
    )
    (tmp_path / "conftest.py").write_text("def pytest_addoption(parser):\n    parser.addoption('--expected')\n")

    result = run_pytest("--expected", "golden.json", "test_imagenet.py", cwd=tmp_path)

    assert "1 passed" in result.stdout, result.stdout + result.stderr
