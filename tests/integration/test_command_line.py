"""The command line in a process of its own: of this checkout, and of a wheel in an environment far from it."""

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
GATE = ["--imagenet", "synthetic", "--models", "alexnet", "--limit", "32", "-p", "no:cacheprovider"]
COLLECT = ["--collect-only", "-q", "-m", "imagenet", "--models=all"]


def _run(*command: object, folder: Path | str = ROOT, **more: str) -> tuple[str, ...]:
    """Return what a command prints on stdout and stderr, which ends with success."""
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "IMAGENET_DIR")}
    environ = {**environ, "OMP_NUM_THREADS": "1", **more}
    run = subprocess.run([*map(str, command)], cwd=folder, env=environ, capture_output=True, text=True)
    assert 0 == run.returncode, run.stdout + run.stderr
    return run.stdout, run.stderr


@pytest.fixture
def no_torch(tmp_path: Path) -> str:
    """A path of modules on which importing torch ends the program."""
    (tmp_path / "torch.py").write_text("import os; os._exit(9)")
    return str(tmp_path)


@pytest.mark.slow
def test_all_cases_are_collected_without_torch(no_torch: str) -> None:
    """``--models all --collect-only`` lists the 114 weights and more, and imports no torch."""
    shown, _ = _run(sys.executable, "-m", "pytest", *COLLECT, "--imagenet=anywhere", PYTHONPATH=no_torch)

    ids = re.findall(r"^tests/test_accuracy\.py::test_accuracy\[(.+)\]$", shown, re.MULTILINE)
    assert 114 <= len(ids) == len(set(ids))
    assert {"resnet18-IMAGENET1K_V1-fp32", "resnet50-IMAGENET1K_V2-fp32"} < set(ids)
    assert "vit_h_14-IMAGENET1K_SWAG_E2E_V1-fp32" in ids


@pytest.mark.slow
def test_the_pytest_program_lists_four_models_without_a_warning(no_torch: str) -> None:
    """Those with weights for the synthetic dataset; no plugin was imported before pytest could rewrite its asserts."""
    program = Path(sys.executable).with_name("pytest")
    if not program.exists():
        pytest.skip(f"pytest is not installed as {program}")

    shown, errors = _run(program, *COLLECT, "--imagenet=synthetic", PYTHONPATH=no_torch)

    ids = re.findall(r"\[(.+)\]$", shown, re.MULTILINE)
    assert sorted(ids) == [f"{name}-SYNTHETIC_V1-fp32" for name in ("alexnet", "googlenet", "resnet18", "vgg16")]
    assert "warning" not in (shown + errors).lower()


@pytest.mark.slow
def test_the_checkout_runs_in_any_folder(tmp_path: Path) -> None:
    """As an editable install does, by the configuration of the folder that it runs in."""
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --collect-only -q -p no:cacheprovider -m slow\n")
    program = [sys.executable, "-m", "harness", "run", "-p", "no:imagenet-gate", "-p", "harness.early"]

    shown, _ = _run(*program, "--imagenet=no", "--models=alexnet,vgg16-*", folder=tmp_path, PYTHONPATH=str(ROOT))

    listed = [line.partition("::")[2] for line in shown.splitlines() if "::" in line]
    assert [f"test_accuracy[{model}-IMAGENET1K_V1-fp32]" for model in ("alexnet", "vgg16")] == listed


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel, beside the packages of this one but for the project."""
    pytest.importorskip("setuptools", minversion="77", reason="builds the wheel")
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    source = folder / "source"  # setuptools leaves its files in the folder that it builds
    trees = partial(shutil.copytree, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    # All that the Dockerfile copies.
    for name in re.findall(r"^!(.+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (trees if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, source / name)
    _run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    [wheel] = folder.glob("imagenet_gate-*.whl")
    venv.create(folder / "env", with_pip=False)
    programs = folder / "env" / "bin"
    [packages] = (folder / "env" / "lib").glob("*/site-packages")
    # Folders named in a .pth file are not searched for such files: an editable install of this checkout is not seen.
    (packages / "parent.pth").write_text("\n".join(site.getsitepackages()))
    _run(*pip, "--python", programs / "python", "install", "--no-deps", "--no-index", "--ignore-installed", wheel)
    return programs


@pytest.mark.slow
def test_the_gate_runs_from_any_folder(installed: Path, tmp_path: Path) -> None:
    """Its tests, expected values, synthetic images and baseline are in the wheel; what is imported is the wheel's."""
    shown, errors = _run(installed / "imagenet-gate", "run", *GATE, "--results", tmp_path / "run", folder="/")

    assert "" == errors
    assert "1 passed" in shown
    assert f"results: {tmp_path / 'run'}" in shown.splitlines()
    assert "rootdir: /\n" in shown
    assert f"baseline: {installed.parent}" in " ".join(shown.split())
    [version] = (installed.parent / "lib").glob("*/site-packages/imagenet_gate-*.dist-info")
    shown, _ = _run(installed / "imagenet-gate", "--version", folder="/")
    assert f"imagenet-gate {version.name.split('-')[1].removesuffix('.dist')}\n" == shown


@pytest.mark.slow
def test_the_callers_folder_counts(installed: Path, tmp_path: Path) -> None:
    """Its conftest.py, its configuration, and its file of expected accuracies."""
    expected = (ROOT / "expected_accuracy.yaml").read_text()
    own = expected.replace("model: alexnet\n    weights: SYNTHETIC_V1", "model: alexnet\n    weights: SYNTHETIC_V2")
    (tmp_path / "expected_accuracy.yaml").write_text(own)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --junitxml=junit.xml\n")
    (tmp_path / "conftest.py").write_text("def pytest_report_header():\n    return 'header of a team'\n")

    shown, _ = _run(installed / "python", "-m", "harness", "run", "--collect-only", *GATE, folder=tmp_path)

    assert "[alexnet-SYNTHETIC_V2-fp32]" in shown
    assert "header of a team" in shown
    assert (tmp_path / "junit.xml").is_file()
