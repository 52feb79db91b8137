"""Writes docs/measurements/faults.md, and says which runs had another outcome than expected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from itertools import product

from harness.records.environment import cpu_name, versions
from harness.stats import sampling_band
from harness.verdict import ALPHA, FAILED, PASSED, WARNING
from tests.faults.planted import REJECTED, Fault
from tests.faults.runs import REAL, SYNTHETIC, Outcome, Outcomes, Runner
from tests.faults.sound import Sound

_WHOLE, _TOLERANCE = 50_000, 25
_PAGE = """# Planted faults

Made by `python -m tests.faults --imagenet DIR --output docs/measurements/faults.md`, with 500 real ImageNet
images, one of each of 500 classes. Each fault replaces one function of the pipeline
([planted.py](../../tests/faults/planted.py)); the gate runs with it as a user would run it, against a baseline
made without it. `imagenet-gate compare` of the two run folders gave the same outcome in each case. {day}, on
{cpu} with {versions}.

## EfficientNet-Lite0 on 500 real images

*Accuracy*: whether the check against published values would fail with these counts on a subset of 500 of 50,000
images. *Changed*: changed predictions, in brackets those beyond noise. *Drift on 50*: how far the logits of the
50 images of `--limit 50` moved, median and largest, in units of the logit scale; arithmetic moves them by 2e-6
at most. *Gate*: the outcome with `--baseline`, and the diagnosis. *rejected*: the harness gives no result. Faults
that changed no prediction fail too, since no named difference of the environment explains them; counters that
are not reset need a second model, which the synthetic dataset has.

{summary}

| fault | top-1, top-5 | accuracy | changed | drift on 50 | gate | diagnosis |
| --- | --: | --- | --: | --: | --- | --- |
{real}

## The four models on the synthetic dataset

100 of the 500 rendered images (`--limit 100`), against the project's own baseline. *Accuracy*: how many of the
models fail the check against the recorded values, by the band for a subset of this size
([synthetic.md](synthetic.md) has all 500). *Changed*: changed predictions of all models. A model without the
layer in question is untouched: it gives the same bits.

| fault | accuracy fails | changed | failed | warning | untouched | stage |
| --- | --: | --: | --: | --: | --: | --- |
{synthetic}

## Sound runs

Variations that must make no difference, without a fault, against the same baselines: each must pass.

| run | EfficientNet-Lite0: changed | largest drift | gate | four models: changed | largest drift | gate |
| --- | --: | --: | --- | --: | --: | --- |
{sound}
"""


def wrong(runner: Runner, runs: Sequence[Fault | Sound], datasets: Sequence[str]) -> Iterator[str]:
    """Yield each case in which a fault did not fail at its stage, a sound run did, or ``compare`` is not as the gate.

    The baseline of the synthetic dataset may be from another machine, which is a named difference, and then a warning.
    """
    for dataset, run in product(datasets, runs):
        outcomes, stage = runner.outcomes(run, dataset), run.stage if isinstance(run, Fault) else ""
        for case in outcomes.cases:
            if case.outcome == WARNING and stage and dataset == REAL:
                yield f"{dataset}: {run.name}: {case.id}: expected a failure, found a warning: {case.detail}"
            if case.stage != stage and not case.untouched:
                found = f"{case.stage or PASSED}: {case.outcome}: {case.detail}"
                yield f"{dataset}: {run.name}: {case.id}: expected {stage or PASSED}, found {found}"
        yield from (f"{dataset}: {run.name}: {line}" for line in outcomes.unequal)


def report(runner: Runner, faults: Sequence[Fault], sound: Sequence[Sound]) -> str:
    """Return the page."""
    real = {fault.name: _real_cells(runner.outcomes(fault, REAL)) for fault in faults}
    synthetic = {fault.name: _synthetic_cells(runner.outcomes(fault, SYNTHETIC)) for fault in faults}
    both = {
        variant.name: [cell for name in (REAL, SYNTHETIC) for cell in _sound_cells(runner.outcomes(variant, name))]
        for variant in sound
    }
    cases = [case for fault in faults for case in runner.outcomes(fault, REAL).cases]
    about = {
        "day": date.today(),
        "cpu": cpu_name(),
        "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
    }
    tables = {"real": _rows(real), "synthetic": _rows(synthetic), "sound": _rows(both)}
    return _PAGE.format(**about, summary=_summary(cases), **tables)


def _rows(cells: dict[str, list[str]]) -> str:
    return "\n".join(" ".join(["|", *(f"{cell} |".lstrip() for cell in (name, *row))]) for name, row in cells.items())


def _summary(cases: Sequence[Outcome]) -> str:
    counts = {
        "the accuracy check fails on": sum(_accuracy(case).startswith("fails") for case in cases),
        "the comparison fails on": sum(case.outcome == FAILED for case in cases),
        "it warns of": sum(case.outcome == WARNING for case in cases),
        "the harness rejects": sum(case.outcome == REJECTED for case in cases),
        "the model is untouched by": sum(case.untouched for case in cases),
    }
    return f"Of {len(cases)} faults: {', '.join(f'{what} {count}' for what, count in counts.items())}."


def _real_cells(outcomes: Outcomes) -> list[str]:
    [case] = outcomes.cases
    return [
        "" if case.top1 is None or case.top5 is None else f"{case.top1 / 5:+.1f}, {case.top5 / 5:+.1f}",
        _accuracy(case),
        "" if case.pairing is None else f"{case.pairing.changed} ({case.pairing.beyond_noise})",
        "" if case.first is None else f"{case.first.median:.0e} / {case.first.largest:.0e}",
        "untouched" if case.untouched else case.outcome,
        "the same bits: no fault for this model" if case.untouched else case.detail,
    ]


def _accuracy(case: Outcome) -> str:
    """Judge the counts on a subset of 500 by the sampling band, with the baseline's accuracy as the published one."""
    if case.top1 is None or case.top5 is None:
        return ""
    failed = []
    for name, before, gained in (("top-1", 442, case.top1), ("top-5", 486, case.top5)):
        band = sampling_band(_WHOLE, before * 100, _TOLERANCE, 500, ALPHA)
        if not band.low <= before + gained <= band.high:
            failed.append(name)
    return f"fails: {', '.join(failed)}" if failed else "passes"


def _synthetic_cells(outcomes: Outcomes) -> list[str]:
    cases = outcomes.cases
    numbers = (
        sum(case.published_failed for case in cases),
        sum(case.pairing.changed for case in cases if case.pairing),
        sum(case.outcome in (FAILED, REJECTED) for case in cases),
        sum(case.outcome == WARNING for case in cases),
        sum(case.untouched for case in cases),
    )
    stages = ", ".join(dict.fromkeys(case.stage for case in cases if case.stage)) or "none"
    return [*map(str, numbers), stages]


def _sound_cells(outcomes: Outcomes) -> list[str]:
    pairings = [case.pairing for case in outcomes.cases if case.pairing is not None]
    drift = max((pairing.drift.largest for pairing in pairings if pairing.drift), default=0.0)
    gate = ", ".join(sorted({case.outcome for case in outcomes.cases}))
    return [str(sum(pairing.changed for pairing in pairings)), f"{drift:.0e}", gate]
