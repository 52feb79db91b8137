"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.options import ACCURACY, THROUGHPUT, is_selected

TESTS = Path(__file__).parent
GPU = "gpu"


def pytest_configure(config: pytest.Config) -> None:
    """Hide GPUs, xdist and the terminal from tests that are the same everywhere, and from the runs that they start."""
    if not any(is_selected(config, mark) for mark in (ACCURACY, THROUGHPUT, GPU)):
        os.environ.update(CUDA_VISIBLE_DEVICES="", HIP_VISIBLE_DEVICES="")
        os.environ.pop("COLUMNS", None)  # of the terminal in which tests are started
        # Threads that wait for each other do not spin: in tiny models that takes longer than the work.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
            del os.environ[name]
        # The same examples in every run, and none slow enough to matter where the machine is busy.
        if config.pluginmanager.has_plugin("hypothesispytest"):
            from hypothesis import settings

            settings.register_profile("fixed", derandomize=True, deadline=None, database=None, max_examples=60)
            settings.load_profile("fixed")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where ``-m`` asks for accuracy, speed or a GPU, do not import the tests that it would deselect."""
    files = {"test_accuracy.py": ACCURACY, "test_throughput.py": THROUGHPUT, "gpu": GPU}
    wanted = [name for name, mark in files.items() if is_selected(config, mark)]
    return True if wanted and collection_path.parent == TESTS and collection_path.name not in wanted else None


@pytest.fixture
def less_to_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure small products, few times, and nothing of the processor that pytest-benchmark takes a second for."""
    monkeypatch.setattr("harness.throughput.timing._PRODUCT_SIDE", {"cpu": 64})
    monkeypatch.setattr("harness.throughput.timing._LEAST_SECONDS", 0.0)
    monkeypatch.setattr("harness.throughput.machine._PRODUCTS", 3)
    monkeypatch.setattr("pytest_benchmark.plugin.get_cpu_info", dict)


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of published figures, where it is at hand."""
    return _shared("reference")


@pytest.fixture(scope="session")
def real_images() -> Path:
    """500 real ImageNet images in half of the class folders, where they are at hand."""
    return _shared("imagenet-sample")


def _shared(name: str) -> Path:
    folder = TESTS.parent.parent / "shared" / name
    if not folder.is_dir():
        pytest.skip(f"../shared/{name} does not exist here")
    return folder


@pytest.fixture(scope="session")
def study(reference: Path) -> dict[str, NDArray[np.int16]]:
    """Real predictions for the 50,000 validation images (modestyachts/ImageNetV2): top-5 by model, and ``label``."""
    with np.load(reference / "ilsvrc2012_val_top5_predictions.npz") as arrays:
        return dict(arrays)
