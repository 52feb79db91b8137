"""The gate's own pytest hooks: how optional packages, and a team's conftest.py, take part in a run (docs/extending.md).

All are called through ``config.hook``. An implementation in a conftest.py carries
``@pytest.hookimpl(optionalhook=True)``, so that pytest also starts without this plugin.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.evaluator import Evaluator
    from harness.expected import Case
    from harness.options import Process
    from harness.predictions import Predictions
    from harness.records.environment import Environment
    from harness.records.evidence import Bounds, Pairing, Unpaired
    from harness.records.results import CaseResult, Record
    from harness.records.run_folder import Run


@pytest.hookspec
def pytest_imagenet_check(
    config: pytest.Config, result: CaseResult, predictions: Predictions, targets: NDArray[np.int16]
) -> Bounds | Pairing | Unpaired | None:
    """Return evidence about a case that was evaluated, or None; ``harness.verdict`` judges it.

    ``targets`` are the labels, (N,) class indices in the order of ``predictions.ids``.
    """


@pytest.hookspec
def pytest_imagenet_progress(config: pytest.Config, case: str, phase: str, done: int, images: int) -> None:
    """Report the progress of a case: ``done`` of ``images`` in ``phase``, which is ``decoding`` or ``forward``."""


@pytest.hookspec
def pytest_imagenet_opened(config: pytest.Config, evaluator: Evaluator, cases: tuple[Case, ...]) -> None:
    """Prepare for a session whose dataset and device have just been opened; a HarnessError ends it as a usage error."""


@pytest.hookspec
def pytest_imagenet_finished(config: pytest.Config, run: Run) -> None:
    """Process a finished run: its record, and its predictions in a folder that may be removed after this hook."""


@pytest.hookspec(firstresult=True)
def pytest_imagenet_process(config: pytest.Config) -> Process | None:
    """Return which of several processes this is; None, by default, for the only one."""


@pytest.hookspec(firstresult=True)
def pytest_imagenet_environment(config: pytest.Config) -> Environment | None:
    """Return the versions and hardware of a session that opens no dataset."""


@pytest.hookspec(firstresult=True)
def pytest_imagenet_evaluate(
    config: pytest.Config,
    case: Case,
    evaluator: Evaluator,
    predict: Callable[[], tuple[CaseResult, Predictions] | None],
    add_evidence: Callable[[CaseResult, Predictions], CaseResult],
) -> CaseResult | None:
    """Evaluate a case in cooperation with other processes; None to evaluate it in this process alone.

    Args:
        evaluator: the session's dataset and device.
        predict: evaluates this process's share of the images; None if it has none.
        add_evidence: adds the evidence of all checks to the result of all images, and writes the predictions.
    """


@pytest.hookspec(firstresult=True)
def pytest_imagenet_destination(config: pytest.Config) -> tuple[Path, str] | None:
    """Return the folder that the run is written to, and the option that names it; None, by default, for --results."""


@pytest.hookspec(firstresult=True)
def pytest_imagenet_write_error(config: pytest.Config, record: Record) -> str | None:
    """Return why a run must not be written to its destination; None if it may."""
