"""``--results DIR`` and ``imagenet-gate compare``: the run folder, and the comparison of two."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.cli.main import main
from harness.decoding.upkeep import list_stores
from harness.formats import imagenet
from harness.records import run_folder
from harness.records.results import Missing
from harness.records.run_folder import read_run
from harness.report.crops import crops_of
from tests.colours import COLOURS, EXPECTED, PLAN, TOP1, TOP5
from tests.integration.conftest import Gate, table_line

ROOT = Path(__file__).parents[2]
CASE = "nearest-V1-fp32"
REFERENCE = "--reference=cpu:fp64"
MORE = """\
  - {model: again, weights: V1, builder: tests.colours:nearest_colour, preset: *preset}
  - {model: nan, weights: V1, builder: tests.colours:always_nan, preset: *preset}
"""


def _json(folder: Path) -> dict[str, Any]:
    values = json.loads((folder / "record.json").read_text())
    assert isinstance(values, dict)
    return values


def test_the_record_holds_what_was_measured(gate: Gate, project: Path) -> None:
    """Counts, expected counts and checks, versions and dataset, the seconds of each phase, and the predictions."""
    result = gate("--imagenet=colours", "--results=run")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"results: {project}/run"])
    values = _json(project / "run")
    [case] = values["cases"]
    assert values["schema_version"] == "3.2"
    assert values["environment"]["device"] == "cpu"
    assert values["dataset"]["name"] == "colours"
    assert (values["dataset"]["images"], values["dataset"]["classes"]) == (16, 8)
    assert (case["id"], case["outcome"], case["dataset"]) == (CASE, "passed", "colours")
    assert case["counts"] == {"images": 16, "top1": TOP1, "top5": TOP5}
    assert case["expected"]["counts"] == case["counts"]
    assert case["expected"]["origin"] == "published"
    assert [(check["name"], check["outcome"]) for check in case["checks"]] == [("top-1", "passed"), ("top-5", "passed")]
    assert values["dataset"]["class_names"] == list(imagenet.wnids())
    [command] = values["commands"]
    assert "python -m pytest " in command  # after variables such as OMP_NUM_THREADS, if they are set
    assert command.endswith("--imagenet=colours --results=run")
    phases = case["seconds"]
    assert all(seconds > 0 for seconds in phases.values())
    assert sum(phases.values()) - phases["total"] <= phases["total"]

    # Of each image its id, the six highest classes and their logits, highest first; as many are correct.
    run = read_run(project / "run")
    predictions, (ids, targets) = run.predictions(run.record.cases[0]), run.labels
    assert predictions.logits is not None
    assert predictions.ids.tolist() == ids.tolist() == [f"{number:02}.JPEG" for number in range(16)]
    assert (predictions.top.shape, str(predictions.top.dtype)) == ((16, 6), "int16")
    assert (predictions.logits.shape, str(predictions.logits.dtype)) == ((16, 6), "float32")
    assert (np.diff(predictions.logits, axis=1) <= 0).all()
    assert TOP1 == int((predictions.top1 == targets).sum())
    crops = crops_of(run, run.record.cases[0])
    assert ids.tolist() == list(crops)
    colours = [crop.mean(axis=(0, 1)) for crop in crops.values()]
    assert [colour for colour, _ in PLAN] == [np.abs(COLOURS - found).sum(axis=1).argmin() for found in colours]
    gate("--imagenet=colours", "--results=run").stdout.fnmatch_lines([f"results: {project}/run"])


@pytest.mark.slow
def test_workers_of_xdist_write_one_record(gate: Gate, project: Path) -> None:
    """The same results and predictions as without ``-n``, but for the time they took, in one folder.

    Two workers need the same pixels at once: there is one store. Each compares its cases with the single run as a
    baseline, which also judges the one that has no published values, and with float64.
    """
    (project / "expected_accuracy.yaml").write_text(EXPECTED + MORE)
    single = gate("--imagenet=colours", "--models=all", "--results=one", "--no-store", REFERENCE)

    both = gate(
        "--imagenet=colours", "--models=all", "--results=two", "--baseline=one", REFERENCE, "-n", "2", "-p", "xdist"
    )

    both.assert_outcomes(passed=2, errors=1)
    both.stdout.re_match_lines(
        [
            r"dataset: colours",
            r"nearest-V1-fp32: .* of 0.0001, largest drift from float64 on cpu, ",
            r"1-2 +again .* 75.000 .* - .* passed$",
            r"1-2 +nearest .* passed$",
        ]
    )
    assert table_line(single) == table_line(both)
    assert [store.decoded for store in list_stores(project / "store")] == [16]
    one, two = (_json(project / name) for name in ("one", "two"))
    assert one["missing_cases"] == two["missing_cases"]
    assert [missing["outcome"] for missing in two["missing_cases"]] == ["error"]
    by_id = [sorted(values["cases"], key=lambda case: str(case["id"])) for values in (one, two)]
    assert [[case["outcome"] for case in cases] for cases in by_id] == [["failed", "passed"], ["passed", "passed"]]
    assert [case["baseline"]["changed"] for case in by_id[1]] == [0, 0]
    for case in [*by_id[0], *by_id[1]]:
        # The notes say for which of them pixels were in the store already.
        for name in ("seconds", "images_per_second", "checks", "baseline", "outcome", "notes"):
            case.pop(name, None)
    assert by_id[0] == by_id[1]
    assert [1, 2] == [values["environment"]["processes"] for values in (one, two)]
    before, after = (read_run(project / name) for name in ("one", "two"))
    after_by_id = {case.id: case for case in after.record.cases}
    for case in before.record.cases:
        logits, other = before.predictions(case).logits, after.predictions(after_by_id[case.id]).logits
        assert logits is not None
        assert other is not None
        np.testing.assert_array_equal(logits, other)


def test_a_stopped_run_is_written(gate: Gate, project: Path) -> None:
    """With -x the record lists the cases that were not run; a team's own test with the mark is none."""
    (project / "test_own.py").write_text("import pytest\n@pytest.mark.imagenet\ndef test_own():\n    pass\n")
    (project / "expected_accuracy.yaml").write_text(EXPECTED.replace("acc@1: 75.0", "acc@1: 81.25") + MORE)

    result = gate("--imagenet=colours", "--models=all", "-x", "--results=run")

    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines([r" +nearest .* FAILED$", r" +again-V1-fp32: not run$"])
    record = read_run(project / "run").record
    assert [case.outcome for case in record.cases] == ["failed"]
    assert record.missing_cases == (Missing("again-V1-fp32", "not run"), Missing("nan-V1-fp32", "not run"))


