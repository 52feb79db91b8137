"""A run that is written and read, or compared with itself, is the same run."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from decimal import Decimal
from io import StringIO
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.cli.main import main
from harness.predictions import Predictions, count
from harness.records.evidence import Bounds, Counts, Expected, Unpaired
from harness.records.results import CaseResult, Phases, Record, record_json
from harness.records.run_folder import read_run
from tests.records import TARGET, case_result, pairing, run_record, timing_result, write_run

names = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)
sizes = st.floats(0, 1e15)
counts = st.tuples(*[st.integers(0, 50_000)] * 3).map(sorted).map(lambda three: Counts(max(three[2], 1), *three[:2]))
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
values = st.none() | st.booleans() | numbers | names | st.lists(numbers, max_size=3)
evidence = st.one_of(
    st.none(),
    st.builds(Unpaired, st.sampled_from(["missing", "different", "damaged", "totals"]), names, st.none() | counts),
    st.builds(lambda name, p99: pairing(against=name, largest_margin=p99), names, st.none() | sizes),
)
bounds = st.builds(Bounds, names, st.floats(allow_nan=False, allow_infinity=False), st.none() | sizes, detail=names)
cases = st.builds(
    case_result,
    model=names,
    counts=counts,
    id=names,
    # Of at least as many images as were evaluated.
    expected=st.none() | st.builds(Expected, st.just(Counts(50_000, 10, 100)), st.decimals(0, 100, places=4)),
    unpublished=names,
    baseline=evidence,
    bounds=st.lists(bounds, max_size=2).map(tuple),
    seconds=st.builds(Phases, sizes, sizes, sizes, sizes, sizes),
    preparation=st.dictionaries(names, values, max_size=3),
    notes=st.lists(names, max_size=2).map(tuple),
)


@given(results=st.lists(cases, max_size=3, unique_by=lambda case: case.id))
def test_a_record_is_read_as_it_was_written(results: list[CaseResult]) -> None:
    """Each name and number to its last digit, and so each verdict."""
    record = run_record(results)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "record.json"
        path.write_bytes(record_json(record))

        found = read_run(path).record

    assert record == found
    assert [case.verdict for case in record.cases] == [case.verdict for case in found.cases]


@st.composite
def predictions(draw: st.DrawFn, ids: Sequence[str]) -> Predictions:
    """Draw predictions for these images, as the loop makes them, or of classes alone."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    images, kept = shape = len(ids), draw(st.sampled_from([5, 6]))
    top = rng.permuted(np.tile(np.arange(9, dtype=np.int16), (images, 1)), axis=1)[:, :kept]
    if draw(st.booleans()):
        return Predictions(np.array(ids), top)
    return Predictions(
        np.array(ids),
        top,
        logits=-np.sort(-rng.normal(size=shape).astype(np.float32), axis=1),
        logsumexp=rng.normal(size=images).astype(np.float32),
        hashes=rng.integers(0, 256, (images, 16), dtype=np.uint8),
        samples=rng.integers(0, 256, (images, 4, 4, 3), dtype=np.uint8),
    )


@st.composite
def run_of(draw: st.DrawFn) -> tuple[Record, dict[str, Predictions]]:
    """Draw a run of several models on the same images: cases with their predictions, and timings."""
    ids = sorted(draw(st.sets(names, min_size=1, max_size=8)))
    known = {f"model{number}": draw(predictions(ids)) for number in range(draw(st.integers(1, 4)))}
    results = []
    for model, found in known.items():
        counted = count(found, np.full(len(ids), TARGET, np.int16))
        results.append(case_result(model, counted, id=f"{model}/../ü%20", expected=Expected(counted, Decimal(0))))
    timings = [timing_result(f"timed{n}", draw(st.lists(st.floats(0.1, 9), min_size=1, max_size=5))) for n in range(2)]
    return run_record(results, timings), known


@settings(max_examples=20)
@given(drawn=run_of())
def test_a_run_compared_with_itself_does_not_differ(drawn: tuple[Record, dict[str, Predictions]]) -> None:
    """Exit status 0; no fact, prediction, logit or speed differs."""
    record, known = drawn
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()) as shown:
        run = write_run(Path(folder) / "run", record, **known)

        status = main(["compare", str(run.path), str(run.path)])

    lines = shown.getvalue().splitlines()
    assert (0, 1) == (status, lines.count("environment: no difference"))
    cells = [line.split() for line in lines if line.startswith("model")]
    equal = [["equal"] if known[case.model].logits is not None else ["-"] for case in record.cases]
    assert [["0", "(0)", "1", *drift] for drift in equal] == [row[-5:-1] for row in cells], lines
    speeds = [line for line in lines if re.match(r"timed.* [\d.,]+ .* to ", line)]
    assert [True] * 2 == [line.endswith(("not significant", "not judged")) for line in speeds]
