"""Runs made apart, such as by the jobs of a Slurm array -> one run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from harness.errors import RecordError
from harness.gate.cause import Evaluated
from harness.reporting.baseline import evaluated
from harness.reporting.case_record import CaseRecord, pack, pack_classes
from harness.reporting.record import ERROR, Record, SplitFacts, Unmeasured
from harness.reporting.run_folder import Run, write_answers, write_inputs
from harness.reporting.timing_record import TimingRecord

# How a machine was shared out among processes, which changes speed, but no answer.
_SHARED_OUT = ("threads", "processes")


@dataclass(frozen=True)
class Merged:
    """What runs come to together.

    Attributes:
        record: of all their results, each id once, in the order of the runs; cases lack ``correct`` and ``best``.
        sources: the run that each measured case is taken from, by id.
    """

    record: Record
    sources: Mapping[str, Run]


def merge(runs: Sequence[Run]) -> Merged:
    """Bring the results of one or more run folders together; of two that agree, the first is taken.

    Raises:
        RecordError: a run holds no answers, two runs are of different splits or environments, or they disagree on a
            result.
    """
    for run in runs:
        if not run.path.is_dir():
            raise RecordError(
                f"{run.path}: expected a run folder, found a file, which holds no answers; name what --results wrote"
            )
        _refuse_another_environment(runs[0], run)
    split = _split_of_all(runs)
    cases = [_taken(made, _refuse_other_answers) for made in _by_id((run, run.record.cases) for run in runs)]
    timings = [_taken(made, _refuse_other_seconds) for made in _by_id((run, run.record.timings) for run in runs)]
    record = Record(
        created=min(run.record.created for run in runs),
        environment=runs[0].record.environment,
        split=split,
        cases=tuple(case for _, case in cases),
        timings=tuple(timing for _, timing in timings),
        commands=tuple(dict.fromkeys(command for run in runs for command in run.record.commands)),
    )
    return Merged(record, {case.id: run for run, case in cases if isinstance(case, CaseRecord)})


def write_files(merged: Merged, staging: Path) -> Record:
    """Write what each model answered and was shown into the folder of a run that is being made.

    Returns:
        The record, its cases with ``correct`` and ``best``.

    Raises:
        RecordError: a run's files cannot be read, or are not those of its record.
        ResultsError: they cannot be written.
    """
    cases = tuple(
        _written(merged.sources[case.id], case, staging) if isinstance(case, CaseRecord) else case
        for case in merged.record.cases
    )
    return replace(merged.record, cases=cases)


def _written(run: Run, case: CaseRecord, staging: Path) -> CaseRecord:
    found = _evaluated(run, case)
    write_answers(staging, case.id, found.answers)
    if found.fingerprints is not None:
        write_inputs(staging, found.fingerprints)
    return replace(case, correct=pack(found.answers.correct), best=pack_classes(found.answers.top5[:, 0]))


def _evaluated(run: Run, case: CaseRecord) -> Evaluated:
    found = evaluated(run, case)
    assert found is not None  # a folder, see merge
    return found


def _refuse_another_environment(first: Run, run: Run) -> None:
    timed = first.record.timings or run.record.timings
    facts = [
        f"{name} {_shown(here)} and {_shown(there)}"
        for name, here, there in first.record.environment.differences(run.record.environment)
        if timed or name not in _SHARED_OUT
    ]
    if facts:
        raise RecordError(
            f"{first.path} and {run.path} were made in different environments: {', '.join(facts)}; such runs are "
            f"compared, not merged: python -m harness compare {first.path} {run.path}"
        )


def _split_of_all(runs: Sequence[Run]) -> SplitFacts | None:
    """Return what the runs evaluated; None if no accuracy was due in any."""
    known = [(run, run.record.split) for run in runs if run.record.split is not None]
    for run, split in known[1:]:
        if split != known[0][1]:
            raise RecordError(
                f"{known[0][0].path} and {run.path} evaluated different splits and cannot be merged: "
                f"{_described(known[0][1])}, and {_described(split)}"
            )
    return known[0][1] if known else None


def _described(split: SplitFacts) -> str:
    return f"{split.images:,} of {split.total:,} images of {split.name} with labels {split.digest[:8]}"


_Result = TypeVar("_Result", CaseRecord, TimingRecord)


def _by_id(
    made: Iterable[tuple[Run, Sequence[_Result | Unmeasured]]],
) -> Iterator[list[tuple[Run, _Result | Unmeasured]]]:
    """Yield the results of each id, each with its run, in the order of the runs."""
    found: dict[str, list[tuple[Run, _Result | Unmeasured]]] = {}
    for run, results in made:
        for result in results:
            found.setdefault(result.id, []).append((run, result))
    yield from found.values()


def _taken(
    made: Sequence[tuple[Run, _Result | Unmeasured]], refuse: Callable[[Run, _Result, Run, _Result], None]
) -> tuple[Run, _Result | Unmeasured]:
    """Return one of the results of an id: the first with values, else the first error, else the first."""
    measured: list[tuple[Run, _Result]] = [(run, result) for run, result in made if not isinstance(result, Unmeasured)]
    if not measured:
        return next((one for one in made if isinstance(one[1], Unmeasured) and one[1].outcome == ERROR), made[0])
    for run, result in measured[1:]:
        refuse(*measured[0], run, result)
    return measured[0]


def _refuse_other_answers(first: Run, before: CaseRecord, run: Run, case: CaseRecord) -> None:
    differ = _unequal(_facts(before), _facts(case))
    if not differ:
        differ = list(_unequal_answers(_evaluated(first, before), _evaluated(run, case)))
    if differ:
        raise RecordError(_disagreement(first, run, case.id, differ))


def _refuse_other_seconds(first: Run, before: TimingRecord, run: Run, timing: TimingRecord) -> None:
    if before.seconds != timing.seconds:
        medians = f"{1e3 * before.median:,.2f} and {1e3 * timing.median:,.2f} ms"
        raise RecordError(_disagreement(first, run, timing.id, [f"other seconds, with medians of {medians}"]))


def _disagreement(first: Run, run: Run, identity: str, differ: Sequence[str]) -> str:
    return f"{first.path} and {run.path} disagree on {identity}: {', '.join(differ)}; leave one of the runs out"


def _facts(case: CaseRecord) -> dict[str, Any]:
    """Return what two evaluations of a case on one environment have in common, by name."""
    expected = case.expected
    return {
        "top-1 hits": case.measured.top1,
        "top-5 hits": case.measured.top5,
        "expected top-1 hits": expected and expected.hits.top1,
        "expected top-5 hits": expected and expected.hits.top5,
        "expected images": expected and expected.hits.n,
        "expected origin": expected and expected.origin,
        "tolerance": expected and expected.tolerance,
        "verdict": "held" if case.verdict.held else "failed",
        "weights": case.weights_sha256,
        "pixels": case.inputs_digest,
        **case.preparation,
    }


def _unequal(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} {_shown(before.get(name))} and {_shown(after.get(name))}"
        for name in dict.fromkeys((*before, *after))
        if before.get(name) != after.get(name)
    ]


def _unequal_answers(before: Evaluated, after: Evaluated) -> Iterator[str]:
    """Yield how the answers differ; not their logits, whose last digits may."""
    old, new = before.answers, after.answers
    if not np.array_equal(old.ids, new.ids):
        yield "other images"
        return
    for name, here, there in (
        ("labels", old.targets[:, None], new.targets[:, None]),
        ("five best classes", old.top5, new.top5),
    ):
        differ = (here != there).any(axis=1)
        if differ.any():
            yield f"other {name} of {differ.sum():,} of {len(old):,} images, such as {old.ids[differ.argmax()]}"


def _shown(value: object) -> str:
    return "none" if value is None else str(value)
