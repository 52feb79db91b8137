"""``--results DIR`` and ``python -m harness compare``: what real runs leave, and what is made of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.__main__ import main
from harness.data import imagenet
from harness.data.inventory import kept_in
from harness.reporting.case_record import CaseRecord
from harness.reporting.record import Unmeasured
from harness.reporting.run_folder import read_run
from tests.colours import EXPECTED, TOP1, TOP5
from tests.integration.conftest import Gate, table_line

ROOT = Path(__file__).parents[2]
CASE = "nearest-V1-fp32"
MORE = """\
  - {model: again, weights: V1, builder: tests.colours:nearest_colour, preset: *preset}
  - {model: nan, weights: V1, builder: tests.colours:always_nan, preset: *preset}
"""


def _json(folder: Path) -> dict[str, Any]:
    values = json.loads((folder / "record.json").read_text())
    assert isinstance(values, dict)
    return values


def test_the_record_tells_what_was_measured(gate: Gate, project: Path) -> None:
    """Hits, expected hits and checks, versions and split, and where the time went."""
    result = gate("--imagenet=colours", "--results=run")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"results: {project}/run"])
    values = _json(project / "run")
    [case] = values["cases"]
    assert values["schema_version"] == 2
    assert values["environment"]["device"] == "cpu"
    assert values["split"]["name"] == "colours"
    assert (values["split"]["images"], values["split"]["classes"]) == (16, 8)
    assert (case["id"], case["images"], case["top1"], case["top5"], case["outcome"]) == (CASE, 16, TOP1, TOP5, "held")
    assert case["expected"] == {"images": 16, "top1": 12, "top5": 14, "origin": "published"}
    assert [(check["name"], check["outcome"]) for check in case["checks"]] == [("top-1", "held"), ("top-5", "held")]
    assert values["split"]["class_names"] == list(imagenet.wnids())
    assert case["weights_bytes"] == 4 * 4000
    [command] = values["commands"]
    assert command.startswith("python -m pytest ")
    assert command.endswith("--imagenet=colours --results=run")
    phases = case["seconds"]
    assert all(seconds > 0 for seconds in phases.values())
    assert sum(phases.values()) - phases["total"] <= phases["total"]


def test_the_answers_are_each_images(gate: Gate, project: Path) -> None:
    """Ids, the five best classes and their logits, best first, and what is right: as many hits as the record says."""
    gate("--imagenet=colours", "--results=run")

    answers = read_run(project / "run").answers(CASE)

    assert answers is not None
    assert answers.logits is not None
    assert answers.ids.tolist() == [f"{number:02}.JPEG" for number in range(16)]
    assert (answers.top5.shape, str(answers.top5.dtype)) == ((16, 5), "int16")
    assert (answers.logits.shape, str(answers.logits.dtype)) == ((16, 5), "float32")
    assert (np.diff(answers.logits, axis=1) <= 0).all()
    assert int(answers.correct.sum()) == TOP1


@pytest.mark.slow
def test_workers_of_xdist_come_together_in_one_record(gate: Gate, project: Path) -> None:
    """The same cases as without ``-n``, but for the time that they took, and the same answers; in one folder.

    Two workers want the same pixels at once: there is one store, and the table is that of a single run. Each pairs
    its cases with the single run as a baseline, which also judges the one that has no published values.
    """
    (project / "expected_accuracy.yaml").write_text(EXPECTED + MORE)
    single = gate("--imagenet=colours", "--models=all", "--results=one", "--no-store")

    both = gate("--imagenet=colours", "--models=all", "--results=two", "--baseline=one", "-n", "2", "-p", "xdist")

    both.assert_outcomes(passed=2, errors=1)
    both.stdout.re_match_lines([r"split: colours", r" +again .* 75.000 .* - .* held$", r"~ +nearest .* held$"])
    assert table_line(single) == table_line(both)
    assert [kept.there for kept in kept_in(project / "store")] == [16]
    one, two = (sorted(_json(project / name)["cases"], key=lambda case: str(case["id"])) for name in ("one", "two"))
    assert [case["outcome"] for case in one] == ["unjudged", "error", "held"]
    assert [case["outcome"] for case in two] == ["held", "error", "held"]
    assert [case["paired"]["changed"] for case in two if "paired" in case] == [0, 0]
    for case in [*one, *two]:
        for name in ("seconds", "images_per_second", "checks", "paired", "outcome"):
            case.pop(name, None)
    assert one == two
    processes = [_json(project / name)["environment"]["processes"] for name in ("one", "two")]
    assert [1, 2] == processes
    assert sorted(path.name for path in (project / "two").iterdir()) == ["inputs", "predictions", "record.json"]
    for case_id in ("again-V1-fp32", CASE):
        before, after = (read_run(project / name).answers(case_id) for name in ("one", "two"))
        assert before is not None
        assert after is not None
        np.testing.assert_array_equal(before.logits, after.logits)


def test_an_interrupted_run_says_what_did_not_run(gate: Gate, project: Path) -> None:
    """With -x the record is written all the same; a case that was due is never left out."""
    (project / "expected_accuracy.yaml").write_text(EXPECTED.replace("acc@1: 75.0", "acc@1: 81.25") + MORE)

    gate("--imagenet=colours", "--models=all", "-x", "--results=run").assert_outcomes(failed=1)

    failed, *rest = read_run(project / "run").record.cases
    assert isinstance(failed, CaseRecord)
    assert failed.outcome == "failed"
    assert rest == [Unmeasured("again-V1-fp32", "not run"), Unmeasured("nan-V1-fp32", "not run")]


def test_a_case_without_values_says_why(gate: Gate, project: Path) -> None:
    """The record holds the sentence that the test showed."""
    (project / "expected_accuracy.yaml").write_text(EXPECTED.replace("nearest_colour", "always_nan"))

    gate("--imagenet=colours", "--results=run").assert_outcomes(errors=1)

    why = "16 of 16 images got logits that are not finite, the first of them 00.JPEG"
    assert read_run(project / "run").record.cases == (Unmeasured(CASE, "error", why),)


def test_a_run_that_cannot_be_written_is_no_success(gate: Gate, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All held, but what was asked for is not there: the last line says so, and the exit status."""

    def write(path: Path, data: bytes) -> None:
        if path.name == "record.json":
            raise OSError(28, "No space left on device")
        path.write_bytes(data)

    monkeypatch.setattr("harness.reporting.run_folder.write_whole", write)

    result = gate("--imagenet=colours", "--results=run")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["NO RESULTS: the run cannot be written to *run: No space left on device"])
    assert not list(project.glob("run*"))


