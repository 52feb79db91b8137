"""The command line in a process of its own, where it matters what is imported and how paths are written."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.colours import EXPECTED, WNIDS
from tests.images import noise, save

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


def test_all_on_the_embedded_split_are_the_four() -> None:
    """On the embedded split ``all`` means the models that have weights for it."""
    result = run_pytest("--collect-only", "-q", "-m", "imagenet", "--imagenet=embedded", "--models=all")

    ids = re.findall(r"\[(.+)\]$", result.stdout, re.MULTILINE)
    assert sorted(ids) == [f"{name}-EMBEDDED_V1-fp32" for name in ("alexnet", "googlenet", "resnet18", "vgg16")]


def test_a_path_may_follow_its_option_after_a_space(tmp_path: Path) -> None:
    """An existing folder elsewhere is the value of --imagenet, and not taken for a path to collect from."""
    (tmp_path / "elsewhere").mkdir()

    result = run_pytest("-W", "error", "-m", "imagenet", "--imagenet", str(tmp_path / "elsewhere"))

    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    expected = f"ERROR: no images in {tmp_path / 'elsewhere'}: expected class folders"
    assert result.stderr.strip().startswith(expected), result.stderr


def test_other_projects_are_left_alone(tmp_path: Path) -> None:
    """The entry point adds neither options nor anything else to runs that are not the gate's."""
    (tmp_path / "test_other.py").write_text(
        "def test_other(pytestconfig):\n    assert not pytestconfig.pluginmanager.hasplugin('harness.plugin')\n"
    )
    (tmp_path / "conftest.py").write_text("def pytest_addoption(parser):\n    parser.addoption('--expected')\n")
    (tmp_path / "test_other.py").rename(tmp_path / "test_imagenet.py")

    result = run_pytest("--expected", "golden.json", "test_imagenet.py", cwd=tmp_path)

    assert "1 passed" in result.stdout, result.stdout + result.stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_run_that_is_killed_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    """Killed while it decodes, the gate leaves neither pixels in the temporary folder nor processes."""
    split, temporary = tmp_path / "split" / WNIDS[0], tmp_path / "temporary"
    temporary.mkdir()
    original = save(noise(1, width=1500, height=1500), split / "0.JPEG")
    for copy in range(1, 600):
        os.link(original, split / f"{copy}.JPEG")
    (tmp_path / "expected.yaml").write_text(EXPECTED)
    options = [f"--imagenet={split.parent}", f"--expected={tmp_path / 'expected.yaml'}", "--workers=2"]
    run = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "imagenet", *options],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert run.stdout is not None
    while "decoding: 0 of" not in run.stdout.readline():
        assert run.poll() is None
    wait_until(lambda: any(any(store.read_bytes()) for store in temporary.glob("imagenet-gate-*/*")))

    run.send_signal(number)

    output, _ = run.communicate(timeout=30)
    wait_until(lambda: not group_exists(run.pid))
    assert list(temporary.glob("imagenet-gate-*/*")) == []
    assert run.returncode != 0, output


def group_exists(leader: int) -> bool:
    """Tell whether a process that the leader started, or the leader itself, is still there."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait a while for a condition, and fail if it does not come true."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
