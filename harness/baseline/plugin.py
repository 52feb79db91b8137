"""The pytest plugin of ``--baseline``: each case is compared with an earlier run, which the run may replace."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from harness.baseline.pairing import Side, earlier_case, pair, require_counts, side_of
from harness.dataset import SYNTHETIC, ImageDataset
from harness.errors import RecordError, ResultsError
from harness.expected import Case
from harness.options import ACCURACY, folder, is_selected, positive, require_selected
from harness.records.evidence import NoiseFloor, Pairing, Policy, Unpaired, wrapped
from harness.records.results import CaseResult, Record
from harness.records.run_folder import Run, read_run
from harness.verdict import BASELINE, FAILED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.evaluator import Evaluator
    from harness.predictions import Predictions

SYNTHETIC_BASELINE = Path(__file__).parents[1] / "synthetic" / "baseline"
"""The run that the synthetic images are compared with by default."""
_REFERENCE_IMAGES = 64
_SWITCHES = {
    "--baseline-update": "compare with the baseline, then replace it with this run",
    "--baseline-accept-failed": "let --baseline-update store a run that failed the check against the published values",
    "--strict-drift": "also fail on differences that changed no prediction beyond noise, even where they are explained",
    "--allow-drift": "only warn about unexplained differences that changed no prediction beyond noise",
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
    floor = "file written by imagenet-gate noise -o: the noise floor of this machine (default: the project's)"
    group.addoption("--noise-floor", metavar="FILE", type=Path, help=floor)
    group.addoption(
        "--reference",
        metavar="DEVICE[:fp64]",
        help="evaluate each model again on this device, in float32 or float64, and compare the logits (default: none)",
    )
    images = f"images for --reference, a class-balanced subset (default: {_REFERENCE_IMAGES})"
    group.addoption("--reference-images", metavar="N", type=positive, help=images)
    for option, effect in _SWITCHES.items():
        group.addoption(option, action="store_true", help=effect)


def pytest_configure(config: pytest.Config) -> None:
    """Check the options, and register the plugin object where there is a baseline."""
    require_selected(
        config,
        dict.fromkeys(("--baseline", "--noise-floor", "--reference", "--reference-images", *_SWITCHES), (ACCURACY,)),
    )
    if is_selected(config, ACCURACY) and (path := _baseline_path(config)) is not None:
        strict, allow = config.getoption("strict_drift"), config.getoption("allow_drift")
        policy = Policy(strict, config.getoption("baseline_update"), allow, _noise_floors(config))
        plugin = BaselinePlugin(path, policy, accept_failed=config.getoption("baseline_accept_failed"))
        config.pluginmanager.register(plugin, "imagenet-baseline")
    name, images = config.getoption("reference"), config.getoption("reference_images")
    if images and name is None:
        raise pytest.UsageError("--reference-images has no effect without --reference")
    if name is not None and is_selected(config, ACCURACY) and not config.getoption("collectonly"):
        from harness.baseline.reference import ReferencePlugin

        config.pluginmanager.register(ReferencePlugin(name, images or _REFERENCE_IMAGES), "imagenet-reference")


def _noise_floors(config: pytest.Config) -> dict[str, NoiseFloor]:
    if (path := config.getoption("noise_floor")) is None:
        return {}
    from harness.baseline.noise import read_noise_floors

    try:
        return read_noise_floors(path).floors
    except RecordError as error:
        raise pytest.UsageError(f"--noise-floor {error}") from error


class BaselinePlugin:
    """Compares each case with the baseline, and lets the run replace it."""

    def __init__(self, path: Path, policy: Policy, *, accept_failed: bool) -> None:
        self.reference: Reference | None = None  # None until it is opened, and always in ranks other than 0
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
        return [] if self.reference is None else wrapped(f"baseline: {self.reference}")

    def pytest_imagenet_check(
        self, result: CaseResult, predictions: Predictions, targets: NDArray[np.int16]
    ) -> Pairing | Unpaired | None:
        """Compare a case with the baseline."""
        if self.reference is None or self._evaluator is None:
            return None
        dataset, environment = self._evaluator.dataset, self._evaluator.environment()
        return self.reference.compare(Side(result, predictions, targets, dataset.total, environment, dataset.classes))

    def pytest_imagenet_write_error(self, record: Record) -> str | None:
        """Keep a baseline that the run must not replace."""
        if self.reference is None or not self._policy.updating:
            return None
        return self.reference.storing_error(record, accept_failed=self._accept_failed)


def _baseline_path(config: pytest.Config) -> Path | None:
    """Return the baseline's folder, None if there is none; a UsageError if options conflict or are incomplete."""
    path: Path | None = config.getoption("baseline")
    results: Path | None = config.getoption("results")
    updating, strict_drift = config.getoption("baseline_update"), config.getoption("strict_drift")
    allow_drift = config.getoption("allow_drift")
    replaces = path is not None and results is not None and os.path.realpath(path) == os.path.realpath(results)
    errors = {
        "--baseline-update needs --baseline DIR: the folder to write": updating and path is None,
        "--baseline-update writes the run to --baseline: leave out --results": updating and results is not None,
        "--baseline-accept-failed has no effect without --baseline-update": (
            config.getoption("baseline_accept_failed") and not updating
        ),
        "--strict-drift and --baseline-update exclude each other: an update cannot fail": strict_drift and updating,
        "--strict-drift and --allow-drift exclude each other: leave out one of them": strict_drift and allow_drift,
        "--results would replace the baseline: name another folder, or give --baseline-update": replaces,
    }
    if path is None and config.getoption("imagenet") == SYNTHETIC:
        path = SYNTHETIC_BASELINE
    if path is None:
        for name in ("strict_drift", "allow_drift", "noise_floor"):
            option = f"--{name.replace('_', '-')}"
            errors[f"{option} needs --baseline DIR: drift is measured from an earlier run"] = config.getoption(name)
    for error, found in errors.items():
        if found:
            raise pytest.UsageError(error)
    return path


