"""The checks of ``make gpu``: a device for each test, and a table and a JSON file of what they measured.

Each is a test: it passes, fails, or is skipped with the reason why it could not run. Without a GPU those that can run
on a CPU do, so that their code is tested there as well.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.models import resnet18

from harness.device import describe_device, device_facts, resolve_device
from harness.options import Options, is_selected
from harness.predict import Loop, predict
from harness.predictions import Predictions
from harness.prefetch import Prefetch
from harness.preset import Geometry, Preset
from harness.records.environment import current_environment
from tests.crops import InMemory

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Record = Callable[[str, object], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option."""
    parser.addoption("--gpu-json", metavar="FILE", type=Path, help="write what the checks found to this file")


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The GPU, or the CPU where there is none."""
    return resolve_device("auto")


@pytest.fixture(scope="session")
def gpu(device: torch.device) -> torch.device:
    """The GPU, without which the test is skipped."""
    if device.type != "cuda":
        pytest.skip("needs a GPU")
    return device


def images(number: int, side: int = 224) -> InMemory:
    """Return random images, the same each time."""
    pixels = np.random.RandomState(side).randint(0, 256, (number, side, side, 3)).astype(np.uint8)
    return InMemory(pixels, Geometry(side, side, "bilinear"))


def logits_of(predictions: Predictions) -> NDArray[np.float32]:
    """Return the logits, which the loop always keeps."""
    assert predictions.logits is not None
    return predictions.logits


def equal(one: Predictions, other: Predictions) -> bool:
    """Return whether classes and logits are equal, bit for bit."""
    return np.array_equal(one.top, other.top) and np.array_equal(logits_of(one), logits_of(other))


@pytest.fixture(scope="session")
def model(device: torch.device) -> torch.nn.Module:
    """A ResNet-18 with seeded weights, in channels_last."""
    torch.manual_seed(0)
    built: torch.nn.Module = resnet18().eval().to(device, memory_format=torch.channels_last)
    return built


def run(model: Any, crops: InMemory, prefetch: Prefetch, batch_size: int = 64, **others: Any) -> Loop:
    """Return the loop's outcome."""
    preset = Preset(crops.geometry, MEAN, STD)
    return predict(model, crops, preset, prefetch=prefetch, batch_size=batch_size, classes=1000, **others)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table, and write the file; this conftest is there in runs of all tests, too."""
    if not is_selected(config, "gpu"):
        return
    reports = [report for found in terminalreporter.stats.values() for report in found if hasattr(report, "when")]
    rows = []
    for report in sorted(reports, key=lambda report: report.nodeid):
        if report.when == "call" or report.outcome != "passed":
            reason = report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""
            figures = dict(report.user_properties)
            rows.append({"check": report.nodeid, "outcome": report.outcome, "reason": reason, "figures": figures})
    device = resolve_device("auto")
    terminalreporter.section(f"checks on {describe_device(device)}")
    for row in rows:
        check = row["check"].rpartition("::")[2].removeprefix("test_").replace("_", " ")
        terminalreporter.line(f"{row['outcome']:8}{check}{': ' * bool(row['reason'])}{row['reason']}")
        for name, value in row["figures"].items():
            text = textwrap.fill(f"{name}: {value}", 110, initial_indent=" " * 8, subsequent_indent=" " * 10)
            terminalreporter.line(text)
    if path := config.getoption("gpu_json"):
        environment = current_environment(device_facts(device), Options()).facts
        path.write_text(json.dumps({"environment": environment, "checks": rows}, indent=1) + "\n")
