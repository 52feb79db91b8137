"""Runs made separately, such as by the jobs of a Slurm array, merged into one run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from harness.errors import RecordError
from harness.predictions import count
from harness.records.environment import shown_name
from harness.records.results import ERROR, CaseResult, DatasetFacts, Missing, Record, TimingResult
from harness.records.run_folder import CROPS, Run, array_file, write_arrays, write_predictions

# How a machine was shared among processes changes speed, but no prediction.
_SHARING = ("threads", "processes")
_Result = TypeVar("_Result", CaseResult, TimingResult)


def merge(runs: Sequence[Run], staging: Path) -> Record:
    """Return the record of one or more run folders together, and write their predictions and pictures to ``staging``.

    Raises:
        RecordError: a run holds no predictions, or two runs differ in environment or dataset, or disagree on a result.
        ResultsError: the predictions cannot be written.
    """
    for run in runs:
        if not run.holds_predictions:
            raise RecordError(
                f"{run.path}: expected a run folder, found a file, which holds no predictions; name a folder that "
                "--results wrote"
            )
        _check_environment(runs[0], run)
    dataset = _common_dataset(runs)
    cases, missing_cases = _merged((run, run.record.cases, run.record.missing_cases) for run in runs)
    timings, missing_timings = _merged((run, run.record.timings, run.record.missing_timings) for run in runs)
    for (first, case), *others in cases:
        for run, other in others:
            _check_agreement(first, run, case.id, _differences(first, case, run, other))
        predictions, (_, targets) = first.predictions(case), first.labels
        if count(predictions, targets) != case.counts:
            raise RecordError(
                f"{first.path}: its predictions of {case.id} do not give the counts in its record; one of them was "
                "modified"
            )
        write_predictions(staging, case.id, predictions, targets)
        for run in (first, *(run for run, _ in others)):  # pictures of the first that has them undamaged
            with suppress(RecordError):
                pictures = run.arrays(CROPS, array_file(run.path, CROPS, case.id))
                write_arrays(array_file(staging, CROPS, case.id), pictures)
                break
    for (first, timing), *others_timed in timings:
        for run, other_timing in others_timed:
            if timing.seconds != other_timing.seconds:
                medians = f"{1e3 * timing.median:,.2f} and {1e3 * other_timing.median:,.2f} ms"
                _check_agreement(first, run, timing.id, [f"different times per call, with medians of {medians}"])
    return Record(
        created=min(run.record.created for run in runs),
        environment=runs[0].record.environment,
        dataset=dataset,
        cases=tuple(found[0][1] for found in cases),
        timings=tuple(found[0][1] for found in timings),
        missing_cases=missing_cases,
        missing_timings=missing_timings,
        commands=tuple(dict.fromkeys(command for run in runs for command in run.record.commands)),
    )


def _merged(
    made: Iterable[tuple[Run, Sequence[_Result], Sequence[Missing]]],
) -> tuple[list[list[tuple[Run, _Result]]], tuple[Missing, ...]]:
    """Return the results of each id, each with its run, and the tests that have no result in any run."""
    found: dict[str, list[tuple[Run, _Result]]] = {}
    absent: dict[str, Missing] = {}
    for run, results, missing in made:
        for result in results:
            found.setdefault(result.id, []).append((run, result))
        for one in missing:
            if absent.setdefault(one.id, one).outcome != ERROR:
                absent[one.id] = one if one.outcome == ERROR else absent[one.id]
    return list(found.values()), tuple(one for name, one in absent.items() if name not in found)


def _check_environment(first: Run, run: Run) -> None:
    timed = first.record.timings or run.record.timings
    facts = [
        f"{shown_name(name)} {_shown(here)} and {_shown(there)}"
        for name, here, there in first.record.environment.differences(run.record.environment)
        if name != "options" and (timed or name not in _SHARING)  # one run may have timings alone
    ]
    if facts:
        raise RecordError(
            f"{first.path} and {run.path} were made in different environments: {', '.join(facts)}; compare "
            f"them instead: imagenet-gate compare {first.path} {run.path}"
        )


def _common_dataset(runs: Sequence[Run]) -> DatasetFacts | None:
    """Return what the runs evaluated; None if none of them evaluated anything."""
    known = [(run, run.record.dataset) for run in runs if run.record.dataset is not None]
    for run, dataset in known[1:]:
        if dataset != known[0][1]:
            raise RecordError(
                f"{known[0][0].path} and {run.path} evaluated different datasets and cannot be merged: "
                f"{_described(known[0][1])}, and {_described(dataset)}"
            )
    return known[0][1] if known else None


def _described(dataset: DatasetFacts) -> str:
    return f"{dataset.images:,} of {dataset.total:,} images of {dataset.name} (digest {dataset.digest[:8]})"


def _check_agreement(first: Run, run: Run, identity: str, differences: Sequence[str]) -> None:
    if differences:
        raise RecordError(
            f"{first.path} and {run.path} disagree on {identity}: {', '.join(differences)}; leave one of the runs out"
        )


def _differences(first: Run, before: CaseResult, run: Run, after: CaseResult) -> list[str]:
    """Return how two results of a case differ; not in their logits, whose last digits may."""
    here, there = _facts(before), _facts(after)
    unequal = [
        f"{name} {_shown(here.get(name))} and {_shown(there.get(name))}"
        for name in dict.fromkeys((*here, *there))
        if here.get(name) != there.get(name)
    ]
    if unequal:
        return unequal
    old, new = first.predictions(before), run.predictions(after)
    if not (differ := (old.top5 != new.top5).any(axis=1)).any():
        return []
    example = old.ids[int(np.argmax(differ))]
    return [f"different top-5 sets of {differ.sum():,} of {len(old):,} images, such as {example}"]


def _facts(case: CaseResult) -> dict[str, Any]:
    """Return what two results of a case in one environment have in common, by name."""
    expected = case.expected
    return {
        "correct top-1 predictions": case.counts.top1,
        "correct top-5 predictions": case.counts.top5,
        "expected counts": expected and ", ".join(map(str, msgspec.structs.astuple(expected.counts))),
        "origin": expected and expected.origin,
        "tolerance": expected and expected.tolerance,
        "outcome": case.outcome,
        "weights": case.weights_sha256,
        "pixels": case.inputs_digest,
        **case.preparation,
    }


def _shown(value: object) -> str:
    return "none" if value is None else str(value)
