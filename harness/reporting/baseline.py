"""An earlier run as a baseline: each case beside its earlier evaluation, and what may be stored as the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.split import Split
from harness.errors import RecordError, ResultsError
from harness.evaluation.setting import DEFAULT
from harness.gate.baseline import BASELINE, judge_pair
from harness.gate.cases import Case
from harness.gate.cause import Evaluated
from harness.gate.pairing import Paired
from harness.gate.tolerance import Floor, floor_of
from harness.gate.verdict import FAILED, HELD, WARNED, Check
from harness.reporting.case_record import CaseRecord
from harness.reporting.environment import UNKNOWN, Environment
from harness.reporting.record import Record, measured_cases, unmeasured
from harness.reporting.run_folder import Run, read_run

EMBEDDED_BASELINE = Path(__file__).parent / "embedded_baseline"
"""Of the embedded split and its four models."""


@dataclass(frozen=True)
class BaselineOptions:
    """Which baseline, and how it is used.

    Attributes:
        path: of the run folder.
        strict: let what would be a warning fail.
        updating: the run is to be replaced, so that what differs is shown and is no failure.
        accept_failed: let it be replaced by a run that failed the check against the published values.
    """

    path: Path
    strict: bool = False
    updating: bool = False
    accept_failed: bool = False


class Baseline:
    """The run that cases are paired with."""

    def __init__(self, run: Run | None, options: BaselineOptions, unreadable: str = "") -> None:
        """Take the run.

        Args:
            run: None where there is none that can be paired with, and one is to be recorded.
            options: how it is used.
            unreadable: why what is there cannot be paired with.
        """
        self._run = run
        self._options = options
        self._unreadable = unreadable
        self._cases = {} if run is None else {case.id: case for case in measured_cases(run.record.cases)}

    def __str__(self) -> str:
        if self._unreadable:
            return f"to be replaced without pairing: {self._unreadable}"
        if self._run is None:
            return f"{self._options.path}, none yet, to be recorded"
        record = self._run.record
        return f"{self._run.path}, of {record.created[:10]}, torch {record.environment.torch}"

    def judge(self, case: Case, now: Evaluated, *, published: bool) -> tuple[Check, dict[str, Any] | None]:
        """Return the check of a case against the baseline, and the pairing in numbers if there was one.

        Args:
            case: what was evaluated.
            now: what came of it.
            published: whether it is judged by published values too.

        Raises:
            RecordError: the baseline's files of the case cannot be read, and it is not to be replaced.
        """
        before = self._before(case)
        if self._run is None or before is None:
            return self._nothing_for(case, published=published), None
        try:
            earlier = evaluated(self._run, before)
        except RecordError as error:
            if not self._options.updating:
                raise
            return Check(BASELINE, WARNED, f"recorded without pairing: {error}"), None
        assert earlier is not None  # a folder, see open_baseline
        floor = floor_of(before.precision, case.setting.precision)
        check, paired = judge_pair(earlier, now, floor, strict=self._options.strict)
        if self._options.updating and check.outcome != HELD:
            check = Check(BASELINE, WARNED, f"replaces what differed: {check.detail}")
        elif paired is None:
            check = replace(check, detail=f"{check.detail}. Record another: --baseline DIR --baseline-update")
        return check, None if paired is None else _numbers(paired, before.id, floor)

    def refuse_damage(self, cases: Sequence[Case]) -> None:
        """Read what these cases will be paired with, so that damage is told before hours are spent on them.

        Raises:
            RecordError: it cannot be read, and is not to be replaced.
        """
        if self._run is not None and not self._options.updating:
            for before in {before.id: before for case in cases if (before := self._before(case))}.values():
                evaluated(self._run, before)

    def _before(self, case: Case) -> CaseRecord | None:
        """Return the earlier evaluation of the case, or else of its model as it runs by default."""
        return self._cases.get(str(case)) or self._cases.get(f"{case.entry.spec}-{DEFAULT}")

    def _nothing_for(self, case: Case, *, published: bool) -> Check:
        if self._options.updating:
            return Check(BASELINE, HELD, "recorded; there was nothing to pair it with")
        return Check(
            BASELINE,
            WARNED if published else FAILED,
            f"{self._options.path} holds no case of {case.entry.spec}, so its answers are compared with nothing; "
            "record a baseline that does: --baseline DIR --baseline-update",
        )


def open_baseline(split: Split, options: BaselineOptions) -> Baseline:
    """Open the baseline in a folder; when it is to be replaced, it need not be there, nor be one that can be read.

    Raises:
        RecordError: there is none, it cannot be read, or it is of other images altogether.
        ResultsError: it would lose images, were it replaced.
    """
    path = options.path
    if options.updating and not path.exists():
        return Baseline(None, options)
    try:
        run = read_run(path)
        if not path.is_dir():
            raise RecordError(f"{path}: expected a run folder, found a file, which holds no answers")
        cases = measured_cases(run.record.cases)
        if not cases:
            raise RecordError(f"{path}: holds no evaluated case")
        answers = run.answers(cases[0].id)
        assert answers is not None
    except RecordError as error:
        if options.updating:
            return Baseline(None, options, unreadable=str(error))
        hint = "" if path.exists() else f"; {_where_to_find_one(path)}"
        raise RecordError(f"--baseline {error}{hint}") from error
    new = int((answers.places_of(np.array(split.ids)) < 0).sum())
    if new == len(split):
        raise RecordError(
            f"--baseline {path}: is of {cases[0].split}, {len(answers):,} images, and none of them is among "
            f"the {len(split):,} of {split.name}; name another folder"
        )
    if options.updating and cases[0].split != split.name and new:
        raise ResultsError(
            f"--baseline-update: {path} is of {cases[0].split}, and {new:,} of the {len(split):,} "
            f"images of {split.name} are not among its {len(answers):,}; name another folder"
        )
    if options.updating and split.is_subset and len(split) < len(answers):
        raise ResultsError(
            f"--baseline-update: {path} holds {len(answers):,} images and would keep {len(split):,} of them; leave out "
            "--limit, or name another folder"
        )
    return Baseline(run, options)


def _where_to_find_one(path: Path) -> str:
    """Return what to do where there is no baseline: a run that was killed while it replaced one leaves it beside."""
    aside = sorted(path.parent.glob(f"{path.name}.replaced-*"))
    return (
        f"a run was killed while it replaced it: rename {aside[-1]} back"
        if aside
        else "record one by --baseline-update"
    )


def refuse_to_lose(path: Path, ids: Sequence[str]) -> None:
    """Raise for a baseline that would lose cases, were it replaced by those of these ids.

    Raises:
        ResultsError: it holds others.
    """
    if lost := _lost(path, ids):
        raise ResultsError(f"--baseline-update: {lost}")


def why_not_to_store(record: Record, options: BaselineOptions) -> str:
    """Return why a run must not become the baseline; empty if it may."""
    if missing := unmeasured(record.cases):
        return f"{len(missing)} of {len(record.cases)} cases were not evaluated, such as {missing[0].id}"
    cases = measured_cases(record.cases)
    if not options.accept_failed and (failed := [case.id for case in cases if _failed_published(case)]):
        return (
            f"{len(failed)} of {len(cases)} cases failed the check against the published values, such as {failed[0]}; "
            "--baseline-accept-failed stores them nevertheless"
        )
    return _lost(options.path, [case.id for case in cases])


def _lost(path: Path, ids: Sequence[str]) -> str:
    try:
        before = read_run(path)
    except RecordError:
        return ""  # there is none, or none that could be paired with
    lost = sorted({case.id for case in measured_cases(before.record.cases)} - set(ids))
    if not lost:
        return ""
    more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
    return f"{path} would lose {lost[0]}{more}, not among the cases of this run; run them too, or name another folder"


def _failed_published(case: CaseRecord) -> bool:
    return any(not check.held and check.name != BASELINE for check in case.verdict.checks)


def evaluated(run: Run, case: CaseRecord) -> Evaluated | None:
    """Return what went into an earlier evaluation and what came out; None for a JSON file, which holds no answers.

    Raises:
        RecordError: its files cannot be read, or are not those of its record.
    """
    answers = run.answers(case.id)
    if answers is None:
        return None
    if answers.hits != case.measured:
        raise RecordError(f"{run.path}: the answers of {case.id} are not those that its record tells of")
    fingerprints = run.fingerprints(case.inputs_digest)
    if fingerprints is not None and len(fingerprints.hashes) != len(answers):
        raise RecordError(
            f"{run.path}: holds the pixels of {len(fingerprints.hashes):,} images and {len(answers):,} answers of "
            f"{case.id}"
        )
    assert run.record.split is not None
    return Evaluated(
        answers=answers,
        counted=case.measured,
        total=run.record.split.total,
        parameters=case.parameters,
        weights=case.weights_sha256,
        fingerprints=fingerprints,
        preparation=case.preparation,
        first_input=case.first_input,
        conditions=conditions(case.switches, str(case.setting), case.batch_size) if case.switches else {},
        environment=known_facts(run.record.environment),
    )


def known_facts(environment: Environment) -> dict[str, Any]:
    """Return the facts that are known: not the CUDA of a machine without."""
    return {name: value for name, value in asdict(environment).items() if value not in (None, UNKNOWN)}


def conditions(switches: Mapping[str, Any], setting: str, batch_size: int) -> dict[str, Any]:
    """Return how the forward was carried out, so far as it can move the last digits."""
    return {**switches, "setting": setting, "batch size": batch_size}


def _numbers(paired: Paired, against: str, floor: Floor) -> dict[str, Any]:
    values = asdict(paired)
    return {
        **values,
        "changed": len(paired.changed),
        "real": len(paired.real),
        "near_ties": paired.near_ties,
        "largest_margin": paired.largest_margin,
        "floor": asdict(floor),
        "against": against,
    }
