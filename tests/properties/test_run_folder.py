"""A run that is compared with itself is the same run."""

from __future__ import annotations

import re
import tempfile
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.cli.main import main
from harness.predictions import Predictions
from harness.records.results import Record
from tests.records import counted, random_predictions, run_record, timing_result, write_run

names = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)


@st.composite
def run_of(draw: st.DrawFn) -> tuple[Record, dict[str, Predictions]]:
    """Draw a run of several models on the same images: cases with their predictions, and timings."""
    ids = sorted(draw(st.sets(names, min_size=1, max_size=8)))
    of_model = st.builds(
        random_predictions,
        st.integers(0, 2**32),
        images=st.just(len(ids)),
        classes=st.sampled_from([5, 9]),
        whole=st.booleans(),
    )
    drawn = draw(st.lists(of_model, min_size=1, max_size=4))
    known = {f"model{number}": replace(found, ids=np.array(ids)) for number, found in enumerate(drawn)}
    results = [counted(found, model, id=f"{model}/../ü%20") for model, found in known.items()]
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
