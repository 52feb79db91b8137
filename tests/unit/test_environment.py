"""Tests of harness.records.environment: the versions of packages, and of the harness."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import PIL
import pytest
from PIL import features

import harness
from harness.records.environment import versions


def test_versions_are_those_of_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each package that decides pixels or arithmetic; Pillow's may come from a distribution of another name."""
    expected = {name: metadata.version(name).partition("+")[0] for name in ("torch", "torchvision", "numpy")}
    of_others = [distribution for distribution in metadata.distributions() if distribution.name != "pillow"]
    monkeypatch.setattr(metadata, "version", {each.name: each.version for each in of_others}.__getitem__)

    found = versions()

    assert found.pop("libjpeg-turbo")
    assert {**expected, "pillow": PIL.__version__} == {name: text.partition("+")[0] for name, text in found.items()}


@pytest.mark.parametrize(("found", "expected"), [("3.1.2", "3.1.2"), (None, "none")])
def test_libjpeg_turbo_may_be_missing(found: str | None, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Pillow that was built with another JPEG library has no version of this one."""
    monkeypatch.setattr(features, "version_feature", {"libjpeg_turbo": found}.get)

    assert expected == versions()["libjpeg-turbo"]


HARNESS = Path(harness.__file__).parent
ENVIRONMENT = """
from harness.options import Options
from harness.records.environment import current_environment, describe_versions
found = current_environment({}, Options(decoder="torchvision", batch_size=8, limit=9))
print(found.harness, found.harness_commit, found.harness_changed, found.decoder, found.options)
print(describe_versions().rpartition(", imagenet-gate ")[2])
"""


def _git(folder: Path, *command: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    return subprocess.run(["git", *identity, *command], cwd=folder, check=True, capture_output=True, text=True).stdout


def _environment_in(folder: Path, **variables: str) -> list[str]:
    environ = {**os.environ, "PYTHONPATH": str(folder), **variables}
    command = [sys.executable, "-c", ENVIRONMENT]
    return subprocess.run(command, env=environ, check=True, capture_output=True, text=True, cwd=folder).stdout.split(
        "\n"
    )


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_harness_is_named_by_its_commit(tmp_path: Path) -> None:
    """And whether its files were changed; a package in no checkout of its own has a version only."""
    installed, checkout = tmp_path / "venv", tmp_path / "checkout"
    for folder in (installed, checkout):
        shutil.copytree(HARNESS, folder / "harness", ignore=shutil.ignore_patterns("__pycache__", "*.npy", "*.npz"))
    for folder in (tmp_path, checkout):
        _git(folder, "init")
        _git(folder, "add", *(["harness"] if folder == checkout else ["--update"]))
        _git(folder, "commit", "--allow-empty", "-m", "x")
    commit, options = _git(checkout, "rev-parse", "HEAD").strip(), "torchvision --batch-size 8 --limit 9"
    version = harness.__version__

    clean, elsewhere = _environment_in(checkout, GIT_DIR=str(tmp_path / ".git")), _environment_in(installed)
    with (checkout / "harness/errors.py").open("a") as file:
        file.write("# changed\n")
    changed, without_git = _environment_in(checkout), _environment_in(checkout, PATH="")

    assert [f"{version} {commit} False {options}", f"{version} ({commit[:12]})", ""] == clean
    assert [f"{version} {commit} True {options}", f"{version} ({commit[:12]}, changed)", ""] == changed
    assert [f"{version} None None {options}", version, ""] == elsewhere == without_git


def test_what_a_cpu_computes_with_is_recorded() -> None:
    """Another set of instructions changes the last digits of a logit under the same name of the processor."""
    program = (
        "import torch; from harness.device import device_facts; facts = device_facts(torch.device('cpu')); "
        "print(facts['instructions'] in ('DEFAULT', 'NO AVX'), f\"v{facts['onednn']} \" in torch.__config__.show())"
    )
    environ = {**os.environ, "ATEN_CPU_CAPABILITY": "default"}

    assert "True True\n" == subprocess.check_output([sys.executable, "-c", program], env=environ, text=True)
