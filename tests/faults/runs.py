"""Runs of the gate with a planted fault or in another way, and their outcomes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.baseline.pairing import NOISE_FLOORS, drift_of, drifts
from harness.compare.compare import compare
from harness.dataset import open_dataset
from harness.predictions import Predictions, count
from harness.records.evidence import Drift, Pairing
from harness.records.results import CaseResult
from harness.records.run_folder import RECORD, Run, read_run
from harness.verdict import BASELINE, FAILED, PASSED
from tests.faults.plant import FAULT, TRACE
from tests.faults.planted import REJECTED, Fault
from tests.faults.sound import SOUND, Sound

ROOT = Path(__file__).parents[2]
SITE = Path(__file__).parent / "site"
REAL, SYNTHETIC = "real", "synthetic"
MODELS = {REAL: "efficientnet_lite0", SYNTHETIC: "core"}
FIRST = 50
RENDERED = 100
"""Images of the synthetic dataset that are used, of 500: VGG16 is slow, and for pairing they are enough."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one case."""

    id: str  # the case's
    outcome: str  # passed, warning or failed by the baseline check; ``rejected`` without a result
    detail: str  # the first line of that check, or of the error
    top1: int | None = None  # correct top-1 predictions gained against the baseline; None without a result
    top5: int | None = None  # the same of top-5
    published_failed: bool = False  # whether the check against published or recorded values did
    pairing: Pairing | None = None  # the evidence, where the case was paired
    first: Drift | None = None  # on the first 50 images of the order of ``--limit``
    untouched: bool = False  # whether the model gave the same bits as without the fault, so that it had none

    @property
    def stage(self) -> str:
        """The stage that was named, ``rejected``, or empty where the check passed."""
        if self.outcome == REJECTED:
            return REJECTED
        if self.pairing is not None and self.outcome != PASSED:
            return self.pairing.diagnosis.stage
        return "" if self.outcome == PASSED else self.detail.partition(":")[0]


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of all cases of one run."""

    cases: tuple[Outcome, ...] = ()
    unequal: tuple[str, ...] = ()  # cases to which ``compare`` of the two run folders gives another outcome

    def __str__(self) -> str:
        return "; ".join(f"{case.id.partition('-')[0]} {case.outcome} {case.stage}".strip() for case in self.cases)


class Runner:
    """Makes runs, each once."""

    def __init__(self, imagenet: Path, folder: Path) -> None:
        """Take the real images, and the folder for the runs."""
        self._imagenet = {REAL: str(imagenet), SYNTHETIC: SYNTHETIC}
        self._folder = folder

    def outcomes(self, variant: Fault | Sound, dataset: str) -> Outcomes:
        """Run the gate with a fault, or in another way."""
        if isinstance(variant, Fault):
            variant = Sound(variant.name, environment={FAULT: variant.name})
        baseline = self._baseline(dataset)
        run = self._run(dataset, variant, f"--baseline={baseline.path}")
        missing = tuple(Outcome(case.id, REJECTED, case.detail) for case in run.record.missing_cases)
        cases = tuple(self._outcome(case, run, baseline, dataset) for case in run.record.cases)
        return Outcomes((*cases, *missing), unequal=tuple(_unequal(baseline, run)))

    def _baseline(self, dataset: str) -> Run:
        if dataset == SYNTHETIC:
            return read_run(ROOT / "harness" / "synthetic" / "baseline")
        return self._run(dataset, Sound("baseline"), "--baseline-update")

    def _run(self, dataset: str, variant: Sound, baseline: str) -> Run:
        folder = self._folder / dataset / re.sub(r"\W+", "-", variant.name)
        results, trace = folder / "run", folder / "planted"
        if not (results / RECORD).exists():
            folder.mkdir(parents=True, exist_ok=True)
            where = "--baseline" if baseline == "--baseline-update" else "--results"
            command = [sys.executable, "-m", "pytest", "-m", "imagenet", f"--imagenet={self._imagenet[dataset]}"]
            command += [f"--models={MODELS[dataset]}", f"{where}={results}", baseline, "-p", "no:cacheprovider"]
            command += ["--assert=plain"]  # the import hook of assertions would come before the one that plants
            command += [f"--limit={RENDERED}"] if dataset == SYNTHETIC else []  # a later argument wins
            command += [f"--store={self._folder / dataset / 'kept'}" if variant.stores else "--no-store"]
            path = os.pathsep.join([str(SITE), str(ROOT), os.environ.get("PYTHONPATH", "")])
            settings = {TRACE: str(trace), "PYTHONPATH": path, **variant.environment}
            command += variant.arguments
            found = subprocess.run(command, cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True)
            (folder / "log").write_text(f"{command}\n{found.stdout}{found.stderr}")
            if not (results / RECORD).exists():
                raise RuntimeError(f"{variant.name}: no run: {found.stdout[-2000:]}{found.stderr[-2000:]}")
        if FAULT in variant.environment and not trace.exists():
            raise RuntimeError(f"{variant.name}: the run in {folder} never imported what the fault changes; remove it")
        return read_run(results)

    def _outcome(self, case: CaseResult, run: Run, baseline: Run, dataset: str) -> Outcome:
        checks = {check.name: check for check in case.verdict.checks}
        check = checks.pop(BASELINE)
        before = next(one for one in baseline.record.cases if one.id == f"{case.model}-{case.weights}-fp32")
        old, new = baseline.predictions(before), run.predictions(case)
        indices = old.indices_of(new.ids)
        shared = (indices >= 0).all()
        was = count(old.at(indices), baseline.labels[1][indices])
        return Outcome(
            id=case.id,
            outcome=check.outcome,
            detail=check.detail.partition("\n")[0],
            top1=case.counts.top1 - was.top1 if shared else None,
            top5=case.counts.top5 - was.top5 if shared else None,
            published_failed=any(published.outcome == FAILED for published in checks.values()),
            pairing=case.baseline if isinstance(case.baseline, Pairing) else None,
            first=self._first_drift(old.at(indices), new, dataset) if shared else None,
            untouched=check.outcome == PASSED and self._same_bits(case.id, new, dataset),
        )

    def _same_bits(self, case: str, new: Predictions, dataset: str) -> bool:
        run = self._baseline(dataset)
        if dataset == SYNTHETIC:  # its baseline may be from another machine
            run = self._run(dataset, SOUND[0], f"--baseline={run.path}")
        for known in (run.predictions(one) for one in run.record.cases if one.id == case):
            if known.logits is not None and new.logits is not None:
                return np.array_equal(known.ids, new.ids) and np.array_equal(known.logits, new.logits)
        return False

    def _first_drift(self, old: Predictions, new: Predictions, dataset: str) -> Drift | None:
        indices = new.indices_of(np.array(open_dataset(self._imagenet[dataset]).subset(FIRST).ids))
        if (indices < 0).any():
            return None
        moved = drifts(old.at(indices), new.at(indices))
        assert moved is not None  # runs of the harness hold logits
        return drift_of(moved, NOISE_FLOORS["fp32"])


def _unequal(baseline: Run, run: Run) -> Iterator[str]:
    """Yield the cases to which ``compare`` gives another outcome than the gate, of those with one id in both runs."""
    if not run.record.cases:  # rejected, so that there is nothing to compare
        return
    compared = {pair.new.id: pair.new.outcome for pair in compare(baseline, run).accuracy}
    for case in run.record.cases:
        if case.id in compared and compared[case.id] != case.outcome:
            yield f"{case.id}: {case.outcome} in the gate, {compared[case.id]} in compare"
