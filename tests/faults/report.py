"""docs/faults.md, from the runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.gate.stats import sampling_band
from tests.faults.planted import REFUSED, Fault
from tests.faults.runs import EMBEDDED, REAL, Outcome, Outcomes, Runner
from tests.faults.sound import Sound

_WHOLE, _TOLERANCE = 50_000, 25


def misses(runner: Runner, faults: Sequence[Fault], sets: Sequence[str]) -> Iterator[str]:
    """Yield each fault that is not caught, or with another cause than its own."""
    for image_set in sets:
        for fault in faults:
            for case in runner.planted(fault, image_set).cases:
                if case.cause != fault.cause and not case.untouched:
                    yield f"{image_set}: {fault.name}: {case.id}: expected {fault.cause}, found {case.cause or 'held'}"


def alarms(runner: Runner, sound: Sequence[Sound], sets: Sequence[str]) -> Iterator[str]:
    """Yield each alarm of a sound run."""
    for image_set in sets:
        for variant in sound:
            for case in runner.sound(variant, image_set).cases:
                if case.outcome != "held":
                    yield f"{image_set}: sound: {variant.name}: {case.id}: {case.outcome}: {case.detail}"


def report(runner: Runner, faults: Sequence[Fault], sound: Sequence[Sound]) -> str:
    """Return the page."""
    lines = [
        *_HEAD,
        "",
        *_summary(runner, faults),
        "",
        *_real_table(runner, faults),
        "",
        *_EMBEDDED_HEAD,
        "",
        *_embedded_table(runner, faults),
        "",
    ]
    lines += [*_SOUND_HEAD, "", *_sound_table(runner, sound)]
    return "\n".join(lines) + "\n"


_HEAD = (
    "# Planted faults",
    "",
    "Made by `python -m tests.faults --imagenet SPLIT --output docs/faults.md`, with 500 real ImageNet images, one of",
    "each of 500 classes. Each fault is a small patch of the real pipeline ([planted.py](../tests/faults/planted.py));",
    "the gate runs in the patched copy as a user would run it, against a baseline made without the patch.",
    "",
    "## EfficientNet-Lite0 on 500 real images",
    "",
    "*Accuracy* is what the accuracy gate says to these hits on a subset of 500 of 50,000 images. *Changed*: answers,",
    "in brackets those beyond near-ties. *Drift on 50*: how far the logits of the 50 images of `--limit 50` moved,",
    "median and largest, in units of their spread; arithmetic moves them by 2e-6 at most. *Gate*: what",
    "`--baseline` says, and the cause it names. `warned` is a fail under `--strict-drift`. *refused*: the harness",
    "itself does not let the fault get as far as a score. Faults that changed no answer are warnings; counters that",
    "are not reset need a second model to leak into, which the embedded split has.",
)
_EMBEDDED_HEAD = (
    "## The four models on the embedded split",
    "",
    "100 of the 500 rendered images (`--limit 100`), against the baseline that is part of the project. *Accuracy*: how",
    "many of the models fail the check against the recorded values, by the band of such a subset",
    "([embedded.md](embedded.md) has all 500). *Changed*: answers of all models. A model without the layer in question",
    "is untouched: it gives the same bits.",
)
_SOUND_HEAD = (
    "## Sound runs",
    "",
    "What must not matter, in the unpatched project, against the same baselines. An alarm would be `warned` or",
    "`failed`.",
)


def _summary(runner: Runner, faults: Sequence[Fault]) -> Iterator[str]:
    cases = [case for fault in faults for case in runner.planted(fault, REAL).cases]
    counts = {
        "the accuracy gate fails": sum(_accuracy(case).startswith("fails") for case in cases),
        "the pairing fails": sum(case.outcome == "failed" for case in cases),
        "it warns": sum(case.outcome == "warned" for case in cases),
        "the harness refuses": sum(case.outcome == REFUSED for case in cases),
        "nothing is touched": sum(case.untouched for case in cases),
    }
    yield f"Of {len(cases)} faults: {', '.join(f'{what} on {count}' for what, count in counts.items())}."


def _real_table(runner: Runner, faults: Sequence[Fault]) -> Iterator[str]:
    yield "| fault | top-1, top-5 | accuracy | changed | drift on 50 | gate | cause named |"
    yield "| --- | --: | --- | --: | --: | --- | --- |"
    for fault in faults:
        outcomes = runner.planted(fault, REAL)
        if outcomes.skipped:
            yield f"| {fault.name} | | | | | skipped: {outcomes.skipped} | |"
            continue
        [case] = outcomes.cases
        cells = _hits(case), _accuracy(case), _changed(case), _drift(case), _gate(case)
        yield f"| {fault.name} | {' | '.join(cells)} |"


def _hits(case: Outcome) -> str:
    return "" if case.top1 is None or case.top5 is None else f"{case.top1 / 5:+.1f}, {case.top5 / 5:+.1f}"


def _accuracy(case: Outcome) -> str:
    """Say whether the band of a subset of 500 would hold, were the baseline's accuracy the published one."""
    if case.top1 is None or case.top5 is None:
        return ""
    seen = []
    for name, before, gained in (("top-1", 442, case.top1), ("top-5", 486, case.top5)):
        band = sampling_band(_WHOLE, before * 100, _TOLERANCE, 500)
        if not band.low <= before + gained <= band.high:
            seen.append(name)
    return f"fails: {', '.join(seen)}" if seen else "sees nothing"