def test_a_run_that_cannot_be_written_fails(gate: Gate, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All cases passed, but the results are missing: the last line says so, and the exit status is 1."""

    def write(path: Path, data: bytes) -> None:
        if path.name == "record.json":
            raise OSError(28, "No space left on device")
        path.write_bytes(data)

    monkeypatch.setattr("harness.records.run_folder.write_whole", write)

    result = gate("--imagenet=colours", "--results=run")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["NOT WRITTEN: the run cannot be written to *run: No space left on device; what was measured is in *"]
    )
    [kept] = project.glob("run*")
    assert result.stdout.lines[-2].endswith(str(kept)) or str(kept) in result.stdout.str()
    assert [*kept.glob("predictions/*.npz")]


def test_a_run_of_which_nothing_can_be_written_leaves_nothing(
    gate: Gate, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its disk is full, but for what a record needs: one sentence, and the earlier run stays."""
    gate("--imagenet=colours", "--results=run")
    before = (project / "run" / "record.json").read_bytes()
    write = run_folder.write_whole

    def write_little(path: Path, data: bytes) -> None:
        if path.suffix == ".npz":
            raise OSError(28, "No space left on device")
        write(path, data)

    monkeypatch.setattr(run_folder, "write_whole", write_little)

    result = gate("--imagenet=colours", "--results=run")

    [last] = [line for line in result.outlines if line.startswith("NOT WRITTEN: ")]
    assert last.startswith("NOT WRITTEN: the run cannot be written to ")
    assert last.endswith(": No space left on device")
    assert (pytest.ExitCode.TESTS_FAILED, [project / "run"]) == (result.ret, list(project.glob("run*")))
    assert before == (project / "run" / "record.json").read_bytes()


def test_a_run_without_cases_leaves_nothing(gate: Gate, project: Path) -> None:
    """For example if -k deselects all."""
    result = gate("--imagenet=colours", "--results=run", "-k", "nothing_of_that_name")

    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert not list(project.glob("run*"))


def test_a_changed_prediction_is_named(gate: Gate, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One of 16 predictions is changed; the comparison names the image and its classes, before and after."""
    gate("--imagenet=colours", "--results=old")
    gate("--imagenet=colours", "--results=new")
    capsys.readouterr()

    same = main(["compare", str(project / "old"), str(project / "new")])
    equal = capsys.readouterr().out
    file = project / "new" / "predictions" / f"{CASE}.npz"
    with np.load(file) as arrays:
        changes = dict(arrays)
    changes["top"][3] = changes["top"][3][[1, 0, 2, 3, 4, 5]]
    np.savez(file, **changes)
    altered = main(["compare", str(project / "old"), str(project / "new")])
    refused = capsys.readouterr().err
    record = {**_json(project / "new"), "schema_version": "3.0", "files": {}}
    (project / "new" / "record.json").write_text(json.dumps(record))
    mismatch = main(["compare", str(project / "old"), str(project / "new")])
    damaged = " ".join(capsys.readouterr().out.split())
    record["cases"][0]["counts"]["top1"] -= 1
    (project / "new" / "record.json").write_text(json.dumps(record))
    changed = main(["compare", str(project / "old"), str(project / "new"), "--markdown", str(project / "report.md")])
    report = capsys.readouterr().out

    assert (same, altered, mismatch, changed) == (0, 2, 1, 1)
    assert "its sha256 differs from that in record.json" in refused
    assert ": 12 (top-1) and 14 (top-5) correct of 16 were" in damaged
    assert re.search(r"^nearest .* equal  passed$", equal, re.MULTILINE)
    [line] = [line for line in report.splitlines() if "03.JPEG" in line]
    assert line.startswith("    03.JPEG: colobus -> ")
    assert "1 now wrong, 0 now correct" in report
    assert "03.JPEG" in (project / "report.md").read_text()


def test_a_run_that_evaluated_nothing_replaces_nothing(gate: Gate, project: Path) -> None:
    """For example a job that is cancelled at once."""
    gate("--imagenet=colours", "--results=run")
    before = (project / "run" / "record.json").read_bytes()
    stop = "\nimport pytest\ndef pytest_runtest_setup():\n    pytest.exit('cancelled')\n"
    (project / "conftest.py").write_text((project / "conftest.py").read_text() + stop)

    result = gate("--imagenet=colours", "--results=run")

    result.stdout.fnmatch_lines([f"NOT WRITTEN: nothing was measured for {project}/run"])
    assert before == (project / "run" / "record.json").read_bytes()
    assert [] == list(project.glob("run.*"))