def test_a_folder_of_something_else_is_refused_at_once(gate: Gate, project: Path) -> None:
    """Before anything is evaluated, and nothing in it is touched."""
    result = gate("--imagenet=colours", "--results=colours")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --results colours: expected a new or empty folder, or an earlier run *"])
    assert len(list((project / "colours").rglob("*.JPEG"))) == 16


def test_a_run_without_cases_leaves_nothing(gate: Gate, project: Path) -> None:
    """As when -k leaves none."""
    result = gate("--imagenet=colours", "--results=run", "-k", "nothing_of_that_name")

    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert not list(project.glob("run*"))


def test_a_memory_format_is_a_case_of_its_own(gate: Gate, project: Path) -> None:
    """With an id of its own, and the same answers."""
    result = gate("--imagenet=colours", "--memory-format=channels_last,contiguous", "--results=run")

    result.assert_outcomes(passed=2)
    assert [case.id for case in read_run(project / "run").record.cases] == [CASE, f"{CASE}-contiguous"]
    result.stdout.re_match_lines([r" +nearest  V1 .* held$", r"~ +nearest  V1 fp32-contiguous .* held$"])


def test_a_planted_wrong_answer_is_named(gate: Gate, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One image of 16 changes; the comparison names it with its classes, before and after."""
    gate("--imagenet=colours", "--results=old")
    gate("--imagenet=colours", "--results=new")
    capsys.readouterr()

    same = main(["compare", str(project / "old"), str(project / "new")])
    equal = capsys.readouterr().out
    file = project / "new" / "predictions" / f"{CASE}.npz"
    with np.load(file) as arrays:
        answers = dict(arrays)
    answers["top5"][3] = answers["top5"][3][[1, 0, 2, 3, 4]]
    np.savez(file, **answers)
    refused = main(["compare", str(project / "old"), str(project / "new")])
    record = _json(project / "new")
    record["cases"][0]["top1"] -= 1
    (project / "new" / "record.json").write_text(json.dumps(record))
    changed = main(["compare", str(project / "old"), str(project / "new"), "--markdown", str(project / "report.md")])
    report, errors = capsys.readouterr()

    assert (same, refused, changed) == (0, 2, 1)
    assert f"the answers of {CASE} are not those that its record tells of" in errors
    assert "    0     0  1  equal" in equal
    [line] = [line for line in report.splitlines() if "03.JPEG" in line]
    assert line.startswith("    03.JPEG: class 375 -> ")
    assert line.endswith(", wrong now")
    assert "1 went from right to wrong, 0 from wrong to right" in report
    assert "03.JPEG" in (project / "report.md").read_text()


def test_comparing_needs_no_torch(gate: Gate, project: Path) -> None:
    """A machine without a GPU, without torch even, can compare; exit 1 where something is missing."""
    gate("--imagenet=colours", "--results=run")
    (project / "empty").mkdir()
    values = _json(project / "run")
    (project / "empty" / "record.json").write_text(json.dumps({**values, "cases": []}))
    (project / "torch.py").write_text("raise ImportError('torch was imported while comparing')")

    result = subprocess.run(
        [sys.executable, "-m", "harness", "compare", "run", "empty"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": f"{project}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (result.returncode, result.stderr) == (1, "")
    assert f"{CASE}: is not in the new run" in result.stdout


def test_a_run_that_evaluated_nothing_leaves_the_earlier_one(gate: Gate, project: Path) -> None:
    """A job that is cancelled at once has nothing to put in its place."""
    gate("--imagenet=colours", "--results=run")
    before = (project / "run" / "record.json").read_bytes()
    stop = "\nimport pytest\ndef pytest_runtest_setup():\n    pytest.exit('cancelled')\n"
    (project / "conftest.py").write_text((project / "conftest.py").read_text() + stop)

    result = gate("--imagenet=colours", "--results=run")

    result.stdout.fnmatch_lines([f"NO RESULTS: nothing was measured, and {project}/run is as it was"])
    assert before == (project / "run" / "record.json").read_bytes()
    assert [] == list(project.glob("run.*"))
