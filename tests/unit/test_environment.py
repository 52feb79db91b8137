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


ENVIRONMENT = """
from harness.options import Options
from harness.records.environment import current_environment, describe_versions
found = current_environment({}, Options(decoder="torchvision", batch_size=8, limit=9))
assert (found.decoder, found.options) == ("torchvision", "--batch-size 8 --limit 9")
print(found.harness_commit, found.harness_changed, describe_versions().partition("imagenet-gate ")[2], end="")
"""


def _run(folder: Path, *command: str, **variables: str) -> str:
    environ = {**os.environ, "PYTHONPATH": str(folder), **variables}
    return subprocess.run(command, env=environ, check=True, capture_output=True, text=True, cwd=folder).stdout


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_harness_is_named_by_its_commit(tmp_path: Path) -> None:
    """And whether its files were changed; a package in no checkout of its own has a version only."""
    program, git = (sys.executable, "-c", ENVIRONMENT), ("git", "-c", "user.name=a", "-c", "user.email=a@example.org")
    installed, checkout = tmp_path / "venv", tmp_path / "checkout"
    for folder in (installed, checkout):
        ignored = shutil.ignore_patterns("__pycache__", "*.npy", "*.npz")
        shutil.copytree(Path(harness.__file__).parent, folder / "harness", ignore=ignored)
    for folder in (tmp_path, checkout):
        _run(folder, *git, "init")
        _run(folder, *git, "add", "harness" if folder == checkout else "--update")
        _run(folder, *git, "commit", "--allow-empty", "-m", "x")
    commit, version = _run(checkout, *git, "rev-parse", "HEAD").strip(), harness.__version__

    clean, elsewhere = _run(checkout, *program, GIT_DIR=str(tmp_path / ".git")), _run(installed, *program)
    (checkout / "harness/hooks.py").write_text("# changed")
    changed, without_git = _run(checkout, *program), _run(checkout, *program, PATH="")

    assert f"{commit} False {version} ({commit[:12]})" == clean
    assert f"{commit} True {version} ({commit[:12]}, changed)" == changed
    assert f"None None {version}" == elsewhere == without_git


@pytest.mark.slow
def test_what_a_cpu_computes_with_is_recorded() -> None:
    """Another set of instructions changes the last digits of a logit under the same name of the processor."""
    program = (
        "import torch; from harness.device import device_facts; facts = device_facts(torch.device('cpu')); "
        "print(facts['instructions'] in ('DEFAULT', 'NO AVX'), f\"v{facts['onednn']} \" in torch.__config__.show())"
    )
    environ = {**os.environ, "ATEN_CPU_CAPABILITY": "default"}

    assert "True True\n" == subprocess.check_output([sys.executable, "-c", program], env=environ, text=True)
