"""The command line in a process of its own, where it matters what is imported and how paths are written."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.predictions import HASH_BYTES
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


# SIGTERM ends a run as SIGINT does, through the same handler.
SIGNALS = (signal.SIGKILL, signal.SIGTERM)


class Decoding:
    """A run of the gate without a store that decodes for a while."""

    def __init__(self, dataset: Path, expected: Path, temporary: Path) -> None:
        temporary.mkdir()
        self.temporary = temporary
        options = [f"--imagenet={dataset}", f"--expected={expected}", "--workers=1", "--no-store"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "imagenet", *options],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(temporary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wait_for_pixels(self) -> None:
        """Wait until it has decoded something."""
        assert self.process.stdout is not None
        lines: list[str] = []
        while "collected " not in "".join(lines[-1:]):
            lines.append(self.process.stdout.readline())
            assert self.process.poll() is None, "".join(lines) + self.process.stdout.read()
        # After the mark of the store, which is there before anything is decoded.
        wait_until(
            lambda: any(
                any(file.read_bytes()[HASH_BYTES:]) for file in self.temporary.glob("imagenet-gate-*/*/*/hashes")
            )
        )


@pytest.fixture(scope="module")
def decoding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[signal.Signals, Decoding]]:
    """A run for each signal, all started together."""
    root = tmp_path_factory.mktemp("killed")
    original = save(noise(1, width=1500, height=1500), root / "dataset" / WNIDS[0] / "0.JPEG")
    for copy in range(1, 600):
        os.link(original, original.with_name(f"{copy}.JPEG"))
    (root / "expected.yaml").write_text(EXPECTED)
    runs = {number: Decoding(root / "dataset", root / "expected.yaml", root / number.name) for number in SIGNALS}
    yield runs
    for run in runs.values():
        run.process.kill()
        run.process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_run_that_is_killed_leaves_nothing_behind(
    number: signal.Signals, decoding: dict[signal.Signals, Decoding]
) -> None:
    """Killed while it decodes, the gate leaves nothing in the temporary folder, and no processes."""
    run = decoding[number]
    run.wait_for_pixels()

    run.process.send_signal(number)

    output, _ = run.process.communicate(timeout=30)
    wait_until(lambda: not group_exists(run.process.pid))
    left = [path.name for path in run.temporary.iterdir()]
    assert [name for name in left if not name.startswith("torchinductor_")] == []  # which torch keeps
    assert run.process.returncode != 0, output


def group_exists(leader: int) -> bool:
    """Return whether the leader, or a process that it started, still exists."""
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