@dataclass(frozen=True)
class Reference:
    """An earlier run to compare with."""

    path: Path
    policy: Policy  # how strictly the comparisons are judged
    run: Run | None = None  # None where there is none that can be read, and one is to be recorded
    unreadable: str = ""  # why what is there cannot be read

    def __str__(self) -> str:
        if self.unreadable:
            return f"to be replaced without pairing: {self.unreadable}"
        if self.run is None:
            return f"{self.path}, not recorded yet; this run will be"
        record = self.run.record
        return f"{self.run.path}, recorded {record.created[:10]} with torch {record.environment.torch or 'unknown'}"

    def check(self, cases: Sequence[Case]) -> None:
        """Fail early: a damaged case is a RecordError, one that an update would drop a ResultsError."""
        if self.policy.updating:
            if lost := self._loss([str(case) for case in cases]):
                raise ResultsError(f"--baseline-update: {lost}")
        elif self.run is not None:
            found = (earlier_case(self._cases, str(case), str(case.spec)) for case in cases)
            for earlier in {case.id: case for case in found if case is not None}.values():
                require_counts(side_of(self.run, earlier))

    def compare(self, new: Side) -> Pairing | Unpaired:
        """Compare a case with the earlier run; a RecordError if that is damaged, and not to be replaced."""
        name = f"{new.result.model}-{new.result.weights}"
        earlier = earlier_case(self._cases, new.result.id, name)
        if self.run is None or earlier is None:
            reason = f"{self.path} holds no case of {name}, so its predictions are compared with nothing"
            return Unpaired("missing", reason, policy=self.policy)
        try:
            return pair(side_of(self.run, earlier), new, self.policy)
        except RecordError as error:
            if not self.policy.updating:
                raise
            return Unpaired("damaged", str(error), policy=self.policy)

    def storing_error(self, record: Record, *, accept_failed: bool) -> str | None:
        """Return why a run must not replace this one, such as failed checks that are not accepted; None if it may."""
        if missing := record.missing_cases:
            total = len(missing) + len(record.cases)
            return f"{len(missing)} of {total} cases were not evaluated, such as {missing[0].id}"
        failed = [
            case.id
            for case in record.cases
            if any(check.outcome == FAILED and check.name != BASELINE for check in case.verdict.checks)
        ]
        if failed and not accept_failed:
            return (
                f"{len(failed)} of {len(record.cases)} cases failed the check against the published values, such as "
                f"{failed[0]}; --baseline-accept-failed stores them anyway"
            )
        return self._loss([case.id for case in record.cases])

    @property
    def _cases(self) -> tuple[CaseResult, ...]:
        return () if self.run is None else self.run.record.cases

    def _loss(self, ids: Sequence[str]) -> str | None:
        """Return which cases would be lost if the run were replaced by one with these cases; None if none would be."""
        lost = sorted({case.id for case in self._cases} - set(ids))
        if not lost:
            return None
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        return (
            f"{self.path} would lose {lost[0]}{more}, not among the cases of this run; run them too, or name another "
            "folder"
        )


def open_reference(dataset: ImageDataset, path: Path, policy: Policy) -> Reference:
    """Open the run in a folder, to compare a dataset's cases with; one to be replaced need not exist or be readable.

    Raises:
        RecordError: there is no run, it cannot be read, or it shares no image with the dataset.
        ResultsError: it is to be replaced, and would lose images.
    """
    if policy.updating and not path.exists():
        return Reference(path, policy)
    try:
        run = read_run(path)
        if not run.holds_predictions:
            raise RecordError(f"{path}: expected a run folder, found a file, which holds no predictions")
        if run.record.dataset is None or not run.record.cases:
            raise RecordError(f"{path}: expected a run with evaluated cases, found none")
        ids, _ = run.labels
    except RecordError as error:
        if policy.updating:
            return Reference(path, policy, unreadable=str(error))
        hint = "; record one with --baseline-update"
        # A run that was killed while it replaced another leaves the other one beside it.
        if replaced := sorted(path.parent.glob(f"{path.name}.replaced-*")):
            hint = f"; a run was killed while it replaced it: rename {replaced[-1]} back"
        raise RecordError(f"--baseline {error}{'' if path.exists() else hint}") from error
    name = run.record.dataset.name
    new = len(np.setdiff1d(np.array(dataset.ids), ids))
    if new == len(dataset):
        raise RecordError(
            f"--baseline {path}: has {len(ids):,} images of {name}, none of which is among the {len(dataset):,} of "
            f"{dataset.name}; name another folder"
        )
    if policy.updating and name != dataset.name and new:
        raise ResultsError(
            f"--baseline-update: {path} is of {name}, and {new:,} of the {len(dataset):,} images of {dataset.name} are "
            f"not among its {len(ids):,}; name another folder"
        )
    if policy.updating and len(dataset) < min(dataset.total, len(ids)):
        raise ResultsError(
            f"--baseline-update: {path} holds {len(ids):,} images and would be reduced to {len(dataset):,}; leave out "
            "--limit, or name another folder"
        )
    return Reference(path, policy, run)
