"""Runs of the gate in copies of the project, and what came out of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from harness.data.layouts import open_split
from harness.gate.answers import Answers
from harness.gate.baseline import BASELINE
from harness.gate.pairing import Drift, Paired, drift_of, pair
from harness.gate.tolerance import floor_of
from harness.reporting.baseline import EMBEDDED_BASELINE
from harness.reporting.case_record import CaseRecord
from harness.reporting.record import Unmeasured
from harness.reporting.run_folder import RECORD, Run, read_run
from tests.faults.planted import REFUSED, Fault
from tests.faults.sound import Sound

ROOT = Path(__file__).parents[2]
REAL, EMBEDDED = "real", "embedded"
MODELS = {REAL: "efficientnet_lite0", EMBEDDED: "core"}
FIRST = 50
RENDERED = 100
"""Of the 500 images of the embedded split: VGG16 takes its time, and for pairing they are enough."""
_COPIED = ("harness", "tests/test_accuracy.py", "conftest.py", "expected_accuracy.yaml", "pyproject.toml")


@dataclass(frozen=True)
class Outcome:
    """What became of one case.

    Attributes:
        id: the case's.
        top1: hits gained against the baseline; None where there is no score.
        top5: the same.
        published: whether the check against published or recorded values failed; None without one.
        outcome: of the paired gate: held, warned or failed; ``refused`` where there is no score.
        detail: the first line of its check, or of the error.
        paired: image by image.
        first: drift on the first 50 images of ``--limit``'s order.
    """

    id: str
    top1: int | None
    top5: int | None
    published: bool | None
    outcome: str
    detail: str
    paired: Paired | None = None
    first: Drift | None = None

    @property
    def cause(self) -> str:
        """The link that was named, ``refused``, or empty where all is well."""
        return REFUSED if self.outcome == REFUSED else "" if self.outcome == "held" else self.detail.partition(":")[0]

    @property
    def untouched(self) -> bool:
        """Whether the model gave the same bits, so that there was no fault for it."""
        drift = None if self.paired is None else self.paired.drift
        return self.outcome == "held" and drift is not None and drift.largest == 0


@dataclass(frozen=True)
class Outcomes:
    """Of all cases of one run; ``skipped`` says why there are none."""

    cases: tuple[Outcome, ...]
    skipped: str = ""

    def told(self) -> str:
        """Return them in one line."""
        if self.skipped:
            return f"skipped: {self.skipped}"
        return "; ".join(f"{case.id.partition('-')[0]} {case.outcome} {case.cause}".strip() for case in self.cases)


class Runner:
    """Makes runs, each once."""

    def __init__(self, imagenet: Path, folder: Path) -> None:
        """Take the real images, and the folder for the runs."""
        self._imagenet = {REAL: str(imagenet), EMBEDDED: EMBEDDED}
        self._folder = folder

    def planted(self, fault: Fault, image_set: str) -> Outcomes:
        """Run the gate with a fault."""
        if fault.needs and find_spec(fault.needs) is None:
            return Outcomes((), f"{fault.needs} is not installed")
        return self._outcomes(image_set, fault.name, fault=fault)

    def sound(self, variant: Sound, image_set: str) -> Outcomes:
        """Run the gate as it is."""
        return self._outcomes(image_set, variant.name, arguments=variant.arguments, environment=variant.environment)

    def _outcomes(
        self,
        image_set: str,
        name: str,
        fault: Fault | None = None,
        arguments: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
    ) -> Outcomes:
        baseline = self._baseline(image_set)
        if image_set == EMBEDDED:  # an argument that comes later counts
            arguments = (f"--limit={RENDERED}", *arguments)
        run = self._run(image_set, name, fault, (f"--baseline={baseline.path}", *arguments), environment or {})
        return Outcomes(tuple(self._outcome(case, run, baseline, image_set) for case in run.record.cases))

    def _baseline(self, image_set: str) -> Run:
        if image_set == EMBEDDED:
            return read_run(EMBEDDED_BASELINE)
        return self._run(image_set, "baseline", None, ("--baseline-update",), {})

    def _run(
        self,
        image_set: str,
        name: str,
        fault: Fault | None,
        arguments: tuple[str, ...],
        environment: dict[str, str],
    ) -> Run:
        folder = self._folder / image_set / re.sub(r"\W+", "-", name)
        results = folder / "run"
        if not (results / RECORD).exists():
            shutil.rmtree(folder / "project", ignore_errors=True)
            for part in _COPIED:
                source, target = ROOT / part, folder / "project" / part
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
            if fault is not None:
                fault.plant(folder / "project")
            where = "--baseline" if "--baseline-update" in arguments else "--results"
            store = [] if any(argument.startswith("--store") for argument in arguments) else ["--no-store"]
            command = [sys.executable, "-m", "pytest", "-m", "imagenet", f"--imagenet={self._imagenet[image_set]}"]
            command += [f"--models={MODELS[image_set]}", f"{where}={results}", *store, *arguments]
            command = [part.replace("--store=kept", f"--store={self._folder / image_set / 'kept'}") for part in command]
            found = subprocess.run(
                command,
                cwd=folder / "project",
                env={**os.environ, **environment},
                capture_output=True,
                text=True,
                check=False,
            )
            (folder / "log").write_text(f"{command}\n{found.stdout}{found.stderr}")
            if not (results / RECORD).exists():
                raise RuntimeError(f"{name}: no run: {found.stdout[-2000:]}{found.stderr[-2000:]}")
            shutil.rmtree(folder / "project")
        return read_run(results)

    def _outcome(self, case: CaseRecord | Unmeasured, run: Run, baseline: Run, image_set: str) -> Outcome:
        if isinstance(case, Unmeasured):
            return Outcome(case.id, None, None, None, REFUSED, case.detail)
        [check] = [check for check in case.verdict.checks if check.name == BASELINE]
        published = [check.held for check in case.verdict.checks if check.name != BASELINE]
        outcome = Outcome(
            id=case.id,
            top1=None,
            top5=None,
            published=all(published) if published else None,
            outcome=check.outcome,
            detail=check.detail.partition("\n")[0],
        )
        before, after = baseline.answers(_id_in_baseline(case)), run.answers(case.id)
        assert before is not None
        assert after is not None
        places = before.places_of(after.ids)
        if (places < 0).any():
            return outcome
        before = before.at(places)
        return replace(
            outcome,
            top1=case.measured.top1 - before.hits.top1,
            top5=case.measured.top5 - before.hits.top5,
            paired=pair(before, after, floor_of("fp32")),
            first=self._drift_of_first(before, after, image_set),
        )

    def _drift_of_first(self, before: Answers, after: Answers, image_set: str) -> Drift | None:
        places = after.places_of(self._first_ids[image_set])
        if (places < 0).any():
            return None
        return drift_of(before.at(places), after.at(places))

    @cached_property
    def _first_ids(self) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.str_]]]:
        return {name: np.array(open_split(path).subset(FIRST).ids) for name, path in self._imagenet.items()}


def _id_in_baseline(case: CaseRecord) -> str:
    return f"{case.model}-{case.weights}-fp32"
