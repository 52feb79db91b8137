"""A wheel of the project, installed into an environment of its own, far from the checkout."""

from __future__ import annotations

import os
import re
import shutil
import site
import subprocess
import sys
import venv
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_CACHES = shutil.ignore_patterns("__pycache__")
GATE = ["--imagenet", "synthetic", "--models", "alexnet", "--limit", "32", "-p", "no:cacheprovider"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel, beside the packages of this one but for the project."""
    pytest.importorskip("setuptools", minversion="77", reason="builds the wheel")
    folder = tmp_path_factory.mktemp("wheel")
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    source = folder / "source"  # setuptools leaves its files in the folder that it builds
    # All that the Dockerfile copies.
    for name in re.findall(r"^!(.+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        copy = partial(shutil.copytree, symlinks=True, ignore=_CACHES) if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source]
    subprocess.run(build, check=True)
    [wheel] = folder.glob("imagenet_gate-*.whl")
    venv.create(folder / "env", with_pip=False)
    programs = folder / "env" / "bin"
    [packages] = (folder / "env" / "lib").glob("*/site-packages")
    # Folders named in a .pth file are not searched for such files: an editable install of this checkout is not seen.
    (packages / "parent.pth").write_text("\n".join(site.getsitepackages()))
    install = [*pip, "--python", programs / "python", "install", "--no-deps", "--no-index", "--ignore-installed", wheel]
    subprocess.run(install, check=True)
    return programs


def _run(*command: object, folder: Path | str, **more: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "IMAGENET_DIR")}
    environ = {**environ, "OMP_NUM_THREADS": "1", **more}
    return subprocess.run([*map(str, command)], cwd=folder, env=environ, capture_output=True, text=True)


@pytest.mark.slow
def test_the_gate_runs_from_any_folder(installed: Path, tmp_path: Path) -> None:
    """Its tests, expected values, synthetic images and baseline are in the wheel; what is imported is the wheel's."""
    results = tmp_path / "run"

    run = _run(installed / "imagenet-gate", "run", *GATE, "--results", results, folder="/")

    assert 0 == run.returncode, run.stdout + run.stderr
    assert "1 passed" in run.stdout
    assert f"results: {results}" in run.stdout.splitlines()
    assert "rootdir: /\n" in run.stdout
    assert "baseline: " + str(installed.parent) in run.stdout
    [version] = (installed.parent / "lib").glob("*/site-packages/imagenet_gate-*.dist-info")
    shown = _run(installed / "imagenet-gate", "--version", folder="/")
    assert f"imagenet-gate {version.name.split('-')[1].removesuffix('.dist')}\n" == shown.stdout


@pytest.mark.slow
def test_the_callers_folder_counts(installed: Path, tmp_path: Path) -> None:
    """Its conftest.py, its configuration, and its file of expected accuracies."""
    expected = (ROOT / "expected_accuracy.yaml").read_text()
    own = expected.replace("model: alexnet\n    weights: SYNTHETIC_V1", "model: alexnet\n    weights: SYNTHETIC_V2")
    assert own != expected
    (tmp_path / "expected_accuracy.yaml").write_text(own)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --junitxml=junit.xml\n")
    (tmp_path / "conftest.py").write_text("def pytest_report_header():\n    return 'header of a team'\n")

    run = _run(installed / "python", "-m", "harness", "run", "--collect-only", *GATE, folder=tmp_path)

    assert 0 == run.returncode, run.stdout + run.stderr
    assert "[alexnet-SYNTHETIC_V2-fp32]" in run.stdout
    assert "header of a team" in run.stdout
    assert (tmp_path / "junit.xml").is_file()


@pytest.mark.slow
def test_the_checkout_runs_in_any_folder(tmp_path: Path) -> None:
    """As an editable install does, by the configuration of the folder that it runs in."""
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --collect-only -q -p no:cacheprovider -m slow\n")
    program = [sys.executable, "-m", "harness", "run", "-p", "no:imagenet-gate", "-p", "harness.early"]

    run = _run(*program, "--imagenet=nowhere", "--models=alexnet,vgg16-*", folder=tmp_path, PYTHONPATH=str(ROOT))

    listed = [line.partition("::")[2] for line in run.stdout.splitlines() if "::" in line]
    assert [f"test_accuracy[{model}-IMAGENET1K_V1-fp32]" for model in ("alexnet", "vgg16")] == listed, run.stdout
