"""The plugin object of ``--reference``: each case is evaluated again for a few images, on another device.

It reveals a wrong kernel on a device for which nobody has recorded a baseline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.baseline.pairing import drifts, noise_floor_of
from harness.expected import Case
from harness.records.evidence import Bounds

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from harness.baseline.second_device import SecondDevice
    from harness.evaluator import Evaluator
    from harness.expected import ModelSpec
    from harness.predictions import Predictions
    from harness.records.results import CaseResult
    from harness.records.run_folder import Run

_NAME = "reference"


class ReferencePlugin:
    """Evaluates the cases again, and keeps the last model's predictions for its other settings."""

    def __init__(self, name: str, images: int) -> None:
        self._name, self._images = name, images
        self._device: SecondDevice | None = None
        self._evaluator: Evaluator | None = None
        self._cases: dict[str, Case] = {}
        self._lines: list[str] = []
        self._last: tuple[ModelSpec, Predictions] | None = None

    def pytest_imagenet_opened(self, evaluator: Evaluator, cases: tuple[Case, ...]) -> None:
        """Open the device."""
        from harness.baseline.second_device import SecondDevice  # imports torch

        self._device, self._evaluator = SecondDevice(self._name), evaluator
        self._cases = {str(case): case for case in cases}

    def pytest_report_header(self) -> str:
        """Say what the reference is."""
        return f"reference: {self._device}, {self._images} images of each case"

    def pytest_imagenet_check(self, result: CaseResult, predictions: Predictions) -> Bounds:
        """Return how far the logits differ from the reference's."""
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
            f"largest drift from {self._device}, median {float(np.median(moved)):.1e}; {changed:,} of "
            f"{len(expected):,} predictions changed",
        )

    def pytest_imagenet_finished(self, run: Run) -> None:
        """Keep the evidence of all processes for the summary."""
        found = [(case.id, bounds) for case in run.record.cases for bounds in case.bounds if bounds.name == _NAME]
        self._lines = [f"{name}: {one.value:.1e}, allowed {one.high:g}; {one.detail}" for name, one in found]

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """Show the drift of each case, also of those that passed."""
        for line in self._lines and ("", "against the reference, in units of the logit scale", *self._lines):
            terminalreporter.write_line(line)

    def _predicted(self, case: Case) -> Predictions:
        assert self._device is not None
        assert self._evaluator is not None
        if self._last is None or self._last[0] != case.spec:
            images, classes = self._evaluator.shard, len(self._evaluator.dataset.classes)
            sample = images.subset(min(self._images, len(images)))
            indices = [images.ids.index(identity) for identity in sample.ids]
            predicted = self._device.predict(case, self._evaluator.crops(case.spec), indices, classes)
            self._last = case.spec, predicted
        return self._last[1]
