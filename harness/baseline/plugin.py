"""The pytest plugin of ``--baseline``: each case is compared with an earlier run, which the run may replace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.baseline.pairing import Side
from harness.baseline.reference import Reference, open_reference
from harness.dataset import SYNTHETIC
from harness.options import ACCURACY, folder, is_selected, require_selected
from harness.records.evidence import Pairing, Policy, Unpaired

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.evaluator import Evaluator
    from harness.expected import Case
    from harness.predictions import Predictions
    from harness.records.results import CaseResult, Record

SYNTHETIC_BASELINE = Path(__file__).parents[1] / "synthetic" / "baseline"
"""The run that the synthetic images are compared with by default."""
_SWITCHES = {
    "--baseline-update": "make this run the baseline: compare with that of --baseline, and replace it",
    "--baseline-accept-failed": "let --baseline-update store a run that failed the check against the published values",
    "--strict-drift": "fail also where logits moved beyond the noise floor or images differ, but no prediction",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("imagenet")
    group.addoption(
        "--baseline",
        metavar="DIR",
        type=folder,
        help="folder of an earlier run to compare with, image by image (default: none; with --imagenet synthetic the "
        "project's own)",
    )
    for option, effect in _SWITCHES.items():
        group.addoption(option, action="store_true", help=effect)


def pytest_configure(config: pytest.Config) -> None:
    """Check the options, and register the plugin object where there is a baseline."""
    require_selected(config, dict.fromkeys(("--baseline", *_SWITCHES), (ACCURACY,)))
    if is_selected(config, ACCURACY) and (path := _baseline_path(config)) is not None:
        policy = Policy(config.getoption("strict_drift"), config.getoption("baseline_update"))
        plugin = BaselinePlugin(path, policy, accept_failed=config.getoption("baseline_accept_failed"))
        config.pluginmanager.register(plugin, "imagenet-baseline")


class BaselinePlugin:
    """Compares each case with the baseline, and lets the run replace it."""

    def __init__(self, path: Path, policy: Policy, *, accept_failed: bool) -> None:
        self.reference: Reference | None = None  # until it is opened, and in the ranks that leave it to the first
        self._path = path
        self._policy = policy
        self._accept_failed = accept_failed
        self._evaluator: Evaluator | None = None

    def pytest_imagenet_destination(self) -> tuple[Path, str] | None:
        """Let the run replace the baseline if it is to be updated."""
        return (self._path, "--baseline") if self._policy.updating else None

    def pytest_imagenet_opened(self, evaluator: Evaluator, cases: tuple[Case, ...]) -> None:
        """Open the baseline."""
        if evaluator.options.process.rank == 0:
            self._evaluator = evaluator
            self.reference = open_reference(evaluator.dataset, self._path, self._policy)
            self.reference.check(cases)

    def pytest_report_header(self) -> str | list[str]:
        """Say what the cases are compared with."""
        return [] if self.reference is None else f"baseline: {self.reference}"

    def pytest_imagenet_check(
        self, result: CaseResult, predictions: Predictions, targets: NDArray[np.int16]
    ) -> Pairing | Unpaired | None:
        """Compare a case with the baseline."""
        if self.reference is None or self._evaluator is None:
            return None
        total, environment = self._evaluator.dataset.total, self._evaluator.environment()
        return self.reference.compare(Side(result, predictions, targets, total, environment))

    def pytest_imagenet_write_error(self, record: Record) -> str | None:
        """Keep a baseline that the run must not replace."""
        if self.reference is None or not self._policy.updating:
            return None
        return self.reference.storing_error(record, accept_failed=self._accept_failed)


def _baseline_path(config: pytest.Config) -> Path | None:
    """Return the baseline's folder, None if there is none; a UsageError if options exclude or lack each other."""
    path: Path | None = config.getoption("baseline")
    results: Path | None = config.getoption("results")
    updating, strict_drift = config.getoption("baseline_update"), config.getoption("strict_drift")
    if updating and path is None:
        raise pytest.UsageError("--baseline-update needs --baseline DIR: the folder to write")
    if updating and results is not None:
        raise pytest.UsageError("--baseline-update writes the run to --baseline: leave out --results")
    if config.getoption("baseline_accept_failed") and not updating:
        raise pytest.UsageError("--baseline-accept-failed has no effect without --baseline-update")
    if updating and strict_drift:
        raise pytest.UsageError("--strict-drift and --baseline-update exclude each other: an update cannot fail")
    if path is not None and results is not None and not updating and path.resolve() == results.resolve():
        raise pytest.UsageError("--results would replace the baseline: name another folder, or give --baseline-update")
    if path is None and config.getoption("imagenet") == SYNTHETIC:
        return SYNTHETIC_BASELINE
    if path is None and strict_drift:
        raise pytest.UsageError("--strict-drift needs --baseline DIR: drift is measured from an earlier run")
    return path
