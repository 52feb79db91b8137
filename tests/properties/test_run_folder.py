"""A run that is compared with itself is the same run."""

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
from harness.records.evidence import Expected
from harness.records.results import Record
from tests.records import TARGET, case_result, run_record, timing_result, write_run

names = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)


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
    assert (0, 1) == (status, lines.count("environment: no differences"))
    cells = [line.split() for line in lines if line.startswith("model")]
    equal = [["equal"] if known[case.model].logits is not None else ["-"] for case in record.cases]
    assert [["0", "(0)", "1", *drift] for drift in equal] == [row[-5:-1] for row in cells], lines
    speeds = [line for line in lines if re.match(r"timed.* [\d.,]+ .* to ", line)]
    assert [True] * 2 == [line.endswith(("not significant", "not judged")) for line in speeds]