def _changed(case: Outcome) -> str:
    return "" if case.paired is None else f"{len(case.paired.changed)} ({len(case.paired.real)})"


def _drift(case: Outcome) -> str:
    return "" if case.first is None else f"{case.first.median:.0e} / {case.first.largest:.0e}"


def _gate(case: Outcome) -> str:
    if case.outcome == REFUSED:
        return f"refused | {case.detail}"
    if case.untouched:
        return "untouched | the same bits: no fault for this model"
    return f"{case.outcome} | {case.detail}"


def _embedded_table(runner: Runner, faults: Sequence[Fault]) -> Iterator[str]:
    yield "| fault | accuracy fails | changed | failed | warned | untouched | cause named |"
    yield "| --- | --: | --: | --: | --: | --: | --- |"
    for fault in faults:
        outcomes = runner.planted(fault, EMBEDDED)
        if outcomes.skipped:
            yield f"| {fault.name} | | | | | | skipped: {outcomes.skipped} |"
            continue
        cases = outcomes.cases
        failed = sum(case.outcome in ("failed", REFUSED) for case in cases)
        untouched = sum(case.untouched for case in cases)
        yield (
            f"| {fault.name} | {sum(case.published is False for case in cases)} "
            f"| {sum(len(case.paired.changed) for case in cases if case.paired)} | {failed} "
            f"| {sum(case.outcome == 'warned' for case in cases)} | {untouched} | {_causes(outcomes)} |"
        )


def _causes(outcomes: Outcomes) -> str:
    return ", ".join(dict.fromkeys(case.cause for case in outcomes.cases if case.cause)) or "none"


def _sound_table(runner: Runner, sound: Sequence[Sound]) -> Iterator[str]:
    yield "| run | EfficientNet-Lite0: changed | largest drift | gate | four models: changed | largest drift | gate |"
    yield "| --- | --: | --: | --- | --: | --: | --- |"
    for variant in sound:
        cells = [cell for image_set in (REAL, EMBEDDED) for cell in _sound_cells(runner.sound(variant, image_set))]
        yield f"| {variant.name} | {' | '.join(cells)} |"


def _sound_cells(outcomes: Outcomes) -> tuple[str, str, str]:
    paired = [case.paired for case in outcomes.cases if case.paired is not None]
    drift = max((pair.drift.largest for pair in paired if pair.drift), default=0.0)
    worst = ", ".join(sorted({case.outcome for case in outcomes.cases}))
    return str(sum(len(pair.changed) for pair in paired)), f"{drift:.0e}", worst
