"""The pytest plugin of ``--reference``: each case is evaluated again for a few images, on another device.

It shows a wrong kernel on a device for which nobody has recorded a baseline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from harness.baseline.pairing import drifts, noise_floor_of
from harness.expected import Case
from harness.options import ACCURACY, is_selected, positive, require_selected
from harness.records.evidence import Bounds

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from harness.evaluator import Evaluator
    from harness.expected import ModelSpec
    from harness.predictions import Predictions
    from harness.records.results import CaseResult
    from harness.records.run_folder import Run
    from harness.reference.reference import Reference

_NAME, _IMAGES = "reference", 64


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("imagenet")
    group.addoption(
        "--reference",
        metavar="DEVICE[:fp64]",
        help="evaluate each model again on this device, in float32 or float64, and compare the logits (default: none)",
    )
    images = f"images for --reference, a class-balanced subset (default: {_IMAGES})"
    group.addoption("--reference-images", metavar="N", type=positive, help=images)


def pytest_configure(config: pytest.Config) -> None:
    """Check the options, and register the plugin object if there is a reference."""
    require_selected(config, dict.fromkeys(("--reference", "--reference-images"), (ACCURACY,)))
    name, images = config.getoption("reference"), config.getoption("reference_images")
    if images and not name:
        raise pytest.UsageError("--reference-images has no effect without --reference")
    if name and is_selected(config, ACCURACY) and not config.getoption("collectonly"):
        config.pluginmanager.register(ReferencePlugin(name, images or _IMAGES), "imagenet-reference")


class ReferencePlugin:
    """Evaluates the cases again, and keeps the last model's predictions for its other settings."""

    def __init__(self, name: str, images: int) -> None:
        self._name, self._images = name, images
        self._reference: Reference | None = None
        self._evaluator: Evaluator | None = None
        self._cases: dict[str, Case] = {}
        self._lines: list[str] = []
        self._last: tuple[ModelSpec, Predictions] | None = None

    def pytest_imagenet_opened(self, evaluator: Evaluator, cases: tuple[Case, ...]) -> None:
        """Open the device."""
        from harness.reference.reference import Reference  # imports torch

        self._reference, self._evaluator = Reference(self._name), evaluator
        self._cases = {str(case): case for case in cases}

    def pytest_report_header(self) -> str:
        """Say what the reference is."""
        return f"reference: {self._reference}, {self._images} images of each case"

    def pytest_imagenet_check(self, result: CaseResult, predictions: Predictions) -> Bounds:
        """Return by how much the logits differ from the reference's."""
        expected = self._predicted(self._cases[result.id])
        found = predictions.at(predictions.indices_of(expected.ids))
        moved = drifts(expected, found)
        assert moved is not None  # both have just been computed
        changed = int((found.top1 != expected.top1).sum())
        return Bounds(
            _NAME,
            float(moved.max()),
            0.0,
            noise_floor_of(result.precision).largest,
            f"largest drift from {self._reference}, median {float(np.median(moved)):.1e}; {changed:,} of "
            f"{len(expected):,} predictions changed",
        )

    def pytest_imagenet_finished(self, run: Run) -> None:
        """Keep the evidence of all processes for the summary."""
        found = [(case.id, bounds) for case in run.record.cases for bounds in case.bounds if bounds.name == _NAME]
        self._lines = [
            f"{identity}: {bounds.value:.1e} of {bounds.high:g}, {bounds.detail}" for identity, bounds in found
        ]

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """Show the drift of each case, also of those that passed."""
        for line in self._lines and ("", "against the reference, in units of the logit scale", *self._lines):
            terminalreporter.write_line(line)

    def _predicted(self, case: Case) -> Predictions:
        assert self._reference is not None
        assert self._evaluator is not None
        if self._last is None or self._last[0] != case.spec:
            images, classes = self._evaluator.shard, len(self._evaluator.dataset.classes)
            sample = images.subset(min(self._images, len(images)))
            indices = [images.ids.index(identity) for identity in sample.ids]
            predicted = self._reference.predict(case, self._evaluator.crops(case.spec), indices, classes)
            self._last = case.spec, predicted
        return self._last[1]
