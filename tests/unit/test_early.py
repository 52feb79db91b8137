"""Tests of what a command line means, whatever exists on the disk, and of the command that a record names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.early import RESTARTED, typed_by_user
from harness.options import Process
from harness.records.environment import command_of
from tests.colors import EXPECTED, write_dataset

ROOT = Path(__file__).parents[2]
# The project need not be installed where the tests run, and is taken from this checkout where it is.
INSTALLED = [sys.executable, "-m", "pytest", "-p", "no:imagenet-gate", "-p", "harness.early"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        "-m imagenet --imagenet {}/colors --store {} --results {}/run --expected {}/expected_accuracy.yaml",
        "-mimagenet --imagenet=colors --results {}/run",
        "-m throughput --batch-sizes=1 --store {} --benchmark-json {}/timings.json",
        "--imagenet=colors {ADDOPTS}-m imagenet --store {}",
    ],
)
def test_the_path_of_an_option_is_no_path_to_collect_from(arguments: str, tmp_path: Path) -> None:
    """Whether it exists or not: rootdir, configuration and conftest are those of the working folder."""
    project, other = tmp_path / "project", tmp_path / "other"
    for folder in (project, other):
        write_dataset(folder / "colors")
        (folder / "expected_accuracy.yaml").write_text(EXPECTED)
        (folder / "pytest.ini").touch()
    (other / "timings.json").touch()
    for path in ("conftest.py", "tests/test_accuracy.py", "tests/test_throughput.py"):
        shutil.copy(ROOT / path, project)
    typed, _, addopts = arguments.replace("{}", str(other)).partition("{ADDOPTS}")
    environ = {**os.environ, "PYTEST_ADDOPTS": addopts, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}

    command = [*INSTALLED, "--collect-only", *typed.split()]

    run = subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True)

    assert f"rootdir: {project}\nconfigfile: pytest.ini\n" in run.stdout, run.stdout + run.stderr
    assert 0 == run.returncode, run.stdout + run.stderr


@pytest.mark.slow
def test_another_projects_options_are_left_alone(tmp_path: Path) -> None:
    """Without the gate, an option of the same name is that project's, and its path is treated as pytest does."""
    options = "".join(f"    parser.addoption('{name}')\n" for name in ("--expected", "--device"))
    (tmp_path / "conftest.py").write_text(f"def pytest_addoption(parser):\n{options}")
    (tmp_path / "golden.json").touch()
    (tmp_path / "test_other.py").write_text("def test_other(pytestconfig): assert '1' == pytestconfig.option.device")
    command = [*INSTALLED, "-m", "not imagenet", "--device", "1", "--expected", "golden.json", "test_other.py"]

    run = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)

    assert 0 == run.returncode, run.stdout


def test_a_harness_from_elsewhere_is_a_usage_error(tmp_path: Path) -> None:
    """Tests of one checkout, run by the code of another: both are named."""
    for name in ("harness", "tests"):
        (tmp_path / name).mkdir()
    shutil.copy(ROOT / "harness/plugin.py", tmp_path / "harness")
    for name in ("conftest.py", "tests/test_accuracy.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    # As the script `pytest` of an editable install: the working folder is not on the path.
    start = "import sys; sys.path[0] = sys.argv.pop(1); import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    command = [sys.executable, "-c", start, str(ROOT), "-m", "imagenet", "--imagenet=synthetic", "tests"]

    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert 4 == run.returncode
    assert (
        f"ERROR: the gate's tests must be run by the harness beside them, {tmp_path / 'harness'}; the imported one is "
        f"{ROOT / 'harness'}: run `python -m pytest` in {tmp_path}, or install the project from there again"
        == run.stderr.strip()
    )


@pytest.mark.parametrize(
    ("arguments", "process", "environ", "expected"),
    [
        ([*RESTARTED, "--imagenet=d"], Process(), {}, "python -m pytest --imagenet=d"),
        (["-n", "2"], Process(local_world_size=2), {}, "python -m pytest -n 2"),
        (
            [],
            Process(),
            {"PYTEST_ADDOPTS": "--limit 9", "OMP_NUM_THREADS": "2", "IMAGENET_DIR": ""},
            "OMP_NUM_THREADS=2 PYTEST_ADDOPTS='--limit 9' python -m pytest",
        ),
        (
            ["-x"],
            Process(world_size=16, local_world_size=8),
            {"OMP_NUM_THREADS": "1", "IMAGENET_DIR": "/data"},
            "IMAGENET_DIR=/data torchrun --nnodes 2 --nproc-per-node 8 -m pytest -x",
        ),
        ([], Process(world_size=2, local_world_size=2), {}, "torchrun --nproc-per-node 2 -m pytest"),
    ],
)
def test_the_command_as_typed(arguments: list[str], process: Process, environ: dict[str, str], expected: str) -> None:
    """With what it took from the environment, and how several processes were started."""
    assert expected == command_of(typed_by_user(arguments), process, environ)
